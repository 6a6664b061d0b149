//! Messages that were given up: shown, and owed again.

use std::sync::Arc;

use engine::dead_letters::{self, DeadLetter};
use engine::{Decider, Decision};
use protocol::id::MessageId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{ApiError, ErrorKind};
use super::caller::POLICY;
use super::route::{Call, Json, Route};
use crate::node::Node;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "deadLetters.retry",
            "/v1/dead-letters/{id}/retry",
            "Send the end of a process once more that the partner was not told. 409 where it can use the message no more",
            retry,
        )
        .for_roles(POLICY),
    ]
}

/// A message that was given up: refused for good, or not taken in time.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownDeadLetter {
    /// The message's id.
    id: String,
    /// The partner's short name.
    partner: String,
    /// The partner.
    participant: String,
    /// Our process id.
    process: String,
    /// The DSP type.
    message_type: String,
    /// Where it was sent to.
    url: String,
    /// When it was queued.
    queued: String,
    /// When it was given up.
    given_up: String,
    /// How often it was tried, since the node last started.
    attempts: u32,
    /// A code for why it was given up.
    code: String,
    /// Why it was given up: what the partner said, or that its time was over.
    reason: String,
    /// What went wrong at the last attempt before that.
    last_error: Option<String>,
    /// The reference to give to the partner's administrator.
    reference: Option<String>,
}

impl ShownDeadLetter {
    pub(super) fn of(node: &Node, letter: &DeadLetter) -> Self {
        Self {
            id: letter.owed.message.to_string(),
            partner: node.partner_name(&letter.participant),
            participant: letter.participant.to_string(),
            process: letter.pid.to_string(),
            message_type: letter.message_type.clone(),
            url: letter.owed.url.clone(),
            queued: letter.owed.queued.to_string(),
            given_up: letter.given_up.to_string(),
            attempts: letter.attempts,
            code: letter.failure.code.clone(),
            reason: letter.failure.reason.clone(),
            last_error: letter.last_error.clone(),
            reference: letter.failure.reference.clone(),
        }
    }
}

/// Why, for the journal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Again {
    reason: String,
}

async fn retry(call: Call, again: Again) -> Result<Json<ShownDeadLetter>, ApiError> {
    let (node, id) = (Arc::clone(call.node()), call.segment("id"));
    let unknown = || {
        ApiError::not_found(format!("there is no dead letter `{id}`"))
            .help("`sekisho dead-letter list` shows all")
    };
    let message: MessageId = id.parse().map_err(|_| unknown())?;
    let asked = message.clone();
    let found = node
        .commit(move |view| dead_letters::dead_letter(view, &asked).map(Decision::answer))
        .await?
        .ok_or_else(unknown)?;
    let body = node.store.body(found.text).await?;
    let text = body.and_then(|body| body.message).ok_or_else(|| {
        ApiError::new(ErrorKind::Refused, format!("the text of the message `{id}` was erased"))
    })?;
    let decider = Decider { person: Some(call.person()), reason: Some(again.reason) };
    let (context, fresh, text) = (Arc::clone(&node.context), node.fresh(), (found.text, text));
    let letter = node
        .decide(move |view| dead_letters::retry(view, &context, &fresh, &message, &text, &decider))
        .await?;
    Ok(Json(ShownDeadLetter::of(&node, &letter)))
}

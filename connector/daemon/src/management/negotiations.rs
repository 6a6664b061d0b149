//! Negotiations: shown, begun from either side, and driven step by step.

use std::sync::Arc;

use engine::entity::Negotiation;
use engine::negotiation::Choice;
use engine::negotiation::steps::{self, Beginning, Offering, Step};
use engine::{Decider, Entity, Handling};
use protocol::id::{DatasetId, OfferId, ParticipantId, Pid};
use protocol::negotiation::MessageKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::ApiError;
use super::caller::{POLICY_AND_APPLICATIONS, READERS_AND_APPLICATIONS};
use super::route::{Call, Created, Json, Route};
use super::shape::OdrlPolicy;
use crate::node::Node;
use crate::pulls::{self, PullError};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("negotiations.show", "/v1/negotiations/{pid}", "One negotiation", show)
            .for_roles(READERS_AND_APPLICATIONS),
        Route::post(
            "negotiations.begin",
            "/v1/negotiations",
            "Begin a negotiation: request an offer as consumer, or make one as provider",
            begin,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
        Route::post(
            "negotiations.offer",
            "/v1/negotiations/{pid}/offer",
            "Provider: offer the published terms, or those given",
            offer,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
        Route::post(
            "negotiations.request",
            "/v1/negotiations/{pid}/request",
            "Consumer: ask for other terms than those offered",
            request,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
        Route::post(
            "negotiations.accept",
            "/v1/negotiations/{pid}/accept",
            "Consumer: accept the offer",
            accept,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
        Route::post(
            "negotiations.agree",
            "/v1/negotiations/{pid}/agree",
            "Provider: agree on the terms as they stand; the partner's own terms are repeated here",
            agree,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
        Route::post(
            "negotiations.verify",
            "/v1/negotiations/{pid}/verify",
            "Consumer: verify the agreement",
            verify,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
        Route::post(
            "negotiations.finalize",
            "/v1/negotiations/{pid}/finalize",
            "Provider: put the agreement in force",
            finalize,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
        Route::post(
            "negotiations.terminate",
            "/v1/negotiations/{pid}/terminate",
            "End a negotiation, and tell the partner why",
            terminate,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
    ]
}

/// A negotiation.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownNegotiation {
    /// Our process id.
    id: String,
    /// The partner's process id, once known.
    peer_id: Option<String>,
    /// When it began.
    created: String,
    /// When the latest message came or was decided on.
    changed: String,
    /// The partner's short name.
    partner: String,
    /// The partner.
    participant: String,
    /// Our side: `consumer` or `provider`.
    role: String,
    /// The acknowledged state (DSP 2025-1); absent until the partner has our first message.
    state: Option<String>,
    /// Our message that the partner has not acknowledged yet.
    pending: Option<String>,
    /// What is negotiated about.
    dataset: String,
    /// The offer's id.
    offer: String,
    /// The terms as they stand (ODRL).
    #[schemars(with = "OdrlPolicy")]
    terms: Value,
    /// The declared purpose.
    purpose: Option<String>,
    /// The agreement, once there is one.
    agreement: Option<String>,
    /// Who takes our steps.
    handling: Handled,
    /// What waits for a decision.
    awaiting: Option<ShownAwaiting>,
    /// The steps that we may take now.
    steps: Vec<String>,
    /// Why it ended, where it did not end well.
    failure: Option<ShownFailure>,
}

/// What waits for a decision.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownAwaiting {
    /// Since when.
    pub(super) since: String,
    /// When it is denied for want of a decision.
    pub(super) deadline: String,
    /// The step that approving takes.
    pub(super) approving: Option<String>,
}

/// Why a process did not succeed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownFailure {
    code: String,
    reason: String,
    reference: Option<String>,
}

impl ShownNegotiation {
    pub(super) fn of(node: &Node, negotiation: &Negotiation) -> Self {
        let process = &negotiation.process;
        let name = |kind: MessageKind| steps::name_of(kind).to_owned();
        Self {
            id: negotiation.pid.to_string(),
            peer_id: negotiation.peer_pid.as_ref().map(ToString::to_string),
            created: negotiation.created.to_string(),
            changed: negotiation.changed.to_string(),
            partner: node.partner_name(&negotiation.participant),
            participant: negotiation.participant.to_string(),
            role: process.role().to_string(),
            state: process.state().map(|state| state.to_string()),
            pending: process.pending().map(|pending| pending.message.to_string()),
            dataset: negotiation.dataset.to_string(),
            offer: negotiation.offer.to_string(),
            terms: Value::clone(&negotiation.terms),
            purpose: negotiation.purpose.clone(),
            agreement: negotiation.agreement.as_ref().map(ToString::to_string),
            handling: negotiation.handling.into(),
            awaiting: negotiation.awaiting.map(|awaiting| ShownAwaiting {
                since: awaiting.since.to_string(),
                deadline: awaiting.deadline.to_string(),
                approving: steps::natural(negotiation).map(|step| name(step.message())),
            }),
            steps: steps::possible(negotiation).into_iter().map(name).collect(),
            failure: negotiation.failure.as_ref().map(|failure| ShownFailure {
                code: failure.code.clone(),
                reason: failure.reason.clone(),
                reference: failure.reference.clone(),
            }),
        }
    }
}

async fn show(call: Call) -> Result<Json<ShownNegotiation>, ApiError> {
    let negotiation = found(&call, call.segment("pid")).await?;
    Ok(Json(ShownNegotiation::of(call.node(), &negotiation)))
}

fn sees(call: &Call, negotiation: &Negotiation) -> bool {
    let purpose = negotiation.purpose.as_deref();
    call.caller.scope.sees(&negotiation.participant, &negotiation.dataset, purpose)
}

/// A negotiation that the caller may see.
pub(super) async fn found(call: &Call, pid: &str) -> Result<Negotiation, ApiError> {
    let unknown = || {
        ApiError::not_found(format!("there is no negotiation `{pid}`"))
            .help("`sekisho negotiation list` shows them")
    };
    let pid = Pid::new(pid).map_err(|_| unknown())?;
    let looked_up = call.node().commit(move |view| {
        Ok(engine::Decision::answer(view.entity(&engine::Key::Negotiation(pid.clone()))?))
    });
    match looked_up.await?.as_deref() {
        Some(Entity::Negotiation(negotiation)) if sees(call, negotiation) => {
            Ok(negotiation.clone())
        }
        _ => Err(unknown()),
    }
}

/// What to begin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Begin {
    /// The partner's short name or participant id.
    partner: String,
    /// Our side.
    role: Side,
    /// The dataset's id.
    #[schemars(with = "String")]
    dataset: DatasetId,
    /// Which offer; else the first that fits.
    #[schemars(with = "Option<String>")]
    offer: Option<OfferId>,
    /// The terms (an ODRL policy). As consumer: what is requested, without a look into the partner's catalog; needs
    /// `offer`. As provider: what is offered in place of the published terms.
    terms: Option<Value>,
    /// The declared purpose.
    purpose: Option<String>,
    /// `manual`: each step of ours waits for a decision.
    handling: Option<Handled>,
    /// Why, for the journal.
    reason: Option<String>,
}

/// Our side of a negotiation.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Side {
    /// We ask for a dataset of the partner.
    Consumer,
    /// We offer a dataset of ours.
    Provider,
}

/// Who takes our steps.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Handled {
    /// The node.
    Auto,
    /// A person or an application.
    Manual,
}

impl From<Handling> for Handled {
    fn from(handling: Handling) -> Self {
        match handling {
            Handling::Auto => Self::Auto,
            Handling::Manual => Self::Manual,
        }
    }
}

impl From<Handled> for Handling {
    fn from(handled: Handled) -> Self {
        match handled {
            Handled::Auto => Self::Auto,
            Handled::Manual => Self::Manual,
        }
    }
}

async fn begin(call: Call, asked: Begin) -> Result<Created<ShownNegotiation>, ApiError> {
    let node = Arc::clone(call.node());
    let participant = call.caller.partner(&node, &asked.partner)?;
    call.caller.check(&participant, &asked.dataset, asked.purpose.as_deref())?;
    call.caller.check_terms(asked.terms.as_ref(), matches!(asked.role, Side::Provider))?;
    node.check_owing(&participant)?;
    let beginning = Beginning {
        participant: participant.clone(),
        handling: asked.handling.map(Handling::from),
        decider: Decider { person: Some(call.person()), reason: asked.reason.clone() },
    };
    let (context, fresh) = (Arc::clone(&node.context), node.fresh());
    let negotiation = match asked.role {
        Side::Consumer => {
            let choice = choice(&node, &participant, asked).await?;
            node.decide(move |view| {
                steps::begin_request(view, &context, &fresh, &beginning, &choice)
            })
            .await?
        }
        Side::Provider => {
            let offering = Offering {
                dataset: asked.dataset,
                offer: asked.offer,
                terms: asked.terms,
                purpose: asked.purpose,
            };
            node.decide(move |view| {
                steps::begin_offer(view, &context, &fresh, &beginning, &offering)
            })
            .await?
        }
    };
    Ok(Created(ShownNegotiation::of(&node, &negotiation)))
}

/// What to request: the given terms as they are, or an offer of the partner's catalog.
async fn choice(
    node: &Arc<Node>,
    participant: &ParticipantId,
    asked: Begin,
) -> Result<Choice, ApiError> {
    match (asked.terms, asked.offer) {
        (Some(terms), Some(offer)) => {
            Ok(Choice { dataset: asked.dataset, offer, terms, purpose: asked.purpose })
        }
        (Some(_), None) => Err(ApiError::invalid("the given terms need the id of their offer")
            .help("give `offer` too, or leave `terms` out to request what the partner offers")),
        (None, offer) => {
            let purpose = asked.purpose.as_deref();
            pulls::choose(node, participant, &asked.dataset, offer.as_ref(), purpose).await.map_err(
                |error| match error {
                    PullError::Send(error) => super::catalog::unsent(node, &asked.partner, &error),
                    PullError::Trouble(trouble) => trouble.into(),
                    PullError::NotOffered { .. } => ApiError::not_found(error.to_string()),
                    error => ApiError::invalid(error.to_string()),
                },
            )
        }
    }
}

/// Why, for the journal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    pub(super) reason: Option<String>,
}

/// Terms, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Terms {
    /// An ODRL policy.
    terms: Option<Value>,
    /// Why, for the journal.
    reason: Option<String>,
}

/// What is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// An ODRL policy.
    terms: Value,
    /// What the asked offer is called; else as the partner's.
    #[schemars(with = "Option<String>")]
    offer: Option<OfferId>,
    /// Why, for the journal.
    reason: Option<String>,
}

/// How a negotiation ends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct End {
    /// For the partner's programs; else `terminated`.
    code: Option<String>,
    /// For the partner's people, and the journal.
    reason: Option<String>,
}

async fn offer(call: Call, given: Terms) -> Result<Json<ShownNegotiation>, ApiError> {
    take(call, Step::Offer { terms: given.terms }, given.reason).await
}

async fn request(call: Call, asked: Asked) -> Result<Json<ShownNegotiation>, ApiError> {
    take(call, Step::Request { terms: asked.terms, offer: asked.offer }, asked.reason).await
}

async fn agree(call: Call, given: Terms) -> Result<Json<ShownNegotiation>, ApiError> {
    take(call, Step::Agree { terms: given.terms }, given.reason).await
}

async fn accept(call: Call, why: Why) -> Result<Json<ShownNegotiation>, ApiError> {
    take(call, Step::Accept, why.reason).await
}

async fn verify(call: Call, why: Why) -> Result<Json<ShownNegotiation>, ApiError> {
    take(call, Step::Verify, why.reason).await
}

async fn finalize(call: Call, why: Why) -> Result<Json<ShownNegotiation>, ApiError> {
    take(call, Step::Finalize, why.reason).await
}

async fn terminate(call: Call, end: End) -> Result<Json<ShownNegotiation>, ApiError> {
    let code = end.code.unwrap_or_else(|| "terminated".to_owned());
    let reason = end.reason.clone().unwrap_or_else(|| "ended by an operator".to_owned());
    take(call, Step::Terminate { code, reason }, end.reason).await
}

/// Takes a step in the name of the caller.
async fn take(
    call: Call,
    step: Step,
    reason: Option<String>,
) -> Result<Json<ShownNegotiation>, ApiError> {
    let pid = found(&call, call.segment("pid")).await?.pid;
    match &step {
        Step::Offer { terms } | Step::Agree { terms } => {
            call.caller.check_terms(terms.as_ref(), true)?;
        }
        Step::Request { terms, .. } => call.caller.check_terms(Some(terms), false)?,
        _ => {}
    }
    let node = Arc::clone(call.node());
    let decider = Decider { person: Some(call.person()), reason };
    let (context, fresh, attempted) =
        (Arc::clone(&node.context), node.fresh(), node.attempts.any(&pid));
    let negotiation = node
        .decide(move |view| steps::act(view, &context, &fresh, &pid, &step, &decider, attempted))
        .await?;
    Ok(Json(ShownNegotiation::of(&node, &negotiation)))
}

//! Agreements: shown, imported where they were made elsewhere, and ended.

use std::sync::Arc;

use engine::agreements::Import;
use engine::entity::{Agreement, Side};
use engine::{Decider, Decision, Entity, Handling, Key};
use protocol::id::{AgreementId, Pid};
use protocol::message;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::ApiError;
use super::caller::{POLICY, READERS_AND_APPLICATIONS};
use super::duties;
use super::partners::unknown as unknown_partner;
use super::route::{Call, Created, Json, Route};
use crate::node::Node;
use crate::transfers;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "agreements.import",
            "/v1/agreements",
            "Take an agreement that was made elsewhere: from then on it stands as though it had been negotiated here",
            import,
        )
        .for_roles(POLICY),
        Route::get("agreements.show", "/v1/agreements/{id}", "One agreement, with its terms", show)
            .for_roles(READERS_AND_APPLICATIONS),
        Route::post(
            "agreements.end",
            "/v1/agreements/{id}/end",
            "End an agreement: what runs under it is cut, its transfers are terminated",
            end,
        )
        .for_roles(POLICY),
    ]
}

/// An agreement that was made elsewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Imported {
    /// The partner's short name or participant id.
    partner: String,
    /// Our side.
    side: OurSide,
    /// The agreement (ODRL, as in a DSP ContractAgreementMessage): `@id`, `assigner`, `assignee`, `target` and rules.
    agreement: Value,
    /// The consumer's process id of the negotiation that made it.
    #[serde(rename = "consumerPid")]
    consumer_pid: Option<String>,
    /// The provider's.
    #[serde(rename = "providerPid")]
    provider_pid: Option<String>,
    /// The declared purpose; without, every purpose that the agreement names.
    purpose: Option<String>,
    /// Who takes our steps in transfers under it: `auto` or `manual`.
    #[schemars(with = "Option<String>")]
    handling: Option<Handling>,
    /// Why, for the journal.
    reason: String,
}

/// Which side of an agreement we are.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OurSide {
    Provider,
    Consumer,
}

/// Why, for the journal and for the partner.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ending {
    reason: String,
}

async fn import(call: Call, imported: Imported) -> Result<Created<Value>, ApiError> {
    let node = call.node();
    let participant =
        node.partner_id(&imported.partner).ok_or_else(|| unknown_partner(&imported.partner))?;
    let agreement: message::Agreement = serde_json::from_value(imported.agreement)
        .map_err(|error| ApiError::invalid(format!("the agreement: {error}")))?;
    let pid = |name: &str, text: Option<String>| {
        text.map(|text| Pid::new(&text))
            .transpose()
            .map_err(|error| ApiError::invalid(format!("{name}: {error}")))
    };
    let import = Import {
        side: match imported.side {
            OurSide::Provider => Side::Provider,
            OurSide::Consumer => Side::Consumer,
        },
        agreement,
        consumer_pid: pid("consumerPid", imported.consumer_pid)?,
        provider_pid: pid("providerPid", imported.provider_pid)?,
        purpose: imported.purpose,
        handling: imported.handling.unwrap_or_default(),
    };
    let by = Decider { person: Some(call.person()), reason: Some(imported.reason) };
    let (context, fresh) = (Arc::clone(&node.context), node.fresh());
    let taken = node
        .decide(move |view| {
            engine::agreements::import(view, &context, &fresh, &participant, &import, &by)
        })
        .await?;
    crate::witness::later(node, &taken.participant);
    Ok(Created(whole(node, &taken)))
}

async fn show(call: Call) -> Result<Json<Value>, ApiError> {
    let id = call.segment("id");
    let unknown = || {
        ApiError::not_found(format!("there is no agreement `{id}`"))
            .help("`sekisho agreement list` shows all")
    };
    let key = Key::Agreement(AgreementId::new(id).map_err(|_| unknown())?);
    let found = call.node().commit(move |view| Ok(Decision::answer(view.entity(&key)?))).await?;
    match found.as_deref() {
        Some(Entity::Agreement(found))
            if call.caller.scope.has(&found.participant, &found.dataset) =>
        {
            let mut shown = whole(call.node(), found);
            if let Some(members) = shown.as_object_mut() {
                let duties = duties::of(call.node(), &found.id).await?;
                members.insert("duties".to_owned(), Value::Array(duties));
            }
            Ok(Json(shown))
        }
        _ => Err(unknown()),
    }
}

async fn end(call: Call, ending: Ending) -> Result<Json<Value>, ApiError> {
    let (node, id) = (call.node(), call.segment("id"));
    let id = AgreementId::new(id).map_err(|error| ApiError::invalid(error.to_string()))?;
    let by = Decider { person: Some(call.person()), reason: Some(ending.reason) };
    let ended = transfers::end_agreement(node, &id, &by).await?;
    Ok(Json(json!({
        "agreement": shown(node, &ended.agreement),
        "ended_before": ended.before,
        "transfers": ended.transfers,
    })))
}

/// An agreement with its terms.
fn whole(node: &Node, agreement: &Agreement) -> Value {
    let mut shown = shown(node, agreement);
    if let Some(members) = shown.as_object_mut() {
        members.insert("terms".to_owned(), agreement.terms.clone());
    }
    shown
}

/// An agreement in lists.
pub(super) fn shown(node: &Node, agreement: &Agreement) -> Value {
    let state = match (&agreement.ended, agreement.finalized) {
        (Some(_), _) => "ended",
        (None, true) => "in force",
        (None, false) => "not finalized",
    };
    json!({
        "id": agreement.id,
        "created": agreement.created.to_string(),
        "partner": node.partner_name(&agreement.participant),
        "participant": agreement.participant,
        "side": agreement.side,
        "state": state,
        "dataset": agreement.dataset,
        "offer": agreement.offer,
        "purpose": agreement.purpose,
        "handling": agreement.handling,
        "negotiation": agreement.negotiation,
        "sha256": agreement.sha256,
        "policy_sha256": agreement.policy_sha256,
        "ended": agreement.ended.as_ref().map(|(when, why)| {
            json!({ "when": when.to_string(), "why": why })
        }),
    })
}

//! What waits for a decision, and deciding it.

use std::sync::Arc;

use engine::entity::{Agreement, Transfer};
use engine::keys::Scope;
use engine::negotiation::steps;
use engine::transfer::{Order, Step as Grant};
use engine::{Awaiting, Decider, Decision, Entity, Key, Kind, approvals};
use protocol::id::{AgreementId, DatasetId, ParticipantId, Pid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::{ApiError, ErrorKind};
use super::caller::POLICY;
use super::route::{Call, Json, Route};
use super::transfers;
use crate::node::Node;

/// How many open processes are read at once.
const SCAN_STEP: usize = 512;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "approvals.approve",
            "/v1/approvals/{id}/approve",
            "Approve what waits: take the step that leads on to an agreement, or grant the transfer",
            approve,
        )
        .for_roles(POLICY),
        Route::post(
            "approvals.deny",
            "/v1/approvals/{id}/deny",
            "Deny what waits: end the process. The partner is told that it was denied, not why",
            deny,
        )
        .for_roles(POLICY),
    ]
}

/// One process that waits for a decision.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Approval {
    /// Our process id.
    id: String,
    /// What kind of process it is.
    kind: &'static str,
    /// The partner's short name.
    partner: String,
    /// The partner.
    participant: String,
    /// Our side: `consumer` or `provider`.
    role: String,
    /// The acknowledged state (DSP 2025-1).
    state: Option<String>,
    /// What it is about.
    dataset: String,
    /// The declared purpose.
    purpose: Option<String>,
    /// The agreement, of a transfer.
    agreement: Option<String>,
    /// The terms that would be agreed, or are (ODRL).
    #[schemars(with = "Option<super::shape::OdrlPolicy>")]
    terms: Value,
    /// What approving would do.
    approving: Option<String>,
    /// Since when it waits.
    since: String,
    /// When it is denied for want of a decision.
    deadline: String,
}

impl Approval {
    /// Whether somebody with this scope may see it.
    pub(super) fn is_within(&self, scope: &Scope) -> bool {
        let parts = (ParticipantId::new(&self.participant), DatasetId::new(&self.dataset));
        matches!(parts, (Ok(participant), Ok(dataset))
            if scope.sees(&participant, &dataset, self.purpose.as_deref()))
    }
}

/// What waits for a decision, in no order.
///
/// # Errors
/// When the state cannot be read.
pub(super) async fn waiting(node: &Arc<Node>) -> Result<Vec<Approval>, ApiError> {
    let mut found = Vec::new();
    for kind in [Kind::Negotiation, Kind::Transfer] {
        let mut after = None;
        loop {
            let page = node.store.scan_hot(kind, after.take(), SCAN_STEP).await?;
            after = page.last().map(|(key, _)| key.clone());
            found.extend(page.iter().filter_map(|(_, entity)| waiting_in(node, entity)));
            if page.len() < SCAN_STEP {
                break;
            }
        }
    }
    for approval in &mut found {
        if let Some(agreement) = agreement(node, approval.agreement.as_deref()).await? {
            approval.terms = agreement.terms;
            approval.purpose = agreement.purpose;
        }
    }
    Ok(found)
}

/// What waits in a process.
fn waiting_in(node: &Node, entity: &Entity) -> Option<Approval> {
    match entity {
        Entity::Negotiation(own) => {
            let Awaiting { since, deadline } = own.awaiting?;
            let approving = steps::natural(own).map(|step| steps::name_of(step.message()));
            Some(Approval {
                id: own.pid.to_string(),
                kind: "negotiation",
                partner: node.partner_name(&own.participant),
                participant: own.participant.to_string(),
                role: own.process.role().to_string(),
                state: own.process.state().map(|state| state.to_string()),
                dataset: own.dataset.to_string(),
                purpose: own.purpose.clone(),
                agreement: None,
                terms: Value::clone(&own.terms),
                approving: approving.map(str::to_owned),
                since: since.to_string(),
                deadline: deadline.to_string(),
            })
        }
        Entity::Transfer(own) => {
            let Awaiting { since, deadline } = own.awaiting?;
            Some(Approval {
                id: own.pid.to_string(),
                kind: "transfer",
                partner: node.partner_name(&own.participant),
                participant: own.participant.to_string(),
                role: own.process.role().to_string(),
                state: own.process.state().map(|state| state.on_wire().as_str().to_owned()),
                dataset: own.dataset.to_string(),
                purpose: None,
                agreement: Some(own.agreement.to_string()),
                terms: Value::Null,
                approving: granting(own).then(|| Grant::Start.name().to_owned()),
                since: since.to_string(),
                deadline: deadline.to_string(),
            })
        }
        _ => None,
    }
}

/// Whether approving a transfer starts it.
pub(super) fn granting(transfer: &Transfer) -> bool {
    engine::transfer::steps(transfer).contains(&Grant::Start)
}

/// The agreement that a transfer rests on.
async fn agreement(node: &Arc<Node>, id: Option<&str>) -> Result<Option<Agreement>, ApiError> {
    let Some(id) = id.and_then(|id| AgreementId::new(id).ok()) else { return Ok(None) };
    let looked_up =
        node.commit(move |view| Ok(Decision::answer(view.entity(&Key::Agreement(id.clone()))?)));
    Ok(match looked_up.await?.as_deref() {
        Some(Entity::Agreement(agreement)) => Some(agreement.clone()),
        _ => None,
    })
}

/// Why, for the journal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Decided {
    reason: String,
}

/// What came of a decision.
#[derive(Debug, Serialize, JsonSchema)]
struct Outcome {
    /// Our process id.
    id: String,
    /// What kind of process it is.
    kind: &'static str,
    /// The acknowledged state (DSP 2025-1).
    state: Option<String>,
    /// Our message that is on its way to the partner.
    pending: Option<String>,
}

async fn approve(call: Call, decided: Decided) -> Result<Json<Outcome>, ApiError> {
    let (node, pid) = (Arc::clone(call.node()), pid_of(&call)?);
    let decider = Decider { person: Some(call.person()), reason: Some(decided.reason) };
    if let Some(Entity::Transfer(waiting)) = process(&node, &pid).await?.as_deref() {
        if waiting.awaiting.is_none() || !granting(waiting) {
            let text = format!("nothing waits for a decision in process `{pid}`");
            return Err(ApiError::new(ErrorKind::Refused, text));
        }
        let order = Order { step: Grant::Start, code: None, by: decider };
        transfers::act(&node, &pid, order).await?;
        return outcome(&node, &pid).await;
    }
    let (context, fresh, attempted) =
        (Arc::clone(&node.context), node.fresh(), node.attempts.any(&pid));
    let ours = pid.clone();
    node.decide(move |view| steps::approve(view, &context, &fresh, &ours, &decider, attempted))
        .await?;
    outcome(&node, &pid).await
}

async fn deny(call: Call, decided: Decided) -> Result<Json<Outcome>, ApiError> {
    let (node, pid) = (Arc::clone(call.node()), pid_of(&call)?);
    let decider = Decider { person: Some(call.person()), reason: Some(decided.reason) };
    let (context, fresh, attempted) =
        (Arc::clone(&node.context), node.fresh(), node.attempts.any(&pid));
    let ours = pid.clone();
    node.decide(move |view| approvals::deny(view, &context, &fresh, &ours, &decider, attempted))
        .await?;
    outcome(&node, &pid).await
}

fn pid_of(call: &Call) -> Result<Pid, ApiError> {
    let id = call.segment("id");
    Pid::new(id).map_err(|_| {
        ApiError::not_found(format!("nothing waits under `{id}`"))
            .help("`sekisho approvals list` shows what waits")
    })
}

/// The process of an id, whatever kind it is.
async fn process(node: &Arc<Node>, pid: &Pid) -> Result<Option<Arc<Entity>>, ApiError> {
    let pid = pid.clone();
    let looked_up = node.commit(move |view| {
        let negotiation = view.entity(&Key::Negotiation(pid.clone()))?;
        Ok(Decision::answer(match negotiation {
            Some(negotiation) => Some(negotiation),
            None => view.entity(&Key::Transfer(pid.clone()))?,
        }))
    });
    Ok(looked_up.await?)
}

async fn outcome(node: &Arc<Node>, pid: &Pid) -> Result<Json<Outcome>, ApiError> {
    let found = process(node, pid).await?;
    let (kind, state, pending) = match found.as_deref() {
        Some(Entity::Negotiation(own)) => (
            "negotiation",
            own.process.state().map(|state| state.to_string()),
            own.process.pending().map(|pending| pending.message.to_string()),
        ),
        Some(Entity::Transfer(own)) => (
            "transfer",
            own.process.state().map(|state| state.on_wire().as_str().to_owned()),
            own.process.pending().map(|pending| pending.message.message_type().to_owned()),
        ),
        _ => ("process", None, None),
    };
    Ok(Json(Outcome { id: pid.to_string(), kind, state, pending }))
}

//! Duties of agreements: listed, and recorded as fulfilled.

use std::collections::BTreeMap;

use engine::entity::{Duties, Duty, ObligationState, Side};
use engine::{Decider, Entity, Key, Kind};
use protocol::id::AgreementId;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::ApiError;
use super::caller::{POLICY, READERS_AND_APPLICATIONS};
use super::route::{Call, Json, Route};
use crate::node::Node;

/// How many entities are read at once.
const SCAN_STEP: usize = 256;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("duties.list", "/v1/duties", "The duties of agreements, by deadline", list)
            .for_roles(READERS_AND_APPLICATIONS)
            .query::<bool>("open", "only those that still have to be done"),
        Route::post(
            "duties.fulfil",
            "/v1/agreements/{id}/duties/{number}/fulfil",
            "Record that a duty was fulfilled, by whom and how",
            fulfil,
        )
        .for_roles(POLICY),
    ]
}

/// How a duty was fulfilled.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fulfilled {
    /// How, for the journal.
    how: String,
    /// What the refinements of the duty ask for, by the name of the operand, such as `payAmount`.
    #[serde(default)]
    facts: BTreeMap<String, String>,
}

async fn list(mut call: Call) -> Result<Json<Value>, ApiError> {
    let open = call.query.take::<bool>("open")?.unwrap_or(false);
    let (node, scope) = (call.node(), call.caller.scope.clone());
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = node.store.scan_hot(Kind::Duties, after.take(), SCAN_STEP).await?;
        for (_, entity) in &page {
            let Entity::Duties(duties) = entity.as_ref() else { continue };
            for duty in &duties.list {
                let done = duty.state == ObligationState::Fulfilled;
                if !(open && done) && scope.has(&duties.participant, &duties.dataset) {
                    found.push((duty.deadline, shown(node, duties, duty)));
                }
            }
        }
        if page.len() < SCAN_STEP {
            break;
        }
        after = page.last().map(|(key, _)| key.clone());
    }
    // Those without a deadline come last.
    found.sort_by_key(|(deadline, _)| (deadline.is_none(), *deadline));
    let listed: Vec<Value> = found.into_iter().map(|(_, shown)| shown).collect();
    Ok(Json(json!({ "duties": listed })))
}

async fn fulfil(call: Call, fulfilled: Fulfilled) -> Result<Json<Value>, ApiError> {
    let node = call.node();
    let id = AgreementId::new(call.segment("id"))
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let number: u32 = (call.segment("number").parse())
        .map_err(|_| ApiError::invalid("the number of a duty is a whole number, from 1"))?;
    let by = Decider { person: Some(call.person()), reason: Some(fulfilled.how) };
    let fresh = node.fresh();
    let duties = node
        .decide(move |view| {
            engine::duties::fulfil(view, &fresh, &id, number, &by, &fulfilled.facts)
        })
        .await?;
    let duty = duties.list.iter().find(|duty| duty.number == number);
    Ok(Json(duty.map(|duty| shown(node, &duties, duty)).unwrap_or_default()))
}

/// The duties of one agreement.
pub(super) async fn of(node: &Node, id: &AgreementId) -> Result<Vec<Value>, ApiError> {
    let key = Key::Duties(id.clone());
    let found = node.store.hot(vec![key]).await?;
    let duties = found.iter().filter_map(|(_, entity)| match entity.as_ref() {
        Entity::Duties(duties) => Some(duties),
        _ => None,
    });
    Ok(duties.flat_map(|of| of.list.iter().map(|duty| shown(node, of, duty))).collect())
}

fn shown(node: &Node, duties: &Duties, duty: &Duty) -> Value {
    let bearer = match duty.bearer {
        Side::Provider => "provider",
        Side::Consumer => "consumer",
    };
    json!({
        "agreement": duties.agreement,
        "dataset": duties.dataset,
        "number": duty.number,
        "partner": node.partner_name(&duties.participant),
        "participant": duties.participant,
        "place": duty.place,
        "clause": duty.clause,
        "actions": duty.actions,
        "bearer": bearer,
        "before_use": duty.is_condition,
        "deadline": duty.deadline.map(|deadline| deadline.to_string()),
        "state": duty.state,
        "violated": duty.violated.map(|when| when.to_string()),
        "blocks_transfers": duty.blocks(),
        "fulfilled": duty.fulfilled.as_ref().map(|done| json!({
            "when": done.at.to_string(),
            "by": done.by,
            "how": done.how,
            "facts": done.facts,
        })),
    })
}

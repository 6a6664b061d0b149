//! Duties of agreements: shown, and recorded as fulfilled. `list` lists them.

use std::collections::BTreeMap;

use engine::duties::DELETE;
use engine::entity::{Duties, Duty, ObligationState, Side};
use engine::{Decider, Entity, Key};
use protocol::id::AgreementId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agreements::OurSide;
use super::answer::{ApiError, ErrorKind};
use super::caller::POLICY;
use super::route::{Call, Json, Route};
use crate::node::Node;
use crate::pulls;

pub(super) fn routes() -> Vec<Route> {
    vec![
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

/// A duty of an agreement.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownDuty {
    /// The agreement's id, `#` and the number.
    id: String,
    agreement: String,
    dataset: String,
    /// Its number within the agreement, from 1.
    number: u32,
    /// The other party's short name.
    partner: String,
    /// The other party.
    participant: String,
    /// Its place in the policy, such as `obligation 1`.
    place: String,
    /// In the short form of policy files.
    clause: String,
    actions: Vec<String>,
    /// Who must do it.
    bearer: OurSide,
    /// Whether it must be done before a permission holds.
    before_use: bool,
    /// Until when.
    deadline: Option<String>,
    /// `not-set`, `fulfilled` or `violated`.
    #[schemars(with = "String")]
    state: ObligationState,
    /// Whether it still has to be done.
    open: bool,
    /// When it was found not to have been done in time.
    violated: Option<String>,
    /// Whether new transfers are refused because of it.
    blocks_transfers: bool,
    fulfilled: Option<ShownFulfilment>,
}

/// That a duty was done.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownFulfilment {
    /// When it was recorded.
    when: String,
    /// Who says so; nobody where this node did it itself.
    by: Option<String>,
    how: String,
    /// What the refinements of the duty asked for.
    facts: BTreeMap<String, String>,
}

impl ShownDuty {
    fn of(node: &Node, duties: &Duties, duty: &Duty) -> Self {
        Self {
            id: format!("{}#{}", duties.agreement, duty.number),
            agreement: duties.agreement.to_string(),
            dataset: duties.dataset.to_string(),
            number: duty.number,
            partner: node.partner_name(&duties.participant),
            participant: duties.participant.to_string(),
            place: duty.place.clone(),
            clause: duty.clause.clone(),
            actions: duty.actions.clone(),
            bearer: match duty.bearer {
                Side::Provider => OurSide::Provider,
                Side::Consumer => OurSide::Consumer,
            },
            before_use: duty.is_condition,
            deadline: duty.deadline.map(|deadline| deadline.to_string()),
            state: duty.state,
            open: duty.state != ObligationState::Fulfilled,
            violated: duty.violated.map(|when| when.to_string()),
            blocks_transfers: duty.blocks(),
            fulfilled: duty.fulfilled.as_ref().map(|done| ShownFulfilment {
                when: done.at.to_string(),
                by: done.by.clone(),
                how: done.how.clone(),
                facts: done.facts.clone(),
            }),
        }
    }

    /// The duties of an agreement.
    pub(super) fn all<'a>(node: &'a Node, duties: &'a Duties) -> impl Iterator<Item = Self> + 'a {
        duties.list.iter().map(|duty| Self::of(node, duties, duty))
    }
}

async fn fulfil(call: Call, fulfilled: Fulfilled) -> Result<Json<ShownDuty>, ApiError> {
    let node = call.node();
    let id = AgreementId::new(call.segment("id"))
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let number: u32 = (call.segment("number").parse())
        .map_err(|_| ApiError::invalid("the number of a duty is a whole number, from 1"))?;
    let by = Decider { person: Some(call.person()), reason: Some(fulfilled.how) };
    let (fresh, agreement) = (node.fresh(), id.clone());
    let duties = node
        .decide(move |view| {
            engine::duties::fulfil(view, &fresh, &id, number, &by, &fulfilled.facts)
        })
        .await?;
    // INVARIANT: the decision refuses a number that the agreement has not.
    let missing = || ApiError::new(ErrorKind::Internal, "the duty that was recorded is gone");
    let duty = duties.list.iter().find(|duty| duty.number == number).ok_or_else(missing)?;
    if duty.bearer == Side::Consumer && duty.actions.iter().any(|action| action == DELETE) {
        let why = "it was recorded that the data were deleted";
        pulls::let_go(node, &agreement, why, &call.person()).await?;
    }
    Ok(Json(ShownDuty::of(node, &duties, duty)))
}

/// The duties of one agreement.
pub(super) async fn of(node: &Node, id: &AgreementId) -> Result<Vec<ShownDuty>, ApiError> {
    let key = Key::Duties(id.clone());
    let found = node.store.hot(vec![key]).await?;
    let duties = found.iter().filter_map(|(_, entity)| match entity.as_ref() {
        Entity::Duties(duties) => Some(duties),
        _ => None,
    });
    Ok(duties.flat_map(|of| ShownDuty::all(node, of)).collect())
}

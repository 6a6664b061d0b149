//! Duties of agreements: shown, and recorded as fulfilled; infringements of prohibitions, recorded. `list` lists duties.

use std::collections::BTreeMap;

use engine::duties::DELETE;
use engine::entity::{Duties, Duty, Infringement, ObligationState, Side};
use engine::{Decider, Entity, Key};
use jiff::Timestamp;
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
            "/v1/agreements/{id}/duties/{duty}/fulfil",
            "Record that a duty was fulfilled, by whom and how",
            fulfil,
        )
        .for_roles(POLICY),
        Route::post(
            "prohibitions.infringed",
            "/v1/agreements/{id}/prohibitions/{prohibition}/infringed",
            "Record that a prohibition was infringed, so that its remedies are owed",
            infringed,
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

/// That a prohibition was infringed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Infringed {
    /// What was done, and how it is known, for the journal.
    how: String,
    /// When, RFC 3339; now, where it is not given. Its remedies are owed from then on.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    at: Option<Timestamp>,
}

/// A duty of an agreement.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownDuty {
    /// The agreement's id, `#` and the name.
    id: String,
    agreement: String,
    dataset: String,
    /// Its name within the agreement, the same on both nodes: its place in the policy, such as `obligation-1`,
    /// `permission-1-duty-2`, `prohibition-1-remedy-1` or `obligation-1-consequence-1`.
    name: String,
    /// The other party's short name.
    partner: String,
    /// The other party.
    participant: String,
    /// In the short form of policy files.
    clause: String,
    actions: Vec<String>,
    /// Who must do it.
    bearer: OurSide,
    /// The same as an identifier: the one that the policy names, or else that of the party.
    bearer_id: String,
    /// Whether this site must do it.
    ours: bool,
    /// Whether it must be done before a permission holds.
    before_use: bool,
    /// Whether it is known that its conditions hold. What cannot be decided here counts as owed.
    certain: bool,
    /// The conditions that cannot be decided here, each with what is missing for it.
    undecided: Vec<String>,
    /// Since when it is owed.
    since: Option<String>,
    /// Until when. Of a consequence or remedy it is known once it is owed, for it counts from then.
    deadline: Option<String>,
    /// `inactive` (nothing need be done), `pending`, `fulfilled`, `violated`, or `not-understood`.
    #[schemars(with = "String")]
    state: ObligationState,
    /// Whether it still has to be done.
    open: bool,
    /// From when on it was not done in time; stays when it is made good.
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

/// A prohibition that was infringed, with what is owed for it.
#[derive(Debug, Serialize, JsonSchema)]
struct InfringedWithRemedies {
    #[serde(flatten)]
    infringement: ShownInfringement,
    /// The remedies of the prohibition.
    remedies: Vec<ShownDuty>,
}

/// That a prohibition was infringed, as somebody says.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownInfringement {
    /// The prohibition: its place in the policy, such as `prohibition-1`.
    prohibition: String,
    /// In the short form of policy files.
    clause: String,
    /// When it was infringed.
    at: String,
    /// When that was recorded.
    recorded: String,
    by: Option<String>,
    how: String,
}

impl From<&Infringement> for ShownInfringement {
    fn from(of: &Infringement) -> Self {
        Self {
            prohibition: of.prohibition.clone(),
            clause: of.clause.clone(),
            at: of.at.to_string(),
            recorded: of.recorded.to_string(),
            by: of.by.clone(),
            how: of.how.clone(),
        }
    }
}

impl ShownDuty {
    fn of(node: &Node, duties: &Duties, duty: &Duty) -> Self {
        let ours = duty.bearer == duties.side;
        let party = if ours { &node.context.participant } else { &duties.participant };
        Self {
            id: format!("{}#{}", duties.agreement, duty.name),
            agreement: duties.agreement.to_string(),
            dataset: duties.dataset.to_string(),
            name: duty.name.clone(),
            partner: node.partner_name(&duties.participant),
            participant: duties.participant.to_string(),
            clause: duty.clause.clone(),
            actions: duty.actions.clone(),
            bearer: match duty.bearer {
                Side::Provider => OurSide::Provider,
                Side::Consumer => OurSide::Consumer,
            },
            bearer_id: duty.party.clone().unwrap_or_else(|| party.to_string()),
            ours,
            before_use: duty.is_condition,
            certain: duty.is_certain,
            undecided: duty.undecided.clone(),
            since: duty.since.map(|since| since.to_string()),
            deadline: duty.deadline.map(|deadline| deadline.to_string()),
            state: duty.state,
            open: match duty.state {
                ObligationState::Inactive | ObligationState::Fulfilled => false,
                ObligationState::Violated => duty.blocks() || duty.fulfilled.is_none(),
                ObligationState::Pending | ObligationState::NotUnderstood => true,
            },
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
    let name = call.segment("duty").to_owned();
    let by = Decider { person: Some(call.person()), reason: Some(fulfilled.how) };
    let (fresh, asked, agreement) = (node.fresh(), name.clone(), id.clone());
    let duties = node
        .decide(move |view| {
            engine::duties::fulfil(view, &fresh, &id, &asked, &by, &fulfilled.facts)
        })
        .await?;
    // INVARIANT: the decision refuses a name that the agreement has not.
    let missing = || ApiError::new(ErrorKind::Internal, "the duty that was recorded is gone");
    let duty = duties.duty(&name).ok_or_else(missing)?;
    if duty.bearer == Side::Consumer && duty.actions.iter().any(|action| action == DELETE) {
        let why = "it was recorded that the data were deleted";
        pulls::let_go(node, &agreement, why, &call.person()).await?;
    }
    Ok(Json(ShownDuty::of(node, &duties, duty)))
}

async fn infringed(
    call: Call,
    infringed: Infringed,
) -> Result<Json<InfringedWithRemedies>, ApiError> {
    let node = call.node();
    let id = AgreementId::new(call.segment("id"))
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let prohibition = call.segment("prohibition").to_owned();
    let by = Decider { person: Some(call.person()), reason: Some(infringed.how) };
    let (fresh, asked) = (node.fresh(), prohibition.clone());
    let duties = node
        .decide(move |view| engine::duties::infringe(view, &fresh, &id, &asked, &by, infringed.at))
        .await?;
    // INVARIANT: the decision has just added it.
    let missing =
        || ApiError::new(ErrorKind::Internal, "the infringement that was recorded is gone");
    let infringement = duties.infringed.last().ok_or_else(missing)?.into();
    let remedies = format!("{prohibition}-remedy-");
    let of = duties.list.iter().filter(|duty| duty.name.starts_with(&remedies));
    let remedies = of.map(|duty| ShownDuty::of(node, &duties, duty)).collect();
    Ok(Json(InfringedWithRemedies { infringement, remedies }))
}

/// The duties of one agreement, and the infringements of its prohibitions.
pub(super) async fn of(
    node: &Node,
    id: &AgreementId,
) -> Result<(Vec<ShownDuty>, Vec<ShownInfringement>), ApiError> {
    let key = Key::Duties(id.clone());
    let found = node.store.hot(vec![key]).await?;
    let (mut duties, mut infringed) = (Vec::new(), Vec::new());
    for (_, entity) in &found {
        if let Entity::Duties(of) = entity.as_ref() {
            duties.extend(ShownDuty::all(node, of));
            infringed.extend(of.infringed.iter().map(ShownInfringement::from));
        }
    }
    Ok((duties, infringed))
}

//! Agreements: shown, imported where they were made elsewhere, and ended.

use std::sync::Arc;

use engine::agreements::Import;
use engine::entity::{Agreement, Side};
use engine::{Decider, Decision, Entity, Handling, Key, StoreError};
use protocol::id::{AgreementId, Pid};
use protocol::message;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::ApiError;
use super::caller::{POLICY, READERS_AND_APPLICATIONS};
use super::duties;
use super::duties::{ShownDuty, ShownInfringement};
use super::negotiations::Handled;
use super::partners::unknown as unknown_partner;
use super::route::{Call, Created, Json, Route};
use super::shape::OdrlPolicy;
use crate::node::Node;
use crate::offboard::{self, Asked, Holding};
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
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OurSide {
    Provider,
    Consumer,
}

/// Why, for the journal and for the partner.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ending {
    reason: String,
}

async fn import(call: Call, imported: Imported) -> Result<Created<WholeAgreement>, ApiError> {
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
    Ok(Created(WholeAgreement::of(node, &taken)))
}

async fn show(call: Call) -> Result<Json<AgreementWithDuties>, ApiError> {
    let id = call.segment("id");
    let unknown = || {
        ApiError::not_found(format!("there is no agreement `{id}`"))
            .help("`sekisho agreement list` shows all")
    };
    let key = Key::Agreement(AgreementId::new(id).map_err(|_| unknown())?);
    let found = call.node().commit(move |view| Ok(Decision::answer(view.entity(&key)?))).await?;
    match found.as_deref() {
        Some(Entity::Agreement(found))
            if call.caller.scope.sees(
                &found.participant,
                &found.dataset,
                found.purpose.as_deref(),
            ) =>
        {
            let (duties, infringed) = duties::of(call.node(), &found.id).await?;
            let agreement = WholeAgreement::of(call.node(), found);
            Ok(Json(AgreementWithDuties { agreement, duties, infringed }))
        }
        _ => Err(unknown()),
    }
}

async fn end(call: Call, ending: Ending) -> Result<Json<EndedAgreement>, ApiError> {
    let (node, id) = (call.node(), call.segment("id"));
    let id = AgreementId::new(id).map_err(|error| ApiError::invalid(error.to_string()))?;
    let by = Decider { person: Some(call.person()), reason: Some(ending.reason) };
    let ended = transfers::end_agreement(node, &id, &by).await?;
    let asked = Asked { participant: Some(&ended.agreement.participant), agreement: Some(&id) };
    let holdings = offboard::holdings(node, asked).await;
    Ok(Json(EndedAgreement {
        // It has ended, whether or not this can be said now.
        holdings: match holdings {
            Ok(holdings) => Some(holdings),
            Err(StoreError::Rebuilding) => None,
            Err(error) => return Err(error.into()),
        },
        agreement: ShownAgreement::of(node, &ended.agreement),
        ended_before: ended.before,
        transfers: ended.transfers.iter().map(ToString::to_string).collect(),
    }))
}

/// An agreement in lists.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownAgreement {
    id: String,
    /// When it was made.
    created: String,
    /// The other party's short name.
    partner: String,
    /// The other party.
    participant: String,
    /// Our side.
    side: OurSide,
    /// `in force`, `not finalized` or `ended`.
    state: &'static str,
    dataset: String,
    /// The offer that it came from.
    offer: String,
    /// The declared purpose.
    purpose: Option<String>,
    /// Who takes our steps in transfers under it.
    handling: Handled,
    /// Our process id of the negotiation that made it.
    negotiation: String,
    /// SHA-256 of the RFC 8785 form of its terms, hexadecimal.
    sha256: String,
    /// The same of its rules alone, without parties and time.
    policy_sha256: String,
    ended: Option<Ended>,
}

/// When and why an agreement ended.
#[derive(Debug, Serialize, JsonSchema)]
struct Ended {
    when: String,
    why: String,
}

/// An agreement with its terms.
#[derive(Debug, Serialize, JsonSchema)]
struct WholeAgreement {
    #[serde(flatten)]
    agreement: ShownAgreement,
    /// The DSP Agreement (ODRL), as it was sent.
    #[schemars(with = "OdrlPolicy")]
    terms: Value,
    /// The clauses that this node cannot honour: they deny what they concern.
    not_honoured: Vec<String>,
}

/// An agreement with its terms and the duties under it.
#[derive(Debug, Serialize, JsonSchema)]
struct AgreementWithDuties {
    #[serde(flatten)]
    agreement: WholeAgreement,
    /// Every duty of its policy, owed or not.
    duties: Vec<ShownDuty>,
    /// Infringements of its prohibitions that were recorded here.
    infringed: Vec<ShownInfringement>,
}

/// An agreement that was ended.
#[derive(Debug, Serialize, JsonSchema)]
struct EndedAgreement {
    agreement: ShownAgreement,
    /// Whether it had ended before.
    ended_before: bool,
    /// Our process ids of the transfers that were terminated with it.
    transfers: Vec<String>,
    /// What data under it we hold, and what data of ours the partner holds; nothing while the index is being rebuilt.
    holdings: Option<Vec<Holding>>,
}

impl From<Side> for OurSide {
    fn from(side: Side) -> Self {
        match side {
            Side::Provider => Self::Provider,
            Side::Consumer => Self::Consumer,
        }
    }
}

impl WholeAgreement {
    fn of(node: &Node, agreement: &Agreement) -> Self {
        let terms = agreement.terms.clone();
        let not_honoured = engine::judge::not_honoured(&terms);
        Self { agreement: ShownAgreement::of(node, agreement), terms, not_honoured }
    }
}

impl ShownAgreement {
    pub(super) fn of(node: &Node, agreement: &Agreement) -> Self {
        Self {
            id: agreement.id.to_string(),
            created: agreement.created.to_string(),
            partner: node.partner_name(&agreement.participant),
            participant: agreement.participant.to_string(),
            side: agreement.side.into(),
            state: match (&agreement.ended, agreement.finalized) {
                (Some(_), _) => "ended",
                (None, true) => "in force",
                (None, false) => "not finalized",
            },
            dataset: agreement.dataset.to_string(),
            offer: agreement.offer.to_string(),
            purpose: agreement.purpose.clone(),
            handling: agreement.handling.into(),
            negotiation: agreement.negotiation.to_string(),
            sha256: agreement.sha256.clone(),
            policy_sha256: agreement.policy_sha256.clone(),
            ended: agreement
                .ended
                .as_ref()
                .map(|(when, why)| Ended { when: when.to_string(), why: why.clone() }),
        }
    }
}

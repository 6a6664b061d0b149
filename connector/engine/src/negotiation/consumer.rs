//! The consumer's side of a negotiation.

use policy::odrl::Policy;
use protocol::id::{DatasetId, OfferId, PurposeId};
use protocol::message::{
    self, ContractAgreementVerificationMessage, ContractRequestMessage, MessageOffer, RequestStage,
};
use protocol::negotiation::{MessageKind, Process};
use protocol::path::{BaseUrl, Endpoint};
use protocol::process::Role;
use serde_json::{Value, json};

use super::provider::agreement_entity;
use super::{await_decision, send, terminate_with};
use crate::context::{self, Context, Fresh, Stop};
use crate::entity::{Agreement, Held, Negotiation, Partner, Side, Subject};
use crate::process::{Draft, Owed, owe, towards};
use crate::refusal::RefusalKind;
use crate::{Account, Category, Handling, Key, LogId, RecordDraft, RecordKind, View, handling};

/// The offer that we choose to request.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The dataset.
    pub dataset: DatasetId,
    /// The offer's id.
    pub offer: OfferId,
    /// The offer as the provider's catalog has it.
    pub terms: Value,
    /// The purpose that we declare.
    pub purpose: Option<String>,
}

/// Begins a negotiation: the request for an offer, owed to the provider. The answer is the negotiation.
///
/// # Errors
/// A refusal where the offer cannot be requested.
pub fn request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    choice: &Choice,
) -> Result<(Negotiation, Vec<RecordDraft>), crate::Refusal> {
    let invalid = |reason: String| {
        crate::Refusal::new(RefusalKind::Invalid, reason.clone(), reason, fresh.reference)
    };
    let process = Process::begin(Role::Consumer, MessageKind::Request)
        .map_err(|rejection| invalid(rejection.to_string()))?;
    let base = BaseUrl::new(&partner.dsp_endpoint)
        .map_err(|error| invalid(format!("partner `{}`: {error}", partner.name)))?;
    let callback =
        BaseUrl::new(&context.dsp_endpoint).map_err(|error| invalid(error.to_string()))?;
    let offer = MessageOffer::new(&choice.offer, &choice.dataset, &choice.terms)
        .map_err(|error| invalid(error.to_string()))?;
    let purpose = match &choice.purpose {
        Some(purpose) => Some(PurposeId::new(purpose).map_err(|error| invalid(error.to_string()))?),
        None => None,
    };
    let pid = fresh.pid();
    let terms = offer.document().clone();
    let text = message::to_json(
        &ContractRequestMessage {
            consumer_pid: pid.clone(),
            stage: RequestStage::Initial { callback_address: callback },
            offer,
            purpose: purpose.filter(|_| partner.extensions.contains("purpose/1")),
        },
        Some(&fresh.message_id()),
    );
    let owed = owe(
        context.delivery_deadline,
        view.now(),
        Draft {
            subject: Subject::Negotiation,
            participant: &partner.participant,
            pid: &pid,
            number: 1,
            id: fresh.message_id(),
            url: base.endpoint(Endpoint::NegotiationRequest).to_string(),
            text,
            token: None,
            terminates: false,
        },
    );
    let negotiation = Negotiation {
        v: 1,
        pid,
        peer_pid: None,
        participant: partner.participant.clone(),
        process,
        peer_base: partner.dsp_endpoint.clone(),
        dataset: choice.dataset.clone(),
        offer: choice.offer.clone(),
        terms,
        purpose: choice.purpose.clone(),
        agreement: None,
        accepted: Vec::new(),
        transitions: 1,
        outbox: vec![1],
        withdrawn: Vec::new(),
        failure: None,
        created: view.now(),
        handling: handling::of(Handling::Auto, partner, None),
        awaiting: None,
        changed: view.now(),
    };
    let record = requested(&negotiation, owed);
    Ok((negotiation, vec![record]))
}

fn requested(negotiation: &Negotiation, owed: Owed) -> RecordDraft {
    RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationRequested,
        Category::Communication,
    )
    .account(Account {
        purpose: negotiation.purpose.clone(),
        ..towards(&negotiation.participant)
            .fact("negotiation", negotiation.pid.to_string())
            .fact("dataset", negotiation.dataset.to_string())
            .fact("offer", negotiation.offer.to_string())
    })
    .put(owed.key, owed.entity)
    .message(owed.text)
    .put(Key::Negotiation(negotiation.pid.clone()), negotiation.clone())
}

/// Takes an agreement that is what was requested, and verifies it or leaves that to a person; any other ends the
/// negotiation.
pub(super) fn agreed(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
    agreement: &message::Agreement,
) -> Result<Vec<RecordDraft>, Stop> {
    if let Err(reason) = check(context, negotiation, agreement) {
        return terminate_with(context, fresh, view, negotiation, "agreement-differs", &reason);
    }
    if context::agreement(view, agreement.id())?.is_some() {
        let reason = "the agreement's id is that of another agreement";
        return terminate_with(context, fresh, view, negotiation, "agreement-differs", reason);
    }
    let created = agreement.timestamp().unwrap_or_else(|| view.now());
    let document = agreement.document().clone();
    let entity =
        agreement_entity(fresh, negotiation, agreement.id(), Side::Consumer, document, created)?;
    negotiation.agreement = Some(entity.id.clone());
    let record = match negotiation.handling {
        Handling::Auto => verify(view, context, fresh, negotiation, &entity)?,
        Handling::Manual => await_decision(view, context, negotiation),
    };
    let record = record
        .digest("agreement", entity.sha256.clone())
        .put(Key::Agreement(entity.id.clone()), entity);
    Ok(vec![record])
}

/// Verifies the agreement, which was checked when it came.
pub(super) fn verify(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
    agreement: &Agreement,
) -> Result<RecordDraft, Stop> {
    let id = fresh.message_id();
    let kind = MessageKind::Verification;
    let owed = send(view, context, fresh, negotiation, kind, id.clone(), |pids| {
        message::to_json(&ContractAgreementVerificationMessage { pids }, Some(&id))
    })?;
    let record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationVerified,
        Category::Service,
    )
    .account(Account {
        agreement: Some(agreement.id.clone()),
        policy: Some(agreement.policy_sha256.clone()),
        purpose: agreement.purpose.clone(),
        ..towards(&negotiation.participant).fact("negotiation", negotiation.pid.to_string())
    });
    Ok(match owed {
        Some(owed) => record.put(owed.key, owed.entity).message(owed.text),
        None => record,
    })
}

/// Whether an agreement is the one that was asked for: parties, dataset, and rules as offered, narrowed at most by the
/// purpose that we declared.
fn check(
    context: &Context,
    negotiation: &Negotiation,
    agreement: &message::Agreement,
) -> Result<(), String> {
    if *agreement.target() != negotiation.dataset {
        return Err(format!("it is about `{}`", agreement.target()));
    }
    if *agreement.assignee() != context.participant {
        return Err(format!("its assignee is `{}`", agreement.assignee()));
    }
    if *agreement.assigner() != negotiation.participant {
        return Err(format!("its assigner is `{}`", agreement.assigner()));
    }
    let as_offered = policy::terms::same_terms(&negotiation.terms, agreement.document());
    let Err(difference) = as_offered else { return Ok(()) };
    let narrowed =
        negotiation.purpose.as_ref().and_then(|purpose| narrowed(&negotiation.terms, purpose));
    match narrowed {
        Some(narrowed) => policy::terms::same_terms(&narrowed, agreement.document())
            .map_err(|difference| difference.to_string()),
        None => Err(difference.to_string()),
    }
}

/// The terms, each permission narrowed to the purpose that we declared. Whether the offer allows the purpose is for the
/// provider to say, whose purposes may be parts of others; narrower terms than those offered never bind us to more.
fn narrowed(terms: &Value, purpose: &str) -> Option<Value> {
    let narrowing = json!({ "leftOperand": "purpose", "operator": "eq", "rightOperand": purpose });
    let mut narrowed = Policy::from_json(terms).ok()?.to_json();
    for permission in narrowed.get_mut("permission")?.as_array_mut()? {
        let constraints = permission.as_object_mut()?.entry("constraint").or_insert(json!([]));
        let constraints = constraints.as_array_mut()?;
        if !constraints.contains(&narrowing) {
            constraints.push(narrowing.clone());
        }
    }
    Some(narrowed)
}

/// The provider put the agreement in force: we may request data under it.
pub(super) fn finalized(
    view: &dyn View,
    negotiation: &mut Negotiation,
) -> Result<Vec<RecordDraft>, Stop> {
    let Some(id) = negotiation.agreement.clone() else { return Ok(Vec::new()) };
    let Some(mut agreement) = context::agreement(view, &id)? else { return Ok(Vec::new()) };
    agreement.finalized = true;
    let mut held = context::held(view, &negotiation.participant, &negotiation.dataset)?
        .unwrap_or(Held { v: 1, agreements: Vec::new() });
    held.agreements.push((id.clone(), agreement.purpose.clone()));
    let record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::AgreementHeld,
        Category::Service,
    )
    .account(Account { agreement: Some(id.clone()), ..towards(&negotiation.participant) })
    .put(Key::Held(negotiation.participant.clone(), negotiation.dataset.clone()), held)
    .put(Key::Agreement(id), agreement);
    Ok(vec![record])
}

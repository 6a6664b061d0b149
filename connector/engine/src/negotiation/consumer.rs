//! The consumer's side of a negotiation.

use std::sync::Arc;

use policy::odrl::Policy;
use protocol::id::{DatasetId, IdError, OfferId, PurposeId};
use protocol::message::{
    self, ContractAgreementVerificationMessage, ContractNegotiationEventMessage,
    ContractOfferMessage, ContractRequestMessage, MessageOffer, NegotiationEvent, OfferStage,
    RequestStage,
};
use protocol::negotiation::{MessageKind, Process, State};
use protocol::path::{BaseUrl, Endpoint};
use protocol::process::Role;
use serde_json::{Value, json};

use super::provider::agreement_entity;
use super::{
    Opening, Status, await_decision, finish, first_message, known, open, owe_first, peer_base,
    readable, same_target, send, status_of, terminate_with, with_owed,
};
use crate::context::{self, Context, Decided, Fresh, Peer, Stop, settle};
use crate::entity::{Agreement, Held, Negotiation, Partner, Side};
use crate::handling::{self, Handling};
use crate::process::{Inbound, remember, remembered, towards};
use crate::refusal::RefusalKind;
use crate::{Account, Category, Decision, Key, LogId, RecordDraft, RecordKind, View, duties};

/// The code by which a partner is told that nobody takes offers that were not asked for.
const UNASKED: &str = "unasked";

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
    asked: Option<Handling>,
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
    let purpose =
        declared(partner, choice.purpose.as_ref()).map_err(|error| invalid(error.to_string()))?;
    let pid = fresh.pid();
    let terms = offer.document().clone();
    let text = message::to_json(
        &ContractRequestMessage {
            consumer_pid: pid.clone(),
            stage: RequestStage::Initial { callback_address: callback },
            offer,
            purpose,
        },
        Some(&fresh.message_id()),
    );
    let mut negotiation = open(Opening {
        pid,
        peer_pid: None,
        participant: partner.participant.clone(),
        process,
        peer_base: partner.dsp_endpoint.clone(),
        dataset: choice.dataset.clone(),
        offer: choice.offer.clone(),
        terms,
        purpose: choice.purpose.clone(),
        now: view.now(),
        handling: handling::of(Handling::Auto, partner, asked),
        initiator: Role::Consumer,
    });
    negotiation.outbox.push(1);
    let url = base.endpoint(Endpoint::NegotiationRequest).to_string();
    let owed = owe_first(context, fresh, &negotiation, url, text, view.now());
    let record = requested(&negotiation)
        .put(owed.key, owed.entity)
        .message(owed.text)
        .put(Key::Negotiation(negotiation.pid.clone()), negotiation.clone());
    Ok((negotiation, vec![record]))
}

fn requested(negotiation: &Negotiation) -> RecordDraft {
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
}

/// Asks for other terms than those offered.
pub(super) fn counter(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    negotiation: &mut Negotiation,
    terms: &Value,
    offer: Option<&OfferId>,
) -> Result<RecordDraft, Stop> {
    let invalid = |text: String| fresh.refuse(RefusalKind::Invalid, text.clone(), text);
    readable(fresh, terms)?;
    if let Some(offer) = offer {
        negotiation.offer = offer.clone();
    }
    let offer = MessageOffer::new(&negotiation.offer, &negotiation.dataset, terms)
        .map_err(|error| invalid(error.to_string()))?;
    negotiation.terms = Arc::new(offer.document().clone());
    let purpose = declared(partner, negotiation.purpose.as_ref())
        .map_err(|error| invalid(error.to_string()))?;
    let id = fresh.message_id();
    let kind = MessageKind::Request;
    let owed = send(view, context, fresh, negotiation, kind, id.clone(), |pids| {
        let stage = RequestStage::Counter { provider_pid: pids.provider };
        let message = ContractRequestMessage { consumer_pid: pids.consumer, stage, offer, purpose };
        message::to_json(&message, Some(&id))
    })?;
    Ok(with_owed(requested(negotiation), owed))
}

/// The purpose as a request declares it, where the partner understands it.
fn declared(partner: &Partner, purpose: Option<&String>) -> Result<Option<PurposeId>, IdError> {
    let purpose = purpose.map(|purpose| PurposeId::new(purpose)).transpose()?;
    Ok(purpose.filter(|_| partner.extensions.contains("purpose/1")))
}

/// Takes an offer that nobody asked for. It waits for a person, or is ended where the partner's file leaves nothing to
/// persons.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn receive_offer(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    offered: &ContractOfferMessage,
    inbound: &Inbound,
) -> Decided<Status> {
    settle(try_receive_offer(view, context, fresh, peer, offered, inbound))
}

fn try_receive_offer(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    offered: &ContractOfferMessage,
    inbound: &Inbound,
) -> Result<Decision<Status>, Stop> {
    let partner = context::active_partner(view, fresh, peer)?;
    let OfferStage::Initial { callback_address } = &offered.stage else {
        return Err(fresh.not_found("a counter-offer without a process"));
    };
    if let Some(status) = known(view, fresh, peer, &offered.provider_pid, State::Offered, inbound)?
    {
        return Ok(Decision::answer(status));
    }
    context::room(view, context, fresh, &partner, false)?;
    peer_base(fresh, &partner, callback_address)?;
    let now = context::trusted_time(view, fresh)?;
    readable(fresh, offered.offer.document())?;
    let process = Process::begun_by_peer(Role::Consumer, MessageKind::Offer)
        .map_err(|rejection| fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), ""))?;
    let mut negotiation = open(Opening {
        pid: fresh.pid(),
        peer_pid: Some(offered.provider_pid.clone()),
        participant: peer.participant.clone(),
        process,
        peer_base: callback_address.as_str().to_owned(),
        dataset: offered.offer.target().clone(),
        offer: offered.offer.id().clone(),
        terms: offered.offer.document().clone(),
        purpose: None,
        now,
        handling: handling::of(Handling::Manual, &partner, None),
        initiator: Role::Provider,
    });
    remember(&mut negotiation.accepted, inbound, 1);
    let status = status_of(&negotiation);
    let mut records =
        vec![first_message(RecordKind::NegotiationOffered, peer, &negotiation, inbound)];
    if partner.handling == Some(Handling::Auto) {
        let reason = "nobody asked for this offer, and this node decides alone: wait for a request";
        records.extend(terminate_with(context, fresh, view, &mut negotiation, UNASKED, reason)?);
    } else {
        records.push(await_decision(view, context, &mut negotiation));
    }
    remembered(&mut negotiation.accepted, negotiation.transitions);
    Ok(Decision::commit(finish(records, &mut negotiation), status))
}

/// A counter-offer. What was requested is accepted; any other waits for a person in manual handling, and ends the
/// negotiation in auto handling.
pub(super) fn counter_offer(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
    offer: &MessageOffer,
) -> Result<Vec<RecordDraft>, Stop> {
    same_target(fresh, negotiation, offer.target())?;
    readable(fresh, offer.document())?;
    negotiation.rounds = negotiation.rounds.saturating_add(1);
    let difference = as_requested(negotiation, offer.document()).err();
    negotiation.terms = Arc::new(offer.document().clone());
    negotiation.offer = offer.id().clone();
    match (negotiation.handling, difference) {
        (Handling::Manual, _) => Ok(vec![await_decision(view, context, negotiation)]),
        (Handling::Auto, None) => Ok(vec![accept(view, context, fresh, negotiation)?]),
        (Handling::Auto, Some(difference)) => {
            let reason = format!("the offer is not what was requested: {difference}");
            terminate_with(context, fresh, view, negotiation, "offer-differs", &reason)
        }
    }
}

/// Accepts the offer as it stands.
pub(super) fn accept(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
) -> Result<RecordDraft, Stop> {
    let id = fresh.message_id();
    let kind = MessageKind::Accepted;
    let owed = send(view, context, fresh, negotiation, kind, id.clone(), |pids| {
        let event = NegotiationEvent::Accepted;
        message::to_json(&ContractNegotiationEventMessage { pids, event }, Some(&id))
    })?;
    let record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationAccepted,
        Category::Service,
    )
    .account(Account {
        purpose: negotiation.purpose.clone(),
        ..towards(&negotiation.participant)
            .fact("negotiation", negotiation.pid.to_string())
            .fact("offer", negotiation.offer.to_string())
    });
    Ok(with_owed(record, owed))
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
    Ok(with_owed(record, owed))
}

/// Verifies the agreement that waits for it.
pub(super) fn verify_held(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
) -> Result<RecordDraft, Stop> {
    let held = match &negotiation.agreement {
        Some(id) => context::agreement(view, id)?,
        None => None,
    };
    let Some(agreement) = held else {
        let text = "there is no agreement to verify";
        return Err(fresh.refuse(RefusalKind::IllegalState, text, text));
    };
    verify(view, context, fresh, negotiation, &agreement)
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
    as_requested(negotiation, agreement.document())
}

/// Whether terms are those that stand, narrowed at most by the purpose that we declared.
fn as_requested(negotiation: &Negotiation, terms: &Value) -> Result<(), String> {
    let Err(difference) = policy::terms::same_terms(&negotiation.terms, terms) else {
        return Ok(());
    };
    let narrowed =
        negotiation.purpose.as_ref().and_then(|purpose| narrowed(&negotiation.terms, purpose));
    match narrowed {
        Some(narrowed) => {
            policy::terms::same_terms(&narrowed, terms).map_err(|difference| difference.to_string())
        }
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
    let duties = duties::arising(view, &agreement)?;
    let mut held = context::held(view, &negotiation.participant, &negotiation.dataset)?
        .unwrap_or(Held { v: 1, agreements: Vec::new() });
    held.add(id.clone(), agreement.purpose.clone());
    let mut record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::AgreementHeld,
        Category::Service,
    )
    .account(Account { agreement: Some(id.clone()), ..towards(&negotiation.participant) })
    .put(Key::Held(negotiation.participant.clone(), negotiation.dataset.clone()), held)
    .put(Key::Agreement(id), agreement.clone());
    if let Some(duties) = duties {
        record = duties::put(view, record, &agreement, duties)?;
    }
    Ok(vec![record])
}

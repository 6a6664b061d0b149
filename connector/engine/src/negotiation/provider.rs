//! The provider's side of a negotiation.

use std::sync::Arc;

use jiff::Timestamp;
use protocol::id::{AgreementId, OfferId};
use protocol::message::{
    self, AgreementTerms, ContractAgreementMessage, ContractNegotiationEventMessage,
    ContractOfferMessage, ContractRequestMessage, MessageOffer, NegotiationEvent, OfferStage,
    RequestStage,
};
use protocol::negotiation::{MessageKind, Process, State};
use protocol::path::{BaseUrl, Endpoint};
use protocol::process::Role;
use serde_json::Value;

use super::standing::{Standing, agreeable, fresh_agreement_id, fresh_offer_id, published};
use super::steps::Offering;
use super::{
    Opening, Status, await_decision, finish, first_message, known, open, owe_first, peer_base,
    readable, same_target, send, status_of, terminate_with, with_owed,
};
use crate::context::{self, Context, Decided, Fresh, Peer, Stop, settle};
use crate::entity::{Agreement, Negotiation, Partner, ReadTerms, Side};
use crate::handling::{self, Handling};
use crate::judge;
use crate::process::{DUTY_CODE, Inbound, POLICY_CODE, remember, remembered, towards};
use crate::refusal::RefusalKind;
use crate::{Account, Category, Decision, Key, LogId, RecordDraft, RecordKind, View, duties};

/// Takes the first message of a negotiation: a request for one of our offers.
///
/// Whoever may not see the offer learns nothing: existing and not existing datasets are refused alike. An offer repeated
/// unchanged that its policy permits is agreed at once; in manual handling it waits for a person, and so do other terms.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn receive_request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    request: &ContractRequestMessage,
    inbound: &Inbound,
) -> Decided<Status> {
    settle(try_receive_request(view, context, fresh, peer, request, inbound))
}

fn try_receive_request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    request: &ContractRequestMessage,
    inbound: &Inbound,
) -> Result<Decision<Status>, Stop> {
    let partner = context::active_partner(view, fresh, peer)?;
    let RequestStage::Initial { callback_address } = &request.stage else {
        return Err(fresh.not_found("a counter-request without a process"));
    };
    if let Some(status) =
        known(view, fresh, peer, &request.consumer_pid, State::Requested, inbound)?
    {
        return Ok(Decision::answer(status));
    }
    context::room(view, context, fresh, &partner, false)?;
    peer_base(fresh, &partner, callback_address)?;
    let now = context::trusted_time(view, fresh)?;
    let (target, offer) = (request.offer.target(), request.offer.id());
    let standing = Standing::find(view, context, fresh, &partner, target, Some(offer), now)?;
    let handling = handling::of(standing.offered.handling, &partner, None);
    let purpose = request.purpose.as_ref().map(ToString::to_string);
    let terms = match standing.differs(request.offer.document()) {
        None => {
            let terms = standing.terms(fresh, purpose.as_deref())?;
            standing.judge(context, fresh, &partner, &terms, purpose.as_deref(), now)?;
            terms
        }
        // Other terms are for a person to look at; what nobody can read is for nobody.
        Some(_) if handling == Handling::Manual => {
            readable(fresh, request.offer.document())?;
            standing.narrow(fresh, request.offer.document(), purpose.as_deref())?
        }
        Some(text) => return Err(fresh.refuse(RefusalKind::Policy, text.clone(), text)),
    };
    let process = Process::begun_by_peer(Role::Provider, MessageKind::Request)
        .map_err(|rejection| fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), ""))?;
    let mut negotiation = open(Opening {
        pid: fresh.pid(),
        peer_pid: Some(request.consumer_pid.clone()),
        participant: peer.participant.clone(),
        process,
        peer_base: callback_address.as_str().to_owned(),
        dataset: standing.dataset.id.clone(),
        offer: standing.offered.id.clone(),
        terms,
        purpose,
        now,
        handling,
        initiator: Role::Consumer,
    });
    remember(&mut negotiation.accepted, inbound, 1);
    let status = status_of(&negotiation);
    let mut records =
        vec![first_message(RecordKind::NegotiationRequested, peer, &negotiation, inbound)];
    match handling {
        Handling::Auto => {
            records.push(agree(view, context, fresh, &partner, &mut negotiation)?);
        }
        Handling::Manual => records.push(await_decision(view, context, &mut negotiation)),
    }
    remembered(&mut negotiation.accepted, negotiation.transitions);
    Ok(Decision::commit(finish(records, &mut negotiation), status))
}

/// Begins a negotiation with an offer of ours: the published one, or terms that our administrator gives.
pub(super) fn begin(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    offering: &Offering,
    asked: Option<Handling>,
) -> Result<(Negotiation, Vec<RecordDraft>), Stop> {
    let now = context::trusted_time(view, fresh)?;
    let (dataset, offer) = (&offering.dataset, offering.offer.as_ref());
    let standing = Standing::find(view, context, fresh, partner, dataset, offer, now)?;
    let (given, purpose) = (offering.terms.as_ref(), offering.purpose.as_deref());
    let terms = match given {
        Some(given) => standing.given(fresh, given, purpose)?,
        None => standing.terms(fresh, purpose)?,
    };
    standing.judge(context, fresh, partner, &terms, purpose, now)?;
    let invalid = |text: String| fresh.refuse(RefusalKind::Invalid, text.clone(), text);
    let process = Process::begin(Role::Provider, MessageKind::Offer)
        .map_err(|rejection| invalid(rejection.to_string()))?;
    let callback_address =
        BaseUrl::new(&context.dsp_endpoint).map_err(|error| invalid(error.to_string()))?;
    let base = BaseUrl::new(&partner.dsp_endpoint)
        .map_err(|error| invalid(format!("partner `{}`: {error}", partner.name)))?;
    let id = if given.is_some() { fresh_offer_id(fresh) } else { standing.offered.id.clone() };
    let offer = MessageOffer::new(&id, &standing.dataset.id, &terms)
        .map_err(|error| invalid(error.to_string()))?;
    let pid = fresh.pid();
    let mut negotiation = open(Opening {
        pid: pid.clone(),
        peer_pid: None,
        participant: partner.participant.clone(),
        process,
        peer_base: partner.dsp_endpoint.clone(),
        dataset: standing.dataset.id.clone(),
        offer: standing.offered.id.clone(),
        terms: offer.document().clone(),
        purpose: purpose.map(str::to_owned),
        now,
        handling: handling::of(standing.offered.handling, partner, asked),
        initiator: Role::Provider,
    });
    negotiation.bargained = given.is_some();
    negotiation.outbox.push(1);
    let stage = OfferStage::Initial { callback_address };
    let text = message::to_json(
        &ContractOfferMessage { provider_pid: pid, stage, offer },
        Some(&fresh.message_id()),
    );
    let url = base.endpoint(Endpoint::NegotiationOffers).to_string();
    let owed = owe_first(context, fresh, &negotiation, url, text, now);
    let record = offered(&negotiation)
        .put(owed.key, owed.entity)
        .message(owed.text)
        .put(Key::Negotiation(negotiation.pid.clone()), negotiation.clone());
    Ok((negotiation, vec![record]))
}

/// Offers within a negotiation: the published terms, or those that our administrator gives.
pub(super) fn offer(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    negotiation: &mut Negotiation,
    given: Option<&Value>,
) -> Result<RecordDraft, Stop> {
    let now = context::trusted_time(view, fresh)?;
    let standing = published(view, context, fresh, partner, negotiation, now)?;
    let purpose = negotiation.purpose.as_deref();
    let terms = match given {
        Some(given) => standing.given(fresh, given, purpose)?,
        None => standing.terms(fresh, purpose)?,
    };
    standing.judge(context, fresh, partner, &terms, purpose, now)?;
    let id = if given.is_some() { fresh_offer_id(fresh) } else { standing.offered.id.clone() };
    negotiation.bargained = given.is_some();
    send_offer(view, context, fresh, negotiation, &id, &terms)
}

fn send_offer(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
    id: &OfferId,
    terms: &Value,
) -> Result<RecordDraft, Stop> {
    let offer = MessageOffer::new(id, &negotiation.dataset, terms).map_err(|error| {
        fresh.refuse(RefusalKind::Invalid, "the terms cannot be offered", error.to_string())
    })?;
    negotiation.terms = Arc::new(offer.document().clone());
    let message_id = fresh.message_id();
    let kind = MessageKind::Offer;
    let owed = send(view, context, fresh, negotiation, kind, message_id.clone(), |pids| {
        let stage = OfferStage::Counter { consumer_pid: pids.consumer };
        let message = ContractOfferMessage { provider_pid: pids.provider, stage, offer };
        message::to_json(&message, Some(&message_id))
    })?;
    Ok(with_owed(offered(negotiation), owed))
}

fn offered(negotiation: &Negotiation) -> RecordDraft {
    let account = Account {
        purpose: negotiation.purpose.clone(),
        ..towards(&negotiation.participant)
            .fact("negotiation", negotiation.pid.to_string())
            .fact("dataset", negotiation.dataset.to_string())
            .fact("offer", negotiation.offer.to_string())
            .fact("bargained", negotiation.bargained)
    };
    RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationOffered,
        Category::Service,
    )
    .account(account)
}

/// The consumer accepted our offer, or repeated it: agreed where it still may be, ended with the reason where not.
pub(super) fn accepted(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    negotiation: &mut Negotiation,
) -> Result<Vec<RecordDraft>, Stop> {
    let refusal = match agreeable(view, context, fresh, partner, negotiation, None) {
        Ok(()) => return Ok(vec![agree(view, context, fresh, partner, negotiation)?]),
        Err(Stop::Refuse(refusal)) => refusal,
        Err(need) => return Err(need),
    };
    match refusal.kind {
        RefusalKind::Policy => {
            terminate_with(context, fresh, view, negotiation, POLICY_CODE, &refusal.external)
        }
        RefusalKind::DutyOverdue => {
            terminate_with(context, fresh, view, negotiation, DUTY_CODE, &refusal.external)
        }
        RefusalKind::NotFound => {
            let reason = "the offer is not made any more";
            terminate_with(context, fresh, view, negotiation, "offer-withdrawn", reason)
        }
        _ => Err(Stop::Refuse(refusal)),
    }
}

/// A counter-request. Equal to what is offered, it is agreed. In manual handling any other waits for a person; in auto
/// handling our offer is repeated once, and then the negotiation ends with the difference.
pub(super) fn counter_request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    negotiation: &mut Negotiation,
    request: &ContractRequestMessage,
) -> Result<Vec<RecordDraft>, Stop> {
    same_target(fresh, negotiation, request.offer.target())?;
    let proposed = request.offer.document();
    readable(fresh, proposed)?;
    negotiation.rounds = negotiation.rounds.saturating_add(1);
    let declared = request.purpose.as_ref().map(ToString::to_string);
    let purpose = declared.or_else(|| negotiation.purpose.clone());
    let rules = judge::rules_in_force(view)?;
    let narrowed = |terms: &Value| match &purpose {
        None => Some(terms.clone()),
        Some(purpose) => {
            policy::terms::with_declared_purpose(terms, purpose, rules.set.purposes()).ok()
        }
    };
    let differs = match narrowed(&negotiation.terms) {
        None => Some(format!("the purpose {} is not offered", purpose.as_deref().unwrap_or("?"))),
        Some(own) => {
            let same = |terms: &Value| policy::terms::same_terms(terms, proposed);
            let difference = same(&negotiation.terms).or_else(|_| same(&own)).err();
            if difference.is_none() {
                negotiation.terms = Arc::new(own);
            }
            difference.map(|difference| difference.to_string())
        }
    };
    let Some(difference) = differs else {
        negotiation.purpose = purpose;
        return match negotiation.handling {
            Handling::Auto => accepted(view, context, fresh, partner, negotiation),
            Handling::Manual => Ok(vec![await_decision(view, context, negotiation)]),
        };
    };
    if negotiation.handling == Handling::Manual {
        let Some(terms) = narrowed(proposed) else {
            let text = "the terms do not allow the purpose that is declared with them";
            return Err(fresh.refuse(RefusalKind::Invalid, text, text));
        };
        (negotiation.terms, negotiation.purpose) = (Arc::new(terms), purpose);
        negotiation.bargained = false;
        return Ok(vec![await_decision(view, context, negotiation)]);
    }
    if negotiation.rounds == 1 {
        let terms = Arc::clone(&negotiation.terms);
        let id = terms.get("@id").and_then(Value::as_str).and_then(|id| OfferId::new(id).ok());
        let id = id.unwrap_or_else(|| negotiation.offer.clone());
        return Ok(vec![send_offer(view, context, fresh, negotiation, &id, &terms)?]);
    }
    let reason = format!("the offer stands as it was made: {difference}");
    terminate_with(context, fresh, view, negotiation, "offer-stands", &reason)
}

/// Sends the agreement on the terms as they stand.
pub(super) fn agree(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    negotiation: &mut Negotiation,
) -> Result<RecordDraft, Stop> {
    let now = view.now();
    let id = fresh_agreement_id(fresh);
    let terms = AgreementTerms {
        id: id.clone(),
        target: negotiation.dataset.clone(),
        assigner: context.participant.clone(),
        assignee: partner.participant.clone(),
        timestamp: now,
    };
    let body = message::Agreement::new(&terms, &negotiation.terms).map_err(|error| {
        fresh.refuse(RefusalKind::Policy, "the terms cannot be agreed", error.to_string())
    })?;
    let agreement =
        agreement_entity(fresh, negotiation, &id, Side::Provider, body.document().clone(), now)?;
    let not_honoured = judge::not_honoured(body.document());
    let (kind, message_id) = (MessageKind::Agreement, fresh.message_id());
    let owed = send(view, context, fresh, negotiation, kind, message_id.clone(), |pids| {
        let message = ContractAgreementMessage { pids, agreement: body, not_honoured };
        message::to_json(&message, Some(&message_id))
    })?;
    negotiation.agreement = Some(id.clone());
    let record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationAgreed,
        Category::Service,
    )
    .account(Account {
        agreement: Some(id.clone()),
        policy: Some(agreement.policy_sha256.clone()),
        purpose: agreement.purpose.clone(),
        ..towards(&negotiation.participant).fact("negotiation", negotiation.pid.to_string())
    })
    .digest("agreement", agreement.sha256.clone())
    .put(Key::Agreement(id), agreement);
    Ok(with_owed(record, owed))
}

/// Puts the agreement in force after the consumer verified it.
pub(super) fn finalize(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
) -> Result<RecordDraft, Stop> {
    let (kind, id) = (MessageKind::Finalized, fresh.message_id());
    let owed = send(view, context, fresh, negotiation, kind, id.clone(), |pids| {
        let event = NegotiationEvent::Finalized;
        message::to_json(&ContractNegotiationEventMessage { pids, event }, Some(&id))
    })?;
    let mut record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationFinalized,
        Category::Service,
    );
    let mut account =
        towards(&negotiation.participant).fact("negotiation", negotiation.pid.to_string());
    if let Some(agreement_id) = &negotiation.agreement
        && let Some(mut agreement) = context::agreement(view, agreement_id)?
    {
        agreement.finalized = true;
        if let Some(duties) = duties::arising(view, &agreement)? {
            record = duties::put(view, record, &agreement, duties)?;
        }
        account.agreement = Some(agreement_id.clone());
        record = record.put(Key::Agreement(agreement_id.clone()), agreement);
    }
    record = record.account(account);
    Ok(with_owed(record, owed))
}

/// The entity of an agreement.
pub(crate) fn agreement_entity(
    fresh: &Fresh,
    negotiation: &Negotiation,
    id: &AgreementId,
    side: Side,
    terms: Value,
    created: Timestamp,
) -> Result<Agreement, Stop> {
    let digest = |value: &Value| {
        protocol::json::content_digest(value).map(hex::encode).map_err(|error| {
            fresh.refuse(
                RefusalKind::Invalid,
                "the agreement has no canonical form",
                error.to_string(),
            )
        })
    };
    let sha256 = digest(&terms)?;
    let policy_sha256 = digest(&rules_only(&terms))?;
    Ok(Agreement {
        v: 1,
        id: id.clone(),
        side,
        participant: negotiation.participant.clone(),
        dataset: negotiation.dataset.clone(),
        offer: negotiation.offer.clone(),
        terms,
        sha256,
        policy_sha256,
        purpose: negotiation.purpose.clone(),
        negotiation: negotiation.pid.clone(),
        created,
        finalized: false,
        handling: negotiation.handling,
        ended: None,
        read: ReadTerms::default(),
    })
}

/// The rules of terms, without parties, identifier and time.
fn rules_only(terms: &Value) -> Value {
    let mut rules = serde_json::Map::new();
    for name in ["permission", "prohibition", "obligation", "profile", "conflict"] {
        if let Some(member) = terms.get(name) {
            rules.insert(name.to_owned(), member.clone());
        }
    }
    Value::Object(rules)
}

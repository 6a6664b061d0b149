//! Contract negotiations, both roles.
//!
//! As provider we answer a request for one of our offers, repeated unchanged, with the agreement at once. As consumer we
//! request an offer for a declared purpose and verify that the agreement is what was requested. In manual handling each
//! step of ours waits for a person or an application ([`steps`]). Either side may begin, and either may counter.

mod consumer;
mod delivery;
mod provider;
mod standing;
pub mod steps;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use policy::odrl::Policy;
use protocol::id::{DatasetId, MessageId, OfferId, ParticipantId, Pid};
use protocol::message::{
    self, Agreement, ContractNegotiationTerminationMessage, ContractRequestMessage, Explanation,
    MessageOffer, Pids,
};
use protocol::negotiation::{MessageKind, Process, State};
use protocol::path::{BaseUrl, Endpoint};
use protocol::process::{Delivery, Role};
use serde_json::Value;

pub use consumer::{Choice, receive_offer, request};
pub(crate) use delivery::{delivered, undeliverable};
pub(crate) use provider::agreement_entity;
pub use provider::receive_request;

use crate::context::{self, Context, Decided, Fresh, Peer, Stop, settle};
use crate::entity::{self, Failure, Negotiation, Partner, PeerProcess, Subject};
use crate::process::{
    Draft, Inbound, Novelty, Owed, by_peer, first, has_origin, is_terminating, late_termination_id,
    learn_pid, novelty, owe, remember, remembered, towards, withdraw_unowed,
};
use crate::refusal::RefusalKind;
use crate::{
    Account, Awaiting, Category, Decision, Handling, Key, LogId, Need, RecordDraft, RecordKind,
    View,
};

/// What a status request or a first answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The consumer's process id, where known.
    pub consumer_pid: Option<Pid>,
    /// The provider's process id, where known.
    pub provider_pid: Option<Pid>,
    /// The acknowledged state.
    pub state: State,
    /// Whether a message of ours is under way that may change it.
    pub pending: bool,
}

/// A message of the partner in a negotiation that exists.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "named as the DSP messages are")]
pub enum Message {
    Accepted,
    Agreement(Agreement),
    Verification,
    Finalized,
    Termination(Explanation),
    CounterRequest(Box<ContractRequestMessage>),
    CounterOffer(Box<MessageOffer>),
}

impl Message {
    fn kind(&self) -> MessageKind {
        match self {
            Self::Accepted => MessageKind::Accepted,
            Self::Agreement(_) => MessageKind::Agreement,
            Self::Verification => MessageKind::Verification,
            Self::Finalized => MessageKind::Finalized,
            Self::Termination(_) => MessageKind::Termination,
            Self::CounterRequest(_) => MessageKind::Request,
            Self::CounterOffer(_) => MessageKind::Offer,
        }
    }
}

/// The negotiation that a partner asks about.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn status(view: &dyn View, fresh: &Fresh, peer: &Peer, pid: &Pid) -> Decided<Status> {
    settle((|| {
        context::active_partner(view, fresh, peer)?;
        Ok(Decision::answer(status_of(&of_peer(view, fresh, &peer.participant, pid)?)))
    })())
}

/// Takes a message in a negotiation that exists. `named` are the process ids that the message names: ours and the
/// partner's, in that order.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
#[expect(clippy::too_many_arguments, reason = "a decision's inputs, each of another type")]
pub fn receive(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    pid: &Pid,
    named: &Pids,
    message: &Message,
    inbound: &Inbound,
) -> Decided<()> {
    settle(try_receive(view, context, fresh, peer, pid, named, message, inbound))
}

#[expect(clippy::too_many_arguments, reason = "a decision's inputs, each of another type")]
fn try_receive(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    pid: &Pid,
    named: &Pids,
    message: &Message,
    inbound: &Inbound,
) -> Result<Decision<()>, Stop> {
    let partner = context::active_partner(view, fresh, peer)?;
    let mut negotiation = of_peer(view, fresh, &peer.participant, pid)?;
    if novelty(&negotiation.accepted, negotiation.transitions, inbound, fresh)? == Novelty::Repeat {
        return Ok(Decision::answer(()));
    }
    let role = negotiation.process.role();
    learn_pid(role, pid, &mut negotiation.peer_pid, named, fresh)?;
    negotiation.changed = view.now();
    if let Message::Termination(termination) = message {
        negotiation.failure = Some(told(termination));
    }
    let mut records = vec![take(fresh, peer, &mut negotiation, message.kind(), inbound)?];
    let answered = match message {
        Message::Termination(_) => {
            end_agreement(view, &negotiation, "the negotiation was terminated")?
        }
        Message::Finalized => consumer::finalized(view, &mut negotiation)?,
        // We have ended it already: the partner hears so, and nothing else.
        _ if is_terminating(&negotiation.process) => {
            let (patience, now) = (context.delivery_deadline, view.now());
            let mut records = end_agreement(view, &negotiation, "the negotiation was terminated")?;
            records.extend(late_termination(&mut negotiation, patience, now));
            records
        }
        Message::Agreement(agreement) => {
            consumer::agreed(view, context, fresh, &mut negotiation, agreement)?
        }
        Message::CounterRequest(request) => {
            provider::counter_request(view, context, fresh, &partner, &mut negotiation, request)?
        }
        Message::CounterOffer(offer) => {
            consumer::counter_offer(view, context, fresh, &mut negotiation, offer)?
        }
        Message::Accepted | Message::Verification if negotiation.handling == Handling::Manual => {
            vec![await_decision(view, context, &mut negotiation)]
        }
        Message::Accepted => provider::accepted(view, context, fresh, &partner, &mut negotiation)?,
        Message::Verification => {
            vec![provider::finalize(view, context, fresh, &mut negotiation)?]
        }
    };
    records.extend(answered);
    remembered(&mut negotiation.accepted, negotiation.transitions);
    Ok(Decision::commit(finish(records, &mut negotiation), ()))
}

/// A step of ours is left to a person or an application.
fn await_decision(
    view: &dyn View,
    context: &Context,
    negotiation: &mut Negotiation,
) -> RecordDraft {
    let awaiting = Awaiting::new(view.now(), context.approval_deadline);
    negotiation.awaiting = Some(awaiting);
    let account = Account {
        agreement: negotiation.agreement.clone(),
        purpose: negotiation.purpose.clone(),
        ..towards(&negotiation.participant)
            .fact("negotiation", negotiation.pid.to_string())
            .fact("dataset", negotiation.dataset.to_string())
            .fact("deadline", awaiting.deadline.to_string())
    };
    RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::DecisionAwaited,
        Category::Service,
    )
    .account(account)
}

/// Takes a message into the process, and says so in a record.
fn take(
    fresh: &Fresh,
    peer: &Peer,
    negotiation: &mut Negotiation,
    kind: MessageKind,
    inbound: &Inbound,
) -> Result<RecordDraft, Stop> {
    let process =
        if inbound.attempted { negotiation.process.attempted() } else { negotiation.process };
    let received = process.receive(kind).map_err(|rejection| {
        fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), rejection.to_string())
    })?;
    let mut record = RecordDraft::new(
        LogId::Relation(peer.participant.clone()),
        received_kind(kind),
        Category::Communication,
    )
    .account(by_peer(peer).fact("negotiation", negotiation.pid.to_string()))
    .message(inbound.text.clone());
    record.essential = kind == MessageKind::Termination;
    if (received.acknowledged_own || received.dropped_own)
        && let Some(number) = first(&mut negotiation.outbox)
    {
        record = record.remove(outbox_key(negotiation, number));
    }
    negotiation.process = received.process;
    negotiation.awaiting = None;
    negotiation.transitions += 1;
    remember(&mut negotiation.accepted, inbound, negotiation.transitions);
    Ok(with_state(record, negotiation))
}

/// Ends a negotiation from our side. The answer says whether there was anything to end.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn terminate(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pid: &Pid,
    attempted: bool,
    code: &str,
    reason: &str,
) -> Result<Decision<bool>, Need> {
    let Some(mut negotiation) = context::negotiation(view, pid)? else {
        return Ok(Decision::answer(false));
    };
    if negotiation.process.is_closed() {
        return Ok(Decision::answer(false));
    }
    if attempted {
        negotiation.process = negotiation.process.attempted();
    }
    match terminate_with(context, fresh, view, &mut negotiation, code, reason) {
        Ok(records) => Ok(Decision::commit(finish(records, &mut negotiation), true)),
        Err(Stop::Need(need)) => Err(need),
        Err(Stop::Refuse(_)) => Ok(Decision::answer(false)),
    }
}

/// Ends an agreement whose negotiation does not reach its end, also one that was about to be finalized.
fn end_agreement(
    view: &dyn View,
    negotiation: &Negotiation,
    reason: &str,
) -> Result<Vec<RecordDraft>, Need> {
    let Some(id) = &negotiation.agreement else { return Ok(Vec::new()) };
    // The provider alone finalizes, so it knows when that will not happen any more: not while its termination waits behind
    // the message that does. The consumer knows when the termination is acknowledged.
    let (process, state) = (&negotiation.process, negotiation.process.state());
    let is_over = match process.role() {
        Role::Provider => !process.termination_queued() && state != Some(State::Finalized),
        Role::Consumer => state == Some(State::Terminated),
    };
    if !is_over {
        return Ok(Vec::new());
    }
    let Some(mut agreement) = context::agreement(view, id)? else { return Ok(Vec::new()) };
    if agreement.ended.is_some() {
        return Ok(Vec::new());
    }
    agreement.ended = Some((view.now(), reason.to_owned()));
    let record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::AgreementEnded,
        Category::Service,
    )
    .account(Account {
        agreement: Some(id.clone()),
        reason: Some(reason.to_owned()),
        ..towards(&negotiation.participant)
    })
    .put(Key::Agreement(id.clone()), agreement)
    .essential();
    Ok(vec![record])
}

/// The partner uses an agreement, so it has our message that finalized it, whether or not it said so.
pub(crate) fn used(
    view: &dyn View,
    agreement: &entity::Agreement,
) -> Result<Vec<RecordDraft>, Need> {
    let Some(mut negotiation) = context::negotiation(view, &agreement.negotiation)? else {
        return Ok(Vec::new());
    };
    let pending = negotiation.process.pending().map(|pending| pending.message);
    if pending != Some(MessageKind::Finalized) {
        return Ok(Vec::new());
    }
    negotiation.process = negotiation.process.acknowledged();
    negotiation.transitions += 1;
    negotiation.changed = view.now();
    let mut record = delivery::record(&negotiation);
    if let Some(number) = first(&mut negotiation.outbox) {
        record = record.remove(outbox_key(&negotiation, number));
    }
    Ok(finish(vec![record], &mut negotiation))
}

/// The negotiation under our process id, where it is one with this partner.
fn of_peer(
    view: &dyn View,
    fresh: &Fresh,
    participant: &ParticipantId,
    pid: &Pid,
) -> Result<Negotiation, Stop> {
    match context::negotiation(view, pid)? {
        Some(negotiation) if negotiation.participant == *participant => Ok(negotiation),
        Some(negotiation) => Err(fresh.not_found(format!(
            "`{participant}` asked for negotiation `{pid}` of `{}`",
            negotiation.participant
        ))),
        None => Err(fresh.not_found(format!("there is no negotiation `{pid}`"))),
    }
}

fn status_of(negotiation: &Negotiation) -> Status {
    let (consumer_pid, provider_pid) = pids(negotiation);
    let process = &negotiation.process;
    Status {
        consumer_pid,
        provider_pid,
        // Whoever knows the process has our first message, although it did not say so yet.
        state: process
            .state()
            .or(process.pending().map(|first| first.target))
            .unwrap_or(State::Terminated),
        pending: process.pending().is_some(),
    }
}

/// Consumer's and provider's process id, as far as known.
fn pids(negotiation: &Negotiation) -> (Option<Pid>, Option<Pid>) {
    let ours = Some(negotiation.pid.clone());
    match negotiation.process.role() {
        Role::Consumer => (ours, negotiation.peer_pid.clone()),
        Role::Provider => (negotiation.peer_pid.clone(), ours),
    }
}

/// What a negotiation begins with.
struct Opening {
    pid: Pid,
    peer_pid: Option<Pid>,
    participant: ParticipantId,
    process: Process,
    peer_base: String,
    dataset: DatasetId,
    offer: OfferId,
    terms: Value,
    purpose: Option<String>,
    now: Timestamp,
    handling: Handling,
    initiator: Role,
}

fn open(opening: Opening) -> Negotiation {
    Negotiation {
        v: 1,
        pid: opening.pid,
        peer_pid: opening.peer_pid,
        participant: opening.participant,
        process: opening.process,
        peer_base: opening.peer_base,
        dataset: opening.dataset,
        offer: opening.offer,
        terms: Arc::new(opening.terms),
        purpose: opening.purpose,
        agreement: None,
        accepted: Vec::new(),
        transitions: 1,
        outbox: Vec::new(),
        withdrawn: Vec::new(),
        failure: None,
        created: opening.now,
        handling: opening.handling,
        awaiting: None,
        changed: opening.now,
        initiator: opening.initiator,
        bargained: false,
        rounds: 0,
    }
}

/// The message that begins a negotiation of ours, owed.
fn owe_first(
    context: &Context,
    fresh: &Fresh,
    negotiation: &Negotiation,
    url: String,
    text: Value,
    now: Timestamp,
) -> Owed {
    let draft = Draft {
        subject: Subject::Negotiation,
        participant: &negotiation.participant,
        pid: &negotiation.pid,
        number: negotiation.transitions,
        id: fresh.message_id(),
        url,
        text,
        token: None,
        sealed_token: None,
        terminates: false,
    };
    owe(context.delivery_deadline, now, draft)
}

fn with_owed(record: RecordDraft, owed: Option<Owed>) -> RecordDraft {
    match owed {
        Some(owed) => record.put(owed.key, owed.entity).message(owed.text),
        None => record,
    }
}

/// The record of the message by which the partner began a negotiation, with its index entry.
fn first_message(
    kind: RecordKind,
    peer: &Peer,
    negotiation: &Negotiation,
    inbound: &Inbound,
) -> RecordDraft {
    let account = Account {
        purpose: negotiation.purpose.clone(),
        ..by_peer(peer)
            .fact("negotiation", negotiation.pid.to_string())
            .fact("dataset", negotiation.dataset.to_string())
            .fact("offer", negotiation.offer.to_string())
    };
    let record =
        RecordDraft::new(LogId::Relation(peer.participant.clone()), kind, Category::Communication)
            .account(account)
            .message(inbound.text.clone());
    let record = with_state(record, negotiation);
    match &negotiation.peer_pid {
        Some(theirs) => record.put(
            Key::PeerProcess(peer.participant.clone(), theirs.clone()),
            PeerProcess { v: 1, pid: negotiation.pid.clone(), transfer: false, closed: false },
        ),
        None => record,
    }
}

/// A first message again: the stored answer for the same one, a refusal for another under the same process id, nothing
/// where the process id is new. `began` is the state that the first answer told: whatever happened since is told by its
/// own messages.
fn known(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
    theirs: &Pid,
    began: State,
    inbound: &Inbound,
) -> Result<Option<Status>, Stop> {
    let Some(known) = context::peer_process(view, &peer.participant, theirs)? else {
        return Ok(None);
    };
    let taken = || {
        let text = "the process id belongs to another process of yours; draw a new one";
        fresh.refuse(RefusalKind::Invalid, text, text)
    };
    if known.transfer {
        return Err(taken());
    }
    let negotiation = of_peer(view, fresh, &peer.participant, &known.pid)?;
    if negotiation.accepted.first().is_none_or(|first| first.content != inbound.content) {
        return Err(taken());
    }
    Ok(Some(Status { state: began, ..status_of(&negotiation) }))
}

/// Refuses a callback address that is not the partner's.
fn peer_base(fresh: &Fresh, partner: &Partner, callback_address: &BaseUrl) -> Result<(), Stop> {
    if has_origin(callback_address.as_str(), partner.origins.iter()) {
        return Ok(());
    }
    let text = "callbackAddress is not at one of your registered origins";
    let internal = format!("{text}: `{}`", callback_address.as_str());
    Err(fresh.refuse(RefusalKind::Invalid, text, internal))
}

/// Refuses terms that are no policy.
fn readable(fresh: &Fresh, terms: &Value) -> Result<(), Stop> {
    Policy::from_json(terms).map(|_| ()).map_err(|error| {
        let text = format!("the terms cannot be read: {error}");
        fresh.refuse(RefusalKind::Invalid, text.clone(), text)
    })
}

/// Refuses a counter-request or counter-offer about another dataset. Its offer's id may be a new one.
fn same_target(fresh: &Fresh, negotiation: &Negotiation, target: &DatasetId) -> Result<(), Stop> {
    if *target == negotiation.dataset {
        return Ok(());
    }
    let text = format!("this negotiation is about dataset `{}`", negotiation.dataset);
    Err(fresh.refuse(RefusalKind::Invalid, text, format!("the offer's target is `{target}`")))
}

/// Sends a message of this negotiation: pending in the process, numbered, in the outbox. Nothing is owed where the
/// partner does not know of the negotiation.
fn send(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
    kind: MessageKind,
    id: MessageId,
    text: impl FnOnce(Pids) -> Value,
) -> Result<Option<Owed>, Stop> {
    let sent = negotiation.process.send(kind).map_err(|rejection| {
        fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), rejection.to_string())
    })?;
    negotiation.process = sent.process;
    negotiation.awaiting = None;
    negotiation.changed = view.now();
    if sent.withdrew_own {
        negotiation.withdrawn.append(&mut negotiation.outbox);
    }
    if sent.delivery == Delivery::Unneeded {
        negotiation.transitions += 1;
        return Ok(None);
    }
    if let Some(owed) = owe_to(negotiation, context.delivery_deadline, view.now(), kind, id, text) {
        return Ok(Some(owed));
    }
    match (kind, sent.delivery) {
        // It is written when the partner's process id is learned.
        (MessageKind::Termination, Delivery::Queued) => {}
        (MessageKind::Termination, _) => negotiation.process = ended(negotiation),
        _ => {
            let text = "the process id of the partner is not known";
            return Err(fresh.refuse(RefusalKind::IllegalState, text, text));
        }
    }
    Ok(None)
}

/// Puts a message into the outbox, where the partner's process id is known.
fn owe_to(
    negotiation: &mut Negotiation,
    patience: SignedDuration,
    now: Timestamp,
    kind: MessageKind,
    id: MessageId,
    text: impl FnOnce(Pids) -> Value,
) -> Option<Owed> {
    let (Some(consumer), Some(provider)) = pids(negotiation) else { return None };
    let base = BaseUrl::new(&negotiation.peer_base).ok()?;
    let pids = Pids { consumer, provider };
    let peer_pid = match negotiation.process.role() {
        Role::Consumer => &pids.provider,
        Role::Provider => &pids.consumer,
    };
    let url = base.endpoint(Endpoint::NegotiationMessage(peer_pid, kind)).to_string();
    negotiation.transitions += 1;
    negotiation.outbox.push(negotiation.transitions);
    let draft = Draft {
        subject: Subject::Negotiation,
        participant: &negotiation.participant,
        pid: &negotiation.pid,
        number: negotiation.transitions,
        id,
        url,
        text: text(pids),
        token: None,
        sealed_token: None,
        terminates: kind == MessageKind::Termination,
    };
    Some(owe(patience, now, draft))
}

/// Writes a termination that was decided before the partner's process id was known. Where that cannot be told any more,
/// the negotiation is over by itself.
fn late_termination(
    negotiation: &mut Negotiation,
    patience: SignedDuration,
    now: Timestamp,
) -> Option<RecordDraft> {
    let pending = negotiation.process.pending().map(|pending| pending.message);
    if pending != Some(MessageKind::Termination) || !negotiation.outbox.is_empty() {
        return None;
    }
    let explanation = match &negotiation.failure {
        Some(failure) => Explanation::new(&failure.code, &failure.reason),
        None => Explanation::default(),
    };
    let kind = MessageKind::Termination;
    let owed = late_termination_id(&negotiation.pid).and_then(|id| {
        owe_to(negotiation, patience, now, kind, id.clone(), |pids| {
            let termination = ContractNegotiationTerminationMessage { pids, explanation };
            message::to_json(&termination, Some(&id))
        })
    });
    if owed.is_none() {
        negotiation.process = ended(negotiation);
    }
    Some(with_owed(with_state(termination_record(negotiation), negotiation), owed))
}

/// Terminates from our side, with code and reason for the partner.
fn terminate_with(
    context: &Context,
    fresh: &Fresh,
    view: &dyn View,
    negotiation: &mut Negotiation,
    code: &str,
    reason: &str,
) -> Result<Vec<RecordDraft>, Stop> {
    let id = fresh.second_message_id();
    let explanation = Explanation::new(code, reason);
    let kind = MessageKind::Termination;
    let owed = send(view, context, fresh, negotiation, kind, id.clone(), |pids| {
        let termination = ContractNegotiationTerminationMessage { pids, explanation };
        message::to_json(&termination, Some(&id))
    })?;
    negotiation.failure.get_or_insert_with(|| Failure {
        code: code.to_owned(),
        reason: reason.to_owned(),
        reference: None,
        by_policy: false,
    });
    let record = with_state(termination_record(negotiation), negotiation);
    let mut records = vec![with_owed(record, owed)];
    records.extend(end_agreement(view, negotiation, reason)?);
    Ok(records)
}

fn termination_record(negotiation: &Negotiation) -> RecordDraft {
    RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationTerminated,
        Category::Service,
    )
    .account(Account {
        reason: negotiation.failure.as_ref().map(|failure| failure.reason.clone()),
        ..towards(&negotiation.participant).fact("negotiation", negotiation.pid.to_string())
    })
    .essential()
}

fn ended(negotiation: &Negotiation) -> Process {
    Process::in_state(negotiation.process.role(), State::Terminated)
}

fn outbox_key(negotiation: &Negotiation, number: u64) -> Key {
    Key::Outbox(negotiation.participant.clone(), negotiation.pid.clone(), number)
}

/// The record with the negotiation as it is after it: each record of a decision says so, for who follows them one by one.
fn with_state(record: RecordDraft, negotiation: &Negotiation) -> RecordDraft {
    record.put(Key::Negotiation(negotiation.pid.clone()), negotiation.clone())
}

/// Puts the negotiation into the last record, removes what it no longer owes, and closes its index entry when it is over.
fn finish(mut records: Vec<RecordDraft>, negotiation: &mut Negotiation) -> Vec<RecordDraft> {
    let Some(mut last) = records.pop() else { return records };
    withdraw_unowed(&negotiation.process, &mut negotiation.outbox, &mut negotiation.withdrawn);
    for number in std::mem::take(&mut negotiation.withdrawn) {
        last = last.remove(outbox_key(negotiation, number));
    }
    let key = Key::Negotiation(negotiation.pid.clone());
    last.writes.retain(|write| write.key != key);
    last = with_state(last, negotiation);
    // Only what the partner began is found by its process id.
    if negotiation.process.is_closed()
        && negotiation.initiator != negotiation.process.role()
        && let Some(peer_pid) = &negotiation.peer_pid
    {
        last = last.put(
            Key::PeerProcess(negotiation.participant.clone(), peer_pid.clone()),
            PeerProcess { v: 1, pid: negotiation.pid.clone(), transfer: false, closed: true },
        );
    }
    records.push(last);
    records
}

/// What a termination of the partner's says.
fn told(explanation: &Explanation) -> Failure {
    crate::process::told("terminated", explanation)
}

fn received_kind(kind: MessageKind) -> RecordKind {
    match kind {
        MessageKind::Request => RecordKind::NegotiationRequested,
        MessageKind::Offer => RecordKind::NegotiationOffered,
        MessageKind::Accepted => RecordKind::NegotiationAccepted,
        MessageKind::Agreement => RecordKind::NegotiationAgreed,
        MessageKind::Verification => RecordKind::NegotiationVerified,
        MessageKind::Finalized => RecordKind::NegotiationFinalized,
        MessageKind::Termination => RecordKind::NegotiationTerminated,
    }
}

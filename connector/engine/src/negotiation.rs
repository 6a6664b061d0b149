//! Contract negotiations, both roles.
//!
//! As provider we answer a request for one of our offers, repeated unchanged, with the agreement at once. As consumer we
//! request an offer for a declared purpose and verify that the agreement is what was requested.

mod consumer;
mod provider;

use protocol::id::{ParticipantId, Pid};
use protocol::message::{
    self, Agreement, ContractNegotiationTerminationMessage, Explanation, Pids,
};
use protocol::negotiation::{MessageKind, State};
use protocol::path::{BaseUrl, Endpoint};
use protocol::process::{Delivery, Role};
use serde_json::Value;

pub use consumer::{Choice, request};
pub use provider::receive_request;

use crate::context::{self, Context, Decided, Fresh, Peer, Stop, settle};
use crate::entity::{Failure, Negotiation, Subject};
use crate::process::{
    Draft, Inbound, Novelty, Owed, by_peer, first, novelty, owe, remember, towards,
};
use crate::refusal::RefusalKind;
use crate::{Category, Decision, Key, LogId, Need, RecordDraft, RecordKind, View};

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
    /// A counter-request or counter-offer.
    Counter(MessageKind),
}

impl Message {
    fn kind(&self) -> MessageKind {
        match self {
            Self::Accepted => MessageKind::Accepted,
            Self::Agreement(_) => MessageKind::Agreement,
            Self::Verification => MessageKind::Verification,
            Self::Finalized => MessageKind::Finalized,
            Self::Termination(_) => MessageKind::Termination,
            Self::Counter(kind) => *kind,
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
    learn_pid(&mut negotiation, named, fresh)?;
    let process =
        if inbound.attempted { negotiation.process.attempted() } else { negotiation.process };
    let received = process.receive(message.kind()).map_err(|rejection| {
        fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), rejection.to_string())
    })?;
    let mut record = RecordDraft::new(
        LogId::Relation(peer.participant.clone()),
        received_kind(message.kind()),
        Category::Communication,
    )
    .account(by_peer(peer).fact("negotiation", pid.to_string()))
    .message(inbound.text.clone());
    if (received.acknowledged_own || received.dropped_own)
        && let Some(number) = first(&mut negotiation.outbox)
    {
        record =
            record.remove(Key::Outbox(negotiation.participant.clone(), pid.clone(), number));
    }
    negotiation.process = received.process;
    negotiation.transitions += 1;
    remember(&mut negotiation.accepted, inbound, negotiation.transitions);

    let follow_up = match message {
        Message::Accepted => provider::agree(view, context, fresh, &partner, &mut negotiation)?,
        Message::Verification => provider::finalize(view, context, fresh, &mut negotiation)?,
        Message::Agreement(agreement) => {
            consumer::verify(view, context, fresh, &mut negotiation, agreement)?
        }
        Message::Finalized => consumer::finalized(view, &mut negotiation)?,
        Message::Termination(termination) => {
            negotiation.failure = Some(told(termination));
            end_agreement(view, &negotiation, "the negotiation was terminated")?
        }
        Message::Counter(kind) => {
            // Counter-offers are judged by a person or an application; this node's own answer is that its offers stand.
            terminate_with(
                context,
                fresh,
                view,
                &mut negotiation,
                "offer-stands",
                &format!("this node does not bargain: repeat an offer unchanged ({kind})"),
            )?
        }
    };
    let mut records = vec![record];
    records.extend(follow_up);
    Ok(Decision::commit(finish(records, &negotiation), ()))
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
        Ok(records) => Ok(Decision::commit(finish(records, &negotiation), true)),
        Err(Stop::Need(need)) => Err(need),
        Err(Stop::Refuse(_)) => Ok(Decision::answer(false)),
    }
}

/// What the partner's answer to our first message of a negotiation, or to any other, means.
///
/// `peer_pid` is the process id that the answer to a first message names.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn delivered(
    view: &dyn View,
    pid: &Pid,
    number: u64,
    peer_pid: Option<&Pid>,
) -> Result<Vec<RecordDraft>, Need> {
    let Some(mut negotiation) = context::negotiation(view, pid)? else { return Ok(Vec::new()) };
    if negotiation.outbox.first() != Some(&number) {
        return Ok(Vec::new());
    }
    negotiation.outbox.remove(0);
    negotiation.process = negotiation.process.acknowledged();
    negotiation.transitions += 1;
    let mut record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::MessageDelivered,
        Category::Communication,
    )
    .account(towards(&negotiation.participant).fact("negotiation", pid.to_string()))
    .remove(Key::Outbox(negotiation.participant.clone(), pid.clone(), number));
    if negotiation.peer_pid.is_none()
        && let Some(peer_pid) = peer_pid
    {
        negotiation.peer_pid = Some(peer_pid.clone());
    }
    if negotiation.process.is_closed() {
        record = close(record, &negotiation);
    }
    Ok(finish(vec![record], &negotiation))
}

/// The partner refused a message for good, or it could not be delivered in time: the pending transition is dropped, and
/// the process ended where it cannot go on.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn undeliverable(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pid: &Pid,
    number: u64,
    failure: &Failure,
) -> Result<Vec<RecordDraft>, Need> {
    let Some(mut negotiation) = context::negotiation(view, pid)? else { return Ok(Vec::new()) };
    if negotiation.outbox.first() != Some(&number) {
        return Ok(Vec::new());
    }
    negotiation.outbox.remove(0);
    let was_termination = negotiation
        .process
        .pending()
        .is_some_and(|pending| pending.message == MessageKind::Termination);
    negotiation.process = negotiation.process.refused();
    negotiation.transitions += 1;
    negotiation.failure.get_or_insert_with(|| failure.clone());
    let record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::MessageUndeliverable,
        Category::Communication,
    )
    .account(crate::Account {
        reason: Some(failure.reason.clone()),
        reference: failure.reference.clone(),
        ..towards(&negotiation.participant).fact("negotiation", pid.to_string())
    })
    .remove(Key::Outbox(negotiation.participant.clone(), pid.clone(), number));
    let mut records = vec![record];
    if was_termination {
        // The partner will not hear of it; for us it is over all the same.
        negotiation.process =
            protocol::negotiation::Process::in_state(negotiation.process.role(), State::Terminated);
    } else if !negotiation.process.is_closed() && negotiation.process.pending().is_none() {
        let reason = format!("a message of ours was refused: {}", failure.reason);
        match terminate_with(context, fresh, view, &mut negotiation, "refused-by-peer", &reason) {
            Ok(more) => records.extend(more),
            Err(Stop::Need(need)) => return Err(need),
            Err(Stop::Refuse(_)) => {}
        }
    }
    records.extend(end_agreement(view, &negotiation, "the negotiation failed")?);
    Ok(finish(records, &negotiation))
}

/// Ends an agreement whose negotiation did not reach its end.
fn end_agreement(
    view: &dyn View,
    negotiation: &Negotiation,
    reason: &str,
) -> Result<Vec<RecordDraft>, Need> {
    let Some(id) = &negotiation.agreement else { return Ok(Vec::new()) };
    let Some(mut agreement) = context::agreement(view, id)? else { return Ok(Vec::new()) };
    if agreement.ended.is_some() || agreement.finalized {
        return Ok(Vec::new());
    }
    agreement.ended = Some((view.now(), reason.to_owned()));
    let record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::AgreementEnded,
        Category::Service,
    )
    .account(crate::Account {
        agreement: Some(id.clone()),
        reason: Some(reason.to_owned()),
        ..towards(&negotiation.participant)
    })
    .put(Key::Agreement(id.clone()), agreement);
    Ok(vec![record])
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

/// A message names both process ids. Ours must be right unless the partner's is (some connectors send their own twice).
fn learn_pid(negotiation: &mut Negotiation, named: &Pids, fresh: &Fresh) -> Result<(), Stop> {
    let (ours, theirs) = match negotiation.process.role() {
        Role::Consumer => (&named.consumer, &named.provider),
        Role::Provider => (&named.provider, &named.consumer),
    };
    match &negotiation.peer_pid {
        None => {
            if *ours != negotiation.pid {
                return Err(wrong_pid(fresh));
            }
            negotiation.peer_pid = Some(theirs.clone());
        }
        Some(known) => {
            if *ours != negotiation.pid && theirs != known {
                return Err(wrong_pid(fresh));
            }
        }
    }
    Ok(())
}

fn wrong_pid(fresh: &Fresh) -> Stop {
    let text = "the process ids in the message are not those of this process";
    fresh.refuse(RefusalKind::Invalid, text, text)
}

fn status_of(negotiation: &Negotiation) -> Status {
    let (consumer_pid, provider_pid) = pids(negotiation);
    Status {
        consumer_pid,
        provider_pid,
        state: negotiation.process.state().unwrap_or(State::Requested),
        pending: negotiation.process.pending().is_some(),
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

/// Owes a message of this negotiation to the partner: pending in the process, numbered, in the outbox.
fn send(
    view: &dyn View,
    context: &Context,
    negotiation: &mut Negotiation,
    kind: MessageKind,
    id: protocol::id::MessageId,
    text: impl FnOnce(Pids) -> Value,
) -> Result<Option<Owed>, Stop> {
    let sent = negotiation.process.send(kind).map_err(|rejection| {
        Stop::Refuse(crate::Refusal::new(
            RefusalKind::IllegalState,
            rejection.to_string(),
            rejection.to_string(),
            uuid::Uuid::nil(),
        ))
    })?;
    negotiation.process = sent.process;
    if sent.withdrew_own {
        negotiation.withdrawn = std::mem::take(&mut negotiation.outbox);
    }
    negotiation.transitions += 1;
    if sent.delivery == Delivery::Unneeded {
        return Ok(None);
    }
    let (Some(consumer), Some(provider)) = pids(negotiation) else {
        // Without the partner's process id there is no address to tell; our side is over by itself.
        return Ok(None);
    };
    let Ok(base) = BaseUrl::new(&negotiation.peer_base) else { return Ok(None) };
    let pids = Pids { consumer, provider };
    let peer_pid = match negotiation.process.role() {
        Role::Consumer => &pids.provider,
        Role::Provider => &pids.consumer,
    };
    let url = base.endpoint(Endpoint::NegotiationMessage(peer_pid, kind)).to_string();
    let owed = owe(
        context,
        view.now(),
        Draft {
            subject: Subject::Negotiation,
            participant: &negotiation.participant,
            pid: &negotiation.pid,
            number: negotiation.transitions,
            id,
            url,
            text: text(pids),
            token: None,
            terminates: kind == MessageKind::Termination,
        },
    );
    negotiation.outbox.push(negotiation.transitions);
    Ok(Some(owed))
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
    let owed = send(view, context, negotiation, MessageKind::Termination, id.clone(), |pids| {
        let termination = ContractNegotiationTerminationMessage { pids, explanation };
        message::to_json(&termination, Some(&id))
    })?;
    negotiation.failure.get_or_insert_with(|| Failure {
        code: code.to_owned(),
        reason: reason.to_owned(),
        reference: None,
        by_policy: false,
    });
    let mut record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationTerminated,
        Category::Service,
    )
    .account(crate::Account {
        reason: Some(reason.to_owned()),
        ..towards(&negotiation.participant).fact("negotiation", negotiation.pid.to_string())
    })
    .essential();
    for number in std::mem::take(&mut negotiation.withdrawn) {
        record = record.remove(Key::Outbox(
            negotiation.participant.clone(),
            negotiation.pid.clone(),
            number,
        ));
    }
    if let Some(owed) = owed {
        record = record.put(owed.key, owed.entity).message(owed.text);
    }
    let mut records = vec![record];
    records.extend(end_agreement(view, negotiation, reason)?);
    Ok(records)
}

/// Puts the negotiation into the last record, and closes its index entry when it is over.
fn finish(mut records: Vec<RecordDraft>, negotiation: &Negotiation) -> Vec<RecordDraft> {
    if let Some(last) = records.pop() {
        let last = last.put(Key::Negotiation(negotiation.pid.clone()), negotiation.clone());
        records.push(if negotiation.process.is_closed() { close(last, negotiation) } else { last });
    }
    records
}

fn close(record: RecordDraft, negotiation: &Negotiation) -> RecordDraft {
    match &negotiation.peer_pid {
        Some(peer_pid) => record.put(
            Key::PeerProcess(negotiation.participant.clone(), peer_pid.clone()),
            crate::entity::PeerProcess {
                v: 1,
                pid: negotiation.pid.clone(),
                transfer: false,
                closed: true,
            },
        ),
        None => record,
    }
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

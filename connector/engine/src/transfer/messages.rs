//! Messages of the partner in a transfer that exists.

use protocol::id::Pid;
use protocol::message::{Explanation, Pids};
use protocol::process::Role;
use protocol::transfer::MessageKind;

use super::resumption::Resumption;
use super::{
    Process, account, await_decision, finish, late_termination, of_peer, outbox_key, with_state,
};
use crate::context::{self, Context, Decided, Fresh, Peer, Stop, settle};
use crate::entity::{Source, Transfer};
use crate::process::{
    Inbound, Novelty, by_peer, first, is_terminating, learn_pid, novelty, remember, remembered,
    told,
};
use crate::refusal::RefusalKind;
use crate::{
    Account, Category, Decision, Handling, LogId, RecordDraft, RecordKind, View, agreements, pull,
};

/// A message of the partner.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "named as the DSP messages are")]
pub enum Message {
    /// With where the data are, when we are the consumer.
    Start(Option<Source>),
    Suspension(Explanation),
    Completion,
    Termination(Explanation),
}

impl Message {
    fn kind(&self) -> MessageKind {
        match self {
            Self::Start(_) => MessageKind::Start,
            Self::Suspension(_) => MessageKind::Suspension,
            Self::Completion => MessageKind::Completion,
            Self::Termination(_) => MessageKind::Termination,
        }
    }

    fn record_kind(&self) -> RecordKind {
        match self {
            Self::Start(_) => RecordKind::TransferStarted,
            Self::Suspension(_) => RecordKind::TransferSuspended,
            Self::Completion => RecordKind::TransferCompleted,
            Self::Termination(_) => RecordKind::TransferTerminated,
        }
    }
}

/// Takes a message in a transfer that exists. `token_sha256` is that of the token of the next generation, for a
/// resumption that we answer with a start of our own.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
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
    next_token: impl Fn(&Pid, u32) -> String,
) -> Decided<()> {
    settle(try_receive(view, context, fresh, peer, pid, named, message, inbound, next_token))
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
    next_token: impl Fn(&Pid, u32) -> String,
) -> Result<Decision<()>, Stop> {
    context::active_partner(view, fresh, peer)?;
    let mut transfer = of_peer(view, fresh, &peer.participant, pid)?;
    if novelty(&transfer.accepted, transfer.transitions, inbound, fresh)? == Novelty::Repeat {
        return Ok(Decision::answer(()));
    }
    learn_pid(transfer.process.role(), pid, &mut transfer.peer_pid, named, fresh)?;
    transfer.changed = view.now();
    match message {
        Message::Suspension(explanation) => {
            transfer.failure = Some(told("suspended", explanation));
        }
        Message::Termination(explanation) => {
            transfer.failure = Some(told("terminated", explanation));
        }
        Message::Start(_) | Message::Completion => {}
    }
    let mut records = vec![take(fresh, peer, &mut transfer, message, inbound)?];
    match message {
        Message::Termination(explanation) => {
            let failure = told("terminated", explanation);
            records.extend(agreements::ended_by_partner(view, &transfer.agreement, &failure)?);
            if transfer.process.role() == Role::Consumer {
                records.extend(pull::refused(view, &transfer, &failure)?);
            }
        }
        Message::Suspension(_) | Message::Completion => {}
        Message::Start(source) if transfer.process.role() == Role::Consumer => {
            transfer.source.clone_from(source);
            transfer.failure = None;
        }
        // We have ended it already: the partner hears so, and nothing else.
        Message::Start(_) if is_terminating(&transfer.process) => {}
        Message::Start(_) => {
            let resumed = Resumption::judge(view, fresh, &transfer)?;
            transfer.failure = None;
            records.push(match transfer.handling {
                Handling::Auto => resumed.start(view, context, fresh, &mut transfer, next_token)?,
                Handling::Manual => await_decision(view, context, &mut transfer),
            });
        }
    }
    records.extend(late_termination(&mut transfer, context.delivery_deadline, view.now()));
    remembered(&mut transfer.accepted, transfer.transitions);
    Ok(Decision::commit(finish(records, &mut transfer), ()))
}

/// Takes a message into the process, and says so in a record.
fn take(
    fresh: &Fresh,
    peer: &Peer,
    transfer: &mut Transfer,
    message: &Message,
    inbound: &Inbound,
) -> Result<RecordDraft, Stop> {
    let process: Process =
        if inbound.attempted { transfer.process.attempted() } else { transfer.process };
    let received = process.receive(message.kind()).map_err(|rejection| {
        fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), rejection.to_string())
    })?;
    let mut record = RecordDraft::new(
        LogId::Relation(peer.participant.clone()),
        message.record_kind(),
        Category::Communication,
    )
    .account(Account {
        node: by_peer(peer).node,
        place: by_peer(peer).place,
        ..account(transfer, &None)
    })
    .message(inbound.text.clone());
    record.essential = matches!(message, Message::Termination(_));
    if (received.acknowledged_own || received.dropped_own)
        && let Some(number) = first(&mut transfer.outbox)
    {
        record = record.remove(outbox_key(transfer, number));
    }
    transfer.process = received.process;
    transfer.awaiting = None;
    transfer.transitions += 1;
    remember(&mut transfer.accepted, inbound, transfer.transitions);
    Ok(with_state(record, transfer))
}

//! What became of the messages that a transfer owed.

use jiff::SignedDuration;
use protocol::id::Pid;
use protocol::process::Role;
use protocol::transfer::{MessageKind, State};

use super::{ended, finish, late_termination, outbox_key, terminate_with};
use crate::context::{self, Context, Fresh, Stop};
use crate::dead_letters::GivenUp;
use crate::entity::{Failure, Transfer};
use crate::process::towards;
use crate::{Account, Category, LogId, Need, RecordDraft, RecordKind, View, agreements, pull};

/// The partner acknowledged the message that was sent to it. `peer_pid` is the process id that the answer to a first
/// message names; `patience` is how long we keep trying with what follows.
pub(crate) fn delivered(
    view: &dyn View,
    pid: &Pid,
    number: u64,
    peer_pid: Option<&Pid>,
    patience: SignedDuration,
) -> Result<Vec<RecordDraft>, Need> {
    let Some(mut transfer) = context::transfer(view, pid)? else { return Ok(Vec::new()) };
    if transfer.outbox.first() != Some(&number) {
        return Ok(Vec::new());
    }
    transfer.outbox.remove(0);
    transfer.process = transfer.process.acknowledged();
    transfer.transitions += 1;
    transfer.changed = view.now();
    if transfer.peer_pid.is_none() {
        transfer.peer_pid = peer_pid.cloned();
    }
    let mut records = vec![
        RecordDraft::new(
            LogId::Relation(transfer.participant.clone()),
            RecordKind::MessageDelivered,
            Category::Communication,
        )
        .account(towards(&transfer.participant).fact("transfer", pid.to_string()))
        .remove(outbox_key(&transfer, number)),
    ];
    records.extend(late_termination(&mut transfer, patience, view.now()));
    Ok(finish(records, &mut transfer))
}

/// The partner refused our pending message for good, or it could not be delivered in time.
pub(crate) fn undeliverable(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pid: &Pid,
    number: u64,
    given_up: &GivenUp,
) -> Result<Vec<RecordDraft>, Need> {
    let Some(mut transfer) = context::transfer(view, pid)? else { return Ok(Vec::new()) };
    if transfer.outbox.first() != Some(&number) {
        return Ok(Vec::new());
    }
    transfer.outbox.remove(0);
    let failure = &given_up.failure;
    let refused = transfer.process.pending().map(|pending| pending.message);
    transfer.process = transfer.process.refused();
    transfer.transitions += 1;
    transfer.changed = view.now();
    transfer.failure.get_or_insert_with(|| failure.clone());
    let mut records = vec![undelivered(&transfer, failure).remove(outbox_key(&transfer, number))];
    match refused {
        // The partner will not hear of the end; for us it is one all the same.
        Some(MessageKind::Termination) => {
            transfer.process = ended(&transfer, State::Terminated);
        }
        // So it is with a completion that could not be delivered. One that the partner refused is no end: it has decided
        // otherwise, such as to terminate, and both are to say the same.
        Some(MessageKind::Completion) if !given_up.refused => {
            transfer.process = ended(&transfer, State::Completed);
        }
        Some(MessageKind::Request) if transfer.process.role() == Role::Consumer => {
            records.extend(agreements::ended_by_partner(view, &transfer.agreement, failure)?);
            records.extend(pull::refused(view, &transfer, failure)?);
        }
        _ if !transfer.process.is_closed() && transfer.process.pending().is_none() => {
            let failure = Failure { code: "refused-by-peer".to_owned(), ..failure.clone() };
            match terminate_with(view, context, fresh, &mut transfer, failure) {
                Ok(record) => records.push(record),
                Err(Stop::Need(need)) => return Err(need),
                Err(Stop::Refuse(_)) => transfer.process = ended(&transfer, State::Terminated),
            }
        }
        _ => {}
    }
    Ok(finish(records, &mut transfer))
}

fn undelivered(transfer: &Transfer, failure: &Failure) -> RecordDraft {
    RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::MessageUndeliverable,
        Category::Communication,
    )
    .account(Account {
        reason: Some(failure.reason.clone()),
        reference: failure.reference.clone(),
        ..towards(&transfer.participant).fact("transfer", transfer.pid.to_string())
    })
}

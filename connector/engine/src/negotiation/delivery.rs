//! What became of the messages that a negotiation owed.

use jiff::SignedDuration;
use protocol::id::Pid;
use protocol::negotiation::{MessageKind, State};

use super::{
    end_agreement, ended, finish, late_termination, outbox_key, terminate_with, with_state,
};
use crate::context::{self, Context, Fresh, Stop};
use crate::entity::{Failure, Negotiation};
use crate::process::{is_terminating, towards};
use crate::{Account, Category, LogId, Need, RecordDraft, RecordKind, View};

/// The partner acknowledged the message that was sent to it. `peer_pid` is the process id that the answer to a first
/// message names; `patience` is how long we keep trying with what follows.
pub(crate) fn delivered(
    view: &dyn View,
    pid: &Pid,
    number: u64,
    peer_pid: Option<&Pid>,
    patience: SignedDuration,
) -> Result<Vec<RecordDraft>, Need> {
    let Some(mut negotiation) = context::negotiation(view, pid)? else { return Ok(Vec::new()) };
    if negotiation.outbox.first() != Some(&number) {
        return Ok(Vec::new());
    }
    negotiation.outbox.remove(0);
    negotiation.process = negotiation.process.acknowledged();
    negotiation.transitions += 1;
    negotiation.changed = view.now();
    if negotiation.peer_pid.is_none() {
        negotiation.peer_pid = peer_pid.cloned();
    }
    let delivered = record(&negotiation).remove(outbox_key(&negotiation, number));
    let mut records = vec![with_state(delivered, &negotiation)];
    records.extend(late_termination(&mut negotiation, patience, view.now()));
    if is_terminating(&negotiation.process)
        || negotiation.process.state() == Some(State::Terminated)
    {
        records.extend(end_agreement(view, &negotiation, "the negotiation was terminated")?);
    }
    Ok(finish(records, &mut negotiation))
}

/// The partner refused a message for good, or it could not be delivered in time: the pending transition is dropped, and
/// the process ended where it cannot go on.
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
    let refused = negotiation.process.pending().map(|pending| pending.message);
    negotiation.process = negotiation.process.refused();
    negotiation.transitions += 1;
    negotiation.changed = view.now();
    negotiation.failure.get_or_insert_with(|| failure.clone());
    let account = Account {
        reason: Some(failure.reason.clone()),
        reference: failure.reference.clone(),
        ..towards(&negotiation.participant).fact("negotiation", pid.to_string())
    };
    let undelivered = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::MessageUndeliverable,
        Category::Communication,
    )
    .account(account)
    .remove(outbox_key(&negotiation, number));
    let mut records = vec![with_state(undelivered, &negotiation)];
    if refused == Some(MessageKind::Termination) {
        // The partner will not hear of it; for us it is over all the same.
        negotiation.process = ended(&negotiation);
    } else if !negotiation.process.is_closed() && negotiation.process.pending().is_none() {
        let reason = format!("a message of ours was refused: {}", failure.reason);
        match terminate_with(context, fresh, view, &mut negotiation, "refused-by-peer", &reason) {
            Ok(more) => records.extend(more),
            Err(Stop::Need(need)) => return Err(need),
            Err(Stop::Refuse(_)) => negotiation.process = ended(&negotiation),
        }
        return Ok(finish(records, &mut negotiation));
    }
    records.extend(end_agreement(view, &negotiation, "the negotiation failed")?);
    Ok(finish(records, &mut negotiation))
}

/// The record of a message that the partner has.
pub(super) fn record(negotiation: &Negotiation) -> RecordDraft {
    RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::MessageDelivered,
        Category::Communication,
    )
    .account(towards(&negotiation.participant).fact("negotiation", negotiation.pid.to_string()))
}

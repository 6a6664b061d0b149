//! What became of a message that we owed.

use protocol::id::{ParticipantId, Pid};

use crate::context::{self, Context, Fresh};
use crate::entity::{Failure, Subject};
use crate::{Decision, Need, View, negotiation, transfer};

/// The partner acknowledged a message. `peer_pid` is the process id that its answer to a first message names.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn delivered(
    view: &dyn View,
    participant: &ParticipantId,
    pid: &Pid,
    number: u64,
    peer_pid: Option<&Pid>,
) -> Result<Decision<()>, Need> {
    let Some(owed) = context::outbox(view, participant, pid, number)? else {
        return Ok(Decision::answer(()));
    };
    let records = match owed.subject {
        Subject::Negotiation => negotiation::delivered(view, pid, number, peer_pid)?,
        Subject::Transfer => transfer::delivered(view, pid, number, peer_pid)?,
    };
    Ok(Decision::commit(records, ()))
}

/// The partner refused a message for good, or its deadline passed.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn undeliverable(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    participant: &ParticipantId,
    pid: &Pid,
    number: u64,
    failure: &Failure,
) -> Result<Decision<()>, Need> {
    let Some(owed) = context::outbox(view, participant, pid, number)? else {
        return Ok(Decision::answer(()));
    };
    let records = match owed.subject {
        Subject::Negotiation => {
            negotiation::undeliverable(view, context, fresh, pid, number, failure)?
        }
        Subject::Transfer => transfer::undeliverable(view, context, fresh, pid, number, failure)?,
    };
    Ok(Decision::commit(records, ()))
}

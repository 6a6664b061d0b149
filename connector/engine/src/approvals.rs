//! Deciding what waits, whatever kind of process it is in.

use protocol::id::Pid;

use crate::context::{self, Context, Decided, Fresh, Stop, settle};
use crate::entity::Failure;
use crate::handling::{Decider, signed};
use crate::refusal::RefusalKind;
use crate::{Decision, View, negotiation, transfer};

/// The code by which a partner is told that a person denied what it asked for.
pub const DENIED: &str = "denied";

/// Denies what waits in a process: ends it. The partner is told that it was denied; why is for the record.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn deny(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pid: &Pid,
    decider: &Decider,
    attempted: bool,
) -> Decided<()> {
    settle((|| {
        let told = "the request was denied";
        let ended = if let Some(waiting) = context::negotiation(view, pid)? {
            waits(fresh, pid, waiting.awaiting.is_some())?;
            negotiation::terminate(view, context, fresh, pid, attempted, DENIED, told)?
        } else if let Some(waiting) = context::transfer(view, pid)? {
            waits(fresh, pid, waiting.awaiting.is_some())?;
            let failure = Failure {
                code: DENIED.to_owned(),
                reason: told.to_owned(),
                reference: None,
                by_policy: false,
            };
            transfer::terminate(view, context, fresh, pid, attempted, &failure)?
        } else {
            let text = format!("there is no process `{pid}`");
            return Err(fresh.refuse(RefusalKind::NotFound, text.clone(), text));
        };
        Ok(Decision::commit(signed(ended.records, decider), ()))
    })())
}

/// Refuses to decide where nothing waits.
pub(crate) fn waits(fresh: &Fresh, pid: &Pid, waits: bool) -> Result<(), Stop> {
    if waits {
        return Ok(());
    }
    let text = format!("nothing waits for a decision in process `{pid}`");
    Err(fresh.refuse(RefusalKind::IllegalState, text.clone(), text))
}

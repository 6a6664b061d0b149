//! What became of a message that we owed.

use jiff::Timestamp;
use protocol::id::{AgreementId, ParticipantId, Pid};

use crate::context::{self, Context, Fresh};
use crate::dead_letters::{self, GivenUp};
use crate::entity::{Outbox, PartnerState, Subject};
use crate::record::{RecordDraft, Write};
use crate::{Decision, Entity, Key, Need, Position, View, negotiation, transfer};

/// The partner acknowledged a message. `peer_pid` is the process id that its answer to a first message names. The answer
/// says whether the process may owe another message: where it does not, nothing has to be looked up before a later commit
/// owes one.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn delivered(
    view: &dyn View,
    participant: &ParticipantId,
    pid: &Pid,
    number: u64,
    peer_pid: Option<&Pid>,
) -> Result<Decision<bool>, Need> {
    let Some(owed) = context::outbox(view, participant, pid, number)? else {
        return Ok(Decision::answer(true));
    };
    let patience = owed.deadline.duration_since(owed.queued);
    let records = match owed.subject {
        Subject::Negotiation => negotiation::delivered(view, pid, number, peer_pid, patience)?,
        Subject::Transfer => transfer::delivered(view, pid, number, peer_pid, patience)?,
    };
    let owes = owes(&records, pid);
    Ok(Decision::commit(records, owes))
}

/// Whether a process owes a message after these records; where they do not write it, it may.
fn owes(records: &[RecordDraft], pid: &Pid) -> bool {
    let writes = records.iter().rev().flat_map(|record| record.writes.iter().rev());
    let mut left = writes.filter_map(|write| match &write.entity {
        Some(Entity::Negotiation(found)) if found.pid == *pid => Some(&found.outbox),
        Some(Entity::Transfer(found)) if found.pid == *pid => Some(&found.outbox),
        _ => None,
    });
    left.next().is_none_or(|outbox| !outbox.is_empty())
}

/// The partner refused a message for good, or its deadline passed: it becomes a dead letter, unless a policy of the partner
/// refused what it asks for.
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
    given_up: &GivenUp,
) -> Result<Decision<()>, Need> {
    let Some(owed) = context::outbox(view, participant, pid, number)? else {
        return Ok(Decision::answer(()));
    };
    let failure = &given_up.failure;
    // A policy's no is an answer: the process shows it.
    let letter = match failure.by_policy {
        true => None,
        false => dead_letters::of(view, &owed, participant, pid, number, given_up)?,
    };
    let mut records = match owed.subject {
        Subject::Negotiation => {
            negotiation::undeliverable(view, context, fresh, pid, number, failure)?
        }
        Subject::Transfer => transfer::undeliverable(view, context, fresh, pid, number, given_up)?,
    };
    // Where there is no record the message was withdrawn meanwhile.
    if let (Some(record), Some(letter)) = (records.first_mut(), letter) {
        let key = Key::DeadLetter(letter.owed.message.clone());
        record.writes.push(Write { key, entity: Some(letter.into()) });
    }
    Ok(Decision::commit(records, ()))
}

/// A message to send next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its number within the process.
    pub number: u64,
    /// What it is.
    pub entity: Outbox,
    /// The record whose body is its text.
    pub text: Position,
    /// Whether it begins its process.
    pub begins: bool,
    /// Where it begins a process that rests on what was settled with the partner just before, when that was: a transfer
    /// request, and the end of the negotiation of its agreement. A refusal of any other first message is final at once, for
    /// there is nothing that the partner may not have recorded yet.
    pub rests_on: Option<Timestamp>,
    /// Whether the partner may be told anything at all now.
    pub partner_active: bool,
    /// Whether the clock is trusted: no deadline passes while it is not.
    pub trusted_time: bool,
}

/// The message of a process that is to be sent next: the first that is owed.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn due(
    view: &dyn View,
    participant: &ParticipantId,
    pid: &Pid,
) -> Result<Decision<Option<Due>>, Need> {
    // Looked at where they are: a process with its terms is not copied for its number.
    let (negotiation, transfer) = (Key::Negotiation(pid.clone()), Key::Transfer(pid.clone()));
    let (first, begins, rests_on) = match view.entity(&negotiation)?.as_deref() {
        Some(Entity::Negotiation(found)) => {
            (found.outbox.first().copied(), found.process.state().is_none(), None)
        }
        _ => match view.entity(&transfer)?.as_deref() {
            Some(Entity::Transfer(found)) => {
                let begins = found.process.state().is_none();
                let rests_on = if begins { settled(view, &found.agreement)? } else { None };
                (found.outbox.first().copied(), begins, rests_on)
            }
            _ => (None, false, None),
        },
    };
    let Some(number) = first else { return Ok(Decision::answer(None)) };
    let Some(entity) = context::outbox(view, participant, pid, number)? else {
        return Ok(Decision::answer(None));
    };
    let key = Key::Outbox(participant.clone(), pid.clone(), number);
    let Some(text) = view.version(&key)? else { return Ok(Decision::answer(None)) };
    let trusted_time = context::site(view)?.is_none_or(|site| site.clock_refused.is_none());
    let partner_active = context::partner(view, participant)?
        .is_some_and(|partner| partner.state != PartnerState::Suspended);
    let due = Due { number, entity, text, begins, rests_on, partner_active, trusted_time };
    Ok(Decision::answer(Some(due)))
}

/// When the negotiation that made an agreement came to its end. Nothing for one that was made elsewhere.
fn settled(view: &dyn View, agreement: &AgreementId) -> Result<Option<Timestamp>, Need> {
    let Some(agreement) = context::agreement(view, agreement)? else { return Ok(None) };
    Ok(context::negotiation(view, &agreement.negotiation)?.map(|negotiation| negotiation.changed))
}

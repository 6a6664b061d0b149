//! Messages that we gave up on: kept with what went wrong, and owed again where the partner can still use them.

use jiff::Timestamp;
use protocol::id::{MessageId, ParticipantId, Pid};
use protocol::{negotiation, transfer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::{self, Context, Decided, Fresh, Stop, settle};
use crate::entity::{Failure, Outbox, PartnerState, Subject};
use crate::handling::{Decider, signed};
use crate::process::towards;
use crate::refusal::RefusalKind;
use crate::{
    Category, Decision, Entity, Key, LogId, Need, Position, RecordDraft, RecordKind, View,
};

/// A message that the partner refused for good, or did not take in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The version of this shape.
    pub v: u16,
    /// The message as it was owed; its id names the dead letter.
    pub owed: Outbox,
    /// The partner.
    pub participant: ParticipantId,
    /// Our process id.
    pub pid: Pid,
    /// Its DSP type.
    pub message_type: String,
    /// The record whose body is its text.
    pub text: Position,
    /// When we gave up.
    pub given_up: Timestamp,
    /// How often it was tried, since the node last started.
    pub attempts: u32,
    /// Why we gave up.
    pub failure: Failure,
    /// What went wrong at the last attempt, where that is not why we gave up.
    pub last_error: Option<String>,
}

/// How the delivery of a message came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Why.
    pub failure: Failure,
    /// Whether the partner refused it; else it could not be delivered in time.
    pub refused: bool,
    /// How often it was tried, since the node last started.
    pub attempts: u32,
    /// What went wrong at the last attempt, where that is not why we gave up.
    pub last_error: Option<String>,
}

/// The dead letter that a message becomes.
pub(crate) fn of(
    view: &dyn View,
    owed: &Outbox,
    participant: &ParticipantId,
    pid: &Pid,
    number: u64,
    given_up: &GivenUp,
) -> Result<Option<DeadLetter>, Need> {
    let key = Key::Outbox(participant.clone(), pid.clone(), number);
    let Some(text) = view.version(&key)? else { return Ok(None) };
    // Where nothing is pending it is an end that is told again.
    let message_type = match owed.subject {
        Subject::Negotiation => {
            let found = context::negotiation(view, pid)?;
            let pending = found.and_then(|own| own.process.pending());
            pending
                .map_or(negotiation::MessageKind::Termination, |pending| pending.message)
                .message_type()
        }
        Subject::Transfer => {
            let found = context::transfer(view, pid)?;
            let end = match owed.terminates {
                true => transfer::MessageKind::Termination,
                false => transfer::MessageKind::Completion,
            };
            let pending = found.and_then(|own| own.process.pending());
            pending.map_or(end, |pending| pending.message).message_type()
        }
    };
    Ok(Some(DeadLetter {
        v: 1,
        owed: owed.clone(),
        participant: participant.clone(),
        pid: pid.clone(),
        message_type: message_type.to_owned(),
        text,
        given_up: view.now(),
        attempts: given_up.attempts,
        failure: given_up.failure.clone(),
        last_error: given_up.last_error.clone(),
    }))
}

/// A dead letter by the id of its message.
///
/// # Errors
/// [`Need`] when it is not loaded.
pub fn dead_letter(view: &dyn View, id: &MessageId) -> Result<Option<DeadLetter>, Need> {
    Ok(match view.entity(&Key::DeadLetter(id.clone()))?.as_deref() {
        Some(Entity::DeadLetter(letter)) => Some(letter.clone()),
        _ => None,
    })
}

/// Owes a message again, byte for byte. That is for the end of a process alone: it is over here, and the partner was not told.
/// A process that lacks another message was terminated for want of it, and a terminal state stays terminal. `text` is the
/// message with the position at which it was read.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn retry(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    id: &MessageId,
    text: &(Position, Value),
    decider: &Decider,
) -> Decided<DeadLetter> {
    settle((|| {
        let refuse = |kind: RefusalKind, text: String| fresh.refuse(kind, text.clone(), text);
        let Some(letter) = dead_letter(view, id)? else {
            return Err(refuse(RefusalKind::NotFound, format!("there is no dead letter `{id}`")));
        };
        if letter.text != text.0 {
            let text = "it was tried again meanwhile, and given up again".to_owned();
            return Err(refuse(RefusalKind::Unavailable, text));
        }
        let state = context::partner(view, &letter.participant)?.map(|partner| partner.state);
        match state {
            Some(PartnerState::Active | PartnerState::Offboarded) => {}
            Some(PartnerState::Suspended) => {
                let text = format!("`{}` is suspended: it is told nothing", letter.participant);
                return Err(refuse(RefusalKind::Suspended, text));
            }
            None => {
                let text = format!("`{}` is not registered any more", letter.participant);
                return Err(refuse(RefusalKind::IllegalState, text));
            }
        }
        let (number, entity) = owing_again(view, &letter, &refuse)?;
        let owed = Outbox {
            queued: view.now(),
            deadline: view.now().checked_add(context.delivery_deadline).unwrap_or(Timestamp::MAX),
            ..letter.owed.clone()
        };
        let subject = match letter.owed.subject {
            Subject::Negotiation => "negotiation",
            Subject::Transfer => "transfer",
        };
        let account = towards(&letter.participant)
            .fact(subject, letter.pid.to_string())
            .fact("message", letter.message_type.as_str());
        let log = LogId::Relation(letter.participant.clone());
        let record = RecordDraft::new(log, RecordKind::MessageRetried, Category::Service)
            .account(account)
            .message(text.1.clone())
            .put(Key::Outbox(letter.participant.clone(), letter.pid.clone(), number), owed)
            .remove(Key::DeadLetter(id.clone()))
            .put(entity.0, entity.1);
        Ok(Decision::commit(signed(vec![record], decider), letter))
    })())
}

/// The process of a dead letter as it is when it owes the message again, and the message's number in it.
fn owing_again(
    view: &dyn View,
    letter: &DeadLetter,
    refuse: &impl Fn(RefusalKind, String) -> Stop,
) -> Result<(u64, (Key, Entity)), Stop> {
    let useless = |state: Option<String>| {
        let state = state.unwrap_or_else(|| "over".to_owned());
        let text = format!(
            "the partner cannot use this {} any more: the process `{}` is {state}; begin another one",
            letter.message_type, letter.pid
        );
        refuse(RefusalKind::IllegalState, text)
    };
    match letter.owed.subject {
        Subject::Negotiation => {
            let Some(mut own) = context::negotiation(view, &letter.pid)? else {
                return Err(useless(None));
            };
            let state = own.process.state();
            let told = negotiation::MessageKind::Termination.message_type();
            if state != Some(negotiation::State::Terminated)
                || !own.process.is_closed()
                || !own.outbox.is_empty()
                || letter.message_type != told
            {
                return Err(useless(state.map(|state| state.to_string())));
            }
            own.transitions += 1;
            own.outbox.push(own.transitions);
            Ok((own.transitions, (Key::Negotiation(own.pid.clone()), own.into())))
        }
        Subject::Transfer => {
            let Some(mut own) = context::transfer(view, &letter.pid)? else {
                return Err(useless(None));
            };
            let state = own.process.state();
            let told = match state {
                Some(transfer::State::Terminated) => Some(transfer::MessageKind::Termination),
                Some(transfer::State::Completed) => Some(transfer::MessageKind::Completion),
                _ => None,
            };
            if told.map(transfer::MessageKind::message_type) != Some(letter.message_type.as_str())
                || !own.process.is_closed()
                || !own.outbox.is_empty()
            {
                return Err(useless(state.map(|state| state.to_string())));
            }
            own.transitions += 1;
            own.outbox.push(own.transitions);
            Ok((own.transitions, (Key::Transfer(own.pid.clone()), own.into())))
        }
    }
}

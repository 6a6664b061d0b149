//! Messages that we gave up on: kept, and owed again where the partner can still use them.

use protocol::id::Pid;
use protocol::process::Process;
use protocol::{negotiation, transfer};
use serde_json::Value;

use super::pulls::started;
use super::transfers::take;
use super::world::*;
use crate::dead_letters::{DeadLetter, retry};
use crate::entity::{Failure, PartnerState};
use crate::transfer::Step;
use crate::{Decider, Entity, Key, Kind, Position, RecordKind, Refusal, RefusalKind};

fn failure() -> Failure {
    Failure {
        code: "undelivered".to_owned(),
        reason: "the partner did not take the message in time".to_owned(),
        reference: None,
        by_policy: false,
    }
}

/// Gives up on the message that a process is to send next.
fn give_up(world: &mut World, pid: &Pid) -> (DeadLetter, Value) {
    let (due, text) = world.due(pid).unwrap();
    world.refused(pid, due.number, &failure());
    let key = Key::DeadLetter(due.entity.message.clone());
    match world.get(&key) {
        Some(Entity::DeadLetter(letter)) => (letter.clone(), text),
        other => panic!("{other:?}"),
    }
}

fn again(world: &mut World, letter: &DeadLetter) -> Result<DeadLetter, Refusal> {
    let (context, fresh) = (world.context.clone(), world.fresh());
    let text = world.record_at(letter.text).body.message.clone().unwrap();
    let by = Decider { person: Some("sato".to_owned()), reason: Some("it is back".to_owned()) };
    let (id, text) = (letter.owed.message.clone(), (letter.text, text));
    world.decide(|view| retry(view, &context, &fresh, &id, &text, &by))
}

#[test]
fn an_end_that_the_partner_was_not_told_is_told_again_byte_for_byte() {
    let (mut consumer, mut provider) = pair("");
    let (own, theirs) = started(&mut consumer, &mut provider, "p");
    take(&mut consumer, &own, Step::Terminate).unwrap();
    let (letter, text) = give_up(&mut consumer, &own);
    assert!(consumer.transfer(&own).process.is_closed() && consumer.owing().is_empty());
    assert_eq!(letter.message_type, "TransferTerminationMessage");
    assert_eq!((letter.attempts, letter.failure.clone()), (3, failure()));

    let before = consumer.records.len();
    again(&mut consumer, &letter).unwrap();
    assert_eq!(consumer.kinds(before), [RecordKind::MessageRetried]);
    let record = consumer.records.last().unwrap();
    assert_eq!(record.body.person.as_deref(), Some("sato"));
    assert_eq!(record.account.reason.as_deref(), Some("it is back"));
    assert!(consumer.of_kind(Kind::DeadLetter).is_empty());
    let (due, told) = consumer.due(&own).unwrap();
    assert_eq!(told, text);
    assert!(!due.begins);
    // It cannot be asked for twice.
    assert_eq!(again(&mut consumer, &letter).unwrap_err().kind, RefusalKind::NotFound);

    // Given up again it is a dead letter again; told at last it is none.
    let (letter, _) = give_up(&mut consumer, &own);
    again(&mut consumer, &letter).unwrap();
    send(&mut consumer, &mut provider, &own, Fate::Arrives).unwrap().unwrap();
    assert!(provider.transfer(&theirs).process.is_closed());
    assert!(consumer.owing().is_empty() && consumer.of_kind(Kind::DeadLetter).is_empty());
    assert_eq!(consumer.transfer(&own).process.state(), Some(transfer::State::Terminated));
}

#[test]
fn only_the_end_of_a_process_is_told_again() {
    use transfer::State;
    let told = [
        (State::Terminated, "TransferTerminationMessage"),
        (State::Completed, "TransferCompletionMessage"),
    ];
    let types = [
        "TransferRequestMessage",
        "TransferStartMessage",
        "TransferSuspensionMessage",
        "TransferCompletionMessage",
        "TransferTerminationMessage",
    ];
    let states = [State::Requested, State::Started, State::Terminated, State::Completed];
    for state in states {
        for message_type in types {
            let (mut consumer, mut provider) = pair("");
            let (own, _) = started(&mut consumer, &mut provider, "p");
            take(&mut consumer, &own, Step::Terminate).unwrap();
            let (mut letter, _) = give_up(&mut consumer, &own);
            message_type.clone_into(&mut letter.message_type);
            consumer.put(Key::DeadLetter(letter.owed.message.clone()), letter.clone());
            let mut transfer = consumer.transfer(&own);
            transfer.process = Process::in_state(transfer.process.role(), state);
            transfer.grant = None;
            consumer.put(Key::Transfer(own.clone()), transfer);
            let retried = again(&mut consumer, &letter);
            let expected = told.contains(&(state, message_type));
            assert_eq!(retried.is_ok(), expected, "{message_type} in {state}");
            if let Err(refusal) = retried {
                assert_eq!(refusal.kind, RefusalKind::IllegalState);
                assert!(refusal.internal.contains(message_type), "{}", refusal.internal);
            }
        }
    }
}

#[test]
fn who_may_be_told_nothing_is_told_nothing_again() {
    let states = [
        (PartnerState::Active, None),
        (PartnerState::Offboarded, None),
        (PartnerState::Suspended, Some(RefusalKind::Suspended)),
    ];
    for (state, expected) in states {
        let (mut consumer, mut provider) = pair("");
        let (own, _) = started(&mut consumer, &mut provider, "p");
        take(&mut consumer, &own, Step::Terminate).unwrap();
        let (letter, _) = give_up(&mut consumer, &own);
        let mut other = partner(PROVIDER);
        other.state = state;
        consumer.put(Key::Partner(PROVIDER.parse().unwrap()), other);
        let retried = again(&mut consumer, &letter);
        assert_eq!(retried.err().map(|refusal| refusal.kind), expected, "{state:?}");
    }
}

#[test]
fn a_negotiation_is_not_begun_again_by_its_first_message() {
    let (mut consumer, provider) = pair("");
    let chosen = super::pulls::choice(&provider, None).unwrap();
    super::pulls::begin(&mut consumer, "p", Some(&chosen), None).unwrap();
    let pid = consumer.only(Kind::Negotiation);
    let (letter, _) = give_up(&mut consumer, &pid);
    assert_eq!(letter.message_type, "ContractRequestMessage");
    let state = consumer.negotiation(&pid).process.state();
    assert_eq!(state, Some(negotiation::State::Terminated));
    let refusal = again(&mut consumer, &letter).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::IllegalState);
    let elsewhere = DeadLetter { text: Position { frame: 0, record: 0 }, ..letter };
    let (context, fresh) = (consumer.context.clone(), consumer.fresh());
    let text = (elsewhere.text, Value::Null);
    let id = elsewhere.owed.message.clone();
    let refusal = consumer
        .decide(|view| retry(view, &context, &fresh, &id, &text, &Decider::default()))
        .unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unavailable, "the text must be that of the letter");
}

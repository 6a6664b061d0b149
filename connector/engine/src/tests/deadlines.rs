//! Processes that nobody carries on, and partners that begin too many.

use jiff::{SignedDuration, Timestamp};
use protocol::negotiation::State as Negotiated;
use protocol::transfer::State as Transferred;
use serde_json::json;

use super::pulls::{advance, begin, choice, started};
use super::world::*;
use crate::deadline::{self, EXPIRED, Outcome};
use crate::entity::{ClockRefusal, PullStep, Site};
use crate::{Entity, Key, Kind, RecordKind, RefusalKind, data};

fn expire(world: &mut World, key: &Key) -> Outcome {
    let (context, fresh) = (world.context.clone(), world.fresh());
    world.decide(|view| deadline::expire(view, &context, &fresh, key, false))
}

fn due(world: &World, key: &Key) -> Option<Timestamp> {
    deadline::of(world.get(key).unwrap(), &world.context.limits)
}

fn pass(world: &mut World, time: SignedDuration) {
    world.now = world.now.checked_add(time).unwrap();
}

/// A negotiation that stands at AGREED: the consumer owes the verification. The answer is the provider's key of it.
fn agreed(consumer: &mut World, provider: &mut World) -> Key {
    let chosen = choice(provider, None).unwrap();
    begin(consumer, "p", Some(&chosen), None).unwrap();
    let pid = consumer.only(Kind::Negotiation);
    send(consumer, provider, &pid, Fate::Arrives).unwrap().unwrap();
    let pid = provider.only(Kind::Negotiation);
    send(provider, consumer, &pid, Fate::Arrives).unwrap().unwrap();
    assert_eq!(provider.negotiation(&pid).process.state(), Some(Negotiated::Agreed));
    Key::Negotiation(pid)
}

#[test]
fn an_agreement_that_is_never_verified_ends_with_its_negotiation() {
    let (mut consumer, mut provider) = pair("");
    let key = agreed(&mut consumer, &mut provider);
    let deadline = due(&provider, &key).unwrap();
    assert_eq!(deadline, provider.now.checked_add(provider.context.limits.negotiation).unwrap());

    let just_before = deadline.duration_since(provider.now) - SignedDuration::from_nanos(1);
    pass(&mut provider, just_before);
    let before = provider.records.len();
    assert_eq!(expire(&mut provider, &key), Outcome::Waits(Some(deadline)));
    assert_eq!(provider.records.len(), before, "nothing is written early");

    pass(&mut provider, SignedDuration::from_nanos(1));
    let Outcome::Ended(reason) = expire(&mut provider, &key) else { panic!("it goes on") };
    assert!(reason.contains("2026-01-01T00:00:00Z"), "{reason}");
    let kinds = provider.kinds(before);
    assert_eq!(kinds, [RecordKind::NegotiationTerminated, RecordKind::AgreementEnded]);
    // The partner is told, once, and has no agreement either.
    let pid = provider.only(Kind::Negotiation);
    let (_, text) = provider.due(&pid).unwrap();
    assert_eq!(text["@type"], json!("ContractNegotiationTerminationMessage"));
    assert_eq!(text["code"], json!(EXPIRED));
    assert_eq!(expire(&mut provider, &key), Outcome::Waits(None), "its delivery has a deadline");
    settle(&mut provider, &mut consumer);
    advance(&mut consumer, "p");
    match super::pulls::step(&consumer, "p") {
        PullStep::Failed { failure } => assert_eq!(failure.code, EXPIRED),
        other => panic!("{other:?}"),
    }
    assert!(provider.negotiation(&pid).process.is_closed());
    assert_eq!(due(&provider, &key), None);
}

#[test]
fn a_transfer_lives_as_long_as_data_are_asked_for() {
    let (mut consumer, mut provider) = pair("");
    let (own, pid) = started(&mut consumer, &mut provider, "p");
    settle(&mut consumer, &mut provider);
    let (key, limits) = (Key::Transfer(pid.clone()), provider.context.limits.clone());
    assert_eq!(due(&consumer, &Key::Transfer(own)), None, "fetching takes as long as it takes");

    pass(&mut provider, limits.transfer_idle - SignedDuration::from_secs(1));
    provider.decide(|view| data::served(view, &pid, 10, 1));
    let deadline = provider.now.checked_add(limits.transfer_idle).unwrap();
    assert_eq!(due(&provider, &key), Some(deadline));
    pass(&mut provider, limits.transfer_idle);
    let Outcome::Ended(reason) = expire(&mut provider, &key) else { panic!("it goes on") };
    assert!(reason.contains("no data were requested"), "{reason}");
    settle(&mut provider, &mut consumer);
    assert_eq!(provider.transfer(&pid).process.state(), Some(Transferred::Terminated));
}

#[test]
fn nothing_expires_while_the_clock_is_in_doubt() {
    let (mut consumer, mut provider) = pair("");
    let key = agreed(&mut consumer, &mut provider);
    let deadline = due(&provider, &key).unwrap();
    pass(&mut provider, SignedDuration::from_hours(1000));
    let site = |provider: &World, clock_refused| Site {
        v: 1,
        participant: provider.context.participant.clone(),
        epoch: 1,
        clock_refused,
        running: true,
    };
    let doubt = ClockRefusal { reason: "it jumped".to_owned(), since: provider.now };
    let doubtful = site(&provider, Some(doubt));
    provider.put(Key::Site, Entity::Site(doubtful));
    assert_eq!(expire(&mut provider, &key), Outcome::Waits(Some(deadline)));
    let trusted = site(&provider, None);
    provider.put(Key::Site, Entity::Site(trusted));
    assert!(matches!(expire(&mut provider, &key), Outcome::Ended(_)));
}

#[test]
fn a_partner_begins_no_more_than_it_may_and_its_repeats_are_answered_all_the_same() {
    let (mut consumer, mut provider) = pair("");
    provider.context.limits.max_negotiations = 2;
    provider.context.limits.max_transfers = 1;
    let chosen = choice(&provider, None).unwrap();
    let peer = consumer.peer();
    let mut texts = Vec::new();
    for id in ["p", "q", "r"] {
        begin(&mut consumer, id, Some(&chosen), None).unwrap();
    }
    for pid in consumer.owing() {
        texts.push(consumer.due(&pid).unwrap().1);
    }
    let first = provider.take_request(&peer, &texts[0]).unwrap();
    provider.take_request(&peer, &texts[1]).unwrap();
    let refusal = provider.take_request(&peer, &texts[2]).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::TooMany);
    assert!(refusal.internal.contains("max_open_negotiations_per_partner_count"));
    assert_eq!(provider.of_kind(Kind::Negotiation).len(), 2);
    provider.take_request(&peer, &texts[1]).expect("a repeat is no further negotiation");
    // One that ends makes room.
    let ended = first.provider_pid.unwrap();
    let (context, fresh) = (provider.context.clone(), provider.fresh());
    provider.decide(|view| {
        crate::negotiation::terminate(view, &context, &fresh, &ended, false, "done", "no more")
    });
    let number = provider.due(&ended).unwrap().0.number;
    provider.acknowledged(&ended, number, None);
    provider.take_request(&peer, &texts[2]).expect("there is room again");
}

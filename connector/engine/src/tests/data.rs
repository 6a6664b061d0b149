//! Requests for data: what admits, what cuts, what is recorded.

use protocol::id::Pid;
use protocol::transfer::State;
use serde_json::json;

use super::pulls::{received, started};
use super::world::*;
use crate::context::Peer;
use crate::data::{self, Admitted};
use crate::entity::{
    Agreement, ClockRefusal, Credential, Dataset, Failure, Partner, PartnerState, PullStep, Site,
    Usage,
};
use crate::permit::{EndReason, Permit, cut, recheck};
use crate::{Decision, Entity, Key, Kind, RecordKind, Refusal, RefusalKind, transfer};

/// Asks for data with the token of a generation.
fn admit(
    provider: &mut World,
    peer: &Peer,
    pid: &Pid,
    token: &str,
) -> Result<(Admitted, Permit), Refusal> {
    let fresh = provider.fresh();
    let attempted = provider.attempted.contains(pid);
    let Decision { records, reply, permit } =
        provider.look(|view| data::admit(view, &fresh, peer, pid, token, attempted));
    provider.apply(records);
    reply.map(|admitted| (admitted, permit.expect("what is admitted has a permit")))
}

/// A permit of a started transfer.
fn flowing(conditions: &str) -> (World, World, Pid, Pid, Permit) {
    let (mut consumer, mut provider) = pair(conditions);
    let (own, theirs) = started(&mut consumer, &mut provider, "p");
    let token = token_sha256(&theirs, 1);
    let (_, permit) = admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap();
    (consumer, provider, own, theirs, permit)
}

fn changed<T: Clone + Into<Entity>>(world: &mut World, key: Key, change: impl FnOnce(Entity) -> T) {
    let entity = world.get(&key).unwrap().clone();
    let entity = change(entity);
    world.put(key, entity);
}

fn agreement_key(world: &World) -> Key {
    world.of_kind(Kind::Agreement).remove(0)
}

#[test]
fn only_the_partner_with_the_token_of_the_transfer_is_admitted() {
    let (consumer, mut provider, _, theirs, permit) = flowing("");
    let token = token_sha256(&theirs, 1);
    assert_eq!(permit.transfer(), &theirs);
    assert_eq!(permit.until(), None);
    provider.put(Key::Partner("urn:example:other".parse().unwrap()), partner("urn:example:other"));
    let other = Peer { participant: "urn:example:other".parse().unwrap(), ..consumer.peer() };
    let missing = Pid::new("urn:uuid:missing").unwrap();
    let cases = [
        (consumer.peer(), theirs.clone(), token_sha256(&theirs, 2)),
        (consumer.peer(), missing, token.clone()),
        (other, theirs.clone(), token.clone()),
    ];
    for (peer, pid, token) in cases {
        let refusal = admit(&mut provider, &peer, &pid, &token).unwrap_err();
        assert_eq!((refusal.kind, refusal.external.as_str()), (RefusalKind::NotFound, "not found"));
    }
    let stranger = Peer { participant: "urn:example:nobody".parse().unwrap(), ..consumer.peer() };
    let refusal = admit(&mut provider, &stranger, &theirs, &token).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Suspended);
}

#[test]
fn a_data_request_acknowledges_the_start_only_once_that_was_attempted() {
    let (mut consumer, mut provider) = pair("");
    let chosen = super::pulls::choice(&provider, None).unwrap();
    super::pulls::begin(&mut consumer, "p", Some(&chosen), None).unwrap();
    settle(&mut consumer, &mut provider);
    super::pulls::advance(&mut consumer, "p");
    let own = consumer.only(Kind::Transfer);
    send(&mut consumer, &mut provider, &own, Fate::Arrives);
    let theirs = provider.only(Kind::Transfer);
    let token = token_sha256(&theirs, 1);
    let refusal = admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::IllegalState);
    send(&mut provider, &mut consumer, &theirs, Fate::AnswerLost);
    let before = provider.records.len();
    admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap();
    assert_eq!(provider.kinds(before), [RecordKind::MessageDelivered]);
    assert_eq!(provider.transfer(&theirs).process.state(), Some(State::Started));
    assert!(provider.owing().is_empty());
    // A second request changes nothing.
    admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap();
    assert_eq!(provider.records.len(), before + 1);
}

/// What takes the ground of a permit away, and how.
type Ground = (&'static str, fn(&mut World), RefusalKind, bool);

const GROUNDS: [Ground; 8] = [
    ("suspended", suspend, RefusalKind::Suspended, true),
    ("clock", doubt_clock, RefusalKind::Unavailable, false),
    ("withdrawn", withdraw, RefusalKind::Policy, true),
    ("damaged", damage, RefusalKind::Unavailable, false),
    ("new version", publish_new_version, RefusalKind::NewVersion, true),
    ("agreement ended", end_agreement, RefusalKind::AgreementEnded, true),
    ("time", pass_time, RefusalKind::Policy, true),
    ("restricted by the site", restrict, RefusalKind::Policy, true),
];

fn suspend(world: &mut World) {
    let key = Key::Partner(CONSUMER.parse().unwrap());
    world.put(key, Partner { state: PartnerState::Suspended, ..partner(CONSUMER) });
}

fn doubt_clock(world: &mut World) {
    let clock_refused = Some(ClockRefusal { reason: "it went back".to_owned(), since: world.now });
    let participant = world.context.participant.clone();
    world.put(Key::Site, Site { v: 1, participant, epoch: 1, clock_refused, running: true });
}

fn withdraw(world: &mut World) {
    let withdrawn = Some(world.now);
    world.put(Key::Dataset(dataset_id()), Dataset { withdrawn, ..dataset(DATASET, "1") });
}

fn damage(world: &mut World) {
    let damaged = Some("block 3 differs".to_owned());
    world.put(Key::Dataset(dataset_id()), Dataset { damaged, ..dataset(DATASET, "1") });
}

fn publish_new_version(world: &mut World) {
    world.put(Key::Dataset(dataset_id()), dataset(DATASET, "2"));
}

fn end_agreement(world: &mut World) {
    let now = world.now;
    changed(world, agreement_key(world), |entity| match entity {
        Entity::Agreement(agreement) => {
            Agreement { ended: Some((now, "by command".to_owned())), ..agreement }
        }
        other => panic!("{other:?}"),
    });
}

fn restrict(world: &mut World) {
    let conditions = "\"dateTime lt 2026-06-30T00:00:00Z\"";
    let restriction = "[[prohibit]]\nactions = [\"use\"]\nreason = \"hold\"\n";
    world.put(Key::Rules, restricted_rules(conditions, restriction));
}

fn pass_time(world: &mut World) {
    world.now = "2026-07-01T00:00:00Z".parse().unwrap();
}

#[test]
fn every_ground_that_goes_ends_the_permit_and_refuses_the_next_request() {
    for (name, take_away, kind, terminates) in GROUNDS {
        let (consumer, mut provider, _, theirs, permit) =
            flowing("\"dateTime lt 2026-06-30T00:00:00Z\"");
        assert!(permit.until().is_some(), "{name}");
        assert_eq!(provider.look(|view| recheck(view, &permit)), None, "{name}");
        take_away(&mut provider);
        let reason = provider.look(|view| recheck(view, &permit)).expect(name);
        assert_eq!(reason.terminates, terminates, "{name}");
        assert_eq!(reason.by_policy, kind == RefusalKind::Policy, "{name}");
        let token = token_sha256(&theirs, 1);
        let refusal = admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap_err();
        assert_eq!(refusal.kind, kind, "{name}");
        assert_ne!(refusal.reference, uuid::Uuid::nil().urn().to_string());
        let before = provider.records.len();
        record_cut(&mut provider, &permit, &reason);
        let expected: &[RecordKind] = if terminates {
            &[RecordKind::TransferCut, RecordKind::TransferTerminated]
        } else {
            &[RecordKind::TransferCut]
        };
        assert_eq!(provider.kinds(before), expected, "{name}");
        assert!(provider.records[before..].iter().all(|record| record.essential), "{name}");
        assert_eq!(provider.records[before].account.reason.as_ref(), Some(&reason.internal));
    }
}

fn record_cut(provider: &mut World, permit: &Permit, reason: &EndReason) {
    let (context, fresh) = (provider.context.clone(), provider.fresh());
    let records = provider.look(|view| cut(view, &context, &fresh, permit, reason));
    provider.apply(records);
}

#[test]
fn nothing_is_served_once_a_termination_was_decided() {
    let (consumer, mut provider, _, theirs, permit) = flowing("");
    let failure = Failure {
        code: "ended".to_owned(),
        reason: "by command".to_owned(),
        reference: None,
        by_policy: false,
    };
    let (context, fresh) = (provider.context.clone(), provider.fresh());
    provider.decide(|view| transfer::terminate(view, &context, &fresh, &theirs, false, &failure));
    // The consumer has not heard of it yet, and may never answer.
    assert_eq!(provider.transfer(&theirs).process.state(), Some(State::Started));
    let reason = provider.look(|view| recheck(view, &permit)).unwrap();
    assert_eq!(reason.external, "by command");
    let token = token_sha256(&theirs, 1);
    let refusal = admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap_err();
    assert_eq!(refusal.external, "by command");
}

#[test]
fn a_start_under_way_with_a_termination_behind_it_admits_nobody() {
    let (mut consumer, mut provider) = pair("");
    let chosen = super::pulls::choice(&provider, None).unwrap();
    super::pulls::begin(&mut consumer, "p", Some(&chosen), None).unwrap();
    settle(&mut consumer, &mut provider);
    super::pulls::advance(&mut consumer, "p");
    let own = consumer.only(Kind::Transfer);
    send(&mut consumer, &mut provider, &own, Fate::Arrives);
    let theirs = provider.only(Kind::Transfer);
    send(&mut provider, &mut consumer, &theirs, Fate::AnswerLost);
    let failure = Failure {
        code: "ended".to_owned(),
        reason: "by command".to_owned(),
        reference: None,
        by_policy: false,
    };
    let (context, fresh) = (provider.context.clone(), provider.fresh());
    provider.decide(|view| transfer::terminate(view, &context, &fresh, &theirs, true, &failure));
    assert!(provider.transfer(&theirs).process.termination_queued());
    let token = token_sha256(&theirs, 1);
    let refusal = admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap_err();
    assert_eq!(refusal.external, "by command");
    settle(&mut consumer, &mut provider);
    assert_eq!(consumer.transfer(&own).process.state(), Some(State::Terminated));
    assert_eq!(consumer.transfer(&own).failure.unwrap().reason, "by command");
}

fn by_hand(own: &Pid, theirs: &Pid, kind: &str, id: &str) -> serde_json::Value {
    json!({
        "@context": [protocol::message::CONTEXT], "@type": kind, "@id": id, "consumerPid": own.as_str(),
        "providerPid": theirs.as_str(), "code": "x", "reason": ["paused for maintenance"],
    })
}

#[test]
fn a_resumption_has_a_new_token_and_is_no_further_use() {
    let (mut consumer, mut provider, own, theirs, permit) = flowing("\"count lteq 1\"");
    let peer = consumer.peer();
    provider.receive(&peer, &by_hand(&own, &theirs, "TransferSuspensionMessage", "urn:1")).unwrap();
    let reason = provider.look(|view| recheck(view, &permit)).unwrap();
    assert!(!reason.terminates);
    let old = token_sha256(&theirs, 1);
    let refusal = admit(&mut provider, &peer, &theirs, &old).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unavailable, "it may go on");
    provider.receive(&peer, &by_hand(&own, &theirs, "TransferStartMessage", "urn:2")).unwrap();
    let before = provider.transfer(&theirs);
    assert_eq!(before.process.state(), Some(State::Resumed));
    assert_eq!(before.grant.as_ref().unwrap().generation, 2);
    assert_eq!(before.grant.as_ref().unwrap().use_number, 1);
    assert!(provider.get(&Key::Token(old.clone())).is_none());
    let (_, text) = provider.due(&theirs).unwrap();
    assert!(text.to_string().contains(&token_sha256(&theirs, 2)));
    // Whoever comes with the old one while the new one is on its way shall come again.
    let refusal = admit(&mut provider, &peer, &theirs, &old).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unavailable);
    // The start carries the new token; asking with it acknowledges the start.
    provider.attempted.insert(theirs.clone());
    let new = token_sha256(&theirs, 2);
    admit(&mut provider, &peer, &theirs, &new).unwrap();
    assert_eq!(provider.transfer(&theirs).process.state(), Some(State::Started));
    assert_eq!(admit(&mut provider, &peer, &theirs, &old).unwrap_err().kind, RefusalKind::NotFound);
    // The consumer did not suspend on its own account: its own process is where it was.
    assert_eq!(consumer.transfer(&own).process.state(), Some(State::Started));
    received(&mut consumer, "p");
}

#[test]
fn only_the_one_that_suspended_can_resume() {
    let (mut consumer, provider, own, theirs, _) = flowing("");
    let peer = provider.peer();
    // Nothing is suspended: a start is not legal from either side.
    let start = by_hand(&own, &theirs, "TransferStartMessage", "urn:0");
    assert_eq!(consumer.receive(&peer, &start).unwrap_err().kind, RefusalKind::IllegalState);
    consumer.receive(&peer, &by_hand(&own, &theirs, "TransferSuspensionMessage", "urn:1")).unwrap();
    super::pulls::advance(&mut consumer, "p");
    assert!(consumer.owing().is_empty());
    consumer.receive(&peer, &by_hand(&own, &theirs, "TransferStartMessage", "urn:2")).unwrap();
    assert_eq!(consumer.transfer(&own).process.state(), Some(State::Started));
    assert_eq!(consumer.transfer(&own).failure, None);
}

#[test]
fn a_resumption_is_judged_again() {
    for (name, take_away, kind, _) in GROUNDS {
        let (consumer, mut provider, own, theirs, _) =
            flowing("\"dateTime lt 2026-06-30T00:00:00Z\"");
        let peer = consumer.peer();
        let text = by_hand(&own, &theirs, "TransferSuspensionMessage", "urn:1");
        provider.receive(&peer, &text).unwrap();
        take_away(&mut provider);
        let before = provider.records.len();
        let start = by_hand(&own, &theirs, "TransferStartMessage", "urn:2");
        assert_eq!(provider.receive(&peer, &start).unwrap_err().kind, kind, "{name}");
        assert_eq!(provider.records.len(), before, "{name}");
    }
}

#[test]
fn what_was_served_adds_up_and_an_interrupted_grant_is_said_at_most() {
    let (_, mut provider, _, theirs, _) = flowing("");
    for (bytes, requests) in [(300, 1), (200, 2)] {
        provider.decide(|view| data::served(view, &theirs, bytes, requests));
    }
    let grant = provider.transfer(&theirs).grant.unwrap();
    assert_eq!((grant.served, grant.requests), (500, 3));
    let last = &provider.records.last().unwrap().account.facts;
    assert_eq!(last["totalBytes"], json!(500));
    provider.decide(|view| data::served(view, &theirs, u64::MAX, 1));
    assert_eq!(provider.transfer(&theirs).grant.unwrap().served, u64::MAX);
    let before = provider.records.len();
    provider.decide(|view| data::interrupted(view, &theirs));
    assert_eq!(provider.kinds(before), [RecordKind::TransferServed]);
    assert_eq!(provider.records[before].account.facts["atMostBytes"], json!(1000));
    assert!(provider.records[before].writes.is_empty());
}

#[test]
fn evidence_is_given_for_the_token_of_the_grant_only() {
    let (consumer, mut provider, _, theirs, _) = flowing("");
    let (peer, fresh) = (consumer.peer(), provider.fresh());
    let granted = |provider: &World, token: &str| {
        provider.look(|view| data::granted(view, &fresh, &peer, &theirs, token)).reply
    };
    let found = granted(&provider, &token_sha256(&theirs, 1)).unwrap();
    let record = provider.record_at(found.record);
    assert_eq!(record.kind, RecordKind::TransferGranted);
    assert_eq!(record.digests["token"], found.transfer.grant.as_ref().unwrap().provenance_sha256);
    assert_eq!(
        granted(&provider, &token_sha256(&theirs, 2)).unwrap_err().kind,
        RefusalKind::NotFound
    );
}

#[test]
fn a_cut_by_policy_reaches_the_pull_with_its_reason() {
    let (mut consumer, mut provider, own, theirs, permit) = flowing("");
    withdraw(&mut provider);
    let reason = provider.look(|view| recheck(view, &permit)).unwrap();
    record_cut(&mut provider, &permit, &reason);
    settle(&mut consumer, &mut provider);
    assert!(provider.transfer(&theirs).process.is_closed());
    assert_eq!(consumer.transfer(&own).process.state(), Some(State::Terminated));
    super::pulls::advance(&mut consumer, "p");
    let PullStep::Failed { failure } = super::pulls::step(&consumer, "p") else { panic!() };
    assert!(failure.by_policy && failure.reason.contains("withdrawn"), "{failure:?}");
    let Some(Entity::Held(held)) = consumer.get(&consumer.of_kind(Kind::Held)[0]) else { panic!() };
    assert!(held.agreements.is_empty(), "an agreement that was refused stands no longer");
    // A cut that comes again finds nothing to end.
    let before = provider.records.len();
    record_cut(&mut provider, &permit, &reason);
    assert_eq!(provider.kinds(before), [RecordKind::TransferCut]);
}

#[test]
fn a_use_in_progress_is_not_judged_as_a_further_use() {
    let (mut consumer, mut provider) = pair("\"timeInterval lt P7D\"");
    let Some(Entity::Rules(rules)) = provider.get(&Key::Rules).cloned() else { panic!() };
    let offer = rules.set.policies().next().unwrap().offer_id(DATASET).parse().unwrap();
    let usage = Key::Usage(CONSUMER.parse().unwrap(), offer, dataset_id());
    let before = provider.now.checked_sub(jiff::SignedDuration::from_hours(6 * 24)).unwrap();
    provider.put(usage, Usage { v: 1, uses: 1, latest: Some(before) });
    let (_, theirs) = started(&mut consumer, &mut provider, "p");
    // Six days after the use before, this one began; that it lasts two days makes it no later.
    provider.now = provider.now.checked_add(jiff::SignedDuration::from_hours(48)).unwrap();
    let token = token_sha256(&theirs, 1);
    let (_, permit) = admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap();
    assert_eq!(provider.look(|view| recheck(view, &permit)), None);
}

/// The consumer with a credential as a member until an instant.
fn member(until: Option<&str>) -> Partner {
    let credential = Credential {
        kind: "MembershipCredential".to_owned(),
        issuer: "did:web:authority.example".to_owned(),
        id: None,
        verified_by: "H. Tanaka".to_owned(),
        node: None,
        says: [("Membership".to_owned(), ["active".to_owned()].into())].into(),
        valid_from: None,
        valid_until: until.map(|until| until.parse().unwrap()),
    };
    Partner { credentials: vec![credential], ..partner(CONSUMER) }
}

#[test]
fn a_credential_that_is_renewed_interrupts_nothing_and_one_that_ends_earlier_cuts() {
    let (mut consumer, mut provider) = pair("\"Membership eq active\"");
    let key = Key::Partner(CONSUMER.parse().unwrap());
    provider.put(key.clone(), member(Some("2026-06-01T00:00:00Z")));
    let (_, theirs) = started(&mut consumer, &mut provider, "p");
    let token = token_sha256(&theirs, 1);
    let (_, permit) = admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap();
    assert_eq!(permit.until(), Some("2026-06-01T00:00:00Z".parse().unwrap()));
    let ends = |provider: &mut World, until: Option<&str>| {
        provider.put(key.clone(), member(until));
        provider.look(|view| recheck(view, &permit))
    };
    assert_eq!(ends(&mut provider, Some("2027-06-01T00:00:00Z")), None);
    assert_eq!(ends(&mut provider, None), None);
    let earlier = ends(&mut provider, Some("2026-05-01T00:00:00Z")).unwrap();
    assert!(!earlier.terminates, "it may be asked for again: {earlier:?}");
    let over = ends(&mut provider, Some("2025-12-31T00:00:00Z")).unwrap();
    assert!(over.terminates && over.by_policy, "{over:?}");
    assert!(over.internal.contains("`Membership eq active` does not hold"), "{over:?}");
    assert!(over.internal.contains("ended at 2025-12-31T00:00:00Z"), "{over:?}");
}

#[test]
fn another_node_of_the_partner_may_not_read_what_is_for_one() {
    let (mut consumer, mut provider) = pair("\"systemDevice eq node-1.example\"");
    let (_, theirs) = started(&mut consumer, &mut provider, "p");
    let token = token_sha256(&theirs, 1);
    let other = Peer { node: ["node-2.example".to_owned()].into(), ..consumer.peer() };
    let refusal = admit(&mut provider, &other, &theirs, &token).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Policy);
    assert!(refusal.internal.contains("the node is `node-2.example`"), "{refusal:?}");
    let (_, permit) = admit(&mut provider, &consumer.peer(), &theirs, &token).unwrap();
    assert_eq!(provider.look(|view| recheck(view, &permit)), None);
}

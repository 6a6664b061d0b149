//! Duties: they arise with the agreement on both sides, are fulfilled by record, violated at their deadline, and block.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use policy::set::{Groups, Purposes, RuleSet, Source};
use serde_json::{Value, json};

use super::pulls::{advance, begin, choice, received, started, step};
use super::world::*;
use crate::context::Stop;
use crate::deadline::{self, Outcome};
use crate::entity::{Duties, Duty, Fulfilment, ObligationState, PullStep, Rules, Side};
use crate::judge::{self, Uses};
use crate::negotiation::Choice;
use crate::process::DUTY_CODE;
use crate::{Decider, Entity, Key, Kind, RecordKind, RefusalKind, duties};
use policy::evaluate::Phase;

/// A pair whose offer has these members besides a permission to use.
pub(super) fn pair_with(more: &Value) -> (World, World) {
    let (consumer, mut provider) = pair("");
    let mut offer = json!({
        "@id": "urn:example:terms",
        "assignee": CONSUMER,
        "target": DATASET,
        "permission": [{ "action": "use" }],
    });
    for (name, member) in more.as_object().unwrap() {
        offer[name] = member.clone();
    }
    let source = |(name, policy): (&str, &Value)| Source {
        name: format!("{name}.json"),
        bytes: policy.to_string().into_bytes(),
    };
    let sources = [("offer", &offer), ("next", &next_policy())].map(source);
    let set = RuleSet::compile(&sources, &Groups::new(), &Purposes::default()).unwrap();
    let rules = Rules { v: 1, hash: hex::encode(set.hash()), set: Arc::new(set) };
    provider.put(Key::Rules, rules);
    (consumer, provider)
}

/// The policy that an offer may name as the next; it offers nothing itself.
pub(super) fn next_policy() -> Value {
    json!({
        "@id": "urn:next",
        "permission": [{ "action": "use" }],
        "obligation": [{ "action": "delete", "constraint": [
            { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P20D" },
        ] }],
    })
}

fn of(world: &World) -> Duties {
    let key = world.of_kind(Kind::Duties).remove(0);
    match world.get(&key) {
        Some(Entity::Duties(duties)) => duties.clone(),
        other => panic!("{other:?}"),
    }
}

/// Duties with every member set.
pub(super) fn stored() -> Duties {
    let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
    let fulfilled = Fulfilment {
        at: now,
        by: Some("kim".to_owned()),
        how: "erased".to_owned(),
        facts: BTreeMap::from([("payAmount".to_owned(), "500".to_owned())]),
    };
    let duty = Duty {
        number: 1,
        place: "obligation 1".to_owned(),
        clause: "delete when elapsedTime lteq P30D".to_owned(),
        actions: vec!["delete".to_owned()],
        bearer: Side::Consumer,
        is_condition: false,
        deadline: Some(now),
        has_consequences: false,
        target: DATASET.to_owned(),
        state: ObligationState::Violated,
        violated: Some(now),
        fulfilled: Some(fulfilled),
    };
    let (agreement, participant) = ("urn:example:agreement".parse(), CONSUMER.parse());
    Duties {
        v: 1,
        agreement: agreement.unwrap(),
        participant: participant.unwrap(),
        dataset: DATASET.parse().unwrap(),
        list: vec![duty],
    }
}

fn states(world: &World) -> Vec<ObligationState> {
    of(world).list.iter().map(|duty| duty.state).collect()
}

fn expire(world: &mut World) -> Outcome {
    let (context, fresh) = (world.context.clone(), world.fresh());
    let key = world.of_kind(Kind::Duties).remove(0);
    world.decide(|view| deadline::expire(view, &context, &fresh, &key, false))
}

fn fulfil(world: &mut World, number: u32, how: &str) -> Result<Duties, crate::Refusal> {
    let (fresh, agreement) = (world.fresh(), of(world).agreement);
    let by = Decider { person: Some("kim".to_owned()), reason: Some(how.to_owned()) };
    world.decide(|view| duties::fulfil(view, &fresh, &agreement, number, &by, &BTreeMap::new()))
}

fn next_pull(consumer: &mut World, provider: &mut World, id: &str) -> bool {
    begin(consumer, id, None, None).unwrap();
    settle(consumer, provider);
    advance(consumer, id);
    settle(consumer, provider);
    advance(consumer, id);
    !matches!(step(consumer, id), PullStep::Failed { .. })
}

/// Whether the provider would grant one more use under the agreement.
fn grants(provider: &mut World) -> bool {
    let (fresh, id) = (provider.fresh(), of(provider).agreement);
    let key = Key::Agreement(id);
    let Some(Entity::Agreement(agreement)) = provider.get(&key).cloned() else { panic!() };
    let now = provider.now;
    provider.look(|view| {
        let partner = partner(CONSUMER);
        let uses = Uses {
            earlier: 0,
            previous: policy::evaluate::PreviousUse::Never,
            began: None,
            way: crate::judge::Way {
                format: crate::transfer::HTTP_PULL,
                node: &Default::default(),
            },
        };
        let judged = duties::no_block(view, &fresh, &agreement)
            .and_then(|()| judge::agreed(view, &partner, &agreement, Phase::Transfer, uses, now));
        match judged {
            Ok(evaluation) => Ok(evaluation.is_permit()),
            Err(Stop::Need(need)) => Err(need),
            Err(Stop::Refuse(_)) => Ok(false),
        }
    })
}

const OPEN: ObligationState = ObligationState::NotSet;
const DONE: ObligationState = ObligationState::Fulfilled;
const LATE: ObligationState = ObligationState::Violated;

#[test]
fn a_duty_that_is_not_done_in_time_is_violated_on_both_sides_and_blocks() {
    let (mut consumer, mut provider) = pair_with(&json!({ "obligation": [
        { "action": "delete", "constraint": [
            { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P30D" },
        ] },
        { "action": "log" },
    ] }));
    started(&mut consumer, &mut provider, "first");
    received(&mut consumer, "first");
    settle(&mut consumer, &mut provider);
    let end: Timestamp = {
        let duties = of(&provider);
        let delete = &duties.list[0];
        assert_eq!(
            (delete.bearer, delete.number, delete.actions.as_slice()),
            (Side::Consumer, 1, &["delete".to_owned()][..])
        );
        delete.deadline.unwrap()
    };
    for world in [&mut consumer, &mut provider] {
        assert_eq!(states(world), [OPEN, DONE], "the journal is the log");
        let limits = world.context.limits.clone();
        let key = world.of_kind(Kind::Duties).remove(0);
        assert!(deadline::of(world.get(&key).unwrap(), &limits).unwrap() > end);
        world.now = end;
        assert!(matches!(expire(world), Outcome::Waits(_)), "the deadline itself is in time");
        world.now = end + SignedDuration::from_millis(1);
        let records = world.records.len();
        let Outcome::Ended(reason) = expire(world) else { panic!("not violated") };
        assert!(reason.contains("delete"), "{reason}");
        assert_eq!(world.kinds(records), [RecordKind::DutyViolated]);
        assert_eq!(states(world), [LATE, DONE]);
        assert_eq!(expire(world), Outcome::Waits(None), "once");
    }
    let refusal = begin(&mut consumer, "early", None, None).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::DutyOverdue, "its own node does not even ask");
    fulfil(&mut consumer, 1, "wiped").unwrap();
    assert!(consumer.of_kind(Kind::Overdue).is_empty());
    assert!(!next_pull(&mut consumer, &mut provider, "second"), "the remedy blocks");
    let PullStep::Failed { failure } = step(&consumer, "second") else { panic!() };
    assert!(failure.by_policy && failure.reason.contains("delete"), "{failure:?}");
    assert_eq!(failure.code, DUTY_CODE);

    // Neither is a new agreement on the same dataset a way round it; the old one is still held.
    let held = of(&consumer).agreement;
    let chosen = Choice { purpose: Some("audit".to_owned()), ..choice(&provider, None).unwrap() };
    let agreements = provider.of_kind(Kind::Agreement).len();
    begin(&mut consumer, "round", Some(&chosen), Some("audit")).unwrap();
    settle(&mut consumer, &mut provider);
    advance(&mut consumer, "round");
    let PullStep::Failed { failure } = step(&consumer, "round") else { panic!() };
    assert!(failure.by_policy && failure.code == DUTY_CODE, "{failure:?}");
    assert_eq!(provider.of_kind(Kind::Agreement).len(), agreements);
    let kept = consumer.of_kind(Kind::Held).remove(0);
    let Some(Entity::Held(kept)) = consumer.get(&kept) else { panic!() };
    assert_eq!(kept.agreements[0].0, held);

    assert!(fulfil(&mut provider, 1, " ").is_err(), "it has to be said how");
    assert!(fulfil(&mut provider, 9, "x").is_err());
    let duties = fulfil(&mut provider, 1, "the partner's letter of 2 February").unwrap();
    assert_eq!(provider.records.last().unwrap().kind, RecordKind::DutyFulfilled);
    assert!(!duties.list[0].blocks() && provider.of_kind(Kind::Overdue).is_empty());
    assert!(duties.list[0].violated.is_some(), "that it was late stays");
    assert!(fulfil(&mut provider, 1, "again").is_err());
    assert!(grants(&mut provider));
}

#[test]
fn a_duty_done_in_time_is_never_violated() {
    let (mut consumer, mut provider) = pair_with(&json!({ "obligation": [
        { "action": "attribute", "constraint": [
            { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P1D" },
        ] },
    ] }));
    started(&mut consumer, &mut provider, "p");
    fulfil(&mut provider, 1, "seen in the report").unwrap();
    assert_eq!(states(&provider), [DONE]);
    provider.now += SignedDuration::from_hours(48);
    assert_eq!(expire(&mut provider), Outcome::Waits(None));
    assert_eq!(
        (states(&provider), states(&consumer)),
        (vec![DONE], vec![OPEN]),
        "each by its own records"
    );
}

#[test]
fn a_duty_before_use_opens_the_use() {
    let (mut consumer, mut provider) = pair_with(&json!({
        "permission": [{ "action": "use", "duty": [{ "action": "obtainConsent" }] }],
    }));
    let chosen = choice(&provider, None).unwrap();
    begin(&mut consumer, "first", Some(&chosen), None).unwrap();
    settle(&mut consumer, &mut provider);
    advance(&mut consumer, "first");
    settle(&mut consumer, &mut provider);
    advance(&mut consumer, "first");
    assert!(matches!(step(&consumer, "first"), PullStep::Failed { .. }), "no consent, no data");
    assert!(!grants(&mut provider));
    fulfil(&mut provider, 1, "consent form 12").unwrap();
    assert!(grants(&mut provider));
}

#[test]
fn a_late_duty_with_a_consequence_is_made_good_by_both() {
    let (mut consumer, mut provider) = pair_with(&json!({ "obligation": [
        { "action": "delete", "constraint": [
            { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P1D" },
        ], "consequence": [{ "action": "compensate" }] },
    ] }));
    started(&mut consumer, &mut provider, "first");
    received(&mut consumer, "first");
    settle(&mut consumer, &mut provider);
    provider.now += SignedDuration::from_hours(25);
    consumer.now = provider.now;
    expire(&mut provider);
    assert!(!grants(&mut provider));
    assert_eq!(states(&provider), [LATE, OPEN], "the consequence is owed now");
    fulfil(&mut provider, 1, "erased").unwrap();
    assert!(!grants(&mut provider), "the consequence is not done");
    fulfil(&mut provider, 2, "paid").unwrap();
    assert_eq!(states(&provider), [DONE, DONE]);
    assert!(grants(&mut provider));
}

/// Every duty that policies of the field ask for, as an obligation with a deadline: who does it, and what follows when nobody
/// has. The same on both nodes.
#[test]
fn each_kind_of_duty_is_tracked_to_its_end() {
    let within = json!({ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P1D" });
    let table = [
        (json!("log"), true),
        (json!("inform"), true),
        (json!("delete"), false),
        (json!("attribute"), false),
        (json!("compensate"), false),
        (json!("obtainConsent"), false),
        (json!("reviewPolicy"), false),
    ];
    for (action, by_exchange) in table {
        let (mut consumer, mut provider) =
            pair_with(&json!({ "obligation": [{ "action": action, "constraint": [within] }] }));
        started(&mut consumer, &mut provider, "p");
        received(&mut consumer, "p");
        settle(&mut consumer, &mut provider);
        for world in [&mut consumer, &mut provider] {
            let duty = of(world).list.remove(0);
            assert_eq!(duty.fulfilled.is_some(), by_exchange, "{action}");
            assert_eq!(duty.fulfilled.and_then(|done| done.by), None, "{action}");
            assert!(duty.deadline.is_some(), "{action}");
            world.now += SignedDuration::from_hours(25);
            let records = world.records.len();
            let outcome = expire(world);
            if by_exchange {
                assert_eq!(outcome, Outcome::Waits(None), "{action}");
                assert_eq!(states(world), [DONE], "{action}");
                continue;
            }
            assert!(matches!(outcome, Outcome::Ended(_)), "{action}");
            assert_eq!(world.kinds(records), [RecordKind::DutyViolated], "{action}");
            assert_eq!(states(world), [LATE], "{action}");
            assert!(of(world).list[0].blocks(), "{action}");
            assert_eq!(world.of_kind(Kind::Overdue).len(), 1, "{action}");
        }
        assert_eq!(grants(&mut provider), by_exchange, "{action}");
    }
}

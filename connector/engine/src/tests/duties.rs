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
use crate::entity::{
    Duties, Duty, Fulfilment, Infringement, ObligationState, PullStep, Rules, Side,
};
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
        "assignee": PROVIDER,
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
        name: "obligation-1".to_owned(),
        clause: "delete when elapsedTime lteq P30D".to_owned(),
        actions: vec!["delete".to_owned()],
        bearer: Side::Consumer,
        party: Some(CONSUMER.to_owned()),
        is_condition: false,
        is_certain: true,
        undecided: Vec::new(),
        since: Some(now),
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
        side: Side::Provider,
        dataset: DATASET.parse().unwrap(),
        list: vec![duty],
        infringed: vec![Infringement {
            prohibition: "prohibition-1".to_owned(),
            clause: "distribute".to_owned(),
            at: now,
            recorded: now,
            by: Some("kim".to_owned()),
            how: "seen in their catalog".to_owned(),
        }],
        look_again: Some(now),
        is_conditional: true,
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

fn fulfil(world: &mut World, name: &str, how: &str) -> Result<Duties, crate::Refusal> {
    let (fresh, agreement) = (world.fresh(), of(world).agreement);
    let by = Decider { person: Some("kim".to_owned()), reason: Some(how.to_owned()) };
    world.decide(|view| duties::fulfil(view, &fresh, &agreement, name, &by, &BTreeMap::new()))
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

const OPEN: ObligationState = ObligationState::Pending;
const IDLE: ObligationState = ObligationState::Inactive;
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
            (delete.bearer, delete.name.as_str(), delete.actions.as_slice()),
            (Side::Consumer, "obligation-1", &["delete".to_owned()][..])
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
    fulfil(&mut consumer, "obligation-1", "wiped").unwrap();
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

    assert!(fulfil(&mut provider, "obligation-1", " ").is_err(), "it has to be said how");
    assert!(fulfil(&mut provider, "obligation-9", "x").is_err());
    let duties =
        fulfil(&mut provider, "obligation-1", "the partner's letter of 2 February").unwrap();
    assert_eq!(provider.records.last().unwrap().kind, RecordKind::DutyFulfilled);
    assert!(!duties.list[0].blocks() && provider.of_kind(Kind::Overdue).is_empty());
    assert!(duties.list[0].violated.is_some(), "that it was late stays");
    assert!(fulfil(&mut provider, "obligation-1", "again").is_err());
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
    fulfil(&mut provider, "obligation-1", "seen in the report").unwrap();
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
    fulfil(&mut provider, "permission-1-duty-1", "consent form 12").unwrap();
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
    fulfil(&mut provider, "obligation-1", "erased").unwrap();
    assert!(!grants(&mut provider), "the consequence is not done");
    fulfil(&mut provider, "obligation-1-consequence-1", "paid").unwrap();
    assert_eq!(states(&provider), [DONE, DONE]);
    assert!(grants(&mut provider));
}

/// Every duty that policies of the field ask for, as an obligation with a deadline: who does it, and what follows when nobody
/// has. The same on both nodes.
#[test]
fn each_kind_of_duty_is_tracked_to_its_end() {
    let within = json!({ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P1D" });
    for action in
        ["log", "inform", "delete", "attribute", "compensate", "obtainConsent", "reviewPolicy"]
    {
        let (mut consumer, mut provider) =
            pair_with(&json!({ "obligation": [{ "action": action, "constraint": [within] }] }));
        started(&mut consumer, &mut provider, "p");
        received(&mut consumer, "p");
        settle(&mut consumer, &mut provider);
        for world in [&mut consumer, &mut provider] {
            let duty = of(world).list.remove(0);
            assert!(duty.fulfilled.is_none() && duty.deadline.is_some(), "{action}");
            world.now += SignedDuration::from_hours(25);
            let records = world.records.len();
            assert!(matches!(expire(world), Outcome::Ended(_)), "{action}");
            assert_eq!(world.kinds(records), [RecordKind::DutyViolated], "{action}");
            assert_eq!(states(world), [LATE], "{action}");
            assert!(of(world).list[0].blocks(), "{action}");
            assert_eq!(world.of_kind(Kind::Overdue).len(), 1, "{action}");
        }
        assert!(!grants(&mut provider), "{action}");
    }
}

/// To log each use and to inform the other party of it is what the exchange does. What asks for more is left to a person;
/// an action with a refinement is none that DSP can carry.
#[test]
fn only_a_plain_log_or_inform_is_done_by_the_exchange() {
    let table = [
        (json!({ "action": "log" }), true),
        (json!({ "action": "inform" }), true),
        (json!({ "action": "inform", "assigner": PROVIDER, "assignee": CONSUMER }), true),
        (json!({ "action": "inform", "assigner": "urn:example:authority" }), false),
        (
            json!({ "action": "inform", "constraint": [
                { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P1D" },
            ] }),
            false,
        ),
        (
            json!({ "action": "inform", "constraint": [
                { "leftOperand": "count", "operator": "gteq", "rightOperand": 2 },
            ] }),
            false,
        ),
    ];
    for (duty, by_exchange) in table {
        let plain = json!({ "action": "inform" });
        let (mut consumer, mut provider) = pair_with(&json!({ "obligation": [plain, duty] }));
        started(&mut consumer, &mut provider, "p");
        for world in [&consumer, &provider] {
            for duty in of(world).list.iter().skip(1) {
                assert_eq!(duty.fulfilled.is_some(), by_exchange, "{duty:?}");
                assert_eq!(duty.state == DONE, by_exchange, "{duty:?}");
            }
        }
    }
}

fn named(world: &World, name: &str) -> Duty {
    of(world).duty(name).unwrap_or_else(|| panic!("no {name}: {:?}", of(world))).clone()
}

fn infringe(world: &mut World, at: Timestamp) -> Result<Duties, crate::Refusal> {
    let (fresh, agreement) = (world.fresh(), of(world).agreement);
    let by = Decider { person: Some("kim".to_owned()), reason: Some("seen".to_owned()) };
    world.decide(|view| duties::infringe(view, &fresh, &agreement, "prohibition-1", &by, Some(at)))
}

fn agreed(world: &World) -> Timestamp {
    let Some(Entity::Agreement(agreement)) = world.get(&Key::Agreement(of(world).agreement)) else {
        panic!("no agreement")
    };
    agreement.created
}

#[test]
fn a_duty_is_listed_from_the_start_and_owed_once_its_condition_holds() {
    let days = |operator, period| json!({ "leftOperand": "elapsedTime", "operator": operator, "rightOperand": period });
    let (mut consumer, mut provider) = pair_with(&json!({ "obligation": [
        { "action": "reviewPolicy", "constraint": [days("gt", "P10D"), days("lteq", "P20D")] },
        { "action": "delete", "constraint": [days("lteq", "P30D")] },
    ] }));
    started(&mut consumer, &mut provider, "p");
    for world in [&mut consumer, &mut provider] {
        let start = agreed(world);
        let day = |days: i64| start + SignedDuration::from_hours(24 * days);
        assert_eq!(states(world), [IDLE, OPEN], "listed though not owed");
        let refused = fulfil(world, "obligation-1", "early").unwrap_err();
        assert_eq!(refused.kind, RefusalKind::IllegalState, "{refused:?}");
        let key = world.of_kind(Kind::Duties).remove(0);
        let limits = world.context.limits.clone();
        let next = deadline::of(world.get(&key).unwrap(), &limits).unwrap();
        assert!(next > day(10) && next < day(11), "{next}");
        world.now = day(11);
        let records = world.records.len();
        expire(world);
        assert_eq!(world.kinds(records), [RecordKind::DutyChanged]);
        assert_eq!(states(world), [OPEN, OPEN]);
        assert_eq!(named(world, "obligation-1").since, Some(next), "not when it was looked at");
        world.now = day(21);
        assert!(matches!(expire(world), Outcome::Ended(_)));
        assert_eq!(states(world), [LATE, OPEN]);
    }
}

#[test]
fn a_duty_that_ceased_with_a_deadline_in_the_past_keeps_no_other_from_falling_due() {
    let days = |operator, period| json!({ "leftOperand": "elapsedTime", "operator": operator, "rightOperand": period });
    let (mut consumer, mut provider) = pair_with(&json!({ "obligation": [
        // Never owed: its deadline is over before its condition holds; and one that stays without deadline.
        { "action": "attribute", "constraint": [
            { "leftOperand": "spatial", "operator": "eq", "rightOperand": "DE" }, days("lteq", "P1D"),
        ] },
        { "action": "delete", "constraint": [days("lteq", "P30D")] },
    ] }));
    started(&mut consumer, &mut provider, "p");
    let start = agreed(&provider);
    assert_eq!(states(&provider), [IDLE, OPEN]);
    for day in [2, 3, 29] {
        provider.now = start + SignedDuration::from_hours(24 * day);
        let Outcome::Waits(Some(next)) = expire(&mut provider) else { panic!("day {day}") };
        assert!(next > provider.now, "day {day}: looked at for ever");
    }
    provider.now = start + SignedDuration::from_hours(24 * 31);
    assert!(matches!(expire(&mut provider), Outcome::Ended(_)));
    assert_eq!(states(&provider), [IDLE, LATE]);
}

#[test]
fn uses_make_a_duty_owed() {
    let (mut consumer, mut provider) = pair_with(&json!({ "obligation": [
        { "action": "inform", "constraint": [
            { "leftOperand": "count", "operator": "gteq", "rightOperand": 2 },
        ] },
    ] }));
    started(&mut consumer, &mut provider, "first");
    assert!(of(&provider).is_conditional);
    expire(&mut provider);
    assert_eq!(states(&provider), [IDLE], "one use is not two");
    received(&mut consumer, "first");
    settle(&mut consumer, &mut provider);
    assert!(next_pull(&mut consumer, &mut provider, "second"));
    expire(&mut provider);
    assert_eq!(states(&provider), [OPEN]);
    let certain = [&provider, &consumer].map(|world| named(world, "obligation-1").is_certain);
    assert_eq!(certain, [true, false], "the recipient's node does not know the count");
    let undecided = [&provider, &consumer].map(|world| named(world, "obligation-1").undecided);
    assert_eq!(
        undecided,
        [vec![], vec!["`count gteq 2`: the number of earlier uses is not known".to_owned()]]
    );
}

#[test]
fn a_consequence_is_owed_from_the_violation_on_and_not_met_by_what_was_done_before() {
    let days = |period| json!({ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": period });
    let (mut consumer, mut provider) = pair_with(&json!({ "obligation": [
        { "action": "compensate" },
        { "action": "delete", "constraint": [days("P1D")], "consequence": [
            { "action": "compensate", "constraint": [days("P7D")] },
        ] },
    ] }));
    started(&mut consumer, &mut provider, "p");
    let name = "obligation-2-consequence-1";
    assert_eq!(states(&provider), [OPEN, OPEN, IDLE]);
    assert_eq!(named(&provider, name).deadline, None, "nothing to count from yet");
    fulfil(&mut provider, "obligation-1", "paid the price").unwrap();
    fulfil(&mut provider, name, "in advance").unwrap_err();
    let end = named(&provider, "obligation-2").deadline.unwrap();
    // The node stood still when it fell due.
    provider.now = end + SignedDuration::from_hours(3 * 24);
    expire(&mut provider);
    assert_eq!(states(&provider), [DONE, LATE, OPEN], "the price is no penalty");
    let consequence = named(&provider, name);
    assert_eq!(consequence.since, named(&provider, "obligation-2").violated);
    let due = consequence.deadline.unwrap();
    let week = SignedDuration::from_hours(7 * 24);
    assert_eq!(due.duration_since(end + week).as_secs(), 0, "a week from the violation");
    fulfil(&mut provider, "obligation-2", "erased").unwrap();
    assert!(!grants(&mut provider));
    provider.now = due + SignedDuration::from_secs(1);
    expire(&mut provider);
    assert_eq!(states(&provider), [DONE, LATE, LATE]);
    fulfil(&mut provider, name, "paid late").unwrap();
    assert!(!grants(&mut provider), "what was to make it good was not done in time either");
}

#[test]
fn an_infringed_prohibition_makes_its_remedy_owed() {
    let (mut consumer, mut provider) = pair_with(&json!({
        "conflict": "prohibit",
        "prohibition": [{ "action": "distribute", "remedy": [{ "action": "delete", "constraint": [
            { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P7D" },
        ] }] }],
    }));
    started(&mut consumer, &mut provider, "p");
    received(&mut consumer, "p");
    settle(&mut consumer, &mut provider);
    let (start, day) = (agreed(&provider), SignedDuration::from_hours(24));
    let name = "prohibition-1-remedy-1";
    for world in [&mut consumer, &mut provider] {
        assert_eq!((states(world), of(world).look_again), (vec![IDLE], None));
        fulfil(world, name, "nothing to do").unwrap_err();
        world.now = start + day * 100;
        infringe(world, start - day).unwrap_err();
        infringe(world, start + day * 101).unwrap_err();
        let records = world.records.len();
        infringe(world, start + day * 99).unwrap();
        assert_eq!(world.kinds(records), [RecordKind::ProhibitionInfringed]);
        let remedy = named(world, name);
        assert_eq!((remedy.state, remedy.since), (OPEN, Some(start + day * 99)));
        assert_eq!(remedy.deadline, Some(start + day * 106), "from the infringement");
        // Once more does not put it off.
        infringe(world, start + day * 100).unwrap();
        assert_eq!(named(world, name).deadline, Some(start + day * 106));
    }
    assert!(grants(&mut provider), "there is time");
    provider.now = start + day * 107;
    assert!(matches!(expire(&mut provider), Outcome::Ended(_)));
    assert!(!grants(&mut provider));
    fulfil(&mut provider, name, "erased").unwrap();
    assert!(grants(&mut provider));
    // Again, and recorded when its remedy was due already.
    provider.now = start + day * 130;
    let records = provider.records.len();
    infringe(&mut provider, start + day * 120).unwrap();
    assert_eq!(
        provider.kinds(records),
        [RecordKind::ProhibitionInfringed, RecordKind::DutyViolated]
    );
    assert!(!grants(&mut provider), "what was done for the first does not count for the second");
}

#[test]
fn what_was_violated_stays_so_when_its_condition_ceases() {
    let (mut consumer, mut provider) = pair_with(&json!({ "obligation": [
        { "action": "delete", "constraint": [
            { "leftOperand": "recipient", "operator": "isPartOf", "rightOperand": "customers" },
            { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P1D" },
        ] },
    ] }));
    let put = |world: &mut World, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        world.put(
            Key::Partner(CONSUMER.parse().unwrap()),
            crate::entity::Partner { groups, ..partner(CONSUMER) },
        );
    };
    put(&mut provider, &[]);
    started(&mut consumer, &mut provider, "p");
    assert_eq!(states(&provider), [IDLE]);
    put(&mut provider, &["customers"]);
    provider.now += SignedDuration::from_hours(12);
    expire(&mut provider);
    assert_eq!(states(&provider), [OPEN], "the registry changed");
    assert_eq!(named(&provider, "obligation-1").since, Some(provider.now));
    put(&mut provider, &[]);
    expire(&mut provider);
    assert_eq!(states(&provider), [IDLE]);
    put(&mut provider, &["customers"]);
    provider.now += SignedDuration::from_hours(24);
    expire(&mut provider);
    assert_eq!(states(&provider), [LATE]);
    put(&mut provider, &[]);
    expire(&mut provider);
    assert_eq!(states(&provider), [LATE], "leaving the group is no remedy");
}

#[test]
fn duties_have_the_same_names_on_both_nodes() {
    let condition = json!({ "leftOperand": "spatial", "operator": "eq", "rightOperand": "DE" });
    let (mut consumer, mut provider) = pair_with(&json!({
        "conflict": "prohibit",
        "permission": [{ "action": "use", "duty": [{ "action": "log" }, { "action": "log", "constraint": [condition] }] }],
        "prohibition": [{ "action": "sell", "remedy": [{ "action": "compensate" }] }],
        "obligation": [
            { "action": "attribute", "constraint": [condition] },
            { "action": "delete", "assignee": PROVIDER, "consequence": [{ "action": "inform" }] },
        ],
    }));
    let chosen = choice(&provider, None).unwrap();
    begin(&mut consumer, "p", Some(&chosen), None).unwrap();
    settle(&mut consumer, &mut provider);
    let names = |world: &World| -> Vec<(String, Side)> {
        of(world).list.into_iter().map(|duty| (duty.name, duty.bearer)).collect()
    };
    let expected = [
        ("obligation-1", Side::Consumer),
        ("obligation-2", Side::Provider),
        ("obligation-2-consequence-1", Side::Consumer),
        ("permission-1-duty-1", Side::Consumer),
        ("permission-1-duty-2", Side::Consumer),
        ("prohibition-1-remedy-1", Side::Consumer),
    ]
    .map(|(name, side)| (name.to_owned(), side));
    assert_eq!(names(&provider), expected);
    assert_eq!(names(&consumer), expected);
}

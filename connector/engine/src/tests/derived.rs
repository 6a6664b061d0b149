//! What is made of received data: published, offered and agreed upon only as the agreement on those lets it be.

use std::sync::Arc;

use policy::set::{Groups, Purposes, RuleSet, Source};
use serde_json::{Value, json};

use super::duties::{next_policy, pair_with};
use super::pulls::{received, started};
use super::world::*;
use crate::derived::{self, Lapsed, Received};
use crate::entity::{Agreement, Dataset, Rules};
use crate::{Entity, Key, Kind, RefusalKind, datasets, judge};

/// A consumer that has received data under an offer with these members, with policies of its own.
fn recipient(offer: &Value, policies: &[(&str, Value)]) -> (World, Received) {
    let (mut consumer, mut provider) = pair_with(offer);
    started(&mut consumer, &mut provider, "p");
    received(&mut consumer, "p");
    settle(&mut consumer, &mut provider);
    rule(&mut consumer, policies);
    let agreement = agreement(&consumer);
    let received = Received {
        provider: agreement.participant.clone(),
        agreement: agreement.id.clone(),
        agreement_sha256: agreement.sha256.clone(),
        dataset: agreement.dataset.clone(),
        token_sha256: "33".repeat(32),
        sha256: "11".repeat(32),
        salt: "44".repeat(32),
    };
    (consumer, received)
}

fn rule(world: &mut World, policies: &[(&str, Value)]) {
    let source = |(name, policy): &(&str, Value)| Source {
        name: format!("{name}.json"),
        bytes: policy.to_string().into_bytes(),
    };
    let sources: Vec<Source> = policies.iter().map(source).collect();
    let set = RuleSet::compile(&sources, &Groups::new(), &Purposes::default()).unwrap();
    world.put(Key::Rules, Rules { v: 1, hash: hex::encode(set.hash()), set: Arc::new(set) });
}

fn agreement(world: &World) -> Agreement {
    let key = world.of_kind(Kind::Agreement).remove(0);
    match world.get(&key) {
        Some(Entity::Agreement(agreement)) => agreement.clone(),
        other => panic!("{other:?}"),
    }
}

fn publish(world: &mut World, received: &[Received]) -> Result<Dataset, crate::Refusal> {
    let fresh = world.fresh();
    let result = Dataset { policies: ["own".to_owned()].into(), ..dataset("urn:result", "1") };
    world.decide(|view| datasets::publish(view, &fresh, &result, received, Some("sato")))
}

fn deleting(days: u32) -> Value {
    json!([{ "action": "delete", "constraint": [
        { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": format!("P{days}D") },
    ] }])
}

fn onward() -> Value {
    json!({ "permission": [{ "action": ["use", "distribute"] }], "obligation": deleting(30) })
}

fn own(days: u32) -> (&'static str, Value) {
    let policy = json!({
        "assignee": PROVIDER,
        "permission": [{ "action": "use" }],
        "obligation": deleting(days),
    });
    ("own", policy)
}

#[test]
fn only_an_agreement_that_lets_data_go_further_lets_what_is_made_of_them_be_published() {
    let next = json!({
        "permission": [
            { "action": "use" },
            { "action": "distribute", "duty": [{ "action": "nextPolicy", "target": "urn:next" }] },
        ],
    });
    let named = ("next", next_policy());
    // A policy with the identifier of the provider's may say something else.
    let other = (
        "next",
        json!({
            "@id": "urn:next", "assignee": PROVIDER,
            "permission": [{ "action": "use" }], "obligation": deleting(10),
        }),
    );
    // What was agreed, the recipient's policies, and a part of why it is refused.
    let table = [
        (onward(), vec![own(30)], None),
        (onward(), vec![own(60)], Some("delete")),
        (json!({}), vec![own(30)], Some("no permission names `distribute`")),
        (
            json!({ "permission": [{ "action": ["use", "distribute"] }],
                "prohibition": [{ "action": "derive" }], "conflict": "prohibit" }),
            vec![own(30)],
            Some("it prohibits `derive`"),
        ),
        (next.clone(), vec![own(10)], Some("none of the policies here")),
        (next.clone(), vec![own(30), named.clone()], Some("delete")),
        (next.clone(), vec![own(10), named], None),
        (next, vec![own(10), other], Some("`next.json` here says something else")),
    ];
    for (offer, policies, why) in table {
        let (mut world, evidence) = recipient(&offer, &policies);
        let records = world.records.len();
        match (publish(&mut world, &[evidence]), why) {
            (Ok(published), None) => {
                assert_eq!(published.derived_from.len(), 1);
                let record = format!("{:?}", world.records[records].account);
                assert!(record.contains(agreement(&world).id.as_str()), "{record}");
            }
            (Err(refusal), Some(why)) => {
                assert_eq!(refusal.kind, RefusalKind::Policy);
                assert!(refusal.external.contains(why), "{offer}: {}", refusal.external);
                assert_eq!(world.records.len(), records);
            }
            (outcome, why) => panic!("{offer}: {outcome:?}, {why:?}"),
        }
    }
}

#[test]
fn evidence_of_another_agreement_or_of_one_that_ended_is_refused() {
    let (mut world, evidence) = recipient(&onward(), &[own(30)]);
    let others = [
        Received { agreement: "urn:example:other".parse().unwrap(), ..evidence.clone() },
        Received { agreement_sha256: "55".repeat(32), ..evidence.clone() },
        Received { dataset: "urn:other".parse().unwrap(), ..evidence.clone() },
        Received { provider: CONSUMER.parse().unwrap(), ..evidence.clone() },
    ];
    for other in others {
        let refusal = publish(&mut world, std::slice::from_ref(&other)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::NotFound, "{other:?}");
    }
    let ended = Some((world.now, "the project is over".to_owned()));
    let agreement = Agreement { ended, ..agreement(&world) };
    world.put(Key::Agreement(agreement.id.clone()), agreement);
    let refusal = publish(&mut world, &[evidence]).unwrap_err();
    assert!(refusal.external.contains("the project is over"), "{}", refusal.external);
}

#[test]
fn the_bounds_hold_whatever_changes_after_the_publishing() {
    let (mut world, evidence) = recipient(&onward(), &[own(30)]);
    let published = publish(&mut world, &[evidence]).unwrap();
    let offered = |world: &World, dataset: &Dataset| {
        let lapsed = world.look(|view| derived::lapsed(view, [dataset]));
        let rules = world.look(judge::rules_in_force);
        judge::offers(&rules, CONSUMER, &partner(PROVIDER), dataset, &lapsed, world.now).len()
    };
    assert_eq!(offered(&world, &published), 1);

    // The same content is made from the same, also when that is not said again.
    let again = publish(&mut world, &[]).unwrap();
    assert_eq!(again.derived_from, published.derived_from);

    // A weaker policy is taken, and offers nothing.
    rule(&mut world, &[own(60)]);
    assert_eq!(offered(&world, &published), 0);
    let rules = world.look(judge::rules_in_force);
    let barred = derived::barred(&rules.set, &published, &Lapsed::new());
    assert!(barred[0].0 == "own" && barred[0].1.contains("delete"), "{barred:?}");
    assert_eq!(publish(&mut world, &[]).unwrap_err().kind, RefusalKind::Policy);

    // So does a strict one, once the agreement on the source has ended.
    rule(&mut world, &[own(7)]);
    assert_eq!(offered(&world, &published), 1);
    let ended = Some((world.now, "over".to_owned()));
    let agreement = Agreement { ended, ..agreement(&world) };
    world.put(Key::Agreement(agreement.id.clone()), agreement);
    assert_eq!(offered(&world, &published), 0);
}

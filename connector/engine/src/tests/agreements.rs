//! Agreements made elsewhere, and the end of agreements.

use protocol::message;
use protocol::transfer::State;
use serde_json::{Value, json};

use super::pulls::started;
use super::world::*;
use crate::agreements::{Along, ENDED_CODE, Ended, Import, end, import};
use crate::entity::{Agreement, Side};
use crate::permit::recheck;
use crate::{Decider, Handling, Key, Kind, RecordKind, Refusal, RefusalKind};

fn paper(id: &str) -> Value {
    json!({
        "@id": id, "@type": "Agreement", "target": DATASET, "assigner": PROVIDER, "assignee": CONSUMER,
        "permission": [{ "action": "use" }],
    })
}

fn take(world: &mut World, side: Side, document: Value) -> Result<Agreement, Refusal> {
    let import_of = Import {
        side,
        agreement: serde_json::from_value::<message::Agreement>(document).unwrap(),
        consumer_pid: Some("urn:c".parse().unwrap()),
        provider_pid: Some("urn:p".parse().unwrap()),
        purpose: None,
        handling: Handling::Manual,
    };
    let partner = match side {
        Side::Provider => CONSUMER,
        Side::Consumer => PROVIDER,
    };
    let (context, fresh, partner) =
        (world.context.clone(), world.fresh(), partner.parse().unwrap());
    world.decide(|view| import(view, &context, &fresh, &partner, &import_of, &by()))
}

fn by() -> Decider {
    Decider { person: Some("sato".to_owned()), reason: Some("signed on paper".to_owned()) }
}

fn end_it(world: &mut World, id: &str) -> Ended {
    let open = world
        .of_kind(Kind::Transfer)
        .into_iter()
        .filter_map(|key| match key {
            Key::Transfer(pid) if !world.transfer(&pid).process.is_closed() => Some(pid),
            _ => None,
        })
        .collect::<Vec<_>>();
    let along = open
        .into_iter()
        .map(|pid| Along { pid, fresh: world.fresh(), attempted: false })
        .collect::<Vec<_>>();
    let (context, fresh, id) = (world.context.clone(), world.fresh(), id.parse().unwrap());
    world.decide(|view| end(view, &context, &fresh, &id, &by(), &along)).unwrap()
}

#[test]
fn an_imported_agreement_stands_on_both_sides_as_though_it_had_been_negotiated() {
    let (mut consumer, mut provider) = pair("");
    for (world, side) in [(&mut consumer, Side::Consumer), (&mut provider, Side::Provider)] {
        let taken = take(world, side, paper("ATP0101")).unwrap();
        assert!(taken.finalized && taken.ended.is_none() && taken.handling == Handling::Manual);
        let record = world.records.last().unwrap();
        assert_eq!(record.kind, RecordKind::AgreementImported);
        assert_eq!(record.body.person.as_deref(), Some("sato"));
        assert_eq!(record.account.reason.as_deref(), Some("signed on paper"));
        let own = match side {
            Side::Provider => "urn:p",
            Side::Consumer => "urn:c",
        };
        assert_eq!(taken.negotiation.as_str(), own);
        // Again it changes nothing; the same id with other terms is refused.
        let before = world.records.len();
        take(world, side, paper("ATP0101")).unwrap();
        assert_eq!(world.records.len(), before);
        let mut other = paper("ATP0101");
        other["permission"] = json!([{ "action": "read" }]);
        assert_eq!(take(world, side, other).unwrap_err().kind, RefusalKind::Invalid);
        // Its process ids are taken now.
        let refusal = take(world, side, paper("ATP0102")).unwrap_err();
        assert!(refusal.internal.contains("process ids"), "{refusal}");
    }
    let begun = super::pulls::begin(&mut consumer, "p", None, None).unwrap();
    assert!(matches!(begun, crate::pull::Begun::Running(_)), "{begun:?}");
    settle(&mut consumer, &mut provider);
    let waiting = provider.transfer(&provider.only(Kind::Transfer));
    assert!(waiting.awaiting.is_some(), "manual handling is inherited");
}

#[test]
fn what_is_not_understood_or_names_others_is_not_imported() {
    let moon = json!([{ "action": "use", "constraint": [
        { "leftOperand": "moonPhase", "operator": "eq", "rightOperand": "full" }
    ] }]);
    let cases = [
        ("permission", moon, RefusalKind::Policy),
        ("assigner", json!("urn:example:other"), RefusalKind::Invalid),
        ("assignee", json!("urn:example:other"), RefusalKind::Invalid),
    ];
    for side in [Side::Provider, Side::Consumer] {
        for (member, value, kind) in &cases {
            let (mut consumer, mut provider) = pair("");
            let world = match side {
                Side::Provider => &mut provider,
                Side::Consumer => &mut consumer,
            };
            let mut document = paper("ATP0101");
            document[*member] = value.clone();
            let before = world.records.len();
            assert_eq!(take(world, side, document).unwrap_err().kind, *kind, "{side:?} {member}");
            assert_eq!(world.records.len(), before);
        }
    }
    let (mut consumer, mut provider) = pair("");
    let mut elsewhere = paper("ATP0101");
    elsewhere["target"] = json!("urn:example:elsewhere");
    let refusal = take(&mut provider, Side::Provider, elsewhere.clone()).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotFound, "we publish no such dataset");
    take(&mut consumer, Side::Consumer, elsewhere).unwrap();
}

#[test]
fn the_end_of_an_agreement_is_one_commit_that_both_sides_come_to_know() {
    let (mut consumer, mut provider) = pair("");
    let (own, theirs) = started(&mut consumer, &mut provider, "p");
    let id = provider.transfer(&theirs).agreement;
    let token = token_sha256(&theirs, 1);
    let fresh = provider.fresh();
    let peer = consumer.peer();
    let permit = provider
        .look(|view| crate::data::admit(view, &fresh, &peer, &theirs, &token, false))
        .permit
        .unwrap();
    let before = provider.records.len();
    let ended = end_it(&mut provider, id.as_str());
    assert_eq!((ended.before, ended.transfers), (false, vec![theirs.clone()]));
    let kinds = [RecordKind::AgreementEnded, RecordKind::TransferTerminated];
    assert_eq!(provider.kinds(before), kinds);
    assert!(provider.records[before..].iter().all(|record| record.essential));
    assert_eq!(provider.records[before].body.person.as_deref(), Some("sato"));
    assert!(provider.look(|view| recheck(view, &permit)).is_some());

    settle(&mut consumer, &mut provider);
    assert_eq!(consumer.transfer(&own).process.state(), Some(State::Terminated));
    assert_eq!(consumer.transfer(&own).failure.unwrap().code, ENDED_CODE);
    let Some(crate::Entity::Agreement(known)) = consumer.get(&Key::Agreement(id.clone())) else {
        panic!("the consumer's agreement is gone")
    };
    assert!(known.ended.as_ref().unwrap().1.contains("signed on paper"), "{known:?}");
    let again = end_it(&mut provider, id.as_str());
    assert!(again.before && again.transfers.is_empty());
    // A new request under it is refused with the code.
    let request = consumer
        .records
        .iter()
        .find_map(|record| {
            record.body.message.clone().filter(|text| text["agreementId"].is_string())
        })
        .unwrap();
    let mut request = request;
    request["consumerPid"] = json!("urn:another");
    request["@id"] = json!("urn:another message");
    let refusal = provider.receive(&peer, &request).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::AgreementEnded);
}

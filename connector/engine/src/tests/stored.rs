//! Stored forms: keys in order, and entities that a later version must still read.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::pulls::{received, started};
use super::world::*;
use crate::dead_letters::DeadLetter;
use crate::entity::{ClockRefusal, Failure, Head, Outbox, Overdue, Site, Subject};
use crate::keys::{ManagementKey, Role, Scope};
use crate::{Entity, Key, Kind, Position};

fn id() -> impl Strategy<Value = String> {
    "[ -~¡-퟿]{1,12}".prop_filter("a dot segment", |text| text != "." && text != "..")
}

fn key() -> impl Strategy<Value = Key> {
    let two = || (id(), id());
    prop_oneof![
        Just(Key::Site),
        Just(Key::Rules),
        id().prop_map(|a| Key::Partner(a.parse().unwrap())),
        id().prop_map(|a| Key::Dataset(a.parse().unwrap())),
        id().prop_map(|a| Key::Negotiation(a.parse().unwrap())),
        id().prop_map(|a| Key::Agreement(a.parse().unwrap())),
        id().prop_map(|a| Key::Transfer(a.parse().unwrap())),
        two().prop_map(|(a, b)| Key::PeerProcess(a.parse().unwrap(), b.parse().unwrap())),
        two().prop_map(|(a, b)| Key::Held(a.parse().unwrap(), b.parse().unwrap())),
        (id(), id(), id()).prop_map(|(a, b, c)| {
            Key::Usage(a.parse().unwrap(), b.parse().unwrap(), c.parse().unwrap())
        }),
        id().prop_map(Key::Token),
        (id(), id(), any::<u64>()).prop_map(|(a, b, number)| {
            Key::Outbox(a.parse().unwrap(), b.parse().unwrap(), number)
        }),
        id().prop_map(Key::Pull),
        id().prop_map(Key::Head),
        id().prop_map(|a| Key::Witness(a.parse().unwrap())),
        id().prop_map(|a| Key::Duties(a.parse().unwrap())),
        two().prop_map(|(a, b)| Key::Overdue(a.parse().unwrap(), b.parse().unwrap())),
        id().prop_map(|a| Key::DeadLetter(a.parse().unwrap())),
    ]
}

proptest! {
    #[test]
    fn a_key_comes_back_and_keeps_its_order(one in key(), two in key()) {
        prop_assert_eq!(Key::decode(&one.encode()), Some(one.clone()));
        prop_assert_eq!(one.encode().cmp(&two.encode()), one.cmp(&two));
        let stored = serde_json::to_string(&one).unwrap();
        prop_assert_eq!(serde_json::from_str::<Key>(&stored).unwrap(), one);
    }

    #[test]
    fn bytes_are_one_key_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Some(key) = Key::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }
}

/// One entity of each kind, from an exchange that took place.
fn entities() -> BTreeMap<String, Entity> {
    let (mut consumer, mut provider) = pair("\"count lteq 3\"");
    started(&mut consumer, &mut provider, "p");
    received(&mut consumer, "p");
    let named = |key: &Key| format!("{:?}", key.kind()).to_lowercase();
    let mut all: BTreeMap<String, Entity> = BTreeMap::new();
    for (side, world) in [("consumer", &consumer), ("provider", &provider)] {
        for (key, (entity, _)) in &world.entities {
            let name = match key.kind() {
                Kind::Negotiation | Kind::Transfer | Kind::Agreement => {
                    format!("{}-{side}", named(key))
                }
                _ => named(key),
            };
            all.insert(name, entity.as_ref().clone());
        }
    }
    let now = consumer.now;
    let site = Site {
        v: 1,
        participant: PROVIDER.parse().unwrap(),
        epoch: 2,
        clock_refused: Some(ClockRefusal { reason: "it went back".to_owned(), since: now }),
        running: true,
    };
    all.insert("site".to_owned(), site.into());
    let head =
        Head { v: 1, size: 7, root: "AA==".to_owned(), note: "a note".to_owned(), signed: now };
    all.insert("head".to_owned(), head.into());
    let key = ManagementKey {
        v: 1,
        name: "reports".to_owned(),
        sha256: "00".repeat(32),
        role: Role::Application,
        scope: Scope { partners: Some([PROVIDER.parse().unwrap()].into()), ..Scope::default() },
        application: Some("urn:app:1".to_owned()),
        created: now,
        expires: Some(now),
        revoked: None,
    };
    all.insert("managementkey".to_owned(), key.into());
    let owed = Outbox {
        v: 1,
        subject: Subject::Transfer,
        message: "urn:uuid:1".parse().unwrap(),
        url: "https://provider.example/dsp/transfers/1/termination".to_owned(),
        token: None,
        sealed_token: None,
        terminates: true,
        queued: now,
        deadline: now,
    };
    let letter = DeadLetter {
        v: 1,
        owed,
        participant: PROVIDER.parse().unwrap(),
        pid: "urn:uuid:2".parse().unwrap(),
        message_type: "TransferTerminationMessage".to_owned(),
        text: Position { frame: 4096, record: 2 },
        given_up: now,
        attempts: 3,
        failure: Failure {
            code: "undelivered".to_owned(),
            reason: "not in time".to_owned(),
            reference: None,
            by_policy: false,
        },
        last_error: Some("connection refused".to_owned()),
    };
    all.insert("deadletter".to_owned(), letter.into());
    all.insert("duties".to_owned(), super::duties::stored().into());
    let overdue = Overdue { v: 1, agreements: ["urn:example:agreement".parse().unwrap()].into() };
    all.insert("overdue".to_owned(), overdue.into());
    all
}

/// `SEKISHO_GOLDEN=write` writes the fixtures anew: only for a new version of a shape.
#[test]
fn stored_entities_are_read_and_written_as_they_always_were() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/golden");
    let all = entities();
    for (name, entity) in &all {
        let written = serde_json::to_string_pretty(entity).unwrap() + "\n";
        let path = format!("{directory}/{name}.json");
        if std::env::var("SEKISHO_GOLDEN").as_deref() == Ok("write") {
            std::fs::write(&path, &written).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, golden, "{name}");
        let read: Entity = serde_json::from_str(&golden).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), serde_json::to_string(entity).unwrap());
    }
    let kept = std::fs::read_dir(directory).unwrap().count();
    assert_eq!(kept, all.len(), "a fixture that nothing writes any more");
}

#[test]
fn an_unknown_kind_or_a_missing_member_is_refused() {
    for text in [
        json!({ "planet": { "v": 1 } }),
        json!({ "token": { "v": 1, "transfer": "" , "generation": 1 } }),
        json!({ "usage": { "v": 1, "latest": null } }),
    ] {
        assert!(serde_json::from_value::<Entity>(text.clone()).is_err(), "{text}");
    }
}

#[test]
fn only_what_is_over_is_cold() {
    let (mut consumer, mut provider) = pair("");
    started(&mut consumer, &mut provider, "p");
    let hot = |world: &World, kind: Kind| {
        let keys = world.of_kind(kind);
        assert!(!keys.is_empty(), "{kind:?}");
        keys.iter().all(|key| world.get(key).unwrap().is_hot())
    };
    assert!(hot(&provider, Kind::Transfer) && hot(&provider, Kind::Agreement));
    assert!(!hot(&provider, Kind::Negotiation) && !hot(&provider, Kind::Dataset));
    assert!(hot(&consumer, Kind::Pull));
    received(&mut consumer, "p");
    settle(&mut consumer, &mut provider);
    assert!(!hot(&provider, Kind::Transfer) && !hot(&provider, Kind::PeerProcess));
    for kind in [Kind::Negotiation, Kind::Transfer, Kind::PeerProcess, Kind::Agreement] {
        assert!(Entity::may_be_cold(kind));
    }
    assert!(!Entity::may_be_cold(Kind::Outbox) && !Entity::may_be_cold(Kind::Token));
}

use engine::{Account, Category, Key, LogId, Position, RecordDraft, RecordKind};
use jiff::Timestamp;
use journal::tlog::Hash;
use proptest::collection::btree_map;
use proptest::prelude::{any, proptest};
use serde_json::json;

use super::{Encoded, Leaf, decode, encode};
use crate::clock::{Random, RandomError, SystemRandom};

fn draft() -> RecordDraft {
    RecordDraft::new(LogId::Site, RecordKind::PullRequested, Category::Communication)
        .account(Account { purpose: Some("quality".to_owned()), ..Account::default() }.fact("n", 1))
        .digest("token", "ab".repeat(32))
        .remove(Key::Site)
        .message(json!({"@type": "TransferRequestMessage"}))
        .person(Some("aiko".to_owned()))
}

fn encoded() -> Encoded {
    encode(&draft(), Timestamp::UNIX_EPOCH, &SystemRandom::default()).unwrap()
}

fn decoded(encoded: &Encoded) -> Result<super::StoredRecord, super::DecodeError> {
    let position = Position { frame: 512, record: 3 };
    decode(position, "site/1", &encoded.leaf, &encoded.effect, encoded.body.as_deref())
}

#[test]
fn a_record_is_read_back_as_it_was_drafted() {
    let record = decoded(&encoded()).unwrap();
    let draft = draft();
    assert_eq!(record.tree, draft.log.clone().in_epoch(1));
    assert_eq!(record.kind, draft.kind);
    assert_eq!(record.category, draft.category);
    assert_eq!(record.account, draft.account);
    assert_eq!(record.digests, draft.digests);
    assert_eq!(record.writes, draft.writes);
    assert_eq!(record.body, Some(draft.body));
    assert_eq!(record.time, Timestamp::UNIX_EPOCH);
    assert!(!record.body_withheld);
}

#[test]
fn the_leaf_is_rfc_8785_and_shows_nothing_but_hashes_and_public_digests() {
    let encoded = encoded();
    let text = String::from_utf8(encoded.leaf.clone()).unwrap();
    let body = Hash::of(encoded.body.as_ref().unwrap());
    let effect = Hash::of(&encoded.effect);
    let token = "ab".repeat(32);
    assert_eq!(
        text,
        format!(
            "{{\"body\":\"{body}\",\"digests\":{{\"token\":\"{token}\"}},\"effect\":\"{effect}\",\
             \"kind\":\"pull-requested\",\"time\":\"1970-01-01T00:00:00Z\",\"v\":1}}"
        )
    );
}

proptest! {
    #[test]
    fn the_short_way_to_the_form_of_rfc_8785_gives_that_form(
        digests in btree_map(any::<String>(), any::<String>(), 0..6),
        names in btree_map("[ -~]{0,8}", any::<String>(), 0..6),
        body in any::<Option<[u8; 32]>>(),
        seconds in 0_i64..253_000_000_000,
    ) {
        for digests in [digests, names] {
            let leaf = Leaf {
                body: body.map(Hash),
                digests,
                effect: Hash::of(b"effect"),
                kind: RecordKind::PullRequested,
                time: Timestamp::from_second(seconds).unwrap(),
                v: 1,
            };
            assert_eq!(leaf.canonical().unwrap(), serde_jcs::to_vec(&leaf).unwrap());
        }
    }
}

#[test]
fn equal_records_cannot_be_recognised_by_their_hashes() {
    assert_ne!(encoded().leaf, encoded().leaf, "each has fresh salts");
}

#[test]
fn an_erased_body_leaves_its_commitment() {
    let mut encoded = encoded();
    encoded.body = None;
    let record = decoded(&encoded).unwrap();
    assert_eq!(record.body, None);
    assert!(record.body_withheld);
}

#[test]
fn every_changed_byte_is_noticed() {
    let original = encoded();
    for place in 0..original.leaf.len() {
        let mut changed = original.clone();
        changed.leaf[place] ^= 1;
        let outcome = decoded(&changed);
        // The leaf is protected by the tree. Here it only has to stay readable, or be refused.
        assert!(outcome.is_err() || outcome.unwrap().leaf == changed.leaf);
    }
    for place in 0..original.effect.len() {
        let mut changed = original.clone();
        changed.effect[place] ^= 1;
        assert!(decoded(&changed).is_err(), "effect byte {place}");
    }
    for place in 0..original.body.as_ref().unwrap().len() {
        let mut changed = original.clone();
        changed.body.as_mut().unwrap()[place] ^= 1;
        assert!(decoded(&changed).is_err(), "body byte {place}");
    }
}

#[test]
fn leaves_of_another_form_are_refused() {
    let encoded = encoded();
    let text = String::from_utf8(encoded.leaf.clone()).unwrap();
    for leaf in [
        text.replace("\"v\":1", "\"v\":2"),
        text.replace("\"v\":1", "\"v\":1,\"w\":1"),
        text.replace(",\"kind\"", ", \"kind\""),
        text.replace("pull-requested", "pull-failed"),
        text.replace("pull-requested", "unheard-of"),
        String::new(),
    ] {
        let changed = Encoded { leaf: leaf.clone().into_bytes(), ..encoded.clone() };
        assert!(decoded(&changed).is_err(), "{leaf}");
    }
    let position = Position::default();
    let body = encoded.body.as_deref();
    assert!(decode(position, "elsewhere", &encoded.leaf, &encoded.effect, body).is_err());
}

#[test]
fn a_leaf_that_is_too_long_is_refused() {
    let mut draft = draft();
    for number in 0..1_000 {
        draft = draft.digest(&format!("digest-{number}"), "ab".repeat(32));
    }
    assert!(encode(&draft, Timestamp::UNIX_EPOCH, &SystemRandom::default()).is_err());
}

#[test]
fn nothing_is_stored_without_randomness() {
    struct Dry;
    impl Random for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
            Err(RandomError)
        }
    }
    assert!(encode(&draft(), Timestamp::UNIX_EPOCH, &Dry).is_err());
}

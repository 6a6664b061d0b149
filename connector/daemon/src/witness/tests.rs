//! A node with real files whose partner's keys the test holds and whose partner's node nobody reaches.

use std::fs;

use certs::pki::{self, Identity, SitePki};
use jiff::Timestamp;
use serde_json::json;
use store::SystemClock;
use tempfile::TempDir;

use super::*;
use crate::cli::client::Client;
use crate::net::Shutdown;
use crate::node::{self, Running};
use crate::site::Site;
use crate::telemetry::Telemetry;

const CONFIG: &str = r#"
[site]
participant = "did:web:a.example"
name = "A"
[partner_listener]
public_url = "https://a.example:8443"
bind = ["127.0.0.1:0"]
[status_listener]
bind = ["127.0.0.1:0"]
[outbound]
connect_timeout_ms = 300
"#;

const PARTNER: &str = "did:web:b.example";

struct Fixture {
    _directory: TempDir,
    running: Running,
    partner: ParticipantId,
    keys: SitePki,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(&["checkpoint/1"]).await
    }

    /// A node whose partner has these extensions of ours.
    async fn with(extensions: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = directory.path();
        for name in ["partners", "policies"] {
            fs::create_dir(site.join(name)).unwrap();
        }
        fs::write(site.join("sekisho.toml"), CONFIG).unwrap();
        let now = Timestamp::now();
        for (path, participant) in [("pki", "did:web:a.example"), ("b-pki", PARTNER)] {
            let identity =
                Identity::new(participant, "Site", &["node.example".to_owned()], &[]).unwrap();
            pki::create_with_trial_ca(&site.join(path), &identity, now).unwrap();
        }
        let keys = SitePki::load(&site.join("b-pki"), now).unwrap();
        let site = Site::open(site, [], now).unwrap();
        let telemetry = Telemetry::new(&site.config.telemetry, &tokio::runtime::Handle::current());
        let client = Client::new(&site.paths.socket);
        let running =
            node::start(site, Arc::new(SystemClock), Arc::new(telemetry.unwrap()), Shutdown::new())
                .await
                .unwrap();
        let details = certs::card::CardDetails {
            number: 1,
            endpoint: "https://127.0.0.1:1/dsp/2025-1".to_owned(),
            origins: vec!["https://127.0.0.1:1".to_owned()],
            extensions: extensions.iter().map(|&name| name.to_owned()).collect(),
            ..certs::card::CardDetails::default()
        };
        let card = certs::card::issue(&keys, details, now).unwrap();
        let mut request = json!({ "card": card, "name": "b", "networks": ["127.0.0.0/8"] });
        let preview = client.post("/v1/partners/preview", &request).await.unwrap();
        request["accept_fingerprint"] = preview["fingerprint"].clone();
        client.post("/v1/partners", &request).await.unwrap();
        Self { _directory: directory, running, partner: PARTNER.parse().unwrap(), keys }
    }

    fn node(&self) -> &Arc<Node> {
        &self.running.node
    }

    /// A checkpoint of the partner's log of our relation, in the first epoch.
    fn note(&self, size: u64, root: u8) -> String {
        self.note_of(1, size, Hash([root; 32]))
    }

    fn note_of(&self, epoch: u32, size: u64, root: Hash) -> String {
        let us = &self.node().context.participant;
        let tree = LogId::Relation(us.clone()).in_epoch(epoch);
        self.signed(&Checkpoint::new(tree.origin(&self.partner), size, root))
    }

    fn signed(&self, checkpoint: &Checkpoint) -> String {
        let key = self.keys.signing.key();
        sign_checkpoint(checkpoint, &key_name(&self.partner), &key.public_key(), |bytes| {
            Ok::<_, std::convert::Infallible>(key.sign(bytes))
        })
        .unwrap()
    }

    /// A checkpoint under our own key, as if this node had signed it before its data were restored.
    fn our_note(&self, epoch: u32, size: u64) -> String {
        let own = &self.node().context.participant;
        let site = self.node().identity.site.load();
        let key = site.signing.key();
        let tree = LogId::Relation(self.partner.clone()).in_epoch(epoch);
        let checkpoint = Checkpoint::new(tree.origin(own), size, Hash([9; 32]));
        sign_checkpoint(&checkpoint, &key_name(own), &key.public_key(), |bytes| {
            Ok::<_, std::convert::Infallible>(key.sign(bytes))
        })
        .unwrap()
    }

    /// Our tree of the relation, as it is now.
    async fn tree(&self) -> TreeId {
        tree(self.node(), &self.partner).await.unwrap()
    }

    async fn take(&self, exchange: &Exchange) -> Result<(), WitnessError> {
        take(self.node(), &self.partner, exchange).await
    }

    async fn records(&self, log: LogId, epoch: u32) -> Vec<store::StoredRecord> {
        self.node().store.records(log.in_epoch(epoch), 0..1000).await.unwrap()
    }

    async fn judge(&self, note: &str) -> Result<(), WitnessError> {
        judge(self.node(), &self.partner, note).await
    }

    async fn held(&self) -> Option<Witness> {
        held(self.node(), &self.partner).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_checkpoint_of_evidence_is_kept_and_another_root_is_recorded_as_a_conflict() {
    let fixture = Fixture::new().await;
    let (first, forked) = (fixture.note(7, 1), fixture.note(7, 2));
    fixture.judge(&first).await.unwrap();
    fixture.judge(&first).await.unwrap();
    let held = fixture.held().await.unwrap();
    assert_eq!((held.size, &held.note, held.conflict), (7, &first, None));

    let refused = fixture.judge(&forked).await.unwrap_err();
    assert!(matches!(refused, WitnessError::Contradicts(_)), "{refused}");
    let held = fixture.held().await.unwrap();
    assert_eq!((held.note, held.conflict), (first.clone(), Some(forked)));
    // Who contradicted itself once proves nothing any more, with either log.
    for note in [first, fixture.note(8, 1)] {
        let refused = fixture.judge(&note).await.unwrap_err();
        assert!(matches!(refused, WitnessError::Contradicts(_)), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_is_not_taken_before_the_partner_could_be_asked_for_a_proof() {
    let fixture = Fixture::new().await;
    let first = fixture.note(7, 1);
    fixture.judge(&first).await.unwrap();
    for note in [fixture.note(3, 2), fixture.note(9, 2), fixture.note_of(2, 1, Hash([1; 32]))] {
        let refused = fixture.judge(&note).await.unwrap_err();
        assert!(matches!(refused, WitnessError::Send(_)), "the partner is away: {refused}");
        assert_eq!(fixture.held().await.unwrap().note, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_exchanges_no_checkpoints_stays_unwitnessed_and_replaces_nothing() {
    let fixture = Fixture::with(&["provenance/1"]).await;
    let first = fixture.note(7, 1);
    fixture.judge(&first).await.unwrap();
    for size in [3, 9] {
        fixture.judge(&fixture.note(size, 2)).await.unwrap();
        assert_eq!(fixture.held().await.unwrap().note, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_checkpoint_of_our_relation_is_refused_and_not_kept() {
    let fixture = Fixture::new().await;
    let other: ParticipantId = "did:web:c.example".parse().unwrap();
    let changed = fixture.note(7, 1).replace("\n7\n", "\n8\n");
    let of_another = LogId::Relation(other).in_epoch(1).origin(&fixture.partner);
    let of_another = fixture.signed(&Checkpoint::new(of_another, 7, Hash([1; 32])));
    for note in [changed, of_another, fixture.note(0, 1), String::new()] {
        let refused = fixture.judge(&note).await.unwrap_err();
        assert!(matches!(refused, WitnessError::Refused(_)), "{refused}");
    }
    assert_eq!(fixture.held().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_does_not_wait_for_the_signature_that_waits_for_it() {
    let fixture = Fixture::new().await;
    let (node, partner) = (fixture.node(), &fixture.partner);
    let signed = grown(node, partner).await.unwrap().unwrap();
    let salted = "00".repeat(32);
    let (fresh, head, asked) = (node.fresh(), signed.clone(), fixture.tree().await);
    node.decide(move |view| evidence::anchor(view, &fresh, &asked, &head, "salt", &salted))
        .await
        .unwrap();
    let turn = node.witnesses.turn(partner);
    let signing = turn.lock().await;
    let body = serde_json::to_vec(&of(Some(fixture.note(7, 1)), None)).unwrap();
    let told = answer(node, partner, &body).await.unwrap();
    assert_eq!(told.checkpoint.as_ref(), Some(&signed.note));
    drop(signing);
    let later = answer(node, partner, &body).await.unwrap();
    assert_ne!(later.checkpoint, Some(signed.note));
}

/// What a partner sends that proves nothing.
fn of(checkpoint: Option<String>, held: Option<String>) -> Exchange {
    let holds = held.as_ref().map_or(0, |_| 1);
    Exchange { checkpoint, holds, held, proof: Vec::new(), proof_from: 0, opening: None }
}

/// The leaf of a record as the journal has it.
fn leaf(kind: &str, digests: &serde_json::Value) -> String {
    let leaf = json!({
        "digests": digests, "effect": Hash([3; 32]), "kind": kind, "time": "2026-01-01T00:00:00Z", "v": 1,
    });
    // Members in order and plain text: the form of RFC 8785.
    leaf.to_string()
}

/// A partner's exchange in epoch 2, whose log has one record with this leaf.
fn opened(fixture: &Fixture, leaf: &str, named: &[&String]) -> Exchange {
    let root = journal::tlog::leaf_hash(leaf.as_bytes());
    let opening = Opening {
        leaf: leaf.to_owned(),
        proof: Vec::new(),
        named: named.iter().map(|&note| note.clone()).collect(),
    };
    Exchange { opening: Some(opening), ..of(Some(fixture.note_of(2, 1, root)), None) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_of_the_partner_is_taken_with_its_first_record_and_the_old_checkpoint_is_kept()
{
    let fixture = Fixture::new().await;
    let held = fixture.note(7, 1);
    fixture.judge(&held).await.unwrap();
    let hash = engine::epoch::sha256(&held);
    let good = leaf("epoch-opened", &json!({ "shownCheckpoint": hash }));

    let bare = Exchange { opening: None, ..opened(&fixture, &good, &[]) };
    let other_kind = leaf("transfer-granted", &json!({ "shownCheckpoint": hash }));
    let unnamed = fixture.note(6, 1);
    let mut second = opened(&fixture, &good, &[]);
    second.checkpoint = Some(fixture.note_of(2, 2, Hash([8; 32])));
    for (what, exchange, said) in [
        ("no first record", bare, "is not shown"),
        ("of another kind", opened(&fixture, &other_kind, &[]), "opens no epoch"),
        ("another note", opened(&fixture, &good, &[&unnamed]), "does not name"),
        ("not the first", second, "not proven to be the first"),
    ] {
        let refused = fixture.take(&exchange).await.unwrap_err();
        assert!(refused.to_string().contains(said), "{what}: {refused}");
        assert_eq!(fixture.held().await.unwrap().note, held, "{what}");
    }

    let exchange = opened(&fixture, &good, &[&held]);
    for _ in 0..2 {
        fixture.take(&exchange).await.unwrap();
    }
    let now = fixture.held().await.unwrap();
    assert_eq!((now.epoch, now.size, Some(&now.note)), (2, 1, exchange.checkpoint.as_ref()));
    let kept: Vec<_> = now.earlier.iter().map(|of| (of.epoch, &of.note, of.named)).collect();
    assert_eq!(kept, [(1, &held, true)]);
    let log = LogId::Relation(fixture.partner.clone());
    let records = fixture.records(log, 1).await;
    let told = records.iter().filter(|record| record.kind == engine::RecordKind::EpochWitnessed);
    let told: Vec<_> = told.map(|record| &record.account.facts).collect();
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["held"], &told[0]["opening"]), (&json!(held), &json!(good)));
    // What it signs in the old epoch says nothing any more, and is not taken for evidence without a proof; what
    // was held of it stays so.
    fixture.take(&of(Some(fixture.note(9, 4)), None)).await.unwrap();
    fixture.judge(&held).await.unwrap();
    for other in [fixture.note(6, 1), fixture.note(7, 2)] {
        assert!(matches!(fixture.judge(&other).await, Err(WitnessError::Send(_))));
    }
    assert_eq!(fixture.held().await.unwrap().epoch, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_that_names_another_past_than_we_hold_is_a_conflict() {
    let fixture = Fixture::new().await;
    let (held, other) = (fixture.note(7, 1), fixture.note(7, 2));
    fixture.judge(&held).await.unwrap();
    let digests = json!({ "previousCheckpoint": engine::epoch::sha256(&other) });
    let exchange = opened(&fixture, &leaf("epoch-opened", &digests), &[&other]);
    fixture.take(&exchange).await.unwrap();
    let now = fixture.held().await.unwrap();
    assert_eq!((now.epoch, now.note), (1, held));
    assert!(now.conflict.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_signs_nothing_until_a_new_epoch_is_opened() {
    let fixture = Fixture::new().await;
    let (node, partner) = (fixture.node(), &fixture.partner);
    let old = fixture.tree().await;
    let before = grown(node, partner).await.unwrap().unwrap();
    let newer = fixture.our_note(1, 50);
    let body = serde_json::to_vec(&of(None, Some(newer.clone()))).unwrap();
    for _ in 0..2 {
        let refused = answer(node, partner, &body).await.unwrap_err();
        assert!(matches!(refused, WitnessError::Behind { signed: 50, .. }), "{refused}");
    }
    let signed = covering(node, &old, before.size + 1).await.unwrap_err();
    assert!(matches!(signed, WitnessError::Behind { .. }), "{signed}");
    // The decision refuses as well: it may have been found out while the note was being made.
    let (fresh, asked, head) = (node.fresh(), old.clone(), Head { size: 99, ..before.clone() });
    let refused = node.decide(move |view| evidence::checkpoint(view, &fresh, &asked, &head)).await;
    assert!(matches!(refused, Err(Trouble::Refused(_))));

    let logs = vec![LogId::Site, old.log.clone()];
    let opened = node
        .commit(move |view| engine::epoch::open(view, &logs, false, "restored", Some("sato")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((opened.epoch, opened.relations), (2, vec![(partner.clone(), true)]));
    let now = fixture.tree().await;
    let (size, _) = node.store.tree_head(now.clone()).await.unwrap();
    assert_eq!((now.epoch, size), (2, 1));
    let head = covering(node, &now, 1).await.unwrap();
    let ended = covering(node, &old, before.size + 1).await.unwrap_err();
    assert!(matches!(ended, WitnessError::Ended { .. }), "{ended}");
    assert_eq!(covering(node, &old, before.size).await.unwrap(), before, "what was signed stands");

    // What a partner is shown proves the first record, and names both checkpoints.
    let shown = opening::of(node, &now, &head).await.unwrap().unwrap();
    assert_eq!(shown.named, [before.note, newer.clone()]);
    let proof: Vec<Hash> = shown.proof.iter().map(|text| hash_of(text).unwrap()).collect();
    let root = hash_of(&head.root).unwrap();
    let first = journal::tlog::leaf_hash(shown.leaf.as_bytes());
    journal::tlog::verify_inclusion(&first, 0, head.size, &root, &proof).unwrap();
    let record = &fixture.records(now.log.clone(), 2).await[0];
    assert_eq!(record.account.reason.as_deref(), Some("restored"));
    assert_eq!(record.body.as_ref().unwrap().person.as_deref(), Some("sato"));
    let site = &fixture.records(LogId::Site, 2).await[0];
    assert_eq!(site.kind, engine::RecordKind::EpochOpened);
    // The partner still holds the old one until it takes the new: that is known, and named.
    answer(node, partner, &body).await.unwrap();
    assert_eq!(fixture.held().await.unwrap().given_up, [newer]);
    // Another one that nobody knew of is recorded, and holds nothing up.
    let late = fixture.our_note(1, 60);
    let body = serde_json::to_vec(&of(None, Some(late.clone()))).unwrap();
    for _ in 0..2 {
        answer(node, partner, &body).await.unwrap();
    }
    assert_eq!(fixture.held().await.unwrap().given_up.last(), Some(&late));
    // Restored once more, to before the epoch that the partner knows.
    let body = serde_json::to_vec(&of(None, Some(fixture.our_note(7, 3)))).unwrap();
    let refused = answer(node, partner, &body).await.unwrap_err();
    assert!(matches!(refused, WitnessError::Behind { .. }), "{refused}");
    let logs = vec![LogId::Site, old.log];
    let opened = node
        .commit(move |view| engine::epoch::open(view, &logs, false, "again", None))
        .await
        .unwrap();
    assert_eq!(opened.unwrap().epoch, 8, "no epoch is used twice");
}

#[test]
fn requests_for_an_exchange_that_waits_become_one() {
    let witnesses = Witnesses::default();
    let partner = ParticipantId::new(PARTNER).unwrap();
    assert!(witnesses.wait(&partner).is_some());
    assert!(witnesses.wait(&partner).is_none());
    witnesses.begin(&partner);
    assert!(witnesses.wait(&partner).is_some());
}

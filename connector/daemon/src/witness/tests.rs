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
            extensions: vec!["checkpoint/1".to_owned()],
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

    /// A checkpoint of the partner's log of our relation.
    fn note(&self, size: u64, root: u8) -> String {
        let us = &self.node().context.participant;
        self.note_of(origin(&self.partner, us, EPOCH), size, root)
    }

    fn note_of(&self, origin: String, size: u64, root: u8) -> String {
        let key = self.keys.signing.key();
        let checkpoint = Checkpoint::new(origin, size, Hash([root; 32]));
        sign_checkpoint(&checkpoint, &key_name(&self.partner), &key.public_key(), |bytes| {
            Ok::<_, std::convert::Infallible>(key.sign(bytes))
        })
        .unwrap()
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
async fn another_size_passes_without_a_proof_and_replaces_nothing() {
    let fixture = Fixture::new().await;
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
    let other = "did:web:c.example".parse().unwrap();
    let changed = fixture.note(7, 1).replace("\n7\n", "\n8\n");
    let of_another = fixture.note_of(origin(&fixture.partner, &other, EPOCH), 7, 1);
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
    let signed = grown(node, partner).await.unwrap();
    let salted = "00".repeat(32);
    let (head, asked) = (signed.clone(), partner.clone());
    node.commit(move |view| evidence::anchor(view, &asked, &head, "salt", &salted)).await.unwrap();
    let turn = node.witnesses.turn(partner);
    let signing = turn.lock().await;
    let body = serde_json::to_vec(&Exchange {
        checkpoint: fixture.note(7, 1),
        holds: 0,
        held: None,
        proof: Vec::new(),
        proof_from: 0,
    })
    .unwrap();
    let told = answer(node, partner, &body).await.unwrap();
    assert_eq!(told.checkpoint, signed.note);
    drop(signing);
    let later = answer(node, partner, &body).await.unwrap();
    assert_ne!(later.checkpoint, signed.note);
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

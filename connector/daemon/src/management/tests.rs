//! A node with real files, asked over its real socket.

use std::fs;
use std::path::PathBuf;

use certs::pki::{self, Identity, SitePki};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::SystemClock;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::cli::Failure;
use crate::cli::client::{Client, ClientError, path};
use crate::exit::Exit;
use crate::net::Shutdown;
use crate::node::{self, Running};
use crate::site::Site;
use crate::telemetry::Telemetry;

mod audit;
mod datasets;
mod openapi;
mod partners;
mod pulls;

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
retry_minimum_ms = 20
retry_maximum_ms = 50
"#;

/// The participant whose card is added.
const PARTNER: &str = "did:web:b.example";

/// A site whose node runs.
struct Fixture {
    directory: TempDir,
    running: Running,
    client: Client,
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
        let identity =
            Identity::new("did:web:a.example", "A", &["a.example".to_owned()], &[]).unwrap();
        pki::create_with_trial_ca(&site.join("pki"), &identity, now).unwrap();
        let site = Site::open(site, [], now).unwrap();
        let telemetry =
            Arc::new(Telemetry::new(&site.config.telemetry, &Handle::current()).unwrap());
        let client = Client::new(&site.paths.socket);
        let running =
            node::start(site, Arc::new(SystemClock), telemetry, Shutdown::new()).await.unwrap();
        Self { directory, running, client }
    }

    fn node(&self) -> &Arc<Node> {
        &self.running.node
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(path).await.unwrap()
    }

    /// The refusal of a request.
    async fn refused(&self, path: &str, body: &Value) -> Failure {
        refusal(self.client.post(path, body).await.unwrap_err())
    }

    /// The events of a request, and the refusal that ended them.
    async fn events(&self, path: &str, body: &Value) -> (Vec<Value>, Option<Failure>) {
        let mut events = Vec::new();
        let take = |event| {
            events.push(event);
            Ok(())
        };
        let ended = self.client.events(Method::POST, path, Some(body), take).await;
        (events, ended.err().map(refusal))
    }

    /// Registers the partner `b`, whose node would be on a port where nobody listens.
    async fn with_partner(self) -> Self {
        let card = card(&self, 1, &self.file("b-pki"));
        let mut request = json!({ "card": card, "name": "b", "networks": ["127.0.0.0/8"] });
        let preview = self.client.post("/v1/partners/preview", &request).await.unwrap();
        request["accept_fingerprint"] = preview["fingerprint"].clone();
        self.client.post("/v1/partners", &request).await.unwrap();
        self
    }
}

fn refusal(error: ClientError) -> Failure {
    match error {
        ClientError::Refused(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// A card of the partner, by the keys in a directory, which are made where they are missing.
fn card(fixture: &Fixture, number: u64, pki: &std::path::Path) -> String {
    let now = fixture.node().clock.now();
    if !pki.exists() {
        let identity = Identity::new(PARTNER, "B", &["b.example".to_owned()], &[]).unwrap();
        pki::create_with_trial_ca(pki, &identity, now).unwrap();
    }
    let details = certs::card::CardDetails {
        number,
        endpoint: "https://127.0.0.1:1/dsp/2025-1".to_owned(),
        origins: vec!["https://127.0.0.1:1".to_owned()],
        ..certs::card::CardDetails::default()
    };
    certs::card::issue(&SitePki::load(pki, now).unwrap(), details, now).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_says_how_it_is() {
    let fixture = Fixture::new().await;
    let status = fixture.get("/v1/status").await;
    assert_eq!(status["participant"], "did:web:a.example");
    assert_eq!(status["state"], "serving");
    assert_eq!(status["partners"], json!({ "active": 0, "suspended": 0, "offboarded": 0 }));
    assert_eq!(status["open"], json!({ "negotiations": 0, "transfers": 0, "pulls": 0 }));
    assert_eq!(status["outbox"]["waiting"], 0);
    assert_eq!(status["clock"], json!({ "trusted": true }));
    assert_eq!(status["certificates"]["trial"], true);
    assert_eq!(status["certificates"]["certificates"].as_array().unwrap().len(), 3);
    assert_eq!(status["logs"][0]["log"], "site");
    assert!(status["logs"][0]["size"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused() {
    let fixture = Fixture::new().await;
    let refused = |error: ClientError| refusal(error);
    let unknown = refused(fixture.client.get("/v1/nothing").await.unwrap_err());
    assert_eq!(unknown.exit, Exit::NotFound);
    let parameter = refused(fixture.client.get("/v1/datasets?limt=3").await.unwrap_err());
    assert_eq!(parameter.exit, Exit::Misuse);
    assert!(parameter.message.contains("`limt`"), "{parameter}");
    let twice = refused(fixture.client.get("/v1/datasets?limit=3&limit=4").await.unwrap_err());
    assert!(twice.message.contains("twice"), "{twice}");
    let method = refused(fixture.client.delete("/v1/status").await.unwrap_err());
    assert_eq!(method.exit, Exit::Misuse);
    let body = json!({ "reason": "looked at", "reasons": 1 });
    let member = fixture.refused("/v1/clock/accept", &body).await;
    assert!(member.message.contains("`reasons`"), "{member}");
    // The answer may come before everything was sent, and the connection ends then.
    let body = json!({ "reason": "x".repeat(2 << 20) });
    match fixture.client.post("/v1/clock/accept", &body).await.unwrap_err() {
        ClientError::Refused(large) => assert!(large.message.contains("longer than"), "{large}"),
        ClientError::Lost(_) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_accepts_the_clock_and_is_recorded() {
    let fixture = Fixture::new().await;
    let reason = json!({ "reason": "the battery was changed" });
    let answer = fixture.client.post("/v1/clock/accept", &reason).await.unwrap();
    assert_eq!(answer["accepted"], false, "there was nothing to accept");
    fixture.node().commit(|view| engine::site::refuse_clock(view, "it jumped")).await.unwrap();
    let status = fixture.get("/v1/status").await;
    assert_eq!(status["clock"]["reason"], "it jumped");
    let answer = fixture.client.post("/v1/clock/accept", &reason).await.unwrap();
    assert_eq!(answer["accepted"], true);
    let records = fixture.get("/v1/audit/records?log=site&kind=clock-accepted&full=1").await;
    let record = &records["items"][0];
    assert_eq!(record["account"]["reason"], "the battery was changed");
    let uid = rustix::process::getuid().as_raw();
    assert!(record["person"].as_str().unwrap().starts_with(&format!("uid {uid}")), "{record}");
}

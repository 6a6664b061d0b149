//! The two connectors, what joins them, and what both operators need.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use integration_tests::connector::BASE;
use integration_tests::edc::{self, Edc};
use integration_tests::gateway::{Addresses, Gateway, Habits, Partner, Trust};
use integration_tests::management::Management;
use integration_tests::plain::{self, Shelf};
use integration_tests::ports;
use integration_tests::scene::Scene;
use integration_tests::schemas::{self, Schemas};
use integration_tests::site::Site;
use integration_tests::wait;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

/// The short name of EDC at the node.
pub(crate) const PARTNER: &str = "edc";
/// EDC's participant id.
pub(crate) const EDC: &str = "did:web:edc.example";
/// Where an application behind EDC keeps its bytes: a path that the gateway leads there.
pub(crate) const SHELF: &str = "/shelf";
/// How long a process may take to come into a state.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// The pace of EDC's state machines. A connector in use is set so; 1,000 ms are its default.
const PACE: Duration = Duration::from_millis(50);

const OPEN: &str = "title = \"Use\"\ndescription = \"Partners may use the data.\"\n\
    [who]\ngroups = [\"partners\"]\n[[permit]]\nactions = [\"use\"]\n";
const DATED: &str = "title = \"Use for a month\"\ndescription = \"For thirty days from the agreement.\"\n\
    [who]\ngroups = [\"partners\"]\n[[permit]]\nactions = [\"use\"]\n\
    when = [\"inForceDate lteq contractAgreement+30d\"]\n";
const ONCE: &str = "title = \"Use once\"\ndescription = \"One delivery.\"\n\
    [who]\ngroups = [\"partners\"]\n[[permit]]\nactions = [\"use\"]\nwhen = [\"count lteq 1\"]\n";
const OTHERS: &str = "title = \"Others\"\ndescription = \"Not for this partner.\"\n\
    [who]\nanyone-registered = true\nexcept-groups = [\"partners\"]\n[[permit]]\nactions = [\"use\"]\n";
const MANUAL: &str = "title = \"Use, as decided by a person\"\ndescription = \"When we say so.\"\n\
    [offer]\nhandling = \"manual\"\n\
    [who]\ngroups = [\"partners\"]\n[[permit]]\nactions = [\"use\"]\n";

/// Everything that plays.
pub(crate) struct Stage {
    pub(crate) node: Site,
    pub(crate) edc: Edc,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) addresses: Addresses,
    pub(crate) management: Management,
    /// What an application behind EDC gives and takes.
    pub(crate) shelf: Shelf,
    /// What the node publishes.
    pub(crate) ours: Bytes,
    /// What EDC publishes.
    pub(crate) theirs: Bytes,
    pub(crate) directory: std::path::PathBuf,
    pub(crate) runtime: Runtime,
}

impl Stage {
    /// Starts both.
    pub(crate) fn set(scene: &Scene, libraries: &Path) -> Result<Self> {
        let runtime = Runtime::new()?;
        let (for_peer, for_node) = (ports::free()?, ports::free()?);
        let mut node = scene.plan("node").title("Node Corporation").make()?;
        let partner = Partner {
            name: PARTNER,
            participant: EDC,
            certified: EDC,
            title: "Eclipse EDC",
            endpoint: &format!("https://{for_node}{BASE}"),
        };
        let trust = Trust::register(&node, &partner)?;
        let policies = [
            ("open", OPEN),
            ("dated", DATED),
            ("once", ONCE),
            ("others", OTHERS),
            ("manual", MANUAL),
        ];
        for (name, text) in policies {
            node.policy(name, text)?;
        }
        node.start()?;

        let edc = edc::Plan {
            participant: EDC.to_owned(),
            libraries: libraries.to_owned(),
            directory: scene.path().to_owned(),
            origin: Some(format!("https://{for_node}")),
            iteration_wait: Some(PACE),
        };
        let edc = edc.start()?;
        let shelf = runtime.block_on(Shelf::serve())?;
        let addresses =
            Addresses { node: node.address(), for_peer, for_node, peer: edc.protocol() };
        let habits = Habits {
            name: "EDC",
            settling: Duration::ZERO,
            routes: vec![(edc::PUBLIC, edc.public()), (SHELF, shelf.address())],
            token: Some(edc::token(node.participant(), EDC)),
        };
        let schemas = std::env::var_os(schemas::VARIABLE)
            .map(|directory| Schemas::load(Path::new(&directory)))
            .transpose()?;
        let gateway = Gateway::new(addresses, habits, &trust.credential, trust.anchors, schemas)?;
        let gateway = Arc::new(gateway);
        runtime.block_on(gateway.serve())?;
        let management = Management::of(&node);
        let (ours, theirs) = (pattern("ours"), pattern("theirs"));
        let directory = scene.path().to_owned();
        let stage = Self {
            node,
            edc,
            gateway,
            addresses,
            management,
            shelf,
            ours,
            theirs,
            directory,
            runtime,
        };
        stage.publish()?;
        Ok(stage)
    }

    fn publish(&self) -> Result<()> {
        let file = self.directory.join("ours.bin");
        std::fs::write(&file, &self.ours)?;
        for name in ["open", "dated", "once", "others", "manual"] {
            self.node.publish(&file, &format!("ours-{name}"), name)?;
        }
        self.shelf.lay("/source", self.theirs.clone());
        Ok(())
    }

    /// The address of an endpoint of the application behind EDC, as EDC knows it.
    pub(crate) fn on_shelf(&self, path: &str) -> String {
        format!("http://{}{path}", self.shelf.address())
    }

    /// Keeps what passed through the gateway and what EDC logged.
    pub(crate) fn keep(&self, transcripts: &Path) -> Result<()> {
        std::fs::create_dir_all(transcripts)?;
        std::fs::write(transcripts.join("messages.log"), self.gateway.seen().transcript)?;
        std::fs::copy(self.edc.log(), transcripts.join("edc.log"))?;
        std::fs::copy(self.node.log_file(), transcripts.join("node.log"))?;
        Ok(())
    }

    /// Fetches from an address with a token, as an application does with what EDC gives it.
    pub(crate) fn fetch(&self, endpoint: &str, authorization: &str) -> Result<(u16, Bytes)> {
        let (address, path) = split(endpoint)?;
        let request = Request::get(path).header("authorization", authorization);
        let answer = self.runtime.block_on(plain::exchange(address, request, Bytes::new()))?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    /// Waits until a process of EDC's is in a state; fails at once when it ended in another.
    pub(crate) fn edc_reaches(&self, kind: Kind, id: &str, wanted: &str) -> Result<Value> {
        let path = format!("/{}/{id}", kind.at_edc());
        let mut last = Value::Null;
        let reached = wait::until(&format!("EDC's process is {wanted}"), LIMIT, || {
            last = self.runtime.block_on(self.edc.get(&path))?;
            is_reached(&last, wanted)
        });
        reached.with_context(|| format!("at EDC: {last}"))?;
        Ok(last)
    }

    /// The same of a process of the node's.
    pub(crate) fn node_reaches(&self, kind: Kind, pid: &str, wanted: &str) -> Result<Value> {
        let path = kind.at_node(pid);
        let mut last = Value::Null;
        let reached = wait::until(&format!("our process is {wanted}"), LIMIT, || {
            last = self.runtime.block_on(self.management.get(&path))?;
            is_reached(&last, wanted)
        });
        reached.with_context(|| format!("at the node: {last}"))?;
        Ok(last)
    }

    /// Waits until both are in a state.
    pub(crate) fn both_reach(&self, kind: Kind, ids: &Ids, wanted: &str) -> Result<()> {
        self.edc_reaches(kind, &ids.edc, wanted)?;
        self.node_reaches(kind, &ids.node, wanted)?;
        Ok(())
    }

    /// Takes a step at the node.
    pub(crate) fn step(&self, kind: Kind, pid: &str, step: &str) -> Result<()> {
        let said = json!({ "reason": "our operator decided so" });
        self.runtime
            .block_on(self.management.post(&format!("{}/{step}", kind.at_node(pid)), &said))?;
        Ok(())
    }

    /// Takes a step at EDC.
    pub(crate) fn edc_step(&self, kind: Kind, id: &str, step: &str) -> Result<()> {
        let what = match (kind, step) {
            (Kind::Negotiation, _) => "TerminateNegotiation",
            (Kind::Transfer, "suspend") => "SuspendTransfer",
            (Kind::Transfer, _) => "TerminateTransfer",
        };
        let said = json!({ "@type": what, "@id": id, "reason": "EDC's operator decided so" });
        self.runtime.block_on(self.edc.post(&format!("/{}/{id}/{step}", kind.at_edc()), said))?;
        Ok(())
    }

    /// The node's id of the latest process about an agreement or a dataset.
    pub(crate) fn latest(&self, kind: Kind, member: &str, is: &str) -> Result<Value> {
        let is = integration_tests::connector::encode(is);
        let list = match kind {
            Kind::Negotiation => "/v1/negotiations",
            Kind::Transfer => "/v1/transfers",
        };
        let path = format!("{list}?{member}={is}&limit=1");
        wait::until("our node has the process", LIMIT, || {
            let page = self.runtime.block_on(self.management.get(&path))?;
            Ok(page.pointer("/items/0").cloned())
        })
    }

    /// EDC's id of its process that has this id of ours.
    pub(crate) fn edc_knows(&self, kind: Kind, pid: &str) -> Result<String> {
        let query = json!({ "@type": "QuerySpec", "filterExpression": [{
            "operandLeft": "correlationId", "operator": "=", "operandRight": pid,
        }] });
        let path = format!("/{}/request", kind.at_edc());
        wait::until("EDC has the process", LIMIT, || {
            let found = self.runtime.block_on(self.edc.post(&path, query.clone()))?;
            found.pointer("/0").map(|process| text(process, "@id")).transpose()
        })
    }
}

/// What a process is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Negotiation,
    Transfer,
}

impl Kind {
    fn at_edc(self) -> &'static str {
        match self {
            Self::Negotiation => "contractnegotiations",
            Self::Transfer => "transferprocesses",
        }
    }

    fn at_node(self, pid: &str) -> String {
        let pid = integration_tests::connector::encode(pid);
        match self {
            Self::Negotiation => format!("/v1/negotiations/{pid}"),
            Self::Transfer => format!("/v1/transfers/{pid}"),
        }
    }
}

/// Both sides' ids of one process.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    pub(crate) edc: String,
    pub(crate) node: String,
}

/// Whether a process is in a state, or an error where it never will be. What EDC lets go of after the end is at its end.
fn is_reached(process: &Value, wanted: &str) -> Result<Option<()>> {
    let state = process.get("state").and_then(Value::as_str).unwrap_or_default();
    let let_go = ["DEPROVISIONING", "DEPROVISIONING_REQUESTED", "DEPROVISIONED"].contains(&state);
    if let_go && ["TERMINATED", "COMPLETED"].contains(&wanted) {
        return Ok(Some(()));
    }
    let is_over = ["TERMINATED", "FINALIZED", "COMPLETED"].contains(&state);
    ensure!(state == wanted || !is_over, "it is {state} instead of {wanted}");
    Ok((state == wanted).then_some(()))
}

/// Where an address leads: whom to dial, and the path.
fn split(url: &str) -> Result<(SocketAddr, &str)> {
    let Some(rest) = url.strip_prefix("http://") else { bail!("`{url}` is not http://") };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    Ok((authority.parse().with_context(|| format!("`{url}` is no loopback address"))?, path))
}

/// A text in EDC's answer.
pub(crate) fn text(document: &Value, member: &str) -> Result<String> {
    let found = document.get(member).and_then(Value::as_str);
    Ok(found.with_context(|| format!("no `{member}` in {document}"))?.to_owned())
}

/// A few megabytes that no other run has.
fn pattern(seed: &str) -> Bytes {
    let mut block = Sha256::digest(format!("{seed} {}", jiff::Timestamp::now()));
    let mut bytes = Vec::new();
    while bytes.len() < 3 << 20 {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    Bytes::from(bytes)
}

/// Bytes must be those that were published.
pub(crate) fn same(got: &[u8], published: &[u8]) -> Result<String> {
    let digest = |bytes| hex::encode(Sha256::digest(bytes));
    let (got_digest, wanted) = (digest(got), digest(published));
    ensure!(
        got_digest == wanted,
        "{} bytes with SHA-256 {got_digest} instead of {} with {wanted}; they begin with {:?}",
        got.len(),
        published.len(),
        String::from_utf8_lossy(got.get(..200.min(got.len())).unwrap_or_default())
    );
    Ok(format!("{} bytes, SHA-256 {got_digest}", got.len()))
}

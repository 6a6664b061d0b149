//! The kit as a process, and what it says about each of its tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::command;
use integration_tests::connector::BASE;
use integration_tests::gateway::Addresses;

use crate::driver::{NEGOTIATE, TRANSFER};
use crate::node::{IN_CATALOG, Node};
use crate::script;

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(900);
/// How long the kit waits for a message.
const WAIT_SECONDS: u64 = 15;
const FORMAT: &str = "HttpData-PULL";
/// What the kit writes before the name of a test that passed, or did not.
const PASSED: &str = "SUCCESSFUL: ";
/// See [`PASSED`].
const FAILED: &str = "FAILED: ";

/// What a run of the kit said.
pub(crate) struct Run {
    /// Whether each test that ran passed.
    pub(crate) results: BTreeMap<String, bool>,
    /// Everything it wrote.
    pub(crate) output: String,
}

impl Run {
    /// Why tests failed, as the kit says it.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &str> {
        self.output.lines().filter_map(|line| line.strip_prefix("REASON: "))
    }
}

/// Runs the kit once.
pub(crate) fn run(libraries: &Path, runner: &Path, settings: &Path) -> Result<Run> {
    let libraries = libraries.join("*");
    // Whoever ends this program ends the kit with it.
    let mut java = Command::new("setpriv");
    java.args(["--pdeathsig", "KILL", "java", "-cp"]).arg(libraries).arg(runner).arg(settings);
    let outcome = command::run(&mut java, LIMIT)?;
    let results = results(&outcome.stdout);
    ensure!(!results.is_empty(), "the kit ran no test\n{}\n{}", outcome.stdout, outcome.stderr);
    Ok(Run { results, output: outcome.stdout + &outcome.stderr })
}

/// The result of each test. A test that is reported twice passed only if it passed both times.
pub(crate) fn results(output: &str) -> BTreeMap<String, bool> {
    let mut results = BTreeMap::new();
    for line in output.lines() {
        for (mark, passed) in [(PASSED, true), (FAILED, false)] {
            if let Some((_, name)) = line.split_once(mark) {
                let result = results.entry(name.trim().to_owned()).or_insert(true);
                *result = *result && passed;
            }
        }
    }
    results
}

/// What each test is about, as the kit announces it.
pub(crate) fn titles(output: &str) -> BTreeMap<String, String> {
    let announced = output.lines().filter_map(|line| line.split_once("Started: "));
    let split = announced.filter_map(|(_, text)| text.rsplit_once(": "));
    split.map(|(name, title)| (name.to_owned(), title.trim().to_owned())).collect()
}

/// Writes the kit's configuration.
pub(crate) fn configure(
    file: &Path,
    node: &Node,
    addresses: Addresses,
    triggers: std::net::SocketAddr,
) -> Result<()> {
    let mut text = String::new();
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}={value}");
    };
    let Addresses { for_peer, for_node, peer, .. } = addresses;
    set("dataspacetck.callback.address", &format!("https://{for_node}"));
    set("dataspacetck.host", &peer.ip().to_string());
    set("dataspacetck.port", &peer.port().to_string());
    let connector = |key: &str| format!("dataspacetck.dsp.connector.{key}");
    set(&connector("agent.id"), node.site.participant());
    set(&connector("http.url"), &format!("http://{for_peer}{BASE}"));
    set(&connector("http.base.url"), &format!("http://{for_peer}"));
    set(&connector("negotiation.initiate.url"), &format!("http://{triggers}{NEGOTIATE}"));
    set(&connector("transfer.initiate.url"), &format!("http://{triggers}{TRANSFER}"));
    set("dataspacetck.dsp.default.wait", &WAIT_SECONDS.to_string());
    for test in ["CAT_01_01", "CAT_01_02"] {
        set(&format!("{test}_DATASETID"), IN_CATALOG);
    }
    for part in &script::PROVIDER_NEGOTIATIONS {
        let (prefix, dataset) = (part.prefix(), part.id());
        set(&format!("{prefix}_DATASETID"), &dataset);
        set(&format!("{prefix}_OFFERID"), &node.offer(&dataset)?);
    }
    for part in &script::CONSUMER_NEGOTIATIONS {
        set(&format!("{}_DATASETID", part.prefix()), &part.id());
    }
    for part in script::PROVIDER_TRANSFERS.iter().chain(&script::CONSUMER_TRANSFERS) {
        let prefix = part.prefix();
        set(&format!("{prefix}_AGREEMENTID"), &part.id());
        set(&format!("{prefix}_FORMAT"), FORMAT);
    }
    std::fs::write(file, text).with_context(|| format!("`{}` cannot be written", file.display()))
}

//! The official compatibility kit of the Dataspace Protocol against a node as shipped, over mutual TLS.
//!
//! `integration-tests/tck/run` fetches the kit and starts this program, which makes the node, carries messages between the
//! two ([`integration_tests::gateway`]), plays the node's operator ([`driver`]) and judges what came out.

mod conformance;
mod driver;
mod kit;
mod node;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use integration_tests::gateway::{Addresses, Faults, Gateway, Habits, Seen};
use integration_tests::management::Management;
use integration_tests::narration::{end, line};
use integration_tests::ports;
use integration_tests::scene::Scene;
use integration_tests::schemas::Schemas;
use tokio::runtime::Runtime;

use driver::Driver;
use node::Node;

/// The names that have to pass, one a line.
const EXPECTED: &str = include_str!("../../../tck/expected.txt");
/// A bad line: how late everything is, both ways, and how often the node's connections and requests are reset.
const BAD_LINE: Faults = Faults { latency: Duration::from_millis(40), reset_every: Some(5) };

/// How long the kit is given to take note of an answer before a message of the node follows. It answers 409 to what overtakes
/// its own bookkeeping, and then waits for that message no more, so that no repetition helps.
const SETTLING: Duration = Duration::from_millis(150);

/// The official compatibility kit against a node; `integration-tests/tck/run` starts this.
#[derive(Debug, Parser)]
struct Order {
    /// How many runs, one after another, on one node.
    #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The kit's jars.
    #[arg(long)]
    libraries: PathBuf,
    /// The program that starts the kit.
    #[arg(long)]
    runner: PathBuf,
    /// The JSON Schemas out of the jars.
    #[arg(long)]
    schemas: PathBuf,
    /// Where transcripts are kept.
    #[arg(long)]
    transcripts: PathBuf,
    /// The kit's version.
    #[arg(long)]
    version: String,
    /// Everything is late, and connections and requests of the node are reset before they reach the kit.
    #[arg(long)]
    bad_line: bool,
    /// Fail when docs/conformance.md differs from the run.
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Write docs/conformance.md.
    #[arg(long)]
    write: bool,
}

impl Order {
    fn faults(&self) -> Faults {
        if self.bad_line { BAD_LINE } else { Faults::default() }
    }

    fn table(&self) -> conformance::Order {
        match (self.check, self.write) {
            (true, _) => conformance::Order::Check,
            (_, true) => conformance::Order::Write,
            _ => conformance::Order::Leave,
        }
    }
}

fn main() -> ExitCode {
    end(play(&Order::parse()))
}

/// Plays all runs and says how they went; whether all is well.
fn play(order: &Order) -> Result<bool> {
    std::fs::create_dir_all(&order.transcripts)?;
    let scene = Scene::new()?;
    let addresses = Addresses {
        node: ports::free()?, // replaced as soon as the node has its own
        for_peer: ports::free()?,
        for_node: ports::free()?,
        peer: ports::free()?,
    };
    let mut node = Node::start(&scene, addresses.for_node)?;
    let addresses = Addresses { node: node.site.address(), ..addresses };
    node.import_agreements(&scene)?;

    let runtime = Runtime::new()?;
    let schemas = Schemas::load(&order.schemas)?;
    let habits = Habits { name: "kit", settling: SETTLING, routes: Vec::new(), token: None };
    let anchors = node.trust.anchors.clone();
    let gateway = Gateway::new(addresses, habits, &node.trust.credential, anchors, Some(schemas))?;
    let gateway = Arc::new(gateway);
    gateway.set(order.faults());
    let triggers = ports::free()?;
    let driver = Arc::new(Driver::new(Management::of(&node.site), Arc::clone(&gateway)));
    runtime.block_on(async {
        gateway.serve().await?;
        driver.begin(triggers).await
    })?;
    let settings = scene.file("tck.properties");
    kit::configure(&settings, &node, addresses, triggers)?;

    let expected = EXPECTED.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (mut failed, mut titles) = (BTreeSet::new(), BTreeMap::new());
    let mut judged = BTreeMap::<String, u64>::new();
    let mut violations = 0;
    for number in 1..=order.runs {
        let started = Instant::now();
        let run = kit::run(&order.libraries, &order.runner, &settings)?;
        let seen = gateway.seen();
        keep(order, number, &run.output, &seen)?;
        let wrong = judge(&expected, &run.results);
        line(format!(
            "run {number} of {}: {} of {} passed in {:.0?}, {} connections or requests reset",
            order.runs,
            expected.len() - wrong.len(),
            expected.len(),
            started.elapsed(),
            seen.resets,
        ));
        ensure!(
            order.faults().reset_every.is_none() || seen.resets > 0,
            "the bad line reset nothing, so it showed nothing"
        );
        wrong.iter().for_each(|(name, why)| line(format!("  {name}: {why}")));
        run.reasons().for_each(|reason| line(format!("  the kit: {reason}")));
        seen.faults.iter().for_each(|fault| line(format!("  violates its schema: {fault}")));
        violations += seen.faults.len();
        failed.extend(wrong.into_keys());
        titles.extend(kit::titles(&run.output));
        for (kind, count) in seen.judged {
            *judged.entry(kind).or_default() += count;
        }
    }
    node.site.stop()?;

    let (official, ours): (Vec<_>, Vec<_>) =
        judged.iter().partition(|(kind, _)| gateway.is_official(kind));
    let list = |kinds: &[(&String, &u64)]| {
        kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
    };
    line(format!("sent by the node, judged by the kit's schemas: {}", list(&official)));
    line(format!("judged by our own, for the kit has none: {}", list(&ours)));
    let table = conformance::table(&order.version, &expected, &failed, &titles);
    let current = conformance::settle(&table, order.table())?;
    line(format!("{} passed, {} failed", expected.len() - failed.len(), failed.len()));
    // The last line says that all is well only where it is.
    if violations > 0 {
        line(format!("FAILED: {violations} documents of the node violate their schema"));
    } else if !current {
        let page = conformance::PAGE;
        line(format!(
            "FAILED: `{page}` differs from this run; `integration-tests/tck/run --write` writes it anew"
        ));
    }
    Ok(failed.is_empty() && violations == 0 && current)
}

/// What is wrong with a run, by test: everything that was not expected to happen, or was and did not.
fn judge(
    expected: &BTreeSet<String>,
    results: &BTreeMap<String, bool>,
) -> BTreeMap<String, &'static str> {
    let mut wrong = BTreeMap::new();
    for name in expected {
        match results.get(name) {
            Some(true) => {}
            Some(false) => drop(wrong.insert(name.clone(), "failed")),
            None => drop(wrong.insert(name.clone(), "did not run")),
        }
    }
    for name in results.keys().filter(|name| !expected.contains(*name)) {
        wrong.insert(name.clone(), "ran, and is not in integration-tests/tck/expected.txt");
    }
    wrong
}

/// Keeps what the kit wrote and what passed through the gateway.
fn keep(order: &Order, number: u32, output: &str, seen: &Seen) -> Result<()> {
    let write = |name: String, text: &str| -> Result<()> {
        let path: &Path = &order.transcripts.join(name);
        match std::fs::write(path, text) {
            Ok(()) => Ok(()),
            Err(error) => bail!("`{}` cannot be written: {error}", path.display()),
        }
    };
    write(format!("run-{number}.kit.log"), output)?;
    write(format!("run-{number}.messages.log"), &seen.transcript)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(output: &str) -> Vec<(String, &'static str)> {
        let expected = ["CN:01-01", "CN:01-02"].map(str::to_owned).into();
        judge(&expected, &kit::results(output)).into_iter().collect()
    }

    #[test]
    fn only_a_run_in_which_exactly_the_expected_tests_passed_is_right() {
        let passed = "[time] SUCCESSFUL: CN:01-01\n[time] SUCCESSFUL: CN:01-02\n";
        assert_eq!(wrong(passed), []);
        let named = |name: &str, why| vec![(name.to_owned(), why)];
        let missing = "[time] SUCCESSFUL: CN:01-01\n";
        assert_eq!(wrong(missing), named("CN:01-02", "did not run"));
        let failed = "[time] SUCCESSFUL: CN:01-01\n[time] FAILED: CN:01-02\n";
        assert_eq!(wrong(failed), named("CN:01-02", "failed"));
        let both = format!("{passed}[time] FAILED: CN:01-02\n[time] SUCCESSFUL: CN:01-02\n");
        assert_eq!(wrong(&both), named("CN:01-02", "failed"));
        let unknown = format!("{passed}[time] SUCCESSFUL: CN:09-09\n");
        assert_eq!(wrong(&unknown).len(), 1);
    }

    #[test]
    fn the_script_has_a_part_for_every_test_that_needs_one() {
        let parts = script::PROVIDER_NEGOTIATIONS
            .iter()
            .chain(&script::CONSUMER_NEGOTIATIONS)
            .chain(&script::PROVIDER_TRANSFERS)
            .chain(&script::CONSUMER_TRANSFERS);
        let played = parts.map(|part| part.test.to_owned());
        let asked = ["CAT:01-01", "CAT:01-02", "CAT:01-03", "MET:01-01"].map(str::to_owned);
        let all = played.chain(asked).collect::<Vec<_>>();
        assert_eq!(all.len(), 65);
        assert_eq!(
            all.into_iter().collect::<BTreeSet<_>>(),
            EXPECTED.lines().map(str::to_owned).collect()
        );
    }
}

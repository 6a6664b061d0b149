//! One round: publish and pull while somebody is killed, then look whether everything acknowledged is still there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::command::Running;
use integration_tests::files;
use integration_tests::process::tail;
use integration_tests::scene::Scene;
use integration_tests::site::{COMMAND_LIMIT, Site, befriend};
use integration_tests::wait;
use serde_json::Value;

use crate::audit::{self, Kept};
use crate::kill::{Dice, Kill, Moment, Victim, can_trace, tracer};

const LARGEST: u64 = 6 * 1024 * 1024;
/// Small, so that segments and snapshots change often.
const SEGMENT_BYTES: &str = "1048576";
const SNAPSHOT_BYTES: &str = "1048576";
/// How often the journals are audited from outside.
const AUDIT_EACH: u32 = 10;

const POLICY: &str = r#"
title = "Open"
description = "Partners may use the data."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
"#;

/// The two sites and what they acknowledged.
pub(crate) struct Rounds {
    scene: Scene,
    dice: Dice,
    may_trace: bool,
    provider: Site,
    consumer: Site,
    /// Datasets whose publication was acknowledged.
    published: BTreeSet<String>,
    /// Agreements that the consumer's command line showed.
    agreed: BTreeSet<String>,
    kept: Kept,
    killed: u32,
}

impl Rounds {
    pub(crate) fn new(seed: &str) -> Result<Self> {
        let scene = Scene::new()?;
        let make = |name: &str| -> Result<Site> {
            let mut site = scene
                .plan(name)
                .setting("journal", "segment_bytes", SEGMENT_BYTES)
                .setting("journal", "snapshot_interval_bytes", SNAPSHOT_BYTES)
                .make()?;
            site.start()?;
            Ok(site)
        };
        let (provider, consumer) = (make("b")?, make("a")?);
        befriend(&provider, &consumer)?;
        provider.activate(&[("open", POLICY)])?;
        Ok(Self {
            dice: Dice::new(seed),
            may_trace: can_trace(),
            scene,
            provider,
            consumer,
            published: BTreeSet::new(),
            agreed: BTreeSet::new(),
            kept: Kept::default(),
            killed: 0,
        })
    }

    pub(crate) fn logs(&self) -> String {
        format!("{}\n{}", tail(self.provider.log_file()), tail(self.consumer.log_file()))
    }

    /// Plays a round; what happened in it.
    pub(crate) fn play(&mut self, number: u32) -> Result<String> {
        let kill = self.dice.kill(self.may_trace)?;
        let size = 1 + self.dice.below(LARGEST);
        self.work(number, size, kill).with_context(|| kill.to_string())?;
        self.look()?;
        if number.is_multiple_of(AUDIT_EACH) {
            self.audit()?;
        }
        Ok(format!("{kill}; {size} bytes arrived"))
    }

    /// Publishes and pulls; in between somebody dies, and is started again.
    fn work(&mut self, number: u32, size: u64, kill: Kill) -> Result<()> {
        let dataset = format!("round-{number:05}");
        let source = self.scene.file("source.bin");
        let target = self.scene.file(&format!("{dataset}.bin"));
        files::write(&source, size, &dataset)?;
        self.arm(kill)?;
        let publishing = self.provider.begin(&publish(&source, &dataset)?)?;
        let early = matches!(kill.moment, Moment::After(_)) && kill.victim == Victim::Provider;
        if early && self.dice.below(2) == 0 {
            self.strike(kill, None)?;
        }
        self.published_in_the_end(publishing, &source, &dataset)?;

        let pulling = self.consumer.begin(&pull(&dataset, &target)?)?;
        let pulling = self.strike(kill, Some(pulling))?;
        let mut outcome = match pulling {
            Some(pulling) => pulling.wait(COMMAND_LIMIT)?,
            None => self.consumer.run(&pull(&dataset, &target)?)?,
        };
        // A command gives up when its daemon was away at the wrong moment; the same command continues.
        for _ in 0..3 {
            self.revive()?;
            if outcome.code == Some(0) {
                break;
            }
            outcome = self.consumer.run(&pull(&dataset, &target)?)?;
        }
        let outcome = outcome.expect(0)?;
        ensure!(
            files::sha256(&target)? == files::sha256(&source)?,
            "the pull ended with other bytes: {}",
            outcome.stdout
        );
        self.kept.keep(&evidence_of(&target))?;
        std::fs::remove_file(&target)?;
        self.disarm(kill)
    }

    /// The publish command's own answer counts; without one it is asked again.
    fn published_in_the_end(&mut self, first: Running, source: &Path, dataset: &str) -> Result<()> {
        let mut outcome = first.wait(COMMAND_LIMIT)?;
        for _ in 0..5 {
            self.revive()?;
            if outcome.code == Some(0) {
                self.published.insert(dataset.to_owned());
                return Ok(());
            }
            outcome = self.provider.run(&publish(source, dataset)?)?;
        }
        outcome.expect(0)?;
        self.published.insert(dataset.to_owned());
        Ok(())
    }

    /// Starts the victim below strace where a call was chosen.
    fn arm(&mut self, kill: Kill) -> Result<()> {
        let Moment::AtCall { call, number } = kill.moment else { return Ok(()) };
        let site = self.site(kill.victim);
        site.stop()?;
        let words = tracer(site, call, "signal=KILL", number)?;
        if site.start_below(&words).is_err() {
            // It died while it started, which is a crash like any other.
            site.start()?;
            self.killed += 1;
        }
        Ok(())
    }

    /// Waits for the moment and kills; gives the command back if it still runs.
    fn strike(&mut self, kill: Kill, command: Option<Running>) -> Result<Option<Running>> {
        let Moment::After(pause) = kill.moment else { return Ok(command) };
        std::thread::sleep(pause);
        match (kill.victim, command) {
            (Victim::Command, Some(command)) => {
                command.kill()?;
                self.killed += 1;
                Ok(None)
            }
            (Victim::Command, None) => Ok(None),
            (victim, command) => {
                let site = self.site(victim);
                site.kill()?;
                site.start()?;
                self.killed += 1;
                Ok(command)
            }
        }
    }

    /// Starts whoever died at its call.
    fn revive(&mut self) -> Result<()> {
        for victim in [Victim::Provider, Victim::Consumer] {
            let site = self.site(victim);
            if site.daemon()?.is_over()? {
                let status = site.take_daemon()?.wait(Duration::ZERO)?;
                ensure!(!status.success(), "a daemon ended by itself: {status}");
                site.start()?;
                self.killed += 1;
            }
        }
        Ok(())
    }

    /// Nobody stays below strace.
    fn disarm(&mut self, kill: Kill) -> Result<()> {
        self.revive()?;
        if matches!(kill.moment, Moment::AtCall { .. }) {
            let site = self.site(kill.victim);
            site.kill()?;
            site.start()?;
        }
        Ok(())
    }

    fn site(&mut self, victim: Victim) -> &mut Site {
        match victim {
            Victim::Provider => &mut self.provider,
            Victim::Consumer | Victim::Command => &mut self.consumer,
        }
    }

    /// Everything acknowledged is still there, on both sides.
    fn look(&mut self) -> Result<()> {
        let published = listed(&self.provider, &["dataset", "list"], "datasets")?;
        missing("datasets", &self.published, &published)?;
        let agreed = listed(&self.consumer, &["agreement", "list"], "agreements")?;
        self.agreed.extend(agreed);
        for site in [&self.provider, &self.consumer] {
            let known = listed(site, &["agreement", "list"], "agreements")?;
            missing("agreements", &self.agreed, &known)
                .with_context(|| format!("at `{}`", site.name()))?;
        }
        Ok(())
    }

    /// Reads both journals from outside, while nobody writes them.
    fn audit(&mut self) -> Result<String> {
        let mut told = Vec::new();
        for victim in [Victim::Provider, Victim::Consumer] {
            let site = self.site(victim);
            let report = site.ask(&["audit", "verify"])?;
            let verified = report.pointer("/report/verified").or_else(|| report.get("verified"));
            ensure!(verified == Some(&Value::Bool(true)), "`audit verify`: {report}");
            site.stop()?;
            let copy = self.scene.file("journal-copy");
            let site = self.site(victim);
            let name = site.name().to_owned();
            let read =
                audit::read(site, &copy).with_context(|| format!("the journal of `{name}`"))?;
            site.start()?;
            if victim == Victim::Provider {
                self.kept.check(&read)?;
            }
            ensure!(
                read.conflicts == 0,
                "`{name}` recorded {} conflicts of checkpoints",
                read.conflicts
            );
            told.push(format!("{name}: {} records", read.records));
        }
        Ok(told.join(", "))
    }

    /// The last audit; what the run was.
    pub(crate) fn finish(mut self) -> Result<String> {
        let told = self.audit()?;
        let tracing = if self.may_trace {
            "random moments and chosen system calls"
        } else {
            "random moments only, for strace does not work here"
        };
        Ok(format!(
            "{} kills at {tracing}; {} publications, {} agreements and {} checkpoints held; {told}",
            self.killed,
            self.published.len(),
            self.agreed.len(),
            self.kept.len()
        ))
    }
}

fn publish(source: &Path, dataset: &str) -> Result<Vec<String>> {
    let source = source.to_str().context("a path is not UTF-8")?;
    let words = [
        "dataset", "publish", source, "--id", dataset, "--title", dataset, "--policy", "open",
        "--yes",
    ];
    Ok(words.map(str::to_owned).to_vec())
}

fn pull(dataset: &str, target: &Path) -> Result<Vec<String>> {
    let target = target.to_str().context("a path is not UTF-8")?;
    let words = ["pull", "b", dataset, "-o", target, "--force", "--wait", "30"];
    Ok(words.map(str::to_owned).to_vec())
}

fn evidence_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".prov");
    PathBuf::from(name)
}

/// The ids of a list. What is being rebuilt answers that it will be there soon.
fn listed(site: &Site, words: &[&str], member: &str) -> Result<BTreeSet<String>> {
    let answer = wait::until("the list is complete", Duration::from_secs(60), || {
        let outcome = site.run(words)?;
        if outcome.code == Some(75) { Ok(None) } else { outcome.expect(0)?.last().map(Some) }
    })?;
    let Some(items) = answer.get(member).and_then(Value::as_array) else {
        bail!("no `{member}` in {answer}");
    };
    let id = |item: &Value| item.get("id").and_then(Value::as_str).map(str::to_owned);
    Ok(items.iter().filter_map(id).collect())
}

fn missing(what: &str, acknowledged: &BTreeSet<String>, known: &BTreeSet<String>) -> Result<()> {
    let lost = acknowledged.difference(known).collect::<Vec<_>>();
    ensure!(lost.is_empty(), "acknowledged {what} are gone: {lost:?}");
    Ok(())
}

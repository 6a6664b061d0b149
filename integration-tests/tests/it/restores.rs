//! A provider's data are put back from a backup while a partner pulls, and its operator opens a new epoch (ADR 0014).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::command::{self, Running};
use integration_tests::files;
use integration_tests::process::sekisho;
use integration_tests::proxy::{Faults, Proxy};
use integration_tests::scene::Scene;
use integration_tests::site::{COMMAND_LIMIT, Site};
use integration_tests::wait::{self, PATIENCE};
use serde_json::Value;

use crate::evidence::{Witnessed as _, copy_directory, verified};
use crate::stage::{Pair, note, word};

const SIZE: u64 = 24 * 1024 * 1024;
/// A pull of the large file takes half a minute at this rate.
const SLOW: Faults = Faults {
    bytes_per_second: Some(768 * 1024),
    latency: Duration::ZERO,
    reset_after: None,
    refuse: false,
    blackhole: false,
};

/// A supplier behind a line that the test controls, with a large and a small file.
struct Disaster {
    supplier: Site,
    customer: Site,
    proxy: Proxy,
}

impl Disaster {
    fn new(scene: &Scene) -> Result<Self> {
        let (supplier, proxy) = scene.site_behind_a_line("b")?;
        let Pair { supplier, customer } = Pair::of(supplier, scene.site("a")?)?;
        let source = scene.file("source.bin");
        files::write(&source, SIZE, "source")?;
        supplier.publish(&source, "large", "open")?;
        supplier.publish(&note(scene, "small.txt", "small")?, "small", "open")?;
        Ok(Self { supplier, customer, proxy })
    }

    /// Pulls the small file; its evidence is the supplier's latest signature.
    fn trade(&self, scene: &Scene, name: &str) -> Result<()> {
        let target = scene.file(name);
        self.customer.run(&["pull", "b", "small", "-o", word(&target)?])?.expect(0)?;
        Ok(())
    }

    /// Begins to pull the large file.
    fn begin(&self, target: &Path) -> Result<Running> {
        self.customer.begin(&["pull", "b", "large", "-o", word(target)?, "--wait", "120"])
    }

    fn underway(&self) -> Result<()> {
        let enough = self.proxy.passed() + SIZE / 16;
        wait::until("a part of the file passed", PATIENCE, || {
            Ok((self.proxy.passed() >= enough).then_some(()))
        })
    }

    fn back_up(&mut self, scene: &Scene) -> Result<()> {
        self.supplier.kill()?;
        copy_directory(&self.supplier.path("data"), &scene.file("backup"))?;
        self.supplier.start()
    }

    /// Loses what happened since the backup, finds that out, and opens a new epoch.
    fn restore(&mut self, scene: &Scene) -> Result<()> {
        let held = self.customer.witness("b")?["size"].as_u64();
        wait::until("more is signed than the backup has", PATIENCE, || {
            self.trade(scene, "lost")?;
            Ok((self.customer.witness("b")?["size"].as_u64() > held).then_some(()))
        })?;
        self.supplier.kill()?;
        let data = self.supplier.path("data");
        std::fs::remove_dir_all(&data)?;
        copy_directory(&scene.file("backup"), &data)?;
        self.supplier.start()?;
        wait::until("it finds out", PATIENCE, || {
            let status = self.supplier.ask(&["status"])?;
            Ok(status["behind"].as_array().filter(|found| !found.is_empty()).map(|_| ()))
        })?;
        let opened = self.supplier.ask(&["audit", "new-epoch", "--reason", "the disk failed"])?;
        assert_eq!(opened["epoch"], 2);
        Ok(())
    }

    /// All that either side has is proven: their logs, and what was received, by the anchors alone.
    fn verify(&self, scene: &Scene, received: &[&str]) -> Result<()> {
        for site in [&self.supplier, &self.customer] {
            let report = site.ask(&["audit", "verify"])?;
            assert_eq!(verified(&report), Some(true), "{report}");
        }
        let pki = certs::pki::SitePki::load(&self.supplier.path("pki"), jiff::Timestamp::now())?;
        let anchors = note(scene, "anchors.pem", &pki.signing.anchor().to_pem())?;
        for name in received {
            let mut verify = Command::new(sekisho()?);
            verify.args(["--json", "provenance", "verify"]).arg(scene.file(name));
            verify.arg("--anchor").arg(&anchors);
            command::run(&mut verify, COMMAND_LIMIT)?.expect(0)?;
        }
        Ok(())
    }

    /// The states of the transfers of the large file, as a side shows them.
    fn states(site: &Site) -> Result<Vec<Value>> {
        let shown = site.ask(&["transfer", "list"])?;
        let transfers = shown["transfers"].as_array().context("transfers")?;
        let of_large = transfers.iter().filter(|transfer| transfer["dataset"] == "large");
        Ok(of_large.map(|transfer| transfer["state"].clone()).collect())
    }
}

#[test]
fn a_transfer_that_the_backup_knows_goes_on_after_a_new_epoch() -> Result<()> {
    Scene::play(|scene| {
        let mut disaster = Disaster::new(scene)?;
        disaster.trade(scene, "before")?;
        disaster.proxy.set(SLOW);
        let target = scene.file("got.bin");
        let running = disaster.begin(&target)?;
        disaster.underway()?;
        disaster.back_up(scene)?;
        disaster.underway()?;
        disaster.restore(scene)?;
        let since = disaster.proxy.passed();
        disaster.proxy.set(Faults::default());
        running.wait(COMMAND_LIMIT)?.expect(0)?;
        assert_eq!(files::sha256(&target)?, files::sha256(&scene.file("source.bin"))?);
        ensure!(disaster.proxy.passed() - since < SIZE, "it began from the start again");
        wait::until("both sides have completed it", PATIENCE, || {
            let states = [&disaster.supplier, &disaster.customer].map(Disaster::states);
            let [supplier, customer] = states;
            let are_over = |states: &[Value]| states == ["COMPLETED"];
            Ok((are_over(&supplier?) && are_over(&customer?)).then_some(()))
        })?;
        disaster.trade(scene, "after")?;
        disaster.verify(scene, &["got.bin", "before", "lost", "after"])
    })
}

#[test]
fn a_transfer_that_the_backup_does_not_know_ends_with_a_reason_after_a_new_epoch() -> Result<()> {
    Scene::play(|scene| {
        let mut disaster = Disaster::new(scene)?;
        disaster.trade(scene, "before")?;
        disaster.back_up(scene)?;
        disaster.proxy.set(SLOW);
        let target = scene.file("got.bin");
        let running = disaster.begin(&target)?;
        disaster.underway()?;
        disaster.restore(scene)?;
        disaster.proxy.set(Faults::default());
        let ended = running.wait(COMMAND_LIMIT)?;
        ensure!(!matches!(ended.code, Some(0 | 70) | None), "{:?} {}", ended.code, ended.stdout);
        let last = ended.last()?;
        let message = last["error"]["message"].as_str().unwrap_or_default();
        ensure!(!message.is_empty(), "no reason: {last}");
        assert!(!target.exists());
        // The side that knows of it has ended it; the other never heard of it.
        wait::until("it has ended", PATIENCE, || {
            let states = Disaster::states(&disaster.customer)?;
            let is_over = |state: &Value| *state == "TERMINATED" || *state == "COMPLETED";
            Ok((states.len() == 1 && states.iter().all(is_over)).then_some(()))
        })?;
        assert_eq!(Disaster::states(&disaster.supplier)?, Vec::<Value>::new());
        // The agreement was lost too: a new pull is under a new one.
        disaster.customer.run(&["pull", "b", "large", "-o", word(&target)?])?.expect(0)?;
        disaster.verify(scene, &["got.bin", "before", "lost"])
    })
}

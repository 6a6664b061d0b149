//! Evidence: what was changed is found and named, and nothing is lost with what is only derived.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use integration_tests::command::{self, Outcome};
use integration_tests::files;
use integration_tests::process::sekisho;
use integration_tests::scene::Scene;
use integration_tests::site::{COMMAND_LIMIT, Site};
use integration_tests::wait::{self, PATIENCE};
use serde_json::Value;

use crate::stage::{Pair, note, word};

/// A pulled file with its evidence, and the anchors of the provider as a third party has them.
struct Received {
    file: PathBuf,
    evidence: PathBuf,
    anchors: PathBuf,
}

impl Received {
    fn new(scene: &Scene, pair: &Pair) -> Result<Self> {
        let source = scene.file("source.bin");
        files::write(&source, 50_000, "source")?;
        pair.supplier.publish(&source, "one", "open")?;
        let file = scene.file("got.bin");
        pair.customer.ask(&["pull", "b", "one", "-o", word(&file)?])?;
        let pki = certs::pki::SitePki::load(&pair.supplier.path("pki"), jiff::Timestamp::now())?;
        let anchors = note(scene, "anchors.pem", &pki.signing.anchor().to_pem())?;
        Ok(Self { evidence: scene.file("got.bin.prov"), file, anchors })
    }

    fn verify(&self, file: &Path, evidence: &Path) -> Result<Outcome> {
        let mut verify = Command::new(sekisho()?);
        verify.args(["--json", "provenance", "verify"]).arg(file);
        verify.arg("--prov").arg(evidence).arg("--anchor").arg(&self.anchors);
        command::run(&mut verify, COMMAND_LIMIT)
    }

    /// The parts that are named when one member of the evidence is changed.
    fn blamed(&self, member: &str, change: impl FnOnce(&str) -> String) -> Result<Outcome> {
        let mut document: Value = serde_json::from_slice(&std::fs::read(&self.evidence)?)?;
        let place = document.get_mut(member).with_context(|| format!("no `{member}`"))?;
        let place = if place.is_array() { &mut place[0] } else { place };
        let text = place.as_str().with_context(|| format!("`{member}` is no text"))?.to_owned();
        *place = Value::String(change(&text));
        let changed = self.evidence.with_extension("changed");
        std::fs::write(&changed, format!("{}\n", serde_json::to_string_pretty(&document)?))?;
        self.verify(&self.file, &changed)?.expect(65)
    }
}

#[test]
fn a_changed_byte_of_any_part_is_found_and_named() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        let received = Received::new(scene, &pair)?;
        received.verify(&received.file, &received.evidence)?.expect(0)?;

        let changed = scene.file("changed.bin");
        std::fs::copy(&received.file, &changed)?;
        files::flip(&changed, 12_345)?;
        let refused = received.verify(&changed, &received.evidence)?.expect(65)?;
        assert_eq!(failed_parts(&refused)?, ["file"]);

        for (member, part) in [
            ("token", "token"),
            ("leaf", "log-entry"),
            ("proof", "log-proof"),
            ("checkpoint", "checkpoint"),
        ] {
            let refused = received.blamed(member, files::with_other_letter)?;
            let said = refused.stdout.clone();
            let named = failed_parts(&refused).unwrap_or_default();
            let named =
                named.iter().any(|named| named == part) || said.contains(&part.replace('-', " "));
            assert!(named, "{member}: {said}");
        }
        // Formatted anew, it is no longer what was written.
        let refused = received.blamed("index", |text| text.to_owned());
        assert!(refused.is_err());
        Ok(())
    })
}

fn failed_parts(outcome: &Outcome) -> Result<Vec<String>> {
    let report = outcome.lines()?.into_iter().next().context("no report")?;
    let checks = report.pointer("/report/checks").and_then(Value::as_array).context("no checks")?;
    let failed = checks.iter().filter(|check| check["outcome"] == "failed");
    Ok(failed.filter_map(|check| check["part"].as_str().map(str::to_owned)).collect())
}

#[test]
fn the_journal_verifies_and_a_changed_byte_in_it_is_refused_with_its_place() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let target = scene.file("got");
        customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        for site in [&supplier, &customer] {
            let report = site.ask(&["audit", "verify"])?;
            assert_eq!(verified(&report), Some(true), "{report}");
        }
        supplier.stop()?;
        let segment = first_segment(&supplier)?;
        // In the first quarter of what was written, so that good frames follow.
        let written = std::fs::read(&segment)?;
        let length = written.iter().rposition(|byte| *byte != 0).context("an empty segment")?;
        files::flip(&segment, u64::try_from(length / 4)?)?;
        let refused = supplier.run(&["serve"])?;
        assert_ne!(refused.code, Some(0));
        let name = segment.file_name().and_then(|name| name.to_str()).context("no name")?;
        assert!(refused.stdout.contains(name), "{}", refused.stdout);
        // Put right again, it starts with nothing lost.
        files::flip(&segment, u64::try_from(length / 4)?)?;
        supplier.start()?;
        assert_eq!(verified(&supplier.ask(&["audit", "verify"])?), Some(true));
        Ok(())
    })
}

#[test]
fn partners_hold_each_others_checkpoints_and_restarts_stay_consistent() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, mut customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        for round in 0..3 {
            let target = scene.file(&format!("got-{round}"));
            customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
            witnessed(&supplier, "a", round)?;
            witnessed(&customer, "b", round)?;
            supplier.kill()?;
            customer.restart()?;
            supplier.start()?;
        }
        for (site, partner) in [(&supplier, "a"), (&customer, "b")] {
            assert!(site.records(partner, "checkpoint-conflict")?.is_empty());
            assert_eq!(verified(&site.ask(&["audit", "verify"])?), Some(true));
        }
        Ok(())
    })
}

/// Waits until more than `count` checkpoints of a partner are held.
fn witnessed(site: &Site, partner: &str, count: usize) -> Result<()> {
    wait::until("a checkpoint is held", PATIENCE, || {
        let in_relation = site.records(partner, "checkpoint-witnessed")?.len();
        let in_site = site.records("site", "checkpoint-witnessed")?.len();
        Ok((in_relation + in_site > count).then_some(()))
    })
}

#[test]
fn the_index_can_be_deleted_or_damaged_without_loss() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        let source = note(scene, "one.txt", "one")?;
        for number in 0..20 {
            supplier.publish(&source, &format!("set-{number:02}"), "open")?;
        }
        let target = scene.file("got");
        customer.ask(&["pull", "b", "set-07", "-o", word(&target)?])?;
        let before = facts(&supplier)?;
        let index = supplier.path("data/index");

        supplier.stop()?;
        std::fs::remove_dir_all(&index)?;
        supplier.start()?;
        assert_eq!(facts(&supplier)?, before, "after deletion");

        supplier.kill()?;
        for entry in std::fs::read_dir(&index)? {
            let path = entry?.path();
            if path.is_file() {
                let length = std::fs::metadata(&path)?.len();
                std::fs::write(&path, vec![0x5A; usize::try_from(length)?])?;
            }
        }
        supplier.start()?;
        assert_eq!(facts(&supplier)?, before, "after damage");

        supplier.stop()?;
        supplier.ask(&["rebuild"])?;
        supplier.start()?;
        assert_eq!(facts(&supplier)?, before, "after a rebuild");
        assert_eq!(verified(&supplier.ask(&["audit", "verify"])?), Some(true));
        let again = scene.file("again");
        customer.ask(&["pull", "b", "set-19", "-o", word(&again)?])?;
        Ok(())
    })
}

/// What the site knows: its datasets as they are, and which agreements and transfers there are. (A transfer's state may
/// change meanwhile, as its last message is delivered.)
fn facts(site: &Site) -> Result<Vec<Value>> {
    let lists = [["dataset", "list"], ["agreement", "list"], ["transfer", "list"]];
    // What is being rebuilt answers `not now`.
    wait::until("the index is there", PATIENCE, || {
        let mut facts = Vec::new();
        for list in lists {
            let outcome = site.run(&list)?;
            if outcome.code == Some(75) {
                return Ok(None);
            }
            let mut answer = outcome.expect(0)?.last()?;
            for member in ["agreements", "transfers"] {
                let items = answer.get_mut(member).and_then(Value::as_array_mut);
                for item in items.into_iter().flatten() {
                    *item = item.get("id").cloned().unwrap_or_default();
                }
            }
            facts.push(answer);
        }
        Ok(Some(facts))
    })
}

pub(crate) fn verified(report: &Value) -> Option<bool> {
    report.pointer("/report/verified").or_else(|| report.get("verified")).and_then(Value::as_bool)
}

/// The first segment file of a site's journal.
fn first_segment(site: &Site) -> Result<PathBuf> {
    let entries = std::fs::read_dir(site.path("data/journal"))?;
    let mut segments = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 4096)
        })
        .collect::<Vec<_>>();
    segments.sort();
    segments.into_iter().next().context("the journal has no segment")
}

/// A site's data directory put back from an old copy: what it signed since is with its partner only.
struct Restored {
    pair: Pair,
    /// The note that the customer holds of the part that is lost.
    held: String,
}

impl Restored {
    /// Trades, copies the supplier's data, trades on, and puts the copy back.
    fn new(scene: &Scene) -> Result<Self> {
        let mut pair = Pair::new(scene)?;
        pair.supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        pair.pull(scene, "before")?.expect(0)?;
        pair.customer_holds_latest()?;
        pair.supplier.stop()?;
        let (data, copy) = (pair.supplier.path("data"), scene.file("backup"));
        copy_directory(&data, &copy)?;
        pair.supplier.start()?;
        pair.pull(scene, "lost")?.expect(0)?;
        pair.customer_holds_latest()?;
        let held = pair.customer.witness("b")?;
        pair.supplier.stop()?;
        std::fs::remove_dir_all(&data)?;
        copy_directory(&copy, &data)?;
        pair.supplier.start()?;
        let held = held["size"].to_string();
        Ok(Self { pair, held })
    }
}

impl Pair {
    fn pull(&self, scene: &Scene, name: &str) -> Result<Outcome> {
        let target = scene.file(name);
        self.customer.run(&["pull", "b", "one", "-o", word(&target)?])
    }

    /// Waits until the customer holds the latest checkpoint that the supplier signed.
    fn customer_holds_latest(&self) -> Result<()> {
        wait::until("the customer holds the latest checkpoint", PATIENCE, || {
            let shown = self.supplier.ask(&["partner", "show", "a"])?;
            let signed = &shown["log"]["checkpoint"]["root"];
            let size = &shown["log"]["size"];
            let is_latest = shown["log"]["checkpoint"]["size"] == *size;
            Ok((is_latest && self.customer.witness("b")?["root"] == *signed).then_some(()))
        })
    }
}

/// What a site says of a partner's checkpoints.
pub(crate) trait Witnessed {
    fn witness(&self, partner: &str) -> Result<Value>;
}

impl Witnessed for Site {
    fn witness(&self, partner: &str) -> Result<Value> {
        let shown = self.ask(&["partner", "show", partner])?;
        Ok(shown["log"]["their_checkpoint"].clone())
    }
}

pub(crate) fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[test]
fn a_site_restored_from_an_old_backup_signs_nothing_before_a_new_epoch_is_opened() -> Result<()> {
    Scene::play(|scene| {
        let Restored { pair, held } = Restored::new(scene)?;
        // It finds out by itself, before anybody trades.
        let behind = wait::until("it finds out", PATIENCE, || {
            let status = pair.supplier.ask(&["status"])?;
            Ok(status["behind"].as_array().filter(|found| !found.is_empty()).cloned())
        })?;
        assert_eq!(behind[0]["partner"], "a");
        assert_eq!(behind[0]["signed_size"].to_string(), held);
        let help = behind[0]["help"].as_str().context("no help")?;
        assert!(help.contains("audit new-epoch"), "{help}");
        let report = pair.supplier.run(&["audit", "verify"])?.expect(65)?;
        assert!(report.stdout.contains("does not continue"), "{}", report.stdout);
        let signed = pair.supplier.ask(&["partner", "show", "a"])?["log"]["checkpoint"].clone();

        // A pull ends with a clear answer: nothing is received that cannot be proven.
        let refused = pair.pull(scene, "unproven")?.expect(65)?;
        assert!(refused.stdout.contains("gives no evidence"), "{}", refused.stdout);
        assert!(!scene.file("unproven").exists());
        let reference = refused.lines()?.iter().find_map(|line| {
            line.pointer("/error/reference").and_then(Value::as_str).map(str::to_owned)
        });
        let reference = reference.with_context(|| format!("no reference: {}", refused.stdout))?;
        let found = pair.supplier.ask(&["audit", "show", "--reference", &reference])?;
        assert!(found.to_string().contains("its log of size"), "{found}");
        let now = pair.supplier.ask(&["partner", "show", "a"])?["log"]["checkpoint"].clone();
        assert_eq!(now, signed, "nothing is signed meanwhile");

        let opened = pair.supplier.ask(&["audit", "new-epoch", "--reason", "the disk failed"])?;
        assert_eq!(opened["epoch"], 2);
        assert_eq!(opened["relations"][0]["was_behind"], true);
        let target = scene.file("after");
        let received = pair.pull(scene, "after")?.expect(0)?;
        assert!(target.exists(), "{}", received.stdout);
        let status = pair.supplier.ask(&["status"])?;
        assert_eq!((&status["epoch"], &status["behind"]), (&2.into(), &Value::Array(Vec::new())));
        Ok(())
    })
}

#[test]
fn after_a_new_epoch_everything_verifies_and_the_partner_keeps_both() -> Result<()> {
    Scene::play(|scene| {
        let Restored { mut pair, held } = Restored::new(scene)?;
        wait::until("it finds out", PATIENCE, || {
            let status = pair.supplier.ask(&["status"])?;
            Ok(status["behind"].as_array().filter(|found| !found.is_empty()).map(|_| ()))
        })?;
        let old = pair.customer.witness("b")?;
        assert_eq!((old["size"].to_string(), &old["epoch"]), (held, &1.into()));
        pair.supplier.ask(&["audit", "new-epoch", "--reason", "the disk failed"])?;
        pair.pull(scene, "after")?.expect(0)?;
        pair.customer_holds_latest()?;

        let kept = pair.customer.witness("b")?;
        assert_eq!((&kept["epoch"], &kept["conflict"]), (&2.into(), &false.into()));
        let earlier = &kept["earlier_epochs"][0];
        assert_eq!((&earlier["epoch"], &earlier["named"]), (&1.into(), &true.into()), "{kept}");
        let note = earlier["note"].as_str().context("no note")?;
        let first = &pair.supplier.records("a", "epoch-opened")?[0];
        assert_eq!(first["index"], 0);
        assert_eq!(first["account"]["facts"]["shownCheckpoint"], note);
        assert_eq!(first["account"]["reason"], "the disk failed");
        let told = &pair.customer.records("b", "epoch-witnessed")?[0]["account"]["facts"];
        assert_eq!(told["held"], note);

        // Files of all times verify offline, by the anchors alone.
        let pki = certs::pki::SitePki::load(&pair.supplier.path("pki"), jiff::Timestamp::now())?;
        let anchors = self::note(scene, "anchors.pem", &pki.signing.anchor().to_pem())?;
        for name in ["before", "lost", "after"] {
            let mut verify = Command::new(sekisho()?);
            verify.args(["--json", "provenance", "verify"]).arg(scene.file(name));
            verify.arg("--anchor").arg(&anchors);
            command::run(&mut verify, COMMAND_LIMIT)?.expect(0)?;
        }
        for round in 0..2 {
            for site in [&pair.supplier, &pair.customer] {
                let report = site.ask(&["audit", "verify"])?;
                assert_eq!(verified(&report), Some(true), "round {round}: {report}");
            }
            // The second round is after a rebuild of all that is derived.
            pair.supplier.stop()?;
            pair.supplier.ask(&["rebuild"])?;
            pair.supplier.start()?;
        }
        pair.pull(scene, "again")?.expect(0)?;
        Ok(())
    })
}

#[test]
fn a_restart_shows_what_the_partner_has_not_seen_yet() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, mut customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let target = scene.file("got");
        customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        customer.stop()?;
        // Written while the customer is away: it can only be shown later.
        for verb in ["suspend", "resume"] {
            supplier.ask(&["partner", verb, "a", "--reason", "a test"])?;
        }
        supplier.stop()?;
        customer.start()?;
        let before = customer.witness("b")?["size"].as_u64();
        supplier.start()?;
        let after = wait::until("it is shown", PATIENCE, || {
            let size = customer.witness("b")?["size"].as_u64();
            Ok((size > before).then_some(size))
        })?;
        let log = supplier.ask(&["partner", "show", "a"])?["log"].clone();
        assert_eq!(log["checkpoint"]["size"].as_u64(), after);
        Ok(())
    })
}

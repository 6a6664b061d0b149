//! A device that fails: a call on a file of the journal returns an error once.
//!
//! A failed write is refused with its place and cut back, and the node goes on. After a failed sync nobody knows what the
//! device holds, so the daemon ends; what was acknowledged before is there after the next start.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::files;
use integration_tests::narration::line;
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};
use serde_json::Value;

use crate::kill::{can_trace, tracer};

/// What becomes of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It refuses one command and goes on.
    GoesOn,
    /// It ends by itself.
    Ends,
}

/// One failing call.
struct Fault {
    call: &'static str,
    error: &'static str,
    fate: Fate,
}

const FAULTS: [Fault; 4] = [
    Fault { call: "pwrite64", error: "EIO", fate: Fate::GoesOn },
    Fault { call: "pwrite64", error: "ENOSPC", fate: Fate::GoesOn },
    Fault { call: "fdatasync", error: "EIO", fate: Fate::Ends },
    Fault { call: "fdatasync", error: "ENOSPC", fate: Fate::Ends },
];
/// The calls of the start come first.
const AT_CALLS: [u32; 2] = [5, 9];
/// More publications than calls are needed.
const PUBLICATIONS: u32 = 40;
const POLICY: &str = "title = \"Open\"\ndescription = \"Partners may use the data.\"\n\
    [who]\ngroups = [\"partners\"]\n[[permit]]\nactions = [\"use\"]\n";

/// Runs all; how many passed and failed.
pub(crate) fn run() -> (u32, u32) {
    if !can_trace() {
        line("strace does not work here: the errors of a device were not tried");
        return (0, 1);
    }
    let (mut passed, mut failed) = (0, 0);
    for fault in &FAULTS {
        for number in AT_CALLS {
            let title = format!("{} fails with {} at call {number}", fault.call, fault.error);
            match play(fault, number) {
                Ok(told) => {
                    passed += 1;
                    line(format!("{title}: {told}"));
                }
                Err(error) => {
                    failed += 1;
                    line(format!("{title} FAILED: {error:#}"));
                }
            }
        }
    }
    (passed, failed)
}

fn play(fault: &Fault, number: u32) -> Result<String> {
    let scene = Scene::new()?;
    let mut site = scene.site("b")?;
    let mut partner = scene.site("a")?;
    befriend(&site, &partner)?;
    partner.stop()?;
    site.activate(&[("open", POLICY)])?;
    let source = scene.file("source.bin");
    files::write(&source, 4_096, "source")?;
    site.stop()?;
    site.start_below(&tracer(&site, fault.call, &format!("error={}", fault.error), number)?)?;
    let (acknowledged, refusal) = publish_until_refused(&site, &source)?;

    let ended = site.daemon()?.is_over()? || fault.fate == Fate::Ends && ends(&mut site)?;
    ensure!(
        ended == (fault.fate == Fate::Ends),
        "the daemon {}: {refusal}",
        if ended { "ended" } else { "went on" }
    );
    if ended {
        drop(site.take_daemon()?);
        site.start()?;
    } else {
        ensure!(refusal.contains("journal") || refusal.contains("data"), "no place: {refusal}");
        publish(&site, &source, "after", 0)?;
        site.restart()?;
    }
    let known = site.ask(&["dataset", "list"])?.to_string();
    for id in &acknowledged {
        ensure!(known.contains(id.as_str()), "`{id}` was acknowledged and is gone");
    }
    publish(&site, &source, "at-last", 0)?;
    let report = site.ask(&["audit", "verify"])?;
    let verified = report.pointer("/report/verified").or_else(|| report.get("verified"));
    ensure!(verified == Some(&Value::Bool(true)), "`audit verify`: {report}");
    let fate = if ended { "the daemon ended" } else { "refused, and went on" };
    Ok(format!("{fate}; {} publications acknowledged before are there", acknowledged.len()))
}

/// Publishes one dataset after another until one is refused: the ids acknowledged, and the refusal.
fn publish_until_refused(site: &Site, source: &Path) -> Result<(Vec<String>, String)> {
    let mut acknowledged = Vec::new();
    for number in 0..PUBLICATIONS {
        let id = format!("file-{number}");
        let outcome = site.run(&words(source, &id)?)?;
        if outcome.code == Some(0) {
            acknowledged.push(id);
            continue;
        }
        let message = outcome.text("/error/message").unwrap_or_else(|_| outcome.stdout.clone());
        return Ok((acknowledged, message));
    }
    bail!("{PUBLICATIONS} publications went well: the call did not fail");
}

/// Whether the daemon ends by itself.
fn ends(site: &mut Site) -> Result<bool> {
    let status = site.daemon()?.wait(Duration::from_secs(20));
    Ok(status.is_ok_and(|status| !status.success()))
}

fn publish(site: &Site, source: &Path, id: &str, code: i32) -> Result<()> {
    site.run(&words(source, id)?)?.expect(code).context("publishing")?;
    Ok(())
}

fn words<'a>(source: &'a Path, id: &'a str) -> Result<[&'a str; 10]> {
    let source = source.to_str().context("a path is not UTF-8")?;
    Ok(["dataset", "publish", source, "--id", id, "--title", id, "--policy", "open", "--yes"])
}

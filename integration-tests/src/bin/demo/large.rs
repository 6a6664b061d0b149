//! A large file: through kills of each side, and cut in the middle.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration_tests::files;
use integration_tests::narration::{bytes, line};
use integration_tests::site::COMMAND_LIMIT;
use integration_tests::wait;

use crate::REPORTING;
use crate::cast::Cast;
use crate::tell::{chapter, shows};

const SIZE: u64 = 1 << 30;
/// What the file, B社's copy, A社's and the result need together, with some room.
const ROOM: u64 = 5 * SIZE;
const ID: &str = "measurements-part-b";

/// 1 GiB is pulled while each side is killed once.
pub(crate) fn survives_kills(cast: &mut Cast) -> Result<()> {
    chapter("A file of 1 GiB goes through, with a kill of each side in the middle");
    let source = make(cast)?;
    let before = files::sha256(&source)?;
    let target = cast.scene.file("measurements.bin");
    let started = Instant::now();
    let pulling = cast.customer.begin(&cast.words(ID, &target, REPORTING)?)?;
    let origin = cast.proxy.passed();
    passed(cast, origin, SIZE / 4)?;
    cast.supplier.kill()?;
    line(format!("  B社's node is killed (kill -9) after {}", bytes(cast.proxy.passed() - origin)));
    cast.supplier.start()?;
    passed(cast, origin, SIZE / 2)?;
    cast.customer.kill()?;
    line(format!("  A社's node is killed (kill -9) after {}", bytes(cast.proxy.passed() - origin)));
    cast.customer.start()?;
    let outcome = pulling.wait(COMMAND_LIMIT)?;
    if outcome.code != Some(0) {
        line(format!("  the command gave up ({:?}); the same command continues", outcome.code));
        cast.pull(&cast.customer, ID, &target, REPORTING)?.expect(0)?;
    }
    let total = cast.proxy.passed() - origin;
    let said = format!(
        "received all of it after {:.1?}; {} went over the line",
        started.elapsed(),
        bytes(total)
    );
    shows("A社", &said, files::sha256(&target)? == before)?;
    shows("A社", "did not begin anew after either kill", total < SIZE + SIZE / 4)?;
    let verified = cast.verify_offline(&target)?;
    shows("anyone", "verifies it offline", verified.code == Some(0))?;
    let granted = cast.supplier.records("a-sha", "transfer-granted")?;
    shows("B社", "recorded it as one use, however often it was interrupted", granted.len() == 3)?;
    std::fs::remove_file(target)?;
    Ok(())
}

/// The same file, and A社 is suspended in the middle.
pub(crate) fn is_cut_by_suspension(cast: &mut Cast) -> Result<()> {
    chapter("B社 suspends A社 in the middle of a transfer");
    let target = cast.scene.file("cut.bin");
    let pulling = cast.customer.begin(&cast.words(ID, &target, REPORTING)?)?;
    let origin = cast.proxy.passed();
    passed(cast, origin, SIZE / 4)?;
    cast.supplier.ask(&["partner", "suspend", "a-sha", "--reason", "incident 42"])?;
    let at_cut = cast.proxy.passed();
    let cuts = cast.supplier.records("a-sha", "transfer-cut")?;
    let cut = cuts.first().and_then(|record| record.get("time")?.as_str());
    shows(
        "B社",
        &format!("has the cut on record, at {}", cut.unwrap_or("no time")),
        cut.is_some(),
    )?;
    let outcome = pulling.wait(COMMAND_LIMIT)?;
    let after = cast.proxy.passed() - at_cut;
    shows("A社", &format!("received no more than {} after that", bytes(after)), after < SIZE / 16)?;
    let said =
        format!("has no file; its command ended with code {:?}:", outcome.code.unwrap_or(-1));
    shows("A社", &said, outcome.code != Some(0) && !target.exists())?;
    line(format!("            {}", outcome.text("/error/message").unwrap_or_default()));
    cast.supplier.ask(&["partner", "resume", "a-sha", "--reason", "solved"])?;
    let taken =
        cast.pull(&cast.customer, "cfp-part-b", &cast.scene.file("again.json"), REPORTING)?;
    shows("A社", "may pull again once it is resumed", taken.code == Some(0))
}

fn make(cast: &Cast) -> Result<PathBuf> {
    let free = rustix::fs::statvfs(cast.scene.path()).context("the free space is not known")?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    ensure!(
        free > ROOM,
        "`{}` has {} free and this needs {}: set TMPDIR to a place with more",
        cast.scene.path().display(),
        bytes(free),
        bytes(ROOM)
    );
    let source = cast.scene.file("measurements-source.bin");
    files::write(&source, SIZE, "measurements of part B")?;
    let path = source.to_str().context("a path is not UTF-8")?;
    let words = [
        "dataset",
        "publish",
        path,
        "--id",
        ID,
        "--title",
        "部品B: measurements",
        "--policy",
        "oem",
    ];
    let words = [&words[..], &["--in-place", "--yes"]].concat();
    cast.supplier.ask(&words)?;
    shows(
        "B社",
        "published 1 GiB in place: each block is verified in the buffer that is sent",
        true,
    )?;
    Ok(source)
}

fn passed(cast: &Cast, origin: u64, count: u64) -> Result<()> {
    wait::until("a part of the file passed", Duration::from_secs(60), || {
        Ok((cast.proxy.passed() - origin >= count).then_some(()))
    })
}

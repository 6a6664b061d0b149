//! A full disk: what needs room is refused with place and remedy, and what must be recorded still is.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Method;
use integration_tests::connector::Connector;
use integration_tests::files;
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};
use serde_json::Value;

const SIZE: u64 = 48 * 1024 * 1024;
const POLICY: &str = "title = \"Open\"\ndescription = \"Partners may use the data.\"\n\
    [who]\ngroups = [\"partners\"]\n[[permit]]\nactions = [\"use\"]\n";

/// Runs a provider whose data are in `directory`, a small file system of its own, and fills that.
pub(crate) fn run(directory: &Path) -> Result<String> {
    let scene = Scene::new()?;
    let data = directory.to_str().context("a path is not UTF-8")?;
    let mut provider = scene
        .plan("b")
        .setting("site", "data_directory", data)
        .setting("journal", "segment_bytes", "8388608")
        .make()?;
    provider.start()?;
    let mut customer = scene.site("a")?;
    befriend(&provider, &customer)?;
    provider.activate(&[("open", POLICY)])?;
    let source = scene.file("source.bin");
    files::write(&source, SIZE, "source")?;
    provider.publish(&source, "one", "open")?;
    customer.stop()?;
    let connector = Connector::play(&customer, &provider)?;
    let transfer = connector.transfer(&connector.negotiate("one", None)?)?;
    let headers = [("authorization", transfer.address.authorization.as_str())];
    let mut opened =
        connector.peer.open(Method::GET, &transfer.address.path, &headers, Bytes::new())?;
    opened.chunk()?.context("the stream is empty")?;

    let filler = directory.join("filler");
    fill(&filler)?;
    let refused = refused_publish(&provider, &source)?;
    provider.ask(&["partner", "suspend", "a", "--reason", "on a full disk"])?;
    let (after, whole) = opened.drain();
    ensure!(!whole, "the transfer went on to its end ({after} bytes) on a full disk");
    let cuts = provider.records("a", "transfer-cut")?.len();
    ensure!(cuts == 1, "{cuts} cuts were recorded on the full disk instead of one");

    std::fs::remove_file(&filler)?;
    provider.publish(&source, "two", "open")?;
    provider.restart()?;
    let report = provider.ask(&["audit", "verify"])?;
    let verified = report.pointer("/report/verified").or_else(|| report.get("verified"));
    ensure!(verified == Some(&Value::Bool(true)), "`audit verify`: {report}");
    Ok(format!(
        "full disk: publishing was refused (\"{refused}\"), the cut was recorded, nothing was lost"
    ))
}

/// Publishing is refused, with the place and what to do.
fn refused_publish(provider: &Site, source: &Path) -> Result<String> {
    let source = source.to_str().context("a path is not UTF-8")?;
    let words = [
        "dataset", "publish", source, "--id", "two", "--title", "Two", "--policy", "open", "--yes",
    ];
    let outcome = provider.run(&words)?;
    ensure!(
        matches!(outcome.code, Some(73 | 75)),
        "publishing on a full disk ended with {:?}: {}",
        outcome.code,
        outcome.stdout
    );
    let message = outcome.text("/error/message")?;
    ensure!(message.contains("full at `/"), "no place is named: {message}");
    ensure!(message.contains("free space"), "no remedy is named: {message}");
    Ok(message)
}

/// Writes until nothing more goes in.
fn fill(path: &Path) -> Result<()> {
    const MOST: u64 = 8 * 1024 * 1024 * 1024;
    let mut file = File::create(path)?;
    let mut size = 1024 * 1024;
    let mut written = 0_u64;
    let zeros = vec![0; size];
    while size > 0 && written < MOST {
        match file.write(zeros.get(..size).unwrap_or_default()) {
            Ok(count) => written += u64::try_from(count)?,
            Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(written < MOST, "`{}` is no small file system", path.display());
    Ok(())
}

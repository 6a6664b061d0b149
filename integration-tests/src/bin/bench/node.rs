//! The daemon: start, memory, negotiations.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};
use integration_tests::wait;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Extent;
use crate::figures::{Figures, mebibytes, milliseconds, percentile};

const AT_ONCE: usize = 8;

pub(crate) const OPEN: &str = "title = \"Open\"\ndescription = \"Partners may use the data.\"\n\
    [who]\ngroups = [\"partners\"]\n[[permit]]\nactions = [\"use\"]\n";

/// A provider and a consumer that serve, partners of each other, with the policy [`OPEN`] at the provider.
pub(crate) fn pair(scene: &Scene) -> Result<(Site, Site)> {
    let (provider, consumer) = (scene.site("b")?, scene.site("a")?);
    befriend(&provider, &consumer)?;
    provider.activate(&[("open", OPEN)])?;
    Ok((provider, consumer))
}

/// Start to ready and idle memory, with an empty catalog and a full one.
pub(crate) fn starts(figures: &mut Figures, extent: Extent) -> Result<()> {
    let scene = Scene::new()?;
    let (mut provider, _consumer) = pair(&scene)?;
    let ready = ready_after(&mut provider, extent.starts)?;
    figures.add("start to ready, empty", ready, "ms");
    figures.add("idle memory, empty", idle(&mut provider)?, "MiB");
    publish_many(&provider, &scene.file("one.txt"), extent.datasets)?;
    let count = extent.datasets;
    let name = format!("memory after publishing {count} datasets");
    figures.add(name, idle(&mut provider)?, "MiB");
    let ready = ready_after(&mut provider, extent.starts)?;
    figures.add(format!("start to ready, {count} datasets"), ready, "ms");
    let name = format!("idle memory, {count} datasets");
    figures.add(name, idle(&mut provider)?, "MiB");
    Ok(())
}

/// The median of several starts, in milliseconds.
pub(crate) fn ready_after(site: &mut Site, starts: usize) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..starts {
        site.restart()?;
        times.push(milliseconds(site.daemon()?.ready_after()));
    }
    Ok(percentile(&mut times, 0.5))
}

/// Resident memory once it no longer changes, in mebibytes.
fn idle(site: &mut Site) -> Result<f64> {
    let daemon = site.daemon()?;
    steady(64 * 1024, || daemon.resident_bytes())
}

/// The same of anything: until it changes by less than so many bytes.
pub(crate) fn steady(within: u64, resident: impl Fn() -> Result<u64>) -> Result<f64> {
    let mut last = 0;
    wait::until("the memory is steady", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(500));
        let now = resident()?;
        let steady = now.abs_diff(last) < within;
        last = now;
        Ok(steady.then_some(()))
    })?;
    Ok(mebibytes(last))
}

/// Publishes one file under many ids, as a program would: through the management socket.
pub(crate) fn publish_many(site: &Site, file: &Path, count: usize) -> Result<()> {
    std::fs::write(file, "one")?;
    let (socket, file) = (site.path("sekisho.sock"), file.to_str().context("no UTF-8")?);
    let publish = |number: usize| {
        let request = json!({
            "path": file, "id": format!("set-{number:05}"), "title": "One of many",
            "policies": ["open"], "tags": [], "in_place": false,
        });
        let answer = post(&socket, "/v1/datasets", &request.to_string())?;
        ensure!(answer.contains("\"dataset\""), "it was not published: {answer}");
        Ok(())
    };
    std::thread::scope(|scope| {
        let publisher =
            |first| scope.spawn(move || (first..count).step_by(AT_ONCE).try_for_each(publish));
        let publishers = (0..AT_ONCE).map(publisher).collect::<Vec<_>>();
        publishers.into_iter().try_for_each(|publisher| {
            publisher.join().map_err(|_| anyhow::anyhow!("a publisher panicked"))?
        })
    })
}

/// Posts JSON to the management socket and takes the whole answer.
fn post(socket: &Path, path: &str, body: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: sekisho\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whole negotiations between two daemons: from the commit of the request to that of the finalization, in the consumer's
/// journal. Five messages over mutual TLS, and every state durable before it is told.
pub(crate) fn negotiations(figures: &mut Figures, extent: Extent) -> Result<()> {
    let scene = Scene::new()?;
    let (provider, consumer) = pair(&scene)?;
    publish_many(&provider, &scene.file("one.txt"), extent.negotiations)?;
    let target = scene.file("got.txt");
    let target = target.to_str().context("a path is not UTF-8")?;
    for number in 0..extent.negotiations {
        consumer.ask(&["pull", "b", &format!("set-{number:05}"), "-o", target, "--force"])?;
    }
    let requested = times(&consumer, "negotiation-requested", extent.negotiations)?;
    let finalized = times(&consumer, "negotiation-finalized", extent.negotiations)?;
    let mut took = requested
        .iter()
        .zip(&finalized)
        .map(|(from, to)| to.duration_since(*from).as_secs_f64() * 1000.0)
        .collect::<Vec<_>>();
    let median = percentile(&mut took, 0.5);
    figures.add("negotiation, median", median, "ms");
    figures.add("negotiation, 99th percentile", percentile(&mut took, 0.99), "ms");
    Ok(())
}

/// When records of a kind were made, in order.
fn times(site: &Site, kind: &str, count: usize) -> Result<Vec<Timestamp>> {
    let records = site.records("b", kind)?;
    ensure!(records.len() == count, "{} records of {kind} instead of {count}", records.len());
    let time = |record: &Value| {
        let time = record.get("time").and_then(Value::as_str).context("a record without time")?;
        anyhow::Ok(time.parse::<Timestamp>()?)
    };
    let mut times = records.iter().map(time).collect::<Result<Vec<_>>>()?;
    times.sort();
    Ok(times)
}

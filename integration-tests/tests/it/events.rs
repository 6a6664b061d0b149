//! The event stream as readers use it that are slow, or do not read at all.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::connector::urn;
use integration_tests::management::Management;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// How many read nothing.
const READERS: usize = 40;
/// How many things happen.
const HAPPENINGS: usize = 400;
/// How long what is said of each is.
const REASON: usize = 10_000;
/// What a node may need more in memory, at its peak, for all readers together.
const MEMORY: u64 = 64 * 1024 * 1024;
/// How long a reader may wait for the next byte.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks for the events of a site, over its Unix socket; the head of the answer is read, and nothing of its body.
fn reader(site: &Site, target: &str, last: Option<&str>) -> Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(site.path("sekisho.sock"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
    // Of HTTP/1.0: the body has no frames of its own and ends with the connection.
    write!(stream, "GET {target} HTTP/1.0\r\nhost: sekisho\r\n{last}\r\n")?;
    // No more is read ahead than a line needs, or else the test itself would take what the node has to keep.
    let mut reader = BufReader::with_capacity(64, stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    ensure!(line.contains("200"), "{line}");
    while line != "\r\n" {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "the answer has no end of its head");
    }
    Ok(reader)
}

/// The next event that says something; nothing at the end.
fn next(reader: &mut BufReader<UnixStream>) -> Result<Option<Value>> {
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return Ok(Some(serde_json::from_str(data)?));
        }
    }
}

fn position(event: &Value) -> Result<String> {
    Ok(event["position"].as_str().context("a position")?.to_owned())
}

#[test]
fn readers_that_do_not_read_cost_little_memory_and_miss_nothing() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene
            .plan("a")
            .setting("processes", "max_open_negotiations_per_partner_count", "1000")
            .setting("outbound", "max_waiting_messages_per_partner_count", "1000");
        let mut site = plan.make()?;
        site.start()?;
        // The partner is away: what is requested of it stays owed, and happens here all the same.
        let mut away = scene.site("b")?;
        site.register(&away, &["partners"])?;
        away.stop()?;
        let management = Management::of(&site);
        let runtime = Runtime::new()?;
        let reason = "x".repeat(REASON);
        for _ in 0..HAPPENINGS {
            let begun = json!({
                "partner": "b",
                "role": "consumer",
                "dataset": "one",
                "offer": urn(),
                "terms": { "permission": [{ "action": "use" }] },
                "reason": reason,
            });
            runtime.block_on(management.post("/v1/negotiations", &begun))?;
        }
        let before = site.daemon()?.peak_bytes()?;
        let mut idle = (0..READERS)
            .map(|_| reader(&site, "/v1/events?from=start", None))
            .collect::<Result<Vec<_>>>()?;
        // Another reads all of it meanwhile, as fast as it comes.
        let mut told = Vec::new();
        let mut quick = reader(&site, "/v1/events?from=start&follow=false", None)?;
        while let Some(event) = next(&mut quick)? {
            told.push(position(&event)?);
        }
        assert!(told.len() >= HAPPENINGS, "{} events", told.len());
        let kept = u64::try_from(READERS * HAPPENINGS * REASON)?;
        assert!(kept > 2 * MEMORY, "the test could not fail");

        // One wakes up, reads a part, goes away, and goes on where it was.
        let mut late = idle.pop().context("a reader")?;
        let mut heard = Vec::new();
        while heard.len() < told.len() / 2 {
            heard.push(position(&next(&mut late)?.context("the stream ended")?)?);
        }
        drop(late);
        let last = heard.last().cloned();
        let mut again = reader(&site, "/v1/events?follow=false", last.as_deref())?;
        while let Some(event) = next(&mut again)? {
            heard.push(position(&event)?);
        }
        assert_eq!(heard, told, "everything, once, in order");

        let peak = site.daemon()?.peak_bytes()?;
        assert!(peak < before + MEMORY, "{peak} bytes in memory at the peak, {before} before");
        // The others are still served when they read at last.
        for reader in &mut idle {
            assert_eq!(position(&next(reader)?.context("the stream ended")?)?, told[0]);
            ensure!(reader.read(&mut [0; 1])? > 0, "it goes on");
        }
        Ok(())
    })
}

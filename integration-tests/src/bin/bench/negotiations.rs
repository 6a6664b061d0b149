//! Negotiations between two daemons, many at once, begun through the management API and watched in its stream of events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use integration_tests::management::Management;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};

use crate::Extent;
use crate::figures::{Figures, mebibytes, milliseconds, percentile};
use crate::node::{OPEN, pair, publish_many};

const AT_ONCE: [usize; 3] = [1, 16, 256];
const LIMIT: Duration = Duration::from_secs(120);
const OFFER: &str = "set-00000";

/// Who waits for the end of a negotiation, by our process id; or that it ended before anybody waited.
type Waiting = Arc<Mutex<HashMap<String, Ending>>>;

enum Ending {
    Awaited(oneshot::Sender<Instant>),
    Came(Instant),
}

/// Negotiations in a second and how long each takes, from the request of the program to the commit of the finalization at
/// the consumer. Four messages over mutual TLS each, and every state durable before it is told.
pub(crate) fn at_once(figures: &mut Figures, extent: Extent) -> Result<()> {
    let scene = Scene::new()?;
    let (mut provider, mut consumer) = pair(&scene)?;
    publish_many(&provider, &scene.file("one.txt"), 1)?;
    let management = Management::of(&consumer).keeping();
    let runtime = Runtime::new()?;
    let terms = runtime.block_on(offered(&management))?;
    for at_once in AT_ONCE {
        let count = extent.negotiations_at_once * if at_once == 1 { 1 } else { 4 };
        let (one, other) = (provider.daemon()?, consumer.daemon()?);
        let spent = || anyhow::Ok(one.processor_time()? + other.processor_time()?);
        let before = spent()?;
        let (rate, mut times) = runtime.block_on(negotiate(&management, &terms, count, at_once))?;
        let each = spent()?.saturating_sub(before) / u32::try_from(count)?;
        let name = format!("negotiations, {at_once} at once");
        figures.add(name, rate, "/s");
        for (part, title) in [(0.5, "median"), (0.99, "99th percentile")] {
            let name = format!("negotiation, {title}, {at_once} at once");
            figures.add(name, percentile(&mut times, part), "ms");
        }
        let name = format!("processor time of a negotiation, both nodes, {at_once} at once");
        figures.add(name, milliseconds(each), "ms");
    }
    Ok(())
}

/// What a process that stays open costs the provider in memory: negotiations that await a person, and transfers that are
/// granted and not yet fetched.
pub(crate) fn open_processes(figures: &mut Figures, extent: Extent) -> Result<()> {
    let count = extent.open_processes;
    let runtime = Runtime::new()?;
    let manual = format!("{OPEN}[offer]\nhandling = \"manual\"\n");
    let each = open_negotiations(&runtime, &manual, count)?;
    figures.add(format!("memory of an open negotiation, of {count}"), each, "KiB");
    let each = open_transfers(&runtime, count)?;
    figures.add(format!("memory of an open transfer, of {count}"), each, "KiB");
    Ok(())
}

/// A provider with one dataset and a consumer, which may have so many processes open.
fn roomy(scene: &Scene, policy: &str, count: usize) -> Result<(Site, Site)> {
    let most = (2 * count).to_string();
    let plan = |name: &str| {
        scene
            .plan(name)
            .setting("processes", "max_open_negotiations_per_partner_count", &most)
            .setting("processes", "max_open_transfers_per_partner_count", &most)
            .setting("outbound", "max_waiting_messages_per_partner_count", &most)
    };
    let (mut provider, mut consumer) = (plan("b").make()?, plan("a").make()?);
    provider.start()?;
    consumer.start()?;
    integration_tests::site::befriend(&provider, &consumer)?;
    provider.activate(&[("open", policy)])?;
    publish_many(&provider, &scene.file("one.txt"), 1)?;
    Ok((provider, consumer))
}

fn open_negotiations(runtime: &Runtime, policy: &str, count: usize) -> Result<f64> {
    let scene = Scene::new()?;
    let (mut provider, consumer) = roomy(&scene, policy, count)?;
    let management = Management::of(&consumer).keeping();
    let awaits = |event: &Value| event.get("awaiting").is_some_and(Value::is_object);
    runtime.block_on(async {
        let request = begin(&offered(&management).await?);
        growth(&mut provider, &management, ("/v1/negotiations", &request), count, awaits).await
    })
}

fn open_transfers(runtime: &Runtime, count: usize) -> Result<f64> {
    let scene = Scene::new()?;
    let (mut provider, consumer) = roomy(&scene, OPEN, count)?;
    let management = Management::of(&consumer).keeping();
    let is_started = |event: &Value| {
        event.get("transfer").is_some_and(Value::is_string)
            && event.get("kind").and_then(Value::as_str) == Some("message-delivered")
    };
    runtime.block_on(async {
        let mut events = management.events("?kind=agreement-held").await?;
        let request = json!({ "partner": "b", "role": "consumer", "dataset": OFFER });
        management.post("/v1/negotiations", &request).await?;
        let held = tokio::time::timeout(LIMIT, events.next()).await??;
        let held = held.context("the events ended")?;
        let agreement = held.data.get("agreement").context("no agreement")?;
        let request = json!({ "partner": "b", "agreement": agreement });
        growth(&mut provider, &management, ("/v1/transfers", &request), count, is_started).await
    })
}

/// By how many KiB the provider's memory grew for each of so many requests to the consumer's management, once the provider
/// has told of each that it is open.
async fn growth(
    provider: &mut Site,
    management: &Management,
    (path, request): (&'static str, &Value),
    count: usize,
    is_open: impl Fn(&Value) -> bool,
) -> Result<f64> {
    let mut events = Management::of(provider).events("").await?;
    let before = provider.daemon()?.resident_bytes()?;
    let places = Arc::new(Semaphore::new(16));
    let mut tasks = Vec::new();
    for _ in 0..count {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (management, request) = (management.clone(), request.clone());
        tasks.push(tokio::spawn(async move {
            let answer = management.post(path, &request).await;
            drop(place);
            answer
        }));
    }
    for task in tasks {
        task.await??;
    }
    let mut open = 0;
    while open < count {
        let event = tokio::time::timeout(LIMIT, events.next()).await??;
        open += usize::from(is_open(&event.context("the events ended")?.data));
    }
    let after = provider.daemon()?.resident_bytes()?;
    Ok(mebibytes(after.saturating_sub(before)) * 1024.0 / f64::from(u32::try_from(count)?))
}

/// Begins so many negotiations, so many at once: how many ended in a second, and the milliseconds that each took.
pub(crate) async fn negotiate(
    management: &Management,
    terms: &Value,
    count: usize,
    at_once: usize,
) -> Result<(f64, Vec<f64>)> {
    let waiting = Waiting::default();
    let mut events = management.events("?kind=agreement-held").await?;
    let seen = Arc::clone(&waiting);
    let reader = tokio::spawn(async move {
        while let Ok(Some(event)) = events.next().await {
            let Some(pid) = event.data.get("negotiation").and_then(Value::as_str) else { continue };
            let now = Instant::now();
            let Ok(mut seen) = seen.lock() else { return };
            match seen.remove(pid) {
                Some(Ending::Awaited(waiter)) => drop(waiter.send(now)),
                _ => drop(seen.insert(pid.to_owned(), Ending::Came(now))),
            }
        }
    });
    let places = Arc::new(Semaphore::new(at_once));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..count {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (management, waiting, request) =
            (management.clone(), Arc::clone(&waiting), begin(terms));
        tasks.push(tokio::spawn(async move {
            let took = one(&management, &waiting, &request).await;
            drop(place);
            took
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.push(milliseconds(task.await??));
    }
    let took = started.elapsed();
    reader.abort();
    Ok((f64::from(u32::try_from(count)?) / took.as_secs_f64(), times))
}

async fn one(management: &Management, waiting: &Waiting, request: &Value) -> Result<Duration> {
    let from = Instant::now();
    let answer = management.post("/v1/negotiations", request).await?;
    let pid = answer.get("id").and_then(Value::as_str).context("no process id")?;
    let (sender, receiver) = oneshot::channel();
    {
        let Ok(mut waiting) = waiting.lock() else { bail!("a task panicked") };
        if let Some(Ending::Came(at)) = waiting.remove(pid) {
            return Ok(at.duration_since(from));
        }
        waiting.insert(pid.to_owned(), Ending::Awaited(sender));
    }
    let at = tokio::time::timeout(LIMIT, receiver).await.context("it was not finalized")??;
    Ok(at.duration_since(from))
}

fn begin(terms: &Value) -> Value {
    json!({
        "partner": "b", "role": "consumer", "dataset": OFFER,
        "offer": terms.get("@id"), "terms": terms,
    })
}

/// The terms of the one offer, as a negotiation about it has them.
pub(crate) async fn offered(management: &Management) -> Result<Value> {
    let request = json!({ "partner": "b", "role": "consumer", "dataset": OFFER });
    let answer = management.post("/v1/negotiations", &request).await?;
    let pid = answer.get("id").and_then(Value::as_str).context("no process id")?;
    let shown = management.get(&format!("/v1/negotiations/{pid}")).await?;
    shown.get("terms").cloned().with_context(|| format!("no terms in {shown}"))
}

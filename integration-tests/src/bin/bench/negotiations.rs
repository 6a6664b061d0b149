//! Negotiations between two daemons, many at once, begun through the management API and watched in its stream of events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use integration_tests::management::Management;
use integration_tests::scene::Scene;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};

use crate::Extent;
use crate::figures::{Figures, mebibytes, milliseconds, percentile};
use crate::node::{OPEN, pair, publish_many};

/// EDC 0.13 with polls of 50 ms, 16 at once, on two cores, measured for the design of this product.
const EDC_RATE: f64 = 12.5;
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
        if at_once == 16 {
            figures.beside(name, rate, "/s", ("EDC 0.13, tuned", EDC_RATE));
        } else {
            figures.add(name, rate, "/s");
        }
        for (part, title) in [(0.5, "median"), (0.99, "99th percentile")] {
            let name = format!("negotiation, {title}, {at_once} at once");
            figures.add(name, percentile(&mut times, part), "ms");
        }
        let name = format!("processor time of a negotiation, both nodes, {at_once} at once");
        figures.add(name, milliseconds(each), "ms");
    }
    Ok(())
}

/// What a process that stays open costs in memory: negotiations that await a person at the provider.
pub(crate) fn open_processes(figures: &mut Figures, extent: Extent) -> Result<()> {
    let scene = Scene::new()?;
    let most = (2 * extent.open_processes).to_string();
    let plan = |name: &str| {
        let plan = scene.plan(name);
        plan.setting("processes", "max_open_negotiations_per_partner_count", &most).setting(
            "outbound",
            "max_waiting_messages_per_partner_count",
            &most,
        )
    };
    let (mut provider, mut consumer) = (plan("b").make()?, plan("a").make()?);
    provider.start()?;
    consumer.start()?;
    integration_tests::site::befriend(&provider, &consumer)?;
    let manual = format!("{OPEN}[offer]\nhandling = \"manual\"\n");
    provider.activate(&[("open", &manual)])?;
    publish_many(&provider, &scene.file("one.txt"), 1)?;
    let management = Management::of(&consumer).keeping();
    let runtime = Runtime::new()?;
    let terms = runtime.block_on(offered(&management))?;
    let before = provider.daemon()?.resident_bytes()?;
    let asked = Management::of(&provider);
    runtime.block_on(async {
        let mut events = asked.events("").await?;
        let places = Arc::new(Semaphore::new(16));
        let mut tasks = Vec::new();
        for _ in 0..extent.open_processes {
            let place = Arc::clone(&places).acquire_owned().await?;
            let (management, request) = (management.clone(), begin(&terms));
            tasks.push(tokio::spawn(async move {
                let answer = management.post("/v1/negotiations", &request).await;
                drop(place);
                answer
            }));
        }
        for task in tasks {
            task.await??;
        }
        let mut open = 0;
        while open < extent.open_processes {
            let event = tokio::time::timeout(LIMIT, events.next()).await??;
            let event = event.context("the events ended")?;
            open += usize::from(event.data.get("awaiting").is_some_and(Value::is_object));
        }
        anyhow::Ok(())
    })?;
    let count = extent.open_processes;
    let after = provider.daemon()?.resident_bytes()?;
    let each = mebibytes(after.saturating_sub(before)) * 1024.0 / f64::from(u32::try_from(count)?);
    figures.add(format!("memory of an open negotiation, of {count}"), each, "KiB");
    Ok(())
}

async fn negotiate(
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
async fn offered(management: &Management) -> Result<Value> {
    let request = json!({ "partner": "b", "role": "consumer", "dataset": OFFER });
    let answer = management.post("/v1/negotiations", &request).await?;
    let pid = answer.get("id").and_then(Value::as_str).context("no process id")?;
    let shown = management.get(&format!("/v1/negotiations/{pid}")).await?;
    shown.get("terms").cloned().with_context(|| format!("no terms in {shown}"))
}

//! Eclipse EDC beside Sekisho, in one run on one machine: two of the one talk to each other, and then two of the other.
//!
//! EDC has everything in its favour: plain HTTP, stores in memory, and an identity that is believed. The nodes speak mutual TLS
//! and keep every step on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use integration_tests::connector::{BASE, CONTEXT, array};
use integration_tests::edc::{self, Counterparty, Edc, Plan};
use integration_tests::management::Management;
use integration_tests::narration::line;
use integration_tests::peer::Peer;
use integration_tests::plain;
use integration_tests::scene::Scene;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::Extent;
use crate::catalog::{PUBLISH_LIMIT, policies, write_list};
use crate::figures::{Figures, mebibytes, milliseconds, percentile};
use crate::negotiations::{negotiate, offered};
use crate::node::{pair, publish_many, ready_after, steady};

/// Where `./bench` puts EDC's jars.
const LIBRARIES: &str = "target/edc/lib";
const PROVIDER: &str = "provider";
const CONSUMER: &str = "consumer";
const AT_ONCE: usize = 16;
/// Datasets of the catalogs, each under an offer of its own.
const CATALOGS: [usize; 2] = [100, 2_000];
const PAGE: usize = 100;
const PAGES: usize = 40;
/// What is not counted at first: a virtual machine compiles what it runs often.
const WARM: usize = 10;
/// A virtual machine is never quite still.
const JVM_STEADY: u64 = 1 << 20;
/// How often EDC is asked whether a negotiation ended: one alone, and many at once, which is to cost it little.
const LOOK: Duration = Duration::from_millis(5);
const LOOK_AT_MANY: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(120);
/// How long EDC's state machines wait between two looks when it is set for speed, as in its own tests.
const TUNED: Duration = Duration::from_millis(50);

/// What was measured of a pair.
#[derive(Debug, Default)]
struct Measured {
    ready: f64,
    idle: f64,
    median: f64,
    p99: f64,
    rate: f64,
    /// The median of a page, by the size of the catalog.
    pages: Vec<f64>,
    after: f64,
    /// Negotiations that ended without an agreement.
    failed: usize,
}

/// Whether EDC's jars are here.
pub(crate) fn is_here() -> bool {
    Path::new(LIBRARIES).is_dir()
}

/// Everything, ours beside EDC's.
pub(crate) fn beside(figures: &mut Figures, extent: Extent) -> Result<()> {
    ensure!(is_here(), "`{LIBRARIES}` is missing: `./bench edc` fetches EDC");
    let count = extent.edc_negotiations;
    line("  two nodes…");
    let ours = of_nodes(extent)?;
    line("  two EDC, polls of 50 ms…");
    let tuned = of_edc(Some(TUNED), count, &CATALOGS)?;
    line("  two EDC, their default polls of 1,000 ms…");
    let default = of_edc(None, (count / 5).max(WARM), &[])?;

    let peer = |value| ("EDC 0.14", value);
    figures.beside("beside EDC: start to ready", ours.ready, "ms", peer(tuned.ready));
    figures.beside("beside EDC: idle memory", ours.idle, "MiB", peer(tuned.idle));
    figures.beside(
        "beside EDC: memory of the provider after all",
        ours.after,
        "MiB",
        peer(tuned.after),
    );
    for (title, edc) in [("EDC 0.14, 50 ms", &tuned), ("EDC 0.14, default", &default)] {
        let peer = |value| (title, value);
        figures.beside("beside EDC: negotiation, median", ours.median, "ms", peer(edc.median));
        figures.beside("beside EDC: negotiation, 99th percentile", ours.p99, "ms", peer(edc.p99));
        let name = format!("beside EDC: negotiations, {AT_ONCE} at once");
        figures.beside(name, ours.rate, "/s", peer(edc.rate));
        let failed = f64::from(u32::try_from(edc.failed)?);
        figures.add(format!("{title}: negotiations that failed"), failed, "");
    }
    for ((count, own), edc) in CATALOGS.iter().zip(&ours.pages).zip(&tuned.pages) {
        let name = format!("beside EDC: catalog page of {PAGE}, {count} offers, median");
        figures.beside(name, *own, "ms", peer(*edc));
    }
    Ok(())
}

fn of_nodes(extent: Extent) -> Result<Measured> {
    let scene = Scene::new()?;
    let (mut provider, mut consumer) = pair(&scene)?;
    let ready = ready_after(&mut provider, extent.starts)?;
    let idle = {
        let daemon = provider.daemon()?;
        steady(64 * 1024, || daemon.resident_bytes())?
    };
    publish_many(&provider, &scene.file("one.txt"), 1)?;
    let management = Management::of(&consumer).keeping();
    let runtime = Runtime::new()?;
    let count = extent.edc_negotiations;
    let (rate, mut times) = runtime.block_on(async {
        let terms = offered(&management).await?;
        negotiate(&management, &terms, WARM, 1).await?;
        let (_, times) = negotiate(&management, &terms, count, 1).await?;
        let (rate, _) = negotiate(&management, &terms, count, AT_ONCE).await?;
        anyhow::Ok((rate, times))
    })?;
    let after = mebibytes(provider.daemon()?.resident_bytes()?);
    consumer.stop()?;
    provider.stop()?;
    let pages = CATALOGS.iter().map(|count| node_page(*count)).collect::<Result<_>>()?;
    let (median, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    Ok(Measured { ready, idle, median, p99, rate, pages, after, failed: 0 })
}

/// The median time of the first page of a node's catalog.
fn node_page(count: usize) -> Result<f64> {
    let scene = Scene::new()?;
    let (mut provider, mut consumer) = pair(&scene)?;
    provider.stop()?;
    policies(&provider, count, "groups = [\"partners\"]")?;
    provider.start()?;
    let list = scene.file("list.jsonl");
    write_list(&list, &scene.file("one.txt"), count, count)?;
    let words = ["dataset", "publish-list", list.to_str().context("no UTF-8")?, "--yes"];
    provider.begin(&words)?.wait(PUBLISH_LIMIT)?.expect(0)?;
    consumer.stop()?;
    let peer = Peer::of(&consumer, &provider)?;
    let question = json!({ "@context": [CONTEXT], "@type": "CatalogRequestMessage" });
    let paths = vec![format!("{BASE}/catalog/request"); WARM + PAGES];
    let mut times = Vec::new();
    for (reply, took) in peer.post_many(&paths, &question)?.into_iter().skip(WARM) {
        ensure!(reply.status == 200, "{reply:?}");
        ensure!(array(&reply.json()?, "/dataset").len() == PAGE, "not a page of {PAGE}");
        times.push(milliseconds(took));
    }
    Ok(percentile(&mut times, 0.5))
}

fn of_edc(pace: Option<Duration>, count: usize, catalogs: &[usize]) -> Result<Measured> {
    let scene = Scene::new()?;
    let start = |participant: &str| {
        let plan = Plan {
            participant: participant.to_owned(),
            libraries: PathBuf::from(LIBRARIES),
            directory: scene.path().to_owned(),
            origin: None,
            iteration_wait: pace,
        };
        plan.start()
    };
    let provider = start(PROVIDER)?;
    let idle = steady(JVM_STEADY, || provider.resident_bytes())?;
    let consumer = Arc::new(start(CONSUMER)?);
    let mut ready = [provider.ready_after(), consumer.ready_after()].map(milliseconds);
    let ready = percentile(&mut ready, 0.0);

    let runtime = Runtime::new()?;
    let counterparty = Counterparty {
        address: format!("http://{}{BASE}", provider.protocol()),
        participant: PROVIDER.to_owned(),
    };
    let policy = json!({ "permission": [{ "action": "use" }] });
    let name = |number: usize| format!("set-{number:05}");
    runtime.block_on(provider.publish(&name(0), "http://127.0.0.1:9/none", &policy))?;
    let catalog = runtime.block_on(consumer.catalog(&counterparty, 1))?;
    let wanted = Arc::new((counterparty, edc::offer(&catalog, &name(0))?, name(0)));
    runtime.block_on(edc_negotiates(&consumer, &wanted, WARM, 1))?;
    let (_, mut times) = runtime.block_on(edc_negotiates(&consumer, &wanted, count, 1))?;
    let (rate, many) = runtime.block_on(edc_negotiates(&consumer, &wanted, count, AT_ONCE))?;
    let failed = 2 * count - times.len() - many.len();
    let after = mebibytes(provider.resident_bytes()?);

    let (mut published, mut pages) = (1, Vec::new());
    for &size in catalogs {
        for number in published..size {
            let asset = name(number);
            runtime.block_on(provider.publish(&asset, "http://127.0.0.1:9/none", &policy))?;
        }
        published = size;
        pages.push(runtime.block_on(edc_page(&provider))?);
    }
    let (median, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    Ok(Measured { ready, idle, median, p99, rate, pages, after, failed })
}

/// What is asked for: of whom, the offer and the dataset.
type Wanted = (Counterparty, Value, String);

/// As [`negotiate`], between two EDC; only what ended well counts.
async fn edc_negotiates(
    consumer: &Arc<Edc>,
    wanted: &Arc<Wanted>,
    count: usize,
    at_once: usize,
) -> Result<(f64, Vec<f64>)> {
    let places = Arc::new(Semaphore::new(at_once));
    let look = if at_once == 1 { LOOK } else { LOOK_AT_MANY };
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..count {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (consumer, wanted) = (Arc::clone(consumer), Arc::clone(wanted));
        tasks.push(tokio::spawn(async move {
            let took = edc_one(&consumer, &wanted, look).await;
            drop(place);
            took
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??.map(milliseconds));
    }
    let took = started.elapsed();
    ensure!(!times.is_empty(), "not one of {count} negotiations between two EDC ended well");
    Ok((f64::from(u32::try_from(times.len())?) / took.as_secs_f64(), times))
}

/// How long one took; nothing where it ended without an agreement. With short polls an EDC consumer refuses an agreement that
/// comes before it has recorded the answer to its request, and the provider takes that for final.
async fn edc_one(consumer: &Edc, wanted: &Wanted, look: Duration) -> Result<Option<Duration>> {
    let (of, offer, dataset) = wanted;
    let from = Instant::now();
    let id = consumer.request(of, offer.clone(), dataset).await?;
    loop {
        let shown = consumer.get(&format!("/contractnegotiations/{id}")).await?;
        match shown.get("state").and_then(Value::as_str).unwrap_or_default() {
            "FINALIZED" => return Ok(Some(from.elapsed())),
            "TERMINATED" => return Ok(None),
            _ => ensure!(from.elapsed() < LIMIT, "EDC has {shown}"),
        }
        tokio::time::sleep(look).await;
    }
}

/// The median time of a page of an EDC's catalog, asked as a partner does.
async fn edc_page(provider: &Edc) -> Result<f64> {
    let question = json!({
        "@context": [CONTEXT, "https://w3id.org/edc/dspace/v0.0.1"],
        "@type": "CatalogRequestMessage",
        "filter": [{
            "@type": "QuerySpec", "limit": PAGE, "offset": 0, "sortOrder": "ASC", "filterExpression": [],
        }],
    });
    let question = Bytes::from(question.to_string());
    let mut times = Vec::new();
    for number in 0..WARM + PAGES {
        let request = Request::post(format!("{BASE}/catalog/request"))
            .header("content-type", "application/json")
            .header("authorization", edc::token(CONSUMER, PROVIDER));
        let from = Instant::now();
        let answer = plain::exchange(provider.protocol(), request, question.clone()).await?;
        let took = from.elapsed();
        ensure!(answer.status().is_success(), "EDC answered {}", answer.status());
        let shown = array(&serde_json::from_slice(answer.body())?, "/dataset").len();
        ensure!(shown == PAGE, "{shown} datasets instead of {PAGE}");
        if number >= WARM {
            times.push(milliseconds(took));
        }
    }
    Ok(percentile(&mut times, 0.5))
}

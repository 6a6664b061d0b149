//! The store: commits in a second, each durable before it is answered, and starts on a long journal.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use engine::entity::Usage;
use engine::{
    Category, Context, Decision, Entity, Key, LogId, RecordDraft, RecordKind, Store as _, View,
};
use integration_tests::scene::Scene;
use jiff::SignedDuration;
use store::{Environment, FileStore, Options};
use tokio::runtime::Runtime;

use crate::Extent;
use crate::figures::{Figures, milliseconds, percentile};
use crate::node::ready_after;

/// Commits under way at the same time.
const AT_ONCE: [usize; 2] = [1, 64];

/// Records of one commit of the long journal, and how many such commits are under way at the same time.
const BULK: u64 = 1_000;
const BULK_AT_ONCE: u64 = 4;

/// Commits in a second, one after the other and many at once.
pub(crate) fn rates(figures: &mut Figures, extent: Extent) -> Result<()> {
    let scene = Scene::new()?;
    for at_once in AT_ONCE {
        // One after the other each waits for the disk alone.
        let count = if at_once == 1 { extent.commits / 10 } else { extent.commits };
        let (rate, mut times) =
            commit_many(&scene.file(&format!("data-{at_once}")), count, at_once)?;
        figures.add(format!("commits, {at_once} at once"), rate, "/s");
        let name = format!("commit, 99th percentile, {at_once} at once");
        figures.add(name, percentile(&mut times, 0.99), "ms");
    }
    Ok(())
}

/// Start to ready after so many records.
pub(crate) fn long_journal(figures: &mut Figures, extent: Extent) -> Result<()> {
    let scene = Scene::new()?;
    let mut site = scene.site("b")?;
    site.stop()?;
    let started = Instant::now();
    fill(&site.path("data"), extent.journal_records)?;
    let rate = f64::from(u32::try_from(extent.journal_records)?) / started.elapsed().as_secs_f64();
    figures.add(format!("records in commits of {BULK}"), rate, "/s");
    // The first start takes the records in; the later ones are what an operator meets.
    site.start()?;
    let first = milliseconds(site.daemon()?.ready_after());
    let count = extent.journal_records;
    figures.add(format!("start to ready, {count} records, first"), first, "ms");
    let ready = ready_after(&mut site, extent.starts.min(5))?;
    figures.add(format!("start to ready, {count} records"), ready, "ms");
    site.kill()?;
    site.start()?;
    let crashed = milliseconds(site.daemon()?.ready_after());
    figures.add(format!("start to ready, {count} records, after kill -9"), crashed, "ms");
    Ok(())
}

/// Fills the journal with commits of many records, several at once: what lies there is what a site makes in years.
fn fill(data: &Path, records: u64) -> Result<()> {
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (store, _) =
            FileStore::open(data, Options::default(), Environment::system(context()?))?;
        let commits = records.div_ceil(BULK);
        let workers = (0..BULK_AT_ONCE).map(|worker| {
            let store = store.clone();
            tokio::spawn(async move {
                let dataset = format!("dataset-{worker}").parse()?;
                let partner = "urn:example:partner".parse()?;
                let key = Arc::new(Key::Usage(partner, "urn:example:offer".parse()?, dataset));
                for commit in (worker..commits).step_by(usize::try_from(BULK_AT_ONCE)?) {
                    let first = commit.saturating_mul(BULK);
                    let uses = first..records.min(first.saturating_add(BULK));
                    let key = Arc::clone(&key);
                    let decide = move |_: &dyn View| {
                        let granted = uses.clone().map(|uses| used(&key, uses));
                        Ok(Decision::commit(granted.collect(), ()))
                    };
                    store.transact(Vec::new(), decide).await?;
                }
                anyhow::Ok(())
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await??;
        }
        Ok(store.close().await?)
    })
}

/// Commits in a second, and how long each took in milliseconds.
fn commit_many(data: &Path, count: u64, at_once: usize) -> Result<(f64, Vec<f64>)> {
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (store, _) =
            FileStore::open(data, Options::default(), Environment::system(context()?))?;
        let each = count / u64::try_from(at_once)?;
        let started = Instant::now();
        let workers = (0..at_once).map(|worker| tokio::spawn(commit(store.clone(), worker, each)));
        let mut times = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            times.extend(worker.await??);
        }
        let took = started.elapsed();
        store.close().await?;
        let total = f64::from(u32::try_from(times.len())?);
        Ok((total / took.as_secs_f64(), times))
    })
}

/// Counts a use, as each granted transfer does.
async fn commit(store: FileStore, worker: usize, count: u64) -> Result<Vec<f64>> {
    let dataset = format!("dataset-{worker}").parse()?;
    let key = Key::Usage("urn:example:partner".parse()?, "urn:example:offer".parse()?, dataset);
    let key = Arc::new(key);
    let mut times = Vec::new();
    for uses in 1..=count {
        let started = Instant::now();
        let key = Arc::clone(&key);
        store
            .transact(Vec::new(), move |_| Ok(Decision::commit(vec![used(&key, uses)], ())))
            .await?;
        times.push(milliseconds(started.elapsed()));
    }
    Ok(times)
}

fn used(key: &Key, uses: u64) -> RecordDraft {
    let usage = Usage { v: 1, uses, latest: None };
    RecordDraft::new(LogId::Site, RecordKind::TransferGranted, Category::Service)
        .put(key.clone(), Entity::from(usage))
}

fn context() -> Result<Context> {
    Ok(Context {
        participant: "did:web:b.example".parse()?,
        dsp_endpoint: "https://b.example/dsp/2025-1".to_owned(),
        data_endpoint: "https://b.example/data".to_owned(),
        delivery_deadline: SignedDuration::from_hours(24),
        approval_deadline: SignedDuration::from_hours(168),
        limits: engine::deadline::ProcessLimits::default(),
    })
}

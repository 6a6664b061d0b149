//! The catalog: how long a page takes, whatever the number of datasets and offers, and where in the catalog it is.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration_tests::connector::{BASE, CONTEXT};
use integration_tests::narration::line;
use integration_tests::peer::Peer;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::Extent;
use crate::figures::{Figures, mebibytes, milliseconds, percentile};
use crate::node::{OPEN, pair};

/// Pages that are measured from each place on, after a few that are not.
const PAGES: usize = 60;
const WARM: usize = 10;
/// So many datasets are under the one policy that is always visible: two whole pages and one dataset more, so that its links
/// lead to the middle and near the end.
const FEW: usize = 101;
/// How long publishing may take.
pub(crate) const PUBLISH_LIMIT: Duration = Duration::from_secs(300);

/// Pages of catalogs of these sizes: of the few datasets that a partner may see among many, and of many under many offers.
pub(crate) fn pages(figures: &mut Figures, extent: Extent) -> Result<()> {
    for &count in extent.catalogs {
        let scene = Scene::new()?;
        let (mut provider, mut consumer) = pair(&scene)?;
        let offers = extent.offers;
        // All offers are for somebody else at first.
        provider.stop()?;
        policies(&provider, offers, "partners = [\"did:web:x.example\"]")?;
        provider.start()?;
        let list = scene.file("list.jsonl");
        write_list(&list, &scene.file("one.txt"), count, offers)?;
        line(format!("  publishing {count} datasets…"));
        let started = Instant::now();
        let words = ["dataset", "publish-list", list.to_str().context("no UTF-8")?, "--yes"];
        provider.begin(&words)?.wait(PUBLISH_LIMIT)?.expect(0)?;
        let rate = f64::from(u32::try_from(count)?) / started.elapsed().as_secs_f64();
        figures.add(format!("published by a list, {count} datasets"), rate, "/s");
        let name = format!("memory after publishing by a list, {count} datasets");
        figures.add(name, mebibytes(provider.daemon()?.resident_bytes()?), "MiB");
        consumer.stop()?;
        let peer = Peer::of(&consumer, &provider)?;

        provider.restart()?;
        let name = format!("start to ready, {count} datasets in {offers} offers");
        figures.add(name, milliseconds(provider.daemon()?.ready_after()), "ms");
        let few = FEW.min(count);
        let name = format!("catalog page, {few} of {count} datasets visible");
        let places = measure(figures, &peer, &name, None)?;
        provider.stop()?;
        policies(&provider, offers, "groups = [\"partners\"]")?;
        provider.start()?;
        let name = format!("catalog page, {count} datasets under {offers} offers");
        measure(figures, &peer, &name, None)?;
        // The links of the other catalog lead into this one: a place is good for a partner, whatever it sees.
        if let [middle, end] = places.as_slice() {
            measure(figures, &peer, &format!("{name}, from the middle"), Some(middle))?;
            measure(figures, &peer, &format!("{name}, near the end"), Some(end))?;
        }
        let name = format!("memory after the pages, {count} datasets");
        figures.add(name, mebibytes(provider.daemon()?.resident_bytes()?), "MiB");
        provider.stop()?;
    }
    Ok(())
}

/// Offers of one tag each.
pub(crate) fn policies(provider: &Site, offers: usize, who: &str) -> Result<()> {
    let open = OPEN.replace("groups = [\"partners\"]", who);
    (0..offers).try_for_each(|number| {
        let what = format!("[what]\ntags = [\"offer-{number}\"]\n");
        provider.policy(&format!("offer-{number}"), &format!("{open}{what}"))
    })
}

/// A list of datasets of one file: all under one of the offers, and a few, evenly among them, under the open policy.
pub(crate) fn write_list(list: &Path, file: &Path, count: usize, offers: usize) -> Result<()> {
    std::fs::write(file, "one")?;
    let mut lines = BufWriter::new(std::fs::File::create(list)?);
    let few = count.div_ceil(FEW);
    for number in 0..count {
        let policies: &[&str] = if number % few == 0 { &["open"] } else { &[] };
        let line = json!({
            "path": file, "id": format!("set-{number:07}"), "title": "One of many",
            "policies": policies, "tags": [format!("offer-{}", number % offers)],
        });
        writeln!(lines, "{line}")?;
    }
    lines.flush()?;
    Ok(())
}

/// Follows the pages from a place on, or from the first, and again from there behind the last. Returns the places to which
/// the links led, until the first came again.
fn measure(
    figures: &mut Figures,
    peer: &Peer,
    name: &str,
    from: Option<&str>,
) -> Result<Vec<String>> {
    let question = json!({ "@context": [CONTEXT], "@type": "CatalogRequestMessage" });
    let first = from.map_or_else(|| format!("{BASE}/catalog/request"), str::to_owned);
    let (mut path, mut times, mut links) = (first.clone(), Vec::new(), Vec::new());
    let mut places = Vec::new();
    while links.len() < PAGES + WARM {
        links.push(path.clone());
        // After a start the index may have to take in what was not yet in it.
        let reply = wait::until("the index is whole", PATIENCE, || {
            let asked = std::slice::from_ref(&path);
            let (reply, _) = peer.post_many(asked, &question)?.pop().context("no answer")?;
            Ok((reply.status != 503).then_some(reply))
        })?;
        ensure!(reply.status == 200, "{reply:?}");
        let page: Value = reply.json()?;
        let shown = page.get("dataset").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(shown > 0, "{name}: a page shows nothing");
        let next = reply.header("link").split(", ").find(|link| link.ends_with("rel=\"next\""));
        let next = next.and_then(|link| link.split_once(BASE)?.1.split_once('>'));
        let next = next.map(|(rest, _)| format!("{BASE}{rest}"));
        if links.len() == places.len() + 1 {
            places.extend(next.clone());
        }
        path = next.unwrap_or_else(|| first.clone());
    }
    for (reply, took) in peer.post_many(&links, &question)?.into_iter().skip(WARM) {
        ensure!(reply.status == 200, "{reply:?}");
        times.push(milliseconds(took));
    }
    let median = percentile(&mut times, 0.5);
    figures.add(format!("{name}, median"), median, "ms");
    figures.add(format!("{name}, 99th percentile"), percentile(&mut times, 0.99), "ms");
    Ok(places)
}

//! The catalog: how long a page takes, whatever the number of datasets and offers.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use integration_tests::connector::{BASE, CONTEXT};
use integration_tests::peer::Peer;
use integration_tests::scene::Scene;
use serde_json::json;

use crate::Extent;
use crate::figures::{Figures, mebibytes, milliseconds, percentile};
use crate::node::{OPEN, pair};

/// EDC 0.13: one page of 50 with 2,000 datasets, measured for the design of this product.
const EDC_PAGE_MS: f64 = 825.0;
/// Pages that are measured, after a few that are not.
const PAGES: usize = 200;
const WARM: usize = 20;
/// Every so manieth dataset is one of the few that the rare policy shows.
const FEW: usize = 100;

/// Pages of catalogs of these sizes: of one policy, of the few that a partner may see among many, and of many offers.
pub(crate) fn pages(figures: &mut Figures, extent: Extent) -> Result<()> {
    for &count in extent.catalogs {
        let scene = Scene::new()?;
        let (mut provider, mut consumer) = pair(&scene)?;
        let offers = (0..extent.offers).map(|number| {
            let tags = format!("tags = [\"offer-{number}\"]\n{OPEN}");
            (format!("offer-{number}"), tags)
        });
        let hidden = OPEN.replace("groups = [\"partners\"]", "partners = [\"did:web:x.example\"]");
        provider.activate(&[("hidden", &hidden)])?;
        let list = scene.file("list.jsonl");
        write_list(&list, &scene.file("one.txt"), count, extent.offers)?;
        let started = Instant::now();
        provider.ask(&["dataset", "publish-list", list.to_str().context("no UTF-8")?, "--yes"])?;
        let rate = f64::from(u32::try_from(count)?) / started.elapsed().as_secs_f64();
        figures.add(format!("published by a list, {count} datasets"), rate, "/s");
        consumer.stop()?;
        let peer = Peer::of(&consumer, &provider)?;

        let name = format!("catalog page, {FEW} of {count} datasets visible");
        measure(figures, &peer, &name, None)?;
        provider.stop()?;
        for (name, text) in offers {
            provider.policy(&name, &text)?;
        }
        provider.start()?;
        let name = format!("catalog page, {count} datasets under {} offers", extent.offers);
        measure(figures, &peer, &name, Some(EDC_PAGE_MS))?;
        let name = format!("memory after the pages, {count} datasets");
        figures.add(name, mebibytes(provider.daemon()?.resident_bytes()?), "MiB");
        provider.stop()?;
    }
    Ok(())
}

/// A list of datasets of one file: a few under the open policy, all under one of the offers and the hidden policy.
fn write_list(list: &Path, file: &Path, count: usize, offers: usize) -> Result<()> {
    std::fs::write(file, "one")?;
    let mut lines = BufWriter::new(std::fs::File::create(list)?);
    let few = count.div_ceil(FEW);
    for number in 0..count {
        let policy = if number % few == 0 { "open" } else { "hidden" };
        let line = json!({
            "path": file, "id": format!("set-{number:07}"), "title": "One of many",
            "policies": [policy], "tags": [format!("offer-{}", number % offers)],
        });
        writeln!(lines, "{line}")?;
    }
    lines.flush()?;
    Ok(())
}

/// Follows the pages from the first on, and again from the first behind the last.
fn measure(figures: &mut Figures, peer: &Peer, name: &str, edc: Option<f64>) -> Result<()> {
    let question = json!({ "@context": [CONTEXT], "@type": "CatalogRequestMessage" });
    let first = format!("{BASE}/catalog/request");
    let (mut path, mut times, mut links) = (first.clone(), Vec::new(), Vec::new());
    while links.len() < PAGES + WARM {
        links.push(path.clone());
        let (reply, _) = peer.post_many(&[path], &question)?.pop().context("no answer")?;
        ensure!(reply.status == 200, "{reply:?}");
        let next = reply.header("link").split(", ").find(|link| link.ends_with("rel=\"next\""));
        path = next
            .and_then(|link| link.split_once(BASE)?.1.split_once('>'))
            .map_or_else(|| first.clone(), |(rest, _)| format!("{BASE}{rest}"));
    }
    for (reply, took) in peer.post_many(&links, &question)?.into_iter().skip(WARM) {
        ensure!(reply.status == 200, "{reply:?}");
        times.push(milliseconds(took));
    }
    let median = percentile(&mut times, 0.5);
    match edc {
        Some(edc) => {
            figures.beside(format!("{name}, median"), median, "ms", ("EDC 0.13, 2,000", edc))
        }
        None => figures.add(format!("{name}, median"), median, "ms"),
    }
    figures.add(format!("{name}, 99th percentile"), percentile(&mut times, 0.99), "ms");
    Ok(())
}

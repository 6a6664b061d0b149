//! The benchmark: what the daemon costs on this machine, and beside what. Prints a table and writes `target/bench.json`.
//!
//! Usage: `bench [--quick] [PART…]`: all parts unless some are named. `edc` is left out unless it is named or its jars are here.

mod catalog;
mod commits;
mod cuts;
mod download;
mod edc;
mod figures;
mod negotiations;
mod node;
mod policy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration_tests::narration::line;

use figures::Figures;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Starts of which the median is taken.
    starts: usize,
    /// Datasets of the full catalog.
    datasets: usize,
    /// Sizes of the catalogs whose pages are measured.
    catalogs: &'static [usize],
    /// Offers under which they stand.
    offers: usize,
    /// Negotiations.
    negotiations: usize,
    /// Negotiations one after the other, through the management API; four times as many where they run at once.
    negotiations_at_once: usize,
    /// Negotiations that stay open while memory is looked at.
    open_processes: usize,
    /// Commits for each measurement.
    commits: u64,
    /// Records of the long journal.
    journal_records: u64,
    /// Bytes of the file that is streamed while memory is looked at.
    streamed: u64,
    /// Bytes of the file that is downloaded beside nginx.
    downloaded: u64,
    /// Downloads from each, in turn.
    downloads: usize,
    /// Decisions by a policy.
    decisions: usize,
    /// Negotiations beside EDC, one after the other and again many at once.
    edc_negotiations: usize,
}

const WHOLE: Extent = Extent {
    starts: 15,
    datasets: 10_000,
    catalogs: &[100, 10_000, 1_000_000],
    offers: 5_000,
    negotiations: 300,
    negotiations_at_once: 1_000,
    open_processes: 10_000,
    commits: 20_000,
    journal_records: 10_000_000,
    streamed: 10 << 30,
    downloaded: 1 << 30,
    downloads: 7,
    decisions: 200_000,
    edc_negotiations: 200,
};

const QUICK: Extent = Extent {
    starts: 7,
    datasets: 1_000,
    catalogs: &[100, 10_000],
    offers: 500,
    negotiations: 60,
    negotiations_at_once: 200,
    open_processes: 1_000,
    commits: 3_000,
    journal_records: 50_000,
    streamed: 2 << 30,
    downloaded: 256 << 20,
    downloads: 5,
    decisions: 20_000,
    edc_negotiations: 50,
};

/// What is measured, by the name under which it can be asked for.
type Part = (&'static str, fn(&mut Figures, Extent) -> Result<()>);
const PARTS: [Part; 12] = [
    ("starts", node::starts),
    ("catalog", catalog::pages),
    ("negotiation", node::negotiations),
    ("negotiations-at-once", negotiations::at_once),
    ("open-processes", negotiations::open_processes),
    ("policy", policy::decisions),
    ("commits", commits::rates),
    ("long-journal", commits::long_journal),
    ("cuts", cuts::after_records),
    ("streaming", download::memory),
    ("download", download::beside_nginx),
    ("edc", edc::beside),
];

fn main() -> ExitCode {
    let (options, wanted): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let extent = match options.as_slice() {
        [] => Some(WHOLE),
        [quick] if quick == "--quick" => Some(QUICK),
        _ => None,
    };
    let known = |name: &String| PARTS.iter().any(|(part, _)| part == name);
    let (Some(extent), true) = (extent, wanted.iter().all(known)) else {
        let names = PARTS.map(|(name, _)| name).join(" ");
        line(format!("usage: bench [--quick] [PART…], of: {names}"));
        return ExitCode::from(64);
    };
    match measure(extent, &wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            line(format!("the benchmark failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(extent: Extent, wanted: &[String]) -> Result<()> {
    let mut figures = Figures::default();
    let mut failed = Vec::new();
    for (name, part) in PARTS {
        if name == "edc" && wanted.is_empty() && !edc::is_here() {
            line("edc is left out: `./bench edc` fetches Eclipse EDC and measures beside it");
            continue;
        }
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            line(format!("{name}…"));
            // What the other parts measure is not lost with one of them.
            if let Err(error) = part(&mut figures, extent) {
                line(format!("{name} failed: {error:#}"));
                failed.push(name);
            }
        }
    }
    line(figures.table());
    let file = Path::new("target/bench.json");
    figures.write(file)?;
    line(format!("The same figures are in `{}`.", file.display()));
    ensure!(failed.is_empty(), "these parts failed: {}", failed.join(", "));
    Ok(())
}

//! The benchmark: what the daemon costs on this machine, and beside what. Prints a table and writes `target/bench.json`.
//!
//! Usage: `bench [--quick]`.

mod catalog;
mod commits;
mod download;
mod figures;
mod node;
mod policy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
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
}

const WHOLE: Extent = Extent {
    starts: 15,
    datasets: 10_000,
    catalogs: &[100, 10_000, 1_000_000],
    offers: 5_000,
    negotiations: 300,
    commits: 20_000,
    journal_records: 10_000_000,
    streamed: 10 << 30,
    downloaded: 1 << 30,
    downloads: 7,
    decisions: 200_000,
};

const QUICK: Extent = Extent {
    starts: 7,
    datasets: 1_000,
    catalogs: &[100, 10_000],
    offers: 500,
    negotiations: 60,
    commits: 3_000,
    journal_records: 50_000,
    streamed: 2 << 30,
    downloaded: 256 << 20,
    downloads: 5,
    decisions: 20_000,
};

fn main() -> ExitCode {
    let extent = match std::env::args().nth(1).as_deref() {
        None => WHOLE,
        Some("--quick") => QUICK,
        Some(_) => {
            line("usage: bench [--quick]");
            return ExitCode::from(64);
        }
    };
    match measure(extent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            line(format!("the benchmark failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(extent: Extent) -> Result<()> {
    let mut figures = Figures::default();
    line("starts and memory…");
    node::starts(&mut figures, extent)?;
    line("catalog pages…");
    catalog::pages(&mut figures, extent)?;
    line("negotiations…");
    node::negotiations(&mut figures, extent)?;
    line("decisions by policies…");
    policy::decisions(&mut figures, extent)?;
    line("commits and a long journal…");
    commits::rates(&mut figures, extent)?;
    commits::long_journal(&mut figures, extent)?;
    line("downloads, beside nginx…");
    download::memory(&mut figures, extent)?;
    download::beside_nginx(&mut figures, extent)?;
    line(figures.table());
    let file = Path::new("target/bench.json");
    figures.write(file)?;
    line(format!("The same figures are in `{}`.", file.display()));
    Ok(())
}

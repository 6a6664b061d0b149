//! `docs/conformance.md`: what the kit said, as a table made from the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

/// Where it is.
pub(crate) const PAGE: &str = "docs/conformance.md";

/// What to do with the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nothing.
    Leave,
    /// Say whether it differs from the run.
    Check,
    /// Write it anew.
    Write,
}

/// The page for a run.
pub(crate) fn table(
    version: &str,
    expected: &BTreeSet<String>,
    failed: &BTreeSet<String>,
    titles: &BTreeMap<String, String>,
) -> String {
    let passed = expected.len() - expected.intersection(failed).count();
    let mut page = format!(
        "# Conformance\n\n\
         The Eclipse Dataspace TCK for the Dataspace Protocol 2025-1 (`org.eclipse.dataspacetck.dsp`, version {version}) against\n\
         a node as shipped, over mutual TLS: {passed} of {} passed.\n\n\
         This page is written by `integration-tests/tck/run --write` from the run itself; `.ci/run` runs the kit and fails when\n\
         the page differs. The kit disables two further tests of its own, TP:02-04 and TP_C:02-04.\n\n\
         | test | what the kit does | result |\n|---|---|---|\n",
        expected.len()
    );
    for name in expected {
        let title = titles.get(name).map_or("", String::as_str);
        let result = if failed.contains(name) { "failed" } else { "passed" };
        let _ = writeln!(page, "| {name} | {title} | {result} |");
    }
    page
}

/// Does with the page what was ordered; whether it is as it should be.
pub(crate) fn settle(table: &str, order: Order) -> Result<bool> {
    match order {
        Order::Leave => Ok(true),
        Order::Write => {
            std::fs::write(PAGE, table).with_context(|| format!("`{PAGE}` cannot be written"))?;
            Ok(true)
        }
        Order::Check => Ok(std::fs::read_to_string(PAGE).unwrap_or_default() == table),
    }
}

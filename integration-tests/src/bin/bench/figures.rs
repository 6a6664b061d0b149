//! What was measured.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

/// One measured value, beside a peer's where there is one.
#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    peer: Option<(&'static str, f64)>,
}

/// All of them, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// Adds a value.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.0.push(Figure { name: name.into(), value, unit, peer: None });
    }

    /// Adds a value beside a peer's.
    pub(crate) fn beside(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        peer: (&'static str, f64),
    ) {
        self.0.push(Figure { name: name.into(), value, unit, peer: Some(peer) });
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let width = self.0.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        let mut text = String::from("\n");
        for Figure { name, value, unit, peer } in &self.0 {
            text.push_str(&format!("{name:<width$}  {value:>10.1} {unit:<10}"));
            if let Some((peer, peer_value)) = peer {
                text.push_str(&format!(
                    "  {peer} {peer_value:.1}, ratio {:.2}",
                    value / peer_value
                ));
            }
            text = text.trim_end().to_owned() + "\n";
        }
        text
    }

    /// Writes the same as JSON.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let figures = self.0.iter().map(|Figure { name, value, unit, peer }| {
            json!({
                "name": name,
                "value": value,
                "unit": unit,
                "peer": peer.map(|(peer, _)| peer),
                "peer_value": peer.map(|(_, value)| value),
                "ratio": peer.map(|(_, peer_value)| value / peer_value),
            })
        });
        let text = serde_json::to_string_pretty(&figures.collect::<Vec<_>>())?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("`{}` cannot be written", file.display()))
    }
}

/// The value below which this share of the values lies.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index below the length, from a share between 0 and 1"
    )]
    let index = (last as f64 * share).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// A time in milliseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A size in mebibytes.
#[expect(clippy::cast_precision_loss, reason = "sizes of processes and files are far below 2^53")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

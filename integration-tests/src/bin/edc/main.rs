//! A running Eclipse EDC and a node as shipped: each asks the other for data, and each ends what the other began.
//!
//! `integration-tests/edc/run` fetches EDC and starts this program, which joins the two by a gateway
//! ([`integration_tests::gateway`]) and plays both operators through the two public management APIs.

mod from_edc;
mod from_node;
mod stage;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use integration_tests::narration::{end, line};
use integration_tests::scene::Scene;

use stage::Stage;
use tally::Tally;

/// A running Eclipse EDC against a node; `integration-tests/edc/run` starts this.
#[derive(Debug, Parser)]
struct Order {
    /// EDC's jars.
    #[arg(long)]
    libraries: PathBuf,
    /// Where transcripts are kept.
    #[arg(long)]
    transcripts: PathBuf,
}

fn main() -> ExitCode {
    end(play(&Order::parse()))
}

/// Plays all steps and says how they went; whether all is well.
fn play(order: &Order) -> Result<bool> {
    let scene = Scene::new()?;
    let mut stage = Stage::set(&scene, &order.libraries)?;
    let mut tally = Tally::default();
    from_edc::play(&stage, &mut tally);
    from_node::play(&stage, &mut tally);
    stage.keep(&order.transcripts)?;
    stage.node.stop()?;
    line(format!("{} passed, {} failed", tally.passed, tally.failed));
    Ok(tally.failed == 0)
}

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

use anyhow::{Context as _, Result, ensure};
use integration_tests::narration::line;
use integration_tests::scene::Scene;

use stage::Stage;
use tally::Tally;

/// What was asked for.
struct Order {
    /// EDC's jars.
    libraries: PathBuf,
    /// Where transcripts are kept.
    transcripts: PathBuf,
}

fn main() -> ExitCode {
    match order().and_then(|order| play(&order)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            line(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line that `integration-tests/edc/run` makes.
fn order() -> Result<Order> {
    let (mut libraries, mut transcripts) = (None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("`{word}` needs a value"))?;
        match word.as_str() {
            "--libraries" => libraries = Some(PathBuf::from(value)),
            "--transcripts" => transcripts = Some(PathBuf::from(value)),
            _ => ensure!(false, "`{word}` is no option"),
        }
    }
    Ok(Order {
        libraries: libraries.context("`--libraries` is missing")?,
        transcripts: transcripts.context("`--transcripts` is missing")?,
    })
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

//! The crash suite: two real daemons exchange files round after round, and in each round one side is killed, at a random
//! moment or at a chosen system call. After each restart everything that was acknowledged must still be there.
//!
//! Usage: `crash rounds COUNT [SEED]`, `crash device-errors`, `crash full-disk DIRECTORY`. The last line is `N passed, N failed`.

mod audit;
mod device;
mod disk;
mod kill;
mod round;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use integration_tests::narration::line;

use round::Rounds;

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    let outcome = match words.as_slice() {
        ["rounds", count] => play(count, "sekisho"),
        ["rounds", count, seed] => play(count, seed),
        ["device-errors"] => Ok(device::run()),
        ["full-disk", directory] => full_disk(Path::new(directory)),
        _ => {
            line(
                "usage: crash rounds COUNT [SEED] | crash device-errors | crash full-disk DIRECTORY",
            );
            return ExitCode::from(64);
        }
    };
    match outcome {
        Ok((passed, failed)) => {
            line(format!("{passed} passed, {failed} failed"));
            if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            line(format!("the suite itself failed: {error:#}"));
            line("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Plays rounds until one leaves the sites in doubt; what was not played counts as failed.
fn play(count: &str, seed: &str) -> Result<(u32, u32)> {
    let count = count.parse::<u32>().context("the number of rounds")?;
    line(format!("{count} rounds, seed `{seed}`"));
    let mut rounds = Rounds::new(seed)?;
    let mut passed = 0;
    for number in 1..=count {
        match rounds.play(number) {
            Ok(told) => {
                passed += 1;
                line(format!("round {number}: {told}"));
            }
            Err(error) => {
                line(format!("round {number} FAILED: {error:#}\n{}", rounds.logs()));
                return Ok((passed, count - passed));
            }
        }
    }
    match rounds.finish() {
        Ok(told) => {
            line(told);
            Ok((passed, 0))
        }
        Err(error) => {
            line(format!("the audit after all rounds FAILED: {error:#}"));
            Ok((passed, 1))
        }
    }
}

fn full_disk(directory: &Path) -> Result<(u32, u32)> {
    match disk::run(directory) {
        Ok(told) => {
            line(told);
            Ok((1, 0))
        }
        Err(error) => {
            line(format!("the full disk FAILED: {error:#}"));
            Ok((0, 1))
        }
    }
}

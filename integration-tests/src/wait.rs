//! Waiting for what other processes do: asking again with growing pauses, never longer than told.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take that comes by itself: reached only where something is wrong, also on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer.
///
/// # Errors
/// The error of the question, or that no answer came within `limit`.
pub fn until<T>(what: &str, limit: Duration, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    ask_again(what, limit, LONGEST_PAUSE, ask)
}

/// The same with a pause of a millisecond throughout, for what is measured.
///
/// # Errors
/// As [`until`].
pub fn closely<T>(
    what: &str,
    limit: Duration,
    ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    ask_again(what, limit, FIRST_PAUSE, ask)
}

fn ask_again<T>(
    what: &str,
    limit: Duration,
    longest_pause: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if started.elapsed() >= limit {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(pause);
        pause = pause.saturating_mul(2).min(longest_pause);
    }
}

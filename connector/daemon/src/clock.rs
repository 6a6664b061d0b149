//! Whether the wall clock can be trusted.
//!
//! Each tick is compared with the one before: between them the wall clock must have moved as `CLOCK_BOOTTIME` did, which
//! never jumps and counts suspension. And it must not be far behind the last journaled time. The judgement is pure; the
//! node takes ticks from its [`store::clock::Clock`] and journals what is found.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
pub use store::clock::{Clock, SystemClock};

/// Both clocks at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The wall clock.
    pub wall: Timestamp,
    /// Time since the machine started, suspension included.
    pub since_boot: Duration,
}

/// A machine that slept between the two readings would look like a step.
const ONE_INSTANT: Duration = Duration::from_secs(1);

impl Tick {
    /// Reads both clocks, again where they were not read at one instant.
    pub fn take(clock: &dyn Clock) -> Self {
        loop {
            let (since_boot, wall) = (clock.since_boot(), clock.now());
            if clock.since_boot().saturating_sub(since_boot) < ONE_INSTANT {
                return Self { wall, since_boot };
            }
        }
    }
}

/// Why the wall clock is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockFault {
    /// It moved otherwise than the time since boot did.
    #[error("the wall clock jumped by {by:#} between two looks at it")]
    Stepped {
        /// How far; negative when it went back.
        by: SignedDuration,
    },
    /// It is behind the last journaled time, so it was set back while the node did not run.
    #[error("the wall clock is {by:#} behind the last journaled time `{journaled}`")]
    Behind {
        /// How far.
        by: SignedDuration,
        /// The time of the last record.
        journaled: Timestamp,
    },
    /// The time since boot went backwards, which no running machine shows.
    #[error("the time since boot went backwards")]
    Unsteady,
}

/// Compares a tick with the one before and with the last journaled time. Exactly `max_step` is still accepted.
///
/// # Errors
/// What is wrong with the clock: permits end until an operator accepts the time.
pub fn judge(
    before: Option<Tick>,
    now: Tick,
    last_journaled: Option<Timestamp>,
    max_step: Duration,
) -> Result<(), ClockFault> {
    if let Some(before) = before {
        let passed = now.since_boot.checked_sub(before.since_boot).ok_or(ClockFault::Unsteady)?;
        let moved = now.wall.duration_since(before.wall);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let by = moved.saturating_sub(passed);
        if by.unsigned_abs() > max_step {
            return Err(ClockFault::Stepped { by });
        }
    }
    if let Some(journaled) = last_journaled {
        let by = journaled.duration_since(now.wall);
        if by.is_positive() && by.unsigned_abs() > max_step {
            return Err(ClockFault::Behind { by, journaled });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

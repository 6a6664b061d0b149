//! Time and randomness, which everything else takes as arguments.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom as AwsRandom};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, UTC. It may jump.
    fn now(&self) -> Timestamp;

    /// Time since the machine started, suspension included (`CLOCK_BOOTTIME`). It never jumps.
    fn since_boot(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn since_boot(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(seconds, nanoseconds)
    }
}

/// Gives unpredictable bytes, for the salts of records.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the source has none: nothing may be stored with a guessable salt.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// The random source of the cryptographic library.
#[derive(Default)]
pub struct SystemRandom(AwsRandom);

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.0.fill(bytes).map_err(|_| RandomError)
    }
}

impl fmt::Debug for SystemRandom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SystemRandom")
    }
}

/// The random source failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed: nothing can be stored without fresh salts")]
pub struct RandomError;

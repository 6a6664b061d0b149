//! How many bytes of messages a partner may send in an hour. What is accepted is recorded with its text, and stays: a partner
//! whose messages are all in order must not fill the disk with them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::id::ParticipantId;
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);
/// What a message counts at the least: the records of the smallest take as much.
const LEAST_BYTES: u64 = 2048;

/// What came from each partner in its hour, which begins with its first message.
#[derive(Debug)]
pub struct Intake {
    most: u64,
    came: Mutex<HashMap<ParticipantId, (Instant, u64)>>,
}

/// A partner has sent as much in this hour as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("your messages of this hour have more than {most} bytes together; wait, and send fewer")]
pub(super) struct Beyond {
    /// How many it may send.
    pub(super) most: u64,
}

impl Intake {
    /// So many bytes of each partner in an hour.
    pub fn new(most: u64) -> Self {
        Self { most, came: Mutex::default() }
    }

    /// Counts a message.
    ///
    /// # Errors
    /// When the partner has sent as much as it may.
    pub(super) fn take(
        &self,
        participant: &ParticipantId,
        bytes: usize,
        now: Instant,
    ) -> Result<(), Beyond> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).max(LEAST_BYTES);
        let mut came = self.came.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, sum) = came.entry(participant.clone()).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= HOUR {
            (*since, *sum) = (now, 0);
        }
        let all = sum.saturating_add(bytes);
        if all > self.most {
            return Err(Beyond { most: self.most });
        }
        *sum = all;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partner_has_its_own_hour() {
        let (one, two): (ParticipantId, ParticipantId) =
            ("urn:one".parse().unwrap(), "urn:two".parse().unwrap());
        let (intake, now) = (Intake::new(3 * LEAST_BYTES), Instant::now());
        let beyond = Err(Beyond { most: 3 * LEAST_BYTES });
        assert_eq!(intake.take(&one, 5000, now), Ok(()));
        assert_eq!(intake.take(&one, 5000, now), beyond);
        assert_eq!(intake.take(&one, 1, now), beyond, "a small one counts for its records");
        assert_eq!(intake.take(&two, 5000, now), Ok(()));
        let later = now + HOUR;
        assert_eq!(intake.take(&one, 5000, later), Ok(()));
        assert_eq!(intake.take(&two, usize::MAX, later), beyond);
    }
}

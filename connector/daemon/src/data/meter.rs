//! What was served under each grant and is not recorded yet.
//!
//! Requests under a grant accumulate in a summary that is recorded each second and at the end (`design.md`, Permits).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::id::Pid;
use tokio::sync::Notify;

/// What was served under one grant since the last summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Bytes given to the HTTP layer: at least what the partner received.
    pub bytes: u64,
    /// Requests begun.
    pub requests: u64,
    /// Whether no request runs at this moment.
    pub finished: bool,
}

/// The counters of all grants that are in use.
#[derive(Debug, Default)]
pub struct Meters {
    tallies: Mutex<HashMap<Pid, Tally>>,
    pending: Notify,
}

#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
    requests: u64,
    streams: usize,
    /// Whether something changed since the last drain.
    changed: bool,
}

/// Counts one request until it is dropped.
#[derive(Debug)]
pub struct Metered {
    meters: Arc<Meters>,
    transfer: Pid,
}

impl Meters {
    /// Begins to count a request under the grant of a transfer.
    pub fn begin(self: &Arc<Self>, transfer: Pid) -> Metered {
        self.change(&transfer, |tally| {
            tally.requests += 1;
            tally.streams += 1;
        });
        Metered { meters: Arc::clone(self), transfer }
    }

    /// Waits until there is something to drain. One task may wait at a time.
    pub async fn pending(&self) {
        self.pending.notified().await;
    }

    /// Takes what was served since the last drain, per transfer that anything happened in.
    pub fn drain(&self) -> Vec<(Pid, Served)> {
        let mut tallies = self.lock();
        let mut drained = Vec::new();
        tallies.retain(|transfer, tally| {
            let finished = tally.streams == 0;
            if std::mem::take(&mut tally.changed) {
                let bytes = std::mem::take(&mut tally.bytes);
                let requests = std::mem::take(&mut tally.requests);
                drained.push((transfer.clone(), Served { bytes, requests, finished }));
            }
            !finished
        });
        drained
    }

    /// Puts back what was drained and could not be recorded.
    pub fn restore(&self, transfer: &Pid, served: Served) {
        self.change(transfer, |tally| {
            tally.bytes = tally.bytes.saturating_add(served.bytes);
            tally.requests = tally.requests.saturating_add(served.requests);
        });
    }

    fn change(&self, transfer: &Pid, change: impl FnOnce(&mut Tally)) {
        let mut tallies = self.lock();
        let tally = match tallies.get_mut(transfer) {
            Some(tally) => tally,
            None => tallies.entry(transfer.clone()).or_default(),
        };
        change(tally);
        tally.changed = true;
        drop(tallies);
        self.pending.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, Tally>> {
        // Counters are whole after each step, so one that a panic left locked is still right.
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metered {
    /// Counts bytes as they are given to the HTTP layer.
    pub fn add(&self, bytes: u64) {
        self.meters.change(&self.transfer, |tally| tally.bytes = tally.bytes.saturating_add(bytes));
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.meters.change(&self.transfer, |tally| tally.streams = tally.streams.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;

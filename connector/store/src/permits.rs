//! The permits in use: a commit that takes the ground of one away ends it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use engine::Key;
use engine::permit::{EndReason, Permit};
use jiff::Timestamp;
use protocol::id::Pid;
use tokio::sync::oneshot;

use crate::state::StoredKey;

/// Numbers the registered permits of one run.
pub(crate) type PermitId = u64;

/// Resolves when a permit has ended. Dropping it gives the permit back: nothing is served under it any more.
pub struct Ending {
    receiver: oneshot::Receiver<EndReason>,
    /// Told when this is dropped.
    release: Option<Box<dyn FnOnce() + Send>>,
}

impl Ending {
    pub(crate) fn new(
        receiver: oneshot::Receiver<EndReason>,
        release: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self { receiver, release: Some(Box::new(release)) }
    }
}

impl Future for Ending {
    type Output = EndReason;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<EndReason> {
        // A store that is gone can no longer say that the ground still holds, so the permit ends.
        Pin::new(&mut self.receiver).poll(context).map(|ended| {
            ended.unwrap_or_else(|_| EndReason {
                external: "the provider stops".to_owned(),
                internal: "the store was closed".to_owned(),
                terminates: false,
                by_policy: false,
            })
        })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ending")
    }
}

struct Registered {
    permit: Permit,
    end: oneshot::Sender<EndReason>,
}

/// The permits in use, by the keys of what they rest on.
#[derive(Default)]
pub(crate) struct Registry {
    permits: HashMap<PermitId, Registered>,
    grounds: HashMap<StoredKey, BTreeSet<PermitId>>,
    next: PermitId,
}

impl Registry {
    pub(crate) fn register(&mut self, permit: Permit) -> (PermitId, oneshot::Receiver<EndReason>) {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        for key in permit.grounds() {
            self.grounds.entry(key.encode()).or_default().insert(id);
        }
        let (end, receiver) = oneshot::channel();
        self.permits.insert(id, Registered { permit, end });
        (id, receiver)
    }

    pub(crate) fn release(&mut self, id: PermitId) -> Option<Permit> {
        self.take(id).map(|registered| registered.permit)
    }

    /// Ends a permit: its stream is told now, whatever becomes of the record.
    pub(crate) fn end(&mut self, id: PermitId, reason: EndReason) -> Option<Permit> {
        let Registered { permit, end } = self.take(id)?;
        // An error means that the stream has just ended by itself.
        let _ = end.send(reason);
        Some(permit)
    }

    pub(crate) fn permit(&self, id: PermitId) -> Option<&Permit> {
        self.permits.get(&id).map(|registered| &registered.permit)
    }

    /// The permits that rest on one of these keys.
    pub(crate) fn resting_on<'a>(
        &self,
        keys: impl Iterator<Item = &'a StoredKey>,
    ) -> BTreeSet<PermitId> {
        if self.grounds.is_empty() {
            return BTreeSet::new();
        }
        keys.filter_map(|key| self.grounds.get(key)).flatten().copied().collect()
    }

    pub(crate) fn of_transfer(&self, transfer: &Pid) -> BTreeSet<PermitId> {
        self.resting_on([Key::Transfer(transfer.clone()).encode()].iter())
    }

    /// The permits that must be decided again by now.
    pub(crate) fn due(&self, now: Timestamp) -> BTreeSet<PermitId> {
        let is_due = |permit: &Permit| permit.until().is_some_and(|until| until <= now);
        let due = self.permits.iter().filter(|(_, registered)| is_due(&registered.permit));
        due.map(|(id, _)| *id).collect()
    }

    /// Whether a permit rests on this key.
    pub(crate) fn is_ground(&self, key: &StoredKey) -> bool {
        self.grounds.contains_key(key)
    }

    fn take(&mut self, id: PermitId) -> Option<Registered> {
        let registered = self.permits.remove(&id)?;
        for key in registered.permit.grounds() {
            let key = key.encode();
            if let Some(ids) = self.grounds.get_mut(&key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.grounds.remove(&key);
                }
            }
        }
        Some(registered)
    }
}

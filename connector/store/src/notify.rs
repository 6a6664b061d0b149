//! Who is woken by a commit: nobody polls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{Key, Kind, Position};
use tokio::sync::{broadcast, watch};

/// How many groups a slow receiver of changes may lag behind before it is told to look at everything.
const CHANGES_KEPT: usize = 1_024;
/// Below this many watched keys nobody tidies up.
const WATCHED_FEW: usize = 64;

/// What a receiver of changes is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These were written by one durable group, in this order.
    Written(Vec<Written>),
    /// Changes were missed, because the receiver was slow: scan for what is there.
    Rescan,
    /// The store was closed.
    Closed,
}

/// A key that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which entity.
    pub key: Key,
    /// Whether it was removed by that.
    pub is_gone: bool,
}

/// The keys of some kinds as they are written; see [`crate::FileStore::subscribe_kinds`].
#[derive(Debug)]
pub struct Changes {
    kinds: &'static [Kind],
    receiver: broadcast::Receiver<Arc<[Written]>>,
}

impl Changes {
    /// Waits for the next durable group that wrote keys of these kinds. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Change {
        loop {
            match self.receiver.recv().await {
                Ok(written) => {
                    let of_kinds = |written: &&Written| self.kinds.contains(&written.key.kind());
                    let written: Vec<Written> = written.iter().filter(of_kinds).cloned().collect();
                    if !written.is_empty() {
                        return Change::Written(written);
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => return Change::Rescan,
                Err(broadcast::error::RecvError::Closed) => return Change::Closed,
            }
        }
    }
}

/// Tells watchers what became durable.
#[derive(Debug)]
pub(crate) struct Notifier {
    watched: Mutex<Watched>,
    changes: Mutex<Option<broadcast::Sender<Arc<[Written]>>>>,
    /// Gone when the store is closed.
    advance: Mutex<Option<watch::Sender<Option<Position>>>>,
    durable: watch::Receiver<Option<Position>>,
}

#[derive(Debug, Default)]
struct Watched {
    keys: HashMap<Key, watch::Sender<Option<Position>>>,
    tidy_at: usize,
    closed: bool,
}

impl Notifier {
    pub(crate) fn new(durable: Option<Position>) -> Self {
        let (advance, durable) = watch::channel(durable);
        Self {
            watched: Mutex::default(),
            changes: Mutex::new(Some(broadcast::channel(CHANGES_KEPT).0)),
            advance: Mutex::new(Some(advance)),
            durable,
        }
    }

    /// Says that a group is durable up to `position`, and what it wrote.
    pub(crate) fn publish(&self, written: Vec<Written>, position: Position) {
        if let Some(advance) = &*self.advance.lock().unwrap_or_else(PoisonError::into_inner) {
            advance.send_replace(Some(position));
        }
        if written.is_empty() {
            return;
        }
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched.keys.is_empty() {
            for Written { key, .. } in &written {
                if let Some(sender) = watched.keys.get(key)
                    && sender.send(Some(position)).is_err()
                {
                    watched.keys.remove(key);
                }
            }
        }
        drop(watched);
        if let Some(changes) = &*self.changes.lock().unwrap_or_else(PoisonError::into_inner) {
            // An error means that nobody listens.
            let _ = changes.send(written.into());
        }
    }

    pub(crate) fn watch(&self, key: Key) -> watch::Receiver<Option<Position>> {
        let durable = *self.durable.borrow();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.closed {
            return watch::channel(durable).1;
        }
        if watched.keys.len() >= watched.tidy_at.max(WATCHED_FEW) {
            watched.keys.retain(|_, sender| sender.receiver_count() > 0);
            watched.tidy_at = watched.keys.len().saturating_mul(2);
        }
        watched.keys.entry(key).or_insert_with(|| watch::channel(durable).0).subscribe()
    }

    pub(crate) fn changes(&self, kinds: &'static [Kind]) -> Changes {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = match &*changes {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        };
        Changes { kinds, receiver }
    }

    pub(crate) fn durable(&self) -> watch::Receiver<Option<Position>> {
        self.durable.clone()
    }

    /// Ends all subscriptions, so that whoever waits learns that nothing more comes.
    pub(crate) fn close(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.closed = true;
        watched.keys.clear();
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.advance.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

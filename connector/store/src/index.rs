//! The cold part of the state in sled: a copy, filled from the journal and replaced when it is not sound.
//!
//! One thread applies what has become durable, in order, and now and then stores how far it came, after the data. Nothing
//! here is on the commit path, and nothing is lost with it. While it is not caught up, cold entities cannot be read.

mod fill;
mod select;
mod selectors;
mod value;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::catalog::{Selected, Selection};
use engine::{Key, Kind, Position, StoreError};
use journal::log::Mark;
use tokio::sync::watch;

use crate::frames::FrameReader;
use crate::keeper::Keeper;
use crate::state::{ColdWrite, InMemory, Loaded, Stored, StoredKey, kind_bounds};

use fill::Filler;
use value::decode_value;
pub(crate) use value::{VALUE_BYTES_MAX, value_length};

/// How long a reader waits for an index that is catching up before it is told to come back later.
const CATCH_UP_WAIT: Duration = Duration::from_secs(1);

/// At the latest after so many bytes of journal the applying thread is told how far the journal is.
const TELL_AFTER_BYTES: u64 = 1 << 20;

/// How the index is to begin.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The directory of sled's files.
    pub(crate) directory: PathBuf,
    /// Whether the files that are there were left by a stop that the kernel survived.
    pub(crate) trusted: bool,
    /// Sled's cache, in bytes.
    pub(crate) cache_bytes: u64,
    /// A distance in the journal, in bytes, beyond which rebuilding is quicker than catching up.
    pub(crate) catch_up_bytes: u64,
    /// Where the journal ends at the start.
    pub(crate) end: Mark,
}

/// The index, for those who read it and for the one who feeds it.
#[derive(Debug)]
pub(crate) struct Index {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    /// The end of the last group that was handed over.
    told: AtomicU64,
}

/// What the applying thread is told.
pub(super) enum Order {
    /// A group is durable, with these cold writes; its frame ends at the offset.
    Apply { writes: Vec<ColdWrite>, end: u64 },
    /// What is there cannot be read.
    Replace,
    /// No more comes: store how far it came, and make it durable.
    Stop { done: mpsc::Sender<bool> },
}

#[derive(Debug)]
pub(super) struct Shared {
    /// The open database; absent while it is caught up or rebuilt.
    database: RwLock<Option<sled::Db>>,
    /// The offset in the journal up to which everything can be read from the database.
    applied: watch::Sender<u64>,
    /// Whether the database can be read.
    pub(super) ready: watch::Sender<bool>,
    /// Orders that were not carried out yet.
    pending: AtomicUsize,
    /// Set when the store stops, so that a long rebuild gives way.
    pub(super) stopping: AtomicBool,
}

impl Index {
    /// Starts the applying thread. It opens or rebuilds the database in the background.
    pub(crate) fn start(
        settings: Settings,
        reader: Arc<dyn FrameReader>,
        keeper: Keeper,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (orders, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            database: RwLock::new(None),
            applied: watch::channel(0).0,
            ready: watch::channel(false).0,
            pending: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let filler = Filler::new(settings, Arc::clone(&shared), receiver, reader, keeper);
        let thread =
            std::thread::Builder::new().name("index".to_owned()).spawn(move || filler.run())?;
        Ok((Self { shared, orders, told: AtomicU64::new(0) }, thread))
    }

    /// Hands over the cold writes of a durable group.
    pub(crate) fn apply(&self, writes: Vec<ColdWrite>, end: u64) {
        // A group without any changes nothing here: where all before it is applied, nobody is woken to say so. Now and then
        // the applying thread hears of it all the same, so that a start has not far to catch up.
        let is_near = end.saturating_sub(self.told.load(Ordering::Relaxed)) < TELL_AFTER_BYTES;
        // In this order: an order that failed withdraws the index before it counts as carried out.
        let is_current = || self.pending() == 0 && self.is_ready();
        if writes.is_empty() && is_near && is_current() {
            return self.shared.set_applied(end);
        }
        self.told.store(end, Ordering::Relaxed);
        self.shared.pending.fetch_add(1, Ordering::Relaxed);
        // An error means that the store stops; the next start catches up.
        let _ = self.orders.send(Order::Apply { writes, end });
    }

    /// How many groups wait to be applied.
    pub(crate) fn pending(&self) -> usize {
        self.shared.pending.load(Ordering::Acquire)
    }

    /// The offset up to which the journal has been applied.
    pub(crate) fn applied(&self) -> u64 {
        self.shared.applied()
    }

    /// Waits, for a short while, until cold entities can be read.
    pub(crate) async fn wait(&self) -> Result<(), StoreError> {
        let mut ready = self.shared.ready.subscribe();
        match tokio::time::timeout(CATCH_UP_WAIT, ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => Err(StoreError::Rebuilding),
        }
    }

    /// Waits, for a short while, until what the record at a position wrote can be read.
    pub(crate) async fn reached(&self, position: Position) -> Result<(), StoreError> {
        self.wait().await?;
        let mut applied = self.shared.applied.subscribe();
        // Where the frame ends is not known here, only that it is beyond its beginning.
        let reached = applied.wait_for(|applied| *applied > position.frame);
        match tokio::time::timeout(CATCH_UP_WAIT, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => Err(StoreError::Rebuilding),
        }
    }

    /// Finds datasets. It blocks on the disk.
    pub(crate) fn select(&self, selection: &Selection) -> Result<Selected, StoreError> {
        let database = self.shared.database()?;
        self.guard(|| select::select(&database, selection))
    }

    /// Resolves when cold entities can be read, however long that takes.
    pub(crate) async fn ready(&self) {
        let mut ready = self.shared.ready.subscribe();
        // An error means that the store is gone, and so is the question.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// Whether cold entities can be read now.
    pub(crate) fn is_ready(&self) -> bool {
        *self.shared.ready.borrow()
    }

    /// Reads entities. It blocks on the disk.
    pub(crate) fn load(&self, keys: impl Iterator<Item = Key>) -> Result<Loaded, StoreError> {
        let database = self.shared.database()?;
        // What is read is at least as new as this.
        let applied = self.shared.applied();
        let mut loaded = Loaded::default();
        for key in keys {
            let key = key.encode();
            let value = self.guard(|| match database.get(&key)? {
                None => Ok(None),
                Some(bytes) => decode_value(&bytes).map(Some),
            })?;
            loaded.insert(key, value, applied);
        }
        Ok(loaded)
    }

    /// Completes a scan: the entities of a kind after a key, where what memory had comes first. It blocks on the disk.
    pub(crate) fn scan(
        &self,
        kind: Kind,
        after: Option<&StoredKey>,
        limit: usize,
        memory: InMemory,
    ) -> Result<Vec<(StoredKey, Stored)>, StoreError> {
        let database = self.shared.database()?;
        let mut found: BTreeMap<StoredKey, Stored> = BTreeMap::new();
        self.guard(|| {
            for item in database.range(kind_bounds(kind, after)) {
                let (key, bytes) = item?;
                let beyond = memory.complete_to.as_ref().is_some_and(|last| *key > **last);
                if beyond || found.len() >= limit {
                    break;
                }
                if !memory.entries.contains_key(key.as_ref()) {
                    found.insert(key.to_vec(), decode_value(&bytes)?);
                }
            }
            Ok(())
        })?;
        found.extend(memory.entries.into_iter().filter_map(|(key, stored)| Some((key, stored?))));
        Ok(found.into_iter().take(limit).collect())
    }

    /// Stores how far it came and closes the files. Says whether all of it is durable.
    pub(crate) fn stop(&self) -> bool {
        let (done, receiver) = mpsc::channel();
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.orders.send(Order::Stop { done }).is_ok() && receiver.recv().unwrap_or(false)
    }

    /// Runs a reading; what cannot be read is replaced, for it is only a copy.
    fn guard<T>(&self, read: impl FnOnce() -> Result<T, IndexError>) -> Result<T, StoreError> {
        guarded(read).map_err(|error| {
            tracing::warn!(event = "index.unreadable", error = %error);
            if self.shared.withdraw() {
                let _ = self.orders.send(Order::Replace);
            }
            StoreError::Rebuilding
        })
    }
}

impl Shared {
    pub(super) fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    pub(super) fn set_applied(&self, end: u64) {
        self.applied.send_replace(end);
    }

    /// Lets readers in.
    pub(super) fn publish(&self, database: sled::Db) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        self.ready.send_replace(true);
    }

    /// Keeps readers out; says whether they were let in before.
    pub(super) fn withdraw(&self) -> bool {
        self.ready.send_replace(false);
        self.database.write().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    pub(super) fn carried_out(&self) {
        self.pending.fetch_sub(1, Ordering::Release);
    }

    fn database(&self) -> Result<sled::Db, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.clone().ok_or(StoreError::Rebuilding)
    }
}

/// The index cannot be used. It is rebuilt; nobody but the log sees this.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    #[error("a value is not in the form that this release stores")]
    Value,
    #[error("an entity has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
    #[error("sled panicked")]
    Panicked,
    #[error("{0}")]
    Files(#[from] std::io::Error),
    #[error("the journal cannot be read: {0}")]
    Journal(String),
    #[error("there is no sound snapshot to fill it from: {0}")]
    Snapshot(String),
    #[error("the store stops")]
    Stopping,
}

/// Sled 0.34 panics on some damage where it could return an error.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(IndexError::Panicked))
}

impl std::fmt::Debug for Order {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Apply { .. } => "Apply",
            Self::Replace => "Replace",
            Self::Stop { .. } => "Stop",
        })
    }
}

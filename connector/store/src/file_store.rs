//! The handle of an open store, and its side of [`engine::Store`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use engine::catalog::{Selected, Selection};
use engine::permit::Permit;
use engine::{
    Body, Committed, Decision, Entity, Key, Kind, Need, Position, Store, StoreError, TreeId, View,
};
use protocol::id::Pid;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::directory::Directory;
use crate::frames::FrameReader;
use crate::index::Index;
use crate::keeper::Keeper;
use crate::notify::{Changes, Notifier};
use crate::permits::Ending;
use crate::record::decode_body;
use crate::sequencer::Message;
use crate::state::{Loaded, StoredKey};
use crate::texts::Texts;
use crate::transaction::{Answer, Asked};
use crate::trees::SharedTrees;

/// How often a decision may ask for more entities before it is refused.
const ROUNDS_MAX: usize = 16;

/// An open store. Cheap to clone; the last clone that is dropped stops it, [`FileStore::close`] stops it in good order.
#[derive(Clone)]
pub struct FileStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) queue: mpsc::Sender<Message>,
    /// Places in the queue.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) index: Arc<Index>,
    pub(crate) trees: SharedTrees,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) reader: Arc<dyn FrameReader>,
    pub(crate) keeper: Keeper,
    pub(crate) texts: Arc<Texts>,
    pub(crate) threads: Mutex<Option<Threads>>,
}

/// What runs until the store is closed.
pub(crate) struct Threads {
    pub(crate) deciding: JoinHandle<()>,
    pub(crate) applying: JoinHandle<()>,
    pub(crate) snapshots: JoinHandle<()>,
    /// Locked until everything has stopped.
    pub(crate) directory: Directory,
}

impl Store for FileStore {
    type Ending = Ending;

    async fn transact<R: Send + 'static>(
        &self,
        keys: Vec<Key>,
        decide: impl FnMut(&dyn View) -> Result<Decision<R>, Need> + Send + 'static,
    ) -> Result<Committed<R>, StoreError> {
        Ok(self.run(keys, decide, false).await?.0)
    }

    async fn admit<R: Send + 'static>(
        &self,
        keys: Vec<Key>,
        decide: impl FnMut(&dyn View) -> Result<Decision<R>, Need> + Send + 'static,
    ) -> Result<(Committed<R>, Option<(Permit, Ending)>), StoreError> {
        self.run(keys, decide, true).await
    }

    async fn scan(
        &self,
        kind: Kind,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Arc<Entity>)>, StoreError> {
        let after: Option<StoredKey> = match &after {
            Some(key) if key.kind() != kind => {
                return Err(StoreError::Rejected {
                    reason: format!("`{key}` is not a key of the kind that is scanned"),
                });
            }
            after => after.as_ref().map(Key::encode),
        };
        let (answer, receiver) = oneshot::channel();
        let from = after.clone();
        self.send(Message::Look(Box::new(move |state| {
            let _ = answer.send(state.range(kind, from.as_ref(), limit));
        })))?;
        let memory = receiver.await.map_err(|_| StoreError::Closed)?;
        let found = if Entity::may_be_cold(kind) {
            self.inner.index.wait().await?;
            let index = Arc::clone(&self.inner.index);
            blocking(move || index.scan(kind, after.as_ref(), limit, memory)).await??
        } else {
            let live = memory.entries.into_iter();
            live.filter_map(|(key, stored)| Some((key, stored?))).collect()
        };
        found
            .into_iter()
            .map(|(key, stored)| {
                Key::decode(&key).map(|key| (key, stored.entity)).ok_or(StoreError::Rebuilding)
            })
            .collect()
    }

    async fn tree_head(&self, tree: TreeId) -> Result<(u64, [u8; 32]), StoreError> {
        let (size, root) = self.inner.trees.head(&tree);
        Ok((size, root.0))
    }
}

impl FileStore {
    pub(crate) fn from_inner(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// The hot entities of one kind in key order, after a key, at most `limit` of them: open processes, pulls under way.
    /// It does not wait for the index.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn scan_hot(
        &self,
        kind: Kind,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Arc<Entity>)>, StoreError> {
        let after: Option<StoredKey> = after.as_ref().map(Key::encode);
        let (answer, receiver) = oneshot::channel();
        self.send(Message::Look(Box::new(move |state| {
            let _ = answer.send(state.range(kind, after.as_ref(), limit));
        })))?;
        let memory = receiver.await.map_err(|_| StoreError::Closed)?;
        let live = memory.entries.into_iter();
        live.filter_map(|(key, stored)| Some((key, stored?)))
            .map(|(key, stored)| {
                Key::decode(&key).map(|key| (key, stored.entity)).ok_or(StoreError::Rebuilding)
            })
            .collect()
    }

    /// The datasets of a selection, by their secondary entries: what is not in it costs nothing. Everything that is durable
    /// at the call is seen.
    ///
    /// # Errors
    /// When the index is rebuilt or the store is closed.
    pub async fn select(&self, selection: Selection) -> Result<Selected, StoreError> {
        let durable = *self.inner.notifier.durable().borrow();
        match durable {
            Some(position) => self.inner.index.reached(position).await?,
            None => self.inner.index.wait().await?,
        }
        let index = Arc::clone(&self.inner.index);
        blocking(move || index.select(&selection)).await?
    }

    /// Those of these entities that are hot: processes that are open. It does not wait for the index.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn hot(&self, keys: Vec<Key>) -> Result<Vec<(Key, Arc<Entity>)>, StoreError> {
        let (answer, receiver) = oneshot::channel();
        self.send(Message::Look(Box::new(move |state| {
            let found =
                keys.into_iter().filter_map(|key| state.hot(&key).map(|entity| (key, entity)));
            let _ = answer.send(found.collect());
        })))?;
        receiver.await.map_err(|_| StoreError::Closed)
    }

    /// Decides the permits of a transfer again, such as when the instant came at which they must be; those that hold no
    /// more are ended, and their cut is recorded. Returns how many ended.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn recheck_permits(&self, transfer: Pid) -> Result<usize, StoreError> {
        self.recheck(Some(transfer)).await
    }

    /// As [`FileStore::recheck_permits`], for those whose instant has come by the wall clock: streams count monotonic time,
    /// which stands still while a machine is suspended.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn recheck_due(&self) -> Result<usize, StoreError> {
        self.recheck(None).await
    }

    /// Changes each time that a durable commit wrote this key, to the position of its group's last record. It ends when
    /// the store is closed.
    pub fn subscribe(&self, key: Key) -> watch::Receiver<Option<Position>> {
        self.inner.notifier.watch(key)
    }

    /// The keys of some kinds as durable commits write them.
    pub fn subscribe_kinds(&self, kinds: &'static [Kind]) -> Changes {
        self.inner.notifier.changes(kinds)
    }

    /// No durable record is later than this position; `None` before the first one. It ends when the store is closed.
    pub fn durable(&self) -> watch::Receiver<Option<Position>> {
        self.inner.notifier.durable()
    }

    /// The body of the record at a position; `None` where it has none or it was erased.
    ///
    /// # Errors
    /// When no record is there or it cannot be read.
    pub async fn body(&self, position: Position) -> Result<Option<Body>, StoreError> {
        let kept = self.inner.texts.take(position);
        match kept.as_deref().and_then(decode_body) {
            Some(body) => Ok(Some(body)),
            None => Ok(self.record_at(position).await?.body),
        }
    }

    /// Resolves when cold entities can be read. Nothing needs to wait for it but tools that want everything.
    pub async fn ready(&self) {
        self.inner.index.ready().await;
    }

    /// Whether cold entities can be read now.
    pub fn is_ready(&self) -> bool {
        self.inner.index.is_ready()
    }

    /// Makes a snapshot now, in the background.
    pub fn request_snapshot(&self) {
        self.inner.keeper.snapshot();
    }

    /// Stops in good order: commits what is in the queue, proves it durable, closes the index and says so in the
    /// directory. Later calls are refused with [`StoreError::Closed`].
    ///
    /// # Errors
    /// When it was closed before, or the directory cannot be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        let threads = self.inner.take_threads().ok_or(StoreError::Closed)?;
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.stop(threads)).await?
    }

    async fn run<R, D>(
        &self,
        keys: Vec<Key>,
        decide: D,
        admits: bool,
    ) -> Result<(Committed<R>, Option<(Permit, Ending)>), StoreError>
    where
        R: Send + 'static,
        D: FnMut(&dyn View) -> Result<Decision<R>, Need> + Send + 'static,
    {
        let mut decide = decide;
        let cold = keys.iter().filter(|key| Entity::may_be_cold(key.kind()));
        let mut wanted: BTreeSet<Key> = cold.cloned().collect();
        let mut loaded = Loaded::default();
        // What is known to be needed is read at once, not only when the sequencer asks for it. What is read here and what it
        // has in memory are told apart as ever: memory is newer.
        if !wanted.is_empty() && self.inner.index.is_ready() {
            loaded = self.load(&wanted).await.unwrap_or_default();
        }
        for _ in 0..ROUNDS_MAX {
            let place = Arc::clone(&self.inner.places).acquire_owned().await;
            let (answer, receiver) = oneshot::channel();
            self.send(Message::Transact(Box::new(Asked {
                keys: keys.clone(),
                loaded,
                admits,
                decide,
                reply: None,
                answer,
                _place: Some(place.map_err(|_| StoreError::Closed)?),
            })))?;
            match receiver.await.map_err(|_| StoreError::Closed)? {
                Answer::Durable { positions, reply, permit } => {
                    return Ok((Committed { positions, reply }, permit));
                }
                Answer::Failed(error) => return Err(error),
                Answer::Need { keys, decide: again } => {
                    decide = again;
                    wanted.extend(keys);
                }
            }
            // Everything is read anew: what was read before may be what is out of date.
            self.inner.index.wait().await?;
            loaded = self.load(&wanted).await?;
        }
        Err(StoreError::Rejected {
            reason: format!("it asked for entities more than {ROUNDS_MAX} times"),
        })
    }

    async fn load(&self, keys: &BTreeSet<Key>) -> Result<Loaded, StoreError> {
        let (index, keys) = (Arc::clone(&self.inner.index), keys.clone());
        blocking(move || index.load(keys.into_iter())).await?
    }

    async fn recheck(&self, transfer: Option<Pid>) -> Result<usize, StoreError> {
        let (done, receiver) = oneshot::channel();
        self.send(Message::Recheck { transfer, done })?;
        receiver.await.map_err(|_| StoreError::Closed)
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        self.inner.queue.send(message).map_err(|_| StoreError::Closed)
    }
}

impl Inner {
    fn take_threads(&self) -> Option<Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Stops the threads, those that are fed last.
    fn stop(&self, threads: Threads) -> Result<(), StoreError> {
        let Threads { deciding, applying, snapshots, directory } = threads;
        self.places.close();
        let (done, receiver) = mpsc::channel();
        let told = self.queue.send(Message::Close(done)).is_ok() && receiver.recv().is_ok();
        self.keeper.stop();
        let indexed = self.index.stop();
        self.notifier.close();
        let joined = [deciding.join(), snapshots.join(), applying.join()];
        if !told || joined.iter().any(Result::is_err) {
            return Err(StoreError::Closed);
        }
        if indexed {
            directory.mark_clean().map_err(|error| StoreError::WriteFailed {
                place: directory.path().display().to_string(),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(threads) = self.take_threads() else { return };
        // Nobody waits here: the threads finish what they are at, and the directory stays locked until they have.
        let _ = self.queue.send(Message::Close(mpsc::channel().0));
        self.keeper.stop();
        self.notifier.close();
        std::thread::spawn(move || {
            let Threads { deciding, applying, snapshots, directory } = threads;
            let _ = deciding.join();
            let _ = snapshots.join();
            let _ = applying.join();
            drop(directory);
        });
    }
}

/// Runs what blocks on the disk where it blocks nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)
}

impl fmt::Debug for FileStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FileStore")
            .field("durable", &*self.inner.notifier.durable().borrow())
            .finish_non_exhaustive()
    }
}

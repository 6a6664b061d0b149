//! Opening: from files to a running store.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

use engine::{Context, Position, RecordDraft, RecordKind, StoreError, TreeId};
use jiff::Timestamp;
use journal::files::FileLayer;
use journal::log::{Frame, Journal, Mark, Options as JournalOptions, Recovery};
use journal::tlog::Hash;
use tokio::sync::Semaphore;

use crate::clock::{Clock, Random, RandomError, SystemClock, SystemRandom};
use crate::directory::Directory;
use crate::file_store::{FileStore, Inner, Threads};
use crate::frames::{FrameReader, FrameWriter, decode_raw};
use crate::index::{Index, Settings};
use crate::keeper::{Duties, Keeper};
use crate::notify::Notifier;
use crate::record::announcement;
use crate::sequencer::{Limits, Message, Parts, Sequencer};
use crate::snapshot::{self, Fold, Folded, Header, SnapshotError, SnapshotReader};
use crate::state::{State, Stored};
use crate::texts::Texts;
use crate::transaction::internal;
use crate::trees::{Leaf, Trees};

/// How a store works. The defaults suit a site of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The size of a segment file of the journal, in bytes.
    pub segment_bytes: u64,
    /// Bytes of journal between two snapshots: what a start reads at most, besides the hot state. Where a snapshot has more
    /// than four times as many bytes, a fourth of those.
    pub snapshot_bytes: u64,
    /// How many transactions may wait in the queue before callers wait for a place in it.
    pub queue_length: usize,
    /// The index's cache, in bytes.
    pub cache_bytes: u64,
    /// How many groups may wait for the index, and while it cannot be read how many cold entities may be kept in memory
    /// instead, before writes of cold entities are refused.
    pub index_pending_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: JournalOptions::SEGMENT_BYTES,
            snapshot_bytes: 16 << 20,
            queue_length: 4_096,
            cache_bytes: 8 << 20,
            index_pending_max: 65_536,
        }
    }
}

/// What a store is given from outside: all that is not in its directory.
#[derive(Clone)]
pub struct Environment {
    /// What is fixed about this node, for the cuts that the store records.
    pub context: Context,
    /// Tells the time of records.
    pub clock: Arc<dyn Clock>,
    /// Gives salts.
    pub random: Arc<dyn Random>,
}

impl Environment {
    /// The operating system's clock and randomness.
    pub fn system(context: Context) -> Self {
        Self { context, clock: Arc::new(SystemClock), random: Arc::new(SystemRandom::default()) }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// What a start found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// The snapshot that the state was read from.
    pub snapshot: Option<PathBuf>,
    /// Bytes read from it: its header and hot entities.
    pub snapshot_bytes: u64,
    /// Snapshots that were not sound and were passed over.
    pub unsound: Vec<PathBuf>,
    /// Frames of the journal read after it.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of journal read after it.
    pub journal_bytes: u64,
    /// Where the rest of an interrupted write was cut off: the offset in the journal.
    pub torn: Option<u64>,
    /// Whether the last stop was a clean one: if not, what was served under grants since their last summary is unknown.
    pub clean_stop: bool,
    /// Whether the last stop left the index in a state that can be caught up.
    pub index_kept: bool,
    /// No record is later than this; `None` when there is none.
    pub position: Option<Position>,
}

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("`{}` is in use by process {holder}: stop that process first", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// The other process's id, or `unknown`.
        holder: String,
    },
    /// A file is not one that this release can read.
    #[error("`{}` is not of a form that this release reads: run the release that wrote it, or restore it from a backup", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
    },
    /// There is a journal and nothing says which.
    #[error("`{}` is missing, though there is a journal beside it: restore it from a backup", path.display())]
    NoInstance {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused an operation.
    #[error("`{}` cannot be opened, read or written", path.display())]
    Files {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The journal cannot be opened.
    #[error("the journal cannot be opened")]
    Journal(#[from] journal::log::OpenError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// The state as a start rebuilds it.
struct Replay<'a> {
    state: State,
    time: Timestamp,
    last: Option<Position>,
    trees: &'a Trees,
    /// The snapshot it began from: where it ends, and the hash of its hot section.
    snapshot: Option<(u64, Hash)>,
    contradicted: bool,
    unproven: bool,
    leaves: Vec<(TreeId, Leaf)>,
}

/// A snapshot's hot part, read.
struct Start {
    path: PathBuf,
    header: Header,
    hot_sha256: Hash,
    state: State,
    bytes: u64,
}

impl FileStore {
    /// Opens the store in a directory, or makes one there.
    ///
    /// It returns when the hot state is there. The index of cold entities is caught up or rebuilt in the background;
    /// until then what needs it fails with [`StoreError::Rebuilding`].
    ///
    /// # Errors
    /// When another process uses the directory, when the journal is damaged, or the system refuses an operation.
    pub fn open(
        directory: &Path,
        options: Options,
        environment: Environment,
    ) -> Result<(Self, OpenReport), OpenError> {
        Self::open_with_layer(directory, options, environment, journal::files::OsFiles)
    }

    /// As [`FileStore::open`], with the journal's files on something else than the operating system's.
    ///
    /// # Errors
    /// As [`FileStore::open`].
    pub fn open_with_layer<L: FileLayer + Clone>(
        directory: &Path,
        options: Options,
        environment: Environment,
        layer: L,
    ) -> Result<(Self, OpenReport), OpenError> {
        let directory = Directory::open(directory, environment.random.as_ref())?;
        let journal_id = directory
            .instance
            .journal_id()
            .ok_or_else(|| OpenError::Layout { path: directory.path().join("instance.json") })?;
        let mut unsound = Vec::new();
        loop {
            let start = newest(
                &directory.path().join("snapshots"),
                journal_hash(journal_id),
                &mut unsound,
            )?;
            let mut journal_options = JournalOptions::new(journal_id);
            journal_options.segment_bytes = options.segment_bytes;
            let opened = replay(directory.path(), journal_options, layer.clone(), start)?;
            match opened {
                Replayed::Contradicted(path) => {
                    set_aside(&path, &mut unsound)?;
                }
                Replayed::Done(done) => {
                    return start_threads(directory, options, environment, *done, unsound);
                }
            }
        }
    }

    /// Makes everything that is derived from the journal anew: snapshots, trees and index. It returns when all is done.
    ///
    /// # Errors
    /// As [`FileStore::open`].
    pub async fn rebuild(
        directory: &Path,
        options: Options,
        environment: Environment,
    ) -> Result<OpenReport, OpenError> {
        let locked = Directory::open(directory, environment.random.as_ref())?;
        for part in ["snapshots", "trees", "index"] {
            let path = locked.path().join(part);
            match std::fs::remove_dir_all(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(OpenError::Files { path, source });
                }
                _ => {}
            }
        }
        drop(locked);
        let (store, report) = Self::open(directory, options, environment)?;
        store.ready().await;
        store.close().await.map_err(|error| OpenError::Files {
            path: directory.to_owned(),
            source: io::Error::other(error.to_string()),
        })?;
        Ok(report)
    }
}

/// Names the journal in snapshots without giving away its id.
fn journal_hash(journal_id: [u8; 16]) -> Hash {
    Hash::of(&journal_id)
}

enum Replayed {
    Done(Box<Done>),
    /// The journal says that this snapshot had another hash.
    Contradicted(PathBuf),
}

struct Done {
    writer: Box<dyn FrameWriter>,
    reader: Arc<dyn FrameReader>,
    journal: Hash,
    recovery: Recovery,
    from: Mark,
    state: State,
    time: Timestamp,
    last: Option<Position>,
    unproven: bool,
    trees: Trees,
    snapshot: Option<(PathBuf, u64)>,
}

/// Replays the journal after a snapshot.
fn replay<L: FileLayer>(
    directory: &Path,
    options: JournalOptions,
    layer: L,
    start: Option<Start>,
) -> Result<Replayed, OpenError> {
    let (from, time, state, frontiers, snapshot) = match start {
        None => (Mark::START, Timestamp::UNIX_EPOCH, State::default(), Vec::new(), None),
        Some(Start { path, header, hot_sha256, state, bytes }) => {
            let Header { mark, time, logs, .. } = header;
            (mark, time, state, logs, Some((path, bytes, hot_sha256)))
        }
    };
    let path = directory.join("trees");
    let trees =
        Trees::open(&path, frontiers).map_err(|source| OpenError::Files { path, source })?;
    let last = match from.sequence {
        0 => None,
        _ => Some(Position { frame: from.last, record: u32::MAX }),
    };
    let mut replay = Replay {
        state,
        time,
        last,
        trees: &trees,
        snapshot: snapshot.as_ref().map(|(_, _, hash)| (from.end, *hash)),
        contradicted: false,
        unproven: false,
        leaves: Vec::new(),
    };
    let path = directory.join("journal");
    let journal_hash = journal_hash(options.journal_id);
    let (journal, recovery) =
        Journal::open(&path, options, layer, from, |frame| Ok(replay.frame(frame)?))?;
    replay.flush();
    let Replay { state, time, last, contradicted, unproven, .. } = replay;
    if let Some((path, _, _)) = &snapshot
        && contradicted
    {
        return Ok(Replayed::Contradicted(path.clone()));
    }
    Ok(Replayed::Done(Box::new(Done {
        reader: Arc::new(journal.reader()),
        writer: Box::new(journal),
        journal: journal_hash,
        recovery,
        from,
        state,
        time,
        last,
        unproven,
        trees,
        snapshot: snapshot.map(|(path, bytes, _)| (path, bytes)),
    })))
}

impl Replay<'_> {
    /// Applies a frame. It decides nothing again.
    fn frame(&mut self, frame: Frame) -> Result<(), crate::record::DecodeError> {
        const GATHERED: usize = 4_096;
        self.unproven = !frame.records.is_empty();
        for raw in &frame.records {
            let record = decode_raw(raw)?;
            if record.kind == RecordKind::SnapshotWritten
                && let Some((end, hash)) = self.snapshot
            {
                self.contradicted |= announcement::contradicts(&record, end, &hash);
            }
            self.time = later(self.time, record.kind, record.time);
            self.last = Some(record.position);
            let leaf = Leaf { hash: record.leaf_hash(), position: record.position };
            self.leaves.push((record.tree.clone(), leaf));
            for write in record.writes {
                self.state.replay(write, record.position);
            }
        }
        if self.leaves.len() > GATHERED {
            self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.trees.append(self.leaves.iter().map(|(log, leaf)| (log, *leaf)));
        self.leaves.clear();
    }
}

/// The newest snapshot whose hot part is sound.
fn newest(
    directory: &Path,
    journal: Hash,
    unsound: &mut Vec<PathBuf>,
) -> Result<Option<Start>, OpenError> {
    let failed = |error: SnapshotError| OpenError::Files {
        path: directory.to_owned(),
        source: io::Error::other(error.to_string()),
    };
    for path in snapshot::list(directory).map_err(failed)? {
        match read_hot(&path, journal) {
            Ok(start) => return Ok(Some(start)),
            Err(SnapshotError::Files { source, .. }) => {
                return Err(OpenError::Files { path, source });
            }
            Err(error) => {
                tracing::warn!(event = "snapshot.unsound", error = %error);
                set_aside(&path, unsound)?;
            }
        }
    }
    Ok(None)
}

/// Takes a snapshot out of the way, so that nothing is built on it.
fn set_aside(path: &Path, unsound: &mut Vec<PathBuf>) -> Result<(), OpenError> {
    std::fs::rename(path, path.with_extension("unsound"))
        .map_err(|source| OpenError::Files { path: path.to_owned(), source })?;
    unsound.push(path.to_owned());
    Ok(())
}

fn read_hot(path: &Path, journal: Hash) -> Result<Start, SnapshotError> {
    let unsound =
        |what: &str| SnapshotError::Unsound { path: path.to_owned(), what: what.to_owned() };
    let mut snapshot = SnapshotReader::open(path)?;
    if snapshot.header().journal != journal {
        return Err(unsound("it is of another journal"));
    }
    let mut state = State::default();
    while let Some(entry) = snapshot.next_hot()? {
        let entity = serde_json::from_slice(&entry.json)
            .map_err(|error| unsound(&format!("an entity cannot be read: {error}")))?;
        state.insert_hot(entry.key, Stored { entity: Arc::new(entity), version: entry.version });
    }
    let hot_sha256 = snapshot.hot_sha256().ok_or_else(|| unsound("it has no hot section"))?;
    Ok(Start {
        path: path.to_owned(),
        header: snapshot.header().clone(),
        hot_sha256,
        state,
        bytes: snapshot.bytes_read(),
    })
}

fn start_threads(
    directory: Directory,
    options: Options,
    environment: Environment,
    done: Done,
    unsound: Vec<PathBuf>,
) -> Result<(FileStore, OpenReport), OpenError> {
    let Done {
        writer,
        reader,
        journal,
        recovery,
        from,
        state,
        time,
        last,
        unproven,
        trees,
        snapshot,
    } = done;
    let end = writer.mark();
    let report = OpenReport {
        snapshot: snapshot.as_ref().map(|(path, _)| path.clone()),
        snapshot_bytes: snapshot.as_ref().map_or(0, |(_, bytes)| *bytes),
        unsound,
        frames: recovery.frames,
        records: recovery.records,
        journal_bytes: end.end.saturating_sub(from.end),
        torn: recovery.torn.as_ref().map(|torn| torn.offset),
        clean_stop: directory.clean,
        index_kept: directory.survived,
        position: last,
    };
    let failed = |source| OpenError::Files { path: directory.path().to_owned(), source };
    let trees = Arc::new(trees);
    let notifier = Arc::new(Notifier::new(last));
    let (queue, messages) = mpsc::channel();
    let (keeper, requests) = Keeper::new();
    let texts = Arc::new(Texts::default());
    let settings = Settings {
        directory: directory.path().join("index"),
        trusted: directory.survived,
        cache_bytes: options.cache_bytes,
        catch_up_bytes: options.snapshot_bytes.saturating_mul(2),
        end,
    };
    let duties = Duties {
        fold: Fold {
            directory: directory.path().join("snapshots"),
            journal,
            reader: Arc::clone(&reader),
            stopping: requests.stopping(),
        },
        trees: directory.path().join("trees"),
        await_trees: await_sequencer(queue.clone()),
        announce: announce_to(queue.clone()),
    };
    let snapshots = requests.start(duties).map_err(failed)?;
    let (index, applying) =
        Index::start(settings, Arc::clone(&reader), keeper.clone()).map_err(failed)?;
    let index = Arc::new(index);
    let sequencer = Sequencer::new(
        Parts {
            journal: writer,
            state,
            last_time: time,
            context: environment.context,
            clock: environment.clock,
            random: environment.random,
            index: Arc::clone(&index),
            trees: Arc::clone(&trees),
            notifier: Arc::clone(&notifier),
            keeper: keeper.clone(),
            texts: Arc::clone(&texts),
            queue: queue.clone(),
            limits: Limits {
                snapshot_bytes: options.snapshot_bytes,
                index_pending_max: options.index_pending_max,
            },
            snapshot_end: from.end,
        },
        unproven,
    );
    let deciding = std::thread::Builder::new()
        .name("sequencer".to_owned())
        .spawn(move || sequencer.run(&messages))
        .map_err(failed)?;
    let inner = Inner {
        queue,
        places: Arc::new(Semaphore::new(options.queue_length)),
        index,
        trees,
        notifier,
        reader,
        keeper,
        texts,
        threads: Mutex::new(Some(Threads { deciding, applying, snapshots, directory })),
    };
    Ok((FileStore::from_inner(inner), report))
}

/// Waits until the sequencer has given the trees what was durable at the call: it does so before it takes up more.
fn await_sequencer(queue: mpsc::Sender<Message>) -> Box<dyn Fn() -> bool + Send> {
    Box::new(move || {
        let (done, receiver) = mpsc::channel();
        let look = Message::Look(Box::new(move |_| {
            let _ = done.send(());
        }));
        queue.send(look).is_ok() && receiver.recv().is_ok()
    })
}

/// Has the sequencer record that a snapshot was written.
fn announce_to(queue: mpsc::Sender<Message>) -> Box<dyn Fn(&Folded) + Send> {
    Box::new(move |folded| {
        let draft: RecordDraft = announcement::draft(folded);
        let transaction = internal(
            move || vec![draft.clone()],
            |outcome: Result<(), StoreError>| {
                if let Err(error) = outcome {
                    tracing::warn!(event = "snapshot.unrecorded", error = %error);
                }
            },
        );
        // An error means that the store stops; the snapshot is good without its record.
        let _ = queue.send(Message::Transact(transaction));
    })
}

/// The last journaled time after a record. An accepted clock begins it anew.
pub(crate) fn later(before: Timestamp, kind: RecordKind, time: Timestamp) -> Timestamp {
    match kind {
        RecordKind::ClockAccepted => Timestamp::UNIX_EPOCH,
        _ => before.max(time),
    }
}

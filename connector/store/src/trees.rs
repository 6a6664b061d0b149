//! The RFC 6962 trees of each log, one for each epoch: the right edge in memory, hashes and positions in files.
//!
//! The files are derived from the journal and synced only with snapshots and rebuilds. They are cut to the snapshot's size
//! at a start, filled from the tail, and rebuilt from the journal when a proof made from them does not hold or a record is
//! not where they say.

mod positions;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::{Position, StoreError, TreeId};
use journal::files::OsFiles;
use journal::log::{ReadError, StoredRecord as RawRecord};
use journal::tlog::{Frontier, Hash, leaf_hash};
use journal::tree::{TreeError, TreeFiles};

use crate::directory::create_private;
use crate::frames::{FrameReader, position};
use crate::record::StoredRecord;
use positions::Positions;

/// How many logs have their files open at a time.
const OPEN_MAX: usize = 64;
/// How many records of one log are gathered at a start or in a rebuild before they are written.
const BATCH: usize = 1_024;

/// A leaf that became durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf {
    pub(crate) hash: Hash,
    pub(crate) position: Position,
}

/// The trees of all logs.
pub(crate) struct Trees {
    directory: PathBuf,
    logs: Mutex<HashMap<TreeId, Log>>,
}

#[derive(Debug, Default)]
struct Log {
    frontier: Frontier,
    files: Option<Files>,
    /// The files lack leaves: nothing is added to them until a reader has them rebuilt.
    behind: bool,
    /// Held while the files are rebuilt.
    rebuilding: Arc<Mutex<()>>,
    /// Counts uses, to close what was not used for longest.
    used: u64,
}

#[derive(Debug)]
struct Files {
    tree: TreeFiles,
    positions: Positions,
}

/// A question about a log's tree has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The log has not that many records.
    #[error("the log `{log}` has {size} records; {wanted} are asked for")]
    Size {
        /// The log's label.
        log: String,
        /// How many there are.
        size: u64,
        /// How many are asked for.
        wanted: u64,
    },
    /// No record of a log is at this position.
    #[error("no record is at {position}")]
    NoRecord {
        /// The position asked for.
        position: Position,
    },
    /// The journal cannot be read there.
    #[error("the journal cannot be read: {reason}")]
    Journal {
        /// What the journal says.
        reason: String,
    },
    /// The log's tree files cannot be used, and not be rebuilt either.
    #[error("the tree of `{log}` cannot be read: {reason}")]
    Tree {
        /// The log's label.
        log: String,
        /// What is wrong.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Trees {
    /// The trees in a directory, at the sizes that a snapshot says.
    pub(crate) fn open(directory: &Path, frontiers: Vec<(TreeId, Frontier)>) -> io::Result<Self> {
        create_private(directory)?;
        let logs = frontiers
            .into_iter()
            .map(|(log, frontier)| (log, Log { frontier, ..Log::default() }))
            .collect();
        Ok(Self { directory: directory.to_owned(), logs: Mutex::new(logs) })
    }

    /// Adds leaves, in the order of the journal.
    ///
    /// A failure to write the files is left to the next reader, who finds them short and rebuilds them.
    pub(crate) fn append<'a>(&self, leaves: impl Iterator<Item = (&'a TreeId, Leaf)>) {
        let mut by_log: HashMap<&TreeId, Vec<Leaf>> = HashMap::new();
        for (log, leaf) in leaves {
            by_log.entry(log).or_default().push(leaf);
        }
        let mut logs = self.lock();
        for (id, leaves) in by_log {
            if !logs.contains_key(id) {
                logs.insert(id.clone(), Log::default());
            }
            self.open_files(&mut logs, id);
            let Some(log) = logs.get_mut(id) else { continue };
            if let Some(files) = &mut log.files
                && let Err(error) = files.append(log.frontier.size(), &leaves)
            {
                tracing::warn!(event = "tree.behind", log = id.label(), error = %error);
                log.files = None;
            }
            log.behind |= log.files.is_none();
            for leaf in &leaves {
                log.frontier.append(leaf.hash);
            }
        }
    }

    /// Size and root of a log; that of the empty tree for one without records.
    pub(crate) fn head(&self, log: &TreeId) -> (u64, Hash) {
        let logs = self.lock();
        logs.get(log)
            .map_or((0, Hash::EMPTY_TREE), |log| (log.frontier.size(), log.frontier.root()))
    }

    /// The logs that have records.
    pub(crate) fn ids(&self) -> Vec<TreeId> {
        let mut ids: Vec<TreeId> = self.lock().keys().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// The root of a log's first `size` records and the inclusion proof of one of them.
    pub(crate) fn inclusion(
        &self,
        reader: &dyn FrameReader,
        log: &TreeId,
        index: u64,
        size: u64,
    ) -> Result<(Hash, Vec<Hash>), EvidenceError> {
        self.with_files(reader, log, size.max(index.saturating_add(1)), |files, frontier| {
            let (root, _) =
                files.tree.consistency_proof(size, frontier.size(), &frontier.root())?;
            let leaf = files.tree.leaf_hash(index)?;
            Ok((root, files.tree.inclusion_proof(&leaf, index, size, &root)?))
        })
    }

    /// The proof that a log's first `old` records are a prefix of its first `new` ones.
    pub(crate) fn consistency(
        &self,
        reader: &dyn FrameReader,
        log: &TreeId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Hash>, EvidenceError> {
        self.with_files(reader, log, new.max(old), |files, frontier| {
            let (root, _) = files.tree.consistency_proof(new, frontier.size(), &frontier.root())?;
            Ok(files.tree.consistency_proof(old, new, &root)?.1)
        })
    }

    /// A log's record of that index. It is the one whose hash the tree has there.
    pub(crate) fn record(
        &self,
        reader: &dyn FrameReader,
        log: &TreeId,
        index: u64,
    ) -> Result<RawRecord, EvidenceError> {
        let label = log.label();
        let found = self.answer(reader, log, || {
            let placed = self.ask(log, index.saturating_add(1), |files, _| {
                Ok((files.positions.read(index)?, files.tree.leaf_hash(index)?))
            })?;
            let Some((position, hash)) = placed else { return Ok(None) };
            // The journal is read while nothing is locked: commits do not wait for it.
            match reader.read(position) {
                Ok(record) if record.log == label && leaf_hash(&record.leaf) == hash => {
                    Ok(Some(record))
                }
                Err(error @ ReadError::Files { .. }) => {
                    Err(EvidenceError::Journal { reason: error.to_string() })
                }
                // It is another record, or none begins there.
                Ok(_) | Err(_) => {
                    tracing::warn!(event = "tree.misplaced", log = label, index);
                    Ok(None)
                }
            }
        })?;
        found.ok_or_else(|| unsound(log))
    }

    /// The index of a record in its log. It is the one where the tree has its hash.
    pub(crate) fn index(
        &self,
        reader: &dyn FrameReader,
        record: &StoredRecord,
    ) -> Result<u64, EvidenceError> {
        let (position, hash) = (record.position, record.leaf_hash());
        let found = self.answer(reader, &record.tree, || {
            let found = self.ask(&record.tree, 0, |files, frontier| {
                match files.positions.find(position, frontier.size())? {
                    Some(index) => Ok(Some((index, files.tree.leaf_hash(index)?))),
                    None => Ok(None),
                }
            })?;
            Ok(found.flatten().filter(|(_, at_index)| *at_index == hash).map(|(index, _)| index))
        })?;
        found.ok_or(EvidenceError::NoRecord { position })
    }

    /// Works on the files of a log of at least `wanted` records; rebuilds them once when they are not sound.
    fn with_files<T>(
        &self,
        reader: &dyn FrameReader,
        id: &TreeId,
        wanted: u64,
        work: impl Fn(&Files, &Frontier) -> Result<T, TreeError>,
    ) -> Result<T, EvidenceError> {
        self.answer(reader, id, || self.ask(id, wanted, &work))?.ok_or_else(|| unsound(id))
    }

    /// The answer to a question about a log's files. When they give none, they are rebuilt once and asked again.
    fn answer<T>(
        &self,
        reader: &dyn FrameReader,
        id: &TreeId,
        ask: impl Fn() -> Result<Option<T>, EvidenceError>,
    ) -> Result<Option<T>, EvidenceError> {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        let Some(turn) = self.lock().get(id).map(|log| Arc::clone(&log.rebuilding)) else {
            return Ok(None);
        };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have rebuilt them while we waited.
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        self.rebuild(reader, id)?;
        ask()
    }

    /// Works on the files of a log of at least `wanted` records, as they are. `None`: they are not sound.
    fn ask<T>(
        &self,
        id: &TreeId,
        wanted: u64,
        work: impl Fn(&Files, &Frontier) -> Result<T, TreeError>,
    ) -> Result<Option<T>, EvidenceError> {
        let mut logs = self.lock();
        self.open_files(&mut logs, id);
        let size = logs.get(id).map_or(0, |log| log.frontier.size());
        if wanted > size {
            return Err(EvidenceError::Size { log: id.label(), size, wanted });
        }
        Ok(logs.get(id).and_then(|log| {
            let files = log.files.as_ref().filter(|files| files.tree.size() == size)?;
            work(files, &log.frontier)
                .inspect_err(
                    |error| tracing::warn!(event = "tree.damaged", log = id.label(), error = %error),
                )
                .ok()
        }))
    }

    /// Fills new files from the journal and puts them in the place of the old ones. Commits go on meanwhile.
    ///
    /// One at a time for each log: the caller holds its `rebuilding`.
    fn rebuild(&self, reader: &dyn FrameReader, id: &TreeId) -> Result<(), EvidenceError> {
        tracing::info!(event = "tree.rebuild", log = id.label());
        let failed = |reason: String| EvidenceError::Tree { log: id.label(), reason };
        let place = self.place(id);
        let fresh = place.with_extension("new");
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(error.to_string()));
            }
            _ => {}
        }
        let mut files = Files::open(&fresh).map_err(|error| failed(error.to_string()))?;
        let end = fill(reader, id, &mut files, 0)?;
        // A snapshot that is made meanwhile may miss them, and yet a start trusts them with it. Most is written here, where no
        // commit waits.
        files.sync().map_err(|error| failed(error.to_string()))?;
        let mut logs = self.lock();
        // What came while the journal was read; nothing comes while the lock is held but what is not durable yet.
        fill(reader, id, &mut files, end)?;
        let Some(log) = logs.get_mut(id) else { return Ok(()) };
        let size = log.frontier.size();
        files.truncate(size).map_err(|error| failed(error.to_string()))?;
        if files.tree.root(size).ok() != Some(log.frontier.root()) {
            return Err(failed("the journal holds another tree than the one in memory".to_owned()));
        }
        files.sync().map_err(|error| failed(error.to_string()))?;
        log.files = None;
        match fs::remove_dir_all(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(error.to_string()));
            }
            _ => {}
        }
        fs::rename(&fresh, &place).map_err(|error| failed(error.to_string()))?;
        log.files = Some(files);
        log.behind = false;
        Ok(())
    }

    /// Opens the files of a log when they are not, unless they are behind; closes those of the log that was not used for longest.
    fn open_files(&self, logs: &mut HashMap<TreeId, Log>, id: &TreeId) {
        let latest = logs.values().map(|log| log.used).max().unwrap_or_default();
        let Some(log) = logs.get_mut(id) else { return };
        log.used = latest.saturating_add(1);
        if log.files.is_some() || log.behind {
            return;
        }
        let size = log.frontier.size();
        let opened = Files::open(&self.place(id)).and_then(|mut files| {
            files.truncate(size)?;
            Ok(files)
        });
        match opened {
            Ok(files) => log.files = Some(files),
            Err(error) => {
                tracing::warn!(event = "tree.unreadable", log = id.label(), error = %error);
            }
        }
        if logs.values().filter(|log| log.files.is_some()).count() > OPEN_MAX
            && let Some(oldest) =
                logs.values_mut().filter(|log| log.files.is_some()).min_by_key(|log| log.used)
        {
            oldest.files = None;
        }
    }

    /// The directory of a log. Labels hold peers' identifiers, which are no file names.
    fn place(&self, id: &TreeId) -> PathBuf {
        self.directory.join(Hash::of(id.label().as_bytes()).to_string())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TreeId, Log>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn open(directory: &Path) -> Result<Self, TreeError> {
        let tree = TreeFiles::open(directory, OsFiles)?;
        let path = directory.join("positions");
        let positions =
            Positions::open(&path).map_err(|source| TreeError::Files { path, source })?;
        let mut files = Self { tree, positions };
        // A crash may have kept more of one than of the other.
        let size = files.tree.size().min(files.positions.size());
        files.truncate(size)?;
        Ok(files)
    }

    fn sync(&self) -> Result<(), TreeError> {
        self.positions.sync()?;
        self.tree.sync()
    }

    fn truncate(&mut self, size: u64) -> Result<(), TreeError> {
        self.tree.truncate(size)?;
        self.positions.truncate(size)
    }

    /// Adds the leaves that come after `size` others.
    fn append(&mut self, size: u64, leaves: &[Leaf]) -> Result<(), TreeError> {
        if self.tree.size() != size {
            return Err(TreeError::Size { wanted: size, size: self.tree.size() });
        }
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf.hash).collect();
        self.positions.append(leaves.iter().map(|leaf| leaf.position))?;
        self.tree.append(&hashes)
    }
}

/// Adds a log's leaves from the frame at an offset on, and returns where the frames end.
fn fill(
    reader: &dyn FrameReader,
    id: &TreeId,
    files: &mut Files,
    offset: u64,
) -> Result<u64, EvidenceError> {
    let label = id.label();
    let unwritten =
        |error: TreeError| EvidenceError::Tree { log: id.label(), reason: error.to_string() };
    let mut end = offset;
    let mut leaves = Vec::new();
    for frame in reader.frames_at(offset) {
        let frame = frame.map_err(|error| EvidenceError::Journal { reason: error.to_string() })?;
        leaves.extend(frame.records.iter().filter(|record| record.log == label).map(|record| {
            Leaf { hash: leaf_hash(&record.leaf), position: position(record.position) }
        }));
        end = frame.mark.end;
        if leaves.len() >= BATCH {
            files.append(files.tree.size(), &std::mem::take(&mut leaves)).map_err(unwritten)?;
        }
    }
    files.append(files.tree.size(), &leaves).map_err(unwritten)?;
    Ok(end)
}

fn unsound(id: &TreeId) -> EvidenceError {
    EvidenceError::Tree {
        log: id.label(),
        reason: "its files do not hold the log's tree though they were just rebuilt".to_owned(),
    }
}

impl From<EvidenceError> for StoreError {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::Closed => Self::Closed,
            other => Self::Rejected { reason: other.to_string() },
        }
    }
}

impl std::fmt::Debug for Trees {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trees").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Shared by the sequencer, who appends, and by readers.
pub(crate) type SharedTrees = Arc<Trees>;

#[cfg(test)]
mod tests;

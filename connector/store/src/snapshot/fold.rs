//! Folding: a snapshot and the frames since it become the next snapshot.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::{Position, TreeId};
use jiff::Timestamp;
use journal::log::Mark;
use journal::tlog::{Frontier, Hash, leaf_hash};

use super::{Entry, Header, SnapshotError, SnapshotReader, SnapshotWriter, at, list, path_of};
use crate::frames::{FrameReader, decode_raw_touched, position};
use crate::open::later;
use crate::record::{DecodeError, decode_writes};
use crate::state::StoredKey;

/// How many bytes of new values are gathered in memory before they are folded into a snapshot of their own.
const GATHER_BYTES: usize = 32 << 20;
const KEPT: usize = 2;

/// Makes snapshots.
pub(crate) struct Fold {
    pub(crate) directory: PathBuf,
    pub(crate) journal: Hash,
    pub(crate) reader: Arc<dyn FrameReader>,
    /// Set when the store stops: folding gives up.
    pub(crate) stopping: Arc<AtomicBool>,
}

/// A snapshot that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folded {
    pub(crate) path: PathBuf,
    pub(crate) mark: Mark,
    pub(crate) hot_sha256: Hash,
    pub(crate) sha256: Hash,
}

/// The latest values since a snapshot; absent where an entity was removed.
struct Gathered {
    header: Header,
    changes: BTreeMap<StoredKey, Option<Change>>,
}

/// Where the latest values are: a process is written by each of its records, and only what the last of them says is decoded.
#[derive(Default)]
struct Latest {
    /// By key, which record and which of its writes; absent where the entity was removed.
    places: BTreeMap<StoredKey, Option<(usize, usize)>>,
    /// The records that have, or had, a latest value.
    records: Vec<Written>,
    /// Of their effects.
    bytes: usize,
}

/// A record with values.
struct Written {
    position: Position,
    /// Empty when all its values were replaced.
    effect: Vec<u8>,
    /// How many of its values are the latest.
    values: usize,
}

impl Latest {
    /// Takes the next record of the journal: its effect, and what that writes, each with whether there is a value.
    fn take(
        &mut self,
        position: Position,
        effect: Vec<u8>,
        writes: impl Iterator<Item = (StoredKey, bool)>,
    ) {
        let record = self.records.len();
        let mut values = 0;
        for (number, (key, has_value)) in writes.enumerate() {
            values += usize::from(has_value);
            match self.places.insert(key, has_value.then_some((record, number))).flatten() {
                // The same entity twice.
                Some((earlier, _)) if earlier == record => values -= 1,
                Some((earlier, _)) => self.replaced(earlier),
                None => {}
            }
        }
        if values > 0 {
            self.bytes += effect.len();
            self.records.push(Written { position, effect, values });
        }
    }

    fn replaced(&mut self, record: usize) {
        let Some(written) = self.records.get_mut(record) else { return };
        written.values = written.values.saturating_sub(1);
        if written.values == 0 {
            self.bytes = self.bytes.saturating_sub(written.effect.len());
            written.effect = Vec::new();
        }
    }

    fn decode(self) -> Result<BTreeMap<StoredKey, Option<Change>>, DecodeError> {
        let Self { places, records, .. } = self;
        let gone = places.iter().filter(|(_, place)| place.is_none());
        let mut changes: BTreeMap<StoredKey, Option<Change>> =
            gone.map(|(key, _)| (key.clone(), None)).collect();
        for (record, Written { position, effect, values }) in records.into_iter().enumerate() {
            if values == 0 {
                continue;
            }
            for (number, write) in decode_writes(position, &effect)?.into_iter().enumerate() {
                let key = write.key.encode();
                let Some(entity) = write.entity else { continue };
                if places.get(&key) != Some(&Some((record, number))) {
                    continue;
                }
                let json = serde_json::to_vec(&entity)
                    .map_err(|error| DecodeError { position, what: error.to_string() })?;
                let change = Change { version: position, hot: entity.is_hot(), json };
                changes.insert(key, Some(change));
            }
        }
        Ok(changes)
    }
}

struct Change {
    version: Position,
    hot: bool,
    json: Vec<u8>,
}

impl Fold {
    /// Makes the snapshot of everything that is durable now, and removes all but the two newest.
    ///
    /// Where the journal grew by more than memory should hold, there are snapshots in between. Before each appears,
    /// `secure` has to make durable what a start trusts as far as the snapshot reaches.
    pub(crate) fn run(
        &self,
        secure: impl Fn() -> Result<(), SnapshotError>,
    ) -> Result<Folded, SnapshotError> {
        loop {
            let previous = self.newest()?;
            match self.step(previous.as_deref(), &secure) {
                Ok((folded, true)) => {
                    self.tidy(&folded.path)?;
                    return Ok(folded);
                }
                Ok((folded, false)) => self.tidy(&folded.path)?,
                Err(SnapshotError::Unsound { path, what }) => {
                    tracing::warn!(event = "snapshot.unsound", path = %path.display(), what);
                    fs::rename(&path, path.with_extension("unsound"))
                        .map_err(|source| at(&path)(source))?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Folds one memory's worth. True: up to the end of the journal.
    fn step(
        &self,
        previous: Option<&Path>,
        secure: impl Fn() -> Result<(), SnapshotError>,
    ) -> Result<(Folded, bool), SnapshotError> {
        let previous = previous.map(SnapshotReader::open).transpose()?;
        let (gathered, complete) = self.gather(previous.as_ref().map(SnapshotReader::header))?;
        let unfinished = self.directory.join("unfinished");
        let (hot_sha256, sha256) = self.merge(previous, &gathered, &unfinished)?;
        secure()?;
        let mark = gathered.header.mark;
        let path = path_of(&self.directory, &mark);
        fs::rename(&unfinished, &path).map_err(|source| at(&path)(source))?;
        fs::File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| at(&self.directory)(source))?;
        Ok((Folded { path, mark, hot_sha256, sha256 }, complete))
    }

    fn gather(&self, previous: Option<&Header>) -> Result<(Gathered, bool), SnapshotError> {
        let header = previous.cloned().unwrap_or(Header {
            journal: self.journal,
            mark: Mark::START,
            time: Timestamp::UNIX_EPOCH,
            logs: Vec::new(),
        });
        let unreadable = |error: &dyn std::fmt::Display| SnapshotError::Journal(error.to_string());
        let mut logs: HashMap<TreeId, Frontier> = header.logs.iter().cloned().collect();
        let (mut header, mut latest) = (header, Latest::default());
        let mut complete = true;
        for frame in self.reader.frames_from(header.mark) {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(SnapshotError::Stopping);
            }
            let frame = frame.map_err(|error| unreadable(&error))?;
            for raw in frame.records {
                let record = decode_raw_touched(&raw).map_err(|error| unreadable(&error))?;
                header.time = later(header.time, record.kind, record.time);
                logs.entry(record.tree).or_default().append(leaf_hash(&raw.leaf));
                let writes = record.writes.iter();
                let writes = writes.map(|write| (write.key.encode(), write.entity.is_some()));
                latest.take(position(raw.position), raw.effect, writes);
            }
            header.mark = frame.mark;
            if latest.bytes > GATHER_BYTES {
                complete = false;
                break;
            }
        }
        header.logs = logs.into_iter().collect();
        header.logs.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        let changes = latest.decode().map_err(|error| unreadable(&error))?;
        Ok((Gathered { header, changes }, complete))
    }

    fn merge(
        &self,
        previous: Option<SnapshotReader>,
        gathered: &Gathered,
        path: &Path,
    ) -> Result<(Hash, Hash), SnapshotError> {
        let mut previous = previous;
        let mut writer = SnapshotWriter::create(path, &gathered.header)?;
        let mut section = |hot: bool| -> Result<Hash, SnapshotError> {
            let mut changes = gathered
                .changes
                .iter()
                .filter_map(|(key, change)| Some((key, change.as_ref()?)))
                .filter(|(_, change)| change.hot == hot)
                .peekable();
            while let Some(entry) = next_of(&mut previous, hot)? {
                if self.stopping.load(Ordering::Relaxed) {
                    return Err(SnapshotError::Stopping);
                }
                while let Some((key, change)) = changes.next_if(|(key, _)| **key <= entry.key) {
                    writer.entry(&change.entry(key))?;
                }
                // A key that was written since stands in its new place, or nowhere.
                if !gathered.changes.contains_key(&entry.key) {
                    writer.entry(&entry)?;
                }
            }
            for (key, change) in changes {
                writer.entry(&change.entry(key))?;
            }
            writer.end_section()
        };
        let hashes = (section(true)?, section(false)?);
        writer.finish()?;
        Ok(hashes)
    }

    /// Bytes of the newest snapshot; 0 where there is none.
    pub(crate) fn newest_size(&self) -> u64 {
        let newest = list(&self.directory).ok().and_then(|paths| paths.into_iter().next());
        newest.and_then(|path| fs::metadata(path).ok()).map_or(0, |metadata| metadata.len())
    }

    fn newest(&self) -> Result<Option<PathBuf>, SnapshotError> {
        for path in list(&self.directory)? {
            match SnapshotReader::open(&path) {
                Ok(snapshot)
                    if snapshot.header().journal == self.journal
                        && snapshot.header().mark.end <= self.reader.end() =>
                {
                    return Ok(Some(path));
                }
                Ok(_) | Err(SnapshotError::Unsound { .. }) => {
                    tracing::warn!(event = "snapshot.unsound", path = %path.display());
                    fs::rename(&path, path.with_extension("unsound"))
                        .map_err(|source| at(&path)(source))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn tidy(&self, newest: &Path) -> Result<(), SnapshotError> {
        for path in list(&self.directory)?.into_iter().skip(KEPT) {
            if path != newest {
                fs::remove_file(&path).map_err(|source| at(&path)(source))?;
            }
        }
        Ok(())
    }
}

impl Change {
    fn entry(&self, key: &StoredKey) -> Entry {
        Entry { key: key.clone(), version: self.version, json: self.json.clone() }
    }
}

fn next_of(
    previous: &mut Option<SnapshotReader>,
    hot: bool,
) -> Result<Option<Entry>, SnapshotError> {
    match previous {
        None => Ok(None),
        Some(snapshot) if hot => snapshot.next_hot(),
        Some(snapshot) => snapshot.next_cold(),
    }
}

#[cfg(test)]
mod tests;

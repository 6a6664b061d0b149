//! Reading the journal and its trees: for audits, proofs and whoever follows it.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use engine::{Position, RecordKind, TreeId};
use journal::log::{Frame, Mark, StoredRecord as RawRecord};
use journal::tlog::Hash;
use tokio::sync::watch;

use crate::FileStore;
use crate::file_store::blocking;
use crate::frames::{FrameReader, decode_raw, position};
use crate::record::{DecodeError, StoredRecord, kind_of};
use crate::trees::{EvidenceError, SharedTrees};

/// The most records that one call reads.
pub const RECORDS_MAX: u64 = 1_000;

impl FileStore {
    /// The trees of the logs that have records, the site's own first, older epochs before newer ones.
    pub fn trees(&self) -> Vec<TreeId> {
        self.inner.trees.ids()
    }

    /// The root of a log's first `size` records, and the proof that the one at `index` is among them (RFC 6962 section
    /// 2.1.1). The proof was checked against the root, and the root against the log as it is now.
    ///
    /// # Errors
    /// When the log has fewer records, or its tree cannot be read and not be rebuilt.
    pub async fn inclusion(
        &self,
        log: TreeId,
        index: u64,
        size: u64,
    ) -> Result<(Hash, Vec<Hash>), EvidenceError> {
        self.ask(move |trees, reader| trees.inclusion(reader, &log, index, size)).await
    }

    /// The proof that a log's first `old` records are a prefix of its first `new` ones (RFC 6962 section 2.1.2).
    ///
    /// # Errors
    /// As [`FileStore::inclusion`].
    pub async fn consistency(
        &self,
        log: TreeId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Hash>, EvidenceError> {
        self.ask(move |trees, reader| trees.consistency(reader, &log, old, new)).await
    }

    /// The index, in its log, of the record at a position.
    ///
    /// # Errors
    /// When no record is there, or it cannot be read.
    pub async fn index_of(&self, position: Position) -> Result<(TreeId, u64), EvidenceError> {
        self.ask(move |trees, reader| {
            let record = read(reader, position)?;
            let index = trees.index(reader, &record)?;
            Ok((record.tree, index))
        })
        .await
    }

    /// The record at a position, checked, with its index in its log.
    ///
    /// # Errors
    /// When no record is there, or it cannot be read.
    pub async fn record_at(&self, position: Position) -> Result<StoredRecord, EvidenceError> {
        self.ask(move |_, reader| read(reader, position)).await
    }

    /// The bytes of the leaf of a log's record.
    ///
    /// # Errors
    /// As [`FileStore::records`].
    pub async fn leaf_at(&self, log: TreeId, index: u64) -> Result<Vec<u8>, EvidenceError> {
        self.ask(move |trees, reader| {
            let raw = trees.record(reader, &log, index)?;
            Ok(decode(&raw)?.leaf)
        })
        .await
    }

    /// Records of a log by index, at most [`RECORDS_MAX`] of them, up to the log's end.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn records(
        &self,
        log: TreeId,
        range: Range<u64>,
    ) -> Result<Vec<StoredRecord>, EvidenceError> {
        self.ask(move |trees, reader| {
            let (size, _) = trees.head(&log);
            let end = range.end.min(size).min(range.start.saturating_add(RECORDS_MAX));
            let mut records: Vec<StoredRecord> = Vec::new();
            while range.start.saturating_add(records.len() as u64) < end {
                let index = range.start.saturating_add(records.len() as u64);
                let position = position(trees.record(reader, &log, index)?.position);
                let before = records.len();
                extend(reader, &log, position, end - index, &mut records)?;
                if records.len() == before {
                    return Err(EvidenceError::NoRecord { position });
                }
            }
            for (record, index) in records.iter_mut().zip(range.start..) {
                record.index = Some(index);
            }
            Ok(records)
        })
        .await
    }

    /// All records after a position, as they become durable; from the first on where none is given.
    pub fn tail(&self, after: Option<Position>) -> Tail {
        Tail {
            reader: Arc::clone(&self.inner.reader),
            durable: self.inner.notifier.durable(),
            after,
            kinds: None,
            next: after.map_or(0, |position| position.frame),
            read: VecDeque::new(),
        }
    }

    /// How many bytes the journal has, all of them durable.
    pub fn journal_bytes(&self) -> u64 {
        self.inner.reader.end()
    }

    /// Every frame that is durable now, read again from the first on: its checksum and that it continues the one before it
    /// are verified, its records are decoded and checked. It ends after the first frame that cannot be read.
    ///
    /// Reading blocks: iterate where that blocks nobody.
    pub fn frames(
        &self,
    ) -> impl Iterator<Item = Result<CheckedFrame, EvidenceError>> + Send + use<> {
        let frames = self.inner.reader.frames_from(Mark::START);
        frames.map(|frame| {
            let frame =
                frame.map_err(|error| EvidenceError::Journal { reason: error.to_string() })?;
            Ok(CheckedFrame {
                offset: frame.offset,
                end: frame.mark.end,
                records: frame.records.iter().map(decode_raw).collect(),
            })
        })
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SharedTrees, &dyn FrameReader) -> Result<T, EvidenceError> + Send + 'static,
    ) -> Result<T, EvidenceError> {
        let trees = Arc::clone(&self.inner.trees);
        let reader = Arc::clone(&self.inner.reader);
        blocking(move || work(&trees, reader.as_ref())).await.map_err(|_| EvidenceError::Closed)?
    }
}

/// A frame of the journal, whole and in its place.
#[derive(Debug)]
pub struct CheckedFrame {
    /// Where it begins, in bytes from the journal's start.
    pub offset: u64,
    /// Where the next one begins.
    pub end: u64,
    /// Its records in order; what cannot be taken as true says why.
    pub records: Vec<Result<StoredRecord, DecodeError>>,
}

/// Follows the journal.
pub struct Tail {
    reader: Arc<dyn FrameReader>,
    durable: watch::Receiver<Option<Position>>,
    after: Option<Position>,
    /// Only these are decoded and told.
    kinds: Option<Arc<HashSet<RecordKind>>>,
    /// The offset of the next frame to read.
    next: u64,
    read: VecDeque<Followed>,
}

/// How far a [`Tail`] has come, and the record that is there.
#[derive(Debug)]
pub struct Followed {
    /// Everything up to here was told, or is of a kind that is not followed.
    pub position: Position,
    /// The record at the position, where it is of a kind that is followed.
    pub record: Option<StoredRecord>,
}

impl Tail {
    /// Follows records of these kinds only. The others cost their reading and no more.
    #[must_use]
    pub fn only(mut self, kinds: HashSet<RecordKind>) -> Self {
        self.kinds = Some(Arc::new(kinds));
        self
    }

    /// The next record; waits for it. `None`: the store was closed and everything was read.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn next(&mut self) -> Result<Option<StoredRecord>, EvidenceError> {
        loop {
            match self.step().await? {
                Some(Followed { record: None, .. }) => {}
                Some(Followed { record, .. }) => return Ok(record),
                None => return Ok(None),
            }
        }
    }

    /// As [`Tail::next`], but it also says how far it came over records that are not followed.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn step(&mut self) -> Result<Option<Followed>, EvidenceError> {
        loop {
            if let Some(followed) = self.read.pop_front() {
                self.after = Some(followed.position);
                return Ok(Some(followed));
            }
            // Seen before reading, so that what comes while we read wakes us.
            let ended = self.durable.has_changed().is_err();
            self.durable.mark_unchanged();
            if self.read_more().await? {
                continue;
            }
            if ended || self.durable.changed().await.is_err() && !self.read_more().await? {
                return Ok(None);
            }
        }
    }

    /// Reads the next frame that has records. False: there is none yet.
    async fn read_more(&mut self) -> Result<bool, EvidenceError> {
        while self.next < self.reader.end() {
            let reader = Arc::clone(&self.reader);
            let next = self.next;
            let (after, kinds) = (self.after, self.kinds.clone());
            let followed = move || follow_frame(reader.as_ref(), next, after, kinds.as_deref());
            let (followed, mark) =
                blocking(followed).await.map_err(|_| EvidenceError::Closed)??;
            self.next = mark.end;
            self.read.extend(followed);
            if !self.read.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn frame_at(reader: &dyn FrameReader, offset: u64) -> Result<Frame, EvidenceError> {
    let unreadable = |reason: String| EvidenceError::Journal { reason };
    reader
        .frames_at(offset)
        .next()
        .ok_or_else(|| unreadable(format!("no frame is at offset {offset}")))?
        .map_err(|error| unreadable(error.to_string()))
}

/// What a frame has after a position: records of the kinds that are followed, and how far the others reach.
fn follow_frame(
    reader: &dyn FrameReader,
    offset: u64,
    after: Option<Position>,
    kinds: Option<&HashSet<RecordKind>>,
) -> Result<(Vec<Followed>, Mark), EvidenceError> {
    let frame = frame_at(reader, offset)?;
    let mut found: Vec<Followed> = Vec::new();
    for raw in &frame.records {
        let position = position(raw.position);
        if after.is_some_and(|after| position <= after) {
            continue;
        }
        // What does not say its kind is decoded, and refused for it.
        let is_passed = kinds
            .is_some_and(|kinds| kind_of(&raw.leaf).is_some_and(|kind| !kinds.contains(&kind)));
        if !is_passed {
            found.push(Followed { position, record: Some(decode(raw)?) });
            continue;
        }
        match found.last_mut() {
            Some(last) if last.record.is_none() => last.position = position,
            _ => found.push(Followed { position, record: None }),
        }
    }
    Ok((found, frame.mark))
}

/// Adds the records of a log that are in the frame of a position, from there on.
fn extend(
    reader: &dyn FrameReader,
    log: &TreeId,
    position: Position,
    most: u64,
    records: &mut Vec<StoredRecord>,
) -> Result<(), EvidenceError> {
    let label = log.label();
    let frame = frame_at(reader, position.frame)?;
    let wanted = frame
        .records
        .iter()
        .filter(|raw| raw.log == label && raw.position.index >= position.record)
        .take(usize::try_from(most).unwrap_or(usize::MAX));
    for raw in wanted {
        records.push(decode(raw)?);
    }
    Ok(())
}

fn read(reader: &dyn FrameReader, position: Position) -> Result<StoredRecord, EvidenceError> {
    let raw = reader.read(position).map_err(|error| match error {
        journal::log::ReadError::NotThere { .. } => EvidenceError::NoRecord { position },
        other => EvidenceError::Journal { reason: other.to_string() },
    })?;
    decode(&raw)
}

fn decode(raw: &RawRecord) -> Result<StoredRecord, EvidenceError> {
    decode_raw(raw).map_err(|error| EvidenceError::Journal { reason: error.to_string() })
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tail").field("next", &self.next).finish_non_exhaustive()
    }
}

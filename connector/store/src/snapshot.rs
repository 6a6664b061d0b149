//! Snapshots: the whole state at one place in the journal, in one file.
//!
//! A snapshot is derived from the journal and made by folding the one before with the frames since. A start reads only
//! its header and hot section, so that it costs the same however long the journal is.
//!
//! # Format, version 1
//!
//! All numbers are big-endian.
//!
//! ```text
//! "SEKISNAP"                  8 bytes
//! format version              u32: 1
//! header                      u32 length, then JSON: the place in the journal, time, logs with their frontiers
//! hot entries, in key order   each: u16 length of the key (not 0), key, u64 frame and u32 record of its version,
//!                             u32 length of the JSON, JSON of the entity
//! end of the hot entries      u16: 0, then SHA-256 of all bytes before this hash
//! cold entries, in key order  as above
//! end of the cold entries     u16: 0, then SHA-256 of all bytes before this hash
//! ```

mod fold;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use engine::{Position, TreeId};
use jiff::Timestamp;
use journal::log::Mark;
use journal::tlog::{Frontier, Hash};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::state::StoredKey;

pub(crate) use fold::{Fold, Folded};

const MAGIC: &[u8; 8] = b"SEKISNAP";
const VERSION: u32 = 1;
/// No header comes near this: a log takes at most 5 KiB of it.
const HEADER_BYTES_MAX: u32 = 64 << 20;
/// The JSON of one entity is an effect's part, and an effect is smaller than a frame.
const ENTITY_BYTES_MAX: u32 = 64 << 20;

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    /// The journal that it was folded from.
    pub(crate) journal: Hash,
    /// The place in the journal up to which it covers everything.
    pub(crate) mark: Mark,
    /// The time of the last record.
    pub(crate) time: Timestamp,
    /// The right edge of each log's trees.
    pub(crate) logs: Vec<(TreeId, Frontier)>,
}

/// One entity of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: StoredKey,
    pub(crate) version: Position,
    pub(crate) json: Vec<u8>,
}

/// A snapshot cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("`{}` cannot be read or written ({source}): check the device and its permissions", path.display())]
    Files { path: PathBuf, source: io::Error },
    #[error("`{}` is not a sound snapshot ({what}): an older one or the whole journal is used", path.display())]
    Unsound { path: PathBuf, what: String },
    #[error("the journal cannot be folded: {0}")]
    Journal(String),
    #[error("the store stops")]
    Stopping,
}

/// Reads a snapshot from front to back and checks it on the way.
pub(crate) struct SnapshotReader {
    path: PathBuf,
    input: BufReader<File>,
    digest: Sha256,
    header: Header,
    hot_sha256: Option<Hash>,
    last_key: StoredKey,
    finished: bool,
    bytes: u64,
}

impl SnapshotReader {
    /// Opens a snapshot and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self, SnapshotError> {
        let file = File::open(path).map_err(|source| at(path)(source))?;
        let header = Header {
            journal: Hash::EMPTY_TREE,
            mark: Mark::START,
            time: Timestamp::UNIX_EPOCH,
            logs: Vec::new(),
        };
        let mut reader = Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(128 << 10, file),
            digest: Sha256::new(),
            header,
            hot_sha256: None,
            last_key: Vec::new(),
            finished: false,
            bytes: 0,
        };
        let magic: [u8; 8] = reader.array()?;
        if &magic != MAGIC {
            return Err(reader.unsound("it does not begin as one"));
        }
        if u32::from_be_bytes(reader.array()?) != VERSION {
            return Err(reader.unsound("a later release wrote it"));
        }
        let length = u32::from_be_bytes(reader.array()?);
        let bytes = reader.take(length, HEADER_BYTES_MAX)?;
        reader.header = serde_json::from_slice(&bytes)
            .map_err(|error| reader.unsound(&format!("its header cannot be read: {error}")))?;
        Ok(reader)
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// The next hot entity. After the last one header and hot section are known to be sound.
    pub(crate) fn next_hot(&mut self) -> Result<Option<Entry>, SnapshotError> {
        if self.hot_sha256.is_some() {
            return Ok(None);
        }
        let entry = self.entry()?;
        if entry.is_none() {
            self.hot_sha256 = Some(self.check()?);
            self.last_key.clear();
        }
        Ok(entry)
    }

    /// The SHA-256 of header and hot section, once that has been read.
    pub(crate) fn hot_sha256(&self) -> Option<Hash> {
        self.hot_sha256
    }

    /// The next cold entity, when all hot ones have been read. After the last one the whole file is known to be sound.
    pub(crate) fn next_cold(&mut self) -> Result<Option<Entry>, SnapshotError> {
        if self.finished {
            return Ok(None);
        }
        if self.hot_sha256.is_none() {
            return Err(self.unsound("its hot entities were not read"));
        }
        let entry = self.entry()?;
        if entry.is_none() {
            self.check()?;
            let mut more = [0];
            let read = self.input.read(&mut more).map_err(|source| at(&self.path)(source))?;
            if read > 0 {
                return Err(self.unsound("it goes on after its end"));
            }
            self.finished = true;
        }
        Ok(entry)
    }

    fn entry(&mut self) -> Result<Option<Entry>, SnapshotError> {
        let length = u16::from_be_bytes(self.array()?);
        if length == 0 {
            return Ok(None);
        }
        let key = self.take(u32::from(length), u32::from(u16::MAX))?;
        if key <= self.last_key {
            return Err(self.unsound("its keys are not in order"));
        }
        self.last_key.clone_from(&key);
        let frame = u64::from_be_bytes(self.array()?);
        let record = u32::from_be_bytes(self.array()?);
        let length = u32::from_be_bytes(self.array()?);
        let json = self.take(length, ENTITY_BYTES_MAX)?;
        Ok(Some(Entry { key, version: Position { frame, record }, json }))
    }

    /// Compares the hash that stands here with that of everything before.
    fn check(&mut self) -> Result<Hash, SnapshotError> {
        let expected = Hash(self.digest.clone().finalize().into());
        if Hash(self.array()?) != expected {
            return Err(self.unsound("its hash is not that of its content"));
        }
        Ok(expected)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn take(&mut self, length: u32, most: u32) -> Result<Vec<u8>, SnapshotError> {
        if length > most {
            return Err(self.unsound("a length in it is impossible"));
        }
        // Read as it comes, so that a damaged length cannot take memory that the file does not fill.
        let mut bytes = Vec::new();
        let read = (&mut self.input)
            .take(u64::from(length))
            .read_to_end(&mut bytes)
            .map_err(|source| at(&self.path)(source))?;
        if read as u64 != u64::from(length) {
            return Err(self.unsound("it ends too early"));
        }
        self.digest.update(&bytes);
        self.bytes += u64::from(length);
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        self.input.read_exact(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.unsound("it ends too early"),
            _ => at(&self.path)(source),
        })?;
        self.digest.update(&*bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn unsound(&self, what: &str) -> SnapshotError {
        SnapshotError::Unsound { path: self.path.clone(), what: what.to_owned() }
    }
}

/// Writes a snapshot from front to back.
pub(crate) struct SnapshotWriter {
    path: PathBuf,
    output: BufWriter<File>,
    digest: Sha256,
}

impl SnapshotWriter {
    pub(crate) fn create(path: &Path, header: &Header) -> Result<Self, SnapshotError> {
        let file = File::create(path).map_err(|source| at(path)(source))?;
        let output = BufWriter::with_capacity(128 << 10, file);
        let mut writer = Self { path: path.to_owned(), output, digest: Sha256::new() };
        writer.put(MAGIC)?;
        writer.put(&VERSION.to_be_bytes())?;
        let json = serde_json::to_vec(header)
            .map_err(|error| SnapshotError::Journal(error.to_string()))?;
        writer.put_counted(&json)?;
        Ok(writer)
    }

    /// Writes the next entity of the section, in key order.
    pub(crate) fn entry(&mut self, entry: &Entry) -> Result<(), SnapshotError> {
        let length = u16::try_from(entry.key.len())
            .map_err(|_| SnapshotError::Journal("a key is too long".to_owned()))?;
        self.put(&length.to_be_bytes())?;
        self.put(&entry.key)?;
        self.put(&entry.version.frame.to_be_bytes())?;
        self.put(&entry.version.record.to_be_bytes())?;
        self.put_counted(&entry.json)
    }

    /// Ends a section and returns the hash that it stores: that of everything before.
    pub(crate) fn end_section(&mut self) -> Result<Hash, SnapshotError> {
        self.put(&0_u16.to_be_bytes())?;
        let hash = Hash(self.digest.clone().finalize().into());
        self.put(&hash.0)?;
        Ok(hash)
    }

    /// Makes the file durable.
    pub(crate) fn finish(mut self) -> Result<(), SnapshotError> {
        self.output.flush().map_err(|source| at(&self.path)(source))?;
        self.output.get_ref().sync_all().map_err(|source| at(&self.path)(source))
    }

    fn put_counted(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let length = u32::try_from(bytes.len())
            .map_err(|_| SnapshotError::Journal("an entity is too large".to_owned()))?;
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.digest.update(bytes);
        self.output.write_all(bytes).map_err(|source| at(&self.path)(source))
    }
}

/// The snapshots in a directory, newest first.
pub(crate) fn list(directory: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|source| at(directory)(source))? {
        let path = entry.map_err(|source| at(directory)(source))?.path();
        if path.extension().is_some_and(|extension| extension == "snap") {
            found.push(path);
        }
    }
    // Names are offsets in the journal with twenty digits.
    found.sort_unstable_by(|left, right| right.cmp(left));
    Ok(found)
}

/// Where the snapshot of a place in the journal is.
pub(crate) fn path_of(directory: &Path, mark: &Mark) -> PathBuf {
    directory.join(format!("{:020}.snap", mark.end))
}

pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> SnapshotError + use<> {
    let path = path.to_owned();
    move |source| SnapshotError::Files { path: path.clone(), source }
}

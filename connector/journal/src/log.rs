//! The append-only files that are the database: frames of records in segment files.
//!
//! A *frame* is one group of commits that shares one sync. It is written only after the one before
//! it is durable, and carries that one's hash. So a bad frame before a good one is damage, which is
//! refused with its place; only the last frame may be cut off, for nobody was told of it.
//!
//! # Format, version 1
//!
//! All numbers are unsigned and big-endian. A frame starts at a multiple of 512 bytes, so that
//! writing it never touches a sector of the frame before.
//!
//! ```text
//! header    0   8  "SEKISHOJ"
//!           8   2  format version: 1
//!          10   2  flags: 0
//!          12   4  number of records
//!          16  16  journal id
//!          32   8  sequence number: 1 for the first frame
//!          40   8  offset of this frame in the journal
//!          48   4  length of the records
//!          52   4  length of the bodies
//!          56  32  hash of the frame before; zeros for the first
//!          88  32  hash of this frame: SHA-256(bytes 0 to 87 ‖ records)
//! records  120     one after the other:
//!               2  length of the log's label, then the label in UTF-8
//!               4  length of the leaf, then the leaf
//!               4  length of the effect, then the effect
//!               1  0 when there is no body; else 1, then
//!               4  length of the body
//!              32  SHA-256 of the body
//! bodies           one after the other, for the records that have one:
//!               1  kind: 1 as written, 2 erased
//!                  the body; zeros, as many, when erased
//! padding          zeros to the next multiple of 512
//! ```
//!
//! The hash that chains the frames covers a body only through its SHA-256. So a body can be blanked
//! in place (its kind set to 2, its bytes to zero) while the chain and every proof still hold, and
//! nothing but the intended bytes can stand in its place. A body that may be guessed needs its own
//! salt inside. An unknown version, flag or kind is refused as written by a later release; the first
//! 32 bytes and the place of the frame's hash are the same in every version.
//!
//! The journal's bytes are numbered through all segments: the file `<offset>.seg`, twenty digits,
//! begins with the frame at that offset, and ends where the next file begins.

mod append;
mod error;
mod frame;
mod reader;
mod recovery;
mod segment;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::tlog::Hash;

pub use append::{Essential, FrameReceipt, Journal};
pub use error::{AppendError, Damage, Defect, OpenError, ReadError, RecordError};
pub use reader::{Frames, JournalReader, Progress};
pub use recovery::{Recovery, TornTail};

/// The longest label of a log, in bytes.
pub const LABEL_BYTES_MAX: usize = 4_096;
/// The longest leaf, in bytes: what C2SP tlog-tiles entry bundles can carry.
pub const LEAF_BYTES_MAX: usize = 65_535;
/// The largest frame, in bytes, with header and padding.
pub const FRAME_BYTES_MAX: u64 = 64 << 20;

/// One record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The label of the log that it belongs to: 1 to [`LABEL_BYTES_MAX`] bytes.
    pub log: String,
    /// What the log's tree holds, at most [`LEAF_BYTES_MAX`] bytes.
    pub leaf: Vec<u8>,
    /// The state change.
    pub effect: Vec<u8>,
    /// What may be erased later, if anything.
    pub body: Option<Vec<u8>>,
}

/// One record as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where it is.
    pub position: Position,
    /// The label of the log that it belongs to.
    pub log: String,
    /// What the log's tree holds.
    pub leaf: Vec<u8>,
    /// The state change.
    pub effect: Vec<u8>,
    /// What may be erased, as it is now.
    pub body: Body,
}

/// The body of a stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The record was written without one.
    Absent,
    /// As it was written.
    Present(Vec<u8>),
    /// It was there and has been erased.
    Erased {
        /// How many bytes it had.
        length: u32,
        /// The SHA-256 that it had.
        digest: Hash,
    },
}

/// One frame as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins in the journal.
    pub offset: u64,
    /// The hash of the frame before.
    pub previous: Hash,
    /// The place right after it.
    pub mark: Mark,
    /// Its records; none in a frame that only proves the one before durable.
    pub records: Vec<StoredRecord>,
}

/// Where a record is: the offset of its frame in the journal, and its number within the frame.
///
/// Positions are ordered as the records were appended. Shown and stored as `offset.index`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    /// The offset of the frame in the journal, in bytes.
    pub offset: u64,
    /// The number of the record in the frame, counted from zero.
    pub index: u32,
}

/// A place between two frames, with what is needed to go on from it without trusting the files:
/// the next frame must have the next sequence number and carry this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The offset in the journal of the last frame before, in bytes; zero when there is none.
    pub last: u64,
    /// The offset in the journal at which the next frame begins, in bytes.
    pub end: u64,
    /// The sequence number of the last frame before; zero when there is none.
    pub sequence: u64,
    /// The hash of the last frame before; zeros when there is none.
    pub hash: Hash,
}

/// How a journal's files are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Names this journal in every frame. Random, and not shown to peers: it keeps the files of two
    /// journals apart, and text that a peer sent from passing for a frame.
    pub journal_id: [u8; 16],
    /// The size of a segment file in bytes. A frame that is larger gets a file of its own size.
    pub segment_bytes: u64,
}

impl Options {
    /// The size of a segment file unless the configuration says otherwise: 64 MiB.
    pub const SEGMENT_BYTES: u64 = 64 << 20;

    /// The usual options for the journal of this id.
    pub fn new(journal_id: [u8; 16]) -> Self {
        Self { journal_id, segment_bytes: Self::SEGMENT_BYTES }
    }
}

impl Frame {
    /// Writes records as the frame that follows `before`: its bytes, and the place right after it.
    ///
    /// # Errors
    /// When a record or the frame is larger than the format can say.
    pub fn encode(
        records: &[Record],
        before: &Mark,
        journal_id: &[u8; 16],
    ) -> Result<(Vec<u8>, Mark), AppendError> {
        let encoded = frame::encode(records, before, journal_id)?;
        Ok((encoded.bytes, encoded.mark))
    }

    /// Reads the frame that follows `before` from its bytes, and checks all of them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8], before: &Mark, journal_id: &[u8; 16]) -> Result<Self, Defect> {
        let header = frame::Header::parse(bytes, journal_id, before.end)?;
        header.follows(before)?;
        let length = usize::try_from(header.length()).unwrap_or(usize::MAX);
        let whole = bytes.get(..length).ok_or(Defect::Length { length: header.length() })?;
        header.decode(whole)
    }
}

impl Mark {
    /// The place before the first frame.
    pub const START: Self = Self { last: 0, end: 0, sequence: 0, hash: Hash([0; 32]) };
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.offset, self.index)
    }
}

/// A text is not a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a position in the journal: `offset.index` is expected, two whole numbers")]
pub struct PositionError {
    text: String,
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        text.split_once('.')
            .and_then(|(offset, index)| {
                Some(Self { offset: offset.parse().ok()?, index: index.parse().ok()? })
            })
            // One spelling only: no sign, no leading zero.
            .filter(|position| position.to_string() == text)
            .ok_or_else(|| PositionError { text: text.chars().take(60).collect() })
    }
}

impl TryFrom<String> for Position {
    type Error = PositionError;

    fn try_from(text: String) -> Result<Self, PositionError> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

#[cfg(test)]
mod tests;

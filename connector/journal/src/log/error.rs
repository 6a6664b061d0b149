//! What can go wrong with the journal's files, and what the operator does about it.

use std::io;
use std::path::PathBuf;

use super::{FRAME_BYTES_MAX, LABEL_BYTES_MAX, LEAF_BYTES_MAX};

/// A place in the journal that is not as it was written.
#[derive(Debug, thiserror::Error)]
#[error(
    "the journal is damaged in `{}` at byte {place} (offset {offset}): {defect}; restore the file \
     from a backup or a copy, for nothing after this place can be trusted",
    segment.display()
)]
pub struct Damage {
    /// The segment file.
    pub segment: PathBuf,
    /// The byte in that file at which the frame begins.
    pub place: u64,
    /// The frame's offset in the journal.
    pub offset: u64,
    /// What is wrong there.
    pub defect: Defect,
}

/// How a frame is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// There is no frame.
    #[error("no frame begins here")]
    NoFrame,
    /// The frame is larger than the rest of its file or than any frame may be.
    #[error("the frame has no room: it says that it has {length} bytes")]
    Length {
        /// What its header says.
        length: u64,
    },
    /// Its version is not one that this release reads.
    #[error("the frame has format version {version}, which a later release wrote")]
    Version {
        /// What its header says.
        version: u16,
    },
    /// It has flags that this release does not know.
    #[error("the frame has flags {flags:#06x}, which a later release wrote")]
    Flags {
        /// What its header says.
        flags: u16,
    },
    /// It is of another journal.
    #[error("the frame belongs to another journal")]
    OtherJournal,
    /// It was written for another place.
    #[error("the frame was written for offset {stated}")]
    OtherPlace {
        /// What its header says.
        stated: u64,
    },
    /// Its hash is not that of its content.
    #[error("the frame's hash is not that of its content")]
    Hash,
    /// Its hash is right and its content is not: a later release or a fault of this program.
    #[error("record {index} of the frame cannot be read")]
    Record {
        /// The record's number in the frame.
        index: u32,
    },
    /// A body is not the one that was written.
    #[error("the body of record {index} is not the one that was written")]
    Body {
        /// The record's number in the frame.
        index: u32,
    },
    /// A body is of a kind that this release does not know.
    #[error("the body of record {index} is of kind {kind}, which a later release wrote")]
    BodyKind {
        /// The record's number in the frame.
        index: u32,
        /// The kind.
        kind: u8,
    },
    /// The bytes after its content are not zero.
    #[error("the frame is followed by bytes that are not its own")]
    Padding,
    /// It does not follow the frame before it.
    #[error(
        "the frame does not follow the one before: number {found} with another hash where number \
         {expected} belongs"
    )]
    Chain {
        /// The sequence number that belongs here.
        expected: u64,
        /// The one that is here.
        found: u64,
    },
    /// The file ends before the next one begins, or begins before the last one ended.
    #[error("a segment file is missing, or does not belong here: the next begins at offset {next}")]
    Gap {
        /// The offset at which the next file begins.
        next: u64,
    },
}

impl Defect {
    /// Whether an interrupted write can leave this behind. What only whole frames have cannot be
    /// the rest of a write, and is never cut away.
    pub(super) fn may_be_torn(&self) -> bool {
        matches!(
            self,
            Self::NoFrame | Self::Length { .. } | Self::Hash | Self::Body { .. } | Self::Padding
        )
    }
}

/// The journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A frame, or a whole file, is not as it was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The files end before the place to start from.
    #[error(
        "the journal in `{}` ends at offset {end}, before offset {wanted} up to which a snapshot \
         covers it: frames are missing; restore the newest copy of the journal",
        directory.display()
    )]
    Behind {
        /// The journal's directory.
        directory: PathBuf,
        /// Where its frames end.
        end: u64,
        /// Where the caller wanted to start.
        wanted: u64,
    },
    /// A file of the journal has a name that none of them has.
    #[error("`{}` is not a file of the journal; move it elsewhere", path.display())]
    Stray {
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
    /// The caller refused a frame.
    #[error("the frame at offset {offset} was refused")]
    Visitor {
        /// The frame's offset in the journal.
        offset: u64,
        /// What the caller says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A record breaks a limit of the format.
    #[error("record {index} cannot be appended: {reason}")]
    Record {
        /// Its number among the records given.
        index: usize,
        /// The limit.
        reason: RecordError,
    },
    /// The records together are too large for one frame.
    #[error("the records need a frame of {bytes} bytes; the largest has {FRAME_BYTES_MAX}")]
    TooLarge {
        /// What they need.
        bytes: u64,
    },
    /// There is no room for ordinary records. Essential ones may still be appended.
    #[error(
        "the disk of `{}` is full: {needed} more bytes are needed; free some, and appending goes on",
        place.display()
    )]
    DiskFull {
        /// The journal's directory.
        place: PathBuf,
        /// How many bytes could not be had.
        needed: u64,
        /// What the operating system says.
        source: io::Error,
    },
    /// A write failed and was taken back; the journal is as before.
    #[error("`{}` could not be written; nothing was appended", place.display())]
    Write {
        /// The file.
        place: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The disk did not confirm a write. Whether it is there is not known until the journal is
    /// opened anew, so the process must end.
    #[error("`{}` could not be made durable; the journal takes nothing more", place.display())]
    SyncFailed {
        /// The file.
        place: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A sync failed before; see [`AppendError::SyncFailed`].
    #[error("the journal takes nothing more since a write could not be made durable; restart")]
    Refusing,
}

/// The limit that a record breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The label is empty or too long.
    #[error("the label of its log has {found} bytes; 1 to {LABEL_BYTES_MAX} are allowed")]
    Label {
        /// How many it has.
        found: usize,
    },
    /// The leaf is too long.
    #[error("its leaf has {found} bytes; at most {LEAF_BYTES_MAX} are allowed")]
    Leaf {
        /// How many it has.
        found: usize,
    },
}

/// A record or frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The place is after the last durable frame, or the frame has no such record.
    #[error("the journal has no record at {offset}.{index}")]
    NotThere {
        /// The frame's offset.
        offset: u64,
        /// The record's number in the frame.
        index: u32,
    },
    /// The frame is not as it was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The operating system refused an operation.
    #[error("`{}` cannot be read", path.display())]
    Files {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

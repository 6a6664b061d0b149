//! The journal as the rest of this crate sees it, whatever its files lie on.

use engine::Position;
use journal::files::FileLayer;
use journal::log::{
    AppendError, Body, Essential, Frame, FrameReceipt, Journal, JournalReader, Mark, ReadError,
    Record, StoredRecord as RawRecord,
};

use crate::record::{DecodeError, StoredRecord, Touched, decode, decode_touched};

/// The one writer of the journal.
pub(crate) trait FrameWriter: Send {
    fn append(
        &mut self,
        records: &[Record],
        essential: Essential,
    ) -> Result<FrameReceipt, AppendError>;

    /// The place where the next frame will be.
    fn mark(&self) -> Mark;
}

/// Reads durable frames, from any thread.
pub(crate) trait FrameReader: Send + Sync {
    fn read(&self, position: Position) -> Result<RawRecord, ReadError>;

    /// The durable frames after a mark.
    fn frames_from(&self, mark: Mark) -> FrameIterator;

    /// The durable frames from the one at an offset.
    fn frames_at(&self, offset: u64) -> FrameIterator;

    /// The offset up to which frames are durable.
    fn end(&self) -> u64;
}

pub(crate) type FrameIterator = Box<dyn Iterator<Item = Result<Frame, ReadError>> + Send>;

impl<L: FileLayer> FrameWriter for Journal<L> {
    fn append(
        &mut self,
        records: &[Record],
        essential: Essential,
    ) -> Result<FrameReceipt, AppendError> {
        Self::append(self, records, essential)
    }

    fn mark(&self) -> Mark {
        Self::mark(self)
    }
}

impl<L: FileLayer> FrameReader for JournalReader<L> {
    fn read(&self, position: Position) -> Result<RawRecord, ReadError> {
        let Position { frame, record } = position;
        Self::read(self, journal::log::Position { offset: frame, index: record })
    }

    fn frames_from(&self, mark: Mark) -> FrameIterator {
        Box::new(Self::frames_from(self, mark))
    }

    fn frames_at(&self, offset: u64) -> FrameIterator {
        Box::new(Self::frames_at(self, offset))
    }

    fn end(&self) -> u64 {
        Self::end(self)
    }
}

/// The engine's name for a place in the journal.
pub(crate) fn position(place: journal::log::Position) -> Position {
    Position { frame: place.offset, record: place.index }
}

/// Decodes and checks a record as it was read.
pub(crate) fn decode_raw(raw: &RawRecord) -> Result<StoredRecord, DecodeError> {
    let body = match &raw.body {
        Body::Present(bytes) => Some(bytes.as_slice()),
        Body::Absent | Body::Erased { .. } => None,
    };
    decode(position(raw.position), &raw.log, &raw.leaf, &raw.effect, body)
}

/// Decodes which entities a record that was read wrote.
pub(crate) fn decode_raw_touched(raw: &RawRecord) -> Result<Touched, DecodeError> {
    decode_touched(position(raw.position), &raw.log, &raw.leaf, &raw.effect)
}

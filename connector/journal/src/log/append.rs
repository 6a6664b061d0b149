//! The writer of a journal.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::error::AppendError;
use super::frame::encode;
use super::segment::{MakeError, RESERVE, Shared, is_full, name};
use super::{JournalReader, Mark, Position, Record};
use crate::files::{FileLayer, OsFiles};

/// The writer of a journal. There is one; its owner sees to that.
pub struct Journal<L: FileLayer = OsFiles> {
    pub(super) shared: Arc<Shared<L>>,
    pub(super) mark: Mark,
    pub(super) active: Active<L::File>,
    pub(super) has_reserve: bool,
    pub(super) refusing: bool,
}

/// The segment file that is written to.
pub(super) struct Active<F> {
    pub(super) base: u64,
    pub(super) file: F,
    /// How many bytes the file has room for.
    pub(super) capacity: u64,
}

/// Whether records must be kept even when the disk is full: cuts, terminations, erasures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Essential {
    /// They may take the reserve.
    Yes,
    /// They are refused while the disk is full, and until the reserve could be set aside again.
    No,
}

/// A frame is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameReceipt {
    /// The frame's offset in the journal.
    pub offset: u64,
    /// How many records it has.
    pub records: u32,
    /// The place right after it.
    pub mark: Mark,
}

impl FrameReceipt {
    /// Where the records are, in the order in which they were given.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = Position> + use<> {
        let offset = self.offset;
        (0..self.records).map(move |index| Position { offset, index })
    }
}

impl<L: FileLayer> Journal<L> {
    /// Appends the records as one frame and returns when it is durable.
    ///
    /// After an error nothing was appended, and, but for [`AppendError::SyncFailed`] and
    /// [`AppendError::Refusing`], the next append is tried as if this one had not been.
    pub fn append(
        &mut self,
        records: &[Record],
        essential: Essential,
    ) -> Result<FrameReceipt, AppendError> {
        if self.refusing {
            return Err(AppendError::Refusing);
        }
        let frame = encode(records, &self.mark, &self.shared.options.journal_id)?;
        self.make_room(frame.bytes.len() as u64, essential)?;

        let place = self.mark.end.saturating_sub(self.active.base);
        if let Err(error) = self.shared.layer.write_at(&self.active.file, place, &frame.bytes) {
            return Err(self.take_back(place, frame.bytes.len() as u64, error));
        }
        if let Err(error) = self.shared.layer.sync_data(&self.active.file) {
            return Err(self.refuse_from_now_on(error));
        }
        let offset = self.mark.end;
        self.mark = frame.mark;
        self.shared.publish_end(self.mark.end);
        let records = u32::try_from(records.len()).unwrap_or(u32::MAX);
        Ok(FrameReceipt { offset, records, mark: self.mark })
    }

    /// Appends a frame without records: it proves to the next start that the one before it was
    /// durable, and not the rest of an interrupted write. For idle times and the stop.
    pub fn append_empty(&mut self) -> Result<FrameReceipt, AppendError> {
        self.append(&[], Essential::Yes)
    }

    /// The place after the last frame.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// A reader of the durable frames, for any thread.
    pub fn reader(&self) -> JournalReader<L> {
        JournalReader::new(Arc::clone(&self.shared))
    }

    /// Whether room for essential records is set aside. Without it ordinary appends are refused.
    pub fn has_reserve(&self) -> bool {
        self.has_reserve
    }

    /// Sees to it that the active segment has room for a frame of `length` bytes.
    fn make_room(&mut self, length: u64, essential: Essential) -> Result<(), AppendError> {
        if !self.has_reserve
            && let Err(error) = self.refill_reserve()
            && essential == Essential::No
        {
            return Err(self.no_room(self.shared.options.segment_bytes, error));
        }
        let place = self.mark.end.saturating_sub(self.active.base);
        if place.saturating_add(length) <= self.active.capacity {
            return Ok(());
        }
        let base = self.mark.end;
        let capacity = length.max(self.shared.options.segment_bytes);
        match self.shared.make_file(&name(base), capacity) {
            Ok(file) => {
                self.change_to(Active { base, file, capacity });
                Ok(())
            }
            Err(MakeError::NotMade(error)) if essential == Essential::Yes && is_full(&error) => {
                self.take_reserve(base, length, error)
            }
            Err(MakeError::NotMade(error)) => Err(self.no_room(capacity, error)),
            // Were the next frame written to the file before, a segment would begin in its midst.
            Err(MakeError::Unconfirmed(error)) => Err(self.refuse_from_now_on(error)),
        }
    }

    /// Goes on in the reserve, when it is there and large enough.
    fn take_reserve(&mut self, base: u64, length: u64, full: io::Error) -> Result<(), AppendError> {
        if !self.has_reserve || length > self.shared.options.segment_bytes {
            return Err(self.no_room(length, full));
        }
        let layer = &self.shared.layer;
        let reserve = self.shared.directory.join(RESERVE);
        let opened = layer.open(&reserve).and_then(|file| Ok((layer.length(&file)?, file)));
        let (capacity, file) = opened.map_err(|error| self.no_room(length, error))?;
        layer
            .rename(&reserve, &self.shared.path(base))
            .map_err(|error| self.no_room(length, error))?;
        self.has_reserve = false;
        if let Err(error) = self.shared.layer.sync_directory(&self.shared.directory) {
            return Err(self.refuse_from_now_on(error));
        }
        self.change_to(Active { base, file, capacity });
        Ok(())
    }

    fn change_to(&mut self, next: Active<L::File>) {
        let used = next.base.saturating_sub(self.active.base);
        let finished = std::mem::replace(&mut self.active, next);
        self.shared.publish_segment(self.active.base);
        // Only room is lost when this fails, and the next start tries it again.
        let _ = self.shared.layer.truncate(&finished.file, used);
    }

    pub(super) fn refill_reserve(&mut self) -> io::Result<()> {
        self.shared.make_file(RESERVE, self.shared.options.segment_bytes)?;
        self.has_reserve = true;
        Ok(())
    }

    /// Takes back what a failed write may have left, so that it can never be read as a frame.
    fn take_back(&mut self, place: u64, length: u64, error: io::Error) -> AppendError {
        let layer = &self.shared.layer;
        let file = &self.active.file;
        let taken_back = layer
            .truncate(file, place)
            .and_then(|()| match layer.preallocate(file, self.active.capacity) {
                Err(full) if is_full(&full) => Ok(()),
                other => other,
            })
            .and_then(|()| layer.sync_data(file))
            .and_then(|()| layer.length(file));
        match taken_back {
            Err(error) => self.refuse_from_now_on(error),
            Ok(capacity) => {
                self.active.capacity = capacity;
                self.no_room(length, error)
            }
        }
    }

    fn no_room(&self, needed: u64, source: io::Error) -> AppendError {
        let place = self.shared.directory.clone();
        if is_full(&source) {
            AppendError::DiskFull { place, needed, source }
        } else {
            AppendError::Write { place, source }
        }
    }

    fn refuse_from_now_on(&mut self, source: io::Error) -> AppendError {
        self.refusing = true;
        AppendError::SyncFailed { place: self.shared.path(self.active.base), source }
    }
}

impl<L: FileLayer> fmt::Debug for Journal<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Journal")
            .field("directory", &self.shared.directory)
            .field("mark", &self.mark)
            .field("has_reserve", &self.has_reserve)
            .field("refusing", &self.refusing)
            .finish_non_exhaustive()
    }
}

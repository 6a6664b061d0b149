//! Reading durable frames: one record, a run of frames, or all of them for an audit.

use std::fmt;
use std::sync::Arc;

use super::error::ReadError;
use super::segment::{Fault, PlacedError, Segment, Shared};
use super::{Frame, Mark, Position, StoredRecord};
use crate::files::{FileLayer, OsFiles};

/// Reads the durable frames of a journal while it is written. Cheap to clone.
pub struct JournalReader<L: FileLayer = OsFiles> {
    shared: Arc<Shared<L>>,
}

/// How far an audit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The frames checked.
    pub frames: u64,
    /// The records in them.
    pub records: u64,
    /// The offset in the journal up to which it is checked, in bytes.
    pub checked: u64,
    /// The offset up to which it will be checked, in bytes.
    pub end: u64,
}

impl<L: FileLayer> JournalReader<L> {
    pub(super) fn new(shared: Arc<Shared<L>>) -> Self {
        Self { shared }
    }

    /// The offset up to which frames are durable, in bytes.
    pub fn end(&self) -> u64 {
        self.shared.end()
    }

    /// Reads one record; its whole frame is checked.
    pub fn read(&self, position: Position) -> Result<StoredRecord, ReadError> {
        let Position { offset, index } = position;
        let not_there = || ReadError::NotThere { offset, index };
        let segment = self.shared.segment_at(offset).ok_or_else(not_there)??;
        let frame = self.frame_in(&segment, offset, None)?;
        let number = usize::try_from(index).unwrap_or(usize::MAX);
        frame.records.into_iter().nth(number).ok_or_else(not_there)
    }

    /// The frames after a place, to the end that is durable now. The first must follow the mark.
    pub fn frames_from(&self, mark: Mark) -> Frames<L> {
        self.frames(mark.end, Some(mark))
    }

    /// The frames from the one at `offset`, to the end that is durable now. What is before it is
    /// not checked; from there on each must follow the one before.
    pub fn frames_at(&self, offset: u64) -> Frames<L> {
        self.frames(offset, None)
    }

    /// Checks every frame from the first to the end that is durable now, and names the first that
    /// is not as it was written. `progress` is called after each frame.
    pub fn verify(&self, mut progress: impl FnMut(Progress)) -> Result<Progress, ReadError> {
        let mut done = Progress { end: self.end(), ..Progress::default() };
        for frame in self.frames_from(Mark::START) {
            let frame = frame?;
            done.frames += 1;
            done.records += frame.records.len() as u64;
            done.checked = frame.mark.end;
            progress(done);
        }
        Ok(done)
    }

    fn frames(&self, offset: u64, after: Option<Mark>) -> Frames<L> {
        let reader = self.clone();
        Frames { end: reader.end(), reader, offset, after, segment: None, failed: false }
    }

    fn frame_in(
        &self,
        segment: &Segment<L::File>,
        offset: u64,
        after: Option<&Mark>,
    ) -> Result<Frame, ReadError> {
        let place = offset.saturating_sub(segment.base);
        let room = segment.end.saturating_sub(offset);
        let read = || {
            let header = self.shared.read_header(&segment.file, place, offset, room)?;
            let frame = self.shared.read_frame(&segment.file, place, &header)?;
            if let Some(mark) = after {
                header.follows(mark)?;
            }
            Ok(frame)
        };
        read().map_err(|fault| match fault {
            Fault::Files(source) => ReadError::Files { path: segment.path.clone(), source },
            Fault::Defect(defect) => self.shared.damage(segment.base, offset, defect).into(),
        })
    }
}

/// Frames in the order in which they were appended. It ends after the first error.
pub struct Frames<L: FileLayer = OsFiles> {
    reader: JournalReader<L>,
    end: u64,
    offset: u64,
    after: Option<Mark>,
    segment: Option<Segment<L::File>>,
    failed: bool,
}

impl<L: FileLayer> Frames<L> {
    fn read_next(&mut self) -> Result<Frame, ReadError> {
        let segment = match self.segment.take().filter(|segment| self.offset < segment.end) {
            Some(segment) => segment,
            None => {
                let offset = self.offset;
                let opened = self.reader.shared.segment_at(offset);
                opened.ok_or(ReadError::NotThere { offset, index: 0 })??
            }
        };
        let frame = self.reader.frame_in(&segment, self.offset, self.after.as_ref())?;
        self.segment = Some(segment);
        self.offset = frame.mark.end;
        self.after = Some(frame.mark);
        Ok(frame)
    }
}

impl<L: FileLayer> Iterator for Frames<L> {
    type Item = Result<Frame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.offset >= self.end {
            return None;
        }
        let frame = self.read_next();
        self.failed = frame.is_err();
        Some(frame)
    }
}

impl From<PlacedError> for ReadError {
    fn from(error: PlacedError) -> Self {
        Self::Files { path: error.path, source: error.source }
    }
}

impl<L: FileLayer> Clone for JournalReader<L> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<L: FileLayer> fmt::Debug for JournalReader<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = &self.shared.directory;
        formatter
            .debug_struct("JournalReader")
            .field("directory", directory)
            .finish_non_exhaustive()
    }
}

impl<L: FileLayer> fmt::Debug for Frames<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Frames").field("offset", &self.offset).finish_non_exhaustive()
    }
}

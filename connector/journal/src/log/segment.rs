//! The segment files of a journal, and what its writer and its readers share about them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::error::{Damage, Defect};
use super::frame::{HEADER, Header};
use super::{Frame, Options};
use crate::files::FileLayer;

/// The file that keeps room for essential records on a full disk.
pub(super) const RESERVE: &str = "reserve";
/// A file that is being made; what a crash left of it is removed.
pub(super) const UNFINISHED: &str = "unfinished";

/// The name of the segment file whose first frame is at `base`.
pub(super) fn name(base: u64) -> String {
    format!("{base:020}.seg")
}

/// The offset that a segment file's name says; `None` when it is not such a name.
pub(super) fn base_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".seg")?;
    let base = digits.parse().ok()?;
    (name(base) == file_name).then_some(base)
}

/// What the writer and the readers of one journal share.
pub(super) struct Shared<L: FileLayer> {
    pub(super) layer: L,
    pub(super) directory: PathBuf,
    pub(super) options: Options,
    state: RwLock<State>,
}

struct State {
    bases: BTreeSet<u64>,
    /// Where the last durable frame ends.
    end: u64,
}

/// A part of the journal that lies in one file.
pub(super) struct Segment<F> {
    pub(super) base: u64,
    /// The offset at which the readable frames of this file end.
    pub(super) end: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<F>,
}

/// Why a frame could not be read.
pub(super) enum Fault {
    Files(io::Error),
    Defect(Defect),
}

impl From<Defect> for Fault {
    fn from(defect: Defect) -> Self {
        Self::Defect(defect)
    }
}

impl<L: FileLayer> Shared<L> {
    pub(super) fn new(layer: L, directory: &Path, options: Options) -> Self {
        let state = RwLock::new(State { bases: BTreeSet::new(), end: 0 });
        Self { layer, directory: directory.to_owned(), options, state }
    }

    pub(super) fn path(&self, base: u64) -> PathBuf {
        self.directory.join(name(base))
    }

    /// The offset up to which frames are durable and may be read.
    pub(super) fn end(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).end
    }

    /// Lets readers see the frames up to `end`.
    pub(super) fn publish_end(&self, end: u64) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).end = end;
    }

    /// Lets readers know of a segment file.
    pub(super) fn publish_segment(&self, base: u64) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).bases.insert(base);
    }

    /// Opens the file that holds `offset`; `None` when nothing durable is there.
    pub(super) fn segment_at(&self, offset: u64) -> Option<Result<Segment<L::File>, PlacedError>> {
        let (base, end) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let base = *state.bases.range(..=offset).next_back()?;
            let next = state.bases.range(base.saturating_add(1)..).next().copied();
            (base, next.unwrap_or(state.end).min(state.end))
        };
        if offset >= end {
            return None;
        }
        let path = self.path(base);
        Some(match self.layer.open(&path) {
            Ok(file) => Ok(Segment { base, end, path, file: Arc::new(file) }),
            Err(source) => Err(PlacedError { path, source }),
        })
    }

    /// Reads the header at `place` of a file, where `offset` of the journal should be.
    pub(super) fn read_header(
        &self,
        file: &L::File,
        place: u64,
        offset: u64,
        room: u64,
    ) -> Result<Header, Fault> {
        if room < HEADER as u64 {
            return Err(Defect::NoFrame.into());
        }
        let mut bytes = [0; HEADER];
        self.read(file, place, &mut bytes)?;
        let header = Header::parse(&bytes, &self.options.journal_id, offset)?;
        if header.length() > room {
            return Err(Defect::Length { length: header.length() }.into());
        }
        Ok(header)
    }

    /// Reads the whole frame of a header and checks it.
    pub(super) fn read_frame(
        &self,
        file: &L::File,
        place: u64,
        header: &Header,
    ) -> Result<Frame, Fault> {
        Ok(header.decode(&self.read_bytes(file, place, header.length())?)?)
    }

    pub(super) fn read_bytes(
        &self,
        file: &L::File,
        place: u64,
        length: u64,
    ) -> Result<Vec<u8>, Fault> {
        let length = usize::try_from(length).map_err(|_| Defect::Length { length })?;
        let mut bytes = vec![0; length];
        self.read(file, place, &mut bytes)?;
        Ok(bytes)
    }

    fn read(&self, file: &L::File, place: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.layer.read_at(file, place, bytes).map_err(|error| match error.kind() {
            // The file is shorter than the journal says: frames are cut off, not unreadable.
            io::ErrorKind::UnexpectedEof => {
                Fault::Defect(Defect::Length { length: bytes.len() as u64 })
            }
            _ => Fault::Files(error),
        })
    }

    pub(super) fn damage(&self, base: u64, offset: u64, defect: Defect) -> Damage {
        Damage { segment: self.path(base), place: offset.saturating_sub(base), offset, defect }
    }

    /// Makes a file of `length` zeros whose room and name are durable before it is returned. It
    /// replaces a file of that name.
    pub(super) fn make_file(&self, name: &str, length: u64) -> Result<L::File, MakeError> {
        let unfinished = self.directory.join(UNFINISHED);
        let created = self.discard(&unfinished).and_then(|()| self.layer.create(&unfinished));
        let file = created.map_err(MakeError::NotMade)?;
        let made = self
            .layer
            .preallocate(&file, length)
            .and_then(|()| self.layer.sync_data(&file))
            .and_then(|()| self.layer.rename(&unfinished, &self.directory.join(name)));
        if let Err(error) = made {
            // The room that it took is wanted by others; opening the journal removes it otherwise.
            let _ = self.layer.remove(&unfinished);
            return Err(MakeError::NotMade(error));
        }
        self.layer.sync_directory(&self.directory).map_err(MakeError::Unconfirmed)?;
        Ok(file)
    }

    /// Removes a file that may not be there.
    pub(super) fn discard(&self, path: &Path) -> io::Result<()> {
        match self.layer.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Why a file was not made.
pub(super) enum MakeError {
    /// There is no new file of that name.
    NotMade(io::Error),
    /// There is one, but it may be gone after a loss of power.
    Unconfirmed(io::Error),
}

impl From<MakeError> for io::Error {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::NotMade(error) | MakeError::Unconfirmed(error) => error,
        }
    }
}

/// What the operating system says about a file.
pub(super) struct PlacedError {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// Whether the operating system has no more room to give.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

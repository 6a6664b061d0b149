//! Opening a journal: what the files say, what an interrupted write left, what is damage.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::append::Active;
use super::error::{Defect, OpenError};
use super::frame::{Header, SECTOR};
use super::segment::{Fault, RESERVE, Shared, UNFINISHED, base_of, is_full, name};
use super::{Frame, Journal, Mark, Options};
use crate::files::FileLayer;

/// What opening a journal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// How many frames there are after the place to start from.
    pub frames: u64,
    /// How many records they have.
    pub records: u64,
    /// The rest of an interrupted write, which was cut off.
    pub torn: Option<TornTail>,
}

/// The rest of an interrupted write. Nobody was told that it succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file that it was cut from.
    pub segment: PathBuf,
    /// The byte in that file from which on it was cut.
    pub place: u64,
    /// The offset in the journal.
    pub offset: u64,
    /// How the frame that begins there is not whole.
    pub defect: Defect,
}

impl<L: FileLayer> Journal<L> {
    /// Opens the journal in `directory`, or makes one there, and shows `visit` every frame after
    /// `from`, in order, one at a time.
    ///
    /// What `visit` builds may be shown to others only after this has returned: the last frame is
    /// then written and synced again, since a start cannot know that the sync before it succeeded.
    pub fn open(
        directory: &Path,
        options: Options,
        layer: L,
        from: Mark,
        visit: impl FnMut(Frame) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<(Self, Recovery), OpenError> {
        let shared = Shared::new(layer, directory, options);
        let at_directory = |source| OpenError::Files { path: directory.to_owned(), source };
        shared.layer.create_directory(directory).map_err(at_directory)?;
        let listing = list(&shared)?;
        shared.layer.sync_directory(directory).map_err(at_directory)?;
        for base in &listing.bases {
            shared.publish_segment(*base);
        }

        let mut scan = Scan { shared: &shared, mark: from, frames: 0, records: 0, visit };
        let tail = match scan.start(&listing.bases)? {
            Some(first) => scan.run(&listing.bases, first)?,
            None => Tail { base: None, torn: None },
        };
        let Scan { mark, frames, records, .. } = scan;
        let active = settle(&shared, &mark, &tail)?;

        shared.publish_segment(active.base);
        shared.publish_end(mark.end);
        let shared = Arc::new(shared);
        let has_reserve = listing.has_reserve;
        let mut journal = Self { shared, mark, active, has_reserve, refusing: false };
        if !has_reserve {
            match journal.refill_reserve() {
                // The journal opens on a full disk: essential records may still fit.
                Err(error) if !is_full(&error) => return Err(at_directory(error)),
                _ => {}
            }
        }
        Ok((journal, Recovery { frames, records, torn: tail.torn }))
    }
}

struct Listing {
    /// The bases of the segment files, ascending.
    bases: Vec<u64>,
    has_reserve: bool,
}

fn list<L: FileLayer>(shared: &Shared<L>) -> Result<Listing, OpenError> {
    let directory = &shared.directory;
    let failed = |path: PathBuf| move |source| OpenError::Files { path, source };
    let mut listing = Listing { bases: Vec::new(), has_reserve: false };
    for entry in shared.layer.list(directory).map_err(failed(directory.clone()))? {
        let path = directory.join(&entry);
        match (entry.as_str(), base_of(&entry)) {
            (_, Some(base)) => listing.bases.push(base),
            (UNFINISHED, None) => shared.discard(&path).map_err(failed(path))?,
            (RESERVE, None) => {
                let length = shared.layer.open(&path).and_then(|file| shared.layer.length(&file));
                let length = length.map_err(failed(path))?;
                listing.has_reserve = length >= shared.options.segment_bytes;
            }
            (_, None) => return Err(OpenError::Stray { path }),
        }
    }
    listing.bases.sort_unstable();
    Ok(listing)
}

/// Where the frames end.
struct Tail {
    /// The last segment file, if there is any.
    base: Option<u64>,
    torn: Option<TornTail>,
}

struct Scan<'a, L: FileLayer, V> {
    shared: &'a Shared<L>,
    mark: Mark,
    frames: u64,
    records: u64,
    visit: V,
}

impl<L: FileLayer, V> Scan<'_, L, V>
where
    V: FnMut(Frame) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
{
    /// Finds the segment to start in and checks that the place to start from is what it says.
    fn start(&self, bases: &[u64]) -> Result<Option<usize>, OpenError> {
        if self.mark == Mark::START {
            return match bases.first() {
                None => Ok(None),
                Some(0) => Ok(Some(0)),
                Some(first) => Err(self.gap(0, *first)),
            };
        }
        let holds = |offset: u64| bases.partition_point(|base| *base <= offset).checked_sub(1);
        let behind = |end| OpenError::Behind {
            directory: self.shared.directory.clone(),
            end,
            wanted: self.mark.end,
        };
        let number = holds(self.mark.last).ok_or_else(|| behind(0))?;
        let base = bases.get(number).copied().unwrap_or_default();
        let (file, length) = self.open(base)?;
        let place = self.mark.last.saturating_sub(base);
        let room = length.saturating_sub(place);
        let found = self
            .shared
            .read_header(&file, place, self.mark.last, room)
            .and_then(|header| self.shared.read_frame(&file, place, &header));
        match found {
            Ok(frame) if frame.mark == self.mark => Ok(holds(self.mark.end)),
            Ok(frame) => {
                let chain =
                    Defect::Chain { expected: self.mark.sequence, found: frame.mark.sequence };
                Err(self.shared.damage(base, self.mark.last, chain).into())
            }
            Err(Fault::Defect(Defect::NoFrame)) => Err(behind(self.mark.last)),
            Err(fault) => Err(self.refused(base, self.mark.last, fault)),
        }
    }

    /// Reads frame after frame, from the segment of that number on, to the end of the last.
    fn run(&mut self, bases: &[u64], first: usize) -> Result<Tail, OpenError> {
        let mut tail = Tail { base: None, torn: None };
        for (number, base) in bases.iter().enumerate().skip(first) {
            let next = bases.get(number.saturating_add(1)).copied();
            tail = Tail { base: Some(*base), torn: self.segment(*base, next)? };
        }
        Ok(tail)
    }

    /// Reads the frames of one segment. Only in the last one may they end before the file does.
    fn segment(&mut self, base: u64, next: Option<u64>) -> Result<Option<TornTail>, OpenError> {
        let (file, length) = self.open(base)?;
        if self.mark.end < base {
            return Err(self.gap(base, base));
        }
        let end = next.unwrap_or(base.saturating_add(length));
        while self.mark.end < end {
            let offset = self.mark.end;
            let place = offset.saturating_sub(base);
            let room = end.min(base.saturating_add(length)).saturating_sub(offset);
            let read = self.shared.read_header(&file, place, offset, room).and_then(|header| {
                let frame = self.shared.read_frame(&file, place, &header)?;
                header.follows(&self.mark)?;
                Ok(frame)
            });
            match read {
                Ok(frame) => self.accept(frame)?,
                Err(Fault::Defect(defect)) if next.is_none() && defect.may_be_torn() => {
                    return self.judge_tail(&file, base, length, defect);
                }
                Err(fault) => return Err(self.refused(base, offset, fault)),
            }
        }
        if self.mark.end > end {
            return Err(self.gap(base, end));
        }
        if next.is_some() && base.saturating_add(length) > end {
            // Room that was set aside and not needed; a crash kept it from being given back.
            self.shared
                .layer
                .truncate(&file, end.saturating_sub(base))
                .map_err(|source| OpenError::Files { path: self.shared.path(base), source })?;
        }
        Ok(None)
    }

    fn accept(&mut self, frame: Frame) -> Result<(), OpenError> {
        let (offset, mark) = (frame.offset, frame.mark);
        self.frames += 1;
        self.records += frame.records.len() as u64;
        (self.visit)(frame).map_err(|source| OpenError::Visitor { offset, source })?;
        self.mark = mark;
        Ok(())
    }

    /// Tells the unused rest of the last file, and the rest of an interrupted write, from damage:
    /// had any frame been written after this one, this one had been durable.
    fn judge_tail(
        &self,
        file: &L::File,
        base: u64,
        length: u64,
        defect: Defect,
    ) -> Result<Option<TornTail>, OpenError> {
        const PIECE: u64 = 1 << 20;
        let offset = self.mark.end;
        let mut place = offset.saturating_sub(base);
        let mut used = false;
        while place < length {
            let wanted = PIECE.min(length.saturating_sub(place));
            let piece = self
                .shared
                .read_bytes(file, place, wanted)
                .map_err(|fault| self.refused(base, offset, fault))?;
            for sector in piece.chunks(SECTOR) {
                let here = base.saturating_add(place);
                let is_frame = Header::parse(sector, &self.shared.options.journal_id, here).is_ok();
                if is_frame && here > offset {
                    return Err(self.shared.damage(base, offset, defect).into());
                }
                used |= sector.iter().any(|byte| *byte != 0);
                place = place.saturating_add(sector.len() as u64);
            }
        }
        let torn = || TornTail {
            segment: self.shared.path(base),
            place: offset.saturating_sub(base),
            offset,
            defect,
        };
        Ok(used.then(torn))
    }

    fn open(&self, base: u64) -> Result<(L::File, u64), OpenError> {
        let path = self.shared.path(base);
        let layer = &self.shared.layer;
        let opened = layer.open(&path).and_then(|file| Ok((layer.length(&file)?, file)));
        let (length, file) = opened.map_err(|source| OpenError::Files { path, source })?;
        Ok((file, length))
    }

    fn gap(&self, base: u64, next: u64) -> OpenError {
        self.shared.damage(base, self.mark.end, Defect::Gap { next }).into()
    }

    fn refused(&self, base: u64, offset: u64, fault: Fault) -> OpenError {
        match fault {
            Fault::Files(source) => OpenError::Files { path: self.shared.path(base), source },
            Fault::Defect(defect) => self.shared.damage(base, offset, defect).into(),
        }
    }
}

/// Makes the files ready to be written to: cuts off what is torn, gives the last file its room
/// again, and makes the last good frame durable.
fn settle<L: FileLayer>(
    shared: &Shared<L>,
    mark: &Mark,
    tail: &Tail,
) -> Result<Active<L::File>, OpenError> {
    let base = tail.base.unwrap_or(mark.end);
    let path = shared.path(base);
    let settled = match tail.base {
        None => {
            let capacity = shared.options.segment_bytes;
            let made = shared.make_file(&name(base), capacity).map_err(io::Error::from);
            made.map(|file| Active { base, file, capacity })
        }
        Some(_) => settle_last(shared, mark, base, tail.torn.is_some()),
    };
    settled.map_err(|source| OpenError::Files { path, source })
}

fn settle_last<L: FileLayer>(
    shared: &Shared<L>,
    mark: &Mark,
    base: u64,
    torn: bool,
) -> io::Result<Active<L::File>> {
    let layer = &shared.layer;
    let file = layer.open(&shared.path(base))?;
    let wanted = layer.length(&file)?.max(shared.options.segment_bytes);
    if torn {
        layer.truncate(&file, mark.end.saturating_sub(base))?;
    }
    match layer.preallocate(&file, wanted) {
        Err(error) if !is_full(&error) => return Err(error),
        _ => {}
    }
    if mark.sequence > 0 && mark.last >= base {
        // A failed sync may leave pages that read well, count as written, and are not on the disk.
        // Only writing them once more makes the next sync say something about them.
        let place = mark.last.saturating_sub(base);
        let length = mark.end.saturating_sub(mark.last);
        let bytes = shared.read_bytes(&file, place, length).map_err(|fault| match fault {
            Fault::Files(error) => error,
            Fault::Defect(_) => io::ErrorKind::UnexpectedEof.into(),
        })?;
        layer.write_at(&file, place, &bytes)?;
    }
    layer.sync_data(&file)?;
    let capacity = layer.length(&file)?;
    Ok(Active { base, file, capacity })
}

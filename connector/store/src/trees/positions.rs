//! Where the records of one log are: a file of positions, twelve bytes each, by index.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use engine::Position;
use journal::tree::TreeError;

const BYTES: u64 = 12;

#[derive(Debug)]
pub(super) struct Positions {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Positions {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let size = file.metadata()?.len() / BYTES;
        Ok(Self { path: path.to_owned(), file, size })
    }

    /// How many positions there are.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn append(
        &mut self,
        positions: impl Iterator<Item = Position>,
    ) -> Result<(), TreeError> {
        let mut bytes = Vec::new();
        let mut count = 0;
        for position in positions {
            bytes.extend_from_slice(&position.frame.to_be_bytes());
            bytes.extend_from_slice(&position.record.to_be_bytes());
            count += 1;
        }
        self.file.write_all_at(&bytes, self.size * BYTES).map_err(|error| self.failed(error))?;
        self.size += count;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), TreeError> {
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    pub(super) fn truncate(&mut self, size: u64) -> Result<(), TreeError> {
        let size = size.min(self.size);
        self.file.set_len(size * BYTES).map_err(|error| self.failed(error))?;
        self.size = size;
        Ok(())
    }

    pub(super) fn read(&self, index: u64) -> Result<Position, TreeError> {
        let mut frame = [0; 8];
        let mut record = [0; 4];
        self.file
            .read_exact_at(&mut frame, index * BYTES)
            .and_then(|()| self.file.read_exact_at(&mut record, index * BYTES + 8))
            .map_err(|error| self.failed(error))?;
        Ok(Position { frame: u64::from_be_bytes(frame), record: u32::from_be_bytes(record) })
    }

    /// The index of a position among the first `size`: positions grow with the index.
    pub(super) fn find(&self, position: Position, size: u64) -> Result<Option<u64>, TreeError> {
        let (mut low, mut high) = (0, size.min(self.size));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.read(middle)?.cmp(&position) {
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    fn failed(&self, source: io::Error) -> TreeError {
        TreeError::Files { path: self.path.clone(), source }
    }
}

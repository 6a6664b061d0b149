//! A file system in memory that may lose whatever was not synced, and fail when it is told to.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::files::FileLayer;

const SECTOR: usize = 512;

/// The disk and the machine it is in. Clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct Model(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    files: HashMap<u64, File>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
    random: Random,
    /// Changing operations until the machine stops.
    until_stop: Option<u64>,
    /// Changing operations after which one fails, once each.
    faults: BTreeMap<u64, Fault>,
    operations: u64,
    /// How many bytes all files together may have.
    room: Option<u64>,
}

#[derive(Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

enum NameChange {
    Set(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Full,
    Broken,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => io::ErrorKind::StorageFull.into(),
            Fault::Broken => io::Error::from_raw_os_error(5),
        }
    }
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        let model = Self::default();
        model.with(|disk| disk.random = Random(seed));
        model
    }

    /// Stops the machine after so many more changing operations.
    pub(super) fn stop_after(&self, operations: u64) {
        self.with(|disk| disk.until_stop = Some(operations));
    }

    /// Lets the changing operation after so many others fail.
    pub(super) fn fail_after(&self, operations: u64, fault: Fault) {
        self.with(|disk| disk.faults.insert(disk.operations + operations, fault));
    }

    /// How many bytes all files together may have from now on.
    pub(super) fn set_room(&self, bytes: Option<u64>) {
        self.with(|disk| disk.room = bytes);
    }

    pub(super) fn used(&self) -> u64 {
        self.with(|disk| disk.used())
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.with(|disk| disk.until_stop == Some(0))
    }

    /// The process ends and starts again; the kernel has kept what was written.
    pub(super) fn restart_process(&self) {
        self.with(|disk| {
            disk.until_stop = None;
            disk.faults.clear();
        });
    }

    /// Power is lost: of what was not synced, any sectors, lengths and names may be gone.
    pub(super) fn lose_power(&self) {
        self.with(Disk::lose_power);
        self.restart_process();
    }

    fn with<T>(&self, work: impl FnOnce(&mut Disk) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }
}

impl Disk {
    fn used(&self) -> u64 {
        let named = |id: &u64| self.names.values().any(|named| named == id);
        self.files.iter().filter(|(id, _)| named(id)).map(|(_, file)| file.now.len() as u64).sum()
    }

    /// Counts a changing operation, which the machine's end or a fault may prevent.
    fn step(&mut self) -> io::Result<()> {
        if self.until_stop == Some(0) {
            return Err(Fault::Broken.into());
        }
        self.until_stop = self.until_stop.map(|left| left - 1);
        let operation = self.operations;
        self.operations += 1;
        self.faults.remove(&operation).map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn file(&mut self, id: u64) -> &mut File {
        self.files.get_mut(&id).unwrap()
    }

    fn lose_power(&mut self) {
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.pending_names) {
            if self.random.coin() {
                change.apply(&mut names);
            }
        }
        self.names.clone_from(&names);
        self.durable_names = names;
        for file in self.files.values_mut() {
            file.settle(|| self.random.coin());
            file.now.clone_from(&file.durable);
        }
    }
}

impl File {
    /// Brings to the disk what is pending and `reaches` it. What a failed sync gave up does not.
    fn settle(&mut self, mut reaches: impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Length(length) => {
                    if reaches() {
                        self.durable.resize(length, 0);
                    }
                }
                Change::Write(offset, bytes) => {
                    for (start, piece) in sectors(offset, &bytes) {
                        if reaches() {
                            put(&mut self.durable, start, piece);
                        }
                    }
                }
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Set(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

/// The parts of a write that lie in one sector each.
fn sectors(offset: usize, bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let end = bytes.len().min(start + SECTOR - (offset + start) % SECTOR);
        parts.push((offset + start, &bytes[start..end]));
        start = end;
    }
    parts
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl FileLayer for Model {
    type File = u64;

    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let name = |path: &PathBuf| {
            let inside = path.parent() == Some(directory);
            inside.then(|| path.file_name().unwrap().to_string_lossy().into_owned())
        };
        Ok(self.with(|disk| disk.names.keys().filter_map(name).collect()))
    }

    fn open(&self, path: &Path) -> io::Result<u64> {
        self.with(|disk| disk.names.get(path).copied().ok_or(io::ErrorKind::NotFound.into()))
    }

    fn create(&self, path: &Path) -> io::Result<u64> {
        self.with(|disk| {
            disk.step()?;
            if disk.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = disk.next_file;
            disk.next_file += 1;
            disk.files.insert(id, File::default());
            disk.names.insert(path.to_owned(), id);
            disk.pending_names.push(NameChange::Set(path.to_owned(), id));
            Ok(id)
        })
    }

    fn length(&self, file: &u64) -> io::Result<u64> {
        Ok(self.with(|disk| disk.file(*file).now.len() as u64))
    }

    fn preallocate(&self, file: &u64, length: u64) -> io::Result<()> {
        self.with(|disk| {
            disk.step()?;
            let used = disk.used();
            let room = disk.room.unwrap_or(u64::MAX);
            let file = disk.file(*file);
            let length = usize::try_from(length).unwrap();
            if length <= file.now.len() {
                return Ok(());
            }
            if used + (length - file.now.len()) as u64 > room {
                return Err(Fault::Full.into());
            }
            file.now.resize(length, 0);
            file.pending.push(Change::Length(length));
            Ok(())
        })
    }

    fn write_at(&self, file: &u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            let result = disk.step();
            // A write that fails has written any part of its bytes.
            let written = match &result {
                Ok(()) => bytes.len(),
                Err(_) if disk.until_stop == Some(0) => 0,
                Err(_) => disk.random.below(bytes.len() + 1),
            };
            let file = disk.file(*file);
            let offset = usize::try_from(offset).unwrap();
            put(&mut file.now, offset, &bytes[..written]);
            file.pending.push(Change::Write(offset, bytes[..written].to_vec()));
            result
        })
    }

    fn read_at(&self, file: &u64, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|disk| {
            let start = usize::try_from(offset).unwrap();
            let found = disk.file(*file).now.get(start..start + buffer.len());
            buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn truncate(&self, file: &u64, length: u64) -> io::Result<()> {
        self.with(|disk| {
            disk.step()?;
            let length = usize::try_from(length).unwrap();
            let file = disk.file(*file);
            file.now.resize(length, 0);
            file.pending.push(Change::Length(length));
            Ok(())
        })
    }

    fn sync_data(&self, file: &u64) -> io::Result<()> {
        self.with(|disk| {
            let result = disk.step();
            let stopped = disk.until_stop == Some(0) && result.is_err();
            let file = disk.file(*file);
            match &result {
                Ok(()) => file.settle(|| true),
                // As Linux does: the pages count as written from now on, and are not.
                Err(_) if !stopped => file.pending.clear(),
                Err(_) => {}
            }
            result
        })
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        self.with(|disk| {
            disk.step()?;
            disk.durable_names = disk.names.clone();
            disk.pending_names.clear();
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|disk| {
            disk.step()?;
            let id = disk.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
            let change = NameChange::Rename(from.to_owned(), to.to_owned(), id);
            change.apply(&mut disk.names);
            disk.pending_names.push(change);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|disk| {
            if !disk.names.contains_key(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            disk.step()?;
            disk.names.remove(path);
            disk.pending_names.push(NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }
}

/// SplitMix64: the same choices for the same seed.
#[derive(Default)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

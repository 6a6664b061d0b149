//! What the journal asks of a file system, and nothing more.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// The operations under the journal's and the trees' files.
///
/// What an implementation promises: bytes written are seen by later reads at once, but only what
/// [`FileLayer::sync_data`] covered is there after a loss of power; a name is there after it only
/// once [`FileLayer::sync_directory`] covered it.
pub trait FileLayer: Send + Sync + 'static {
    /// An open file.
    type File: Send + Sync + 'static;

    /// Makes a directory and those above it that are missing, and makes their names durable.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// The names of the entries of a directory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Opens a file that is there, to read and write.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Makes a file that is not there yet, to read and write.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// The length of a file in bytes.
    fn length(&self, file: &Self::File) -> io::Result<u64>;

    /// Gives a file at least `length` bytes and the room for them; what is added reads as zeros.
    fn preallocate(&self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buffer` from `offset`; a file that ends before is `UnexpectedEof`.
    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Cuts a file to `length` bytes.
    fn truncate(&self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Makes the bytes and the length of a file durable.
    fn sync_data(&self, file: &Self::File) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Renames a file within a directory, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFiles;

impl FileLayer for OsFiles {
    type File = File;

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_directory(parent)?;
        }
        // Nobody else's to read, whatever the umask is.
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_directory(parent.unwrap_or_else(|| Path::new(".")))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        std::fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        // What is written here concerns nobody else on this machine.
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    fn length(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn preallocate(&self, file: &File, length: u64) -> io::Result<()> {
        loop {
            return match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
                Err(Errno::INTR) => continue,
                // A file system that cannot promise room gets the bytes themselves.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, length),
                other => Ok(other?),
            };
        }
    }

    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn read_at(&self, file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(buffer, offset)
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

fn write_zeros(file: &File, length: u64) -> io::Result<()> {
    static ZEROS: [u8; 65_536] = [0; 65_536];
    let mut offset = file.metadata()?.len();
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(ZEROS.len());
        let piece = ZEROS.get(..wanted).unwrap_or(&ZEROS);
        file.write_all_at(piece, offset)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

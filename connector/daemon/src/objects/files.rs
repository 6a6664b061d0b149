//! What every file operation here needs: errors with words, synced directories, safe opening.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Why our own storage did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The disk or the quota is full. What was begun is taken back or can be resumed.
    #[error("the disk is full at `{}`: free space there and try again", path.display())]
    DiskFull {
        /// The file that was written.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("`{}` cannot be {action} ({reason}): check the device and its permissions", path.display())]
    Failed {
        /// What was done with it: "read", "written".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
}

impl StorageError {
    /// Names the file that an I/O error is about.
    pub(super) fn at(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| {
            let path = path.to_owned();
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::DiskFull { path }
                }
                _ => Self::Failed { action, path, reason: error.to_string() },
            }
        }
    }

    /// The answer when the blocking pool gave none: the runtime is going down.
    pub(super) fn interrupted(path: &Path) -> Self {
        let reason = "the node is stopping".to_owned();
        Self::Failed { action: "used", path: path.to_owned(), reason }
    }
}

/// Makes a directory that only we can enter, where it is missing. Its name is made durable even where it was there: who
/// made it may have stopped before that.
pub(super) fn create_directory(path: &Path) -> Result<(), StorageError> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StorageError::at("created", path)(error))
        }
        _ => path.parent().map_or(Ok(()), sync_directory),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(StorageError::at("synced", path))
}

/// Opens what a path names for reading, without following a symbolic link at its end and without waiting for the other
/// end of a FIFO. The caller checks what it is.
pub(super) fn open_unfollowed(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Reads from an offset until the buffer is full or the file ends; gives the number of bytes.
pub(super) fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

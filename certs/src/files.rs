//! Files that only this process, and its own group, may read.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The largest private file that is read, in bytes: keys are three orders of magnitude smaller.
pub const MAX_PRIVATE_FILE_BYTES: u64 = 1024 * 1024;

/// Why a private file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner and the process's own group could have read or changed the file.
    #[error(
        "`{}` has mode {mode:04o}, so others than its owner can reach the secret in it; if nobody has, \
         run `chmod 600 {}`, else replace the key",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A group that is not ours can read the file.
    #[error(
        "`{}` has mode {mode:04o} and belongs to group {group}, which is not a group of this process; \
         run `chmod 600 {}` or give the file to the process's group",
        path.display(), path.display()
    )]
    ForeignGroup {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The numeric group of the file.
        group: u32,
    },
    /// The file belongs to somebody else, who can therefore read it.
    #[error(
        "`{}` belongs to user {owner}, who can read the secret in it; give it to the user who runs \
         sekisho with `chown`",
        path.display()
    )]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The numeric owner of the file.
        owner: u32,
    },
    /// The file is larger than any private file of ours.
    #[error("`{}` is larger than {MAX_PRIVATE_FILE_BYTES} bytes, so it is not a key", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// What the path names is a directory, a device or a pipe.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A new secret would have replaced an old one.
    #[error("`{}` exists already and is not replaced; move it away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    /// Whether the file was simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a secret, after checking on the open file that nobody else can read it.
///
/// The owner must be this process's user or root; group members may read it only when the group is the
/// process's own, effective or supplementary (how orchestrators mount secrets).
///
/// # Errors
/// When the file cannot be read, or others could have read it; the text says how to mend that.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let io = |source| FileError::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    check_access(path, metadata.permissions().mode() & 0o7777, metadata.uid(), metadata.gid())?;
    if metadata.len() > MAX_PRIVATE_FILE_BYTES {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    // Reserved at once: a growing buffer would leave copies of the secret behind.
    let capacity = usize::try_from(metadata.len()).unwrap_or_default().saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_PRIVATE_FILE_BYTES).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// Writes a new secret with mode 0600, whole and durable or not at all.
///
/// # Errors
/// When the file exists already, or the operating system refuses.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, 0o600, false)
}

/// Writes or replaces a secret with mode 0600, whole and durable or not at all.
///
/// # Errors
/// When the operating system refuses.
pub fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, 0o600, true)
}

/// Writes or replaces a file that everybody may read, whole and durable or not at all.
///
/// # Errors
/// When the operating system refuses.
pub fn replace_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, 0o644, true)
}

fn check_access(path: &Path, mode: u32, owner: u32, group: u32) -> Result<(), FileError> {
    let path = path.to_owned();
    let user = rustix::process::geteuid().as_raw();
    if owner != user && owner != 0 {
        return Err(FileError::ForeignOwner { path, owner });
    }
    // Whoever may write the file chooses our key; the group may read it, not more.
    if mode & 0o027 != 0 {
        return Err(FileError::Exposed { path, mode });
    }
    if mode & 0o070 != 0 && !is_own_group(group) {
        return Err(FileError::ForeignGroup { path, mode, group });
    }
    Ok(())
}

fn is_own_group(group: u32) -> bool {
    rustix::process::getegid().as_raw() == group
        || rustix::process::getgroups()
            .is_ok_and(|groups| groups.iter().any(|own| own.as_raw() == group))
}

fn write(path: &Path, bytes: &[u8], mode: u32, replace: bool) -> Result<(), FileError> {
    let io = |action| move |source| FileError::Io { action, path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(directory)
        .map_err(io("write"))?;
    temporary.write_all(bytes).map_err(io("write"))?;
    // The mode given at creation passed the umask; a file for partners' tools must be readable.
    temporary
        .as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(io("set the mode of"))?;
    temporary.as_file().sync_all().map_err(io("sync"))?;
    if replace {
        temporary.persist(path).map_err(|error| io("replace")(error.error))?;
    } else {
        temporary.persist_noclobber(path).map_err(|error| {
            if error.error.kind() == io::ErrorKind::AlreadyExists {
                FileError::Exists { path: path.to_owned() }
            } else {
                io("create")(error.error)
            }
        })?;
    }
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io("sync the directory of"))
}

#[cfg(test)]
mod tests;

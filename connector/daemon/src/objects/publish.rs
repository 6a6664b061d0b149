//! Publishing: one reading of a file gives its digests, its tree and, unless it stays in place, a copy.

use std::fs::{File, Permissions};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::entity::{Digests, Location};
use tempfile::NamedTempFile;

use super::files::{StorageError, create_directory, open_unfollowed, read_full, sync_directory};
use super::sweep::Claim;
use super::tree::{GROUP_SIZE, Tree, TreeHasher};
use super::{Objects, Shared};

/// Where the bytes shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Copied into the store, sharing blocks where the file system can.
    Stored,
    /// Left where they are; each group is verified when it is read.
    InPlace,
}

/// A file that was read whole and can now be served.
#[derive(Debug)]
pub struct Published {
    /// Its size and digests.
    pub digests: Digests,
    /// Where its bytes are.
    pub location: Location,
    /// IANA media type, guessed by the file's extension; `application/octet-stream` where that says nothing.
    pub media_type: String,
    /// The file's own name.
    pub file_name: String,
    /// Keeps a sweep from taking the object before a dataset refers to it: hold it until that is committed.
    pub claim: Claim,
}

/// Why a file was not published. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It does not exist or we may not read it.
    #[error("`{}` cannot be opened ({reason}): check that it exists and that the node may read it", path.display())]
    Unreadable {
        /// The path as given.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// It is not a regular file.
    #[error("`{}` is {kind}: publish a regular file", path.display())]
    NotAFile {
        /// The path as given.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// A catalog entry cannot name it.
    #[error("the name of `{}` is not UTF-8 text: rename it", path.display())]
    NotText {
        /// The path as given.
        path: PathBuf,
    },
    /// Somebody wrote to it meanwhile.
    #[error("`{}` changed while it was read: publish it again when nothing writes to it", path.display())]
    Changed {
        /// The path as given.
        path: PathBuf,
    },
    /// Whoever asked for it went away.
    #[error("publishing `{}` was stopped", path.display())]
    Stopped {
        /// The path as given.
        path: PathBuf,
    },
    /// The store could not take it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Objects {
    /// Reads a file once and makes it servable; to publish the same bytes again changes nothing, but repairs a damaged
    /// copy. `progress` is told the bytes read so far, at most every 256 KiB, and can stop the work.
    ///
    /// # Errors
    /// [`PublishError`]: the path is not a regular file, it changed meanwhile, or the store cannot take it.
    pub async fn publish(
        &self,
        path: PathBuf,
        placement: Placement,
        progress: impl FnMut(u64) -> ControlFlow<()> + Send + 'static,
    ) -> Result<Published, PublishError> {
        let shared = Arc::clone(&self.shared);
        let interrupted = StorageError::interrupted(&path);
        tokio::task::spawn_blocking(move || {
            Publication::open(&shared, path)?.run(placement, progress)
        })
        .await
        .unwrap_or(Err(PublishError::Storage(interrupted)))
    }
}

/// A file that is being published.
struct Publication<'a> {
    shared: &'a Arc<Shared>,
    path: PathBuf,
    file: File,
    stamp: Stamp,
}

impl<'a> Publication<'a> {
    fn open(shared: &'a Arc<Shared>, path: PathBuf) -> Result<Self, PublishError> {
        let unreadable = |error: std::io::Error| PublishError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        };
        // What it is comes first: opening a socket or a device says less, or does something.
        let named = std::fs::symlink_metadata(&path).map_err(unreadable)?;
        if let Some(kind) = irregular(&named) {
            return Err(PublishError::NotAFile { path, kind });
        }
        let file = open_unfollowed(&path).map_err(unreadable)?;
        let opened = file.metadata().map_err(unreadable)?;
        if let Some(kind) = irregular(&opened) {
            return Err(PublishError::NotAFile { path, kind });
        }
        Ok(Self { shared, path, file, stamp: Stamp::of(&opened) })
    }

    fn run(
        self,
        placement: Placement,
        progress: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Published, PublishError> {
        let file_name = self.path.file_name().and_then(|name| name.to_str());
        let not_text = || PublishError::NotText { path: self.path.clone() };
        let file_name = file_name.ok_or_else(not_text)?.to_owned();
        let (location, copy) = match placement {
            Placement::Stored => (Location::Stored, Some(self.temporary()?)),
            Placement::InPlace => {
                let whole = std::path::absolute(&self.path).map_err(|_| not_text())?;
                (Location::InPlace(whole.to_str().ok_or_else(not_text)?.to_owned()), None)
            }
        };
        let (tree, sha256) = self.read(copy.as_ref(), progress)?;
        self.check_unchanged(tree.size())?;
        let claim = self.store(&tree, copy)?;
        let digests = Digests {
            sha256: hex::encode(sha256),
            blake3: tree.root().to_hex().to_string(),
            size: tree.size(),
        };
        let media_type =
            mime_guess::from_path(&file_name).first_or_octet_stream().essence_str().to_owned();
        Ok(Published { digests, location, media_type, file_name, claim })
    }

    /// Reads the file once: hashes it, and copies it unless the file system shares its blocks with the copy.
    fn read(
        &self,
        copy: Option<&NamedTempFile>,
        mut progress: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(Tree, aws_lc_rs::digest::Digest), PublishError> {
        // What cannot share blocks (another file system, or one that never does) is copied below.
        let shares =
            copy.is_some_and(|copy| rustix::fs::ioctl_ficlone(copy.as_file(), &self.file).is_ok());
        // A clone is read instead of its source: nobody else can write to it.
        let source = copy.filter(|_| shares).map_or(&self.file, NamedTempFile::as_file);
        let copy = copy.filter(|_| !shares);
        let mut tree = TreeHasher::default();
        let mut sha256 = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let mut buffer = vec![0; GROUP_SIZE];
        let mut offset = 0;
        loop {
            let count = read_full(source, &mut buffer, offset)
                .map_err(StorageError::at("read", &self.path))?;
            let Some(group) = buffer.get(..count).filter(|group| !group.is_empty()) else { break };
            tree.push(group);
            sha256.update(group);
            if let Some(copy) = copy {
                copy.as_file()
                    .write_all(group)
                    .map_err(StorageError::at("written", copy.path()))?;
            }
            offset += count as u64;
            if progress(offset).is_break() {
                return Err(PublishError::Stopped { path: self.path.clone() });
            }
            if count < GROUP_SIZE {
                break;
            }
        }
        Ok((tree.finish(), sha256.finish()))
    }

    /// The file that was opened must be as it was, and must still be what the path names.
    fn check_unchanged(&self, read: u64) -> Result<(), PublishError> {
        let unchanged = |metadata: std::io::Result<std::fs::Metadata>| {
            metadata.is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
        };
        if read == self.stamp.size
            && unchanged(self.file.metadata())
            && unchanged(std::fs::symlink_metadata(&self.path))
        {
            Ok(())
        } else {
            Err(PublishError::Changed { path: self.path.clone() })
        }
    }

    /// Puts tree and copy into the store, the object last: where it is, its tree is.
    fn store(&self, tree: &Tree, copy: Option<NamedTempFile>) -> Result<Claim, PublishError> {
        let root = tree.root();
        let claim = Claim::new(self.shared, root);
        let object = self.shared.object_path(&root);
        let shard = object.parent().unwrap_or(&self.shared.objects);
        create_directory(shard)?;
        let tree_file = self.temporary()?;
        tree_file
            .as_file()
            .write_all(&tree.write())
            .map_err(StorageError::at("written", tree_file.path()))?;
        persist(tree_file, &self.shared.tree_path(&root))?;
        if let Some(copy) = copy {
            persist(copy, &object)?;
        }
        sync_directory(shard)?;
        Ok(claim)
    }

    fn temporary(&self) -> Result<NamedTempFile, StorageError> {
        let directory = self.shared.temporary();
        NamedTempFile::new_in(&directory).map_err(StorageError::at("written", &directory))
    }
}

/// Makes a file durable and read-only, then gives it its name.
fn persist(file: NamedTempFile, path: &Path) -> Result<(), StorageError> {
    let failed = StorageError::at("written", path);
    file.as_file().set_permissions(Permissions::from_mode(0o400)).map_err(&failed)?;
    file.as_file().sync_all().map_err(&failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

/// What changes when somebody writes to a file or puts another one in its place.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a path names, in words, unless it is a regular file.
fn irregular(metadata: &std::fs::Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_symlink() => Some("a symbolic link"),
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_socket() => Some("a socket"),
        () if kind.is_block_device() || kind.is_char_device() => Some("a device"),
        () => Some("no regular file"),
    }
}

#[cfg(test)]
mod tests;

//! Reading an object in verified groups.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use engine::entity::{Digests, Location};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::files::{StorageError, open_unfollowed, read_full};
use super::tree::{self, Tree, TreeError};
use super::{Objects, Shared, lock};

/// Reads one object. Cheap to clone; any number of streams can share it.
#[derive(Debug, Clone)]
pub struct Reader {
    object: Arc<Object>,
    verifies: bool,
}

#[derive(Debug)]
struct Object {
    path: PathBuf,
    in_place: bool,
    file: File,
    tree: Arc<Tree>,
    reads: Arc<Semaphore>,
}

/// Why bytes cannot be read. None of them was given out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The file no longer holds the bytes that were published.
    #[error("`{}` no longer holds what was published: {reason}; publish it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The group of 256 KiB where it was seen, from 0; none when the whole file is of another kind or size.
        group: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// The tree that would verify the bytes is missing or damaged.
    #[error("the tree `{}` cannot be used: {reason}; publish the dataset again", path.display())]
    NoTree {
        /// The tree's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The digests in the dataset's entity are not digests.
    #[error("`{digest}` is not a BLAKE3 digest")]
    NotADigest {
        /// What stands there.
        digest: String,
    },
    /// There is no such group.
    #[error("`{}` has no group {group}", path.display())]
    PastEnd {
        /// The file.
        path: PathBuf,
        /// The group asked for.
        group: u64,
    },
    /// Our own storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Objects {
    /// Opens the bytes with these digests, where they were put, and verifies their tree.
    ///
    /// # Errors
    /// [`ReadError`]: the file is gone or of another size, or its tree does not verify.
    pub async fn reader(
        &self,
        digests: &Digests,
        location: &Location,
    ) -> Result<Reader, ReadError> {
        let not_a_digest = || ReadError::NotADigest { digest: digests.blake3.clone() };
        let root = blake3::Hash::from_hex(&digests.blake3).map_err(|_| not_a_digest())?;
        let path = match location {
            Location::Stored => self.shared.object_path(&root),
            Location::InPlace(path) => PathBuf::from(path),
        };
        let interrupted = StorageError::interrupted(&path);
        let shared = Arc::clone(&self.shared);
        let (size, in_place) = (digests.size, *location != Location::Stored);
        tokio::task::spawn_blocking(move || open(&shared, path, in_place, &root, size))
            .await
            .unwrap_or(Err(ReadError::Storage(interrupted)))
    }
}

impl Reader {
    /// The object's size in bytes.
    pub fn size(&self) -> u64 {
        self.object.tree.size()
    }

    /// The object's BLAKE3 digest.
    pub fn root(&self) -> blake3::Hash {
        self.object.tree.root()
    }

    /// Trusts the store's own copy, which nobody else can write to, and saves the time of verifying it. A file in
    /// place is verified all the same.
    #[must_use]
    pub fn trusting_store(mut self) -> Self {
        self.verifies = self.object.in_place;
        self
    }

    /// Reads a group, from 0: [`super::GROUP_SIZE`] bytes, or what is left at the end. It waits on a blocking thread,
    /// and verifies the very buffer that it returns.
    ///
    /// Objects in the store are verified like files in place, so a failing disk never sends a wrong byte either. Measured
    /// on one core, that takes 0.31 s per GB where AES-128-GCM takes 0.25 s; it happens on the reading thread, ahead of
    /// the connection, and so costs processor time more than rate.
    ///
    /// # Errors
    /// [`ReadError`]: the bytes are not those that were published, or cannot be read.
    pub async fn read_group(&self, group: u64) -> Result<Bytes, ReadError> {
        let turn = Arc::clone(&self.object.reads).acquire_owned().await;
        let turn = turn.map_err(|_| self.interrupted())?;
        self.read_in_turn(group, turn).await.unwrap_or_else(|_| Err(self.interrupted()))
    }

    /// The answer of a read that came to no end.
    pub fn interrupted(&self) -> ReadError {
        ReadError::Storage(StorageError::interrupted(&self.object.path))
    }

    /// Begins to read a group, for who will want it soon; as [`Reader::read_group`]. Where the task gives no answer, that is
    /// [`Reader::interrupted`].
    pub fn begin_group(&self, group: u64) -> JoinHandle<Result<Bytes, ReadError>> {
        // Where no other read has to be waited for, no task stands between the thread that reads and the one that sends:
        // handing over between threads is what a download costs most.
        match Arc::clone(&self.object.reads).try_acquire_owned() {
            Ok(turn) => self.read_in_turn(group, turn),
            Err(_) => {
                let reader = self.clone();
                tokio::spawn(async move { reader.read_group(group).await })
            }
        }
    }

    fn read_in_turn(
        &self,
        group: u64,
        turn: OwnedSemaphorePermit,
    ) -> JoinHandle<Result<Bytes, ReadError>> {
        let (object, verifies) = (Arc::clone(&self.object), self.verifies);
        tokio::task::spawn_blocking(move || {
            let read = object.read(group, verifies);
            drop(turn);
            read
        })
    }
}

impl Object {
    fn read(&self, group: u64, verifies: bool) -> Result<Bytes, ReadError> {
        let past_end = || ReadError::PastEnd { path: self.path.clone(), group };
        let (offset, length) = self.tree.extent(group).ok_or_else(past_end)?;
        // Memory that is written over at once is not cleared before.
        let mut buffer = Vec::with_capacity(length);
        while buffer.len() < length {
            let place = offset + buffer.len() as u64;
            match rustix::io::pread(&self.file, spare_capacity(&mut buffer), place) {
                Ok(0) => return Err(self.damaged(group, "it is shorter")),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(StorageError::at("read", &self.path)(error.into()).into()),
            }
        }
        // The memory may hold more than was asked for.
        buffer.truncate(length);
        if verifies && !self.tree.holds(group, &buffer) {
            return Err(self.damaged(group, "its bytes have changed"));
        }
        Ok(Bytes::from(buffer))
    }

    fn damaged(&self, group: u64, reason: &str) -> ReadError {
        let reason = format!("{reason} in the 256 KiB at {}", group * tree::GROUP_SIZE as u64);
        ReadError::Damaged { path: self.path.clone(), group: Some(group), reason }
    }
}

fn open(
    shared: &Arc<Shared>,
    path: PathBuf,
    in_place: bool,
    root: &blake3::Hash,
    size: u64,
) -> Result<Reader, ReadError> {
    let damaged = |reason: String| ReadError::Damaged { path: path.clone(), group: None, reason };
    let file = open_unfollowed(&path).map_err(|error| match error.kind() {
        // Only these say that it is another file; too many open files, for instance, says nothing of it.
        ErrorKind::NotFound | ErrorKind::NotADirectory => damaged("it is gone".to_owned()),
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            damaged("it is a symbolic link".to_owned())
        }
        _ => ReadError::Storage(StorageError::at("read", &path)(error)),
    })?;
    let metadata = file.metadata().map_err(StorageError::at("read", &path))?;
    if !metadata.is_file() {
        return Err(damaged("it is not a regular file".to_owned()));
    }
    if metadata.len() != size {
        return Err(damaged(format!("it has {} bytes instead of {size}", metadata.len())));
    }
    let tree = shared_tree(shared, root, size)?;
    let reads = Arc::clone(&shared.reads);
    let object = Arc::new(Object { path, in_place, file, tree, reads });
    Ok(Reader { object, verifies: true })
}

/// The tree of an object, from memory where another reader has it.
fn shared_tree(shared: &Shared, root: &blake3::Hash, size: u64) -> Result<Arc<Tree>, ReadError> {
    let known = lock(&shared.trees).get(root).and_then(std::sync::Weak::upgrade);
    if let Some(tree) = known.filter(|tree| tree.size() == size) {
        return Ok(tree);
    }
    let tree = Arc::new(load_tree(&shared.tree_path(root), root, size)?);
    let mut trees = lock(&shared.trees);
    trees.retain(|_, tree| tree.strong_count() > 0);
    trees.insert(*root, Arc::downgrade(&tree));
    Ok(tree)
}

fn load_tree(path: &Path, root: &blake3::Hash, size: u64) -> Result<Tree, ReadError> {
    let unusable = |reason: String| ReadError::NoTree { path: path.to_owned(), reason };
    let file = open_unfollowed(path).map_err(|error| unusable(error.to_string()))?;
    let length = file.metadata().map_err(|error| unusable(error.to_string()))?.len();
    // Its length is known before it is read, so a wrong file costs no memory.
    if length != tree::file_length(size) {
        return Err(unusable(TreeError::WrongSize { expected: size }.to_string()));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|error| unusable(error.to_string()))?];
    let count = read_full(&file, &mut bytes, 0).map_err(StorageError::at("read", path))?;
    bytes.truncate(count);
    Tree::read(&bytes, size, root).map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests;

//! The bytes of datasets: a content-addressed store for what is published, and a place for what is coming in.
//!
//! `data/objects/ab/cdef…` holds an object under its BLAKE3 root and `….tree` beside it the tree that verifies it in
//! groups of 256 KiB; a dataset published in place has only the tree. `data/incoming/` holds pulls, see [`Incoming`].
//! No byte leaves a [`Reader`] that was not published.
//!
//! Everything appears whole: it is written under another name, synced, renamed, and its directory synced.

mod files;
mod incoming;
mod publish;
mod reader;
mod sweep;
mod tree;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Semaphore;

pub use self::files::StorageError;
pub use self::incoming::{Incoming, IncomingError, PullName, Received};
pub use self::publish::{Placement, PublishError, Published};
pub use self::reader::{ReadError, Reader};
pub use self::sweep::{Claim, Sweep, Swept};
pub use self::tree::GROUP_SIZE;

use self::sweep::Claims;
use self::tree::Tree;

/// The object store of a site. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    objects: PathBuf,
    incoming: PathBuf,
    /// Bounds how many reads wait for the disk at once, and so how many blocking threads and buffers they take.
    reads: Arc<Semaphore>,
    claims: Mutex<Claims>,
    /// Trees in use, so that many readers of one object share one.
    trees: Mutex<HashMap<blake3::Hash, Weak<Tree>>>,
}

impl Objects {
    /// Opens the store under a site's data directory, makes what is missing and removes what a stop left half made.
    /// At most `reads` reads wait for the disk at once.
    ///
    /// # Errors
    /// [`StorageError`] when the directories cannot be made or cleaned.
    pub fn open(data: &Path, reads: usize) -> Result<Self, StorageError> {
        let objects = data.join("objects");
        let incoming = data.join("incoming");
        let temporary = objects.join(TEMPORARY);
        for directory in [&objects, &incoming, &temporary] {
            files::create_directory(directory)?;
        }
        remove_leftovers(&temporary)?;
        let shared = Shared {
            objects,
            incoming,
            reads: Arc::new(Semaphore::new(reads.clamp(1, Semaphore::MAX_PERMITS))),
            claims: Mutex::default(),
            trees: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// Where unfinished files are, inside the store so that they can be renamed into it.
const TEMPORARY: &str = "temporary";

/// The extension of a tree's file.
const TREE_EXTENSION: &str = "tree";

impl Shared {
    fn temporary(&self) -> PathBuf {
        self.objects.join(TEMPORARY)
    }

    /// Where an object is, by its root. The first byte names a directory, so that none grows large.
    fn object_path(&self, root: &blake3::Hash) -> PathBuf {
        let name = root.to_hex();
        let (shard, rest) = name.as_str().split_at(2);
        self.objects.join(shard).join(rest)
    }

    fn tree_path(&self, root: &blake3::Hash) -> PathBuf {
        self.object_path(root).with_extension(TREE_EXTENSION)
    }
}

/// Takes a lock whose holder may have panicked: what it guards is changed in one step, so it is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove_leftovers(directory: &Path) -> Result<(), StorageError> {
    let failed = StorageError::at("cleaned", directory);
    for entry in std::fs::read_dir(directory).map_err(&failed)? {
        std::fs::remove_file(entry.map_err(&failed)?.path()).map_err(&failed)?;
    }
    Ok(())
}

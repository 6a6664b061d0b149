//! Removing what no dataset refers to.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::files::StorageError;
use super::{Objects, Shared, TREE_EXTENSION, lock};

/// Objects that must stay although no dataset may refer to them yet.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// How many publications hold each.
    held: HashMap<blake3::Hash, usize>,
    /// Those claimed since the oldest running sweep began: its list of datasets may be older.
    recent: HashSet<blake3::Hash>,
    sweeps: usize,
}

/// Holds an object in the store until it is dropped.
#[derive(Debug)]
pub struct Claim {
    shared: Arc<Shared>,
    root: blake3::Hash,
}

impl Claim {
    pub(super) fn new(shared: &Arc<Shared>, root: blake3::Hash) -> Self {
        let mut claims = lock(&shared.claims);
        *claims.held.entry(root).or_default() += 1;
        if claims.sweeps > 0 {
            claims.recent.insert(root);
        }
        Self { shared: Arc::clone(shared), root }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = lock(&self.shared.claims);
        if let Some(holders) = claims.held.get_mut(&self.root) {
            *holders -= 1;
            if *holders == 0 {
                claims.held.remove(&self.root);
            }
        }
    }
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects, and trees of datasets in place.
    pub objects: u64,
    /// Bytes freed, as far as their blocks are not shared.
    pub bytes: u64,
}

/// A sweep that began. Collect the roots to keep after it did: what is published from now on stays by itself.
#[derive(Debug)]
pub struct Sweep {
    shared: Arc<Shared>,
}

impl Objects {
    /// Begins to remove what no dataset refers to.
    pub fn sweep(&self) -> Sweep {
        lock(&self.shared.claims).sweeps += 1;
        Sweep { shared: Arc::clone(&self.shared) }
    }
}

impl Sweep {
    /// Removes every object whose root (BLAKE3, hexadecimal) is not among `keep` and that nobody is publishing. A stream
    /// that reads a removed object goes on.
    ///
    /// # Errors
    /// [`StorageError`]: the store cannot be listed, or a file not be removed.
    pub async fn finish(self, keep: HashSet<String>) -> Result<Swept, StorageError> {
        let interrupted = StorageError::interrupted(&self.shared.objects);
        tokio::task::spawn_blocking(move || self.run(&keep)).await.unwrap_or(Err(interrupted))
    }

    fn run(&self, keep: &HashSet<String>) -> Result<Swept, StorageError> {
        let objects = &self.shared.objects;
        let failed = StorageError::at("listed", objects);
        let mut swept = Swept::default();
        for shard in std::fs::read_dir(objects).map_err(&failed)? {
            let shard = shard.map_err(&failed)?;
            let Some(prefix) =
                shard.file_name().to_str().filter(|name| name.len() == 2).map(str::to_owned)
            else {
                continue;
            };
            for file in std::fs::read_dir(shard.path()).map_err(&failed)? {
                let path = file.map_err(&failed)?.path();
                // What is not ours by its name is left alone.
                if let Some(root) = root_of(&prefix, &path)
                    && !keep.contains(root.to_hex().as_str())
                {
                    self.remove(&root, &path, &mut swept)?;
                }
            }
        }
        Ok(swept)
    }

    fn remove(
        &self,
        root: &blake3::Hash,
        path: &Path,
        swept: &mut Swept,
    ) -> Result<(), StorageError> {
        // The lock is held until the file is gone: a publication either claimed before or renames after.
        let claims = lock(&self.shared.claims);
        if claims.held.contains_key(root) || claims.recent.contains(root) {
            return Ok(());
        }
        let failed = StorageError::at("removed", path);
        let size = path.symlink_metadata().map_err(&failed)?.len();
        std::fs::remove_file(path).map_err(&failed)?;
        drop(claims);
        swept.bytes += size;
        swept.objects += u64::from(path.extension().is_some());
        Ok(())
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        let mut claims = lock(&self.shared.claims);
        claims.sweeps -= 1;
        if claims.sweeps == 0 {
            claims.recent.clear();
        }
    }
}

/// The root that a path in a shard stands for.
fn root_of(shard: &str, path: &Path) -> Option<blake3::Hash> {
    if path.extension().is_some_and(|extension| extension != TREE_EXTENSION) {
        return None;
    }
    let rest = path.file_stem()?.to_str()?;
    blake3::Hash::from_hex(format!("{shard}{rest}")).ok()
}

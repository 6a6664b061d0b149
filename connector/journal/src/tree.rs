//! The hashes of one log on disk, in the form of C2SP tlog-tiles.
//!
//! The file `level-N` holds the hashes of the tree's level 8·N, 32 bytes each, in order; so 256 of
//! them, 8,192 bytes from a multiple of that, are a full tile of tile level N, ready to be served.
//! The levels between are computed from a tile when they are needed.
//!
//! All of it is derived from the journal. Nothing here is believed: a proof is checked against the
//! root that the caller knows before it is returned, and when it does not hold the caller truncates
//! the files and fills them again.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{FileLayer, OsFiles};
use crate::tlog::{
    Hash, HashReader, Node, ProveError, consistency_proof, inclusion_proof, node_hash, tree_root,
    verify_consistency, verify_inclusion,
};

/// How many hashes a full tile has (C2SP tlog-tiles).
pub const TILE_HASHES: u64 = 1 << TILE_BITS;

/// The hashes of one log on disk.
pub struct TreeFiles<L: FileLayer = OsFiles> {
    layer: L,
    directory: PathBuf,
    /// One file per tile level, lowest first. All are there that have a hash.
    levels: Vec<L::File>,
    size: u64,
}

impl<L: FileLayer> TreeFiles<L> {
    /// Opens the hashes in `directory`, or makes a place for them there.
    ///
    /// The size is what all files agree on; what exceeds it is cut off.
    pub fn open(directory: &Path, layer: L) -> Result<Self, TreeError> {
        layer.create_directory(directory).map_err(failed(directory))?;
        let names = layer.list(directory).map_err(failed(directory))?;
        let mut tree = Self { layer, directory: directory.to_owned(), levels: Vec::new(), size: 0 };
        let mut size = u64::MAX;
        for level in 0..LEVELS_MAX {
            let path = tree.path(level);
            if !names.contains(&level_name(level)) {
                // No tile of the level below is complete, or its root was lost.
                size = size.min(full_below(level).saturating_sub(1));
                break;
            }
            let file = tree.layer.open(&path).map_err(failed(&path))?;
            let hashes = tree.layer.length(&file).map_err(failed(&path))? / HASH_BYTES;
            size = size.min(match level {
                0 => hashes,
                // One hash more would need one more complete subtree.
                _ => hashes.saturating_add(1).saturating_mul(full_below(level)).saturating_sub(1),
            });
            tree.levels.push(file);
        }
        tree.size = size;
        tree.truncate(size)?;
        Ok(tree)
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the hashes of the next leaves.
    ///
    /// They are durable after [`TreeFiles::sync`]. After an error the size is as before.
    pub fn append(&mut self, leaf_hashes: &[Hash]) -> Result<(), TreeError> {
        let size = self.size.saturating_add(leaf_hashes.len() as u64);
        let mut start = self.size;
        let mut hashes = leaf_hashes.to_vec();
        let mut level = 0;
        while !hashes.is_empty() {
            self.write(level, start, &hashes)?;
            // The roots of the tiles that these hashes completed belong to the level above.
            let end = start.saturating_add(hashes.len() as u64);
            let (first, last) = (start / TILE_HASHES, end / TILE_HASHES);
            hashes = (first..last)
                .map(|tile| self.read_subtree(level, TILE_BITS, tile))
                .collect::<Result<_, _>>()?;
            start = first;
            level += 1;
        }
        self.size = size;
        Ok(())
    }

    /// Forgets all leaves from `size` on. More leaves than there are is no error.
    pub fn truncate(&mut self, size: u64) -> Result<(), TreeError> {
        let size = size.min(self.size);
        for (level, file) in self.levels.iter().enumerate() {
            let length = (size / full_below(level)).saturating_mul(HASH_BYTES);
            let path = self.path(level);
            if self.layer.length(file).map_err(failed(&path))? > length {
                self.layer.truncate(file, length).map_err(failed(&path))?;
            }
        }
        self.size = size;
        Ok(())
    }

    /// Makes what was appended durable.
    pub fn sync(&self) -> Result<(), TreeError> {
        for (level, file) in self.levels.iter().enumerate() {
            self.layer.sync_data(file).map_err(failed(&self.path(level)))?;
        }
        self.layer.sync_directory(&self.directory).map_err(failed(&self.directory))
    }

    /// The root of the tree of the first `size` leaves, as the files have it.
    pub fn root(&self, size: u64) -> Result<Hash, TreeError> {
        self.require(size)?;
        tree_root(size, self).map_err(|error| self.unprovable(error))
    }

    /// The hash of the leaf at `index`, as the files have it.
    pub fn leaf_hash(&self, index: u64) -> Result<Hash, TreeError> {
        self.require(index.saturating_add(1))?;
        self.read_hash(Node { level: 0, index })
    }

    /// The proof that the leaf with this hash is at `index` in the tree of `size` leaves and `root`.
    pub fn inclusion_proof(
        &self,
        leaf_hash: &Hash,
        index: u64,
        size: u64,
        root: &Hash,
    ) -> Result<Vec<Hash>, TreeError> {
        self.require(size)?;
        let proof = inclusion_proof(index, size, self).map_err(|error| self.unprovable(error))?;
        verify_inclusion(leaf_hash, index, size, root, &proof).map_err(|_| self.damaged(size))?;
        Ok(proof)
    }

    /// The proof that the tree of the first `old_size` leaves is a prefix of that of `new_size`
    /// leaves and `new_root`, and the old tree's root, which the proof confirms.
    pub fn consistency_proof(
        &self,
        old_size: u64,
        new_size: u64,
        new_root: &Hash,
    ) -> Result<(Hash, Vec<Hash>), TreeError> {
        self.require(new_size)?;
        let proof =
            consistency_proof(old_size, new_size, self).map_err(|error| self.unprovable(error))?;
        let old_root = self.root(old_size)?;
        verify_consistency(old_size, &old_root, new_size, new_root, &proof)
            .map_err(|_| self.damaged(new_size))?;
        Ok((old_root, proof))
    }

    fn require(&self, size: u64) -> Result<(), TreeError> {
        if size > self.size {
            return Err(TreeError::Size { wanted: size, size: self.size });
        }
        Ok(())
    }

    fn write(&mut self, level: usize, start: u64, hashes: &[Hash]) -> Result<(), TreeError> {
        let path = self.path(level);
        if self.levels.len() == level {
            // What may be left of a level that was given up is not continued.
            match self.layer.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&path)(error));
                }
                _ => {}
            }
            self.levels.push(self.layer.create(&path).map_err(failed(&path))?);
        }
        let file = self.levels.get(level).ok_or_else(|| self.damaged(self.size))?;
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        let place = start.saturating_mul(HASH_BYTES);
        self.layer.write_at(file, place, &bytes).map_err(failed(&path))
    }

    /// The root of a complete subtree of `2^bits` hashes of a tile level, within one tile.
    fn read_subtree(&self, level: usize, bits: u8, index: u64) -> Result<Hash, TreeError> {
        let file = self.levels.get(level).ok_or_else(|| self.damaged(self.size))?;
        let mut bytes = [0; size_of::<Hash>() << TILE_BITS];
        let length = size_of::<Hash>() << bits;
        let bytes = bytes.get_mut(..length).ok_or_else(|| self.damaged(self.size))?;
        let place = index.saturating_mul(length as u64);
        self.layer.read_at(file, place, bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(self.size),
            _ => failed(&self.path(level))(error),
        })?;
        let (hashes, _) = bytes.as_chunks();
        let mut hashes: Vec<Hash> = hashes.iter().map(|hash| Hash(*hash)).collect();
        while hashes.len() > 1 {
            let (pairs, _) = hashes.as_chunks();
            hashes = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
        }
        hashes.first().copied().ok_or_else(|| self.damaged(self.size))
    }

    fn path(&self, level: usize) -> PathBuf {
        self.directory.join(level_name(level))
    }

    fn damaged(&self, size: u64) -> TreeError {
        TreeError::TreeDamaged { directory: self.directory.clone(), size }
    }

    fn unprovable(&self, error: ProveError<TreeError>) -> TreeError {
        match error {
            ProveError::Read(error) => error,
            ProveError::Leaf { index, size } => {
                TreeError::Size { wanted: index.saturating_add(1), size }
            }
            ProveError::Sizes { old_size, new_size } => {
                TreeError::Size { wanted: old_size, size: new_size }
            }
            ProveError::Large { size } => TreeError::Size { wanted: size, size: self.size },
            ProveError::Arithmetic(_) => self.damaged(self.size),
        }
    }
}

impl<L: FileLayer> HashReader for TreeFiles<L> {
    type Error = TreeError;

    fn read_hash(&self, node: Node) -> Result<Hash, TreeError> {
        let level = usize::from(node.level / TILE_BITS);
        self.read_subtree(level, node.level % TILE_BITS, node.index)
    }
}

/// The hashes of a log cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The files do not have the tree that the root is of. They are derived: truncate and refill.
    #[error(
        "the hashes in `{}` are not those of the log's tree of {size} leaves; they are to be \
         rebuilt from the journal",
        directory.display()
    )]
    TreeDamaged {
        /// The directory of the files.
        directory: PathBuf,
        /// The size of the tree.
        size: u64,
    },
    /// More leaves are asked for than there are.
    #[error("a tree of {wanted} leaves is asked for; there are {size}")]
    Size {
        /// How many are asked for.
        wanted: u64,
        /// How many there are.
        size: u64,
    },
    /// The operating system refused an operation.
    #[error("`{}` cannot be opened, read or written", path.display())]
    Files {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// The levels of the tree that one tile spans.
const TILE_BITS: u8 = 8;
const HASH_BYTES: u64 = size_of::<Hash>() as u64;
/// Tile levels of a tree whose size is a 64-bit number.
const LEVELS_MAX: usize = 8;

fn level_name(level: usize) -> String {
    format!("level-{level}")
}

/// How many leaves are under one hash of a tile level.
fn full_below(level: usize) -> u64 {
    (0..level).fold(1, |leaves: u64, _| leaves.saturating_mul(TILE_HASHES))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> TreeError + use<> {
    let path = path.to_owned();
    move |source| TreeError::Files { path: path.clone(), source }
}

impl<L: FileLayer> fmt::Debug for TreeFiles<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TreeFiles")
            .field("directory", &self.directory)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

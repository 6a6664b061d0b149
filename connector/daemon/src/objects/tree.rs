//! The BLAKE3 tree of an object, kept as one chaining value per group of 256 KiB.
//!
//! BLAKE3 is a binary Merkle tree over chunks of 1 KiB, and any aligned power of two of chunks is a subtree. Keeping the
//! value of each subtree of 256 KiB costs 32 bytes per group (1.3 MB for 10 GiB), is enough to verify a group by
//! itself, and is itself verified: merged, the values must give the root. A finer tree would verify less at a time,
//! but a group is what one read takes.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

/// Bytes in a group.
pub const GROUP_SIZE: usize = 256 * 1024;

/// Begins each tree file; its last byte is the version of the format.
const MAGIC: &[u8; 16] = b"sekisho-tree\0\0\0\x01";

/// The length of what stands before the chaining values: magic, size of the object, size of a group.
const HEADER: usize = 16 + 8 + 4;

/// The length of a chaining value.
const VALUE: usize = 32;

/// A tree that was verified: its values merge to the root that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tree {
    size: u64,
    values: Box<[ChainingValue]>,
}

/// Why a stored tree cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TreeError {
    /// It was written by another version.
    #[error("it is not a tree of a version that this release reads")]
    UnknownVersion,
    /// Its length or header does not fit the object.
    #[error("it is for an object of another size than {expected} bytes")]
    WrongSize {
        /// The size of the object.
        expected: u64,
    },
    /// Its values do not give the root.
    #[error("its values do not give the root `{root}`")]
    WrongRoot {
        /// The root that was asked for, hexadecimal.
        root: String,
    },
}

/// How many groups an object has. An empty one has one empty group.
pub(super) fn group_count(size: u64) -> u64 {
    size.div_ceil(GROUP_SIZE as u64).max(1)
}

/// The length of a tree file for an object of this size.
pub(super) fn file_length(size: u64) -> u64 {
    HEADER as u64 + group_count(size).saturating_mul(VALUE as u64)
}

impl Tree {
    /// Reads a tree file and verifies it against size and root of its object.
    ///
    /// # Errors
    /// [`TreeError`]: it is no tree of this object.
    pub(super) fn read(file: &[u8], size: u64, root: &blake3::Hash) -> Result<Self, TreeError> {
        let wrong_size = TreeError::WrongSize { expected: size };
        let (magic, rest) = file.split_first_chunk::<16>().ok_or(TreeError::UnknownVersion)?;
        let (stored_size, rest) = rest.split_first_chunk::<8>().ok_or(TreeError::UnknownVersion)?;
        let (group, rest) = rest.split_first_chunk::<4>().ok_or(TreeError::UnknownVersion)?;
        if magic != MAGIC || u32::from_le_bytes(*group) as usize != GROUP_SIZE {
            return Err(TreeError::UnknownVersion);
        }
        let (values, remainder) = rest.as_chunks::<VALUE>();
        if u64::from_le_bytes(*stored_size) != size
            || !remainder.is_empty()
            || values.len() as u64 != group_count(size)
        {
            return Err(wrong_size);
        }
        let tree = Self { size, values: values.into() };
        if tree.root() == *root {
            Ok(tree)
        } else {
            Err(TreeError::WrongRoot { root: root.to_hex().to_string() })
        }
    }

    /// The tree as a file.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(HEADER + self.values.len() * VALUE);
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&self.size.to_le_bytes());
        file.extend_from_slice(&(256_u32 * 1024).to_le_bytes());
        file.extend_from_slice(self.values.as_flattened());
        file
    }

    /// The root: the BLAKE3 digest of the object.
    pub(super) fn root(&self) -> blake3::Hash {
        match &*self.values {
            // INVARIANT: the only group of an object keeps the root itself, see `TreeHasher::finish`.
            [only] => blake3::Hash::from_bytes(*only),
            values => {
                let (left, right) = halves(values);
                merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash)
            }
        }
    }

    /// The object's size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// How many groups there are.
    pub(super) fn groups(&self) -> u64 {
        self.values.len() as u64
    }

    /// Where a group lies in the object: offset and length in bytes. `None` past the end.
    pub(super) fn extent(&self, group: u64) -> Option<(u64, usize)> {
        if group >= self.groups() {
            return None;
        }
        let offset = group.checked_mul(GROUP_SIZE as u64)?;
        let length = self.size.checked_sub(offset)?.min(GROUP_SIZE as u64);
        Some((offset, usize::try_from(length).ok()?))
    }

    /// Whether these bytes are exactly those of a group.
    pub(super) fn holds(&self, group: u64, bytes: &[u8]) -> bool {
        let Some((offset, length)) = self.extent(group) else { return false };
        let value = usize::try_from(group).ok().and_then(|group| self.values.get(group));
        let Some(value) = value.filter(|_| bytes.len() == length) else { return false };
        let mut hasher = blake3::Hasher::new();
        if self.groups() == 1 {
            return hasher.update(bytes).finalize() == *value;
        }
        hasher.set_input_offset(offset).update(bytes).finalize_non_root() == *value
    }
}

/// Makes a tree from the groups of an object, in order.
#[derive(Debug, Default)]
pub(super) struct TreeHasher {
    size: u64,
    values: Vec<ChainingValue>,
    only: Option<blake3::Hash>,
}

impl TreeHasher {
    /// Adds the next group. All but the last have [`GROUP_SIZE`] bytes; none is empty.
    pub(super) fn push(&mut self, group: &[u8]) {
        debug_assert!(self.size.is_multiple_of(GROUP_SIZE as u64), "only the last group is short");
        debug_assert!(!group.is_empty() && group.len() <= GROUP_SIZE, "a group has its size");
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(self.size).update(group);
        self.only = self.values.is_empty().then(|| hasher.finalize());
        self.values.push(hasher.finalize_non_root());
        self.size += group.len() as u64;
    }

    /// The tree of all groups.
    pub(super) fn finish(self) -> Tree {
        let values = match (self.only, self.values.is_empty()) {
            (Some(root), _) => vec![*root.as_bytes()],
            (None, true) => vec![*blake3::hash(&[]).as_bytes()],
            (None, false) => self.values,
        };
        Tree { size: self.size, values: values.into() }
    }
}

/// Splits the groups of a subtree as BLAKE3 does: to the left the largest power of two that leaves something.
fn halves(values: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    values.split_at(values.len().div_ceil(2).next_power_of_two())
}

/// The chaining value of two or more groups that are not the whole object. It recurses as deep as the tree: at most 46
/// levels for a file of 2^64 bytes.
fn subtree(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [one] => *one,
        values => {
            let (left, right) = halves(values);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests;

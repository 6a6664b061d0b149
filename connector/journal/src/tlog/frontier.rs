//! The right edge of a growing tree.

use serde::{Deserialize, Serialize};

use super::{Hash, node_hash};

/// What is needed to append to a tree and to know its root: the roots of the complete subtrees that
/// the tree of `size` leaves falls into, largest first. At most 64 hashes, whatever the size.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Frontier {
    size: u64,
    // INVARIANT: one hash for each bit that is set in `size`, the highest bit first.
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The frontier of a tree of `size` leaves with these complete subtrees, largest first.
    pub fn from_parts(size: u64, subtrees: Vec<Hash>) -> Result<Self, FrontierError> {
        let expected = size.count_ones() as usize;
        if subtrees.len() != expected {
            return Err(FrontierError { size, expected, found: subtrees.len() });
        }
        Ok(Self { size, subtrees })
    }

    /// Adds a leaf by its hash and returns the index that it got, counted from zero.
    pub fn append(&mut self, leaf_hash: Hash) -> u64 {
        let index = self.size;
        // Each bit that the addition carries over is a subtree that is now complete.
        let mut node = leaf_hash;
        for _ in 0..index.trailing_ones() {
            match self.subtrees.pop() {
                Some(left) => node = node_hash(&left, &node),
                None => break,
            }
        }
        self.subtrees.push(node);
        self.size = index.saturating_add(1);
        index
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root hash of the tree (RFC 6962 section 2.1).
    pub fn root(&self) -> Hash {
        let mut from_right = self.subtrees.iter().rev();
        match from_right.next() {
            None => Hash::EMPTY_TREE,
            Some(last) => from_right.fold(*last, |right, left| node_hash(left, &right)),
        }
    }

    /// The roots of the complete subtrees, largest first.
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }
}

/// A stored frontier has not as many hashes as its size needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves has {expected} complete subtrees, not {found}")]
pub struct FrontierError {
    size: u64,
    expected: usize,
    found: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    size: u64,
    subtrees: Vec<Hash>,
}

impl TryFrom<Parts> for Frontier {
    type Error = FrontierError;

    fn try_from(parts: Parts) -> Result<Self, FrontierError> {
        Self::from_parts(parts.size, parts.subtrees)
    }
}

impl From<Frontier> for Parts {
    fn from(frontier: Frontier) -> Self {
        Self { size: frontier.size, subtrees: frontier.subtrees }
    }
}

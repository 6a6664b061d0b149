//! Inclusion and consistency proofs (RFC 6962 sections 2.1.1 and 2.1.2).

use std::cell::RefCell;

use super::Hash;

/// A hash of a tree: the root of the complete subtree of `2^level` leaves that starts at leaf
/// `index · 2^level`. Level 0 is the leaf hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// The height above the leaves, below 64.
    pub level: u8,
    /// The number of the subtree among those of its level, counted from zero.
    pub index: u64,
}

/// Where the hashes of a tree are read from.
pub trait HashReader {
    /// Why a hash cannot be read.
    type Error;

    /// The hash of one complete subtree.
    fn read_hash(&self, node: Node) -> Result<Hash, Self::Error>;
}

/// The proof that the leaf at `index` is in the tree of the first `size` leaves, lowest hash first.
///
/// It is made from what the reader returns and not checked against a root.
pub fn inclusion_proof<R: HashReader>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    if index >= size {
        return Err(ProveError::Leaf { index, size });
    }
    refuse_large(size)?;
    Bridge::over(reader).run(|bridge| tlog_tiles::prove_record(size, index, bridge)).map(ours)
}

/// The proof that the tree of the first `old_size` leaves is a prefix of that of `new_size`.
///
/// It is empty when both are equal or the old tree has no leaves. It is made from what the reader
/// returns and not checked against a root.
pub fn consistency_proof<R: HashReader>(
    old_size: u64,
    new_size: u64,
    reader: &R,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    if old_size > new_size {
        return Err(ProveError::Sizes { old_size, new_size });
    }
    if old_size == 0 {
        return Ok(Vec::new());
    }
    refuse_large(new_size)?;
    Bridge::over(reader).run(|bridge| tlog_tiles::prove_tree(new_size, old_size, bridge)).map(ours)
}

/// The root of the tree of the first `size` leaves, from what the reader returns.
pub fn tree_root<R: HashReader>(size: u64, reader: &R) -> Result<Hash, ProveError<R::Error>> {
    refuse_large(size)?;
    Bridge::over(reader).run(|bridge| tlog_tiles::tree_hash(size, bridge)).map(|root| Hash(root.0))
}

/// Checks that the leaf with this hash is the one at `index` in the tree of `size` leaves and `root`.
pub fn verify_inclusion(
    leaf_hash: &Hash,
    index: u64,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Leaf { index, size });
    }
    refuse_long(proof)?;
    tlog_tiles::check_record(&theirs(proof), size, their(root), index, their(leaf_hash))
        .map_err(|_| ProofError::Inclusion { index, size })
}

/// Checks that the tree of `old_size` leaves and `old_root` is a prefix of that of `new_size` and
/// `new_root`. The tree without leaves is a prefix of all, with an empty proof.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Sizes { old_size, new_size });
    }
    let refused = ProofError::Consistency { old_size, new_size };
    if old_size == 0 {
        let empty = *old_root == Hash::EMPTY_TREE && proof.is_empty();
        let same = new_size > 0 || *new_root == Hash::EMPTY_TREE;
        return if empty && same { Ok(()) } else { Err(refused) };
    }
    refuse_long(proof)?;
    tlog_tiles::check_tree(&theirs(proof), new_size, their(new_root), old_size, their(old_root))
        .map_err(|_| refused)
}

/// A proof does not show what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf is outside the tree.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    Leaf {
        /// The leaf's index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("a tree of {old_size} leaves cannot be a prefix of one of {new_size}")]
    Sizes {
        /// The old tree's size.
        old_size: u64,
        /// The new tree's size.
        new_size: u64,
    },
    /// More hashes than a proof can have.
    #[error("the proof has {found} hashes; no tree needs more than {PROOF_HASHES_MAX}")]
    Long {
        /// How many it has.
        found: usize,
    },
    /// The hashes do not lead from the leaf to the root.
    #[error("the proof does not lead from leaf {index} to the root of the tree of {size} leaves")]
    Inclusion {
        /// The leaf's index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The hashes do not lead from the old root to the new one.
    #[error(
        "the proof does not lead from the tree of {old_size} leaves to that of {new_size}: one of \
         the two is not a prefix of the other, or the proof is of other trees"
    )]
    Consistency {
        /// The old tree's size.
        old_size: u64,
        /// The new tree's size.
        new_size: u64,
    },
}

/// A proof cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// The leaf is outside the tree.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    Leaf {
        /// The leaf's index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("a tree of {old_size} leaves cannot be a prefix of one of {new_size}")]
    Sizes {
        /// The old tree's size.
        old_size: u64,
        /// The new tree's size.
        new_size: u64,
    },
    /// A hash cannot be read.
    #[error("a hash of the tree cannot be read")]
    Read(#[source] E),
    /// No tree is that large.
    #[error("a tree of {size} leaves is larger than any that is kept")]
    Large {
        /// The tree's size.
        size: u64,
    },
    /// The tree arithmetic refused its input.
    #[error("no proof can be made: {0}")]
    Arithmetic(String),
}

/// A consistency proof in a tree of 2^64 leaves has at most 65 hashes.
const PROOF_HASHES_MAX: usize = 65;

/// Keeps the numbering of stored hashes, about twice the leaves, inside 64 bits.
const LEAVES_MAX: u64 = 1 << 60;

fn refuse_large<E>(size: u64) -> Result<(), ProveError<E>> {
    if size > LEAVES_MAX { Err(ProveError::Large { size }) } else { Ok(()) }
}

fn refuse_long(proof: &[Hash]) -> Result<(), ProofError> {
    if proof.len() > PROOF_HASHES_MAX {
        return Err(ProofError::Long { found: proof.len() });
    }
    Ok(())
}

/// Lets `tlog_tiles` read through our trait and keeps the reader's own error for the caller.
struct Bridge<'a, R: HashReader> {
    reader: &'a R,
    failure: RefCell<Option<R::Error>>,
}

impl<'a, R: HashReader> Bridge<'a, R> {
    fn over(reader: &'a R) -> Self {
        Self { reader, failure: RefCell::new(None) }
    }

    fn run<T>(
        self,
        prove: impl FnOnce(&Self) -> Result<T, tlog_tiles::Error>,
    ) -> Result<T, ProveError<R::Error>> {
        prove(&self).map_err(|error| match self.failure.into_inner() {
            Some(failure) => ProveError::Read(failure),
            None => ProveError::Arithmetic(error.to_string()),
        })
    }
}

impl<R: HashReader> tlog_tiles::HashReader for Bridge<'_, R> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        indexes
            .iter()
            .map(|stored| {
                let (level, index) = tlog_tiles::split_stored_hash_index(*stored);
                self.reader.read_hash(Node { level, index }).map(|hash| their(&hash)).map_err(
                    |failure| {
                        self.failure.replace(Some(failure));
                        tlog_tiles::Error::InvalidInput("unreadable hash".to_owned())
                    },
                )
            })
            .collect()
    }
}

fn their(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.0)
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(their).collect()
}

fn ours(hashes: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|hash| Hash(hash.0)).collect()
}

//! RFC 6962 trees: hashes, proofs, tree heads and checkpoints. Pure.
//!
//! The tree arithmetic is `tlog_tiles`, the note format `signed_note`; both are ports of Go's
//! checksum-database code. What this module adds are types that cannot be confused, limits on what a
//! peer may send, the empty tree, and a [`Frontier`] that computes a log's root as it grows.

mod checkpoint;
mod frontier;
mod proof;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use checkpoint::{
    Checkpoint, CheckpointError, NOTE_BYTES_MAX, NoteError, SignError, sign_checkpoint,
    verify_checkpoint,
};
pub use frontier::{Frontier, FrontierError};
pub use proof::{
    HashReader, Node, ProofError, ProveError, consistency_proof, inclusion_proof, tree_root,
    verify_consistency, verify_inclusion,
};

/// A SHA-256 hash: of a leaf, of a node, of a tree, or of a frame.
///
/// Shown and stored as 64 lower-case hexadecimal digits; checkpoints use [`Hash::to_base64`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The root of the tree without leaves: SHA-256 of nothing (RFC 6962 section 2.1).
    pub const EMPTY_TREE: Self = Self(tlog_tiles::EMPTY_HASH.0);

    /// SHA-256 of `bytes`, without the prefixes that leaves and nodes have.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Standard base64 with padding, as a checkpoint's third line has it.
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads what [`Hash::to_base64`] writes; any other spelling is an error.
    pub fn from_base64(text: &str) -> Result<Self, HashError> {
        let bytes = STANDARD.decode(text).map_err(|_| HashError::Base64 { text: shorten(text) })?;
        <[u8; 32]>::try_from(bytes).map(Self).map_err(|_| HashError::Base64 { text: shorten(text) })
    }
}

/// The hash of a leaf: SHA-256(0x00 ‖ leaf) (RFC 6962 section 2.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Hash(tlog_tiles::record_hash(leaf).0)
}

/// The hash of a node over its two children: SHA-256(0x01 ‖ left ‖ right) (RFC 6962 section 2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(tlog_tiles::node_hash(tlog_tiles::Hash(left.0), tlog_tiles::Hash(right.0)).0)
}

/// A text that should be a hash is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Not 64 lower-case hexadecimal digits.
    #[error("`{text}` is not a hash: 64 lower-case hexadecimal digits are expected")]
    Hexadecimal {
        /// The beginning of what was given.
        text: String,
    },
    /// Not the standard base64 of 32 bytes.
    #[error("`{text}` is not a hash: the standard base64 of 32 bytes is expected")]
    Base64 {
        /// The beginning of what was given.
        text: String,
    },
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let refused = || HashError::Hexadecimal { text: shorten(text) };
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| refused())?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Hash {
    type Error = HashError;

    fn try_from(text: String) -> Result<Self, HashError> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

/// Enough of an input to recognise it in an error, and never a page of it.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;

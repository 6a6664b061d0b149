//! `FILE.prov`: everything that proves where a file came from, in one JSON document.
//!
//! The document has one spelling, so that no byte of it can change unseen. The certificate chain is in
//! the token's protected header, under the provider's signature.

use journal::tlog::{Hash, NOTE_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::leaf::MAX_LEAF_BYTES;
use crate::parents::{MAX_PARENTS, Opening};
use crate::report::Part;
use crate::text::shorten;

/// The largest bundle that is read, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 1024 * 1024;

/// The longest inclusion proof: one hash for each level of a tree of 2^63 leaves.
pub const MAX_PROOF_HASHES: usize = 64;

/// The version of the document that this release writes and reads.
const VERSION: u16 = 1;

/// A token with the evidence that it is in its issuer's log. Nothing in it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    token: String,
    leaf: String,
    index: u64,
    proof: Vec<Hash>,
    checkpoint: String,
    openings: Vec<Opening>,
}

/// A document is no bundle, or a bundle cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Longer than any bundle needs to be.
    #[error("the bundle has {bytes} bytes and at most {MAX_BUNDLE_BYTES} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not the JSON of a bundle.
    #[error("the bundle cannot be read: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// Written by another release.
    #[error("the bundle has version {version} and this release reads version {VERSION}")]
    UnknownVersion {
        /// Its version.
        version: u16,
    },
    /// The right content, spelled otherwise than we write it.
    #[error(
        "the bundle is not spelled as it was written: a byte was changed, or a tool formatted it anew"
    )]
    OtherSpelling,
    /// One of its parts cannot be what it should be.
    #[error("{part} of the bundle cannot be read: {reason}")]
    Part {
        /// Which.
        part: Part,
        /// What is wrong.
        reason: String,
    },
}

impl BundleError {
    /// The part that is to blame.
    #[must_use]
    pub fn part(&self) -> Part {
        match self {
            Self::Part { part, .. } => *part,
            _ => Part::Bundle,
        }
    }
}

impl Bundle {
    /// Puts a bundle together: the token, the exact bytes of the leaf that holds its SHA-256, the leaf's
    /// index in its log, the inclusion proof (lowest hash first), and the signed note of the checkpoint
    /// that the proof leads to.
    ///
    /// # Errors
    /// When a part is larger than is read, or the leaf is not text.
    pub fn new(
        token: impl Into<String>,
        leaf: &[u8],
        index: u64,
        proof: Vec<Hash>,
        checkpoint: impl Into<String>,
    ) -> Result<Self, BundleError> {
        let leaf = std::str::from_utf8(leaf).map_err(|_| BundleError::Part {
            part: Part::LogEntry,
            reason: "it is not UTF-8".to_owned(),
        })?;
        Self {
            token: token.into(),
            leaf: leaf.to_owned(),
            index,
            proof,
            checkpoint: checkpoint.into(),
            openings: Vec::new(),
        }
        .within_limits()
    }

    /// Adds the parents that readers of this copy may know.
    ///
    /// # Errors
    /// When there are more than a token can have.
    pub fn with_openings(mut self, openings: Vec<Opening>) -> Result<Self, BundleError> {
        self.openings = openings;
        self.within_limits()
    }

    /// Reads `FILE.prov`.
    ///
    /// # Errors
    /// When the document is too long, malformed, of another version, or not in its one spelling.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge { bytes: bytes.len() });
        }
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| BundleError::Malformed { reason: shorten(&error.to_string()) })?;
        if document.version != VERSION {
            return Err(BundleError::UnknownVersion { version: document.version });
        }
        let proof: Result<Vec<Hash>, _> =
            document.proof.iter().map(|hash| hash.parse::<Hash>()).collect();
        let bundle = Self {
            token: document.token,
            leaf: document.leaf,
            index: document.index,
            proof: proof.map_err(|error| BundleError::Part {
                part: Part::LogProof,
                reason: error.to_string(),
            })?,
            checkpoint: document.checkpoint,
            openings: document.openings,
        }
        .within_limits()?;
        if bundle.to_json()?.as_bytes() != bytes {
            return Err(BundleError::OtherSpelling);
        }
        Ok(bundle)
    }

    /// The text of `FILE.prov`.
    ///
    /// # Errors
    /// None that a bundle within its limits can have.
    pub fn to_json(&self) -> Result<String, BundleError> {
        let document = Document {
            version: VERSION,
            token: self.token.clone(),
            leaf: self.leaf.clone(),
            index: self.index,
            proof: self.proof.iter().map(Hash::to_string).collect(),
            checkpoint: self.checkpoint.clone(),
            openings: self.openings.clone(),
        };
        let mut text = serde_json::to_string_pretty(&document)
            .map_err(|error| BundleError::Malformed { reason: error.to_string() })?;
        text.push('\n');
        Ok(text)
    }

    /// The provenance token (JWS, compact).
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The exact text of the leaf.
    #[must_use]
    pub fn leaf(&self) -> &str {
        &self.leaf
    }

    /// The leaf's index in its log, from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The inclusion proof, lowest hash first (RFC 6962 section 2.1.1).
    #[must_use]
    pub fn proof(&self) -> &[Hash] {
        &self.proof
    }

    /// The signed note of the checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// The parents that this copy shows.
    #[must_use]
    pub fn openings(&self) -> &[Opening] {
        &self.openings
    }

    fn within_limits(self) -> Result<Self, BundleError> {
        let parts = [
            (Part::Token, self.token.len(), certs::jose::MAX_TOKEN_BYTES, "bytes"),
            (Part::LogEntry, self.leaf.len(), MAX_LEAF_BYTES, "bytes"),
            (Part::LogProof, self.proof.len(), MAX_PROOF_HASHES, "hashes"),
            (Part::Checkpoint, self.checkpoint.len(), NOTE_BYTES_MAX, "bytes"),
            (Part::Parents, self.openings.len(), MAX_PARENTS, "entries"),
        ];
        match parts.into_iter().find(|(_, found, most, _)| found > most) {
            None => Ok(self),
            Some((part, found, most, unit)) => {
                let reason = format!("it has {found} {unit} and at most {most} are read");
                Err(BundleError::Part { part, reason })
            }
        }
    }
}

/// The document as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u16,
    token: String,
    leaf: String,
    index: u64,
    proof: Vec<String>,
    checkpoint: String,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    openings: Vec<Opening>,
}

#[cfg(test)]
mod tests;

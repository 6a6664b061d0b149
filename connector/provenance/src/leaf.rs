//! What a proof shows of a record: its leaf (`ARCHITECTURE.md`, Records).

use std::collections::BTreeMap;

use jiff::Timestamp;
use journal::tlog::Hash;
use serde::{Deserialize, Serialize};

use crate::text::shorten;

/// The largest leaf, in bytes: what a `tlog-tiles` entry bundle holds.
pub(crate) const MAX_LEAF_BYTES: usize = 65_535;

/// The version of leaves that this release reads.
const VERSION: u16 = 1;

/// A leaf of version 1, in the form of RFC 8785.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    v: u16,
    /// What happened.
    pub(crate) kind: String,
    /// When, UTC.
    pub(crate) time: Timestamp,
    effect: Hash,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    body: Option<Hash>,
    /// Digests by name.
    pub(crate) digests: BTreeMap<String, String>,
}

impl Leaf {
    /// Reads a leaf.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let leaf: Self = serde_json::from_str(text)
            .map_err(|error| format!("it cannot be read: {}", shorten(&error.to_string())))?;
        if leaf.v != VERSION {
            return Err(format!("it has version {}, which this release does not know", leaf.v));
        }
        if serde_jcs::to_vec(&leaf).map_or(true, |canonical| canonical != text.as_bytes()) {
            return Err("it is not in the form of RFC 8785".to_owned());
        }
        Ok(leaf)
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// A digest by its name.
    #[must_use]
    pub fn digest(&self, name: &str) -> Option<&str> {
        self.digests.get(name).map(String::as_str)
    }
}

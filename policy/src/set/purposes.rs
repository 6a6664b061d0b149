//! The purposes that a site knows, and which is part of which.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Purposes by name. A site that lists none allows any name in its policies, and no purpose is part
/// of another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Purpose>", into = "BTreeMap<String, Purpose>")]
pub struct Purposes {
    purposes: BTreeMap<String, Purpose>,
    /// Every purpose with all that it is part of, itself excluded.
    wider: BTreeMap<String, BTreeSet<String>>,
}

/// One purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Purpose {
    /// For people.
    pub title: String,
    /// The wider purposes it is part of: who may use data for a wider one may use it for this one.
    pub part_of: BTreeSet<String>,
}

/// Why purposes make no hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PurposesError {
    /// A wider purpose that is not listed.
    #[error("purpose `{purpose}` is part of `{wider}`, which is not listed; list it or remove it")]
    Unknown {
        /// The purpose.
        purpose: String,
        /// What it is said to be part of.
        wider: String,
    },
    /// A purpose that is part of itself.
    #[error("purpose `{purpose}` is part of itself; remove one `part-of` on the way")]
    Cycle {
        /// The purpose.
        purpose: String,
    },
}

impl Purposes {
    /// Checks and closes the hierarchy.
    ///
    /// # Errors
    /// When a wider purpose is not listed or the hierarchy has a cycle.
    pub fn new(purposes: BTreeMap<String, Purpose>) -> Result<Self, PurposesError> {
        let mut wider = BTreeMap::new();
        for (name, purpose) in &purposes {
            let mut reached = BTreeSet::new();
            let mut pending: Vec<(&String, &String)> =
                purpose.part_of.iter().map(|up| (name, up)).collect();
            while let Some((from, up)) = pending.pop() {
                let found = purposes.get(up).ok_or_else(|| PurposesError::Unknown {
                    purpose: from.clone(),
                    wider: up.clone(),
                })?;
                if up == name {
                    return Err(PurposesError::Cycle { purpose: name.clone() });
                }
                if reached.insert(up.clone()) {
                    pending.extend(found.part_of.iter().map(|next| (up, next)));
                }
            }
            wider.insert(name.clone(), reached);
        }
        Ok(Self { purposes, wider })
    }

    /// Whether a purpose is another or part of it.
    #[must_use]
    pub fn is_within(&self, narrow: &str, wide: &str) -> bool {
        narrow == wide || self.wider.get(narrow).is_some_and(|wider| wider.contains(wide))
    }

    /// Whether a policy may name the purpose: it is listed, or none is.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.purposes.is_empty() || self.purposes.contains_key(name)
    }

    /// Every listed purpose by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Purpose)> {
        self.purposes.iter()
    }
}

impl TryFrom<BTreeMap<String, Purpose>> for Purposes {
    type Error = PurposesError;

    fn try_from(purposes: BTreeMap<String, Purpose>) -> Result<Self, Self::Error> {
        Self::new(purposes)
    }
}

impl From<Purposes> for BTreeMap<String, Purpose> {
    fn from(purposes: Purposes) -> Self {
        purposes.purposes
    }
}

//! What a dataset was made from, named so that only those whom the holder chooses can read it.
//!
//! A token holds one salted hash for each parent. Whoever gets the *opening* can check that this parent
//! was meant; whoever does not learns only how many there are. So a bundle does not show a company's
//! suppliers to its customer.

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use crate::digest::Digest;
use crate::text::shorten;

/// The most parents of one token.
pub const MAX_PARENTS: usize = 256;

/// The longest role, in bytes.
pub const MAX_ROLE_BYTES: usize = 256;

/// The salted hash of a parent: SHA-256(salt ‖ RFC 8785 form of [`Parent`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(pub Digest);

/// An input of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// SHA-256 of the parent's provenance token, over its exact bytes.
    pub token: Digest,
    /// What it was used as, such as `input` or `training-data`.
    pub role: String,
    /// SHA-256 of the parent's bytes.
    pub digest: Digest,
}

/// A parent with the salt that its commitment was made with.
///
/// The salt is 32 bytes from a random source: with a guessable one, the parent can be guessed too.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The salt.
    #[serde_as(as = "serde_with::hex::Hex")]
    pub salt: [u8; 32],
    /// The parent.
    pub parent: Parent,
}

/// A parent cannot be committed to, or an opening opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpeningError {
    /// The role is empty or too long.
    #[error("the role `{role}` of a parent is empty or has more than {MAX_ROLE_BYTES} bytes")]
    Role {
        /// Its beginning.
        role: String,
    },
    /// There is no RFC 8785 form.
    #[error("a parent has no canonical form: {reason}")]
    NotCanonical {
        /// What the library says.
        reason: String,
    },
    /// No commitment of the token belongs to it, or another opening has it already.
    #[error("the parent `{token}` opens no commitment of the token, or the same one twice")]
    OpensNothing {
        /// SHA-256 of the parent's token.
        token: Digest,
    },
}

impl Opening {
    /// The commitment that this opens.
    ///
    /// # Errors
    /// When the role is empty or too long.
    pub fn commitment(&self) -> Result<Commitment, OpeningError> {
        let role = &self.parent.role;
        if role.is_empty() || role.len() > MAX_ROLE_BYTES {
            return Err(OpeningError::Role { role: shorten(role) });
        }
        let mut salted = self.salt.to_vec();
        let canonical = serde_jcs::to_vec(&self.parent)
            .map_err(|error| OpeningError::NotCanonical { reason: error.to_string() })?;
        salted.extend(canonical);
        Ok(Commitment(Digest::sha256(&salted)))
    }
}

/// Checks that each opening opens another one of the commitments.
///
/// # Errors
/// The first opening that does not.
pub fn check(openings: &[Opening], commitments: &[Commitment]) -> Result<(), OpeningError> {
    let mut closed = commitments.to_vec();
    for opening in openings {
        let commitment = opening.commitment()?;
        let Some(place) = closed.iter().position(|one| *one == commitment) else {
            return Err(OpeningError::OpensNothing { token: opening.parent.token });
        };
        closed.swap_remove(place);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

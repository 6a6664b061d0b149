//! Offline verification of a signing certificate's chain, at an instant that the caller names.
//!
//! A provenance token or a card is judged by its signer's chain as of the time of signing (proven by a
//! partner's cosignature) or, without such proof, as of now.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

pub use crate::path::{MAX_CHAIN, PathError};

use crate::key::{KeyError, VerifyingKey};
use crate::path::{Authorities, parse_chain};
use crate::x509::{Certificate, Purpose};

/// Why a chain proves no signer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainError {
    /// No path leads to an anchor, or the chain is malformed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The key of the leaf cannot verify signatures of ours.
    #[error("the key of certificate `{subject}` cannot sign: {reason}")]
    Key {
        /// Whose certificate.
        subject: String,
        /// Why not.
        reason: String,
    },
    /// The certificate names nobody.
    #[error("certificate `{subject}` names no participant (a URI in its subject alternative name)")]
    Nameless {
        /// Whose certificate.
        subject: String,
    },
}

/// Who a verified signing certificate stands for.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The participant ids: the URIs of the subject alternative name, at least one.
    pub participants: Vec<String>,
    /// The key that its signatures verify with.
    pub key: VerifyingKey,
    /// SHA-256 of the leaf (`x5t#S256`).
    pub leaf_sha256: [u8; 32],
    /// The earliest end of a certificate of the path.
    pub valid_until: Timestamp,
}

/// Verifies that `chain` (leaf first) leads to one of `anchors` at the instant `at`.
///
/// # Errors
/// Whatever makes the chain invalid then; a leaf that is not for signing or names no participant.
pub fn verify(
    chain: &[CertificateDer<'_>],
    anchors: &[Certificate],
    at: Timestamp,
) -> Result<Signer, ChainError> {
    let (leaf, presented) = parse_chain(chain)?;
    let authorities = Authorities::new(anchors.to_vec());
    let path = authorities.verify(&leaf, &presented, Purpose::Signing, at)?;
    let subject = leaf.subject().to_owned();
    if leaf.uris().is_empty() {
        return Err(ChainError::Nameless { subject });
    }
    let key = leaf
        .verifying_key()
        .map_err(|error: KeyError| ChainError::Key { subject, reason: error.to_string() })?;
    Ok(Signer {
        participants: leaf.uris().to_vec(),
        key,
        leaf_sha256: leaf.sha256(),
        valid_until: path.valid_until,
    })
}

#[cfg(test)]
mod tests;

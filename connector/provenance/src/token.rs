//! Provenance tokens: JWS in compact form (RFC 7515), signed with the participant's key, with its
//! certificate chain in the protected header.

use certs::jose::{self, HeaderExtras, JoseError, Unverified, Verified};
use certs::key::{SigningKey, VerifyingKey};
use certs::x509::Certificate;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::claims::{Claims, ClaimsError};
use crate::digest::Digest;
use crate::text::shorten;

/// The `typ` of a provenance token's header: no token of another kind can be taken for one.
pub const TYPE: &str = "sekisho-provenance+jwt";

/// Signs the claims. The chain, leaf first, goes into the header (`x5c`, `x5t#S256`), so that the token
/// can be judged without us. Times are cut to whole seconds where the claim has those.
///
/// # Errors
/// When a claim is out of its limits, the chain is not the key's or does not name the issuer, the log's
/// key is another one, or the library fails.
pub fn issue(
    claims: &Claims,
    key: &SigningKey,
    chain: &[Certificate],
) -> Result<String, TokenError> {
    claims.check()?;
    let Some(leaf) = chain.first() else {
        return Err(TokenError::NoChain);
    };
    if !leaf.uris().contains(&claims.issuer) {
        return Err(TokenError::OtherIssuer {
            subject: leaf.subject().to_owned(),
            issuer: shorten(&claims.issuer),
        });
    }
    if claims.log.key.public != key.public_key() {
        return Err(TokenError::OtherLogKey { name: shorten(&claims.log.key.name) });
    }
    let payload = serde_json::to_vec(claims)
        .map_err(|error| TokenError::Payload { reason: error.to_string() })?;
    let extras = HeaderExtras { chain, embed_chain: true };
    Ok(jose::sign_compact(TYPE, extras, &payload, key)?)
}

/// A token whose form is right and whose signature nobody has checked. It does not show its claims.
#[derive(Debug)]
pub struct Token {
    unverified: Unverified,
    sha256: Digest,
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// When anything about its form is not as [`issue`] writes it; see [`certs::jose`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let unverified = Unverified::parse(text, TYPE)?;
        Ok(Self { unverified, sha256: Digest(jose::token_sha256(text)) })
    }

    /// SHA-256 of its exact bytes: what the record of the release and later tokens call it.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// The chain in its header, leaf first; only a claim. Empty where there is none.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.unverified.header().chain
    }

    /// Verifies the signature with a key that the caller trusts and reads the claims. Whose key it is,
    /// and whether that is the issuer, is for the caller to judge; [`crate::verify()`] does.
    ///
    /// # Errors
    /// When the signature is of another key or other bytes, or a claim is missing or malformed.
    pub fn verify(self, key: &VerifyingKey) -> Result<Claims, TokenError> {
        self.verify_signature(key)?.claims()
    }

    pub(crate) fn verify_signature(self, key: &VerifyingKey) -> Result<SignedToken, TokenError> {
        Ok(SignedToken { verified: self.unverified.verify(key)? })
    }
}

/// A token whose signature was verified.
#[derive(Debug)]
pub(crate) struct SignedToken {
    verified: Verified,
}

impl SignedToken {
    pub(crate) fn claims(&self) -> Result<Claims, TokenError> {
        let foreign: Foreign = self.verified.json()?;
        if foreign.exp.is_some() {
            return Err(TokenError::Expires);
        }
        let claims: Claims = self.verified.json()?;
        claims.check()?;
        Ok(claims)
    }
}

/// Registered claims that change what a token means and that no provenance token has.
#[derive(Deserialize)]
struct Foreign {
    exp: Option<IgnoredAny>,
}

/// A token cannot be made or is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The form, signature or payload is wrong, or signing failed.
    #[error(transparent)]
    Jose(#[from] JoseError),
    /// A claim is out of its limits.
    #[error("the token's claims are refused: {0}")]
    Claims(#[from] ClaimsError),
    /// It has an expiry, and what happened does not cease to have happened.
    #[error("the token's claims are refused: a provenance token has no `exp`")]
    Expires,
    /// There is no certificate to put into the token.
    #[error("a provenance token needs the certificate chain of the key that signs it")]
    NoChain,
    /// The certificate stands for somebody else.
    #[error("certificate `{subject}` does not name the issuer `{issuer}`")]
    OtherIssuer {
        /// Whose certificate.
        subject: String,
        /// The claim `iss`.
        issuer: String,
    },
    /// The log would be signed with another key.
    #[error("the log key `{name}` in the claims is not the key that signs the token")]
    OtherLogKey {
        /// The key's name.
        name: String,
    },
    /// The claims have no JSON form.
    #[error("the claims cannot be written as JSON: {reason}")]
    Payload {
        /// What the library says.
        reason: String,
    },
}

#[cfg(test)]
mod tests;

//! Secrets of the node: tokens that it gives, and tokens that it received.
//!
//! An access token we give is computed, not stored, so a transfer start can be sent again byte for byte;
//! only its SHA-256 is stored. One we received is stored sealed until its process ends.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize as _, Zeroizing};

use crate::key::sha256;

/// Why a secret cannot be sealed or unsealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The key file does not hold 64 hexadecimal digits.
    #[error("a node key is 64 hexadecimal digits in one line")]
    NotAKey,
    /// The operating system gave no randomness.
    #[error("no random bytes could be had from the operating system")]
    NoRandomness,
    /// The sealed text is of a form that this release does not know.
    #[error("the sealed secret has the unknown form {version}")]
    UnknownForm {
        /// The first byte.
        version: u8,
    },
    /// The text was changed, or sealed under another key or for another use.
    #[error("the sealed secret does not open with this node's key for this use")]
    NotOpened,
}

/// The first byte of a sealed secret: AES-256-GCM, then 12 bytes of nonce, then ciphertext and tag.
const AES_256_GCM_FORM: u8 = 1;

/// A 256-bit secret of this node; redacted in `Debug`, zeroised when dropped.
pub struct NodeKey(Zeroizing<[u8; 32]>);

impl NodeKey {
    /// Makes a new key from the operating system's randomness.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| SealError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// When it is not 64 hexadecimal digits, with or without a line end.
    pub fn from_text(text: &[u8]) -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_ascii_end(), bytes.as_mut())
            .map_err(|_| SealError::NotAKey)?;
        Ok(Self(bytes))
    }

    /// The text of a key file of mode 0600.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(hex::encode(self.0.as_ref()));
        text.push('\n');
        text
    }

    /// Seals a small secret. `associated` says what it is for (a transfer's identifier, say) and must be
    /// given again to open it, so that a sealed secret cannot be moved to another place.
    ///
    /// # Errors
    /// When there is no randomness for the nonce.
    pub fn seal(&self, secret: &[u8], associated: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut buffer = Vec::with_capacity(secret.len() + AES_256_GCM.tag_len());
        buffer.extend_from_slice(secret);
        let sealed = self.aead().and_then(|key| {
            key.seal_in_place_append_tag(Aad::from(associated), &mut buffer)
                .map_err(|_| SealError::NoRandomness)
        });
        match sealed {
            Ok(nonce) => Ok([&[AES_256_GCM_FORM], nonce.as_ref().as_slice(), &buffer].concat()),
            Err(error) => {
                buffer.zeroize();
                Err(error)
            }
        }
    }

    /// Opens what [`seal`](Self::seal) made with the same key and the same `associated` bytes.
    ///
    /// # Errors
    /// When the form is unknown or the secret does not authenticate.
    pub fn unseal(
        &self,
        sealed: &[u8],
        associated: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::NotOpened)?;
        if *version != AES_256_GCM_FORM {
            return Err(SealError::UnknownForm { version: *version });
        }
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::NotOpened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotOpened)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let length = self
            .aead()?
            .open_in_place(nonce, Aad::from(associated), &mut buffer)
            .map_err(|_| SealError::NotOpened)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// The access token of one transfer process in one generation: base64url of HMAC-SHA-256. The same
    /// arguments give the same token; a new generation gives one that has nothing in common with it.
    #[must_use]
    pub fn access_token(&self, transfer: &str, generation: u64) -> Zeroizing<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        let mut context = hmac::Context::with_key(&key);
        // The generation has a fixed length and comes last, so no two inputs have the same bytes.
        context.update(b"sekisho/access-token/v1\0");
        context.update(transfer.as_bytes());
        context.update(&generation.to_be_bytes());
        Zeroizing::new(URL_SAFE_NO_PAD.encode(context.sign()))
    }

    /// A code that shows later that we gave something out: HMAC-SHA-256 over a purpose and the parts. A code of one purpose
    /// is good for no other.
    #[must_use]
    pub fn code(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        let tag = hmac::sign(&key, &coded(purpose, parts));
        let mut code = [0; 32];
        code.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        code
    }

    /// Whether this is [`NodeKey::code`] of the same purpose and parts. It takes the same time whatever differs.
    #[must_use]
    pub fn is_code(&self, code: &[u8], purpose: &str, parts: &[&[u8]]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        hmac::verify(&key, &coded(purpose, parts), code).is_ok()
    }

    fn aead(&self) -> Result<RandomizedNonceKey, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, self.0.as_ref()).map_err(|_| SealError::NotAKey)
    }
}

/// What a code is over. Each part follows its length, so that no two lists of parts have the same bytes.
fn coded(purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"sekisho/code/v1\0".to_vec();
    for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NodeKey(redacted)")
    }
}

/// SHA-256 of an access token: the only form in which a token we gave is stored or journaled.
#[must_use]
pub fn token_digest(token: &str) -> [u8; 32] {
    sha256(token.as_bytes())
}

#[cfg(test)]
mod tests;

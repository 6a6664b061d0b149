//! Digests of files: SHA-256 and BLAKE3 of the same bytes, made in one reading.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::text::shorten;

/// How much is read at once, in bytes.
const BLOCK_BYTES: usize = 256 * 1024;

/// Thirty-two bytes of SHA-256 or BLAKE3, written as 64 lower-case hexadecimal digits and in no other
/// spelling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// A text that should be a digest is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest: 64 lower-case hexadecimal digits are expected")]
pub struct DigestError {
    /// The beginning of what was given.
    pub text: String,
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refused = || DigestError { text: shorten(text) };
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| refused())?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

/// What a file is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256 of the whole file.
    pub sha256: Digest,
    /// The root of its BLAKE3 tree.
    pub blake3: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// Reads to the end and computes the digests. `progress` is told the bytes read so far, after each
/// block.
///
/// # Errors
/// What the reader says; an interrupted read is repeated.
pub fn digest_reader(mut reader: impl Read, mut progress: impl FnMut(u64)) -> io::Result<Digests> {
    let (mut sha256, mut blake3) = (Sha256::new(), blake3::Hasher::new());
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = match reader.read(&mut block) {
            Ok(0) => break,
            Ok(read) => block.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sha256.update(read);
        blake3.update(read);
        progress(blake3.count());
    }
    Ok(Digests {
        sha256: Digest(sha256.finalize().into()),
        blake3: Digest(blake3.finalize().into()),
        size: blake3.count(),
    })
}

#[cfg(test)]
mod tests;

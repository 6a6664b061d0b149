//! The participant's signing key, and keys that verify.
//!
//! The algorithm of a key is a value of [`Algorithm`], never an assumption of the code around it, so
//! that a later algorithm is one more variant.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

/// A signature algorithm, by its JOSE name (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032): what our own signing keys use.
    EdDsa,
    /// ECDSA on P-256 with SHA-256: accepted from partners whose CA cannot certify Ed25519.
    Es256,
}

impl Algorithm {
    /// The `alg` value of a JWS header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }

    /// The algorithm that a stored or received name stands for.
    ///
    /// # Errors
    /// Any name outside the allow-list, `none` and every HMAC among them.
    pub fn from_name(name: &str) -> Result<Self, KeyError> {
        match name {
            "EdDSA" => Ok(Self::EdDsa),
            "ES256" => Ok(Self::Es256),
            other => Err(KeyError::UnknownAlgorithm { name: other.chars().take(32).collect() }),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The PEM text holds no PKCS#8 private key.
    #[error("the file holds no PKCS#8 private key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    NotPkcs8Pem,
    /// The PKCS#8 structure is not an Ed25519 key.
    #[error("the private key is not an Ed25519 key in PKCS#8")]
    NotEd25519,
    /// The public key is of a kind that we do not accept for signatures.
    #[error("the public key is neither Ed25519 nor an uncompressed point on P-256")]
    UnsupportedPublicKey,
    /// The Ed25519 point is of small order or not canonically encoded: its signatures prove nothing.
    #[error("the Ed25519 public key is a point of small order or not canonical")]
    WeakEd25519Point,
    /// The name is not in the allow-list.
    #[error("the signature algorithm `{name}` is not accepted; only `EdDSA` and `ES256` are")]
    UnknownAlgorithm {
        /// The name as given, cut to 32 characters.
        name: String,
    },
    /// The signature does not verify.
    #[error("the {algorithm} signature does not verify")]
    BadSignature {
        /// The algorithm of the verifying key.
        algorithm: Algorithm,
    },
    /// The cryptographic library refused to make a key, which it does when it has no randomness.
    #[error("no key could be generated")]
    NotGenerated,
}

/// The participant's Ed25519 signing key: it signs the journal's checkpoints, provenance and cards.
///
/// It is apart from the TLS keys, which come and go.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// Makes a new key from the operating system's randomness.
    ///
    /// # Errors
    /// When the cryptographic library cannot make one.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NotGenerated)?;
        // Version 1 (RFC 5208) is what every other library reads; version 2 is not.
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::NotGenerated)?;
        Ok(Self { pair, pkcs8: Zeroizing::new(document.as_ref().to_vec()) })
    }

    /// Reads a PKCS#8 key in PEM.
    ///
    /// # Errors
    /// When the text is not PEM, or the key not Ed25519, or its public half does not match.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPkcs8Pem)?;
        let der = Zeroizing::new(der);
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| KeyError::NotEd25519)?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::NotEd25519)?;
        Ok(Self { pair, pkcs8: Zeroizing::new(document.as_ref().to_vec()) })
    }

    /// The key as PKCS#8 in PEM, for a file of mode 0600.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        pkcs8_pem(&self.pkcs8)
    }

    /// Signs a message; the result is the raw 64-byte signature of RFC 8032.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut raw = [0; 64];
        // INVARIANT: an Ed25519 signature has 64 bytes, so no byte is left out.
        for (to, from) in raw.iter_mut().zip(self.pair.sign(message).as_ref()) {
            *to = *from;
        }
        raw
    }

    /// The algorithm of every signature this key makes.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::EdDsa
    }

    /// The raw 32-byte public key, as signed notes (C2SP) and JWK carry it.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        let mut raw = [0; 32];
        // INVARIANT: an Ed25519 public key has 32 bytes.
        for (to, from) in raw.iter_mut().zip(self.pair.public_key().as_ref()) {
            *to = *from;
        }
        raw
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey { algorithm: Algorithm::EdDsa, public: self.public_key().to_vec() }
    }

    /// The key identifier (`kid`): the RFC 7638 thumbprint of the public key.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.verifying_key().key_id()
    }

    /// The PKCS#8 (version 1) bytes, for the libraries inside this crate that need their own copy.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("key_id", &self.key_id()).finish_non_exhaustive()
    }
}

/// A public key that verifies signatures of one algorithm.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    public: Vec<u8>,
}

/// The whole of a SubjectPublicKeyInfo before the key itself (RFC 8410 section 4).
const ED25519_SPKI_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// The same for an uncompressed point on P-256 (RFC 5480 section 2).
const P256_SPKI_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 3, 1, 7, 3, 0x42, 0,
];

impl VerifyingKey {
    /// Takes a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) in DER.
    ///
    /// # Errors
    /// Another algorithm or encoding, or an Ed25519 point whose signatures prove nothing.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, KeyError> {
        match (spki.strip_prefix(ED25519_SPKI_PREFIX), spki.strip_prefix(P256_SPKI_PREFIX)) {
            (Some(point), _) => Self::from_ed25519(point),
            (_, Some(point)) if point.len() == 65 && point.first() == Some(&4) => {
                Ok(Self { algorithm: Algorithm::Es256, public: point.to_vec() })
            }
            _ => Err(KeyError::UnsupportedPublicKey),
        }
    }

    /// Takes the raw 32 bytes of an Ed25519 public key.
    ///
    /// # Errors
    /// Another length, a point of small order, or a point not canonically encoded.
    pub fn from_ed25519(point: &[u8]) -> Result<Self, KeyError> {
        let Ok(bytes) = <[u8; 32]>::try_from(point) else {
            return Err(KeyError::UnsupportedPublicKey);
        };
        if proves_nothing(bytes) {
            return Err(KeyError::WeakEd25519Point);
        }
        Ok(Self { algorithm: Algorithm::EdDsa, public: point.to_vec() })
    }

    /// The algorithm: fixed by the key, never by what a token says.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's raw bytes: 32 for Ed25519, the 65 of an uncompressed point for P-256.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Verifies a raw signature: 64 bytes for both algorithms (RFC 8032; RFC 7518 section 3.4).
    ///
    /// # Errors
    /// [`KeyError::BadSignature`] and nothing else.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::EdDsa => &ED25519,
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        };
        UnparsedPublicKey::new(algorithm, &self.public)
            .verify(message, signature)
            .map_err(|_| KeyError::BadSignature { algorithm: self.algorithm })
    }

    /// The key as SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        let prefix = match self.algorithm {
            Algorithm::EdDsa => ED25519_SPKI_PREFIX,
            Algorithm::Es256 => P256_SPKI_PREFIX,
        };
        [prefix, &self.public].concat()
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what fingerprints and pins compare.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki_der())
    }

    /// The key identifier (`kid`): the RFC 7638 thumbprint, base64url.
    #[must_use]
    pub fn key_id(&self) -> String {
        let canonical = match self.algorithm {
            Algorithm::EdDsa => {
                let x = URL_SAFE_NO_PAD.encode(&self.public);
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)
            }
            Algorithm::Es256 => {
                let coordinates = self.public.get(1..).unwrap_or_default();
                let (x, y) = coordinates.split_at_checked(32).unwrap_or_default();
                let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
        };
        URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes()))
    }
}

impl TryFrom<&SubjectPublicKeyInfoDer<'_>> for VerifyingKey {
    type Error = KeyError;

    fn try_from(spki: &SubjectPublicKeyInfoDer<'_>) -> Result<Self, KeyError> {
        Self::from_spki_der(spki)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerifyingKey({} {})", self.algorithm, self.key_id())
    }
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // INVARIANT: SHA-256 has 32 bytes.
    for (to, from) in out.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

/// PKCS#8 bytes as PEM (RFC 7468 section 10).
pub(crate) fn pkcs8_pem(der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::with_capacity(encoded.len() + 128));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while let Some((line, tail)) = rest.split_at_checked(rest.len().min(64)) {
        if line.is_empty() {
            break;
        }
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

/// Whether a point is of small order (any message then has a signature that verifies for it) or has a
/// coordinate not reduced modulo 2^255 - 19 (the same key then has two names).
fn proves_nothing(mut point: [u8; 32]) -> bool {
    /// The y coordinates of the two pairs of points of order eight; the other points of small order
    /// have y = 0, 1 or -1. Derived from the curve equation; see the tests.
    const ORDER_EIGHT: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    // The top bit is the sign of x; a point and its negative have the same order.
    if let Some(top) = point.last_mut() {
        *top &= 0x7f;
    }
    let (low, rest) = point.split_first().map_or((0, &[][..]), |(low, rest)| (*low, rest));
    let rest_is = |byte: u8| rest.iter().take(30).all(|b| *b == byte);
    let zero_or_one = low <= 1 && rest_is(0) && rest.last() == Some(&0);
    // 2^255 - 20 is -1; everything from 2^255 - 19 up is not reduced.
    let minus_one_or_more = low >= 0xec && rest_is(0xff) && rest.last() == Some(&0x7f);
    zero_or_one || minus_one_or_more || ORDER_EIGHT.contains(&point)
}

#[cfg(test)]
mod tests;

//! JSON Web Signatures (RFC 7515), compact form, strictly. Every use of josekit is here.
//!
//! A token is read in two steps, so that nobody can forget the second: [`Unverified::parse`] checks the
//! form and shows the header, by which the caller finds a key that it trusts; [`Unverified::verify`] then
//! gives the payload. The algorithm is the key's; the token can only agree with it.
//!
//! Refused outright: other serialisations and JWE, `none` and HMAC, `crit`, `jwk`, `jku`, `x5u` and every
//! other header member we do not write, doubled members, base64url that is not canonical, and keys that
//! the header's own `kid`, `x5t#S256` or `x5c` contradict.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use josekit::jws::alg::ecdsa::EcdsaJwsAlgorithm;
use josekit::jws::alg::eddsa::EddsaJwsAlgorithm;
use josekit::jws::{JwsHeader, JwsVerifier};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::key::{Algorithm, KeyError, SigningKey, VerifyingKey, sha256};
use crate::path::MAX_CHAIN;
use crate::x509::{Certificate, X509Error, printable};

mod unique;

/// The largest token that is read or made, in bytes.
pub const MAX_TOKEN_BYTES: usize = 256 * 1024;

/// The largest decoded header, in bytes: eight certificates fit.
const MAX_HEADER_BYTES: usize = 96 * 1024;

/// Both accepted algorithms make signatures of 64 bytes (RFC 8037 section 3.1; RFC 7518 section 3.4).
const SIGNATURE_BYTES: usize = 64;

/// Why a token cannot be made or is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoseError {
    /// Too long to be read.
    #[error("the token has {bytes} bytes and at most {MAX_TOKEN_BYTES} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not three parts between dots.
    #[error("the token has {parts} parts; a JWS in compact form has three")]
    NotCompact {
        /// How many were found.
        parts: usize,
    },
    /// A part is not base64url as RFC 7515 section 2 writes it.
    #[error("the {part} of the token is not canonical base64url")]
    NotCanonical {
        /// Header, payload or signature.
        part: &'static str,
    },
    /// The header is malformed, doubles a member, or has one that we do not accept.
    #[error("the token's header is refused: {reason}")]
    Header {
        /// What is wrong.
        reason: String,
    },
    /// A token of another kind.
    #[error("the token is of type `{found}` where `{expected}` is expected")]
    WrongType {
        /// What the caller expects.
        expected: String,
        /// What the header says.
        found: String,
    },
    /// The header names an algorithm that we do not accept at all.
    #[error("the token's header is refused: {0}")]
    Algorithm(KeyError),
    /// The header's algorithm is not that of the key.
    #[error("the token says `{token}` and the key is for `{key}`")]
    AlgorithmMismatch {
        /// What the header says.
        token: Algorithm,
        /// What the key is.
        key: Algorithm,
    },
    /// The header points to another key than the one that verifies.
    #[error("the token's `{member}` does not belong to the key that it is verified with")]
    OtherKey {
        /// `kid`, `x5t#S256` or `x5c`.
        member: &'static str,
    },
    /// A certificate of the header cannot be read.
    #[error("the token's certificate chain is refused: {0}")]
    Certificate(X509Error),
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// The payload is not the JSON that was expected.
    #[error("the token's payload is refused: {reason}")]
    Payload {
        /// What is wrong.
        reason: String,
    },
    /// The library could not sign or load a key.
    #[error("the {algorithm} key cannot be used")]
    Library {
        /// The key's algorithm.
        algorithm: Algorithm,
        /// What the library says.
        #[source]
        source: josekit::JoseError,
    },
}

/// Which optional members the header of a new token gets. `alg`, `typ` and `kid` are always there.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderExtras<'a> {
    /// The signer's chain, leaf first: gives `x5t#S256`.
    pub chain: &'a [Certificate],
    /// Whether the whole chain goes into the token as `x5c`, for offline verification.
    pub embed_chain: bool,
}

/// Signs `payload` as it is and returns the compact form.
///
/// # Errors
/// When the token would be larger than anybody of us reads, the chain is not the key's, or the library
/// fails.
pub fn sign_compact(
    typ: &str,
    extras: HeaderExtras<'_>,
    payload: &[u8],
    key: &SigningKey,
) -> Result<String, JoseError> {
    let library = |source| JoseError::Library { algorithm: key.algorithm(), source };
    let mut header = JwsHeader::new();
    header.set_token_type(typ);
    header.set_key_id(key.key_id());
    if let Some(leaf) = extras.chain.first() {
        if leaf.spki_der() != key.verifying_key().spki_der() {
            return Err(JoseError::OtherKey { member: "x5c" });
        }
        header.set_x509_certificate_sha256_thumbprint(leaf.sha256());
        if extras.embed_chain {
            let chain = extras.chain.iter().map(|one| STANDARD.encode(one.der())).collect();
            header.set_claim("x5c", Some(Value::Array(chain_values(chain)))).map_err(library)?;
        }
    }
    let signer = EddsaJwsAlgorithm::Eddsa.signer_from_der(key.pkcs8()).map_err(library)?;
    let token = josekit::jws::serialize_compact(payload, &header, &signer).map_err(library)?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(JoseError::TooLarge { bytes: token.len() });
    }
    Ok(token)
}

fn chain_values(chain: Vec<String>) -> Vec<Value> {
    chain.into_iter().map(Value::String).collect()
}

/// Parses and verifies in one step, for callers who know the key beforehand.
///
/// # Errors
/// See [`Unverified::parse`] and [`Unverified::verify`].
pub fn verify_compact(token: &str, typ: &str, key: &VerifyingKey) -> Result<Verified, JoseError> {
    Unverified::parse(token, typ)?.verify(key)
}

/// What the protected header of an accepted token says.
#[derive(Clone, Debug)]
pub struct Header {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The type, as the caller expected it.
    pub typ: String,
    /// The key identifier.
    pub key_id: Option<String>,
    /// SHA-256 of the signer's certificate.
    pub leaf_sha256: Option<[u8; 32]>,
    /// The embedded chain, leaf first; empty without `x5c`. Nothing is trusted because it is here.
    pub chain: Vec<Certificate>,
}

impl Header {
    /// The embedded chain's bytes, as [`crate::chain::verify`] takes them.
    #[must_use]
    pub fn chain_der(&self) -> Vec<CertificateDer<'static>> {
        self.chain.iter().map(|one| one.der().clone()).collect()
    }
}

/// A token of good form whose signature nobody has checked. It does not show its payload.
#[derive(Debug)]
pub struct Unverified {
    header: Header,
    signing_input: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Unverified {
    /// Reads a token of the given type.
    ///
    /// # Errors
    /// When anything about its form is not exactly as we would write it.
    pub fn parse(token: &str, typ: &str) -> Result<Self, JoseError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JoseError::TooLarge { bytes: token.len() });
        }
        let parts: Vec<&str> = token.splitn(6, '.').collect();
        let [header_part, payload_part, signature_part] = parts[..] else {
            return Err(JoseError::NotCompact { parts: parts.len() });
        };
        let header = parse_header(&decode(header_part, "header")?, typ)?;
        let payload = decode(payload_part, "payload")?;
        let signature = decode(signature_part, "signature")?;
        if signature.len() != SIGNATURE_BYTES {
            return Err(JoseError::BadSignature);
        }
        let signing_input = format!("{header_part}.{payload_part}").into_bytes();
        Ok(Self { header, signing_input, payload, signature })
    }

    /// The header, for finding the key. It is only a claim until [`verify`](Self::verify) succeeds.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Verifies the signature with a key that the caller trusts.
    ///
    /// # Errors
    /// When the header names another algorithm or key, or the signature does not verify.
    pub fn verify(self, key: &VerifyingKey) -> Result<Verified, JoseError> {
        let header = self.header;
        if header.algorithm != key.algorithm() {
            let (token, key) = (header.algorithm, key.algorithm());
            return Err(JoseError::AlgorithmMismatch { token, key });
        }
        if header.key_id.as_ref().is_some_and(|key_id| *key_id != key.key_id()) {
            return Err(JoseError::OtherKey { member: "kid" });
        }
        if let Some(leaf) = header.chain.first() {
            if leaf.spki_der() != key.spki_der() {
                return Err(JoseError::OtherKey { member: "x5c" });
            }
            if header.leaf_sha256.is_some_and(|thumbprint| thumbprint != leaf.sha256()) {
                return Err(JoseError::OtherKey { member: "x5t#S256" });
            }
        }
        let library = |source| JoseError::Library { algorithm: key.algorithm(), source };
        let verifier: Box<dyn JwsVerifier> = match key.algorithm() {
            Algorithm::EdDsa => Box::new(
                EddsaJwsAlgorithm::Eddsa.verifier_from_der(key.spki_der()).map_err(library)?,
            ),
            Algorithm::Es256 => Box::new(
                EcdsaJwsAlgorithm::Es256.verifier_from_der(key.spki_der()).map_err(library)?,
            ),
        };
        verifier
            .verify(&self.signing_input, &self.signature)
            .map_err(|_| JoseError::BadSignature)?;
        Ok(Verified { header, payload: self.payload })
    }
}

/// A token whose signature was verified.
#[derive(Debug)]
pub struct Verified {
    /// Its header.
    pub header: Header,
    /// Its payload, byte for byte.
    pub payload: Vec<u8>,
}

impl Verified {
    /// The payload as JSON without doubled members.
    ///
    /// # Errors
    /// When it is not JSON, doubles a member at any depth, or is not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, JoseError> {
        unique::from_slice(&self.payload)
            .map_err(|error| JoseError::Payload { reason: printable(&error.to_string()) })
    }
}

/// SHA-256 of a token's exact bytes: how records and later tokens refer to it.
#[must_use]
pub fn token_sha256(token: &str) -> [u8; 32] {
    sha256(token.as_bytes())
}

/// The header as written, member by member. serde refuses a doubled one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHeader {
    alg: String,
    typ: String,
    kid: Option<String>,
    #[serde(rename = "x5t#S256")]
    x5t_s256: Option<String>,
    x5c: Option<Vec<String>>,
}

fn parse_header(bytes: &[u8], expected: &str) -> Result<Header, JoseError> {
    let refused = |reason: String| JoseError::Header { reason };
    if bytes.len() > MAX_HEADER_BYTES {
        return Err(refused(format!("it has {} bytes", bytes.len())));
    }
    // serde would also read a struct from an array of its values.
    if bytes.first() != Some(&b'{') {
        return Err(refused("it is not a JSON object".to_owned()));
    }
    let wire: WireHeader =
        serde_json::from_slice(bytes).map_err(|error| refused(printable(&error.to_string())))?;
    let algorithm = Algorithm::from_name(&wire.alg).map_err(JoseError::Algorithm)?;
    if wire.typ != expected {
        return Err(JoseError::WrongType {
            expected: expected.to_owned(),
            found: printable(&wire.typ),
        });
    }
    let leaf_sha256 = wire
        .x5t_s256
        .map(|text| {
            <[u8; 32]>::try_from(decode(&text, "`x5t#S256`")?)
                .map_err(|_| refused("its `x5t#S256` is not a SHA-256".to_owned()))
        })
        .transpose()?;
    let chain = wire.x5c.map(parse_chain).transpose()?.unwrap_or_default();
    Ok(Header { algorithm, typ: wire.typ, key_id: wire.kid, leaf_sha256, chain })
}

/// `x5c` is standard base64, not base64url (RFC 7515 section 4.1.6).
fn parse_chain(encoded: Vec<String>) -> Result<Vec<Certificate>, JoseError> {
    if encoded.is_empty() || encoded.len() > MAX_CHAIN {
        let reason = format!("its `x5c` has {} certificates", encoded.len());
        return Err(JoseError::Header { reason });
    }
    encoded
        .iter()
        .map(|text| {
            let der =
                STANDARD.decode(text).map_err(|_| JoseError::NotCanonical { part: "`x5c`" })?;
            Certificate::from_der(&der).map_err(JoseError::Certificate)
        })
        .collect()
}

/// The engine refuses padding, foreign characters and non-zero bits after the last byte.
fn decode(part: &str, name: &'static str) -> Result<Vec<u8>, JoseError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JoseError::NotCanonical { part: name })
}

#[cfg(test)]
mod tests;

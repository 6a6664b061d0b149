//! Certificates and revocation lists as facts: parsed once, strictly, then compared as values.
//!
//! Nothing here is trusted because it was parsed. [`crate::trust`] and [`crate::chain`] decide, with
//! webpki over the same bytes.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::key::{KeyError, VerifyingKey, sha256};

mod revocation;
pub use revocation::{MAX_REVOCATION_LIST_BYTES, RevocationList};

/// The largest certificate that is read, in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// The smallest RSA modulus that is accepted, in bits (NIST SP 800-131A revision 2, section 3).
pub const MIN_RSA_BITS: usize = 2048;

/// Why a certificate or a revocation list cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum X509Error {
    /// The bytes are not one DER certificate.
    #[error("not an X.509 certificate in DER: {reason}")]
    NotACertificate {
        /// What the parser met.
        reason: String,
    },
    /// The bytes are not one DER revocation list.
    #[error("not an X.509 revocation list that can be used: {reason}")]
    NotARevocationList {
        /// What the parser met.
        reason: String,
    },
    /// The text around the PEM armour is broken.
    #[error("not PEM: {reason}")]
    NotPem {
        /// What the parser met.
        reason: String,
    },
    /// The file has no certificate.
    #[error("no certificate found; expected `-----BEGIN CERTIFICATE-----`{}", pkcs7_hint(*.pkcs7))]
    NoCertificate {
        /// Whether it holds a PKCS #7 bundle instead.
        pkcs7: bool,
    },
    /// A private key where only certificates belong.
    #[error("a private key is among the certificates; keep it out of files that leave the site")]
    PrivateKey,
    /// Larger than any certificate or list that we read.
    #[error("{bytes} bytes are more than the limit of {limit}")]
    TooLarge {
        /// What was given.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A name, a date or an extension of the certificate has no meaning.
    #[error("certificate `{subject}` has an unusable {what}")]
    Unusable {
        /// The certificate's subject.
        subject: String,
        /// Which part.
        what: &'static str,
    },
}

fn pkcs7_hint(pkcs7: bool) -> &'static str {
    if pkcs7 { " (this is PKCS #7; convert it with `openssl pkcs7 -print_certs`)" } else { "" }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To answer TLS connections: `id-kp-serverAuth` (RFC 5280 section 4.2.1.12).
    Server,
    /// To open TLS connections: `id-kp-clientAuth`.
    Client,
    /// To sign documents: `id-kp-documentSigning` (RFC 9336), or no extended key usage at all.
    Signing,
}

impl fmt::Display for Purpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Server => "server authentication",
            Self::Client => "client authentication",
            Self::Signing => "document signing",
        })
    }
}

/// The facts of one X.509 certificate, with its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    subject: String,
    issuer: String,
    subject_der: Vec<u8>,
    issuer_der: Vec<u8>,
    serial: Vec<u8>,
    spki_der: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    uris: Vec<String>,
    dns_names: Vec<String>,
    addresses: Vec<IpAddr>,
    is_ca: bool,
    extended_key_usage: Option<ExtendedKeyUsage>,
    may_sign: bool,
    may_sign_lists: bool,
    weakness: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct ExtendedKeyUsage {
    server: bool,
    client: bool,
    document_signing: bool,
}

impl Certificate {
    /// Parses one certificate in DER, with nothing after it.
    ///
    /// # Errors
    /// When any part that we rely on is malformed, doubled or has no meaning.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(X509Error::TooLarge { bytes: der.len(), limit: MAX_CERTIFICATE_BYTES });
        }
        let (rest, parsed) = X509Certificate::from_der(der)
            .map_err(|error| X509Error::NotACertificate { reason: error.to_string() })?;
        if !rest.is_empty() {
            return Err(X509Error::NotACertificate { reason: "bytes follow it".to_owned() });
        }
        let subject = printable(&parsed.subject().to_string());
        let unusable = |what| X509Error::Unusable { subject: subject.clone(), what };
        let (uris, dns_names, addresses) = alternative_names(&parsed, &unusable)?;
        let key_usage = parsed.key_usage().map_err(|_| unusable("key usage"))?;
        let extended_key_usage = parsed
            .extended_key_usage()
            .map_err(|_| unusable("extended key usage"))?
            .map(|extension| ExtendedKeyUsage {
                server: extension.value.server_auth,
                client: extension.value.client_auth,
                document_signing: extension
                    .value
                    .other
                    .iter()
                    .any(|oid| oid.to_id_string() == "1.3.6.1.5.5.7.3.36"),
            });
        let timestamp = |seconds| Timestamp::from_second(seconds).map_err(|_| unusable("validity"));
        Ok(Self {
            der: CertificateDer::from(der.to_vec()),
            issuer: printable(&parsed.issuer().to_string()),
            subject_der: parsed.subject().as_raw().to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            serial: parsed.raw_serial().to_vec(),
            spki_der: parsed.public_key().raw.to_vec(),
            not_before: timestamp(parsed.validity().not_before.timestamp())?,
            not_after: timestamp(parsed.validity().not_after.timestamp())?,
            uris,
            dns_names,
            addresses,
            is_ca: parsed
                .basic_constraints()
                .map_err(|_| unusable("basic constraints"))?
                .is_some_and(|extension| extension.value.ca),
            extended_key_usage,
            may_sign: key_usage.as_ref().is_none_or(|usage| usage.value.digital_signature()),
            // RFC 5280 lets an absent key usage mean every use; a list's issuer must say it.
            may_sign_lists: key_usage.as_ref().is_some_and(|usage| usage.value.crl_sign()),
            weakness: weakness(parsed.public_key()),
            subject,
        })
    }

    /// Parses every certificate of a PEM text, or one DER certificate.
    ///
    /// # Errors
    /// When there is none, one is malformed, or a private key is among them.
    pub fn bundle(bytes: &[u8]) -> Result<Vec<Self>, X509Error> {
        if bytes.first() == Some(&0x30) {
            return Ok(vec![Self::from_der(bytes)?]);
        }
        let mut certificates = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
            match section.map_err(|error| X509Error::NotPem { reason: error.to_string() })? {
                (SectionKind::Certificate, der) => certificates.push(Self::from_der(&der)?),
                (
                    SectionKind::PrivateKey
                    | SectionKind::RsaPrivateKey
                    | SectionKind::EcPrivateKey,
                    _,
                ) => return Err(X509Error::PrivateKey),
                _ => {}
            }
        }
        if certificates.is_empty() {
            let pkcs7 = bytes.windows(11).any(|window| window == b"BEGIN PKCS7");
            return Err(X509Error::NoCertificate { pkcs7 });
        }
        Ok(certificates)
    }

    /// The certificate in PEM (RFC 7468 section 5).
    #[must_use]
    pub fn to_pem(&self) -> String {
        let encoded = STANDARD.encode(&self.der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in encoded.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// The certificate's bytes.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The subject, for people: escaped, at most 200 characters, never compared.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The issuer, for people: escaped, at most 200 characters, never compared.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The URIs of the subject alternative name, byte for byte.
    #[must_use]
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// The DNS names of the subject alternative name, in lower case.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// The IP addresses of the subject alternative name.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The first instant at which it is valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last instant at which it is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether the basic constraints make it an authority.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Whether it says that it may be used for `purpose`. For TLS the extended key usage must be present
    /// and name the purpose itself (webpki accepts an absent one); `anyExtendedKeyUsage` is not enough.
    #[must_use]
    pub fn allows(&self, purpose: Purpose) -> bool {
        self.may_sign
            && match (purpose, self.extended_key_usage) {
                (Purpose::Server, Some(usage)) => usage.server,
                (Purpose::Client, Some(usage)) => usage.client,
                (Purpose::Signing, usage) => usage.is_none_or(|usage| usage.document_signing),
                (Purpose::Server | Purpose::Client, None) => false,
            }
    }

    /// What makes its key too weak to be accepted, if anything.
    #[must_use]
    pub fn weakness(&self) -> Option<&str> {
        self.weakness.as_deref()
    }

    /// Whether its own key usage names `cRLSign` (RFC 5280 section 4.2.1.3).
    #[must_use]
    pub fn may_sign_lists(&self) -> bool {
        self.may_sign_lists
    }

    /// SHA-256 of the certificate's bytes: `x5t#S256` of RFC 7515 section 4.1.8.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    /// The SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what a pin names (RFC 7469 section 2.4).
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki_der)
    }

    /// The key of a signing certificate.
    ///
    /// # Errors
    /// When it is not of an algorithm that we verify signatures with.
    pub fn verifying_key(&self) -> Result<VerifyingKey, KeyError> {
        VerifyingKey::from_spki_der(&self.spki_der)
    }

    /// Whether `issuer` is, by its name, who issued this certificate.
    pub(crate) fn names_issuer(&self, issuer: &Self) -> bool {
        self.issuer_der == issuer.subject_der
    }

    /// Whether the certificate names itself as its issuer.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer_der == self.subject_der
    }

    /// Whether the instant lies between the dates, both included (RFC 5280 section 4.1.2.5).
    pub(crate) fn is_valid_at(&self, now: Timestamp) -> bool {
        // Certificates count whole seconds.
        self.not_before.as_second() <= now.as_second()
            && now.as_second() <= self.not_after.as_second()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Certificate({}, sha256 {})", self.subject, hex::encode(self.sha256()))
    }
}

type AlternativeNames = (Vec<String>, Vec<String>, Vec<IpAddr>);

fn alternative_names(
    parsed: &X509Certificate<'_>,
    unusable: &dyn Fn(&'static str) -> X509Error,
) -> Result<AlternativeNames, X509Error> {
    let (mut uris, mut dns_names, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
    let extension =
        parsed.subject_alternative_name().map_err(|_| unusable("subject alternative name"))?;
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::DNSName(name) => dns_names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => addresses.push(match bytes.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).map_err(|_| unusable("address"))?),
                16 => IpAddr::from(<[u8; 16]>::try_from(*bytes).map_err(|_| unusable("address"))?),
                _ => return Err(unusable("address in its subject alternative name")),
            }),
            GeneralName::Invalid(..) => return Err(unusable("subject alternative name")),
            _ => {}
        }
    }
    Ok((uris, dns_names, addresses))
}

fn weakness(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let significant = rsa.modulus.iter().skip_while(|byte| **byte == 0).count();
            let bits = significant * 8;
            (bits < MIN_RSA_BITS).then(|| {
                format!("its RSA key has {bits} bits and at least {MIN_RSA_BITS} are required")
            })
        }
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
            match curve {
                Some(oid) if [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521].contains(&oid) => {
                    None
                }
                Some(oid) => Some(format!(
                    "its key is on the elliptic curve {} and only P-256, P-384 and P-521 are accepted",
                    oid.to_id_string()
                )),
                None => Some("its elliptic curve has no name".to_owned()),
            }
        }
        _ if key.algorithm.algorithm == OID_SIG_ED25519 => {
            match VerifyingKey::from_spki_der(key.raw) {
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            }
        }
        _ => Some(format!(
            "its key algorithm {} is not accepted; use RSA, ECDSA or Ed25519",
            key.algorithm.algorithm.to_id_string()
        )),
    }
}

/// Text of strangers made fit for one line of a log: escaped and at most 200 characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

/// The whole seconds of an instant, as webpki and rustls count time; before 1970 is 1970.
pub(crate) fn unix_time(instant: Timestamp) -> UnixTime {
    let seconds = u64::try_from(instant.as_second()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;

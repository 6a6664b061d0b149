//! Certificate revocation lists (RFC 5280 section 5).

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{Certificate, X509Error, printable};

/// The largest revocation list that is read, in bytes: some two hundred thousand entries.
pub const MAX_REVOCATION_LIST_BYTES: usize = 8 * 1024 * 1024;

/// One revocation list, complete (no delta list), parsed and kept with its bytes.
pub struct RevocationList {
    der: Vec<u8>,
    issuer: String,
    issuer_der: Vec<u8>,
    this_update: Timestamp,
    next_update: Timestamp,
    list: CertRevocationList<'static>,
}

impl RevocationList {
    /// Parses every list of a PEM text, or one DER list.
    ///
    /// # Errors
    /// When there is none, or one is malformed, a delta list, or without `nextUpdate`.
    pub fn bundle(bytes: &[u8]) -> Result<Vec<Self>, X509Error> {
        if bytes.len() > MAX_REVOCATION_LIST_BYTES {
            let limit = MAX_REVOCATION_LIST_BYTES;
            return Err(X509Error::TooLarge { bytes: bytes.len(), limit });
        }
        if bytes.first() == Some(&0x30) {
            return Ok(vec![Self::from_der(bytes)?]);
        }
        let mut lists = Vec::new();
        for section in CertificateRevocationListDer::pem_slice_iter(bytes) {
            let der = section.map_err(|error| X509Error::NotPem { reason: error.to_string() })?;
            lists.push(Self::from_der(&der)?);
        }
        if lists.is_empty() {
            let reason = "no `-----BEGIN X509 CRL-----` found".to_owned();
            return Err(X509Error::NotARevocationList { reason });
        }
        Ok(lists)
    }

    /// Parses one list in DER.
    ///
    /// # Errors
    /// When it is malformed, a delta list, or without `nextUpdate`.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        let unusable = |reason: String| X509Error::NotARevocationList { reason };
        let list = OwnedCertRevocationList::from_der(der)
            .map_err(|error| unusable(format!("{error:?}")))?;
        let (_, parsed) = CertificateRevocationList::from_der(der)
            .map_err(|error| unusable(error.to_string()))?;
        let next_update = parsed.next_update().ok_or_else(|| {
            unusable("it has no nextUpdate, so its age cannot be judged".to_owned())
        })?;
        let timestamp = |seconds| {
            Timestamp::from_second(seconds)
                .map_err(|_| unusable("its dates are unusable".to_owned()))
        };
        Ok(Self {
            der: der.to_vec(),
            issuer: printable(&parsed.issuer().to_string()),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            this_update: timestamp(parsed.last_update().timestamp())?,
            next_update: timestamp(next_update.timestamp())?,
            list: CertRevocationList::Owned(list),
        })
    }

    /// Who issued the list, for people.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// When the list was made.
    #[must_use]
    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// When the next one is due; from then on nothing is accepted by this one.
    #[must_use]
    pub fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// The last second for which the list is current: the one before [`Self::next_update`].
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.next_update.checked_sub(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MIN)
    }

    /// The list's bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn webpki(&self) -> &CertRevocationList<'static> {
        &self.list
    }

    pub(crate) fn names_issuer(&self, issuer: &Certificate) -> bool {
        self.issuer_der == issuer.subject_der
    }

    pub(crate) fn has_issuer_of(&self, certificate: &Certificate) -> bool {
        self.issuer_der == certificate.issuer_der
    }

    /// Whether the list's signature is by this certificate's key.
    pub(crate) fn is_signed_by(&self, issuer: &Certificate) -> bool {
        let Ok((_, parsed)) = CertificateRevocationList::from_der(&self.der) else { return false };
        let Ok((_, key)) = SubjectPublicKeyInfo::from_der(&issuer.spki_der) else { return false };
        parsed.verify_signature(&key).is_ok()
    }

    /// Whether the list names the certificate's serial number. The caller checked who issued both.
    pub(crate) fn names(&self, certificate: &Certificate) -> bool {
        // A list that cannot be searched revokes what it might have named.
        self.list.find_serial(&certificate.serial).map_or(true, |entry| entry.is_some())
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RevocationList({}, next {})", self.issuer, self.next_update)
    }
}

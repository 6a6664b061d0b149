//! Certification paths: the one place where webpki is asked (RFC 5280 section 6).

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use webpki::{
    EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy, VerifiedPath,
};

use crate::x509::{Certificate, Purpose, RevocationList, X509Error, unix_time};

/// The most certificates a peer or a file may present in one chain, the leaf included.
pub const MAX_CHAIN: usize = 8;

/// Why no path leads from a certificate to an anchor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// A certificate of the chain could not be read.
    #[error(transparent)]
    X509(#[from] X509Error),
    /// There is no certificate.
    #[error("the chain is empty")]
    Empty,
    /// More certificates than [`MAX_CHAIN`].
    #[error("the chain has {length} certificates and at most {MAX_CHAIN} are read")]
    TooLong {
        /// How many were presented.
        length: usize,
    },
    /// The certificate's time has not come.
    #[error("certificate `{subject}` is valid from {not_before} only")]
    NotYetValid {
        /// Whose certificate.
        subject: String,
        /// When it begins.
        not_before: Timestamp,
    },
    /// The certificate's time is over.
    #[error("certificate `{subject}` expired at {not_after}; install a new one")]
    Expired {
        /// Whose certificate.
        subject: String,
        /// When it ended.
        not_after: Timestamp,
    },
    /// The extended key usage is absent or names something else.
    #[error("certificate `{subject}` does not say that it is for {required} (extended key usage)")]
    WrongPurpose {
        /// Whose certificate.
        subject: String,
        /// What was needed.
        required: Purpose,
    },
    /// The key is too weak.
    #[error("certificate `{subject}` is too weak: {weakness}")]
    Weak {
        /// Whose certificate.
        subject: String,
        /// What is weak.
        weakness: String,
    },
    /// An authority's certificate where a leaf belongs.
    #[error("certificate `{subject}` is an authority's and cannot stand for a participant")]
    AuthorityAsLeaf {
        /// Whose certificate.
        subject: String,
    },
    /// No anchor issued it.
    #[error(
        "certificate `{subject}`, issued by `{issuer}`, leads to none of the registered anchors"
    )]
    UnknownIssuer {
        /// Whose certificate.
        subject: String,
        /// Who issued it.
        issuer: String,
    },
    /// A revocation list names it, or an authority above it.
    #[error("certificate `{subject}` or its issuer is revoked")]
    Revoked {
        /// Whose certificate.
        subject: String,
    },
    /// No list covers it although its anchors have lists.
    #[error(
        "no revocation list covers certificate `{subject}` or one above it; register the list of every \
         authority of the chain"
    )]
    UnknownStatus {
        /// Whose certificate.
        subject: String,
    },
    /// The list that covers it is out of date.
    #[error(
        "the revocation list for certificate `{subject}` was due at {next_update}; fetch a new one"
    )]
    ExpiredList {
        /// Whose certificate.
        subject: String,
        /// When the next list was due.
        next_update: Timestamp,
    },
    /// Anything else that RFC 5280 forbids.
    #[error("certificate `{subject}` is refused: {reason}")]
    Refused {
        /// Whose certificate.
        subject: String,
        /// What webpki says.
        reason: String,
    },
}

/// What a leaf is judged by: anchors, the authorities known below them, and revocation lists.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    pub(crate) anchors: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    lists: Vec<RevocationList>,
}

/// A path that was found.
#[derive(Debug)]
pub(crate) struct Path {
    /// The last second at which it surely holds: the earliest end of a certificate or list of it.
    pub(crate) valid_until: Timestamp,
    /// The authorities between the leaf and the anchor, the leaf's issuer first.
    pub(crate) intermediates: Vec<Certificate>,
    /// The anchor at its end.
    pub(crate) anchor: Certificate,
}

impl Authorities {
    /// Sorts authorities' certificates: one issued by another of them is not an anchor but helps to
    /// build paths, so that its own revocation is checked.
    pub(crate) fn new(certificates: Vec<Certificate>) -> Self {
        let is_below = |certificate: &Certificate| {
            !certificate.is_self_issued()
                && certificates.iter().any(|other| certificate.names_issuer(other))
        };
        let (intermediates, anchors) =
            certificates.clone().into_iter().partition(|certificate| is_below(certificate));
        Self { anchors, intermediates, lists: Vec::new() }
    }

    /// Every authority: anchors first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Certificate> {
        self.anchors.iter().chain(&self.intermediates)
    }

    /// Adds a list. The caller checked its signature. Of two lists for the same scope the newer decides.
    pub(crate) fn add_list(&mut self, list: RevocationList) {
        self.lists.push(list);
        self.lists.sort_by_key(|list| std::cmp::Reverse(list.this_update()));
    }

    /// The lists, newest first.
    pub(crate) fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// Finds a path for `leaf`. With lists, every certificate below the anchor must be covered by one
    /// that is current; without, revocation is not checked.
    pub(crate) fn verify(
        &self,
        leaf: &Certificate,
        presented: &[Certificate],
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Path, PathError> {
        check_leaf(leaf, purpose, now)?;
        let unknown_issuer = || PathError::UnknownIssuer {
            subject: leaf.subject().to_owned(),
            issuer: leaf.issuer().to_owned(),
        };
        // webpki does not look at an anchor's dates, and at no key's size.
        let anchors: Vec<_> = self
            .anchors
            .iter()
            .filter(|anchor| anchor.is_valid_at(now))
            .filter_map(|anchor| webpki::anchor_from_trusted_cert(anchor.der()).ok())
            .collect();
        let intermediates: Vec<CertificateDer<'_>> = presented
            .iter()
            .chain(&self.intermediates)
            .filter(|certificate| certificate.weakness().is_none())
            .map(|certificate| certificate.der().clone())
            .collect();
        let lists: Vec<_> = self.lists.iter().map(RevocationList::webpki).collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let end_entity = EndEntityCert::try_from(leaf.der())
            .map_err(|error| translate(leaf, purpose, &error))?;
        let path = end_entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &intermediates,
                unix_time(now),
                Usage(purpose),
                revocation,
                None,
            )
            .map_err(|error| translate(leaf, purpose, &error))?;
        self.summary(leaf, &path).ok_or_else(unknown_issuer)
    }

    fn summary(&self, leaf: &Certificate, path: &VerifiedPath<'_>) -> Option<Path> {
        let anchor = self.anchors.iter().find(|anchor| {
            webpki::anchor_from_trusted_cert(anchor.der()).is_ok_and(|trusted| {
                trusted.subject == path.anchor().subject
                    && trusted.subject_public_key_info == path.anchor().subject_public_key_info
            })
        })?;
        let intermediates = path
            .intermediate_certificates()
            .map(|intermediate| Certificate::from_der(&intermediate.der()).ok())
            .collect::<Option<Vec<_>>>()?;
        let members = || [leaf].into_iter().chain(&intermediates);
        let lists = self.lists.iter().filter(|list| members().any(|one| list.has_issuer_of(one)));
        let valid_until = members()
            .chain([anchor])
            .map(Certificate::not_after)
            .chain(lists.map(RevocationList::valid_until))
            .min()?;
        Some(Path { valid_until, intermediates, anchor: anchor.clone() })
    }
}

/// What holds for every leaf, whoever issued it: its dates, the strength of its key and its purpose.
pub(crate) fn check_leaf(
    leaf: &Certificate,
    purpose: Purpose,
    now: Timestamp,
) -> Result<(), PathError> {
    let subject = || leaf.subject().to_owned();
    check_strength(leaf)?;
    if now.as_second() < leaf.not_before().as_second() {
        return Err(PathError::NotYetValid { subject: subject(), not_before: leaf.not_before() });
    }
    if !leaf.is_valid_at(now) {
        return Err(PathError::Expired { subject: subject(), not_after: leaf.not_after() });
    }
    if leaf.is_ca() {
        return Err(PathError::AuthorityAsLeaf { subject: subject() });
    }
    if !leaf.allows(purpose) {
        return Err(PathError::WrongPurpose { subject: subject(), required: purpose });
    }
    Ok(())
}

/// Refuses a weak key.
pub(crate) fn check_strength(certificate: &Certificate) -> Result<(), PathError> {
    match certificate.weakness() {
        None => Ok(()),
        Some(weakness) => Err(PathError::Weak {
            subject: certificate.subject().to_owned(),
            weakness: weakness.to_owned(),
        }),
    }
}

/// Reads a presented chain: the leaf, and what follows it.
pub(crate) fn parse_chain(
    chain: &[CertificateDer<'_>],
) -> Result<(Certificate, Vec<Certificate>), PathError> {
    if chain.len() > MAX_CHAIN {
        return Err(PathError::TooLong { length: chain.len() });
    }
    let (leaf, rest) = chain.split_first().ok_or(PathError::Empty)?;
    let leaf = Certificate::from_der(leaf)?;
    let rest = rest.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
    Ok((leaf, rest))
}

struct Usage(Purpose);

impl ExtendedKeyUsageValidator for Usage {
    /// Called for each certificate of a path. The leaf's own usage was checked by `check_leaf`; an
    /// authority without the extension is not restricted (RFC 5280 section 4.2.1.12).
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        const DOCUMENT_SIGNING: KeyUsage =
            KeyUsage::required_if_present(&[0x2b, 6, 1, 5, 5, 7, 3, 36]);
        match self.0 {
            Purpose::Server => KeyUsage::server_auth().validate(iter),
            Purpose::Client => KeyUsage::client_auth().validate(iter),
            Purpose::Signing => DOCUMENT_SIGNING.validate(iter),
        }
    }
}

fn translate(leaf: &Certificate, purpose: Purpose, error: &webpki::Error) -> PathError {
    let subject = leaf.subject().to_owned();
    let instant = |time: &rustls_pki_types::UnixTime| {
        i64::try_from(time.as_secs())
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .unwrap_or(Timestamp::MAX)
    };
    match error {
        webpki::Error::CertExpired { not_after, .. } => {
            PathError::Expired { subject, not_after: instant(not_after) }
        }
        webpki::Error::CertNotValidYet { not_before, .. } => {
            PathError::NotYetValid { subject, not_before: instant(not_before) }
        }
        webpki::Error::CertRevoked => PathError::Revoked { subject },
        webpki::Error::UnknownRevocationStatus => PathError::UnknownStatus { subject },
        webpki::Error::CrlExpired { next_update, .. } => {
            PathError::ExpiredList { subject, next_update: instant(next_update) }
        }
        webpki::Error::CaUsedAsEndEntity => PathError::AuthorityAsLeaf { subject },
        webpki::Error::UnknownIssuer => {
            PathError::UnknownIssuer { subject, issuer: leaf.issuer().to_owned() }
        }
        webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { .. }) => {
            PathError::WrongPurpose { subject, required: purpose }
        }
        other => PathError::Refused { subject, reason: format!("{other:?}") },
    }
}

#[cfg(test)]
mod tests;

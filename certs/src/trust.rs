//! Which registered partner a certificate stands for, and whether it is good.
//!
//! A leaf *selects*: its alternative names and its key's pin must point to exactly one registered
//! partner. That partner's own anchors and revocation lists then *judge* it; nobody else's take part. So
//! one partner's authority can mint any name it likes and never speaks for another partner.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::path::{PathError, check_leaf, parse_chain};
use crate::x509::{Certificate, Purpose, printable};

mod partner;
pub use partner::{PartnerMaterial, PartnerTrust, PartnerTrustError};

/// Why a certificate is not accepted as a partner's.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustError {
    /// No registered partner has one of its names or its key.
    #[error(
        "certificate `{subject}` (names {names}, key pin {pin}) belongs to no registered partner; to accept \
         it, register one of the names or the pin"
    )]
    Unregistered {
        /// The certificate's subject.
        subject: String,
        /// Its alternative names, as one line.
        names: String,
        /// SHA-256 of its public key, hexadecimal.
        pin: String,
    },
    /// Its names and its key point to several partners.
    #[error("certificate `{subject}` names several registered partners: {}", participants.join(", "))]
    Ambiguous {
        /// The certificate's subject.
        subject: String,
        /// Whom it names.
        participants: Vec<String>,
    },
    /// We dialled one partner and another answered.
    #[error("`{found}` answered where `{expected}` was dialled; check the endpoint's address")]
    OtherPartner {
        /// Whom we dialled.
        expected: String,
        /// Who answered.
        found: String,
    },
    /// The partner has neither an anchor for this direction nor a pin of this key.
    #[error(
        "partner `{participant}` has no anchor for {purpose} and no pin of the presented key; register one"
    )]
    NoAnchor {
        /// The selected partner.
        participant: String,
        /// The direction.
        purpose: Purpose,
    },
    /// The selected partner's anchors, lists or the certificate itself refuse it.
    #[error("the certificate presented for partner `{participant}` is refused: {reason}")]
    Refused {
        /// The selected partner.
        participant: String,
        /// Why.
        reason: Arc<PathError>,
    },
    /// The chain cannot be read, so it selects nobody.
    #[error("the presented chain cannot be read: {reason}")]
    Unreadable {
        /// Why.
        reason: Arc<PathError>,
    },
}

impl TrustError {
    /// Finds the reason in the error of a TLS handshake. The other side learns nothing of it but the
    /// alert `certificate_unknown`.
    #[must_use]
    pub fn in_handshake<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            let inner = error
                .downcast_ref::<std::io::Error>()
                .and_then(|io| io.get_ref())
                .and_then(|inner| inner.downcast_ref::<rustls::Error>())
                .or_else(|| error.downcast_ref::<rustls::Error>());
            if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) =
                inner
            {
                return other.0.downcast_ref::<Self>();
            }
            next = error.source();
        }
        None
    }
}

/// A certificate that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The one partner it stands for.
    pub participant: Arc<str>,
    /// The last second for which this answer holds: the earliest end of a certificate of the path or of
    /// a revocation list that covers it.
    pub valid_until: Timestamp,
    /// SHA-256 of the leaf (`x5t#S256`).
    pub leaf_sha256: [u8; 32],
    /// What the node is called: the leaf's alternative names (URIs, and DNS names in lower case), where an anchor vouches
    /// for them, and its key's SHA-256 as pins are written. A pinned certificate names itself, so only its key counts.
    pub node: Arc<BTreeSet<String>>,
    /// The [`TrustStore::generation`] that answered. With another one the question must be put again.
    pub generation: u64,
}

/// Why a set of partners is contradictory.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustStoreError {
    /// The same participant twice.
    #[error("participant `{participant}` is registered twice")]
    DuplicateParticipant {
        /// Which.
        participant: String,
    },
    /// A name or pin that two partners claim would select neither.
    #[error(
        "{selector} is registered for both `{first}` and `{second}`; it can belong to one only"
    )]
    SharedSelector {
        /// The URI, DNS name or pin, with its kind.
        selector: String,
        /// One owner.
        first: String,
        /// The other.
        second: String,
    },
}

/// What a leaf can select by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Selector {
    Uri(String),
    DnsName(String),
    Pin([u8; 32]),
}

impl Selector {
    fn describe(&self) -> String {
        match self {
            Self::Uri(uri) => format!("URI `{uri}`"),
            Self::DnsName(name) => format!("DNS name `{name}`"),
            Self::Pin(pin) => format!("pin `{}`", hex::encode(pin)),
        }
    }
}

/// All partners at one moment; immutable. See [`SharedTrust`] for how it is replaced.
#[derive(Debug)]
pub struct TrustStore {
    generation: u64,
    partners: Vec<PartnerTrust>,
    selectors: HashMap<Selector, usize>,
    participants: HashMap<Arc<str>, usize>,
}

impl TrustStore {
    /// Puts verified partners together. `generation` tells this snapshot from every other one.
    ///
    /// # Errors
    /// When a participant, name or pin is registered twice.
    pub fn new(generation: u64, partners: Vec<PartnerTrust>) -> Result<Self, TrustStoreError> {
        let mut selectors = HashMap::new();
        let mut participants = HashMap::new();
        for (index, partner) in partners.iter().enumerate() {
            let participant = partner.participant();
            if participants.insert(Arc::clone(participant), index).is_some() {
                let participant = participant.to_string();
                return Err(TrustStoreError::DuplicateParticipant { participant });
            }
            for selector in partner.selectors() {
                if let Some(other) = selectors.insert(selector.clone(), index)
                    && other != index
                {
                    let first = partners.get(other).map_or("", |partner| partner.participant());
                    return Err(TrustStoreError::SharedSelector {
                        selector: selector.describe(),
                        first: first.to_owned(),
                        second: participant.to_string(),
                    });
                }
            }
        }
        Ok(Self { generation, partners, selectors, participants })
    }

    /// A store without partners: it accepts nobody.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            generation: 0,
            partners: Vec::new(),
            selectors: HashMap::new(),
            participants: HashMap::new(),
        }
    }

    /// The number of this snapshot.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A registered partner by its participant id.
    #[must_use]
    pub fn partner(&self, participant: &str) -> Option<&PartnerTrust> {
        self.participants.get(participant).and_then(|index| self.partners.get(*index))
    }

    /// All registered partners.
    #[must_use]
    pub fn partners(&self) -> &[PartnerTrust] {
        &self.partners
    }

    /// The one partner that a leaf points to by its alternative names or its key. Says nothing about
    /// whether the leaf is good.
    ///
    /// # Errors
    /// When it points to none, or to several.
    pub fn select(&self, leaf: &Certificate) -> Result<&PartnerTrust, TrustError> {
        let uris = leaf.uris().iter().cloned().map(Selector::Uri);
        let dns_names = leaf.dns_names().iter().cloned().map(Selector::DnsName);
        let found: BTreeSet<usize> = uris
            .chain(dns_names)
            .chain([Selector::Pin(leaf.spki_sha256())])
            .filter_map(|selector| self.selectors.get(&selector).copied())
            .collect();
        let mut partners = found.iter().filter_map(|index| self.partners.get(*index));
        match (partners.next(), partners.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(TrustError::Unregistered {
                subject: leaf.subject().to_owned(),
                names: names_of(leaf),
                pin: hex::encode(leaf.spki_sha256()),
            }),
            (Some(_), Some(_)) => Err(TrustError::Ambiguous {
                subject: leaf.subject().to_owned(),
                participants: found
                    .iter()
                    .filter_map(|index| self.partners.get(*index))
                    .map(|partner| partner.participant().to_string())
                    .collect(),
            }),
        }
    }

    /// Judges the chain (leaf first) of somebody who connected to us.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn check_client(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Checked, TrustError> {
        self.check(chain, Purpose::Client, None, now)
    }

    /// Judges the chain (leaf first) of whom we dialled, who must be the participant `expected`.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn check_server(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
        expected: &str,
    ) -> Result<Checked, TrustError> {
        self.check(chain, Purpose::Server, Some(expected), now)
    }

    fn check(
        &self,
        chain: &[CertificateDer<'_>],
        purpose: Purpose,
        expected: Option<&str>,
        now: Timestamp,
    ) -> Result<Checked, TrustError> {
        let (leaf, presented) = parse_chain(chain)
            .map_err(|reason| TrustError::Unreadable { reason: Arc::new(reason) })?;
        let partner = self.select(&leaf)?;
        let participant = Arc::clone(partner.participant());
        if let Some(expected) = expected.filter(|expected| **expected != *participant) {
            return Err(TrustError::OtherPartner {
                expected: expected.to_owned(),
                found: participant.to_string(),
            });
        }
        let refused = |reason| TrustError::Refused {
            participant: participant.to_string(),
            reason: Arc::new(reason),
        };
        let authorities = partner.authorities(purpose);
        let pinned = partner.has_pin(&leaf.spki_sha256());
        let valid_until = if pinned {
            // A pin replaces the anchors; dates, strength, purpose and a known revocation still count.
            check_leaf(&leaf, purpose, now).map_err(refused)?;
            if partner.lists_as_revoked(&leaf) {
                return Err(refused(PathError::Revoked { subject: leaf.subject().to_owned() }));
            }
            leaf.not_after()
        } else if authorities.anchors.is_empty() {
            return Err(TrustError::NoAnchor { participant: participant.to_string(), purpose });
        } else {
            authorities.verify(&leaf, &presented, purpose, now).map_err(refused)?.valid_until
        };
        let leaf_sha256 = leaf.sha256();
        let mut node = BTreeSet::from([hex::encode(leaf.spki_sha256())]);
        if !pinned {
            node.extend(leaf.uris().iter().chain(leaf.dns_names()).cloned());
        }
        let node = Arc::new(node);
        Ok(Checked { participant, valid_until, leaf_sha256, node, generation: self.generation })
    }
}

fn names_of(leaf: &Certificate) -> String {
    let names: Vec<_> = leaf
        .uris()
        .iter()
        .chain(leaf.dns_names())
        .take(8)
        .map(|name| format!("`{}`", printable(name)))
        .collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The trust that handshakes read, replaced as a whole while they run. Clones share it.
#[derive(Clone, Debug)]
pub struct SharedTrust(Arc<RwLock<Arc<TrustStore>>>);

impl SharedTrust {
    /// Starts with a store.
    #[must_use]
    pub fn new(store: TrustStore) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(store))))
    }

    /// The store of this moment. It stays as it is for whoever holds it.
    #[must_use]
    pub fn load(&self) -> Arc<TrustStore> {
        // A poisoned lock still holds a whole store: the only write replaces the pointer.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the store for every handshake and check that begins after this returns.
    pub fn replace(&self, store: TrustStore) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(store);
    }
}

#[cfg(test)]
mod tests;

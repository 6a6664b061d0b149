//! One partner's material: read from its file, verified before it may judge anybody.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::Selector;
use crate::path::Authorities;
use crate::x509::{Certificate, Purpose, RevocationList, X509Error, printable};

/// What an operator registered for a partner, unverified.
#[derive(Clone, Debug, Default)]
pub struct PartnerMaterial {
    /// The participant id.
    pub participant: String,
    /// URIs that its leaves carry in their subject alternative name; compared byte for byte.
    pub san_uris: Vec<String>,
    /// DNS names that its leaves carry; compared without regard to case, never as wildcards.
    pub san_dns: Vec<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of keys that need no anchor.
    pub pins: Vec<[u8; 32]>,
    /// Certificates (PEM or DER) of the authorities of its server certificates.
    pub server_anchors: Vec<Vec<u8>>,
    /// Certificates (PEM or DER) of the authorities of its client certificates.
    pub client_anchors: Vec<Vec<u8>>,
    /// Revocation lists (PEM or DER) of these authorities.
    pub crls: Vec<Vec<u8>>,
}

/// What is wrong with a partner's material.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartnerTrustError {
    /// Nothing that a leaf could select the partner by.
    #[error("partner `{participant}` has no name and no pin, so no certificate can stand for it")]
    NoSelector {
        /// The partner.
        participant: String,
    },
    /// Names but nothing to judge them by.
    #[error(
        "partner `{participant}` has neither an anchor nor a pin, so no certificate can be accepted"
    )]
    NothingToJudgeBy {
        /// The partner.
        participant: String,
    },
    /// A name that cannot be in a certificate, or that would match too much.
    #[error("`{name}` cannot be a certificate's {kind}: {reason}")]
    BadName {
        /// The name as given.
        name: String,
        /// URI or DNS name.
        kind: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file of certificates or lists cannot be read.
    #[error("the {what} of partner `{participant}` cannot be used: {reason}")]
    Unreadable {
        /// The partner.
        participant: String,
        /// Which material.
        what: &'static str,
        /// What is wrong with it.
        reason: X509Error,
    },
    /// A leaf where an authority belongs.
    #[error(
        "`{subject}` is among the anchors of partner `{participant}` but is no authority's certificate (basic \
         constraints); to accept a single certificate, register its pin {pin}"
    )]
    NotAnAuthority {
        /// The partner.
        participant: String,
        /// The certificate's subject.
        subject: String,
        /// SHA-256 of its key, hexadecimal.
        pin: String,
    },
    /// The anchor's key is too weak.
    #[error("anchor `{subject}` of partner `{participant}` is too weak: {weakness}")]
    WeakAnchor {
        /// The partner.
        participant: String,
        /// The anchor's subject.
        subject: String,
        /// What is weak.
        weakness: String,
    },
    /// webpki cannot use the anchor.
    #[error("anchor `{subject}` of partner `{participant}` cannot be used: {reason}")]
    AnchorRefused {
        /// The partner.
        participant: String,
        /// The anchor's subject.
        subject: String,
        /// What webpki says.
        reason: String,
    },
    /// Authorities that all name each other as issuer.
    #[error(
        "the certificates for {purpose} of partner `{participant}` hold no anchor: each was issued by another"
    )]
    NoAnchor {
        /// The partner.
        participant: String,
        /// The direction.
        purpose: Purpose,
    },
    /// Nobody among the partner's authorities issued the list.
    #[error(
        "the revocation list by `{issuer}` is by none of the authorities of partner `{participant}`; register \
         that authority's certificate, or remove the list"
    )]
    ForeignList {
        /// The partner.
        participant: String,
        /// Who issued the list.
        issuer: String,
    },
    /// The issuer may not sign lists.
    #[error(
        "`{issuer}` signed a revocation list for partner `{participant}`, but its certificate does not say \
         that it may (key usage `cRLSign`)"
    )]
    IssuerMayNotSignLists {
        /// The partner.
        participant: String,
        /// Who issued the list.
        issuer: String,
    },
    /// The signature of the list does not verify.
    #[error(
        "the revocation list by `{issuer}` for partner `{participant}` was changed or is by another key"
    )]
    ListSignature {
        /// The partner.
        participant: String,
        /// Who is said to have issued the list.
        issuer: String,
    },
}

/// One partner's verified material.
#[derive(Debug)]
pub struct PartnerTrust {
    participant: Arc<str>,
    selectors: Vec<Selector>,
    pins: BTreeSet<[u8; 32]>,
    server: Authorities,
    client: Authorities,
}

impl PartnerTrust {
    /// Verifies a partner's material. A revocation list whose successor is due is not an
    /// error here: it refuses every handshake until it is replaced, see [`Self::next_update`].
    ///
    /// # Errors
    /// What is wrong, with which certificate or list, and what to do.
    pub fn new(material: &PartnerMaterial) -> Result<Self, PartnerTrustError> {
        let participant: Arc<str> = Arc::from(material.participant.as_str());
        let owned = || participant.to_string();
        let mut selectors = Vec::new();
        for uri in &material.san_uris {
            selectors.push(Selector::Uri(check_uri(uri)?));
        }
        for name in &material.san_dns {
            selectors.push(Selector::DnsName(check_dns_name(name)?));
        }
        selectors.extend(material.pins.iter().copied().map(Selector::Pin));
        if selectors.is_empty() {
            return Err(PartnerTrustError::NoSelector { participant: owned() });
        }
        if material.pins.is_empty()
            && material.server_anchors.is_empty()
            && material.client_anchors.is_empty()
        {
            return Err(PartnerTrustError::NothingToJudgeBy { participant: owned() });
        }
        let mut partner = Self {
            server: authorities(&participant, Purpose::Server, &material.server_anchors)?,
            client: authorities(&participant, Purpose::Client, &material.client_anchors)?,
            pins: material.pins.iter().copied().collect(),
            selectors,
            participant: Arc::clone(&participant),
        };
        for bytes in &material.crls {
            for (server, client) in lists(&participant, bytes)? {
                partner.add_list(server, client)?;
            }
        }
        Ok(partner)
    }

    /// The participant id.
    #[must_use]
    pub fn participant(&self) -> &Arc<str> {
        &self.participant
    }

    /// The anchors and known intermediates for one direction.
    pub fn authority_certificates(&self, purpose: Purpose) -> impl Iterator<Item = &Certificate> {
        self.authorities(purpose).all()
    }

    /// The instant at which the first of its revocation lists is due, if it has any.
    #[must_use]
    pub fn next_update(&self) -> Option<Timestamp> {
        let lists = self.server.lists().iter().chain(self.client.lists());
        lists.map(RevocationList::next_update).min()
    }

    pub(super) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    pub(super) fn has_pin(&self, pin: &[u8; 32]) -> bool {
        self.pins.contains(pin)
    }

    pub(super) fn authorities(&self, purpose: Purpose) -> &Authorities {
        match purpose {
            Purpose::Server => &self.server,
            Purpose::Client | Purpose::Signing => &self.client,
        }
    }

    pub(super) fn lists_as_revoked(&self, leaf: &Certificate) -> bool {
        let mut lists = self.server.lists().iter().chain(self.client.lists());
        lists.any(|list| list.has_issuer_of(leaf) && list.names(leaf))
    }

    /// Gives a list to each direction that has its issuer, so that a direction without lists (a public
    /// authority's servers, say) is not held to have them.
    fn add_list(
        &mut self,
        server: RevocationList,
        client: RevocationList,
    ) -> Result<(), PartnerTrustError> {
        let (participant, issuer) = (self.participant.to_string(), server.issuer().to_owned());
        let for_server = check_list(&self.participant, &self.server, &server)?;
        let for_client = check_list(&self.participant, &self.client, &client)?;
        if !for_server && !for_client {
            return Err(PartnerTrustError::ForeignList { participant, issuer });
        }
        if for_server {
            self.server.add_list(server);
        }
        if for_client {
            self.client.add_list(client);
        }
        Ok(())
    }
}

/// The lists of one file, twice: webpki's parsed list cannot be cloned.
fn lists(
    participant: &str,
    bytes: &[u8],
) -> Result<Vec<(RevocationList, RevocationList)>, PartnerTrustError> {
    let unreadable = |reason| PartnerTrustError::Unreadable {
        participant: participant.to_owned(),
        what: "revocation lists",
        reason,
    };
    let once = RevocationList::bundle(bytes).map_err(unreadable)?;
    let twice = RevocationList::bundle(bytes).map_err(unreadable)?;
    Ok(once.into_iter().zip(twice).collect())
}

/// Whether the list is by one of these authorities; an error when it only claims to be.
fn check_list(
    participant: &str,
    authorities: &Authorities,
    list: &RevocationList,
) -> Result<bool, PartnerTrustError> {
    let issuers: Vec<_> = authorities.all().filter(|one| list.names_issuer(one)).collect();
    let issuer = list.issuer().to_owned();
    match issuers.iter().find(|one| list.is_signed_by(one)) {
        None if issuers.is_empty() => Ok(false),
        None => {
            Err(PartnerTrustError::ListSignature { participant: participant.to_owned(), issuer })
        }
        Some(signer) if !signer.may_sign_lists() => {
            let participant = participant.to_owned();
            Err(PartnerTrustError::IssuerMayNotSignLists { participant, issuer })
        }
        Some(_) => Ok(true),
    }
}

fn authorities(
    participant: &str,
    purpose: Purpose,
    files: &[Vec<u8>],
) -> Result<Authorities, PartnerTrustError> {
    let participant = participant.to_owned();
    let what = match purpose {
        Purpose::Server => "server anchors",
        Purpose::Client | Purpose::Signing => "client anchors",
    };
    let mut certificates: Vec<Certificate> = Vec::new();
    for bytes in files {
        for certificate in Certificate::bundle(bytes).map_err(|reason| {
            PartnerTrustError::Unreadable { participant: participant.clone(), what, reason }
        })? {
            check_authority(&participant, &certificate)?;
            if !certificates.contains(&certificate) {
                certificates.push(certificate);
            }
        }
    }
    let authorities = Authorities::new(certificates);
    if authorities.anchors.is_empty() && authorities.all().next().is_some() {
        return Err(PartnerTrustError::NoAnchor { participant, purpose });
    }
    Ok(authorities)
}

fn check_authority(participant: &str, certificate: &Certificate) -> Result<(), PartnerTrustError> {
    let (participant, subject) = (participant.to_owned(), certificate.subject().to_owned());
    if !certificate.is_ca() {
        let pin = hex::encode(certificate.spki_sha256());
        return Err(PartnerTrustError::NotAnAuthority { participant, subject, pin });
    }
    if let Some(weakness) = certificate.weakness() {
        let weakness = weakness.to_owned();
        return Err(PartnerTrustError::WeakAnchor { participant, subject, weakness });
    }
    // Dates are judged at each use: an authority that runs out must shut out its own partner, and nobody else.
    webpki::anchor_from_trusted_cert(certificate.der()).map_err(|error| {
        let reason = format!("{error:?}");
        PartnerTrustError::AnchorRefused { participant, subject, reason }
    })?;
    Ok(())
}

fn check_uri(uri: &str) -> Result<String, PartnerTrustError> {
    let bad = |reason| PartnerTrustError::BadName { name: printable(uri), kind: "URI", reason };
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    if scheme.is_empty() {
        return Err(bad("it has no scheme"));
    }
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad("it has characters that no URI has"));
    }
    Ok(uri.to_owned())
}

fn check_dns_name(name: &str) -> Result<String, PartnerTrustError> {
    let bad =
        |reason| PartnerTrustError::BadName { name: printable(name), kind: "DNS name", reason };
    if name.contains('*') {
        return Err(bad("a wildcard could stand for anybody"));
    }
    rustls_pki_types::DnsName::try_from(name)
        .map(|_| name.to_ascii_lowercase())
        .map_err(|_| bad("it is not a DNS name"))
}

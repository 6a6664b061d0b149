//! Partner cards: how two sites introduce themselves.
//!
//! A card is a JWS of type [`CARD_TYPE`], signed by the key whose certificate chain it carries. That it
//! opens proves only that it is whole. Whose it is, two people decide by comparing the
//! [`Fingerprint`] over another channel; after that, a newer number by the same key replaces it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::jose::{HeaderExtras, JoseError, Unverified, sign_compact};
use crate::key::VerifyingKey;
use crate::path::{Authorities, PathError};
use crate::pki::SitePki;
use crate::x509::{Certificate, Purpose, X509Error, printable};

/// The `typ` of a partner card.
pub const CARD_TYPE: &str = "sekisho-partner-card+jws";

const CARD_VERSION: u32 = 1;

/// The largest number of entries in any list of a card.
const MAX_ENTRIES: usize = 64;

/// Why a card cannot be made or is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The token around it is refused.
    #[error(transparent)]
    Jose(#[from] JoseError),
    /// A certificate inside cannot be used.
    #[error("the card's {what} cannot be used: {reason}")]
    Certificate {
        /// Which certificates.
        what: &'static str,
        /// What is wrong with them.
        reason: X509Error,
    },
    /// The card has no chain to be verified with.
    #[error("the card carries no certificate of the key that signed it (`x5c`)")]
    NoKey,
    /// The signing certificate is not good, or not for the participant that the card names.
    #[error("the card's signing certificate is refused: {reason}")]
    Signer {
        /// What is wrong.
        reason: PathError,
    },
    /// The certificate names somebody else.
    #[error(
        "the card is for participant `{participant}`, which its signing certificate does not name"
    )]
    WrongParticipant {
        /// The participant of the card.
        participant: String,
    },
    /// A form that this release does not know.
    #[error("the card has version {version}; this release reads version {CARD_VERSION}")]
    UnknownVersion {
        /// The version of the card.
        version: u32,
    },
    /// A member that makes no sense.
    #[error("the card's `{member}` is refused: {reason}")]
    BadMember {
        /// Which.
        member: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The card could not be written as JSON.
    #[error("the card cannot be written")]
    NotWritten(#[source] serde_json::Error),
}

/// The identifiers of an operator in the Ouranos Ecosystem (ODS).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OdsIdentifiers {
    /// The operator's identifier.
    pub operator_id: String,
    /// The operator's public identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_operator_id: Option<String>,
    /// The operator's global identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_operator_id: Option<String>,
}

/// What the site says about itself beside its certificates.
#[derive(Clone, Debug, Default)]
pub struct CardDetails {
    /// The number of the card; a newer card of the same key has a greater one.
    pub number: u64,
    /// The base URL of its Dataspace Protocol endpoint.
    pub endpoint: String,
    /// The origins (scheme, host, port) that it will ask others to call.
    pub origins: Vec<String>,
    /// Its identifiers in ODS.
    pub ods: Option<OdsIdentifiers>,
    /// The extensions of the wire that it speaks, such as `checkpoint/1`.
    pub extensions: Vec<String>,
}

/// A card's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Card {
    /// The form of the card.
    pub version: u32,
    /// Newer replaces older, per key.
    pub number: u64,
    /// The participant id.
    pub participant: String,
    /// The display name.
    pub name: String,
    /// The base URL of the Dataspace Protocol endpoint.
    pub endpoint: String,
    /// The origins that the participant will ask others to call.
    #[serde(default)]
    pub origins: Vec<String>,
    /// The authorities of its server certificates, PEM.
    pub server_anchors: String,
    /// The authorities of its client certificates, PEM.
    pub client_anchors: String,
    /// The authorities of its signing certificate, PEM.
    pub signing_anchors: String,
    /// The URIs in its TLS certificates.
    #[serde(default)]
    pub san_uris: Vec<String>,
    /// The DNS names in its TLS certificates.
    #[serde(default)]
    pub san_dns: Vec<String>,
    /// Its identifiers in ODS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ods: Option<OdsIdentifiers>,
    /// The extensions of the wire that it speaks.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// When it was issued.
    pub issued: Timestamp,
}

/// A card that opened: whole, self-consistent, and not yet trusted.
#[derive(Clone, Debug)]
pub struct OpenedCard {
    /// The content.
    pub card: Card,
    /// The key that signed it.
    pub key: VerifyingKey,
    /// The certificate chain of that key, leaf first.
    pub chain: Vec<Certificate>,
}

impl OpenedCard {
    /// What two people compare.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.key)
    }

    /// Whether this card may replace `present` without another comparison: the same participant and
    /// key, and a greater number.
    #[must_use]
    pub fn replaces(&self, present: &Self) -> bool {
        self.key == present.key
            && self.card.participant == present.card.participant
            && self.card.number > present.card.number
    }
}

/// Issues the site's card, as of `now`.
///
/// # Errors
/// When a detail makes no sense or the card cannot be signed.
pub fn issue(site: &SitePki, details: CardDetails, now: Timestamp) -> Result<String, CardError> {
    let leaves = [site.server.leaf(), site.client.leaf()];
    let collect = |names: fn(&Certificate) -> &[String]| {
        let mut all: Vec<String> = leaves.iter().flat_map(|leaf| names(leaf)).cloned().collect();
        all.sort();
        all.dedup();
        all
    };
    let card = Card {
        version: CARD_VERSION,
        number: details.number,
        participant: site.identity.participant().to_owned(),
        name: site.identity.name().to_owned(),
        endpoint: details.endpoint,
        origins: details.origins,
        server_anchors: site.server.anchor().to_pem(),
        client_anchors: site.client.anchor().to_pem(),
        signing_anchors: site.signing.anchor().to_pem(),
        san_uris: collect(Certificate::uris),
        san_dns: collect(Certificate::dns_names),
        ods: details.ods,
        extensions: details.extensions,
        issued: now,
    };
    check(&card)?;
    let payload = serde_json::to_vec(&card).map_err(CardError::NotWritten)?;
    let chain = site.signing.chain();
    let extras = HeaderExtras { chain: &chain, embed_chain: true };
    Ok(sign_compact(CARD_TYPE, extras, &payload, site.signing.key())?)
}

/// Opens a card and checks it against itself, as of `now`: signed by the key whose certificate it
/// carries, which leads to the anchor that it carries and names the participant.
///
/// # Errors
/// What is wrong with it.
pub fn open(text: &str, now: Timestamp) -> Result<OpenedCard, CardError> {
    let unverified = Unverified::parse(text.trim_ascii(), CARD_TYPE)?;
    let leaf = unverified.header().chain.first().ok_or(CardError::NoKey)?;
    let key = leaf.verifying_key().map_err(JoseError::Algorithm)?;
    let verified = unverified.verify(&key)?;
    let card: Card = verified.json()?;
    check(&card)?;
    let chain = verified.header.chain;
    let (leaf, presented) = chain.split_first().ok_or(CardError::NoKey)?;
    if !leaf.uris().contains(&card.participant) {
        let participant = printable(&card.participant);
        return Err(CardError::WrongParticipant { participant });
    }
    let anchors = bundle("signing anchors", &card.signing_anchors)?;
    bundle("server anchors", &card.server_anchors)?;
    bundle("client anchors", &card.client_anchors)?;
    Authorities::new(anchors)
        .verify(leaf, presented, Purpose::Signing, now)
        .map_err(|reason| CardError::Signer { reason })?;
    Ok(OpenedCard { card, key, chain })
}

/// SHA-256 of a signing key's SubjectPublicKeyInfo, written so that it can be read out: eight groups of
/// four hexadecimal digits in each of two lines.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a key.
    #[must_use]
    pub fn of(key: &VerifyingKey) -> Self {
        Self(key.spki_sha256())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pair) in self.0.chunks(2).enumerate() {
            let separator = match index {
                0 => "",
                8 => "\n",
                _ => " ",
            };
            write!(formatter, "{separator}{}", hex::encode_upper(pair))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({})", hex::encode(self.0))
    }
}

fn bundle(what: &'static str, pem: &str) -> Result<Vec<Certificate>, CardError> {
    Certificate::bundle(pem.as_bytes()).map_err(|reason| CardError::Certificate { what, reason })
}

/// What must hold for a card that we write and for one that we read.
fn check(card: &Card) -> Result<(), CardError> {
    let bad = |member, reason| CardError::BadMember { member, reason };
    if card.version != CARD_VERSION {
        return Err(CardError::UnknownVersion { version: card.version });
    }
    if card.number == 0 {
        return Err(bad("number", "cards are numbered from 1"));
    }
    let texts =
        [("participant", &card.participant), ("name", &card.name), ("endpoint", &card.endpoint)];
    for (member, text) in texts {
        if text.is_empty() || text.chars().count() > 2048 || text.chars().any(char::is_control) {
            return Err(bad(
                member,
                "it must have 1 to 2048 characters without control characters",
            ));
        }
    }
    if !card.endpoint.starts_with("https://") {
        return Err(bad("endpoint", "it must be an `https://` URL"));
    }
    if card.origins.iter().any(|origin| !origin.starts_with("https://")) {
        return Err(bad("origins", "each must begin with `https://`"));
    }
    let lists = [
        ("origins", &card.origins),
        ("sanUris", &card.san_uris),
        ("sanDns", &card.san_dns),
        ("extensions", &card.extensions),
    ];
    for (member, list) in lists {
        if list.len() > MAX_ENTRIES {
            return Err(bad(member, "it has more than 64 entries"));
        }
        if list.iter().any(|text| text.len() > 2048 || text.chars().any(char::is_control)) {
            return Err(bad(member, "an entry is too long or has control characters"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

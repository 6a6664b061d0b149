//! What a provenance token says (JWT claims, RFC 7519 section 4).
//!
//! Members that this release does not know are passed over; a change that a reader must know of gets
//! another [`Profile`].

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use crate::digest::{Digest, Digests};
use crate::parents::{Commitment, MAX_PARENTS};
use crate::text::{line, shorten};

/// The longest identifier, in bytes: what the protocol crate accepts.
pub const MAX_ID_BYTES: usize = 1024;

/// The longest title, name or other text, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// The claims of a provenance token. [`Display`](fmt::Display) tells people what they say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The version of this set of claims.
    #[serde(rename = "prov")]
    pub profile: Profile,
    /// `iss`: the participant id of the provider, who signs.
    #[serde(rename = "iss")]
    pub issuer: String,
    /// `sub`: the dataset's id; its version is in [`Dataset::version`].
    #[serde(rename = "sub")]
    pub subject: String,
    /// `aud`: the participant id of the recipient.
    #[serde(rename = "aud")]
    pub audience: String,
    /// `jti`: the token's own id, `urn:uuid:`.
    #[serde(rename = "jti")]
    pub id: String,
    /// `iat`: when it was signed, in whole seconds.
    #[serde(rename = "iat", with = "jiff::fmt::serde::timestamp::second::required")]
    pub issued_at: Timestamp,
    /// `nbf`: when it begins to count, in whole seconds.
    #[serde(
        rename = "nbf",
        with = "jiff::fmt::serde::timestamp::second::optional",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub not_before: Option<Timestamp>,
    /// The agreement that the release rests on.
    pub agreement: Agreement,
    /// The policy as agreed.
    pub policy: Policy,
    /// The purpose that the recipient declared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub purpose: Option<String>,
    /// What was released.
    pub dataset: Dataset,
    /// What was done.
    pub activity: Activity,
    /// How it is to be handled.
    #[serde(default)]
    pub classification: Classification,
    /// What it was made from, as salted hashes.
    pub parents: Vec<Commitment>,
    /// The log that holds the record of the release.
    pub log: Log,
}

/// Which set of claims a token has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Profile {
    /// The set of this release.
    #[default]
    One,
}

/// A token of another release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("claims of version {version} are not known to this release, which reads version 1")]
pub struct UnknownProfile {
    version: u16,
}

impl TryFrom<u16> for Profile {
    type Error = UnknownProfile;

    fn try_from(version: u16) -> Result<Self, UnknownProfile> {
        if version == 1 { Ok(Self::One) } else { Err(UnknownProfile { version }) }
    }
}

impl From<Profile> for u16 {
    fn from(Profile::One: Profile) -> Self {
        1
    }
}

/// The agreement of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Its id (DSP 2025-1, Agreement `@id`).
    pub id: String,
    /// SHA-256 of its RFC 8785 form.
    pub sha256: Digest,
}

/// The policy of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// SHA-256 of the RFC 8785 form of the agreed rules.
    pub sha256: Digest,
}

/// A released dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// Which edition, as the publisher names it.
    pub version: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// The root of the file's BLAKE3 tree.
    pub blake3: Digest,
    /// The file's length in bytes.
    pub size: u64,
    /// IANA media type.
    pub media_type: String,
    /// The name offered for the file.
    pub file_name: String,
    /// Its title for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
}

impl Dataset {
    /// What the file is known by.
    #[must_use]
    pub fn digests(&self) -> Digests {
        Digests { sha256: self.sha256, blake3: self.blake3, size: self.size }
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: ActivityKind,
    /// When it began.
    pub started: Timestamp,
    /// The provider's id of the transfer process (DSP 2025-1 `providerPid`).
    pub transfer: String,
    /// The consumer's id of it (`consumerPid`), where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub consumer_process: Option<String>,
}

/// The kinds of activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivityKind {
    /// The data came into being.
    Origin,
    /// The data were released to the recipient.
    Release,
    /// The data were made from the parents.
    Derive,
}

/// How a dataset is to be handled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classification {
    /// The provider's confidentiality label.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confidentiality: Option<String>,
}

/// A transparency log, as its checkpoints name it (C2SP tlog-checkpoint).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The origin: the first line of its checkpoints.
    pub origin: String,
    /// The key that signs them.
    pub key: LogKey,
}

/// The key of a log (C2SP signed-note).
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogKey {
    /// The key's name in signature lines.
    pub name: String,
    /// Its algorithm.
    pub algorithm: LogAlgorithm,
    /// The raw public key, base64url.
    #[serde_as(
        as = "serde_with::base64::Base64<serde_with::base64::UrlSafe, serde_with::formats::Unpadded>"
    )]
    pub public: [u8; 32],
}

impl LogKey {
    /// An Ed25519 key of that name.
    #[must_use]
    pub fn ed25519(name: impl Into<String>, public: [u8; 32]) -> Self {
        Self { name: name.into(), algorithm: LogAlgorithm::Ed25519, public }
    }
}

/// The signature algorithms of checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogAlgorithm {
    /// RFC 8032.
    Ed25519,
}

/// A claim has a value that no token may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// An identifier is empty, too long, or has control characters.
    #[error(
        "`{claim}` is `{text}`; an identifier of 1 to {MAX_ID_BYTES} bytes without control characters \
         is expected"
    )]
    Id {
        /// Which claim.
        claim: &'static str,
        /// Its beginning.
        text: String,
    },
    /// A text is too long.
    #[error("`{claim}` has {bytes} bytes and at most {MAX_TEXT_BYTES} are accepted")]
    TooLong {
        /// Which claim.
        claim: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// More parents than are read.
    #[error("the token names {found} parents and at most {MAX_PARENTS} are accepted")]
    Parents {
        /// How many.
        found: usize,
    },
}

impl Claims {
    /// Checks the limits that types do not hold.
    pub(crate) fn check(&self) -> Result<(), ClaimsError> {
        let ids = [
            ("iss", Some(&self.issuer)),
            ("sub", Some(&self.subject)),
            ("aud", Some(&self.audience)),
            ("jti", Some(&self.id)),
            ("agreement.id", Some(&self.agreement.id)),
            ("activity.transfer", Some(&self.activity.transfer)),
            ("activity.consumerProcess", self.activity.consumer_process.as_ref()),
            ("log.key.name", Some(&self.log.key.name)),
        ];
        for (claim, id) in ids {
            let Some(id) = id else { continue };
            if id.is_empty() || id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) {
                return Err(ClaimsError::Id { claim, text: shorten(id) });
            }
        }
        let texts = [
            ("purpose", self.purpose.as_ref()),
            ("dataset.version", Some(&self.dataset.version)),
            ("dataset.mediaType", Some(&self.dataset.media_type)),
            ("dataset.fileName", Some(&self.dataset.file_name)),
            ("dataset.title", self.dataset.title.as_ref()),
            ("classification.confidentiality", self.classification.confidentiality.as_ref()),
            ("log.origin", Some(&self.log.origin)),
        ];
        for (claim, text) in texts {
            let bytes = text.map_or(0, String::len);
            if bytes > MAX_TEXT_BYTES {
                return Err(ClaimsError::TooLong { claim, bytes });
            }
        }
        if self.parents.len() > MAX_PARENTS {
            return Err(ClaimsError::Parents { found: self.parents.len() });
        }
        Ok(())
    }
}

/// Who did what with which data, for whom, under which terms and when: one line each.
impl fmt::Display for Claims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = match self.activity.kind {
            ActivityKind::Origin => "brought into being",
            ActivityKind::Release => "released",
            ActivityKind::Derive => "derived",
        };
        let dataset = &self.dataset;
        writeln!(formatter, "{} {done}", line(&self.issuer))?;
        let mut row = |name: &str, text: &str| writeln!(formatter, "  {name:<12}{text}");
        let title = dataset.title.as_ref().map(|title| format!(", `{}`", line(title)));
        let (subject, version) = (line(&self.subject), line(&dataset.version));
        row("dataset", &format!("{subject}, version {version}{}", title.unwrap_or_default()))?;
        let (file, media_type) = (line(&dataset.file_name), line(&dataset.media_type));
        row("file", &format!("`{file}`, {} bytes, {media_type}", dataset.size))?;
        row("sha-256", &dataset.sha256.to_string())?;
        row("blake3", &dataset.blake3.to_string())?;
        row("to", &line(&self.audience))?;
        row("on", &self.activity.started.to_string())?;
        row("agreement", &line(&self.agreement.id))?;
        row("policy", &format!("sha-256 {}", self.policy.sha256))?;
        if let Some(purpose) = &self.purpose {
            row("purpose", &format!("{} (declared by the recipient)", line(purpose)))?;
        }
        if let Some(label) = &self.classification.confidentiality {
            row("handling", &line(label))?;
        }
        row("transfer", &line(&self.activity.transfer))?;
        if !self.parents.is_empty() {
            row("made from", &format!("{} other datasets", self.parents.len()))?;
        }
        row("log", &line(&self.log.origin))?;
        row("signed", &self.issued_at.to_string())
    }
}

#[cfg(test)]
mod tests;

//! Keys of the management API: which application or remote administrator may do what.
//!
//! A key's text is shown once, when it is made; the node keeps its SHA-256. A key is never changed: it is revoked, and
//! another one is made under another name, so that a name in a record means one key for ever.

use std::collections::BTreeSet;

use jiff::Timestamp;
use protocol::id::{DatasetId, ParticipantId};
use serde::{Deserialize, Serialize};

use crate::{Account, Category, Decision, Entity, Key, LogId, Need, RecordDraft, RecordKind, View};

/// What somebody may do. Each route of the management API names the roles that may call it; the administrator may call
/// every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything. Whoever may open the Unix socket has this role.
    Administrator,
    /// Publishes and withdraws, decides what waits for a decision, ends agreements; sees what an auditor sees.
    PolicyAdministrator,
    /// Sees everything and changes nothing.
    Auditor,
    /// Gets data and drives processes, within its scope.
    Application,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Administrator, Self::PolicyAdministrator, Self::Auditor, Self::Application];

    /// Its name, as stored and as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::PolicyAdministrator => "policy-administrator",
            Self::Auditor => "auditor",
            Self::Application => "application",
        }
    }
}

/// Which part of the node's business a key sees and takes part in. `None` stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Partners.
    pub partners: Option<BTreeSet<ParticipantId>>,
    /// Purposes that may be declared.
    pub purposes: Option<BTreeSet<String>>,
    /// Datasets.
    pub datasets: Option<BTreeSet<DatasetId>>,
}

impl Scope {
    /// Whether a partner is within it.
    pub fn has_partner(&self, participant: &ParticipantId) -> bool {
        self.partners.as_ref().is_none_or(|partners| partners.contains(participant))
    }

    /// Whether a partner's or our dataset, exchanged with that partner, is within it.
    pub fn has(&self, participant: &ParticipantId, dataset: &DatasetId) -> bool {
        self.has_partner(participant)
            && self.datasets.as_ref().is_none_or(|datasets| datasets.contains(dataset))
    }

    /// Whether a purpose may be declared. One who is limited to some declares one of them.
    pub fn has_purpose(&self, purpose: Option<&str>) -> bool {
        match (&self.purposes, purpose) {
            (None, _) => true,
            (Some(purposes), Some(purpose)) => purposes.contains(purpose),
            (Some(_), None) => false,
        }
    }

    /// Whether something may be shown. What is for a purpose outside of the scope, or for none, is not.
    pub fn sees(
        &self,
        participant: &ParticipantId,
        dataset: &DatasetId,
        purpose: Option<&str>,
    ) -> bool {
        self.has(participant, dataset) && self.has_purpose(purpose)
    }

    /// Whether it is everything.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// A key of the management API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagementKey {
    /// The version of this shape.
    pub v: u16,
    /// Its name, the first part of its text: `[a-z0-9-]`, 63 characters at most.
    pub name: String,
    /// SHA-256 of its text, hexadecimal.
    pub sha256: String,
    /// What it may do.
    pub role: Role,
    /// What it sees.
    pub scope: Scope,
    /// The identifier (IRI) of the application that holds it, as usage policies name it. Whoever may make keys vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is no longer taken; never where there is none.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyEnded {
    /// An administrator revoked it.
    #[error("the key was revoked at {0}")]
    Revoked(Timestamp),
    /// Its time is over.
    #[error("the key expired at {0}")]
    Expired(Timestamp),
}

impl ManagementKey {
    /// Whether it is taken at an instant.
    ///
    /// # Errors
    /// [`KeyEnded`], which says why not.
    pub fn check(&self, now: Timestamp) -> Result<(), KeyEnded> {
        match (self.revoked, self.expires) {
            (Some(revoked), _) => Err(KeyEnded::Revoked(revoked)),
            (None, Some(expires)) if expires <= now => Err(KeyEnded::Expired(expires)),
            (None, _) => Ok(()),
        }
    }
}

/// Why a key is not made or revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Another key has, or had, the name.
    #[error("there is, or was, a key `{0}` already; names are not used again")]
    Taken(String),
    /// The name is not of the form.
    #[error("`{0}` is no name of a key: lower-case letters, digits and hyphens, 63 at most")]
    Name(String),
    /// A scope limits applications only: the other roles are about the site as a whole.
    #[error("only a key with the role application is limited to partners, purposes or datasets")]
    Scope,
    /// Only applications have the identifier of one.
    #[error("only a key with the role application has the identifier of an application")]
    NoApplication,
    /// The identifier is none.
    #[error(
        "`{0}` is no identifier of an application: write an IRI such as `https://a.example/apps/report`, without spaces, of \
         {APPLICATION_MAX} characters at most"
    )]
    Application(String),
    /// It would have expired before it was made.
    #[error("the time at which it would expire, {0}, is over")]
    Expired(Timestamp),
    /// No such key.
    #[error("there is no key `{0}`")]
    Unknown(String),
    /// It is revoked.
    #[error("the key `{0}` is revoked already")]
    Revoked(String),
}

/// Whether a text can be a key's name.
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The most characters of an application's identifier.
const APPLICATION_MAX: usize = 512;

/// Whether a text can identify an application: a scheme, a colon and something after it (RFC 3987), without spaces.
fn is_application(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let split = text.split_once(':');
    split.is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
        && text.chars().count() <= APPLICATION_MAX
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A key by its name.
///
/// # Errors
/// [`Need`] when it is not loaded.
pub fn key(view: &dyn View, name: &str) -> Result<Option<ManagementKey>, Need> {
    Ok(match view.entity(&Key::ManagementKey(name.to_owned()))?.as_deref() {
        Some(Entity::ManagementKey(key)) => Some(key.clone()),
        _ => None,
    })
}

/// Makes a key. Its time of making is that of the decision.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn create(
    view: &dyn View,
    asked: &ManagementKey,
    person: Option<&str>,
) -> Result<Decision<Result<ManagementKey, KeyError>>, Need> {
    let refuse = |error| Ok(Decision::answer(Err(error)));
    if !is_name(&asked.name) {
        return refuse(KeyError::Name(asked.name.clone()));
    }
    if asked.role != Role::Application && !asked.scope.is_everything() {
        return refuse(KeyError::Scope);
    }
    if let Some(application) = &asked.application {
        if asked.role != Role::Application {
            return refuse(KeyError::NoApplication);
        }
        if !is_application(application) {
            return refuse(KeyError::Application(application.clone()));
        }
    }
    if let Some(expires) = asked.expires.filter(|expires| *expires <= view.now()) {
        return refuse(KeyError::Expired(expires));
    }
    if key(view, &asked.name)?.is_some() {
        return refuse(KeyError::Taken(asked.name.clone()));
    }
    let made = ManagementKey { created: view.now(), revoked: None, ..asked.clone() };
    let record = record(RecordKind::KeyCreated, &made, None)
        .person(person.map(str::to_owned))
        .put(Key::ManagementKey(made.name.clone()), made.clone());
    Ok(Decision::commit(vec![record], Ok(made)))
}

/// Revokes a key: from this commit on it is not taken, and what runs under it ends.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn revoke(
    view: &dyn View,
    name: &str,
    reason: Option<&str>,
    person: Option<&str>,
) -> Result<Decision<Result<ManagementKey, KeyError>>, Need> {
    let Some(found) = key(view, name)? else {
        return Ok(Decision::answer(Err(KeyError::Unknown(name.to_owned()))));
    };
    if found.revoked.is_some() {
        return Ok(Decision::answer(Err(KeyError::Revoked(name.to_owned()))));
    }
    let revoked = ManagementKey { revoked: Some(view.now()), ..found };
    let record = record(RecordKind::KeyRevoked, &revoked, reason)
        .person(person.map(str::to_owned))
        .put(Key::ManagementKey(revoked.name.clone()), revoked.clone())
        .essential();
    Ok(Decision::commit(vec![record], Ok(revoked)))
}

/// The record of requests that were refused within a second: who asked (a key, or nobody known), from where, how often, and
/// the reason of the latest.
pub fn refused(who: &str, place: &str, count: u64, reason: &str) -> RecordDraft {
    let account = Account {
        node: Some(who.to_owned()),
        place: Some(place.to_owned()),
        reason: Some(reason.to_owned()),
        ..Account::default()
    };
    RecordDraft::new(LogId::Site, RecordKind::ManagementRefused, Category::Communication)
        .account(account.fact("count", count))
}

fn record(kind: RecordKind, key: &ManagementKey, reason: Option<&str>) -> RecordDraft {
    let account = Account { reason: reason.map(str::to_owned), ..Account::default() }
        .fact("key", key.name.as_str())
        .fact("role", key.role.name());
    let account = match &key.application {
        Some(application) => account.fact("application", application.as_str()),
        None => account,
    };
    RecordDraft::new(LogId::Site, kind, Category::Service).account(account)
}

//! What a decision appends to the journal.
//!
//! A record says who, what, when, where, why and how (ODS Logging protocol), carries the state change as its writes, and
//! keeps message text and persons apart in a body that can later be sealed and erased (`ARCHITECTURE.md`, Records).

use std::collections::BTreeMap;
use std::fmt;

use protocol::id::{AgreementId, ParticipantId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Entity, Key};

/// The log that a record belongs to. A partner sees only the log of its relation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogId {
    /// The site's own log.
    Site,
    /// The log of this site's relation with one participant.
    Relation(ParticipantId),
}

impl LogId {
    /// The log's tree of an epoch.
    pub fn in_epoch(self, epoch: u32) -> TreeId {
        TreeId { log: self, epoch }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site => formatter.write_str("site"),
            Self::Relation(participant) => write!(formatter, "relation/{participant}"),
        }
    }
}

/// The epoch in which the logs of a site begin.
pub const FIRST_EPOCH: u32 = 1;

/// A log in one epoch: one RFC 6962 tree, with its own indexes, proofs and checkpoints.
///
/// A record is written into the tree of the epoch that the site is in ([`Site::epoch`](crate::entity::Site)); the record
/// that opens an epoch is the first of its tree. Trees of earlier epochs stay as they are (ADR 0014).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TreeId {
    /// Which log.
    pub log: LogId,
    /// In which epoch, from [`FIRST_EPOCH`].
    pub epoch: u32,
}

impl TreeId {
    /// The label under which the journal knows the tree.
    pub fn label(&self) -> String {
        format!("{}/{}", self.log, self.epoch)
    }

    /// The tree of a label that [`TreeId::label`] made.
    pub fn from_label(label: &str) -> Option<Self> {
        let (log, number) = label.rsplit_once('/')?;
        let log = match log.strip_prefix("relation/") {
            Some(participant) => LogId::Relation(participant.parse().ok()?),
            None => (log == "site").then_some(LogId::Site)?,
        };
        let tree = log.in_epoch(number.parse().ok()?);
        // A label has one form only.
        (tree.epoch >= FIRST_EPOCH && tree.label() == label).then_some(tree)
    }

    /// The origin of the tree's checkpoints (C2SP tlog-checkpoint): who keeps the log, which log, in which epoch.
    pub fn origin(&self, owner: &ParticipantId) -> String {
        format!("{owner}/{}", self.label())
    }

    /// The tree of an origin that [`TreeId::origin`] made for this owner.
    pub fn from_origin(origin: &str, owner: &ParticipantId) -> Option<Self> {
        Self::from_label(origin.strip_prefix(owner.as_str())?.strip_prefix('/')?)
    }

    /// The tree that a signed note of this owner says it is of. The signature is not verified.
    pub fn from_note(note: &str, owner: &ParticipantId) -> Option<Self> {
        Self::from_origin(note.lines().next()?, owner)
    }
}

impl fmt::Display for TreeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.label())
    }
}

/// The three retention categories of the ODS Logging protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// A message, request or response that passed.
    Communication,
    /// Something that the site or its operators did.
    Service,
    /// Data were prepared, released or received.
    Processing,
}

/// What happened. Names are part of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "each name says what happened; the account of the record says the rest"
)]
pub enum RecordKind {
    SiteStarted,
    SiteStopped,
    ClockRefused,
    ClockAccepted,
    EpochOpened,
    RulesActivated,
    PartnerRegistered,
    PartnerUpdated,
    PartnerSuspended,
    PartnerOffboarded,
    PartnerResumed,
    PartnerRemoved,
    DatasetPublished,
    DatasetWithdrawn,
    DatasetDamaged,
    NegotiationRequested,
    NegotiationOffered,
    NegotiationAccepted,
    NegotiationAgreed,
    NegotiationVerified,
    NegotiationFinalized,
    NegotiationTerminated,
    DecisionAwaited,
    AgreementHeld,
    AgreementImported,
    AgreementEnded,
    DutyFulfilled,
    DutyViolated,
    DutyChanged,
    ProhibitionInfringed,
    TransferRequested,
    TransferStarted,
    TransferSuspended,
    TransferCompleted,
    TransferTerminated,
    MessageDelivered,
    MessageUndeliverable,
    MessageRetried,
    RequestRefused,
    RequestsRefused,
    TransferGranted,
    TransferServed,
    TransferCut,
    PullRequested,
    PullAdvanced,
    PullReceived,
    PullDelivered,
    PullFailed,
    SiteAnchored,
    CheckpointSigned,
    CheckpointWitnessed,
    CheckpointConflict,
    EpochWitnessed,
    SnapshotWritten,
    KeyCreated,
    KeyRevoked,
    ManagementRefused,
}

/// Who, where, why and how of a record. What is the [`RecordKind`]; when is added at the commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The participant on whose behalf it happened; absent for our own site.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub participant: Option<ParticipantId>,
    /// The node or application that acted, such as a certificate's SHA-256.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// The listener, address or command through which it came.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none", default)]
    pub place: Option<String>,
    /// The agreement that it rests on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agreement: Option<AgreementId>,
    /// The SHA-256 of the policy that decided, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// The declared purpose.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub purpose: Option<String>,
    /// The reference that a refused party was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<String>,
    /// The full reason, for administrators.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Further facts of this kind of record: dataset, bytes, counts, old and new values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub facts: BTreeMap<String, Value>,
}

impl Account {
    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}

/// What may be erased later without breaking a proof: the text of messages, and persons.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The protocol message, as sent or received, without secrets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<Value>,
    /// The person who acted, as the operating system or an application named them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub person: Option<String>,
}

impl Body {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.message.is_none() && self.person.is_none()
    }
}

/// One change of state: the entity under a key becomes this one, or is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// Which entity.
    pub key: Key,
    /// Its new value; `None` removes it.
    pub entity: Option<Entity>,
}

/// A record as a decision asks for it. The store adds time, salts, hashes and position.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordDraft {
    /// The log it belongs to. The store adds the epoch.
    pub log: LogId,
    /// What happened.
    pub kind: RecordKind,
    /// Its retention category.
    pub category: Category,
    /// Who, where, why and how.
    pub account: Account,
    /// Digests that the leaf shows to whoever may see the log, by name (such as `token`, `dataset`), SHA-256 in
    /// hexadecimal unless the name says otherwise.
    pub digests: BTreeMap<String, String>,
    /// The state change.
    pub writes: Vec<Write>,
    /// Message text and persons.
    pub body: Body,
    /// Whether it must still be written when the disk is full: cuts, terminations, erasures.
    pub essential: bool,
}

impl RecordDraft {
    /// A record with nothing in it but its log, kind and category.
    pub fn new(log: LogId, kind: RecordKind, category: Category) -> Self {
        Self {
            log,
            kind,
            category,
            account: Account::default(),
            digests: BTreeMap::new(),
            writes: Vec::new(),
            body: Body::default(),
            essential: false,
        }
    }

    /// Sets the account.
    #[must_use]
    pub fn account(mut self, account: Account) -> Self {
        self.account = account;
        self
    }

    /// Adds the write of an entity.
    #[must_use]
    pub fn put(mut self, key: Key, entity: impl Into<Entity>) -> Self {
        self.writes.push(Write { key, entity: Some(entity.into()) });
        self
    }

    /// Adds the removal of an entity.
    #[must_use]
    pub fn remove(mut self, key: Key) -> Self {
        self.writes.push(Write { key, entity: None });
        self
    }

    /// Adds a digest to the leaf.
    #[must_use]
    pub fn digest(mut self, name: &str, digest: impl Into<String>) -> Self {
        self.digests.insert(name.to_owned(), digest.into());
        self
    }

    /// Sets the message text.
    #[must_use]
    pub fn message(mut self, message: Value) -> Self {
        self.body.message = Some(message);
        self
    }

    /// Sets the person who acted.
    #[must_use]
    pub fn person(mut self, person: Option<String>) -> Self {
        self.body.person = person;
        self
    }

    /// Marks the record as one that must still be written when the disk is full.
    #[must_use]
    pub fn essential(mut self) -> Self {
        self.essential = true;
        self
    }
}

//! Refusals: why something is not done, in one text for the partner and one for us.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::context::Peer;
use crate::process::by_peer;
use crate::{Account, Category, LogId, RecordDraft, RecordKind};

/// What kind of refusal it is. The edge maps it to a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// It does not exist, or this party may not know that it does.
    NotFound,
    /// What was granted was replaced by a new version.
    NewVersion,
    /// A policy that the party may see refuses.
    Policy,
    /// A duty of an agreement was not done in time: until it is made good, nothing more is released.
    DutyOverdue,
    /// The agreement was ended.
    AgreementEnded,
    /// The message is not legal in the state of its process.
    IllegalState,
    /// The message contradicts an earlier one, or what it refers to.
    Invalid,
    /// The message is larger than we take.
    TooLarge,
    /// The party is suspended, or its certificate no longer holds.
    Suspended,
    /// The relation with the party was ended.
    Offboarded,
    /// The party asked for more than its limits allow.
    TooMany,
    /// There is no evidence for it, and there will be none until an operator acts.
    Unproven,
    /// We cannot do it now: the disk is full, the clock is in doubt, the index is being rebuilt.
    Unavailable,
}

/// How much of a full reason is kept, in characters: a message of the peer may be in it.
const REASON_CHARS: usize = 4096;

/// A refusal. The external text goes to the partner, the internal one to our journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{internal}")]
pub struct Refusal {
    /// What kind it is.
    pub kind: RefusalKind,
    /// What the partner is told: for a policy it may see, the clause and what would change the answer.
    pub external: String,
    /// The full reason.
    pub internal: String,
    /// The reference by which an administrator finds the record (`urn:uuid:`).
    pub reference: String,
}

impl Refusal {
    /// A refusal whose reference is made from the given random UUID.
    pub fn new(
        kind: RefusalKind,
        external: impl Into<String>,
        internal: impl Into<String>,
        reference: Uuid,
    ) -> Self {
        Self {
            kind,
            external: external.into(),
            internal: internal.into().chars().take(REASON_CHARS).collect(),
            reference: reference.urn().to_string(),
        }
    }
}

/// The record of one refusal.
pub fn record(peer: &Peer, refusal: &Refusal, request: &str) -> RecordDraft {
    draft(peer, refusal, request, RecordKind::RequestRefused, Account::default())
}

/// The record of further refusals of the same request for the same reason within a second, under the same reference: junk
/// cannot fill the disk.
pub fn summary(peer: &Peer, refusal: &Refusal, request: &str, count: u64) -> RecordDraft {
    let again = Account::default().fact("count", count);
    draft(peer, refusal, request, RecordKind::RequestsRefused, again)
}

fn draft(
    peer: &Peer,
    refusal: &Refusal,
    request: &str,
    kind: RecordKind,
    more: Account,
) -> RecordDraft {
    let by_peer = by_peer(peer);
    let account = Account {
        participant: by_peer.participant,
        node: by_peer.node,
        place: by_peer.place,
        reason: Some(refusal.internal.clone()),
        reference: Some(refusal.reference.clone()),
        ..more
            .fact("request", request)
            .fact("refusal", serde_json::to_value(refusal.kind).unwrap_or_default())
    };
    RecordDraft::new(LogId::Relation(peer.participant.clone()), kind, Category::Service)
        .account(account)
}

//! Handling modes: who takes this side's steps in a process, and what waits for a decision.
//!
//! In manual handling a message of the partner that asks for a step of ours is taken and recorded, and the process waits:
//! nothing is sent until a person or an application acts. What nobody decides is denied at its deadline.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use policy::set::Handling;

use crate::RecordDraft;
use crate::entity::Partner;

/// Since when a process waits for a decision, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaiting {
    /// When the message came that asks for it.
    pub since: Timestamp,
    /// When it is denied for want of a decision.
    pub deadline: Timestamp,
}

impl Awaiting {
    /// A decision awaited from `now` for `patience`.
    pub fn new(now: Timestamp, patience: SignedDuration) -> Self {
        Self { since: now, deadline: now.checked_add(patience).unwrap_or(Timestamp::MAX) }
    }
}

/// The handling of a process: manual where the offer (or the agreement), the partner or the command that begins it says so.
pub fn of(subject: Handling, partner: &Partner, asked: Option<Handling>) -> Handling {
    let manual = [Some(subject), partner.handling, asked].contains(&Some(Handling::Manual));
    if manual { Handling::Manual } else { Handling::Auto }
}

/// Who acts on a process by hand, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decider {
    /// The person or application, as the management API knows it.
    pub person: Option<String>,
    /// Their reason, for the record.
    pub reason: Option<String>,
}

/// Records of what was done by hand: the first says who did it, and why.
pub(crate) fn signed(mut records: Vec<RecordDraft>, decider: &Decider) -> Vec<RecordDraft> {
    if let Some(record) = records.first_mut() {
        record.body.person.clone_from(&decider.person);
        record.account.facts.insert("by".to_owned(), Value::from("hand"));
        if decider.reason.is_some() {
            record.account.reason.clone_from(&decider.reason);
        }
    }
    records
}

//! Permits: the only key to data.

use std::collections::BTreeSet;

use jiff::Timestamp;
use protocol::id::{AgreementId, DatasetId, ParticipantId, Pid};
use serde::{Deserialize, Serialize};

use crate::context::{Context, Fresh};
use crate::entity::Digests;
use crate::{Key, Need, RecordDraft, View};

/// Why a permit ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndReason {
    /// What the partner may be told.
    pub external: String,
    /// The full reason, for our journal and administrators.
    pub internal: String,
    /// Whether the transfer is over by it; otherwise a later request may be admitted again.
    pub terminates: bool,
    /// Whether a policy ended it.
    pub by_policy: bool,
}

/// The right to read the bytes of one dataset version for one transfer, as decided just now.
///
/// Only [`crate::data::admit`] and [`crate::data::admit_push`] make one; the data path takes it as an argument. It ends at `until`, or when the store
/// signals that a commit took its ground away, whichever is first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    pub(crate) transfer: Pid,
    pub(crate) participant: ParticipantId,
    pub(crate) agreement: AgreementId,
    pub(crate) dataset: DatasetId,
    /// What the node that reads is called by its certificate.
    pub(crate) node: BTreeSet<String>,
    pub(crate) digests: Digests,
    pub(crate) generation: u32,
    pub(crate) until: Option<Timestamp>,
}

impl Permit {
    /// The transfer that it is for (our process id).
    pub fn transfer(&self) -> &Pid {
        &self.transfer
    }

    /// Who may read.
    pub fn participant(&self) -> &ParticipantId {
        &self.participant
    }

    /// The agreement that it rests on.
    pub fn agreement(&self) -> &AgreementId {
        &self.agreement
    }

    /// The dataset.
    pub fn dataset(&self) -> &DatasetId {
        &self.dataset
    }

    /// What may be read: exactly these bytes.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// The instant at which it must be decided again.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// The keys whose change makes it necessary to decide again.
    pub fn grounds(&self) -> [Key; 6] {
        [
            Key::Site,
            Key::Rules,
            Key::Partner(self.participant.clone()),
            Key::Agreement(self.agreement.clone()),
            Key::Dataset(self.dataset.clone()),
            Key::Transfer(self.transfer.clone()),
        ]
    }
}

/// Decides again whether a permit still holds, now. `Ok(None)`: it does.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn recheck(view: &dyn View, permit: &Permit) -> Result<Option<EndReason>, Need> {
    crate::data::recheck(view, permit)
}

/// The records of a cut: the transfer is terminated where its ground is gone for good, and what was cut is said.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn cut(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    permit: &Permit,
    reason: &EndReason,
) -> Result<Vec<RecordDraft>, Need> {
    crate::data::cut(view, context, fresh, permit, reason)
}

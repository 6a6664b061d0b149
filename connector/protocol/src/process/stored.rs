//! The stored form of a process: what cannot be derived, checked again when it is read.

use serde::{Deserialize, Serialize};

use super::{Machine, Pending, Process, Role, state_name};

/// The stored form: what cannot be derived.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
pub(super) struct Stored<M: Machine> {
    role: Role,
    state: Option<M::State>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<M::Message>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    attempted: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    termination_queued: bool,
}

impl<M: Machine> From<Process<M>> for Stored<M> {
    fn from(process: Process<M>) -> Self {
        Self {
            role: process.role,
            state: process.state,
            pending: process.pending.map(|pending| pending.message),
            attempted: process.pending.is_some_and(|pending| pending.attempted),
            termination_queued: process.termination_queued,
        }
    }
}

impl<M: Machine> TryFrom<Stored<M>> for Process<M> {
    type Error = StoredError;

    fn try_from(stored: Stored<M>) -> Result<Self, StoredError> {
        let pending = match stored.pending {
            None => None,
            Some(message) => Some(Pending {
                message,
                target: M::next(stored.state, message, stored.role).ok_or_else(|| {
                    StoredError::Pending {
                        message: message.to_string(),
                        state: state_name::<M>(stored.state),
                    }
                })?,
                attempted: stored.attempted,
            }),
        };
        if pending.is_none() && stored.state.is_none() {
            return Err(StoredError::Empty);
        }
        let can_queue = pending.is_some_and(|own| own.attempted && own.message != M::TERMINATION);
        if stored.termination_queued && !can_queue {
            return Err(StoredError::Queued);
        }
        Ok(Self {
            role: stored.role,
            state: stored.state,
            pending,
            termination_queued: stored.termination_queued,
        })
    }
}

/// Why stored bytes are not a process: they were not written by this module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoredError {
    #[error("the stored process has {message} pending, which is not legal in state {state}")]
    Pending { message: String, state: String },
    #[error("the stored process has neither a state nor a pending message")]
    Empty,
    #[error("the stored process has a termination queued behind nothing")]
    Queued,
}

//! What the node knows and decides.
//!
//! The engine is pure: every decision is a function of the state it sees through a [`View`], its input, the time and
//! fresh identifiers. It returns a [`Decision`]: records to append, each with the writes it makes, and a reply. The
//! only way to change state is to hand such a function to [`Store::transact`].

pub mod agreements;
pub mod approvals;
pub mod catalog;
pub mod context;
pub mod data;
pub mod datasets;
pub mod dead_letters;
pub mod deadline;
pub mod derived;
pub mod duties;
pub mod entity;
pub mod epoch;
pub mod evidence;
pub mod handling;
pub mod judge;
pub mod key;
pub mod keys;
pub mod negotiation;
pub mod outbox;
pub mod permit;
pub mod process;
pub mod pull;
pub mod push;
pub mod record;
pub mod refusal;
pub mod registry;
pub mod site;
pub mod store;
pub mod transfer;

pub use context::{Context, Fresh, Peer};
pub use entity::Entity;
pub use handling::{Awaiting, Decider, Handling};
pub use key::{Key, Kind};
pub use permit::{EndReason, Permit};
pub use record::{
    Account, Body, Category, FIRST_EPOCH, LogId, RecordDraft, RecordKind, TreeId, Write,
};
pub use refusal::{Refusal, RefusalKind};
pub use store::{Committed, Decision, Need, Position, Store, StoreError, View};

#[cfg(test)]
mod tests;

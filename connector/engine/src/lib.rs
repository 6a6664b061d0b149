//! What the node knows and decides.
//!
//! The engine is pure: every decision is a function of the state it sees through a [`View`], its input, the time and
//! fresh identifiers. It returns a [`Decision`]: records to append, each with the writes it makes, and a reply. The
//! only way to change state is to hand such a function to [`Store::transact`].

pub mod data;
pub mod entity;
pub mod key;
pub mod permit;
pub mod record;
pub mod refusal;
pub mod store;

pub use entity::Entity;
pub use key::{Key, Kind};
pub use record::{Account, Body, Category, LogId, RecordDraft, RecordKind, Write};
pub use store::{Committed, Decision, Need, Position, Refused, Store, StoreError, View};

//! The file store: the journal is the database, sled its index.
//!
//! [`FileStore`] implements [`engine::Store`] on one directory. One thread, the sequencer, decides every transaction on
//! the state in memory, appends what it decided to the journal, and lets nobody know before that is durable. Everything
//! else under the directory is derived from the journal: the hashes of the logs' trees, snapshots that make starts
//! short, and the index of entities that need not be in memory.

pub mod clock;
mod directory;
mod evidence;
mod file_store;
mod frames;
mod index;
mod keeper;
mod notify;
mod open;
mod permits;
mod record;
mod sequencer;
mod snapshot;
mod state;
mod texts;
mod transaction;
mod trees;

pub use clock::{Clock, Random, RandomError, SystemClock, SystemRandom};
pub use evidence::{CheckedFrame, Followed, RECORDS_MAX, Tail};
pub use file_store::FileStore;
pub use notify::{Change, Changes, Written};
pub use open::{Environment, OpenError, OpenReport, Options};
pub use permits::Ending;
pub use record::{DecodeError, StoredRecord};
pub use trees::EvidenceError;

#[cfg(test)]
mod tests;

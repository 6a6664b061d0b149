//! The append-only journal: RFC 6962 logs, checkpoints, frames and segment files.
//!
//! Three parts, each usable alone:
//!
//! - [`tlog`] is pure: hashes, tree heads, proofs and checkpoints of a log, for those who write one
//!   and for those who only verify it.
//! - [`log`] holds the files that are the database: groups of records, each made durable by one
//!   sync, chained by hash, read back and audited.
//! - [`tree`] keeps the hashes of one log on disk so that proofs take a few small reads. It is
//!   derived from the journal and can be rebuilt from it at any time.
//!
//! Nothing here knows what a record says: labels, leaves, effects and bodies are the caller's.

pub mod files;
pub mod log;
pub mod tlog;
pub mod tree;

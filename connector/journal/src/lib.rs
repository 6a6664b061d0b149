//! The append-only journal: RFC 6962 logs, checkpoints, frames and segment files.

//! The record that says a snapshot was written: what it covers and its hashes, so that a start can tell when it was changed.

use engine::{Account, Category, LogId, RecordDraft, RecordKind};
use journal::tlog::Hash;

use super::StoredRecord;
use crate::snapshot::Folded;

const POSITION: &str = "journalOffset";
const SNAPSHOT: &str = "snapshot";
const HOT: &str = "snapshotHot";

pub(crate) fn draft(folded: &Folded) -> RecordDraft {
    RecordDraft::new(LogId::Site, RecordKind::SnapshotWritten, Category::Service)
        .account(Account::default().fact(POSITION, folded.mark.end))
        .digest(SNAPSHOT, folded.sha256.to_string())
        .digest(HOT, folded.hot_sha256.to_string())
}

/// Whether the record is about the snapshot that ends there and states another hash of its hot section.
pub(crate) fn contradicts(record: &StoredRecord, end: u64, hot_sha256: &Hash) -> bool {
    record.account.facts.get(POSITION).and_then(|fact| fact.as_u64()) == Some(end)
        && record.digests.get(HOT).is_some_and(|stated| *stated != hot_sha256.to_string())
}

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use journal::files::OsFiles;
use journal::log::{Essential, Journal, Mark, Options};

use super::{Fold, SnapshotError, list};

#[test]
fn a_snapshot_appears_only_when_what_a_start_trusts_with_it_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let options = Options::new([7; 16]);
    let (mut journal, _) = Journal::open(&path, options, OsFiles, Mark::START, |_| Ok(())).unwrap();
    journal.append(&[], Essential::Yes).unwrap();
    let fold = Fold {
        directory: directory.path().to_owned(),
        journal: journal::tlog::Hash::of(b"journal"),
        reader: Arc::new(journal.reader()),
        stopping: Arc::new(AtomicBool::new(false)),
    };
    let refused = fold.run(|| {
        // All that the snapshot covers has been read, and it can still be given up.
        assert!(directory.path().join("unfinished").exists());
        assert!(list(directory.path()).unwrap().is_empty());
        Err(SnapshotError::Stopping)
    });
    assert!(matches!(refused, Err(SnapshotError::Stopping)), "{refused:?}");
    assert!(list(directory.path()).unwrap().is_empty());
    let folded = fold.run(|| Ok(())).unwrap();
    assert_eq!(list(directory.path()).unwrap(), vec![folded.path]);
    assert_eq!(folded.mark, journal.mark());
}

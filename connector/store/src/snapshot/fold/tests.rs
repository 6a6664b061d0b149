use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use journal::files::OsFiles;
use journal::log::{Essential, Journal, Mark, Options};

use engine::entity::Site;
use engine::{Category, Entity, Key, LogId, Position, RecordDraft, RecordKind};
use jiff::Timestamp;

use super::{Change, Fold, Latest, SnapshotError, list};
use crate::clock::SystemRandom;
use crate::record::encode;

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

fn site(epoch: u32) -> Entity {
    let participant = "did:web:a.example".parse().unwrap();
    Entity::Site(Site { v: 1, participant, epoch, clock_refused: None, running: true })
}

/// What is gathered of records, each of some writes: a key, and the epoch of the site that it becomes; and how many bytes of
/// effects are kept for it.
fn gathered(records: &[&[(Key, Option<u32>)]]) -> (Vec<Option<Change>>, usize) {
    let mut latest = Latest::default();
    for (number, writes) in (0..).zip(records) {
        let mut draft = RecordDraft::new(LogId::Site, RecordKind::SiteStarted, Category::Service);
        for (key, epoch) in *writes {
            draft = match epoch {
                Some(epoch) => draft.put(key.clone(), site(*epoch)),
                None => draft.remove(key.clone()),
            };
        }
        let encoded = encode(&draft, Timestamp::UNIX_EPOCH, &SystemRandom::default()).unwrap();
        let writes = writes.iter().map(|(key, epoch)| (key.encode(), epoch.is_some()));
        latest.take(Position { frame: 512, record: number }, encoded.effect, writes);
    }
    let bytes = latest.bytes;
    (latest.decode().unwrap().into_values().collect(), bytes)
}

#[test]
fn the_last_write_of_each_entity_is_what_is_gathered() {
    let (one, other) = (Key::Site, Key::Rules);
    let found = |records: &[&[(Key, Option<u32>)]]| {
        let (changes, bytes) = gathered(records);
        let shown = changes.iter().map(|change| {
            change.as_ref().map(|change| {
                let Ok(Entity::Site(site)) = serde_json::from_slice(&change.json) else { panic!() };
                (change.version.record, site.epoch)
            })
        });
        (shown.collect::<Vec<_>>(), bytes > 0)
    };
    let put = |key: &Key, epoch| (key.clone(), Some(epoch));
    let gone = |key: &Key| (key.clone(), None);
    assert_eq!(found(&[]), (vec![], false));
    assert_eq!(found(&[&[put(&one, 1)], &[put(&one, 2)]]), (vec![Some((1, 2))], true));
    assert_eq!(found(&[&[put(&one, 1)], &[gone(&one)]]), (vec![None], false));
    assert_eq!(found(&[&[gone(&one)], &[put(&one, 3)]]), (vec![Some((1, 3))], true));
    assert_eq!(found(&[&[put(&one, 1), put(&one, 2)]]), (vec![Some((0, 2))], true));
    assert_eq!(found(&[&[put(&one, 1), gone(&one)]]), (vec![None], false));
    assert_eq!(
        found(&[&[put(&one, 1), put(&other, 2)], &[put(&one, 3)], &[gone(&one)]]),
        (vec![None, Some((0, 2))], true)
    );
}

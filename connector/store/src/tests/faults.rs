//! A disk that is full or does not write: nothing happened, and nobody is told otherwise.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use engine::entity::{Outbox, Subject};
use engine::{Committed, Decision, Key, Position, Store as _, StoreError};
use journal::files::{FileLayer, OsFiles};

use super::support::{Site, count, draft, put, read, token, usage_key};
use crate::{FileStore, Options};

pub(super) const SOUND: u8 = 0;
const FULL: u8 = 1;
pub(super) const UNWRITABLE: u8 = 2;

/// The system's files on a disk whose state the test decides.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<AtomicU8>);

impl Disk {
    pub(super) fn becomes(&self, state: u8) {
        self.0.store(state, Ordering::SeqCst);
    }

    fn check(&self, broken: u8, error: i32) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) == broken {
            true => Err(io::Error::from_raw_os_error(error)),
            false => Ok(()),
        }
    }
}

impl FileLayer for Disk {
    type File = std::fs::File;

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        OsFiles.create_directory(path)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        OsFiles.list(directory)
    }
    fn open(&self, path: &Path) -> io::Result<Self::File> {
        OsFiles.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Self::File> {
        OsFiles.create(path)
    }
    fn length(&self, file: &Self::File) -> io::Result<u64> {
        OsFiles.length(file)
    }
    fn preallocate(&self, file: &Self::File, length: u64) -> io::Result<()> {
        self.check(FULL, 28)?;
        OsFiles.preallocate(file, length)
    }
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(UNWRITABLE, 5)?;
        OsFiles.write_at(file, offset, bytes)
    }
    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        OsFiles.read_at(file, offset, buffer)
    }
    fn truncate(&self, file: &Self::File, length: u64) -> io::Result<()> {
        OsFiles.truncate(file, length)
    }
    fn sync_data(&self, file: &Self::File) -> io::Result<()> {
        OsFiles.sync_data(file)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        OsFiles.sync_directory(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFiles.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove(path)
    }
}

fn open(site: &Site, disk: &Disk) -> FileStore {
    FileStore::open_with_layer(&site.data(), site.options, site.environment(), disk.clone())
        .unwrap()
        .0
}

#[tokio::test]
async fn a_group_that_cannot_be_written_did_not_happen() {
    let site = Site::new();
    let disk = Disk::default();
    let store = open(&site, &disk);
    count(&store).await.unwrap();
    let mut watched = store.subscribe(usage_key());
    disk.becomes(UNWRITABLE);
    let outcomes = tokio::join!(count(&store), count(&store), count(&store));
    for outcome in [outcomes.0, outcomes.1, outcomes.2] {
        assert!(matches!(outcome, Err(StoreError::WriteFailed { .. })), "{outcome:?}");
    }
    assert!(!watched.has_changed().unwrap());
    assert_eq!(store.tree_head(engine::LogId::Site.in_epoch(1)).await.unwrap().0, 1);
    disk.becomes(SOUND);
    assert_eq!(count(&store).await.unwrap().reply, 2, "the effects were taken back");
    watched.changed().await.unwrap();
    store.close().await.unwrap();
    let store = open(&site, &disk);
    assert_eq!(count(&store).await.unwrap().reply, 3);
    store.close().await.unwrap();
}

/// Commits a record with a text that owes nothing, and one that owes a message with this text.
async fn owe(store: &FileStore, text: &'static str) -> Result<Committed<()>, StoreError> {
    let key = || Key::Outbox("urn:example:partner".parse().unwrap(), "p".parse().unwrap(), 1);
    store
        .transact(Vec::new(), move |view| {
            let owed = Outbox {
                v: 1,
                subject: Subject::Negotiation,
                message: "urn:uuid:m".parse().unwrap(),
                url: "https://b.example/".to_owned(),
                token: None,
                sealed_token: None,
                terminates: false,
                queued: view.now(),
                deadline: view.now(),
            };
            let received = draft().message("received".into());
            Ok(Decision::commit(vec![received, draft().message(text.into()).put(key(), owed)], ()))
        })
        .await
}

/// Which of these records had their text in memory; it is taken.
fn kept(store: &FileStore, positions: &[Position]) -> Vec<bool> {
    positions.iter().map(|position| store.inner.texts.take(*position).is_some()).collect()
}

#[tokio::test]
async fn the_text_of_a_message_is_what_was_committed_from_memory_and_from_the_journal() {
    let site = Site::new();
    let disk = Disk::default();
    let store = open(&site, &disk);
    disk.becomes(UNWRITABLE);
    let failed = owe(&store, "failed").await;
    assert!(matches!(failed, Err(StoreError::WriteFailed { .. })), "{failed:?}");
    disk.becomes(SOUND);
    let (first, second) = tokio::join!(owe(&store, "first"), owe(&store, "second"));
    let mut owing = Vec::new();
    for (committed, text) in [(first, "first"), (second, "second")] {
        let positions = committed.unwrap().positions;
        for _ in ["memory", "the journal"] {
            let received = store.body(positions[0]).await.unwrap().unwrap().message;
            assert_eq!(received, Some("received".into()));
            let sent = store.body(positions[1]).await.unwrap().unwrap().message;
            assert_eq!(sent, Some(text.into()));
        }
        owing.push(positions[1]);
    }
    assert_eq!(kept(&store, &owing), [false, false], "each was taken");
    let third = owe(&store, "third").await.unwrap().positions;
    assert_eq!(kept(&store, &third), [false, true], "what owes nothing is not kept");
    store.close().await.unwrap();
    let store = open(&site, &disk);
    let sent = store.body(owing[1]).await.unwrap().unwrap().message;
    assert_eq!(sent, Some("second".into()), "after a restart");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_still_takes_what_must_be_kept() {
    let site = Site::with(Options { segment_bytes: 16 << 10, ..Options::default() });
    let disk = Disk::default();
    let store = open(&site, &disk);
    disk.becomes(FULL);
    let mut refused = None;
    for number in 0..100 {
        if let Err(error) = put(&store, Key::Token(format!("{number}")), token()).await {
            refused = Some((number, error));
            break;
        }
    }
    let (number, error) = refused.unwrap();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(read(&store, Key::Token(format!("{number}"))).await, None);
    let essential = store
        .transact(Vec::new(), |_| {
            let record = draft().essential().put(Key::Token("cut".to_owned()), token());
            Ok(Decision::commit(vec![record], ()))
        })
        .await;
    assert!(essential.is_ok(), "{essential:?}");
    let ordinary = put(&store, Key::Token("more".to_owned()), token()).await;
    assert!(matches!(ordinary, Err(StoreError::DiskFull { .. })), "{ordinary:?}");
    disk.becomes(SOUND);
    put(&store, Key::Token("more".to_owned()), token()).await.unwrap();
    store.close().await.unwrap();
    let store = open(&site, &disk);
    for name in ["cut", "more"] {
        assert_eq!(read(&store, Key::Token(name.to_owned())).await, Some(token()));
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_group_on_a_full_disk_only_what_must_be_kept_is_kept() {
    let site = Site::with(Options { segment_bytes: 16 << 10, ..Options::default() });
    let disk = Disk::default();
    let store = open(&site, &disk);
    disk.becomes(FULL);
    let tasks: Vec<_> = (0..400)
        .map(|number: u32| {
            let store = store.clone();
            tokio::spawn(async move {
                let essential = number.is_multiple_of(50);
                let outcome = store
                    .transact(Vec::new(), move |_| {
                        let record = draft().put(Key::Token(format!("{number}")), token());
                        let record = if essential { record.essential() } else { record };
                        Ok(Decision::commit(vec![record], ()))
                    })
                    .await;
                (number, essential, outcome)
            })
        })
        .collect();
    let mut expected = Vec::new();
    let mut refused = 0;
    for task in tasks {
        let (number, essential, outcome) = task.await.unwrap();
        match outcome {
            Ok(_) => expected.push((number, true)),
            Err(StoreError::DiskFull { .. }) => {
                assert!(!essential, "{number} had to be kept");
                refused += 1;
                expected.push((number, false));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0, "the disk was full");
    disk.becomes(SOUND);
    store.close().await.unwrap();
    let store = open(&site, &disk);
    for (number, kept) in expected {
        assert_eq!(read(&store, Key::Token(format!("{number}"))).await.is_some(), kept, "{number}");
    }
    store.close().await.unwrap();
}

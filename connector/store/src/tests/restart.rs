//! Starts: what they read, what they refuse, and that everything derived can be lost.

use std::fs;

use engine::{Key, Kind, LogId, RecordKind, Store as _, StoreError};

use super::support::{Site, count, dataset, dataset_key, put, read, token, usage_key};
use crate::{FileStore, Options};

fn snapshots(site: &Site) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = fs::read_dir(site.data().join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "snap"))
        .collect();
    found.sort_unstable();
    found
}

/// Makes a snapshot of everything that is durable, and waits until its record is. Those that the store makes by itself are others.
pub(super) async fn snapshot(store: &FileStore) {
    let mut tail = store.tail(*store.durable().borrow());
    let keeper = store.inner.keeper.clone();
    let path = tokio::task::spawn_blocking(move || keeper.fold_now()).await.unwrap().unwrap();
    // The file is named after the offset at which it ends.
    let end: u64 = path.unwrap().file_stem().unwrap().to_str().unwrap().parse().unwrap();
    loop {
        let record = tail.next().await.unwrap().unwrap();
        let stated = record.account.facts.get("journalOffset").and_then(|fact| fact.as_u64());
        if record.kind == RecordKind::SnapshotWritten && stated == Some(end) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_reads_the_hot_state_and_the_tail_however_long_the_journal_is() {
    let options =
        Options { segment_bytes: 1 << 20, snapshot_bytes: 256 << 10, ..Options::default() };
    let site = Site::with(options);
    let (store, _) = site.open();
    let mut read_at_start = Vec::new();
    let mut store = store;
    for _ in 0..3 {
        for _ in 0..1_500 {
            count(&store).await.unwrap();
        }
        snapshot(&store).await;
        count(&store).await.unwrap();
        store.close().await.unwrap();
        let (next, report) = site.open();
        assert!(report.snapshot.is_some() && report.clean_stop, "{report:?}");
        assert!(report.journal_bytes < 64 << 10, "{report:?}");
        assert!(report.frames < 50 && report.snapshot_bytes < 4 << 10, "{report:?}");
        read_at_start.push(report.snapshot_bytes);
        store = next;
    }
    assert!(read_at_start[2] < read_at_start[0] + 1_000, "{read_at_start:?}");
    assert_eq!(count(&store).await.unwrap().reply, 4_504);
    assert_eq!(snapshots(&site).len(), 2, "two are kept");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_folds_to_what_a_full_replay_gives() {
    let site = Site::new();
    let (store, _) = site.open();
    for number in 0..20 {
        put(&store, dataset_key(number), dataset(number, "a")).await.unwrap();
        put(&store, Key::Token(format!("{number}")), token()).await.unwrap();
        count(&store).await.unwrap();
        if number % 7 == 0 {
            snapshot(&store).await;
        }
    }
    let head = store.tree_head(LogId::Site.in_epoch(1)).await.unwrap();
    store.close().await.unwrap();

    let (folded, report) = site.open();
    assert!(report.snapshot.is_some());
    let from_snapshot = everything(&folded).await;
    folded.close().await.unwrap();

    for part in ["snapshots", "index", "trees"] {
        fs::remove_dir_all(site.data().join(part)).unwrap();
    }
    let (replayed, report) = site.open();
    assert_eq!(report.snapshot, None);
    assert_eq!(replayed.tree_head(LogId::Site.in_epoch(1)).await.unwrap(), head);
    assert_eq!(everything(&replayed).await, from_snapshot);
    replayed.close().await.unwrap();
}

async fn everything(store: &FileStore) -> Vec<(Key, engine::Entity)> {
    store.ready().await;
    let mut found = Vec::new();
    for kind in [Kind::Dataset, Kind::Token, Kind::Usage] {
        for (key, entity) in store.scan(kind, None, 1_000).await.unwrap() {
            found.push((key, entity.as_ref().clone()));
        }
    }
    found
}

#[tokio::test]
async fn an_unsound_snapshot_is_passed_over() {
    let site = Site::new();
    let (store, _) = site.open();
    count(&store).await.unwrap();
    snapshot(&store).await;
    count(&store).await.unwrap();
    snapshot(&store).await;
    store.close().await.unwrap();
    let [older, newer] = &snapshots(&site)[..] else { panic!("two are kept") };
    for byte in [20, 100, 200] {
        let mut bytes = fs::read(newer).unwrap();
        bytes[byte] ^= 1;
        fs::write(newer, &bytes).unwrap();
        let (store, report) = site.open();
        assert_eq!(report.snapshot.as_ref(), Some(older), "byte {byte}");
        assert_eq!(report.unsound, vec![newer.clone()]);
        assert_eq!(read(&store, usage_key()).await, Some(usage(2)));
        store.close().await.unwrap();
        bytes[byte] ^= 1;
        fs::write(newer, &bytes).unwrap();
    }
}

fn usage(uses: u64) -> engine::Entity {
    engine::entity::Usage { v: 1, uses, latest: None }.into()
}

#[tokio::test]
async fn a_forged_snapshot_contradicts_the_journal() {
    use sha2::{Digest as _, Sha256};
    let site = Site::new();
    let (store, _) = site.open();
    count(&store).await.unwrap();
    snapshot(&store).await;
    store.close().await.unwrap();
    // Somebody changes the count and makes the hash of the hot section good again.
    let path = snapshots(&site).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let text = b"\"uses\":1";
    let place = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[place + text.len() - 1] = b'0';
    let end = (0..bytes.len() - 34)
        .find(|end| {
            let original = fs::read(&path).unwrap();
            original[*end..*end + 32] == Sha256::digest(&original[..*end])[..]
        })
        .unwrap();
    let hash = Sha256::digest(&bytes[..end]);
    bytes[end..end + 32].copy_from_slice(&hash);
    fs::write(&path, &bytes).unwrap();

    let (store, report) = site.open();
    assert_eq!(report.unsound, vec![path]);
    assert_eq!(read(&store, usage_key()).await, Some(usage(1)));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_crash_keeps_what_was_answered() {
    let site = Site::new();
    let (store, _) = site.open();
    put(&store, dataset_key(1), dataset(1, "a")).await.unwrap();
    count(&store).await.unwrap();
    // A copy of the files as they are now is what a crash leaves.
    let crashed = Site::new();
    copy(&site.data(), &crashed.data());
    store.close().await.unwrap();
    for another_boot in [false, true] {
        if another_boot {
            let path = crashed.data().join("use.json");
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("\"clean\":true", "\"clean\":false");
            let (start, _) = text.split_once("\"boot\":\"").unwrap();
            fs::write(&path, format!("{start}\"boot\":\"another\",\"clean\":false}}")).unwrap();
        }
        let (store, report) = crashed.open();
        assert!(!report.clean_stop);
        assert_eq!(report.index_kept, !another_boot);
        store.ready().await;
        assert_eq!(read(&store, dataset_key(1)).await, Some(dataset(1, "a")));
        assert_eq!(read(&store, usage_key()).await, Some(usage(1)));
        store.close().await.unwrap();
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

#[tokio::test]
async fn rebuilding_makes_everything_derived_anew() {
    let site = Site::new();
    let (store, _) = site.open();
    for number in 0..30 {
        put(&store, dataset_key(number), dataset(number, "a")).await.unwrap();
    }
    store.close().await.unwrap();
    fs::write(site.data().join("index/db"), b"nonsense").unwrap();
    let report = FileStore::rebuild(&site.data(), site.options, site.environment()).await.unwrap();
    assert_eq!(report.records, 30);
    let (store, report) = site.open();
    assert!(report.clean_stop && report.index_kept);
    store.ready().await;
    assert_eq!(store.scan(Kind::Dataset, None, 100).await.unwrap().len(), 30);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_index_that_breaks_while_it_is_used_is_replaced() {
    let site = Site::new();
    let (store, _) = site.open();
    put(&store, dataset_key(1), dataset(1, "a")).await.unwrap();
    store.close().await.unwrap();
    {
        let index = sled::open(site.data().join("index")).unwrap();
        index.insert(dataset_key(1).encode(), b"no value of ours".as_slice()).unwrap();
        index.flush().unwrap();
    }
    let (store, _) = site.open();
    store.ready().await;
    let mut outcome = store.scan(Kind::Dataset, None, 10).await;
    while matches!(outcome, Err(StoreError::Rebuilding)) {
        store.ready().await;
        outcome = store.scan(Kind::Dataset, None, 10).await;
    }
    assert_eq!(outcome.unwrap().len(), 1);
    assert_eq!(read(&store, dataset_key(1)).await, Some(dataset(1, "a")));
    assert!(site.data().join("index.unsound").exists(), "the old one is kept for inspection");
    store.close().await.unwrap();
}

#[tokio::test]
async fn memory_does_not_grow_without_end_while_the_index_cannot_be_rebuilt() {
    const MOST: usize = 10;
    let site = Site::with(Options { index_pending_max: MOST, ..Site::new().options });
    let (store, _) = site.open();
    put(&store, dataset_key(0), dataset(0, "a")).await.unwrap();
    store.close().await.unwrap();
    fs::write(site.data().join("index/db"), b"nonsense").unwrap();
    // The unsound index cannot be moved here.
    let aside = site.data().join("index.unsound");
    fs::write(&aside, b"in the way").unwrap();
    let (store, _) = site.open();
    let mut stored = 0;
    let refused = loop {
        match put(&store, dataset_key(stored + 1), dataset(stored + 1, "a")).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "nothing is refused");
    };
    assert!(matches!(refused, StoreError::Rebuilding), "{refused:?}");
    assert!(stored >= MOST as u64, "{stored}");
    count(&store).await.unwrap();

    fs::remove_file(&aside).unwrap();
    // It is tried again with the next commit.
    count(&store).await.unwrap();
    store.ready().await;
    put(&store, dataset_key(stored + 1), dataset(stored + 1, "a")).await.unwrap();
    let all = store.scan(Kind::Dataset, None, 1_000).await.unwrap();
    assert_eq!(all.len() as u64, stored + 2, "what was taken is there");
    store.close().await.unwrap();
}

//! Proofs, records by index, and following the journal.

use std::fs;

use engine::{LogId, Store as _};
use journal::tlog::{Hash, leaf_hash, verify_consistency, verify_inclusion};

use super::support::{Site, dataset, dataset_key, put, relation, token, write};
use crate::{EvidenceError, FileStore};

async fn fill(store: &FileStore, from: u64, to: u64) {
    for number in from..to {
        let log = if number % 3 == 0 { relation() } else { LogId::Site };
        write(store, log, dataset_key(number), Some(dataset(number, "a"))).await.unwrap();
    }
}

async fn check(store: &FileStore, log: LogId) {
    let (size, root) = store.tree_head(log.clone()).await.unwrap();
    let root = Hash(root);
    let records = store.records(log.clone(), 0..size + 10).await.unwrap();
    assert_eq!(records.len() as u64, size);
    for (index, record) in (0..size).zip(&records) {
        assert_eq!(record.index, Some(index));
        assert_eq!(record.log, log);
        assert_eq!(store.index_of(record.position).await.unwrap(), (log.clone(), index));
        let leaf = store.leaf_at(log.clone(), index).await.unwrap();
        assert_eq!(leaf, record.leaf);
        let (proven, proof) = store.inclusion(log.clone(), index, size).await.unwrap();
        assert_eq!(proven, root);
        verify_inclusion(&leaf_hash(&leaf), index, size, &root, &proof).unwrap();
    }
    for old in [1, size / 2, size] {
        let (old_root, _) = store.inclusion(log.clone(), 0, old).await.unwrap();
        let proof = store.consistency(log.clone(), old, size).await.unwrap();
        verify_consistency(old, &old_root, size, &root, &proof).unwrap();
    }
}

#[tokio::test]
async fn proofs_hold_before_and_after_restarts_and_damage() {
    let site = Site::new();
    let (store, _) = site.open();
    fill(&store, 0, 40).await;
    check(&store, LogId::Site).await;
    check(&store, relation()).await;
    assert_eq!(store.logs(), vec![LogId::Site, relation()]);
    store.close().await.unwrap();

    let (store, _) = site.open();
    check(&store, relation()).await;
    fill(&store, 40, 60).await;
    check(&store, relation()).await;
    // Somebody changes a hash, and removes all of another log.
    for entry in fs::read_dir(site.data().join("trees")).unwrap() {
        let level = entry.unwrap().path().join("level-0");
        let mut bytes = fs::read(&level).unwrap();
        bytes[70] ^= 1;
        fs::write(&level, bytes).unwrap();
    }
    check(&store, relation()).await;
    check(&store, LogId::Site).await;
    fill(&store, 60, 70).await;
    check(&store, relation()).await;
    store.close().await.unwrap();
    fs::remove_dir_all(site.data().join("trees")).unwrap();
    let (store, _) = site.open();
    check(&store, LogId::Site).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn records_are_found_though_the_file_of_positions_is_damaged() {
    type Damage = fn(&mut Vec<u8>);
    const BYTES: usize = 12;
    let damages: [(&str, Damage); 4] = [
        ("zeros from the middle on, as after a loss of power", |bytes| {
            let middle = bytes.len() / BYTES / 2 * BYTES;
            bytes[middle..].fill(0);
        }),
        ("all zeros", |bytes| bytes.fill(0)),
        ("two exchanged", |bytes| {
            let (first, second) = bytes.split_at_mut(BYTES);
            first.swap_with_slice(&mut second[..BYTES]);
        }),
        ("places where nothing begins", |bytes| {
            for position in bytes.chunks_exact_mut(BYTES) {
                position[7] ^= 3;
            }
        }),
    ];
    let site = Site::new();
    let (store, _) = site.open();
    fill(&store, 0, 40).await;
    let records = store.records(relation(), 0..100).await.unwrap();
    for (damage, make) in damages {
        // Each of the three must notice by itself.
        for question in 0..3 {
            for entry in fs::read_dir(site.data().join("trees")).unwrap() {
                let path = entry.unwrap().path().join("positions");
                let mut bytes = fs::read(&path).unwrap();
                make(&mut bytes);
                fs::write(&path, bytes).unwrap();
            }
            match question {
                0 => {
                    let again = store.records(relation(), 0..100).await.unwrap();
                    assert_eq!(again, records, "{damage}");
                }
                1 => {
                    for (index, record) in (0..).zip(&records) {
                        let leaf = store.leaf_at(relation(), index).await.unwrap();
                        assert_eq!(leaf, record.leaf, "{damage}");
                    }
                }
                _ => {
                    for (index, record) in (0..).zip(&records) {
                        let found = store.index_of(record.position).await.unwrap();
                        assert_eq!(found, (relation(), index), "{damage}");
                    }
                }
            }
        }
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_find_a_tree_damaged_at_once_are_all_answered() {
    let site = Site::new();
    let (store, _) = site.open();
    fill(&store, 0, 60).await;
    let (size, _) = store.tree_head(LogId::Site).await.unwrap();
    for _ in 0..5 {
        for entry in fs::read_dir(site.data().join("trees")).unwrap() {
            let level = entry.unwrap().path().join("level-0");
            let bytes = vec![0; fs::read(&level).unwrap().len()];
            fs::write(&level, bytes).unwrap();
        }
        let asked: Vec<_> = (0..16)
            .map(|index| {
                let store = store.clone();
                tokio::spawn(async move { store.inclusion(LogId::Site, index, size).await })
            })
            .collect();
        for asked in asked {
            asked.await.unwrap().unwrap();
        }
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_a_log_does_not_have_is_not_proven() {
    let site = Site::new();
    let (store, _) = site.open();
    fill(&store, 0, 4).await;
    let size = store.tree_head(LogId::Site).await.unwrap().0;
    for outcome in [
        store.inclusion(LogId::Site, size, size).await.err(),
        store.inclusion(LogId::Site, 0, size + 1).await.err(),
        store.inclusion(LogId::Relation("urn:example:nobody".parse().unwrap()), 0, 1).await.err(),
    ] {
        assert!(matches!(outcome, Some(EvidenceError::Size { .. })), "{outcome:?}");
    }
    assert!(store.consistency(LogId::Site, size + 1, size).await.is_err());
    let nowhere = engine::Position { frame: 1 << 40, record: 0 };
    assert!(matches!(store.record_at(nowhere).await, Err(EvidenceError::NoRecord { .. })));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_sees_each_record_once_and_the_end() {
    let site = Site::new();
    let (store, _) = site.open();
    fill(&store, 0, 10).await;
    let mut tail = store.tail(None);
    let follower = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(record) = tail.next().await.unwrap() {
            seen.push(record.position);
        }
        seen
    });
    fill(&store, 10, 30).await;
    let last = put(&store, engine::Key::Token("last".to_owned()), token()).await.unwrap();
    store.close().await.unwrap();
    let seen = follower.await.unwrap();
    assert_eq!(seen.len(), 31);
    assert!(seen.is_sorted_by(|left, right| left < right));
    assert_eq!(seen.last(), last.positions.last());

    let (store, _) = site.open();
    let mut tail = store.tail(Some(seen[28]));
    assert_eq!(tail.next().await.unwrap().unwrap().position, seen[29]);
    assert_eq!(tail.next().await.unwrap().unwrap().position, seen[30]);
    store.close().await.unwrap();
    assert!(tail.next().await.unwrap().is_none());
}

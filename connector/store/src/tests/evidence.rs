//! Proofs, records by index, and following the journal.

use std::fs;

use engine::{Decision, Key, LogId, Store as _, TreeId};
use journal::tlog::{Hash, leaf_hash, verify_consistency, verify_inclusion};

use super::support::{
    Site, dataset, dataset_key, draft, put, relation, relation_tree, site_tree, token, write,
};
use crate::{EvidenceError, FileStore};

async fn fill(store: &FileStore, from: u64, to: u64) {
    for number in from..to {
        let log = if number % 3 == 0 { relation() } else { LogId::Site };
        write(store, log, dataset_key(number), Some(dataset(number, "a"))).await.unwrap();
    }
}

async fn check(store: &FileStore, log: TreeId) {
    let (size, root) = store.tree_head(log.clone()).await.unwrap();
    let root = Hash(root);
    let records = store.records(log.clone(), 0..size + 10).await.unwrap();
    assert_eq!(records.len() as u64, size);
    for (index, record) in (0..size).zip(&records) {
        assert_eq!(record.index, Some(index));
        assert_eq!(record.tree, log);
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
    check(&store, site_tree()).await;
    check(&store, relation_tree()).await;
    assert_eq!(store.trees(), vec![site_tree(), relation_tree()]);
    store.close().await.unwrap();

    let (store, _) = site.open();
    check(&store, relation_tree()).await;
    fill(&store, 40, 60).await;
    check(&store, relation_tree()).await;
    // Somebody changes a hash, and removes all of another log.
    for entry in fs::read_dir(site.data().join("trees")).unwrap() {
        let level = entry.unwrap().path().join("level-0");
        let mut bytes = fs::read(&level).unwrap();
        bytes[70] ^= 1;
        fs::write(&level, bytes).unwrap();
    }
    check(&store, relation_tree()).await;
    check(&store, site_tree()).await;
    fill(&store, 60, 70).await;
    check(&store, relation_tree()).await;
    store.close().await.unwrap();
    fs::remove_dir_all(site.data().join("trees")).unwrap();
    let (store, _) = site.open();
    check(&store, site_tree()).await;
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
    let records = store.records(relation_tree(), 0..100).await.unwrap();
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
                    let again = store.records(relation_tree(), 0..100).await.unwrap();
                    assert_eq!(again, records, "{damage}");
                }
                1 => {
                    for (index, record) in (0..).zip(&records) {
                        let leaf = store.leaf_at(relation_tree(), index).await.unwrap();
                        assert_eq!(leaf, record.leaf, "{damage}");
                    }
                }
                _ => {
                    for (index, record) in (0..).zip(&records) {
                        let found = store.index_of(record.position).await.unwrap();
                        assert_eq!(found, (relation_tree(), index), "{damage}");
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
    let (size, _) = store.tree_head(site_tree()).await.unwrap();
    for _ in 0..5 {
        for entry in fs::read_dir(site.data().join("trees")).unwrap() {
            let level = entry.unwrap().path().join("level-0");
            let bytes = vec![0; fs::read(&level).unwrap().len()];
            fs::write(&level, bytes).unwrap();
        }
        let asked: Vec<_> = (0..16)
            .map(|index| {
                let store = store.clone();
                tokio::spawn(async move { store.inclusion(site_tree(), index, size).await })
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
    let size = store.tree_head(site_tree()).await.unwrap().0;
    let nobody = LogId::Relation("urn:example:nobody".parse().unwrap());
    for outcome in [
        store.inclusion(LogId::Site.in_epoch(2), 0, 1).await.err(),
        store.inclusion(site_tree(), size, size).await.err(),
        store.inclusion(site_tree(), 0, size + 1).await.err(),
        store.inclusion(nobody.in_epoch(1), 0, 1).await.err(),
    ] {
        assert!(matches!(outcome, Some(EvidenceError::Size { .. })), "{outcome:?}");
    }
    assert!(store.consistency(site_tree(), size + 1, size).await.is_err());
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

#[tokio::test]
async fn who_follows_some_kinds_is_told_of_those_and_how_far_the_others_reach() {
    let site = Site::new();
    let (store, _) = site.open();
    fill(&store, 0, 3).await;
    let (kind, key) = (engine::RecordKind::KeyCreated, Key::Token("other".to_owned()));
    let draft = engine::RecordDraft { kind, ..draft() }.put(key, token());
    let wanted = store.transact(Vec::new(), move |_| Ok(Decision::commit(vec![draft.clone()], ())));
    let wanted = wanted.await.unwrap().positions;
    fill(&store, 3, 5).await;
    let mut tail = store.tail(None).only([kind].into());
    let mut told = Vec::new();
    let mut reached = None;
    let last = *store.durable().borrow();
    while reached < last {
        let followed = tail.step().await.unwrap().unwrap();
        assert!(reached < Some(followed.position));
        reached = Some(followed.position);
        told.extend(followed.record.map(|record| record.position));
    }
    assert_eq!(told, wanted);
    let mut tail = store.tail(None).only([kind].into());
    assert_eq!(tail.next().await.unwrap().unwrap().position, wanted[0]);
    store.close().await.unwrap();
    assert!(tail.next().await.unwrap().is_none());
}

async fn new_epoch(store: &FileStore) {
    let logs = [LogId::Site, relation()];
    let opened = store.transact(Vec::new(), move |view| {
        engine::epoch::open(view, &logs, true, "restored", Some("sato"))
    });
    opened.await.unwrap().reply.unwrap();
}

#[tokio::test]
async fn each_epoch_has_trees_of_its_own_through_snapshots_restarts_and_rebuilds() {
    let site = Site::new();
    let (store, _) = site.open();
    let owner = "urn:example:owner".parse().unwrap();
    let started = store.transact(Vec::new(), move |view| {
        Ok(engine::site::started(view, &owner, "0.1.0")?.map(|started| started.is_ok()))
    });
    assert!(started.await.unwrap().reply);
    fill(&store, 0, 20).await;
    let first = store.tree_head(relation_tree()).await.unwrap();
    new_epoch(&store).await;
    fill(&store, 20, 40).await;
    super::restart::snapshot(&store).await;
    new_epoch(&store).await;
    fill(&store, 40, 60).await;
    let mut trees = Vec::new();
    for log in [LogId::Site, relation()] {
        for epoch in 1..=3 {
            let tree = log.clone().in_epoch(epoch);
            trees.push((tree.clone(), store.tree_head(tree).await.unwrap()));
        }
    }
    assert_eq!(store.trees(), trees.iter().map(|(tree, _)| tree.clone()).collect::<Vec<_>>());
    store.close().await.unwrap();

    for lost in [&[][..], &["trees"], &["index", "trees", "snapshots"]] {
        for part in lost {
            fs::remove_dir_all(site.data().join(part)).unwrap();
        }
        let (store, _) = site.open();
        for (tree, head) in &trees {
            check(&store, tree.clone()).await;
            // A record of a snapshot may have come since.
            let (root, _) = store.inclusion(tree.clone(), 0, head.0).await.unwrap();
            assert_eq!(root.0, head.1, "{tree} after {lost:?}");
            let opening = store.records(tree.clone(), 0..1).await.unwrap().remove(0);
            let is_opening = opening.kind == engine::RecordKind::EpochOpened;
            assert_eq!(is_opening, tree.epoch > 1, "{tree}");
        }
        assert_eq!(store.tree_head(relation_tree()).await.unwrap(), first, "it has ended");
        let site = store
            .transact(Vec::new(), |view| Ok(Decision::answer(view.entity(&Key::Site)?)))
            .await
            .unwrap();
        let Some(engine::Entity::Site(found)) = site.reply.as_deref() else { panic!() };
        assert_eq!(found.epoch, 3);
        store.close().await.unwrap();
    }
}

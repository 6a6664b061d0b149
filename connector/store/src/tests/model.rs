//! The store against a map: whatever is written, and whatever is lost that can be rebuilt, both say the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use engine::{Decision, Entity, Key, Kind, LogId, Position, Store as _, StoreError, TreeId};
use proptest::prelude::*;

use super::support::{
    Site, dataset, dataset_key, pull, pull_key, relation, relation_tree, token, write,
};
use crate::{FileStore, Options};

#[derive(Debug, Clone)]
enum Step {
    Write { log: bool, key: Key, entity: Option<Box<Entity>> },
    Snapshot,
    Restart(Loss),
}

/// What is lost or changed between a stop and the next start.
#[derive(Debug, Clone)]
enum Loss {
    Nothing,
    /// The process was killed: nothing was closed.
    Killed,
    IndexRemoved,
    IndexChanged(prop::sample::Index, u8),
    IndexOfAnotherTime,
    TreesRemoved,
    SnapshotsRemoved,
    SnapshotChanged(prop::sample::Index, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let entity = prop_oneof![
        (0..6_u64, "[a-z]{1,8}").prop_map(|(n, title)| (dataset_key(n), dataset(n, &title))),
        (0..6_u64, any::<bool>(), 0..9_u64)
            .prop_map(|(n, closed, round)| (pull_key(n), pull(n, closed, round))),
        (0..4_u64).prop_map(|n| (Key::Token(n.to_string()), token())),
    ];
    let change = prop_oneof![
        Just(Loss::Nothing),
        Just(Loss::Killed),
        Just(Loss::IndexRemoved),
        (any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(at, by)| Loss::IndexChanged(at, by)),
        Just(Loss::IndexOfAnotherTime),
        Just(Loss::TreesRemoved),
        Just(Loss::SnapshotsRemoved),
        (any::<prop::sample::Index>(), 1..=255_u8)
            .prop_map(|(at, by)| Loss::SnapshotChanged(at, by)),
    ];
    prop_oneof![
        12 => (any::<bool>(), entity, prop::bool::weighted(0.8)).prop_map(
            |(log, (key, entity), put)| Step::Write { log, key, entity: put.then_some(Box::new(entity)) }
        ),
        1 => Just(Step::Snapshot),
        2 => change.prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_says_what_the_map_says(steps in prop::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}

type Model = BTreeMap<Key, (Entity, Position)>;

async fn run(steps: Vec<Step>) {
    let site = Site::with(Options { segment_bytes: 64 << 10, ..Options::default() });
    let other_index = tempfile::tempdir().unwrap();
    let (mut store, _) = site.open();
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Write { log, key, entity } => {
                let entity = entity.map(|entity| *entity);
                let log = if log { relation() } else { LogId::Site };
                let committed = write(&store, log, key.clone(), entity.clone()).await.unwrap();
                match entity {
                    Some(entity) => drop(model.insert(key, (entity, committed.positions[0]))),
                    None => drop(model.remove(&key)),
                }
            }
            Step::Snapshot => store.request_snapshot(),
            Step::Restart(loss) => {
                let heads = heads(&store).await;
                match loss {
                    Loss::Killed => {
                        // The files as they are while everything runs are what a killed process leaves.
                        let killed = tempfile::tempdir().unwrap();
                        copy(&site.data(), killed.path());
                        store.close().await.unwrap();
                        fs::remove_dir_all(site.data()).unwrap();
                        copy(killed.path(), &site.data());
                    }
                    _ => {
                        store.close().await.unwrap();
                        lose(&site.data(), other_index.path(), &loss);
                    }
                }
                store = site.open().0;
                check_heads(&store, &heads).await;
                compare(&store, &model).await;
            }
        }
    }
    compare(&store, &model).await;
    store.close().await.unwrap();
}

fn lose(data: &Path, other_index: &Path, loss: &Loss) {
    let index = data.join("index");
    match loss {
        Loss::Nothing | Loss::Killed => {}
        Loss::IndexRemoved => fs::remove_dir_all(&index).unwrap(),
        Loss::IndexChanged(at, by) => change(&index.join("db"), at, *by),
        Loss::IndexOfAnotherTime => {
            // The first time it is kept, later the kept one comes back: it is behind, or of another life.
            let kept = other_index.join("index");
            if kept.exists() {
                fs::remove_dir_all(&index).unwrap();
                copy(&kept, &index);
            } else {
                copy(&index, &kept);
            }
        }
        Loss::TreesRemoved => fs::remove_dir_all(data.join("trees")).unwrap(),
        Loss::SnapshotsRemoved => fs::remove_dir_all(data.join("snapshots")).unwrap(),
        Loss::SnapshotChanged(at, by) => {
            let newest = fs::read_dir(data.join("snapshots"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "snap"))
                .max();
            if let Some(path) = newest {
                change(&path, at, *by);
            }
        }
    }
}

/// Changes one byte that is not zero, so that the change is not in unused room.
fn change(path: &Path, at: &prop::sample::Index, by: u8) {
    let mut bytes = fs::read(path).unwrap();
    let used: Vec<usize> =
        bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(place, _)| place).collect();
    if !used.is_empty() {
        bytes[used[at.index(used.len())]] ^= by;
        fs::write(path, bytes).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => match fs::copy(&path, &target) {
                // A snapshot that is just being finished has another name now.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            },
        }
    }
}

type Heads = Vec<(TreeId, (u64, [u8; 32]))>;

async fn heads(store: &FileStore) -> Heads {
    vec![(relation_tree(), store.tree_head(relation_tree()).await.unwrap())]
}

async fn check_heads(store: &FileStore, heads: &Heads) {
    for (log, head) in heads {
        assert_eq!(store.tree_head(log.clone()).await.unwrap(), *head);
        if head.0 > 0 {
            let (root, _) = store.inclusion(log.clone(), head.0 - 1, head.0).await.unwrap();
            assert_eq!(root.0, head.1);
        }
    }
}

async fn compare(store: &FileStore, model: &Model) {
    for kind in [Kind::Dataset, Kind::Pull, Kind::Token] {
        let expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| key.kind() == kind)
            .map(|(key, (entity, _))| (key.clone(), entity.clone()))
            .collect();
        let found: Vec<_> = scanned(store, kind)
            .await
            .into_iter()
            .map(|(key, entity)| (key, entity.as_ref().clone()))
            .collect();
        assert_eq!(found, expected, "scan of {kind:?}");
    }
    for key in (0..6).flat_map(|n| [dataset_key(n), pull_key(n)]) {
        let wanted = key.clone();
        let seen = loop {
            let wanted = wanted.clone();
            let seen = store
                .transact(Vec::new(), move |view| {
                    let entity = view.entity(&wanted)?.map(|entity| entity.as_ref().clone());
                    Ok(Decision::answer(entity.zip(view.version(&wanted)?)))
                })
                .await;
            match seen {
                Err(StoreError::Rebuilding) => store.ready().await,
                seen => break seen.unwrap().reply,
            }
        };
        assert_eq!(seen.as_ref(), model.get(&key), "{key}");
    }
}

async fn scanned(store: &FileStore, kind: Kind) -> Vec<(Key, std::sync::Arc<Entity>)> {
    loop {
        store.ready().await;
        match store.scan(kind, None, 100).await {
            Err(StoreError::Rebuilding) => {}
            found => return found.unwrap(),
        }
    }
}

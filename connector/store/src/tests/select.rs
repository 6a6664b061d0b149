//! Datasets found by their secondary entries are those that a look at every dataset finds.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use engine::catalog::{Selection, Selector, Start};
use engine::entity::Dataset;
use engine::{Entity, Key, Kind, Store as _};
use jiff::Timestamp;
use protocol::id::DatasetId;

use super::support::{Site, dataset, dataset_key, put, write};
use crate::FileStore;

const COUNT: u64 = 60;

/// A dataset in one of its forms: other tags, another policy, withdrawn.
fn form(number: u64, form: u64) -> Entity {
    let Entity::Dataset(mut dataset) = dataset(number, "one of many") else {
        panic!("it is a dataset")
    };
    let mixed = number.wrapping_mul(7).wrapping_add(form.wrapping_mul(13));
    for (tag, divisor) in [("a", 2), ("b", 3), ("c", 11)] {
        if mixed.is_multiple_of(divisor) {
            dataset.tags.insert(tag.to_owned());
        }
    }
    if mixed.is_multiple_of(5) {
        dataset.policies.insert("open".to_owned());
    }
    if mixed.is_multiple_of(4) {
        dataset.media_type = "application/json".to_owned();
    }
    if mixed % 17 == 3 {
        dataset.withdrawn = Some(Timestamp::UNIX_EPOCH);
    }
    dataset.into()
}

fn tag(tag: &str) -> Selector {
    Selector::Tag(tag.to_owned())
}

fn id(number: u64) -> DatasetId {
    match dataset_key(number) {
        Key::Dataset(id) => id,
        other => panic!("{other}"),
    }
}

/// Questions of one, several and no groups.
fn questions() -> Vec<Vec<BTreeSet<Selector>>> {
    let policy = || Selector::Policy("open".to_owned());
    let json = || Selector::MediaType("application/json".to_owned());
    let ids = || (0..COUNT + 5).step_by(3).map(|number| Selector::Id(id(number)));
    vec![
        vec![],
        vec![BTreeSet::new()],
        vec![BTreeSet::from([tag("a")])],
        vec![BTreeSet::from([tag("a"), tag("b"), policy(), tag("nobody has it")])],
        vec![ids().collect()],
        vec![ids().chain([tag("c"), policy()]).collect()],
        vec![BTreeSet::from([tag("a"), policy()]), BTreeSet::from([json()])],
        vec![BTreeSet::from([tag("a")]), BTreeSet::from([tag("b")]), ids().collect()],
        vec![BTreeSet::from([tag("c")]), BTreeSet::from([tag("nobody has it")])],
    ]
}

async fn scanned(store: &FileStore) -> Vec<Dataset> {
    let all = store.scan(Kind::Dataset, None, 10_000).await.unwrap();
    let datasets = all.iter().map(|(_, entity)| match entity.as_ref() {
        Entity::Dataset(dataset) => dataset.clone(),
        other => panic!("{other:?}"),
    });
    datasets.collect()
}

/// Every page of a question, forwards or backwards, in the order of ids.
async fn paged(
    store: &FileStore,
    all_of: &[BTreeSet<Selector>],
    limit: usize,
    backwards: bool,
) -> Vec<Arc<Dataset>> {
    // Greater than any id of these tests.
    let end = "zzz".parse().unwrap();
    let mut start = if backwards { Start::Before(end) } else { Start::First };
    let mut found = Vec::new();
    loop {
        let selection = Selection { all_of: all_of.to_vec(), start, limit };
        let selected = store.select(selection).await.unwrap();
        assert!(selected.datasets.len() <= limit);
        found.extend(selected.datasets);
        let Some(id) = selected.more_from else { break };
        start = if backwards { Start::Before(id) } else { Start::After(id) };
    }
    if backwards {
        found.reverse();
    }
    found
}

async fn agrees_with_a_scan(store: &FileStore) {
    let all = scanned(store).await;
    for all_of in questions() {
        let expected: Vec<&Dataset> = all
            .iter()
            .filter(|dataset| !all_of.is_empty() && dataset.is_available())
            .filter(|dataset| {
                all_of.iter().all(|group| group.iter().any(|selector| selector.finds(dataset)))
            })
            .collect();
        for limit in [1, 4, 1_000] {
            for backwards in [false, true] {
                let found = paged(store, &all_of, limit, backwards).await;
                let found: Vec<&Dataset> = found.iter().map(Arc::as_ref).collect();
                assert_eq!(found, expected, "{all_of:?} {limit} {backwards}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_entries_find_is_what_a_scan_finds_also_after_restarts_and_rebuilds() {
    let site = Site::new();
    let (store, _) = site.open();
    agrees_with_a_scan(&store).await;
    for round in 0..3 {
        for number in (0..COUNT).filter(|number| number % (round + 1) == 0) {
            put(&store, dataset_key(number), form(number, round)).await.unwrap();
        }
        agrees_with_a_scan(&store).await;
    }
    for number in 10..20 {
        write(&store, engine::LogId::Site, dataset_key(number), None).await.unwrap();
    }
    agrees_with_a_scan(&store).await;
    store.close().await.unwrap();

    // A clean stop: caught up. Then without the index: made anew from a snapshot.
    let (store, _) = site.open();
    store.ready().await;
    agrees_with_a_scan(&store).await;
    put(&store, dataset_key(1), form(1, 9)).await.unwrap();
    store.close().await.unwrap();
    fs::remove_dir_all(site.data().join("index")).unwrap();
    let (store, _) = site.open();
    store.ready().await;
    agrees_with_a_scan(&store).await;
    put(&store, dataset_key(2), form(2, 9)).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_behind_is_brought_up_to_the_journal_with_its_entries() {
    let site = Site::new();
    let (store, _) = site.open();
    for number in 0..COUNT {
        put(&store, dataset_key(number), form(number, 0)).await.unwrap();
    }
    store.close().await.unwrap();
    // The index as it was then, under a journal that went on: what a crash of the process leaves.
    let (index, kept) = (site.data().join("index"), site.directory.path().join("kept"));
    copy(&index, &kept);
    let (store, _) = site.open();
    store.ready().await;
    for number in 0..COUNT {
        put(&store, dataset_key(number), form(number, 1)).await.unwrap();
        put(&store, dataset_key(number), form(number, 2)).await.unwrap();
    }
    store.close().await.unwrap();
    fs::remove_dir_all(&index).unwrap();
    copy(&kept, &index);
    let (store, report) = site.open();
    assert!(report.index_kept, "{report:?}");
    store.ready().await;
    agrees_with_a_scan(&store).await;
    store.close().await.unwrap();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

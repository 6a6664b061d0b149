//! The store as a whole, on real files.

mod evidence;
mod faults;
mod model;
mod pages;
mod permits;
mod restart;
mod select;
mod support;

use std::sync::Arc;

use engine::{Entity, Key, Kind, LogId, RecordDraft, Store as _, StoreError};

use crate::{Change, Written};
use support::{Site, count, dataset, dataset_key, draft, put, read, token, usage_key};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_that_count_come_to_a_hundred() {
    let site = Site::new();
    let (store, _) = site.open();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { count(&store).await.map(|committed| committed.reply) })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<u64>>(), "every decision saw those before it");
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_is_cold_is_loaded_for_the_decision_that_needs_it() {
    let site = Site::new();
    let (store, _) = site.open();
    put(&store, dataset_key(1), dataset(1, "one")).await.unwrap();
    store.close().await.unwrap();

    let (store, _) = site.open();
    store.ready().await;
    assert_eq!(read(&store, dataset_key(1)).await, Some(dataset(1, "one")));
    assert_eq!(read(&store, dataset_key(2)).await, None, "what is nowhere is absent");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_loaded_is_not_used_when_it_changed_meanwhile() {
    let site = Site::new();
    let (store, _) = site.open();
    put(&store, dataset_key(1), dataset(1, "0")).await.unwrap();
    store.close().await.unwrap();
    let (store, _) = site.open();
    store.ready().await;
    // Each task reads a cold entity and writes it again with one more: no update may be lost, wherever it was read.
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .transact(vec![dataset_key(1)], |view| {
                        let number: u64 = match view.entity(&dataset_key(1))?.as_deref() {
                            Some(Entity::Dataset(dataset)) => dataset.title.parse().unwrap(),
                            other => panic!("{other:?}"),
                        };
                        let next = dataset(1, &(number + 1).to_string());
                        Ok(engine::Decision::commit(vec![draft().put(dataset_key(1), next)], ()))
                    })
                    .await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(read(&store, dataset_key(1)).await, Some(dataset(1, "50")));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_decision_that_panics_harms_nobody_else() {
    let site = Site::new();
    let (store, _) = site.open();
    let outcome = store.transact::<()>(Vec::new(), |_| panic!("a fault in a decision")).await;
    assert!(matches!(outcome, Err(StoreError::Rejected { .. })), "{outcome:?}");
    assert_eq!(count(&store).await.unwrap().reply, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_decision_that_asks_for_ever_is_refused() {
    let site = Site::new();
    let (store, _) = site.open();
    let mut number = 0;
    let outcome = store
        .transact::<()>(Vec::new(), move |_| {
            number += 1;
            Err(engine::Need(vec![dataset_key(number)]))
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::Rejected { .. })), "{outcome:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_the_index_could_not_hold_is_refused_before_it_is_stored() {
    let site = Site::new();
    let (store, _) = site.open();
    let large = dataset(1, &"x".repeat(70_000));
    let outcome = put(&store, dataset_key(1), large).await;
    assert!(matches!(outcome, Err(StoreError::Rejected { .. })), "{outcome:?}");
    assert_eq!(read(&store, dataset_key(1)).await, None);
    assert_eq!(store.tree_head(LogId::Site.in_epoch(1)).await.unwrap().0, 0);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_decision_without_records_writes_nothing() {
    let site = Site::new();
    let (store, _) = site.open();
    let committed =
        store.transact(Vec::new(), |view| Ok(engine::Decision::answer(view.now()))).await.unwrap();
    assert!(committed.positions.is_empty());
    assert_eq!(*store.durable().borrow(), None);
    store.close().await.unwrap();
}

#[tokio::test]
async fn time_never_goes_back_behind_what_is_journaled() {
    let site = Site::new();
    let (store, _) = site.open();
    let first = store
        .transact(Vec::new(), |view| Ok(engine::Decision::commit(vec![draft()], view.now())))
        .await
        .unwrap();
    site.clock.turn_back(3_600);
    let second =
        store.transact(Vec::new(), |view| Ok(engine::Decision::answer(view.now()))).await.unwrap();
    assert_eq!(first.reply, second.reply);
    store.close().await.unwrap();
    let (store, _) = site.open();
    let third =
        store.transact(Vec::new(), |view| Ok(engine::Decision::answer(view.now()))).await.unwrap();
    assert_eq!(first.reply, third.reply, "a restart remembers it");
    store.close().await.unwrap();
}

#[tokio::test]
async fn watchers_learn_of_durable_writes_and_of_nothing_else() {
    let site = Site::new();
    let (store, _) = site.open();
    let mut watched = store.subscribe(usage_key());
    let mut tokens = store.subscribe_kinds(&[Kind::Token]);
    put(&store, Key::Token("a".to_owned()), token()).await.unwrap();
    assert!(!watched.has_changed().unwrap());
    let is_written =
        |is_gone| Change::Written(vec![Written { key: Key::Token("a".to_owned()), is_gone }]);
    assert_eq!(tokens.next().await, is_written(false));
    let committed = count(&store).await.unwrap();
    watched.changed().await.unwrap();
    assert_eq!(*watched.borrow(), committed.positions.first().copied());
    store.close().await.unwrap();
    assert!(watched.changed().await.is_err(), "the end is told");
    assert_eq!(tokens.next().await, Change::Closed);
}

#[tokio::test]
async fn a_slow_receiver_is_told_to_look_again() {
    let site = Site::new();
    let (store, _) = site.open();
    let mut tokens = store.subscribe_kinds(&[Kind::Token]);
    for number in 0..1_100 {
        put(&store, Key::Token(number.to_string()), token()).await.unwrap();
    }
    assert_eq!(tokens.next().await, Change::Rescan);
    assert!(matches!(tokens.next().await, Change::Written(_)));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_sees_every_entity_once_while_others_write() {
    let site = Site::new();
    let (store, _) = site.open();
    store.ready().await;
    for number in 0..200 {
        put(&store, dataset_key(number), dataset(number, "a")).await.unwrap();
    }
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..3 {
                for number in 0..200 {
                    let title = format!("round {round}");
                    put(&store, dataset_key(number), dataset(number, &title)).await.unwrap();
                }
            }
        })
    };
    while !writer.is_finished() {
        let mut after = None;
        let mut found = Vec::new();
        loop {
            let page = store.scan(Kind::Dataset, after.clone(), 37).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            found.extend(page.into_iter().map(|(key, _)| key));
        }
        assert_eq!(found, (0..200).map(dataset_key).collect::<Vec<_>>());
    }
    writer.await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_refuses() {
    let site = Site::new();
    let (store, _) = site.open();
    let other = store.clone();
    store.close().await.unwrap();
    assert!(matches!(count(&other).await, Err(StoreError::Closed)));
    assert!(matches!(other.scan(Kind::Token, None, 1).await, Err(StoreError::Closed)));
    assert!(matches!(other.close().await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let site = Site::new();
    let (store, _) = site.open();
    let error = site.try_open().unwrap_err();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    store.close().await.unwrap();
    site.open().0.close().await.unwrap();
}

#[tokio::test]
async fn records_of_one_decision_have_following_positions() {
    let site = Site::new();
    let (store, _) = site.open();
    let committed = store
        .transact(Vec::new(), |_| {
            let record =
                |name: &str| -> RecordDraft { draft().put(Key::Token(name.to_owned()), token()) };
            Ok(engine::Decision::commit(vec![record("a"), record("b")], ()))
        })
        .await
        .unwrap();
    let [first, second] = committed.positions[..] else { panic!("{committed:?}") };
    assert_eq!((second.frame, second.record), (first.frame, first.record + 1));
    let versions = store
        .transact(Vec::new(), |view| {
            let version = |name: &str| view.version(&Key::Token(name.to_owned()));
            Ok(engine::Decision::answer((version("a")?, version("b")?)))
        })
        .await
        .unwrap();
    assert_eq!(versions.reply, (Some(first), Some(second)));
    let tokens = store.scan(Kind::Token, None, 10).await.unwrap();
    assert_eq!(tokens.len(), 2);
    assert_eq!(tokens[0].1, Arc::new(token()));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_dropped_keeps_the_directory_until_it_has_stopped() {
    let site = Site::new();
    let (store, _) = site.open();
    count(&store).await.unwrap();
    let mut durable = store.durable();
    drop(store);
    while durable.changed().await.is_ok() {}
    let store = loop {
        match site.try_open() {
            Ok((store, report)) => {
                assert!(!report.clean_stop, "nobody closed it");
                break store;
            }
            Err(error) => assert!(matches!(error, crate::OpenError::Locked { .. }), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(count(&store).await.unwrap().reply, 2);
    store.close().await.unwrap();
}

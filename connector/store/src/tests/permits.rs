//! Permits: whatever takes the ground of one away ends it, before anything is recorded.

use std::time::Duration;

use engine::entity::{Agreement, Digests, Grant, Partner, PartnerState, Side, Token, Transfer};
use engine::{Entity, Fresh, Key, Peer, RecordKind, Store as _, StoreError};
use jiff::Timestamp;
use protocol::process::{Process, Role};
use protocol::transfer::State;
use serde_json::json;
use uuid::Uuid;

use super::faults::{Disk, SOUND, UNWRITABLE};
use super::support::{Site, dataset, dataset_key, put, read};
use crate::{Ending, FileStore};

const PARTNER: &str = "urn:example:partner";
const TRANSFER: &str = "urn:example:transfer";

fn partner(state: PartnerState) -> Entity {
    Partner {
        v: 1,
        participant: PARTNER.parse().unwrap(),
        name: "partner".to_owned(),
        title: "Partner".to_owned(),
        state,
        groups: Default::default(),
        region: None,
        operator_id: None,
        attributes: Default::default(),
        credentials: Vec::new(),
        dsp_endpoint: "https://partner.example/dsp".to_owned(),
        origins: Default::default(),
        signing_key: None,
        card_number: None,
        extensions: Default::default(),
        handling: None,
        file_sha256: String::new(),
    }
    .into()
}

fn agreement() -> Entity {
    Agreement {
        v: 1,
        id: "agreement".parse().unwrap(),
        side: Side::Provider,
        participant: PARTNER.parse().unwrap(),
        dataset: "dataset-00001".parse().unwrap(),
        offer: "offer".parse().unwrap(),
        terms: json!({
            "@id": "agreement",
            "@type": "Agreement",
            "assigner": "urn:example:provider",
            "assignee": PARTNER,
            "target": "dataset-00001",
            "timestamp": "1970-01-01T00:00:00Z",
            "permission": [{"action": "use"}],
        }),
        sha256: String::new(),
        policy_sha256: String::new(),
        purpose: None,
        negotiation: "urn:example:negotiation".parse().unwrap(),
        created: Timestamp::UNIX_EPOCH,
        finalized: true,
        handling: engine::Handling::Auto,
        ended: None,
        read: engine::entity::ReadTerms::default(),
    }
    .into()
}

fn digests() -> Digests {
    match dataset(1, "a") {
        Entity::Dataset(dataset) => dataset.digests,
        other => panic!("{other:?}"),
    }
}

fn transfer() -> Entity {
    Transfer {
        v: 1,
        pid: TRANSFER.parse().unwrap(),
        peer_pid: Some("urn:example:theirs".parse().unwrap()),
        participant: PARTNER.parse().unwrap(),
        process: Process::in_state(Role::Provider, State::Started),
        peer_base: "https://partner.example/dsp".to_owned(),
        agreement: "agreement".parse().unwrap(),
        dataset: "dataset-00001".parse().unwrap(),
        format: "HttpData-PULL".to_owned(),
        node: Default::default(),
        grant: Some(Grant {
            version: "1".to_owned(),
            digests: digests(),
            use_number: 1,
            granted: None,
            previous_use: None,
            generation: 1,
            token_sha256: "token".to_owned(),
            provenance: String::new(),
            provenance_sha256: String::new(),
            served: 0,
            requests: 0,
        }),
        source: None,
        target: None,
        upload: None,
        accepted: Vec::new(),
        transitions: 3,
        outbox: Vec::new(),
        withdrawn: Vec::new(),
        failure: None,
        created: Timestamp::UNIX_EPOCH,
        handling: engine::Handling::Auto,
        awaiting: None,
        changed: Timestamp::UNIX_EPOCH,
    }
    .into()
}

/// Stores everything that a permit rests on.
async fn prepare(store: &FileStore) {
    let token = Token { v: 1, transfer: TRANSFER.parse().unwrap(), generation: 1 };
    for (key, entity) in [
        (Key::Partner(PARTNER.parse().unwrap()), partner(PartnerState::Active)),
        (dataset_key(1), dataset(1, "a")),
        (Key::Agreement("agreement".parse().unwrap()), agreement()),
        (Key::Transfer(TRANSFER.parse().unwrap()), transfer()),
        (Key::Token("token".to_owned()), token.into()),
    ] {
        put(store, key, entity).await.unwrap();
    }
}

async fn admit(store: &FileStore) -> Ending {
    let peer = Peer {
        participant: PARTNER.parse().unwrap(),
        proof: String::new(),
        node: Default::default(),
        place: "test".to_owned(),
    };
    let pid = TRANSFER.parse().unwrap();
    let fresh = Fresh::draw(Uuid::nil);
    let (committed, permit) = store
        .admit(Vec::new(), move |view| {
            engine::data::admit(view, &fresh, &peer, &pid, "token", false)
        })
        .await
        .unwrap();
    committed.reply.unwrap();
    let (permit, ending) = permit.unwrap();
    assert_eq!(permit.digests(), &digests());
    ending
}

async fn has_ended(ending: &mut Ending) -> bool {
    tokio::time::timeout(Duration::ZERO, ending).await.is_ok()
}

async fn cuts(store: &FileStore) -> usize {
    let durable = *store.durable().borrow();
    let mut tail = store.tail(None);
    let mut cuts = 0;
    while let Some(record) = tail.next().await.unwrap() {
        cuts += usize::from(record.kind == RecordKind::TransferCut);
        if Some(record.position) == durable {
            break;
        }
    }
    cuts
}

async fn suspend(store: &FileStore) -> Result<(), StoreError> {
    let key = Key::Partner(PARTNER.parse().unwrap());
    put(store, key, partner(PartnerState::Suspended)).await.map(|_| ())
}

#[tokio::test]
async fn a_commit_that_takes_the_ground_away_ends_the_permits_that_rest_on_it() {
    let site = Site::new();
    let (store, _) = site.open();
    prepare(&store).await;
    let mut first = admit(&store).await;
    let mut second = admit(&store).await;
    // A commit about something else, and one that leaves the ground as it is.
    put(&store, dataset_key(2), dataset(2, "b")).await.unwrap();
    put(&store, dataset_key(1), dataset(1, "another title")).await.unwrap();
    assert!(!has_ended(&mut first).await);
    suspend(&store).await.unwrap();
    for ending in [&mut first, &mut second] {
        assert!(has_ended(ending).await, "it ended before the commit was answered");
    }
    assert_eq!(cuts(&store).await, 2);
    let terminated = read(&store, Key::Transfer(TRANSFER.parse().unwrap())).await;
    assert_ne!(terminated, Some(transfer()), "the transfer is being terminated");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_is_stopped_even_when_that_cannot_be_recorded_and_is_recorded_later() {
    let site = Site::new();
    let disk = Disk::default();
    let environment = site.environment();
    let (store, _) =
        FileStore::open_with_layer(&site.data(), site.options, environment, disk.clone()).unwrap();
    prepare(&store).await;
    let mut ending = admit(&store).await;
    disk.becomes(UNWRITABLE);
    assert!(matches!(suspend(&store).await, Err(StoreError::WriteFailed { .. })));
    assert!(has_ended(&mut ending).await);
    assert_eq!(cuts(&store).await, 0);
    disk.becomes(SOUND);
    put(&store, dataset_key(2), dataset(2, "b")).await.unwrap();
    assert_eq!(cuts(&store).await, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_cut_that_could_not_be_recorded_is_recorded_though_nobody_asks_for_anything() {
    let site = Site::new();
    let disk = Disk::default();
    let environment = site.environment();
    let (store, _) =
        FileStore::open_with_layer(&site.data(), site.options, environment, disk.clone()).unwrap();
    prepare(&store).await;
    let ending = admit(&store).await;
    disk.becomes(UNWRITABLE);
    assert!(matches!(suspend(&store).await, Err(StoreError::WriteFailed { .. })));
    ending.await;
    let mut durable = store.durable();
    durable.mark_unchanged();
    disk.becomes(SOUND);
    tokio::time::timeout(Duration::from_secs(60), durable.changed()).await.unwrap().unwrap();
    assert_eq!(cuts(&store).await, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_permit_rests_on_cold_entities_too() {
    let site = Site::new();
    let (store, _) = site.open();
    prepare(&store).await;
    store.close().await.unwrap();
    let (store, _) = site.open();
    store.ready().await;
    let mut ending = admit(&store).await;
    assert_eq!(store.recheck_permits(TRANSFER.parse().unwrap()).await.unwrap(), 0);
    assert!(!has_ended(&mut ending).await);
    assert_eq!(store.recheck_due().await.unwrap(), 0);
    assert!(!has_ended(&mut ending).await);
    let withdrawn = match dataset(1, "a") {
        Entity::Dataset(dataset) => {
            engine::entity::Dataset { withdrawn: Some(Timestamp::UNIX_EPOCH), ..dataset }
        }
        other => panic!("{other:?}"),
    };
    put(&store, dataset_key(1), withdrawn.into()).await.unwrap();
    assert!(has_ended(&mut ending).await);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_permit_that_was_given_back_is_not_cut() {
    let site = Site::new();
    let (store, _) = site.open();
    prepare(&store).await;
    drop(admit(&store).await);
    suspend(&store).await.unwrap();
    assert_eq!(cuts(&store).await, 0);
    store.close().await.unwrap();
}

#[tokio::test]
async fn closing_the_store_ends_all_permits() {
    let site = Site::new();
    let (store, _) = site.open();
    prepare(&store).await;
    let ending = admit(&store).await;
    store.close().await.unwrap();
    assert!(!ending.await.terminates);
}

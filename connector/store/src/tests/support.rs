//! A site for tests: a directory, a clock that can be turned back, and small entities.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use engine::entity::{Dataset, Digests, Location, Pull, PullStep, Token, Usage};
use engine::{
    Category, Committed, Context, Decision, Entity, Key, LogId, RecordDraft, RecordKind,
    Store as _, StoreError, TreeId,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    Clock, Environment, FileStore, OpenError, OpenReport, Options, SystemClock, SystemRandom,
};

pub(super) struct Site {
    pub(super) directory: tempfile::TempDir,
    pub(super) clock: Arc<TurnedClock>,
    pub(super) options: Options,
}

impl Site {
    pub(super) fn new() -> Self {
        Self::with(Options { segment_bytes: 1 << 20, ..Options::default() })
    }

    pub(super) fn with(options: Options) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), clock: Arc::default(), options }
    }

    pub(super) fn environment(&self) -> Environment {
        Environment {
            context: context(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::new(SystemRandom::default()),
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(super) fn try_open(&self) -> Result<(FileStore, OpenReport), OpenError> {
        FileStore::open(&self.data(), self.options, self.environment())
    }

    pub(super) fn open(&self) -> (FileStore, OpenReport) {
        self.try_open().unwrap()
    }
}

/// The system's clock, turned back by some seconds.
#[derive(Debug, Default)]
pub(super) struct TurnedClock(AtomicI64);

impl TurnedClock {
    pub(super) fn turn_back(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() - SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn since_boot(&self) -> Duration {
        SystemClock.since_boot()
    }
}

pub(super) fn context() -> Context {
    Context {
        participant: "urn:example:provider".parse().unwrap(),
        dsp_endpoint: "https://provider.example/dsp".to_owned(),
        data_endpoint: "https://provider.example/data".to_owned(),
        delivery_deadline: SignedDuration::from_hours(24),
        approval_deadline: SignedDuration::from_hours(168),
        limits: engine::deadline::ProcessLimits::default(),
    }
}

pub(super) fn draft() -> RecordDraft {
    RecordDraft::new(LogId::Site, RecordKind::SiteStarted, Category::Service)
}

pub(super) fn dataset_key(number: u64) -> Key {
    Key::Dataset(format!("dataset-{number:05}").parse().unwrap())
}

/// A dataset, which is always cold.
pub(super) fn dataset(number: u64, title: &str) -> Entity {
    Dataset {
        v: 1,
        id: format!("dataset-{number:05}").parse().unwrap(),
        title: title.to_owned(),
        description: None,
        version: "1".to_owned(),
        last_number: 1,
        language: None,
        licence: None,
        confidentiality: None,
        tags: BTreeSet::new(),
        policies: BTreeSet::new(),
        media_type: "text/csv".to_owned(),
        file_name: "a.csv".to_owned(),
        digests: Digests { sha256: "00".repeat(32), blake3: "00".repeat(32), size: number },
        location: Location::Stored,
        published: Timestamp::UNIX_EPOCH,
        withdrawn: None,
        damaged: None,
        derived_from: Vec::new(),
    }
    .into()
}

pub(super) fn pull_key(number: u64) -> Key {
    Key::Pull(format!("pull-{number}"))
}

/// A pull, which is hot until it is closed.
pub(super) fn pull(number: u64, closed: bool, round: u64) -> Entity {
    let transfer = "urn:example:transfer".parse().unwrap();
    Pull {
        v: 1,
        id: format!("pull-{number}"),
        participant: "urn:example:partner".parse().unwrap(),
        dataset: format!("round-{round}").parse().unwrap(),
        purpose: None,
        push: false,
        step: match closed {
            true => PullStep::Delivered { transfer, digests: None, file_name: None },
            false => PullStep::Transferring { transfer },
        },
        renewals: 0,
        created: Timestamp::UNIX_EPOCH,
        received: None,
    }
    .into()
}

pub(super) fn token() -> Entity {
    Token { v: 1, transfer: "urn:example:transfer".parse().unwrap(), generation: 1 }.into()
}

pub(super) fn usage_key() -> Key {
    Key::Usage(
        "urn:example:partner".parse().unwrap(),
        "offer".parse().unwrap(),
        "dataset".parse().unwrap(),
    )
}

pub(super) fn relation() -> LogId {
    LogId::Relation("urn:example:partner".parse().unwrap())
}

/// The site's log in the first epoch.
pub(super) fn site_tree() -> TreeId {
    LogId::Site.in_epoch(1)
}

/// The relation's log in the first epoch.
pub(super) fn relation_tree() -> TreeId {
    relation().in_epoch(1)
}

/// Stores an entity, or removes it.
pub(super) async fn write(
    store: &FileStore,
    log: LogId,
    key: Key,
    entity: Option<Entity>,
) -> Result<Committed<()>, StoreError> {
    store
        .transact(Vec::new(), move |_| {
            let record = RecordDraft::new(log.clone(), RecordKind::SiteStarted, Category::Service);
            let record = match entity.clone() {
                Some(entity) => record.put(key.clone(), entity),
                None => record.remove(key.clone()),
            };
            Ok(Decision::commit(vec![record], ()))
        })
        .await
}

pub(super) async fn put(
    store: &FileStore,
    key: Key,
    entity: Entity,
) -> Result<Committed<()>, StoreError> {
    write(store, LogId::Site, key, Some(entity)).await
}

pub(super) async fn read(store: &FileStore, key: Key) -> Option<Entity> {
    store
        .transact(vec![key.clone()], move |view| {
            Ok(Decision::answer(view.entity(&key)?.map(|entity| entity.as_ref().clone())))
        })
        .await
        .unwrap()
        .reply
}

/// Adds one to a counter and answers its new value.
pub(super) async fn count(store: &FileStore) -> Result<Committed<u64>, StoreError> {
    store
        .transact(vec![usage_key()], |view| {
            let uses = match view.entity(&usage_key())?.as_deref() {
                Some(Entity::Usage(usage)) => usage.uses,
                _ => 0,
            };
            let next = Usage { v: 1, uses: uses + 1, latest: None };
            Ok(Decision::commit(vec![draft().put(usage_key(), next)], uses + 1))
        })
        .await
}

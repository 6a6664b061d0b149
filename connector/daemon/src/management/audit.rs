//! The journal for people: pages of records, searches, and records as they are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Account, Category, LogId, RecordKind, Store as _, TreeId};
use protocol::id::ParticipantId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use store::StoredRecord;

use super::answer::{self, ApiError, Events, Stop};
use super::caller::READERS;
use super::route::{Call, Json, Lines, Route};
use super::shape::DspMessage;
use super::{partners, status};
use crate::node::Node;

/// How many records are listed when nothing is said.
const LIMIT: u64 = 100;
/// How many are listed at most.
const LIMIT_MAX: u64 = 10_000;
/// How many records are read at once.
const STEP: u64 = 256;
/// How many records one request looks at.
const LOOK_MAX: u64 = 200_000;

pub(super) fn routes() -> Vec<Route> {
    let log = "the log: `site`, or a partner's short name; else all";
    let full = "with messages and persons";
    vec![
        Route::get("audit.records", "/v1/audit/records", "Records of the journal", records)
            .for_roles(READERS)
            .query::<String>("log", log)
            .query::<u64>("from", "the index of the first record in the log; else the newest")
            .query::<u32>("epoch", "the epoch of the log; else all, with `from` the latest")
            .query::<u64>("limit", "how many at most")
            .query::<String>("kind", "only records of this kind")
            .query::<String>("reference", "only records behind this reference (`urn:uuid:…`)")
            .query::<Option<String>>("full", full),
        Route::get("audit.tail", "/v1/audit/tail", "New records as they become durable", tail)
            .for_roles(READERS)
            .query::<String>("log", log)
            .query::<Option<String>>("full", full),
    ]
}

/// Which records are wanted.
#[derive(Debug, Default)]
struct Wanted {
    kind: Option<RecordKind>,
    reference: Option<String>,
}

impl Wanted {
    fn is(&self, record: &StoredRecord) -> bool {
        self.kind.is_none_or(|kind| record.kind == kind)
            && self
                .reference
                .as_ref()
                .is_none_or(|reference| record.account.reference.as_ref() == Some(reference))
    }
}

/// Records of the journal.
#[derive(Debug, Serialize, JsonSchema)]
struct Records {
    records: Vec<ShownRecord>,
    /// Whether everything was looked at in which they could be; one request looks at a bounded number of records.
    whole: bool,
}

/// A record as people read it. What it wrote is named, not shown.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownRecord {
    /// `site`, or the partner's short name.
    log: String,
    epoch: u32,
    /// Its index in the log, from 0.
    index: Option<u64>,
    time: String,
    /// What happened.
    #[schemars(with = "String")]
    kind: RecordKind,
    /// `communication`, `service` or `processing`.
    #[schemars(with = "String")]
    category: Category,
    #[schemars(with = "ShownAccount")]
    account: Account,
    /// What its leaf shows, by name; hexadecimal.
    digests: BTreeMap<String, String>,
    /// Where it is in the journal.
    position: String,
    /// The keys of the entities that it wrote.
    writes: Vec<String>,
    /// Where messages and persons are asked for.
    #[serde(flatten)]
    body: Option<ShownBody>,
}

/// Messages and persons.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownBody {
    /// Who acted.
    person: Option<String>,
    #[schemars(with = "Option<DspMessage>")]
    message: Option<Value>,
    /// Whether the record had a message or a person that is no longer there in the clear.
    body_withheld: bool,
}

/// Who, where, why and how of a record: the form of [`Account`], which the engine stores.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "for the description alone")]
struct ShownAccount {
    /// The participant on whose behalf it happened.
    participant: Option<String>,
    /// The node or application that acted, such as a certificate's SHA-256.
    node: Option<String>,
    /// The listener, address or command through which it came.
    #[schemars(rename = "where")]
    place: Option<String>,
    /// The agreement that it rests on.
    agreement: Option<String>,
    /// The SHA-256 of the policy that decided, hexadecimal.
    policy: Option<String>,
    /// The declared purpose.
    purpose: Option<String>,
    /// The reference that a refused party was given.
    reference: Option<String>,
    /// The full reason.
    reason: Option<String>,
    /// Further facts of this kind of record.
    facts: Option<BTreeMap<String, Option<Fact>>>,
}

/// A fact of a record.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "for the description alone")]
enum Fact {
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Fact>),
    Members(BTreeMap<String, Fact>),
}

/// Records of one log or of all, the newest page by default, in the order in which they were written.
async fn records(mut call: Call) -> Result<Json<Records>, ApiError> {
    let node = Arc::clone(call.node());
    let (node, query) = (&node, &mut call.query);
    let log = query.take::<String>("log")?.map(|name| log(node, &name)).transpose()?;
    let from = query.take::<u64>("from")?;
    let epoch = query.take::<u32>("epoch")?;
    let limit = query.take::<u64>("limit")?.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let kind = query.take::<String>("kind")?.map(|kind| record_kind(&kind)).transpose()?;
    let wanted = Wanted { kind, reference: query.take("reference")? };
    let full = query.flag("full");
    let trees: Vec<TreeId> = node
        .store
        .trees()
        .into_iter()
        .filter(|tree| log.as_ref().is_none_or(|log| tree.log == *log))
        .filter(|tree| epoch.is_none_or(|epoch| tree.epoch == epoch))
        .collect();
    let mut search = Search { node, wanted, limit, left: LOOK_MAX };
    let found = match (log, from) {
        // Numbers begin anew with each epoch: where none is named, the latest is meant.
        (Some(_), Some(from)) => match trees.into_iter().next_back() {
            Some(tree) => search.forwards(tree, from).await?,
            None => Vec::new(),
        },
        (None, Some(_)) => {
            return Err(ApiError::invalid("a record's number counts within one log")
                .help("name the log with `--log site` or `--log PARTNER`"));
        }
        (_, None) => search.newest(trees).await?,
    };
    let whole = search.left > 0;
    let records = found.iter().map(|record| show(node, record, full)).collect();
    Ok(Json(Records { records, whole }))
}

/// New records as they become durable, until nobody reads or the daemon stops.
async fn tail(mut call: Call) -> Result<Lines<ShownRecord>, ApiError> {
    let node = Arc::clone(call.node());
    let log = call.query.take::<String>("log")?.map(|name| log(&node, &name)).transpose()?;
    let full = call.query.flag("full");
    Ok(answer::stream(move |events| follow(node, log, full, events)))
}

async fn follow(
    node: Arc<Node>,
    log: Option<LogId>,
    full: bool,
    events: Events<ShownRecord>,
) -> Result<(), Stop> {
    let durable = *node.store.durable().borrow();
    let mut tail = node.store.tail(durable);
    loop {
        let next = tokio::select! {
            () = events.gone() => return Err(Stop::Gone),
            () = node.shutdown.draining() => return Ok(()),
            next = tail.next() => next?,
        };
        let Some(mut record) = next else { return Ok(()) };
        if log.as_ref().is_some_and(|log| *log != record.tree.log) {
            continue;
        }
        record.index = Some(node.store.index_of(record.position).await?.1);
        events.send(&show(&node, &record, full)).await?;
    }
}

/// Looks through logs, a bounded number of records.
struct Search<'a> {
    node: &'a Node,
    wanted: Wanted,
    limit: u64,
    /// How many records may still be looked at.
    left: u64,
}

impl Search<'_> {
    fn is_full(&self, found: &[StoredRecord]) -> bool {
        found.len() as u64 >= self.limit
    }

    /// From an index on.
    async fn forwards(&mut self, tree: TreeId, from: u64) -> Result<Vec<StoredRecord>, ApiError> {
        let mut found = Vec::new();
        let mut next = from;
        while self.left > 0 && !self.is_full(&found) {
            let step = STEP.min(self.left);
            let page =
                self.node.store.records(tree.clone(), next..next.saturating_add(step)).await?;
            let read = page.len() as u64;
            next = next.saturating_add(read);
            found.extend(page.into_iter().filter(|record| self.wanted.is(record)));
            if read < step {
                break;
            }
            self.left -= read;
        }
        found.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// The newest ones.
    async fn backwards(&mut self, tree: TreeId) -> Result<Vec<StoredRecord>, ApiError> {
        let (mut end, _) = self.node.store.tree_head(tree.clone()).await?;
        let mut found: Vec<StoredRecord> = Vec::new();
        while end > 0 && self.left > 0 && !self.is_full(&found) {
            let start = end.saturating_sub(STEP.min(self.left));
            let mut page = self.node.store.records(tree.clone(), start..end).await?;
            self.left = self.left.saturating_sub(end - start);
            end = start;
            page.retain(|record| self.wanted.is(record));
            page.append(&mut found);
            found = page;
        }
        self.keep_newest(&mut found);
        Ok(found)
    }

    /// The newest ones of several logs and epochs. What is looked at is shared out, so that none hides another.
    async fn newest(&mut self, trees: Vec<TreeId>) -> Result<Vec<StoredRecord>, ApiError> {
        let mut found: Vec<StoredRecord> = Vec::new();
        let mut waiting = trees.len() as u64;
        let mut total = self.left;
        let mut is_whole = true;
        for tree in trees {
            let share = total.checked_div(waiting).unwrap_or(0).max(STEP);
            self.left = share;
            found.extend(self.backwards(tree).await?);
            is_whole &= self.left > 0;
            total = total.saturating_sub(share - self.left);
            waiting = waiting.saturating_sub(1);
            found.sort_by_key(|record| record.position);
            self.keep_newest(&mut found);
        }
        self.left = u64::from(is_whole);
        Ok(found)
    }

    fn keep_newest(&self, found: &mut Vec<StoredRecord>) {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        found.drain(..found.len().saturating_sub(limit));
    }
}

/// A log by what people call it: `site`, a partner's short name, a participant id, or the log's own name.
fn log(node: &Node, name: &str) -> Result<LogId, ApiError> {
    if name == LogId::Site.to_string() {
        return Ok(LogId::Site);
    }
    if let Some(participant) = node.partner_id(name) {
        return Ok(LogId::Relation(participant));
    }
    // A partner that was removed has left its log.
    let named = name.strip_prefix("relation/").unwrap_or(name);
    let named = ParticipantId::new(named)
        .ok()
        .map(LogId::Relation)
        .filter(|log| node.store.trees().iter().any(|tree| tree.log == *log));
    named.ok_or_else(|| partners::unknown(name))
}

fn record_kind(name: &str) -> Result<RecordKind, ApiError> {
    serde_json::from_value(Value::from(name)).map_err(|error| {
        ApiError::invalid(format!("`{name}` is no kind of record")).help(error.to_string())
    })
}

/// A record as people read it; messages and persons only where they are asked for.
fn show(node: &Node, record: &StoredRecord, full: bool) -> ShownRecord {
    let body = || {
        let body = record.body.clone().unwrap_or_default();
        let body_withheld = record.body_withheld;
        ShownBody { person: body.person, message: body.message, body_withheld }
    };
    ShownRecord {
        log: status::name(node, &record.tree.log),
        epoch: record.tree.epoch,
        index: record.index,
        time: record.time.to_string(),
        kind: record.kind,
        category: record.category,
        account: record.account.clone(),
        digests: record.digests.clone(),
        position: record.position.to_string(),
        writes: record.writes.iter().map(|write| write.key.to_string()).collect(),
        body: full.then(body),
    }
}

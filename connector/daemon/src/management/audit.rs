//! The journal for people: pages of records, searches, and records as they are written.
//!
//! Records are a list like the others ([`super::list`]), but there may be millions of them: their only order is that of the
//! journal, from either end, and one request looks at a bounded number of them. A page that is short for that has a next one,
//! and what would take longer to count is not counted.

mod search;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use engine::{Account, Category, LogId, Position, RecordKind, Store as _, TreeId};
use protocol::id::ParticipantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::StoredRecord;

use super::answer::{self, ApiError, Events, Stop};
use super::caller::READERS;
use super::list::criteria::{Filter, QueryError, behind, id_behind};
use super::list::{LIMIT, LIMIT_MAX, Page, check_members};
use super::route::{Call, Json, Lines, Route};
use super::shape::DspMessage;
use super::{partners, status};
use crate::node::Node;
use search::{Reading, Search};

/// How many records one request looks at, and once more to count them.
const LOOK_MAX: u64 = 200_000;
/// The member that tells two records apart, by which they are in order.
const ORDER: &str = "position";
const NEWEST_FIRST: &str = "-position";

pub(super) fn routes() -> Vec<Route> {
    let log = "the log: `site`, or a partner's short name; else all";
    let full = "with messages and persons";
    vec![
        Route::get("audit.records", "/v1/audit/records", "Records, the newest first", simple)
            .for_roles(READERS)
            .query::<String>("log", log)
            .query::<u64>(
                "from",
                "the index of the first record in the log, from which on the oldest come first",
            )
            .query::<u32>("epoch", "the epoch of the log; else all, with `from` the latest")
            .query::<String>("kind", "only records of this kind")
            .query::<String>("reference", "only records behind this reference (`urn:uuid:…`)")
            .query::<usize>("limit", "how many at most: 100 where nothing is said, 10,000 at most")
            .query::<String>(
                "order",
                "`position`, the oldest first, or `-position`, the newest first",
            )
            .query::<String>("cursor", "the `next` of the page before")
            .query::<bool>("count", "`false`: leave out how many match")
            .query::<Option<String>>("full", full),
        Route::post(
            "audit.query",
            "/v1/audit/records/query",
            "Records that match a filter",
            records,
        )
        .for_roles(READERS),
        Route::get("audit.tail", "/v1/audit/tail", "New records as they become durable", tail)
            .for_roles(READERS)
            .query::<String>("log", log)
            .query::<Option<String>>("full", full),
    ]
}

/// Which records.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RecordsQuery {
    /// The log: `site`, or a partner's short name; else all.
    log: Option<String>,
    /// The index of the first record in the log, from which on the oldest come first.
    from: Option<u64>,
    /// The epoch of the log; else all, with `from` the latest.
    epoch: Option<u32>,
    /// Only records of this kind.
    kind: Option<String>,
    /// Only records behind this reference (`urn:uuid:…`).
    reference: Option<String>,
    /// What must hold of a record as it is shown; else all match.
    #[schemars(with = "Option<Filter>")]
    filter: Option<Value>,
    /// `position`, the oldest first, or `-position`, the newest first, which it is where nothing is said.
    order: Option<String>,
    /// How many at most: 100 where nothing is said, 10,000 at most.
    limit: Option<usize>,
    /// The `next` of the page before, with the same question.
    cursor: Option<String>,
    /// `false`: leave out how many match. They are left out as well where that would take too long to find out.
    count: Option<bool>,
    /// With messages and persons.
    #[serde(default)]
    full: bool,
}

/// What must hold of a record.
#[derive(Debug, Default)]
struct Wanted {
    kind: Option<RecordKind>,
    reference: Option<String>,
    filter: Option<Filter>,
    full: bool,
}

impl Wanted {
    fn is_all(&self) -> bool {
        self.kind.is_none() && self.reference.is_none() && self.filter.is_none()
    }

    /// The record as it is shown, where it is wanted.
    fn shown(&self, node: &Node, record: &StoredRecord) -> Option<Value> {
        let account = &record.account;
        let is_wanted = self.kind.is_none_or(|kind| record.kind == kind)
            && self
                .reference
                .as_ref()
                .is_none_or(|asked| account.reference.as_ref() == Some(asked));
        // Records are written as JSON: each can be shown as such.
        let document = |full| serde_json::to_value(show(node, record, full)).ok();
        match &self.filter {
            // Whoever may ask for persons may ask by them, whether or not they are shown.
            Some(filter) if is_wanted && !filter.holds(&document(true)?) => None,
            _ => is_wanted.then(|| document(self.full))?,
        }
    }
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

/// The simple form.
async fn simple(mut call: Call) -> Result<Json<Page<ShownRecord>>, ApiError> {
    let query = &mut call.query;
    let asked = RecordsQuery {
        log: query.take("log")?,
        from: query.take("from")?,
        epoch: query.take("epoch")?,
        kind: query.take("kind")?,
        reference: query.take("reference")?,
        filter: None,
        order: query.take("order")?,
        limit: query.take("limit")?,
        cursor: query.take("cursor")?,
        count: query.take("count")?,
        full: query.flag("full"),
    };
    records(call, asked).await
}

/// Records of one log or of all.
async fn records(call: Call, query: RecordsQuery) -> Result<Json<Page<ShownRecord>>, ApiError> {
    let node = call.node();
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    if limit == 0 {
        return Err(ApiError::invalid("a page of no records is none; `limit` is from 1"));
    }
    let first = if query.from.is_some() { ORDER } else { NEWEST_FIRST };
    let order = query.order.as_deref().unwrap_or(first);
    let reading = match order {
        ORDER => Reading::OldestFirst,
        NEWEST_FIRST => Reading::NewestFirst,
        other => {
            return Err(ApiError::invalid(format!("records are not put in the order of `{other}`"))
                .help("their order is that of the journal: `position`, or `-position` for the newest first"));
        }
    };
    let wanted = Wanted {
        kind: query.kind.as_deref().map(record_kind).transpose()?,
        reference: query.reference,
        filter: query.filter.map(Filter::read).transpose()?,
        full: query.full,
    };
    check_members::<ShownRecord>(wanted.filter.as_ref(), order)?;
    let parts = parts(node, query.log.as_deref(), query.epoch, query.from).await?;
    let place = |cursor: &str| -> Result<Position, QueryError> {
        id_behind(cursor, order)?.parse().map_err(|_| QueryError::Cursor)
    };
    let place = query.cursor.as_deref().map(place).transpose()?;
    let mut search = Search::open(node, &parts, reading, place).await?;
    let (mut items, mut looked_at, mut last, mut more) = (Vec::new(), 0, None, false);
    while let Some(record) = search.next().await? {
        if items.len() >= limit || looked_at >= LOOK_MAX {
            more = true;
            break;
        }
        looked_at += 1;
        last = Some(record.position);
        items.extend(wanted.shown(node, &record));
    }
    let total = match query.count {
        Some(false) => None,
        _ => count(node, &parts, &wanted).await?,
    };
    let next = last.filter(|_| more).map(|position| behind(&position.to_string(), order));
    Ok(Json(Page::new(items, total, next)))
}

/// The parts of logs that are asked for.
async fn parts(
    node: &Node,
    name: Option<&str>,
    epoch: Option<u32>,
    from: Option<u64>,
) -> Result<Vec<(TreeId, Range<u64>)>, ApiError> {
    if from.is_some() && name.is_none() {
        return Err(ApiError::invalid("a record's number counts within one log")
            .help("name the log with `--log site` or `--log PARTNER`"));
    }
    let log = name.map(|name| log(node, name)).transpose()?;
    let mut trees: Vec<TreeId> = node
        .store
        .trees()
        .into_iter()
        .filter(|tree| log.as_ref().is_none_or(|log| tree.log == *log))
        .filter(|tree| epoch.is_none_or(|epoch| tree.epoch == epoch))
        .collect();
    if from.is_some() {
        // Numbers begin anew with each epoch: where none is named, the latest is meant.
        trees.drain(..trees.len().saturating_sub(1));
    }
    let mut parts = Vec::new();
    for tree in trees {
        let (size, _) = node.store.tree_head(tree.clone()).await?;
        parts.push((tree, from.unwrap_or(0)..size));
    }
    Ok(parts)
}

/// How many records are wanted; nothing where too many would have to be looked at.
async fn count(
    node: &Node,
    parts: &[(TreeId, Range<u64>)],
    wanted: &Wanted,
) -> Result<Option<u64>, ApiError> {
    let all: u64 = parts.iter().map(|(_, part)| part.end.saturating_sub(part.start)).sum();
    if wanted.is_all() || all > LOOK_MAX {
        return Ok(wanted.is_all().then_some(all));
    }
    let mut search = Search::open(node, parts, Reading::OldestFirst, None).await?;
    let mut total = 0;
    while let Some(record) = search.next().await? {
        total += u64::from(wanted.shown(node, &record).is_some());
    }
    Ok(Some(total))
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

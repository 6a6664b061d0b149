//! Queries over everything that the node lists: one language for all of it.
//!
//! `GET /v1/KIND` takes members that equal a text, `POST /v1/KIND/query` the whole language; both are one function.
//! A query is a JSON document: a filter of criteria joined by `and`, `or` and `not`, an order, a limit, and the cursor of
//! the page before. Criteria name members of the documents that the lists show, so that whatever can be seen can be asked
//! for. A cursor holds the order's value and the id of the last document shown: what comes or goes in between moves
//! nothing.
//!
//! Every document of a kind is looked at, and counted; at most two pages of them are kept. Only in the order of `id`, which
//! is that of the store, and without the count is a page read from where the one before ended, and no more than that.

pub mod criteria;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use engine::entity::Rules;
use engine::keys::{Role, Scope};
use engine::{Entity, Key, Kind, Store as _, StoreError};
use protocol::id::AgreementId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::agreements::ShownAgreement;
use super::answer::ApiError;
use super::approvals::{self, Approval};
use super::caller::{READERS, READERS_AND_APPLICATIONS};
use super::datasets::{self, DatasetSummary};
use super::dead_letters::ShownDeadLetter;
use super::duties::ShownDuty;
use super::keys::{self, KeyShown};
use super::negotiations::ShownNegotiation;
use super::partners::PartnerSummary;
use super::policies::{self, ShownActivation};
use super::pulls::ShownPull;
use super::route::{Call, Json, Route};
use super::transfers::ShownTransfer;
use crate::node::Node;
use crate::offboard::{self, Holding};
use criteria::{Filter, QueryError, Selection, behind, id_behind};

/// How many entities are read at once.
const SCAN_STEP: usize = 512;
/// How many are shown when nothing is said.
pub(super) const LIMIT: usize = 100;
/// How many are shown at most.
pub(super) const LIMIT_MAX: usize = 10_000;
/// How many are looked at for one page that is not counted; one that is shorter for that has a next one.
const LOOK_MAX: usize = 20_000;

pub(super) fn routes() -> Vec<Route> {
    let lists = [
        of::<ShownNegotiation>(List::Negotiations, READERS_AND_APPLICATIONS),
        of::<Approval>(List::Approvals, READERS),
        of::<ShownAgreement>(List::Agreements, READERS_AND_APPLICATIONS),
        of::<ShownDuty>(List::Duties, READERS_AND_APPLICATIONS),
        of::<ShownTransfer>(List::Transfers, READERS_AND_APPLICATIONS),
        of::<ShownPull>(List::Pulls, READERS_AND_APPLICATIONS),
        of::<DatasetSummary>(List::Datasets, READERS),
        of::<PartnerSummary>(List::Partners, READERS_AND_APPLICATIONS),
        of::<ShownDeadLetter>(List::DeadLetters, READERS),
        of::<KeyShown>(List::Keys, &[]),
        of::<Holding>(List::Holdings, READERS),
        of::<ShownActivation>(List::Activations, READERS),
    ];
    lists.into_iter().flatten().collect()
}

/// The two routes of a list: the simple form in the target, and the whole language in a body.
fn of<T: JsonSchema + 'static>(list: List, roles: &'static [Role]) -> [Route; 2] {
    let [(name, path, summary), (query_name, query_path, query_summary)] = list.described();
    let mut simple = Route::get(name, path, summary, move |call| simple::<T>(call, list))
        .for_roles(roles)
        .query::<usize>("limit", "how many at most: 100 where nothing is said, 10,000 at most")
        .query::<String>(
            "order",
            "the member to order by, with `-` before it from the greatest down",
        )
        .query::<String>("cursor", "the `next` of the page before")
        .query::<bool>(
            "count",
            "`false`: leave out how many match; in the order of `id`, a page then costs no more than itself",
        );
    for field in list.fields() {
        simple = simple.query::<String>(field, "only where the member of this name is this text");
    }
    let whole = Route::post(query_name, query_path, query_summary, move |call, query| {
        answer::<T>(call, query, list)
    });
    [simple, whole.for_roles(roles)]
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Negotiations,
    Approvals,
    Agreements,
    Duties,
    Transfers,
    Pulls,
    Datasets,
    Partners,
    DeadLetters,
    Keys,
    Holdings,
    Activations,
}

/// The name, path and summary of a route.
type Described = (&'static str, &'static str, &'static str);

impl List {
    /// The route of the simple form, and that of the query.
    fn described(self) -> [Described; 2] {
        match self {
            Self::Negotiations => [
                ("negotiations.list", "/v1/negotiations", "Negotiations, the newest first"),
                (
                    "negotiations.query",
                    "/v1/negotiations/query",
                    "Negotiations that match a filter",
                ),
            ],
            Self::Approvals => [
                (
                    "approvals.list",
                    "/v1/approvals",
                    "What waits for a decision, the earliest deadline first",
                ),
                (
                    "approvals.query",
                    "/v1/approvals/query",
                    "What waits for a decision and matches a filter",
                ),
            ],
            Self::Agreements => [
                ("agreements.list", "/v1/agreements", "Agreements, the newest first"),
                ("agreements.query", "/v1/agreements/query", "Agreements that match a filter"),
            ],
            Self::Duties => [
                (
                    "duties.list",
                    "/v1/duties",
                    "The duties of agreements, the earliest deadline first",
                ),
                ("duties.query", "/v1/duties/query", "Duties that match a filter"),
            ],
            Self::Transfers => [
                ("transfers.list", "/v1/transfers", "Transfers, the newest first"),
                ("transfers.query", "/v1/transfers/query", "Transfers that match a filter"),
            ],
            Self::Pulls => [
                ("pulls.list", "/v1/pulls", "Pulls, the newest first"),
                ("pulls.query", "/v1/pulls/query", "Pulls that match a filter"),
            ],
            Self::Datasets => [
                ("datasets.list", "/v1/datasets", "The datasets that this site publishes, by id"),
                ("datasets.query", "/v1/datasets/query", "Published datasets that match a filter"),
            ],
            Self::Partners => [
                ("partners.list", "/v1/partners", "The partners that are registered, by name"),
                ("partners.query", "/v1/partners/query", "Partners that match a filter"),
            ],
            Self::DeadLetters => [
                (
                    "deadLetters.list",
                    "/v1/dead-letters",
                    "Messages that were given up, the latest first",
                ),
                (
                    "deadLetters.query",
                    "/v1/dead-letters/query",
                    "Messages that were given up and match a filter",
                ),
            ],
            Self::Keys => [
                (
                    "keys.list",
                    "/v1/keys",
                    "The keys of this API, those that ended among them, by name",
                ),
                ("keys.query", "/v1/keys/query", "The keys of this API that match a filter"),
            ],
            Self::Holdings => [
                (
                    "holdings.list",
                    "/v1/holdings",
                    "What data of partners we hold and what data of ours they hold, the latest first",
                ),
                ("holdings.query", "/v1/holdings/query", "Held data that match a filter"),
            ],
            Self::Activations => [
                (
                    "policies.history",
                    "/v1/policies/history",
                    "The sets that ruled, the newest first, with who put each in force and why",
                ),
                (
                    "policies.queryHistory",
                    "/v1/policies/history/query",
                    "The sets that ruled and match a filter",
                ),
            ],
        }
    }

    /// The members that can be asked for in the simple form.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Negotiations => {
                &["partner", "participant", "role", "state", "dataset", "purpose", "handling"]
            }
            Self::Approvals => &["kind", "partner", "participant", "role", "dataset", "agreement"],
            Self::Agreements => {
                &["partner", "participant", "side", "state", "dataset", "purpose", "negotiation"]
            }
            Self::Duties => {
                &["partner", "participant", "agreement", "dataset", "bearer", "state", "open"]
            }
            Self::Transfers => {
                &["partner", "participant", "side", "state", "dataset", "agreement", "handling"]
            }
            Self::Pulls => &["partner", "participant", "step", "dataset", "purpose", "code"],
            Self::Datasets => &["state", "version", "media_type"],
            Self::Partners => &["state", "region"],
            Self::DeadLetters => &["partner", "participant", "process", "message_type", "code"],
            Self::Keys => &["role", "state"],
            Self::Holdings => {
                &["kind", "partner", "participant", "dataset", "agreement", "purpose", "kept"]
            }
            Self::Activations => &["set", "rules", "place", "person", "in_force", "filed"],
        }
    }

    /// The kind of entity that it is made of, where it is of one.
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Negotiations => Some(Kind::Negotiation),
            Self::Agreements => Some(Kind::Agreement),
            Self::Duties => Some(Kind::Duties),
            Self::Transfers => Some(Kind::Transfer),
            Self::Pulls => Some(Kind::Pull),
            Self::Datasets => Some(Kind::Dataset),
            Self::DeadLetters => Some(Kind::DeadLetter),
            Self::Approvals | Self::Partners | Self::Keys | Self::Holdings | Self::Activations => {
                None
            }
        }
    }

    /// The member that tells two documents apart.
    fn id(self) -> &'static str {
        match self {
            Self::Partners => "participant",
            Self::Keys => "name",
            Self::Activations => "record",
            _ => "id",
        }
    }

    /// The key at which a document of this id stands, where the order of ids is that of the store.
    fn key(self, id: &str) -> Option<Key> {
        match self {
            Self::Negotiations => Some(Key::Negotiation(id.parse().ok()?)),
            Self::Agreements => Some(Key::Agreement(id.parse().ok()?)),
            Self::Transfers => Some(Key::Transfer(id.parse().ok()?)),
            Self::Pulls => Some(Key::Pull(id.to_owned())),
            Self::Datasets => Some(Key::Dataset(id.parse().ok()?)),
            Self::DeadLetters => Some(Key::DeadLetter(id.parse().ok()?)),
            Self::Duties
            | Self::Approvals
            | Self::Partners
            | Self::Keys
            | Self::Holdings
            | Self::Activations => None,
        }
    }

    /// Whether an order is that in which the store has the documents.
    fn is_stored_in(self, order: &str) -> bool {
        // An agreement has several duties, and the others are made of several kinds, or of none.
        let made = self.kind().is_none() || self == Self::Duties;
        !made && order == "id"
    }

    /// The order where none is asked for.
    fn order(self) -> &'static str {
        match self {
            Self::Negotiations | Self::Agreements | Self::Transfers | Self::Pulls => "-created",
            Self::Approvals | Self::Duties => "deadline",
            Self::Datasets => "id",
            Self::Partners | Self::Keys => "name",
            Self::DeadLetters => "-given_up",
            Self::Holdings => "-since",
            Self::Activations => "-time",
        }
    }
}

/// Which documents, in which order.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// What must hold of a document; else all match.
    #[schemars(with = "Option<Filter>")]
    filter: Option<Value>,
    /// The member to order by, with `-` before it from the greatest down; else the newest first, or by name.
    order: Option<String>,
    /// How many at most: 100 where nothing is said, 10,000 at most.
    limit: Option<usize>,
    /// The `next` of the page before, with the same filter and order.
    cursor: Option<String>,
    /// `false`: leave out how many match. In the order of `id`, a page then costs no more than itself.
    count: Option<bool>,
}

/// One page.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(super) struct Page<T> {
    #[schemars(with = "Vec<T>")]
    items: Vec<Value>,
    /// How many match in all; nothing where `count` is false.
    total: Option<u64>,
    /// The cursor of the next page; nothing after the last one. A page may be short and have a next one.
    next: Option<String>,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T> Page<T> {
    /// A page of documents of a type.
    pub(super) fn new(items: Vec<Value>, total: Option<u64>, next: Option<String>) -> Self {
        Self { items, total, next, of: PhantomData }
    }
}

/// The simple form: members that equal a text.
async fn simple<T: JsonSchema>(mut call: Call, list: List) -> Result<Json<Page<T>>, ApiError> {
    let mut criteria = Vec::new();
    for field in list.fields() {
        if let Some(text) = call.query.take::<String>(field)? {
            criteria.push(json!({ "field": field, "operator": "in", "value": values(text) }));
        }
    }
    let query = Query {
        filter: (!criteria.is_empty()).then(|| json!({ "and": criteria })),
        order: call.query.take("order")?,
        limit: call.query.take("limit")?,
        cursor: call.query.take("cursor")?,
        count: call.query.take("count")?,
    };
    answer(call, query, list).await
}

/// What a text in the target may stand for: itself, and yes or no where it is that.
fn values(text: String) -> Vec<Value> {
    let flag = text.parse::<bool>().ok().map(Value::from);
    flag.into_iter().chain([Value::from(text)]).collect()
}

/// Refuses to ask for what no document has: it would match all or none without a word.
pub(super) fn check_members<T: JsonSchema>(
    filter: Option<&Filter>,
    order: &str,
) -> Result<(), ApiError> {
    let names = members::<T>();
    let asked = filter.map(Filter::fields).unwrap_or_default();
    let order = order.strip_prefix('-').unwrap_or(order);
    match asked.into_iter().chain([order]).find(|asked| !names.iter().any(|name| name == asked)) {
        None => Ok(()),
        Some(unknown) => {
            Err(ApiError::invalid(format!("what is listed here has no member `{unknown}`"))
                .help(format!("it has {}", names.join(", "))))
        }
    }
}

/// The members of a document, and after each those that are within it, with a full stop between the two.
fn members<T: JsonSchema>() -> Vec<String> {
    let schema = schemars::schema_for!(T).to_value();
    let mut names = Vec::new();
    for (name, inner) in properties(&schema) {
        names.push(name.clone());
        // What may be missing is one of two: nothing, or what is described elsewhere.
        let choices = inner.get("anyOf").and_then(Value::as_array).map(Vec::as_slice);
        for choice in choices.unwrap_or(std::slice::from_ref(inner)) {
            let place = choice.get("$ref").and_then(Value::as_str).unwrap_or_default();
            let found = schema.pointer(place.trim_start_matches('#')).unwrap_or(choice);
            if !place.is_empty() {
                names.extend(properties(found).map(|(within, _)| format!("{name}.{within}")));
            }
        }
    }
    names
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

async fn answer<T: JsonSchema>(
    call: Call,
    query: Query,
    list: List,
) -> Result<Json<Page<T>>, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    if limit == 0 {
        return Err(ApiError::invalid("a page of no documents is none; `limit` is from 1"));
    }
    let order = query.order.as_deref().unwrap_or(list.order());
    let filter = query.filter.map(Filter::read).transpose()?;
    check_members::<T>(filter.as_ref(), order)?;
    let counted = query.count.unwrap_or(true);
    let (node, scope, cursor) = (call.node(), &call.caller.scope, query.cursor.as_deref());
    if !counted && list.is_stored_in(order) {
        return in_stored_order(node, scope, list, filter.as_ref(), cursor, limit).await;
    }
    let mut selection = Selection::new(filter, order, list.id(), cursor, limit)?;
    each(node, scope, list, None, |looked| {
        if let Looked::Document(document) = looked {
            selection.see(document);
        }
        ControlFlow::Continue(())
    })
    .await?;
    let page = selection.into_page();
    let total = counted.then_some(page.total);
    Ok(Json(Page::new(page.items, total, page.next)))
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let refused = Self::invalid(error.to_string());
        match error.help() {
            Some(help) => refused.help(help),
            None => refused,
        }
    }
}

/// A page in the order of the store, read from where the one before ended.
async fn in_stored_order<T>(
    node: &Arc<Node>,
    scope: &Scope,
    list: List,
    filter: Option<&Filter>,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Json<Page<T>>, ApiError> {
    let key = |id: String| list.key(&id).ok_or(QueryError::Cursor);
    let from = cursor.map(|cursor| key(id_behind(cursor, "id")?)).transpose()?;
    let (mut items, mut looked_at, mut last, mut more) = (Vec::new(), 0_usize, None, false);
    each(node, scope, list, from, |looked| {
        match looked {
            // The page is full, and there is another one.
            Looked::Entity(_) if items.len() >= limit || looked_at >= LOOK_MAX => {
                more = true;
                return ControlFlow::Break(());
            }
            Looked::Entity(id) => {
                looked_at += 1;
                last = Some(id);
            }
            Looked::Document(document) => {
                if filter.is_none_or(|filter| filter.holds(&document)) {
                    items.push(document);
                }
            }
        }
        ControlFlow::Continue(())
    })
    .await?;
    let next = last.filter(|_| more).map(|id| behind(&id, "id"));
    Ok(Json(Page::new(items, None, next)))
}

/// What is met on the way through a list.
enum Looked {
    /// The next entity, by the id that its documents have. Whether it has one that may be shown is not known yet.
    Entity(String),
    /// A document that is within the scope.
    Document(Value),
}

/// Shows each document of a list that is within the scope, after a key, until there is enough.
async fn each(
    node: &Arc<Node>,
    scope: &Scope,
    list: List,
    mut after: Option<Key>,
    mut visit: impl FnMut(Looked) -> ControlFlow<()>,
) -> Result<(), ApiError> {
    let kind = match (list, list.kind()) {
        (_, Some(kind)) => kind,
        (List::Approvals, None) => {
            let waiting = approvals::waiting(node).await?;
            let within = waiting.iter().filter(|one| one.is_within(scope)).filter_map(document);
            let _ = within.map(Looked::Document).try_for_each(visit);
            return Ok(());
        }
        (List::Keys, None) => {
            let keys = keys::all(node).await?;
            let _ = keys.iter().filter_map(document).map(Looked::Document).try_for_each(visit);
            return Ok(());
        }
        (List::Holdings, None) => {
            let held = offboard::holdings(node, offboard::Asked::default()).await?;
            let _ = held.iter().filter_map(document).map(Looked::Document).try_for_each(visit);
            return Ok(());
        }
        (List::Activations, None) => {
            let ruled = policies::history(node).await?;
            let _ = ruled.iter().filter_map(document).map(Looked::Document).try_for_each(visit);
            return Ok(());
        }
        (_, None) => {
            let registry = node.registry();
            let within =
                registry.iter().filter(|file| scope.has_partner(&file.partner.participant));
            let shown = within.map(PartnerSummary::of).filter_map(|one| document(&one));
            let _ = shown.map(Looked::Document).try_for_each(visit);
            return Ok(());
        }
    };
    if !node.store.is_ready() {
        return Err(ApiError::from(StoreError::Rebuilding));
    }
    let rules = match list {
        List::Datasets => Some(datasets::rules(node).await?),
        _ => None,
    };
    // Transfers and duties do not repeat the purpose of their agreement.
    let purposes = match (list, &scope.purposes) {
        (List::Transfers | List::Duties, Some(_)) => agreed_purposes(node).await?,
        _ => HashMap::new(),
    };
    let shower = Shower { node, scope, rules, purposes };
    loop {
        let page = node.store.scan(kind, after.take(), SCAN_STEP).await?;
        for (key, entity) in &page {
            let met = std::iter::once(Looked::Entity(id(key)));
            let documents = shower.show(entity).into_iter().map(Looked::Document);
            if met.chain(documents).try_for_each(&mut visit).is_break() {
                return Ok(());
            }
        }
        if page.len() < SCAN_STEP {
            return Ok(());
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

/// The id that the documents of an entity have, where they have one of their own.
fn id(key: &Key) -> String {
    match key {
        Key::Negotiation(pid) | Key::Transfer(pid) => pid.to_string(),
        Key::Agreement(agreement) => agreement.to_string(),
        Key::Pull(id) => id.clone(),
        Key::Dataset(dataset) => dataset.to_string(),
        Key::DeadLetter(message) => message.to_string(),
        _ => String::new(),
    }
}

async fn agreed_purposes(node: &Node) -> Result<HashMap<AgreementId, String>, ApiError> {
    let (mut purposes, mut after) = (HashMap::new(), None);
    loop {
        let page = node.store.scan(Kind::Agreement, after.take(), SCAN_STEP).await?;
        for (_, entity) in &page {
            if let Entity::Agreement(found) = entity.as_ref()
                && let Some(purpose) = &found.purpose
            {
                purposes.insert(found.id.clone(), purpose.clone());
            }
        }
        if page.len() < SCAN_STEP {
            return Ok(purposes);
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

/// Makes documents of entities.
struct Shower<'a> {
    node: &'a Node,
    scope: &'a Scope,
    rules: Option<Arc<Rules>>,
    purposes: HashMap<AgreementId, String>,
}

impl Shower<'_> {
    /// The documents of an entity; an agreement has several duties.
    fn show(&self, entity: &Entity) -> Vec<Value> {
        match entity {
            Entity::Duties(found) => {
                let purpose = self.purposes.get(&found.agreement).map(String::as_str);
                match self.scope.sees(&found.participant, &found.dataset, purpose) {
                    true => {
                        ShownDuty::all(self.node, found).filter_map(|one| document(&one)).collect()
                    }
                    false => Vec::new(),
                }
            }
            entity => self.show_one(entity).into_iter().collect(),
        }
    }

    fn show_one(&self, entity: &Entity) -> Option<Value> {
        let scope = self.scope;
        match entity {
            Entity::Negotiation(found) => scope
                .sees(&found.participant, &found.dataset, found.purpose.as_deref())
                .then(|| document(&ShownNegotiation::of(self.node, found)))?,
            Entity::Agreement(found) => scope
                .sees(&found.participant, &found.dataset, found.purpose.as_deref())
                .then(|| document(&ShownAgreement::of(self.node, found)))?,
            Entity::Transfer(found) => {
                let purpose = self.purposes.get(&found.agreement).map(String::as_str);
                scope
                    .sees(&found.participant, &found.dataset, purpose)
                    .then(|| document(&ShownTransfer::of(self.node, found)))?
            }
            Entity::Pull(found) => scope
                .sees(&found.participant, &found.dataset, found.purpose.as_deref())
                .then(|| document(&ShownPull::of(self.node, found)))?,
            Entity::Dataset(found) => document(&DatasetSummary::of(found, self.rules.as_ref()?)),
            // One whose process is not looked at is for those alone who see everything of its partner.
            Entity::DeadLetter(found) => {
                let whole = scope.datasets.is_none() && scope.purposes.is_none();
                (whole && scope.has_partner(&found.participant))
                    .then(|| document(&ShownDeadLetter::of(self.node, found)))?
            }
            _ => None,
        }
    }
}

/// What criteria are about, and pages show.
fn document<T: Serialize>(shown: &T) -> Option<Value> {
    // Documents of ours have text keys and no numbers but finite ones: each can be written.
    serde_json::to_value(shown).ok()
}

//! Queries over everything that the node lists: one language for all of it.
//!
//! `GET /v1/KIND` takes members that equal a text, `POST /v1/KIND/query` the whole language; both are one function.
//! A query is a JSON document: a filter of criteria joined by `and`, `or` and `not`, an order, a limit, and the cursor of
//! the page before. Criteria name members of the documents that the lists show, so that whatever can be seen can be asked
//! for. A cursor holds the order's value and the id of the last document shown: what comes or goes in between moves
//! nothing. Every document of a kind is looked at, and counted; at most two pages of them are kept.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use engine::entity::Rules;
use engine::keys::{Role, Scope};
use engine::{Entity, Kind, Store as _, StoreError};
use protocol::id::AgreementId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::agreements::ShownAgreement;
use super::answer::ApiError;
use super::approvals::{self, Approval};
use super::caller::{READERS, READERS_AND_APPLICATIONS};
use super::datasets::{self, DatasetSummary};
use super::negotiations::ShownNegotiation;
use super::partners::PartnerSummary;
use super::pulls::ShownPull;
use super::route::{Call, Json, Route};
use super::transfers::ShownTransfer;
use crate::node::Node;

/// How many entities are read at once.
const SCAN_STEP: usize = 512;
/// How many are shown when nothing is said.
const LIMIT: usize = 100;
/// How many are shown at most.
const LIMIT_MAX: usize = 10_000;
/// How deep a filter may be nested.
const DEPTH_MAX: usize = 8;
/// How many criteria a filter may have.
const CRITERIA_MAX: usize = 64;

pub(super) fn routes() -> Vec<Route> {
    let lists = [
        of::<ShownNegotiation>(List::Negotiations, READERS_AND_APPLICATIONS),
        of::<Approval>(List::Approvals, READERS),
        of::<ShownAgreement>(List::Agreements, READERS_AND_APPLICATIONS),
        of::<ShownTransfer>(List::Transfers, READERS_AND_APPLICATIONS),
        of::<ShownPull>(List::Pulls, READERS_AND_APPLICATIONS),
        of::<DatasetSummary>(List::Datasets, READERS),
        of::<PartnerSummary>(List::Partners, READERS_AND_APPLICATIONS),
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
        .query::<String>("cursor", "the `next` of the page before");
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
    Transfers,
    Pulls,
    Datasets,
    Partners,
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
            Self::Transfers => {
                &["partner", "participant", "side", "state", "dataset", "agreement", "handling"]
            }
            Self::Pulls => &["partner", "participant", "step", "dataset", "purpose", "code"],
            Self::Datasets => &["state", "version", "media_type"],
            Self::Partners => &["state", "region"],
        }
    }

    /// The kind of entity that it is made of, where it is of one.
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Negotiations => Some(Kind::Negotiation),
            Self::Agreements => Some(Kind::Agreement),
            Self::Transfers => Some(Kind::Transfer),
            Self::Pulls => Some(Kind::Pull),
            Self::Datasets => Some(Kind::Dataset),
            Self::Approvals | Self::Partners => None,
        }
    }

    /// The member that tells two documents apart.
    fn id(self) -> &'static str {
        match self {
            Self::Partners => "participant",
            _ => "id",
        }
    }

    /// The order where none is asked for.
    fn order(self) -> &'static str {
        match self {
            Self::Negotiations | Self::Agreements | Self::Transfers | Self::Pulls => "-created",
            Self::Approvals => "deadline",
            Self::Datasets => "id",
            Self::Partners => "name",
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
}

/// One page.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
struct Page<T> {
    #[schemars(with = "Vec<T>")]
    items: Vec<Value>,
    /// How many match in all.
    total: u64,
    /// The cursor of the next page; nothing after the last one.
    next: Option<String>,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

/// The simple form: members that equal a text.
async fn simple<T: JsonSchema>(mut call: Call, list: List) -> Result<Json<Page<T>>, ApiError> {
    let mut criteria = Vec::new();
    for field in list.fields() {
        if let Some(text) = call.query.take::<String>(field)? {
            criteria.push(json!({ "field": field, "operator": "=", "value": text }));
        }
    }
    let query = Query {
        filter: (!criteria.is_empty()).then(|| json!({ "and": criteria })),
        order: call.query.take("order")?,
        limit: call.query.take("limit")?,
        cursor: call.query.take("cursor")?,
    };
    answer(call, query, list).await
}

/// What must hold of a document.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
enum Filter {
    /// All of these.
    And { and: Vec<Filter> },
    /// One of these.
    Or { or: Vec<Filter> },
    /// Not this.
    Not { not: Box<Filter> },
    /// A member of the document, compared with a value.
    Criterion {
        /// The member's name.
        field: String,
        operator: Operator,
        value: Value,
    },
}

/// How a member is compared. Numbers compare as numbers, texts by their characters; times, written in UTC, too. A member
/// that is not there equals `null`, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
enum Operator {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
    /// The value is a list, and the member is in it.
    #[serde(rename = "in")]
    In,
    /// The member is a text with the value in it, or a list with the value among its items.
    #[serde(rename = "contains")]
    Contains,
}

impl Filter {
    /// Reads a filter, within the limits.
    fn read(value: Value) -> Result<Self, ApiError> {
        let grammar = "a filter is {\"and\":[…]}, {\"or\":[…]}, {\"not\":…} or {\"field\":…,\"operator\":…,\"value\":…} \
                       with an operator of = != < <= > >= in contains";
        // The depth first: reading recurses.
        if depth(&value) > 3 * DEPTH_MAX {
            return Err(too_much());
        }
        let filter: Self = serde_json::from_value(value)
            .map_err(|_| ApiError::invalid("the filter cannot be read").help(grammar))?;
        let mut criteria = 0;
        filter.check(0, &mut criteria)?;
        Ok(filter)
    }

    fn check(&self, depth: usize, criteria: &mut usize) -> Result<(), ApiError> {
        if depth > DEPTH_MAX {
            return Err(too_much());
        }
        match self {
            Self::And { and: parts } | Self::Or { or: parts } => {
                parts.iter().try_for_each(|part| part.check(depth + 1, criteria))
            }
            Self::Not { not } => not.check(depth + 1, criteria),
            Self::Criterion { .. } => {
                *criteria += 1;
                if *criteria > CRITERIA_MAX { Err(too_much()) } else { Ok(()) }
            }
        }
    }

    fn holds(&self, document: &Value) -> bool {
        match self {
            Self::And { and } => and.iter().all(|part| part.holds(document)),
            Self::Or { or } => or.iter().any(|part| part.holds(document)),
            Self::Not { not } => !not.holds(document),
            Self::Criterion { field, operator, value } => {
                let found = document.get(field).unwrap_or(&Value::Null);
                let order = comparable(found, value);
                match operator {
                    Operator::Equal => found == value,
                    Operator::NotEqual => found != value,
                    Operator::Less => order == Some(Ordering::Less),
                    Operator::LessOrEqual => {
                        matches!(order, Some(Ordering::Less | Ordering::Equal))
                    }
                    Operator::Greater => order == Some(Ordering::Greater),
                    Operator::GreaterOrEqual => {
                        matches!(order, Some(Ordering::Greater | Ordering::Equal))
                    }
                    Operator::In => value.as_array().is_some_and(|items| items.contains(found)),
                    Operator::Contains => match (found, value) {
                        (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
                        (Value::Array(items), item) => items.contains(item),
                        _ => false,
                    },
                }
            }
        }
    }
}

fn too_much() -> ApiError {
    ApiError::invalid(format!(
        "the filter has more than {CRITERIA_MAX} criteria, or is nested deeper than {DEPTH_MAX}"
    ))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The order of two values of the same type; nothing between others.
fn comparable(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
        },
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

/// The total order of the values of a member: what is missing first, then by type.
fn total(one: &Value, other: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    };
    comparable(one, other).unwrap_or_else(|| {
        rank(one).cmp(&rank(other)).then_with(|| one.to_string().cmp(&other.to_string()))
    })
}

/// By which member, and whether from the greatest down.
struct Order {
    field: String,
    descending: bool,
}

impl Order {
    fn read(text: &str) -> Self {
        match text.strip_prefix('-') {
            Some(field) => Self { field: field.to_owned(), descending: true },
            None => Self { field: text.to_owned(), descending: false },
        }
    }

    fn compare(&self, one: &Place, other: &Place) -> Ordering {
        let order = total(&one.value, &other.value).then_with(|| one.id.cmp(&other.id));
        if self.descending { order.reverse() } else { order }
    }
}

/// Where a document stands in an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Place {
    #[serde(rename = "o")]
    order: String,
    #[serde(rename = "v")]
    value: Value,
    #[serde(rename = "i")]
    id: String,
}

impl Place {
    fn of(document: &Value, order: &str, field: &str, id: &str) -> Self {
        Self {
            order: order.to_owned(),
            value: document.get(field).cloned().unwrap_or(Value::Null),
            id: document.get(id).and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }

    fn to_cursor(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(json!(self).to_string())
    }

    fn from_cursor(text: &str, order: &str) -> Result<Self, ApiError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        bytes
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|place| place.order == order)
            .ok_or_else(|| {
                ApiError::invalid("the cursor is none of a page in this order")
                    .help("give the `next` of the page before, with the same order")
            })
    }
}

async fn answer<T>(call: Call, query: Query, list: List) -> Result<Json<Page<T>>, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let order_text = query.order.unwrap_or_else(|| list.order().to_owned());
    let order = Order::read(&order_text);
    let after = query.cursor.map(|cursor| Place::from_cursor(&cursor, &order_text)).transpose()?;
    let filter = query.filter.map(Filter::read).transpose()?;
    let mut kept: Vec<(Place, Value)> = Vec::new();
    let mut count = 0_u64;
    let sort = |kept: &mut Vec<(Place, Value)>| {
        kept.sort_by(|(one, _), (other, _)| order.compare(one, other));
        // One more than the page, to know whether there is a next one.
        kept.truncate(limit + 1);
    };
    each(call.node(), &call.caller.scope, list, |document| {
        if !filter.as_ref().is_none_or(|filter| filter.holds(&document)) {
            return;
        }
        count += 1;
        let place = Place::of(&document, &order_text, &order.field, list.id());
        if after.as_ref().is_none_or(|after| order.compare(&place, after) == Ordering::Greater) {
            kept.push((place, document));
            if kept.len() > 2 * limit + 2 {
                sort(&mut kept);
            }
        }
    })
    .await?;
    sort(&mut kept);
    let more = kept.len() > limit;
    kept.truncate(limit);
    let next = if more { kept.last().map(|(place, _)| place.to_cursor()) } else { None };
    let items = kept.into_iter().map(|(_, document)| document).collect();
    Ok(Json(Page { items, total: count, next, of: PhantomData }))
}

/// Shows each document of a list that is within the scope.
async fn each(
    node: &Arc<Node>,
    scope: &Scope,
    list: List,
    mut visit: impl FnMut(Value),
) -> Result<(), ApiError> {
    let kind = match (list, list.kind()) {
        (_, Some(kind)) => kind,
        (List::Approvals, None) => {
            let waiting = approvals::waiting(node).await?;
            waiting.iter().filter(|one| one.is_within(scope)).filter_map(document).for_each(visit);
            return Ok(());
        }
        (_, None) => {
            let registry = node.registry();
            let within =
                registry.iter().filter(|file| scope.has_partner(&file.partner.participant));
            within.map(PartnerSummary::of).filter_map(|one| document(&one)).for_each(visit);
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
    // Transfers do not repeat the purpose of their agreement.
    let purposes = match (list, &scope.purposes) {
        (List::Transfers, Some(_)) => agreed_purposes(node).await?,
        _ => HashMap::new(),
    };
    let shower = Shower { node, scope, rules, purposes };
    let mut after = None;
    loop {
        let page = node.store.scan(kind, after.take(), SCAN_STEP).await?;
        for (_, entity) in &page {
            if let Some(document) = shower.show(entity) {
                visit(document);
            }
        }
        if page.len() < SCAN_STEP {
            return Ok(());
        }
        after = page.last().map(|(key, _)| key.clone());
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
    fn show(&self, entity: &Entity) -> Option<Value> {
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
            _ => None,
        }
    }
}

/// What criteria are about, and pages show.
fn document<T: Serialize>(shown: &T) -> Option<Value> {
    // Documents of ours have text keys and no numbers but finite ones: each can be written.
    serde_json::to_value(shown).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(filter: Value, document: &Value) -> bool {
        Filter::read(filter).unwrap().holds(document)
    }

    #[test]
    fn a_filter_joins_criteria_and_compares_by_type() {
        let document = json!({ "state": "STARTED", "size": 10, "tags": ["a", "b"], "gone": null });
        let one = |field: &str, operator: &str, value: Value| json!({ "field": field, "operator": operator, "value": value });
        let table = [
            (one("state", "=", json!("STARTED")), true),
            (one("state", "!=", json!("STARTED")), false),
            (one("state", "in", json!(["X", "STARTED"])), true),
            (one("state", "contains", json!("ART")), true),
            (one("tags", "contains", json!("b")), true),
            (one("size", ">=", json!(10)), true),
            (one("size", "<", json!(9.5)), false),
            // A text is neither more nor less than a number.
            (one("size", "<", json!("9")), false),
            (one("size", ">", json!("9")), false),
            (one("gone", "=", Value::Null), true),
            (one("never", "=", Value::Null), true),
            (one("never", "<", json!(1)), false),
            (json!({ "and": [] }), true),
            (json!({ "or": [] }), false),
            (
                json!({ "not": { "or": [one("size", "=", json!(1)), one("size", "=", json!(2))] } }),
                true,
            ),
        ];
        for (filter, expected) in table {
            assert_eq!(holds(filter.clone(), &document), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_or_too_much_of_one_is_refused() {
        let one = json!({ "field": "a", "operator": "=", "value": 1 });
        let mut deep = one.clone();
        for _ in 0..=DEPTH_MAX {
            deep = json!({ "not": deep });
        }
        let table = [
            json!({ "field": "a", "operator": "like", "value": 1 }),
            json!({ "field": "a", "value": 1 }),
            json!({ "and": [], "or": [] }),
            json!({ "xor": [] }),
            json!([]),
            json!("a = 1"),
            deep,
            json!({ "or": vec![one; CRITERIA_MAX + 1] }),
        ];
        for filter in table {
            assert!(Filter::read(filter.clone()).is_err(), "{filter}");
        }
    }

    #[test]
    fn a_cursor_is_of_one_order_and_comes_back_as_it_was() {
        let document = json!({ "id": "urn:x", "created": "2026-01-01T00:00:00Z" });
        let place = Place::of(&document, "-created", "created", "id");
        let cursor = place.to_cursor();
        assert_eq!(Place::from_cursor(&cursor, "-created").unwrap(), place);
        assert!(Place::from_cursor(&cursor, "created").is_err());
        assert!(Place::from_cursor("x", "created").is_err());
    }
}

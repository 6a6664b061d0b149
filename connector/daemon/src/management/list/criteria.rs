//! What a query asks of documents: which, in what order, and from which place on. No input or output is in it.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

/// How deep a filter may be nested.
const DEPTH_MAX: usize = 8;
/// How many criteria a filter may have.
const CRITERIA_MAX: usize = 64;

/// Why a query is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It has no filter's form.
    #[error("the filter cannot be read")]
    Filter,
    /// It is beyond the limits.
    #[error(
        "the filter has more than {CRITERIA_MAX} criteria, or is nested deeper than {DEPTH_MAX}"
    )]
    TooMuch,
    /// The cursor was not given with a page in this order.
    #[error("the cursor is none of a page in this order")]
    Cursor,
}

impl QueryError {
    /// What to do about it, where the error does not say so already.
    pub fn help(self) -> Option<&'static str> {
        match self {
            Self::Filter => Some(
                "a filter is {\"and\":[…]}, {\"or\":[…]}, {\"not\":…} or {\"field\":…,\"operator\":…,\"value\":…} with an \
                 operator of = != < <= > >= in contains",
            ),
            Self::TooMuch => None,
            Self::Cursor => Some("give the `next` of the page before, with the same order"),
        }
    }
}

/// What must hold of a document.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Filter {
    /// All of these.
    And {
        /// The parts.
        and: Vec<Filter>,
    },
    /// One of these.
    Or {
        /// The parts.
        or: Vec<Filter>,
    },
    /// Not this.
    Not {
        /// What must not hold.
        not: Box<Filter>,
    },
    /// A member of the document, compared with a value.
    Criterion {
        /// The member's name; one within another by both, with a full stop between them.
        field: String,
        /// How it is compared.
        operator: Operator,
        /// With what.
        value: Value,
    },
}

/// How a member is compared. Numbers compare as numbers, texts by their characters; times, written in UTC, too. A member
/// that is not there equals `null`, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Operator {
    /// The same value.
    #[serde(rename = "=")]
    Equal,
    /// Another value.
    #[serde(rename = "!=")]
    NotEqual,
    /// Of the same type, and less.
    #[serde(rename = "<")]
    Less,
    /// Of the same type, and not more.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Of the same type, and more.
    #[serde(rename = ">")]
    Greater,
    /// Of the same type, and not less.
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
    /// Reads a filter.
    ///
    /// # Errors
    /// [`QueryError::Filter`], and [`QueryError::TooMuch`] beyond the limits.
    pub fn read(value: Value) -> Result<Self, QueryError> {
        // The depth first: reading recurses.
        if depth(&value) > 3 * DEPTH_MAX {
            return Err(QueryError::TooMuch);
        }
        let filter: Self = serde_json::from_value(value).map_err(|_| QueryError::Filter)?;
        let mut criteria = 0;
        filter.check(0, &mut criteria)?;
        Ok(filter)
    }

    fn check(&self, depth: usize, criteria: &mut usize) -> Result<(), QueryError> {
        if depth > DEPTH_MAX {
            return Err(QueryError::TooMuch);
        }
        match self {
            Self::And { and: parts } | Self::Or { or: parts } => {
                parts.iter().try_for_each(|part| part.check(depth + 1, criteria))
            }
            Self::Not { not } => not.check(depth + 1, criteria),
            Self::Criterion { .. } => {
                *criteria += 1;
                if *criteria > CRITERIA_MAX { Err(QueryError::TooMuch) } else { Ok(()) }
            }
        }
    }

    /// The members that it asks for.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Self::And { and: parts } | Self::Or { or: parts } => {
                parts.iter().flat_map(Self::fields).collect()
            }
            Self::Not { not } => not.fields(),
            Self::Criterion { field, .. } => vec![field],
        }
    }

    /// Whether it holds of a document.
    pub fn holds(&self, document: &Value) -> bool {
        match self {
            Self::And { and } => and.iter().all(|part| part.holds(document)),
            Self::Or { or } => or.iter().any(|part| part.holds(document)),
            Self::Not { not } => !not.holds(document),
            Self::Criterion { field, operator, value } => {
                let found = member(document, field).unwrap_or(&Value::Null);
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

/// A member of a document by its name; one within another by both, with a full stop between them.
fn member<'v>(document: &'v Value, field: &str) -> Option<&'v Value> {
    field.split('.').try_fold(document, |found, name| found.get(name))
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
        (Value::Number(one), Value::Number(other)) => numbers(one, other),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

/// The order of two numbers. Two that round to the same are told apart by their whole values, so that it is a total one.
fn numbers(one: &Number, other: &Number) -> Option<Ordering> {
    let exact = |number: &Number| number.as_i128().or_else(|| whole(number.as_f64()?));
    match one.as_f64()?.partial_cmp(&other.as_f64()?) {
        Some(Ordering::Equal) => Some(exact(one).cmp(&exact(other))),
        order => order,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what it is asked for rounds to a number of 64 bits, or is below 2^53"
)]
fn whole(number: f64) -> Option<i128> {
    (number.fract() == 0.0).then_some(number as i128)
}

/// The total order of the values of a member: by type, and what is missing last.
fn total(one: &Value, other: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Bool(_) => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        Value::Array(_) | Value::Object(_) => 3,
        Value::Null => 4,
    };
    comparable(one, other).unwrap_or_else(|| {
        rank(one).cmp(&rank(other)).then_with(|| one.to_string().cmp(&other.to_string()))
    })
}

/// By which member, and whether from the greatest down.
#[derive(Debug)]
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
            value: member(document, field).cloned().unwrap_or(Value::Null),
            id: document.get(id).and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }

    fn to_cursor(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(json!(self).to_string())
    }

    fn from_cursor(text: &str, order: &str) -> Result<Self, QueryError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        bytes
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|place| place.order == order)
            .ok_or(QueryError::Cursor)
    }
}

/// The cursor of a page, in the order of the member that identifies documents, that goes on behind the document of this id.
pub fn behind(id: &str, order: &str) -> String {
    Place { order: order.to_owned(), value: Value::from(id), id: id.to_owned() }.to_cursor()
}

/// The id behind which such a page goes on.
///
/// # Errors
/// [`QueryError::Cursor`].
pub fn id_behind(cursor: &str, order: &str) -> Result<String, QueryError> {
    Place::from_cursor(cursor, order).map(|place| place.id)
}

/// One page of documents in the making. Each document of a kind is shown to it, in whatever order; at most two pages are kept.
#[derive(Debug)]
pub struct Selection {
    filter: Option<Filter>,
    order: Order,
    order_text: String,
    id: &'static str,
    after: Option<Place>,
    limit: usize,
    kept: Vec<(Place, Value)>,
    total: u64,
}

/// A page that is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// Its documents, in order.
    pub items: Vec<Value>,
    /// How many match in all.
    pub total: u64,
    /// The cursor of the next page; nothing after the last one.
    pub next: Option<String>,
}

impl Selection {
    /// Selects at most `limit` documents, of which the member `id` tells two apart, in the order of a member, with `-` before its
    /// name from the greatest down, from behind the last of the page that gave the cursor.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn new(
        filter: Option<Filter>,
        order: &str,
        id: &'static str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Self, QueryError> {
        Ok(Self {
            filter,
            order: Order::read(order),
            order_text: order.to_owned(),
            id,
            after: cursor.map(|cursor| Place::from_cursor(cursor, order)).transpose()?,
            limit,
            kept: Vec::new(),
            total: 0,
        })
    }

    /// Takes a document into account.
    pub fn see(&mut self, document: Value) {
        if !self.filter.as_ref().is_none_or(|filter| filter.holds(&document)) {
            return;
        }
        self.total = self.total.saturating_add(1);
        let place = Place::of(&document, &self.order_text, &self.order.field, self.id);
        let is_behind = |after: &Place| self.order.compare(&place, after) == Ordering::Greater;
        if self.after.as_ref().is_none_or(is_behind) {
            self.kept.push((place, document));
            if self.kept.len() > 2 * self.limit + 2 {
                self.sort();
            }
        }
    }

    /// The page, when all documents have been seen.
    pub fn into_page(mut self) -> Selected {
        self.sort();
        let more = self.kept.len() > self.limit;
        self.kept.truncate(self.limit);
        let next = if more { self.kept.last().map(|(place, _)| place.to_cursor()) } else { None };
        let items = self.kept.into_iter().map(|(_, document)| document).collect();
        Selected { items, total: self.total, next }
    }

    fn sort(&mut self) {
        let order = &self.order;
        self.kept.sort_by(|(one, _), (other, _)| order.compare(one, other));
        // One more than the page, to know whether there is a next one.
        self.kept.truncate(self.limit + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(filter: Value, document: &Value) -> bool {
        Filter::read(filter).unwrap().holds(document)
    }

    #[test]
    fn a_filter_joins_criteria_and_compares_by_type() {
        let document = json!({ "state": "STARTED", "size": 10, "tags": ["a", "b"], "gone": null,
            "within": { "deep": 7 } });
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
            (one("within.deep", "=", json!(7)), true),
            (one("within.never", "=", Value::Null), true),
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
    fn pages_hold_each_document_once_even_where_numbers_round_to_the_same() {
        let large = (1_i64 << 53) + 1;
        let numbers = [
            json!(large),
            json!(large as f64),
            json!(large - 1),
            json!(u64::MAX),
            json!(-1.5),
            json!(-1),
        ];
        let documents: Vec<_> = (0_usize..60)
            .map(|n| json!({ "id": format!("{:02}", (n * 7) % 60), "n": numbers[n % 6] }))
            .collect();
        for order in ["n", "-n"] {
            let (mut seen, mut cursor) = (Vec::new(), None::<String>);
            loop {
                let mut selection =
                    Selection::new(None, order, "id", cursor.as_deref(), 7).unwrap();
                documents.iter().cloned().for_each(|document| selection.see(document));
                let page = selection.into_page();
                assert_eq!(page.total, 60);
                seen.extend(page.items.iter().map(|item| item["id"].to_string()));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen.len(), 60, "{order}");
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 60, "{order}");
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

//! Lists: criteria on the command line, and pages followed until there are as many as wanted.

use serde_json::{Map, Value, json};

use super::arguments::Listing;
use super::client::{Client, path};
use super::failure::Failure;
use super::output::Output;

/// How many are asked for at once.
const PAGE: usize = 1_000;

/// How criteria compare, longer signs first, with the names of the API.
const OPERATORS: [(&str, &str); 7] = [
    ("!=", "!="),
    ("<=", "<="),
    (">=", ">="),
    ("=", "="),
    ("<", "<"),
    (">", ">"),
    ("~", "contains"),
];

/// Which end of a list is read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// As the API orders it.
    AsOrdered,
    /// The API gives the newest first; people see them last, where the prompt is.
    NewestLast,
}

/// What is listed under a name of the API, as `{NAME: […], "total": …}`.
pub(super) async fn fetch(
    name: &str,
    reading: Reading,
    listing: &Listing,
    client: &Client,
    output: Output,
) -> Result<Value, Failure> {
    let from = Source { path: &["v1", name, "query"], name, more: Map::new() };
    fetch_from(from, reading, listing, client, output).await
}

/// Where a list comes from that is not found by its name alone.
pub(super) struct Source<'a> {
    /// The path of its query.
    pub(super) path: &'a [&'a str],
    /// The name under which it is shown.
    pub(super) name: &'a str,
    /// What its query asks for beside filter and order.
    pub(super) more: Map<String, Value>,
}

/// What is listed somewhere, as `{NAME: […], "total": …}`.
pub(super) async fn fetch_from(
    from: Source<'_>,
    reading: Reading,
    listing: &Listing,
    client: &Client,
    output: Output,
) -> Result<Value, Failure> {
    let criteria = listing.criteria.iter().map(|text| criterion(text));
    let filter = json!({ "and": criteria.collect::<Result<Vec<_>, _>>()? });
    let path = path(from.path, &[]);
    let (mut items, mut cursor, mut total, mut asked) = (Vec::new(), Value::Null, None, false);
    loop {
        let wanted = listing.limit.saturating_sub(items.len()).min(PAGE);
        let mut query = from.more.clone();
        query.extend([
            ("filter".to_owned(), filter.clone()),
            ("order".to_owned(), json!(listing.order)),
            ("limit".to_owned(), json!(wanted)),
            ("cursor".to_owned(), cursor),
            ("count".to_owned(), json!(!asked)),
        ]);
        asked = true;
        let mut page = client.post(&path, &Value::Object(query)).await?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        cursor = page.get_mut("next").map(Value::take).unwrap_or_default();
        total = total.or(page.get("total").and_then(Value::as_u64));
        if cursor.is_null() || items.len() >= listing.limit {
            break;
        }
    }
    if !cursor.is_null() {
        // A journal may have too many records to count those that match.
        let of = total.map_or_else(String::new, |total| format!(" of {total}"));
        output.note(&format!(
            "These are {}{of}; `--limit` shows more, `--where` fewer.",
            items.len()
        ));
    }
    if reading == Reading::NewestLast && listing.order.is_none() {
        items.reverse();
    }
    Ok(json!({ from.name: items, "total": total }))
}

/// `MEMBER OPERATOR VALUE` as a filter of the API. What looks like a number is compared as a number and as a text: who
/// types it cannot know which of them a member is.
fn criterion(text: &str) -> Result<Value, Failure> {
    let parts = text.find(['!', '=', '<', '>', '~']).and_then(|place| {
        let (field, rest) = text.split_at(place);
        let (sign, operator) = OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign))?;
        Some((field.trim(), operator, rest.strip_prefix(sign)?.trim()))
    });
    let Some((field, operator, value)) = parts.filter(|(field, ..)| !field.is_empty()) else {
        return Err(Failure::misuse(format!("`{text}` is no criterion")).help(
            "a criterion is such as `state=STARTED`, with one of = != < <= > >= ~ (contains)",
        ));
    };
    let alike = if operator == "!=" { "=" } else { operator };
    let one = |value: Value| json!({ "field": field, "operator": alike, "value": value });
    let mut ways = vec![one(Value::from(value))];
    if let Ok(other @ (Value::Null | Value::Bool(_) | Value::Number(_))) = value.parse() {
        ways.push(one(other));
    }
    let filter = json!({ "or": ways });
    Ok(if operator == "!=" { json!({ "not": filter }) } else { filter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_criterion_is_a_member_a_sign_and_a_value() {
        let one = |field: &str, operator: &str, value: Value| json!({ "field": field, "operator": operator, "value": value });
        let table = [
            ("state=STARTED", json!({ "or": [one("state", "=", json!("STARTED"))] })),
            ("a != b=c", json!({ "not": { "or": [one("a", "=", json!("b=c"))] } })),
            (
                "size>=9",
                json!({ "or": [one("size", ">=", json!("9")), one("size", ">=", json!(9))] }),
            ),
            (
                "purpose=null",
                json!({ "or": [one("purpose", "=", json!("null")), one("purpose", "=", json!(null))] }),
            ),
            ("title~Part", json!({ "or": [one("title", "contains", json!("Part"))] })),
            ("a<b", json!({ "or": [one("a", "<", json!("b"))] })),
        ];
        for (text, expected) in table {
            assert_eq!(criterion(text).unwrap(), expected, "{text}");
        }
        for wrong in ["", "state", "=x", "a!b", "  = 1"] {
            assert!(criterion(wrong).is_err(), "{wrong}");
        }
    }
}

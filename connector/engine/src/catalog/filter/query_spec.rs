//! The QuerySpec that an EDC connector puts into every CatalogRequestMessage, whether its caller gave one or not.
//!
//! Members and operands may be written as terms, with the prefix `edc:`, or as absolute IRIs; values plain, or as JSON-LD writes
//! them in its expanded form. What this node cannot do as it is asked is refused.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{COUNT_MAX, Condition, FilterError, VALUE_BYTES_MAX};

/// The namespace of EDC's terms.
const NAMESPACE: &str = "https://w3id.org/edc/v0.0.1/ns/";
/// The most datasets that are left out: what is further on is reached by the links.
const OFFSET_MAX: usize = 10_000;

/// What a QuerySpec asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct QuerySpec {
    /// What has to hold.
    pub(super) conditions: Vec<Condition>,
    /// How many at most.
    pub(super) limit: Option<usize>,
    /// How many are left out.
    pub(super) offset: usize,
}

impl QuerySpec {
    /// Reads one; nothing where the object is none.
    pub(super) fn read(members: &Map<String, Value>) -> Result<Option<Self>, FilterError> {
        const MEMBERS: [&str; 5] =
            ["filterExpression", "limit", "offset", "sortField", "sortOrder"];
        let types = members.get("@type").into_iter().flat_map(items);
        let is_named = types
            .filter_map(Value::as_str)
            .any(|name| matches!(term(name), "QuerySpec" | "QuerySpecDto"));
        if !is_named && !members.keys().any(|member| MEMBERS.contains(&term(member))) {
            return Ok(None);
        }
        let mut spec = Self::default();
        let mut sort_field = None;
        let mut order = None;
        for (member, value) in members {
            match term(member) {
                "@type" | "@id" | "@context" => {}
                "filterExpression" => {
                    for criterion in items(value) {
                        if spec.conditions.len() == COUNT_MAX {
                            return Err(FilterError::TooLarge);
                        }
                        spec.conditions.push(criterion_of(criterion)?);
                    }
                }
                "limit" => spec.limit = count("limit", value, 1, usize::MAX)?,
                "offset" => spec.offset = count("offset", value, 0, OFFSET_MAX)?.unwrap_or(0),
                "sortField" => sort_field = scalar(value).and_then(Value::as_str),
                "sortOrder" => order = scalar(value).and_then(Value::as_str),
                other => {
                    return Err(refuse("QuerySpec", format!("it has no member `{}`", cut(other))));
                }
            }
        }
        // Without a field there is nothing to order by: EDC sends its default order all the same.
        let Some(field) = sort_field else { return Ok(Some(spec)) };
        if !is_id(field) {
            let text = format!("the catalog is in the order of `id`, not of `{}`", cut(field));
            return Err(refuse("sortField", text));
        }
        if order.is_some_and(|order| !order.eq_ignore_ascii_case("ASC")) {
            return Err(refuse("sortOrder", "the catalog is in ascending order".to_owned()));
        }
        Ok(Some(spec))
    }

    /// Why a second one is refused: which limit holds, nobody could say.
    pub(super) fn twice() -> FilterError {
        refuse("QuerySpec", "there is more than one in the filter".to_owned())
    }
}

/// Reads one Criterion.
fn criterion_of(criterion: &Value) -> Result<Condition, FilterError> {
    let Some(members) = criterion.as_object() else {
        return Err(refuse("filterExpression", "an entry is not an object".to_owned()));
    };
    let member = |name| {
        let found = members.iter().find(|(member, _)| term(member) == name);
        found.map(|(_, value)| value)
    };
    let text = |name| member(name).and_then(scalar).and_then(Value::as_str).unwrap_or_default();
    let (left, operator) = (text("operandLeft"), text("operator"));
    if !is_id(left) {
        let reason = format!("its operandLeft is `{}`; only `id` is known", cut(left));
        return Err(refuse("filterExpression", reason));
    }
    let values: Vec<&Value> = member("operandRight").into_iter().flat_map(items).collect();
    if !matches!((operator, values.len()), ("=", 1) | ("in", 1..)) {
        let reason = format!(
            "its operator on `id` is `{}` with {} values; known are `=` with one and `in` with a list",
            cut(operator),
            values.len()
        );
        return Err(refuse("filterExpression", reason));
    }
    if values.len() > COUNT_MAX {
        return Err(FilterError::TooLarge);
    }
    let ids: Option<BTreeSet<String>> =
        values.into_iter().map(|value| scalar(value)?.as_str().map(str::to_owned)).collect();
    let ids =
        ids.ok_or_else(|| refuse("filterExpression", "its operandRight is no text".to_owned()))?;
    if ids.iter().any(|id| id.len() > VALUE_BYTES_MAX) {
        return Err(FilterError::TooLarge);
    }
    Ok(Condition::ids(&ids))
}

/// A whole number within bounds; a limit beyond ours is cut by the page.
fn count(
    member: &'static str,
    value: &Value,
    least: usize,
    most: usize,
) -> Result<Option<usize>, FilterError> {
    let Some(value) = scalar(value) else { return Ok(None) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    let reason = || match most {
        usize::MAX => format!("it is `{}`, not a number from {least} on", cut(&text)),
        _ => format!(
            "it is `{}`, not a number from {least} to {most}; what is further on is reached by the links of the pages",
            cut(&text)
        ),
    };
    number.map(Some).ok_or_else(|| refuse(member, reason()))
}

/// Whether an operand is the dataset's id. An asset's id is what its dataset is called.
fn is_id(operand: &str) -> bool {
    matches!(term(operand), "id" | "@id")
}

/// The term of a name that may have a prefix, or be an absolute IRI.
fn term(name: &str) -> &str {
    name.strip_prefix(NAMESPACE).or_else(|| name.strip_prefix("edc:")).unwrap_or(name)
}

/// The entries of a list, in any of the ways in which JSON-LD writes one.
fn items(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(values) => match values.as_slice() {
            [Value::Object(list)] if list.contains_key("@list") => {
                list.get("@list").map_or(&[], items)
            }
            values => values,
        },
        Value::Object(members) => match (members.get("@list"), members.get("@value")) {
            (Some(list), _) => items(list),
            (None, Some(Value::Array(values))) => values,
            _ => std::slice::from_ref(value),
        },
        value => std::slice::from_ref(value),
    }
}

/// The plain value: alone in a list, with a type, or an identifier. Nothing where there is not exactly one.
fn scalar(value: &Value) -> Option<&Value> {
    match value {
        Value::Null => None,
        Value::Array(values) => match values.as_slice() {
            [single] => scalar(single),
            _ => None,
        },
        Value::Object(members) => members.get("@value").or_else(|| members.get("@id")),
        plain => Some(plain),
    }
}

fn refuse(member: &'static str, reason: String) -> FilterError {
    FilterError::QuerySpec { member, reason }
}

/// What a partner wrote, as an error may show it.
fn cut(text: &str) -> String {
    text.chars().take(64).collect::<String>().escape_debug().to_string()
}

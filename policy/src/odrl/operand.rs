//! Reads the comparison itself: a right operand gets the type that its left operand needs, or the
//! reason why it cannot.

use super::{Atomic, LeftOperand, Operator, RightOperand};
use jiff::{Span, Timestamp};
use serde_json::Value;

pub(super) fn atomic(
    left: LeftOperand,
    operator: Operator,
    written: &Value,
) -> Result<Atomic, String> {
    if left.is_ordered() && (operator.takes_list() || is_structural(operator)) {
        return Err(format!(
            "compares `{}` with `{}`; it takes eq, neq, lt, lteq, gt or gteq",
            left.term(),
            operator.term()
        ));
    }
    if !left.is_ordered() && operator.is_ordering() {
        return Err(format!(
            "compares `{}` with `{}`; it takes eq, neq, isAnyOf, isNoneOf, isAllOf, isA, isPartOf or hasPart",
            left.term(),
            operator.term()
        ));
    }
    let values = list(written);
    if values.is_empty() {
        return Err("compares with an empty list".to_owned());
    }
    if values.len() > 1 && !operator.takes_list() {
        return Err(format!("gives `{}` a list; it takes one value", operator.term()));
    }
    let right = match (left, values) {
        (LeftOperand::DateTime, [value]) => RightOperand::Instant(instant(value)?),
        (LeftOperand::Count, [value]) => {
            RightOperand::Number(number(value).ok_or_else(|| wrong(value, "a whole number"))?)
        }
        (
            LeftOperand::ElapsedTime | LeftOperand::DelayPeriod | LeftOperand::TimeInterval,
            [value],
        ) => RightOperand::Duration(duration(value)?.fieldwise()),
        (LeftOperand::Spatial, values) => {
            RightOperand::Terms(values.iter().map(region).collect::<Result<_, _>>()?)
        }
        (_, values) => RightOperand::Terms(
            values
                .iter()
                .map(|value| {
                    text(value)
                        .filter(|name| !name.is_empty())
                        .map(str::to_owned)
                        .ok_or_else(|| wrong(value, "a name"))
                })
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Atomic { left, operator, right, status: 0, uid: None, written: written.clone() })
}

const fn is_structural(operator: Operator) -> bool {
    matches!(operator, Operator::IsA | Operator::HasPart | Operator::IsPartOf)
}

pub(super) fn fits_type(left: LeftOperand, data_type: &str) -> bool {
    let name = data_type
        .strip_prefix("http://www.w3.org/2001/XMLSchema#")
        .or_else(|| data_type.strip_prefix("xsd:"))
        .unwrap_or(data_type);
    match left {
        LeftOperand::DateTime => name == "dateTime" || name == "dateTimeStamp",
        LeftOperand::Count => {
            matches!(name, "integer" | "nonNegativeInteger" | "positiveInteger" | "int" | "long")
        }
        LeftOperand::ElapsedTime | LeftOperand::DelayPeriod | LeftOperand::TimeInterval => {
            matches!(name, "duration" | "dayTimeDuration" | "yearMonthDuration")
        }
        LeftOperand::Purpose | LeftOperand::Spatial | LeftOperand::Recipient => {
            matches!(name, "string" | "anyURI" | "token")
        }
    }
}

fn instant(value: &Value) -> Result<Timestamp, String> {
    // The text form that jiff reads is wider than xsd:dateTime.
    let written = text(value).filter(|written| !written.contains('[') && written.contains('T'));
    written
        .and_then(|written| written.parse().ok())
        .ok_or_else(|| wrong(value, "an instant with its zone, like 2027-01-01T00:00:00+09:00"))
}

fn duration(value: &Value) -> Result<Span, String> {
    let written = text(value).filter(|written| written.starts_with('P'));
    written
        .and_then(|written| written.parse::<Span>().ok())
        .filter(|span| !span.is_negative())
        .ok_or_else(|| wrong(value, "a duration like P30D, PT12H or P1Y"))
}

fn region(value: &Value) -> Result<String, String> {
    text(value)
        .and_then(canonical_region)
        .ok_or_else(|| wrong(value, "an ISO 3166 code like JP, DE or JP-13"))
}

/// The ISO 3166 alpha-2 or subdivision code of a region in any of its forms.
pub(crate) fn canonical_region(written: &str) -> Option<String> {
    let upper = written.to_ascii_uppercase();
    let country = match upper.len() {
        2 => rust_iso3166::from_alpha2(&upper),
        3 => rust_iso3166::from_alpha3(&upper),
        _ => None,
    };
    country
        .map(|country| country.alpha2.to_owned())
        .or_else(|| rust_iso3166::iso3166_2::from_code(&upper).map(|part| part.code.to_owned()))
}

pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| match value {
        Value::Object(object) => number(object.get("@value")?),
        _ => text(value)?.parse().ok(),
    })
}

/// The one name in a string, `{"@id": …}`, `{"@value": …}` or a list of one of them.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(object) => {
            object.get("@id").or_else(|| object.get("@value")).and_then(Value::as_str)
        }
        Value::Array(values) => match values.as_slice() {
            [Value::Array(_)] => None,
            [value] => text(value),
            _ => None,
        },
        _ => None,
    }
}

/// A list, or one value in place of a list of one.
pub(super) fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        Value::Null => &[],
        other => std::slice::from_ref(other),
    }
}

/// Why a right operand does not fit.
fn wrong(value: &Value, expected: &str) -> String {
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut short: String = shown.chars().take(80).collect();
    if short.len() < shown.len() {
        short.push('…');
    }
    format!("compares with `{short}`, which is not {expected}")
}

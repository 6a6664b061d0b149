//! Reads the comparison itself: a right operand gets the type that its left operand needs, or the
//! reason why it cannot.

use super::{Atomic, Decimal, LeftOperand, Operator, RightOperand};
use crate::vocabulary::ValueType;
use jiff::{Span, Timestamp};
use serde_json::{Map, Value};

/// Units of bytes: the last part of their names, and how many bytes they are.
const BYTES: [(&str, u64); 15] = [
    ("byte", 1),
    ("bytes", 1),
    ("b", 1),
    ("kb", 1_000),
    ("kilobyte", 1_000),
    ("mb", 1_000_000),
    ("megabyte", 1_000_000),
    ("gb", 1_000_000_000),
    ("gigabyte", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("terabyte", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

pub(super) fn atomic(
    left: LeftOperand,
    operator: Operator,
    written: &Value,
    unit: Option<&str>,
) -> Result<Atomic, String> {
    if !left.operators().include(operator) {
        return Err(format!(
            "compares `{}` with `{}`; it takes {}",
            left.term(),
            operator.term(),
            left.operators().listed()
        ));
    }
    let values = list(written);
    if values.is_empty() {
        return Err("compares with an empty list".to_owned());
    }
    if values.len() > 1 && !operator.takes_list() {
        return Err(format!("gives `{}` a list; it takes one value", operator.term()));
    }
    let right = right_operand(left, values, unit)?;
    Ok(Atomic {
        left,
        operator,
        right,
        status: 0,
        unit: unit.map(str::to_owned),
        data_type: None,
        uid: None,
        written: written.clone(),
    })
}

fn right_operand(
    left: LeftOperand,
    values: &[Value],
    unit: Option<&str>,
) -> Result<RightOperand, String> {
    let value_type = left.value();
    let without_unit = |right: RightOperand| match unit {
        Some(unit) => {
            Err(format!("gives `{}` the unit `{unit}`, which it does not have", left.term()))
        }
        None => Ok(right),
    };
    match (left, value_type, values) {
        (LeftOperand::Count, _, [value]) => {
            let number = number(value).ok_or_else(|| wrong(value, "a whole number"))?;
            without_unit(RightOperand::Number(number))
        }
        (LeftOperand::Spatial, _, values) => {
            let regions = values.iter().map(region).collect::<Result<_, _>>()?;
            without_unit(RightOperand::Terms(regions))
        }
        (_, ValueType::Instant, [value]) => without_unit(RightOperand::Instant(instant(value)?)),
        (_, ValueType::InForce, [value]) => without_unit(in_force(value)?),
        (_, ValueType::Duration, [value]) => {
            without_unit(RightOperand::Duration(duration(value)?.fieldwise()))
        }
        (_, ValueType::Days, [value]) => without_unit(days(value)?),
        (_, ValueType::Percent, [value]) => {
            let number = decimal(value)?;
            if number < Decimal::from(0) || number > Decimal::from(100) {
                return Err(wrong(value, "a number from 0 to 100"));
            }
            match unit {
                Some(unit) if !local(unit).eq_ignore_ascii_case("percent") => {
                    without_unit(RightOperand::Decimal(number))
                }
                _ => Ok(RightOperand::Decimal(number)),
            }
        }
        (_, ValueType::Decimal, [value]) => without_unit(RightOperand::Decimal(decimal(value)?)),
        (_, ValueType::Bytes, [value]) => bytes(value, unit).map(RightOperand::Decimal),
        (_, ValueType::Money, [value]) => match unit {
            Some(_) => Ok(RightOperand::Decimal(decimal(value)?)),
            None => Err(format!("gives `{}` no unit; it needs a currency, like EUR", left.term())),
        },
        (_, ValueType::Version, values) => {
            let versions: Vec<String> = values.iter().map(name).collect::<Result<_, _>>()?;
            without_unit(RightOperand::Terms(versions))
        }
        (_, _, values) => {
            let names = values.iter().map(name).collect::<Result<_, _>>()?;
            without_unit(RightOperand::Terms(names))
        }
    }
}

/// Whether a declared `dataType` is one that the operand's values have.
pub(super) fn fits_type(left: LeftOperand, data_type: &str) -> bool {
    let name = data_type
        .strip_prefix("http://www.w3.org/2001/XMLSchema#")
        .or_else(|| data_type.strip_prefix("xsd:"))
        .unwrap_or(data_type);
    let is_whole =
        matches!(name, "integer" | "nonNegativeInteger" | "positiveInteger" | "int" | "long");
    match (left, left.value()) {
        (LeftOperand::Count, _) | (_, ValueType::Days) => is_whole,
        (_, ValueType::Instant) => matches!(name, "dateTime" | "dateTimeStamp"),
        (_, ValueType::InForce) => {
            matches!(name, "dateTime" | "dateTimeStamp" | "dateExpression" | "string")
                || name.ends_with("dateExpression")
        }
        (_, ValueType::Duration) => {
            matches!(name, "duration" | "dayTimeDuration" | "yearMonthDuration")
        }
        (_, ValueType::Decimal | ValueType::Percent | ValueType::Bytes | ValueType::Money) => {
            is_whole || matches!(name, "decimal" | "float" | "double")
        }
        (_, ValueType::Terms | ValueType::Version) => {
            matches!(
                name,
                "string" | "anyURI" | "token" | "normalizedString" | "language" | "QName"
            )
        }
    }
}

fn name(value: &Value) -> Result<String, String> {
    let name = text(value).filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| wrong(value, "a name"))
}

fn instant(value: &Value) -> Result<Timestamp, String> {
    // The text form that jiff reads is wider than xsd:dateTime.
    let written = text(value).filter(|written| !written.contains('[') && written.contains('T'));
    written
        .and_then(|written| written.parse().ok())
        .ok_or_else(|| wrong(value, "an instant with its zone, like 2027-01-01T00:00:00+09:00"))
}

/// `contractAgreement+30d`: a number of seconds, minutes, hours or days from the agreement.
fn in_force(value: &Value) -> Result<RightOperand, String> {
    let expected = "an instant with its zone, or contractAgreement+30d";
    let Some(period) = text(value).and_then(|text| text.strip_prefix("contractAgreement+")) else {
        return instant(value).map(RightOperand::Instant).map_err(|_| wrong(value, expected));
    };
    let split = period.len().saturating_sub(1);
    let number = period.get(..split).and_then(|digits| digits.parse::<i64>().ok());
    let span =
        number.filter(|number| (0..=1_000_000_000).contains(number)).and_then(
            |number| match period.get(split..) {
                Some("s") => Span::new().try_seconds(number).ok(),
                Some("m") => Span::new().try_minutes(number).ok(),
                Some("h") => Span::new().try_hours(number).ok(),
                Some("d") => Span::new().try_days(number).ok(),
                _ => None,
            },
        );
    span.map(|span| RightOperand::Duration(span.fieldwise())).ok_or_else(|| wrong(value, expected))
}

fn duration(value: &Value) -> Result<Span, String> {
    let written = text(value).filter(|written| written.starts_with('P'));
    written
        .and_then(|written| written.parse::<Span>().ok())
        .filter(|span| !span.is_negative())
        .ok_or_else(|| wrong(value, "a duration like P30D, PT12H or P1Y"))
}

fn days(value: &Value) -> Result<RightOperand, String> {
    let span = number(value).and_then(|days| Span::new().try_days(i64::try_from(days).ok()?).ok());
    span.map(|span| RightOperand::Duration(span.fieldwise()))
        .ok_or_else(|| wrong(value, "a whole number of days"))
}

fn decimal(value: &Value) -> Result<Decimal, String> {
    let read = match value {
        Value::Number(number) => number.to_string().parse().ok(),
        Value::Object(object) => match literal(object) {
            Some(Value::Number(number)) => number.to_string().parse().ok(),
            _ => text(value).and_then(|text| text.parse().ok()),
        },
        _ => text(value).and_then(|text| text.parse().ok()),
    };
    read.ok_or_else(|| wrong(value, "a decimal number"))
}

fn bytes(value: &Value, unit: Option<&str>) -> Result<Decimal, String> {
    let number = decimal(value)?;
    let Some(unit) = unit else { return Ok(number) };
    let unit_name = local(unit).to_ascii_lowercase();
    let (_, factor) = BYTES.iter().find(|(name, _)| *name == unit_name).ok_or_else(|| {
        format!("has the unit `{unit}`; sizes are in byte, kB, MB, GB, TB, KiB, MiB, GiB or TiB")
    })?;
    number.times(*factor).ok_or_else(|| wrong(value, "a size that exists"))
}

/// The last part of an IRI or prefixed name.
fn local(name: &str) -> &str {
    name.rsplit(['/', '#', ':']).next().unwrap_or(name)
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
        Value::Object(object) => number(literal(object)?),
        _ => text(value)?.parse().ok(),
    })
}

/// The one name in a string, `{"@id": …}`, `{"@value": …}` or a list of one of them.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(object) => literal(object).and_then(Value::as_str),
        Value::Array(values) => match values.as_slice() {
            [Value::Array(_)] => None,
            [value] => text(value),
            _ => None,
        },
        _ => None,
    }
}

/// What `{"@id": …}` or `{"@value": …}` stands for; nothing where the object says more than its type, language or a note,
/// so that no member is passed over.
fn literal(object: &Map<String, Value>) -> Option<&Value> {
    let mut found = None;
    for (name, member) in object {
        match name.as_str() {
            "@id" | "@value" if found.is_none() => found = Some(member),
            "@type" | "@language" => {}
            name if is_annotation(name) => {}
            _ => return None,
        }
    }
    found
}

/// The type that a literal gives itself.
pub(super) fn literal_type(value: &Value) -> Option<&str> {
    let object = value.as_object().filter(|object| object.contains_key("@value"))?;
    object.get("@type").and_then(Value::as_str)
}

/// Vocabularies whose terms say nothing but what people read, by prefix and namespace.
const ANNOTATIONS: [&str; 9] = [
    "dct:",
    "dcterms:",
    "dc:",
    "rdfs:",
    "skos:",
    "http://purl.org/dc/terms/",
    "http://purl.org/dc/elements/1.1/",
    "http://www.w3.org/2000/01/rdf-schema#",
    "http://www.w3.org/2004/02/skos/core#",
];

/// Whether a member is for people only, whatever it stands in.
pub(super) fn is_annotation(name: &str) -> bool {
    ANNOTATIONS.iter().any(|prefix| name.starts_with(prefix))
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

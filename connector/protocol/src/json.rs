//! Bounded reading of JSON from a peer.
//!
//! Every peer input of the product is read here, once: bytes, depth and number of values are limited; duplicate keys,
//! trailing data and bytes that are not UTF-8 are refused, because two readers could understand them differently; so
//! are numbers that RFC 8785 cannot keep exactly, because what is read here is hashed and signed. Only what is shown and
//! no more than that may have them ([`read_to_show`]).

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};

/// The deepest nesting that can be asked for; the parser's own bound lies just above.
pub const MAX_DEPTH: usize = 120;

/// What a JSON text may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The length of the text in bytes.
    pub max_bytes: usize,
    /// How deep values may be nested; a text that is one plain value has depth 1. More than [`MAX_DEPTH`] counts as
    /// [`MAX_DEPTH`].
    pub max_depth: usize,
    /// How many values the text may have, objects and arrays included.
    pub max_nodes: usize,
}

impl Default for Limits {
    /// Ample for a message with a large policy: 1 MiB, depth 64, 50,000 values.
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_depth: 64, max_nodes: 50_000 }
    }
}

/// Why a text is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the JSON text is refused at `{path}`: {fault}")]
pub struct JsonError {
    /// The place, as a JSON path such as `$.offer.permission[0]`.
    pub path: String,
    /// The reason.
    pub fault: JsonFault,
}

/// The reason why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// Longer than [`Limits::max_bytes`].
    #[error("it has {bytes} bytes; at most {limit} are accepted")]
    TooLong {
        /// The length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Nested deeper than [`Limits::max_depth`].
    #[error("it is nested more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// More values than [`Limits::max_nodes`].
    #[error("it has more than {limit} values")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A key twice in one object.
    #[error("the key is given twice")]
    DuplicateKey,
    /// A number that does not survive RFC 8785.
    #[error("the number cannot be kept exactly; send it as a string")]
    InexactNumber,
    /// Bytes that are not UTF-8.
    #[error("byte {at} is not UTF-8")]
    NotUtf8 {
        /// The position.
        at: usize,
    },
    /// Not JSON, or something after it.
    #[error("{reason}")]
    Syntax {
        /// What the parser says, with line and column.
        reason: String,
    },
}

/// Reads one JSON value and nothing else.
///
/// # Errors
/// [`JsonError`] names the place and the reason; nothing of a refused text is kept.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Value, JsonError> {
    read_with(bytes, limits, None)
}

/// As [`read`], for a document that is shown and neither hashed nor signed: a number that cannot be kept exactly becomes a
/// text. Within members named `exact` it is refused as by [`read`].
///
/// # Errors
/// As for [`read`].
pub fn read_to_show(bytes: &[u8], limits: &Limits, exact: &str) -> Result<Value, JsonError> {
    read_with(bytes, limits, Some(exact))
}

fn read_with(bytes: &[u8], limits: &Limits, exact: Option<&str>) -> Result<Value, JsonError> {
    let at_root = |fault| JsonError { path: "$".to_owned(), fault };
    if bytes.len() > limits.max_bytes {
        return Err(at_root(JsonFault::TooLong { bytes: bytes.len(), limit: limits.max_bytes }));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| at_root(JsonFault::NotUtf8 { at: error.valid_up_to() }))?;

    let mut reader = Reader {
        max_depth: limits.max_depth.min(MAX_DEPTH),
        max_nodes: limits.max_nodes,
        exact,
        nodes: 0,
        place: Vec::new(),
        fault: None,
    };
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = ValueSeed(&mut reader).deserialize(&mut parser);
    value.and_then(|value| parser.end().map(|()| value)).map_err(|error| JsonError {
        path: reader.path(),
        fault: reader.fault.unwrap_or_else(|| JsonFault::Syntax { reason: error.to_string() }),
    })
}

/// Why a value has no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the JSON value has no RFC 8785 form: {reason}")]
pub struct DigestError {
    reason: String,
}

/// The SHA-256 of the RFC 8785 form of `value`: equal for equal content, whatever its spacing and order of keys.
///
/// # Errors
/// When `value` has a number that RFC 8785 cannot keep exactly; never for a value from [`read`].
pub fn content_digest(value: &Value) -> Result<[u8; 32], DigestError> {
    let canonical = canonical(value)?;
    Ok(Sha256::digest(canonical).into())
}

/// The RFC 8785 form of `value`, which digests and signatures cover.
///
/// # Errors
/// When `value` has a number that RFC 8785 cannot keep exactly; never for a value from [`read`].
pub fn canonical(value: &Value) -> Result<Vec<u8>, DigestError> {
    // serde_jcs rounds such numbers without a word, so that two different texts would have one form.
    if let Some(number) = first_inexact(value) {
        return Err(DigestError { reason: format!("the number {number} cannot be kept exactly") });
    }
    serde_jcs::to_vec(value).map_err(|error| DigestError { reason: error.to_string() })
}

/// The first number of `value` that RFC 8785 would round.
fn first_inexact(value: &Value) -> Option<&Number> {
    match value {
        Value::Number(number) if !is_exact(number) => Some(number),
        Value::Array(items) => items.iter().find_map(first_inexact),
        Value::Object(members) => members.values().find_map(first_inexact),
        _ => None,
    }
}

/// Whether every I-JSON reader keeps the number: a fraction, or an integer of at most 2^53 - 1 (RFC 7493, 2.2).
fn is_exact(number: &Number) -> bool {
    const MAX_INTEGER: u64 = (1 << 53) - 1;
    const MAX_INTEGER_AS_FLOAT: f64 = 9_007_199_254_740_991.0;
    let integer = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    match integer {
        Some(integer) => integer <= MAX_INTEGER,
        None => number
            .as_f64()
            .is_some_and(|float| float.abs() <= MAX_INTEGER_AS_FLOAT || float.fract() != 0.0),
    }
}

/// A place in a JSON text, linked to the places around it so that a path costs nothing until an error names it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => formatter.write_str("$"),
            Self::Key(parent, key) => {
                parent.fmt(formatter)?;
                write_key(formatter, key)
            }
            Self::Index(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

/// A key in an error text comes from a peer: it is cut and its control characters are escaped.
fn write_key(output: &mut impl fmt::Write, key: &str) -> fmt::Result {
    const MAX_SHOWN: usize = 64;
    output.write_char('.')?;
    for character in key.chars().take(MAX_SHOWN) {
        write!(output, "{}", character.escape_debug())?;
    }
    if key.chars().nth(MAX_SHOWN).is_some() { output.write_char('…') } else { Ok(()) }
}

enum Step {
    Key(String),
    Index(usize),
}

/// The state of one reading: what it has cost, where it is, and why it stopped.
struct Reader<'e> {
    max_depth: usize,
    max_nodes: usize,
    /// Nothing where every number has to be exact; else the name of the members within which it has to be.
    exact: Option<&'e str>,
    nodes: usize,
    place: Vec<Step>,
    fault: Option<JsonFault>,
}

impl Reader<'_> {
    fn path(&self) -> String {
        let mut path = "$".to_owned();
        for step in &self.place {
            let written = match step {
                Step::Key(key) => write_key(&mut path, key),
                Step::Index(index) => fmt::Write::write_fmt(&mut path, format_args!("[{index}]")),
            };
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
        path
    }

    /// Records why the text is refused; the parser only carries that it was.
    fn refuse<E: de::Error>(&mut self, fault: JsonFault) -> E {
        let error = E::custom(&fault);
        self.fault = Some(fault);
        error
    }

    fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        self.nodes += 1;
        if self.nodes > self.max_nodes {
            return Err(self.refuse(JsonFault::TooMany { limit: self.max_nodes }));
        }
        if self.place.len() >= self.max_depth {
            return Err(self.refuse(JsonFault::TooDeep { limit: self.max_depth }));
        }
        Ok(())
    }

    fn number<E: de::Error>(&mut self, number: Number) -> Result<Value, E> {
        if is_exact(&number) {
            Ok(Value::Number(number))
        } else if self.exact.is_some_and(|exact| !self.is_within(exact)) {
            Ok(Value::String(number.to_string()))
        } else {
            Err(self.refuse(JsonFault::InexactNumber))
        }
    }

    fn is_within(&self, member: &str) -> bool {
        self.place.iter().any(|step| matches!(step, Step::Key(key) if key == member))
    }
}

struct ValueSeed<'r, 'e>(&'r mut Reader<'e>);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.enter()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.number(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.number(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        // An integer too large for 64 bits arrives here too, rounded; it is not exact either way.
        match Number::from_f64(value) {
            Some(number) => self.0.number(number),
            None => Err(self.0.refuse(JsonFault::InexactNumber)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            self.0.place.push(Step::Index(items.len()));
            let item = sequence.next_element_seed(ValueSeed(&mut *self.0))?;
            self.0.place.pop();
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            self.0.place.push(Step::Key(key.clone()));
            if members.contains_key(&key) {
                return Err(self.0.refuse(JsonFault::DuplicateKey));
            }
            let value = object.next_value_seed(ValueSeed(&mut *self.0))?;
            self.0.place.pop();
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests;

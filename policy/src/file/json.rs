//! Reads the JSON of a policy file: a member that is given twice is refused, because of two clauses one would be lost.

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// How many levels of objects and lists are read: what a policy may have, and what a file says around it.
pub(crate) const MAX_LEVELS: usize = crate::odrl::MAX_DEPTH + 16;

/// Which bytes of a JSON text are of its structure, read from the first one on.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    /// Whether the bytes stand within a string.
    pub(super) is_open: bool,
    is_escaped: bool,
}

impl Quotes {
    /// Whether the next byte is of the structure: neither within a string nor one of its quotation marks.
    pub(super) fn pass(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_open => self.is_escaped = true,
            b'"' => self.is_open = !self.is_open,
            _ => return !self.is_open,
        }
        false
    }
}

/// Where a text is nested deeper than is read, as a byte offset. It is stepped over once, without recursion.
pub(crate) fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut quotes) = (0_usize, Quotes::default());
    text.bytes().position(|byte| {
        match byte {
            _ if !quotes.pass(byte) => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_LEVELS
    })
}

/// Reads one JSON value.
///
/// # Errors
/// When the text is no JSON, is nested deeper than [`MAX_LEVELS`], or an object has a member twice, however it is escaped; with
/// line and column.
pub(crate) fn read(text: &str) -> serde_json::Result<Value> {
    // The text is looked at before anything recurses over it.
    if too_deep(text).is_some() {
        return Err(de::Error::custom(format_args!(
            "it is nested deeper than {MAX_LEVELS} levels"
        )));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = Once.deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

/// A JSON value whose objects have each member once.
#[derive(Clone, Copy)]
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(self)? {
            list.push(entry);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(de::Error::custom(format_args!("the member `{name}` is given twice")));
            }
            let value = entries.next_value_seed(self)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

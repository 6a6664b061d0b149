//! Reading and writing members of a message, with the place at hand for an error.

use serde_json::{Map, Value};

use super::{Explanation, Pids, WireError, WireFault};
use crate::id::{IdError, Pid};
use crate::json::Place;
use crate::path::BaseUrl;

/// The namespace of DSP 2025-1 terms.
const NAMESPACE: &str = "https://w3id.org/dspace/2025/1/";

/// The members of a JSON object that is being written.
pub(crate) type Members = Map<String, Value>;

/// How a type is read from and written to the compact form.
pub trait Wire: Sized {
    /// Its `@type`.
    const TYPE: &'static str;
    /// Whether the top-level `@id` names the thing itself rather than the message.
    const OWN_ID: bool = false;
    /// Whether it is only shown, but for its offers: then an inexact number elsewhere does no harm.
    const SHOWN: bool = false;

    /// Reads the members; context and type are checked already.
    fn read(node: &Node<'_>) -> Result<Self, WireError>;

    /// Writes the members after context, type and message id.
    fn write(&self, members: &mut Members);
}

/// The name of a term that may be written as an absolute IRI of the DSP vocabulary.
pub(crate) fn term(name: &str) -> &str {
    name.strip_prefix(NAMESPACE).unwrap_or(name)
}

/// A value within a message.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    message: &'static str,
    value: &'a Value,
    place: Place<'a>,
}

impl<'a> Node<'a> {
    /// The whole of `message`.
    pub fn root(value: &'a Value, message: &'static str) -> Self {
        Self { message, value, place: Place::Root }
    }

    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// An error at this place.
    pub fn refuse(&self, fault: WireFault) -> WireError {
        WireError::Invalid { message: self.message, path: self.place.to_string(), fault }
    }

    /// The members of an object.
    pub fn members(&self) -> Result<&'a Members, WireError> {
        self.value.as_object().ok_or_else(|| self.wrong("an object"))
    }

    /// A member, unless it is absent or null.
    pub fn optional<'n>(&'n self, key: &'n str) -> Result<Option<Node<'n>>, WireError> {
        let value = self.members()?.get(key).filter(|value| !value.is_null());
        Ok(value.map(|value| self.below(key, value)))
    }

    /// A member that must be there.
    pub fn required<'n>(&'n self, key: &'n str) -> Result<Node<'n>, WireError> {
        let missing = || self.below(key, &Value::Null).refuse(WireFault::Missing);
        self.optional(key)?.ok_or_else(missing)
    }

    /// The entries of a list, or the one value that stands for a list of one.
    pub fn items(&self) -> impl Iterator<Item = Node<'_>> {
        let entries = match self.value {
            Value::Array(entries) => entries.as_slice(),
            single => std::slice::from_ref(single),
        };
        let is_list = self.value.is_array();
        entries.iter().enumerate().map(move |(index, value)| Node {
            message: self.message,
            value,
            place: if is_list { Place::Index(&self.place, index) } else { self.place },
        })
    }

    /// Every entry of the list member `key`, read by `read`; none when it is absent.
    pub fn list<T>(
        &self,
        key: &str,
        read: impl Fn(&Node<'_>) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        match self.optional(key)? {
            None => Ok(Vec::new()),
            Some(list) => list.items().map(|item| read(&item)).collect(),
        }
    }

    /// A string.
    pub fn text(&self) -> Result<&'a str, WireError> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    /// A string, or a number or boolean written as one.
    pub fn scalar(&self) -> Result<String, WireError> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(self.value.to_string()),
            _ => Err(self.wrong("a string")),
        }
    }

    /// An identifier: a string, or an object with it as `@id`.
    pub fn id<T>(&self) -> Result<T, WireError>
    where
        T: for<'t> TryFrom<&'t str, Error = IdError>,
    {
        T::try_from(self.id_text()?).map_err(|error| self.refuse(WireFault::Id(error)))
    }

    /// The text of an identifier or term: a string, or an object with it as `@id`.
    pub fn id_text(&self) -> Result<&'a str, WireError> {
        let id = self.value.get("@id").unwrap_or(self.value);
        id.as_str().ok_or_else(|| self.wrong("an identifier"))
    }

    /// A base address.
    pub fn base_url(&self) -> Result<BaseUrl, WireError> {
        BaseUrl::new(self.text()?).map_err(|error| self.refuse(WireFault::Address(error)))
    }

    /// Both pids of a process.
    pub fn pids(&self) -> Result<Pids, WireError> {
        Ok(Pids {
            consumer: self.required("consumerPid")?.id()?,
            provider: self.required("providerPid")?.id()?,
        })
    }

    /// `code` and `reason`.
    pub fn explanation(&self) -> Result<Explanation, WireError> {
        Ok(Explanation {
            code: self.optional("code")?.map(|code| code.scalar()).transpose()?,
            reason: self.list("reason", |reason| Ok(reason.value().clone()))?,
        })
    }

    /// Members that are not among `known`, for those types that keep them.
    pub fn others(&self, known: &[&str]) -> Result<Members, WireError> {
        let is_other = |key: &str| !known.contains(&key) && key != "@context";
        let others = self.members()?.iter().filter(|(key, _)| is_other(key));
        Ok(others.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn below<'n>(&'n self, key: &'n str, value: &'n Value) -> Node<'n> {
        Node { message: self.message, value, place: Place::Key(&self.place, key) }
    }

    fn wrong(&self, expected: &'static str) -> WireError {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.refuse(WireFault::Kind { expected, found })
    }
}

/// Writes a text member.
pub(crate) fn put(members: &mut Members, key: &str, text: &str) {
    members.insert(key.to_owned(), Value::from(text));
}

/// Writes a list member, unless it has no entry: the schemas forbid empty lists.
pub(crate) fn put_list(members: &mut Members, key: &str, entries: impl IntoIterator<Item = Value>) {
    let entries: Vec<Value> = entries.into_iter().collect();
    if !entries.is_empty() {
        members.insert(key.to_owned(), Value::Array(entries));
    }
}

/// Writes both pids.
pub(crate) fn put_pids(members: &mut Members, pids: &Pids) {
    put_pid(members, "providerPid", &pids.provider);
    put_pid(members, "consumerPid", &pids.consumer);
}

/// Writes one pid.
pub(crate) fn put_pid(members: &mut Members, key: &str, pid: &Pid) {
    put(members, key, pid.as_str());
}

/// Writes `code` and `reason`.
pub(crate) fn put_explanation(members: &mut Members, explanation: &Explanation) {
    if let Some(code) = &explanation.code {
        put(members, "code", code);
    }
    put_list(members, "reason", explanation.reason.iter().cloned());
}

/// Writes members that are not ours to name; those that are already written prevail.
pub(crate) fn put_others(members: &mut Members, others: &Members, known: &[&str]) {
    for (key, value) in others.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
        members.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

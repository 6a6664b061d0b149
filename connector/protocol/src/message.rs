//! The messages and answers of DSP 2025-1 as checked types.
//!
//! Lenient in what is read: members that are not known are ignored, `@context` may be one string or have further
//! contexts, a single value may stand for a list of one, an identifier may be an object of only `@id`. Strict in what is
//! sent: it fits the official JSON Schemas. JSON-LD is not processed; DSP permits reading its compact form as plain JSON.

mod address;
mod catalog;
mod negotiation;
mod policy;
mod transfer;
mod version;
pub(crate) mod wire;

use std::fmt;

use serde_json::{Map, Value};

use crate::id::{IdError, MessageId, Pid};
use crate::json::{self, JsonError, Limits};
use crate::path::BaseUrlError;

pub use address::{DataAddress, EndpointProperty};
pub use catalog::{
    AccessService, Catalog, CatalogRequestMessage, DataService, Dataset, DatasetRequestMessage,
    Distribution,
};
pub use negotiation::{
    ContractAgreementMessage, ContractAgreementVerificationMessage, ContractNegotiation,
    ContractNegotiationEventMessage, ContractNegotiationTerminationMessage, ContractOfferMessage,
    ContractRequestMessage, NOT_HONOURED, NOT_HONOURED_MAX, NegotiationEvent, OfferStage, PURPOSE,
    RequestStage,
};
pub use policy::{Agreement, AgreementTerms, CatalogOffer, MessageOffer};
pub use transfer::{
    TransferCompletionMessage, TransferProcess, TransferRequestMessage, TransferStartMessage,
    TransferSuspensionMessage, TransferTerminationMessage,
};
pub use version::{ProtocolVersion, VersionAuth, VersionResponse};

use wire::{Node, Wire};

/// The JSON-LD context that every message carries (DSP 2025-1, common functionality).
pub const CONTEXT: &str = "https://w3id.org/dspace/2025/1/context.jsonld";
/// The name of the protocol version, as version discovery tells it.
pub const PROTOCOL_VERSION: &str = "2025-1";

/// A message or answer of DSP that has a context and a type. Only the types of this crate are.
pub trait Message: Wire {}

impl<T: Wire> Message for T {}

/// A message as it came.
#[derive(Clone)]
pub struct Incoming<T> {
    /// The message's own identifier (top-level `@id`), when it has one. For a Catalog or Dataset: nothing, since theirs
    /// is not the message's.
    pub message_id: Option<MessageId>,
    /// SHA-256 of the RFC 8785 form of the whole message, to recognise a repeat and to prove what came.
    pub digest: [u8; 32],
    /// What it says.
    pub message: T,
    /// Every member as it came, for the record, except that secrets of a data address are replaced by their SHA-256.
    pub document: Value,
}

impl<T> Incoming<T> {
    /// The same envelope around something made from the message.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Incoming<U> {
        Incoming {
            message_id: self.message_id,
            digest: self.digest,
            message: change(self.message),
            document: self.document,
        }
    }
}

/// The identifiers that both sides gave to one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pids {
    /// What the consumer calls it.
    pub consumer: Pid,
    /// What the provider calls it.
    pub provider: Pid,
}

/// Why somebody ends or refuses something (`code`, `reason`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Explanation {
    /// A code that is meant for programs.
    pub code: Option<String>,
    /// Reasons meant for people: texts, or language-tagged values as they came.
    pub reason: Vec<Value>,
}

impl Explanation {
    /// A code with one text.
    #[must_use]
    pub fn new(code: &str, reason: &str) -> Self {
        Self { code: Some(code.to_owned()), reason: vec![Value::from(reason)] }
    }

    /// The reasons as texts, fit for a log or a terminal: control characters are replaced.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let text = |reason: &Value| match reason.get("@value").unwrap_or(reason) {
            Value::String(text) => text.replace(char::is_control, "\u{FFFD}"),
            other => other.to_string(),
        };
        self.reason.iter().map(text).collect()
    }
}

/// Why bytes are not the message they should be. The sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Not readable JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON, but not this message.
    #[error("the {message} is refused at `{path}`: {fault}")]
    Invalid {
        /// The message that was expected.
        message: &'static str,
        /// The place, as a JSON path.
        path: String,
        /// The reason.
        fault: WireFault,
    },
}

/// Why a member of a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireFault {
    /// A required member is absent or null.
    #[error("it is missing")]
    Missing,
    /// A value of another JSON type.
    #[error("it is {found}, not {expected}")]
    Kind {
        /// What is required.
        expected: &'static str,
        /// What was found.
        found: &'static str,
    },
    /// An `@type` that names another message.
    #[error("it does not name {expected}")]
    Type {
        /// The type that was expected.
        expected: &'static str,
    },
    /// An `@context` without the one of DSP 2025-1.
    #[error("it does not have `{CONTEXT}`")]
    Context,
    /// A value outside its enumeration.
    #[error("it is not one of {expected}")]
    Unknown {
        /// The permitted values.
        expected: &'static str,
    },
    /// Two members of which exactly one must be given.
    #[error("exactly one of {members} must be given")]
    ExactlyOne {
        /// The members.
        members: &'static str,
    },
    /// A list without entries where one is required.
    #[error("it has no entry")]
    Empty,
    /// A policy without any rule: it permits nothing, and the schema forbids it.
    #[error("it has neither a permission nor a prohibition")]
    NoRule,
    /// Not an identifier.
    #[error("{0}")]
    Id(IdError),
    /// Not a base address.
    #[error("{0}")]
    Address(BaseUrlError),
    /// Not an instant as XML Schema writes it.
    #[error("it is not a date and time with zone, such as `2026-01-31T12:00:00Z`")]
    Timestamp,
    /// A member that contradicts another.
    #[error("it contradicts {other}")]
    Contradiction {
        /// The other member.
        other: &'static str,
    },
}

/// Reads a message of type `T` from a peer's bytes.
///
/// # Errors
/// [`WireError`] names the place and the reason.
pub fn parse<T: Message>(bytes: &[u8], limits: &Limits) -> Result<Incoming<T>, WireError> {
    let mut document = match T::SHOWN {
        true => json::read_to_show(bytes, limits, "hasPolicy")?,
        false => json::read(bytes, limits)?,
    };
    let node = Node::root(&document, T::TYPE);
    check_envelope::<T>(&node)?;
    let message_id =
        if T::OWN_ID { None } else { node.optional("@id")?.map(|id| id.id()).transpose()? };
    let message = T::read(&node)?;
    let digest = json::content_digest(&document).map_err(|error| {
        let fault = json::JsonFault::Syntax { reason: error.to_string() };
        JsonError { path: "$".to_owned(), fault }
    })?;
    address::redact(&mut document);
    Ok(Incoming { message_id, digest, message, document })
}

/// Writes a message, with its identifier where it has one of its own. Fits the official JSON Schema.
pub fn to_json<T: Message>(message: &T, id: Option<&MessageId>) -> Value {
    let mut members = Map::new();
    members.insert("@context".to_owned(), Value::from(vec![CONTEXT]));
    members.insert("@type".to_owned(), Value::from(T::TYPE));
    if let Some(id) = id {
        members.insert("@id".to_owned(), Value::from(id.as_str()));
    }
    message.write(&mut members);
    Value::Object(members)
}

/// [`to_json`] as the bytes that are sent.
pub fn to_bytes<T: Message>(message: &T, id: Option<&MessageId>) -> Vec<u8> {
    to_json(message, id).to_string().into_bytes()
}

impl<T: fmt::Debug> fmt::Debug for Incoming<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Incoming")
            .field("message_id", &self.message_id)
            .field("digest", &hex::encode(self.digest))
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

fn check_envelope<T: Message>(node: &Node<'_>) -> Result<(), WireError> {
    let context = node.required("@context")?;
    if !context.items().any(|item| item.value().as_str() == Some(CONTEXT)) {
        return Err(context.refuse(WireFault::Context));
    }
    let kind = node.required("@type")?;
    if kind
        .items()
        .any(|item| item.value().as_str().is_some_and(|name| wire::term(name) == T::TYPE))
    {
        return Ok(());
    }
    Err(kind.refuse(WireFault::Type { expected: T::TYPE }))
}

#[cfg(test)]
mod tests;

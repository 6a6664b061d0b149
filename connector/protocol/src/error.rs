//! The error bodies of DSP 2025-1: what we answer, and what a peer's refusal says.

use serde_json::Value;

use crate::json::{self, Limits};
use crate::message::wire::{Members, Node, Wire, put_explanation, put_pids};
use crate::message::{Explanation, Pids, WireError};

/// The answer to a refused catalog or dataset request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CatalogError {
    /// Why.
    pub explanation: Explanation,
}

/// The answer to a refused negotiation message. It changes no state.
#[derive(Debug, Clone, PartialEq)]
pub struct ContractNegotiationError {
    /// The negotiation. Where we have no pid of our own to tell: a reference by which an administrator finds the reason.
    pub pids: Pids,
    /// Why.
    pub explanation: Explanation,
}

/// The answer to a refused transfer message. It changes no state.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferError {
    /// The transfer, as in [`ContractNegotiationError::pids`].
    pub pids: Pids,
    /// Why.
    pub explanation: Explanation,
}

/// What a peer says when it refuses, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PeerRefusal {
    /// The `@type` of the body, when it has one.
    pub kind: Option<String>,
    /// Why, in the peer's words.
    pub explanation: Explanation,
    /// What the peer's administrator finds the reason by: the reason that is a `urn:uuid:` and nothing else, as our nodes give
    /// one.
    pub reference: Option<String>,
}

impl PeerRefusal {
    /// Reads a refusal's body. Never fails: a peer that refuses may send anything or nothing, and the refusal stands.
    #[must_use]
    pub fn read(bytes: &[u8], limits: &Limits) -> Self {
        let Ok(document) = json::read(bytes, limits) else { return Self::default() };
        let node = Node::root(&document, "error");
        let mut explanation = node.explanation().unwrap_or_default();
        let mut reference = None;
        explanation.reason.retain(|reason| {
            match reason.as_str().filter(|text| is_reference(text)) {
                Some(text) => {
                    reference.get_or_insert_with(|| text.to_owned());
                    false
                }
                None => true,
            }
        });
        let kind = document.get("@type").and_then(Value::as_str).map(str::to_owned);
        Self { kind, explanation, reference }
    }
}

/// `urn:uuid:` and a UUID (RFC 9562, section 4).
fn is_reference(text: &str) -> bool {
    text.strip_prefix("urn:uuid:").is_some_and(|uuid| {
        uuid.len() == 36
            && uuid.chars().all(|character| character.is_ascii_hexdigit() || character == '-')
    })
}

impl Wire for CatalogError {
    const TYPE: &'static str = "CatalogError";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { explanation: node.explanation()? })
    }

    fn write(&self, members: &mut Members) {
        put_explanation(members, &self.explanation);
    }
}

impl Wire for ContractNegotiationError {
    const TYPE: &'static str = "ContractNegotiationError";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { pids: node.pids()?, explanation: node.explanation()? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        put_explanation(members, &self.explanation);
    }
}

impl Wire for TransferError {
    const TYPE: &'static str = "TransferError";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { pids: node.pids()?, explanation: node.explanation()? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        put_explanation(members, &self.explanation);
    }
}

//! Messages of the contract negotiation protocol.

use serde_json::Value;

use super::wire::{Members, Node, Wire, put, put_explanation, put_pid, put_pids, term};
use super::{Agreement, Explanation, MessageOffer, Pids, WireError, WireFault};
use crate::id::{Pid, PurposeId};
use crate::negotiation::{MessageKind, State};
use crate::path::BaseUrl;

/// The extra member of a ContractRequestMessage by which a consumer declares its purpose. Ours, beside DSP.
pub const PURPOSE: &str = "urn:sekisho:v1:purpose";

/// The member of a ContractAgreementMessage that lists clauses which the provider cannot honour.
pub const NOT_HONOURED: &str = "urn:sekisho:v1:notHonoured";

/// The most clauses that are listed there.
pub const NOT_HONOURED_MAX: usize = 100;

/// A consumer asks for an agreement.
#[derive(Debug, Clone, PartialEq)]
pub struct ContractRequestMessage {
    /// What the consumer calls the negotiation.
    pub consumer_pid: Pid,
    /// Whether this begins a negotiation or answers an offer.
    pub stage: RequestStage,
    /// What the consumer asks for.
    pub offer: MessageOffer,
    /// The purpose that the consumer declares.
    pub purpose: Option<PurposeId>,
}

/// Exactly one of `callbackAddress` and `providerPid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestStage {
    /// Begins a negotiation.
    Initial {
        /// Where the provider sends its messages.
        callback_address: BaseUrl,
    },
    /// A counter-request within a negotiation.
    Counter {
        /// What the provider calls it.
        provider_pid: Pid,
    },
}

/// A provider offers an agreement.
#[derive(Debug, Clone, PartialEq)]
pub struct ContractOfferMessage {
    /// What the provider calls the negotiation.
    pub provider_pid: Pid,
    /// Whether this begins a negotiation or answers a request.
    pub stage: OfferStage,
    /// What the provider offers.
    pub offer: MessageOffer,
}

/// Exactly one of `callbackAddress` and `consumerPid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferStage {
    /// Begins a negotiation.
    Initial {
        /// Where the consumer sends its messages.
        callback_address: BaseUrl,
    },
    /// An offer within a negotiation.
    Counter {
        /// What the consumer calls it.
        consumer_pid: Pid,
    },
}

/// A provider agrees.
#[derive(Debug, Clone, PartialEq)]
pub struct ContractAgreementMessage {
    /// The negotiation.
    pub pids: Pids,
    /// What is agreed.
    pub agreement: Agreement,
    /// The clauses of it that the provider says it cannot honour ([`NOT_HONOURED`]): they deny what they concern.
    pub not_honoured: Vec<String>,
}

/// A consumer has verified the agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractAgreementVerificationMessage {
    /// The negotiation.
    pub pids: Pids,
}

/// A consumer accepts an offer, or a provider puts the agreement in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractNegotiationEventMessage {
    /// The negotiation.
    pub pids: Pids,
    /// Which of the two.
    pub event: NegotiationEvent,
}

/// What a [`ContractNegotiationEventMessage`] tells (`eventType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NegotiationEvent {
    /// From a consumer.
    Accepted,
    /// From a provider.
    Finalized,
}

impl NegotiationEvent {
    /// The message of the state machine that this event is.
    #[must_use]
    pub fn kind(self) -> MessageKind {
        match self {
            Self::Accepted => MessageKind::Accepted,
            Self::Finalized => MessageKind::Finalized,
        }
    }
}

/// Either side ends the negotiation.
#[derive(Debug, Clone, PartialEq)]
pub struct ContractNegotiationTerminationMessage {
    /// The negotiation.
    pub pids: Pids,
    /// Why.
    pub explanation: Explanation,
}

/// The answer to a first message and to a status request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractNegotiation {
    /// The negotiation.
    pub pids: Pids,
    /// Its state as the answering side knows it.
    pub state: State,
}

impl Wire for ContractRequestMessage {
    const TYPE: &'static str = "ContractRequestMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let stage = match (node.optional("callbackAddress")?, node.optional("providerPid")?) {
            (Some(address), None) => {
                RequestStage::Initial { callback_address: address.base_url()? }
            }
            (None, Some(pid)) => RequestStage::Counter { provider_pid: pid.id()? },
            _ => {
                let members = "`callbackAddress` and `providerPid`";
                return Err(node.refuse(WireFault::ExactlyOne { members }));
            }
        };
        Ok(Self {
            consumer_pid: node.required("consumerPid")?.id()?,
            stage,
            offer: MessageOffer::read(&node.required("offer")?)?,
            purpose: node.optional(PURPOSE)?.map(|purpose| purpose.id()).transpose()?,
        })
    }

    fn write(&self, members: &mut Members) {
        put_pid(members, "consumerPid", &self.consumer_pid);
        match &self.stage {
            RequestStage::Initial { callback_address } => {
                put(members, "callbackAddress", callback_address.as_str());
            }
            RequestStage::Counter { provider_pid } => put_pid(members, "providerPid", provider_pid),
        }
        members.insert("offer".to_owned(), self.offer.document().clone());
        if let Some(purpose) = &self.purpose {
            put(members, PURPOSE, purpose.as_str());
        }
    }
}

impl Wire for ContractOfferMessage {
    const TYPE: &'static str = "ContractOfferMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let stage = match (node.optional("callbackAddress")?, node.optional("consumerPid")?) {
            (Some(address), None) => OfferStage::Initial { callback_address: address.base_url()? },
            (None, Some(pid)) => OfferStage::Counter { consumer_pid: pid.id()? },
            _ => {
                let members = "`callbackAddress` and `consumerPid`";
                return Err(node.refuse(WireFault::ExactlyOne { members }));
            }
        };
        Ok(Self {
            provider_pid: node.required("providerPid")?.id()?,
            stage,
            offer: MessageOffer::read(&node.required("offer")?)?,
        })
    }

    fn write(&self, members: &mut Members) {
        put_pid(members, "providerPid", &self.provider_pid);
        match &self.stage {
            OfferStage::Initial { callback_address } => {
                put(members, "callbackAddress", callback_address.as_str());
            }
            OfferStage::Counter { consumer_pid } => put_pid(members, "consumerPid", consumer_pid),
        }
        members.insert("offer".to_owned(), self.offer.document().clone());
    }
}

impl Wire for ContractAgreementMessage {
    const TYPE: &'static str = "ContractAgreementMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let agreement = Agreement::read(&node.required("agreement")?)?;
        let mut not_honoured = node.list(NOT_HONOURED, |item| item.text().map(str::to_owned))?;
        not_honoured.truncate(NOT_HONOURED_MAX);
        Ok(Self { pids: node.pids()?, agreement, not_honoured })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        members.insert("agreement".to_owned(), self.agreement.document().clone());
        if !self.not_honoured.is_empty() {
            members.insert(NOT_HONOURED.to_owned(), self.not_honoured.clone().into());
        }
    }
}

impl Wire for ContractAgreementVerificationMessage {
    const TYPE: &'static str = "ContractAgreementVerificationMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { pids: node.pids()? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
    }
}

impl Wire for ContractNegotiationEventMessage {
    const TYPE: &'static str = "ContractNegotiationEventMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let event = node.required("eventType")?;
        let event = match term(event.id_text()?) {
            "ACCEPTED" => NegotiationEvent::Accepted,
            "FINALIZED" => NegotiationEvent::Finalized,
            _ => return Err(event.refuse(WireFault::Unknown { expected: "ACCEPTED, FINALIZED" })),
        };
        Ok(Self { pids: node.pids()?, event })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        let event = match self.event {
            NegotiationEvent::Accepted => "ACCEPTED",
            NegotiationEvent::Finalized => "FINALIZED",
        };
        put(members, "eventType", event);
    }
}

impl Wire for ContractNegotiationTerminationMessage {
    const TYPE: &'static str = "ContractNegotiationTerminationMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { pids: node.pids()?, explanation: node.explanation()? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        put_explanation(members, &self.explanation);
    }
}

impl Wire for ContractNegotiation {
    const TYPE: &'static str = "ContractNegotiation";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let place = node.required("state")?;
        let name = term(place.id_text()?);
        let state = State::ALL.into_iter().find(|state| state.as_str() == name);
        let unknown = || {
            let expected = "REQUESTED, OFFERED, ACCEPTED, AGREED, VERIFIED, FINALIZED, TERMINATED";
            place.refuse(WireFault::Unknown { expected })
        };
        Ok(Self { pids: node.pids()?, state: state.ok_or_else(unknown)? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        members.insert("state".to_owned(), Value::from(self.state.as_str()));
    }
}

//! The contract negotiation state machine (DSP 2025-1, contract negotiation protocol, state machine).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::process::{Machine, Role};

/// A negotiation as one side knows it.
pub type Process = crate::process::Process<Negotiation>;
/// Why a negotiation message may not be sent or accepted.
pub type Rejection = crate::process::Rejection<Negotiation>;

/// The contract negotiation machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negotiation {}

/// A state of a negotiation, spelled as in `ContractNegotiation.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// The consumer has requested or counter-requested.
    Requested,
    /// The provider has offered.
    Offered,
    /// The consumer has accepted the provider's offer.
    Accepted,
    /// The provider has sent the agreement.
    Agreed,
    /// The consumer has verified the agreement.
    Verified,
    /// The agreement is in force.
    Finalized,
    /// Ended without an agreement.
    Terminated,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Requested,
        Self::Offered,
        Self::Accepted,
        Self::Agreed,
        Self::Verified,
        Self::Finalized,
        Self::Terminated,
    ];

    /// The spelling on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Offered => "OFFERED",
            Self::Accepted => "ACCEPTED",
            Self::Agreed => "AGREED",
            Self::Verified => "VERIFIED",
            Self::Finalized => "FINALIZED",
            Self::Terminated => "TERMINATED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A message that changes the state of a negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MessageKind {
    /// The consumer requests or counter-requests.
    #[serde(rename = "ContractRequestMessage")]
    Request,
    /// The provider offers or counter-offers.
    #[serde(rename = "ContractOfferMessage")]
    Offer,
    /// The consumer accepts the provider's offer.
    #[serde(rename = "ContractNegotiationEventMessage ACCEPTED")]
    Accepted,
    /// The provider sends the agreement.
    #[serde(rename = "ContractAgreementMessage")]
    Agreement,
    /// The consumer verifies the agreement.
    #[serde(rename = "ContractAgreementVerificationMessage")]
    Verification,
    /// The provider puts the agreement in force.
    #[serde(rename = "ContractNegotiationEventMessage FINALIZED")]
    Finalized,
    /// Either side ends the negotiation.
    #[serde(rename = "ContractNegotiationTerminationMessage")]
    Termination,
}

impl MessageKind {
    /// The `@type` of the message.
    #[must_use]
    pub fn message_type(self) -> &'static str {
        match self {
            Self::Request => "ContractRequestMessage",
            Self::Offer => "ContractOfferMessage",
            Self::Accepted | Self::Finalized => "ContractNegotiationEventMessage",
            Self::Agreement => "ContractAgreementMessage",
            Self::Verification => "ContractAgreementVerificationMessage",
            Self::Termination => "ContractNegotiationTerminationMessage",
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message_type())?;
        match self {
            Self::Accepted => formatter.write_str(" ACCEPTED"),
            Self::Finalized => formatter.write_str(" FINALIZED"),
            _ => Ok(()),
        }
    }
}

impl Machine for Negotiation {
    type State = State;
    type Message = MessageKind;

    const MESSAGES: &'static [MessageKind] = &[
        MessageKind::Request,
        MessageKind::Offer,
        MessageKind::Accepted,
        MessageKind::Agreement,
        MessageKind::Verification,
        MessageKind::Finalized,
        MessageKind::Termination,
    ];
    const TERMINATION: MessageKind = MessageKind::Termination;
    const TERMINATED: State = State::Terminated;

    /// Either side may terminate in any state that is not terminal: the prose of the termination message says so where
    /// the diagram does not. A second offer in OFFERED is not legal: the diagram does not have it, and an acceptance
    /// that crosses it could not be told from an acceptance of it.
    fn next(from: Option<State>, message: MessageKind, sender: Role) -> Option<State> {
        use MessageKind as Message;
        use Role::{Consumer, Provider};
        match (from, message, sender) {
            (None | Some(State::Offered), Message::Request, Consumer) => Some(State::Requested),
            (None | Some(State::Requested), Message::Offer, Provider) => Some(State::Offered),
            (Some(State::Offered), Message::Accepted, Consumer) => Some(State::Accepted),
            (Some(State::Requested | State::Accepted), Message::Agreement, Provider) => {
                Some(State::Agreed)
            }
            (Some(State::Agreed), Message::Verification, Consumer) => Some(State::Verified),
            (Some(State::Verified), Message::Finalized, Provider) => Some(State::Finalized),
            (Some(state), Message::Termination, _) if !Self::is_terminal(state) => {
                Some(State::Terminated)
            }
            _ => None,
        }
    }

    fn is_terminal(state: State) -> bool {
        matches!(state, State::Finalized | State::Terminated)
    }

    fn precedence(message: MessageKind) -> u8 {
        u8::from(message == MessageKind::Termination)
    }
}

#[cfg(test)]
mod tests;

//! The transfer process state machine (DSP 2025-1, transfer process protocol, state machine).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::process::{Machine, Role};

/// A transfer as one side knows it.
pub type Process = crate::process::Process<Transfer>;
/// Why a transfer message may not be sent or accepted.
pub type Rejection = crate::process::Rejection<Transfer>;

/// The transfer process machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {}

/// A state of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// The consumer has requested the transfer.
    Requested,
    /// Data may flow.
    Started,
    /// The consumer has resumed a suspended transfer, and the provider's own start, with the address to use, is due.
    /// On the wire this is STARTED. Data may flow.
    Resumed,
    /// Data may not flow for now. Only the side that suspended resumes.
    Suspended(Role),
    /// Done.
    Completed,
    /// Ended early.
    Terminated,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Requested,
        Self::Started,
        Self::Resumed,
        Self::Suspended(Role::Consumer),
        Self::Suspended(Role::Provider),
        Self::Completed,
        Self::Terminated,
    ];

    /// The state as `TransferProcess.state` tells it.
    #[must_use]
    pub fn on_wire(self) -> WireState {
        match self {
            Self::Requested => WireState::Requested,
            Self::Started | Self::Resumed => WireState::Started,
            Self::Suspended(_) => WireState::Suspended,
            Self::Completed => WireState::Completed,
            Self::Terminated => WireState::Terminated,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resumed => formatter.write_str("STARTED (resumed by the consumer)"),
            Self::Suspended(by) => write!(formatter, "SUSPENDED (by the {by})"),
            state => formatter.write_str(state.on_wire().as_str()),
        }
    }
}

/// A state of a transfer, spelled as in `TransferProcess.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WireState {
    /// The consumer has requested the transfer.
    Requested,
    /// Data may flow.
    Started,
    /// Data may not flow for now.
    Suspended,
    /// Done.
    Completed,
    /// Ended early.
    Terminated,
}

impl WireState {
    /// Every state of the wire.
    pub const ALL: [Self; 5] =
        [Self::Requested, Self::Started, Self::Suspended, Self::Completed, Self::Terminated];

    /// The spelling on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Started => "STARTED",
            Self::Suspended => "SUSPENDED",
            Self::Completed => "COMPLETED",
            Self::Terminated => "TERMINATED",
        }
    }
}

impl fmt::Display for WireState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A message that changes the state of a transfer, spelled as its `@type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MessageKind {
    /// The consumer requests the transfer.
    #[serde(rename = "TransferRequestMessage")]
    Request,
    /// The provider starts, or either side resumes.
    #[serde(rename = "TransferStartMessage")]
    Start,
    /// Either side suspends.
    #[serde(rename = "TransferSuspensionMessage")]
    Suspension,
    /// Either side completes.
    #[serde(rename = "TransferCompletionMessage")]
    Completion,
    /// Either side ends the transfer early.
    #[serde(rename = "TransferTerminationMessage")]
    Termination,
}

impl MessageKind {
    /// The `@type` of the message.
    #[must_use]
    pub fn message_type(self) -> &'static str {
        match self {
            Self::Request => "TransferRequestMessage",
            Self::Start => "TransferStartMessage",
            Self::Suspension => "TransferSuspensionMessage",
            Self::Completion => "TransferCompletionMessage",
            Self::Termination => "TransferTerminationMessage",
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message_type())
    }
}

impl Machine for Transfer {
    type State = State;
    type Message = MessageKind;

    const MESSAGES: &'static [MessageKind] = &[
        MessageKind::Request,
        MessageKind::Start,
        MessageKind::Suspension,
        MessageKind::Completion,
        MessageKind::Termination,
    ];
    const TERMINATION: MessageKind = MessageKind::Termination;
    const TERMINATED: State = State::Terminated;

    /// Only the side that suspended resumes. A consumer's start has no address, so the provider answers a resumption with
    /// a start of its own. That is the one start which is legal in STARTED; [`State::Resumed`] keeps it apart.
    fn next(from: Option<State>, message: MessageKind, sender: Role) -> Option<State> {
        use MessageKind as Message;
        use Role::{Consumer, Provider};
        match (from, message, sender) {
            (None, Message::Request, Consumer) => Some(State::Requested),
            (
                Some(State::Requested | State::Suspended(Provider) | State::Resumed),
                Message::Start,
                Provider,
            ) => Some(State::Started),
            (Some(State::Suspended(Consumer)), Message::Start, Consumer) => Some(State::Resumed),
            (Some(State::Started | State::Resumed), Message::Suspension, by) => {
                Some(State::Suspended(by))
            }
            (Some(State::Started | State::Resumed), Message::Completion, _) => {
                Some(State::Completed)
            }
            (Some(state), Message::Termination, _) if !Self::is_terminal(state) => {
                Some(State::Terminated)
            }
            _ => None,
        }
    }

    fn is_terminal(state: State) -> bool {
        matches!(state, State::Completed | State::Terminated)
    }

    fn precedence(message: MessageKind) -> u8 {
        match message {
            MessageKind::Termination => 3,
            MessageKind::Completion => 2,
            MessageKind::Suspension => 1,
            MessageKind::Request | MessageKind::Start => 0,
        }
    }
}

#[cfg(test)]
mod tests;

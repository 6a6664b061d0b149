//! What one side knows of one process while messages are lost, repeated or cross.
//!
//! A transition happens when its message is acknowledged (DSP 2025-1, contract negotiation and transfer process
//! protocols). A sent message is therefore *pending* beside the acknowledged state until the peer answers, or until
//! the peer sends a message that is legal only after it. Nothing here waits for anything, so two nodes cannot
//! deadlock. Repeats are recognised before this module is asked, by message id.

mod stored;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use stored::Stored;

/// Which side of a process a node is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Asks for data.
    Consumer,
    /// Offers data.
    Provider,
}

impl Role {
    /// The other side.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Consumer => Self::Provider,
            Self::Provider => Self::Consumer,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Consumer => "consumer",
            Self::Provider => "provider",
        })
    }
}

/// A state machine of DSP: which message of which role leads from which state to which.
///
/// Implemented by [`crate::negotiation::Negotiation`] and [`crate::transfer::Transfer`].
pub trait Machine: fmt::Debug + Clone + Copy + PartialEq + Eq + 'static {
    /// The acknowledged states.
    type State: fmt::Debug + fmt::Display + Copy + Eq + Serialize + DeserializeOwned;
    /// The messages.
    type Message: fmt::Debug + fmt::Display + Copy + Eq + Serialize + DeserializeOwned;

    /// Every message of the machine.
    const MESSAGES: &'static [Self::Message];
    /// The message that ends a process early.
    const TERMINATION: Self::Message;
    /// The state that it leads to.
    const TERMINATED: Self::State;

    /// The state that `message`, sent by `sender`, leads to; nothing when it is not legal. `from` is nothing before the
    /// process exists.
    fn next(from: Option<Self::State>, message: Self::Message, sender: Role)
    -> Option<Self::State>;

    /// Whether no message may follow.
    fn is_terminal(state: Self::State) -> bool;

    /// How strong a message is when two cross: the higher wins, between equals the provider's.
    fn precedence(message: Self::Message) -> u8;
}

/// A message that was decided but not yet acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending<M: Machine> {
    /// The message.
    pub message: M::Message,
    /// The state it leads to.
    pub target: M::State,
    /// Whether an attempt to send it has begun, so that the peer may have it. Assumed after a restart.
    pub attempted: bool,
}

/// One negotiation or transfer as one side knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "", try_from = "Stored<M>", into = "Stored<M>")]
pub struct Process<M: Machine> {
    role: Role,
    /// Nothing until the peer acknowledged our first message.
    state: Option<M::State>,
    pending: Option<Pending<M>>,
    // INVARIANT: set only behind a pending, attempted message that is not itself a termination.
    termination_queued: bool,
}

/// What a message from the peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<M: Machine> {
    /// The process after it.
    pub process: Process<M>,
    /// The message proves that the peer had accepted our pending one: its delivery is done.
    pub acknowledged_own: bool,
    /// Our pending message was overtaken and must not be sent (again).
    pub dropped_own: bool,
}

/// What a command to send did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent<M: Machine> {
    /// The process after it.
    pub process: Process<M>,
    /// Whether the message waits behind the pending one (`Queued`), may be sent now, or is not needed at all.
    pub delivery: Delivery,
    /// Our pending message, never attempted, was withdrawn in favour of the termination: it must not be sent.
    pub withdrew_own: bool,
}

/// When a message that was decided may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Now.
    Now,
    /// After the pending message is acknowledged or refused.
    Queued,
    /// Never: the peer has not heard of the process, so there is nothing to tell it.
    Unneeded,
}

/// Why a message may not be sent or accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection<M: Machine> {
    /// The state does not permit it (400 for a peer).
    #[error(
        "{message} from the {sender} is not legal in state {}; legal: {}",
        state_name::<M>(*state),
        listed(legal)
    )]
    Illegal {
        /// The message.
        message: M::Message,
        /// Who sent it.
        sender: Role,
        /// The acknowledged state; nothing before the process exists.
        state: Option<M::State>,
        /// What that sender may send instead.
        legal: Vec<M::Message>,
    },
    /// It crossed our own message, which prevails (400 for a peer).
    #[error("{message} from the {sender} crossed {own}, which prevails; it is on its way to you")]
    Crossed {
        /// The peer's message.
        message: M::Message,
        /// Who sent it.
        sender: Role,
        /// Ours.
        own: M::Message,
    },
    /// Our message before it has not been answered yet.
    #[error("{message} cannot be sent while {pending} is not answered; wait for its answer")]
    Busy {
        /// The message to send.
        message: M::Message,
        /// The one that waits.
        pending: M::Message,
    },
    /// A termination was decided already.
    #[error("{message} cannot be sent: a termination is on its way already")]
    Terminating {
        /// The message to send.
        message: M::Message,
    },
    /// The peer claims a state that the process cannot be in.
    #[error("the peer takes the process to be in state {claimed}, but it is in {}", state_name::<M>(*state))]
    Diverged {
        /// The state that the peer takes it to be in.
        claimed: M::State,
        /// The acknowledged state.
        state: Option<M::State>,
    },
}

impl<M: Machine> Process<M> {
    /// A process that we begin with `message`.
    ///
    /// # Errors
    /// [`Rejection::Illegal`] when a process cannot begin with that message from that role.
    pub fn begin(role: Role, message: M::Message) -> Result<Self, Rejection<M>> {
        let target =
            M::next(None, message, role).ok_or_else(|| illegal::<M>(None, message, role))?;
        let pending = Some(Pending { message, target, attempted: false });
        Ok(Self { role, state: None, pending, termination_queued: false })
    }

    /// A process that the peer of `role` begins with `message`.
    ///
    /// # Errors
    /// [`Rejection::Illegal`] when a process cannot begin with that message from the peer.
    pub fn begun_by_peer(role: Role, message: M::Message) -> Result<Self, Rejection<M>> {
        let sender = role.peer();
        let state =
            M::next(None, message, sender).ok_or_else(|| illegal::<M>(None, message, sender))?;
        Ok(Self { role, state: Some(state), pending: None, termination_queued: false })
    }

    /// A process in a known state with nothing under way, such as one behind an imported agreement.
    #[must_use]
    pub fn in_state(role: Role, state: M::State) -> Self {
        Self { role, state: Some(state), pending: None, termination_queued: false }
    }

    /// Our side.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The acknowledged state; nothing until the peer acknowledged our first message.
    #[must_use]
    pub fn state(&self) -> Option<M::State> {
        self.state
    }

    /// Our message that is not acknowledged yet.
    #[must_use]
    pub fn pending(&self) -> Option<Pending<M>> {
        self.pending
    }

    /// Whether a termination waits behind the pending message.
    #[must_use]
    pub fn termination_queued(&self) -> bool {
        self.termination_queued
    }

    /// Whether nothing can happen any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.pending.is_none() && self.state.is_none_or(M::is_terminal)
    }

    /// The messages that `sender` may send in the acknowledged state.
    #[must_use]
    pub fn legal(&self, sender: Role) -> Vec<M::Message> {
        legal::<M>(self.state, sender)
    }

    /// Decides to send `message`: it becomes pending.
    ///
    /// A termination is always taken in an open process: it withdraws a pending message that was not attempted yet, and
    /// queues behind one that was.
    ///
    /// # Errors
    /// [`Rejection::Busy`] behind another pending message, [`Rejection::Terminating`] behind a termination, and
    /// [`Rejection::Illegal`] when the state does not permit it.
    pub fn send(self, message: M::Message) -> Result<Sent<M>, Rejection<M>> {
        let Some(pending) = self.pending else {
            let process = self.with_pending(message)?;
            return Ok(Sent { process, delivery: Delivery::Now, withdrew_own: false });
        };
        if self.termination_queued || pending.message == M::TERMINATION {
            return Err(Rejection::Terminating { message });
        }
        if message != M::TERMINATION {
            return Err(Rejection::Busy { message, pending: pending.message });
        }
        if pending.attempted {
            let process = Self { termination_queued: true, ..self };
            return Ok(Sent { process, delivery: Delivery::Queued, withdrew_own: false });
        }
        let withdrawn = Self { pending: None, ..self };
        if self.state.is_none() {
            let process = Self { state: Some(M::TERMINATED), ..withdrawn };
            return Ok(Sent { process, delivery: Delivery::Unneeded, withdrew_own: true });
        }
        let process = withdrawn.with_pending(message)?;
        Ok(Sent { process, delivery: Delivery::Now, withdrew_own: true })
    }

    /// An attempt to send the pending message begins, or may have begun before a restart.
    #[must_use]
    pub fn attempted(self) -> Self {
        let pending = self.pending.map(|pending| Pending { attempted: true, ..pending });
        Self { pending, ..self }
    }

    /// The peer acknowledged the pending message: its target becomes the state, and a queued termination becomes
    /// pending. Without a pending message nothing changes.
    #[must_use]
    pub fn acknowledged(self) -> Self {
        match self.pending {
            Some(pending) => Self { state: Some(pending.target), ..self }.without_pending(),
            None => self,
        }
    }

    /// The peer finally refused the pending message: it is dropped, and a queued termination becomes pending. A process
    /// whose first message was refused is over.
    #[must_use]
    pub fn refused(self) -> Self {
        match self.pending {
            Some(_) => Self { state: self.state.or(Some(M::TERMINATED)), ..self }.without_pending(),
            None => self,
        }
    }

    /// Takes `message` from the peer.
    ///
    /// Once an attempt to send our pending message began, a message that is legal only after it acknowledges it. When
    /// two cross, terminate beats complete beats suspend beats start, else the provider's wins: the loser accepts and
    /// drops its own. Two that end the process the same way do not contend: each side accepts.
    ///
    /// # Errors
    /// [`Rejection::Illegal`], or [`Rejection::Crossed`] when our own message prevails. Both leave the process as it is.
    pub fn receive(self, message: M::Message) -> Result<Received<M>, Rejection<M>> {
        let sender = self.role.peer();
        match self.judge(message) {
            Judgement::Accepted(received) => Ok(received),
            Judgement::Crossed { own } => Err(Rejection::Crossed { message, sender, own }),
            Judgement::Illegal => {
                let legal = self.receivable();
                Err(Rejection::Illegal { message, sender, state: self.state, legal })
            }
        }
    }

    /// The messages that [`Process::receive`] would take from the peer now.
    #[must_use]
    pub fn receivable(&self) -> Vec<M::Message> {
        let is_taken =
            |message: &M::Message| matches!(self.judge(*message), Judgement::Accepted(_));
        M::MESSAGES.iter().copied().filter(is_taken).collect()
    }

    /// The peer acts as though the process were in `claimed`: a request for data under it, a transfer request under an
    /// agreement, an answer to a status request. That acknowledges a pending message that leads there.
    ///
    /// # Errors
    /// [`Rejection::Diverged`] when the process is neither in that state nor possibly on its way there.
    pub fn witness(self, claimed: M::State) -> Result<Self, Rejection<M>> {
        if self.state == Some(claimed) {
            return Ok(self);
        }
        match self.pending {
            Some(pending) if pending.attempted && pending.target == claimed => {
                Ok(self.acknowledged())
            }
            _ => Err(Rejection::Diverged { claimed, state: self.state }),
        }
    }

    /// What `message` from the peer does. A message to a process that exists is never its first, so without an
    /// acknowledged state it can only follow our own.
    fn judge(self, message: M::Message) -> Judgement<M> {
        let sender = self.role.peer();
        let before = self.state.and_then(|state| M::next(Some(state), message, sender));
        let Some(own) = self.pending else {
            return match before {
                Some(next) => Judgement::Accepted(Received {
                    process: Self { state: Some(next), ..self },
                    acknowledged_own: false,
                    dropped_own: false,
                }),
                None => Judgement::Illegal,
            };
        };
        if !own.attempted {
            return before.map_or(Judgement::Illegal, |next| {
                Judgement::Accepted(self.receive_before_attempt(own, message, next))
            });
        }
        match (before, M::next(Some(own.target), message, sender)) {
            (None, None) => Judgement::Illegal,
            (None, Some(next)) => Judgement::Accepted(Received {
                process: Self { state: Some(next), ..self }.without_pending(),
                acknowledged_own: true,
                dropped_own: false,
            }),
            // Legal without our message, so the peer may not have seen it: they crossed.
            (Some(next), _)
                if !Self::agree(own, next) && self.own_prevails(own.message, message) =>
            {
                Judgement::Crossed { own: own.message }
            }
            (Some(next), _) => Judgement::Accepted(Received {
                process: Self { state: Some(next), ..self }.without_pending(),
                acknowledged_own: false,
                dropped_own: true,
            }),
        }
    }

    /// The peer never saw our pending message, which was decided in a state that is gone. It stays where it prevails
    /// and is still legal: an offer or a start would now mean something else, the wish to stop or end does not.
    fn receive_before_attempt(
        self,
        own: Pending<M>,
        message: M::Message,
        next: M::State,
    ) -> Received<M> {
        let moved = Self { state: Some(next), pending: None, ..self };
        let kept = self.own_prevails(own.message, message).then(|| moved.with_pending(own.message));
        let process = match kept {
            Some(Ok(process)) => process,
            _ => moved,
        };
        Received { process, acknowledged_own: false, dropped_own: process.pending.is_none() }
    }

    /// Whether a crossing message ends the process as our own would. There is nothing to contend, and a peer that has
    /// ended it already would refuse ours.
    fn agree(own: Pending<M>, next: M::State) -> bool {
        own.target == next && M::is_terminal(next)
    }

    fn own_prevails(&self, own: M::Message, theirs: M::Message) -> bool {
        let (own, theirs) = (M::precedence(own), M::precedence(theirs));
        own > theirs || (own == theirs && self.role == Role::Provider)
    }

    fn with_pending(self, message: M::Message) -> Result<Self, Rejection<M>> {
        let target = self
            .state
            .and_then(|state| M::next(Some(state), message, self.role))
            .ok_or_else(|| illegal::<M>(self.state, message, self.role))?;
        Ok(Self { pending: Some(Pending { message, target, attempted: false }), ..self })
    }

    /// The pending message is settled. A queued termination takes its place while there is something to terminate.
    fn without_pending(self) -> Self {
        let settled = Self { pending: None, termination_queued: false, ..self };
        if !self.termination_queued {
            return settled;
        }
        settled.with_pending(M::TERMINATION).unwrap_or(settled)
    }
}

/// What a message from the peer does to a process.
enum Judgement<M: Machine> {
    Accepted(Received<M>),
    Crossed { own: M::Message },
    Illegal,
}

fn legal<M: Machine>(state: Option<M::State>, sender: Role) -> Vec<M::Message> {
    let is_legal = |message: &M::Message| M::next(state, *message, sender).is_some();
    M::MESSAGES.iter().copied().filter(is_legal).collect()
}

fn illegal<M: Machine>(state: Option<M::State>, message: M::Message, sender: Role) -> Rejection<M> {
    Rejection::Illegal { message, sender, state, legal: legal::<M>(state, sender) }
}

fn state_name<M: Machine>(state: Option<M::State>) -> String {
    state.map_or_else(|| "before its first message".to_owned(), |state| state.to_string())
}

fn listed<T: fmt::Display>(messages: &[T]) -> String {
    if messages.is_empty() {
        return "none".to_owned();
    }
    messages.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;

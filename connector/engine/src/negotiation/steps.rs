//! Steps by hand: what a person or an application may do in a negotiation, and what the record says of it.
//!
//! Whoever decides does so among what policy permits: an offer or agreement decided by hand is judged like any other.

use protocol::id::{DatasetId, OfferId, ParticipantId, Pid};
use protocol::negotiation::{MessageKind, State};
use protocol::process::Role;
use serde_json::Value;

use super::{Choice, consumer, finish, provider, readable, standing, terminate_with};
use crate::approvals::waits;
use crate::context::{self, Context, Decided, Fresh, Stop, settle};
use crate::entity::Negotiation;
use crate::handling::{Decider, Handling, signed};
use crate::process::is_terminating;
use crate::refusal::RefusalKind;
use crate::{Decision, RecordDraft, View};

/// One step of ours.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Provider: offers the published terms, or those given.
    Offer {
        /// An ODRL policy.
        terms: Option<Value>,
    },
    /// Consumer: asks for other terms than those offered.
    Request {
        /// An ODRL policy.
        terms: Value,
        /// What the asked offer is called; the provider's offer where nothing is said.
        offer: Option<OfferId>,
    },
    /// Consumer: accepts the offer.
    Accept,
    /// Provider: agrees on the terms as they stand. Terms that the partner proposed must be repeated here.
    Agree {
        /// An ODRL policy.
        terms: Option<Value>,
    },
    /// Consumer: verifies the agreement.
    Verify,
    /// Provider: puts the agreement in force.
    Finalize,
    /// Either side: ends the negotiation, and tells the partner why.
    Terminate {
        /// For programs.
        code: String,
        /// For people.
        reason: String,
    },
}

impl Step {
    /// The message that the step sends.
    pub fn message(&self) -> MessageKind {
        match self {
            Self::Offer { .. } => MessageKind::Offer,
            Self::Request { .. } => MessageKind::Request,
            Self::Accept => MessageKind::Accepted,
            Self::Agree { .. } => MessageKind::Agreement,
            Self::Verify => MessageKind::Verification,
            Self::Finalize => MessageKind::Finalized,
            Self::Terminate { .. } => MessageKind::Termination,
        }
    }
}

/// The name of the step that sends a message, as commands and routes call it.
pub fn name_of(message: MessageKind) -> &'static str {
    match message {
        MessageKind::Request => "request",
        MessageKind::Offer => "offer",
        MessageKind::Accepted => "accept",
        MessageKind::Agreement => "agree",
        MessageKind::Verification => "verify",
        MessageKind::Finalized => "finalize",
        MessageKind::Termination => "terminate",
    }
}

/// The messages that we may send now.
pub fn possible(negotiation: &Negotiation) -> Vec<MessageKind> {
    let process = &negotiation.process;
    if process.is_closed() || is_terminating(process) {
        return Vec::new();
    }
    match process.pending() {
        Some(_) => vec![MessageKind::Termination],
        None => process.legal(process.role()),
    }
}

/// What approving does: the step that leads on to an agreement. Nothing where no step of ours is due.
pub fn natural(negotiation: &Negotiation) -> Option<Step> {
    let process = &negotiation.process;
    if process.pending().is_some() || process.termination_queued() {
        return None;
    }
    match (process.role(), process.state()?) {
        (Role::Provider, State::Requested | State::Accepted) => Some(Step::Agree { terms: None }),
        (Role::Provider, State::Verified) => Some(Step::Finalize),
        (Role::Consumer, State::Offered) => Some(Step::Accept),
        (Role::Consumer, State::Agreed) => Some(Step::Verify),
        _ => None,
    }
}

/// Takes a step by hand. `attempted`: whether an attempt to send our pending message began.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn act(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pid: &Pid,
    step: &Step,
    decider: &Decider,
    attempted: bool,
) -> Decided<Negotiation> {
    settle((|| {
        let mut negotiation = existing(view, fresh, pid)?;
        if attempted {
            negotiation.process = negotiation.process.attempted();
        }
        let records = take_step(view, context, fresh, &mut negotiation, step)?;
        Ok(Decision::commit(decided(records, &mut negotiation, decider), negotiation))
    })())
}

/// Approves what waits in a negotiation: takes the step that leads on to an agreement.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn approve(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pid: &Pid,
    decider: &Decider,
    attempted: bool,
) -> Decided<Negotiation> {
    settle((|| {
        let mut negotiation = existing(view, fresh, pid)?;
        let step = natural(&negotiation).filter(|_| negotiation.awaiting.is_some());
        waits(fresh, pid, step.is_some())?;
        if attempted {
            negotiation.process = negotiation.process.attempted();
        }
        let records = match &step {
            Some(step) => take_step(view, context, fresh, &mut negotiation, step)?,
            None => Vec::new(),
        };
        Ok(Decision::commit(decided(records, &mut negotiation, decider), negotiation))
    })())
}

/// How a negotiation begun by hand is handled.
#[derive(Debug, Clone, PartialEq)]
pub struct Beginning {
    /// With whom.
    pub participant: ParticipantId,
    /// Auto or manual; as offer and partner say where nothing is said.
    pub handling: Option<Handling>,
    /// Who begins it, and why.
    pub decider: Decider,
}

/// Begins a negotiation as consumer: a request for the chosen offer.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn begin_request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    beginning: &Beginning,
    choice: &Choice,
) -> Decided<Negotiation> {
    settle((|| {
        let partner = context::exchanging(view, fresh, &beginning.participant)?;
        readable(fresh, &choice.terms)?;
        let (negotiation, records) =
            consumer::request(view, context, fresh, &partner, choice, beginning.handling)
                .map_err(Stop::Refuse)?;
        Ok(Decision::commit(signed(records, &beginning.decider), negotiation))
    })())
}

/// What we offer when we begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Offering {
    /// The dataset.
    pub dataset: DatasetId,
    /// Which of its offers; the first where nothing is said.
    pub offer: Option<OfferId>,
    /// Terms of our own in place of the published ones: an ODRL policy.
    pub terms: Option<Value>,
    /// The purpose to which the offer is narrowed.
    pub purpose: Option<String>,
}

/// Begins a negotiation as provider: an offer to a partner that did not ask.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn begin_offer(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    beginning: &Beginning,
    offering: &Offering,
) -> Decided<Negotiation> {
    settle((|| {
        let partner = context::exchanging(view, fresh, &beginning.participant)?;
        let (negotiation, records) =
            provider::begin(view, context, fresh, &partner, offering, beginning.handling)?;
        Ok(Decision::commit(signed(records, &beginning.decider), negotiation))
    })())
}

fn take_step(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
    step: &Step,
) -> Result<Vec<RecordDraft>, Stop> {
    // Asked first, so that an illegal step is refused as such, whatever else is wrong with it.
    negotiation.process.send(step.message()).map_err(|rejection| {
        let steps: Vec<&str> = possible(negotiation).into_iter().map(name_of).collect();
        let steps = if steps.is_empty() { "none".to_owned() } else { steps.join(", ") };
        let text = format!("{rejection}; steps that are possible now: {steps}");
        fresh.refuse(RefusalKind::IllegalState, text.clone(), text)
    })?;
    if let Step::Terminate { code, reason } = step {
        return terminate_with(context, fresh, view, negotiation, code, reason);
    }
    let partner = context::exchanging(view, fresh, &negotiation.participant)?;
    let record = match step {
        Step::Offer { terms } => {
            provider::offer(view, context, fresh, &partner, negotiation, terms.as_ref())?
        }
        Step::Agree { terms } => {
            let confirmed = terms.as_ref();
            standing::agreeable(view, context, fresh, &partner, negotiation, confirmed)?;
            provider::agree(view, context, fresh, &partner, negotiation)?
        }
        Step::Finalize => provider::finalize(view, context, fresh, negotiation)?,
        Step::Request { terms, offer } => {
            let offer = offer.as_ref();
            consumer::counter(view, context, fresh, &partner, negotiation, terms, offer)?
        }
        Step::Accept => consumer::accept(view, context, fresh, negotiation)?,
        Step::Verify => consumer::verify_held(view, context, fresh, negotiation)?,
        Step::Terminate { .. } => return Ok(Vec::new()),
    };
    Ok(vec![record])
}

/// The records of a step taken by hand: they say who took it, and why.
fn decided(
    records: Vec<RecordDraft>,
    negotiation: &mut Negotiation,
    decider: &Decider,
) -> Vec<RecordDraft> {
    finish(signed(records, decider), negotiation)
}

fn existing(view: &dyn View, fresh: &Fresh, pid: &Pid) -> Result<Negotiation, Stop> {
    context::negotiation(view, pid)?.ok_or_else(|| {
        let text = format!("there is no negotiation `{pid}`");
        fresh.refuse(RefusalKind::NotFound, text.clone(), text)
    })
}

//! Deadlines: a process that nobody carries on ends by itself.
//!
//! What is due, and when, follows from the entity and the limits alone, so that it survives restarts. A message that is
//! owed has a deadline of its own (`Outbox::deadline`), which its delivery watches; here is what waits for a partner, or
//! for a person.

use jiff::{SignedDuration, Timestamp};
use protocol::process::Role;
use protocol::transfer::State;

use crate::context::{self, Context, Fresh};
use crate::entity::{Failure, Negotiation, Transfer};
use crate::handling::Awaiting;
use crate::{Decision, Entity, Key, Kind, Need, View, duties, negotiation, transfer};

/// The kinds of entities that have deadlines.
pub const KINDS: &[Kind] = &[Kind::Negotiation, Kind::Transfer, Kind::Duties];

/// The same, and the kinds on which the conditions of duties may depend.
pub const WATCHED: &[Kind] = &[
    Kind::Negotiation,
    Kind::Transfer,
    Kind::Duties,
    Kind::Usage,
    Kind::Partner,
    Kind::Dataset,
    Kind::Rules,
];

/// How many processes of a partner may be open, and how long they may stand still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Open negotiations that one partner began.
    pub max_negotiations: usize,
    /// Open transfers that one partner began.
    pub max_transfers: usize,
    /// A negotiation without a message of either side.
    pub negotiation: SignedDuration,
    /// A transfer that was requested, or asked to be resumed, and not started.
    pub transfer_requested: SignedDuration,
    /// A transfer that we started, without a message or a byte served.
    pub transfer_idle: SignedDuration,
    /// A suspended transfer.
    pub transfer_suspended: SignedDuration,
}

impl Default for ProcessLimits {
    /// Those of the reference configuration.
    fn default() -> Self {
        Self {
            max_negotiations: 1000,
            max_transfers: 1000,
            negotiation: SignedDuration::from_hours(8 * 24),
            transfer_requested: SignedDuration::from_hours(24),
            transfer_idle: SignedDuration::from_hours(7 * 24),
            transfer_suspended: SignedDuration::from_hours(30 * 24),
        }
    }
}

/// What comes of looking at an entity whose deadline may have passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was ended, for this reason; of duties: some were not done in time.
    Ended(String),
    /// It goes on, with this deadline where it has one. It may have passed already while the clock is in doubt.
    Waits(Option<Timestamp>),
}

/// When an entity's deadline passes; nothing where it has none.
pub fn of(entity: &Entity, limits: &ProcessLimits) -> Option<Timestamp> {
    let (awaiting, since, patience) = match entity {
        Entity::Negotiation(own) => (own.awaiting, own.changed, patience(own, limits)),
        Entity::Transfer(own) => {
            (own.awaiting, own.changed, transfer_patience(own, limits).map(|(time, _)| time))
        }
        Entity::Duties(duties) => return duties.look_again,
        _ => return None,
    };
    match awaiting {
        Some(Awaiting { deadline, .. }) => Some(deadline),
        None => Some(since.checked_add(patience?).unwrap_or(Timestamp::MAX)),
    }
}

fn patience(negotiation: &Negotiation, limits: &ProcessLimits) -> Option<SignedDuration> {
    let process = &negotiation.process;
    // What is owed is given up by its delivery.
    (!process.is_closed() && process.pending().is_none()).then_some(limits.negotiation)
}

/// How long a transfer may stand still, and what it then did not do.
fn transfer_patience(
    transfer: &Transfer,
    limits: &ProcessLimits,
) -> Option<(SignedDuration, &'static str)> {
    let process = &transfer.process;
    if process.pending().is_some() {
        return None;
    }
    match (process.state()?, process.role()) {
        (State::Requested | State::Resumed, _) => {
            Some((limits.transfer_requested, "it was not started"))
        }
        (State::Started, Role::Provider) => {
            Some((limits.transfer_idle, "no data were requested and it was not completed"))
        }
        // Fetching is ours, for as long as it takes: what wants the data ends it.
        (State::Started, Role::Consumer) => None,
        (State::Suspended(_), _) => Some((limits.transfer_suspended, "it was not resumed")),
        (State::Completed | State::Terminated, _) => None,
    }
}

/// Ends what is under a key when its deadline has passed. Duties are looked at whenever this is called. `attempted` says whether an attempt to send a message of it has
/// begun.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn expire(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    key: &Key,
    attempted: bool,
) -> Result<Decision<Outcome>, Need> {
    let Some(entity) = view.entity(key)? else { return Ok(waits(None)) };
    let trusted = context::site(view)?.is_none_or(|site| site.clock_refused.is_none());
    if let Key::Duties(agreement) = key {
        // Not only time changes the state of a duty.
        return match trusted {
            true => duties::review(view, agreement),
            false => Ok(waits(of(&entity, &context.limits))),
        };
    }
    let Some(deadline) = of(&entity, &context.limits) else { return Ok(waits(None)) };
    if deadline > view.now() || !trusted {
        return Ok(waits(Some(deadline)));
    }
    let (ended, reason) = match (key, entity.as_ref()) {
        (Key::Negotiation(pid), Entity::Negotiation(negotiation)) => {
            let reason = match negotiation.awaiting {
                Some(awaiting) => undecided("negotiation", awaiting),
                None => stood_still("negotiation", negotiation.changed, "nothing came"),
            };
            let ended =
                negotiation::terminate(view, context, fresh, pid, attempted, EXPIRED, &reason)?;
            (ended, reason)
        }
        (Key::Transfer(pid), Entity::Transfer(transfer)) => {
            let lacking = transfer_patience(transfer, &context.limits).map_or("", |(_, what)| what);
            let reason = match transfer.awaiting {
                Some(awaiting) => undecided("transfer", awaiting),
                None => stood_still("transfer", transfer.changed, lacking),
            };
            let failure = Failure {
                code: EXPIRED.to_owned(),
                reason: reason.clone(),
                reference: None,
                by_policy: false,
            };
            (transfer::terminate(view, context, fresh, pid, attempted, &failure)?, reason)
        }
        _ => return Ok(waits(None)),
    };
    Ok(ended.map(|ended| if ended { Outcome::Ended(reason) } else { Outcome::Waits(None) }))
}

/// The code by which we tell a partner that a deadline passed.
pub const EXPIRED: &str = "expired";

fn stood_still(what: &str, since: Timestamp, lacking: &str) -> String {
    format!("the {what} stood still since {since:.0} and its deadline has passed: {lacking}")
}

fn undecided(what: &str, awaiting: Awaiting) -> String {
    format!("the {what} waited for a decision since {:.0} and nobody took one", awaiting.since)
}

fn waits(until: Option<Timestamp>) -> Decision<Outcome> {
    Decision::answer(Outcome::Waits(until))
}

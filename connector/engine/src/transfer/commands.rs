//! Steps that a person or an application takes in a transfer, in either role.

use std::fmt;

use protocol::id::{AgreementId, ParticipantId, Pid};
use protocol::message::{self, Explanation, TransferStartMessage, TransferSuspensionMessage};
use protocol::process::Role;
use protocol::transfer::{MessageKind, State};
use serde::{Deserialize, Serialize};

use super::provider::{GrantFacts, Grantable, Prepared, grant};
use super::resumption::Resumption;
use super::{Wanted, account, complete, finish, granted_agreement, request, send, terminate_with};
use crate::context::{self, Context, Decided, Fresh, Stop, settle};
use crate::entity::{Agreement, Failure, Side, Transfer};
use crate::process::is_terminating;
use crate::refusal::RefusalKind;
use crate::{Account, Category, Decider, Decision, LogId, RecordDraft, RecordKind, View, duties};

/// A step of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// As provider: grants what was requested, or goes on after the consumer resumed.
    Start,
    /// Stops the data for now.
    Suspend,
    /// Goes on after a suspension of ours.
    Resume,
    /// Ends it well.
    Complete,
    /// Ends it early.
    Terminate,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 5] =
        [Self::Start, Self::Suspend, Self::Resume, Self::Complete, Self::Terminate];

    /// Its name in the management API and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Complete => "complete",
            Self::Terminate => "terminate",
        }
    }

    /// Whether this side may take it in an acknowledged state.
    fn is_legal(self, role: Role, state: Option<State>) -> bool {
        match (self, state) {
            (Self::Start, Some(State::Requested | State::Resumed)) => role == Role::Provider,
            (Self::Resume, Some(State::Suspended(by))) => by == role,
            (Self::Suspend | Self::Complete, Some(State::Started | State::Resumed)) => true,
            (Self::Terminate, state) => {
                !matches!(state, Some(State::Completed | State::Terminated))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The steps that are ours to take now. While a message of ours is not answered yet, only an end is.
pub fn steps(transfer: &Transfer) -> Vec<Step> {
    let process = &transfer.process;
    if process.is_closed() || is_terminating(process) {
        return Vec::new();
    }
    let is_free = process.pending().is_none();
    let (role, state) = (process.role(), process.state());
    Step::ALL
        .into_iter()
        .filter(|step| (is_free || *step == Step::Terminate) && step.is_legal(role, state))
        .collect()
}

/// A step, with what it says to the partner and to the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The step.
    pub step: Step,
    /// A code for the partner, of a suspension or termination.
    pub code: Option<String>,
    /// Who takes it, and why. The partner is told why, too.
    pub by: Decider,
}

/// Begins a transfer as consumer, outside of a pull: it is driven by orders.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn begin(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    participant: &ParticipantId,
    agreement: &AgreementId,
    wanted: &Wanted,
    by: &Decider,
) -> Decided<Transfer> {
    settle((|| {
        let partner = context::exchanging(view, fresh, participant)?;
        let agreement = held_agreement(view, fresh, participant, agreement)?;
        duties::no_block(view, fresh, &agreement)?;
        let (transfer, mut records) =
            request(view, context, fresh, &partner, &agreement, wanted).map_err(Stop::Refuse)?;
        if let Some(record) = records.pop() {
            let account = Account { reason: by.reason.clone(), ..record.account.clone() };
            records.push(record.account(account).person(by.person.clone()));
        }
        Ok(Decision::commit(records, transfer))
    })())
}

/// An agreement under which we may ask this partner for data.
fn held_agreement(
    view: &dyn View,
    fresh: &Fresh,
    participant: &ParticipantId,
    id: &AgreementId,
) -> Result<Agreement, Stop> {
    let refuse = |kind, text: String| Err(fresh.refuse(kind, text.clone(), text));
    let found = context::agreement(view, id)?
        .filter(|found| found.participant == *participant && found.side == Side::Consumer);
    let Some(agreement) = found else {
        let text = format!("we hold no agreement `{id}` as consumer with `{participant}`");
        return refuse(RefusalKind::NotFound, text);
    };
    if let Some((when, reason)) = &agreement.ended {
        let text = format!("the agreement ended at {when}: {reason}");
        return refuse(RefusalKind::AgreementEnded, text);
    }
    if !agreement.finalized {
        return refuse(RefusalKind::IllegalState, "the agreement is not finalized".to_owned());
    }
    Ok(agreement)
}

/// What an order comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Acted {
    /// It would be granted: sign these facts and ask again with them. Nothing was changed.
    Prepare(Box<GrantFacts>),
    /// A message of ours is not answered yet: wait for that, and ask again. Nothing was changed.
    Busy(MessageKind),
    /// It is done; messages are owed.
    Done(Box<Transfer>),
}

/// Takes a step of ours. `attempted`: an attempt to send our pending message has begun. `next_token` makes the SHA-256 of
/// the access token of a generation.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
#[expect(clippy::too_many_arguments, reason = "a decision's inputs, each of another type")]
pub fn act(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pid: &Pid,
    attempted: bool,
    order: &Order,
    prepared: Option<&Prepared>,
    next_token: impl Fn(&Pid, u32) -> String,
) -> Decided<Acted> {
    settle(try_act(view, context, fresh, pid, attempted, order, prepared, next_token))
}

#[expect(clippy::too_many_arguments, reason = "a decision's inputs, each of another type")]
fn try_act(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pid: &Pid,
    attempted: bool,
    order: &Order,
    prepared: Option<&Prepared>,
    next_token: impl Fn(&Pid, u32) -> String,
) -> Result<Decision<Acted>, Stop> {
    let Some(mut transfer) = context::transfer(view, pid)? else {
        let text = format!("there is no transfer `{pid}`");
        return Err(fresh.refuse(RefusalKind::NotFound, text.clone(), text));
    };
    if attempted {
        transfer.process = transfer.process.attempted();
    }
    if let Some(acted) = not_now(fresh, &transfer, order.step)? {
        return Ok(Decision::answer(acted));
    }
    let record = match order.step {
        Step::Suspend => suspend(view, context, fresh, &mut transfer, order)?,
        Step::Complete => complete(view, context, fresh, &mut transfer)?,
        Step::Terminate => {
            let code = order.code.clone().unwrap_or_else(|| "terminated".to_owned());
            let reason = order.by.reason.clone().unwrap_or_else(|| "ended by hand".to_owned());
            let failure = Failure { code, reason, reference: None, by_policy: false };
            terminate_with(view, context, fresh, &mut transfer, failure)?
        }
        Step::Start | Step::Resume if transfer.process.role() == Role::Consumer => {
            context::exchanging(view, fresh, &transfer.participant)?;
            resume_as_consumer(view, context, fresh, &mut transfer)?
        }
        Step::Start if transfer.grant.is_none() => {
            match granted(view, context, fresh, &mut transfer, prepared)? {
                Granted::Record(record) => *record,
                Granted::Prepare(facts) => return Ok(Decision::answer(Acted::Prepare(facts))),
            }
        }
        Step::Start | Step::Resume => {
            context::exchanging(view, fresh, &transfer.participant)?;
            let resumption = Resumption::judge(view, fresh, &transfer)?;
            transfer.failure = None;
            resumption.start(view, context, fresh, &mut transfer, next_token)?
        }
    };
    let records = finish(vec![by_hand(record, order)], &mut transfer);
    Ok(Decision::commit(records, Acted::Done(Box::new(transfer))))
}

/// Refuses a step that is not legal, naming those that are; says so where it only has to wait.
fn not_now(fresh: &Fresh, transfer: &Transfer, step: Step) -> Result<Option<Acted>, Stop> {
    let legal = steps(transfer);
    if legal.contains(&step) {
        return Ok(None);
    }
    let process = &transfer.process;
    let role = process.role();
    if let Some(pending) = process.pending()
        && !is_terminating(process)
        && (step.is_legal(role, Some(pending.target)) || step.is_legal(role, process.state()))
    {
        return Ok(Some(Acted::Busy(pending.message)));
    }
    let state =
        process.state().map_or_else(|| "not sent yet".to_owned(), |state| state.to_string());
    let legal = match legal.as_slice() {
        [] => "it has ended or is about to".to_owned(),
        legal => {
            format!("you can: {}", legal.iter().map(Step::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    let text = format!("`{step}` is not possible in state {state} as {role}; {legal}");
    Err(fresh.refuse(RefusalKind::IllegalState, text.clone(), text))
}

/// Who took the step and why, beside what the record says already.
fn by_hand(record: RecordDraft, order: &Order) -> RecordDraft {
    let account = Account {
        reason: order.by.reason.clone().or_else(|| record.account.reason.clone()),
        ..record.account.clone()
    };
    record.account(account.fact("step", order.step.name())).person(order.by.person.clone())
}

fn suspend(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    transfer: &mut Transfer,
    order: &Order,
) -> Result<RecordDraft, Stop> {
    let id = fresh.message_id();
    let code = order.code.as_deref().unwrap_or("suspended");
    let reason = order.by.reason.as_deref().unwrap_or("suspended by hand");
    let explanation = Explanation::new(code, reason);
    let owed =
        send(view, context, fresh, transfer, MessageKind::Suspension, id.clone(), None, |pids| {
            message::to_json(&TransferSuspensionMessage { pids, explanation }, Some(&id))
        })?;
    let record = own(transfer, RecordKind::TransferSuspended).essential();
    Ok(match owed {
        Some(owed) => record.put(owed.key, owed.entity).message(owed.text),
        None => record,
    })
}

/// A consumer's start names no address: the provider answers with a start of its own, which does.
fn resume_as_consumer(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    transfer: &mut Transfer,
) -> Result<RecordDraft, Stop> {
    let id = fresh.message_id();
    let owed =
        send(view, context, fresh, transfer, MessageKind::Start, id.clone(), None, |pids| {
            message::to_json(&TransferStartMessage { pids, data_address: None }, Some(&id))
        })?;
    transfer.failure = None;
    let record = own(transfer, RecordKind::TransferStarted);
    Ok(match owed {
        Some(owed) => record.put(owed.key, owed.entity).message(owed.text),
        None => record,
    })
}

fn own(transfer: &Transfer, kind: RecordKind) -> RecordDraft {
    RecordDraft::new(LogId::Relation(transfer.participant.clone()), kind, Category::Service)
        .account(account(transfer, &None))
}

enum Granted {
    Record(Box<RecordDraft>),
    Prepare(Box<GrantFacts>),
}

/// Grants what waited for a decision: judged now, not as of the request.
fn granted(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    transfer: &mut Transfer,
    prepared: Option<&Prepared>,
) -> Result<Granted, Stop> {
    let partner = context::exchanging(view, fresh, &transfer.participant)?;
    let agreement = granted_agreement(view, fresh, &transfer.participant, &transfer.agreement)?;
    let Some(consumer_pid) = transfer.peer_pid.clone() else {
        return Err(fresh.not_found("the consumer's process id is not known"));
    };
    let pid = transfer.pid.clone();
    let grantable =
        Grantable::find(view, fresh, pid, consumer_pid, partner, agreement, transfer.way())?;
    match prepared.filter(|prepared| grantable.is_prepared(prepared)) {
        None => Ok(Granted::Prepare(Box::new(grantable.facts))),
        Some(prepared) => grant(view, context, fresh, transfer, prepared, grantable.usage)
            .map(|record| Granted::Record(Box::new(record))),
    }
}

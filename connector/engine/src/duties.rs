//! Duties of agreements, tracked to their end: on the node that bears them and on the one that granted.
//!
//! What a duty is, whether it is active and until when it must be done is said by the policy as agreed; here is what was
//! done about it, by whom and how, and that it was not. A duty that is violated and not made good blocks new transfers
//! under its agreement, on both nodes; one of the consumer also blocks new agreements with it on the same dataset, and
//! transfers under others. What the other node knows about a duty is not asked: each tracks by its own records.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use policy::evaluate::{DutyState, Performed, Phase, Request, Subject, TrackedDuty, World};
use policy::odrl::Policy;
use protocol::id::{AgreementId, DatasetId, ParticipantId};
use serde_json::json;

use crate::context::{self, Decided, Fresh, Stop, settle};
use crate::entity::{Agreement, Duties, Duty, Fulfilment, ObligationState, Overdue, Side};
use crate::handling::Decider;
use crate::process::towards;
use crate::refusal::RefusalKind;
use crate::{Account, Category, Decision, Key, LogId, Need, RecordDraft, RecordKind, View, judge};

/// The action after which nothing is left of the data (ODRL vocabulary 4.4).
pub const DELETE: &str = "delete";

/// The actions that the exchange itself does, each with how.
const DONE_BY_EXCHANGE: [(&str, &str); 2] = [
    ("log", "this node's journal records each use"),
    ("inform", "the other party takes part in each transfer, and so is informed of each use"),
];

/// What follows from a duty that was not done in time, for the record.
const REMEDY: &str = "new agreements and transfers are refused until it is made good";

/// The longest account of how a duty was fulfilled, in characters.
const MAX_HOW: usize = 2_000;

/// The duties that an agreement brings, when it is put in force; nothing where it has none.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn arising(view: &dyn View, agreement: &Agreement) -> Result<Option<Duties>, Need> {
    let mut duties = Duties {
        v: 1,
        agreement: agreement.id.clone(),
        participant: agreement.participant.clone(),
        dataset: agreement.dataset.clone(),
        list: Vec::new(),
    };
    judge_again(view, agreement, &mut duties)?;
    Ok((!duties.list.is_empty()).then_some(duties))
}

/// What was done in fulfilment of the duties of an agreement, as evaluation takes it.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn performed(view: &dyn View, agreement: &Agreement) -> Result<Vec<Performed>, Need> {
    Ok(context::duties(view, &agreement.id)?.map(|duties| acts(&duties)).unwrap_or_default())
}

fn acts(duties: &Duties) -> Vec<Performed> {
    let done = duties.list.iter().filter_map(|duty| Some((duty, duty.fulfilled.as_ref()?)));
    done.flat_map(|(duty, fulfilment)| {
        duty.actions.iter().map(|action| Performed {
            action: action.clone(),
            target: duty.target.clone(),
            at: fulfilment.at,
            facts: fulfilment.facts.clone(),
        })
    })
    .collect()
}

/// The duty of ours by which data that came under an agreement at some time were deleted; nothing while they were not.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn deletion(
    view: &dyn View,
    agreement: &AgreementId,
    came: Timestamp,
) -> Result<Option<String>, Need> {
    let duties = context::duties(view, agreement)?;
    Ok(duties.and_then(|duties| {
        let deletes = |duty: &&Duty| {
            duty.bearer == Side::Consumer
                && duty.fulfilled.as_ref().is_some_and(|done| done.at >= came)
                && duty.actions.iter().any(|action| action == DELETE)
        };
        duties.list.iter().find(deletes).map(|duty| duty.clause.clone())
    }))
}

/// Refuses a new use under an agreement while a duty blocks it: its own, or the consumer's under another agreement on the
/// same dataset.
///
/// # Errors
/// A refusal that names the duty, and what to do.
pub(crate) fn no_block(view: &dyn View, fresh: &Fresh, agreement: &Agreement) -> Result<(), Stop> {
    if let Some(duties) = context::duties(view, &agreement.id)?
        && let Some(duty) = duties.list.iter().find(|duty| duty.blocks())
    {
        return Err(blocked(fresh, &agreement.id, duty));
    }
    unblocked(view, fresh, &agreement.participant, &agreement.dataset)
}

/// Refuses whatever is new between the two parties on a dataset while a duty of the consumer is overdue: a new agreement is
/// no way round the remedy of an old one, whether that one still runs or was ended.
///
/// # Errors
/// A refusal that names the duty, and what to do.
pub(crate) fn unblocked(
    view: &dyn View,
    fresh: &Fresh,
    participant: &ParticipantId,
    dataset: &DatasetId,
) -> Result<(), Stop> {
    let Some(overdue) = context::overdue(view, participant, dataset)? else { return Ok(()) };
    for id in &overdue.agreements {
        let duties = context::duties(view, id)?;
        if let Some(duty) = duties.iter().flat_map(|duties| &duties.list).find(|duty| duty.blocks())
        {
            return Err(blocked(fresh, id, duty));
        }
    }
    Ok(())
}

fn blocked(fresh: &Fresh, agreement: &AgreementId, duty: &Duty) -> Stop {
    let text = format!(
        "the duty `{}` of agreement `{agreement}` was not done in time; new transfers are refused until it is made good",
        duty.clause
    );
    let internal =
        format!("{text}; record it with `sekisho duty fulfil {agreement} {}`", duty.number);
    fresh.refuse(RefusalKind::DutyOverdue, text, internal)
}

/// Adds the duties of an agreement to a record, and what follows from them for others on the same dataset.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn put(
    view: &dyn View,
    record: RecordDraft,
    agreement: &Agreement,
    duties: Duties,
) -> Result<RecordDraft, Need> {
    let key = Key::Overdue(agreement.participant.clone(), agreement.dataset.clone());
    let known = context::overdue(view, &agreement.participant, &agreement.dataset)?;
    let mut overdue = known.unwrap_or_else(|| Overdue { v: 1, agreements: BTreeSet::new() });
    let blocks = duties.list.iter().any(|duty| duty.bearer == Side::Consumer && duty.blocks());
    let changed = match blocks {
        true => overdue.agreements.insert(agreement.id.clone()),
        false => overdue.agreements.remove(&agreement.id),
    };
    let record = record.put(Key::Duties(agreement.id.clone()), duties);
    Ok(match (changed, overdue.agreements.is_empty()) {
        (false, _) => record,
        (true, true) => record.remove(key),
        (true, false) => record.put(key, overdue),
    })
}

/// Records that a duty was fulfilled: who says so, how, and the facts that its refinements ask for.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn fulfil(
    view: &dyn View,
    fresh: &Fresh,
    agreement: &AgreementId,
    number: u32,
    by: &Decider,
    facts: &BTreeMap<String, String>,
) -> Decided<Duties> {
    settle(try_fulfil(view, fresh, agreement, number, by, facts))
}

fn try_fulfil(
    view: &dyn View,
    fresh: &Fresh,
    id: &AgreementId,
    number: u32,
    by: &Decider,
    facts: &BTreeMap<String, String>,
) -> Result<Decision<Duties>, Stop> {
    let refuse = |kind, text: String| fresh.refuse(kind, text.clone(), text);
    let missing = || refuse(RefusalKind::NotFound, format!("agreement `{id}` has no duties here"));
    let agreement = context::agreement(view, id)?.ok_or_else(missing)?;
    let mut duties = context::duties(view, id)?.ok_or_else(missing)?;
    let how = by.reason.clone().filter(|how| !how.trim().is_empty()).ok_or_else(|| {
        let text = "it has to be said how the duty was fulfilled; it goes into the record";
        refuse(RefusalKind::Invalid, text.to_owned())
    })?;
    if how.chars().count() > MAX_HOW {
        let text = format!("how it was fulfilled has more than {MAX_HOW} characters");
        return Err(refuse(RefusalKind::Invalid, text));
    }
    let known = duties.list.len();
    let Some(duty) = duties.list.iter_mut().find(|duty| duty.number == number) else {
        let text = format!("agreement `{id}` has duties 1 to {known}, and none is {number}");
        return Err(refuse(RefusalKind::NotFound, text));
    };
    if let Some(done) = &duty.fulfilled {
        let text = format!("it was recorded as fulfilled at {:.0} already", done.at);
        return Err(refuse(RefusalKind::IllegalState, text));
    }
    let fulfilment = Fulfilment {
        at: view.now(),
        by: by.person.clone(),
        how: how.clone(),
        facts: facts.clone(),
    };
    duty.fulfilled = Some(fulfilment);
    let (clause, place) = (duty.clause.clone(), duty.place.clone());
    judge_again(view, &agreement, &mut duties)?;
    let state = duties.list.iter().find(|duty| duty.number == number).map(|duty| duty.state);
    let record = record(RecordKind::DutyFulfilled, &agreement, &how).person(by.person.clone());
    let record = put(view, record, &agreement, duties.clone())?;
    let record = with_facts(
        record,
        &agreement,
        &how,
        &[
            ("duty", json!(place)),
            ("clause", json!(clause)),
            ("state", serde_json::to_value(state).unwrap_or_default()),
        ],
    );
    Ok(Decision::commit(vec![record], duties))
}

/// Looks at duties whose deadline may have passed: those not done in time are violated from now on. The answer names them.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn expire(view: &dyn View, id: &AgreementId) -> Result<Decision<Option<String>>, Need> {
    let (Some(agreement), Some(before)) =
        (context::agreement(view, id)?, context::duties(view, id)?)
    else {
        return Ok(Decision::answer(None));
    };
    let mut duties = before.clone();
    judge_again(view, &agreement, &mut duties)?;
    let newly: Vec<&Duty> = (duties.list.iter())
        .filter(|duty| duty.state == ObligationState::Violated)
        .filter(|duty| {
            let was = before.list.iter().find(|known| known.place == duty.place);
            was.is_none_or(|known| known.state != ObligationState::Violated)
        })
        .collect();
    if newly.is_empty() {
        return Ok(Decision::answer(None));
    }
    let named: Vec<&str> = newly.iter().map(|duty| duty.clause.as_str()).collect();
    let reason = format!("not done in time: {}", named.join("; "));
    let facts = [
        ("duty", json!(newly.iter().map(|duty| &duty.place).collect::<Vec<_>>())),
        ("remedy", json!(REMEDY)),
    ];
    let record = record(RecordKind::DutyViolated, &agreement, &reason);
    let record = with_facts(record, &agreement, &reason, &facts).essential();
    let record = put(view, record, &agreement, duties)?;
    Ok(Decision::commit(vec![record], Some(reason)))
}

fn record(kind: RecordKind, agreement: &Agreement, reason: &str) -> RecordDraft {
    let log = LogId::Relation(agreement.participant.clone());
    RecordDraft::new(log, kind, Category::Service).account(account(agreement, reason))
}

fn with_facts(
    record: RecordDraft,
    agreement: &Agreement,
    reason: &str,
    facts: &[(&str, serde_json::Value)],
) -> RecordDraft {
    let mut account = account(agreement, reason);
    for (name, value) in facts {
        account = account.fact(name, value.clone());
    }
    record.account(account)
}

fn account(agreement: &Agreement, reason: &str) -> Account {
    Account {
        agreement: Some(agreement.id.clone()),
        policy: Some(agreement.policy_sha256.clone()),
        reason: Some(reason.to_owned()),
        ..towards(&agreement.participant)
    }
}

/// Brings the states of duties up to the policy as agreed, the time, and what was done. What the exchange itself does is
/// done from the agreement on; where a refinement asks for more, such as whom to inform by what, it is left to a person.
fn judge_again(view: &dyn View, agreement: &Agreement, duties: &mut Duties) -> Result<(), Need> {
    judge_once(view, agreement, duties)?;
    let mut tried = Vec::new();
    for duty in duties.list.iter_mut().filter(|duty| duty.fulfilled.is_none()) {
        let [action] = duty.actions.as_slice() else { continue };
        let Some((_, how)) = DONE_BY_EXCHANGE.iter().find(|(name, _)| name == action) else {
            continue;
        };
        let how = (*how).to_owned();
        let at = agreement.created;
        duty.fulfilled = Some(Fulfilment { at, by: None, how, facts: BTreeMap::new() });
        tried.push((duty.number, duty.violated));
    }
    if tried.is_empty() {
        return Ok(());
    }
    judge_once(view, agreement, duties)?;
    let mut is_done = true;
    for duty in &mut duties.list {
        let Some((_, violated)) = tried.iter().find(|(number, _)| *number == duty.number) else {
            continue;
        };
        if duty.state != ObligationState::Fulfilled {
            (duty.fulfilled, duty.violated, is_done) = (None, *violated, false);
        }
    }
    if is_done { Ok(()) } else { judge_once(view, agreement, duties) }
}

fn judge_once(view: &dyn View, agreement: &Agreement, duties: &mut Duties) -> Result<(), Need> {
    let Some(policy) = agreement.policy() else { return Ok(()) };
    let rules = judge::rules_in_force(view)?;
    let subject = bearer(view, agreement, policy)?;
    let performed = acts(duties);
    let world = World {
        agreed_at: Some(agreement.created),
        performed: &performed,
        ..World::new(view.now(), &subject, rules.set.purposes())
    };
    let purposes: Vec<String> = agreement.purpose.iter().cloned().collect();
    let target = agreement.dataset.as_str();
    let request =
        Request { action: judge::ACTION, target, purposes: &purposes, phase: Phase::Transfer };
    for found in policy::evaluate::duties(policy, &request, &world) {
        take(duties, agreement, found, view.now());
    }
    Ok(())
}

/// The consumer as the policy sees it; on its own node by its identifier alone.
fn bearer(view: &dyn View, agreement: &Agreement, policy: &Policy) -> Result<Subject, Need> {
    if agreement.side == Side::Provider
        && let Some(partner) = context::partner(view, &agreement.participant)?
    {
        return Ok(judge::subject(&partner));
    }
    let participant = policy.assignee.as_ref().map(|party| party.id.clone()).unwrap_or_default();
    Ok(Subject { participant, ..Subject::default() })
}

fn take(duties: &mut Duties, agreement: &Agreement, found: TrackedDuty, now: Timestamp) {
    let state = match found.report.state {
        DutyState::Fulfilled => ObligationState::Fulfilled,
        DutyState::Violated => ObligationState::Violated,
        DutyState::Pending => ObligationState::NotSet,
        DutyState::Inactive | DutyState::NotUnderstood => return,
    };
    let next = u32::try_from(duties.list.len()).unwrap_or(u32::MAX).saturating_add(1);
    let known = duties.list.iter_mut().find(|duty| duty.place == found.place);
    if let Some(duty) = known {
        duty.state = state;
        if state == ObligationState::Violated && duty.violated.is_none() {
            duty.violated = Some(now);
        }
        return;
    }
    // What binds somebody else than the consumer binds the provider: there is no third.
    let is_providers = found.bearer.as_deref().is_some_and(|id| is_provider(agreement, id));
    duties.list.push(Duty {
        number: next,
        place: found.place,
        clause: found.report.clause,
        actions: found.report.actions,
        bearer: if is_providers { Side::Provider } else { Side::Consumer },
        is_condition: found.report.is_condition,
        has_consequences: found.has_consequences,
        target: found.target.unwrap_or_else(|| agreement.dataset.to_string()),
        deadline: found.report.deadline,
        state,
        violated: (state == ObligationState::Violated).then_some(now),
        fulfilled: None,
    });
}

fn is_provider(agreement: &Agreement, id: &str) -> bool {
    agreement.terms.get("assigner").and_then(serde_json::Value::as_str) == Some(id)
}

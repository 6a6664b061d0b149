//! Duties of agreements, tracked to their end: on the node that bears them and on the one that granted.
//!
//! What a duty is, whether it is owed and until when it must be done is said by the policy as agreed; here is what was
//! done about it, by whom and how, and that it was not. Every duty of the policy is listed from the agreement on, remedies of
//! prohibitions and consequences too, under a name that is its place in the policy and so the same on both nodes. Their states
//! are looked at again at the instants that evaluation names, and when uses, the partner, the dataset or the rules change.
//!
//! A duty that is violated and not made good blocks new transfers under its agreement, on both nodes; one of the consumer also
//! blocks new agreements with it on the same dataset, and transfers under others. What the other node knows about a duty is not
//! asked: each tracks by its own records. That a prohibition was infringed no node can observe, for what it could see it
//! refuses; a person records it, and from then on the remedy is owed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use policy::evaluate::{
    DutyState, Facts, Happened, Past, Performed, Phase, PreviousUse, Request, Status, Subject,
    TrackedDuty, World,
};
use policy::odrl::Policy;
use protocol::id::{AgreementId, DatasetId, ParticipantId};
use serde_json::json;

use crate::context::{self, Decided, Fresh, Stop, settle};
use crate::deadline::Outcome;
use crate::entity::{
    Agreement, Duties, Duty, Fulfilment, Infringement, ObligationState, Overdue, Side,
};
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

/// The longest account of how a duty was fulfilled or a prohibition infringed, in characters.
const MAX_HOW: usize = 2_000;

/// How many instants that passed unseen, while the node stood still, are gone through one by one; more are judged at once.
const MAX_INSTANTS: usize = 64;

/// The duties that an agreement brings, when it is put in force; nothing where it has none.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn arising(view: &dyn View, agreement: &Agreement) -> Result<Option<Duties>, Need> {
    let mut duties = none_of(agreement);
    judge_again(view, agreement, &mut duties)?;
    Ok((!duties.list.is_empty()).then_some(duties))
}

fn none_of(agreement: &Agreement) -> Duties {
    Duties {
        v: 1,
        agreement: agreement.id.clone(),
        participant: agreement.participant.clone(),
        side: agreement.side,
        dataset: agreement.dataset.clone(),
        list: Vec::new(),
        infringed: Vec::new(),
        look_again: None,
        is_conditional: false,
    }
}

/// What was done in fulfilment of the duties of an agreement, and what happened to them, as evaluation takes it.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn past(
    view: &dyn View,
    agreement: &Agreement,
    now: Timestamp,
) -> Result<(Vec<Performed>, Past), Need> {
    let duties = context::duties(view, &agreement.id)?;
    Ok(duties.map(|duties| (acts(&duties), happened(&duties, now))).unwrap_or_default())
}

/// What the exchange does is no act that counts for another duty.
fn acts(duties: &Duties) -> Vec<Performed> {
    let done = duties.list.iter().filter_map(|duty| Some((duty, duty.fulfilled.as_ref()?)));
    done.filter(|(_, fulfilment)| fulfilment.by.is_some())
        .flat_map(|(duty, fulfilment)| {
            duty.actions.iter().map(|action| Performed {
                action: action.clone(),
                target: duty.target.clone(),
                at: fulfilment.at,
                facts: fulfilment.facts.clone(),
            })
        })
        .collect()
}

fn happened(duties: &Duties, now: Timestamp) -> Past {
    let mut past = Past::new();
    for duty in &duties.list {
        // What was looked at and not owed is owed from now on, should its conditions hold.
        let owed = duty.since.or_else(|| could_be_owed(duties, &duty.name).then_some(now));
        let done = duty.fulfilled.as_ref().is_some_and(|done| done.by.is_none());
        let violated = duty.violated;
        let happened = Happened { owed, violated, is_done_by_exchange: done };
        past.insert(duty.name.clone(), happened);
    }
    for infringement in &duties.infringed {
        let entry = past.entry(infringement.prohibition.clone()).or_default();
        entry.violated.get_or_insert(infringement.at);
    }
    past
}

/// Whether only its own conditions keep a duty from being owed, since before: a consequence follows from what was violated, a
/// remedy from what was infringed.
fn could_be_owed(duties: &Duties, name: &str) -> bool {
    if let Some((of, _)) = name.rsplit_once("-consequence-") {
        return duties.duty(of).is_some_and(|duty| duty.violated.is_some());
    }
    match name.rsplit_once("-remedy-") {
        Some((of, _)) => duties.infringed.iter().any(|known| known.prohibition == of),
        None => true,
    }
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
        "the duty {} (`{}`) of agreement `{agreement}` was not done in time; new transfers are refused until it is made good",
        duty.name, duty.clause
    );
    let internal =
        format!("{text}; record it with `sekisho duty fulfil {agreement} {} --how …`", duty.name);
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
    name: &str,
    by: &Decider,
    facts: &BTreeMap<String, String>,
) -> Decided<Duties> {
    settle(try_fulfil(view, fresh, agreement, name, by, facts))
}

fn try_fulfil(
    view: &dyn View,
    fresh: &Fresh,
    id: &AgreementId,
    name: &str,
    by: &Decider,
    facts: &BTreeMap<String, String>,
) -> Result<Decision<Duties>, Stop> {
    let refuse = |kind, text: String| fresh.refuse(kind, text.clone(), text);
    let missing = || refuse(RefusalKind::NotFound, format!("agreement `{id}` has no duties here"));
    let now = context::trusted_time(view, fresh)?;
    let agreement = context::agreement(view, id)?.ok_or_else(missing)?;
    let mut duties = context::duties(view, id)?.ok_or_else(missing)?;
    let how = said_how(fresh, by, "the duty was fulfilled")?;
    // What fell due or ceased to be owed in this very moment counts.
    judge_again(view, &agreement, &mut duties)?;
    let Some(duty) = duties.list.iter_mut().find(|duty| duty.name == name) else {
        let names: Vec<&str> = duties.list.iter().map(|duty| duty.name.as_str()).collect();
        let text = format!("agreement `{id}` has no duty `{name}`; it has {}", names.join(", "));
        return Err(refuse(RefusalKind::NotFound, text));
    };
    if let Some(done) = &duty.fulfilled {
        let text = format!("{name} was recorded as fulfilled at {:.0} already", done.at);
        return Err(refuse(RefusalKind::IllegalState, text));
    }
    match duty.state {
        ObligationState::Inactive => {
            let text = format!(
                "{name} (`{}`) is not owed now, and what is done before it is owed does not count",
                duty.clause
            );
            return Err(refuse(RefusalKind::IllegalState, text));
        }
        ObligationState::NotUnderstood => {
            let text = format!("{name} (`{}`) is not understood here", duty.clause);
            return Err(refuse(RefusalKind::IllegalState, text));
        }
        ObligationState::Pending | ObligationState::Fulfilled | ObligationState::Violated => {}
    }
    let person = by.person.clone();
    // Who is not named is not the exchange.
    let fulfilment = Fulfilment {
        at: now,
        by: Some(person.clone().unwrap_or_else(|| "unnamed".to_owned())),
        how: how.clone(),
        facts: facts.clone(),
    };
    duty.fulfilled = Some(fulfilment);
    let clause = duty.clause.clone();
    judge_again(view, &agreement, &mut duties)?;
    let state = duties.duty(name).map(|duty| duty.state);
    let record = record(RecordKind::DutyFulfilled, &agreement, &how).person(person);
    let record = put(view, record, &agreement, duties.clone())?;
    let record = with_facts(
        record,
        &agreement,
        &how,
        &[
            ("duty", json!(name)),
            ("clause", json!(clause)),
            ("state", serde_json::to_value(state).unwrap_or_default()),
        ],
    );
    Ok(Decision::commit(vec![record], duties))
}

fn said_how(fresh: &Fresh, by: &Decider, what: &str) -> Result<String, Stop> {
    let refuse = |text: String| fresh.refuse(RefusalKind::Invalid, text.clone(), text);
    let how =
        by.reason.clone().filter(|how| !how.trim().is_empty()).ok_or_else(|| {
            refuse(format!("it has to be said how {what}; it goes into the record"))
        })?;
    if how.chars().count() > MAX_HOW {
        return Err(refuse(format!("how {what} has more than {MAX_HOW} characters")));
    }
    Ok(how)
}

/// Records that a prohibition of an agreement was infringed, as somebody says: when, and how it is known. Its remedies are owed
/// from that instant on; one that is owed still from an earlier infringement stays as it is, with its deadline.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn infringe(
    view: &dyn View,
    fresh: &Fresh,
    agreement: &AgreementId,
    prohibition: &str,
    by: &Decider,
    at: Option<Timestamp>,
) -> Decided<Duties> {
    settle(try_infringe(view, fresh, agreement, prohibition, by, at))
}

fn try_infringe(
    view: &dyn View,
    fresh: &Fresh,
    id: &AgreementId,
    prohibition: &str,
    by: &Decider,
    at: Option<Timestamp>,
) -> Result<Decision<Duties>, Stop> {
    let refuse = |kind, text: String| fresh.refuse(kind, text.clone(), text);
    let now = context::trusted_time(view, fresh)?;
    let agreement = context::agreement(view, id)?
        .ok_or_else(|| refuse(RefusalKind::NotFound, format!("there is no agreement `{id}`")))?;
    let prohibitions = agreement.policy().map(policy::evaluate::prohibitions).unwrap_or_default();
    let Some((_, clause)) = prohibitions.iter().find(|(name, _)| name == prohibition) else {
        let names: Vec<&str> = prohibitions.iter().map(|(name, _)| name.as_str()).collect();
        let has = match names.is_empty() {
            true => "it prohibits nothing".to_owned(),
            false => format!("it has {}", names.join(", ")),
        };
        let text = format!("agreement `{id}` has no prohibition `{prohibition}`; {has}");
        return Err(refuse(RefusalKind::NotFound, text));
    };
    let how = said_how(fresh, by, "the prohibition was infringed, and how that is known")?;
    let at = at.unwrap_or(now);
    if at > now || at < agreement.created {
        let text = format!(
            "it was infringed between the agreement ({}) and now ({now}), not at {at}",
            agreement.created
        );
        return Err(refuse(RefusalKind::Invalid, text));
    }
    let mut duties = context::duties(view, id)?.unwrap_or_else(|| none_of(&agreement));
    let before = duties.clone();
    let remedies = format!("{prohibition}-remedy-");
    for duty in duties.list.iter_mut().filter(|duty| duty.name.starts_with(&remedies)) {
        let is_owed = matches!(duty.state, ObligationState::Pending | ObligationState::Violated)
            && duty.fulfilled.is_none();
        if !is_owed {
            (duty.since, duty.violated, duty.fulfilled) = (Some(at), None, None);
            duty.state = ObligationState::Pending;
        }
    }
    duties.infringed.push(Infringement {
        prohibition: prohibition.to_owned(),
        clause: clause.clone(),
        at,
        recorded: now,
        by: by.person.clone(),
        how: how.clone(),
    });
    judge_again(view, &agreement, &mut duties)?;
    let infringed = record(RecordKind::ProhibitionInfringed, &agreement, &how);
    let infringed = infringed.person(by.person.clone());
    let infringed = put(view, infringed, &agreement, duties.clone())?;
    let owed: BTreeMap<&str, ObligationState> = (duties.list.iter())
        .filter(|duty| duty.name.starts_with(&remedies))
        .map(|duty| (duty.name.as_str(), duty.state))
        .collect();
    let infringed = with_facts(
        infringed,
        &agreement,
        &how,
        &[
            ("prohibition", json!(prohibition)),
            ("clause", json!(clause)),
            ("at", json!(at)),
            ("remedies", json!(owed)),
        ],
    );
    let mut records = vec![infringed];
    // What it costs may have been due before it was recorded.
    records.extend(violations(&agreement, &before, &duties).map(|(record, _)| record));
    Ok(Decision::commit(records, duties))
}

/// Looks at duties again: some may be owed from now on, or no more, and those not done in time are violated.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub(crate) fn review(view: &dyn View, id: &AgreementId) -> Result<Decision<Outcome>, Need> {
    let (Some(agreement), Some(before)) =
        (context::agreement(view, id)?, context::duties(view, id)?)
    else {
        return Ok(Decision::answer(Outcome::Waits(None)));
    };
    let mut duties = before.clone();
    judge_again(view, &agreement, &mut duties)?;
    let next = duties.look_again;
    if let Some((record, reason)) = violations(&agreement, &before, &duties) {
        let record = put(view, record, &agreement, duties)?;
        return Ok(Decision::commit(vec![record], Outcome::Ended(reason)));
    }
    let changed: Vec<&Duty> = (duties.list.iter())
        .filter(|duty| before.duty(&duty.name).is_none_or(|known| known.state != duty.state))
        .collect();
    if changed.is_empty() {
        return Ok(Decision::answer(Outcome::Waits(next)));
    }
    let said: Vec<String> = changed.iter().map(|duty| changed_to(duty)).collect();
    let (reason, states) = (said.join("; "), states(&changed));
    let record = record(RecordKind::DutyChanged, &agreement, &reason);
    let record = with_facts(record, &agreement, &reason, &[("states", states)]);
    let record = put(view, record, &agreement, duties)?;
    Ok(Decision::commit(vec![record], Outcome::Waits(next)))
}

fn changed_to(duty: &Duty) -> String {
    let now = match (duty.state, duty.deadline) {
        (ObligationState::Pending, Some(deadline)) => format!("is owed, until {deadline}"),
        (ObligationState::Pending, None) => "is owed".to_owned(),
        (ObligationState::Inactive, _) => "is not owed any more".to_owned(),
        (ObligationState::Fulfilled, _) => "is fulfilled".to_owned(),
        (ObligationState::Violated, _) => "is violated".to_owned(),
        (ObligationState::NotUnderstood, _) => "is not understood".to_owned(),
    };
    format!("{} ({}) {now}", duty.name, duty.clause)
}

fn states(duties: &[&Duty]) -> serde_json::Value {
    duties.iter().map(|duty| (duty.name.clone(), json!(duty.state))).collect()
}

/// The record of the duties that are violated and were not before, and its reason.
fn violations(
    agreement: &Agreement,
    before: &Duties,
    duties: &Duties,
) -> Option<(RecordDraft, String)> {
    let was = |duty: &Duty| before.duty(&duty.name).map(|known| known.state);
    // A remedy that was overdue and made good may be overdue for another infringement.
    let known = |duty: &Duty| {
        before.duty(&duty.name).is_some_and(|known| {
            known.state == ObligationState::Violated && known.violated == duty.violated
        })
    };
    let newly: Vec<&Duty> = (duties.list.iter())
        .filter(|duty| duty.state == ObligationState::Violated && !known(duty))
        .collect();
    if newly.is_empty() {
        return None;
    }
    let named: Vec<String> =
        newly.iter().map(|duty| format!("{} ({})", duty.name, duty.clause)).collect();
    let reason = format!("not done in time: {}", named.join("; "));
    let changed: Vec<&Duty> =
        duties.list.iter().filter(|duty| was(duty) != Some(duty.state)).collect();
    let facts = [
        ("duty", json!(newly.iter().map(|duty| &duty.name).collect::<Vec<_>>())),
        ("states", states(&changed)),
        ("remedy", json!(REMEDY)),
    ];
    let record = record(RecordKind::DutyViolated, agreement, &reason);
    Some((with_facts(record, agreement, &reason, &facts).essential(), reason))
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

/// Brings the states of duties up to the policy as agreed, the time, and what was done. Instants that passed since the last
/// look are gone through in order, so that what was owed from which moment on does not depend on when this node looked.
fn judge_again(view: &dyn View, agreement: &Agreement, duties: &mut Duties) -> Result<(), Need> {
    let now = view.now();
    for _ in 0..MAX_INSTANTS {
        let Some(at) = duties.look_again.filter(|at| *at < now) else { break };
        judge_at(view, agreement, duties, at)?;
    }
    judge_at(view, agreement, duties, now)
}

fn judge_at(
    view: &dyn View,
    agreement: &Agreement,
    duties: &mut Duties,
    now: Timestamp,
) -> Result<(), Need> {
    let Some(policy) = agreement.policy() else { return Ok(()) };
    let rules = judge::rules_in_force(view)?;
    let subject = consumer(view, agreement, policy)?;
    let (performed, past) = (acts(duties), happened(duties, now));
    let own = agreement.side == Side::Provider;
    let (usage, facts) = match own {
        true => (
            Some(context::usage(
                view,
                &agreement.participant,
                &agreement.offer,
                &agreement.dataset,
            )?),
            context::dataset(view, &agreement.dataset)?.as_ref().map(judge::facts),
        ),
        // How often it is used under all agreements, and what it is, is for the provider to know.
        false => (None, None),
    };
    let facts = facts.unwrap_or_else(Facts::unpublished);
    let latest = usage.as_ref().map(|usage| usage.as_ref().and_then(|usage| usage.latest));
    let world = World {
        earlier_uses: usage.as_ref().map(|usage| usage.as_ref().map_or(0, |usage| usage.uses)),
        previous_use: match latest {
            None => PreviousUse::Unknown,
            Some(latest) => latest.map_or(PreviousUse::Never, PreviousUse::At),
        },
        agreed_at: Some(agreement.created),
        performed: &performed,
        past: &past,
        facts: &facts,
        ..World::new(now, &subject, rules.set.purposes())
    };
    let purposes: Vec<String> = agreement.purpose.iter().cloned().collect();
    let target = agreement.dataset.as_str();
    let request =
        Request { action: judge::ACTION, target, purposes: &purposes, phase: Phase::Transfer };
    let found = policy::evaluate::duties(policy, &request, &world);
    duties.look_again = found.until;
    duties.is_conditional = found.duties.iter().any(|duty| duty.is_conditional);
    for duty in found.duties {
        take(duties, agreement, duty);
    }
    Ok(())
}

/// The consumer as the policy sees it; on its own node by its identifier alone.
fn consumer(view: &dyn View, agreement: &Agreement, policy: &Policy) -> Result<Subject, Need> {
    if agreement.side == Side::Provider
        && let Some(partner) = context::partner(view, &agreement.participant)?
    {
        return Ok(judge::subject(&partner));
    }
    let participant = policy.assignee.as_ref().map(|party| party.id.clone()).unwrap_or_default();
    Ok(Subject { participant, ..Subject::default() })
}

fn take(duties: &mut Duties, agreement: &Agreement, found: TrackedDuty) {
    let report = &found.report;
    let state = match report.state {
        DutyState::Fulfilled => ObligationState::Fulfilled,
        DutyState::Violated => ObligationState::Violated,
        DutyState::Pending => ObligationState::Pending,
        DutyState::Inactive => ObligationState::Inactive,
        DutyState::NotUnderstood => ObligationState::NotUnderstood,
    };
    let is_certain =
        !matches!(report.applies, Status::Undecidable | Status::AppliesLater | Status::Elsewhere);
    let undecided = report.undecided().into_iter();
    let undecided: Vec<String> =
        undecided.map(|report| format!("`{}`: {}", report.clause, report.found)).collect();
    if let Some(duty) = duties.list.iter_mut().find(|duty| duty.name == found.name) {
        // What was done stays done, though it would not be owed any more.
        let is_done = duty.state == ObligationState::Fulfilled && duty.fulfilled.is_some();
        if is_done && state == ObligationState::Inactive {
            return;
        }
        duty.state = state;
        (duty.is_certain, duty.undecided) = (is_certain, undecided);
        duty.since = report.since;
        duty.deadline = report.deadline;
        duty.violated = report.violated;
        return;
    }
    let fulfilled = match state {
        ObligationState::Pending => done_by_exchange(agreement, &found),
        _ => None,
    };
    // What binds somebody else than the provider binds the consumer, who agreed to it.
    let is_providers =
        found.bearer.as_deref().is_some_and(|id| is_party(agreement, "assigner", id));
    duties.list.push(Duty {
        name: found.name,
        clause: found.report.clause,
        actions: found.report.actions,
        bearer: if is_providers { Side::Provider } else { Side::Consumer },
        party: found.bearer,
        is_condition: found.report.is_condition,
        is_certain,
        undecided,
        since: found.report.since,
        deadline: found.report.deadline,
        has_consequences: found.has_consequences,
        target: found.target.unwrap_or_else(|| agreement.dataset.to_string()),
        state: if fulfilled.is_some() { ObligationState::Fulfilled } else { state },
        violated: found.report.violated,
        fulfilled,
    });
}

/// That the exchange itself does what a duty asks, from the agreement on: to log each use, and to inform the other party of it.
/// A duty that asks for more (how, by when, in which case, a third party) is left to a person.
fn done_by_exchange(agreement: &Agreement, duty: &TrackedDuty) -> Option<Fulfilment> {
    let [action] = duty.report.actions.as_slice() else { return None };
    let (_, how) = DONE_BY_EXCHANGE.iter().find(|(name, _)| name == action)?;
    let parties = [&duty.bearer, &duty.creditor];
    let is_between_us = parties
        .into_iter()
        .flatten()
        .all(|id| is_party(agreement, "assigner", id) || is_party(agreement, "assignee", id));
    (duty.is_plain && is_between_us).then(|| Fulfilment {
        at: agreement.created,
        by: None,
        how: (*how).to_owned(),
        facts: BTreeMap::new(),
    })
}

/// Whether an identifier is that of a party of the agreement: its `assigner`, the provider, or its `assignee`, the consumer.
fn is_party(agreement: &Agreement, member: &str, id: &str) -> bool {
    agreement.terms.get(member).and_then(serde_json::Value::as_str) == Some(id)
}

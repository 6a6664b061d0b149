//! Judges rules and duties, and finds the clause that decides.

use super::constraint::{Scope, conjunction, holds};
use super::duty::{self, Place, action_names, is_known_duty};
use super::hand_over;
use super::{
    DutyReport, DutyState, Ground, Performance, Performed, Phase, Request, RuleKind, RuleReport,
    Status,
};
use crate::file::expression;
use crate::odrl::{
    Action, Asset, Constraint, Decimal, Duty, NotUnderstood, Operator, Policy, RightOperand, Rule,
};
use crate::vocabulary;
use jiff::Timestamp;
use std::collections::BTreeMap;

pub(super) fn judge(
    scope: &mut Scope<'_>,
    kind: RuleKind,
    index: usize,
    rule: &Rule,
) -> RuleReport {
    let constraints = scope.all(kind, &rule.constraints);
    let mut duties: Vec<_> = match kind {
        RuleKind::Permission => (rule.duties.iter().enumerate())
            .map(|(number, duty)| {
                duty::judge(scope, &Place::Condition(index, number), duty, true, None)
            })
            .collect(),
        RuleKind::Prohibition => Vec::new(),
    };
    let duty_statuses = duties.iter().map(|duty| match duty.state {
        DutyState::Inactive | DutyState::Fulfilled => Status::Satisfied,
        DutyState::NotUnderstood => Status::NotUnderstood,
        DutyState::Pending if !scope.is_transfer() => Status::AppliesLater,
        DutyState::Pending | DutyState::Violated if scope.is_hand_over() => Status::Elsewhere,
        DutyState::Pending | DutyState::Violated => Status::Unsatisfied,
    });
    let own = if rule.not_understood.is_empty()
        && rule.duties.iter().all(|duty| unclear_duty(duty).is_none())
    {
        Status::Satisfied
    } else {
        Status::NotUnderstood
    };
    let statuses = constraints.iter().map(|report| report.status).chain(duty_statuses).chain([own]);
    let active = conjunction(statuses);
    let target = rule.target.as_ref().map_or(Status::Satisfied, |target| scope.asset(kind, target));
    let party = rule.assignee.as_ref().map_or(Status::Satisfied, |party| scope.party(kind, party));
    let performs = if target == Status::Unsatisfied || party == Status::Unsatisfied {
        Status::Unsatisfied
    } else {
        performs(scope, kind, rule)
    };
    let infringed = match kind {
        RuleKind::Permission => None,
        RuleKind::Prohibition => infringed(scope, index, rule, active),
    };
    let performance = match infringed {
        Some(_) => Performance::Performed,
        None => performance(scope, rule),
    };
    // What makes up for an infringement is owed once there was one.
    if infringed.is_some() {
        duties = (rule.duties.iter().enumerate())
            .map(|(number, duty)| {
                duty::judge(scope, &Place::Remedy(index, number), duty, false, infringed)
            })
            .collect();
    }
    RuleReport {
        kind,
        index,
        action: scope.text(|| action_names(&rule.actions).join(", ")),
        concerns: conjunction([target, party, performs].into_iter()),
        target,
        party,
        performs,
        active,
        performance,
        constraints,
        duties,
    }
}

/// Whether the rule's actions cover the requested one.
fn performs(scope: &mut Scope<'_>, kind: RuleKind, rule: &Rule) -> Status {
    let actions: Vec<Status> =
        rule.actions.iter().map(|action| covers(scope, kind, action)).collect();
    [
        Status::Satisfied,
        Status::NotUnderstood,
        Status::Undecidable,
        Status::AppliesLater,
        Status::Elsewhere,
    ]
    .into_iter()
    .find(|status| actions.contains(status))
    .unwrap_or(Status::Unsatisfied)
}

/// Whether the subject did before what the rule is about. That it can no longer be done is never known of a permission
/// or prohibition.
fn performance(scope: &Scope<'_>, rule: &Rule) -> Performance {
    match first_done(scope, rule) {
        Some(_) => Performance::Performed,
        None => Performance::Unknown,
    }
}

/// When the subject first did what the rule is about.
fn first_done(scope: &Scope<'_>, rule: &Rule) -> Option<Timestamp> {
    let did = scope.world.performed.iter().filter(|performed| {
        performed.at <= scope.world.now
            && is_of(scope, rule.target.as_ref(), &performed.target)
            && rule.actions.iter().any(|action| done_as(performed, action))
    });
    did.map(|performed| performed.at).min()
}

/// When a prohibition was infringed: as is on record, whatever holds now, or by what was done while it is active.
pub(super) fn infringed(
    scope: &Scope<'_>,
    index: usize,
    rule: &Rule,
    active: Status,
) -> Option<Timestamp> {
    let recorded = scope.past(&Place::Prohibition(index)).violated;
    recorded.or_else(|| first_done(scope, rule).filter(|_| active == Status::Satisfied))
}

/// Whether something was done to the target of a rule: what it names, or else the dataset at hand.
pub(super) fn is_of(scope: &Scope<'_>, target: Option<&Asset>, done_to: &str) -> bool {
    let collections = &scope.world.facts.collections;
    done_to == scope.request.target
        && target.is_none_or(|target| target.id == done_to || collections.contains(&target.id))
        || target.is_some_and(|target| target.id == done_to)
}

/// Whether what was done is an action, in the way that its refinements ask for.
pub(super) fn done_as(performed: &Performed, action: &Action) -> bool {
    vocabulary::is_included_in(&performed.action, &action.name)
        && action.refinements.iter().all(|refinement| is_met_by(performed, refinement))
}

/// Whether what was confirmed of an act meets a refinement. Groups of conditions cannot be confirmed.
fn is_met_by(performed: &Performed, refinement: &Constraint) -> bool {
    let Constraint::Atomic(atomic) = refinement else { return false };
    let Some(found) = performed.facts.get(atomic.left.term()) else { return false };
    match (&atomic.right, atomic.operator) {
        (RightOperand::Terms(terms), Operator::Neq | Operator::IsNoneOf) => !terms.contains(found),
        (RightOperand::Terms(terms), Operator::IsAllOf) => terms.iter().all(|term| term == found),
        (RightOperand::Terms(terms), operator) if !operator.is_ordering() => terms.contains(found),
        (RightOperand::Decimal(bound), operator) => {
            found.parse::<Decimal>().is_ok_and(|number| holds(operator, number.cmp(bound)))
        }
        (RightOperand::Number(bound), operator) => {
            found.parse::<u64>().is_ok_and(|number| holds(operator, number.cmp(bound)))
        }
        (RightOperand::Instant(bound), operator) => {
            found.parse::<Timestamp>().is_ok_and(|at| holds(operator, at.cmp(bound)))
        }
        _ => false,
    }
}

/// Whether a rule speaks of this dataset and may speak of this subject, whatever the action.
fn is_addressed(scope: &mut Scope<'_>, kind: RuleKind, rule: &Rule) -> bool {
    rule.target.as_ref().is_none_or(|target| scope.asset(kind, target) != Status::Unsatisfied)
        && rule
            .assignee
            .as_ref()
            .is_none_or(|party| scope.party(kind, party) != Status::Unsatisfied)
}

/// Whether an action of a rule covers the requested one, its refinements included.
fn covers(scope: &mut Scope<'_>, kind: RuleKind, action: &Action) -> Status {
    if !vocabulary::is_action(&action.name) {
        return Status::NotUnderstood;
    }
    let requested = scope.request.action;
    let named = vocabulary::is_included_in(requested, &action.name)
        || kind == RuleKind::Prohibition && vocabulary::implies(requested, &action.name);
    if !named {
        return Status::Unsatisfied;
    }
    let refinements = scope.all(kind, &action.refinements);
    conjunction(refinements.iter().map(|report| report.status))
}

/// Whether a permission grants the request in this phase.
pub(super) fn grants(report: &RuleReport, phase: Phase) -> bool {
    let holds = |status| match status {
        // What is left to the other node, that node refuses where it does not hold.
        Status::Satisfied | Status::Elsewhere => true,
        Status::AppliesLater => phase < Phase::Transfer,
        _ => false,
    };
    holds(report.concerns) && holds(report.active)
}

/// Whether a prohibition stands against the request: it holds, or it is not known not to.
pub(super) fn prohibits(report: &RuleReport) -> bool {
    let stands =
        |status| matches!(status, Status::Satisfied | Status::Undecidable | Status::NotUnderstood);
    stands(report.concerns) && stands(report.active)
}

/// Whether a rule might concern the request, but it is not understood in what way.
pub(super) fn is_unclear(report: &RuleReport) -> bool {
    prohibits(report)
        && (report.concerns == Status::NotUnderstood || report.active == Status::NotUnderstood)
}

/// The first permission and prohibition that are both active for this subject and dataset and whose
/// actions overlap. Either counts unless it is known not to be active: a missing fact must not keep a policy from being void that
/// would be with it, and so permit what another permission names. What the other side's node judges counts here as a permission,
/// and there as a prohibition.
pub(super) fn contradiction(
    scope: &mut Scope<'_>,
    policy: &Policy,
    permissions: &[RuleReport],
    prohibitions: &[RuleReport],
) -> Option<Ground> {
    let active =
        |report: &RuleReport| !matches!(report.active, Status::Unsatisfied | Status::AppliesLater);
    let standing = |report: &RuleReport| {
        !matches!(report.active, Status::Unsatisfied | Status::AppliesLater | Status::Elsewhere)
    };
    let left = |report: &RuleReport| {
        conjunction([report.target, report.party].into_iter()) == Status::Elsewhere
    };
    let mut forbidding: Vec<(usize, &Rule)> = (prohibitions.iter().zip(&policy.prohibitions))
        .filter(|(report, rule)| {
            standing(report) && (!left(report) || hand_over::mentions_application(rule))
        })
        .map(|(report, rule)| (report.index, rule))
        .collect();
    forbidding.retain(|(_, rule)| is_addressed(scope, RuleKind::Prohibition, rule));
    if forbidding.is_empty() {
        return None;
    }
    // Each action once, by the first prohibition that forbids it: of the vocabulary there are few, however many rules there are.
    let mut forbidden: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, rule) in forbidding {
        let is_ours = hand_over::mentions_application(rule);
        for action in applying(scope, RuleKind::Prohibition, is_ours, rule) {
            forbidden.entry(action).or_insert(index);
        }
    }
    for (report, granted) in permissions.iter().zip(&policy.permissions) {
        if !active(report) || !is_addressed(scope, RuleKind::Permission, granted) {
            continue;
        }
        let permitted = applying(scope, RuleKind::Permission, true, granted);
        let meets = |prohibited: &str| {
            permitted.iter().any(|permitted| vocabulary::overlap(permitted, prohibited))
        };
        let met = forbidden.iter().filter(|(prohibited, _)| meets(prohibited));
        if let Some(prohibition) = met.map(|(_, prohibition)| *prohibition).min() {
            return Some(Ground::Conflict { permission: report.index, prohibition });
        }
    }
    None
}

/// The actions of a rule whose refinements may hold; `with_elsewhere` counts those that the other side's node judges. What is not
/// of the vocabulary overlaps with nothing but itself.
fn applying<'r>(
    scope: &mut Scope<'_>,
    kind: RuleKind,
    with_elsewhere: bool,
    rule: &'r Rule,
) -> Vec<&'r str> {
    let mut applies = |action: &&Action| {
        let refinements = scope.all(kind, &action.refinements);
        let status = conjunction(refinements.iter().map(|report| report.status));
        match status {
            Status::Unsatisfied | Status::AppliesLater => false,
            Status::Elsewhere => with_elsewhere,
            _ => true,
        }
    };
    rule.actions
        .iter()
        .filter(|action| applies(action))
        .map(|action| action.name.as_str())
        .collect()
}

/// The first obligation that is not understood, among those that bind the subject.
pub(super) fn unclear_obligation(policy: &Policy, obligations: &[DutyReport]) -> Option<Ground> {
    let report = obligations.iter().find(|report| report.state == DutyState::NotUnderstood)?;
    let named = policy.obligations.iter().find_map(unclear_duty);
    Some(named.unwrap_or_else(|| Ground::NotUnderstood {
        clause: report.clause.clone(),
        reason: "is a duty this connector does not know".to_owned(),
    }))
}

pub(super) fn prohibition_ground(policy: &Policy, report: &RuleReport) -> Ground {
    let rule = policy.prohibitions.get(report.index);
    if let Some(ground) = rule.filter(|_| is_unclear(report)).and_then(unclear) {
        return ground;
    }
    Ground::Prohibited {
        prohibition: report.index,
        clause: rule.map(expression::write_rule).unwrap_or_default(),
    }
}

/// The clearest reason why no permission grants: one that covers the request and names the
/// condition that fails.
pub(super) fn missing_permission(
    policy: &Policy,
    request: &Request<'_>,
    permissions: &[RuleReport],
) -> Ground {
    let reports = permissions.iter().zip(&policy.permissions);
    let covering = reports.clone().filter(|(report, _)| report.concerns == Status::Satisfied);
    for (report, rule) in covering.chain(reports) {
        if report.concerns == Status::Unsatisfied {
            continue;
        }
        if let Some(ground) = unclear(rule) {
            return ground;
        }
        if let Some(failed) = report.constraints.iter().find(|c| fails(c.status)) {
            return Ground::Condition { permission: report.index, report: failed.clone() };
        }
        let undone =
            |duty: &&DutyReport| matches!(duty.state, DutyState::Pending | DutyState::Violated);
        if let Some(duty) = report.duties.iter().find(undone) {
            return Ground::Duty { permission: report.index, report: duty.clone() };
        }
    }
    Ground::NoPermission { action: request.action.to_owned() }
}

fn fails(status: Status) -> bool {
    matches!(status, Status::Unsatisfied | Status::Undecidable)
}

/// The part of a rule that is not understood.
fn unclear(rule: &Rule) -> Option<Ground> {
    let refinements = rule.actions.iter().map(|action| &action.refinements);
    let party = rule.assignee.iter().map(|party| &party.refinements);
    let constraints = refinements.chain(party).chain([&rule.constraints]).flatten();
    let part = rule.not_understood.first().or_else(|| part_of(constraints));
    if let Some(part) = part {
        return Some(part_ground(part));
    }
    let action = rule.actions.iter().find(|action| !vocabulary::is_action(&action.name));
    action.map(action_ground).or_else(|| rule.duties.iter().find_map(unclear_duty))
}

pub(super) fn unclear_duty(duty: &Duty) -> Option<Ground> {
    let refinements = duty.actions.iter().flat_map(|action| &action.refinements);
    let part = duty.not_understood.first().or_else(|| part_of(duty.constraints.iter()));
    if let Some(part) = part.or_else(|| part_of(refinements)) {
        return Some(part_ground(part));
    }
    if let Some(action) = duty.actions.iter().find(|action| !is_known_duty(action)) {
        return Some(action_ground(action));
    }
    duty.consequences.iter().find_map(unclear_duty)
}

/// The first part that is not understood in conditions and their operands.
fn part_of<'a>(constraints: impl Iterator<Item = &'a Constraint>) -> Option<&'a NotUnderstood> {
    let mut pending: Vec<&Constraint> = constraints.collect();
    pending.reverse();
    while let Some(constraint) = pending.pop() {
        match constraint {
            Constraint::NotUnderstood(part) => return Some(part),
            Constraint::Logical(logical) => pending.extend(logical.operands.iter().rev()),
            Constraint::Atomic(_) => {}
        }
    }
    None
}

pub(super) fn part_ground(part: &NotUnderstood) -> Ground {
    Ground::NotUnderstood { clause: part.shown(), reason: part.reason.clone() }
}

fn action_ground(action: &Action) -> Ground {
    Ground::NotUnderstood {
        clause: format!("action: {}", action.name),
        reason: "is not an action of the ODRL vocabulary".to_owned(),
    }
}

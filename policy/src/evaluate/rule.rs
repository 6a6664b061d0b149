//! Judges rules and duties, and finds the clause that decides.

use super::constraint::{Scope, after, conjunction};
use super::{
    ConstraintReport, DutyReport, DutyState, Ground, Phase, Request, RuleKind, RuleReport, Status,
};
use crate::file::expression;
use crate::odrl::{Action, Constraint, Duty, LeftOperand, Operator, Policy, RightOperand, Rule};
use crate::vocabulary;
use jiff::Timestamp;

pub(super) fn judge(
    scope: &mut Scope<'_>,
    kind: RuleKind,
    index: usize,
    rule: &Rule,
) -> RuleReport {
    let constraints = scope.all(&rule.constraints);
    let duties: Vec<_> = match kind {
        RuleKind::Permission => {
            rule.duties.iter().map(|duty| judge_duty(scope, duty, true)).collect()
        }
        RuleKind::Prohibition => Vec::new(),
    };
    let duty_statuses = duties.iter().map(|duty| match duty.state {
        DutyState::Inactive | DutyState::Fulfilled => Status::Satisfied,
        DutyState::NotUnderstood => Status::NotUnderstood,
        DutyState::Pending if !scope.is_transfer() => Status::AppliesLater,
        DutyState::Pending | DutyState::Violated => Status::Unsatisfied,
    });
    let own =
        if rule.not_understood.is_empty() { Status::Satisfied } else { Status::NotUnderstood };
    let statuses = constraints.iter().map(|report| report.status).chain(duty_statuses).chain([own]);
    let active = conjunction(statuses);
    let concerns = concerns(scope, kind, rule);
    RuleReport {
        kind,
        index,
        action: action_names(&rule.actions).join(", "),
        concerns,
        active,
        constraints,
        duties,
    }
}

/// Whether a rule is about the requested action, dataset and subject.
fn concerns(scope: &mut Scope<'_>, kind: RuleKind, rule: &Rule) -> Status {
    let target = rule.target.as_ref().is_none_or(|target| target == scope.request.target);
    let party = rule.assignee.as_ref().map_or(Status::Satisfied, |party| scope.party(party));
    if !target {
        return Status::Unsatisfied;
    }
    let actions: Vec<Status> =
        rule.actions.iter().map(|action| covers(scope, kind, action)).collect();
    let action =
        [Status::Satisfied, Status::NotUnderstood, Status::Undecidable, Status::AppliesLater]
            .into_iter()
            .find(|status| actions.contains(status))
            .unwrap_or(Status::Unsatisfied);
    conjunction([party, action].into_iter())
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
    let refinements = scope.all(&action.refinements);
    conjunction(refinements.iter().map(|report| report.status))
}

/// The report on an obligation of the policy; none when it binds somebody else.
pub(super) fn obligation(scope: &mut Scope<'_>, duty: &Duty) -> Option<DutyReport> {
    if let Some(assignee) = &duty.assignee
        && scope.party(assignee) == Status::Unsatisfied
    {
        return None;
    }
    Some(judge_duty(scope, duty, false))
}

fn judge_duty(scope: &mut Scope<'_>, duty: &Duty, is_condition: bool) -> DutyReport {
    let deadline = deadline(scope, duty);
    let conditions: Vec<ConstraintReport> = duty
        .constraints
        .iter()
        .filter(|c| !is_deadline(c))
        .flat_map(|c| scope.all(std::slice::from_ref(c)))
        .collect();
    let understood = duty.not_understood.is_empty()
        && duty.consequences.iter().all(|consequence| consequence.not_understood.is_empty())
        && duty
            .actions
            .iter()
            .all(|action| vocabulary::is_action(&action.name) && action.refinements.is_empty());
    let target = duty.target.as_deref().unwrap_or(scope.request.target);
    let done = duty.actions.iter().all(|action| {
        scope.world.performed.iter().any(|performed| {
            performed.action == action.name
                && performed.target == target
                && performed.at <= scope.world.now
                && deadline.is_none_or(|deadline| performed.at <= deadline)
        })
    });
    let state = match conjunction(conditions.iter().map(|report| report.status)) {
        _ if !understood => DutyState::NotUnderstood,
        Status::NotUnderstood => DutyState::NotUnderstood,
        Status::Unsatisfied => DutyState::Inactive,
        _ if done => DutyState::Fulfilled,
        _ if deadline.is_some_and(|deadline| deadline < scope.world.now) => DutyState::Violated,
        _ => DutyState::Pending,
    };
    DutyReport {
        clause: expression::write_duty(duty),
        actions: action_names(&duty.actions),
        state,
        deadline,
        is_condition,
    }
}

/// Whether a constraint of a duty says until when, rather than whether, it must be done.
fn is_deadline(constraint: &Constraint) -> bool {
    match constraint {
        Constraint::Atomic(atomic) => match atomic.left {
            LeftOperand::DateTime => matches!(atomic.operator, Operator::Lt | Operator::Lteq),
            LeftOperand::ElapsedTime => {
                matches!(atomic.operator, Operator::Lt | Operator::Lteq | Operator::Eq)
            }
            _ => false,
        },
        _ => false,
    }
}

/// The earliest instant by which a duty must be done; unknown while there is no agreement to count from.
fn deadline(scope: &Scope<'_>, duty: &Duty) -> Option<Timestamp> {
    let ends = duty.constraints.iter().filter(|constraint| is_deadline(constraint));
    ends.filter_map(|constraint| {
        let Constraint::Atomic(atomic) = constraint else { return None };
        match &atomic.right {
            RightOperand::Instant(end) => Some(*end),
            RightOperand::Duration(span) => after(scope.world.agreed_at?, span.0),
            _ => None,
        }
    })
    .min()
}

/// Whether a permission grants the request in this phase.
pub(super) fn grants(report: &RuleReport, phase: Phase) -> bool {
    let holds = |status| match status {
        Status::Satisfied => true,
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

/// The first permission and prohibition that are both active for this subject and dataset and whose actions overlap.
pub(super) fn contradiction(
    policy: &Policy,
    permissions: &[RuleReport],
    prohibitions: &[RuleReport],
) -> Option<Ground> {
    for (permission, granted) in permissions.iter().zip(&policy.permissions) {
        if permission.active != Status::Satisfied {
            continue;
        }
        for (prohibition, forbidden) in prohibitions.iter().zip(&policy.prohibitions) {
            let active = matches!(prohibition.active, Status::Satisfied | Status::Undecidable);
            if active && same_scope(granted, forbidden) && actions_overlap(granted, forbidden) {
                return Some(Ground::Conflict {
                    permission: permission.index,
                    prohibition: prohibition.index,
                });
            }
        }
    }
    None
}

/// Whether two rules may speak of the same dataset and party: a rule that names none speaks of all.
fn same_scope(granted: &Rule, forbidden: &Rule) -> bool {
    let targets = [&granted.target, &forbidden.target];
    let assignees = [&granted.assignee, &forbidden.assignee];
    let target = matches!(targets, [Some(one), Some(other)] if one != other);
    // A group may contain a participant, so only two equal kinds of name could tell parties apart; that is left to `concerns`.
    let refined =
        assignees.iter().any(|party| party.as_ref().is_some_and(|p| !p.refinements.is_empty()));
    !target && !refined
}

fn actions_overlap(granted: &Rule, forbidden: &Rule) -> bool {
    granted.actions.iter().any(|permitted| {
        forbidden.actions.iter().any(|prohibited| {
            vocabulary::overlap(&permitted.name, &prohibited.name)
                && permitted.refinements.is_empty()
                && prohibited.refinements.is_empty()
        })
    })
}

pub(super) fn unclear_obligation(policy: &Policy, obligations: &[DutyReport]) -> Option<Ground> {
    let report = obligations.iter().find(|report| report.state == DutyState::NotUnderstood)?;
    let part = policy.obligations.iter().find_map(|duty| duty.not_understood.first());
    Some(Ground::NotUnderstood {
        clause: report.clause.clone(),
        reason: part.map_or_else(
            || "is a duty this connector does not know".to_owned(),
            |part| format!("has the member `{}`, which {}", part.member, part.reason),
        ),
    })
}

pub(super) fn prohibition_ground(policy: &Policy, report: &RuleReport) -> Ground {
    let rule = policy.prohibitions.get(report.index);
    if let Some(ground) = rule.filter(|_| is_unclear(report)).and_then(|rule| unclear(rule, report))
    {
        return ground;
    }
    Ground::Prohibited {
        prohibition: report.index,
        clause: rule.map(expression::write_rule).unwrap_or_default(),
    }
}

/// The clearest reason why no permission grants: one that covers the request and names the condition that fails.
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
        if let Some(ground) = unclear(rule, report) {
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
fn unclear(rule: &Rule, report: &RuleReport) -> Option<Ground> {
    if let Some(part) = rule.not_understood.first() {
        return Some(Ground::NotUnderstood {
            clause: format!("{}: {}", part.member, part.source),
            reason: part.reason.clone(),
        });
    }
    if let Some(action) = rule.actions.iter().find(|action| !vocabulary::is_action(&action.name)) {
        return Some(Ground::NotUnderstood {
            clause: format!("action: {}", action.name),
            reason: "is not an action of the ODRL vocabulary".to_owned(),
        });
    }
    let failed = report.constraints.iter().find(|c| c.status == Status::NotUnderstood)?;
    let reason = failed.found.strip_prefix("the condition ").unwrap_or(&failed.found);
    Some(Ground::NotUnderstood { clause: failed.clause.clone(), reason: reason.to_owned() })
}

fn action_names(actions: &[Action]) -> Vec<String> {
    actions.iter().map(|action| action.name.clone()).collect()
}

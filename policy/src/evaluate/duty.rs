//! Judges duties: whether they are owed, since when and until when, and what follows when one was not done in time.

use super::constraint::{Scope, after, conjunction};
use super::rule::{done_as, infringed, is_of, unclear_duty};
use super::{DutyReport, DutyState, RuleKind, Status, TrackedDuty};
use crate::file::expression;
use crate::odrl::{
    Action, Asset, Constraint, Duty, LeftOperand, Operator, Policy, RightOperand, Rule,
};
use crate::vocabulary;
use jiff::Timestamp;
use std::fmt;

/// Where a duty or a prohibition stands in its policy, counted from 0. As text, counted from 1, it is its name: the same
/// wherever the policy is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'p> {
    /// A duty of the policy as a whole.
    Obligation(usize),
    /// A duty of a permission: the permission, and the duty in it.
    Condition(usize, usize),
    /// A prohibition.
    Prohibition(usize),
    /// A remedy of a prohibition: the prohibition, and the remedy in it.
    Remedy(usize, usize),
    /// What follows when a duty was not done in time: the duty, and the consequence in it.
    Consequence(&'p Place<'p>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obligation(index) => write!(f, "obligation-{}", index + 1),
            Self::Condition(permission, index) => {
                write!(f, "permission-{}-duty-{}", permission + 1, index + 1)
            }
            Self::Prohibition(index) => write!(f, "prohibition-{}", index + 1),
            Self::Remedy(prohibition, index) => {
                write!(f, "prohibition-{}-remedy-{}", prohibition + 1, index + 1)
            }
            // Consequences are bounded by the depth of a policy.
            Self::Consequence(of, index) => write!(f, "{of}-consequence-{}", index + 1),
        }
    }
}

/// The report on an obligation of the policy; none when it binds somebody else.
pub(super) fn obligation(scope: &mut Scope<'_>, index: usize, duty: &Duty) -> Option<DutyReport> {
    if let Some(assignee) = &duty.assignee
        && scope.party(RuleKind::Permission, assignee) == Status::Unsatisfied
    {
        return None;
    }
    Some(judge(scope, &Place::Obligation(index), duty, false, None))
}

/// An obligation past its deadline is violated; so is a condition of a permission, which the formal
/// semantics would call inactive: a permission must not come to hold by waiting. What was done too late counts once all
/// consequences are fulfilled as well (IM 2.6.5), and what was violated stays so when its conditions cease to hold.
///
/// `owed` is since when a consequence or a remedy is owed: what was done before does not count for it, and its periods run from
/// then; those of other duties run from the agreement. Consequences are bounded by the depth of a policy.
pub(super) fn judge(
    scope: &mut Scope<'_>,
    place: &Place<'_>,
    duty: &Duty,
    is_condition: bool,
    owed: Option<Timestamp>,
) -> DutyReport {
    let past = scope.past(place);
    let follows = owed.map(|owed| past.owed.unwrap_or(owed));
    let since = follows.or(past.owed).or(scope.world.agreed_at);
    let before = scope.count_from(follows.or(scope.world.agreed_at));
    let deadlines: Vec<Deadline> =
        duty.constraints.iter().filter_map(|constraint| deadline(scope, constraint)).collect();
    let mut conditions = Vec::new();
    for constraint in duty.constraints.iter().filter(|constraint| !is_deadline(constraint)) {
        conditions.extend(scope.all(RuleKind::Permission, std::slice::from_ref(constraint)));
    }
    scope.count_from(before);
    let done = |scope: &Scope<'_>, in_time: bool| {
        past.is_done_by_exchange
            || duty.actions.iter().all(|action| {
                scope.world.performed.iter().any(|performed| {
                    done_as(performed, action)
                        && is_of(scope, duty.target.as_ref(), &performed.target)
                        && performed.at <= scope.world.now
                        && follows.is_none_or(|owed| owed <= performed.at)
                        && (!in_time || deadlines.iter().all(|end| end.is_met_at(performed.at)))
                })
            })
    };
    let over = deadlines.iter().filter_map(Deadline::over).min();
    let missed = over.filter(|over| *over <= scope.world.now);
    let missed = missed.map(|over| since.map_or(over, |since| over.max(since)));
    let violated = past.violated.or(missed);
    let applies = conjunction(conditions.iter().map(|report| report.status));
    let mut consequences = Vec::new();
    let state = match applies {
        _ if unclear_duty(duty).is_some() => DutyState::NotUnderstood,
        Status::NotUnderstood => DutyState::NotUnderstood,
        Status::Unsatisfied if past.violated.is_none() => DutyState::Inactive,
        _ if done(scope, true) => DutyState::Fulfilled,
        _ if violated.is_some() => {
            consequences = (duty.consequences.iter().enumerate())
                .map(|(index, consequence)| {
                    let place = Place::Consequence(place, index);
                    judge(scope, &place, consequence, is_condition, violated)
                })
                .collect();
            let asks_no_more = |report: &DutyReport| {
                matches!(report.state, DutyState::Fulfilled | DutyState::Inactive)
            };
            let made_up = !consequences.is_empty() && consequences.iter().all(asks_no_more);
            if made_up && done(scope, false) { DutyState::Fulfilled } else { DutyState::Violated }
        }
        _ => DutyState::Pending,
    };
    // The state of an obligation changes no answer; its deadline is in the report.
    if is_condition || scope.tracks() && state == DutyState::Pending {
        for end in &deadlines {
            scope.note(end.over());
        }
    }
    let is_late =
        matches!(state, DutyState::Violated) || state == DutyState::Fulfilled && !done(scope, true);
    DutyReport {
        clause: scope.text(|| expression::write_duty(duty)),
        actions: action_names(&duty.actions),
        state,
        applies,
        conditions,
        since: since.filter(|_| state != DutyState::Inactive),
        deadline: deadlines.iter().map(|deadline| deadline.end).min(),
        violated: violated.filter(|_| is_late),
        is_condition,
        consequences,
    }
}

/// What is reported of a consequence or remedy while nothing happened for which it would be owed.
fn not_owed(scope: &Scope<'_>, duty: &Duty, is_condition: bool) -> DutyReport {
    let state = match unclear_duty(duty) {
        Some(_) => DutyState::NotUnderstood,
        None => DutyState::Inactive,
    };
    DutyReport {
        clause: scope.text(|| expression::write_duty(duty)),
        actions: action_names(&duty.actions),
        state,
        applies: Status::Unsatisfied,
        conditions: Vec::new(),
        since: None,
        deadline: None,
        violated: None,
        is_condition,
        consequences: Vec::new(),
    }
}

/// Every duty of a policy: its obligations, the duties of its permissions, the remedies of its prohibitions, and after each
/// its consequences.
pub(super) fn track(scope: &mut Scope<'_>, policy: &Policy) -> Vec<TrackedDuty> {
    let mut found = Vec::new();
    for (index, duty) in policy.obligations.iter().enumerate() {
        one(scope, &Place::Obligation(index), duty, false, true, None, &mut found);
    }
    for (index, permission) in policy.permissions.iter().enumerate() {
        for (number, duty) in permission.duties.iter().enumerate() {
            let place = Place::Condition(index, number);
            one(scope, &place, duty, true, true, None, &mut found);
        }
    }
    for (index, prohibition) in policy.prohibitions.iter().enumerate() {
        let infringed = recorded_or_done(scope, index, prohibition);
        for (number, duty) in prohibition.duties.iter().enumerate() {
            let place = Place::Remedy(index, number);
            one(scope, &place, duty, false, infringed.is_some(), infringed, &mut found);
        }
    }
    found
}

fn recorded_or_done(scope: &mut Scope<'_>, index: usize, rule: &Rule) -> Option<Timestamp> {
    let active = scope.all(RuleKind::Prohibition, &rule.constraints);
    let active = conjunction(active.iter().map(|report| report.status));
    infringed(scope, index, rule, active)
}

/// Reports a duty, then its consequences, whether or not they are owed.
fn one(
    scope: &mut Scope<'_>,
    place: &Place<'_>,
    duty: &Duty,
    is_condition: bool,
    is_owed: bool,
    owed: Option<Timestamp>,
    found: &mut Vec<TrackedDuty>,
) {
    let report = match is_owed {
        true => judge(scope, place, duty, is_condition, owed),
        false => not_owed(scope, duty, is_condition),
    };
    let violated = report.violated;
    found.push(TrackedDuty {
        name: place.to_string(),
        bearer: duty.assignee.as_ref().map(|party| party.id.clone()),
        creditor: duty.assigner.as_ref().map(|party| party.id.clone()),
        target: duty.target.as_ref().map(|target| target.id.clone()),
        is_plain: is_plain(scope, duty)
            && !matches!(place, Place::Remedy(..) | Place::Consequence(..)),
        is_conditional: duty.constraints.iter().any(|constraint| !is_deadline(constraint)),
        has_consequences: !duty.consequences.is_empty(),
        report,
    });
    for (index, consequence) in duty.consequences.iter().enumerate() {
        let place = Place::Consequence(place, index);
        one(scope, &place, consequence, is_condition, violated.is_some(), violated, found);
    }
}

/// Whether a duty asks for its action and nothing besides: not how, to whom, until when or under which condition.
fn is_plain(scope: &Scope<'_>, duty: &Duty) -> bool {
    let is_ours =
        |target: &Asset| target.id == scope.request.target && target.refinements.is_empty();
    duty.constraints.is_empty()
        && duty.target.as_ref().is_none_or(is_ours)
        && duty.actions.iter().all(|action| action.refinements.is_empty())
}

pub(super) fn is_known_duty(action: &Action) -> bool {
    vocabulary::is_action(&action.name)
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

/// Until when a duty must be done.
struct Deadline {
    end: Timestamp,
    /// Whether doing it at the very end is in time.
    inclusive: bool,
}

impl Deadline {
    /// The first instant after it.
    fn over(&self) -> Option<Timestamp> {
        if self.inclusive {
            self.end.checked_add(jiff::Span::new().nanoseconds(1)).ok()
        } else {
            Some(self.end)
        }
    }

    fn is_met_at(&self, at: Timestamp) -> bool {
        at < self.end || self.inclusive && at == self.end
    }
}

/// The deadline that a constraint of a duty sets; not known while there is nothing to count from.
fn deadline(scope: &Scope<'_>, constraint: &Constraint) -> Option<Deadline> {
    let Constraint::Atomic(atomic) = constraint else { return None };
    if !is_deadline(constraint) {
        return None;
    }
    let end = match &atomic.right {
        RightOperand::Instant(end) => *end,
        RightOperand::Duration(span) => after(scope.counted_from()?, span.0)?,
        _ => return None,
    };
    Some(Deadline { end, inclusive: atomic.operator != Operator::Lt })
}

pub(super) fn action_names(actions: &[Action]) -> Vec<String> {
    actions.iter().map(|action| action.name.clone()).collect()
}

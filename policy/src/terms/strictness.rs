//! Whether terms are no weaker than others: what `nextPolicy` asks of whoever passes data on (IDS class 17).
//!
//! The check is sound and not complete: it accepts only what it can show, and refuses the rest. It shows that every
//! request which the child permits the parent permits as well, that everything the parent prohibits the child prohibits
//! as far as it permits it, and that the child asks every duty that the parent asks.

use super::compare;
use crate::file::expression;
use crate::odrl::{
    Action, Atomic, Conflict, Connective, Constraint, Duty, Operator, Policy, RightOperand, Rule,
};
use crate::set::Purposes;
use crate::vocabulary::{self, LeftOperand};
use std::cmp::Ordering;

#[cfg(test)]
mod tests;

/// Why a policy is not shown to be as strict as another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Weaker {
    /// A part of one of the two is not understood.
    #[error("a part of the {which} policy is not understood: `{clause}`")]
    NotUnderstood {
        /// `parent` or `child`.
        which: &'static str,
        /// The part.
        clause: String,
    },
    /// The child permits what the parent is not shown to permit.
    #[error(
        "it permits `{clause}`, and no permission of the received terms is shown to cover that"
    )]
    Permits {
        /// The permission.
        clause: String,
    },
    /// The parent prohibits what the child is not shown to prohibit.
    #[error("the received terms prohibit `{clause}`, and it is not shown to prohibit that")]
    Allows {
        /// The prohibition.
        clause: String,
    },
    /// The parent asks a duty that the child does not ask.
    #[error("the received terms require `{clause}`, and it does not")]
    Releases {
        /// The duty.
        clause: String,
    },
    /// The two settle conflicts in different ways.
    #[error("it lets permissions win over prohibitions")]
    Conflict,
}

/// Shows that a policy permits nothing that another does not permit.
///
/// # Errors
/// [`Weaker`] with the first clause for which that cannot be shown.
pub fn no_weaker(child: &Policy, parent: &Policy, purposes: &Purposes) -> Result<(), Weaker> {
    for (which, policy) in [("parent", parent), ("child", child)] {
        if let Some(clause) = unclear(policy) {
            return Err(Weaker::NotUnderstood { which, clause });
        }
    }
    let binding = !parent.prohibitions.is_empty() && parent.conflict != Conflict::Perm;
    if binding && child.conflict == Conflict::Perm {
        return Err(Weaker::Conflict);
    }
    for rule in &child.permissions {
        for action in &rule.actions {
            let covered =
                parent.permissions.iter().any(|wide| covers(wide, rule, action, purposes));
            if !covered {
                return Err(Weaker::Permits { clause: expression::write_rule(rule) });
            }
        }
    }
    for prohibition in parent.prohibitions.iter().filter(|_| binding) {
        let kept = child.prohibitions.iter().any(|own| forbids_as_much(own, prohibition, purposes));
        if !kept && child.permissions.iter().any(|rule| touches(rule, prohibition)) {
            return Err(Weaker::Allows { clause: expression::write_rule(prohibition) });
        }
    }
    for duty in &parent.obligations {
        if !child.obligations.iter().any(|own| asks_as_much(own, duty, purposes)) {
            return Err(Weaker::Releases { clause: expression::write_duty(duty) });
        }
    }
    Ok(())
}

/// The first refused clause of a policy.
fn unclear(policy: &Policy) -> Option<String> {
    let clauses = crate::classify::classify(policy);
    let refused =
        clauses.into_iter().find(|clause| clause.class == crate::classify::Class::Refused);
    refused.map(|clause| clause.clause)
}

/// Whether a permission of the parent grants all that a permission of the child grants for an action.
fn covers(wide: &Rule, narrow: &Rule, action: &Action, purposes: &Purposes) -> bool {
    let action_covered = wide.actions.iter().any(|permitted| {
        vocabulary::is_included_in(&action.name, &permitted.name)
            && implied_all(&permitted.refinements, &action.refinements, purposes)
    });
    let target = wide.target.is_none() || compare::same_asset(&wide.target, &narrow.target);
    let party = wide.assignee.is_none() || compare::same_party(&wide.assignee, &narrow.assignee);
    let duties = wide.duties.iter();
    action_covered
        && target
        && party
        && implied_all(&wide.constraints, &narrow.constraints, purposes)
        && duties
            .into_iter()
            .all(|duty| narrow.duties.iter().any(|own| asks_as_much(own, duty, purposes)))
}

/// Whether a prohibition forbids at least what another does.
fn forbids_as_much(own: &Rule, other: &Rule, purposes: &Purposes) -> bool {
    let actions = other.actions.iter().all(|forbidden| {
        own.actions.iter().any(|action| {
            vocabulary::is_included_in(&forbidden.name, &action.name)
                && implied_all(&action.refinements, &forbidden.refinements, purposes)
        })
    });
    let target = own.target.is_none() || compare::same_asset(&own.target, &other.target);
    let party = own.assignee.is_none() || compare::same_party(&own.assignee, &other.assignee);
    actions && target && party && implied_all(&own.constraints, &other.constraints, purposes)
}

/// Whether a permission permits something of what a prohibition forbids.
fn touches(permission: &Rule, prohibition: &Rule) -> bool {
    permission.actions.iter().any(|permitted| {
        let mut forbidden = prohibition.actions.iter();
        forbidden.any(|forbidden| vocabulary::overlap(&permitted.name, &forbidden.name))
    })
}

/// Whether a duty asks at least what another asks: the same acts, no later, and under no further condition.
fn asks_as_much(own: &Duty, other: &Duty, purposes: &Purposes) -> bool {
    let acts = other.actions.iter().all(|asked| {
        own.actions.iter().any(|action| {
            action.name == asked.name
                && implied_all(&asked.refinements, &action.refinements, purposes)
        })
    });
    let is_deadline = |constraint: &&Constraint| match constraint {
        Constraint::Atomic(atomic) => {
            matches!(atomic.left, LeftOperand::DateTime | LeftOperand::ElapsedTime)
                && matches!(atomic.operator, Operator::Lt | Operator::Lteq)
        }
        _ => false,
    };
    let (own_ends, own_conditions): (Vec<_>, Vec<_>) =
        own.constraints.iter().partition(is_deadline);
    let (ends, conditions): (Vec<_>, Vec<_>) = other.constraints.iter().partition(is_deadline);
    let implied = |wide: &[&Constraint], narrow: &[&Constraint]| {
        wide.iter().all(|wide| narrow.iter().any(|narrow| implies(narrow, wide, purposes)))
    };
    let same_target = compare::same_asset(&own.target, &other.target);
    let consequences = other.consequences.iter().all(|asked| {
        own.consequences.iter().any(|consequence| asks_as_much(consequence, asked, purposes))
    });
    acts && same_target
        && compare::same_party(&own.assigner, &other.assigner)
        && compare::same_party(&own.assignee, &other.assignee)
        && implied(&ends, &own_ends)
        && implied(&own_conditions, &conditions)
        && consequences
}

/// Whether conditions, taken together, imply each of others.
pub(crate) fn implied_all(wide: &[Constraint], narrow: &[Constraint], purposes: &Purposes) -> bool {
    wide.iter().all(|wide| narrow.iter().any(|narrow| implies(narrow, wide, purposes)))
}

/// Whether one condition implies another. Groups nest at most as deep as a policy may.
pub(crate) fn implies(narrow: &Constraint, wide: &Constraint, purposes: &Purposes) -> bool {
    if compare::same_constraint(narrow, wide) {
        return true;
    }
    match (narrow, wide) {
        // Both sides first by what makes the claim weaker to show.
        (Constraint::Logical(group), _) if group.connective == Connective::Or => {
            group.operands.iter().all(|operand| implies(operand, wide, purposes))
        }
        (_, Constraint::Logical(group)) if is_and(group.connective) => {
            group.operands.iter().all(|operand| implies(narrow, operand, purposes))
        }
        (_, Constraint::Logical(group)) if group.connective == Connective::Or => {
            group.operands.iter().any(|operand| implies(narrow, operand, purposes))
        }
        (Constraint::Logical(group), _) if is_and(group.connective) => {
            group.operands.iter().any(|operand| implies(operand, wide, purposes))
        }
        (Constraint::Atomic(narrow), Constraint::Atomic(wide)) => {
            atomic_implies(narrow, wide, purposes)
        }
        _ => false,
    }
}

const fn is_and(connective: Connective) -> bool {
    matches!(connective, Connective::And | Connective::AndSequence)
}

fn atomic_implies(narrow: &Atomic, wide: &Atomic, purposes: &Purposes) -> bool {
    if narrow.left != wide.left || narrow.unit != wide.unit && !is_bytes(narrow.left) {
        return false;
    }
    // `status` counts as made already, so that `count OP n` of `s` is `count OP n - s` of what is counted from now on.
    let order = match (&narrow.right, &wide.right) {
        (RightOperand::Instant(one), RightOperand::Instant(other)) => one.cmp(other),
        (RightOperand::Number(one), RightOperand::Number(other)) => {
            remaining(*one, narrow.status).cmp(&remaining(*other, wide.status))
        }
        (RightOperand::Decimal(one), RightOperand::Decimal(other)) => one.cmp(other),
        (RightOperand::Duration(one), RightOperand::Duration(other)) => {
            match fixed_order(one.0, other.0) {
                Some(order) => order,
                None => return false,
            }
        }
        (RightOperand::Terms(one), RightOperand::Terms(other)) => {
            return names_imply(narrow, one, wide, other, purposes);
        }
        _ => return false,
    };
    order_implies(narrow.meant(), wide.meant(), order)
}

/// A bound less what was made of it already; below zero where more was made.
fn remaining(bound: u64, made: u64) -> i128 {
    i128::from(bound) - i128::from(made)
}

/// Whether a comparison with one bound implies one with another, by how the bounds stand to each other.
fn order_implies(narrow: Operator, wide: Operator, order: Ordering) -> bool {
    use Operator::{Eq, Gt, Gteq, Lt, Lteq, Neq};
    match (narrow, wide) {
        (Lt | Lteq, Lteq) | (Lt, Lt) | (Eq, Lteq) => order.is_le(),
        (Lteq | Eq, Lt) => order.is_lt(),
        (Gt | Gteq, Gteq) | (Gt, Gt) | (Eq, Gteq) => order.is_ge(),
        (Gteq | Eq, Gt) => order.is_gt(),
        (Eq, Eq) | (Neq, Neq) => order.is_eq(),
        (Eq, Neq) => order.is_ne(),
        (Lt, Neq) => order.is_le(),
        (Lteq, Neq) => order.is_lt(),
        (Gt, Neq) => order.is_ge(),
        (Gteq, Neq) => order.is_gt(),
        _ => false,
    }
}

/// How periods stand to each other wherever they are counted from; unknown where months are compared with days.
fn fixed_order(one: jiff::Span, other: jiff::Span) -> Option<Ordering> {
    let months = |span: jiff::Span| i64::from(span.get_years()) * 12 + i64::from(span.get_months());
    let rest = |span: jiff::Span| {
        let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
        let clock = span.years(0).months(0).weeks(0).days(0);
        clock.total(jiff::Unit::Second).ok().map(|seconds| (days, seconds))
    };
    let (months, (one_days, one_seconds), (other_days, other_seconds)) =
        (months(one).cmp(&months(other)), rest(one)?, rest(other)?);
    #[expect(clippy::cast_precision_loss, reason = "days of a policy are few")]
    let total = |days: i64, seconds: f64| days as f64 * 86_400.0 + seconds;
    let rest = total(one_days, one_seconds).partial_cmp(&total(other_days, other_seconds))?;
    match (months, rest) {
        (months, Ordering::Equal) => Some(months),
        (Ordering::Equal, rest) => Some(rest),
        (months, rest) => (months == rest).then_some(months),
    }
}

fn names_imply(
    narrow: &Atomic,
    one: &[String],
    wide: &Atomic,
    other: &[String],
    purposes: &Purposes,
) -> bool {
    use Operator::{Eq, IsA, IsAllOf, IsAnyOf, IsNoneOf, IsPartOf, Neq};
    let within = |name: &str, wide: &str| match narrow.left {
        left if left.is_purpose() => purposes.is_within(name, wide),
        LeftOperand::Spatial => {
            name == wide || name.strip_prefix(wide).is_some_and(|rest| rest.starts_with('-'))
        }
        _ => name == wide,
    };
    match (narrow.operator, wide.operator) {
        (Eq | IsA | IsPartOf | IsAnyOf, Eq | IsA | IsPartOf | IsAnyOf) => {
            one.iter().all(|name| other.iter().any(|wide| within(name, wide)))
        }
        (IsAllOf, IsAllOf) => other.iter().all(|wide| one.iter().any(|name| within(name, wide))),
        (Neq | IsNoneOf, Neq | IsNoneOf) => {
            // What excludes the wider name excludes what is part of it.
            other.iter().all(|excluded| one.iter().any(|name| within(excluded, name)))
        }
        _ => false,
    }
}

fn is_bytes(left: LeftOperand) -> bool {
    left.value() == vocabulary::ValueType::Bytes
}

//! Whether conditions that must all hold can hold together.

use crate::file::expression;
use crate::odrl::{Atomic, Connective, Constraint, LeftOperand, Operator, RightOperand};
use crate::set::Purposes;
use jiff::civil::date;
use std::cmp::Ordering;

/// Conditions that exclude each other.
pub(super) struct Contradiction {
    /// Index of the later one among the conditions of the rule.
    pub(super) index: usize,
    /// Which, for people.
    pub(super) reason: String,
}

/// The first of several conditions that cannot hold, by itself or beside one before it. Groups other than `all of` are not
/// looked into: what is not told may still contradict.
pub(super) fn contradiction(
    constraints: &[Constraint],
    purposes: &Purposes,
) -> Option<Contradiction> {
    let mut before: Vec<&Atomic> = Vec::new();
    for (index, constraint) in constraints.iter().enumerate() {
        for atomic in conjuncts(constraint) {
            if let Some(reason) = never(atomic) {
                return Some(Contradiction { index, reason });
            }
            let excluded = before.iter().find(|other| exclude(other, atomic, purposes));
            if let Some(other) = excluded {
                let reason =
                    format!("`{}` and `{}` exclude each other", written(other), written(atomic));
                return Some(Contradiction { index, reason });
            }
            before.push(atomic);
        }
    }
    None
}

/// The comparisons that must hold for a constraint to hold.
fn conjuncts(constraint: &Constraint) -> Vec<&Atomic> {
    let (mut found, mut pending) = (Vec::new(), vec![constraint]);
    while let Some(constraint) = pending.pop() {
        match constraint {
            Constraint::Atomic(atomic) => found.push(atomic),
            Constraint::Logical(group)
                if matches!(group.connective, Connective::And | Connective::AndSequence) =>
            {
                pending.extend(&group.operands);
            }
            Constraint::Logical(_) | Constraint::NotUnderstood(_) => {}
        }
    }
    found
}

fn written(atomic: &Atomic) -> String {
    expression::write(&Constraint::Atomic(atomic.clone()))
}

/// Why a comparison alone never holds.
fn never(atomic: &Atomic) -> Option<String> {
    let is_never = match (&atomic.right, atomic.left) {
        // The first use is number one.
        (RightOperand::Terms(terms), _) => terms.is_empty() && atomic.operator == Operator::IsAnyOf,
        (_, LeftOperand::Count) => {
            atomic.status == 0
                && matches!(
                    (atomic.operator, expression::number(atomic)),
                    (Operator::Lt, Some(0 | 1)) | (Operator::Lteq | Operator::Eq, Some(0))
                )
        }
        _ => false,
    };
    is_never.then(|| format!("`{}` holds for no use", written(atomic)))
}

fn exclude(one: &Atomic, other: &Atomic, purposes: &Purposes) -> bool {
    if one.left != other.left {
        return false;
    }
    if let (RightOperand::Terms(some), RightOperand::Terms(others)) = (&one.right, &other.right) {
        return terms_exclude(one, some, other, others, purposes);
    }
    let Some(order) = compare(&one.right, &other.right) else { return false };
    // Counts are whole numbers, but `gt 3` and `lt 4` are left alone: that is for arithmetic, not for a linter.
    bounds_exclude(one.operator, other.operator, order)
        || bounds_exclude(other.operator, one.operator, order.reverse())
}

/// Whether a lower bound lies above an upper one; `order` is that of the lower to the upper.
fn bounds_exclude(lower: Operator, upper: Operator, order: Ordering) -> bool {
    let (lower_open, upper_open) = match (lower, upper) {
        (Operator::Gt, Operator::Lt) => (true, true),
        (Operator::Gt, Operator::Lteq | Operator::Eq) => (true, false),
        (Operator::Gteq | Operator::Eq, Operator::Lt) => (false, true),
        (Operator::Gteq, Operator::Lteq | Operator::Eq) | (Operator::Eq, Operator::Lteq) => {
            (false, false)
        }
        (Operator::Eq, Operator::Eq) => return order.is_ne(),
        _ => return false,
    };
    order.is_gt() || order.is_eq() && (lower_open || upper_open)
}

fn compare(one: &RightOperand, other: &RightOperand) -> Option<Ordering> {
    match (one, other) {
        (RightOperand::Instant(one), RightOperand::Instant(other)) => Some(one.cmp(other)),
        (RightOperand::Number(one), RightOperand::Number(other)) => one.partial_cmp(other),
        (RightOperand::Duration(one), RightOperand::Duration(other)) => {
            // Months differ in length; from one date they are comparable, and the linter needs no more.
            one.0.compare((other.0, date(2026, 1, 1))).ok()
        }
        _ => None,
    }
}

/// Whether named facts exclude each other. A recipient may be in many groups, so its names never do.
fn terms_exclude(
    one: &Atomic,
    some: &[String],
    other: &Atomic,
    others: &[String],
    purposes: &Purposes,
) -> bool {
    let is_within = |narrow: &str, wide: &str| match one.left {
        LeftOperand::Purpose => purposes.is_within(narrow, wide),
        LeftOperand::Spatial => {
            narrow == wide || narrow.strip_prefix(wide).is_some_and(|rest| rest.starts_with('-'))
        }
        _ => narrow == wide,
    };
    let allows = |atomic: &Atomic| {
        matches!(
            atomic.operator,
            Operator::Eq | Operator::IsA | Operator::IsPartOf | Operator::IsAnyOf
        )
    };
    let refuses = |atomic: &Atomic| matches!(atomic.operator, Operator::Neq | Operator::IsNoneOf);
    let covered = |narrow: &[String], wide: &[String]| {
        narrow.iter().all(|narrow| wide.iter().any(|wide| is_within(narrow, wide)))
    };
    match (allows(one), allows(other)) {
        (true, false) if refuses(other) => covered(some, others),
        (false, true) if refuses(one) => covered(others, some),
        // A purpose may be part of two others, so only places exclude each other by their names.
        (true, true) if one.left == LeftOperand::Spatial => !some.iter().any(|some| {
            others.iter().any(|other| is_within(some, other) || is_within(other, some))
        }),
        _ => false,
    }
}

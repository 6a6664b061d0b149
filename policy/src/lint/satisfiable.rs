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

/// The first of several conditions that cannot hold, by itself or beside one before it. What stands in other groups than
/// `all of` is left to [`super::groups`].
pub(super) fn contradiction<'c>(
    constraints: impl IntoIterator<Item = &'c Constraint>,
    purposes: &Purposes,
) -> Option<Contradiction> {
    let mut before: Vec<&Atomic> = Vec::new();
    for (index, constraint) in constraints.into_iter().enumerate() {
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
    if one.left != other.left || one.unit != other.unit || one.status != other.status {
        return false;
    }
    if let (RightOperand::Terms(some), RightOperand::Terms(others)) = (&one.right, &other.right) {
        return terms_exclude(one, some, other, others, purposes);
    }
    let Some(order) = compare(&one.right, &other.right) else { return false };
    // Counts are whole numbers, but `gt 3` and `lt 4` are left alone: that is for arithmetic, not for a linter.
    bounds_exclude(one.meant(), other.meant(), order)
        || bounds_exclude(other.meant(), one.meant(), order.reverse())
}

/// Whether of two comparisons at least one holds, whatever the fact is.
pub(super) fn exhaust(one: &Constraint, other: &Constraint, purposes: &Purposes) -> bool {
    let (Constraint::Atomic(one), Constraint::Atomic(other)) = (one, other) else { return false };
    if one.left != other.left || one.unit != other.unit || one.status != other.status {
        return false;
    }
    if let (RightOperand::Terms(some), RightOperand::Terms(others)) = (&one.right, &other.right) {
        let covers = |allowing: &Atomic, some: &[String], refusing: &Atomic, others: &[String]| {
            allows(allowing) && refuses(refusing) && is_covered(one.left, others, some, purposes)
        };
        return covers(one, some, other, others) || covers(other, others, one, some);
    }
    let Some(order) = compare(&one.right, &other.right) else { return false };
    bounds_meet(one.meant(), other.meant(), order)
        || bounds_meet(other.meant(), one.meant(), order.reverse())
}

/// Whether an upper bound reaches a lower one; `order` is that of the upper to the lower.
fn bounds_meet(upper: Operator, lower: Operator, order: Ordering) -> bool {
    let (upper_closed, lower_closed) = match (upper, lower) {
        (Operator::Lt, Operator::Gt) => (false, false),
        (Operator::Lt, Operator::Gteq) => (false, true),
        (Operator::Lteq, Operator::Gt) => (true, false),
        (Operator::Lteq, Operator::Gteq) => (true, true),
        (Operator::Neq, Operator::Eq) => return order.is_eq(),
        _ => return false,
    };
    order.is_gt() || order.is_eq() && (upper_closed || lower_closed)
}

fn allows(atomic: &Atomic) -> bool {
    let operator = atomic.operator;
    matches!(operator, Operator::Eq | Operator::IsA | Operator::IsPartOf | Operator::IsAnyOf)
}

fn refuses(atomic: &Atomic) -> bool {
    matches!(atomic.operator, Operator::Neq | Operator::IsNoneOf)
}

fn is_within(left: LeftOperand, narrow: &str, wide: &str, purposes: &Purposes) -> bool {
    match left {
        left if left.is_purpose() => purposes.is_within(narrow, wide),
        LeftOperand::Spatial => {
            narrow == wide || narrow.strip_prefix(wide).is_some_and(|rest| rest.starts_with('-'))
        }
        _ => narrow == wide,
    }
}

/// Whether each of some names is, or is part of, one of others.
fn is_covered(left: LeftOperand, narrow: &[String], wide: &[String], purposes: &Purposes) -> bool {
    narrow.iter().all(|narrow| wide.iter().any(|wide| is_within(left, narrow, wide, purposes)))
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
        (RightOperand::Number(one), RightOperand::Number(other)) => Some(one.cmp(other)),
        (RightOperand::Decimal(one), RightOperand::Decimal(other)) => Some(one.cmp(other)),
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
    match (allows(one), allows(other)) {
        (true, false) if refuses(other) => is_covered(one.left, some, others, purposes),
        (false, true) if refuses(one) => is_covered(one.left, others, some, purposes),
        // A purpose may be part of two others, so only places exclude each other by their names.
        (true, true) if one.left == LeftOperand::Spatial => !some.iter().any(|some| {
            others.iter().any(|other| {
                is_within(one.left, some, other, purposes)
                    || is_within(one.left, other, some, purposes)
            })
        }),
        _ => false,
    }
}

//! Terms between two parties, as the JSON that DSP 2025-1 carries: offers, their narrowing by a
//! declared purpose, agreements, and whether a requested offer is what was offered.

use crate::evaluate::{Status, judge_purpose};
use crate::odrl::{Conflict, Constraint, Operator, Policy, ReadError, RightOperand, Rule};
use crate::set::Purposes;
use crate::vocabulary;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub use passing_on::{Bound, Kept, Named, Next, barred, next};
pub use strictness::{Weaker, no_weaker};
pub(crate) use strictness::{implied_all, implies};

mod compare;
mod passing_on;
mod strictness;
#[cfg(test)]
mod tests;

/// Members that say whom and what terms are about, not what they are.
const BOOKKEEPING: [&str; 8] =
    ["@id", "uid", "@type", "@context", "assigner", "assignee", "target", "timestamp"];

/// The first difference between what was offered and what was requested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// One of the two is no policy.
    #[error("the {which} terms cannot be read: {source}")]
    Unreadable {
        /// `offered` or `requested`.
        which: &'static str,
        /// Why.
        source: ReadError,
    },
    /// A rule was offered and is not requested.
    #[error("`{clause}` was offered as {kind} and is missing in the request")]
    Missing {
        /// `permission`, `prohibition` or `obligation`.
        kind: &'static str,
        /// The rule in short.
        clause: String,
    },
    /// A rule is requested that was not offered.
    #[error("`{clause}` is requested as {kind} and was not offered")]
    Added {
        /// `permission`, `prohibition` or `obligation`.
        kind: &'static str,
        /// The rule in short.
        clause: String,
    },
    /// Another member of the policy differs.
    #[error("`{member}` differs from what was offered")]
    Member {
        /// Name of the member.
        member: String,
    },
}

/// Why an offer cannot be narrowed to a purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PurposeError {
    /// The offer is no policy.
    #[error("the offer cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    /// The offer does not allow the purpose.
    #[error("the offer does not allow the purpose `{purpose}`; it allows {}", list(allowed))]
    NotAllowed {
        /// The purpose as declared.
        purpose: String,
        /// The purposes that the permissions name.
        allowed: Vec<String>,
    },
}

/// Who agrees with whom on what, and when.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// Identifier of the new agreement, a URI.
    pub id: &'a str,
    /// The provider.
    pub assigner: &'a str,
    /// The consumer.
    pub assignee: &'a str,
    /// The dataset.
    pub target: &'a str,
    /// When it was agreed.
    pub timestamp: Timestamp,
}

/// An offer as it stands in a catalog: without target (DSP 2025-1, dataset schema).
#[must_use]
pub fn offer(terms: &Value, id: &str, assigner: &str) -> Value {
    let head = [("@id", id), ("@type", "Offer"), ("assigner", assigner)];
    with_head(
        terms,
        head.map(|(name, value)| (name.to_owned(), json!(value))).into_iter().collect(),
    )
}

/// The same offer as messages carry it: with target (DSP 2025-1, `MessageOffer`).
#[must_use]
pub fn message_offer(offer: &Value, target: &str) -> Value {
    let mut offer = offer.clone();
    if let Some(object) = offer.as_object_mut() {
        object.insert("@type".to_owned(), json!("Offer"));
        object.insert("target".to_owned(), json!(target));
    }
    offer
}

/// The agreement on an offer. Its rules are the offer's, as they are.
#[must_use]
pub fn agreement(offer: &Value, parties: &Parties<'_>) -> Value {
    let timestamp = parties.timestamp.to_string();
    let head = [
        ("@id", parties.id),
        ("@type", "Agreement"),
        ("assigner", parties.assigner),
        ("assignee", parties.assignee),
        ("target", parties.target),
        ("timestamp", &timestamp),
    ];
    with_head(
        offer,
        head.map(|(name, value)| (name.to_owned(), json!(value))).into_iter().collect(),
    )
}

/// The purposes that the permissions of an offer name with `eq`, `isA`, `isPartOf` or `isAnyOf`, in
/// order and once each. An offer repeated unchanged declares all of them.
#[must_use]
pub fn named_purposes(policy: &Policy) -> Vec<String> {
    let mut purposes = Vec::new();
    let mut seen = BTreeSet::new();
    let mut pending: Vec<&Constraint> =
        policy.permissions.iter().flat_map(|rule| &rule.constraints).rev().collect();
    while let Some(constraint) = pending.pop() {
        match constraint {
            Constraint::Logical(logical) => pending.extend(logical.operands.iter().rev()),
            Constraint::Atomic(atomic) if atomic.left.is_purpose() => {
                let names = matches!(
                    atomic.operator,
                    Operator::Eq | Operator::IsA | Operator::IsPartOf | Operator::IsAnyOf
                );
                if let (true, RightOperand::Terms(terms)) = (names, &atomic.right) {
                    for term in terms {
                        if seen.insert(term) {
                            purposes.push(term.clone());
                        }
                    }
                }
            }
            Constraint::Atomic(_) | Constraint::NotUnderstood(_) => {}
        }
    }
    purposes
}

/// Narrows an offer to a declared purpose: every permission then carries `purpose eq` it in addition.
///
/// # Errors
/// [`PurposeError`] when no permission allows the purpose, or a prohibition names it.
pub fn with_declared_purpose(
    offer: &Value,
    purpose: &str,
    purposes: &Purposes,
) -> Result<Value, PurposeError> {
    let policy = Policy::from_json(offer)?;
    if !allows_purpose(&policy, purpose, purposes) {
        let allowed = named_purposes(&policy);
        return Err(PurposeError::NotAllowed { purpose: purpose.to_owned(), allowed });
    }
    let narrowing = json!({ "leftOperand": "purpose", "operator": "eq", "rightOperand": purpose });
    let mut narrowed = policy.to_json();
    let permissions = narrowed.get_mut("permission").and_then(Value::as_array_mut);
    for permission in permissions.into_iter().flatten() {
        if let Some(rule) = permission.as_object_mut() {
            let constraints = rule.entry("constraint").or_insert_with(|| json!([]));
            if let Some(constraints) = constraints.as_array_mut()
                && !constraints.contains(&narrowing)
            {
                constraints.push(narrowing.clone());
            }
        }
    }
    Ok(narrowed)
}

/// Whether some permission may hold for the purpose, and no prohibition of its action holds by the
/// purpose alone.
fn allows_purpose(policy: &Policy, purpose: &str, purposes: &Purposes) -> bool {
    let status = |rule: &Rule| judge_purpose(&rule.constraints, purpose, purposes);
    let prohibited = |permission: &Rule| {
        policy.conflict != Conflict::Perm
            && policy.prohibitions.iter().any(|prohibition| {
                status(prohibition) == Status::Satisfied && covers(prohibition, permission)
            })
    };
    policy.permissions.iter().any(|permission| {
        matches!(status(permission), Status::Satisfied | Status::AppliesLater)
            && !prohibited(permission)
    })
}

/// Whether a prohibition forbids everything that a permission permits.
fn covers(prohibition: &Rule, permission: &Rule) -> bool {
    permission.actions.iter().all(|permitted| {
        prohibition
            .actions
            .iter()
            .any(|prohibited| vocabulary::is_included_in(&permitted.name, &prohibited.name))
    })
}

/// Whether requested terms are the offered ones. The order of rules and constraints, prefixes, and
/// whom and what the terms are about do not matter; the order within `andSequence` does.
///
/// # Errors
/// The first [`Difference`].
pub fn same_terms(offered: &Value, requested: &Value) -> Result<(), Difference> {
    let read = |which, value| {
        Policy::from_json(value).map_err(|source| Difference::Unreadable { which, source })
    };
    let (offered, requested) = (read("offered", offered)?, read("requested", requested)?);
    compare::policies(&offered, &requested)
}

/// The terms of an offer under another head: `@id`, `@type`, and the members given.
fn with_head(terms: &Value, head: Map<String, Value>) -> Value {
    let mut object = head;
    for (name, member) in terms.as_object().into_iter().flatten() {
        if !BOOKKEEPING.contains(&name.as_str()) {
            object.insert(name.clone(), member.clone());
        }
    }
    Value::Object(object)
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

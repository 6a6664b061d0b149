//! The ODRL profiles that this connector knows, and the rules that a profile adds.
//!
//! A policy of any other profile is not processed (IM, profile conformance). A policy that breaks a rule of its own
//! profile is not processed either: its author meant something else than it says.

use crate::odrl::{Asset, Connective, Constraint, Duty, LeftOperand, Party, Policy, Rule};
use crate::vocabulary::Profile;
use std::collections::BTreeSet;

#[cfg(test)]
mod tests;

/// Profiles whose terms are all in [`crate::vocabulary`]. A profile is known by its whole identifier: a version that is not
/// listed may say something else under the same names.
const KNOWN: [&str; 5] = [
    "http://www.w3.org/ns/odrl/2/core",
    "http://www.w3.org/ns/odrl/2/",
    "https://w3id.org/dspace/2025/1/odrl-profile",
    "https://w3id.org/dspace/2025/1/odrl-profile.jsonld",
    "https://w3id.org/idsa/code/",
];

/// The versions of the Catena-X profile whose rules are below: `profile2405` as written in short and as the two JSON-LD
/// contexts expand it, and the namespace of the profile of September 2025 (CX-0152 1.0).
const CATENA_X: [&str; 4] = [
    "cx-policy:profile2405",
    "https://w3id.org/catenax/policy/profile2405",
    "https://w3id.org/catenax/2025/9/policy/profile2405",
    "https://w3id.org/catenax/2025/9/policy/",
];

/// The action by which Catena-X marks the access policy: who may see an offer (CX-0152).
pub const ACCESS: &str = "access";

/// Operands of which a Catena-X access policy may use only these (CAC-001).
const ACCESS_OPERANDS: [&str; 5] = [
    "FrameworkAgreement",
    "Membership",
    "BusinessPartnerGroup",
    "BusinessPartnerNumber",
    "inForceDate",
];

/// What may stand in a prohibition, and in an obligation, of Catena-X.
const PROHIBITION_OPERANDS: [&str; 3] = ["AffiliatesRegion", "AffiliatesBpnl", "UsageRestriction"];
const OBLIGATION_OPERANDS: [&str; 2] =
    ["DataProvisioningEndDate", "DataProvisioningEndDurationDays"];

/// Operands of which one policy may use at most one.
const EXCLUSIVE: [&[&str]; 3] = [
    &["WarrantyDurationMonths", "WarrantyDefinition"],
    &["DataUsageEndDurationDays", "DataUsageEndDate", "DataUsageEndDefinition"],
    &["DataProvisioningEndDurationDays", "DataProvisioningEndDate"],
];

/// A part of a policy that its profile forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The part, in short.
    pub clause: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Whether policies of a profile can be processed.
#[must_use]
pub fn is_known(profile: &str) -> bool {
    KNOWN.contains(&profile) || is_catena_x(profile)
}

fn is_catena_x(profile: &str) -> bool {
    CATENA_X.contains(&profile)
}

/// The first breach of a rule of the policy's profile. Operators are checked when a condition is read, and exclusions
/// whether or not the profile is named.
#[must_use]
pub fn breach(policy: &Policy) -> Option<Breach> {
    let names_it = policy.profiles.iter().any(|profile| is_catena_x(profile));
    let mut used = BTreeSet::new();
    let mut found = None;
    let rules = policy.permissions.iter().map(|rule| (rule, Side::of(rule)));
    let rules = rules.chain(policy.prohibitions.iter().map(|rule| (rule, Side::Prohibition)));
    let whole = if policy.permissions.iter().any(|rule| Side::of(rule) == Side::Access) {
        Side::Access
    } else {
        Side::Usage
    };
    for constraint in scoped(policy.target.as_ref(), policy.assignee.as_ref()) {
        look(constraint, whole, names_it, &mut used, &mut found);
    }
    for (rule, side) in rules {
        for constraint in conditions(rule) {
            look(constraint, side, names_it, &mut used, &mut found);
        }
    }
    for constraint in policy.obligations.iter().flat_map(asked) {
        look(constraint, Side::Obligation, names_it, &mut used, &mut found);
    }
    let access = policy.permissions.iter().any(|rule| Side::of(rule) == Side::Access);
    let binds = !policy.prohibitions.is_empty() || !policy.obligations.is_empty();
    if found.is_none() && names_it && access && binds {
        found = Some(Breach {
            clause: format!("permission of `{ACCESS}`"),
            reason: "stands beside prohibitions or obligations, which an access policy cannot have"
                .to_owned(),
        });
    }
    found.or_else(|| {
        EXCLUSIVE.iter().find_map(|group| {
            let mut both = group.iter().filter(|term| used.contains(*term));
            let (one, other) = (both.next()?, both.next()?);
            Some(Breach {
                clause: format!("{one} and {other}"),
                reason: "exclude each other in the Catena-X profile".to_owned(),
            })
        })
    })
}

/// Where a condition stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Access,
    Usage,
    Prohibition,
    Obligation,
}

impl Side {
    fn of(rule: &Rule) -> Self {
        let access = rule.actions.iter().any(|action| action.name == ACCESS);
        if access { Self::Access } else { Self::Usage }
    }
}

/// Every condition of a rule: its own, the refinements of what it names, and those of its duties or remedies.
fn conditions(rule: &Rule) -> impl Iterator<Item = &Constraint> {
    let refinements = rule.actions.iter().flat_map(|action| &action.refinements);
    let duties = rule.duties.iter().flat_map(asked);
    let scope = scoped(rule.target.as_ref(), rule.assignee.as_ref());
    rule.constraints.iter().chain(refinements).chain(scope).chain(duties)
}

/// The refinements of an asset and a party.
fn scoped<'p>(
    target: Option<&'p Asset>,
    party: Option<&'p Party>,
) -> impl Iterator<Item = &'p Constraint> {
    let target = target.into_iter().flat_map(|target| &target.refinements);
    target.chain(party.into_iter().flat_map(|party| &party.refinements))
}

/// Every condition of a duty and of its consequences, which nest no deeper than a policy may.
fn asked(duty: &Duty) -> Vec<&Constraint> {
    let mut found = Vec::new();
    let mut pending = vec![duty];
    while let Some(duty) = pending.pop() {
        let refinements = duty.actions.iter().flat_map(|action| &action.refinements);
        found.extend(duty.constraints.iter().chain(refinements));
        found.extend(scoped(duty.target.as_ref(), duty.assignee.as_ref()));
        pending.extend(duty.consequences.iter().rev());
    }
    found
}

/// Looks at a condition with all its operands: which operands of Catena-X it uses, and whether they may stand there.
fn look(
    constraint: &Constraint,
    side: Side,
    names_it: bool,
    used: &mut BTreeSet<&'static str>,
    found: &mut Option<Breach>,
) {
    let mut pending = vec![constraint];
    while let Some(constraint) = pending.pop() {
        match constraint {
            Constraint::Logical(logical) => {
                if names_it && logical.connective != Connective::And {
                    let clause = logical.connective.term().to_owned();
                    let reason = "is not a connective of the Catena-X profile".to_owned();
                    found.get_or_insert(Breach { clause, reason });
                }
                pending.extend(logical.operands.iter().rev());
            }
            Constraint::Atomic(atomic) => {
                let reason = match atomic.left {
                    LeftOperand::Other(operand) if operand.profile == Profile::CatenaX => {
                        used.insert(operand.term);
                        misplaced(operand.term, side)
                    }
                    LeftOperand::Other(operand) if operand.profile == Profile::Edc => None,
                    _ if names_it => Some("is not an operand of the Catena-X profile"),
                    _ => None,
                };
                if let Some(reason) = reason.filter(|_| names_it) {
                    let clause = atomic.left.term().to_owned();
                    found.get_or_insert(Breach { clause, reason: reason.to_owned() });
                }
            }
            Constraint::NotUnderstood(_) => {}
        }
    }
}

fn misplaced(term: &str, side: Side) -> Option<&'static str> {
    let allowed = match side {
        Side::Access => ACCESS_OPERANDS.contains(&term),
        Side::Prohibition => PROHIBITION_OPERANDS.contains(&term),
        Side::Obligation => OBLIGATION_OPERANDS.contains(&term),
        Side::Usage => !OBLIGATION_OPERANDS.contains(&term) && term != "UsageRestriction",
    };
    (!allowed).then_some(match side {
        Side::Access => "cannot stand in an access policy of Catena-X",
        Side::Prohibition => "cannot stand in a prohibition of Catena-X",
        Side::Obligation => "cannot stand in an obligation of Catena-X",
        Side::Usage => "cannot stand in a permission of Catena-X",
    })
}

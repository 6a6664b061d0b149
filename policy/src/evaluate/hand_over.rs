//! Closes what the recipient's node leaves open when it judges a hand-over: the facts that only the provider knows.
//!
//! The provider gave the data, so the whole of its judgement was yes with every condition on the application left open. What
//! follows from that for a single clause is inferred here and no more; where nothing follows, the clause is not established.

use super::{RuleReport, Status};
use crate::odrl::{Constraint, Party, Policy, Rule};
use crate::vocabulary;

/// What is found of a condition of which the provider's part is not known.
const UNKNOWN: &str = "what the provider found of it is not known here";

/// Turns what the provider judged and what cannot be told apart from it into what is not established.
///
/// - A policy that says nothing of the application was judged by the provider as a whole: what is left open holds.
/// - A sole permission was found to hold: its conditions without the application hold still, each with the time that is judged
///   here. A condition that mixes both is open.
/// - Of several permissions it is not known by which one the data were given: what is left open does not grant.
/// - A prohibition without the application was found not to stand. One that mixes both stands, where it may.
pub(super) fn close(
    policy: &Policy,
    permissions: &mut [RuleReport],
    prohibitions: &mut [RuleReport],
) {
    if !is_for_applications(policy) {
        return;
    }
    let delivering = |rule: &&Rule| {
        rule.actions.iter().any(|action| vocabulary::is_included_in("use", &action.name))
    };
    let is_sole = policy.permissions.iter().filter(delivering).count() == 1;
    for (report, rule) in permissions.iter_mut().zip(&policy.permissions) {
        let holds = |constraint: &Constraint| is_sole && !is_on_application(constraint);
        if !is_sole || refinements(rule).any(is_on_application) {
            unsettle(&mut report.concerns);
        }
        settle(report, rule, holds);
        if !is_sole {
            unsettle(&mut report.active);
        }
    }
    for (report, rule) in prohibitions.iter_mut().zip(&policy.prohibitions) {
        if mentions_application(rule) {
            unsettle(&mut report.concerns);
            settle(report, rule, |_| false);
        }
    }
}

/// Makes conditions that are left open undecidable but those that hold, and the rule with them.
fn settle(report: &mut RuleReport, rule: &Rule, holds: impl Fn(&Constraint) -> bool) {
    for (found, constraint) in report.constraints.iter_mut().zip(&rule.constraints) {
        if found.status == Status::Elsewhere && !holds(constraint) {
            unsettle(&mut found.status);
            if !found.found.is_empty() {
                UNKNOWN.clone_into(&mut found.found);
            }
            unsettle(&mut report.active);
        }
    }
}

fn unsettle(status: &mut Status) {
    if *status == Status::Elsewhere {
        *status = Status::Undecidable;
    }
}

/// Whether a condition of any permission or prohibition, or of the policy as a whole, is on the application.
pub(super) fn is_for_applications(policy: &Policy) -> bool {
    let party = policy.assignee.iter().flat_map(|party| &party.refinements);
    let target = policy.target.iter().flat_map(|target| &target.refinements);
    party.chain(target).any(is_on_application)
        || policy.permissions.iter().chain(&policy.prohibitions).any(mentions_application)
}

pub(super) fn mentions_application(rule: &Rule) -> bool {
    refinements(rule).chain(&rule.constraints).any(is_on_application)
}

/// The refinements of what a rule is about: its actions, dataset and party.
fn refinements(rule: &Rule) -> impl Iterator<Item = &Constraint> {
    let actions = rule.actions.iter().flat_map(|action| &action.refinements);
    let target = rule.target.iter().flat_map(|target| &target.refinements);
    actions.chain(target).chain(rule.assignee.iter().flat_map(|party: &Party| &party.refinements))
}

/// Whether a condition, or a part of it, is on the application.
pub(super) fn is_on_application(constraint: &Constraint) -> bool {
    let mut pending = vec![constraint];
    while let Some(constraint) = pending.pop() {
        match constraint {
            Constraint::Atomic(atomic) if atomic.left.is_application() => return true,
            Constraint::Logical(logical) => pending.extend(&logical.operands),
            Constraint::Atomic(_) | Constraint::NotUnderstood(_) => {}
        }
    }
    false
}

//! What the site prohibits besides: an evaluation by a policy, narrowed by the restrictions in force.
//!
//! A restriction never grants. It is judged anew on every decision, so that a change of `restrictions.toml` ends running
//! transfers under agreements that permit them.

use crate::evaluate::{
    Behaviour, Decision, Evaluation, Ground, NO_PAST, Request, World, decide, evaluate,
};
use crate::set::RuleSet;
use std::collections::BTreeSet;

/// Narrows an evaluation by the restrictions of a set. `tags` are those of the requested dataset.
#[must_use]
pub fn restrict(
    rules: &RuleSet,
    tags: &BTreeSet<String>,
    request: &Request<'_>,
    world: &World<'_>,
    mut evaluation: Evaluation,
) -> Evaluation {
    for restriction in &rules.restrictions().list {
        if !restriction.audience.includes(world.subject)
            || !restriction.is_about(request.target, tags)
        {
            continue;
        }
        // The past is that of the agreement's rules, not of ours.
        let world = World { behaviour: Behaviour::Open, past: &NO_PAST, ..*world };
        let mut own = decide(&restriction.terms, request, &world);
        if !own.is_permit() {
            // Only a refusal needs words.
            own = evaluate(&restriction.terms, request, &world);
        }
        evaluation.until = match (evaluation.until, own.until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if let Some(ground) = own.ground.filter(|_| evaluation.decision == Decision::Permit) {
            let clause = match ground {
                Ground::Prohibited { clause, .. } => clause,
                other => other.to_string(),
            };
            evaluation.decision = Decision::Deny;
            evaluation.ground =
                Some(Ground::Restricted { clause, reason: restriction.reason.clone() });
        }
    }
    evaluation
}

#[cfg(test)]
mod tests;

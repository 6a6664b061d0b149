//! Says in plain words what a policy means and why it refused.
//!
//! A refusal has two texts. The partner who sees an offer has seen its policy, so it may be told
//! the clause and what would change the answer, but no fact of ours: neither its groups, nor counts
//! over other agreements. The administrator is told everything.

use crate::evaluate::{ConstraintReport, Evaluation, Ground, RuleKind, Status};
use crate::odrl::Policy;
use crate::vocabulary::{Fact, LeftOperand};
use std::fmt::Write as _;

mod recipient;
#[cfg(test)]
mod tests;
mod words;

pub use recipient::{Allowed, Due, Terms, terms};
pub(crate) use words::placed;
pub use words::{Language, clause, document, not_honoured};
pub(crate) use words::{action, condition, duty, prohibition};

/// Why a request was refused, for its sender and for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// For a partner who may see the offer.
    pub external: String,
    /// For our administrator, with the facts found.
    pub internal: String,
}

/// Explains a refusal; none when the evaluation permits.
#[must_use]
pub fn refusal(policy_name: &str, evaluation: &Evaluation) -> Option<Explanation> {
    let ground = evaluation.ground.as_ref()?;
    let mut internal = format!("policy `{policy_name}` denies: {ground}");
    for report in &evaluation.rules {
        let kind = match report.kind {
            RuleKind::Permission => "permission",
            RuleKind::Prohibition => "prohibition",
        };
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            internal,
            "\n{kind} {} ({}): concerns the request: {}; active: {}",
            report.index + 1,
            report.action,
            status(report.concerns),
            status(report.active)
        );
        for constraint in &report.constraints {
            write_constraint(&mut internal, constraint, 1);
        }
    }
    Some(Explanation { external: external(ground), internal })
}

fn write_constraint(text: &mut String, report: &ConstraintReport, depth: usize) {
    let indent = "  ".repeat(depth);
    let _ =
        write!(text, "\n{indent}{}: {} ({})", report.clause, status(report.status), report.found);
    for operand in &report.operands {
        write_constraint(text, operand, depth + 1);
    }
}

fn external(ground: &Ground) -> String {
    match ground {
        Ground::Condition { report, .. } => {
            format!("the condition `{}` does not hold; {}", report.clause, change(report))
        }
        Ground::Duty { report, .. } => {
            format!("`{}` must be done before; report it as done and ask again", report.clause)
        }
        Ground::Prohibited { clause, .. } => {
            format!("the offer prohibits `{clause}`; ask for another action or purpose")
        }
        Ground::NoPermission { action } => {
            format!("the offer has no permission for `{action}`; ask for an action that it permits")
        }
        Ground::NotUnderstood { clause, .. } => {
            format!("`{clause}` is not understood by this connector; ask for terms without it")
        }
        Ground::Restricted { .. } => {
            "the provider's site restricts it at present; ask the provider".to_owned()
        }
        Ground::OtherAssignee { .. } => "the agreement is not with this participant".to_owned(),
        Ground::OtherTarget { .. } => "the agreement is about another dataset".to_owned(),
        ground @ (Ground::OnlyOffered | Ground::UnknownAction { .. } | Ground::Conflict { .. }) => {
            ground.to_string()
        }
    }
}

/// What would change the answer, without telling a fact of ours.
fn change(report: &ConstraintReport) -> &'static str {
    let operand = report.clause.split(' ').next().unwrap_or_default();
    match operand {
        "purpose" => "declare a purpose that it names",
        "dateTime" => "ask within the time that it names",
        "count" => "the agreed number of uses is spent",
        "elapsedTime" => "the agreed period is over; negotiate anew",
        "delayPeriod" | "timeInterval" => "ask again when the period has passed",
        "spatial" => "it is judged by the region registered for the participant; ask the provider",
        "recipient" => "it is judged by the identity of the participant; ask the provider",
        operand => match LeftOperand::parse(operand) {
            Some(LeftOperand::Other(operand)) => match operand.fact {
                Fact::Node => "it is judged by the certificate of the node that fetches the data",
                Fact::Application => {
                    "it is judged by the identifier in the key that the application shows to the recipient's node"
                }
                Fact::Attribute => {
                    "it is judged by what the provider registered of the participant, such as a credential that has to be \
                     valid; ask the provider"
                }
                _ => "see its parts in the policy",
            },
            _ => "see its parts in the policy",
        },
    }
}

const fn status(status: Status) -> &'static str {
    match status {
        Status::Satisfied => "yes",
        Status::Unsatisfied => "no",
        Status::AppliesLater => "judged later",
        Status::Elsewhere => "judged by the other side's node",
        Status::Undecidable => "cannot be decided",
        Status::NotUnderstood => "not understood",
    }
}

/// Renders a policy in plain language, one sentence a line.
#[must_use]
pub fn plain(policy: &Policy, language: Language) -> String {
    words::policy(policy, language)
}

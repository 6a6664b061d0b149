//! How far each clause of a policy is honoured. Nobody is told that a clause is enforced when it is not.

use crate::file::expression;
use crate::odrl::{
    Action, Constraint, Duty, LeftOperand, NotUnderstood, Policy, RightOperand, Rule,
};
use crate::vocabulary::{self, Fact};
use std::fmt;

#[cfg(test)]
mod tests;

/// One clause and how far it is honoured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClauseReport {
    /// Where the clause stands, such as `permission 1`, counted from 1.
    pub place: String,
    /// The clause in short form.
    pub clause: String,
    /// How far it is honoured.
    pub class: Class,
    /// What that means here, for people.
    pub note: &'static str,
}

/// How far a clause is honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// This node decides it by facts that it establishes itself.
    Enforced,
    /// Decided by what somebody said.
    Declared(By),
    /// Decided by the recipient's node, by facts that it establishes itself.
    AtRecipient,
    /// Recorded as evidence; this node cannot make it happen.
    Observed,
    /// Not understood or not possible: the policy cannot be used.
    Refused,
}

/// Who says a declared fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// The partner, when it negotiates.
    Partner,
    /// Our administrator, in the partner's file.
    Administrator,
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Enforced => "enforced",
            Self::Declared(By::Partner) => "declared by the partner",
            Self::Declared(By::Administrator) => "declared by our administrator",
            Self::AtRecipient => "enforced at the recipient",
            Self::Observed => "observed",
            Self::Refused => "refused",
        })
    }
}

/// Classifies every clause of a policy, in the order of the policy.
#[must_use]
pub fn classify(policy: &Policy) -> Vec<ClauseReport> {
    let mut report = Report { clauses: Vec::new() };
    report.refused("policy", &policy.not_understood);
    for profile in &policy.profiles {
        if !crate::profile::is_known(profile) {
            let note = "a policy of a profile that is not known must not be processed";
            report.add("policy", format!("profile {profile}"), Class::Refused, note);
        }
    }
    if let Some(breach) = crate::profile::breach(policy) {
        let note = "against the rules of its profile, so it denies";
        report.add("policy", breach.clause, Class::Refused, note);
    }
    for parent in &policy.inherits {
        let note = "a policy that is not among those of this site, so it denies";
        report.add("policy", format!("inheritFrom {parent}"), Class::Refused, note);
    }
    let assets = policy.target.iter().map(|target| &target.refinements);
    let parties = policy.assignee.iter().map(|party| &party.refinements);
    for constraint in assets.chain(parties).flatten() {
        report.constraint("policy", constraint);
    }
    for (index, rule) in policy.permissions.iter().enumerate() {
        report.rule(&format!("permission {}", index + 1), rule);
    }
    for (index, rule) in policy.prohibitions.iter().enumerate() {
        report.rule(&format!("prohibition {}", index + 1), rule);
    }
    for (index, duty) in policy.obligations.iter().enumerate() {
        report.duty(&format!("obligation {}", index + 1), duty, false);
    }
    report.clauses
}

struct Report {
    clauses: Vec<ClauseReport>,
}

impl Report {
    fn add(&mut self, place: &str, clause: String, class: Class, note: &'static str) {
        self.clauses.push(ClauseReport { place: place.to_owned(), clause, class, note });
    }

    fn refused(&mut self, place: &str, parts: &[NotUnderstood]) {
        for part in parts {
            let clause = format!("{}: {}", part.member, part.reason);
            self.add(place, clause, Class::Refused, "not understood, so it denies");
        }
    }

    fn rule(&mut self, place: &str, rule: &Rule) {
        self.refused(place, &rule.not_understood);
        let is_permission = place.starts_with("permission");
        for action in &rule.actions {
            self.action(place, action, is_permission);
        }
        let assets = rule.target.iter().flat_map(|target| &target.refinements);
        let parties = rule.assignee.iter().flat_map(|party| &party.refinements);
        for constraint in assets.chain(parties).chain(&rule.constraints) {
            self.constraint(place, constraint);
        }
        for (index, duty) in rule.duties.iter().enumerate() {
            self.duty(&format!("{place}, duty {}", index + 1), duty, is_permission);
        }
    }

    /// A delivery is `use`: it needs a permission of that, and a prohibition of what it implies refuses it.
    fn action(&mut self, place: &str, action: &Action, is_permission: bool) {
        let (class, note) = match action.name.as_str() {
            name if name == "use" || !is_permission && vocabulary::is_of_delivery(name) => {
                (Class::Enforced, "decided before data leaves this node")
            }
            name if vocabulary::is_action(name) => (
                Class::Observed,
                "agreed and recorded; what happens at the recipient is out of reach",
            ),
            _ => (Class::Refused, "not an action of the ODRL vocabulary, so it denies"),
        };
        self.add(place, action.name.clone(), class, note);
        for refinement in &action.refinements {
            self.constraint(place, refinement);
        }
    }

    fn constraint(&mut self, place: &str, constraint: &Constraint) {
        // Reading bounds the depth, so the list of what is pending stays small.
        let mut pending = vec![constraint];
        while let Some(constraint) = pending.pop() {
            let atomic = match constraint {
                Constraint::Logical(logical) => {
                    pending.extend(logical.operands.iter().rev());
                    continue;
                }
                Constraint::NotUnderstood(part) => {
                    self.refused(place, std::slice::from_ref(part));
                    continue;
                }
                Constraint::Atomic(atomic) => atomic,
            };
            let (class, note) = match atomic.right {
                RightOperand::Reference(_) => (
                    Class::Refused,
                    "compared with what a reference stands for, which this site does not know",
                ),
                _ => operand(atomic.left),
            };
            self.add(place, expression::write(constraint), class, note);
        }
    }

    fn duty(&mut self, place: &str, duty: &Duty, is_condition: bool) {
        self.refused(place, &duty.not_understood);
        let known = duty.actions.iter().all(|action| vocabulary::is_action(&action.name));
        // As `evaluate::TrackedDuty::is_plain`: what asks for more, or follows from something, is left to a person.
        let is_plain = duty.constraints.is_empty()
            && duty.target.is_none()
            && duty.assigner.is_none()
            && !place.contains("prohibition")
            && !place.contains("consequence");
        let plain = |name: &str| {
            is_plain
                && matches!(duty.actions.as_slice(), [Action { name: asked, refinements }] if asked == name && refinements.is_empty())
        };
        let (class, note) = match (known, is_condition) {
            (true, _) if plain("log") => {
                (Class::Enforced, "this node's journal records each use before data flows")
            }
            (true, _) if plain("inform") => {
                (Class::Enforced, "done by the exchange: both parties take part in each transfer")
            }
            (false, _) => (Class::Refused, "not an action of the ODRL vocabulary, so it denies"),
            (true, true) => {
                (Class::Declared(By::Partner), "no data flows before it is reported as done")
            }
            (true, false) => (Class::Observed, "agreed and tracked; doing it is up to the partner"),
        };
        self.add(place, expression::write_duty(duty), class, note);
        // A deadline is our clock's; any other condition, and how the act is done, is reported by whom does it.
        let refinements = duty.actions.iter().flat_map(|action| &action.refinements);
        let mut pending: Vec<&Constraint> = duty.constraints.iter().chain(refinements).collect();
        while let Some(constraint) = pending.pop() {
            match constraint {
                Constraint::NotUnderstood(part) => self.refused(place, std::slice::from_ref(part)),
                Constraint::Logical(logical) => pending.extend(&logical.operands),
                Constraint::Atomic(_) => {}
            }
        }
        for (index, consequence) in duty.consequences.iter().enumerate() {
            self.duty(&format!("{place}, consequence {}", index + 1), consequence, false);
        }
    }
}

/// How far a comparison of an operand is honoured.
#[must_use]
pub const fn operand(left: LeftOperand) -> (Class, &'static str) {
    match left {
        LeftOperand::Purpose => PURPOSE,
        LeftOperand::Spatial => (
            Class::Declared(By::Administrator),
            "compared with the region in the partner's file; where the data goes afterwards is out of reach",
        ),
        LeftOperand::Recipient => RECIPIENT,
        LeftOperand::Count => (Class::Enforced, "this node counts the transfers it grants"),
        LeftOperand::DateTime
        | LeftOperand::ElapsedTime
        | LeftOperand::DelayPeriod
        | LeftOperand::TimeInterval => CLOCK,
        LeftOperand::Other(operand) => fact(operand.fact),
    }
}

const PURPOSE: (Class, &str) = (
    Class::Declared(By::Partner),
    "compared with the purpose the partner declares; what it does with the data is out of reach",
);
const RECIPIENT: (Class, &str) = (Class::Enforced, "the partner is known by its certificate");
const CLOCK: (Class, &str) =
    (Class::Enforced, "decided by this node's clock, while data flows as well");

const fn fact(fact: Fact) -> (Class, &'static str) {
    match fact {
        Fact::Now | Fact::SinceAgreement => CLOCK,
        Fact::Purpose => PURPOSE,
        Fact::Recipient => RECIPIENT,
        Fact::Node => {
            (Class::Enforced, "the node that fetches the data is known by its certificate")
        }
        Fact::Location => {
            (Class::Declared(By::Administrator), "compared with what the partner's file says of it")
        }
        Fact::Attribute => (
            Class::Declared(By::Administrator),
            "compared with the attributes and the valid credentials in the partner's file, while data flows as well",
        ),
        Fact::Application => (
            Class::AtRecipient,
            "a partner whose card lists `hand-over/1` says that its node hands the data only to applications of which this holds, \
             and nothing here checks that; of any other partner an attestation in its file decides",
        ),
        Fact::MediaType | Fact::Size | Fact::Version | Fact::Language => {
            (Class::Enforced, "compared with the dataset as published")
        }
        Fact::Percentage => (Class::Enforced, "a transfer may read the whole of a dataset"),
        Fact::Channel => (Class::Enforced, "this node delivers the data"),
        Fact::CountedUnit => (Class::Enforced, "this node counts transfers"),
        Fact::Agreed => (
            Class::Declared(By::Partner),
            "a term of contract that the partner accepts with the agreement; nothing checks it",
        ),
        Fact::MeteredTime => (
            Class::Refused,
            "how long data is used happens at the recipient and is not measured, so it denies",
        ),
        Fact::Paid => (
            Class::Refused,
            "this node does not know what was paid, so it denies; it can be asked of the duty `compensate`",
        ),
        Fact::Unknown => (Class::Refused, "not a fact that a connector can know, so it denies"),
    }
}

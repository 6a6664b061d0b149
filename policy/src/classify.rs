//! How far each clause of a policy is honoured. Nobody is told that a clause is enforced when it is not.

use crate::file::expression;
use crate::odrl::{Action, Constraint, Duty, LeftOperand, NotUnderstood, Policy, Rule};
use crate::vocabulary;
use std::fmt;

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
        if !crate::evaluate::is_known_profile(profile) {
            let note = "a policy of a profile that is not known must not be processed";
            report.add("policy", format!("profile {profile}"), Class::Refused, note);
        }
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
        for action in &rule.actions {
            self.action(place, action);
        }
        for constraint in &rule.constraints {
            self.constraint(place, constraint);
        }
        let is_condition = place.starts_with("permission");
        for (index, duty) in rule.duties.iter().enumerate() {
            self.duty(&format!("{place}, duty {}", index + 1), duty, is_condition);
        }
    }

    fn action(&mut self, place: &str, action: &Action) {
        let (class, note) = match action.name.as_str() {
            "use" | "read" | "reproduce" => {
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
            let (class, note) = operand(atomic.left);
            self.add(place, expression::write(constraint), class, note);
        }
    }

    fn duty(&mut self, place: &str, duty: &Duty, is_condition: bool) {
        self.refused(place, &duty.not_understood);
        let known = duty.actions.iter().all(|action| vocabulary::is_action(&action.name));
        let (class, note) = match (known, is_condition) {
            (false, _) => (Class::Refused, "not an action of the ODRL vocabulary, so it denies"),
            (true, true) => {
                (Class::Declared(By::Partner), "no data flows before it is reported as done")
            }
            (true, false) => (Class::Observed, "agreed and tracked; doing it is up to the partner"),
        };
        self.add(place, expression::write_duty(duty), class, note);
        for constraint in &duty.constraints {
            if let Constraint::NotUnderstood(part) = constraint {
                self.refused(place, std::slice::from_ref(part));
            }
        }
        for (index, consequence) in duty.consequences.iter().enumerate() {
            self.duty(&format!("{place}, consequence {}", index + 1), consequence, false);
        }
    }
}

const fn operand(left: LeftOperand) -> (Class, &'static str) {
    match left {
        LeftOperand::Purpose => (
            Class::Declared(By::Partner),
            "compared with the purpose the partner declares; what it does with the data is out of reach",
        ),
        LeftOperand::Spatial => (
            Class::Declared(By::Administrator),
            "compared with the region in the partner's file; where the data goes afterwards is out of reach",
        ),
        LeftOperand::Recipient => (Class::Enforced, "the partner is known by its certificate"),
        LeftOperand::Count => (Class::Enforced, "this node counts the transfers it grants"),
        LeftOperand::DateTime
        | LeftOperand::ElapsedTime
        | LeftOperand::DelayPeriod
        | LeftOperand::TimeInterval => {
            (Class::Enforced, "decided by this node's clock, while data flows as well")
        }
    }
}

//! The states of a rule in the terms of the Compliance Report Model, and the table that relates them.

use super::{ConstraintReport, DutyReport, DutyState, RuleKind, RuleReport, Status};

/// Whether a rule is in force for the request: its constraints hold and its duties are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// It is.
    Active,
    /// It is not, or it is not known to be.
    Inactive,
}

/// Whether the request is for what the rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// It is.
    Attempted,
    /// It is not.
    NotAttempted,
}

/// Whether the action of a rule was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Performance {
    /// It was.
    Performed,
    /// It was not, and it is too late.
    Unperformed,
    /// It was not that we know; it still may be.
    Unknown,
}

/// The kind of a rule, for [`deontic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Concept {
    /// It grants.
    Permission,
    /// It forbids.
    Prohibition,
    /// It binds.
    Duty,
}

/// Whether what was done, or not done, was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deontic {
    /// It was done and might be, or not done and might not be.
    Fulfilled,
    /// It was done and might not be, or not done and should have been.
    Violated,
    /// Not enough is known, or nothing is asked.
    NotSet,
}

/// The deontic state by activation, performance and kind (Compliance Report Model, 18 rows).
#[must_use]
pub const fn deontic(
    activation: Activation,
    performance: Performance,
    concept: Concept,
) -> Deontic {
    match (activation, performance, concept) {
        (Activation::Active, Performance::Performed, Concept::Permission | Concept::Duty)
        | (Activation::Active, Performance::Unperformed, Concept::Prohibition)
        | (Activation::Inactive, Performance::Unperformed, Concept::Permission) => {
            Deontic::Fulfilled
        }
        (Activation::Active, Performance::Performed, Concept::Prohibition)
        | (Activation::Active, Performance::Unperformed, Concept::Duty)
        | (Activation::Inactive, Performance::Performed, Concept::Permission) => Deontic::Violated,
        _ => Deontic::NotSet,
    }
}

impl RuleReport {
    /// Whether the rule is in force.
    #[must_use]
    pub fn activation(&self) -> Activation {
        if self.active == Status::Satisfied { Activation::Active } else { Activation::Inactive }
    }

    /// Whether the request is for what the rule is about.
    #[must_use]
    pub fn attempt(&self) -> Attempt {
        if self.concerns == Status::Satisfied { Attempt::Attempted } else { Attempt::NotAttempted }
    }

    /// Whether what was done was right.
    #[must_use]
    pub fn deontic(&self) -> Deontic {
        let concept = match self.kind {
            RuleKind::Permission => Concept::Permission,
            RuleKind::Prohibition => Concept::Prohibition,
        };
        deontic(self.activation(), self.performance, concept)
    }
}

impl DutyReport {
    /// The conditions because of which it is not known whether the duty applies, each with what is missing; operands of
    /// connectives by themselves. Empty where that is known.
    #[must_use]
    pub fn undecided(&self) -> Vec<&ConstraintReport> {
        let is_open = |report: &&ConstraintReport| {
            matches!(report.status, Status::Undecidable | Status::AppliesLater | Status::Elsewhere)
        };
        let mut found = Vec::new();
        if !matches!(self.applies, Status::Undecidable | Status::AppliesLater | Status::Elsewhere) {
            return found;
        }
        let mut pending: Vec<_> = self.conditions.iter().filter(is_open).rev().collect();
        while let Some(report) = pending.pop() {
            match report.operands.is_empty() {
                true => found.push(report),
                false => pending.extend(report.operands.iter().filter(is_open).rev()),
            }
        }
        found
    }

    /// Whether the duty asks anything.
    #[must_use]
    pub fn activation(&self) -> Activation {
        match self.state {
            DutyState::Inactive | DutyState::NotUnderstood => Activation::Inactive,
            DutyState::Pending | DutyState::Fulfilled | DutyState::Violated => Activation::Active,
        }
    }

    /// Whether it was done.
    #[must_use]
    pub fn performance(&self) -> Performance {
        match self.state {
            DutyState::Fulfilled => Performance::Performed,
            DutyState::Violated => Performance::Unperformed,
            _ => Performance::Unknown,
        }
    }

    /// Whether what was done, or not, was right.
    #[must_use]
    pub fn deontic(&self) -> Deontic {
        deontic(self.activation(), self.performance(), Concept::Duty)
    }
}

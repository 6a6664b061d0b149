//! Where the clauses of a policy stand in its file.

use super::expression;
use crate::classify::ClauseReport;
use crate::diagnostic::Spot;
use crate::odrl::{Constraint, Policy};

/// The places of a policy's rules, in the order of the policy. What another policy is inherited from has none here: it stands
/// at the begin of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// One for each permission.
    pub permissions: Vec<RulePlaces>,
    /// One for each prohibition.
    pub prohibitions: Vec<RulePlaces>,
    /// One for each obligation.
    pub obligations: Vec<Spot>,
}

/// The places of a rule and its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulePlaces {
    /// The entry.
    pub rule: Spot,
    /// One for each constraint; those of `[valid]` stand there.
    pub constraints: Vec<Spot>,
    /// One for each duty before a permission, or remedy of a prohibition.
    pub duties: Vec<Spot>,
}

impl Places {
    /// Where a clause stands, as [`crate::classify`] names its place; the begin of the file where that is not known.
    #[must_use]
    pub(crate) fn clause(&self, terms: &Policy, clause: &ClauseReport) -> Spot {
        let mut parts = clause.place.split(", ");
        let Some((kind, number)) = parts.next().and_then(|part| part.split_once(' ')) else {
            return Spot::default();
        };
        let index = number.parse::<usize>().unwrap_or_default().saturating_sub(1);
        let (places, rules) = match kind {
            "permission" => (&self.permissions, &terms.permissions),
            "prohibition" => (&self.prohibitions, &terms.prohibitions),
            _ => return self.obligations.get(index).copied().unwrap_or_default(),
        };
        let (Some(place), Some(rule)) = (places.get(index), rules.get(index)) else {
            return Spot::default();
        };
        let duty = parts.next().and_then(|part| part.strip_prefix("duty "));
        if let Some(number) = duty.and_then(|number| number.parse::<usize>().ok()) {
            return place.duty(number.saturating_sub(1));
        }
        let says = |constraint: &Constraint| expression::write(constraint) == clause.clause;
        let found = rule.constraints.iter().position(says);
        found.map_or(place.rule, |index| place.constraint(index))
    }
}

impl RulePlaces {
    /// Where a constraint stands; the rule itself where that is not known.
    #[must_use]
    pub fn constraint(&self, index: usize) -> Spot {
        self.constraints.get(index).copied().unwrap_or(self.rule)
    }

    /// Where a duty stands; the rule itself where that is not known.
    #[must_use]
    pub fn duty(&self, index: usize) -> Spot {
        self.duties.get(index).copied().unwrap_or(self.rule)
    }
}

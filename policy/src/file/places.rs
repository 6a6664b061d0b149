//! Where the clauses of a policy stand in its file.

use crate::diagnostic::Spot;

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

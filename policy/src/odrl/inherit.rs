//! Inheritance (IM 2.8): a child policy with everything that its parents add.

use super::{Conflict, Constraint, Duty, MAX_NODES, Policy, RightOperand, Rule};
use std::collections::BTreeSet;

#[cfg(test)]
mod tests;

/// Why a policy cannot take over what its parents say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InheritError {
    /// No policy of that identifier is known.
    #[error(
        "it inherits from `{parent}`, which is not among the policies of this site; add its file"
    )]
    Unknown {
        /// The identifier.
        parent: String,
    },
    /// The policy is its own ancestor.
    #[error("it inherits from itself by way of `{parent}`; remove one `inheritFrom` on the way")]
    Circular {
        /// The identifier that comes again.
        parent: String,
    },
    /// Too much for one policy.
    #[error(
        "with all that it inherits it has more than {MAX_NODES} rules and conditions; split it"
    )]
    TooLarge,
}

impl Policy {
    /// The policy with the rules, profile and parties of all its ancestors, nearest first, and no parent left.
    ///
    /// A policy-level party or target of a parent stands for the parent's rules; `status` values of a parent do not
    /// count for the child. Where conflict strategies differ any conflict voids the policy (IM 2.10).
    ///
    /// # Errors
    /// [`InheritError`] when a parent is not known, the inheritance is circular, or the result is too large.
    pub fn inherited<'p>(
        &self,
        parent: impl Fn(&str) -> Option<&'p Self>,
    ) -> Result<Self, InheritError> {
        let mut whole = self.clone();
        whole.inherits.clear();
        // Depth first; `path` holds the identifiers from the policy down to the one at hand.
        let mut path: Vec<&str> = vec![self.uid.as_str()];
        let mut pending: Vec<(usize, &str)> =
            self.inherits.iter().rev().map(|id| (1, id.as_str())).collect();
        let mut taken = BTreeSet::new();
        let mut size = size(self);
        while let Some((depth, id)) = pending.pop() {
            path.truncate(depth);
            if !id.is_empty() && path.contains(&id) {
                return Err(InheritError::Circular { parent: id.to_owned() });
            }
            let found =
                parent(id).ok_or_else(|| InheritError::Unknown { parent: id.to_owned() })?;
            path.push(id);
            size += self::size(found);
            if size > MAX_NODES || pending.len() > MAX_NODES {
                return Err(InheritError::TooLarge);
            }
            pending.extend(found.inherits.iter().rev().map(|up| (depth + 1, up.as_str())));
            if taken.insert(id) {
                whole.take_over(found);
            }
        }
        Ok(whole)
    }

    fn take_over(&mut self, parent: &Self) {
        for profile in &parent.profiles {
            if !self.profiles.contains(profile) {
                self.profiles.push(profile.clone());
            }
        }
        if self.conflict != parent.conflict {
            self.conflict = Conflict::Invalid;
        }
        self.assigner = self.assigner.take().or_else(|| parent.assigner.clone());
        self.assignee = self.assignee.take().or_else(|| parent.assignee.clone());
        self.target = self.target.take().or_else(|| parent.target.clone());
        let rule = |rule: &Rule| {
            let mut rule = rule.clone();
            rule.target = rule.target.or_else(|| differing(&parent.target, &self.target));
            rule.assigner = rule.assigner.or_else(|| differing(&parent.assigner, &self.assigner));
            rule.assignee = rule.assignee.or_else(|| differing(&parent.assignee, &self.assignee));
            forget_status_of_rule(&mut rule);
            rule
        };
        let permissions: Vec<Rule> = parent.permissions.iter().map(rule).collect();
        let prohibitions: Vec<Rule> = parent.prohibitions.iter().map(rule).collect();
        self.permissions.extend(permissions);
        self.prohibitions.extend(prohibitions);
        self.obligations.extend(parent.obligations.iter().map(|duty| {
            let mut duty: Duty = duty.clone();
            duty.target = duty.target.or_else(|| differing(&parent.target, &self.target));
            duty.assignee = duty.assignee.or_else(|| differing(&parent.assignee, &self.assignee));
            duty.assigner = duty.assigner.or_else(|| differing(&parent.assigner, &self.assigner));
            forget_status_of_duty(&mut duty);
            duty
        }));
        self.not_understood.extend(parent.not_understood.iter().cloned());
    }
}

/// What a parent says at its own level, where the child does not say the same.
fn differing<T: Clone + PartialEq>(parent: &Option<T>, child: &Option<T>) -> Option<T> {
    if parent == child { None } else { parent.clone() }
}

/// `status` values of a parent do not count for the child, wherever in a rule they stand (IM 2.8).
fn forget_status_of_rule(rule: &mut Rule) {
    forget_status(&mut rule.constraints);
    rule.actions.iter_mut().for_each(|action| forget_status(&mut action.refinements));
    rule.target.iter_mut().for_each(|target| forget_status(&mut target.refinements));
    rule.assignee.iter_mut().for_each(|party| forget_status(&mut party.refinements));
    rule.duties.iter_mut().for_each(forget_status_of_duty);
}

fn forget_status_of_duty(duty: &mut Duty) {
    let mut pending = vec![duty];
    while let Some(duty) = pending.pop() {
        forget_status(&mut duty.constraints);
        duty.actions.iter_mut().for_each(|action| forget_status(&mut action.refinements));
        pending.extend(&mut duty.consequences);
    }
}

fn forget_status(constraints: &mut [Constraint]) {
    let mut pending: Vec<&mut Constraint> = constraints.iter_mut().collect();
    while let Some(constraint) = pending.pop() {
        match constraint {
            Constraint::Atomic(atomic) => atomic.status = 0,
            Constraint::Logical(logical) => pending.extend(&mut logical.operands),
            Constraint::NotUnderstood(_) => {}
        }
    }
}

/// How much a policy says: its rules, duties and conditions with all that stands in them.
fn size(policy: &Policy) -> usize {
    let mut duties: Vec<&Duty> = policy.obligations.iter().collect();
    let mut constraints: Vec<&Constraint> = Vec::new();
    let mut size = 1;
    for rule in policy.permissions.iter().chain(&policy.prohibitions) {
        size += 1 + rule.actions.len();
        duties.extend(&rule.duties);
        constraints.extend(&rule.constraints);
        constraints.extend(rule.actions.iter().flat_map(|action| &action.refinements));
    }
    while let Some(duty) = duties.pop() {
        size += 1 + duty.actions.len();
        duties.extend(&duty.consequences);
        constraints.extend(&duty.constraints);
        constraints.extend(duty.actions.iter().flat_map(|action| &action.refinements));
    }
    while let Some(constraint) = constraints.pop() {
        size += match constraint {
            Constraint::Logical(logical) => {
                constraints.extend(&logical.operands);
                1
            }
            Constraint::Atomic(atomic) => match &atomic.right {
                RightOperand::Terms(terms) => 1 + terms.len(),
                _ => 1,
            },
            Constraint::NotUnderstood(_) => 1,
        };
    }
    size
}

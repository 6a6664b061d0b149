//! Conditions under `any of` and `one of`: what can never hold, what always holds, and what changes nothing.

use super::{Look, ended, satisfiable};
use crate::diagnostic::{Severity, Spot};
use crate::file::expression;
use crate::file::places::RulePlaces;
use crate::odrl::{Connective, Constraint, Logical, Rule};
use crate::terms::implies;

/// Of groups with more conditions than this, conditions are not compared with each other.
const MAX_COMPARED: usize = 40;

impl Look<'_> {
    /// Looks into every group among the conditions of a rule. Each is looked at beside what must hold with it.
    pub(super) fn groups(&mut self, rule: &Rule, places: &RulePlaces) {
        for (index, constraint) in rule.constraints.iter().enumerate() {
            let beside = all_but(&rule.constraints, index);
            let mut pending = vec![(constraint, beside)];
            while let Some((constraint, beside)) = pending.pop() {
                let Constraint::Logical(group) = constraint else { continue };
                let is_choice = matches!(group.connective, Connective::Or | Connective::Xone);
                if is_choice {
                    self.choice(group, &beside, places.constraint(index));
                }
                pending.extend(group.operands.iter().enumerate().map(|(index, operand)| {
                    let mut beside = beside.clone();
                    if !is_choice {
                        beside.extend(all_but(&group.operands, index));
                    }
                    (operand, beside)
                }));
            }
        }
    }

    fn choice(&mut self, group: &Logical, beside: &[&Constraint], spot: Spot) {
        let mut living: Vec<&Constraint> = Vec::new();
        let mut dead = Vec::new();
        for operand in &group.operands {
            match self.dead(operand, beside) {
                Some(reason) => dead.push((operand, reason)),
                None => living.push(operand),
            }
        }
        let name = expression::group_name(group.connective);
        if let (true, Some((_, reason))) = (living.is_empty(), dead.first()) {
            let message =
                format!("nothing under `{name}` can hold, so the rule never does: {reason}");
            let help = "change the conditions, or remove the rule";
            self.add("never-holds", Severity::Warning, spot, message, help);
            return;
        }
        for (operand, reason) in dead {
            let clause = expression::write(operand);
            let message = format!("`{clause}` under `{name}` can never hold: {reason}");
            self.add("dead-branch", Severity::Warning, spot, message, "remove it, or change it");
        }
        if group.operands.len() <= MAX_COMPARED {
            self.compared(group.connective, &living, spot);
        }
    }

    /// Why a condition of a choice can never hold beside others.
    fn dead(&self, operand: &Constraint, beside: &[&Constraint]) -> Option<String> {
        if let Some(end) = ended(operand, self.options.now) {
            return Some(format!("it is over since {end}"));
        }
        let all = beside.iter().copied().chain([operand]);
        let found = satisfiable::contradiction(all, self.site.rules.purposes())?;
        // What contradicts without it is told elsewhere.
        (found.index == beside.len()).then_some(found.reason)
    }

    /// Conditions that make each other needless, or together leave nothing open.
    fn compared(&mut self, connective: Connective, living: &[&Constraint], spot: Spot) {
        let purposes = self.site.rules.purposes();
        let mut found = Vec::new();
        for (index, one) in living.iter().enumerate() {
            for (other_index, other) in living.iter().enumerate().filter(|(at, _)| *at != index) {
                let (a, b) = (expression::write(one), expression::write(other));
                let either = index < other_index;
                if either
                    && connective == Connective::Or
                    && satisfiable::exhaust(one, other, purposes)
                {
                    let message = format!("this asks nothing: `{a}` or `{b}` always holds");
                    found.push((
                        "always-holds",
                        message,
                        "remove the group, or change a condition",
                    ));
                }
                // Of two that say the same, the second is the one too many.
                if !implies(one, other, purposes) || either && implies(other, one, purposes) {
                    continue;
                }
                if connective == Connective::Or {
                    let message =
                        format!("`{a}` adds nothing: where it holds, `{b}` holds as well");
                    found.push(("no-effect", message, "remove the one, or narrow the other"));
                } else {
                    let message = format!(
                        "`{a}` can never be the one that holds: where it does, `{b}` does as well"
                    );
                    found.push((
                        "dead-branch",
                        message,
                        "write any-of, or conditions that exclude each other",
                    ));
                }
            }
        }
        for (code, message, help) in found {
            self.add(code, Severity::Warning, spot, message, help);
        }
    }
}

fn all_but(constraints: &[Constraint], index: usize) -> Vec<&Constraint> {
    let others = constraints.iter().enumerate().filter(|(at, _)| *at != index);
    others.map(|(_, constraint)| constraint).collect()
}

//! Groups that a set names and that have no member.

use super::RuleSet;
use crate::diagnostic::{Diagnostic, Severity, Spot};
use crate::file::{Audience, RESTRICTIONS_FILE, expression};
use std::collections::BTreeSet;

impl RuleSet {
    /// A warning for each group that a file names and no partner is in: it matches nobody, most likely because it is misspelt or
    /// its last member left.
    #[must_use]
    pub fn unknown_groups(&self) -> Vec<Diagnostic> {
        let policies = self.policies().map(|policy| (policy.file.as_str(), &policy.audience));
        let restrictions = self.restrictions().list.iter();
        let restrictions = restrictions.map(|one| (RESTRICTIONS_FILE, &one.audience));
        let mut seen = BTreeSet::new();
        let mut warnings = Vec::new();
        for (file, audience) in policies.chain(restrictions) {
            for group in named(audience).filter(|group| !self.groups().contains_key(*group)) {
                if seen.insert((file, group)) {
                    warnings.push(self.unknown_group(file, group));
                }
            }
        }
        warnings
    }

    fn unknown_group(&self, file: &str, group: &str) -> Diagnostic {
        let known: Vec<_> = self.groups().keys().map(String::as_str).collect();
        let mut help = "put a partner into the group in its file".to_owned();
        if !known.is_empty() {
            help = format!("{help}; or: {}", expression::suggestion(group, &known));
        }
        let text = self.text(file);
        let found = text.find(&format!("\"{group}\"")).or_else(|| text.find(&format!("'{group}'")));
        let spot = found.map(|start| Spot::of(text, start..start + group.len() + 2));
        let message = format!("no partner is in a group `{group}`: it matches nobody");
        Diagnostic::spotted(file, text, spot.unwrap_or_default(), message, help)
            .graded(Severity::Warning)
    }
}

/// The groups of an audience. What ODRL names as its assignee may be a partner as well, and is looked up as both.
fn named(audience: &Audience) -> impl Iterator<Item = &str> {
    let named = audience.groups.difference(&audience.partners).chain(&audience.except_groups);
    named.map(String::as_str)
}

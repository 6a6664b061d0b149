//! Who may do what, and what another set would change for whom.
//!
//! An outcome is that of a first use right after the agreement, with every duty that comes before done: what a partner can get,
//! not what it has used up.

#[cfg(test)]
mod tests;

use crate::evaluate::Ground;
use crate::explain::{self, Language};
use crate::file::expression;
use crate::inquiry::{self, Dataset, Partner, Question, Site};
use crate::odrl::{LeftOperand, Policy};
use crate::set::CompiledPolicy;
use crate::terms;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a partner may do with a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The partner's short name.
    pub partner: String,
    /// The dataset.
    pub dataset: String,
    /// The action, an ODRL term.
    pub action: String,
    /// Whether, and under which terms.
    pub outcome: Outcome,
}

/// Whether something is permitted, and under which terms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Whether it is permitted for some purpose.
    pub permitted: bool,
    /// The policies that permit it, in the order in which they are offered.
    pub policies: Vec<String>,
    /// The purposes for which; none where any will do.
    pub purposes: BTreeSet<String>,
    /// The conditions of the first policy besides the purpose, and its duties, in short form.
    pub terms: Vec<String>,
    /// When time alone may change the answer.
    pub until: Option<Timestamp>,
    /// Why it is denied, where an offered policy denies it.
    pub ground: Option<String>,
}

/// What changes for a partner, dataset and action.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The partner's short name.
    pub partner: String,
    /// The dataset.
    pub dataset: String,
    /// The action.
    pub action: String,
    /// What kind of change it is.
    pub kind: DifferenceKind,
    /// As it was.
    pub before: Outcome,
    /// As it will be.
    pub after: Outcome,
}

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// It is permitted and was not.
    Granted,
    /// It was permitted and is not.
    Withdrawn,
    /// It is permitted for other purposes.
    Purposes,
    /// It is permitted under other terms.
    Terms,
}

impl DifferenceKind {
    /// Its name, for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Withdrawn => "withdrawn",
            Self::Purposes => "purposes",
            Self::Terms => "terms",
        }
    }
}

/// Every action that the policies of a site name in their permissions, and `use`.
#[must_use]
pub fn actions(site: &Site) -> BTreeSet<String> {
    let rules = site.rules.policies().flat_map(|policy| &policy.template.permissions);
    let named = rules.flat_map(|rule| rule.actions.iter().map(|action| action.name.clone()));
    named.chain(["use".to_owned()]).collect()
}

/// Who may do what at an instant: one entry for each partner, dataset and action, in this order.
#[must_use]
pub fn matrix(site: &Site, actions: &BTreeSet<String>, at: Timestamp) -> Vec<Entry> {
    let datasets = site.all_datasets();
    let mut entries = Vec::new();
    for partner in &site.partners {
        for dataset in &datasets {
            for action in actions {
                entries.push(Entry {
                    partner: partner.name.clone(),
                    dataset: dataset.id.clone(),
                    action: action.clone(),
                    outcome: outcome(site, partner, dataset, action, at),
                });
            }
        }
    }
    entries
}

/// What a partner may do with a dataset at an instant.
#[must_use]
pub fn outcome(
    site: &Site,
    partner: &Partner,
    dataset: &Dataset,
    action: &str,
    at: Timestamp,
) -> Outcome {
    let mut found = Outcome::default();
    if !partner.is_active || !dataset.is_available {
        return found;
    }
    let mut any_purpose = false;
    for policy in site.policies_of(dataset) {
        if !policy.is_visible_to(&partner.subject) {
            continue;
        }
        if let Some(reason) =
            terms::barred(&policy.template, &dataset.bounds, site.rules.purposes())
        {
            found.ground.get_or_insert(reason);
            continue;
        }
        for purpose in purposes(policy) {
            let question = Question {
                action: action.to_owned(),
                purpose: purpose.clone(),
                done: duties_before(&policy.template),
                ..Question::at(at)
            };
            let evaluation = inquiry::judge(&site.rules, partner, dataset, policy, &question);
            found.until = match (found.until, evaluation.until) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            if !evaluation.is_permit() {
                let ground =
                    evaluation.ground.filter(|g| !matches!(g, Ground::NoPermission { .. }));
                found.ground = found.ground.or_else(|| ground.map(|ground| ground.to_string()));
                continue;
            }
            if !found.permitted {
                found.terms = conditions(policy, action);
            }
            found.permitted = true;
            if !found.policies.contains(&policy.name) {
                found.policies.push(policy.name.clone());
            }
            any_purpose |= purpose.is_none();
            found.purposes.extend(purpose);
        }
    }
    if any_purpose {
        found.purposes.clear();
    }
    if found.permitted {
        found.ground = None;
    }
    found
}

/// The purposes to try: those that the policy names, and none at all, which permits where no purpose is asked.
fn purposes(policy: &CompiledPolicy) -> Vec<Option<String>> {
    let named = terms::named_purposes(&policy.template);
    if named.is_empty() {
        return vec![None];
    }
    named.into_iter().map(Some).collect()
}

fn duties_before(policy: &Policy) -> BTreeSet<String> {
    let duties = policy.permissions.iter().flat_map(|rule| &rule.duties);
    duties.flat_map(|duty| duty.actions.iter().map(|action| action.name.clone())).collect()
}

/// The terms of a policy that bind an action, without the purpose.
fn conditions(policy: &CompiledPolicy, action: &str) -> Vec<String> {
    let rules = policy.template.permissions.iter().filter(|rule| {
        rule.actions.iter().any(|item| crate::vocabulary::is_included_in(action, &item.name))
    });
    let mut found = Vec::new();
    let mut add = |text: String| {
        if !found.contains(&text) {
            found.push(text);
        }
    };
    for rule in rules {
        for constraint in &rule.constraints {
            let is_purpose = matches!(constraint,
                crate::odrl::Constraint::Atomic(atomic) if atomic.left == LeftOperand::Purpose);
            if !is_purpose {
                add(expression::write(constraint));
            }
        }
        rule.duties
            .iter()
            .for_each(|duty| add(format!("before: {}", expression::write_duty(duty))));
    }
    for duty in &policy.template.obligations {
        add(format!("duty: {}", explain::duty(duty, Language::English)));
    }
    found
}

/// What a site would change for whom at an instant, compared with another.
#[must_use]
pub fn diff(old: &Site, new: &Site, at: Timestamp) -> Vec<Difference> {
    let wanted: BTreeSet<String> = actions(old).into_iter().chain(actions(new)).collect();
    let index = |site: &Site| -> BTreeMap<(String, String, String), Outcome> {
        (matrix(site, &wanted, at).into_iter())
            .map(|entry| ((entry.partner, entry.dataset, entry.action), entry.outcome))
            .collect()
    };
    let (before, after) = (index(old), index(new));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    let mut found = Vec::new();
    for key in keys {
        let (was, is) = (before.get(&key).cloned(), after.get(&key).cloned());
        let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
        let kind = match (was.permitted, is.permitted) {
            (false, true) => DifferenceKind::Granted,
            (true, false) => DifferenceKind::Withdrawn,
            (true, true) if was.purposes != is.purposes => DifferenceKind::Purposes,
            (true, true) if was.terms != is.terms => DifferenceKind::Terms,
            _ => continue,
        };
        let (partner, dataset, action) = key;
        found.push(Difference { partner, dataset, action, kind, before: was, after: is });
    }
    found
}

/// The matrix as CSV (RFC 4180), with a heading line. A field that a spreadsheet would take for a formula begins with an
/// apostrophe.
#[must_use]
pub fn csv(entries: &[Entry]) -> String {
    let mut text =
        "partner,dataset,action,permitted,policies,purposes,terms,until,reason\r\n".to_owned();
    for entry in entries {
        let outcome = &entry.outcome;
        let purposes: Vec<&str> = outcome.purposes.iter().map(String::as_str).collect();
        let until = outcome.until.map(|until| until.to_string()).unwrap_or_default();
        let fields = [
            entry.partner.as_str(),
            &entry.dataset,
            &entry.action,
            if outcome.permitted { "yes" } else { "no" },
            &outcome.policies.join("; "),
            &purposes.join("; "),
            &outcome.terms.join("; "),
            &until,
            outcome.ground.as_deref().unwrap_or_default(),
        ];
        text.push_str(&fields.map(field).join(","));
        text.push_str("\r\n");
    }
    text
}

fn field(value: &str) -> String {
    let is_formula = value.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let value = if is_formula { format!("'{value}") } else { value.to_owned() };
    if value.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", value.replace('"', "\"\""));
    }
    value
}

/// The restriction that stops a running agreement on a dataset at an instant; none where it goes on.
#[must_use]
pub fn stopped(
    site: &Site,
    partner: &Partner,
    dataset: &Dataset,
    purpose: Option<&str>,
    at: Timestamp,
) -> Option<String> {
    let question = Question { purpose: purpose.map(str::to_owned), ..Question::at(at) };
    inquiry::restriction(&site.rules, partner, dataset, &question).map(|ground| ground.to_string())
}

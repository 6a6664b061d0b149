//! Who may do what, and what another set would change for whom.
//!
//! An outcome is that of a first use right after the agreement, with every duty that comes before done: what a partner can get,
//! not what it has used up.

#[cfg(test)]
mod tests;
mod unweighed;

use crate::evaluate::Ground;
use crate::explain::{self, Language};
use crate::file::{Handling, expression};
use crate::inquiry::{self, Dataset, Partner, Question, Site};
use crate::odrl::{Constraint, Duty, Policy, RightOperand, Rule};
use crate::set::CompiledPolicy;
use crate::{terms, vocabulary};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

pub use unweighed::Unweighed;

/// A purpose that stands for all that nobody named.
const ANY_OTHER: &str = "urn:sekisho:v1:any-other-purpose";

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
    /// The purposes for which; none where any will do but those of [`Self::except`].
    pub purposes: BTreeSet<String>,
    /// The purposes for which it is denied, where any other will do.
    pub except: BTreeSet<String>,
    /// The terms of each policy that permits it, besides the purpose, and what the site restricts; in short form.
    pub terms: Vec<String>,
    /// When time alone may change the answer.
    pub until: Option<Timestamp>,
    /// Why it is denied, where an offered policy denies it.
    pub ground: Option<String>,
    /// What each policy that permits it says, by its name.
    grants: BTreeMap<String, Grant>,
    /// The conditional restrictions of the site.
    restricted: Vec<String>,
}

/// What one policy permits.
#[derive(Debug, Clone, Default, PartialEq)]
struct Grant {
    purposes: Purposes,
    terms: Vec<String>,
}

/// For which purposes something is permitted.
#[derive(Debug, Clone, Default, PartialEq)]
struct Purposes {
    /// Those that were tried and will do.
    permitted: BTreeSet<String>,
    /// Those that were tried and will not.
    denied: BTreeSet<String>,
    /// Whether one that nobody named will do.
    any_other: bool,
}

/// What another set would change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// What changes for whom.
    pub changes: Vec<Difference>,
    /// What differs between the sets and shows in none of the changes.
    pub unweighed: Vec<Unweighed>,
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

/// Every action that the policies and the restrictions of a site name in their permissions and prohibitions, and `use`.
#[must_use]
pub fn actions(site: &Site) -> BTreeSet<String> {
    let restrictions = site.rules.restrictions().list.iter();
    let restricted = restrictions.flat_map(|restriction| &restriction.terms.prohibitions);
    let policies = site.rules.policies();
    let rules = policies
        .flat_map(|policy| policy.template.permissions.iter().chain(&policy.template.prohibitions));
    let named = rules
        .chain(restricted)
        .flat_map(|rule| rule.actions.iter().map(|action| action.name.clone()));
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
    for policy in offered(site, partner, dataset) {
        if let Some(reason) =
            terms::barred(&policy.template, &dataset.bounds, site.rules.purposes())
        {
            found.ground.get_or_insert(reason);
            continue;
        }
        let mut purposes = Purposes::default();
        for purpose in purposes_to_try(site, policy) {
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
            purposes.note(purpose, evaluation.is_permit());
            if !evaluation.is_permit() {
                let ground =
                    evaluation.ground.filter(|g| !matches!(g, Ground::NoPermission { .. }));
                found.ground = found.ground.or_else(|| ground.map(|ground| ground.to_string()));
            }
        }
        if purposes.any_other || !purposes.permitted.is_empty() {
            found.policies.push(policy.name.clone());
            let terms = conditions(policy, action);
            found.grants.insert(policy.name.clone(), Grant { purposes, terms });
        }
    }
    if !found.policies.is_empty() {
        found.permitted = true;
        found.ground = None;
        found.restricted = restricted(site, partner, dataset, action);
        (found.purposes, found.except) = together(&found.grants);
        found.terms = found.told_terms();
    }
    found
}

/// The policies whose offers of a dataset a partner may see, in the order of the offers.
fn offered<'s>(
    site: &'s Site,
    partner: &Partner,
    dataset: &Dataset,
) -> impl Iterator<Item = &'s CompiledPolicy> {
    let policies = site.policies_of(dataset).into_iter().map(AsRef::as_ref);
    policies.filter(|policy: &&CompiledPolicy| policy.is_visible_to(&partner.subject))
}

impl Purposes {
    fn note(&mut self, purpose: Option<String>, is_permit: bool) {
        match purpose.filter(|purpose| purpose != ANY_OTHER) {
            None => self.any_other = is_permit,
            Some(purpose) if is_permit => {
                self.permitted.insert(purpose);
            }
            Some(purpose) => {
                self.denied.insert(purpose);
            }
        }
    }

    /// For people.
    fn shown(&self) -> String {
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        match (self.any_other, self.denied.is_empty()) {
            (false, _) => list(&self.permitted),
            (true, true) => "any purpose".to_owned(),
            (true, false) => format!("any purpose but {}", list(&self.denied)),
        }
    }
}

impl Outcome {
    /// The terms of every policy that permits it; each under its policy's name where there are several.
    fn told_terms(&self) -> Vec<String> {
        let mut told = Vec::new();
        for name in &self.policies {
            let Some(grant) = self.grants.get(name) else { continue };
            if self.policies.len() == 1 {
                told.extend(grant.terms.iter().cloned());
                continue;
            }
            let terms =
                if grant.terms.is_empty() { "no terms".to_owned() } else { grant.terms.join(", ") };
            told.push(format!("under {name} for {}: {terms}", grant.purposes.shown()));
        }
        told.extend(self.restricted.iter().cloned());
        told
    }

    /// For which purposes, for people.
    #[must_use]
    pub fn told_purposes(&self) -> String {
        let (permitted, denied) = (self.purposes.clone(), self.except.clone());
        Purposes { any_other: permitted.is_empty(), permitted, denied }.shown()
    }
}

/// For which purposes something is permitted by one policy or another: those that will do, and those that will not where any
/// other will do.
fn together(grants: &BTreeMap<String, Grant>) -> (BTreeSet<String>, BTreeSet<String>) {
    let of = |grant: &Grant| grant.purposes.permitted.clone();
    let permitted: BTreeSet<String> = grants.values().flat_map(of).collect();
    let mut open =
        grants.values().map(|grant| &grant.purposes).filter(|purposes| purposes.any_other);
    let Some(first) = open.next() else { return (permitted, BTreeSet::new()) };
    let mut except = first.denied.clone();
    open.for_each(|other| except.retain(|purpose| other.denied.contains(purpose)));
    except.retain(|purpose| !permitted.contains(purpose));
    (BTreeSet::new(), except)
}

/// The purposes to try: those that the policy or a restriction names in whatever way, those of the site that are part of one
/// of them or contain it, and one that nobody named. Where none is named, none is declared.
fn purposes_to_try(site: &Site, policy: &CompiledPolicy) -> Vec<Option<String>> {
    let restrictions = site.rules.restrictions().list.iter().map(|restriction| &restriction.terms);
    let mut named = BTreeSet::new();
    for policy in restrictions.chain([&policy.template]) {
        inquiry::atoms(policy).filter(|atomic| atomic.left.is_purpose()).for_each(|atomic| {
            if let RightOperand::Terms(terms) = &atomic.right {
                named.extend(terms.iter().cloned());
            }
        });
    }
    if named.is_empty() {
        return vec![None];
    }
    let purposes = site.rules.purposes();
    let related = purposes.iter().map(|(name, _)| name).filter(|listed| {
        named
            .iter()
            .any(|name| purposes.is_within(listed, name) || purposes.is_within(name, listed))
    });
    let related: Vec<String> = related.cloned().collect();
    named.extend(related);
    named.insert(ANY_OTHER.to_owned());
    named.into_iter().map(Some).collect()
}

fn duties_before(policy: &Policy) -> BTreeSet<String> {
    let duties = policy.permissions.iter().flat_map(|rule| &rule.duties);
    duties.flat_map(|duty| duty.actions.iter().map(|action| action.name.clone())).collect()
}

/// Whether a rule is about an action.
fn binds(rule: &Rule, action: &str) -> bool {
    rule.actions.iter().any(|item| vocabulary::is_included_in(action, &item.name))
}

/// The terms of a policy that bind an action; where only one permission does, without its purpose, which stands beside.
fn conditions(policy: &CompiledPolicy, action: &str) -> Vec<String> {
    let template = &policy.template;
    let duty = |duty: &Duty| explain::duty(duty, Language::English);
    let before = |rule: &Rule| rule.duties.iter().map(duty).collect::<Vec<String>>();
    let permissions: Vec<&Rule> =
        template.permissions.iter().filter(|rule| binds(rule, action)).collect();
    let mut found: Vec<String> = Vec::new();
    if let [rule] = permissions.as_slice() {
        if is_narrowed(rule) {
            found.push(format!("only {}", expression::write_head(rule)));
        }
        let is_purpose = |constraint: &Constraint| matches!(constraint, Constraint::Atomic(atomic) if atomic.left.is_purpose());
        let others = rule.constraints.iter().filter(|constraint| !is_purpose(constraint));
        found.extend(others.map(expression::write));
        found.extend(before(rule).into_iter().map(|duty| format!("before: {duty}")));
    } else {
        found.extend(permissions.into_iter().map(|rule| {
            let before: String =
                before(rule).iter().map(|duty| format!("; before: {duty}")).collect();
            format!("either {}{before}", expression::write_rule(rule))
        }));
    }
    for rule in template.prohibitions.iter().filter(|rule| binds(rule, action)) {
        let remedies: String =
            before(rule).iter().map(|duty| format!("; whoever does: {duty}")).collect();
        found.push(format!("not {}{remedies}", expression::write_rule(rule)));
    }
    found.extend(template.obligations.iter().map(|item| format!("duty: {}", duty(item))));
    if policy.handling == Handling::Manual {
        found.push("once a person has agreed".to_owned());
    }
    let mut seen = BTreeSet::new();
    found.retain(|term| seen.insert(term.clone()));
    found
}

/// Whether a permission is about less than its actions.
fn is_narrowed(rule: &Rule) -> bool {
    rule.assignee.is_some()
        || rule.target.is_some()
        || rule.actions.iter().any(|action| !action.refinements.is_empty())
}

/// What the site restricts of an action, under conditions that do not hold for a first use.
fn restricted(site: &Site, partner: &Partner, dataset: &Dataset, action: &str) -> Vec<String> {
    let list = site.rules.restrictions().list.iter();
    let concerned = list.filter(|restriction| {
        restriction.audience.includes(&partner.subject)
            && restriction.is_about(&dataset.id, &dataset.facts.collections)
    });
    let rules = concerned.flat_map(|restriction| &restriction.terms.prohibitions);
    let told = |rule| format!("the site prohibits: {}", expression::write_rule(rule));
    rules.filter(|rule| binds(rule, action)).map(told).collect()
}

/// What a site would change for whom at an instant, compared with another.
#[must_use]
pub fn diff(old: &Site, new: &Site, at: Timestamp) -> Comparison {
    let wanted: BTreeSet<String> = actions(old).into_iter().chain(actions(new)).collect();
    let index = |site: &Site| -> BTreeMap<(String, String, String), Outcome> {
        (matrix(site, &wanted, at).into_iter())
            .map(|entry| ((entry.partner, entry.dataset, entry.action), entry.outcome))
            .collect()
    };
    let (before, after) = (index(old), index(new));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    let mut changes = Vec::new();
    for key in keys {
        let (was, is) = (before.get(&key).cloned(), after.get(&key).cloned());
        let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
        let is_for_others = was.purposes != is.purposes || was.except != is.except;
        let kind = match (was.permitted, is.permitted) {
            (false, true) => DifferenceKind::Granted,
            (true, false) => DifferenceKind::Withdrawn,
            (true, true) if is_for_others => DifferenceKind::Purposes,
            (true, true) if was.grants != is.grants || was.restricted != is.restricted => {
                DifferenceKind::Terms
            }
            _ => continue,
        };
        let (partner, dataset, action) = key;
        changes.push(Difference { partner, dataset, action, kind, before: was, after: is });
    }
    let unweighed = unweighed::find(old, new, &changes);
    Comparison { changes, unweighed }
}

/// The matrix as CSV (RFC 4180), with a heading line. A field that a spreadsheet would take for a formula begins with an
/// apostrophe.
#[must_use]
pub fn csv(entries: &[Entry]) -> String {
    let mut text =
        "partner,dataset,action,permitted,policies,purposes,except,terms,until,reason\r\n"
            .to_owned();
    for entry in entries {
        let outcome = &entry.outcome;
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join("; ");
        let until = outcome.until.map(|until| until.to_string()).unwrap_or_default();
        let fields = [
            entry.partner.as_str(),
            &entry.dataset,
            &entry.action,
            if outcome.permitted { "yes" } else { "no" },
            &outcome.policies.join("; "),
            &list(&outcome.purposes),
            &list(&outcome.except),
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

/// The restriction that stops a running agreement on a dataset at an instant; none where it goes on. `purposes` are those that
/// it is for: the declared one, or all that its terms name.
#[must_use]
pub fn stopped(
    site: &Site,
    partner: &Partner,
    dataset: &Dataset,
    purposes: &[String],
    at: Timestamp,
) -> Option<String> {
    inquiry::restriction(&site.rules, partner, dataset, purposes, &Question::at(at))
        .map(|ground| ground.to_string())
}

//! What in a set is most likely not what was meant, though it can be used.
//!
//! A finding about a rule is certain: it says that the rule can never hold, not that it may not.

mod across;
mod groups;
mod japanese;
mod satisfiable;
#[cfg(test)]
mod tests;

use crate::classify::Class;
use crate::diagnostic::{Diagnostic, Severity, Spot};
use crate::explain::Language;
use crate::file::places::RulePlaces;
use crate::file::{self, expression};
use crate::inquiry::{Partner, Site};
use crate::odrl::{
    Atomic, Conflict, Constraint, Duty, LeftOperand, Operator, Policy, RightOperand, Rule,
};
use crate::set::CompiledPolicy;
use crate::vocabulary;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind, for programs; it never changes.
    pub code: &'static str,
    /// Where, what, and what to do.
    pub diagnostic: Diagnostic,
}

impl Finding {
    /// The finding as it is said in a language. Its code and place are the same in each.
    #[must_use]
    pub fn said(&self, language: Language) -> Diagnostic {
        match language {
            Language::English => self.diagnostic.clone(),
            Language::Japanese => Diagnostic {
                message: japanese::said(&self.diagnostic.message),
                help: japanese::said(&self.diagnostic.help),
                ..self.diagnostic.clone()
            },
        }
    }

    /// The same in the form of a compiler's message.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        let said = self.said(language);
        match (language, said.severity) {
            (Language::English, _) => said.to_string(),
            (Language::Japanese, Severity::Error) => said.labelled("エラー", "対処"),
            (Language::Japanese, Severity::Warning) => said.labelled("警告", "対処"),
            (Language::Japanese, Severity::Note) => said.labelled("注記", "対処"),
        }
    }
}

/// What the linter is told besides the site.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The time.
    pub now: Timestamp,
    /// Whether the site's datasets are all that are published; else nothing is said of datasets.
    pub knows_datasets: bool,
}

/// Looks through the policies of a site, in the order of their names.
#[must_use]
pub fn lint(site: &Site, options: Options) -> Vec<Finding> {
    let mut findings = Vec::new();
    for policy in site.rules.policies() {
        let mut look = Look { site, options, policy, findings: Vec::new() };
        look.policy();
        look.findings.sort_by_key(|finding| (finding.diagnostic.line, finding.diagnostic.column));
        findings.append(&mut look.findings);
    }
    findings.extend(across::restrictions(site, options));
    let groups = site.rules.unknown_groups().into_iter();
    findings.extend(groups.map(|diagnostic| Finding { code: "unknown-group", diagnostic }));
    findings.extend(purposes(site));
    findings
}

struct Look<'a> {
    site: &'a Site,
    options: Options,
    policy: &'a CompiledPolicy,
    findings: Vec<Finding>,
}

impl Look<'_> {
    fn policy(&mut self) {
        let template = &self.policy.template;
        for (index, rule) in template.permissions.iter().enumerate() {
            self.permission(index, rule);
        }
        for (index, rule) in template.prohibitions.iter().enumerate() {
            let places = self.places(false, index);
            if !self.contradiction(rule, &places, "this prohibition never applies") {
                self.over(rule, &places, "this prohibition");
                self.groups(rule, &places);
            }
            self.recipients(rule, &places);
        }
        for (index, duty) in template.obligations.iter().enumerate() {
            let spot = self.policy.places.obligations.get(index).copied().unwrap_or_default();
            self.duty(duty, spot);
        }
        self.audience();
        self.datasets();
        self.conflicts();
        self.unusable();
        self.unhonoured();
    }

    /// What a set that is not strict has taken and cannot honour.
    fn unhonoured(&mut self) {
        let clauses = self.policy.clauses.iter();
        let refused: Vec<_> =
            clauses.filter(|clause| clause.class == Class::Refused).cloned().collect();
        for clause in refused {
            let message = format!("{}: `{}`: {}", clause.place, clause.clause, clause.note);
            let help = "partners are told with the agreement that it is not honoured; what it concerns is denied";
            let policy = self.policy;
            let text = self.site.rules.text(&policy.file);
            let spot =
                file::clause_spot(&policy.file, text, &policy.places, &policy.template, &clause);
            self.add("not-honoured", Severity::Warning, spot, message, help);
        }
    }

    fn permission(&mut self, index: usize, rule: &Rule) {
        let places = self.places(true, index);
        if self.contradiction(rule, &places, "this permission can never hold") {
            return;
        }
        self.over(rule, &places, "this permission");
        self.groups(rule, &places);
        self.forbidden(rule, &places);
        self.restricted(rule, &places);
        self.shadowed(index, rule, &places);
        self.recipients(rule, &places);
        self.regions(rule, &places);
        for (place, duty) in rule.duties.iter().enumerate() {
            self.duty(duty, places.duty(place));
        }
    }

    fn places(&self, is_permission: bool, index: usize) -> RulePlaces {
        let places = &self.policy.places;
        let list = if is_permission { &places.permissions } else { &places.prohibitions };
        list.get(index).cloned().unwrap_or_default()
    }

    fn add(
        &mut self,
        code: &'static str,
        severity: Severity,
        spot: Spot,
        message: String,
        help: &str,
    ) {
        let file = &self.policy.file;
        let diagnostic = Diagnostic::spotted(file, self.site.rules.text(file), spot, message, help)
            .graded(severity);
        let finding = Finding { code, diagnostic };
        // A rule of several actions stands once in the file.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Conditions of one rule that exclude each other.
    fn contradiction(&mut self, rule: &Rule, places: &RulePlaces, what: &str) -> bool {
        let Some(found) = satisfiable::contradiction(&rule.constraints, self.site.rules.purposes())
        else {
            return false;
        };
        let message = format!("{what}: {}", found.reason);
        let help = "change one of the conditions, or list them under any-of";
        self.add("never-holds", Severity::Warning, places.constraint(found.index), message, help);
        true
    }

    /// A rule whose time is over.
    fn over(&mut self, rule: &Rule, places: &RulePlaces, what: &str) {
        for (index, constraint) in rule.constraints.iter().enumerate() {
            let Some(end) = ended(constraint, self.options.now) else { continue };
            let message = format!("{what} is over since {end}");
            let help = "set a later time, or remove what is over";
            self.add("over", Severity::Warning, places.constraint(index), message, help);
        }
    }

    /// A permission that an unconditional prohibition takes away, or that voids the policy with it.
    fn forbidden(&mut self, rule: &Rule, places: &RulePlaces) {
        let template = &self.policy.template;
        let unconditional = template.prohibitions.iter().filter(|rule| {
            rule.constraints.is_empty()
                && rule.actions.iter().all(|action| action.refinements.is_empty())
        });
        for prohibition in unconditional {
            let pairs = rule.actions.iter().flat_map(|permitted| {
                prohibition.actions.iter().map(move |prohibited| (permitted, prohibited))
            });
            for (permitted, prohibited) in pairs {
                let is_covered = vocabulary::is_included_in(&permitted.name, &prohibited.name)
                    || vocabulary::implies(&permitted.name, &prohibited.name);
                let clause = expression::write_rule(prohibition);
                match template.conflict {
                    Conflict::Prohibit if is_covered => {
                        let message = format!(
                            "this permission can never hold: `{clause}` is prohibited without condition"
                        );
                        let help = "remove one of the two, or give the prohibition a condition";
                        self.add("unreachable", Severity::Warning, places.rule, message, help);
                    }
                    Conflict::Invalid if vocabulary::overlap(&permitted.name, &prohibited.name) => {
                        let message = format!(
                            "this permission and the prohibition of `{clause}` contradict each other, which voids the policy: nothing is ever permitted"
                        );
                        let help = "write conflict = \"prohibit\", so that the prohibition takes away only its part";
                        self.add("void", Severity::Warning, places.rule, message, help);
                    }
                    Conflict::Perm if is_covered => {
                        let message = format!(
                            "the prohibition of `{clause}` has no effect here: conflict = \"perm\" lets this permission win"
                        );
                        self.add(
                            "no-effect",
                            Severity::Warning,
                            places.rule,
                            message,
                            "write conflict = \"prohibit\", or remove the prohibition",
                        );
                    }
                    _ => {}
                }
            }
        }
    }

    /// A permission that another grants already, under no more conditions.
    fn shadowed(&mut self, index: usize, rule: &Rule, places: &RulePlaces) {
        let is_within = |wide: &Rule| {
            rule.actions.iter().all(|narrow| {
                wide.actions.iter().any(|action| {
                    action.refinements.is_empty()
                        && vocabulary::is_included_in(&narrow.name, &action.name)
                })
            }) && wide.constraints.iter().all(|constraint| rule.constraints.contains(constraint))
                && wide.duties.iter().all(|duty| rule.duties.contains(duty))
                && wide.assignee.is_none()
        };
        let others = self.policy.template.permissions.iter().enumerate();
        let wider = others.filter(|(other, wide)| {
            // Of two that are equal, the second is the one too many.
            *other != index && is_within(wide) && (*wide != rule || *other < index)
        });
        let Some((other, wide)) = wider.min_by_key(|(other, _)| *other) else { return };
        let line = self.places(true, other).rule.line;
        if line == places.rule.line {
            return;
        }
        let message = format!(
            "this permission adds nothing: line {line} permits `{}` already",
            expression::write_rule(wide)
        );
        let help = "remove it, or give the other more conditions";
        self.add("shadowed", Severity::Warning, places.rule, message, help);
    }

    /// Recipients that nobody is.
    fn recipients(&mut self, rule: &Rule, places: &RulePlaces) {
        for (index, constraint) in rule.constraints.iter().enumerate() {
            for atomic in atoms(constraint) {
                let (LeftOperand::Recipient, RightOperand::Terms(terms)) =
                    (atomic.left, &atomic.right)
                else {
                    continue;
                };
                let unknown: Vec<_> = terms.iter().filter(|term| !self.is_party(term)).collect();
                for term in unknown {
                    let message = format!("`{term}` is neither a registered partner nor a group");
                    let help = "register it, or correct the name; a person or application behind a partner cannot be named here";
                    let spot = places.constraint(index);
                    self.add("unknown-partner", Severity::Warning, spot, message, help);
                }
            }
        }
    }

    fn is_party(&self, name: &str) -> bool {
        self.site.rules.groups().contains_key(name)
            || self.site.partners.iter().any(|partner| partner.subject.participant == name)
    }

    /// Partners without a region, to whom a condition on it always denies.
    fn regions(&mut self, rule: &Rule, places: &RulePlaces) {
        for (index, constraint) in rule.constraints.iter().enumerate() {
            let is_regional = matches!(constraint,
                Constraint::Atomic(atomic) if atomic.left == LeftOperand::Spatial);
            if !is_regional {
                continue;
            }
            let without: Vec<&str> = (self.audience_members())
                .filter(|partner| partner.subject.region.is_none())
                .map(|partner| partner.name.as_str())
                .collect();
            if let Some(first) = without.first() {
                let message = format!(
                    "this always denies to {}, for whom no region is declared",
                    without.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                );
                let help =
                    format!("write region = \"JP\", or where it is, into partners/{first}.toml");
                let spot = places.constraint(index);
                self.add("no-region", Severity::Warning, spot, message, &help);
            }
        }
    }

    fn audience_members(&self) -> impl Iterator<Item = &Partner> {
        let policy = self.policy;
        let partners = self.site.partners.iter();
        partners.filter(move |partner| partner.is_active && policy.is_visible_to(&partner.subject))
    }

    fn duty(&mut self, duty: &Duty, spot: Spot) {
        if let Some(message) = self.undoable(duty) {
            let help = "set a later time, or `within`, which counts from each agreement";
            self.add("duty-impossible", Severity::Warning, spot, message, help);
        }
        let groups = duty.actions.iter().flat_map(|action| &action.refinements);
        if groups.into_iter().any(|refinement| !matches!(refinement, Constraint::Atomic(_))) {
            let message = format!(
                "nobody can confirm how `{}` was done by a group of conditions",
                names(duty)
            );
            let help = "write each condition on how it is done by itself";
            self.add("duty-impossible", Severity::Warning, spot, message, help);
        }
        if let Some(bearer) = duty.assignee.as_ref().filter(|bearer| !self.is_party(&bearer.id)) {
            let message = format!(
                "`{}` must be done by `{}`, who is no registered partner",
                names(duty),
                bearer.id
            );
            let help = "name a partner or a group, or leave it out: then whoever agrees bears it";
            self.add("unknown-partner", Severity::Warning, spot, message, help);
        }
        if let Some(found) =
            satisfiable::contradiction(&duty.constraints, self.site.rules.purposes())
        {
            let message = format!("`{}` never has to be done: {}", names(duty), found.reason);
            let help = "change one of the conditions";
            self.add("never-holds", Severity::Warning, spot, message, help);
        }
        let prohibited = forbidden_duty(&self.policy.template, duty);
        if let Some(clause) = prohibited {
            let message = format!("`{}` must be done and is prohibited by `{clause}`", names(duty));
            self.add(
                "duty-prohibited",
                Severity::Warning,
                spot,
                message,
                "prohibit less, or require something else",
            );
        }
    }

    /// Why nobody can do a duty in time, nor any that follows it.
    fn undoable(&self, duty: &Duty) -> Option<String> {
        let permissions = &self.policy.template.permissions;
        let starts = permissions.iter().map(|rule| rule.constraints.iter().filter_map(start).max());
        // Nothing is owed before the first permission begins to hold.
        let first = starts.min().flatten();
        let mut pending = vec![duty];
        while let Some(duty) = pending.pop() {
            pending.extend(&duty.consequences);
            for constraint in &duty.constraints {
                let Constraint::Atomic(atomic) = constraint else { continue };
                let is_deadline = matches!(atomic.meant(), Operator::Lt | Operator::Lteq);
                match atomic.right {
                    RightOperand::Instant(end) if is_deadline && end <= self.options.now => {
                        let (name, end) = (names(duty), atomic.written_text());
                        return Some(format!(
                            "nobody can do `{name}` in time: its deadline was {end}"
                        ));
                    }
                    RightOperand::Instant(end)
                        if is_deadline && first.is_some_and(|first| end <= first) =>
                    {
                        let (name, end) = (names(duty), atomic.written_text());
                        return Some(format!(
                            "nobody can do `{name}` in time: its deadline {end} comes before anything is permitted"
                        ));
                    }
                    RightOperand::Duration(ref span) if is_deadline && span.0.is_zero() => {
                        return Some(format!("nobody can do `{}` in no time", names(duty)));
                    }
                    _ => {}
                }
            }
        }
        None
    }

    /// Parties that nobody is, and audiences without anybody.
    fn audience(&mut self) {
        let audience = &self.policy.audience;
        let named = audience.partners.iter().chain(&audience.except_partners);
        let unknown: Vec<_> = named.filter(|name| !self.is_party(name)).collect();
        for partner in unknown {
            let spot = self.spot_of(partner);
            let message = format!("`{partner}` is not a registered partner");
            let help = "name it by its participant id, as `sekisho partner list` shows it";
            self.add("unknown-partner", Severity::Warning, spot, message, help);
        }
        if self.audience_members().next().is_none() {
            let spot = self.spot_of_section("[who]");
            let message = "no active partner may see this offer".to_owned();
            let help =
                "name a partner, group or anyone-registered = true; see `sekisho partner list`";
            self.add("nobody", Severity::Warning, spot, message, help);
        }
    }

    fn datasets(&mut self) {
        if !self.options.knows_datasets {
            return;
        }
        let is_published = |id: &str| self.site.datasets.iter().any(|dataset| dataset.id == id);
        let is_tag = |tag: &String| {
            self.site.datasets.iter().any(|dataset| dataset.facts.collections.contains(tag))
        };
        // The target of an ODRL file is a dataset or a tag.
        let is_either = |id: &String| self.policy.tags.contains(id) && is_tag(id);
        let missing: Vec<&String> = (self.policy.datasets.iter())
            .filter(|id| !is_published(id) && !is_either(id))
            .collect();
        for id in missing {
            let (spot, message) = (self.spot_of(id), format!("no dataset `{id}` is published"));
            let help = "correct the id, or publish it: `sekisho dataset publish`";
            self.add("unknown-dataset", Severity::Warning, spot, message, help);
        }
        let unused: Vec<&String> = (self.policy.tags.iter())
            .filter(|tag| !is_tag(tag) && !self.policy.datasets.contains(*tag))
            .collect();
        for tag in unused {
            let (spot, message) = (self.spot_of(tag), format!("no dataset has the tag `{tag}`"));
            self.add("unknown-dataset", Severity::Note, spot, message, "");
        }
        let name = &self.policy.name;
        let is_used = self.site.datasets.iter().any(|dataset| {
            self.policy.datasets.contains(&dataset.id)
                || !self.policy.tags.is_disjoint(&dataset.facts.collections)
                || dataset.policies.contains(name)
        });
        if !is_used {
            let message = "this policy offers nothing: no dataset is published under it".to_owned();
            let help =
                format!("name datasets or tags under [what], or publish one with --policy {name}");
            self.add("offers-nothing", Severity::Note, Spot::default(), message, &help);
        }
    }

    /// Where a text stands between quotes in the file; its begin where it does not.
    fn spot_of(&self, text: &str) -> Spot {
        let file = self.site.rules.text(&self.policy.file);
        let found = file.find(&format!("\"{text}\"")).or_else(|| file.find(&format!("'{text}'")));
        found.map(|start| Spot::of(file, start..start + text.len() + 2)).unwrap_or_default()
    }

    fn spot_of_section(&self, section: &str) -> Spot {
        let file = self.site.rules.text(&self.policy.file);
        let found = file.find(section);
        found.map(|start| Spot::of(file, start..start + section.len())).unwrap_or_default()
    }
}

/// The prohibition without condition that forbids what a duty requires.
fn forbidden_duty(policy: &Policy, duty: &Duty) -> Option<String> {
    let is_forbidden = |prohibition: &&Rule| {
        prohibition.constraints.is_empty()
            && prohibition.actions.iter().any(|prohibited| {
                let mut actions = duty.actions.iter();
                actions.any(|action| vocabulary::is_included_in(&action.name, &prohibited.name))
            })
    };
    policy.prohibitions.iter().find(is_forbidden).map(expression::write_rule)
}

fn names(duty: &Duty) -> String {
    duty.actions.iter().map(|action| action.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The instant since which a condition never holds again.
fn ended(constraint: &Constraint, now: Timestamp) -> Option<Timestamp> {
    let Constraint::Atomic(atomic) = constraint else { return None };
    let RightOperand::Instant(end) = atomic.right else { return None };
    let is_over = match atomic.operator {
        Operator::Lt => end <= now,
        Operator::Lteq | Operator::Eq => end < now,
        _ => false,
    };
    is_over.then_some(end)
}

/// The instant before which a condition does not hold.
fn start(constraint: &Constraint) -> Option<Timestamp> {
    let Constraint::Atomic(atomic) = constraint else { return None };
    match (atomic.operator, &atomic.right) {
        (Operator::Gt | Operator::Gteq, RightOperand::Instant(start)) => Some(*start),
        _ => None,
    }
}

/// The comparisons of a constraint, those in groups included.
fn atoms(constraint: &Constraint) -> Vec<&Atomic> {
    let (mut found, mut pending) = (Vec::new(), vec![constraint]);
    while let Some(constraint) = pending.pop() {
        match constraint {
            Constraint::Atomic(atomic) => found.push(atomic),
            Constraint::Logical(logical) => pending.extend(&logical.operands),
            Constraint::NotUnderstood(_) => {}
        }
    }
    found
}

/// Purposes of a site that lists none: each may be misspelt, and near ones most likely are.
fn purposes(site: &Site) -> Vec<Finding> {
    if site.rules.purposes().iter().next().is_some() {
        return Vec::new();
    }
    let mut named: Vec<(String, &CompiledPolicy)> = Vec::new();
    for policy in site.rules.policies() {
        let purposes = crate::terms::named_purposes(&policy.template);
        named.extend(purposes.into_iter().map(|purpose| (purpose, policy.as_ref())));
    }
    let mut findings = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (purpose, policy) in &named {
        let near = seen
            .iter()
            .find(|other| **other != purpose.as_str() && expression::is_near(other, purpose));
        if let Some(near) = near {
            let text = site.rules.text(&policy.file);
            let spot = text
                .find(purpose.as_str())
                .map(|start| Spot::of(text, start..start + purpose.len()));
            let message = format!("the purposes `{purpose}` and `{near}` differ by little");
            let help = "if they are the same, write them alike; list the purposes of the site in purposes.toml, and every other is refused";
            let diagnostic =
                Diagnostic::spotted(&policy.file, text, spot.unwrap_or_default(), message, help)
                    .graded(Severity::Warning);
            findings.push(Finding { code: "unknown-purpose", diagnostic });
        }
        seen.insert(purpose);
    }
    findings
}

//! What only shows beside the other files of the set: restrictions, other policies, and the partners there are.

use super::{Finding, Look, Options, ended, satisfiable};
use crate::diagnostic::{Diagnostic, Severity};
use crate::evaluate::{ConstraintReport, Phase, Request, RuleKind, Status, World, evaluate};
use crate::file::places::RulePlaces;
use crate::file::{RESTRICTIONS_FILE, Restriction, expression};
use crate::inquiry::{Partner, Site};
use crate::odrl::{Constraint, LeftOperand, Rule};
use crate::set::CompiledPolicy;
use crate::terms::implied_all;
use crate::vocabulary;
use std::collections::BTreeSet;

impl Look<'_> {
    /// A permission that a restriction of the site takes away from everybody who may see it, for all that it offers.
    pub(super) fn restricted(&mut self, rule: &Rule, places: &RulePlaces) {
        let site = self.site;
        let stands = site.rules.restrictions().list.iter().find(|restriction| {
            self.is_about_all(restriction)
                && self.audience_members().next().is_some()
                && self
                    .audience_members()
                    .all(|partner| restriction.audience.includes(&partner.subject))
                && restriction.terms.prohibitions.iter().any(|own| self.forbids(own, rule))
        });
        if let Some(restriction) = stands {
            let message = format!(
                "this permission can never hold: line {} of {RESTRICTIONS_FILE} prohibits it ({})",
                restriction.spot.line, restriction.reason
            );
            let help = "remove the permission, or narrow the restriction";
            self.add("restricted", Severity::Warning, places.rule, message, help);
        }
    }

    /// Whether a restriction is about all that the policy offers. What is published under its name only is not known here.
    fn is_about_all(&self, restriction: &Restriction) -> bool {
        let (policy, site) = (self.policy, self.site);
        if restriction.datasets.is_empty() && restriction.tags.is_empty() {
            return true;
        }
        let by_name =
            site.datasets.iter().filter(|dataset| dataset.policies.contains(&policy.name));
        !(policy.datasets.is_empty() && policy.tags.is_empty())
            && policy.datasets.is_subset(&restriction.datasets)
            && policy.tags.is_subset(&restriction.tags)
            && by_name
                .into_iter()
                .all(|dataset| restriction.is_about(&dataset.id, &dataset.facts.collections))
    }

    /// Whether a prohibition holds wherever a permission does.
    fn forbids(&self, prohibition: &Rule, permission: &Rule) -> bool {
        let covered = permission.actions.iter().all(|permitted| {
            prohibition.actions.iter().any(|prohibited| {
                prohibited.refinements.is_empty()
                    && vocabulary::is_included_in(&permitted.name, &prohibited.name)
            })
        });
        let purposes = self.site.rules.purposes();
        !permission.actions.is_empty()
            && covered
            && prohibition.assignee.is_none()
            && implied_all(&prohibition.constraints, &permission.constraints, purposes)
    }

    /// What this policy permits and another prohibits to the same partner about the same dataset.
    pub(super) fn conflicts(&mut self) {
        let (site, policy) = (self.site, self.policy);
        let mut found = Vec::new();
        for other in site.rules.policies() {
            let may_conflict = !other.template.prohibitions.is_empty() && other.name != policy.name;
            if !may_conflict || !shares_dataset(site, policy, other) {
                continue;
            }
            let both = |partner: &&Partner| other.is_visible_to(&partner.subject);
            let Some(partner) = self.audience_members().find(both) else { continue };
            for (index, rule) in policy.template.permissions.iter().enumerate() {
                let mut prohibitions = other.template.prohibitions.iter().enumerate();
                let Some((at, prohibition)) = prohibitions.find(|(_, own)| self.forbids(own, rule))
                else {
                    continue;
                };
                let line = other.places.prohibitions.get(at).map_or(1, |places| places.rule.line);
                let message = format!(
                    "`{}` is permitted here and prohibited by line {line} of {}, both offered to `{}`: each policy is an offer of its own, so the partner may choose the one that permits it",
                    expression::write_rule(rule),
                    other.file,
                    partner.name
                );
                found.push((self.places(true, index).rule, message, prohibition));
            }
        }
        for (spot, message, _) in found {
            let help = "offer them to different partners or for different datasets, or prohibit it in restrictions.toml";
            self.add("conflicting-terms", Severity::Warning, spot, message, help);
        }
    }

    /// A policy that partners may see and none of them can ever use, by who and where they are.
    pub(super) fn unusable(&mut self) {
        let told = [
            "never-holds",
            "over",
            "void",
            "unreachable",
            "no-region",
            "restricted",
            "unknown-partner",
        ];
        if self.findings.iter().any(|finding| told.contains(&finding.code)) {
            return;
        }
        let (site, template) = (self.site, &self.policy.template);
        let mut reason = None;
        for partner in self.audience_members() {
            let world = World::new(self.options.now, &partner.subject, site.rules.purposes());
            let actions = template.permissions.iter().flat_map(|rule| &rule.actions);
            for action in actions {
                let request = Request {
                    action: &action.name,
                    target: "",
                    purposes: &[],
                    phase: Phase::Catalog,
                };
                let answer = evaluate(template, &request, &world);
                let permissions = answer.rules.iter().filter(|report| {
                    report.kind == RuleKind::Permission && report.concerns != Status::Unsatisfied
                });
                for report in permissions {
                    let rule = template.permissions.get(report.index);
                    let conditions = rule.map_or(&[][..], |rule| &rule.constraints);
                    // A region that is too wide grants nothing; other facts that are open here come with the dataset.
                    let fails =
                        |(found, condition): (&ConstraintReport, &Constraint)| match found.status {
                            Status::Undecidable => is_about_region(condition),
                            status => status == Status::Unsatisfied,
                        };
                    let failed = report.constraints.iter().zip(conditions).position(fails);
                    if report.active != Status::Unsatisfied && failed.is_none() {
                        return;
                    }
                    if let (None, Some(at)) = (&reason, failed) {
                        reason = Some((report.index, at, partner.name.clone()));
                    }
                }
            }
        }
        let Some((permission, constraint, partner)) = reason else { return };
        let rule = template.permissions.get(permission);
        let clause = rule.and_then(|rule| rule.constraints.get(constraint)).map(expression::write);
        let message = format!(
            "nobody who may see this offer can use it: `{}` does not hold, for one, for `{partner}`",
            clause.unwrap_or_default()
        );
        let help = "offer it to others under [who], or change the condition";
        let spot = self.places(true, permission).constraint(constraint);
        self.add("unusable", Severity::Warning, spot, message, help);
    }
}

/// Whether some dataset is offered under both policies.
fn shares_dataset(site: &Site, one: &CompiledPolicy, other: &CompiledPolicy) -> bool {
    let offers = |policy: &CompiledPolicy,
                  id: &String,
                  tags: &BTreeSet<String>,
                  named: &BTreeSet<String>| {
        policy.datasets.contains(id)
            || !policy.tags.is_disjoint(tags)
            || named.contains(&policy.name)
    };
    !one.datasets.is_disjoint(&other.datasets)
        || !one.tags.is_disjoint(&other.tags)
        || site.datasets.iter().any(|dataset| {
            offers(one, &dataset.id, &dataset.facts.collections, &dataset.policies)
                && offers(other, &dataset.id, &dataset.facts.collections, &dataset.policies)
        })
}

/// What is most likely a mistake in the restrictions of the site.
pub(super) fn restrictions(site: &Site, options: Options) -> Vec<Finding> {
    let text = site.rules.text(RESTRICTIONS_FILE);
    let is_party = |name: &String| {
        site.rules.groups().contains_key(name)
            || site.partners.iter().any(|partner| partner.subject.participant == *name)
    };
    let mut findings = Vec::new();
    for restriction in &site.rules.restrictions().list {
        let mut add = |code, message: String, help: &str| {
            let spot = restriction.spot;
            let diagnostic = Diagnostic::spotted(RESTRICTIONS_FILE, text, spot, message, help)
                .graded(Severity::Warning);
            findings.push(Finding { code, diagnostic });
        };
        let audience = &restriction.audience;
        for name in audience.partners.iter().chain(&audience.except_partners) {
            if !is_party(name) {
                let message = format!(
                    "`{name}` is not a registered partner, so this binds nobody of that name"
                );
                add(
                    "unknown-partner",
                    message,
                    "name it by its participant id, as `sekisho partner list` shows it",
                );
            }
        }
        // The rules of one entry differ only in their actions.
        let Some(rule) = restriction.terms.prohibitions.first() else { continue };
        if let Some(found) = satisfiable::contradiction(&rule.constraints, site.rules.purposes()) {
            let message = format!("this restriction never applies: {}", found.reason);
            add("never-holds", message, "change one of the conditions, or list them under any-of");
        } else if let Some(end) = rule.constraints.iter().find_map(|c| ended(c, options.now)) {
            let message = format!("this restriction is over since {end}");
            add("over", message, "set a later time, or remove it");
        }
    }
    findings
}

fn is_about_region(condition: &Constraint) -> bool {
    matches!(condition, Constraint::Atomic(atomic) if atomic.left == LeftOperand::Spatial)
}

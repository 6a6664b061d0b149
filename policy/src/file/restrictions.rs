//! `restrictions.toml`: what the site prohibits whatever its policies and agreements permit.
//!
//! ```toml
#![doc = include_str!("restrictions.toml")]
//! ```
//!
//! A restriction ends what it prohibits at once, running transfers included. It grants nothing, and removing it gives back what
//! was agreed.

use super::reader::Reader;
use super::{Audience, keys, rules};
use crate::diagnostic::Spot;
use crate::odrl::{Action, Conflict, Kind, Policy, Rule};
use std::collections::BTreeSet;
use toml::de::DeTable;

/// One prohibition of the site.
#[derive(Debug, Clone, PartialEq)]
pub struct Restriction {
    /// Why, for people.
    pub reason: String,
    /// Whom it binds.
    pub audience: Audience,
    /// The datasets it is about; with no tags either, all.
    pub datasets: BTreeSet<String>,
    /// The tags it is about.
    pub tags: BTreeSet<String>,
    /// The prohibition as ODRL: a Set that permits everything but what it prohibits, so that it is judged as any policy.
    pub terms: Policy,
    /// Where it stands.
    pub spot: Spot,
}

/// The restrictions of a site.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restrictions {
    /// For people.
    pub title: String,
    /// In the order of the file.
    pub list: Vec<Restriction>,
}

impl Restriction {
    /// Whether it is about a dataset.
    #[must_use]
    pub fn is_about(&self, dataset: &str, tags: &BTreeSet<String>) -> bool {
        self.datasets.is_empty() && self.tags.is_empty()
            || self.datasets.contains(dataset)
            || !self.tags.is_disjoint(tags)
    }
}

impl Restrictions {
    /// What stands for restrictions that cannot be read: nothing is permitted to anybody.
    pub(crate) fn unreadable() -> Self {
        let all = Restriction {
            reason: "this site's restrictions cannot be read".to_owned(),
            audience: Audience { anyone_registered: true, ..Audience::default() },
            datasets: BTreeSet::new(),
            tags: BTreeSet::new(),
            terms: but(everything()),
            spot: Spot::default(),
        };
        Self { title: String::new(), list: vec![all] }
    }
}

pub(super) fn restrictions(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Restrictions {
    reader.known(root, "restrictions.toml", keys::RESTRICTIONS);
    let title = reader.text(root, "title").map(|text| text.value).unwrap_or_default();
    let _ = reader.text(root, "description");
    // A file that is being written, or was emptied by mistake, must not give everything back.
    if !root.contains_key("prohibit") {
        let help = "to lift all restrictions write `prohibit = []`, or remove the file";
        reader.finding(0..0, "the file restricts nothing", help);
    }
    let mut list = Vec::new();
    for (span, table) in reader.tables(root, "prohibit") {
        reader.known(table, "[[prohibit]] in restrictions.toml", keys::RESTRICTION);
        let reason = reader.text(table, "reason").map(|text| text.value);
        if reason.is_none() && !table.contains_key("reason") {
            let help = "add reason = \"…\": whoever is stopped by it asks why";
            reader.finding(span.clone(), "this restriction does not say why", help);
        }
        let mut audience = rules::named_parties(reader, table, "groups");
        audience.anyone_registered = audience.partners.is_empty() && audience.groups.is_empty();
        let datasets = rules::named(reader.texts(table, "datasets"));
        let tags = rules::named(reader.texts(table, "tags"));
        let (prohibitions, place) = rules::rule(reader, span, table, "prohibit", "");
        list.push(Restriction {
            reason: reason.unwrap_or_default(),
            audience,
            datasets,
            tags,
            terms: but(prohibitions),
            spot: place.rule,
        });
    }
    Restrictions { title, list }
}

/// Everything is permitted but what is prohibited.
fn but(prohibitions: Vec<Rule>) -> Policy {
    Policy {
        uid: String::new(),
        kind: Kind::Set,
        profiles: Vec::new(),
        conflict: Conflict::Prohibit,
        assigner: None,
        assignee: None,
        target: None,
        inherits: Vec::new(),
        permissions: everything(),
        prohibitions,
        obligations: Vec::new(),
        not_understood: Vec::new(),
    }
}

/// A rule for each action that includes others: every action is included in one of these two (vocabulary 4.3).
fn everything() -> Vec<Rule> {
    let rule = |name: &str| Rule {
        actions: vec![Action { name: name.to_owned(), refinements: Vec::new() }],
        ..Rule::default()
    };
    ["use", "transfer"].map(rule).into()
}

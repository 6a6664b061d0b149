//! What differs between two sets and shows in no outcome: so that nobody approves it as nothing.

use super::{Difference, Outcome, offered};
use crate::file::Handling;
use crate::inquiry::{Dataset, Partner, Site};
use crate::set::CompiledPolicy;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A difference that shows in no outcome of the instant: a time that is yet to come, a dataset that is yet to be published, a
/// condition that a first use fulfils.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unweighed {
    /// A policy is not the same.
    Policy {
        /// Its name.
        name: String,
        /// What became of it.
        what: Edit,
        /// The partners and datasets that it is offered to in either set, where its terms differ and no outcome shows it.
        concerns: Vec<(String, String)>,
    },
    /// The restrictions are not the same.
    Restrictions,
    /// The purposes, or which is part of which, are not the same.
    Purposes,
}

/// What became of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// It is new.
    Added,
    /// It is no longer there.
    Removed,
    /// It is another under the same name.
    Changed,
}

impl fmt::Display for Unweighed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, what, concerns) = match self {
            Self::Policy { name, what, concerns } => (name, what, concerns),
            Self::Restrictions => {
                return formatter.write_str("the site's restrictions are not the same: compare both versions of restrictions.toml");
            }
            Self::Purposes => {
                return formatter.write_str("the site's purposes are not the same: compare both versions of the file of purposes");
            }
        };
        let what = match what {
            Edit::Added => "is new",
            Edit::Removed => "is gone",
            Edit::Changed => "is not the same",
        };
        write!(formatter, "policy {name} {what}, ")?;
        match concerns.as_slice() {
            [] => formatter.write_str("and concerns no partner and dataset that there are now"),
            [(partner, dataset), others @ ..] => {
                write!(formatter, "for {partner} on {dataset}")?;
                if !others.is_empty() {
                    write!(formatter, " and {} others", others.len())?;
                }
                formatter.write_str(
                    ", in what a first use at this instant does not show, such as a time yet to come: read both versions",
                )
            }
        }
    }
}

/// Everything that differs and shows in none of the changes.
pub(super) fn find(old: &Site, new: &Site, changes: &[Difference]) -> Vec<Unweighed> {
    let mut told: BTreeMap<(&str, &str), Vec<(&Outcome, &Outcome)>> = BTreeMap::new();
    for change in changes {
        let pair = (change.partner.as_str(), change.dataset.as_str());
        told.entry(pair).or_default().push((&change.before, &change.after));
    }
    let mut pairs: BTreeMap<String, Pairs> = BTreeMap::new();
    for (partner, dataset) in everything(old, new) {
        let (was, is) = (offers(old, &partner, &dataset), offers(new, &partner, &dataset));
        let names: BTreeSet<&str> = was.keys().chain(is.keys()).copied().collect();
        for name in names.into_iter().filter(|name| was.get(name) != is.get(name)) {
            let shown = told.get(&(partner.name.as_str(), dataset.id.as_str()));
            let is_told = shown.is_some_and(|outcomes| {
                outcomes.iter().any(|(was, is)| was.grants.get(name) != is.grants.get(name))
            });
            let pairs = pairs.entry(name.to_owned()).or_default();
            pairs.is_told |= is_told;
            if !is_told {
                pairs.untold.push((partner.name.clone(), dataset.id.clone()));
            }
        }
    }
    let names = |site: &Site| {
        site.rules.policies().map(|policy| policy.name.clone()).collect::<BTreeSet<_>>()
    };
    let edited = names(old)
        .union(&names(new))
        .filter_map(|name| {
            let what = edit(
                old.rules.policy(name).map(AsRef::as_ref),
                new.rules.policy(name).map(AsRef::as_ref),
            )?;
            let Pairs { is_told, untold: concerns } = pairs.remove(name).unwrap_or_default();
            (!is_told || !concerns.is_empty()).then(|| Unweighed::Policy {
                name: name.clone(),
                what,
                concerns,
            })
        })
        .collect::<Vec<_>>();
    let mut found = edited;
    if restrictions(old) != restrictions(new) {
        found.push(Unweighed::Restrictions);
    }
    if old.rules.purposes() != new.rules.purposes() {
        found.push(Unweighed::Purposes);
    }
    found
}

/// Where a policy's offer differs.
#[derive(Default)]
struct Pairs {
    /// Whether an outcome shows it somewhere.
    is_told: bool,
    /// Where no outcome shows it.
    untold: Vec<(String, String)>,
}

/// Every partner with every dataset of either set.
fn everything<'s>(old: &'s Site, new: &'s Site) -> impl Iterator<Item = (Partner, Dataset)> + 's {
    let datasets: BTreeMap<String, Dataset> = (old.all_datasets().into_iter())
        .chain(new.all_datasets())
        .map(|dataset| (dataset.id.clone(), dataset))
        .collect();
    let datasets: Vec<Dataset> = datasets.into_values().collect();
    let partners: BTreeMap<&str, &Partner> = old
        .partners
        .iter()
        .chain(&new.partners)
        .map(|partner| (partner.name.as_str(), partner))
        .collect();
    partners.into_values().flat_map(move |partner| {
        datasets.clone().into_iter().map(move |dataset| (partner.clone(), dataset))
    })
}

/// What is offered to a partner, by the policy's name: its terms, and who agrees to them.
fn offers<'s>(
    site: &'s Site,
    partner: &Partner,
    dataset: &Dataset,
) -> BTreeMap<&'s str, ([u8; 32], Handling)> {
    offered(site, partner, dataset)
        .map(|policy| (policy.name.as_str(), (policy.hash, policy.handling)))
        .collect()
}

/// What became of a policy; nothing where it offers the same to the same.
fn edit(old: Option<&CompiledPolicy>, new: Option<&CompiledPolicy>) -> Option<Edit> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(Edit::Added),
        (Some(_), None) => Some(Edit::Removed),
        (Some(old), Some(new)) => {
            let is_same = old.hash == new.hash
                && old.handling == new.handling
                && old.audience == new.audience
                && old.datasets == new.datasets
                && old.tags == new.tags;
            (!is_same).then_some(Edit::Changed)
        }
    }
}

/// What the restrictions of a site say, without the words for people.
fn restrictions(site: &Site) -> Vec<String> {
    let list = site.rules.restrictions().list.iter();
    let mut said: Vec<String> = list
        .map(|one| {
            format!("{:?} {:?} {:?} {}", one.audience, one.datasets, one.tags, one.terms.to_json())
        })
        .collect();
    said.sort();
    said
}

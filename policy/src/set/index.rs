//! Finds the policies that concern a request without looking at the others: by partner or group, for a dataset by it or its
//! tags first, then by action.

use super::CompiledPolicy;
use crate::evaluate::Subject;
use crate::vocabulary;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Policies by what they are about and for whom.
#[derive(Debug, Default)]
pub(super) struct Index {
    all: ByParty,
    datasets: HashMap<String, ByParty>,
    tags: HashMap<String, ByParty>,
}

/// Policies by whom they are for.
#[derive(Debug, Default)]
struct ByParty {
    anyone: Vec<Arc<CompiledPolicy>>,
    partners: HashMap<String, Vec<Arc<CompiledPolicy>>>,
    groups: HashMap<String, Vec<Arc<CompiledPolicy>>>,
}

impl Index {
    pub(super) fn new(policies: &BTreeMap<String, Arc<CompiledPolicy>>) -> Self {
        let mut index = Self::default();
        for policy in policies.values() {
            index.all.add(policy);
            for dataset in &policy.datasets {
                index.datasets.entry(dataset.clone()).or_default().add(policy);
            }
            for tag in &policy.tags {
                index.tags.entry(tag.clone()).or_default().add(policy);
            }
        }
        index
    }

    /// Adds to `found` what is about a dataset or one of its tags, visible to a subject, and permits an action.
    pub(super) fn find<'i, 't>(
        &'i self,
        dataset: &str,
        tags: impl IntoIterator<Item = &'t str>,
        subject: &Subject,
        action: &str,
        found: &mut Vec<&'i Arc<CompiledPolicy>>,
    ) {
        let named = self.datasets.get(dataset);
        let tagged = tags.into_iter().filter_map(|tag| self.tags.get(tag));
        for by_party in named.into_iter().chain(tagged) {
            found.extend(by_party.of(subject).filter(|policy| permits(policy, action)));
        }
    }

    /// Those that may be visible to a subject, of whatever datasets. One can come more than once.
    pub(super) fn of(&self, subject: &Subject) -> impl Iterator<Item = &Arc<CompiledPolicy>> {
        self.all.of(subject)
    }
}

impl ByParty {
    /// Those that name the subject, one of its groups, or everyone.
    fn of(&self, subject: &Subject) -> impl Iterator<Item = &Arc<CompiledPolicy>> {
        let partner = self.partners.get(&subject.participant);
        let groups = subject.groups.iter().filter_map(|group| self.groups.get(group));
        std::iter::once(&self.anyone).chain(partner).chain(groups).flatten()
    }

    fn add(&mut self, policy: &Arc<CompiledPolicy>) {
        let audience = &policy.audience;
        if audience.anyone_registered {
            self.anyone.push(Arc::clone(policy));
        }
        for partner in &audience.partners {
            self.partners.entry(partner.clone()).or_default().push(Arc::clone(policy));
        }
        for group in &audience.groups {
            self.groups.entry(group.clone()).or_default().push(Arc::clone(policy));
        }
    }
}

/// Whether some permission names the action or a wider one. What is not understood is left to evaluation.
pub(super) fn permits(policy: &CompiledPolicy, action: &str) -> bool {
    let mut actions = policy.template.permissions.iter().flat_map(|rule| &rule.actions);
    actions.any(|permitted| {
        vocabulary::is_included_in(action, &permitted.name)
            || !vocabulary::is_action(&permitted.name)
    })
}

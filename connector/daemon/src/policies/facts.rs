//! What questions about policies are judged by: a set, partners and datasets, from the files or from a running node.

use std::collections::BTreeSet;

use engine::entity::{Dataset, Partner, PartnerState};
use jiff::Timestamp;
use policy::evaluate::Subject;
use policy::inquiry::{self, Site};
use policy::set::RuleSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::partners::Registry;

/// What ruled at an instant, as a node tells it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// The activation that put the set in force; none before the first.
    pub activation: Option<ActivationFacts>,
    /// SHA-256 of the set itself, hexadecimal.
    pub hash: String,
    /// The set as it is stored: the files, groups and purposes that it was compiled from.
    #[schemars(with = "crate::management::shape::StoredRuleSet")]
    pub set: RuleSet,
    /// The partners then registered.
    pub partners: Vec<PartnerFacts>,
    /// The datasets then published.
    pub datasets: Vec<DatasetFacts>,
}

/// Who put a set in force, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivationFacts {
    /// SHA-256 over the set and the partners' files: what the journal calls it, hexadecimal.
    pub rules: String,
    /// SHA-256 of the set itself, hexadecimal.
    pub set: String,
    /// When.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// By what, such as `file change`.
    pub place: Option<String>,
    /// By whom.
    pub person: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The names of the policies in it.
    pub policies: Vec<String>,
}

/// A partner as policies see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartnerFacts {
    /// Short name.
    pub name: String,
    /// Participant id.
    pub participant: String,
    /// Whether it is not suspended.
    pub active: bool,
    /// Groups.
    pub groups: BTreeSet<String>,
    /// Region, ISO 3166.
    pub region: Option<String>,
}

/// A dataset as policies see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetFacts {
    /// Id.
    pub id: String,
    /// Tags.
    pub tags: BTreeSet<String>,
    /// The policies that it was published under by name.
    pub policies: BTreeSet<String>,
    /// Whether it is neither withdrawn nor damaged.
    pub available: bool,
}

impl Facts {
    /// The site that questions are asked of.
    #[must_use]
    pub fn into_site(self) -> Site {
        Site {
            rules: self.set,
            partners: self.partners.into_iter().map(PartnerFacts::into_partner).collect(),
            datasets: self.datasets.into_iter().map(DatasetFacts::into_dataset).collect(),
        }
    }
}

impl From<&Partner> for PartnerFacts {
    fn from(partner: &Partner) -> Self {
        Self {
            name: partner.name.clone(),
            participant: partner.participant.to_string(),
            active: partner.state == PartnerState::Active,
            groups: partner.groups.clone(),
            region: partner.region.clone(),
        }
    }
}

impl From<&Dataset> for DatasetFacts {
    fn from(dataset: &Dataset) -> Self {
        Self {
            id: dataset.id.to_string(),
            tags: dataset.tags.clone(),
            policies: dataset.policies.clone(),
            available: dataset.is_available(),
        }
    }
}

impl PartnerFacts {
    fn into_partner(self) -> inquiry::Partner {
        inquiry::Partner {
            name: self.name,
            is_active: self.active,
            subject: Subject {
                participant: self.participant,
                groups: self.groups,
                region: self.region,
                ..Subject::default()
            },
        }
    }
}

impl DatasetFacts {
    fn into_dataset(self) -> inquiry::Dataset {
        inquiry::Dataset {
            id: self.id,
            tags: self.tags,
            policies: self.policies,
            is_available: self.available,
        }
    }
}

/// The partners of the files, as policies see them.
#[must_use]
pub fn partners(registry: &Registry) -> Vec<inquiry::Partner> {
    registry.iter().map(|file| PartnerFacts::from(&file.partner).into_partner()).collect()
}

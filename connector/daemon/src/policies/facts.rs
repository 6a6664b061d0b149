//! What questions about policies are judged by: a set, partners and datasets, from the files or from a running node.

use std::collections::{BTreeMap, BTreeSet};

use engine::derived::Lapsed;
use engine::entity::{Dataset, Partner, PartnerState};
use jiff::Timestamp;
use policy::evaluate::{self, Statement, Subject};
use policy::inquiry::{self, Site};
use policy::odrl::Policy;
use policy::set::RuleSet;
use policy::terms::Bound;
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
    /// Where its record is in the journal.
    pub record: String,
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

/// A partner as policies see it: what the node compares ([`engine::judge::subject`]).
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
    /// Network locations: the origins of its endpoints.
    #[serde(default)]
    pub locations: BTreeSet<String>,
    /// What else its file says of it, by the name of the operand.
    #[serde(default)]
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// What credentials say of it, or attestations of its nodes, with their dates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<StatementFacts>,
    /// Whether its node judges the terms for each of its applications: its card lists `hand-over/1`.
    #[serde(default)]
    pub asks_applications: bool,
}

/// What a credential says, or an attestation of a node, while it is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatementFacts {
    /// The operand that it decides.
    pub operand: String,
    /// What it says.
    pub values: BTreeSet<String>,
    /// What it is, and who issued it.
    pub source: String,
    /// The node that it is about; else the participant.
    pub node: Option<String>,
    /// Before this instant it is not valid yet.
    #[schemars(with = "Option<String>")]
    pub valid_from: Option<Timestamp>,
    /// From this instant on it is valid no more.
    #[schemars(with = "Option<String>")]
    pub valid_until: Option<Timestamp>,
}

/// A dataset as policies see it: what the node compares ([`engine::judge::facts`]).
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
    /// IANA media type.
    #[serde(default)]
    pub media_type: Option<String>,
    /// Bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// The edition.
    #[serde(default)]
    pub version: Option<String>,
    /// BCP 47 language.
    #[serde(default)]
    pub language: Option<String>,
    /// What bounds the terms for others, where it was made from received data.
    #[serde(default)]
    pub bounds: Vec<BoundFacts>,
}

/// The terms under which an agreement lets others have what is made of its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BoundFacts {
    /// The agreement, in words.
    pub source: String,
    /// Why nothing may be offered any more.
    pub lapsed: Option<String>,
    /// ODRL policies: an offer has to be as strict as one of each of these lists.
    #[schemars(with = "Vec<Vec<crate::management::shape::OdrlPolicy>>")]
    pub all_of: Vec<Vec<serde_json::Value>>,
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
        let subject = engine::judge::subject(partner);
        Self {
            name: partner.name.clone(),
            participant: partner.participant.to_string(),
            active: partner.state == PartnerState::Active,
            groups: subject.groups,
            region: subject.region,
            locations: subject.locations,
            attributes: subject.attributes,
            statements: subject.statements.into_iter().map(StatementFacts::from).collect(),
            asks_applications: subject.asks_applications,
        }
    }
}

impl DatasetFacts {
    /// A dataset, with those agreements on what it was made from that have ended.
    #[must_use]
    pub fn of(dataset: &Dataset, lapsed: &Lapsed) -> Self {
        let facts = engine::judge::facts(dataset);
        let bounds = engine::derived::bounds(dataset, lapsed).into_iter();
        Self {
            id: dataset.id.to_string(),
            tags: facts.collections,
            policies: dataset.policies.clone(),
            available: dataset.is_available(),
            media_type: facts.media_type,
            size: facts.size,
            version: facts.version,
            language: facts.language,
            bounds: bounds.map(BoundFacts::from).collect(),
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
                locations: self.locations,
                attributes: self.attributes,
                statements: self.statements.into_iter().map(Statement::from).collect(),
                asks_applications: self.asks_applications,
                ..Subject::default()
            },
        }
    }
}

impl DatasetFacts {
    fn into_dataset(self) -> inquiry::Dataset {
        inquiry::Dataset {
            id: self.id,
            facts: evaluate::Facts {
                collections: self.tags,
                media_type: self.media_type,
                size: self.size,
                version: self.version,
                language: self.language,
                ..evaluate::Facts::unpublished()
            },
            policies: self.policies,
            is_available: self.available,
            bounds: self.bounds.into_iter().map(BoundFacts::into_bound).collect(),
        }
    }
}

impl From<Statement> for StatementFacts {
    fn from(said: Statement) -> Self {
        let Statement { operand, values, source, node, from, until } = said;
        Self { operand, values, source, node, valid_from: from, valid_until: until }
    }
}

impl From<StatementFacts> for Statement {
    fn from(said: StatementFacts) -> Self {
        let StatementFacts { operand, values, source, node, valid_from, valid_until } = said;
        Self { operand, values, source, node, from: valid_from, until: valid_until }
    }
}

impl From<Bound> for BoundFacts {
    fn from(bound: Bound) -> Self {
        let all_of = bound.all_of.iter();
        Self {
            all_of: all_of.map(|any_of| any_of.iter().map(Policy::to_json).collect()).collect(),
            source: bound.source,
            lapsed: bound.lapsed,
        }
    }
}

impl BoundFacts {
    fn into_bound(self) -> Bound {
        let read = |any_of: &Vec<serde_json::Value>| any_of.iter().map(Policy::from_json).collect();
        // What cannot be read bounds everything.
        let all_of: Result<_, _> = self.all_of.iter().map(read).collect();
        Bound { source: self.source, lapsed: self.lapsed, all_of: all_of.unwrap_or_default() }
    }
}

/// The partners of the files, as policies see them.
#[must_use]
pub fn partners(registry: &Registry) -> Vec<inquiry::Partner> {
    registry.iter().map(|file| PartnerFacts::from(&file.partner).into_partner()).collect()
}

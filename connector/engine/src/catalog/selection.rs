//! Which datasets are looked at for a catalog: what an index finds without touching any other.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::id::DatasetId;
use serde::{Deserialize, Serialize};

use crate::entity::Dataset;

/// One property by which an index finds datasets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// The dataset of this id.
    Id(DatasetId),
    /// Those with a tag.
    Tag(String),
    /// Those to which a policy was assigned by name.
    Policy(String),
    /// Those of a media type.
    MediaType(String),
    /// All that are offered.
    Any,
}

impl Selector {
    /// By what a dataset is found beside its id; nothing where it is not offered.
    pub fn of(dataset: &Dataset) -> BTreeSet<Self> {
        if !dataset.is_available() {
            return BTreeSet::new();
        }
        let tags = dataset.tags.iter().cloned().map(Self::Tag);
        let policies = dataset.policies.iter().cloned().map(Self::Policy);
        tags.chain(policies).chain([Self::MediaType(dataset.media_type.clone())]).collect()
    }

    /// Whether a dataset is found by it.
    pub fn finds(&self, dataset: &Dataset) -> bool {
        match self {
            Self::Id(id) => dataset.id == *id && dataset.is_available(),
            Self::Any => dataset.is_available(),
            other => Self::of(dataset).contains(other),
        }
    }
}

/// From where in the order of ids, and which way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Start {
    /// The least first.
    #[default]
    First,
    /// Those after an id, the least first.
    After(DatasetId),
    /// Those before an id, the greatest first.
    Before(DatasetId),
}

impl Start {
    /// Whether it leads to the lesser ids.
    pub fn is_backwards(&self) -> bool {
        matches!(self, Self::Before(_))
    }
}

/// Datasets to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// A dataset has to be found by at least one selector of each of these; by none where there are none.
    pub all_of: Vec<BTreeSet<Selector>>,
    /// Where to begin.
    pub start: Start,
    /// How many at most.
    pub limit: usize,
}

/// Datasets that were found, in the order that was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selected {
    /// The datasets.
    pub datasets: Vec<Arc<Dataset>>,
    /// The id up to which was looked, where there may be more beyond it.
    pub more_from: Option<DatasetId>,
}

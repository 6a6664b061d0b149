//! The filter that this node knows in a CatalogRequestMessage (DSP 2025-1 leaves the language to the provider).
//!
//! `filter` is a list of objects. A dataset has to meet every object, and every member of each; a member whose value is a
//! list is met by any of its values. The members are `id`, `tag`, `mediaType` and `language`, each exactly as the catalog
//! shows it, and `text`: words that all have to be in id, title, description or tags, in any case. An object may also be the
//! QuerySpec that EDC connectors send (`query_spec`). Anything else is refused.

mod query_spec;

use std::collections::BTreeSet;

use protocol::id::DatasetId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::selection::Selector;
use crate::entity::Dataset;
use query_spec::QuerySpec;

/// The most conditions of a filter, and the most values or words of each.
const COUNT_MAX: usize = 32;
/// The longest value, in bytes.
const VALUE_BYTES_MAX: usize = 512;
/// The most bytes of a filter as it is written into the link to a page, two of which have to fit the head of an answer.
const BYTES_MAX: usize = 2_048;
/// What can be asked for, for those who ask for something else.
const KNOWN: &str = "a filter is a list of objects with the members id, tag, mediaType, language or text, each a text or \
    a list of texts, or an EDC QuerySpec";

/// What a partner asks of our catalog: which datasets, how many at a time, and how many of them it does not want to see. Two
/// that were read from the same JSON have the same serialised form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Which datasets.
    pub filter: Filter,
    /// How many of a page at most; else as many as a page has.
    pub limit: Option<usize>,
    /// How many are left out from the first on.
    pub offset: usize,
}

/// Which datasets a partner wants to see. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter(Vec<Condition>);

/// One condition; all of a filter have to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Condition {
    /// Its id is one of these.
    Id(BTreeSet<DatasetId>),
    /// It has one of these tags.
    Tag(BTreeSet<String>),
    /// Its media type is one of these.
    MediaType(BTreeSet<String>),
    /// Its language is one of these.
    Language(BTreeSet<String>),
    /// It has all of these words, which are in lower case.
    Text(BTreeSet<String>),
}

/// A filter that this node does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// An entry is not an object.
    #[error("entry {entry} of the filter is not an object; {KNOWN}")]
    NotAnObject {
        /// Its number, from 1.
        entry: usize,
    },
    /// A member is none of those that are known.
    #[error("the filter asks for `{member}`; {KNOWN}")]
    Unknown {
        /// The member's name, cut.
        member: String,
    },
    /// A member's value is no text and no list of them.
    #[error("the filter's `{member}` has no text to look for; {KNOWN}")]
    Value {
        /// The member.
        member: &'static str,
    },
    /// A QuerySpec asks for what this node cannot do.
    #[error("the QuerySpec's `{member}` cannot be honoured: {reason}")]
    QuerySpec {
        /// The member.
        member: &'static str,
        /// What is wrong with it, and what can be asked for.
        reason: String,
    },
    /// More than is looked at.
    #[error(
        "the filter is too large: at most {COUNT_MAX} conditions, of {COUNT_MAX} values of {VALUE_BYTES_MAX} bytes each, and \
         {BYTES_MAX} bytes in all"
    )]
    TooLarge,
}

impl Query {
    /// Reads the `filter` of a CatalogRequestMessage.
    ///
    /// # Errors
    /// [`FilterError`]: what is not understood is refused, never ignored.
    pub fn read(entries: &[Value]) -> Result<Self, FilterError> {
        let mut query = Self::default();
        let mut specified = false;
        let conditions = &mut query.filter.0;
        for (number, entry) in entries.iter().enumerate() {
            let members = entry
                .as_object()
                .ok_or(FilterError::NotAnObject { entry: number.saturating_add(1) })?;
            if let Some(spec) = QuerySpec::read(members)? {
                if std::mem::replace(&mut specified, true) {
                    return Err(QuerySpec::twice());
                }
                conditions.extend(spec.conditions);
                (query.limit, query.offset) = (spec.limit, spec.offset);
                continue;
            }
            for (member, value) in members {
                if conditions.len() == COUNT_MAX {
                    return Err(FilterError::TooLarge);
                }
                conditions.extend(Condition::read(member, value)?);
            }
        }
        let is_large =
            serde_json::to_vec(&query.filter).map_or(true, |bytes| bytes.len() > BYTES_MAX);
        if is_large || query.filter.0.len() > COUNT_MAX {
            Err(FilterError::TooLarge)
        } else {
            Ok(query)
        }
    }
}

impl Filter {
    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a dataset meets it.
    pub fn admits(&self, dataset: &Dataset) -> bool {
        self.0.iter().all(|condition| condition.admits(dataset))
    }

    /// For each condition that the index knows: what a dataset has to have one of.
    pub(super) fn selectors(&self) -> impl Iterator<Item = BTreeSet<Selector>> {
        self.0.iter().filter_map(|condition| match condition {
            Condition::Id(ids) => Some(ids.iter().cloned().map(Selector::Id).collect()),
            Condition::Tag(tags) => Some(tags.iter().cloned().map(Selector::Tag).collect()),
            Condition::MediaType(types) => {
                Some(types.iter().cloned().map(Selector::MediaType).collect())
            }
            Condition::Language(_) | Condition::Text(_) => None,
        })
    }
}

impl Condition {
    /// Nothing where the member says nothing about the datasets.
    fn read(member: &str, value: &Value) -> Result<Option<Self>, FilterError> {
        Ok(Some(match member {
            "id" | "@id" => Self::ids(&texts("id", value)?),
            "tag" => Self::Tag(texts("tag", value)?),
            "mediaType" => Self::MediaType(texts("mediaType", value)?),
            "language" => Self::Language(texts("language", value)?),
            "text" => {
                let texts = texts("text", value)?;
                let words: BTreeSet<String> = texts
                    .iter()
                    .flat_map(|text| text.split_whitespace())
                    .map(str::to_lowercase)
                    .collect();
                if words.len() > COUNT_MAX {
                    return Err(FilterError::TooLarge);
                }
                Self::Text(words)
            }
            // JSON-LD: what kind of object it is, not what is looked for.
            "@type" => return Ok(None),
            other => {
                let member = other.chars().take(64).collect::<String>().escape_debug().to_string();
                return Err(FilterError::Unknown { member });
            }
        }))
    }

    /// What has one of these ids. What is no identifier is the id of nothing.
    fn ids(ids: &BTreeSet<String>) -> Self {
        Self::Id(ids.iter().filter_map(|id| DatasetId::new(id).ok()).collect())
    }

    fn admits(&self, dataset: &Dataset) -> bool {
        match self {
            Self::Id(ids) => ids.contains(&dataset.id),
            Self::Tag(tags) => !tags.is_disjoint(&dataset.tags),
            Self::MediaType(types) => types.contains(&dataset.media_type),
            Self::Language(languages) => {
                dataset.language.as_ref().is_some_and(|language| languages.contains(language))
            }
            Self::Text(words) => {
                let texts: Vec<String> = [dataset.id.as_str(), &dataset.title]
                    .into_iter()
                    .chain(dataset.description.as_deref())
                    .chain(dataset.tags.iter().map(String::as_str))
                    .map(str::to_lowercase)
                    .collect();
                words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
            }
        }
    }
}

/// A text, or a list of them.
fn texts(member: &'static str, value: &Value) -> Result<BTreeSet<String>, FilterError> {
    let values = match value {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    if values.len() > COUNT_MAX {
        return Err(FilterError::TooLarge);
    }
    let texts: Option<BTreeSet<String>> =
        values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    let texts = texts.filter(|texts| !texts.is_empty()).ok_or(FilterError::Value { member })?;
    if texts.iter().any(|text| text.len() > VALUE_BYTES_MAX) {
        return Err(FilterError::TooLarge);
    }
    Ok(texts)
}

#[cfg(test)]
mod tests;

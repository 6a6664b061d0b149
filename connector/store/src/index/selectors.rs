//! Secondary entries of the index: by which properties a dataset is found.
//!
//! An entry has no value; its key is a byte that no kind of entity has, sixteen bytes of the selector's SHA-256, and the
//! dataset's id. So the entries of one selector are a range in the order of ids. They are written in the same batch as the
//! dataset: the index never shows one without the other.

use std::collections::{BTreeMap, BTreeSet};

use engine::catalog::Selector;
use engine::{Entity, Kind};
use sha2::{Digest as _, Sha256};

use super::IndexError;
use super::value::{decode_value, encode_value};
use crate::state::{Stored, StoredKey};

/// What the key of an entry begins with. Kinds of entities count up from 1.
const ENTRY: u8 = 0xF0;
/// The bytes of a selector's hash that a key has.
const HASH_BYTES: usize = 16;

/// What the keys of a selector's entries begin with; `None` for an id, under which the dataset itself is. For all datasets
/// their own keys are the entries.
pub(super) fn prefix(selector: &Selector) -> Option<Vec<u8>> {
    let (kind, text) = match selector {
        Selector::Id(_) => return None,
        Selector::Any => return Some(vec![Kind::Dataset as u8]),
        Selector::Tag(tag) => (b't', tag),
        Selector::Policy(policy) => (b'p', policy),
        Selector::MediaType(media_type) => (b'm', media_type),
    };
    let hash = Sha256::new().chain_update([kind]).chain_update(text).finalize();
    let mut prefix = vec![ENTRY];
    prefix.extend(hash.iter().take(HASH_BYTES));
    Some(prefix)
}

/// Writes of cold entities, with the entries that follow from them.
pub(super) struct Changes<'a> {
    database: &'a sled::Db,
    /// Whether nothing is in the database that an entry could be of.
    is_new: bool,
    batch: sled::Batch,
    /// The selectors of datasets that were written before in this batch.
    seen: BTreeMap<StoredKey, BTreeSet<Selector>>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(database: &'a sled::Db) -> Self {
        Self { database, is_new: false, batch: sled::Batch::default(), seen: BTreeMap::new() }
    }

    /// For a database that is filled for the first time, each key once.
    pub(super) fn of_new(database: &'a sled::Db) -> Self {
        Self { is_new: true, ..Self::new(database) }
    }

    /// An entity in its new form, or its removal.
    pub(super) fn put(&mut self, key: StoredKey, value: Option<&Stored>) -> Result<(), IndexError> {
        let entity = value.map(|stored| stored.entity.as_ref());
        self.select(&key, entity)?;
        match value {
            Some(stored) => self.batch.insert(key, encode_value(stored)?),
            None => self.batch.remove(key),
        }
        Ok(())
    }

    /// As [`Changes::put`], of a value in its stored form.
    pub(super) fn put_encoded(&mut self, key: StoredKey, value: Vec<u8>) -> Result<(), IndexError> {
        if is_dataset(&key) {
            let stored = decode_value(&value)?;
            self.select(&key, Some(&stored.entity))?;
        }
        self.batch.insert(key, value);
        Ok(())
    }

    pub(super) fn apply(self) -> Result<(), IndexError> {
        self.database.apply_batch(self.batch)?;
        Ok(())
    }

    fn select(&mut self, key: &StoredKey, entity: Option<&Entity>) -> Result<(), IndexError> {
        if !is_dataset(key) {
            return Ok(());
        }
        let id = key.get(1..).unwrap_or_default();
        let selectors = entity.map(selectors_of).unwrap_or_default();
        let earlier = match self.seen.remove(key) {
            Some(earlier) => earlier,
            None if self.is_new => BTreeSet::new(),
            None => match self.database.get(key)? {
                Some(bytes) => selectors_of(&decode_value(&bytes)?.entity),
                None => BTreeSet::new(),
            },
        };
        for selector in earlier.difference(&selectors) {
            self.batch.remove(entry(selector, id));
        }
        for selector in selectors.difference(&earlier) {
            self.batch.insert(entry(selector, id), &[]);
        }
        if !self.is_new {
            self.seen.insert(key.clone(), selectors);
        }
        Ok(())
    }
}

fn is_dataset(key: &StoredKey) -> bool {
    key.first() == Some(&(Kind::Dataset as u8))
}

fn selectors_of(entity: &Entity) -> BTreeSet<Selector> {
    match entity {
        Entity::Dataset(dataset) => Selector::of(dataset),
        _ => BTreeSet::new(),
    }
}

fn entry(selector: &Selector, id: &[u8]) -> Vec<u8> {
    let mut key = prefix(selector).unwrap_or_default();
    key.extend_from_slice(id);
    key
}

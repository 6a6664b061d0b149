//! The state that decisions see: hot entities, and effects on cold ones that the index may not have yet.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use engine::{Entity, FIRST_EPOCH, Key, Kind, Need, Position, View, Write};
use jiff::Timestamp;
use protocol::id::ParticipantId;

/// A key in its stored form. Byte order is key order, so ranges of it are ranges of keys.
pub(crate) type StoredKey = Vec<u8>;

/// An entity and its version: the position of the record that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) entity: Arc<Entity>,
    pub(crate) version: Position,
}

/// What was read from the index for one decision, and the offset up to which the index had applied the journal before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loaded(HashMap<StoredKey, (Option<Stored>, u64)>);

impl Loaded {
    pub(crate) fn insert(&mut self, key: StoredKey, value: Option<Stored>, applied: u64) {
        self.0.insert(key, (value, applied));
    }
}

/// A write to a key whose entities may be cold. It stays here until the index has it.
#[derive(Debug, Clone)]
struct Recent {
    value: Option<Stored>,
    /// The offset of the frame that it is in.
    frame: u64,
}

/// What a key held before a group, to put back when the group cannot be stored.
#[derive(Debug)]
struct Undo {
    key: StoredKey,
    hot: Option<Stored>,
    recent: Option<Recent>,
}

/// What one write does to the index: a value of at most [`crate::index::VALUE_BYTES_MAX`], or its removal.
#[derive(Debug, Clone)]
pub(crate) struct ColdWrite {
    pub(crate) key: StoredKey,
    pub(crate) value: Option<Stored>,
}

/// The state in memory. One thread owns it.
#[derive(Debug, Default)]
pub(crate) struct State {
    // INVARIANT: what is here is newer than anything under the same key in `recent` or in the index. The index may keep
    // an older value of a hot entity; nobody sees it, and a removal reaches the index too.
    hot: BTreeMap<StoredKey, Stored>,
    recent: BTreeMap<StoredKey, Recent>,
    /// How many of the processes in `hot` are open, by what the keys of their partner's processes begin with.
    open: HashMap<Vec<u8>, Open>,
    undo: Vec<Undo>,
    /// Effects of frames before this offset may be gone from `recent`: what was read from the index before it had them is out of date.
    forgotten: u64,
    /// What the next tidying may forget.
    forget_next: u64,
}

/// How many processes that a partner began are open.
#[derive(Debug, Default, PartialEq)]
struct Open {
    negotiations: usize,
    transfers: usize,
}

impl Open {
    fn of(&mut self, transfers: bool) -> &mut usize {
        if transfers { &mut self.transfers } else { &mut self.negotiations }
    }
}

enum Found<'a> {
    Here(&'a Stored),
    Absent,
    NotLoaded,
}

impl State {
    /// The state in which a start begins: hot entities of a snapshot.
    pub(crate) fn insert_hot(&mut self, key: StoredKey, stored: Stored) {
        self.put_hot(&key, Some(stored));
    }

    /// Puts an entity into memory, or takes it out, and gives back what was there.
    fn put_hot(&mut self, key: &StoredKey, stored: Option<Stored>) -> Option<Stored> {
        let opened = stored.as_ref().and_then(open_process);
        let before = match stored {
            Some(stored) => self.hot.insert(key.clone(), stored),
            None => self.hot.remove(key),
        };
        let closed = before.as_ref().and_then(open_process);
        if opened != closed {
            let partner = of_partner(key);
            let open = self.open.entry(partner.to_vec()).or_default();
            if let Some(transfer) = opened {
                *open.of(transfer) += 1;
            }
            if let Some(transfer) = closed {
                let count = open.of(transfer);
                *count = count.saturating_sub(1);
            }
            if *open == Open::default() {
                self.open.remove(partner);
            }
        }
        before
    }

    /// Applies a write and says what it does to the index, if anything.
    pub(crate) fn apply(&mut self, write: Write, version: Position) -> Option<ColdWrite> {
        let key = write.key.encode();
        let may_be_cold = Entity::may_be_cold(write.key.kind());
        let stored = write.entity.map(|entity| Stored { entity: Arc::new(entity), version });
        let hot = match &stored {
            Some(stored) if !may_be_cold || stored.entity.is_hot() => {
                self.put_hot(&key, Some(stored.clone()))
            }
            _ => self.put_hot(&key, None),
        };
        let in_memory = stored.as_ref().is_some_and(|stored| stored.entity.is_hot());
        if !may_be_cold || in_memory {
            let recent = self.recent.get(&key).cloned();
            self.undo.push(Undo { key, hot, recent });
            return None;
        }
        let recent = Recent { value: stored.clone(), frame: version.frame };
        let recent = self.recent.insert(key.clone(), recent);
        self.undo.push(Undo { key: key.clone(), hot, recent });
        Some(ColdWrite { key, value: stored })
    }

    /// Applies a write of the journal at a start. What is cold is left to the index.
    pub(crate) fn replay(&mut self, write: Write, version: Position) {
        let key = write.key.encode();
        match write.entity {
            Some(entity) if entity.is_hot() => {
                self.put_hot(&key, Some(Stored { entity: Arc::new(entity), version }))
            }
            _ => self.put_hot(&key, None),
        };
    }

    /// Keeps everything that was applied since the last call.
    pub(crate) fn keep(&mut self) {
        self.undo.clear();
    }

    /// Takes back everything that was applied since the last [`State::keep`].
    pub(crate) fn take_back(&mut self) {
        while let Some(Undo { key, hot, recent }) = self.undo.pop() {
            self.put_hot(&key, hot);
            match recent {
                Some(recent) => self.recent.insert(key, recent),
                None => self.recent.remove(&key),
            };
        }
    }

    /// Keeps a cold entity in memory that the index already has, for a permit whose ground it is.
    pub(crate) fn pin(&mut self, key: &StoredKey, loaded: &Loaded) {
        if self.hot.contains_key(key) || self.recent.contains_key(key) {
            return;
        }
        if let Some((value, applied)) = loaded.0.get(key)
            && *applied >= self.forgotten
        {
            let frame = value.as_ref().map_or(0, |stored| stored.version.frame);
            self.recent.insert(key.clone(), Recent { value: value.clone(), frame });
        }
    }

    /// Forgets effects that the index has had since the call before this one, but for `pinned` keys. What is read from
    /// the index between two calls therefore stays valid for at least the time from one to the next.
    pub(crate) fn forget(&mut self, applied: u64, pinned: impl Fn(&StoredKey) -> bool) {
        let limit = std::mem::replace(&mut self.forget_next, applied);
        self.recent.retain(|key, recent| recent.frame >= limit || pinned(key));
        self.forgotten = limit;
    }

    /// The epoch that the site's logs are in.
    pub(crate) fn epoch(&self) -> u32 {
        match self.hot.get(&Key::Site.encode()).map(|stored| stored.entity.as_ref()) {
            Some(Entity::Site(site)) => site.epoch,
            _ => FIRST_EPOCH,
        }
    }

    /// How many keys have effects here that the index may not have yet.
    pub(crate) fn recent(&self) -> usize {
        self.recent.len()
    }

    /// Those of the keys that a decision could not see.
    pub(crate) fn missing(&self, keys: &[Key], loaded: &Loaded) -> Vec<Key> {
        keys.iter().filter(|key| self.find(key, loaded).is_err()).cloned().collect()
    }

    /// The entities of a kind in memory after a key, in order, with keys that are known to be gone; and the last key up
    /// to which this is complete, when `limit` entities were found before the end.
    pub(crate) fn range(&self, kind: Kind, after: Option<&StoredKey>, limit: usize) -> InMemory {
        let bounds = kind_bounds(kind, after);
        let mut merged: BTreeMap<StoredKey, Option<Stored>> = BTreeMap::new();
        let mut hot = self.hot.range(bounds.clone()).peekable();
        let mut recent = self.recent.range(bounds).peekable();
        let mut live = 0;
        while live < limit {
            let take_hot = match (hot.peek(), recent.peek()) {
                (None, None) => return InMemory { entries: merged, complete_to: None },
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((hot, _)), Some((recent, _))) => hot <= recent,
            };
            if take_hot {
                if let Some((key, stored)) = hot.next() {
                    recent.next_if(|(other, _)| *other == key);
                    merged.insert(key.clone(), Some(stored.clone()));
                    live += 1;
                }
            } else if let Some((key, effect)) = recent.next() {
                live += usize::from(effect.value.is_some());
                merged.insert(key.clone(), effect.value.clone());
            }
        }
        let complete_to = merged.last_key_value().map(|(key, _)| key.clone());
        InMemory { entries: merged, complete_to }
    }

    /// The entity under a key, where it is hot.
    pub(crate) fn hot(&self, key: &Key) -> Option<Arc<Entity>> {
        self.hot.get(&key.encode()).map(|stored| Arc::clone(&stored.entity))
    }

    fn find<'a>(&'a self, key: &Key, loaded: &'a Loaded) -> Result<Option<&'a Stored>, Need> {
        let stored = key.encode();
        match self.find_in_memory(&stored, key.kind()) {
            Found::Here(found) => Ok(Some(found)),
            Found::Absent => Ok(None),
            Found::NotLoaded => match loaded.0.get(&stored) {
                Some((value, applied)) if *applied >= self.forgotten => Ok(value.as_ref()),
                _ => Err(Need(vec![key.clone()])),
            },
        }
    }

    fn find_in_memory(&self, key: &StoredKey, kind: Kind) -> Found<'_> {
        if let Some(stored) = self.hot.get(key) {
            return Found::Here(stored);
        }
        match self.recent.get(key) {
            Some(Recent { value: Some(stored), .. }) => Found::Here(stored),
            Some(Recent { value: None, .. }) => Found::Absent,
            None if Entity::may_be_cold(kind) => Found::NotLoaded,
            None => Found::Absent,
        }
    }
}

/// The part of a scan that memory answers.
#[derive(Debug)]
pub(crate) struct InMemory {
    pub(crate) entries: BTreeMap<StoredKey, Option<Stored>>,
    pub(crate) complete_to: Option<StoredKey>,
}

/// All stored keys of a kind, after one of them where one is given.
pub(crate) fn kind_bounds(
    kind: Kind,
    after: Option<&StoredKey>,
) -> (Bound<StoredKey>, Bound<StoredKey>) {
    let start = match after {
        Some(key) => Bound::Excluded(key.clone()),
        None => Bound::Included(vec![kind as u8]),
    };
    (start, Bound::Excluded(vec![(kind as u8).saturating_add(1)]))
}

/// The state as one decision sees it.
pub(crate) struct Present<'a> {
    pub(crate) state: &'a State,
    pub(crate) loaded: &'a Loaded,
    pub(crate) now: Timestamp,
}

impl View for Present<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn entity(&self, key: &Key) -> Result<Option<Arc<Entity>>, Need> {
        Ok(self.state.find(key, self.loaded)?.map(|stored| Arc::clone(&stored.entity)))
    }

    fn version(&self, key: &Key) -> Result<Option<Position>, Need> {
        Ok(self.state.find(key, self.loaded)?.map(|stored| stored.version))
    }

    fn open_processes(&self, participant: &ParticipantId, transfers: bool) -> usize {
        let open = self.state.open.get(&Key::peer_processes(participant));
        open.map_or(0, |open| if transfers { open.transfers } else { open.negotiations })
    }
}

/// Whether an entity is an open process that a partner began, and then whether it is a transfer.
fn open_process(stored: &Stored) -> Option<bool> {
    match stored.entity.as_ref() {
        Entity::PeerProcess(process) if !process.closed => Some(process.transfer),
        _ => None,
    }
}

/// What the stored key of a partner's process begins with, [`Key::peer_processes`]: all before the process id.
fn of_partner(key: &StoredKey) -> &[u8] {
    let end = key.iter().rposition(|byte| *byte == 0);
    end.and_then(|end| key.get(..=end)).unwrap_or_default()
}

#[cfg(test)]
mod tests;

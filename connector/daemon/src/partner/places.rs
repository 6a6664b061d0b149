//! How much a partner may do at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::id::ParticipantId;

/// Places for one kind of work, in all and for each partner.
#[derive(Debug, Clone)]
pub struct Places {
    taken: Arc<Mutex<HashMap<ParticipantId, usize>>>,
    most: usize,
    most_per_partner: usize,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    taken: Arc<Mutex<HashMap<ParticipantId, usize>>>,
    participant: ParticipantId,
}

impl Places {
    /// So many places.
    pub fn new(most: usize, most_per_partner: usize) -> Self {
        Self { taken: Arc::default(), most, most_per_partner }
    }

    /// Takes a place, where one is free. `own` is a limit of this partner alone, instead of that of each.
    pub fn take(&self, participant: &ParticipantId, own: Option<usize>) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let of_partner = taken.get(participant).copied().unwrap_or_default();
        if all >= self.most || of_partner >= own.unwrap_or(self.most_per_partner) {
            return None;
        }
        taken.insert(participant.clone(), of_partner + 1);
        Some(Place { taken: Arc::clone(&self.taken), participant: participant.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.participant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.participant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_each_partner_and_in_all_and_given_back() {
        let (one, two) = ("urn:one".parse().unwrap(), "urn:two".parse().unwrap());
        let places = Places::new(3, 2);
        let first = places.take(&one, None).unwrap();
        let second = places.take(&one, None).unwrap();
        assert!(places.take(&one, None).is_none(), "one has two");
        let third = places.take(&two, None).unwrap();
        assert!(places.take(&two, None).is_none(), "all have three");
        drop(first);
        assert!(places.take(&two, Some(1)).is_none(), "it has a limit of its own");
        drop((second, third));
        assert!(places.take(&two, Some(1)).is_some());
    }
}

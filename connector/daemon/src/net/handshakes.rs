//! The places for TLS handshakes under way, which strangers can take as well as partners.
//!
//! Nobody waits for one. When all are taken, whoever comes gets the place of the oldest handshake of the address that has most
//! (RFC 4987, section 3.3, does so with half-open connections). So those that hold many places, and are in no hurry, lose them one by one, and a partner's handshake,
//! which takes two round trips, is over before it is the oldest.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The places.
#[derive(Debug, Clone)]
pub(super) struct Handshakes {
    most: usize,
    most_of_one: usize,
    under_way: Arc<Mutex<UnderWay>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    /// By address, the oldest first.
    by_address: HashMap<IpAddr, VecDeque<(u64, CancellationToken)>>,
    count: usize,
    /// The number of the next one.
    next: u64,
}

/// A handshake that has a place, until it is dropped or displaced.
#[derive(Debug)]
pub(super) struct Begun {
    under_way: Arc<Mutex<UnderWay>>,
    address: IpAddr,
    number: u64,
    displaced: CancellationToken,
}

impl Handshakes {
    /// So many places, and so many at most for one address.
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, under_way: Arc::default() }
    }

    /// A place for a handshake with an address; none where it has as many as it may. Another one may lose its own.
    pub(super) fn begin(&self, address: IpAddr) -> Option<Begun> {
        let mut under_way = locked(&self.under_way);
        let held = under_way.by_address.get(&address).map_or(0, VecDeque::len);
        if held >= self.most_of_one {
            return None;
        }
        while under_way.count >= self.most && under_way.displace() {}
        let (number, displaced) = (under_way.next, CancellationToken::new());
        under_way.next = number.wrapping_add(1);
        under_way.count = under_way.count.saturating_add(1);
        let of_address = under_way.by_address.entry(address).or_default();
        of_address.push_back((number, displaced.clone()));
        drop(under_way);
        Some(Begun { under_way: Arc::clone(&self.under_way), address, number, displaced })
    }
}

impl Begun {
    /// Completes when another handshake has taken the place.
    pub(super) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        locked(&self.under_way).remove(self.address, self.number);
    }
}

impl UnderWay {
    /// Takes the place of the oldest of the address that has most; of those that have equally many, of the oldest. Whether there
    /// was one.
    fn displace(&mut self) -> bool {
        let oldest =
            |numbers: &VecDeque<(u64, CancellationToken)>| numbers.front().map(|one| one.0);
        let most = (self.by_address.iter())
            .filter_map(|(address, held)| Some((held.len(), Reverse(oldest(held)?), *address)))
            .max();
        let Some((_, Reverse(number), address)) = most else { return false };
        self.remove(address, number).inspect(CancellationToken::cancel).is_some()
    }

    fn remove(&mut self, address: IpAddr, number: u64) -> Option<CancellationToken> {
        let held = self.by_address.get_mut(&address)?;
        let place = held.iter().position(|(one, _)| *one == number)?;
        let (_, displaced) = held.remove(place)?;
        if held.is_empty() {
            self.by_address.remove(&address);
        }
        self.count = self.count.saturating_sub(1);
        Some(displaced)
    }
}

fn locked(under_way: &Mutex<UnderWay>) -> MutexGuard<'_, UnderWay> {
    // Nothing under the lock can fail half way.
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Which of these have lost their places.
    fn lost(begun: &[Begun]) -> Vec<usize> {
        let is_lost = |(place, one): (usize, &Begun)| one.displaced.is_cancelled().then_some(place);
        begun.iter().enumerate().filter_map(is_lost).collect()
    }

    #[test]
    fn the_oldest_of_the_address_that_has_most_makes_room() {
        let handshakes = Handshakes::new(4, 3);
        let mut begun: Vec<Begun> =
            [1, 2, 2, 1].map(|last| handshakes.begin(address(last)).unwrap()).into();
        assert_eq!(lost(&begun), Vec::<usize>::new());
        begun.push(handshakes.begin(address(3)).unwrap());
        assert_eq!(lost(&begun), [0], "of two that have equally many, the oldest");
        begun.push(handshakes.begin(address(4)).unwrap());
        assert_eq!(lost(&begun), [0, 1]);
        // All have one now: the oldest, whose it may be.
        begun.push(handshakes.begin(address(1)).unwrap());
        assert_eq!(lost(&begun), [0, 1, 2]);
        // Who has most makes room for its own as well.
        begun.push(handshakes.begin(address(1)).unwrap());
        assert_eq!(lost(&begun), [0, 1, 2, 3]);
    }

    #[test]
    fn one_address_has_so_many_and_all_places_come_back() {
        let handshakes = Handshakes::new(4, 2);
        let begun = [1, 1].map(|last| handshakes.begin(address(last)).unwrap());
        assert!(handshakes.begin(address(1)).is_none());
        drop(begun);
        let begun = [1, 1, 2, 3, 4].map(|last| handshakes.begin(address(last)).unwrap());
        assert_eq!(lost(&begun), [0]);
        drop(begun);
        let under_way = locked(&handshakes.under_way);
        assert_eq!((under_way.count, under_way.by_address.len()), (0, 0));
    }
}

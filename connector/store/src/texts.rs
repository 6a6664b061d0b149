//! The bodies of messages that were just committed, for the worker that sends them at once.
//!
//! They are bytes that are durable already. Who finds none here reads the journal: after a start, for a message that is sent
//! again or that waited for some seconds, and when more wait than are kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use engine::Position;

/// How many bytes of bodies are kept; the oldest go first.
const BYTES_MAX: usize = 4 << 20;

/// Encoded bodies by the position of their record, each until it is taken or was kept for a while.
#[derive(Debug, Default)]
pub(crate) struct Texts(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    bodies: BTreeMap<Position, Vec<u8>>,
    bytes: usize,
    /// The last position that was there at the last tidying: what is up to it goes with the next.
    forget_next: Option<Position>,
}

impl Texts {
    /// Keeps bodies of records that are durable.
    pub(crate) fn keep(&self, bodies: impl Iterator<Item = (Position, Vec<u8>)>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (position, body) in bodies {
            kept.bytes += body.len();
            if let Some(before) = kept.bodies.insert(position, body) {
                kept.bytes = kept.bytes.saturating_sub(before.len());
            }
        }
        while kept.bytes > BYTES_MAX {
            let Some((_, body)) = kept.bodies.pop_first() else { break };
            kept.bytes = kept.bytes.saturating_sub(body.len());
        }
    }

    /// Takes the body of the record at a position, where it is kept.
    pub(crate) fn take(&self, position: Position) -> Option<Vec<u8>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let body = kept.bodies.remove(&position)?;
        kept.bytes = kept.bytes.saturating_sub(body.len());
        Some(body)
    }

    /// Forgets what was there at the call before this one and was not taken since: of messages that were withdrawn, or whose
    /// partner is away.
    pub(crate) fn forget(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.bodies.last_key_value().map(|(position, _)| *position);
        let Some(limit) = std::mem::replace(&mut kept.forget_next, last) else { return };
        while let Some(oldest) = kept.bodies.first_entry().filter(|oldest| *oldest.key() <= limit) {
            let body = oldest.remove();
            kept.bytes = kept.bytes.saturating_sub(body.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, Texts};
    use engine::Position;

    fn at(frame: u64) -> Position {
        Position { frame, record: 0 }
    }

    #[test]
    fn a_body_is_taken_once_and_the_oldest_give_way() {
        let texts = Texts::default();
        let half = vec![1; BYTES_MAX / 2];
        texts.keep([(at(1), half.clone()), (at(2), half.clone())].into_iter());
        assert_eq!(texts.take(at(2)), Some(half.clone()));
        assert_eq!(texts.take(at(2)), None);
        texts.keep([(at(3), half.clone()), (at(4), vec![2])].into_iter());
        assert_eq!(texts.take(at(1)), None, "it was the oldest");
        assert_eq!(texts.take(at(3)), Some(half));
        assert_eq!(texts.take(at(4)), Some(vec![2]));
        texts.keep([(at(5), vec![0; BYTES_MAX + 1])].into_iter());
        assert_eq!(texts.take(at(5)), None, "it is more than is kept");
        assert_eq!(texts.0.lock().unwrap().bytes, 0);
    }

    #[test]
    fn what_nobody_takes_is_forgotten_with_the_second_tidying() {
        let texts = Texts::default();
        texts.keep([(at(1), vec![1]), (at(2), vec![2])].into_iter());
        texts.forget();
        texts.keep([(at(3), vec![3])].into_iter());
        assert_eq!(texts.take(at(1)), Some(vec![1]));
        texts.forget();
        assert_eq!(texts.take(at(2)), None);
        assert_eq!(texts.take(at(3)), Some(vec![3]), "it came later");
        texts.keep([(at(4), vec![4])].into_iter());
        texts.forget();
        texts.forget();
        assert!(texts.0.lock().unwrap().bodies.is_empty());
        assert_eq!(texts.0.lock().unwrap().bytes, 0);
    }
}

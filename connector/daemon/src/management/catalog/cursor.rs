//! Where an answer about a partner's catalog goes on: on which of the partner's pages, and behind which dataset of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::seal::NodeKey;
use serde::{Deserialize, Serialize};

/// What the code is for.
const PURPOSE: &str = "catalog answer";
const CODE_BYTES: usize = 32;

/// A place in a partner's catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The page's address, as the partner's link gave it.
    pub(super) page: String,
    /// How many of what was found on it were shown.
    pub(super) shown: usize,
    /// The id of the last of them.
    pub(super) last: Option<String>,
}

impl Place {
    /// How many of what is found on the page now were shown: up to the last of them, wherever that stands by now.
    pub(super) fn shown_of<'a>(&self, mut ids: impl ExactSizeIterator<Item = &'a str>) -> usize {
        let count = ids.len();
        let last = self.last.as_deref().and_then(|last| ids.position(|id| id == last));
        last.map_or(self.shown.min(count), |place| place.saturating_add(1))
    }

    /// Seals it for a question: an application is not to send us to an address of its own.
    pub(super) fn seal(&self, key: &NodeKey, question: &[u8]) -> String {
        // It is made of texts and a number, which are always written.
        let place = serde_json::to_vec(self).unwrap_or_default();
        let code = key.code(PURPOSE, &[question, &place]);
        URL_SAFE_NO_PAD.encode([code.as_slice(), &place].concat())
    }

    /// The place, where it was sealed here for this question.
    pub(super) fn open(cursor: &str, key: &NodeKey, question: &[u8]) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (code, place) = bytes.split_at_checked(CODE_BYTES)?;
        key.is_code(code, PURPOSE, &[question, place])
            .then(|| serde_json::from_slice(place).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_good_for_its_question_and_follows_the_dataset_it_names() {
        let key = NodeKey::generate().unwrap();
        let place = Place {
            page: "https://b.example/catalog/request?cursor=x".to_owned(),
            shown: 2,
            last: Some("d-2".to_owned()),
        };
        let sealed = place.seal(&key, b"question");
        assert_eq!(Place::open(&sealed, &key, b"question"), Some(place.clone()));
        assert_eq!(Place::open(&sealed, &key, b"other"), None);
        assert_eq!(Place::open(&sealed, &NodeKey::generate().unwrap(), b"question"), None);
        for text in ["", "A", "%", &format!("A{sealed}")] {
            assert_eq!(Place::open(text, &key, b"question"), None);
        }
        assert_eq!(place.shown_of(["d-1", "d-2", "d-3"].into_iter()), 2);
        assert_eq!(place.shown_of(["d-2", "d-3"].into_iter()), 1, "one before it is gone");
        assert_eq!(place.shown_of(["d-1", "d-3", "d-4"].into_iter()), 2, "it is gone itself");
        assert_eq!(place.shown_of([].into_iter()), 0);
    }
}

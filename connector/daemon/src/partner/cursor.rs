//! The place of a page, as the link to it carries it: good for one partner and one filter.
//!
//! It names the id beside which the page begins, not a count, so datasets that come and go between two pages shift nothing.
//! The id was shown to the partner before; the code keeps anybody from making up another, or from using that of somebody else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::seal::NodeKey;
use engine::catalog::{Filter, Start};
use http::Uri;
use protocol::id::{DatasetId, ParticipantId};

/// The parameter of the link.
const PARAMETER: &str = "cursor";
/// What the code is for.
const PURPOSE: &str = "catalog page";
const CODE_BYTES: usize = 32;
const FIRST: u8 = 0;
const AFTER: u8 = 1;
const BEFORE: u8 = 2;

/// A sealed place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

/// The place was not sealed here for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this page's address is not one that this node gave you for this filter; repeat the request with the filter of the \
     first page, or begin again without `cursor`"
)]
pub struct NotOurs;

impl Cursor {
    /// The place that a request asks for.
    pub fn of(uri: &Uri) -> Option<Self> {
        let query = uri.query().unwrap_or_default();
        let mut parameters = url::form_urlencoded::parse(query.as_bytes());
        parameters.find(|(name, _)| name == PARAMETER).map(|(_, value)| Self(value.into_owned()))
    }

    /// The query of the link.
    pub fn query(&self) -> String {
        format!("{PARAMETER}={}", self.0)
    }

    /// Seals a place for a partner and a filter.
    pub fn seal(key: &NodeKey, partner: &ParticipantId, filter: &Filter, start: &Start) -> Self {
        let place = match start {
            Start::First => vec![FIRST],
            Start::After(id) => [&[AFTER], id.as_str().as_bytes()].concat(),
            Start::Before(id) => [&[BEFORE], id.as_str().as_bytes()].concat(),
        };
        let code = key.code(PURPOSE, &[partner.as_str().as_bytes(), &written(filter), &place]);
        Self(URL_SAFE_NO_PAD.encode([code.as_slice(), &place].concat()))
    }

    /// The place, where it was sealed for this partner and this filter.
    pub fn open(
        &self,
        key: &NodeKey,
        partner: &ParticipantId,
        filter: &Filter,
    ) -> Result<Start, NotOurs> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).map_err(|_| NotOurs)?;
        let (code, place) = bytes.split_at_checked(CODE_BYTES).ok_or(NotOurs)?;
        let parts = [partner.as_str().as_bytes(), &written(filter), place];
        if !key.is_code(code, PURPOSE, &parts) {
            return Err(NotOurs);
        }
        let (way, id) = place.split_first().ok_or(NotOurs)?;
        let id = || {
            let text = std::str::from_utf8(id).map_err(|_| NotOurs)?;
            DatasetId::new(text).map_err(|_| NotOurs)
        };
        match *way {
            FIRST => Ok(Start::First),
            AFTER => Ok(Start::After(id()?)),
            BEFORE => Ok(Start::Before(id()?)),
            _ => Err(NotOurs),
        }
    }
}

/// The same bytes for the same filter.
fn written(filter: &Filter) -> Vec<u8> {
    serde_json::to_vec(filter).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_is_good_for_one_partner_and_one_filter_and_cannot_be_changed() {
        let key = NodeKey::generate().unwrap();
        let (partner, other): (ParticipantId, ParticipantId) =
            ("did:web:a.example".parse().unwrap(), "did:web:b.example".parse().unwrap());
        let filter = Filter::read(&[json!({ "tag": "cfp" })]).unwrap();
        let id: DatasetId = "urn:part:\u{90e8}".parse().unwrap();
        for start in [Start::First, Start::After(id.clone()), Start::Before(id)] {
            let sealed = Cursor::seal(&key, &partner, &filter, &start);
            let uri = format!("/catalog/request?x=1&{}", sealed.query()).parse().unwrap();
            let sealed = Cursor::of(&uri).unwrap();
            assert_eq!(sealed.open(&key, &partner, &filter), Ok(start));
            assert_eq!(sealed.open(&key, &other, &filter), Err(NotOurs));
            assert_eq!(sealed.open(&key, &partner, &Filter::default()), Err(NotOurs));
            assert_eq!(sealed.open(&NodeKey::generate().unwrap(), &partner, &filter), Err(NotOurs));
            for at in 0..sealed.0.len() {
                let mut text = sealed.0.clone().into_bytes();
                text[at] = if text[at] == b'A' { b'B' } else { b'A' };
                let changed = Cursor(String::from_utf8(text).unwrap());
                // The last letter of a text in base64 may have bits that count for nothing; such a text is not read.
                assert_eq!(changed.open(&key, &partner, &filter), Err(NotOurs), "{at}");
            }
        }
        for text in ["", "A", "%", &"A".repeat(5_000)] {
            assert_eq!(Cursor(text.to_owned()).open(&key, &partner, &filter), Err(NotOurs));
        }
    }
}

//! A page of a catalog, as the link to it carries it: what is looked for, and where the page begins. So the link alone is
//! enough to have the page, as DSP 2025-1 wants it; it is good for one partner.
//!
//! It names the id beside which the page begins, not a count, so datasets that come and go between two pages shift nothing.
//! The id was shown to the partner before; the code keeps anybody from making up another, or from using that of somebody else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::seal::NodeKey;
use engine::catalog::{Query, Start};
use http::Uri;
use protocol::id::ParticipantId;
use serde::{Deserialize, Serialize};

/// The parameter of the link.
const PARAMETER: &str = "cursor";
/// What the code is for.
const PURPOSE: &str = "catalog page";
const CODE_BYTES: usize = 32;

/// A sealed page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

/// What a page shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sought {
    /// What is looked for.
    pub query: Query,
    /// Where the page begins.
    pub start: Start,
}

/// The page was not sealed here for this partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this page's address is not one that this node gave you; begin again without `cursor`")]
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

    /// Seals a page for a partner.
    pub fn seal(key: &NodeKey, partner: &ParticipantId, sought: &Sought) -> Self {
        // It is made of texts and numbers, which are always written.
        let bytes = serde_json::to_vec(sought).unwrap_or_default();
        let code = key.code(PURPOSE, &[partner.as_str().as_bytes(), &bytes]);
        Self(URL_SAFE_NO_PAD.encode([code.as_slice(), &bytes].concat()))
    }

    /// The page, where it was sealed for this partner.
    pub fn open(&self, key: &NodeKey, partner: &ParticipantId) -> Result<Sought, NotOurs> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).map_err(|_| NotOurs)?;
        let (code, sought) = bytes.split_at_checked(CODE_BYTES).ok_or(NotOurs)?;
        if !key.is_code(code, PURPOSE, &[partner.as_str().as_bytes(), sought]) {
            return Err(NotOurs);
        }
        serde_json::from_slice(sought).map_err(|_| NotOurs)
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::DatasetId;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_is_good_for_one_partner_and_cannot_be_changed() {
        let key = NodeKey::generate().unwrap();
        let (partner, other): (ParticipantId, ParticipantId) =
            ("did:web:a.example".parse().unwrap(), "did:web:b.example".parse().unwrap());
        let query = Query::read(&[
            json!({ "tag": "cfp", "text": "x" }),
            json!({ "limit": 7, "offset": 1 }),
        ]);
        let query = query.unwrap();
        let id: DatasetId = "urn:part:\u{90e8}".parse().unwrap();
        for start in [Start::First, Start::After(id.clone()), Start::Before(id)] {
            let sought = Sought { query: query.clone(), start };
            let sealed = Cursor::seal(&key, &partner, &sought);
            let uri = format!("/catalog/request?x=1&{}", sealed.query()).parse().unwrap();
            let sealed = Cursor::of(&uri).unwrap();
            assert_eq!(sealed.open(&key, &partner), Ok(sought));
            assert_eq!(sealed.open(&key, &other), Err(NotOurs));
            assert_eq!(sealed.open(&NodeKey::generate().unwrap(), &partner), Err(NotOurs));
            for at in 0..sealed.0.len() {
                let mut text = sealed.0.clone().into_bytes();
                text[at] = if text[at] == b'A' { b'B' } else { b'A' };
                let changed = Cursor(String::from_utf8(text).unwrap());
                // The last letter of a text in base64 may have bits that count for nothing; such a text is not read.
                assert_eq!(changed.open(&key, &partner), Err(NotOurs), "{at}");
            }
        }
        for text in ["", "A", "%", &"A".repeat(5_000)] {
            assert_eq!(Cursor(text.to_owned()).open(&key, &partner), Err(NotOurs));
        }
    }
}

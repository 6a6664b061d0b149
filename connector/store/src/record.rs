//! What is inside a journal record: leaf, effect and body, salted and hashed (`ARCHITECTURE.md`, Records).
//!
//! - *effect*: 32 bytes of salt, then the JSON of [`Effect`];
//! - *body*: 32 bytes of salt, then the JSON of [`Body`]; empty where there is none;
//! - *leaf*: RFC 8785 JSON with the SHA-256 of both, so that neither can change and either can be withheld.

pub(crate) mod announcement;

use std::collections::BTreeMap;

use engine::{Account, Body, Category, Key, Position, RecordDraft, RecordKind, TreeId, Write};
use jiff::Timestamp;
use journal::log::LEAF_BYTES_MAX;
use journal::tlog::{Hash, leaf_hash};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::clock::{Random, RandomError};

/// The version of leaf and effect that this release writes.
const VERSION: u16 = 1;
const SALT_BYTES: usize = 32;

/// A record as it stands in the journal, read back, checked and decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// Where it is.
    pub position: Position,
    /// The log it belongs to, and the epoch.
    pub tree: TreeId,
    /// Its index in that tree, where it was looked up by one.
    pub index: Option<u64>,
    /// The bytes of its leaf.
    pub leaf: Vec<u8>,
    /// What happened.
    pub kind: RecordKind,
    /// When, UTC.
    pub time: Timestamp,
    /// Its retention category.
    pub category: Category,
    /// Who, where, why and how.
    pub account: Account,
    /// The digests that the leaf shows.
    pub digests: BTreeMap<String, String>,
    /// The state change.
    pub writes: Vec<Write>,
    /// Message text and persons, unless there are none or they were erased.
    pub body: Option<Body>,
    /// Whether the leaf commits to a body that is no longer there in the clear.
    pub body_withheld: bool,
}

impl StoredRecord {
    /// Decodes the parts of a record and checks that the leaf is canonical and commits to effect and body, which is absent
    /// where there is none or where it is no longer there in the clear.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(
        position: Position,
        label: &str,
        leaf: &[u8],
        effect: &[u8],
        body: Option<&[u8]>,
    ) -> Result<Self, DecodeError> {
        decode(position, label, leaf, effect, body)
    }

    /// The hash of its leaf in the tree of its log (RFC 6962 section 2.1).
    pub fn leaf_hash(&self) -> Hash {
        leaf_hash(&self.leaf)
    }
}

/// The bytes of a record's three parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) leaf: Vec<u8>,
    pub(crate) effect: Vec<u8>,
    pub(crate) body: Option<Vec<u8>>,
}

/// Encodes a draft with fresh salts, as of `time`.
pub(crate) fn encode(
    draft: &RecordDraft,
    time: Timestamp,
    random: &dyn Random,
) -> Result<Encoded, EncodeError> {
    let effect = salted(
        random,
        &EffectRef {
            v: VERSION,
            kind: draft.kind,
            category: draft.category,
            account: &draft.account,
            writes: &draft.writes,
        },
    )?;
    let body = match draft.body.is_empty() {
        true => None,
        false => Some(salted(random, &draft.body)?),
    };
    let leaf = Leaf {
        v: VERSION,
        kind: draft.kind,
        time,
        effect: Hash::of(&effect),
        body: body.as_deref().map(Hash::of),
        digests: draft.digests.clone(),
    };
    let leaf = leaf.canonical().map_err(|error| EncodeError::Json(error.to_string()))?;
    if leaf.len() > LEAF_BYTES_MAX {
        return Err(EncodeError::Leaf { bytes: leaf.len() });
    }
    Ok(Encoded { leaf, effect, body })
}

/// Decodes a record's parts and checks that the leaf is canonical and commits to effect and body.
///
/// `body` is absent where there is none or where it is sealed or erased: the leaf's commitment stays.
pub(crate) fn decode(
    position: Position,
    label: &str,
    leaf: &[u8],
    effect: &[u8],
    body: Option<&[u8]>,
) -> Result<StoredRecord, DecodeError> {
    let refused = |what: String| DecodeError { position, what };
    let (tree, parsed) = read_leaf(position, label, leaf)?;
    if parsed.canonical().map_or(true, |canonical| canonical != leaf) {
        return Err(refused("its leaf is not in the form of RFC 8785".to_owned()));
    }
    if let Some(body) = body
        && parsed.body != Some(Hash::of(body))
    {
        return Err(refused("its body is not the one that its leaf commits to".to_owned()));
    }
    let content: Effect<Account, Write> = read_effect(position, &parsed, effect)?;
    let clear = match body {
        None => None,
        Some(bytes) => {
            Some(decode_body(bytes).ok_or_else(|| refused("its body cannot be read".to_owned()))?)
        }
    };
    Ok(StoredRecord {
        position,
        tree,
        index: None,
        leaf: leaf.to_vec(),
        kind: parsed.kind,
        time: parsed.time,
        category: content.category,
        account: content.account,
        digests: parsed.digests,
        writes: content.writes,
        body_withheld: clear.is_none() && parsed.body.is_some(),
        body: clear,
    })
}

/// Which entities a record wrote, and when: what a snapshot is gathered by.
pub(crate) struct Touched {
    pub(crate) tree: TreeId,
    pub(crate) kind: RecordKind,
    pub(crate) time: Timestamp,
    pub(crate) writes: Vec<Touch>,
}

/// One write, without its value.
#[derive(Deserialize)]
pub(crate) struct Touch {
    pub(crate) key: Key,
    /// Absent where it was removed.
    pub(crate) entity: Option<IgnoredAny>,
}

/// Decodes which entities a record wrote, and checks that the leaf commits to its effect. Values are passed over: most of them
/// are replaced by a later record before a snapshot is made. The body, of which nothing goes into one, is not looked at.
pub(crate) fn decode_touched(
    position: Position,
    label: &str,
    leaf: &[u8],
    effect: &[u8],
) -> Result<Touched, DecodeError> {
    let (tree, parsed) = read_leaf(position, label, leaf)?;
    let Effect::<IgnoredAny, Touch> { writes, .. } = read_effect(position, &parsed, effect)?;
    Ok(Touched { tree, kind: parsed.kind, time: parsed.time, writes })
}

/// What the effect of a record wrote, of which [`decode_touched`] has checked the rest.
pub(crate) fn decode_writes(position: Position, effect: &[u8]) -> Result<Vec<Write>, DecodeError> {
    let Effect::<IgnoredAny, Write> { writes, .. } = parse_effect(position, effect)?;
    Ok(writes)
}

/// What happened, from the leaf alone; `None` where that cannot be read.
pub(crate) fn kind_of(leaf: &[u8]) -> Option<RecordKind> {
    #[derive(Deserialize)]
    struct Kind {
        kind: RecordKind,
    }
    serde_json::from_slice(leaf).ok().map(|Kind { kind }| kind)
}

fn read_leaf(position: Position, label: &str, leaf: &[u8]) -> Result<(TreeId, Leaf), DecodeError> {
    let refused = |what: String| DecodeError { position, what };
    let tree = TreeId::from_label(label)
        .ok_or_else(|| refused(format!("`{label}` is not the label of a log")))?;
    let parsed: Leaf = serde_json::from_slice(leaf)
        .map_err(|error| refused(format!("its leaf cannot be read: {error}")))?;
    if parsed.v != VERSION {
        return Err(refused(format!(
            "its leaf has version {}, which a later release writes",
            parsed.v
        )));
    }
    Ok((tree, parsed))
}

fn read_effect<A: DeserializeOwned, W: DeserializeOwned>(
    position: Position,
    leaf: &Leaf,
    effect: &[u8],
) -> Result<Effect<A, W>, DecodeError> {
    let refused = |what: &str| DecodeError { position, what: what.to_owned() };
    if Hash::of(effect) != leaf.effect {
        return Err(refused("its effect is not the one that its leaf commits to"));
    }
    let content: Effect<A, W> = parse_effect(position, effect)?;
    if content.v != VERSION || content.kind != leaf.kind {
        return Err(refused("its effect and its leaf disagree on version or kind"));
    }
    Ok(content)
}

fn parse_effect<A: DeserializeOwned, W: DeserializeOwned>(
    position: Position,
    effect: &[u8],
) -> Result<Effect<A, W>, DecodeError> {
    let refused = |what: String| DecodeError { position, what };
    unsalted(effect)
        .ok_or_else(|| refused("its effect is shorter than a salt".to_owned()))
        .and_then(|json| {
            serde_json::from_slice(json)
                .map_err(|error| refused(format!("its effect cannot be read: {error}")))
        })
}

/// Reads a body's bytes: nothing is checked against a leaf.
pub(crate) fn decode_body(bytes: &[u8]) -> Option<Body> {
    serde_json::from_slice(unsalted(bytes)?).ok()
}

/// A draft cannot become a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error(
        "its leaf has {bytes} bytes, more than {LEAF_BYTES_MAX}: fewer or shorter digests are needed"
    )]
    Leaf { bytes: usize },
    #[error("it has no JSON form: {0}")]
    Json(String),
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// A record of the journal says something that this release cannot take as true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record at {position} is refused: {what}; restore the journal from a backup or run the release that wrote it"
)]
pub struct DecodeError {
    /// Where the record is.
    pub position: Position,
    /// What is wrong with it.
    pub what: String,
}

/// The stored effect, with as much of its account `A` and its writes `W` as somebody wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect<A, W> {
    v: u16,
    kind: RecordKind,
    category: Category,
    account: A,
    writes: Vec<W>,
}

#[derive(Serialize)]
struct EffectRef<'a> {
    v: u16,
    kind: RecordKind,
    category: Category,
    account: &'a Account,
    writes: &'a [Write],
}

/// The leaf: all that a proof shows of a record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaf {
    // In the order of their names, which is that of RFC 8785: see `Leaf::canonical`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    body: Option<Hash>,
    digests: BTreeMap<String, String>,
    effect: Hash,
    kind: RecordKind,
    time: Timestamp,
    v: u16,
}

impl Leaf {
    /// Its RFC 8785 form. There is one for each commit and each record that is read, so it is not sorted where it stands in
    /// that order already: strings and integers look the same in all JSON without spaces.
    fn canonical(&self) -> Result<Vec<u8>, serde_json::Error> {
        // A map sorts its names by UTF-8, RFC 8785 by UTF-16; these differ beyond ASCII.
        match self.digests.keys().all(|name| name.is_ascii()) {
            true => serde_json::to_vec(self),
            false => serde_jcs::to_vec(self),
        }
    }
}

fn salted(random: &dyn Random, content: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(1 << 10);
    bytes.resize(SALT_BYTES, 0);
    random.fill(&mut bytes)?;
    serde_json::to_writer(&mut bytes, content)
        .map_err(|error| EncodeError::Json(error.to_string()))?;
    Ok(bytes)
}

fn unsalted(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(SALT_BYTES..)
}

#[cfg(test)]
mod tests;

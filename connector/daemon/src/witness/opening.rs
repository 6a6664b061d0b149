//! The record that opens an epoch of a log, as it is shown to the partner and judged by it.

use std::sync::Arc;

use engine::entity::{Head, Witness};
use engine::epoch::{PREVIOUS, SHOWN, sha256};
use engine::evidence::Shown;
use engine::{FIRST_EPOCH, RecordKind, TreeId};
use journal::tlog::{Checkpoint, Hash, leaf_hash, verify_inclusion};
use protocol::id::ParticipantId;
use provenance::Leaf;
use serde::{Deserialize, Serialize};

use super::{WitnessError, hash_of, verify_note};
use crate::node::Node;

/// The first record of an epoch, with the proof that it is that of a checkpoint, and the checkpoints that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    /// The exact text of its leaf.
    pub leaf: String,
    /// The proof that it is the first record under the checkpoint that it comes with, hexadecimal hashes.
    pub proof: Vec<String>,
    /// The checkpoints that the leaf holds the SHA-256 of, signed notes of the sender: its own last known one of the epoch
    /// before, and the one that the receiver has shown.
    #[serde(default)]
    pub named: Vec<String>,
}

/// What opened the epoch of our checkpoint; `None` for the first epoch, and for a log that began in a later one.
pub(super) async fn of(
    node: &Arc<Node>,
    tree: &TreeId,
    head: &Head,
) -> Result<Option<Opening>, WitnessError> {
    if tree.epoch == FIRST_EPOCH {
        return Ok(None);
    }
    let first = node.store.records(tree.clone(), 0..1).await?;
    let Some(record) =
        first.into_iter().next().filter(|record| record.kind == RecordKind::EpochOpened)
    else {
        return Ok(None);
    };
    let (_, proof) = node.store.inclusion(tree.clone(), 0, head.size).await?;
    let named =
        [PREVIOUS, SHOWN].iter().filter_map(|name| record.account.facts.get(*name)?.as_str());
    Ok(Some(Opening {
        named: named.map(str::to_owned).collect(),
        leaf: String::from_utf8_lossy(&record.leaf).into_owned(),
        proof: proof.iter().map(|hash| hex::encode(hash.0)).collect(),
    }))
}

/// What a partner's checkpoint of a later epoch than the one we hold means, by the record that opened the epoch.
///
/// That record has to be the first of the log, and to say that it opens an epoch. It need not name the checkpoint that we
/// hold: a partner that restored an old backup may not have been able to ask us. We keep ours in any case.
pub(super) fn judge(
    node: &Node,
    partner: &ParticipantId,
    opening: Option<&Opening>,
    epoch: u32,
    checkpoint: &Checkpoint,
    held: &Witness,
) -> Result<Shown, WitnessError> {
    let refused = |what: &str| {
        WitnessError::Refused(format!(
            "it is of epoch {epoch}, we hold one of epoch {}, and {what}",
            held.epoch
        ))
    };
    let opening =
        opening.ok_or_else(|| refused("the record that opened the new epoch is not shown"))?;
    let proof: Option<Vec<Hash>> = opening.proof.iter().map(|text| hash_of(text)).collect();
    let leaf = leaf_hash(opening.leaf.as_bytes());
    let is_first = proof.is_some_and(|proof| {
        verify_inclusion(&leaf, 0, checkpoint.size, &checkpoint.root, &proof).is_ok()
    });
    if !is_first {
        return Err(refused("the record that is shown is not proven to be the first of the log"));
    }
    let leaf = Leaf::parse(&opening.leaf)
        .map_err(|reason| refused(&format!("its first record cannot be read: {reason}")))?;
    if leaf.kind() != "epoch-opened" {
        return Err(refused("its first record opens no epoch"));
    }
    for note in &opening.named {
        let hash = sha256(note);
        if ![PREVIOUS, SHOWN].iter().any(|name| leaf.digest(name) == Some(hash.as_str())) {
            return Err(refused("a checkpoint is shown that its first record does not name"));
        }
        let (of, named) = verify_note(node, partner, note)?;
        if of >= epoch {
            return Err(refused(
                "its first record names a checkpoint that is not of an earlier epoch",
            ));
        }
        if (of, named.size) == (held.epoch, held.size) && hash_of(&held.root) != Some(named.root) {
            return Ok(Shown::Contradicts);
        }
    }
    let hash = sha256(&held.note);
    let named = [PREVIOUS, SHOWN].iter().any(|name| leaf.digest(name) == Some(hash.as_str()));
    Ok(Shown::Opened { held: held.epoch, named, leaf: opening.leaf.clone() })
}

//! The checkpoint in a provider's evidence, judged against the log that the provider has shown so far.

use std::sync::Arc;

use engine::LogId;
use engine::entity::Witness;
use engine::evidence::Shown;
use journal::tlog::Checkpoint;
use protocol::id::ParticipantId;

use super::{
    Exchange, WitnessError, address, exchange_with, exchanges, grown, hash_of, held, latest,
    proof_of, record, send, statement, verify_note,
};
use crate::node::Node;

/// Judges a checkpoint that came with evidence against the log that the partner has shown so far. The first one that comes
/// is kept; for another size than is held the partner is asked once to prove that both are of one log. Where it does not,
/// that is logged, and the checkpoint passes.
///
/// # Errors
/// [`WitnessError::Contradicts`], recorded with both notes; or it is no checkpoint of the partner's log with us.
pub async fn judge(
    node: &Arc<Node>,
    partner: &ParticipantId,
    note: &str,
) -> Result<(), WitnessError> {
    let checkpoint = verify_note(node, partner, note)?;
    if checkpoint.size == 0 {
        return Err(WitnessError::Refused("it covers no record".to_owned()));
    }
    loop {
        let mut standing = compare(held(node, partner).await?.as_ref(), &checkpoint);
        if standing == Standing::OtherSize && exchanges(node, partner) {
            standing = match prove(node, partner, &checkpoint).await {
                Ok(standing) => standing,
                Err(error) => {
                    tracing::warn!(event = "checkpoint.not_exchanged", partner = %partner, error = %error);
                    compare(held(node, partner).await?.as_ref(), &checkpoint)
                }
            };
        }
        match standing {
            Standing::Same => return Ok(()),
            // Where another was taken meanwhile, it is not the first any more and is judged against that one.
            Standing::First => {
                let shown = Shown::Consistent { held: 0 };
                match record(node, partner, shown, &checkpoint, note).await {
                    Ok(()) | Err(WitnessError::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Standing::OtherSize => {
                let size = checkpoint.size;
                tracing::warn!(event = "checkpoint.not_proven", partner = %partner, size);
                return Ok(());
            }
            Standing::Contradicts => {
                record(node, partner, Shown::Contradicts, &checkpoint, note).await?;
                return Err(WitnessError::Contradicts(partner.clone()));
            }
        }
    }
}

/// Exchanges checkpoints; where the partner's latest is of another size still, asks it to prove that it continues this one.
async fn prove(
    node: &Arc<Node>,
    partner: &ParticipantId,
    checkpoint: &Checkpoint,
) -> Result<Standing, WitnessError> {
    // What is signed already does: nobody waits for a signature of ours here.
    let head = match latest(node, &LogId::Relation(partner.clone())).await? {
        Some(head) => head,
        None => grown(node, partner).await?,
    };
    exchange_with(node, partner, &head).await?;
    let newest = held(node, partner).await?;
    let standing = compare(newest.as_ref(), checkpoint);
    let (Standing::OtherSize, Some(newest), Some((client, url))) =
        (standing, newest, address(node, partner))
    else {
        return Ok(standing);
    };
    let statement = statement(node, partner, &head, 0).await?;
    let ours = Exchange { holds: checkpoint.size, held: None, ..statement };
    let theirs = send(&client, &url, &ours).await?;
    let shown = verify_note(node, partner, &theirs.checkpoint)?;
    let is_newest = shown.size == newest.size && Some(shown.root) == hash_of(&newest.root);
    if !is_newest || theirs.proof_from != checkpoint.size || checkpoint.size > shown.size {
        return Ok(Standing::OtherSize);
    }
    Ok(match proof_of(&theirs, checkpoint.size, &checkpoint.root, &shown)? {
        Shown::Consistent { .. } => Standing::Same,
        Shown::Contradicts => Standing::Contradicts,
    })
}

/// How a checkpoint of a partner's log stands to the one that we hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// We hold none.
    First,
    /// It is the one that we hold.
    Same,
    /// Only a proof can say.
    OtherSize,
    /// It cannot be of the same log, or the partner has contradicted itself before.
    Contradicts,
}

fn compare(held: Option<&Witness>, checkpoint: &Checkpoint) -> Standing {
    match held {
        None => Standing::First,
        Some(held) if held.conflict.is_some() => Standing::Contradicts,
        // It says only that our own log is behind.
        Some(held) if held.size == 0 => Standing::First,
        Some(held) if held.size != checkpoint.size => Standing::OtherSize,
        Some(held) if hash_of(&held.root) == Some(checkpoint.root) => Standing::Same,
        Some(_) => Standing::Contradicts,
    }
}

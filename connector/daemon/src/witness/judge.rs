//! The checkpoint in a provider's evidence, judged against the log that the provider has shown so far.

use std::sync::Arc;
use std::time::Duration;

use engine::entity::{Earlier, Witness};
use engine::evidence::Shown;
use journal::tlog::Checkpoint;
use protocol::id::ParticipantId;

use super::{
    Exchange, WitnessError, address, exchange_with, exchanges, grown, hash_of, held, latest,
    proof_of, record, send, statement, tree, verify_note,
};
use crate::net::SendError;
use crate::node::Node;

/// The waits before a partner that answered without a proof is asked again: it may just have signed another checkpoint, or be
/// short of something for a moment.
const ASK_AGAIN: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(6)];

/// Judges a checkpoint that came with evidence against the log that the partner has shown so far. The first one that comes
/// is kept; for another than is held the partner is asked to prove that both are of one log, a few times where its answer
/// does not. A partner that exchanges no checkpoints cannot be asked: its evidence stays unwitnessed.
///
/// # Errors
/// [`WitnessError::Send`] where the partner cannot be reached, so that waiting may help. [`WitnessError::Contradicts`],
/// recorded with both notes. [`WitnessError::NotProven`]. Or it is no checkpoint of the partner's log with us.
pub async fn judge(
    node: &Arc<Node>,
    partner: &ParticipantId,
    note: &str,
) -> Result<(), WitnessError> {
    let (epoch, checkpoint) = verify_note(node, partner, note)?;
    if checkpoint.size == 0 {
        return Err(WitnessError::Refused("it covers no record".to_owned()));
    }
    let mut waits = ASK_AGAIN.into_iter();
    loop {
        let mut standing = compare(held(node, partner).await?.as_ref(), epoch, &checkpoint, note);
        let mut reason = "it shows another log, and no proof".to_owned();
        if standing == Standing::Unproven && exchanges(node, partner) {
            standing = match prove(node, partner, epoch, &checkpoint, note).await {
                Ok(standing) => standing,
                Err(WitnessError::Send(error)) if is_away(&error) => return Err(error.into()),
                Err(error) => {
                    reason = error.to_string();
                    compare(held(node, partner).await?.as_ref(), epoch, &checkpoint, note)
                }
            };
        }
        match standing {
            Standing::Same => return Ok(()),
            // Where another was taken meanwhile, it is not the first any more and is judged against that one.
            Standing::First => {
                let shown = Shown::Consistent { held: 0 };
                match record(node, partner, shown, epoch, &checkpoint, note).await {
                    Ok(()) | Err(WitnessError::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Standing::Unproven => {
                let size = checkpoint.size;
                tracing::warn!(event = "checkpoint.not_proven", partner = %partner, size, reason);
                if !exchanges(node, partner) {
                    return Ok(());
                }
                let Some(wait) = waits.next() else {
                    return Err(WitnessError::NotProven { partner: partner.clone(), size, reason });
                };
                tokio::time::sleep(wait).await;
            }
            Standing::Contradicts => {
                record(node, partner, Shown::Contradicts, epoch, &checkpoint, note).await?;
                return Err(WitnessError::Contradicts(partner.clone()));
            }
        }
    }
}

/// Whether nobody answered, rather than somebody who did not prove anything.
fn is_away(error: &SendError) -> bool {
    error.is_transient() && !matches!(error, SendError::Status { .. })
}

/// Exchanges checkpoints; where the partner's latest is of another size still, asks it to prove that it continues this one.
async fn prove(
    node: &Arc<Node>,
    partner: &ParticipantId,
    epoch: u32,
    checkpoint: &Checkpoint,
    note: &str,
) -> Result<Standing, WitnessError> {
    // What is signed already does: nobody waits for a signature of ours here.
    let head = match latest(node, &tree(node, partner).await?).await? {
        Some(head) => Some(head),
        None => grown(node, partner).await.or_else(unless_final)?,
    };
    // That our own log is behind does not keep us from seeing what the partner's is.
    exchange_with(node, partner, head.as_ref()).await.map(Some).or_else(unless_final)?;
    let newest = held(node, partner).await?;
    let standing = compare(newest.as_ref(), epoch, checkpoint, note);
    let (Standing::Unproven, Some(newest), Some((client, url))) =
        (standing, newest, address(node, partner))
    else {
        return Ok(standing);
    };
    if newest.epoch != epoch {
        return Ok(Standing::Unproven);
    }
    let statement = statement(node, partner, head.as_ref(), 0).await?;
    let ours = Exchange { holds: checkpoint.size, held: None, ..statement };
    let theirs = send(&client, &url, &ours).await?;
    let Some(note) = &theirs.checkpoint else { return Ok(Standing::Unproven) };
    let (of, shown) = verify_note(node, partner, note)?;
    let is_newest =
        of == epoch && shown.size == newest.size && Some(shown.root) == hash_of(&newest.root);
    if !is_newest || theirs.proof_from != checkpoint.size || checkpoint.size > shown.size {
        return Ok(Standing::Unproven);
    }
    Ok(match proof_of(&theirs, checkpoint.size, &checkpoint.root, &shown)? {
        Shown::Contradicts => Standing::Contradicts,
        Shown::Consistent { .. } | Shown::Opened { .. } => Standing::Same,
    })
}

fn unless_final<T>(error: WitnessError) -> Result<Option<T>, WitnessError> {
    if error.is_final() { Ok(None) } else { Err(error) }
}

/// How a checkpoint of a partner's log stands to the one that we hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// We hold none.
    First,
    /// It is the one that we hold, or the last of an epoch that has ended.
    Same,
    /// Only a proof can say.
    Unproven,
    /// It cannot be of the same log, or the partner has contradicted itself before.
    Contradicts,
}

fn compare(held: Option<&Witness>, epoch: u32, checkpoint: &Checkpoint, note: &str) -> Standing {
    // Where nothing of the partner's log is held, what is there says only that our own is behind.
    let Some(held) = held.filter(|held| held.size > 0) else { return Standing::First };
    if held.epoch != epoch {
        // Of an epoch that has ended nothing is proven any more but what was held of it.
        let is_kept = |earlier: &Earlier| {
            earlier.epoch == epoch
                && earlier.conflict.is_none()
                && signed_text(&earlier.note) == signed_text(note)
        };
        let is_kept = held.earlier.iter().any(is_kept);
        return if is_kept { Standing::Same } else { Standing::Unproven };
    }
    if held.conflict.is_some() {
        return Standing::Contradicts;
    }
    if held.size != checkpoint.size {
        return Standing::Unproven;
    }
    if hash_of(&held.root) == Some(checkpoint.root) {
        Standing::Same
    } else {
        Standing::Contradicts
    }
}

/// What the signature of a note is over: origin with epoch, size and root.
fn signed_text(note: &str) -> &str {
    note.split_once("\n\n").map_or(note, |(text, _)| text)
}

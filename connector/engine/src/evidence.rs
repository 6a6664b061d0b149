//! Checkpoints: ours, signed and given out; the partner's, kept and checked.
//!
//! Signatures and proofs are made and verified outside, before; these decisions say what may be recorded.

use protocol::id::ParticipantId;

use crate::context::{self, Decided, Fresh, Stop, settle};
use crate::entity::{Head, Witness};
use crate::process::towards;
use crate::refusal::RefusalKind;
use crate::{Account, Category, Decision, Key, LogId, Need, RecordDraft, RecordKind, View};

/// Our latest signed checkpoint of a log.
///
/// # Errors
/// [`Need`] when it is not loaded.
pub fn latest_head(view: &dyn View, log: &LogId) -> Result<Option<Head>, Need> {
    context::head(view, &log.label())
}

/// The partner's latest checkpoint that we hold.
///
/// # Errors
/// [`Need`] when it is not loaded.
pub fn latest_witness(view: &dyn View, partner: &ParticipantId) -> Result<Option<Witness>, Need> {
    context::witness(view, partner)
}

/// Records in the relation log the salted hash of the site's latest checkpoint, just before the relation is
/// checkpointed. The salt and the note are in the effect, only the hash in the leaf.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn anchor(
    view: &dyn View,
    partner: &ParticipantId,
    site_head: &Head,
    salt: &str,
    salted_hash: &str,
) -> Result<Decision<()>, Need> {
    let earlier = context::head(view, &LogId::Site.label())?;
    let mut record = RecordDraft::new(
        LogId::Relation(partner.clone()),
        RecordKind::SiteAnchored,
        Category::Service,
    )
    .account(Account::default().fact("salt", salt))
    .digest("siteCheckpoint", salted_hash);
    if earlier.is_none_or(|earlier| earlier.size <= site_head.size) {
        record = record.put(Key::Head(LogId::Site.label()), site_head.clone());
    }
    Ok(Decision::commit(vec![record], ()))
}

/// Records a signed relation checkpoint in the site log. Only then may it be given out.
///
/// The answer is the checkpoint to give out: this one, or a larger one that another task recorded meanwhile.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn checkpoint(
    view: &dyn View,
    partner: &ParticipantId,
    head: &Head,
) -> Result<Decision<Head>, Need> {
    let label = LogId::Relation(partner.clone()).label();
    if let Some(earlier) = context::head(view, &label)?
        && earlier.size >= head.size
    {
        return Ok(Decision::answer(earlier));
    }
    let record = RecordDraft::new(LogId::Site, RecordKind::CheckpointSigned, Category::Service)
        .account(towards(partner).fact("size", head.size).fact("root", head.root.clone()))
        .put(Key::Head(label), head.clone());
    Ok(Decision::commit(vec![record], head.clone()))
}

/// What a partner's checkpoint, its signature and consistency already verified, means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It is signed and proven consistent with the one that we hold of size `held`.
    Consistent {
        /// The size of ours that the proof started from; 0 when we held none.
        held: u64,
    },
    /// It is signed, and contradicts the one that we hold: the partner rewrote history.
    Contradicts,
}

/// Keeps a partner's checkpoint of its log of our relation.
///
/// A contradiction is recorded with both notes and never replaced: it is evidence.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn witness(
    view: &dyn View,
    fresh: &Fresh,
    partner: &ParticipantId,
    shown: &Shown,
    witness: &Witness,
) -> Decided<()> {
    settle(try_witness(view, fresh, partner, shown, witness))
}

fn try_witness(
    view: &dyn View,
    fresh: &Fresh,
    partner: &ParticipantId,
    shown: &Shown,
    witness: &Witness,
) -> Result<Decision<()>, Stop> {
    let log = LogId::Relation(partner.clone());
    let key = Key::Witness(partner.clone());
    let held = context::witness(view, partner)?;
    match shown {
        Shown::Contradicts => {
            let Some(held) = held else { return Ok(Decision::answer(())) };
            if held.conflict.is_some() {
                return Ok(Decision::answer(()));
            }
            let account = towards(partner)
                .fact("held", held.note.clone())
                .fact("shown", witness.note.clone());
            let conflicting = Witness { conflict: Some(witness.note.clone()), ..held };
            let record = RecordDraft::new(log, RecordKind::CheckpointConflict, Category::Service)
                .account(account)
                .put(key, conflicting)
                .essential();
            Ok(Decision::commit(vec![record], ()))
        }
        Shown::Consistent { held: proven_from } => {
            if let Some(held) = &held {
                if held.conflict.is_some() || held.size > witness.size {
                    return Ok(Decision::answer(()));
                }
                if held.size == witness.size && held.root == witness.root {
                    return Ok(Decision::answer(()));
                }
                if held.size == witness.size {
                    let text = "two checkpoints of one size with different roots contradict";
                    return Err(fresh.refuse(RefusalKind::Invalid, text, text));
                }
            }
            let size = held.as_ref().map_or(0, |held| held.size);
            if size != *proven_from {
                return Err(fresh.refuse(
                    RefusalKind::Unavailable,
                    "another checkpoint was taken meanwhile; try again",
                    format!("proof starts at {proven_from}, held is {size}"),
                ));
            }
            // That we are behind is ours to answer for, whatever the partner shows afterwards.
            let behind = held.and_then(|held| held.behind).or_else(|| witness.behind.clone());
            let witness = Witness { behind, ..witness.clone() };
            let record =
                RecordDraft::new(LogId::Site, RecordKind::CheckpointWitnessed, Category::Service)
                    .account(
                        towards(partner)
                            .fact("size", witness.size)
                            .fact("root", witness.root.clone()),
                    )
                    .put(key, witness);
            Ok(Decision::commit(vec![record], ()))
        }
    }
}

/// Records that the partner holds a checkpoint of ours that our log does not continue: this node was restored from an old
/// backup, or its data were changed. From then on nothing is signed for the relation.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn behind(
    view: &dyn View,
    partner: &ParticipantId,
    note: &str,
    size: u64,
) -> Result<Decision<()>, Need> {
    let held = context::witness(view, partner)?;
    if held.as_ref().is_some_and(|held| held.behind.is_some()) {
        return Ok(Decision::answer(()));
    }
    let nothing = Witness {
        v: 1,
        size: 0,
        root: String::new(),
        note: String::new(),
        taken: view.now(),
        conflict: None,
        behind: None,
    };
    let witness = Witness { behind: Some(note.to_owned()), ..held.unwrap_or(nothing) };
    let record = RecordDraft::new(LogId::Site, RecordKind::CheckpointConflict, Category::Service)
        .account(towards(partner).fact("signedBefore", note).fact("size", size))
        .put(Key::Witness(partner.clone()), witness)
        .essential();
    Ok(Decision::commit(vec![record], ()))
}

//! Checkpoints: ours, signed and given out; the partner's, kept and checked.
//!
//! Signatures and proofs are made and verified outside, before; these decisions say what may be recorded.

use protocol::id::ParticipantId;

use crate::context::{self, Decided, Fresh, Stop, settle};
use crate::entity::{Earlier, Head, Witness};
use crate::epoch::{SHOWN, sha256};
use crate::process::towards;
use crate::refusal::RefusalKind;
use crate::{Account, Category, Decision, Key, LogId, Need, RecordDraft, RecordKind, TreeId, View};

/// The epoch that our logs are in.
///
/// # Errors
/// [`Need`] when it is not loaded.
pub fn epoch(view: &dyn View) -> Result<u32, Need> {
    context::epoch(view)
}

/// Our latest signed checkpoint of a log in an epoch.
///
/// # Errors
/// [`Need`] when it is not loaded.
pub fn latest_head(view: &dyn View, tree: &TreeId) -> Result<Option<Head>, Need> {
    context::head(view, &tree.label())
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
    fresh: &Fresh,
    relation: &TreeId,
    site_head: &Head,
    salt: &str,
    salted_hash: &str,
) -> Decided<()> {
    settle(try_anchor(view, fresh, relation, site_head, salt, salted_hash))
}

fn try_anchor(
    view: &dyn View,
    fresh: &Fresh,
    relation: &TreeId,
    site_head: &Head,
    salt: &str,
    salted_hash: &str,
) -> Result<Decision<()>, Stop> {
    may_sign(view, fresh, relation)?;
    let label = LogId::Site.in_epoch(relation.epoch).label();
    let earlier = context::head(view, &label)?;
    let mut record =
        RecordDraft::new(relation.log.clone(), RecordKind::SiteAnchored, Category::Service)
            .account(Account::default().fact("salt", salt))
            .digest("siteCheckpoint", salted_hash);
    if earlier.is_none_or(|earlier| earlier.size <= site_head.size) {
        record = record.put(Key::Head(label), site_head.clone());
    }
    Ok(Decision::commit(vec![record], ()))
}

/// Records a signed relation checkpoint in the site log. Only then may it be given out.
///
/// The answer is the checkpoint to give out: this one, or a larger one that another task recorded meanwhile.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn checkpoint(view: &dyn View, fresh: &Fresh, relation: &TreeId, head: &Head) -> Decided<Head> {
    settle(try_checkpoint(view, fresh, relation, head))
}

fn try_checkpoint(
    view: &dyn View,
    fresh: &Fresh,
    relation: &TreeId,
    head: &Head,
) -> Result<Decision<Head>, Stop> {
    let partner = may_sign(view, fresh, relation)?;
    let label = relation.label();
    if let Some(earlier) = context::head(view, &label)?
        && earlier.size >= head.size
    {
        return Ok(Decision::answer(earlier));
    }
    let record = RecordDraft::new(LogId::Site, RecordKind::CheckpointSigned, Category::Service)
        .account(
            towards(partner)
                .fact("epoch", relation.epoch)
                .fact("size", head.size)
                .fact("root", head.root.clone()),
        )
        .put(Key::Head(label), head.clone());
    Ok(Decision::commit(vec![record], head.clone()))
}

/// Refuses what would sign for a tree that is not of the epoch that the site is in, or for a relation that is behind.
fn may_sign<'a>(
    view: &dyn View,
    fresh: &Fresh,
    relation: &'a TreeId,
) -> Result<&'a ParticipantId, Stop> {
    let LogId::Relation(partner) = &relation.log else {
        let text = "the log is not that of a relation";
        return Err(fresh.refuse(RefusalKind::Invalid, text, text));
    };
    let now = context::epoch(view)?;
    if relation.epoch != now {
        let text = format!("epoch {} has ended; the logs are in epoch {now}", relation.epoch);
        return Err(fresh.refuse(RefusalKind::Unproven, text.clone(), text));
    }
    if context::witness(view, partner)?.is_some_and(|held| held.behind.is_some()) {
        let text = "the log is behind a checkpoint that this node signed before";
        return Err(fresh.refuse(RefusalKind::Unproven, text, text));
    }
    Ok(partner)
}

/// What a partner's checkpoint, its signature and consistency already verified, means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It is signed and proven consistent with the one that we hold of size `held`.
    Consistent {
        /// The size of ours that the proof started from; 0 when we held none.
        held: u64,
    },
    /// It is signed and of a later epoch than the one that we hold, which is `held`; the record that opened the epoch was
    /// proven to be the first of its log.
    Opened {
        /// The epoch of the one that we hold.
        held: u32,
        /// Whether that record names the one that we hold.
        named: bool,
        /// The leaf of that record.
        leaf: String,
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
            let held = held.unwrap_or_else(|| Witness::nothing(view.now()));
            let is_first = held.size == 0 && held.earlier.is_empty();
            if held.conflict.is_some()
                || held.size > 0 && (held.epoch, held.size) > (witness.epoch, witness.size)
                || held.note == witness.note
            {
                return Ok(Decision::answer(()));
            }
            if (held.epoch, held.size) == (witness.epoch, witness.size) {
                if held.root == witness.root {
                    return Ok(Decision::answer(()));
                }
                let text = "two checkpoints of one size with different roots contradict";
                return Err(fresh.refuse(RefusalKind::Invalid, text, text));
            }
            if held.size != *proven_from || held.epoch != witness.epoch && !is_first {
                return Err(fresh.refuse(
                    RefusalKind::Unavailable,
                    "another checkpoint was taken meanwhile; try again",
                    format!("proof starts at {proven_from}, held is {}", held.size),
                ));
            }
            let record =
                RecordDraft::new(LogId::Site, RecordKind::CheckpointWitnessed, Category::Service)
                    .account(
                        towards(partner)
                            .fact("epoch", witness.epoch)
                            .fact("size", witness.size)
                            .fact("root", witness.root.clone()),
                    )
                    .put(key, taken(held, witness));
            Ok(Decision::commit(vec![record], ()))
        }
        Shown::Opened { held: epoch, named, leaf } => {
            let held = held.unwrap_or_else(|| Witness::nothing(view.now()));
            if held.epoch != *epoch || held.epoch >= witness.epoch {
                return Err(fresh.refuse(
                    RefusalKind::Unavailable,
                    "another checkpoint was taken meanwhile; try again",
                    format!("epoch {} is held, not {epoch}", held.epoch),
                ));
            }
            let account = towards(partner)
                .fact("epoch", witness.epoch)
                .fact("shown", witness.note.clone())
                .fact("opening", leaf.clone())
                .fact("heldEpoch", held.epoch)
                .fact("held", held.note.clone())
                .fact("named", *named);
            let mut next = taken(held.clone(), witness);
            next.conflict = None;
            next.earlier.push(Earlier {
                epoch: held.epoch,
                note: held.note,
                conflict: held.conflict,
                named: *named,
            });
            let record = RecordDraft::new(log, RecordKind::EpochWitnessed, Category::Service)
                .account(account)
                .put(key, next)
                .essential();
            Ok(Decision::commit(vec![record], ()))
        }
    }
}

/// What is known of the partner once its checkpoint is taken. That we are behind is ours to answer for, whatever the partner
/// shows, and earlier epochs stay evidence.
fn taken(held: Witness, shown: &Witness) -> Witness {
    Witness {
        behind: held.behind,
        earlier: held.earlier,
        given_up: held.given_up,
        conflict: held.conflict,
        ..shown.clone()
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
    let held = context::witness(view, partner)?.unwrap_or_else(|| Witness::nothing(view.now()));
    if held.behind.is_some() {
        return Ok(Decision::answer(()));
    }
    let witness = Witness { behind: Some(note.to_owned()), ..held };
    let record = RecordDraft::new(LogId::Site, RecordKind::CheckpointConflict, Category::Service)
        .account(towards(partner).fact("signedBefore", note).fact("size", size))
        .put(Key::Witness(partner.clone()), witness)
        .essential();
    Ok(Decision::commit(vec![record], ()))
}

/// Records that the partner holds a checkpoint of an earlier epoch of ours that our log of that epoch does not continue, and
/// that no record of ours names yet: the partner could not be asked when the new epoch was opened.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn admit(view: &dyn View, partner: &ParticipantId, note: &str) -> Result<Decision<()>, Need> {
    let mut held = context::witness(view, partner)?.unwrap_or_else(|| Witness::nothing(view.now()));
    if held.given_up.iter().any(|known| known == note) {
        return Ok(Decision::answer(()));
    }
    held.given_up.push(note.to_owned());
    let log = LogId::Relation(partner.clone());
    let record = RecordDraft::new(log, RecordKind::CheckpointConflict, Category::Service)
        .account(towards(partner).fact("signedBefore", note))
        .digest(SHOWN, sha256(note))
        .put(Key::Witness(partner.clone()), held)
        .essential();
    Ok(Decision::commit(vec![record], ()))
}

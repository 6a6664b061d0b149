//! Opening a new epoch of the site's logs, on the operator's word (ADR 0014).
//!
//! A node that was restored from an old backup has signed checkpoints that its logs do not continue any more. It cannot
//! take them back, and must not sign others beside them. In a new epoch each log begins a new tree, and the first record of
//! that says which tree it leaves behind.

use protocol::id::ParticipantId;
use sha2::{Digest as _, Sha256};

use crate::context;
use crate::entity::Witness;
use crate::{Account, Category, Decision, Key, LogId, Need, RecordDraft, RecordKind, TreeId, View};

/// The name of the digest, in the leaf of the record that opens an epoch, of our last known checkpoint of the epoch before:
/// the SHA-256 of its signed note.
pub const PREVIOUS: &str = "previousCheckpoint";
/// The name of the digest of a checkpoint of ours that the partner has shown, and that our log does not continue.
pub const SHOWN: &str = "shownCheckpoint";

/// What was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The new epoch.
    pub epoch: u32,
    /// The relations whose logs begin anew, with whether they were behind.
    pub relations: Vec<(ParticipantId, bool)>,
}

/// Opens a new epoch for all logs of the site.
///
/// Its number is larger than any that we know to have signed in. Without `anyway` it is opened only where a relation is
/// behind: the answer is `None` where none is.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn open(
    view: &dyn View,
    logs: &[LogId],
    anyway: bool,
    reason: &str,
    person: Option<&str>,
) -> Result<Decision<Option<Opened>>, Need> {
    let Some(mut site) = context::site(view)? else { return Ok(Decision::answer(None)) };
    let mut relations: Vec<(ParticipantId, Option<Witness>)> = Vec::new();
    for log in logs {
        if let LogId::Relation(partner) = log {
            relations.push((partner.clone(), context::witness(view, partner)?));
        }
    }
    let behind = |held: &Option<Witness>| held.as_ref().and_then(|held| held.behind.clone());
    if !anyway && relations.iter().all(|(_, held)| behind(held).is_none()) {
        return Ok(Decision::answer(None));
    }
    let signed = relations
        .iter()
        .filter_map(|(_, held)| TreeId::from_note(&behind(held)?, &site.participant))
        .map(|tree| tree.epoch);
    let last = site.epoch;
    site.epoch = signed.fold(last, u32::max).saturating_add(1);
    let epoch = site.epoch;
    let opening = |log: LogId, account: Account| {
        let label = log.clone().in_epoch(last).label();
        let previous = context::head(view, &label)?.map(|head| head.note);
        let account = Account { reason: Some(reason.to_owned()), ..account }
            .fact("epoch", epoch)
            .fact("previousEpoch", last)
            .fact(PREVIOUS, previous.clone());
        let record = RecordDraft::new(log, RecordKind::EpochOpened, Category::Service)
            .account(account)
            .person(person.map(str::to_owned))
            .essential();
        Ok(match previous {
            Some(note) => record.digest(PREVIOUS, sha256(&note)),
            None => record,
        })
    };
    // It says first that the epoch is another; so it is the first record of its tree, and what follows is in the new epoch.
    let mut records = vec![opening(LogId::Site, Account::default())?.put(Key::Site, site)];
    let mut opened = Opened { epoch, relations: Vec::new() };
    for (partner, held) in relations {
        let account = Account { participant: Some(partner.clone()), ..Account::default() };
        let log = LogId::Relation(partner.clone());
        let behind = behind(&held);
        opened.relations.push((partner.clone(), behind.is_some()));
        records.push(match (held, behind) {
            (Some(mut held), Some(note)) => {
                held.behind = None;
                held.given_up.push(note.clone());
                opening(log, account.fact(SHOWN, note.clone()))?
                    .digest(SHOWN, sha256(&note))
                    .put(Key::Witness(partner), held)
            }
            _ => opening(log, account)?,
        });
    }
    Ok(Decision::commit(records, Some(opened)))
}

/// The SHA-256 of a signed note, hexadecimal.
pub fn sha256(note: &str) -> String {
    hex::encode(Sha256::digest(note.as_bytes()))
}

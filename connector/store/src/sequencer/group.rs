//! Deciding: transactions and cuts become records of a group, and effects on the state.

use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::permit::{EndReason, Permit, cut, recheck};
use engine::{
    Fresh, Key, Kind, Need, Position, RecordDraft, RecordKind, StoreError, TreeId, View, Write,
};
use jiff::Timestamp;
use journal::log::Record;
use journal::tlog::{Hash, leaf_hash};
use uuid::{Builder, Uuid};

use super::{Message, Sequencer};
use crate::index::{VALUE_BYTES_MAX, value_length};
use crate::notify::Written;
use crate::permits::{Ending, PermitId};
use crate::record::encode;
use crate::state::{ColdWrite, Loaded, Present};
use crate::transaction::{Decided, Outcome, Transaction, Undecided};

/// The most bytes that the records of one transaction may have: half of the largest frame.
const TRANSACTION_BYTES_MAX: usize = 32 << 20;
/// How often a decision of the sequencer's own may ask for more entities.
const LOADS_MAX: usize = 8;

/// Everything that will share one frame.
pub(super) struct Group {
    /// Where the frame will be.
    frame: u64,
    /// Only what must be kept on a full disk goes in.
    only_essential: bool,
    /// Whether all records so far must be kept.
    pub(super) essential: bool,
    /// The directory that is full.
    pub(super) place: String,
    pub(super) records: Vec<Record>,
    /// Which of the records owe a message: their bodies are its text.
    pub(super) owed: Vec<usize>,
    pub(super) leaves: Vec<(TreeId, Hash)>,
    pub(super) written: Vec<Written>,
    pub(super) cold: Vec<ColdWrite>,
    pub(super) waiting: Vec<Waiting>,
    /// The permits that ended.
    pub(super) cuts: Vec<(Permit, EndReason)>,
    pub(super) bytes: usize,
}

/// A transaction that was decided and waits for its group.
pub(super) struct Waiting {
    pub(super) transaction: Box<dyn Transaction>,
    pub(super) positions: Vec<Position>,
    pub(super) permit: Option<(Permit, Ending)>,
}

impl Sequencer {
    pub(super) fn begin(&self, only_essential: bool) -> Group {
        Group {
            frame: self.parts.journal.mark().end,
            only_essential,
            essential: true,
            place: String::new(),
            records: Vec::new(),
            owed: Vec::new(),
            leaves: Vec::new(),
            written: Vec::new(),
            cold: Vec::new(),
            waiting: Vec::new(),
            cuts: Vec::new(),
            bytes: 0,
        }
    }

    /// Decides a transaction. What cannot be stored is answered at once; the rest waits for the group.
    pub(super) fn decide(&mut self, group: &mut Group, mut transaction: Box<dyn Transaction>) {
        let missing = self.parts.state.missing(transaction.keys(), transaction.loaded());
        if !missing.is_empty() {
            return transaction.finish(Outcome::Need(missing));
        }
        let now = self.now();
        let Decided { records, permit } = match transaction.decide(&self.parts.state, now) {
            Ok(decided) => decided,
            Err(Undecided::Need(Need(keys))) => return transaction.finish(Outcome::Need(keys)),
            Err(Undecided::Panicked) => {
                tracing::error!(event = "decision.panicked");
                let reason = "the decision failed; this is a fault of the program".to_owned();
                return transaction.finish(Outcome::Failed(StoreError::Rejected { reason }));
            }
        };
        let first_written = group.written.len();
        match self.write(group, records, now) {
            Ok(positions) => {
                self.recheck_written(group, first_written);
                let permit = permit
                    .filter(|_| transaction.admits())
                    .map(|permit| self.register(permit, transaction.loaded()));
                group.waiting.push(Waiting { transaction, positions, permit });
            }
            Err(error) => transaction.finish(Outcome::Failed(error)),
        }
    }

    /// Decides a permit again, and ends it when its ground is gone.
    pub(super) fn recheck(&mut self, group: &mut Group, id: PermitId) {
        let Some(permit) = self.permits.permit(id).cloned() else { return };
        let reason = match self.decide_here(|view| recheck(view, &permit)) {
            Ok(None) => return,
            Ok(Some(reason)) => reason,
            // What cannot be judged does not hold.
            Err(reason) => EndReason {
                external: "the permit could not be decided again".to_owned(),
                internal: reason,
                terminates: false,
                by_policy: false,
            },
        };
        // The stream is told first, and the record follows.
        self.permits.end(id, reason.clone());
        self.record_cut(group, permit, reason);
    }

    /// Adds the records of a cut to the group.
    pub(super) fn record_cut(&mut self, group: &mut Group, permit: Permit, reason: EndReason) {
        let now = self.now();
        let context = &self.parts.context;
        let drafts = self.fresh().and_then(|fresh| {
            self.decide_here(|view| cut(view, context, &fresh, &permit, &reason))
        });
        let first_written = group.written.len();
        let written = drafts.and_then(|drafts| {
            let drafts = drafts.into_iter().map(RecordDraft::essential).collect();
            self.write(group, drafts, now).map_err(|error| error.to_string())
        });
        match written {
            Ok(_) => {
                group.cuts.push((permit, reason));
                self.recheck_written(group, first_written);
            }
            Err(error) => {
                tracing::error!(
                    event = "permit.cut.unrecorded",
                    transfer = %permit.transfer(),
                    reason = %reason.internal,
                    error,
                );
                self.owed.push((permit, reason));
            }
        }
    }

    /// Adds the records of the cuts that could not be recorded before.
    pub(super) fn record_owed(&mut self, group: &mut Group) {
        for (permit, reason) in std::mem::take(&mut self.owed) {
            self.record_cut(group, permit, reason);
        }
    }

    /// Decides the permits again that rest on what was written from a place in the group on.
    fn recheck_written(&mut self, group: &mut Group, first: usize) {
        let written = group.written.get(first..).unwrap_or_default();
        let keys: Vec<_> = written.iter().map(|written| written.key.encode()).collect();
        for id in self.permits.resting_on(keys.iter()) {
            self.recheck(group, id);
        }
    }

    /// Turns drafts into records of the group and applies their writes. After an error nothing has changed.
    fn write(
        &mut self,
        group: &mut Group,
        drafts: Vec<RecordDraft>,
        now: Timestamp,
    ) -> Result<Vec<Position>, StoreError> {
        let essential = drafts.iter().all(|draft| draft.essential);
        if group.only_essential && !essential {
            return Err(StoreError::DiskFull { place: group.place.clone() });
        }
        let encoded = self.encode(&drafts, now)?;
        group.essential &= essential;
        let mut positions = Vec::with_capacity(drafts.len());
        for (draft, (mut record, hash)) in drafts.into_iter().zip(encoded) {
            let number = u32::try_from(group.records.len()).unwrap_or(u32::MAX);
            let position = Position { frame: group.frame, record: number };
            let owes = |write: &Write| write.key.kind() == Kind::Outbox && write.entity.is_some();
            if draft.body.message.is_some() && draft.writes.iter().any(owes) {
                group.owed.push(group.records.len());
            }
            for write in draft.writes {
                let is_gone = write.entity.is_none();
                group.written.push(Written { key: write.key.clone(), is_gone });
                group.cold.extend(self.parts.state.apply(write, position));
            }
            // A record that opens an epoch is the first of its tree.
            let tree = draft.log.in_epoch(self.parts.state.epoch());
            record.log = tree.label();
            group.bytes += length(&record);
            group.records.push(record);
            group.leaves.push((tree, hash));
            positions.push(position);
            // An operator who accepts the time accepts the wall clock: from here on it counts again.
            let accepted = draft.kind == RecordKind::ClockAccepted;
            self.parts.last_time = if accepted { self.parts.clock.now() } else { now };
        }
        Ok(positions)
    }

    /// Encodes drafts and refuses what the format or the index could not hold. Their trees are not known yet.
    fn encode(
        &self,
        drafts: &[RecordDraft],
        now: Timestamp,
    ) -> Result<Vec<(Record, Hash)>, StoreError> {
        let rejected = |reason: String| StoreError::Rejected { reason };
        let mut bytes = 0;
        let mut records = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let encoded = encode(draft, now, self.parts.random.as_ref())
                .map_err(|error| rejected(error.to_string()))?;
            for write in &draft.writes {
                let Some(entity) = write.entity.as_ref().filter(|entity| !entity.is_hot()) else {
                    continue;
                };
                // An entity and more are in the effect: where all of it fits, nothing has to be measured.
                if encoded.effect.len() > VALUE_BYTES_MAX {
                    let length =
                        value_length(entity).map_err(|error| rejected(error.to_string()))?;
                    if length > VALUE_BYTES_MAX {
                        let key = &write.key;
                        return Err(rejected(format!(
                            "`{key}` has {length} bytes; at most {VALUE_BYTES_MAX} can be stored"
                        )));
                    }
                }
                if self.index_is_behind() {
                    return Err(StoreError::Rebuilding);
                }
            }
            let hash = leaf_hash(&encoded.leaf);
            let record = Record {
                log: String::new(),
                leaf: encoded.leaf,
                effect: encoded.effect,
                body: encoded.body,
            };
            bytes += length(&record);
            records.push((record, hash));
        }
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(rejected(format!(
                "its records have {bytes} bytes; at most {TRANSACTION_BYTES_MAX} can be stored at once"
            )));
        }
        Ok(records)
    }

    /// Whether memory holds as much for the index as it may: in the orders that wait for it, or in the state, which
    /// keeps the effects of orders that an index to be rebuilt has passed over.
    fn index_is_behind(&self) -> bool {
        let most = self.parts.limits.index_pending_max;
        let index = &self.parts.index;
        index.pending() > most || !index.is_ready() && self.parts.state.recent() > most
    }

    fn register(&mut self, permit: Permit, loaded: &Loaded) -> (Permit, Ending) {
        for key in permit.grounds() {
            self.parts.state.pin(&key.encode(), loaded);
        }
        let (id, receiver) = self.permits.register(permit.clone());
        let queue = self.parts.queue.clone();
        let release = move || {
            // An error means that the store is closed.
            let _ = queue.send(Message::Release(id));
        };
        (permit, Ending::new(receiver, release))
    }

    /// Decides something of our own, loading what is missing here and now: it is rare, since the grounds of permits are
    /// kept in memory, and a cut does not wait.
    fn decide_here<T>(&self, decide: impl Fn(&dyn View) -> Result<T, Need>) -> Result<T, String> {
        let now = self.now();
        let mut wanted: Vec<Key> = Vec::new();
        let mut loaded = Loaded::default();
        for _ in 0..LOADS_MAX {
            let view = Present { state: &self.parts.state, loaded: &loaded, now };
            match catch_unwind(AssertUnwindSafe(|| decide(&view))) {
                Ok(Ok(decided)) => return Ok(decided),
                Ok(Err(Need(keys))) => wanted.extend(keys),
                Err(_) => return Err("the decision failed".to_owned()),
            }
            loaded =
                self.parts.index.load(wanted.iter().cloned()).map_err(|error| error.to_string())?;
        }
        Err("the decision asked for entities again and again".to_owned())
    }

    /// Random identifiers for a decision of our own.
    fn fresh(&self) -> Result<Fresh, String> {
        let mut bytes = [0; 16 * 5];
        self.parts.random.fill(&mut bytes).map_err(|error| error.to_string())?;
        let (chunks, _) = bytes.as_chunks();
        let mut chunks = chunks.iter();
        Ok(Fresh::draw(|| match chunks.next() {
            Some(random) => Builder::from_random_bytes(*random).into_uuid(),
            None => Uuid::nil(),
        }))
    }

    /// The later of the wall clock and the last journaled time.
    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now().max(self.parts.last_time)
    }
}

fn length(record: &Record) -> usize {
    record.leaf.len() + record.effect.len() + record.body.as_ref().map_or(0, Vec::len)
}

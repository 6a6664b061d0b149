//! The seam between decisions and storage.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use protocol::id::ParticipantId;
use serde::{Deserialize, Serialize};

use crate::permit::{EndReason, Permit};
use crate::{Entity, Key, Kind, RecordDraft, TreeId};

/// Where a record stands in the journal, and so the version of the entities that it wrote. Later is greater.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The logical byte offset of the record's frame in the whole journal.
    pub frame: u64,
    /// The record's number within the frame.
    pub record: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.frame, self.record)
    }
}

/// A text is not what [`Position`] displays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is two numbers with a full stop between them, such as `4096.2`")]
pub struct NotAPosition;

impl std::str::FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (frame, record) = text.split_once('.').ok_or(NotAPosition)?;
        let position = Self {
            frame: frame.parse().map_err(|_| NotAPosition)?,
            record: record.parse().map_err(|_| NotAPosition)?,
        };
        // A position has one form only.
        if position.to_string() == text { Ok(position) } else { Err(NotAPosition) }
    }
}

/// The state that a decision sees: consistent, and as of one instant.
pub trait View {
    /// The time of the decision: the later of the wall clock and the last journaled time.
    fn now(&self) -> Timestamp;

    /// The entity under a key.
    ///
    /// # Errors
    /// [`Need`] when it is not loaded: pass it on, the decision is run again with it.
    fn entity(&self, key: &Key) -> Result<Option<Arc<Entity>>, Need>;

    /// The version of the entity under a key, where there is one.
    ///
    /// # Errors
    /// As [`View::entity`].
    fn version(&self, key: &Key) -> Result<Option<Position>, Need>;

    /// How many negotiations, or transfers, that a partner began are open. They are always in memory.
    fn open_processes(&self, participant: &ParticipantId, transfers: bool) -> usize;
}

/// An entity has to be loaded before the decision can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need(pub Vec<Key>);

/// What a decision comes to: records to append, an answer, and perhaps a permit.
#[derive(Debug)]
pub struct Decision<R> {
    /// The records, in order. None: nothing is written.
    pub records: Vec<RecordDraft>,
    /// The answer, released once everything that the decision saw and wrote is durable.
    pub reply: R,
    /// A permit to register, see [`Store::admit`].
    pub permit: Option<Permit>,
}

impl<R> Decision<R> {
    /// An answer that changes nothing.
    pub fn answer(reply: R) -> Self {
        Self { records: Vec::new(), reply, permit: None }
    }

    /// An answer with records.
    pub fn commit(records: Vec<RecordDraft>, reply: R) -> Self {
        Self { records, reply, permit: None }
    }

    /// The same decision with another answer.
    pub fn map<S>(self, change: impl FnOnce(R) -> S) -> Decision<S> {
        Decision { records: self.records, reply: change(self.reply), permit: self.permit }
    }
}

/// A decision's outcome, durable.
#[derive(Debug)]
pub struct Committed<R> {
    /// The position of each record, in the order of the decision.
    pub positions: Vec<Position>,
    /// The answer.
    pub reply: R,
}

/// Why a transaction did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk is full; nothing was changed.
    #[error(
        "the disk is full at `{place}`: free space there; transfers are cut and terminations still recorded"
    )]
    DiskFull {
        /// The directory.
        place: String,
    },
    /// Writing failed; nothing was changed.
    #[error("writing to `{place}` failed ({reason}): check the device and its permissions")]
    WriteFailed {
        /// The file.
        place: String,
        /// What the operating system said.
        reason: String,
    },
    /// The cold state is being rebuilt and does not hold the entity yet: try again later.
    #[error(
        "the index is being opened, caught up with the journal or rebuilt from it; try again in a few seconds"
    )]
    Rebuilding,
    /// A decision asked for entities again and again, or a record was larger than the format allows.
    #[error("the decision could not be stored: {reason}")]
    Rejected {
        /// What is wrong with it.
        reason: String,
    },
    /// The store has been closed or its device failed.
    #[error("the store is closed")]
    Closed,
}

/// A function that decides. It may be run more than once and must not do anything else.
pub type Decide<R> = Box<dyn FnMut(&dyn View) -> Result<Decision<R>, Need> + Send>;

/// A decision's outcome, and its permit with what resolves when that has ended.
pub type Admission<R, E> = (Committed<R>, Option<(Permit, E)>);

/// Where state lives. The one write is [`Store::transact`].
pub trait Store: Send + Sync + 'static {
    /// Resolves when a permit has ended, with the reason.
    type Ending: Future<Output = EndReason> + Send + Unpin;

    /// Decides and commits. Returns once everything that the decision saw and wrote is durable.
    fn transact<R: Send + 'static>(
        &self,
        keys: Vec<Key>,
        decide: impl FnMut(&dyn View) -> Result<Decision<R>, Need> + Send + 'static,
    ) -> impl Future<Output = Result<Committed<R>, StoreError>> + Send;

    /// As [`Store::transact`], and registers the permit that the decision carries, so that a later commit which takes its
    /// ground away ends it. No ending is given where the decision carried none.
    fn admit<R: Send + 'static>(
        &self,
        keys: Vec<Key>,
        decide: impl FnMut(&dyn View) -> Result<Decision<R>, Need> + Send + 'static,
    ) -> impl Future<Output = Result<Admission<R, Self::Ending>, StoreError>> + Send;

    /// The entities of one kind in key order, after a key, at most `limit` of them; durable ones only.
    fn scan(
        &self,
        kind: Kind,
        after: Option<Key>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Key, Arc<Entity>)>, StoreError>> + Send;

    /// Size and RFC 6962 root of a log's tree, durable.
    fn tree_head(
        &self,
        tree: TreeId,
    ) -> impl Future<Output = Result<(u64, [u8; 32]), StoreError>> + Send;
}

//! Transactions without their types, so that one thread can decide them all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::permit::Permit;
use engine::{Decision, Key, Need, Position, RecordDraft, StoreError, View};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::permits::Ending;
use crate::state::{Loaded, Present, State};

/// A transaction in the queue.
pub(crate) trait Transaction: Send {
    /// What it is known to need.
    fn keys(&self) -> &[Key];

    /// What was loaded for it.
    fn loaded(&self) -> &Loaded;

    /// Whether a permit that it decides on is to be registered.
    fn admits(&self) -> bool;

    /// Decides on the state, as of an instant. The reply stays inside.
    fn decide(&mut self, state: &State, now: Timestamp) -> Result<Decided, Undecided>;

    /// Answers it.
    fn finish(self: Box<Self>, outcome: Outcome);
}

/// What was decided, but for the reply.
pub(crate) struct Decided {
    pub(crate) records: Vec<RecordDraft>,
    pub(crate) permit: Option<Permit>,
}

/// Why nothing was decided.
pub(crate) enum Undecided {
    Need(Need),
    Panicked,
}

/// How a transaction ended.
pub(crate) enum Outcome {
    /// Everything that it saw and wrote is durable.
    Durable { positions: Vec<Position>, permit: Option<(Permit, Ending)> },
    /// These have to be loaded first.
    Need(Vec<Key>),
    /// Nothing happened.
    Failed(StoreError),
}

/// What the asking task is told.
pub(crate) enum Answer<R, D> {
    Durable {
        positions: Vec<Position>,
        reply: R,
        permit: Option<(Permit, Ending)>,
    },
    /// The decision comes back to be asked again.
    Need {
        keys: Vec<Key>,
        decide: D,
    },
    Failed(StoreError),
}

/// A transaction with its types.
pub(crate) struct Asked<R, D> {
    pub(crate) keys: Vec<Key>,
    pub(crate) loaded: Loaded,
    pub(crate) admits: bool,
    pub(crate) decide: D,
    pub(crate) reply: Option<R>,
    pub(crate) answer: oneshot::Sender<Answer<R, D>>,
    /// Its place in the bounded queue.
    pub(crate) _place: Option<OwnedSemaphorePermit>,
}

/// A transaction of the store's own, which needs to see nothing.
pub(crate) fn internal(
    records: impl Fn() -> Vec<RecordDraft> + Send + 'static,
    finished: impl FnOnce(Result<(), StoreError>) + Send + 'static,
) -> Box<dyn Transaction> {
    Box::new(Internal { records, finished, loaded: Loaded::default() })
}

struct Internal<F, G> {
    records: F,
    finished: G,
    loaded: Loaded,
}

impl<F, G> Transaction for Internal<F, G>
where
    F: Fn() -> Vec<RecordDraft> + Send,
    G: FnOnce(Result<(), StoreError>) + Send,
{
    fn keys(&self) -> &[Key] {
        &[]
    }

    fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    fn admits(&self) -> bool {
        false
    }

    fn decide(&mut self, _: &State, _: Timestamp) -> Result<Decided, Undecided> {
        Ok(Decided { records: (self.records)(), permit: None })
    }

    fn finish(self: Box<Self>, outcome: Outcome) {
        (self.finished)(match outcome {
            Outcome::Failed(error) => Err(error),
            Outcome::Durable { .. } | Outcome::Need(_) => Ok(()),
        });
    }
}

impl<R, D> Transaction for Asked<R, D>
where
    R: Send,
    D: FnMut(&dyn View) -> Result<Decision<R>, Need> + Send,
{
    fn keys(&self) -> &[Key] {
        &self.keys
    }

    fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    fn admits(&self) -> bool {
        self.admits
    }

    fn decide(&mut self, state: &State, now: Timestamp) -> Result<Decided, Undecided> {
        self.reply = None;
        let view = Present { state, loaded: &self.loaded, now };
        // A decision that panics must not take the sequencer with it. It owns what it may have left half done, and is
        // not run again.
        let decided = catch_unwind(AssertUnwindSafe(|| (self.decide)(&view)))
            .map_err(|_| Undecided::Panicked)?;
        let Decision { records, reply, permit } = decided.map_err(Undecided::Need)?;
        self.reply = Some(reply);
        Ok(Decided { records, permit })
    }

    fn finish(self: Box<Self>, outcome: Outcome) {
        let Self { decide, reply, answer, .. } = *self;
        let told = match (outcome, reply) {
            (Outcome::Durable { positions, permit }, Some(reply)) => {
                Answer::Durable { positions, reply, permit }
            }
            (Outcome::Durable { .. }, None) => Answer::Failed(StoreError::Rejected {
                reason: "it was stored without an answer".to_owned(),
            }),
            (Outcome::Need(keys), _) => Answer::Need { keys, decide },
            (Outcome::Failed(error), _) => Answer::Failed(error),
        };
        // An error means that nobody waits for the answer any more; what was stored stays stored.
        let _ = answer.send(told);
    }
}

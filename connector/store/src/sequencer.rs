//! The thread that decides: in order, in groups, each group one frame and one sync.
//!
//! It takes what waits in the queue, decides one transaction after the other on the state in memory, each seeing the
//! effects of those before, and appends their records together. Only when the frame is durable does anybody learn of it. When
//! the append fails, the state is as before and every transaction of the group is told so.

mod group;

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use engine::permit::{EndReason, Permit};
use engine::{Context, Position, StoreError};
use jiff::Timestamp;
use journal::log::{AppendError, Essential, FrameReceipt};
use protocol::id::Pid;

use crate::clock::{Clock, Random};
use crate::frames::FrameWriter;
use crate::index::Index;
use crate::keeper::Keeper;
use crate::notify::Notifier;
use crate::permits::{PermitId, Registry};
use crate::state::State;
use crate::texts::Texts;
use crate::transaction::{Outcome, Transaction};
use crate::trees::{Leaf, SharedTrees};

use group::{Group, Waiting};

/// The most transactions that share a frame.
const GROUP_TRANSACTIONS: usize = 1_024;
/// The bytes of records at which a group is closed.
const GROUP_BYTES: usize = 4 << 20;
/// How long an effect stays in memory, at least, after the index has it: what is loaded meanwhile stays valid.
const FORGET_AFTER: Duration = Duration::from_secs(1);
/// How long the queue has to be empty before the last frame is proven durable by another.
const IDLE_AFTER: Duration = Duration::from_millis(200);
/// How long after a cut could not be recorded that is tried again, though nobody asks for anything.
const OWED_AFTER: Duration = Duration::from_secs(1);
/// After this many tidyings of an idle store nothing is left to forget.
const TIDYINGS: u8 = 3;

/// What the sequencer is told.
pub(crate) enum Message {
    /// Decide and commit.
    Transact(Box<dyn Transaction>),
    /// Look at the state, when all of it is durable.
    Look(Box<dyn FnOnce(&State) + Send>),
    /// Decide permits again: those of a transfer, or those whose instant has come.
    Recheck { transfer: Option<Pid>, done: tokio::sync::oneshot::Sender<usize> },
    /// Nothing is served under it any more.
    Release(PermitId),
    /// Stop when everything before is done.
    Close(mpsc::Sender<()>),
}

/// What the sequencer works with.
pub(crate) struct Parts {
    pub(crate) journal: Box<dyn FrameWriter>,
    pub(crate) state: State,
    pub(crate) last_time: Timestamp,
    pub(crate) context: Context,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) index: Arc<Index>,
    pub(crate) trees: SharedTrees,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) keeper: Keeper,
    pub(crate) texts: Arc<Texts>,
    pub(crate) queue: mpsc::Sender<Message>,
    pub(crate) limits: Limits,
    /// Where the newest snapshot ends in the journal.
    pub(crate) snapshot_end: u64,
}

/// Limits that configuration sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of journal between snapshots, while the state is small.
    pub(crate) snapshot_bytes: u64,
    /// Groups that may wait for the index, and cold entities kept in memory while it cannot be read, before cold writes
    /// are refused.
    pub(crate) index_pending_max: usize,
}

/// The thread's state.
pub(crate) struct Sequencer {
    parts: Parts,
    permits: Registry,
    /// Permits that were ended and whose cut could not be recorded yet.
    owed: Vec<(Permit, EndReason)>,
    /// Whether the last frame has records, so that nothing proves it durable yet.
    unproven: bool,
    /// When effects were last forgotten, since the machine's start.
    forgot: Duration,
    tidyings: u8,
}

impl Sequencer {
    pub(crate) fn new(parts: Parts, unproven: bool) -> Self {
        let forgot = parts.clock.since_boot();
        Self {
            parts,
            permits: Registry::default(),
            owed: Vec::new(),
            unproven,
            forgot,
            tidyings: 0,
        }
    }

    /// Works until it is told to stop.
    pub(crate) fn run(mut self, messages: &mpsc::Receiver<Message>) {
        let mut waiting: VecDeque<Message> = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match self.wait(messages) {
                    Some(message) => waiting.push_back(message),
                    None => continue,
                }
            }
            waiting.extend(messages.try_iter().take(GROUP_TRANSACTIONS));
            if let Some(done) = self.work(&mut waiting) {
                self.prove();
                let _ = done.send(());
                return;
            }
        }
    }

    /// Waits for a message; uses the silence before it.
    fn wait(&mut self, messages: &mpsc::Receiver<Message>) -> Option<Message> {
        let patience = match (self.unproven, self.owed.is_empty(), self.tidyings) {
            (true, _, _) => IDLE_AFTER,
            (false, false, _) => OWED_AFTER,
            (false, true, 0) => return messages.recv().ok().or_else(|| self.disconnected()),
            (false, true, _) => FORGET_AFTER,
        };
        match messages.recv_timeout(patience) {
            Ok(message) => return Some(message),
            Err(mpsc::RecvTimeoutError::Disconnected) => return self.disconnected(),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if self.unproven {
            self.prove();
        } else if !self.owed.is_empty() {
            let mut group = self.begin(false);
            self.record_owed(&mut group);
            self.commit(group);
        } else {
            self.tidyings = self.tidyings.saturating_sub(1);
            self.forget();
            if self.tidyings == 0 {
                // The next start reads what came since the last snapshot. After much at once, such as a long list of datasets,
                // silence is the time to spare it most of that.
                let bytes = self.parts.limits.snapshot_bytes.max(self.snapshot_interval() / 4);
                self.snapshot_beyond(self.parts.journal.mark().end, bytes);
            }
        }
        None
    }

    /// The queue's senders are gone, though this thread holds one: treat it as a stop.
    fn disconnected(&self) -> Option<Message> {
        Some(Message::Close(mpsc::channel().0))
    }

    /// Does what waits, up to one group. Returns whom to tell when it is time to stop.
    fn work(&mut self, waiting: &mut VecDeque<Message>) -> Option<mpsc::Sender<()>> {
        let mut group = self.begin(false);
        let mut looks = Vec::new();
        let mut rechecked = Vec::new();
        let mut close = None;
        self.record_owed(&mut group);
        while let Some(message) = waiting.pop_front() {
            match message {
                Message::Transact(transaction) => self.decide(&mut group, transaction),
                Message::Look(look) => looks.push(look),
                Message::Recheck { transfer, done } => {
                    let ids = match &transfer {
                        Some(transfer) => self.permits.of_transfer(transfer),
                        None => self.permits.due(self.now()),
                    };
                    let before = group.cuts.len();
                    for id in ids {
                        self.recheck(&mut group, id);
                    }
                    rechecked.push((done, group.cuts.len().saturating_sub(before)));
                }
                Message::Release(id) => drop(self.permits.release(id)),
                Message::Close(done) => {
                    close = Some(done);
                    break;
                }
            }
            if group.bytes >= GROUP_BYTES || group.waiting.len() >= GROUP_TRANSACTIONS {
                break;
            }
        }
        self.commit(group);
        for look in looks {
            look(&self.parts.state);
        }
        for (done, ended) in rechecked {
            let _ = done.send(ended);
        }
        close
    }

    /// Makes the group durable and answers everybody in it.
    fn commit(&mut self, group: Group) {
        match self.append(&group) {
            Ok(receipt) => self.release(group, receipt),
            Err(AppendError::DiskFull { place, .. }) => {
                self.parts.state.take_back();
                self.commit_essential(group, &place.display().to_string());
            }
            Err(error) => {
                self.parts.state.take_back();
                let error = refused(error);
                tracing::error!(event = "journal.append.failed", error = %error);
                self.fail(group, &error);
            }
        }
    }

    /// On a full disk: decides the group anew, and keeps what must be kept even then.
    fn commit_essential(&mut self, failed: Group, place: &str) {
        tracing::error!(event = "journal.disk.full", place);
        let mut group = self.begin(true);
        group.place = place.to_owned();
        for (permit, reason) in failed.cuts {
            self.record_cut(&mut group, permit, reason);
        }
        for Waiting { transaction, .. } in failed.waiting {
            self.decide(&mut group, transaction);
        }
        match self.append(&group) {
            Ok(receipt) => self.release(group, receipt),
            Err(error) => {
                self.parts.state.take_back();
                let error = refused(error);
                tracing::error!(event = "journal.append.failed", error = %error);
                self.fail(group, &error);
            }
        }
    }

    /// Appends the group's frame, if it has records.
    fn append(&mut self, group: &Group) -> Result<Option<FrameReceipt>, AppendError> {
        if group.records.is_empty() {
            return Ok(None);
        }
        let essential = if group.essential { Essential::Yes } else { Essential::No };
        match self.parts.journal.append(&group.records, essential) {
            Err(error @ (AppendError::SyncFailed { .. } | AppendError::Refusing)) => die(&error),
            Err(error) => Err(error),
            Ok(receipt) => Ok(Some(receipt)),
        }
    }

    /// The group is durable: lets trees, index, watchers and askers know, in this order.
    fn release(&mut self, group: Group, receipt: Option<FrameReceipt>) {
        self.parts.state.keep();
        if let Some(receipt) = receipt {
            let place = |record: usize| Position {
                frame: receipt.offset,
                record: u32::try_from(record).unwrap_or(u32::MAX),
            };
            let last = place(group.records.len().saturating_sub(1));
            let leaves =
                group.leaves.iter().enumerate().map(|(number, (log, hash))| {
                    (log, Leaf { hash: *hash, position: place(number) })
                });
            self.parts.trees.append(leaves);
            let mut owed = group.owed.iter().peekable();
            let bodies = group.records.into_iter().enumerate().filter_map(|(number, record)| {
                owed.next_if(|owed| **owed == number)?;
                Some((place(number), record.body?))
            });
            self.parts.texts.keep(bodies);
            self.parts.index.apply(group.cold, receipt.mark.end);
            self.parts.notifier.publish(group.written, last);
            self.unproven = true;
            self.tidyings = TIDYINGS;
            self.snapshot_beyond(receipt.mark.end, self.snapshot_interval());
        }
        for Waiting { transaction, positions, permit } in group.waiting {
            transaction.finish(Outcome::Durable { positions, permit });
        }
        if self.parts.clock.since_boot().saturating_sub(self.forgot) >= FORGET_AFTER {
            self.forget();
        }
    }

    /// Asks for a snapshot when the journal, which ends here, grew by a number of bytes since the last one.
    fn snapshot_beyond(&mut self, end: u64, bytes: u64) {
        if end.saturating_sub(self.parts.snapshot_end) >= bytes {
            self.parts.snapshot_end = end;
            self.parts.keeper.snapshot();
        }
    }

    /// Bytes of journal until the next snapshot. Folding writes the whole state again, so a large one is folded less often:
    /// what snapshots write stays within some five times what the journal writes.
    fn snapshot_interval(&self) -> u64 {
        self.parts.limits.snapshot_bytes.max(self.parts.keeper.snapshot_size() / 4)
    }

    /// Nothing of the group happened, but that permits ended.
    fn fail(&mut self, group: Group, error: &StoreError) {
        self.owed.extend(group.cuts);
        for Waiting { transaction, .. } in group.waiting {
            transaction.finish(Outcome::Failed(error.clone()));
        }
    }

    /// Writes an empty frame: it proves to the next start that the one before was durable.
    fn prove(&mut self) {
        if !self.unproven {
            return;
        }
        // Once: without it the next start only has to be more careful with the last frame.
        self.unproven = false;
        match self.parts.journal.append(&[], Essential::Yes) {
            Err(error @ (AppendError::SyncFailed { .. } | AppendError::Refusing)) => die(&error),
            Err(error) => tracing::warn!(event = "journal.idle.failed", error = %error),
            Ok(_) => {}
        }
    }

    fn forget(&mut self) {
        self.forgot = self.parts.clock.since_boot();
        let permits = &self.permits;
        self.parts.state.forget(self.parts.index.applied(), |key| permits.is_ground(key));
        self.parts.texts.forget();
    }
}

/// A sync that failed leaves unknown what is on the disk, and trying again would not tell. So nobody is answered, and the
/// process ends; the next start reads what is there and syncs it anew.
fn die(error: &AppendError) -> ! {
    tracing::error!(event = "journal.sync.failed", error = %error, "the process ends: restart it");
    let _ = std::io::stderr().flush();
    let _ = std::io::stdout().flush();
    std::process::abort()
}

fn refused(error: AppendError) -> StoreError {
    match error {
        AppendError::DiskFull { place, .. } => {
            StoreError::DiskFull { place: place.display().to_string() }
        }
        AppendError::Write { place, source } => StoreError::WriteFailed {
            place: place.display().to_string(),
            reason: source.to_string(),
        },
        other @ (AppendError::Record { .. } | AppendError::TooLarge { .. }) => {
            StoreError::Rejected { reason: other.to_string() }
        }
        AppendError::SyncFailed { .. } | AppendError::Refusing => StoreError::Closed,
    }
}

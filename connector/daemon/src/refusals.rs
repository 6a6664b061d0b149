//! Refusals in the journal: each of them findable by its reference with its full reason, and junk bounded.
//!
//! The first refusal of a cause (what was asked and why it is refused) towards a partner is a record of its own before it
//! is answered. The same again within the second gets the same reference and is counted in one record at the second's
//! end. A partner with more unlike causes than its limit, in a second or in an hour, is told that instead, under one
//! reference; in the latter case for a minute at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::refusal::{self, Refusal, RefusalKind};
use engine::{Decision, Peer, RecordDraft, Store as _, StoreError};
use protocol::id::ParticipantId;
use sha2::{Digest as _, Sha256};
use store::FileStore;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long refusals of one cause are gathered.
const WINDOW: Duration = Duration::from_secs(1);
/// The same for one who has had all that there are for an hour.
const LONG_WINDOW: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Records refusals.
#[derive(Clone)]
pub struct Refusals {
    store: FileStore,
    /// The most unlike causes of one partner in a window.
    most: usize,
    /// The most windows of one partner in an hour.
    most_per_hour: usize,
    /// Since when, and how many, for each partner.
    opened: Arc<Mutex<HashMap<ParticipantId, (Instant, usize)>>>,
    windows: Arc<Mutex<HashMap<ParticipantId, HashMap<Cause, Window>>>>,
}

/// What was asked, and why it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Cause {
    kind: RefusalKind,
    request: &'static str,
    reason_sha256: [u8; 32],
}

/// The refusals of one cause since the first.
struct Window {
    first: Refusal,
    /// How often it was refused after the first time.
    again: u64,
    /// Turns true when the record of the first is written.
    recorded: watch::Receiver<bool>,
}

/// What a refusal is in the light of those of this second.
enum Gathered {
    First(watch::Sender<bool>),
    Again(Refusal, watch::Receiver<bool>),
    Beyond(Limit),
}

/// How many causes there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    PerSecond,
    PerHour,
}

impl Cause {
    fn of(refusal: &Refusal, request: &'static str) -> Self {
        let mut digest = Sha256::new();
        digest.update(refusal.internal.as_bytes());
        digest.update([0]);
        digest.update(refusal.external.as_bytes());
        Self { kind: refusal.kind, request, reason_sha256: digest.finalize().into() }
    }
}

impl Refusals {
    /// Records in this store at most so many unlike causes of one partner in a second, and in an hour.
    pub fn new(store: FileStore, most: usize, most_per_hour: usize) -> Self {
        Self { store, most, most_per_hour, opened: Arc::default(), windows: Arc::default() }
    }

    /// Records a refusal, and gives it back as it is to be answered: with the reference under which it is found, or as the
    /// refusal of too many. When it cannot be stored it is logged: it is refused all the same.
    pub async fn record(&self, peer: &Peer, refusal: Refusal, request: &'static str) -> Refusal {
        let cause = Cause::of(&refusal, request);
        match self.gather(peer, cause.clone(), &refusal, false) {
            Gathered::First(recorded) => self.open(peer, cause, refusal, recorded, WINDOW).await,
            Gathered::Again(first, recorded) => known(first, recorded).await,
            Gathered::Beyond(limit) => self.beyond(peer, refusal, limit).await,
        }
    }

    /// The refusal of too many, for whatever was asked: one window beside the others.
    async fn beyond(&self, peer: &Peer, refusal: Refusal, limit: Limit) -> Refusal {
        let (most, time, key, window) = match limit {
            Limit::PerSecond => (self.most, "a second", "second", WINDOW),
            Limit::PerHour => (self.most_per_hour, "an hour", "hour", LONG_WINDOW),
        };
        let internal = format!(
            "more than {most} unlike requests of this partner were refused within {time} \
             (partner_listener.max_refusals_per_partner_per_{key}_count)"
        );
        let external = match limit {
            Limit::PerSecond => {
                "too many of your requests are refused; wait a second and try again"
            }
            Limit::PerHour => {
                "too many of your requests were refused within the hour; mend them, and try again later"
            }
        };
        let kind = RefusalKind::TooMany;
        let refusal = Refusal { kind, external: external.into(), internal, ..refusal };
        let cause = Cause::of(&refusal, "");
        match self.gather(peer, cause.clone(), &refusal, true) {
            Gathered::First(recorded) => self.open(peer, cause, refusal, recorded, window).await,
            Gathered::Again(first, recorded) => known(first, recorded).await,
            Gathered::Beyond(_) => refusal,
        }
    }

    /// Counts the refusal in its window, where there is one; opens one otherwise.
    fn gather(&self, peer: &Peer, cause: Cause, refusal: &Refusal, beyond: bool) -> Gathered {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = windows.entry(peer.participant.clone()).or_default();
        if let Some(window) = windows.get_mut(&cause) {
            window.again += 1;
            return Gathered::Again(window.first.clone(), window.recorded.clone());
        }
        if !beyond {
            if windows.len() >= self.most {
                return Gathered::Beyond(Limit::PerSecond);
            }
            if !self.has_left(&peer.participant) {
                return Gathered::Beyond(Limit::PerHour);
            }
        }
        let (recorded, watched) = watch::channel(false);
        windows.insert(cause, Window { first: refusal.clone(), again: 0, recorded: watched });
        Gathered::First(recorded)
    }

    /// Whether the partner has a window left in this hour; takes it.
    fn has_left(&self, participant: &ParticipantId) -> bool {
        let now = Instant::now();
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = opened.entry(participant.clone()).or_insert((now, 0));
        if now.duration_since(*since) >= HOUR {
            (*since, *count) = (now, 0);
        }
        let has_left = *count < self.most_per_hour;
        *count = count.saturating_add(usize::from(has_left));
        has_left
    }

    /// Records the first of a cause, and closes its window when its time is over.
    async fn open(
        &self,
        peer: &Peer,
        cause: Cause,
        refusal: Refusal,
        recorded: watch::Sender<bool>,
        window: Duration,
    ) -> Refusal {
        let (refusals, peer, first) = (self.clone(), peer.clone(), refusal.clone());
        // A task of its own: a peer that goes away takes the request's task with it, and the window must close all the same.
        let written = tokio::spawn(async move {
            tracing::info!(
                event = "request.refused",
                partner = %peer.participant,
                request = cause.request,
                reference = first.reference,
                reason = first.internal,
            );
            refusals.write(&peer, &first, refusal::record(&peer, &first, cause.request)).await;
            recorded.send_replace(true);
            tokio::spawn(async move {
                tokio::time::sleep(window).await;
                refusals.close(&peer, &cause).await;
            });
        });
        let _ = written.await;
        refusal
    }

    async fn close(&self, peer: &Peer, cause: &Cause) {
        let window = {
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(of_partner) = windows.get_mut(&peer.participant) else { return };
            let window = of_partner.remove(cause);
            if of_partner.is_empty() {
                windows.remove(&peer.participant);
            }
            window
        };
        let Some(window) = window.filter(|window| window.again > 0) else { return };
        tracing::info!(
            event = "requests.refused",
            partner = %peer.participant,
            request = cause.request,
            reference = window.first.reference,
            count = window.again,
        );
        let record = refusal::summary(peer, &window.first, cause.request, window.again);
        self.write(peer, &window.first, record).await;
    }

    async fn write(&self, peer: &Peer, refusal: &Refusal, record: RecordDraft) {
        let decide = move |_: &dyn engine::View| Ok(Decision::commit(vec![record.clone()], ()));
        let stored: Result<_, StoreError> = self.store.transact(Vec::new(), decide).await;
        if let Err(error) = stored {
            tracing::warn!(
                event = "refusal.not_recorded",
                partner = %peer.participant,
                reference = refusal.reference,
                reason = refusal.internal,
                error = %error,
            );
        }
    }
}

/// A refusal that was given before, once its record is written.
async fn known(first: Refusal, mut recorded: watch::Receiver<bool>) -> Refusal {
    // An error means that the recording task is gone; it was refused all the same.
    let _ = recorded.wait_for(|recorded| *recorded).await;
    first
}

impl std::fmt::Debug for Refusals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Refusals")
    }
}

//! Refusals in the journal: each of them findable by its reference, and junk summarised.
//!
//! The first refusal of a kind towards a partner is a record of its own before it is answered. Further ones within the
//! second share one reference and are one record at the second's end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::refusal::{self, Refusal, RefusalKind};
use engine::{Decision, Peer, Store as _};
use protocol::id::ParticipantId;
use store::FileStore;

/// How long refusals of one kind are gathered.
const WINDOW: Duration = Duration::from_secs(1);

/// Records refusals.
#[derive(Clone)]
pub struct Refusals {
    store: FileStore,
    windows: Arc<Mutex<HashMap<(ParticipantId, RefusalKind), Window>>>,
}

/// What was refused since the first refusal of its kind in this second.
struct Window {
    peer: Peer,
    reference: String,
    count: u64,
    latest: String,
}

impl Refusals {
    /// Records in this store.
    pub fn new(store: FileStore) -> Self {
        Self { store, windows: Arc::default() }
    }

    /// Records a refusal, and gives it back with the reference under which it is found. When it cannot be stored it is
    /// logged: it is refused all the same.
    pub async fn record(
        &self,
        peer: &Peer,
        mut refusal: Refusal,
        request: &'static str,
    ) -> Refusal {
        let key = (peer.participant.clone(), refusal.kind);
        if let Some(reference) = self.gather(&key, peer, &refusal) {
            refusal.reference = reference;
            return refusal;
        }
        let record = refusal::record(peer, &refusal, request);
        let (refusals, logged) = (self.clone(), refusal.clone());
        // A task of its own: a peer that goes away takes the request's task with it, and the window must close all the same.
        let recorded = tokio::spawn(async move {
            let stored = refusals
                .store
                .transact(Vec::new(), move |_| Ok(Decision::commit(vec![record.clone()], ())))
                .await;
            if let Err(error) = stored {
                tracing::warn!(
                    event = "refusal.not_recorded",
                    partner = %key.0,
                    reference = logged.reference,
                    reason = logged.internal,
                    error = %error,
                );
            }
            tokio::spawn(async move {
                tokio::time::sleep(WINDOW).await;
                refusals.flush(&key).await;
            });
        });
        let _ = recorded.await;
        refusal
    }

    /// Counts the refusal in its window, where there is one; opens one otherwise.
    fn gather(
        &self,
        key: &(ParticipantId, RefusalKind),
        peer: &Peer,
        refusal: &Refusal,
    ) -> Option<String> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        match windows.entry(key.clone()) {
            Entry::Occupied(mut window) => {
                let window = window.get_mut();
                if window.count == 0 {
                    window.reference.clone_from(&refusal.reference);
                }
                window.count += 1;
                window.latest.clone_from(&refusal.internal);
                Some(window.reference.clone())
            }
            Entry::Vacant(place) => {
                place.insert(Window {
                    peer: peer.clone(),
                    reference: String::new(),
                    count: 0,
                    latest: String::new(),
                });
                None
            }
        }
    }

    async fn flush(&self, key: &(ParticipantId, RefusalKind)) {
        let window = self.windows.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let Some(window) = window.filter(|window| window.count > 0) else { return };
        let record =
            refusal::summary(&window.peer, key.1, &window.reference, window.count, &window.latest);
        let stored = self
            .store
            .transact(Vec::new(), move |_| Ok(Decision::commit(vec![record.clone()], ())))
            .await;
        if let Err(error) = stored {
            tracing::warn!(
                event = "refusals.not_recorded",
                partner = %key.0,
                count = window.count,
                error = %error,
            );
        }
    }
}

impl std::fmt::Debug for Refusals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Refusals")
    }
}

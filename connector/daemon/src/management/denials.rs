//! Refusals of the management API in the journal: who showed no key, or one that does not allow it, and to whom a policy does not
//! let data go.
//!
//! The first one of somebody is a record at once. Further ones within the second are one record at the second's end, so
//! that nobody can fill the disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::Decision;

use super::answer::ApiError;
use crate::node::Node;

/// How long the refusals of one caller are gathered.
const WINDOW: Duration = Duration::from_secs(1);

/// Who is refused: somebody whose key is known, somebody of this host, or anybody else.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) who: String,
    pub(super) place: String,
}

/// Records refusals.
#[derive(Debug, Clone, Default)]
pub(super) struct Denials(Arc<Mutex<HashMap<String, Gathered>>>);

#[derive(Debug, Default)]
struct Gathered {
    count: u64,
    place: String,
    reason: String,
}

impl Denials {
    /// Records a refusal. When it cannot be stored it is logged: it is refused all the same.
    pub(super) async fn record(&self, node: &Arc<Node>, refused: Refused, error: &ApiError) {
        let reason = error.to_string();
        {
            let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match windows.entry(refused.who.clone()) {
                Entry::Occupied(mut gathered) => {
                    let gathered = gathered.get_mut();
                    gathered.count += 1;
                    gathered.place = refused.place;
                    gathered.reason = reason;
                    return;
                }
                Entry::Vacant(place) => {
                    place.insert(Gathered::default());
                }
            }
        }
        let (denials, node) = (self.clone(), Arc::clone(node));
        // A task of its own: whoever goes away takes the request's task with it, and the window must close all the same.
        let recorded = tokio::spawn(async move {
            write(&node, &refused.who, &refused.place, 1, &reason).await;
            tokio::spawn(async move {
                tokio::time::sleep(WINDOW).await;
                let gathered = {
                    let mut windows = denials.0.lock().unwrap_or_else(PoisonError::into_inner);
                    windows.remove(&refused.who)
                };
                if let Some(more) = gathered.filter(|gathered| gathered.count > 0) {
                    write(&node, &refused.who, &more.place, more.count, &more.reason).await;
                }
            });
        });
        let _ = recorded.await;
    }
}

async fn write(node: &Arc<Node>, who: &str, place: &str, count: u64, reason: &str) {
    let record = engine::keys::refused(who, place, count, reason);
    let stored = node.commit(move |_| Ok(Decision::commit(vec![record.clone()], ()))).await;
    if let Err(error) = stored {
        tracing::warn!(event = "management.refusal_not_recorded", who, place, reason, error = %error);
    }
}

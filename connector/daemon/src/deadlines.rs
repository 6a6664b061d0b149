//! The watch over deadlines: processes that nobody carries on are ended by [`engine::deadline`].
//!
//! Which deadlines there are is read from the open processes at the start, and again of those that a commit wrote. The
//! worker sleeps until the earliest, and looks up at each tick of the clock's watch, because a wall clock may move while
//! it sleeps; so a deadline is kept to within one tick.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use engine::deadline::{self, Outcome};
use engine::{Key, StoreError};
use jiff::Timestamp;
use store::Change;

use crate::net::Phase;
use crate::node::Node;

/// How many entities are read at once.
const SCAN_STEP: usize = 256;

/// The deadlines known, earliest first.
#[derive(Debug, Default)]
struct Agenda {
    by_time: BTreeSet<(Timestamp, Key)>,
    by_key: HashMap<Key, Timestamp>,
}

impl Agenda {
    fn set(&mut self, key: Key, deadline: Option<Timestamp>) {
        let before = match deadline {
            Some(deadline) => self.by_key.insert(key.clone(), deadline),
            None => self.by_key.remove(&key),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, key.clone()));
        }
        if let Some(deadline) = deadline {
            self.by_time.insert((deadline, key));
        }
    }

    fn due(&self, now: Timestamp) -> Vec<Key> {
        self.by_time
            .iter()
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// The first deadline after an instant. What was due then and could not be ended is tried again at the next tick.
    fn after(&self, now: Timestamp) -> Option<Timestamp> {
        self.by_time.iter().map(|(deadline, _)| *deadline).find(|deadline| *deadline > now)
    }
}

/// Watches until the node stops.
pub async fn run(node: Arc<Node>) {
    let mut changes = node.store.subscribe_kinds(deadline::KINDS);
    let mut ticks = node.ticks.subscribe();
    let mut agenda = Agenda::default();
    let mut written = HashSet::new();
    let mut everything = true;
    loop {
        let read = match everything {
            true => read_all(&node, &mut agenda).await,
            false => read(&node, &mut agenda, &written).await,
        };
        match read {
            Ok(()) => {
                everything = false;
                written.clear();
            }
            Err(error) => tracing::error!(event = "deadlines.not_read", error = %error),
        }
        let now = node.clock.now();
        for key in agenda.due(now) {
            if node.shutdown.phase() == Phase::Stopping {
                return;
            }
            end(&node, &mut agenda, key).await;
        }
        let earliest = agenda.after(now).map(|deadline| deadline.duration_since(node.clock.now()));
        let sleep = async {
            match earliest {
                Some(left) => {
                    tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = node.shutdown.stopping() => return,
                () = &mut sleep => break,
                ticked = ticks.changed() => match ticked {
                    Ok(()) => break,
                    Err(_) => return,
                },
                change = changes.next() => match change {
                    Change::Written(keys) => written.extend(keys),
                    Change::Rescan => everything = true,
                    Change::Closed => return,
                },
            }
        }
    }
}

async fn read_all(node: &Node, agenda: &mut Agenda) -> Result<(), StoreError> {
    let mut found = Agenda::default();
    for kind in deadline::KINDS {
        let mut after = None;
        loop {
            let page = node.store.scan_hot(*kind, after.take(), SCAN_STEP).await?;
            after = page.last().map(|(key, _)| key.clone());
            let whole = page.len() < SCAN_STEP;
            for (key, entity) in page {
                found.set(key, deadline::of(&entity, &node.context.limits));
            }
            if whole {
                break;
            }
        }
    }
    *agenda = found;
    Ok(())
}

async fn read(node: &Node, agenda: &mut Agenda, written: &HashSet<Key>) -> Result<(), StoreError> {
    if written.is_empty() {
        return Ok(());
    }
    let keys: Vec<Key> = written.iter().cloned().collect();
    let open = node.store.hot(keys).await?;
    for key in written {
        agenda.set(key.clone(), None);
    }
    for (key, entity) in open {
        agenda.set(key, deadline::of(&entity, &node.context.limits));
    }
    Ok(())
}

/// Ends one process, where its deadline has passed indeed.
async fn end(node: &Arc<Node>, agenda: &mut Agenda, key: Key) {
    let attempted = match &key {
        Key::Negotiation(pid) | Key::Transfer(pid) => node.attempts.any(pid),
        _ => false,
    };
    let (context, fresh, looked_at) = (Arc::clone(&node.context), node.fresh(), key.clone());
    let outcome = node
        .commit(move |view| deadline::expire(view, &context, &fresh, &looked_at, attempted))
        .await;
    match outcome {
        Ok(Outcome::Ended(reason)) => {
            tracing::warn!(event = "process.expired", process = %key, reason = reason);
            agenda.set(key, None);
        }
        Ok(Outcome::Waits(deadline)) => agenda.set(key, deadline),
        Err(error) => {
            tracing::error!(event = "deadline.not_stored", process = %key, error = %error);
        }
    }
}

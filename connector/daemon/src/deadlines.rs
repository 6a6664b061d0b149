//! The watch over deadlines: processes that nobody carries on are ended by [`engine::deadline`], and duties are looked at
//! when their state may change.
//!
//! Which deadlines there are is read from the open processes at the start, and again of those that a commit wrote. The
//! worker sleeps until the earliest, and looks up at each tick of the clock's watch, because a wall clock may move while
//! it sleeps; so a deadline is kept to within one tick. Duties with conditions are also looked at when something was written on
//! which those may depend: a use, the partner, the dataset, the rules.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use engine::deadline::{self, Outcome};
use engine::{Entity, Key, StoreError};
use jiff::Timestamp;
use protocol::id::{DatasetId, ParticipantId};
use store::{Change, Written};

use crate::net::Phase;
use crate::node::Node;

/// How many entities are read at once.
const SCAN_STEP: usize = 256;

/// The deadlines known, earliest first, and the duties that depend on more.
#[derive(Debug, Default)]
struct Agenda {
    by_time: BTreeSet<(Timestamp, Key)>,
    by_key: HashMap<Key, Timestamp>,
    /// Duties whose conditions depend on more than time: with whom, and on what.
    conditional: HashMap<Key, (ParticipantId, DatasetId)>,
    /// How many duties of an agreement block transfers, and with whom it is.
    overdue: HashMap<Key, (ParticipantId, u64)>,
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

    /// Takes what is stored under a key, or that nothing is.
    fn take(&mut self, node: &Node, key: Key, entity: Option<&Entity>) {
        let (conditional, overdue) = match entity {
            Some(Entity::Duties(duties)) => {
                let with = || duties.participant.clone();
                let blocking = duties.list.iter().filter(|duty| duty.blocks()).count() as u64;
                (
                    duties.is_conditional.then(|| (with(), duties.dataset.clone())),
                    (blocking > 0).then(|| (with(), blocking)),
                )
            }
            _ => (None, None),
        };
        match conditional {
            Some(on) => self.conditional.insert(key.clone(), on),
            None => self.conditional.remove(&key),
        };
        let before = match overdue.clone() {
            Some(overdue) => self.overdue.insert(key.clone(), overdue),
            None => self.overdue.remove(&key),
        };
        if before != overdue {
            for (partner, _) in before.iter().chain(&overdue) {
                let all = self.overdue.values().filter(|(with, _)| with == partner);
                let count = all.map(|(_, count)| count).sum();
                node.metrics.duties_overdue(&node.partner_name(partner), count);
            }
        }
        self.set(key, entity.and_then(|entity| deadline::of(entity, &node.context.limits)));
    }

    /// The duties whose conditions may depend on what was written under a key.
    fn concerned<'a>(&'a self, written: &'a Key) -> impl Iterator<Item = Key> + 'a {
        let is_about = move |partner: &ParticipantId, dataset: &DatasetId| match written {
            Key::Usage(with, _, used) => with == partner && used == dataset,
            Key::Partner(with) => with == partner,
            Key::Dataset(about) => about == dataset,
            _ => true,
        };
        let conditional = self.conditional.iter();
        conditional.filter(move |(_, (with, on))| is_about(with, on)).map(|(key, _)| key.clone())
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
    let mut changes = node.store.subscribe_kinds(deadline::WATCHED);
    let mut ticks = node.ticks.subscribe();
    let mut agenda = Agenda::default();
    let mut written = HashSet::new();
    // Duties to look at though no instant of theirs has come: at the start, all that depend on more than time.
    let mut concerned = HashSet::new();
    let mut everything = true;
    loop {
        let read = match everything {
            true => read_all(&node, &mut agenda).await,
            false => read(&node, &mut agenda, &written).await,
        };
        match read {
            Ok(()) => {
                if everything {
                    concerned.extend(agenda.conditional.keys().cloned());
                }
                everything = false;
                written.clear();
            }
            Err(error) => tracing::error!(event = "deadlines.not_read", error = %error),
        }
        let now = node.clock.now();
        concerned.extend(agenda.due(now));
        for key in std::mem::take(&mut concerned) {
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
                    Change::Written(now) => for Written { key, .. } in now {
                        match deadline::KINDS.contains(&key.kind()) {
                            true => drop(written.insert(key)),
                            false => concerned.extend(agenda.concerned(&key)),
                        }
                    },
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
                found.take(node, key, Some(entity.as_ref()));
            }
            if whole {
                break;
            }
        }
    }
    for (partner, _) in agenda.overdue.values() {
        if !found.overdue.values().any(|(with, _)| with == partner) {
            node.metrics.duties_overdue(&node.partner_name(partner), 0);
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
    let open: HashMap<_, _> = node.store.hot(keys).await?.into_iter().collect();
    for key in written {
        agenda.take(node, key.clone(), open.get(key).map(AsRef::as_ref));
    }
    Ok(())
}

/// Ends one process, where its deadline has passed indeed, or looks at the duties of one agreement.
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
        Ok(Outcome::Ended(reason)) if matches!(key, Key::Duties(_)) => {
            tracing::warn!(
                event = "duty.violated", agreement = %key, reason = reason,
                "new transfers of the dataset are refused until it is made good"
            );
            agenda.set(key, None);
        }
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

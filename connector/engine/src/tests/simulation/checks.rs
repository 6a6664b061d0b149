//! What holds when two nodes have come to rest: one state, and the same evidence.

use std::collections::BTreeMap;
use std::fmt::Debug;

use protocol::id::Pid;
use protocol::process::{Machine, Process, Role};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::entity::{Agreement, Head, Witness};
use crate::tests::world::*;
use crate::{Entity, Key, Kind, LogId, RecordDraft};

use super::{LIMIT, Scene};

impl Scene {
    /// No use beyond what policy permits, and each is a grant.
    pub(super) fn check_counts(&self) {
        let provider = &self.network.provider;
        for key in provider.of_kind(Kind::Usage) {
            let Some(Entity::Usage(usage)) = provider.get(&key) else { panic!() };
            assert!(usage.uses <= LIMIT, "{usage:?}");
            // What waits for a decision is not granted yet.
            let transfers = provider.of_kind(Kind::Transfer).into_iter();
            let is_granted = |key: &Key| match provider.get(key) {
                Some(Entity::Transfer(transfer)) => transfer.grant.is_some(),
                _ => false,
            };
            let granted = transfers.filter(is_granted).count() as u64;
            assert_eq!(usage.uses, granted);
        }
    }

    pub(super) fn check(&self) {
        let (consumer, provider) = (&self.network.consumer, &self.network.provider);
        for (own, other) in [(consumer, provider), (provider, consumer)] {
            check_processes(own, other);
            check_agreements(own, other);
            check_messages(own, other);
            check_checkpoints(own, other);
        }
        for (by, text) in &self.network.acknowledged {
            let to = if *by == Role::Consumer { provider } else { consumer };
            let taken = messages(to, true);
            assert!(taken.contains_key(&id(text)), "acknowledged, and nowhere recorded: {text}");
        }
    }
}

/// Where a node knows the partner's id of a process, the partner knows the process, and both agree on its state.
fn check_processes(own: &World, other: &World) {
    for key in own.of_kind(Kind::Negotiation) {
        let Key::Negotiation(pid) = &key else { panic!() };
        let found = own.negotiation(pid);
        same(&key, &found.process, found.peer_pid.as_ref(), |pid| other.negotiation(pid).process);
    }
    for key in own.of_kind(Kind::Transfer) {
        let Key::Transfer(pid) = &key else { panic!() };
        let found = own.transfer(pid);
        same(&key, &found.process, found.peer_pid.as_ref(), |pid| other.transfer(pid).process);
    }
}

fn same<M: Machine + Debug>(
    key: &Key,
    own: &Process<M>,
    peer: Option<&Pid>,
    theirs: impl Fn(&Pid) -> Process<M>,
) {
    assert!(own.pending().is_none(), "{key} owes something for ever");
    if let Some(pid) = peer {
        assert_eq!(own.state(), theirs(pid).state(), "{key} and {pid}");
    }
}

fn agreement<'a>(world: &'a World, key: &Key) -> Option<&'a Agreement> {
    match world.get(key)? {
        Entity::Agreement(agreement) => Some(agreement),
        other => panic!("{other:?}"),
    }
}

/// An agreement in force is held by both, word for word; one that is not is in force nowhere.
fn check_agreements(own: &World, other: &World) {
    for key in own.of_kind(Kind::Agreement) {
        let held = agreement(own, &key).unwrap();
        let in_force = |held: &Agreement| held.finalized && held.ended.is_none();
        let Some(theirs) = agreement(other, &key) else {
            assert!(!in_force(held), "{key} is in force on one side only");
            continue;
        };
        assert_eq!(in_force(held), in_force(theirs), "{key}");
        assert_eq!((&held.terms, &held.sha256), (&theirs.terms, &theirs.sha256), "{key}");
        assert_eq!(held.policy_sha256, theirs.policy_sha256, "{key}");
        assert_eq!(held.purpose, theirs.purpose, "{key}");
    }
}

/// What a node recorded as taken the partner recorded as owed, word for word.
fn check_messages(own: &World, other: &World) {
    let sent = messages(other, false);
    for (id, digest) in messages(own, true) {
        assert_eq!(sent.get(&id), Some(&digest), "{id} was taken, and not sent so");
    }
}

/// What a node holds of the partner's log is still the beginning of that log.
fn check_checkpoints(own: &World, other: &World) {
    let log = LogId::Relation(own.peer().participant);
    let Some(Entity::Witness(held)) = own.get(&Key::Witness(other.peer().participant)) else {
        return;
    };
    let Witness { size, root, conflict, behind, .. } = held;
    assert_eq!((conflict, behind), (&None, &None));
    let leaves = leaves(other, &log);
    let begun = leaves.get(..usize::try_from(*size).unwrap()).expect("the log is no shorter");
    assert_eq!(*root, root_of(begun), "the log does not continue what was signed");
}

/// The messages in the records of a node, by id: the SHA-256 of what was taken, or of what was owed.
fn messages(world: &World, taken: bool) -> BTreeMap<String, String> {
    let of_partner = |record: &&RecordDraft| record.account.node.is_some() == taken;
    let texts =
        world.records.iter().filter(of_partner).filter_map(|record| record.body.message.as_ref());
    texts.map(|text| (id(text), digest(text))).collect()
}

fn id(text: &Value) -> String {
    text["@id"].as_str().expect("our messages have one").to_owned()
}

/// The SHA-256 of a message as both sides keep it: without secrets.
fn digest(text: &Value) -> String {
    let mut text = text.clone();
    let properties = text.pointer_mut("/dataAddress/endpointProperties");
    if let Some(properties) = properties.and_then(Value::as_array_mut) {
        properties.retain(|property| property["name"] != "authorization");
    }
    hex::encode(protocol::json::content_digest(&text).unwrap())
}

/// A stand-in for the leaves of a log: what the store hashes, without its salts.
fn leaves(world: &World, log: &LogId) -> Vec<String> {
    let of_log = world.records.iter().filter(|record| record.log == *log);
    of_log
        .map(|record| {
            let parts = serde_json::json!([
                record.kind,
                record.account,
                record.digests,
                record.writes,
                record.body
            ]);
            hex::encode(Sha256::digest(parts.to_string()))
        })
        .collect()
}

fn root_of(leaves: &[String]) -> String {
    hex::encode(Sha256::digest(leaves.join("\n")))
}

/// The checkpoint that a node could sign of a log now.
pub(super) fn head(world: &World, log: &LogId) -> Head {
    let leaves = leaves(world, log);
    let (size, root) = (leaves.len() as u64, root_of(&leaves));
    Head { v: 1, size, note: format!("{log} {size} {root}"), root, signed: world.now }
}

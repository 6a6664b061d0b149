//! What is between two nodes: requests and answers on their way, and who waits for which.

use std::collections::BTreeMap;

use protocol::id::Pid;
use protocol::process::Role;
use serde_json::Value;

use crate::entity::{Head, Witness};
use crate::evidence::{self, Shown};
use crate::refusal::RefusalKind;
use crate::tests::world::*;
use crate::{LogId, Refusal};

use super::checks;

/// How many messages the network holds; the oldest is lost.
const HELD: usize = 32;
/// The epoch in which both nodes are.
const EPOCH: u32 = crate::record::FIRST_EPOCH;

/// A request on its way.
#[derive(Debug, Clone)]
struct Request {
    by: Role,
    exchange: u64,
    pid: Pid,
    number: u64,
    /// Whether a refusal is final at once.
    only_once: bool,
    text: Value,
}

/// An answer on its way, or held back until what it answers is durable.
#[derive(Debug, Clone)]
struct Answer {
    request: Request,
    said: Result<Option<Pid>, Refusal>,
}

/// A checkpoint on its way.
#[derive(Debug, Clone)]
struct Note {
    by: Role,
    /// Of the signer's, the size that the receiver held when the proof was made.
    proven_from: u64,
    head: Head,
}

pub(super) struct Network {
    pub(super) consumer: World,
    pub(super) provider: World,
    exchanges: u64,
    requests: Vec<Request>,
    answers: Vec<Answer>,
    /// Of each node, the answers that wait until it says that they are durable.
    held: BTreeMap<Role, Vec<Answer>>,
    /// Of each node, the exchange that each process waits for.
    waiting: BTreeMap<(Role, Pid), u64>,
    notes: Vec<Note>,
    /// What was accepted, with the sender.
    accepted: Vec<(Role, Value)>,
    /// The texts that a sender knows to be accepted.
    pub(super) acknowledged: Vec<(Role, Value)>,
}

impl Network {
    pub(super) fn new(consumer: World, provider: World) -> Self {
        let mut network = Self {
            consumer,
            provider,
            exchanges: 0,
            requests: Vec::new(),
            answers: Vec::new(),
            held: BTreeMap::new(),
            waiting: BTreeMap::new(),
            notes: Vec::new(),
            accepted: Vec::new(),
            acknowledged: Vec::new(),
        };
        network.sync();
        network
    }

    pub(super) fn node(&mut self, role: Role) -> &mut World {
        match role {
            Role::Consumer => &mut self.consumer,
            Role::Provider => &mut self.provider,
        }
    }

    /// Everything decided is durable: the answers go out.
    pub(super) fn sync(&mut self) {
        for role in [Role::Consumer, Role::Provider] {
            self.sync_one(role);
        }
    }

    fn sync_one(&mut self, role: Role) {
        self.node(role).sync();
        for answer in self.held.remove(&role).unwrap_or_default() {
            if answer.said.is_ok() {
                self.accepted.push((answer.request.by, answer.request.text.clone()));
            }
            self.answers.push(answer);
        }
        shorten(&mut self.answers);
    }

    /// A worker sends what its process owes first, once that is durable. A process waits for one answer at a time.
    pub(super) fn attempt(&mut self, by: Role, process: usize) {
        self.sync_one(by);
        let owing = self.node(by).owing();
        if let Some(pid) = owing.get(process % owing.len().max(1)) {
            self.attempt_of(by, &pid.clone());
        }
    }

    fn attempt_of(&mut self, by: Role, pid: &Pid) -> bool {
        if self.waiting.contains_key(&(by, pid.clone())) {
            return false;
        }
        let Some((due, text)) = self.node(by).due(pid) else { return false };
        self.node(by).attempted.insert(pid.clone());
        self.exchanges += 1;
        self.waiting.insert((by, pid.clone()), self.exchanges);
        self.requests.push(Request {
            by,
            exchange: self.exchanges,
            pid: pid.clone(),
            number: due.number,
            only_once: due.begins && due.rests_on.is_none(),
            text,
        });
        shorten(&mut self.requests);
        true
    }

    pub(super) fn arrive(&mut self, number: usize, copied: bool) {
        let Some(at) = number.checked_rem(self.requests.len()) else { return };
        let request = match copied {
            true => self.requests[at].clone(),
            false => self.requests.remove(at),
        };
        let peer = self.node(request.by).peer();
        let to = request.by.peer();
        let said = self.node(to).receive(&peer, &request.text);
        self.held.entry(to).or_default().push(Answer { request, said });
    }

    pub(super) fn answer(&mut self, number: usize, patient: bool) {
        let Some(at) = number.checked_rem(self.answers.len()) else { return };
        let Answer { request, said } = self.answers.remove(at);
        let Request { by, pid, number, text, .. } = request;
        let waits = (by, pid.clone());
        if self.waiting.get(&waits) != Some(&request.exchange) {
            // Nobody waits for it any more.
            return;
        }
        self.waiting.remove(&waits);
        match said {
            Ok(peer_pid) => {
                self.node(by).acknowledged(&pid, number, peer_pid.as_ref());
                self.acknowledged.push((by, text));
            }
            Err(refusal) if !patient || request.only_once || is_decided(refusal.kind) => {
                self.node(by).refused(&pid, number, &failure_of(&refusal));
            }
            Err(_) => {}
        }
    }

    pub(super) fn lose_request(&mut self, number: usize) {
        if let Some(at) = number.checked_rem(self.requests.len()) {
            self.requests.remove(at);
        }
    }

    pub(super) fn lose_answer(&mut self, number: usize) {
        if let Some(at) = number.checked_rem(self.answers.len()) {
            self.answers.remove(at);
        }
    }

    pub(super) fn give_up(&mut self, by: Role, number: usize) {
        let waiting: Vec<_> =
            self.waiting.keys().filter(|(role, _)| *role == by).cloned().collect();
        if let Some(at) = number.checked_rem(waiting.len()) {
            self.waiting.remove(&waiting[at]);
        }
    }

    /// What was accepted once gets the same answer, with no second effect.
    pub(super) fn repeat(&mut self, number: usize) {
        let Some(at) = number.checked_rem(self.accepted.len()) else { return };
        let (by, text) = self.accepted[at].clone();
        let peer = self.node(by).peer();
        let to = self.node(by.peer());
        let before = to.records.len();
        to.receive(&peer, &text).unwrap();
        assert_eq!(to.records.len(), before, "a repeat had an effect: {text}");
    }

    /// What was not durable is gone, with the answers that waited for it. What is on its way stays on its way.
    pub(super) fn crash(&mut self, role: Role) {
        self.node(role).crash();
        self.held.remove(&role);
        self.waiting.retain(|(by, _), _| *by != role);
    }

    /// A node signs a checkpoint of its log of the relation, and sends it with a proof from what the partner says it holds.
    pub(super) fn checkpoint(&mut self, by: Role) {
        self.sync_one(by);
        let partner = self.node(by.peer()).peer().participant;
        let own = self.node(by).peer().participant;
        let tree = LogId::Relation(partner).in_epoch(EPOCH);
        let head = checks::head(self.node(by), &tree.log);
        let fresh = self.node(by).fresh();
        let head = self
            .node(by)
            .decide(|view| evidence::checkpoint(view, &fresh, &tree, &head))
            .expect("nothing keeps it from being signed");
        self.sync_one(by);
        let held = self.node(by.peer()).look(|view| evidence::latest_witness(view, &own));
        let proven_from = held.map_or(0, |held| held.size);
        self.notes.push(Note { by, proven_from, head });
        shorten(&mut self.notes);
    }

    /// A checkpoint arrives. The signer's log as it is now has to continue what the partner holds of it.
    pub(super) fn witness(&mut self, number: usize) {
        let Some(at) = number.checked_rem(self.notes.len()) else { return };
        let Note { by, proven_from, head } = self.notes.remove(at);
        let from = self.node(by).peer().participant;
        let to = self.node(by.peer());
        let fresh = to.fresh();
        let shown = Shown::Consistent { held: proven_from };
        let now = to.now;
        let witness =
            Witness { size: head.size, root: head.root, note: head.note, ..Witness::nothing(now) };
        // One that another overtook is refused, and asked for again.
        let _ = to.decide(|view| evidence::witness(view, &fresh, &from, &shown, &witness));
    }

    /// From now on nothing is lost. What is on its way arrives, everything owed is sent, and a message that is refused again and
    /// again is given up.
    pub(super) fn settle(&mut self) {
        self.waiting.clear();
        for round in 0..200 {
            let mut moved = !self.requests.is_empty() || !self.answers.is_empty();
            while !self.requests.is_empty() {
                self.arrive(0, false);
            }
            self.sync();
            while !self.answers.is_empty() {
                self.answer(0, round < 4);
            }
            while !self.notes.is_empty() {
                self.witness(0);
            }
            self.sync();
            for role in [Role::Consumer, Role::Provider] {
                for pid in self.node(role).owing() {
                    moved |= self.attempt_of(role, &pid);
                }
            }
            if !moved {
                return;
            }
        }
        panic!("two nodes never settle: {:?} {:?}", self.consumer.owing(), self.provider.owing());
    }
}

/// Whether a node that refuses for this reason says that it has decided.
fn is_decided(kind: RefusalKind) -> bool {
    use RefusalKind::{AgreementEnded, DutyOverdue, NewVersion, Policy};
    matches!(kind, Policy | DutyOverdue | AgreementEnded | NewVersion)
}

fn shorten<T>(list: &mut Vec<T>) {
    let more = list.len().saturating_sub(HELD);
    list.drain(..more);
}

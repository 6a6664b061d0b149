//! A node in memory, and the wire between two of them.
//!
//! A [`World`] runs decisions as a store does: what a decision reads it must ask for first, so that every decision is seen
//! to run again; what it writes goes through its stored form; after each the outbox and the processes must agree.

mod scene;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use protocol::id::{MessageId, ParticipantId, Pid};
use protocol::json::Limits;
use protocol::message::{self, Message as Wire, Pids};
use protocol::process::{Machine, Process};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::context::{Context, Fresh, Peer};
use crate::dead_letters::GivenUp;
use crate::deadline::ProcessLimits;
use crate::entity::{Failure, Negotiation, Source, Transfer};
use crate::process::Inbound;
use crate::refusal::Refusal;
use crate::transfer::{Answer, Prepared};
use crate::{
    Decision, Entity, Key, Kind, Need, Position, RecordDraft, RecordKind, View, negotiation,
    outbox, transfer,
};

pub(super) const PROVIDER: &str = "urn:example:provider";
pub(super) const CONSUMER: &str = "urn:example:consumer";
pub(super) const DATASET: &str = "urn:example:dataset";

pub(super) use scene::{dataset, dataset_id, pair, partner, restricted_rules, rules};

/// A node.
pub(super) struct World {
    pub(super) context: Context,
    pub(super) now: Timestamp,
    pub(super) entities: BTreeMap<Key, (Arc<Entity>, Position)>,
    /// Every record so far; its number is the frame of its position.
    pub(super) records: Vec<RecordDraft>,
    /// How many of the records would survive a crash now.
    durable: usize,
    /// The processes of which an attempt to send a message began.
    pub(super) attempted: BTreeSet<Pid>,
    drawn: u128,
    loaded: RefCell<BTreeSet<Key>>,
}

impl View for World {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn entity(&self, key: &Key) -> Result<Option<Arc<Entity>>, Need> {
        if self.loaded.borrow_mut().insert(key.clone()) {
            return Err(Need(vec![key.clone()]));
        }
        Ok(self.entities.get(key).map(|(entity, _)| Arc::clone(entity)))
    }

    fn version(&self, key: &Key) -> Result<Option<Position>, Need> {
        self.entity(key)?;
        Ok(self.entities.get(key).map(|(_, position)| *position))
    }

    fn open_processes(&self, participant: &ParticipantId, transfers: bool) -> usize {
        let of_partner = |key: &Key| matches!(key, Key::PeerProcess(of, _) if of == participant);
        let open = |entity: &Entity| match entity {
            Entity::PeerProcess(process) => process.transfer == transfers && !process.closed,
            _ => false,
        };
        self.entities.iter().filter(|(key, (entity, _))| of_partner(key) && open(entity)).count()
    }
}

/// The SHA-256 of the access token of a transfer and generation.
pub(super) fn token_sha256(pid: &Pid, generation: u32) -> String {
    hex::encode(Sha256::digest(format!("token of {pid} {generation}")))
}

impl World {
    pub(super) fn new(participant: &str) -> Self {
        let name = participant.rsplit(':').next().unwrap();
        Self {
            context: Context {
                participant: participant.parse().unwrap(),
                dsp_endpoint: format!("https://{name}.example/dsp"),
                data_endpoint: format!("https://{name}.example/data"),
                delivery_deadline: SignedDuration::from_hours(24),
                approval_deadline: SignedDuration::from_hours(168),
                limits: ProcessLimits::default(),
            },
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            entities: BTreeMap::new(),
            records: Vec::new(),
            durable: 0,
            attempted: BTreeSet::new(),
            drawn: seed(participant),
            loaded: RefCell::default(),
        }
    }

    pub(super) fn fresh(&mut self) -> Fresh {
        let drawn = &mut self.drawn;
        Fresh::draw(|| {
            *drawn += 1;
            Uuid::from_u128(*drawn)
        })
    }

    pub(super) fn peer(&self) -> Peer {
        Peer {
            participant: self.context.participant.clone(),
            proof: "ab".repeat(32),
            node: BTreeSet::from(["node-1.example".to_owned()]),
            place: "partner 192.0.2.1:443".to_owned(),
        }
    }

    /// Reads without changing anything.
    pub(super) fn look<R>(&self, decide: impl Fn(&dyn View) -> Result<R, Need>) -> R {
        self.loaded.borrow_mut().clear();
        for _ in 0..64 {
            if let Ok(decided) = decide(self) {
                return decided;
            }
        }
        panic!("the decision asks for entities without end");
    }

    /// Decides and applies.
    pub(super) fn decide<R>(
        &mut self,
        decide: impl Fn(&dyn View) -> Result<Decision<R>, Need>,
    ) -> R {
        let Decision { records, reply, .. } = self.look(decide);
        self.apply(records);
        reply
    }

    pub(super) fn apply(&mut self, records: Vec<RecordDraft>) {
        for record in records {
            let position = Position { frame: self.records.len() as u64, record: 0 };
            write_all(&mut self.entities, &record, position);
            // INVARIANT: who may see a record's event is known by whom and what it concerns, so it concerns one of each.
            let written = record.writes.iter().filter_map(|write| write.entity.as_ref());
            let concerned: BTreeSet<_> = written.filter_map(concern).collect();
            assert!(concerned.len() <= 1, "{:?} concerns {concerned:?}", record.kind);
            self.records.push(record);
        }
        self.check();
    }

    /// What was decided so far survives a crash: a store says so before anybody is answered.
    pub(super) fn sync(&mut self) {
        self.durable = self.records.len();
    }

    /// Whether everything that was decided survives a crash.
    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.records.len()
    }

    /// Stops without warning and starts again: what was not durable is gone, and the state is what the records say. An attempt
    /// to send anything that is owed may have begun.
    pub(super) fn crash(&mut self) {
        let was_durable = self.is_durable();
        self.records.truncate(self.durable);
        let mut replayed = BTreeMap::new();
        for (number, record) in self.records.iter().enumerate() {
            write_all(&mut replayed, record, Position { frame: number as u64, record: 0 });
        }
        let before = std::mem::replace(&mut self.entities, replayed);
        assert!(!was_durable || before == self.entities, "the records say something else");
        self.attempted = self.owing().into_iter().collect();
        self.check();
    }

    pub(super) fn put(&mut self, key: Key, entity: impl Into<Entity>) {
        self.apply(vec![
            RecordDraft::new(crate::LogId::Site, RecordKind::SiteStarted, crate::Category::Service)
                .put(key, entity),
        ]);
    }

    /// The kinds of the records after the first `since`.
    pub(super) fn kinds(&self, since: usize) -> Vec<RecordKind> {
        self.records[since..].iter().map(|record| record.kind).collect()
    }

    pub(super) fn record_at(&self, position: Position) -> &RecordDraft {
        &self.records[usize::try_from(position.frame).unwrap()]
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Entity> {
        self.entities.get(key).map(|(entity, _)| entity.as_ref())
    }

    pub(super) fn negotiation(&self, pid: &Pid) -> Negotiation {
        match self.get(&Key::Negotiation(pid.clone())) {
            Some(Entity::Negotiation(found)) => found.clone(),
            other => panic!("no negotiation {pid}: {other:?}"),
        }
    }

    pub(super) fn transfer(&self, pid: &Pid) -> Transfer {
        match self.get(&Key::Transfer(pid.clone())) {
            Some(Entity::Transfer(found)) => found.clone(),
            other => panic!("no transfer {pid}: {other:?}"),
        }
    }

    pub(super) fn of_kind(&self, kind: Kind) -> Vec<Key> {
        self.entities.keys().filter(|key| key.kind() == kind).cloned().collect()
    }

    /// The only process of a kind.
    pub(super) fn only(&self, kind: Kind) -> Pid {
        match self.of_kind(kind).as_slice() {
            [Key::Negotiation(pid) | Key::Transfer(pid)] => pid.clone(),
            keys => panic!("{keys:?}"),
        }
    }

    /// INVARIANT: the outbox has exactly what the processes say they owe, and ended processes leave nothing behind.
    fn check(&self) {
        let mut owed = BTreeSet::new();
        for (key, (entity, _)) in &self.entities {
            match entity.as_ref() {
                Entity::Negotiation(own) => {
                    check_process(key, &own.process, &own.outbox, own.peer_pid.as_ref());
                    let name = |number: &u64| {
                        Key::Outbox(own.participant.clone(), own.pid.clone(), *number)
                    };
                    owed.extend(own.outbox.iter().map(name));
                }
                Entity::Transfer(own) => {
                    check_process(key, &own.process, &own.outbox, own.peer_pid.as_ref());
                    let name = |number: &u64| {
                        Key::Outbox(own.participant.clone(), own.pid.clone(), *number)
                    };
                    owed.extend(own.outbox.iter().map(name));
                    if let Some(grant) = &own.grant {
                        let token = self.get(&Key::Token(grant.token_sha256.clone()));
                        assert_eq!(token.is_none(), own.process.is_closed(), "token of {key}");
                    }
                }
                Entity::PeerProcess(index) => {
                    let closed = if index.transfer {
                        self.transfer(&index.pid).process.is_closed()
                    } else {
                        self.negotiation(&index.pid).process.is_closed()
                    };
                    assert_eq!(closed, index.closed, "index entry {key}");
                }
                _ => {}
            }
        }
        let kept: BTreeSet<Key> = self.of_kind(Kind::Outbox).into_iter().collect();
        assert_eq!(owed, kept, "the outbox and the processes differ");
    }

    /// The text of the message that a process is to send next.
    pub(super) fn due(&self, pid: &Pid) -> Option<(outbox::Due, Value)> {
        let participant = self.participant_of(pid)?;
        let due = self.look(|view| outbox::due(view, &participant, pid)).reply?;
        let mut text =
            self.record_at(due.text).body.message.clone().expect("an owed message has text");
        assert_eq!(text["@id"], json!(due.entity.message.as_str()));
        if let Some((pid, generation)) = &due.entity.token {
            let value = token_sha256(pid, *generation);
            let property =
                json!({ "@type": "EndpointProperty", "name": "authorization", "value": value });
            text["dataAddress"]["endpointProperties"].as_array_mut().unwrap().push(property);
        }
        Some((due, text))
    }

    pub(super) fn participant_of(&self, pid: &Pid) -> Option<ParticipantId> {
        let own = [Key::Negotiation(pid.clone()), Key::Transfer(pid.clone())];
        own.iter().find_map(|key| match self.get(key)? {
            Entity::Negotiation(own) => Some(own.participant.clone()),
            Entity::Transfer(own) => Some(own.participant.clone()),
            _ => None,
        })
    }

    /// The processes that owe a message.
    pub(super) fn owing(&self) -> Vec<Pid> {
        let mut pids: Vec<Pid> = self
            .of_kind(Kind::Outbox)
            .into_iter()
            .filter_map(|key| match key {
                Key::Outbox(_, pid, _) => Some(pid),
                _ => None,
            })
            .collect();
        pids.dedup();
        pids
    }

    pub(super) fn acknowledged(&mut self, pid: &Pid, number: u64, peer_pid: Option<&Pid>) {
        let Some(participant) = self.participant_of(pid) else { return };
        let owes = self.decide(|view| outbox::delivered(view, &participant, pid, number, peer_pid));
        assert!(owes || self.due(pid).is_none(), "what is owed would not be sent");
        self.attempted.remove(pid);
    }

    pub(super) fn refused(&mut self, pid: &Pid, number: u64, failure: &Failure) {
        let Some(participant) = self.participant_of(pid) else { return };
        let (context, fresh) = (self.context.clone(), self.fresh());
        let given_up =
            GivenUp { failure: failure.clone(), refused: true, attempts: 3, last_error: None };
        self.decide(|view| {
            outbox::undeliverable(view, &context, &fresh, &participant, pid, number, &given_up)
        });
        self.attempted.remove(pid);
    }

    /// Takes a message from a partner. The answer to a first message is our process id.
    pub(super) fn receive(&mut self, peer: &Peer, text: &Value) -> Result<Option<Pid>, Refusal> {
        match text["@type"].as_str().unwrap() {
            "ContractRequestMessage" if text.get("callbackAddress").is_some() => {
                self.take_request(peer, text).map(|status| status.provider_pid)
            }
            "ContractOfferMessage" if text.get("callbackAddress").is_some() => {
                self.take_offer(peer, text).map(|status| status.consumer_pid)
            }
            "TransferRequestMessage" => {
                self.take_transfer_request(peer, text).map(|status| status.provider_pid)
            }
            _ => self.take(peer, text).map(|()| None),
        }
    }

    pub(super) fn take_request(
        &mut self,
        peer: &Peer,
        text: &Value,
    ) -> Result<negotiation::Status, Refusal> {
        let (request, inbound) = parse::<message::ContractRequestMessage>(text, false);
        let (context, fresh) = (self.context.clone(), self.fresh());
        self.decide(|view| {
            negotiation::receive_request(view, &context, &fresh, peer, &request, &inbound)
        })
    }

    pub(super) fn take_offer(
        &mut self,
        peer: &Peer,
        text: &Value,
    ) -> Result<negotiation::Status, Refusal> {
        let (offered, inbound) = parse::<message::ContractOfferMessage>(text, false);
        let (context, fresh) = (self.context.clone(), self.fresh());
        self.decide(|view| {
            negotiation::receive_offer(view, &context, &fresh, peer, &offered, &inbound)
        })
    }

    pub(super) fn take_transfer_request(
        &mut self,
        peer: &Peer,
        text: &Value,
    ) -> Result<transfer::Status, Refusal> {
        let (request, inbound) = parse::<message::TransferRequestMessage>(text, false);
        let target = request.data_address.as_ref().and_then(|address| {
            Some(Source {
                endpoint: address.endpoint()?.to_owned(),
                sealed_token: address.authorization().map(|token| format!("sealed {token}")),
            })
        });
        let (context, fresh) = (self.context.clone(), self.fresh());
        let mut prepared = None;
        for _ in 0..3 {
            let answer = self.decide(|view| {
                let prepared = prepared.as_ref();
                transfer::receive_request(
                    view,
                    &context,
                    &fresh,
                    peer,
                    &request,
                    target.as_ref(),
                    &inbound,
                    prepared,
                )
            })?;
            match answer {
                Answer::Status(status) => return Ok(status),
                Answer::Prepare(facts) => {
                    prepared = Some(Prepared {
                        provenance: format!("provenance of {}", facts.transfer),
                        provenance_sha256: hex::encode(Sha256::digest(facts.transfer.as_str())),
                        token_sha256: token_sha256(&facts.transfer, facts.generation),
                        facts: *facts,
                    });
                }
            }
        }
        panic!("the facts of a grant never settle");
    }

    fn take(&mut self, peer: &Peer, text: &Value) -> Result<(), Refusal> {
        let pid = |name: &str| Pid::new(text[name].as_str().unwrap()).unwrap();
        let named = Pids { consumer: pid("consumerPid"), provider: pid("providerPid") };
        let ours = |pid: &&Pid| self.participant_of(pid).is_some();
        let own = [&named.consumer, &named.provider].into_iter().find(ours);
        let own = own.unwrap_or(&named.provider).clone();
        self.take_at(peer, &own, text)
    }

    /// Takes a message at the path of one of our processes.
    pub(super) fn take_at(&mut self, peer: &Peer, own: &Pid, text: &Value) -> Result<(), Refusal> {
        use negotiation::Message as N;
        use transfer::Message as T;
        let attempted = self.attempted.contains(own);
        let pid = |name: &str| Pid::new(text[name].as_str().unwrap()).unwrap();
        let named = Pids { consumer: pid("consumerPid"), provider: pid("providerPid") };
        let kind = text["@type"].as_str().unwrap();
        let negotiating = match (kind, text["eventType"].as_str()) {
            ("ContractNegotiationEventMessage", Some("ACCEPTED")) => Some(N::Accepted),
            ("ContractNegotiationEventMessage", _) => Some(N::Finalized),
            ("ContractAgreementMessage", _) => {
                let read = parse::<message::ContractAgreementMessage>(text, attempted).0;
                Some(N::Agreement(read.agreement))
            }
            ("ContractAgreementVerificationMessage", _) => Some(N::Verification),
            ("ContractNegotiationTerminationMessage", _) => {
                let read = parse::<message::ContractNegotiationTerminationMessage>(text, attempted);
                Some(N::Termination(read.0.explanation))
            }
            ("ContractOfferMessage", _) => {
                let read = parse::<message::ContractOfferMessage>(text, attempted).0;
                Some(N::CounterOffer(Box::new(read.offer)))
            }
            ("ContractRequestMessage", _) => {
                let read = parse::<message::ContractRequestMessage>(text, attempted).0;
                Some(N::CounterRequest(Box::new(read)))
            }
            _ => None,
        };
        let inbound = inbound(text, attempted);
        let (context, fresh) = (self.context.clone(), self.fresh());
        if let Some(message) = negotiating {
            return self.decide(|view| {
                negotiation::receive(view, &context, &fresh, peer, own, &named, &message, &inbound)
            });
        }
        let message = match kind {
            "TransferStartMessage" => {
                let read = parse::<message::TransferStartMessage>(text, attempted).0;
                T::Start(read.data_address.as_ref().map(|address| Source {
                    endpoint: address.endpoint().unwrap().to_owned(),
                    sealed_token: address.authorization().map(str::to_owned),
                }))
            }
            "TransferSuspensionMessage" => {
                let read = parse::<message::TransferSuspensionMessage>(text, attempted).0;
                T::Suspension(read.explanation)
            }
            "TransferCompletionMessage" => T::Completion,
            "TransferTerminationMessage" => {
                let read = parse::<message::TransferTerminationMessage>(text, attempted).0;
                T::Termination(read.explanation)
            }
            other => panic!("{other}"),
        };
        self.decide(|view| {
            transfer::receive(
                view,
                &context,
                &fresh,
                peer,
                own,
                &named,
                &message,
                &inbound,
                token_sha256,
            )
        })
    }
}

/// Applies the writes of a record as replay does: in their stored form.
fn write_all(
    entities: &mut BTreeMap<Key, (Arc<Entity>, Position)>,
    record: &RecordDraft,
    position: Position,
) {
    for write in &record.writes {
        match &write.entity {
            Some(entity) => {
                let stored = serde_json::to_string(entity).unwrap();
                let read: Entity = serde_json::from_str(&stored).unwrap();
                assert_eq!(serde_json::to_string(&read).unwrap(), stored, "{}", write.key);
                assert_eq!(Key::decode(&write.key.encode()).as_ref(), Some(&write.key));
                entities.insert(write.key.clone(), (Arc::new(read), position));
            }
            None => {
                entities.remove(&write.key);
            }
        }
    }
}

/// Where the identifiers of a participant begin.
fn seed(participant: &str) -> u128 {
    let digest = Sha256::digest(participant);
    u128::from_be_bytes(digest[..16].try_into().unwrap()) & !0xffff_ffff
}

/// The partner and the dataset that an event of an entity names.
fn concern(entity: &Entity) -> Option<(&str, &str)> {
    let (participant, dataset) = match entity {
        Entity::Negotiation(found) => (&found.participant, &found.dataset),
        Entity::Agreement(found) => (&found.participant, &found.dataset),
        Entity::Duties(found) => (&found.participant, &found.dataset),
        Entity::Transfer(found) => (&found.participant, &found.dataset),
        Entity::Pull(found) => (&found.participant, &found.dataset),
        _ => return None,
    };
    Some((participant.as_str(), dataset.as_str()))
}

fn check_process<M: Machine>(
    key: &Key,
    process: &Process<M>,
    outbox: &[u64],
    peer_pid: Option<&Pid>,
) {
    let owed = usize::from(process.pending().is_some()) + usize::from(process.termination_queued());
    let unknown = usize::from(process.termination_queued() && peer_pid.is_none());
    // An end that the partner was not told may be told again.
    let again = process.is_closed() && outbox.len() == 1;
    assert!(again || outbox.len() == owed - unknown, "{key} owes {outbox:?}: {process:?}");
    assert!(outbox.is_sorted_by(|a, b| a < b), "{key} owes {outbox:?}");
}

pub(super) fn parse<T: Wire>(text: &Value, attempted: bool) -> (T, Inbound) {
    let incoming = message::parse::<T>(text.to_string().as_bytes(), &Limits::default()).unwrap();
    (incoming.message, inbound(text, attempted))
}

fn inbound(text: &Value, attempted: bool) -> Inbound {
    let digest = |text: &Value| hex::encode(protocol::json::content_digest(text).unwrap());
    let mut content = text.clone();
    content.as_object_mut().unwrap().remove("@id");
    Inbound {
        id: text.get("@id").map(|id| MessageId::new(id.as_str().unwrap()).unwrap()),
        digest: digest(text),
        content: digest(&content),
        text: text.clone(),
        attempted,
    }
}

/// What happens to one message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives,
    Lost,
    AnswerLost,
}

/// Sends what a process owes first. The answer is what the partner said, where that came back.
pub(super) fn send(
    from: &mut World,
    to: &mut World,
    pid: &Pid,
    fate: Fate,
) -> Option<Result<(), Refusal>> {
    let (due, text) = from.due(pid)?;
    from.attempted.insert(pid.clone());
    if fate == Fate::Lost {
        return None;
    }
    let answer = to.receive(&from.peer(), &text);
    if fate == Fate::AnswerLost {
        return None;
    }
    Some(match answer {
        Ok(peer_pid) => {
            from.acknowledged(pid, due.number, peer_pid.as_ref());
            Ok(())
        }
        Err(refusal) => {
            let is_final = (due.begins && due.rests_on.is_none()) || is_policy(refusal.kind);
            if is_final {
                from.refused(pid, due.number, &failure_of(&refusal));
            }
            Err(refusal)
        }
    })
}

pub(super) fn failure_of(refusal: &Refusal) -> Failure {
    let code = match refusal.kind {
        crate::RefusalKind::Policy => crate::process::POLICY_CODE,
        crate::RefusalKind::DutyOverdue => crate::process::DUTY_CODE,
        crate::RefusalKind::NotFound => "not-found",
        _ => "refused",
    };
    Failure {
        code: code.to_owned(),
        reason: refusal.external.clone(),
        reference: Some(refusal.reference.clone()),
        by_policy: is_policy(refusal.kind),
    }
}

fn is_policy(kind: crate::RefusalKind) -> bool {
    matches!(kind, crate::RefusalKind::Policy | crate::RefusalKind::DutyOverdue)
}

/// Delivers everything that either side owes, without loss. A message that is refused again and again is given up.
pub(super) fn settle(one: &mut World, two: &mut World) {
    for round in 0..200 {
        let mut moved = false;
        for turn in 0..2 {
            let (from, to) =
                if turn == 0 { (&mut *one, &mut *two) } else { (&mut *two, &mut *one) };
            for pid in from.owing() {
                moved = true;
                let number = from.due(&pid).map(|(due, _)| due.number);
                if let (Some(Err(refusal)), Some(number)) =
                    (send(from, to, &pid, Fate::Arrives), number)
                    && round > 3
                {
                    from.refused(&pid, number, &failure_of(&refusal));
                }
            }
        }
        if !moved {
            return;
        }
    }
    panic!("two nodes never settle: {:?} {:?}", one.owing(), two.owing());
}

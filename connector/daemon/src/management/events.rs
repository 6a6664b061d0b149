//! What happens to negotiations, agreements, their duties, transfers and pulls, as server-sent events made from the journal.
//!
//! An event is a record that wrote one of those; its id is the record's position, so a reader that comes back goes on
//! exactly where it was, over restarts of the daemon too. Records are read from the journal as fast as they are taken: a
//! slow reader costs nothing but the one frame that is being read. Messages, terms and tokens are not in it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use engine::entity::{Failure, PullStep, Side};
use engine::keys::Scope;
use engine::{Awaiting, Entity, Position, RecordKind};
use jiff::Timestamp;
use protocol::id::{DatasetId, ParticipantId, Pid};
use protocol::process::Role;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use store::{Followed, StoredRecord};

use super::answer::{self, ApiError, Occurrences, Stop};
use super::caller::{READERS_AND_APPLICATIONS, agreed_purpose};
use super::partners;
use super::route::{Call, Route, ServerSent};
use crate::node::Node;

/// How long nothing is said before the reader is told that the stream lives, and how far it is.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "events.follow",
            "/v1/events",
            "What happens to negotiations, agreements, their duties, transfers and pulls, as server-sent events",
            follow,
        )
        .for_roles(READERS_AND_APPLICATIONS)
        .query::<String>(
            "from",
            "the position after which it begins, `start` for the whole journal; else only what is new",
        )
        .query::<String>("kind", "only these kinds of records, separated by commas")
        .query::<String>("partner", "only this partner, by its short name or participant id")
        .query::<bool>("follow", "`false`: end when everything that there is was told")
        .header("Last-Event-ID", "the position after which it goes on; stronger than `from`"),
    ]
}

/// Something happened to a negotiation, an agreement or its duties, a transfer or a pull.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Event {
    /// Where the record is in the journal; the id of the event.
    position: String,
    time: String,
    /// What happened: the kind of the record.
    kind: String,
    /// The other party.
    participant: Option<String>,
    /// Its short name here.
    partner: Option<String>,
    dataset: Option<String>,
    offer: Option<String>,
    /// The purpose that the consumer declared.
    purpose: Option<String>,
    /// Our process id of the negotiation, where it concerns one.
    negotiation: Option<String>,
    agreement: Option<String>,
    /// Our process id of the transfer, where it concerns one.
    transfer: Option<String>,
    pull: Option<String>,
    consumer_pid: Option<String>,
    provider_pid: Option<String>,
    /// Our role: `provider` or `consumer`.
    role: Option<&'static str>,
    /// The acknowledged DSP state after it, or the step of a pull; nothing before the first message was acknowledged.
    state: Option<String>,
    /// The message that is on its way to the partner.
    pending: Option<String>,
    /// That the process waits for a decision of ours, since when, and when it is denied for want of one.
    awaiting: Option<Waiting>,
    /// Why it failed, where it did.
    failure: Option<Problem>,
    /// Why, as the record says.
    reason: Option<String>,
    /// The reference that a refused party was given.
    reference: Option<String>,
    /// Who acted, where a person or an application did.
    person: Option<String>,
}

/// A decision that is awaited.
#[derive(Debug, Serialize, JsonSchema)]
struct Waiting {
    since: Timestamp,
    deadline: Timestamp,
}

impl From<Awaiting> for Waiting {
    fn from(awaiting: Awaiting) -> Self {
        Self { since: awaiting.since, deadline: awaiting.deadline }
    }
}

/// Why a process or a pull failed.
#[derive(Debug, Serialize, JsonSchema)]
struct Problem {
    code: String,
    reason: String,
    reference: Option<String>,
    /// Whether a policy refused.
    by_policy: bool,
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code.clone(),
            reason: failure.reason.clone(),
            reference: failure.reference.clone(),
            by_policy: failure.by_policy,
        }
    }
}

async fn follow(mut call: Call) -> Result<ServerSent<Event>, ApiError> {
    let node = Arc::clone(call.node());
    let last = match call.headers().get("last-event-id") {
        None => call.query.take::<String>("from")?,
        Some(value) => {
            let unreadable = |_| ApiError::invalid("`Last-Event-ID` is no text");
            Some(value.to_str().map_err(unreadable)?.to_owned())
        }
    };
    let durable = *node.store.durable().borrow();
    let follow = call.query.take::<bool>("follow")?.unwrap_or(true);
    let after = match last.as_deref() {
        Some("start") => None,
        Some(text) => Some(position(&node, text).await?),
        None => durable,
    };
    let end = if follow { None } else { Some(durable) };
    let wanted = Wanted {
        kinds: kinds(call.query.take::<String>("kind")?)?,
        partner: call
            .query
            .take::<String>("partner")?
            .map(|name| {
                node.partner_id(&name)
                    .or_else(|| ParticipantId::new(&name).ok().filter(|id| has_log(&node, id)))
                    .filter(|id| call.caller.scope.has_partner(id))
                    .ok_or_else(|| partners::unknown(&name))
            })
            .transpose()?,
        scope: call.caller.scope.clone(),
    };
    Ok(answer::server_sent(move |events| tell(node, after, end, wanted, events)))
}

fn has_log(node: &Node, participant: &ParticipantId) -> bool {
    let log = engine::LogId::Relation(participant.clone());
    node.store.trees().iter().any(|tree| tree.log == log)
}

/// The position of a record that is in the journal.
async fn position(node: &Node, text: &str) -> Result<Position, ApiError> {
    let position: Position = text.parse().map_err(|_| {
        ApiError::invalid(format!("`{text}` is no position"))
            .help("a position is such as `4096.2`, the id of an event; `start` is before the first")
    })?;
    let found = node.store.record_at(position).await;
    found.map_err(|_| {
        ApiError::not_found(format!("no record of the journal is at `{text}`"))
            .help("it was given by another journal, or by this one before it was restored; begin with `start`")
    })?;
    Ok(position)
}

fn kinds(names: Option<String>) -> Result<Option<HashSet<RecordKind>>, ApiError> {
    let Some(names) = names else { return Ok(None) };
    let kinds = names.split(',').map(|name| {
        serde_json::from_value::<RecordKind>(Value::from(name.trim())).map_err(|error| {
            ApiError::invalid(format!("`{name}` is no kind of record")).help(error.to_string())
        })
    });
    kinds.collect::<Result<_, _>>().map(Some)
}

/// What a reader wants, and may see.
struct Wanted {
    kinds: Option<HashSet<RecordKind>>,
    partner: Option<ParticipantId>,
    scope: Scope,
}

async fn tell(
    node: Arc<Node>,
    after: Option<Position>,
    end: Option<Option<Position>>,
    wanted: Wanted,
    events: Occurrences,
) -> Result<(), Stop> {
    let tail = node.store.tail(after);
    let mut tail = match &wanted.kinds {
        Some(kinds) => tail.only(kinds.clone()),
        None => tail,
    };
    let mut seen = after;
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The reader learns at once that it is heard.
    loop {
        if end.is_some_and(|end| seen >= end) {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = events.gone() => return Err(Stop::Gone),
            () = node.shutdown.draining() => return Ok(()),
            _ = beat.tick() => events.alive(seen.map(|seen| seen.to_string())).await?,
            next = tail.step() => {
                let Some(Followed { position, record }) = next? else { return Ok(()) };
                seen = Some(position);
                let Some(record) = record else { continue };
                if let Some(event) = wanted.event(&node, &record).await? {
                    events.send(&event.position, &event.kind, &event).await?;
                    beat.reset();
                }
            }
        }
    }
}

fn kind_name(kind: RecordKind) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// What a record concerns.
struct Concern {
    participant: ParticipantId,
    dataset: DatasetId,
    purpose: Option<String>,
}

impl Wanted {
    /// The event of a record, where there is one for this reader.
    async fn event(&self, node: &Node, record: &StoredRecord) -> Result<Option<Event>, ApiError> {
        let mut event = Event::default();
        let mut concern: Option<Concern> = None;
        for write in &record.writes {
            if let Some(found) = write.entity.as_ref().and_then(|entity| event.take(entity)) {
                let purpose = concern.and_then(|earlier| earlier.purpose);
                concern = Some(Concern { purpose: found.purpose.or(purpose), ..found });
            }
        }
        let Some(mut concern) = concern else { return Ok(None) };
        if self.partner.as_ref().is_some_and(|partner| *partner != concern.participant) {
            return Ok(None);
        }
        if self.scope.purposes.is_some() && concern.purpose.is_none() {
            let agreement = event.agreement.as_deref().and_then(|id| id.parse().ok());
            concern.purpose = agreed_purpose(node, agreement).await?;
        }
        if !self.scope.sees(&concern.participant, &concern.dataset, concern.purpose.as_deref()) {
            return Ok(None);
        }
        event.position = record.position.to_string();
        event.time = record.time.to_string();
        event.kind = kind_name(record.kind);
        event.partner = Some(node.partner_name(&concern.participant));
        event.participant = Some(concern.participant.to_string());
        event.dataset = Some(concern.dataset.to_string());
        event.purpose = concern.purpose.or_else(|| record.account.purpose.clone());
        event.reason.clone_from(&record.account.reason);
        event.reference.clone_from(&record.account.reference);
        event.person = record.body.as_ref().and_then(|body| body.person.clone());
        Ok(Some(event))
    }
}

impl Event {
    /// Takes what an entity says; whom and what it concerns, where it is one that events are about.
    fn take(&mut self, entity: &Entity) -> Option<Concern> {
        match entity {
            Entity::Negotiation(found) => {
                let process = &found.process;
                self.negotiation = Some(found.pid.to_string());
                self.take_process(process.role(), &found.pid, found.peer_pid.as_ref());
                self.state = process.state().map(|state| state.to_string());
                self.pending =
                    process.pending().map(|pending| pending.message.message_type().to_owned());
                self.offer = Some(found.offer.to_string());
                self.agreement = found.agreement.as_ref().map(ToString::to_string);
                self.awaiting = found.awaiting.map(Waiting::from);
                self.failure = found.failure.as_ref().map(Problem::from);
                Some(concern(&found.participant, &found.dataset, found.purpose.as_deref()))
            }
            Entity::Transfer(found) => {
                let process = &found.process;
                self.transfer = Some(found.pid.to_string());
                self.take_process(process.role(), &found.pid, found.peer_pid.as_ref());
                self.state = process.state().map(|state| state.on_wire().as_str().to_owned());
                self.pending =
                    process.pending().map(|pending| pending.message.message_type().to_owned());
                self.agreement = Some(found.agreement.to_string());
                self.awaiting = found.awaiting.map(Waiting::from);
                self.failure = found.failure.as_ref().map(Problem::from);
                Some(concern(&found.participant, &found.dataset, None))
            }
            Entity::Agreement(found) => {
                self.agreement = Some(found.id.to_string());
                self.offer = Some(found.offer.to_string());
                self.role = self.role.or(Some(match found.side {
                    Side::Provider => "provider",
                    Side::Consumer => "consumer",
                }));
                Some(concern(&found.participant, &found.dataset, found.purpose.as_deref()))
            }
            Entity::Duties(found) => {
                self.agreement = Some(found.agreement.to_string());
                Some(concern(&found.participant, &found.dataset, None))
            }
            Entity::Pull(found) => {
                self.pull = Some(found.id.clone());
                if self.state.is_none() {
                    self.state = Some(super::pulls::step_name(&found.step).to_owned());
                }
                if let PullStep::Failed { failure } = &found.step {
                    self.failure = Some(failure.into());
                }
                Some(concern(&found.participant, &found.dataset, found.purpose.as_deref()))
            }
            _ => None,
        }
    }

    fn take_process(&mut self, role: Role, pid: &Pid, peer_pid: Option<&Pid>) {
        let (ours, theirs) = (Some(pid.to_string()), peer_pid.map(ToString::to_string));
        (self.consumer_pid, self.provider_pid) = match role {
            Role::Consumer => (ours, theirs),
            Role::Provider => (theirs, ours),
        };
        self.role = Some(match role {
            Role::Consumer => "consumer",
            Role::Provider => "provider",
        });
    }
}

fn concern(participant: &ParticipantId, dataset: &DatasetId, purpose: Option<&str>) -> Concern {
    Concern {
        participant: participant.clone(),
        dataset: dataset.clone(),
        purpose: purpose.map(str::to_owned),
    }
}

//! Delivery: messages owed to partners are sent until acknowledged, first in first out per process.
//!
//! A worker exists for each process that owes something, and only as long as it does. It is woken by the commit that
//! queued its message. What a partner refuses for good, and what it does not take before the deadline, becomes a record
//! and ends the process.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::dead_letters::GivenUp;
use engine::entity::{Failure, Outbox, Subject};
use engine::outbox::{self, Due};
use engine::{Key, Kind, Store as _};
use http::{HeaderValue, Method, StatusCode};
use protocol::error::PeerRefusal;
use protocol::id::{ParticipantId, Pid};
use protocol::message::{self, ContractNegotiation, Pids, TransferProcess};
use serde_json::Value;
use store::{Change, Written};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::net::{Answer, SendError, retry_after};
use crate::node::Node;
use crate::telemetry::DeliveryOutcome;

/// The code of a message that was not taken in time.
const UNDELIVERED: &str = "undelivered";
/// How many messages are under way to one partner at once.
const PARALLEL: usize = 32;
/// How much of a partner's reason is kept, in characters.
const REASON_CHARS: usize = 1000;
/// How many records are read at once when everything is looked at again.
const SCAN_STEP: usize = 256;

/// Which messages may have reached their partner: an attempt to send them began, or may have begun before a restart.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<HashMap<Pid, HashSet<u64>>>);

/// How many processes owe something to each partner.
#[derive(Debug, Default)]
pub struct Owing(Mutex<HashMap<ParticipantId, usize>>);

impl Owing {
    /// Processes that owe a message to this partner now.
    pub fn to(&self, participant: &ParticipantId) -> usize {
        let owing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owing.get(participant).copied().unwrap_or_default()
    }

    fn change(&self, node: &Node, participant: &ParticipantId, more: bool) {
        let name = node.partner_name(participant);
        let mut owing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = owing.entry(participant.clone()).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        // Shown before another one may count: the gauge keeps what it was told last.
        node.metrics.waiting(&name, u64::try_from(*count).unwrap_or(u64::MAX));
        if *count == 0 {
            owing.remove(participant);
        }
    }
}

impl Attempts {
    /// Whether an attempt of any message that this process owes has begun.
    pub fn any(&self, pid: &Pid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(pid)
    }

    fn begin(&self, pid: &Pid, number: u64) {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.entry(pid.clone()).or_default().insert(number);
    }

    /// Nothing is owed any more: what was withdrawn or overtaken is settled as well.
    fn clear(&self, pid: &Pid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(pid);
    }

    fn settle(&self, pid: &Pid, number: u64) {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(numbers) = attempts.get_mut(pid) {
            numbers.remove(&number);
            if numbers.is_empty() {
                attempts.remove(pid);
            }
        }
    }
}

/// The workers by process, and the places for each partner.
#[derive(Default)]
struct Workers {
    by_process: HashMap<Pid, Arc<Bell>>,
    places: HashMap<ParticipantId, Arc<Semaphore>>,
}

/// How a worker is woken.
#[derive(Debug, Default)]
struct Bell {
    notify: Notify,
    /// The number of the message that the worker settled last, or is settling: that it is gone is no news to it.
    settled: AtomicU64,
}

/// Delivers until the node stops.
pub async fn run(node: Arc<Node>) {
    let workers = Arc::new(Mutex::new(Workers::default()));
    let mut changes = node.store.subscribe_kinds(&[Kind::Outbox]);
    wake_all(&node, &workers).await;
    loop {
        let change = tokio::select! {
            () = node.shutdown.stopping() => return,
            change = changes.next() => change,
        };
        match change {
            Change::Written(written) => {
                for Written { key, is_gone } in written {
                    match key {
                        Key::Outbox(_, pid, number) if is_gone => tell_gone(&workers, &pid, number),
                        Key::Outbox(participant, pid, _) => {
                            wake(&node, &workers, &participant, &pid);
                        }
                        _ => {}
                    }
                }
            }
            Change::Rescan => wake_all(&node, &workers).await,
            Change::Closed => return,
        }
    }
}

async fn wake_all(node: &Arc<Node>, workers: &Arc<Mutex<Workers>>) {
    let woken = each_owed(node, |participant, pid, _| wake(node, workers, participant, pid)).await;
    if let Err(error) = woken {
        tracing::error!(event = "outbox.scan_failed", error = %error);
    }
}

/// Takes every message owed from before the start as sent: an attempt may have begun. Before anybody is listened to.
///
/// # Errors
/// When the store is closed.
pub async fn assume_attempted(node: &Arc<Node>) -> Result<(), engine::StoreError> {
    each_owed(node, |_, pid, number| node.attempts.begin(pid, number)).await
}

async fn each_owed(
    node: &Node,
    mut tell: impl FnMut(&ParticipantId, &Pid, u64),
) -> Result<(), engine::StoreError> {
    let mut after = None;
    loop {
        let page = node.store.scan(Kind::Outbox, after.take(), SCAN_STEP).await?;
        after = page.last().map(|(key, _)| key.clone());
        for (key, _) in &page {
            if let Key::Outbox(participant, pid, number) = key {
                tell(participant, pid, *number);
            }
        }
        if page.len() < SCAN_STEP {
            return Ok(());
        }
    }
}

/// A message is not owed any more: tells the worker of its process, unless it was the worker itself that settled it.
fn tell_gone(workers: &Mutex<Workers>, pid: &Pid, number: u64) {
    let held = workers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bell) = held.by_process.get(pid)
        && bell.settled.load(Ordering::Relaxed) != number
    {
        bell.notify.notify_one();
    }
}

/// Wakes the worker of a process, or starts one.
fn wake(node: &Arc<Node>, workers: &Arc<Mutex<Workers>>, participant: &ParticipantId, pid: &Pid) {
    let mut held = workers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bell) = held.by_process.get(pid) {
        bell.notify.notify_one();
        return;
    }
    let bell = Arc::new(Bell::default());
    held.by_process.insert(pid.clone(), Arc::clone(&bell));
    let places = Arc::clone(
        held.places
            .entry(participant.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(PARALLEL))),
    );
    drop(held);
    node.owing.change(node, participant, true);
    let worker = Worker {
        node: Arc::clone(node),
        participant: participant.clone(),
        pid: pid.clone(),
        bell,
        places,
    };
    let (workers, pid) = (Arc::clone(workers), pid.clone());
    tokio::spawn(async move {
        loop {
            worker.deliver_all().await;
            // INVARIANT: whoever queues a message either finds this worker in the map and notifies it, or starts another;
            // so it may leave the map only when no notification is waiting.
            let mut held = workers.lock().unwrap_or_else(PoisonError::into_inner);
            if !worker.was_notified() {
                held.by_process.remove(&pid);
                drop(held);
                worker.node.owing.change(&worker.node, &worker.participant, false);
                return;
            }
        }
    });
}

struct Worker {
    node: Arc<Node>,
    participant: ParticipantId,
    pid: Pid,
    bell: Arc<Bell>,
    places: Arc<Semaphore>,
}

/// What came of one attempt.
enum Attempt {
    Acknowledged(Option<Pid>),
    /// It is tried again: for a bounded time where the partner refused it, as told here.
    Again {
        reason: String,
        refused: Option<Failure>,
        /// How long the partner wants to be left alone.
        after: Option<Duration>,
    },
    /// It is given up, because the partner refused it or because it cannot be sent.
    Final {
        failure: Failure,
        refused: bool,
    },
}

/// How a delivery ended.
enum Outcome {
    Acknowledged(Option<Pid>),
    GivenUp(GivenUp),
}

impl Worker {
    fn was_notified(&self) -> bool {
        use futures_util::FutureExt as _;
        self.bell.notify.notified().now_or_never().is_some()
    }

    async fn deliver_all(&self) {
        loop {
            match self.due().await {
                Ok(Some(due)) => {
                    if !self.deliver(due).await {
                        return;
                    }
                }
                Ok(None) => {
                    self.node.attempts.clear(&self.pid);
                    return;
                }
                Err(error) => {
                    tracing::error!(event = "outbox.unreadable", process = %self.pid, error = %error);
                    tokio::select! {
                        () = self.node.shutdown.stopping() => return,
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    }
                }
            }
        }
    }

    /// Sends one message until it is settled. Answers whether to go on with the next.
    async fn deliver(&self, mut due: Due) -> bool {
        let outbound = &self.node.config.outbound;
        let mut delays = outbound.delays();
        let mut first_refusal: Option<Instant> = None;
        let (mut attempts, mut last_error) = (0_u32, None);
        loop {
            if due.entity.deadline <= self.node.clock.now() && due.trusted_time {
                let failure = failure(UNDELIVERED, "the partner did not take the message in time");
                let given_up = GivenUp { failure, refused: false, attempts, last_error };
                let outcome = Outcome::GivenUp(given_up);
                return self.settle(&due, outcome).await;
            }
            let Some(attempt) = self.attempt(&due).await else { return false };
            attempts = attempts.saturating_add(1);
            let attempt = match attempt {
                Attempt::Again { refused: Some(failure), .. }
                    if first_refusal.get_or_insert_with(Instant::now).elapsed()
                        > outbound.refusal_patience() =>
                {
                    Attempt::Final { failure, refused: true }
                }
                attempt => attempt,
            };
            let (reason, after) = match attempt {
                Attempt::Acknowledged(pid) => {
                    return self.settle(&due, Outcome::Acknowledged(pid)).await;
                }
                Attempt::Final { failure, refused } => {
                    let given_up = GivenUp { failure, refused, attempts, last_error: None };
                    return self.settle(&due, Outcome::GivenUp(given_up)).await;
                }
                Attempt::Again { reason, after, .. } => (reason, after),
            };
            self.node.metrics.delivery(&self.name(), DeliveryOutcome::Retried);
            tracing::debug!(
                event = "message.retried",
                partner = self.name(),
                process = %self.pid,
                reason = reason,
            );
            last_error = Some(reason);
            let delay = delays.next().unwrap_or(outbound.retry_maximum());
            let delay = after.map_or(delay, |after| delay.max(after));
            let remaining = until(&due.entity, self.node.clock.now());
            tokio::select! {
                () = self.node.shutdown.stopping() => return false,
                () = tokio::time::sleep(delay.min(remaining)) => {}
                // Somebody decided a further step of this process: the waiting begins anew, so that it is not held up by
                // how long the partner was away before.
                () = self.bell.notify.notified() => delays = outbound.delays(),
            }
            // Read again before each attempt: it may have been withdrawn, and the partner suspended or active again.
            match self.due().await {
                Ok(Some(current)) if current.number == due.number => due = current,
                _ => return true,
            }
        }
    }

    async fn due(&self) -> Result<Option<Due>, engine::StoreError> {
        let (participant, pid) = (self.participant.clone(), self.pid.clone());
        self.node.commit(move |view| outbox::due(view, &participant, &pid)).await
    }

    /// One attempt. `None`: the node stops.
    async fn attempt(&self, due: &Due) -> Option<Attempt> {
        if !due.partner_active {
            return self.wait_for_partner(due).await;
        }
        let place = tokio::select! {
            () = self.node.shutdown.stopping() => return None,
            place = self.places.acquire() => place.ok()?,
        };
        let Some(client) = self.node.client(&self.participant) else {
            let text = "the partner is not registered any more";
            let failure = failure("unregistered", text);
            return Some(Attempt::Final { failure, refused: false });
        };
        let body = match self.text(due).await {
            Ok(body) => body,
            Err(reason) => return Some(again(reason)),
        };
        self.node.attempts.begin(&self.pid, due.number);
        let content_type = HeaderValue::from_static("application/json");
        let span = tracing::info_span!(
            "deliver message",
            otel.kind = "client",
            partner = %self.participant,
            process = %self.pid,
            message = %due.entity.message,
        );
        let sent = tokio::select! {
            () = self.node.shutdown.stopping() => return None,
            sent = client.send(Method::POST, &due.entity.url, content_type, body).instrument(span) => sent,
        };
        drop(place);
        Some(self.judge(due, sent))
    }

    /// A suspended partner is told nothing; it may be active again before the deadline.
    async fn wait_for_partner(&self, due: &Due) -> Option<Attempt> {
        let mut changed = self.node.store.subscribe(Key::Partner(self.participant.clone()));
        let remaining = until(&due.entity, self.node.clock.now());
        tokio::select! {
            () = self.node.shutdown.stopping() => None,
            _ = changed.changed() => Some(again("the partner is suspended".to_owned())),
            () = tokio::time::sleep(remaining) => Some(Attempt::Final {
                failure: failure(UNDELIVERED, "the partner stayed suspended"),
                refused: false,
            }),
        }
    }

    /// The bytes to send: the record's text, with the access token filled in where one belongs. The same each time.
    async fn text(&self, due: &Due) -> Result<Bytes, String> {
        let body = self.node.store.body(due.text).await.map_err(|error| error.to_string())?;
        let mut text = body
            .and_then(|body| body.message)
            .ok_or_else(|| "the message's text is gone".to_owned())?;
        if let Some((pid, generation)) = &due.entity.token {
            let site = self.node.identity.site.load();
            let token = site.token_key.access_token(pid.as_str(), u64::from(*generation));
            fill_in(&mut text, &token);
        }
        if let Some(sealed) = &due.entity.sealed_token {
            let token = crate::transfers::unseal(&self.node, &self.pid, sealed)?;
            fill_in(&mut text, &token);
        }
        Ok(Bytes::from(text.to_string()))
    }

    fn judge(&self, due: &Due, sent: Result<Answer, SendError>) -> Attempt {
        match sent {
            Ok(answer) => Attempt::Acknowledged(self.peer_pid(due, &answer)),
            Err(SendError::Status { answer, .. }) => {
                let told = PeerRefusal::read(&answer.body, &self.node.json_limits());
                let reason = match told.explanation.texts() {
                    texts if texts.is_empty() => format!("answered {}", answer.status),
                    texts => texts.join("; ").chars().take(REASON_CHARS).collect(),
                };
                if temporary(answer.status) {
                    let after = retry_after(&answer.headers, self.node.clock.now());
                    return Attempt::Again { reason, refused: None, after };
                }
                let code = told.explanation.code.unwrap_or_else(|| "refused".to_owned());
                let decided = engine::process::is_decided(&code);
                let refused = Failure {
                    by_policy: engine::process::is_policy(&code),
                    reference: told
                        .reference
                        .or_else(|| reference(&answer.body).filter(|_| due.begins)),
                    reason: reason.clone(),
                    code,
                };
                if decided || !self.may_be_early(due, answer.status) {
                    return Attempt::Final { failure: refused, refused: true };
                }
                Attempt::Again { reason, refused: Some(refused), after: None }
            }
            // A certificate or an address can be put right before the deadline, too.
            Err(error) => again(chain(&error)),
        }
    }

    /// Whether a message that we know to be legal may have been refused because the partner has not recorded yet what we sent
    /// it, or answered, just before. A first message follows on nothing, but for a transfer request: the agreement which it names
    /// may have been settled this moment.
    fn may_be_early(&self, due: &Due, status: StatusCode) -> bool {
        let early = [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::CONFLICT];
        let patience = self.node.config.outbound.refusal_patience();
        let just_now = |settled| {
            // Where the clock was put back since then, the time since the first refusal bounds it alone.
            let ago = Duration::try_from(self.node.clock.now().duration_since(settled));
            ago.unwrap_or(Duration::ZERO) <= patience
        };
        !due.begins || (early.contains(&status) && due.rests_on.is_some_and(just_now))
    }

    /// The partner's process id in its answer to a first message.
    fn peer_pid(&self, due: &Due, answer: &Answer) -> Option<Pid> {
        if !due.begins {
            return None;
        }
        let limits = self.node.json_limits();
        let pids: Pids = match due.entity.subject {
            Subject::Negotiation => {
                message::parse::<ContractNegotiation>(&answer.body, &limits).ok()?.message.pids
            }
            Subject::Transfer => {
                message::parse::<TransferProcess>(&answer.body, &limits).ok()?.message.pids
            }
        };
        // Which of the two is the partner's follows from which is ours.
        match (pids.consumer == self.pid, pids.provider == self.pid) {
            (true, _) => Some(pids.provider),
            (false, true) => Some(pids.consumer),
            // Neither is ours: it says nothing about this process.
            (false, false) => None,
        }
    }

    /// Commits what became of a message. Answers whether to go on with the next, where the process may owe one.
    async fn settle(&self, due: &Due, outcome: Outcome) -> bool {
        self.bell.settled.store(due.number, Ordering::Relaxed);
        match &outcome {
            Outcome::Acknowledged(_) => {
                self.node.metrics.delivery(&self.name(), DeliveryOutcome::Acknowledged);
            }
            Outcome::GivenUp(GivenUp { failure, refused, attempts, .. }) => {
                let outcome =
                    if *refused { DeliveryOutcome::Refused } else { DeliveryOutcome::GivenUp };
                self.node.metrics.delivery(&self.name(), outcome);
                if !failure.by_policy {
                    self.node.metrics.dead_letter(&self.name());
                }
                tracing::warn!(
                    event = "message.refused",
                    partner = self.name(),
                    process = %self.pid,
                    reason = failure.reason,
                    reference = failure.reference,
                    attempts,
                    message_id = %due.entity.message,
                );
            }
        }
        // The partner has answered: it is the record that is tried again, never the message.
        let owes = loop {
            let error = match self.record(due.number, &outcome).await {
                Ok(owes) => break owes,
                Err(error) => error,
            };
            tracing::error!(event = "delivery.not_stored", process = %self.pid, error = %error);
            if matches!(error, engine::StoreError::Closed) {
                return false;
            }
            tokio::select! {
                () = self.node.shutdown.stopping() => return false,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        };
        match owes {
            true => self.node.attempts.settle(&self.pid, due.number),
            false => self.node.attempts.clear(&self.pid),
        }
        owes
    }

    /// Commits what became of a message. Answers whether the process may owe another.
    async fn record(&self, number: u64, outcome: &Outcome) -> Result<bool, engine::StoreError> {
        let (participant, pid) = (self.participant.clone(), self.pid.clone());
        match outcome {
            Outcome::Acknowledged(peer_pid) => {
                let peer_pid = peer_pid.clone();
                let delivered = move |view: &dyn engine::View| {
                    outbox::delivered(view, &participant, &pid, number, peer_pid.as_ref())
                };
                self.node.commit(delivered).await
            }
            Outcome::GivenUp(given_up) => {
                let (context, fresh) = (Arc::clone(&self.node.context), self.node.fresh());
                let given_up = given_up.clone();
                let refused = move |view: &dyn engine::View| {
                    let (participant, pid) = (&participant, &pid);
                    outbox::undeliverable(
                        view,
                        &context,
                        &fresh,
                        participant,
                        pid,
                        number,
                        &given_up,
                    )
                };
                self.node.commit(refused).await.map(|()| true)
            }
        }
    }

    fn name(&self) -> String {
        self.node.partner_name(&self.participant)
    }
}

/// It is tried again, for as long as there is time.
fn again(reason: String) -> Attempt {
    Attempt::Again { reason, refused: None, after: None }
}

/// DSP 2025-1 names no vocabulary for the properties of a data address. Connectors that read messages as JSON-LD lose names
/// without one; those in use know these terms in this namespace.
const PROPERTY_NAMESPACE: &str = "https://w3id.org/edc/v0.0.1/ns/";

/// Puts the access token into a message's data address, and what is needed to use it once more under absolute names.
fn fill_in(text: &mut Value, token: &str) {
    let Some(address) = text.get_mut("dataAddress") else { return };
    let endpoint = address.get("endpoint").and_then(Value::as_str).map(str::to_owned);
    let Some(properties) = address.get_mut("endpointProperties").and_then(Value::as_array_mut)
    else {
        return;
    };
    let mut put = |name: &str, value: &str| {
        properties.push(serde_json::json!({
            "@type": "EndpointProperty",
            "name": name,
            "value": value,
        }));
    };
    put("authorization", token);
    let absolute = [
        ("endpoint", endpoint.as_deref()),
        ("authType", Some("bearer")),
        ("authorization", Some(token)),
    ];
    for (name, value) in absolute {
        if let Some(value) = value {
            put(&format!("{PROPERTY_NAMESPACE}{name}"), value);
        }
    }
}

/// The reference in a refusal of a first message: the provider's administrator finds the reason by it.
fn reference(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let pid = body.get("providerPid")?.as_str()?;
    pid.starts_with("urn:uuid:").then(|| pid.chars().take(100).collect())
}

fn temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

fn until(entity: &Outbox, now: jiff::Timestamp) -> Duration {
    Duration::try_from(entity.deadline.duration_since(now)).unwrap_or(Duration::ZERO)
}

fn failure(code: &str, reason: &str) -> Failure {
    Failure { code: code.to_owned(), reason: reason.to_owned(), reference: None, by_policy: false }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    crate::site::chain(error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_filled_in_under_plain_and_under_absolute_names() {
        let mut text = json!({ "dataAddress": {
            "endpoint": "https://a.example/data/1",
            "endpointProperties": [{ "name": "authType", "value": "bearer" }],
        } });
        fill_in(&mut text, "secret");
        let properties = text["dataAddress"]["endpointProperties"].as_array().cloned();
        let properties = properties.unwrap_or_default();
        let named = |name: &str| {
            let found = properties.iter().find(|property| property["name"] == name);
            found.map(|property| property["value"].clone())
        };
        assert_eq!(named("authorization"), Some(json!("secret")));
        let absolute = |name: &str| named(&format!("{PROPERTY_NAMESPACE}{name}"));
        assert_eq!(absolute("authorization"), Some(json!("secret")));
        assert_eq!(absolute("authType"), Some(json!("bearer")));
        assert_eq!(absolute("endpoint"), Some(json!("https://a.example/data/1")));
        // What has no data address stays as it is.
        let mut other = json!({ "@type": "TransferStartMessage" });
        fill_in(&mut other, "secret");
        assert_eq!(other, json!({ "@type": "TransferStartMessage" }));
    }
}

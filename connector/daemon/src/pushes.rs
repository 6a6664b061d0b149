//! Pushes: each started transfer whose consumer wants the bytes sent to it has one worker, across restarts of either side.
//!
//! The consumer says how much it has (`HEAD`), and the rest is sent under a permit (`PUT` with `Content-Range`); before the
//! bytes goes the evidence of their release. The consumer's endpoint is `partner::upload`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::data::{Admitted, Granted, admit_push};
use engine::entity::{Digests, Failure, Source, Transfer};
use engine::push::{self, Next};
use engine::refusal::Refusal;
use engine::transfer::{Order, Step};
use engine::{Decider, Key, Kind, Store as _, StoreError};
use futures_util::FutureExt as _;
use headers::{ContentLength, HeaderMapExt as _};
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use protocol::error::PeerRefusal;
use protocol::id::Pid;
use store::Change;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::data::{Content, Delivery, Finished, Lease, Outcome, outgoing};
use crate::net::{PartnerClient, SendError};
use crate::node::Node;
use crate::partner::data::{finished, unreadable};
use crate::telemetry::DataDirection;
use crate::transfers::{authorization, renew, token_of};
use crate::wire::Trouble;

/// How many open transfers are looked through at once.
const SCAN_STEP: usize = 256;
/// How long the consumer's own message may take that says what became of the transfer.
const EXPLANATION_WAIT: Duration = Duration::from_secs(3);
/// How long the consumer may verify what it has got.
const ANSWER_WAIT: Duration = Duration::from_secs(120);
/// How much of a consumer's reason is kept, in characters.
const REASON_CHARS: usize = 1000;

/// Pushes until the node stops.
pub async fn run(node: Arc<Node>) {
    let mut changes = node.store.subscribe_kinds(&[Kind::Transfer]);
    let mut workers =
        Workers { node: Arc::clone(&node), tasks: JoinSet::new(), running: HashSet::new() };
    workers.wake_all().await;
    loop {
        tokio::select! {
            () = node.shutdown.stopping() => break,
            Some(ended) = workers.tasks.join_next() => {
                if let Ok(pid) = ended {
                    workers.running.remove(&pid);
                }
            }
            change = changes.next() => match change {
                Change::Written(written) => {
                    workers.wake(written.into_iter().map(|written| written.key).collect()).await;
                }
                Change::Rescan => workers.wake_all().await,
                Change::Closed => break,
            },
        }
    }
    // What was sent is counted when its stream has ended.
    while workers.tasks.join_next().await.is_some() {}
}

struct Workers {
    node: Arc<Node>,
    tasks: JoinSet<Pid>,
    running: HashSet<Pid>,
}

impl Workers {
    async fn wake_all(&mut self) {
        let mut after = None;
        loop {
            let page = match self.node.store.scan_hot(Kind::Transfer, after.take(), SCAN_STEP).await
            {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(event = "pushes.not_read", error = %error);
                    return;
                }
            };
            after = page.last().map(|(key, _)| key.clone());
            for (key, entity) in &page {
                if push::is_open(entity) {
                    self.start(key);
                }
            }
            if page.len() < SCAN_STEP {
                return;
            }
        }
    }

    async fn wake(&mut self, keys: Vec<Key>) {
        match self.node.store.hot(keys).await {
            Ok(open) => {
                for (key, _) in open.iter().filter(|(_, entity)| push::is_open(entity)) {
                    self.start(key);
                }
            }
            Err(error) => tracing::error!(event = "pushes.not_read", error = %error),
        }
    }

    /// The worker of a push: started where none runs.
    fn start(&mut self, key: &Key) {
        let Key::Transfer(pid) = key else { return };
        if !self.running.insert(pid.clone()) {
            return;
        }
        let worker = Worker { node: Arc::clone(&self.node), pid: pid.clone() };
        let span = tracing::info_span!("push", process = %pid);
        let working = async move {
            worker.run().await;
            worker.pid
        };
        self.tasks.spawn(working.instrument(span));
    }
}

struct Worker {
    node: Arc<Node>,
    pid: Pid,
}

/// What the consumer has, as it said last.
#[derive(Default)]
struct Known {
    /// Whether it has taken the evidence, or takes none.
    evidence: bool,
    /// How many bytes.
    length: u64,
}

/// Why an attempt did not bring every byte to the consumer.
enum Miss {
    /// It may go on later, or the transfer is something else by now.
    Again(String),
    /// For good.
    Over(Failure),
}

impl Worker {
    async fn run(&self) {
        let mut delays = self.node.config.outbound.delays();
        let longest = self.node.config.outbound.retry_maximum();
        let mut known = Known::default();
        loop {
            // Watched before it is read, so that no change is missed.
            let mut changed = self.node.store.subscribe(Key::Transfer(self.pid.clone()));
            let pid = self.pid.clone();
            let granted = match self.node.commit(move |view| push::next(view, &pid)).await {
                Ok(Next::Push(granted)) => granted,
                Ok(Next::Wait) => {
                    if !self.pause(&mut changed, None).await {
                        return;
                    }
                    continue;
                }
                Ok(Next::Over) | Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(event = "push.not_read", error = %error);
                    if !self.pause(&mut changed, Some(longest)).await {
                        return;
                    }
                    continue;
                }
            };
            let before = known.length;
            let pushed = tokio::select! {
                () = self.node.shutdown.stopping() => return,
                pushed = self.push(&granted, &mut known) => pushed,
            };
            if known.length > before {
                // Progress was made, so the next try may come soon.
                delays = self.node.config.outbound.delays();
            }
            let again = match pushed {
                Ok(()) => {
                    self.completed(&mut changed).await;
                    None
                }
                Err(Miss::Over(failure)) => {
                    self.ended(&mut changed, failure).await;
                    None
                }
                Err(Miss::Again(reason)) => Some(reason),
            };
            if let Some(reason) = again {
                tracing::debug!(event = "push.interrupted", reason = reason);
            }
            // Not at once, whatever it was: a transfer that is as before would be asked for in a circle.
            let delay = delays.next().unwrap_or(longest);
            tokio::select! {
                () = self.node.shutdown.stopping() => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// Waits for a change. Answers whether the node goes on.
    async fn pause(
        &self,
        changed: &mut watch::Receiver<Option<engine::Position>>,
        longest: Option<Duration>,
    ) -> bool {
        let time = async {
            match longest {
                Some(longest) => tokio::time::sleep(longest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.node.shutdown.stopping() => false,
            _ = changed.changed() => true,
            () = time => true,
        }
    }

    /// The consumer has everything, and completes the transfer; where it does not, we do.
    async fn completed(&self, changed: &mut watch::Receiver<Option<engine::Position>>) {
        if self.moved(changed).await {
            return;
        }
        crate::node::record_served(&self.node).await;
        let (context, fresh, pid) =
            (Arc::clone(&self.node.context), self.node.fresh(), self.pid.clone());
        let attempted = self.node.attempts.any(&self.pid);
        let by = Decider { person: None, reason: Some("every byte was taken".to_owned()) };
        let order = Order { step: Step::Complete, code: None, by };
        let acted = self
            .node
            .decide(move |view| {
                let none = |_: &Pid, _: u32| String::new();
                engine::transfer::act(view, &context, &fresh, &pid, attempted, &order, None, none)
            })
            .await;
        if let Err(trouble) = acted {
            tracing::debug!(event = "push.not_completed", error = %trouble);
        }
    }

    /// The push cannot go on. The consumer's own message says why, where it comes.
    async fn ended(
        &self,
        changed: &mut watch::Receiver<Option<engine::Position>>,
        failure: Failure,
    ) {
        if self.moved(changed).await {
            return;
        }
        tracing::warn!(event = "push.ended", code = failure.code, reason = failure.reason);
        crate::node::record_served(&self.node).await;
        let (context, fresh, pid) =
            (Arc::clone(&self.node.context), self.node.fresh(), self.pid.clone());
        let attempted = self.node.attempts.any(&self.pid);
        let ended = self
            .node
            .commit(move |view| {
                engine::transfer::terminate(view, &context, &fresh, &pid, attempted, &failure)
            })
            .await;
        if let Err(error) = ended {
            tracing::error!(event = "push.not_ended", error = %error);
        }
    }

    /// Whether the transfer left its state within a while, by a message of the consumer or by a step of ours.
    async fn moved(&self, changed: &mut watch::Receiver<Option<engine::Position>>) -> bool {
        let deadline = tokio::time::Instant::now() + EXPLANATION_WAIT;
        loop {
            let pid = self.pid.clone();
            match self.node.commit(move |view| push::next(view, &pid)).await {
                Ok(Next::Push(_)) => {}
                Ok(Next::Wait | Next::Over) | Err(_) => return true,
            }
            tokio::select! {
                () = self.node.shutdown.stopping() => return true,
                changed = tokio::time::timeout_at(deadline, changed.changed()) => {
                    if !matches!(changed, Ok(Ok(()))) {
                        return false;
                    }
                }
            }
        }
    }

    /// One attempt.
    async fn push(&self, granted: &Granted, known: &mut Known) -> Result<(), Miss> {
        let transfer = &granted.transfer;
        let over = |code: &str, reason: &str| Miss::Over(failure(code, reason));
        let (Some(target), Some(grant)) = (&transfer.target, &transfer.grant) else {
            return Err(Miss::Again("nothing is granted".to_owned()));
        };
        let client = self
            .node
            .client(&transfer.participant)
            .ok_or_else(|| over("unregistered", "the partner is not registered"))?;
        let token = token_of(&self.node, &transfer.pid, target)
            .map_err(|reason| over("no-token", &reason))?;
        let fields = authorization(&token);
        let mut trust = self.node.trust_changes();
        let sent = async {
            if !known.evidence {
                self.prove(&client, granted, target, &fields).await?;
                known.evidence = true;
            }
            let here = length(&client, target, &fields).await?;
            known.length = here;
            let size = grant.digests.size;
            if here > size {
                let reason = format!("the consumer says that it has {here} of {size} bytes");
                return Err(over("push-refused", &reason));
            }
            if here == size {
                // It has every byte, and may not have verified them.
                let mut fields = fields.clone();
                fields.insert(CONTENT_RANGE, value(&format!("bytes */{size}"))?);
                let url = &target.endpoint;
                return client
                    .ask(Method::PUT, url, fields, Bytes::new())
                    .await
                    .map_err(missed)
                    .map(drop);
            }
            self.bytes(&client, transfer, target, fields.clone(), here).await
        };
        tokio::select! {
            sent = sent => sent,
            // Another certificate may be asked for now: dialled anew, the partner is judged anew.
            _ = trust.changed() => Err(Miss::Again("the partners' certificates changed".to_owned())),
        }
    }

    /// Shows the evidence of the release. A consumer that takes none says so.
    async fn prove(
        &self,
        client: &PartnerClient,
        granted: &Granted,
        target: &Source,
        fields: &HeaderMap,
    ) -> Result<(), Miss> {
        let bundle = match crate::evidence::bundle(&self.node, granted).await {
            Ok(bundle) => bundle,
            Err(error) if error.is_final() => {
                tracing::error!(event = "provenance.refused", error = %error);
                let text = "this node cannot prove the release; its operator has been told";
                return Err(Miss::Over(failure(crate::wire::UNPROVEN, text)));
            }
            Err(error) => return Err(Miss::Again(error.to_string())),
        };
        let url = crate::evidence::address(&target.endpoint);
        let mut fields = fields.clone();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match client.ask(Method::PUT, &url, fields, Bytes::from(bundle)).await {
            Ok(_) => Ok(()),
            Err(SendError::Status { answer, .. }) if knows_no_such(answer.status) => Ok(()),
            Err(error) => Err(missed(error)),
        }
    }

    /// Sends what is missing, under a permit.
    async fn bytes(
        &self,
        client: &PartnerClient,
        transfer: &Transfer,
        target: &Source,
        mut fields: HeaderMap,
        from: u64,
    ) -> Result<(), Miss> {
        let node = &self.node;
        let own = node
            .registry()
            .by_participant(&transfer.participant)
            .and_then(|partner| partner.limits.max_concurrent_transfers_count);
        let place = node.streams.take(&transfer.participant, own).ok_or_else(|| {
            Miss::Again("too many transfers with the partner run at once".to_owned())
        })?;
        let (Admitted { dataset, .. }, lease) = ask(node, &self.pid).await.map_err(refused)?;
        let reader = match node.objects.reader(&dataset.digests, &dataset.location).await {
            Ok(reader) => reader,
            Err(error) => {
                unreadable(node, &dataset, &error).await;
                return Err(Miss::Again(error.to_string()));
            }
        };
        let size = dataset.digests.size;
        fields.insert(CONTENT_TYPE, value(&dataset.media_type)?);
        fields.insert(HeaderName::from_static("repr-digest"), repr_digest(&dataset.digests)?);
        if from > 0 {
            let last = size.saturating_sub(1);
            fields.insert(CONTENT_RANGE, value(&format!("bytes {from}-{last}/{size}"))?);
        }
        let again = (Arc::clone(node), self.pid.clone());
        let again = move || {
            let (node, pid) = again.clone();
            async move { ask(&node, &pid).await.map(|(_, lease)| lease) }
        };
        let (tell, told) = oneshot::channel();
        let counted = finished(node, &transfer.participant, dataset.clone(), place);
        let delivery = Delivery {
            reader,
            content: Content {
                media_type: dataset.media_type.clone(),
                file_name: dataset.file_name.clone(),
                digests: dataset.digests.clone(),
                published: dataset.published,
            },
            lease,
            renew: renew(node, &self.pid, again),
            meters: Arc::clone(&node.meters),
            pace: node.pace(),
            finished: Box::new(move |finished: Finished| {
                let outcome = finished.outcome.clone();
                counted(finished);
                // Nobody listens any more when the answer came first.
                let _ = tell.send(outcome);
            }),
        };
        let (body, ended) = outgoing(delivery, from)
            .map_err(|error| Miss::Over(failure("inconsistent", &error.to_string())))?;
        node.metrics.stream(DataDirection::Served, 1);
        let upload = client.upload(&target.endpoint, fields, body);
        tokio::pin!(upload);
        let outcome = tokio::select! {
            answered = &mut upload => return answered.map(drop).map_err(missed),
            () = ended => return Err(Miss::Again("the permit has ended".to_owned())),
            outcome = told => outcome,
        };
        match outcome {
            Ok(Outcome::Complete) => match tokio::time::timeout(ANSWER_WAIT, upload).await {
                Ok(answered) => answered.map(drop).map_err(missed),
                Err(_) => Err(Miss::Again("the consumer does not answer".to_owned())),
            },
            _ => Err(Miss::Again("the stream has ended".to_owned())),
        }
    }
}

/// Asks the engine for a permit.
async fn ask(node: &Arc<Node>, pid: &Pid) -> Result<(Admitted, Lease), Trouble> {
    let (fresh, asked) = (node.fresh(), pid.clone());
    let (committed, permit) =
        node.store.admit(Vec::new(), move |view| admit_push(view, &fresh, &asked)).await?;
    let admitted = committed.reply?;
    let decided = node.clock.now();
    match permit {
        Some((permit, ending)) => Ok((admitted, Lease { permit, decided, ending: ending.boxed() })),
        None => Err(Trouble::Store(StoreError::Closed)),
    }
}

/// How much the consumer has.
async fn length(client: &PartnerClient, target: &Source, fields: &HeaderMap) -> Result<u64, Miss> {
    match client.ask(Method::HEAD, &target.endpoint, fields.clone(), Bytes::new()).await {
        Ok(answer) => Ok(answer.headers.typed_get::<ContentLength>().map_or(0, |length| length.0)),
        // An endpoint that cannot say takes all bytes at once. One that knows no HEAD at all says that it is not found.
        Err(SendError::Status { answer, .. }) if knows_no_such(answer.status) => Ok(0),
        Err(error) => Err(missed(error)),
    }
}

fn knows_no_such(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    )
}

/// What a permit that is not given means.
fn refused(trouble: Trouble) -> Miss {
    match trouble {
        Trouble::Refused(refusal) => match push::ends(&refusal) {
            Some(code) => {
                tracing::warn!(event = "push.refused", reason = refusal.internal);
                let Refusal { external, reference, .. } = refusal;
                Miss::Over(Failure {
                    code: code.to_owned(),
                    reason: external,
                    reference: Some(reference),
                    by_policy: code == engine::process::POLICY_CODE,
                })
            }
            None => Miss::Again(refusal.internal),
        },
        Trouble::Store(error) => Miss::Again(error.to_string()),
    }
}

/// What an answer means that is no success.
fn missed(error: SendError) -> Miss {
    match &error {
        SendError::Status { answer, .. }
            if answer.status.is_client_error()
                && answer.status != StatusCode::CONFLICT
                && !error.is_transient() =>
        {
            let told = PeerRefusal::read(&answer.body, &protocol::json::Limits::default());
            let reason = match told.explanation.texts() {
                texts if texts.is_empty() => format!("the consumer answered {}", answer.status),
                texts => texts
                    .join("; ")
                    .chars()
                    .map(|character| if character.is_control() { ' ' } else { character })
                    .take(REASON_CHARS)
                    .collect(),
            };
            Miss::Over(failure("push-refused", &reason))
        }
        _ => Miss::Again(crate::site::chain(&error)),
    }
}

fn repr_digest(digests: &Digests) -> Result<HeaderValue, Miss> {
    let sha256 = hex::decode(&digests.sha256)
        .map_err(|error| Miss::Over(failure("inconsistent", &error.to_string())))?;
    value(&format!("sha-256=:{}:", STANDARD.encode(sha256)))
}

fn value(text: &str) -> Result<HeaderValue, Miss> {
    HeaderValue::from_str(text)
        .map_err(|error| Miss::Over(failure("inconsistent", &error.to_string())))
}

fn failure(code: &str, reason: &str) -> Failure {
    Failure { code: code.to_owned(), reason: reason.to_owned(), reference: None, by_policy: false }
}

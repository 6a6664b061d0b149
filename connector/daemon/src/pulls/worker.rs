//! The worker of one pull: waits, downloads, verifies, records.

use std::sync::Arc;
use std::time::Duration;

use engine::entity::{Agreement, Digests, Failure, Pull, PullStep, Source, Transfer};
use engine::pull::{self, Arrival, Next};
use engine::{Decision, Entity, Key, Kind, Need, StoreError, View};
use http::{HeaderMap, StatusCode};
use protocol::id::{ParticipantId, Pid};
use tokio::sync::watch;

use super::Progress;
use super::stop::{Stop, failure, local};
use crate::data::{FetchError, FetchLimits, download};
use crate::net::{PartnerClient, SendError};
use crate::node::Node;
use crate::objects::{Incoming, IncomingError, PullName};
use crate::telemetry::DataDirection;
use crate::transfers::{authorization, bare_authorization, token_sha256};
use crate::wire::Trouble;
use crate::witness::WitnessError;

/// How long a refusal of the data endpoint may run ahead of the message that explains it.
const EXPLANATION_WAIT: Duration = Duration::from_secs(3);
/// How often a file is tried whose last write may still run.
const LAST_WRITE_WAITS: usize = 5;

pub(super) struct Worker {
    pub(super) node: Arc<Node>,
    pub(super) id: String,
    pub(super) progress: Arc<Progress>,
}

impl Worker {
    /// Drives the pull until it is closed or the node stops, also over times when nothing can be stored.
    pub(super) async fn run_to_the_end(&self) {
        let mut delays = self.node.config.outbound.delays();
        loop {
            let began = tokio::time::Instant::now();
            let Err(error) = self.run().await else { return };
            tracing::error!(event = "pull.interrupted", pull = self.id, error = %error);
            let again = match error {
                Trouble::Refused(_) | Trouble::Store(StoreError::Closed) => return,
                Trouble::Store(error) => error,
            };
            let longest = self.node.config.outbound.retry_maximum();
            if began.elapsed() > longest {
                delays = self.node.config.outbound.delays();
            }
            let delay = delays.next().unwrap_or(longest);
            let pause = async {
                if matches!(again, StoreError::Rebuilding) {
                    self.node.store.ready().await;
                }
                tokio::time::sleep(delay).await;
            };
            tokio::select! {
                () = self.node.shutdown.stopping() => return,
                () = pause => {}
            }
        }
    }

    async fn run(&self) -> Result<(), Trouble> {
        let mut watched: Vec<watch::Receiver<Option<engine::Position>>> = Vec::new();
        let mut grounds: Vec<watch::Receiver<Option<engine::Position>>> = Vec::new();
        loop {
            // Whole and verified is received, whatever became of the transfer since.
            if let Some((partner, arrival)) = self.arrived().await? {
                self.record(&partner, arrival).await?;
            }
            // Watched before it is read, so that no change is missed.
            let (context, fresh, id) =
                (Arc::clone(&self.node.context), self.node.fresh(), self.id.clone());
            let site = self.node.identity.site.load();
            let next = self
                .node
                .decide(move |view| {
                    let token = |pid: &Pid, generation: u32| token_sha256(&site, pid, generation);
                    pull::advance(view, &context, &fresh, &id, token)
                })
                .await?;
            match next {
                Next::Closed(pull) => {
                    if matches!(pull.step, PullStep::Failed { .. }) {
                        self.discard();
                    }
                    return Ok(());
                }
                Next::Wait(keys) => {
                    grounds.clear();
                    self.progress.step(step_of(&keys));
                    if watched.is_empty() {
                        watched =
                            keys.into_iter().map(|key| self.node.store.subscribe(key)).collect();
                        continue;
                    }
                    tokio::select! {
                        () = self.node.shutdown.stopping() => return Ok(()),
                        () = any_changed(&mut watched) => {}
                    }
                    watched.clear();
                }
                Next::Download { transfer, agreement, source } => {
                    watched.clear();
                    self.progress.step("downloading");
                    if grounds.is_empty() {
                        grounds = [
                            Key::Partner(transfer.participant.clone()),
                            Key::Transfer(transfer.pid.clone()),
                            Key::Agreement(agreement.id.clone()),
                        ]
                        .map(|key| self.node.store.subscribe(key))
                        .into();
                        continue;
                    }
                    let fetched = tokio::select! {
                        () = self.node.shutdown.stopping() => return Ok(()),
                        fetched = self.fetch(&transfer, &agreement, &source) => fetched?,
                        // Whatever it rests on changed: decided again, and what is here is kept.
                        () = any_changed(&mut grounds) => None,
                    };
                    grounds.clear();
                    if let Some(arrival) = fetched {
                        self.record(&transfer.participant, arrival).await?;
                    }
                }
            }
        }
    }

    /// What was verified, and not recorded before a stop or a change. Where the provider gives no evidence there is nothing
    /// that tells.
    async fn arrived(&self) -> Result<Option<(ParticipantId, Arrival)>, Trouble> {
        let (Ok(name), Some(bundle)) = (self.id.parse::<PullName>(), self.kept().await) else {
            return Ok(None);
        };
        let id = self.id.clone();
        let resting =
            self.node.commit(move |view| resting(view, &id).map(Decision::answer)).await?;
        let Some((transfer, agreement)) = resting else { return Ok(None) };
        let Ok(evidence) = crate::evidence::verify(&self.node, &transfer, &agreement, &bundle)
        else {
            return Ok(None);
        };
        let received = self.node.objects.received(&name, &evidence.digests);
        Ok(received.map(|received| {
            let arrival = arrival(&transfer, received.digests, Some(evidence));
            (transfer.participant, arrival)
        }))
    }

    /// Removes what is here of a pull that will not go on. A start removes what this leaves.
    fn discard(&self) {
        let Ok(name) = self.id.parse::<PullName>() else { return };
        if let Err(error) = self.node.objects.discard(&name) {
            tracing::warn!(event = "pull.not_discarded", pull = self.id, error = %error);
        }
    }

    async fn kept(&self) -> Option<Vec<u8>> {
        match crate::evidence::kept(&self.node, &self.id).await {
            Ok(bundle) => bundle,
            Err(error) => {
                tracing::warn!(event = "evidence.unreadable", pull = self.id, error = %error);
                None
            }
        }
    }

    async fn record(&self, partner: &ParticipantId, arrival: Arrival) -> Result<(), Trouble> {
        let (context, fresh, id) =
            (Arc::clone(&self.node.context), self.node.fresh(), self.id.clone());
        self.node.decide(move |view| pull::received(view, &context, &fresh, &id, &arrival)).await?;
        crate::witness::later(&self.node, partner);
        Ok(())
    }

    /// Brings the bytes and verifies them. `None`: decide again.
    async fn fetch(
        &self,
        transfer: &Transfer,
        agreement: &Agreement,
        source: &Source,
    ) -> Result<Option<Arrival>, Trouble> {
        match self.bring(transfer, agreement, source).await {
            Ok(arrival) => Ok(Some(arrival)),
            Err(stop) => self.stop(stop, transfer).await.map(|()| None),
        }
    }

    async fn bring(
        &self,
        transfer: &Transfer,
        agreement: &Agreement,
        source: &Source,
    ) -> Result<Arrival, Stop> {
        let failed = |code: &str, reason: &str| Stop::Failed(failure(code, reason));
        let client = self
            .node
            .client(&transfer.participant)
            .ok_or_else(|| failed("unregistered", "the partner is not registered"))?;
        let token = crate::transfers::token_of(&self.node, &transfer.pid, source)
            .map_err(|reason| failed("no-token", &reason))?;
        let evidence = self.evidence(&client, transfer, agreement, source, &token).await?;
        let expected = evidence.as_ref().map(|evidence| evidence.digests.clone());
        self.progress.state.send_modify(|state| {
            state.total = expected.as_ref().map(|digests| digests.size);
        });
        let received = self.bytes(&client, transfer, source, &token, expected).await?;
        let name = self.node.partner_name(&transfer.participant);
        self.node.metrics.data(&name, DataDirection::Received, received.size);
        Ok(arrival(transfer, received, evidence))
    }

    /// The provider's evidence, verified and kept, where the partner gives any. What is kept from before a stop does.
    async fn evidence(
        &self,
        client: &PartnerClient,
        transfer: &Transfer,
        agreement: &Agreement,
        source: &Source,
        token: &Option<String>,
    ) -> Result<Option<crate::evidence::Verified>, Stop> {
        if !crate::evidence::is_given_by(&self.node, &transfer.participant) {
            return Ok(None);
        }
        let verify = |bytes: &[u8]| crate::evidence::verify(&self.node, transfer, agreement, bytes);
        if let Some(bundle) = self.kept().await {
            match verify(&bundle) {
                Ok(evidence) => return Ok(Some(evidence)),
                Err(reason) => {
                    tracing::warn!(event = "evidence.asked_again", pull = self.id, reason = reason);
                }
            }
        }
        let url = crate::evidence::address(&source.endpoint);
        let bytes = self
            .retried(|| async {
                let response =
                    client.open(&url, authorization(token)).await.map_err(FetchError::Send)?;
                crate::net::read_body(
                    response.into_body(),
                    crate::evidence::BUNDLE_BYTES_MAX,
                    self.node.data_pace(),
                )
                .await
                .map_err(|source| FetchError::Lost { received: 0, source })
            })
            .await
            .map_err(Stop::without_evidence)?;
        let evidence = verify(&bytes)
            .map_err(|reason: String| Stop::Failed(failure("not-verified", &reason)))?;
        // A provider that is away is waited for, as everywhere.
        self.retried(|| async {
            let judged =
                crate::witness::judge(&self.node, &transfer.participant, &evidence.checkpoint);
            match judged.await {
                Err(WitnessError::Send(error)) => Err(FetchError::Send(error)),
                judged => Ok(judged),
            }
        })
        .await??;
        crate::evidence::keep(&self.node, &self.id, &evidence.bundle)
            .await
            .map_err(|error| Stop::Failed(failure("not-kept", &error.to_string())))?;
        Ok(Some(evidence))
    }

    /// The bytes, whole and verified.
    async fn bytes(
        &self,
        client: &PartnerClient,
        transfer: &Transfer,
        source: &Source,
        token: &Option<String>,
        expected: Option<Digests>,
    ) -> Result<Digests, Stop> {
        let is_ours = crate::evidence::is_given_by(&self.node, &transfer.participant);
        let name = self.id.parse::<PullName>().map_err(|error| local(&error))?;
        if let Some(expected) = &expected
            && let Some(received) = self.node.objects.received(&name, expected)
        {
            return Ok(received.digests);
        }
        let limits = FetchLimits {
            largest: self.node.config.data.max_incoming_bytes,
            pace: self.node.data_pace(),
        };
        if expected.as_ref().is_some_and(|expected| expected.size > limits.largest) {
            let text = "the dataset is larger than `data.max_incoming_bytes`; raise it";
            return Err(Stop::Failed(failure("too-large", text)));
        }
        let (sender, mut received) = watch::channel(0_u64);
        let progress = Arc::clone(&self.progress);
        let follow = tokio::spawn(async move {
            while received.changed().await.is_ok() {
                let done = *received.borrow_and_update();
                progress.away(None);
                progress.state.send_modify(|state| state.done = done);
            }
        });
        let opened = self.incoming(&name, expected).await;
        let incoming = tokio::sync::Mutex::new(opened.map_err(|error| local(&error))?);
        let outcome = self
            .retried(|| async {
                let mut incoming = incoming.lock().await;
                let open = async |fields: HeaderMap| {
                    let mut shown = fields.clone();
                    shown.extend(authorization(token));
                    let answer = client.open(&source.endpoint, shown).await;
                    // Some providers call a token `bearer` and take it only without that word. A node knows both.
                    if is_ours || token.is_none() || !is_unauthorised(&answer) {
                        return answer;
                    }
                    let mut shown = fields;
                    shown.extend(bare_authorization(token));
                    client.open(&source.endpoint, shown).await
                };
                download(open, &mut incoming, &sender, limits, self.node.clock.now()).await
            })
            .await;
        drop(sender);
        let _ = follow.await;
        outcome?;
        let received = incoming.into_inner().finish().await.map_err(|error| local(&error))?;
        Ok(received.digests)
    }

    /// The file that the bytes go into. What was just interrupted may still be writing its last.
    async fn incoming(
        &self,
        name: &PullName,
        expected: Option<Digests>,
    ) -> Result<Incoming, IncomingError> {
        for delay in self.node.config.outbound.delays().take(LAST_WRITE_WAITS) {
            match self.node.objects.incoming(name, expected.clone()).await {
                Err(IncomingError::Busy(_)) => tokio::time::sleep(delay).await,
                opened => return opened,
            }
        }
        self.node.objects.incoming(name, expected).await
    }

    /// Repeats an attempt while it may succeed later.
    async fn retried<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Stop>
    where
        F: Future<Output = Result<T, FetchError>>,
    {
        let longest = self.node.config.outbound.retry_maximum();
        let mut delay = self.node.config.outbound.delays();
        let mut before = self.progress.state.borrow().done;
        loop {
            let error = match attempt().await {
                Ok(value) => {
                    self.progress.away(None);
                    return Ok(value);
                }
                Err(error) => error,
            };
            if !error.is_retryable() {
                return Err(Stop::of(error));
            }
            self.progress.away(Some(crate::site::chain(&error)));
            let done = self.progress.state.borrow().done;
            if done > before {
                // Progress was made, so the next try may come soon.
                before = done;
                delay = self.node.config.outbound.delays();
            }
            tokio::select! {
                () = tokio::time::sleep(delay.next().unwrap_or(longest)) => {}
                () = self.progress.nudge.notified() => {}
            }
        }
    }

    /// A download that cannot go on. The provider's own message says why, where it comes.
    async fn stop(&self, stop: Stop, transfer: &Transfer) -> Result<(), Trouble> {
        let failure = match stop {
            Stop::Stored(error) => return Err(error.into()),
            Stop::Failed(failure) => failure,
            Stop::Refused(refused) => {
                let mut changed = self.node.store.subscribe(Key::Transfer(transfer.pid.clone()));
                let (pid, version) = (transfer.pid.clone(), transfer.transitions);
                let current = self
                    .node
                    .commit(move |view| {
                        Ok(engine::Decision::answer(view.entity(&Key::Transfer(pid.clone()))?))
                    })
                    .await?;
                let moved = matches!(
                    current.as_deref(),
                    Some(Entity::Transfer(current)) if current.transitions != version
                );
                if moved || tokio::time::timeout(EXPLANATION_WAIT, changed.changed()).await.is_ok()
                {
                    return Ok(());
                }
                refused
            }
        };
        self.fail(failure).await
    }

    async fn fail(&self, failure: Failure) -> Result<(), Trouble> {
        let (context, fresh, id) =
            (Arc::clone(&self.node.context), self.node.fresh(), self.id.clone());
        self.node.decide(move |view| pull::fail(view, &context, &fresh, &id, &failure)).await
    }
}

/// The transfer that a pull waits for, and the agreement that it rests on.
fn resting(view: &dyn View, id: &str) -> Result<Option<(Transfer, Agreement)>, Need> {
    let pull = view.entity(&Key::Pull(id.to_owned()))?;
    let Some(Entity::Pull(Pull { step: PullStep::Transferring { transfer }, .. })) =
        pull.as_deref()
    else {
        return Ok(None);
    };
    let transfer = view.entity(&Key::Transfer(transfer.clone()))?;
    let Some(Entity::Transfer(transfer)) = transfer.as_deref() else { return Ok(None) };
    let agreement = view.entity(&Key::Agreement(transfer.agreement.clone()))?;
    let Some(Entity::Agreement(agreement)) = agreement.as_deref() else { return Ok(None) };
    Ok(Some((transfer.clone(), agreement.clone())))
}

/// What arrived, as it is recorded.
pub(crate) fn arrival(
    transfer: &Transfer,
    digests: Digests,
    evidence: Option<crate::evidence::Verified>,
) -> Arrival {
    Arrival {
        digests,
        file_name: evidence
            .as_ref()
            .map_or_else(|| transfer.dataset.to_string(), |found| found.file_name.clone()),
        provenance_sha256: evidence.map(|evidence| evidence.token_sha256),
    }
}

async fn any_changed(watched: &mut [watch::Receiver<Option<engine::Position>>]) {
    let changes = watched.iter_mut().map(|receiver| Box::pin(receiver.changed()));
    let _ = futures_util::future::select_all(changes).await;
}

fn step_of(keys: &[Key]) -> &'static str {
    if keys.iter().any(|key| key.kind() == Kind::Negotiation) {
        "negotiating"
    } else {
        "transferring"
    }
}

/// Whether what was shown did not open the data.
fn is_unauthorised<T>(answer: &Result<T, SendError>) -> bool {
    let Err(SendError::Status { answer, .. }) = answer else { return false };
    matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

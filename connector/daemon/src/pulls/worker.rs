//! The worker of one pull: waits, downloads, verifies, records.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use base64::Engine as _;
use engine::entity::{Agreement, Digests, Failure, Source, Transfer};
use engine::pull::{self, Arrival, Next};
use engine::{Entity, Key, Kind};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use protocol::error::PeerRefusal;
use tokio::sync::watch;

use super::Progress;
use crate::data::{FetchError, FetchLimits, download};
use crate::net::{PartnerClient, SendError};
use crate::node::Node;
use crate::objects::{IncomingError, PullName};
use crate::telemetry::DataDirection;
use crate::wire::Trouble;

/// How long a refusal of the data endpoint may run ahead of the message that explains it.
const EXPLANATION_WAIT: Duration = Duration::from_secs(3);

pub(super) struct Worker {
    pub(super) node: Arc<Node>,
    pub(super) id: String,
    pub(super) progress: Arc<Progress>,
}

impl Worker {
    /// Drives the pull until it is closed or the node stops.
    pub(super) async fn run(&self) -> Result<(), Trouble> {
        let mut watched: Vec<watch::Receiver<Option<engine::Position>>> = Vec::new();
        loop {
            // Watched before it is read, so that no change is missed.
            let (context, fresh, id) =
                (Arc::clone(&self.node.context), self.node.fresh(), self.id.clone());
            let next =
                self.node.decide(move |view| pull::advance(view, &context, &fresh, &id)).await?;
            match next {
                Next::Closed(_) => return Ok(()),
                Next::Wait(keys) => {
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
                    let mut grounds: Vec<_> = [
                        Key::Partner(transfer.participant.clone()),
                        Key::Transfer(transfer.pid.clone()),
                        Key::Agreement(agreement.id.clone()),
                    ]
                    .map(|key| self.node.store.subscribe(key))
                    .into();
                    tokio::select! {
                        () = self.node.shutdown.stopping() => return Ok(()),
                        fetched = self.fetch(&transfer, &agreement, &source) => fetched?,
                        // Whatever it rests on changed: decided again, and what is here is kept.
                        () = any_changed(&mut grounds) => {}
                    }
                }
            }
        }
    }

    /// Brings the bytes, verifies them, records what came.
    async fn fetch(
        &self,
        transfer: &Transfer,
        agreement: &Agreement,
        source: &Source,
    ) -> Result<(), Trouble> {
        let Some(client) = self.node.client(&transfer.participant) else {
            return self.fail(failure("unregistered", "the partner is not registered")).await;
        };
        let token = match self.token(transfer, source) {
            Ok(token) => token,
            Err(reason) => return self.fail(failure("no-token", &reason)).await,
        };
        let evidence = match self.evidence(&client, transfer, agreement, source, &token).await {
            Ok(evidence) => evidence,
            Err(stop) => return self.stop(stop, transfer).await,
        };
        let expected = evidence.as_ref().map(|evidence| evidence.digests.clone());
        self.progress.state.send_modify(|state| {
            state.total = expected.as_ref().map(|digests| digests.size);
        });
        let received = match self.bytes(&client, source, &token, expected).await {
            Ok(received) => received,
            Err(stop) => return self.stop(stop, transfer).await,
        };
        let name = self.node.partner_name(&transfer.participant);
        self.node.metrics.data(&name, DataDirection::Received, received.size);
        if let Some(evidence) = &evidence
            && let Err(error) = crate::evidence::keep(&self.node, &self.id, &evidence.bundle).await
        {
            return self.fail(failure("not-kept", &error.to_string())).await;
        }
        let arrival = Arrival {
            digests: received,
            file_name: evidence
                .as_ref()
                .map_or_else(|| transfer.dataset.to_string(), |found| found.file_name.clone()),
            provenance_sha256: evidence.map(|evidence| evidence.token_sha256),
        };
        let (context, fresh, id) =
            (Arc::clone(&self.node.context), self.node.fresh(), self.id.clone());
        self.node.decide(move |view| pull::received(view, &context, &fresh, &id, &arrival)).await?;
        crate::witness::later(&self.node, &transfer.participant);
        Ok(())
    }

    fn token(&self, transfer: &Transfer, source: &Source) -> Result<Option<String>, String> {
        let Some(sealed) = &source.sealed_token else { return Ok(None) };
        let sealed = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(sealed)
            .map_err(|error| error.to_string())?;
        let site = self.node.identity.site.load();
        let token = site
            .seal_key
            .unseal(&sealed, transfer.pid.as_str().as_bytes())
            .map_err(|error| error.to_string())?;
        String::from_utf8(token.to_vec()).map(Some).map_err(|error| error.to_string())
    }

    /// The provider's evidence, verified, where the partner gives any.
    async fn evidence(
        &self,
        client: &PartnerClient,
        transfer: &Transfer,
        agreement: &Agreement,
        source: &Source,
        token: &Option<String>,
    ) -> Result<Option<crate::evidence::Verified>, Stop> {
        let supports = self
            .node
            .registry()
            .by_participant(&transfer.participant)
            .is_some_and(|file| file.partner.extensions.contains("provenance/1"));
        if !supports {
            return Ok(None);
        }
        let url = format!("{}/provenance", source.endpoint.trim_end_matches('/'));
        let bytes = self
            .retried(|| async {
                let response =
                    client.open(&url, authorization(token)).await.map_err(FetchError::Send)?;
                crate::net::read_body(
                    response.into_body(),
                    crate::evidence::BUNDLE_BYTES_MAX,
                    self.node.pace(),
                )
                .await
                .map_err(|source| FetchError::Lost { received: 0, source })
            })
            .await?;
        crate::evidence::verify(&self.node, transfer, agreement, &bytes)
            .map(Some)
            .map_err(|reason: String| Stop::Failed(failure("not-verified", &reason)))
    }

    /// The bytes, whole and verified.
    async fn bytes(
        &self,
        client: &PartnerClient,
        source: &Source,
        token: &Option<String>,
        expected: Option<Digests>,
    ) -> Result<Digests, Stop> {
        let name = self.id.parse::<PullName>().map_err(|error| local(&error))?;
        if let Some(expected) = &expected
            && let Some(received) = self.node.objects.received(&name, expected)
        {
            return Ok(received.digests);
        }
        let limits = FetchLimits {
            largest: self.node.config.data.max_incoming_bytes,
            pace: self.node.pace(),
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
        let opened = self.node.objects.incoming(&name, expected).await;
        let incoming = tokio::sync::Mutex::new(opened.map_err(|error| local(&error))?);
        let outcome = self
            .retried(|| async {
                let mut incoming = incoming.lock().await;
                let open = |mut fields: HeaderMap| {
                    fields.extend(authorization(token));
                    client.open(&source.endpoint, fields)
                };
                download(open, &mut incoming, &sender, limits).await
            })
            .await;
        drop(sender);
        let _ = follow.await;
        outcome?;
        let received = incoming.into_inner().finish().await.map_err(|error| local(&error))?;
        Ok(received.digests)
    }

    /// Repeats an attempt while it may succeed later.
    async fn retried<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Stop>
    where
        F: Future<Output = Result<T, FetchError>>,
    {
        let outbound = &self.node.config.outbound;
        let delays = || {
            ExponentialBuilder::default()
                .with_min_delay(outbound.retry_minimum())
                .with_max_delay(outbound.retry_maximum())
                .with_jitter()
                .without_max_times()
                .build()
        };
        let mut delay = delays();
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
                delay = delays();
            }
            tokio::time::sleep(delay.next().unwrap_or(outbound.retry_maximum())).await;
        }
    }

    /// A download that cannot go on. The provider's own message says why, where it comes.
    async fn stop(&self, stop: Stop, transfer: &Transfer) -> Result<(), Trouble> {
        let failure = match stop {
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

/// Why a download does not go on.
enum Stop {
    /// For good.
    Failed(Failure),
    /// The provider's endpoint refuses; a message of its own may say more.
    Refused(Failure),
}

impl Stop {
    fn of(error: FetchError) -> Self {
        match error {
            FetchError::Refused { text, status } => Self::Refused(refused(status, text.as_bytes())),
            FetchError::Send(SendError::Status { answer, .. })
                if answer.status.is_client_error() =>
            {
                Self::Refused(refused(answer.status, &answer.body))
            }
            FetchError::Local(error) => local(&error),
            error => Self::Failed(failure("download-failed", &crate::site::chain(&error))),
        }
    }
}

/// What a refusal of the data endpoint says.
fn refused(status: http::StatusCode, body: &[u8]) -> Failure {
    let told = PeerRefusal::read(body, &protocol::json::Limits::default());
    let texts = told.explanation.texts();
    let code = told.explanation.code.unwrap_or_else(|| "refused".to_owned());
    Failure {
        by_policy: code == engine::process::POLICY_CODE,
        code,
        reason: match texts.is_empty() {
            true => format!("the provider refused the data with {status}"),
            false => texts.join("; "),
        },
        reference: None,
    }
}

fn local(error: &IncomingError) -> Stop {
    let code = match error {
        IncomingError::NotVerified { .. } => "not-verified",
        IncomingError::Storage(_) => "cannot-write",
        _ => "download-failed",
    };
    Stop::Failed(failure(code, &crate::site::chain(error)))
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

fn authorization(token: &Option<String>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if let Some(token) = token
        && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}"))
    {
        value.set_sensitive(true);
        fields.insert(AUTHORIZATION, value);
    }
    fields
}

fn failure(code: &str, reason: &str) -> Failure {
    Failure { code: code.to_owned(), reason: reason.to_owned(), reference: None, by_policy: false }
}

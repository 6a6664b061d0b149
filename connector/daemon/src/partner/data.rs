//! The data endpoint: bytes under a permit, and the evidence of their release.

use std::sync::Arc;
use std::time::Duration;

use engine::data::{Admitted, admit};
use engine::refusal::{Refusal, RefusalKind};
use engine::{EndReason, Peer, Store as _};
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use protocol::id::{ParticipantId, Pid};

use super::places::Place;
use crate::data::{Content, Delivery, Finished, Lease, Outcome, ServeError, respond};
use crate::net::{Body, Connection};
use crate::node::Node;
use crate::objects::ReadError;
use crate::telemetry::{CutReason, DataDirection};
use crate::transfers::renew;
use crate::wire::{self, Trouble};

/// Certificates are looked at at least this often, whatever they say of themselves.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Serves the bytes of a transfer.
pub(super) async fn serve(
    node: &Arc<Node>,
    request: Request<Incoming>,
    peer: &Peer,
    connection: &Arc<Connection>,
    pid: &str,
) -> Response<Body> {
    let Ok(pid) = Pid::new(pid) else { return wire::bare(StatusCode::NOT_FOUND) };
    let Some(token) = token_sha256(&request) else { return unauthorized() };
    let own = node
        .registry()
        .by_participant(&peer.participant)
        .and_then(|partner| partner.limits.max_concurrent_transfers_count);
    let Some(place) = node.streams.take(&peer.participant, own) else {
        let text = "too many transfers run at once; try again when one has ended";
        let refusal = Refusal::new(RefusalKind::TooMany, text, text, node.fresh().reference);
        return refuse(node, peer, refusal).await;
    };
    let (admitted, lease) = match ask(node, peer, connection, &pid, &token).await {
        Ok(admitted) => admitted,
        Err(Trouble::Refused(refusal)) => return refuse(node, peer, refusal).await,
        Err(Trouble::Store(error)) => {
            tracing::error!(event = "data.not_stored", error = %error);
            return wire::unavailable();
        }
    };
    let Admitted { dataset, .. } = &admitted;
    let reader = match node.objects.reader(&dataset.digests, &dataset.location).await {
        Ok(reader) => reader,
        Err(error) => {
            unreadable(node, dataset, &error).await;
            return wire::unavailable();
        }
    };
    let content = Content {
        media_type: dataset.media_type.clone(),
        file_name: dataset.file_name.clone(),
        digests: dataset.digests.clone(),
        published: dataset.published,
    };
    let again = (Arc::clone(node), peer.clone(), Arc::clone(connection), pid.clone(), token);
    let again = move || {
        let (node, peer, connection, pid, token) = again.clone();
        async move { ask(&node, &peer, &connection, &pid, &token).await.map(|(_, lease)| lease) }
    };
    let delivery = Delivery {
        reader,
        content,
        lease,
        renew: renew(node, &pid, again),
        meters: Arc::clone(&node.meters),
        pace: node.pace(),
        finished: finished(node, &peer.participant, dataset.clone(), place),
    };
    let (method, headers) = (request.method().clone(), request.headers().clone());
    node.metrics.stream(DataDirection::Served, 1);
    match respond(&method, &headers, delivery, |body, ended| connection.cut_when(body, ended)) {
        Ok(response) => response,
        Err(error @ (ServeError::OtherBytes { .. } | ServeError::NotADigest { .. })) => {
            tracing::error!(event = "data.inconsistent", error = %error);
            wire::bare(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// Asks the engine for a permit.
async fn ask(
    node: &Arc<Node>,
    peer: &Peer,
    connection: &Arc<Connection>,
    pid: &Pid,
    token: &str,
) -> Result<(Admitted, Lease), Trouble> {
    let attempted = node.attempts.any(pid);
    let (fresh, peer, pid, token) = (node.fresh(), peer.clone(), pid.clone(), token.to_owned());
    let (committed, permit) = node
        .store
        .admit(Vec::new(), move |view| admit(view, &fresh, &peer, &pid, &token, attempted))
        .await?;
    let admitted = committed.reply?;
    let decided = node.clock.now();
    match permit {
        Some((permit, ending)) => {
            let (node, connection, pid) =
                (Arc::clone(node), Arc::clone(connection), admitted.transfer.pid.clone());
            let ending = async move {
                tokio::select! {
                    reason = ending => reason,
                    reason = disowned(&node, &connection, &pid) => reason,
                }
            };
            Ok((admitted, Lease { permit, decided, ending: ending.boxed() }))
        }
        None => Err(Trouble::Store(engine::StoreError::Closed)),
    }
}

/// Resolves when the certificate of a connection is no longer good: it has run out, was revoked, or its partner's anchors
/// are others now. The stream ends first, and its end is recorded after.
async fn disowned(node: &Arc<Node>, connection: &Arc<Connection>, pid: &Pid) -> EndReason {
    let mut changed = node.trust_changes();
    let error = loop {
        let now = node.clock.now();
        if let Err(error) = connection.judge(&node.identity.trust, now) {
            break error;
        }
        let left = connection.checked().valid_until.duration_since(now);
        // Just past its end: until then it still holds.
        let left = Duration::try_from(left).unwrap_or_default() + Duration::from_millis(1);
        tokio::select! {
            changed = changed.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => {}
        }
    };
    let reason = EndReason {
        external: "the certificate is no longer accepted".to_owned(),
        internal: crate::site::chain(&error),
        terminates: false,
        by_policy: false,
    };
    let (node, pid, cut) = (Arc::clone(node), pid.clone(), reason.clone());
    tokio::spawn(async move {
        let recorded = node.commit(move |view| engine::data::disowned(view, &pid, &cut)).await;
        if let Err(error) = recorded {
            tracing::error!(event = "cut.not_recorded", error = %error);
        }
    });
    reason
}

/// What is done when a request, or a push, has ended.
pub(crate) fn finished(
    node: &Arc<Node>,
    participant: &ParticipantId,
    dataset: engine::entity::Dataset,
    place: Place,
) -> Box<dyn FnOnce(Finished) + Send> {
    let (node, participant) = (Arc::clone(node), participant.clone());
    Box::new(move |finished| {
        drop(place);
        let name = node.partner_name(&participant);
        node.metrics.stream(DataDirection::Served, -1);
        node.metrics.data(&name, DataDirection::Served, finished.bytes);
        match finished.outcome {
            Outcome::Complete | Outcome::Left => {}
            Outcome::Cut(reason) => {
                node.metrics.cut(
                    &name,
                    if reason.by_policy { CutReason::Policy } else { CutReason::Ended },
                );
                tracing::warn!(
                    event = "data.cut",
                    partner = name,
                    dataset = %dataset.id,
                    bytes = finished.bytes,
                    reason = reason.internal,
                );
            }
            Outcome::TooSlow => {
                node.metrics.cut(&name, CutReason::Stalled);
                tracing::warn!(event = "data.stalled", partner = name, dataset = %dataset.id);
            }
            Outcome::Unreadable(error) => {
                tokio::spawn(async move { unreadable(&node, &dataset, &error).await });
            }
        }
    })
}

/// Bytes that are not those published are never served: the dataset is marked, and running transfers of it end.
pub(crate) async fn unreadable(
    node: &Arc<Node>,
    dataset: &engine::entity::Dataset,
    error: &ReadError,
) {
    tracing::error!(event = "dataset.unreadable", dataset = %dataset.id, error = %error);
    if !matches!(error, ReadError::Damaged { .. } | ReadError::NoTree { .. }) {
        return;
    }
    let (fresh, id, published, reason) =
        (node.fresh(), dataset.id.clone(), dataset.published, error.to_string());
    let marked = node
        .decide(move |view| engine::datasets::damaged(view, &fresh, &id, published, &reason))
        .await;
    if let Err(trouble) = marked {
        tracing::error!(event = "dataset.not_marked", dataset = %dataset.id, error = %trouble);
    }
}

/// Serves the provenance of a transfer: token, leaf, proof, checkpoint and chain.
pub(super) async fn provenance(
    node: &Arc<Node>,
    request: Request<Incoming>,
    peer: &Peer,
    pid: &str,
) -> Response<Body> {
    let Ok(pid) = Pid::new(pid) else { return wire::bare(StatusCode::NOT_FOUND) };
    let Some(token) = token_sha256(&request) else { return unauthorized() };
    let (fresh, asking) = (node.fresh(), peer.clone());
    let granted =
        node.decide(move |view| engine::data::granted(view, &fresh, &asking, &pid, &token)).await;
    let granted = match granted {
        Ok(granted) => granted,
        Err(Trouble::Refused(refusal)) => return refuse(node, peer, refusal).await,
        Err(Trouble::Store(_)) => return wire::unavailable(),
    };
    match crate::evidence::bundle(node, &granted).await {
        Ok(bytes) => wire::json(StatusCode::OK, bytes),
        Err(error) if error.is_final() => {
            tracing::error!(event = "provenance.refused", error = %error);
            let text = "this node cannot prove the release: its log of our relation does not continue what it once \
                        signed; its operator has been told";
            let reference = node.fresh().reference;
            let refusal = Refusal::new(RefusalKind::Unproven, text, error.to_string(), reference);
            refuse(node, peer, refusal).await
        }
        Err(error) => {
            tracing::error!(event = "provenance.failed", error = %error);
            wire::unavailable()
        }
    }
}

/// The SHA-256 of the access token that a request carries, with or without `Bearer`.
pub(super) fn token_sha256(request: &Request<Incoming>) -> Option<String> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => value.trim(),
    };
    (!token.is_empty()).then(|| hex::encode(certs::seal::token_digest(token)))
}

pub(super) fn unauthorized() -> Response<Body> {
    let mut response = wire::bare(StatusCode::UNAUTHORIZED);
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
    response
}

async fn refuse(node: &Arc<Node>, peer: &Peer, refusal: Refusal) -> Response<Body> {
    refuse_as(node, peer, refusal, "data").await
}

/// A refusal in the words of the data endpoints: what is gone for good is 403 or 404, so that a client stops asking.
pub(super) async fn refuse_as(
    node: &Arc<Node>,
    peer: &Peer,
    refusal: Refusal,
    request: &'static str,
) -> Response<Body> {
    let refusal = node.refusals.record(peer, refusal, request).await;
    let mut response = wire::refused(&refusal, &wire::Shape::Transfer(None));
    if matches!(
        refusal.kind,
        RefusalKind::Policy | RefusalKind::AgreementEnded | RefusalKind::IllegalState
    ) {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

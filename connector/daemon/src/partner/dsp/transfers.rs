//! Transfer processes over HTTPS.

use std::sync::Arc;

use engine::entity::Source;
use engine::refusal::{Refusal, RefusalKind};
use engine::transfer::{Answer, Prepared};
use engine::{Peer, transfer};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use protocol::id::Pid;
use protocol::message::{
    self, DataAddress, Pids, TransferProcess, TransferRequestMessage, TransferStartMessage,
};

use super::{
    Outcome, STATUS_WAIT, boxed, failed, first, inbound, invalid, not_found, pids_of, read,
};
use crate::net::Body;
use crate::node::Node;
use crate::transfers;
use crate::wire::{self, Shape};

/// How often a transfer request is decided again because its facts changed while they were signed.
const PREPARE_ROUNDS: usize = 4;

pub(super) async fn transfer_request(
    node: &Arc<Node>,
    request: Request<Incoming>,
    peer: &Peer,
) -> Outcome {
    let incoming: message::Incoming<TransferRequestMessage> =
        read(node, peer, request, &Shape::Transfer(None)).await?;
    let shape = Shape::Unknown { consumer: incoming.message.consumer_pid.clone(), transfer: true };
    node.check_owing(&peer.participant).map_err(|refusal| failed(refusal, shape.clone()))?;
    let (asked, inbound) = first(incoming);
    let fresh = node.fresh();
    // Our process id of it, if it begins: what the secret of its data address is bound to.
    let pid = Pid::from_uuid(fresh.process);
    let address = asked.data_address.as_ref().filter(|_| asked.format == transfer::HTTP_PUSH);
    let target = source(node, &pid, address).map_err(|refusal| failed(refusal, shape.clone()))?;
    let mut prepared: Option<Prepared> = None;
    for _ in 0..PREPARE_ROUNDS {
        let (context, asking, inbound, message, target, ready) = (
            Arc::clone(&node.context),
            peer.clone(),
            inbound.clone(),
            asked.clone(),
            target.clone(),
            prepared.take(),
        );
        let answer = node
            .decide(move |view| {
                transfer::receive_request(
                    view,
                    &context,
                    &fresh,
                    &asking,
                    &message,
                    target.as_ref(),
                    &inbound,
                    ready.as_ref(),
                )
            })
            .await
            .map_err(|trouble| boxed(trouble, &shape))?;
        match answer {
            Answer::Status(status) => {
                crate::witness::later(node, &peer.participant);
                return Ok(transfer_answer(StatusCode::CREATED, status));
            }
            Answer::Prepare(facts) => {
                let signed = transfers::prepare(node, *facts);
                prepared = Some(signed.map_err(|refusal| failed(refusal, shape.clone()))?);
            }
        }
    }
    let text = "the dataset or its agreement changes too often; try again";
    let refusal = Refusal::new(RefusalKind::Unavailable, text, text, fresh.reference);
    Err(failed(refusal, shape))
}

pub(super) async fn transfer_status(node: &Arc<Node>, peer: &Peer, pid: &str) -> Outcome {
    let shape = Shape::Transfer(None);
    let Ok(pid) = Pid::new(pid) else { return Err(failed(not_found(node), shape)) };
    let ask = || {
        let (fresh, peer, pid) = (node.fresh(), peer.clone(), pid.clone());
        node.decide(move |view| transfer::status(view, &fresh, &peer, &pid))
    };
    let mut changed = node.store.subscribe(engine::Key::Transfer(pid.clone()));
    let mut status = ask().await.map_err(|trouble| boxed(trouble, &shape))?;
    if status.pending && node.attempts.any(&pid) {
        let _ = tokio::time::timeout(STATUS_WAIT, changed.changed()).await;
        status = ask().await.map_err(|trouble| boxed(trouble, &shape))?;
    }
    Ok(transfer_answer(StatusCode::OK, status))
}

fn transfer_answer(code: StatusCode, status: transfer::Status) -> Response<Body> {
    match pids_of(status.consumer_pid, status.provider_pid) {
        Some(pids) => {
            let process = TransferProcess { pids, state: status.state.on_wire() };
            wire::message(code, &process)
        }
        None => wire::bare(StatusCode::NOT_FOUND),
    }
}

pub(super) async fn transfer_start(
    node: &Arc<Node>,
    request: Request<Incoming>,
    peer: &Peer,
    pid: &Pid,
) -> Outcome {
    let shape = Shape::Transfer(None);
    let incoming: message::Incoming<TransferStartMessage> =
        read(node, peer, request, &shape).await?;
    let source = source(node, pid, incoming.message.data_address.as_ref())
        .map_err(|refusal| failed(refusal, shape))?;
    let incoming = incoming.map(|start| (start.pids, transfer::Message::Start(source)));
    transferring(node, peer, pid, incoming).await
}

/// A partner's data address as it is kept: with its secret sealed.
fn source(
    node: &Node,
    pid: &Pid,
    address: Option<&DataAddress>,
) -> Result<Option<Source>, Refusal> {
    let Some(address) = address else { return Ok(None) };
    let sealed_token = match address.authorization() {
        None => None,
        Some(token) => Some(
            transfers::seal(node, pid, token)
                .ok_or_else(|| invalid(node, "the access token cannot be kept"))?,
        ),
    };
    let endpoint = address.endpoint().map(str::to_owned);
    Ok(endpoint.map(|endpoint| Source { endpoint, sealed_token }))
}

pub(super) async fn transferring(
    node: &Arc<Node>,
    peer: &Peer,
    pid: &Pid,
    incoming: message::Incoming<(Pids, transfer::Message)>,
) -> Outcome {
    let ((pids, message), inbound) = inbound(incoming, node.attempts.any(pid));
    let shape = Shape::Transfer(Some(pids.clone()));
    let (context, fresh, asking) = (Arc::clone(&node.context), node.fresh(), peer.clone());
    let site = node.identity.site.load();
    let (pid, ended) = (pid.clone(), !matches!(message, transfer::Message::Start(_)));
    if ended {
        // The transfer may close now: what it was served is recorded before.
        crate::node::record_served(node).await;
    }
    node.decide(move |view| {
        let next_token =
            |pid: &Pid, generation: u32| transfers::token_sha256(&site, pid, generation);
        transfer::receive(
            view, &context, &fresh, &asking, &pid, &pids, &message, &inbound, next_token,
        )
    })
    .await
    .map_err(|trouble| boxed(trouble, &shape))?;
    if ended {
        crate::witness::later(node, &peer.participant);
    }
    Ok(wire::bare(StatusCode::OK))
}

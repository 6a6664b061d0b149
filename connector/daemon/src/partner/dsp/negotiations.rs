//! Contract negotiations over HTTPS.

use std::sync::Arc;

use engine::{Key, Peer, negotiation};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use protocol::id::Pid;
use protocol::message::{
    self, ContractNegotiation, ContractOfferMessage, ContractRequestMessage, Pids,
};

use super::{Outcome, STATUS_WAIT, boxed, failed, first, inbound, not_found, pids_of, read};
use crate::net::Body;
use crate::node::Node;
use crate::wire::{self, Shape};

pub(super) async fn negotiation_request(
    node: &Arc<Node>,
    request: Request<Incoming>,
    peer: &Peer,
) -> Outcome {
    let incoming: message::Incoming<ContractRequestMessage> =
        read(node, peer, request, &Shape::Negotiation(None)).await?;
    let shape = Shape::Unknown { consumer: incoming.message.consumer_pid.clone(), transfer: false };
    node.check_owing(&peer.participant).map_err(|refusal| failed(refusal, shape.clone()))?;
    let (asked, inbound) = first(incoming);
    let (context, fresh, asking) = (Arc::clone(&node.context), node.fresh(), peer.clone());
    let needed = vec![
        Key::PeerProcess(peer.participant.clone(), asked.consumer_pid.clone()),
        Key::Dataset(asked.offer.target().clone()),
    ];
    let status = node
        .decide_with(needed, move |view| {
            negotiation::receive_request(view, &context, &fresh, &asking, &asked, &inbound)
        })
        .await
        .map_err(|trouble| boxed(trouble, &shape))?;
    crate::witness::later(node, &peer.participant);
    Ok(negotiation_answer(StatusCode::CREATED, status))
}

/// An offer that begins a negotiation: nobody here asked for it.
pub(super) async fn negotiation_offer(
    node: &Arc<Node>,
    request: Request<Incoming>,
    peer: &Peer,
) -> Outcome {
    let incoming: message::Incoming<ContractOfferMessage> =
        read(node, peer, request, &Shape::Negotiation(None)).await?;
    let provider = incoming.message.provider_pid.clone();
    let shape = Shape::Negotiation(Some(Pids { consumer: provider.clone(), provider }));
    node.check_owing(&peer.participant).map_err(|refusal| failed(refusal, shape.clone()))?;
    let (offered, inbound) = first(incoming);
    let (context, fresh, asking) = (Arc::clone(&node.context), node.fresh(), peer.clone());
    let status = node
        .decide(move |view| {
            negotiation::receive_offer(view, &context, &fresh, &asking, &offered, &inbound)
        })
        .await
        .map_err(|trouble| boxed(trouble, &shape))?;
    Ok(negotiation_answer(StatusCode::CREATED, status))
}

pub(super) async fn negotiation_status(node: &Arc<Node>, peer: &Peer, pid: &str) -> Outcome {
    let shape = Shape::Negotiation(None);
    let Ok(pid) = Pid::new(pid) else { return Err(failed(not_found(node), shape)) };
    let ask = || {
        let (fresh, peer, pid) = (node.fresh(), peer.clone(), pid.clone());
        node.decide(move |view| negotiation::status(view, &fresh, &peer, &pid))
    };
    let mut changed = node.store.subscribe(engine::Key::Negotiation(pid.clone()));
    let mut status = ask().await.map_err(|trouble| boxed(trouble, &shape))?;
    if status.pending && node.attempts.any(&pid) {
        let _ = tokio::time::timeout(STATUS_WAIT, changed.changed()).await;
        status = ask().await.map_err(|trouble| boxed(trouble, &shape))?;
    }
    Ok(negotiation_answer(StatusCode::OK, status))
}

fn negotiation_answer(code: StatusCode, status: negotiation::Status) -> Response<Body> {
    match pids_of(status.consumer_pid, status.provider_pid) {
        Some(pids) => wire::message(code, &ContractNegotiation { pids, state: status.state }),
        None => wire::bare(StatusCode::NOT_FOUND),
    }
}

pub(super) async fn negotiating(
    node: &Arc<Node>,
    peer: &Peer,
    pid: &Pid,
    incoming: message::Incoming<(Pids, negotiation::Message)>,
) -> Outcome {
    let ((pids, message), inbound) = inbound(incoming, node.attempts.any(pid));
    let shape = Shape::Negotiation(Some(pids.clone()));
    let (context, fresh, asking) = (Arc::clone(&node.context), node.fresh(), peer.clone());
    let finalized = matches!(message, negotiation::Message::Finalized);
    let needed = match &message {
        negotiation::Message::Agreement(agreed) => vec![Key::Agreement(agreed.id().clone())],
        _ => Vec::new(),
    };
    let pid = pid.clone();
    node.decide_with(needed, move |view| {
        negotiation::receive(view, &context, &fresh, &asking, &pid, &pids, &message, &inbound)
    })
    .await
    .map_err(|trouble| boxed(trouble, &shape))?;
    if finalized {
        crate::witness::later(node, &peer.participant);
    }
    Ok(wire::bare(StatusCode::OK))
}

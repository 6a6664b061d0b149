//! The exchange of checkpoints, asked for by a partner.

use std::sync::Arc;

use engine::Peer;
use engine::refusal::{Refusal, RefusalKind};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::net::Body;
use crate::node::Node;
use crate::wire;
use crate::witness::{self, EXCHANGE_BYTES_MAX, WitnessError};

/// Answers a partner's checkpoint with ours.
pub(super) async fn exchange(
    node: &Arc<Node>,
    request: Request<Incoming>,
    peer: &Peer,
) -> Response<Body> {
    let body = match super::read(node, peer, request, EXCHANGE_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => {
            let refusal = super::unreadable(node, &error);
            let refusal = node.refusals.record(peer, refusal, "checkpoint").await;
            return wire::refused(&refusal, &wire::Shape::Catalog);
        }
    };
    let (fresh, asking) = (node.fresh(), peer.clone());
    let admitted = node.decide(move |view| engine::catalog::admit(view, &fresh, &asking)).await;
    match admitted {
        Ok(_) => {}
        Err(wire::Trouble::Refused(refusal)) => {
            let refusal = node.refusals.record(peer, refusal, "checkpoint").await;
            return wire::refused(&refusal, &wire::Shape::Catalog);
        }
        Err(wire::Trouble::Store(_)) => return wire::unavailable(),
    }
    match witness::answer(node, &peer.participant, &body).await {
        Ok(exchange) => {
            wire::json(StatusCode::OK, serde_json::to_vec(&exchange).unwrap_or_default())
        }
        Err(WitnessError::Refused(reason)) => refuse(node, peer, &reason).await,
        Err(error) if error.is_final() => {
            tracing::error!(event = "checkpoint.refused", partner = %peer.participant, error = %error);
            let text = "no checkpoint is signed for this relation until an operator has acted";
            let reference = node.fresh().reference;
            let refusal = Refusal::new(RefusalKind::Unproven, text, error.to_string(), reference);
            let refusal = node.refusals.record(peer, refusal, "checkpoint").await;
            wire::refused(&refusal, &wire::Shape::Catalog)
        }
        Err(error) => {
            tracing::error!(event = "checkpoint.failed", partner = %peer.participant, error = %error);
            wire::unavailable()
        }
    }
}

async fn refuse(node: &Arc<Node>, peer: &Peer, reason: &str) -> Response<Body> {
    let refusal = Refusal::new(RefusalKind::Invalid, reason, reason, node.fresh().reference);
    let refusal = node.refusals.record(peer, refusal, "checkpoint").await;
    wire::refused(&refusal, &wire::Shape::Catalog)
}

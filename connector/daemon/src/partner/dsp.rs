//! DSP 2025-1 over HTTPS: each message parsed, decided, answered.

mod catalog;
mod negotiations;
mod transfers;

use std::sync::Arc;
use std::time::Duration;

use engine::process::Inbound;
use engine::refusal::{Refusal, RefusalKind};
use engine::{Peer, negotiation, transfer};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use protocol::id::Pid;
use protocol::message::{
    self, ContractAgreementMessage, ContractAgreementVerificationMessage,
    ContractNegotiationEventMessage, ContractNegotiationTerminationMessage, ContractOfferMessage,
    ContractRequestMessage, NegotiationEvent, Pids, TransferCompletionMessage,
    TransferSuspensionMessage, TransferTerminationMessage, VersionResponse,
};
use tokio::time::Instant;

use self::negotiations::{negotiating, negotiation_offer, negotiation_request, negotiation_status};
use self::transfers::{transfer_request, transfer_start, transfer_status, transferring};
use super::Route;
use crate::net::Body;
use crate::node::Node;
use crate::wire::{self, Shape, Trouble};

/// How long a status request waits for an attempt in flight.
const STATUS_WAIT: Duration = Duration::from_millis(500);

/// An answer, or what is wrong and in which shape to say it.
type Outcome = Result<Response<Body>, Box<Failure>>;

/// A request that is not done.
struct Failure {
    trouble: Trouble,
    shape: Shape,
}

/// The versions that this node speaks.
pub(super) fn version() -> Response<Body> {
    wire::json(StatusCode::OK, VersionResponse::current(wire::DSP).to_json().to_string())
}

/// Answers a request to one of the DSP endpoints, in the media type that it asks for.
pub(super) async fn answer(
    node: &Arc<Node>,
    route: Route,
    request: Request<Incoming>,
    peer: &Peer,
    segment: Option<&str>,
) -> Response<Body> {
    let accepted = request.headers().get_all(header::ACCEPT).iter();
    let accepted = accepted.map(|value| (header::ACCEPT, value.clone())).collect::<HeaderMap>();
    wire::as_asked(&accepted, answer_plainly(node, route, request, peer, segment).await)
}

async fn answer_plainly(
    node: &Arc<Node>,
    route: Route,
    request: Request<Incoming>,
    peer: &Peer,
    segment: Option<&str>,
) -> Response<Body> {
    let name = name_of(route);
    let outcome = match (request.method(), segment) {
        (&Method::GET | &Method::POST, None) if route == Route::CatalogRequest => {
            catalog::page(node, request, peer).await
        }
        (&Method::GET, Some(segment)) => get(node, route, peer, segment).await,
        (&Method::POST, None) => post(node, route, request, peer).await,
        (&Method::POST, Some(segment)) => match Pid::new(segment) {
            Ok(pid) => post_to(node, route, request, peer, &pid).await,
            Err(_) => return wire::bare(StatusCode::NOT_FOUND),
        },
        _ => return wire::bare(StatusCode::NOT_FOUND),
    };
    match outcome {
        Ok(response) => response,
        Err(failure) => match failure.trouble {
            Trouble::Refused(refusal) => {
                let refusal = node.refusals.record(peer, refusal, name).await;
                wire::refused(&refusal, &failure.shape.with_reference(&refusal.reference))
            }
            Trouble::Store(error) => {
                tracing::error!(event = "request.not_stored", request = name, error = %error);
                wire::unavailable()
            }
        },
    }
}

async fn get(node: &Arc<Node>, route: Route, peer: &Peer, segment: &str) -> Outcome {
    match route {
        Route::Dataset => catalog::dataset(node, peer, segment).await,
        Route::Negotiation => negotiation_status(node, peer, segment).await,
        Route::Transfer => transfer_status(node, peer, segment).await,
        _ => Ok(wire::bare(StatusCode::NOT_FOUND)),
    }
}

async fn post(node: &Arc<Node>, route: Route, request: Request<Incoming>, peer: &Peer) -> Outcome {
    match route {
        Route::NegotiationRequest => negotiation_request(node, request, peer).await,
        Route::NegotiationOffers => negotiation_offer(node, request, peer).await,
        Route::TransferRequest => transfer_request(node, request, peer).await,
        _ => Ok(wire::bare(StatusCode::NOT_FOUND)),
    }
}

async fn post_to(
    node: &Arc<Node>,
    route: Route,
    request: Request<Incoming>,
    peer: &Peer,
    pid: &Pid,
) -> Outcome {
    use negotiation::Message as Negotiating;
    use transfer::Message as Transferring;
    let shape = Shape::Negotiation(None);
    match route {
        Route::CounterRequest => {
            let incoming: message::Incoming<ContractRequestMessage> =
                read(node, peer, request, &shape).await?;
            let message::RequestStage::Counter { provider_pid } = incoming.message.stage.clone()
            else {
                return Err(failed(invalid(node, "providerPid is missing"), shape));
            };
            let pids =
                Pids { consumer: incoming.message.consumer_pid.clone(), provider: provider_pid };
            let incoming =
                incoming.map(|counter| (pids, Negotiating::CounterRequest(Box::new(counter))));
            negotiating(node, peer, pid, incoming).await
        }
        Route::CounterOffer => {
            let incoming: message::Incoming<ContractOfferMessage> =
                read(node, peer, request, &shape).await?;
            let message::OfferStage::Counter { consumer_pid } = incoming.message.stage.clone()
            else {
                return Err(failed(invalid(node, "consumerPid is missing"), shape));
            };
            let pids =
                Pids { consumer: consumer_pid, provider: incoming.message.provider_pid.clone() };
            let incoming =
                incoming.map(|counter| (pids, Negotiating::CounterOffer(Box::new(counter.offer))));
            negotiating(node, peer, pid, incoming).await
        }
        Route::Events => {
            let incoming: message::Incoming<ContractNegotiationEventMessage> =
                read(node, peer, request, &shape).await?;
            let incoming = incoming.map(|event| {
                let message = match event.event {
                    NegotiationEvent::Accepted => Negotiating::Accepted,
                    NegotiationEvent::Finalized => Negotiating::Finalized,
                };
                (event.pids, message)
            });
            negotiating(node, peer, pid, incoming).await
        }
        Route::Agreement => {
            let incoming: message::Incoming<ContractAgreementMessage> =
                read(node, peer, request, &shape).await?;
            let incoming = incoming.map(|agreed| {
                for clause in &agreed.not_honoured {
                    let (participant, id) = (&peer.participant, agreed.agreement.id());
                    tracing::warn!(
                        event = "agreement.not_honoured",
                        participant = participant.as_str(),
                        agreement = id.as_str(),
                        clause,
                        "the provider does not honour a clause of the agreement"
                    );
                }
                (agreed.pids, Negotiating::Agreement(agreed.agreement))
            });
            negotiating(node, peer, pid, incoming).await
        }
        Route::Verification => {
            let incoming: message::Incoming<ContractAgreementVerificationMessage> =
                read(node, peer, request, &shape).await?;
            let incoming = incoming.map(|verified| (verified.pids, Negotiating::Verification));
            negotiating(node, peer, pid, incoming).await
        }
        Route::NegotiationTermination => {
            let incoming: message::Incoming<ContractNegotiationTerminationMessage> =
                read(node, peer, request, &shape).await?;
            let incoming =
                incoming.map(|ended| (ended.pids, Negotiating::Termination(ended.explanation)));
            negotiating(node, peer, pid, incoming).await
        }
        Route::TransferStart => transfer_start(node, request, peer, pid).await,
        Route::TransferSuspension => {
            let incoming: message::Incoming<TransferSuspensionMessage> =
                read(node, peer, request, &Shape::Transfer(None)).await?;
            let incoming =
                incoming.map(|held| (held.pids, Transferring::Suspension(held.explanation)));
            transferring(node, peer, pid, incoming).await
        }
        Route::TransferCompletion => {
            let incoming: message::Incoming<TransferCompletionMessage> =
                read(node, peer, request, &Shape::Transfer(None)).await?;
            let incoming = incoming.map(|done| (done.pids, Transferring::Completion));
            transferring(node, peer, pid, incoming).await
        }
        Route::TransferTermination => {
            let incoming: message::Incoming<TransferTerminationMessage> =
                read(node, peer, request, &Shape::Transfer(None)).await?;
            let incoming =
                incoming.map(|ended| (ended.pids, Transferring::Termination(ended.explanation)));
            transferring(node, peer, pid, incoming).await
        }
        _ => Ok(wire::bare(StatusCode::NOT_FOUND)),
    }
}

/// Both process ids; where the partner's is not known yet, ours stands for both.
fn pids_of(consumer: Option<Pid>, provider: Option<Pid>) -> Option<Pids> {
    match (consumer, provider) {
        (Some(consumer), Some(provider)) => Some(Pids { consumer, provider }),
        (Some(pid), None) | (None, Some(pid)) => {
            Some(Pids { consumer: pid.clone(), provider: pid })
        }
        (None, None) => None,
    }
}

/// Reads a message of the type that belongs to the path.
async fn read<T: message::Message>(
    node: &Node,
    peer: &Peer,
    request: Request<Incoming>,
    shape: &Shape,
) -> Result<message::Incoming<T>, Box<Failure>> {
    let limits = node.json_limits();
    let declared =
        request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // Case makes no difference (RFC 9110, 8.3.1).
    let essence =
        declared.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if !matches!(essence.as_deref(), None | Some("application/json" | wire::JSON_LD)) {
        let text = "the body must be application/json or application/ld+json";
        return Err(failed(invalid(node, text), shape.clone()));
    }
    let body = super::read(node, peer, request, limits.max_bytes)
        .await
        .map_err(|error| failed(super::unreadable(node, &error), shape.clone()))?;
    node.intake.take(&peer.participant, body.len(), Instant::now()).map_err(|beyond| {
        let (text, reference) = (beyond.to_string(), node.fresh().reference);
        let internal = format!("{text} (partner_listener.max_message_bytes_per_partner_per_hour)");
        failed(Refusal::new(RefusalKind::TooMany, text, internal, reference), shape.clone())
    })?;
    message::parse(&body, &limits)
        .map_err(|error| failed(invalid(node, &error.to_string()), shape.clone()))
}

/// What a message that begins a process says, and what recognises its repeat, under a new `@id` too.
fn first<T>(incoming: message::Incoming<T>) -> (T, Inbound) {
    let (message, mut inbound) = inbound(incoming, false);
    let mut content = inbound.text.clone();
    if let Some(members) = content.as_object_mut() {
        members.remove("@id");
    }
    inbound.content = protocol::json::content_digest(&content).map(hex::encode).unwrap_or_default();
    (message, inbound)
}

/// What a message in a process says, and what recognises its repeat.
fn inbound<T>(incoming: message::Incoming<T>, attempted: bool) -> (T, Inbound) {
    let message::Incoming { message_id, digest, message, document } = incoming;
    let inbound = Inbound {
        id: message_id,
        digest: hex::encode(digest),
        content: String::new(),
        text: document,
        attempted,
    };
    (message, inbound)
}

fn invalid(node: &Node, text: &str) -> Refusal {
    Refusal::new(RefusalKind::Invalid, text, text, node.fresh().reference)
}

fn not_found(node: &Node) -> Refusal {
    Refusal::new(RefusalKind::NotFound, "not found", "not an identifier", node.fresh().reference)
}

fn failed(refusal: Refusal, shape: Shape) -> Box<Failure> {
    Box::new(Failure { trouble: Trouble::Refused(refusal), shape })
}

fn boxed(trouble: Trouble, shape: &Shape) -> Box<Failure> {
    Box::new(Failure { trouble, shape: shape.clone() })
}

fn name_of(route: Route) -> &'static str {
    match route {
        Route::Version => "version",
        Route::CatalogRequest => "CatalogRequestMessage",
        Route::Dataset => "dataset",
        Route::NegotiationRequest | Route::CounterRequest => "ContractRequestMessage",
        Route::NegotiationOffers | Route::CounterOffer => "ContractOfferMessage",
        Route::Negotiation => "negotiation status",
        Route::Events => "ContractNegotiationEventMessage",
        Route::Agreement => "ContractAgreementMessage",
        Route::Verification => "ContractAgreementVerificationMessage",
        Route::NegotiationTermination => "ContractNegotiationTerminationMessage",
        Route::TransferRequest => "TransferRequestMessage",
        Route::Transfer => "transfer status",
        Route::TransferStart => "TransferStartMessage",
        Route::TransferSuspension => "TransferSuspensionMessage",
        Route::TransferCompletion => "TransferCompletionMessage",
        Route::TransferTermination => "TransferTerminationMessage",
        Route::Data => "data",
        Route::Provenance => "provenance",
        Route::Upload | Route::UploadProvenance => "upload",
        Route::Checkpoint => "checkpoint",
    }
}

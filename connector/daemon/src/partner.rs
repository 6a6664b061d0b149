//! The partner listener's requests: DSP, data, checkpoints.

mod checkpoint;
pub mod cursor;
pub(crate) mod data;
mod dsp;
mod intake;
mod places;
mod unread;
mod upload;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engine::Peer;
use engine::refusal::RefusalKind;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use protocol::id::ParticipantId;
use protocol::path;
use tracing::Instrument as _;

use crate::net::{Body, BodyError, Connection, Gate, Refusal, discard, head_bytes, read_body};
use crate::node::Node;
use crate::telemetry::{HandshakeOutcome, RequestKind, StatusClass};
use crate::wire;

pub use intake::Intake;
pub use places::{Place, Places};
pub use unread::{TooMuch, Unread};

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Version,
    CatalogRequest,
    Dataset,
    NegotiationRequest,
    NegotiationOffers,
    Negotiation,
    CounterRequest,
    CounterOffer,
    Events,
    Agreement,
    Verification,
    NegotiationTermination,
    TransferRequest,
    Transfer,
    TransferStart,
    TransferSuspension,
    TransferCompletion,
    TransferTermination,
    Data,
    Provenance,
    Upload,
    UploadProvenance,
    Checkpoint,
}

impl Route {
    /// The methods that it knows. A page of a catalog that a link names is read with GET.
    fn methods(self) -> &'static [Method] {
        match self {
            Self::CatalogRequest => &[Method::GET, Method::POST],
            Self::Version
            | Self::Dataset
            | Self::Negotiation
            | Self::Transfer
            | Self::Provenance => &[Method::GET],
            Self::Data => &[Method::GET, Method::HEAD],
            Self::Upload => &[Method::HEAD, Method::PUT],
            Self::UploadProvenance => &[Method::PUT],
            Self::NegotiationRequest
            | Self::NegotiationOffers
            | Self::CounterRequest
            | Self::CounterOffer
            | Self::Events
            | Self::Agreement
            | Self::Verification
            | Self::NegotiationTermination
            | Self::TransferRequest
            | Self::TransferStart
            | Self::TransferSuspension
            | Self::TransferCompletion
            | Self::TransferTermination
            | Self::Checkpoint => &[Method::POST],
        }
    }
}

impl Route {
    /// The protocol's error body of a request that was not looked at.
    fn shape(self) -> wire::Shape {
        match self {
            Self::CatalogRequest | Self::Dataset => wire::Shape::Catalog,
            Self::NegotiationRequest
            | Self::NegotiationOffers
            | Self::Negotiation
            | Self::CounterRequest
            | Self::CounterOffer
            | Self::Events
            | Self::Agreement
            | Self::Verification
            | Self::NegotiationTermination => wire::Shape::Negotiation(None),
            _ => wire::Shape::Transfer(None),
        }
    }
}

/// Answers partners.
pub struct Partners {
    node: Arc<Node>,
    routes: matchit::Router<Route>,
}

impl Partners {
    /// Answers for this node.
    ///
    /// # Errors
    /// When two paths contradict each other, which the table below rules out.
    pub fn new(node: Arc<Node>) -> Result<Self, matchit::InsertError> {
        let mut routes = matchit::Router::new();
        routes.insert(path::VERSION, Route::Version)?;
        let dsp = [
            (path::CATALOG_REQUEST, Route::CatalogRequest),
            (path::DATASET, Route::Dataset),
            (path::NEGOTIATION_REQUEST, Route::NegotiationRequest),
            (path::NEGOTIATION_OFFERS, Route::NegotiationOffers),
            (path::NEGOTIATION, Route::Negotiation),
            (path::NEGOTIATION_COUNTER_REQUEST, Route::CounterRequest),
            (path::NEGOTIATION_COUNTER_OFFER, Route::CounterOffer),
            (path::NEGOTIATION_EVENTS, Route::Events),
            (path::NEGOTIATION_AGREEMENT, Route::Agreement),
            (path::NEGOTIATION_VERIFICATION, Route::Verification),
            (path::NEGOTIATION_TERMINATION, Route::NegotiationTermination),
            (path::TRANSFER_REQUEST, Route::TransferRequest),
            (path::TRANSFER, Route::Transfer),
            (path::TRANSFER_START, Route::TransferStart),
            (path::TRANSFER_SUSPENSION, Route::TransferSuspension),
            (path::TRANSFER_COMPLETION, Route::TransferCompletion),
            (path::TRANSFER_TERMINATION, Route::TransferTermination),
        ];
        for (template, route) in dsp {
            // A trailing slash makes no difference (DSP 2025-1, HTTPS bindings).
            routes.insert(format!("{}{template}", wire::DSP), route)?;
            routes.insert(format!("{}{template}/", wire::DSP), route)?;
        }
        routes.insert(format!("{}/{{pid}}", wire::DATA), Route::Data)?;
        routes.insert(format!("{}/{{pid}}/provenance", wire::DATA), Route::Provenance)?;
        routes.insert(format!("{}/{{pid}}/upload", wire::DATA), Route::Upload)?;
        routes
            .insert(format!("{}/{{pid}}/upload/provenance", wire::DATA), Route::UploadProvenance)?;
        routes.insert(wire::CHECKPOINT, Route::Checkpoint)?;
        Ok(Self { node, routes })
    }

    /// Answers one request.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Body> {
        let Ok(peer) = self.node.peer(&connection) else {
            return wire::bare(StatusCode::FORBIDDEN);
        };
        let target = request.uri().path().to_owned();
        let Ok(matched) = self.routes.at(&target) else {
            return wire::bare(StatusCode::NOT_FOUND);
        };
        let route = *matched.value;
        let segment = matched.params.iter().next().map(|(_, value)| decode(value));
        // Version discovery is answered at once, and has no error body.
        let bytes = if route == Route::Version { 0 } else { head_bytes(&request) };
        let head = self.node.unread.hold_head(&peer.participant, bytes);
        if let Err(beyond) = &head {
            let (text, reference) = (beyond.to_string(), self.node.fresh().reference);
            let refusal = engine::Refusal::new(RefusalKind::TooMany, text.clone(), text, reference);
            let refusal = self.node.refusals.record(&peer, refusal, "request").await;
            return wire::refused(&refusal, &route.shape());
        }
        let started = std::time::Instant::now();
        let method = request.method().clone();
        let span = tracing::info_span!(
            "partner request",
            otel.kind = "server",
            http.request.method = %method,
            partner = %peer.participant,
            route = ?route,
            http.response.status_code = tracing::field::Empty,
        );
        let answered = async {
            match (route, segment) {
                (_, Some(None)) => wire::bare(StatusCode::NOT_FOUND),
                (route, _) if !route.methods().contains(&method) => {
                    wire::not_allowed(route.methods())
                }
                (Route::Data, Some(Some(pid))) => {
                    data::serve(&self.node, request, &peer, &connection, &pid).await
                }
                (Route::Provenance, Some(Some(pid))) => {
                    data::provenance(&self.node, request, &peer, &pid).await
                }
                (Route::Upload, Some(Some(pid))) => {
                    upload::bytes(&self.node, request, &peer, &pid).await
                }
                (Route::UploadProvenance, Some(Some(pid))) => {
                    upload::provenance(&self.node, request, &peer, &pid).await
                }
                (Route::Checkpoint, _) => checkpoint::exchange(&self.node, request, &peer).await,
                (Route::Version, _) => dsp::version(),
                (route, segment) => {
                    dsp::answer(&self.node, route, request, &peer, segment.flatten().as_deref())
                        .await
                }
            }
        };
        let response = answered.instrument(span.clone()).await;
        span.record("http.response.status_code", response.status().as_u16());
        self.count(&peer, route, response.status(), started);
        response
    }

    fn count(&self, peer: &Peer, route: Route, status: StatusCode, started: std::time::Instant) {
        let kind = match route {
            Route::Version => RequestKind::Version,
            Route::CatalogRequest | Route::Dataset => RequestKind::Catalog,
            Route::Data | Route::Upload => RequestKind::Data,
            Route::Provenance | Route::UploadProvenance | Route::Checkpoint => RequestKind::Own,
            Route::TransferRequest
            | Route::Transfer
            | Route::TransferStart
            | Route::TransferSuspension
            | Route::TransferCompletion
            | Route::TransferTermination => RequestKind::Transfer,
            _ => RequestKind::Negotiation,
        };
        let name = self.node.partner_name(&peer.participant);
        self.node.metrics.request(&name, kind, StatusClass::from(status), started.elapsed());
    }
}

/// The most that is taken and dropped of a message that is too large, and for how long.
const DISCARD_BYTES: usize = 1024 * 1024;
const DISCARD_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// Reads a message whole. The sender of one that is too large is let finish, within bounds, so that it hears so.
async fn read(
    node: &Node,
    peer: &Peer,
    request: Request<Incoming>,
    max_bytes: usize,
) -> Result<Bytes, BodyError> {
    // Whoever asks first sends nothing before it has an answer (RFC 9110, 10.1.1).
    let asks_first = request.headers().contains_key(http::header::EXPECT);
    let mut body = request.into_body();
    let measured = node.unread.measure(&peer.participant, &mut body);
    let outcome = read_body(measured, max_bytes, node.pace()).await;
    if matches!(outcome, Err(BodyError::TooLarge { .. })) && !asks_first {
        discard(&mut body, DISCARD_BYTES, DISCARD_TIME).await;
    }
    outcome
}

/// What a body that is not read means to its sender.
fn unreadable(node: &Node, error: &BodyError) -> engine::Refusal {
    let (kind, text) = match error {
        BodyError::TooLarge { .. } => (RefusalKind::TooLarge, error.to_string()),
        BodyError::Broken { source, .. } => match source.downcast_ref::<TooMuch>() {
            Some(beyond) => (RefusalKind::TooMany, beyond.to_string()),
            None => (RefusalKind::Invalid, error.to_string()),
        },
        BodyError::TooSlow { .. } | BodyError::Encoding { .. } => {
            (RefusalKind::Invalid, error.to_string())
        }
    };
    engine::Refusal::new(kind, text.clone(), text, node.fresh().reference)
}

fn outcome_of(refusal: &Refusal) -> HandshakeOutcome {
    match refusal {
        Refusal::HandshakeTimeout(_) => HandshakeOutcome::TimedOut,
        Refusal::Handshake(_) | Refusal::NoTime(_) => HandshakeOutcome::Failed,
        Refusal::Identity(_) | Refusal::Network { .. } => HandshakeOutcome::Refused,
        Refusal::PartnerConnections { .. }
        | Refusal::Connections { .. }
        | Refusal::Displaced { .. }
        | Refusal::Handshakes { .. } => HandshakeOutcome::TooMany,
    }
}

/// A path segment's identifier; `None` where it is not UTF-8.
fn decode(segment: &str) -> Option<String> {
    percent_encoding::percent_decode_str(segment).decode_utf8().ok().map(Into::into)
}

/// What the node says about connections.
pub struct Entrance {
    node: Arc<Node>,
    turned_away: Mutex<HashMap<IpAddr, std::time::Instant>>,
}

impl Entrance {
    /// Speaks for this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, turned_away: Mutex::default() }
    }
}

/// How often turned away connections of one address are logged.
const LOG_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);
/// How many addresses are remembered for that.
const LOGGED_ADDRESSES: usize = 1024;

impl Gate for Entrance {
    fn admits(&self, participant: &str, address: IpAddr) -> bool {
        let Ok(participant) = ParticipantId::new(participant) else { return false };
        let registry = self.node.registry();
        registry.by_participant(&participant).is_some_and(|partner| {
            partner.connect_from.is_empty()
                || partner
                    .connect_from
                    .iter()
                    .any(|network| network.contains(&address.to_canonical()))
        })
    }

    fn refuse(&self, connection: &Connection, refusal: &Refusal) -> Response<Body> {
        tracing::warn!(
            event = "connection.refused",
            partner = %connection.participant(),
            remote = %connection.remote(),
            reason = %refusal,
        );
        wire::bare(StatusCode::FORBIDDEN)
    }

    fn turned_away(&self, remote: SocketAddr, refusal: &Refusal) {
        self.node.metrics.handshake(outcome_of(refusal));
        let now = std::time::Instant::now();
        let mut seen = self.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() > LOGGED_ADDRESSES {
            seen.clear();
        }
        let latest = seen.insert(remote.ip(), now);
        if latest.is_none_or(|latest| now.duration_since(latest) > LOG_INTERVAL) {
            tracing::warn!(event = "connection.turned_away", remote = %remote, reason = %refusal);
        }
    }
}

impl std::fmt::Debug for Partners {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Partners")
    }
}

impl std::fmt::Debug for Entrance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Entrance")
    }
}

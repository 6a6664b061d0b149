//! What partners see of this node: paths, status codes, error bodies. The only place where a refusal becomes HTTP.

use bytes::Bytes;
use engine::StoreError;
use engine::refusal::{Refusal, RefusalKind};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use protocol::error::{CatalogError, ContractNegotiationError, TransferError};
use protocol::id::Pid;
use protocol::message::{self, Explanation, Message, Pids};

use crate::net::{Body, accept, full};

/// The base path of our DSP 2025-1 endpoints, which are also our callback address.
pub const DSP: &str = "/dsp/2025-1";
/// The base path of data endpoints.
pub const DATA: &str = "/data";
/// Our own exchange of checkpoints, beside DSP.
pub const CHECKPOINT: &str = "/sekisho/v1/checkpoint";

/// The code of a refusal for which there is no evidence.
pub const UNPROVEN: &str = "unproven";

/// Which protocol's error body an answer has.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A CatalogError.
    Catalog,
    /// A ContractNegotiationError, with the process ids of the request where it had any.
    Negotiation(Option<Pids>),
    /// A TransferError, likewise.
    Transfer(Option<Pids>),
    /// The refusal of a first message: the consumer's process id echoed, the reference in place of a provider's.
    Unknown {
        /// The consumer's process id.
        consumer: Pid,
        /// Whether it asked for a transfer.
        transfer: bool,
    },
}

impl Shape {
    /// The shape with the reference filled in where no process has an id.
    pub fn with_reference(&self, reference: &str) -> Self {
        match self {
            Self::Unknown { consumer, transfer } => {
                let provider = Pid::new(reference).unwrap_or_else(|_| consumer.clone());
                let pids = Some(Pids { consumer: consumer.clone(), provider });
                if *transfer { Self::Transfer(pids) } else { Self::Negotiation(pids) }
            }
            other => other.clone(),
        }
    }
}

/// Why a request of a partner is not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A message as an answer.
pub fn message<T: Message>(status: StatusCode, message: &T) -> Response<Body> {
    json(status, message::to_bytes(message, None))
}

/// JSON bytes as an answer.
pub fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The media type of JSON-LD, which every message of ours is too.
pub const JSON_LD: &str = "application/ld+json";

/// Declares an answer as JSON-LD to those who ask for that and not for plain JSON (RFC 9110, section 12.5.1).
pub fn as_asked(asked: &HeaderMap, mut response: Response<Body>) -> Response<Body> {
    let wants = |name| accept::wants(asked, &header::ACCEPT, name) == Some(true);
    if wants(JSON_LD)
        && !wants("application/json")
        && let Some(declared) = response.headers_mut().get_mut(header::CONTENT_TYPE)
    {
        *declared = HeaderValue::from_static(JSON_LD);
    }
    response
}

/// An answer without a body.
pub fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(crate::net::empty());
    *response.status_mut() = status;
    response
}

/// The path does not know the method; these it knows (RFC 9110, 15.5.6).
pub fn not_allowed(methods: &[Method]) -> Response<Body> {
    let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    // Names of methods are tokens, which a field may have.
    if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

/// The status of a refusal: DSP wants 404 for what may not be seen and 400 for what is not legal.
pub fn status_of(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::NotFound | RefusalKind::NewVersion => StatusCode::NOT_FOUND,
        RefusalKind::Policy
        | RefusalKind::DutyOverdue
        | RefusalKind::AgreementEnded
        | RefusalKind::IllegalState
        | RefusalKind::Invalid => StatusCode::BAD_REQUEST,
        RefusalKind::Suspended | RefusalKind::Offboarded => StatusCode::FORBIDDEN,
        RefusalKind::Unproven => StatusCode::CONFLICT,
        RefusalKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The code of a refusal, for programs.
pub fn code_of(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::NotFound => "not-found",
        RefusalKind::NewVersion => engine::pull::NEW_VERSION_CODE,
        RefusalKind::Policy => engine::process::POLICY_CODE,
        RefusalKind::DutyOverdue => engine::process::DUTY_CODE,
        RefusalKind::AgreementEnded => engine::agreements::ENDED_CODE,
        RefusalKind::IllegalState => "illegal-state",
        RefusalKind::Invalid => "invalid",
        RefusalKind::TooLarge => "too-large",
        RefusalKind::Suspended => "suspended",
        RefusalKind::Offboarded => "offboarded",
        RefusalKind::TooMany => "too-many",
        RefusalKind::Unproven => UNPROVEN,
        RefusalKind::Unavailable => "unavailable",
    }
}

/// A refusal as the partner may see it, in the body that the protocol wants.
pub fn refused(refusal: &Refusal, shape: &Shape) -> Response<Body> {
    let status = status_of(refusal.kind);
    let explanation = Explanation {
        code: Some(code_of(refusal.kind).to_owned()),
        reason: vec![refusal.external.clone().into(), refusal.reference.clone().into()],
    };
    let mut response = match shape {
        Shape::Catalog => message(status, &CatalogError { explanation }),
        Shape::Negotiation(pids) => match process_ids(pids.as_ref(), &refusal.reference) {
            Some(pids) => message(status, &ContractNegotiationError { pids, explanation }),
            None => bare(status),
        },
        Shape::Unknown { .. } => {
            return refused(refusal, &shape.with_reference(&refusal.reference));
        }
        Shape::Transfer(pids) => match process_ids(pids.as_ref(), &refusal.reference) {
            Some(pids) => message(status, &TransferError { pids, explanation }),
            None => bare(status),
        },
    };
    if refusal.kind == RefusalKind::Unavailable || refusal.kind == RefusalKind::TooMany {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

/// The answer to a request that could not be stored: nothing was changed, and it may be sent again.
pub fn unavailable() -> Response<Body> {
    let mut response = bare(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

/// Where the request named no process, both ids are the reference, so that the body still fits its schema.
fn process_ids(named: Option<&Pids>, reference: &str) -> Option<Pids> {
    if let Some(pids) = named {
        return Some(pids.clone());
    }
    let reference = Pid::new(reference).ok()?;
    Some(Pids { consumer: reference.clone(), provider: reference })
}

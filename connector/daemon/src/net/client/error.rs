//! What can go wrong when we send to a partner, and what each case asks of whom.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use certs::trust::TrustError;
use http::StatusCode;
use rustls::AlertDescription;

use super::super::body::BodyError;
use super::super::guard::{GuardError, Origin};
use super::Answer;
use super::alert::alert_in;

/// Why a message or a download did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The address may not be dialled.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The host name has a form that no certificate or request can carry.
    #[error("the host name of `{origin}` cannot be used; check the endpoint in the partner's file")]
    Name {
        /// Which.
        origin: Origin,
    },
    /// Nobody was there.
    #[error(
        "`{origin}` is not reachable: {step} failed; check the network, or wait for the partner"
    )]
    Unreachable {
        /// Whom we dialled.
        origin: Origin,
        /// How far we came.
        step: Step,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A time limit passed.
    #[error(
        "`{origin}` took too long: {step} was not done after {after:.1?}; wait for the partner, or raise the limit"
    )]
    Timeout {
        /// Whom we dialled.
        origin: Origin,
        /// What took too long.
        step: Step,
        /// The limit.
        after: Duration,
    },
    /// We do not accept who answered.
    #[error("we refuse the certificate of `{origin}`; ask the partner for its current card")]
    PartnerRefused {
        /// Whom we dialled.
        origin: Origin,
        /// Why.
        #[source]
        source: TrustError,
    },
    /// The other side does not accept us.
    #[error(
        "`{origin}` refuses our certificate (TLS alert `{alert:?}`); ask the partner to register our current card, \
         and check that our certificate has not expired or been revoked"
    )]
    WeAreRefused {
        /// Whom we dialled.
        origin: Origin,
        /// What it said.
        alert: AlertDescription,
    },
    /// The other side speaks TLS in a way that we do not.
    #[error(
        "no TLS connection with `{origin}`; the partner's endpoint must offer TLS 1.3 with a server certificate"
    )]
    Tls {
        /// Whom we dialled.
        origin: Origin,
        /// What TLS says.
        #[source]
        source: rustls::Error,
    },
    /// The connection ended before the answer did.
    #[error("the connection with `{origin}` ended before the answer came; it can be tried again")]
    Interrupted {
        /// Whom we dialled.
        origin: Origin,
        /// What happened.
        #[source]
        source: hyper::Error,
    },
    /// What came is not HTTP/1.1 within our limits.
    #[error(
        "`{origin}` answers with something that is not HTTP/1.1 within our limits; check the endpoint"
    )]
    Protocol {
        /// Whom we dialled.
        origin: Origin,
        /// What is wrong with it.
        #[source]
        source: hyper::Error,
    },
    /// The answer's body is too long, too slow or broken.
    #[error("the answer of `{origin}` cannot be read")]
    Body {
        /// Whom we dialled.
        origin: Origin,
        /// Why.
        #[source]
        source: BodyError,
    },
    /// A redirect, which could lead anywhere.
    #[error(
        "`{origin}` answers with a redirect ({status}), which is never followed; ask the partner for the final address"
    )]
    Redirect {
        /// Whom we dialled.
        origin: Origin,
        /// The status.
        status: StatusCode,
    },
    /// A status that is not 2xx; the body says more.
    #[error("`{origin}` answers {}", answer.status)]
    Status {
        /// Whom we dialled.
        origin: Origin,
        /// The whole answer.
        answer: Box<Answer>,
    },
}

impl SendError {
    /// Whether the same request may succeed later with nobody changing anything. Of answers, those that
    /// HTTP calls temporary (RFC 9110, 15; RFC 6585, 4).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Interrupted { .. } => true,
            Self::Body { source, .. } => !matches!(source, BodyError::TooLarge { .. }),
            Self::Status { answer, .. } => {
                answer.status.is_server_error()
                    || matches!(
                        answer.status,
                        StatusCode::REQUEST_TIMEOUT
                            | StatusCode::TOO_EARLY
                            | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            _ => false,
        }
    }

    /// Whether the partner may have received the request and acted on it.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Guard(_)
            | Self::Name { .. }
            | Self::Unreachable { .. }
            | Self::PartnerRefused { .. }
            | Self::WeAreRefused { .. }
            | Self::Tls { .. } => false,
            Self::Timeout { step, .. } => *step == Step::Request,
            _ => true,
        }
    }

    pub(super) fn timeout(origin: &Origin, step: Step, after: Duration) -> Self {
        Self::Timeout { origin: origin.clone(), step, after }
    }

    pub(super) fn unreachable(origin: &Origin, step: Step, source: io::Error) -> Self {
        Self::Unreachable { origin: origin.clone(), step, source }
    }

    /// A handshake that failed on our side, or that the other side ended.
    pub(super) fn handshake(origin: &Origin, error: io::Error) -> Self {
        let origin = origin.clone();
        if let Some(reason) = TrustError::in_handshake(&error) {
            return Self::PartnerRefused { origin, source: reason.clone() };
        }
        if let Some(alert) = alert_in(&error) {
            return Self::alert(&origin, alert);
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(source) => Self::Tls { origin, source: source.clone() },
            None => Self::Unreachable { origin, step: Step::Handshake, source: error },
        }
    }

    /// What an alert of the other side means.
    pub(super) fn alert(origin: &Origin, alert: AlertDescription) -> Self {
        use AlertDescription as A;
        let origin = origin.clone();
        match alert {
            A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::CertificateRequired => Self::WeAreRefused { origin, alert },
            _ => Self::Tls { origin, source: rustls::Error::AlertReceived(alert) },
        }
    }

    /// A request that hyper gave up.
    pub(super) fn exchange(origin: &Origin, source: hyper::Error) -> Self {
        let origin = origin.clone();
        if source.is_parse() || caused_by_tls(&source) {
            return Self::Protocol { origin, source };
        }
        Self::Interrupted { origin, source }
    }
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The name's addresses.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Handshake,
    /// The request and its answer.
    Request,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Connect => "connecting",
            Self::Handshake => "the TLS handshake",
            Self::Request => "the request",
        })
    }
}

fn caused_by_tls(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

//! Answers: JSON, errors that say what to do, and streams of events.

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use engine::StoreError;
use engine::refusal::{Refusal, RefusalKind};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::route::{Lines, ServerSent};
use crate::net::Body;
use crate::wire::{self, Trouble};

/// What kind of error it is. The command line makes its exit code of the name ([`crate::exit::Exit::of_kind`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorKind {
    /// The request is wrong.
    Invalid,
    /// A named thing does not exist.
    NotFound,
    /// Bytes or evidence are not what was announced.
    NotVerified,
    /// The partner is away.
    NotReachable,
    /// Our disk does not take it.
    CannotWrite,
    /// Not now.
    Unavailable,
    /// More than the limits allow.
    TooMany,
    /// The same request may succeed if it is made again.
    TryAgain,
    /// A policy refuses.
    Policy,
    /// The partner is suspended, here or there.
    Suspended,
    /// The partner is not who it should be, or does not take us for who we are.
    Identity,
    /// Refused for another reason.
    Refused,
    /// No key was shown, or none that is in force.
    Unauthorized,
    /// The role or the scope of who asks does not allow it.
    Forbidden,
    /// A fault of ours.
    Internal,
}

impl ErrorKind {
    /// All of them.
    pub(super) const ALL: [Self; 15] = [
        Self::Invalid,
        Self::NotFound,
        Self::NotVerified,
        Self::NotReachable,
        Self::CannotWrite,
        Self::Unavailable,
        Self::TooMany,
        Self::TryAgain,
        Self::Policy,
        Self::Suspended,
        Self::Identity,
        Self::Refused,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Internal,
    ];

    /// Its name in answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::NotVerified => "not-verified",
            Self::NotReachable => "not-reachable",
            Self::CannotWrite => "cannot-write",
            Self::Unavailable => "unavailable",
            Self::TooMany => "too-many",
            Self::TryAgain => "try-again",
            Self::Policy => "policy",
            Self::Suspended => "suspended",
            Self::Identity => "identity",
            Self::Refused => "refused",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Internal => "internal",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Policy | Self::Suspended | Self::Identity | Self::Forbidden => {
                StatusCode::FORBIDDEN
            }
            Self::Refused => StatusCode::CONFLICT,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::NotReachable | Self::NotVerified => StatusCode::BAD_GATEWAY,
            Self::CannotWrite => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unavailable | Self::TryAgain => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The answer to whatever is not done.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct Refused {
    error: Problem,
}

/// Why it is not done.
#[derive(Debug, Serialize, JsonSchema)]
struct Problem {
    /// What kind of problem it is. The command line makes its exit code of it.
    #[schemars(extend("enum" = ErrorKind::ALL.map(ErrorKind::name)))]
    kind: &'static str,
    /// What happened, to which thing, and why.
    message: String,
    /// The reference by which the partner's administrator, or our journal, knows it (`urn:uuid:…`).
    reference: Option<String>,
    /// What to do next.
    help: Option<String>,
}

/// Why a request is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ApiError {
    pub(super) kind: ErrorKind,
    message: String,
    /// The reference by which the other side, or our own journal, knows it.
    reference: Option<String>,
    help: Option<String>,
    /// Another status than the kind's.
    status: Option<StatusCode>,
}

impl ApiError {
    /// An error without reference or help.
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), reference: None, help: None, status: None }
    }

    /// The request is wrong.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// A named thing does not exist.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The path does not know the method.
    pub(super) fn method_not_allowed(allowed: &str) -> Self {
        let mut error = Self::invalid("this cannot be done with the method of the request")
            .help(format!("here there is {allowed}"));
        error.status = Some(StatusCode::METHOD_NOT_ALLOWED);
        error
    }

    /// Says what to do.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Gives the reference.
    #[must_use]
    pub(super) fn reference(mut self, reference: Option<String>) -> Self {
        self.reference = reference;
        self
    }

    /// The same with a status of its own.
    #[must_use]
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Says first what it means.
    #[must_use]
    pub(super) fn because(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> Value {
        let problem = Problem {
            kind: self.kind.name(),
            message: self.message.clone(),
            reference: self.reference.clone(),
            help: self.help.clone(),
        };
        json!(Refused { error: problem })
    }

    /// As an answer.
    pub(super) fn into_response(self) -> Response<Body> {
        let status = self.status.unwrap_or(self.kind.status());
        let mut response = wire::json(status, self.to_json().to_string());
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, second);
        }
        response
    }
}

impl From<Refusal> for ApiError {
    /// The full reason: whoever asks here administers the node.
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.kind {
            RefusalKind::NotFound | RefusalKind::NewVersion => ErrorKind::NotFound,
            RefusalKind::Policy | RefusalKind::DutyOverdue => ErrorKind::Policy,
            RefusalKind::IllegalState | RefusalKind::AgreementEnded | RefusalKind::Unproven => {
                ErrorKind::Refused
            }
            RefusalKind::Invalid | RefusalKind::TooLarge => ErrorKind::Invalid,
            RefusalKind::Suspended | RefusalKind::Offboarded => ErrorKind::Suspended,
            RefusalKind::TooMany => ErrorKind::TooMany,
            RefusalKind::Unavailable => ErrorKind::Unavailable,
        };
        Self::new(kind, refusal.internal)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::DiskFull { .. } | StoreError::WriteFailed { .. } => ErrorKind::CannotWrite,
            StoreError::Rebuilding | StoreError::Closed => ErrorKind::Unavailable,
            StoreError::Rejected { .. } => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Trouble> for ApiError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(refusal) => refusal.into(),
            Trouble::Store(error) => error.into(),
        }
    }
}

impl From<store::EvidenceError> for ApiError {
    fn from(error: store::EvidenceError) -> Self {
        let kind = match &error {
            store::EvidenceError::Size { .. } | store::EvidenceError::NoRecord { .. } => {
                ErrorKind::NotFound
            }
            store::EvidenceError::Closed => ErrorKind::Unavailable,
            store::EvidenceError::Journal { .. } | store::EvidenceError::Tree { .. } => {
                ErrorKind::NotVerified
            }
        };
        let error = Self::new(kind, error.to_string());
        match kind {
            ErrorKind::NotVerified => {
                error.help("keep the data directory as it is, and run `sekisho audit verify`")
            }
            _ => error,
        }
    }
}

/// How many events wait for a slow reader.
const EVENTS_WAITING: usize = 32;

/// The shortest time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Where the events of one stream go: documents of one type, which is what the OpenAPI document says of the stream.
pub(super) struct Events<T>(mpsc::Sender<Bytes>, PhantomData<fn(T)>);

impl<T> Clone for Events<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

/// Why a stream of events ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody reads any more.
    Gone,
    /// What was asked for is not done.
    Failed(ApiError),
}

impl<E: Into<ApiError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl<T: Serialize> Events<T> {
    /// Events that nobody reads, for work whose outcome alone is wanted.
    pub(super) fn unheard() -> Self {
        let (sender, mut receiver) = mpsc::channel(EVENTS_WAITING);
        // It ends with the last sender.
        tokio::spawn(async move { while receiver.recv().await.is_some() {} });
        Self(sender, PhantomData)
    }

    /// Sends an event; waits while the reader is slow.
    ///
    /// # Errors
    /// [`Stop::Gone`].
    pub(super) async fn send(&self, event: &T) -> Result<(), Stop> {
        self.0.send(line(event)?).await.map_err(|_| Stop::Gone)
    }

    /// Sends an event that may be left out where the reader is slow. It never waits.
    ///
    /// # Errors
    /// [`Stop::Gone`].
    pub(super) fn offer(&self, event: &T) -> Result<(), Stop> {
        match self.0.try_send(line(event)?) {
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Stop::Gone),
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
        }
    }

    /// Whether nobody reads any more.
    pub(super) fn is_gone(&self) -> bool {
        self.0.is_closed()
    }

    /// Resolves when nobody reads any more.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

fn line<T: Serialize>(event: &T) -> Result<Bytes, ApiError> {
    let mut line = serde_json::to_vec(event)
        .map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    line.push(b'\n');
    Ok(line.into())
}

/// Where server-sent events go.
#[derive(Debug, Clone)]
pub(super) struct Occurrences(mpsc::Sender<Bytes>);

impl Occurrences {
    /// Sends an event; waits while the reader is slow.
    ///
    /// # Errors
    /// [`Stop::Gone`].
    pub(super) async fn send<T: Serialize>(
        &self,
        id: &str,
        name: &str,
        data: &T,
    ) -> Result<(), Stop> {
        // JSON has no line breaks outside of strings, and there they are escaped.
        let data = serde_json::to_string(data)
            .map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
        self.text(format!("id: {id}\nevent: {name}\ndata: {data}\n\n")).await
    }

    /// Says that the stream lives, and from where it would go on: an id without data is kept by the reader, not shown.
    ///
    /// # Errors
    /// [`Stop::Gone`].
    pub(super) async fn alive(&self, id: Option<String>) -> Result<(), Stop> {
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        self.text(format!(": alive\n{id}\n")).await
    }

    /// Resolves when nobody reads any more.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }

    async fn text(&self, text: String) -> Result<(), Stop> {
        self.0.send(text.into()).await.map_err(|_| Stop::Gone)
    }
}

/// An answer of server-sent events (WHATWG HTML section 9.2). An error is its last event, of the name `error`.
pub(super) fn server_sent<T, F, W>(work: F) -> ServerSent<T>
where
    F: FnOnce(Occurrences) -> W,
    W: Future<Output = Result<(), Stop>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
    let events = Occurrences(sender);
    let work = work(events.clone());
    tokio::spawn(async move {
        if let Err(Stop::Failed(error)) = work.await {
            tracing::info!(event = "management.failed", kind = error.kind.name(), reason = %error);
            let _ = events.text(format!("event: error\ndata: {}\n\n", error.to_json())).await;
        }
    });
    ServerSent::new(streamed(receiver, "text/event-stream"))
}

/// An answer of events, one JSON object on each line. It ends with the work; an error is its last event.
pub(super) fn stream<T, F, W>(work: F) -> Lines<T>
where
    F: FnOnce(Events<T>) -> W,
    W: Future<Output = Result<(), Stop>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
    let work = work(Events(sender.clone(), PhantomData));
    tokio::spawn(async move {
        if let Err(Stop::Failed(error)) = work.await {
            tracing::info!(event = "management.failed", kind = error.kind.name(), reason = %error);
            let _ = sender.send(format!("{}\n", error.to_json()).into()).await;
        }
    });
    Lines::new(streamed(receiver, "application/x-ndjson"))
}

fn streamed(mut receiver: mpsc::Receiver<Bytes>, content_type: &'static str) -> Response<Body> {
    let frames = futures_util::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Lets reports of progress through, not too many of them.
#[derive(Debug, Default)]
pub(super) struct Throttle(Option<Instant>);

impl Throttle {
    /// Whether it is time for the next one.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.0.is_none_or(|last| now.duration_since(last) >= PROGRESS_INTERVAL);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

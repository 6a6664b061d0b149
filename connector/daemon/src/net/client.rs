//! The client that sends messages to one partner, downloads from it and uploads to it.
//!
//! resolve, check every address, dial a checked one, TLS that accepts exactly that partner, HTTP/1.1. A
//! connection is kept for the next message, because a negotiation is four of them; a download has its
//! own, so that cutting it costs nobody else anything. Redirects are never followed.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use certs::tls::{TlsError, client_config};
use certs::trust::Checked;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::Host;

use super::body::{Body, Pace, read_body};
use super::guard::{Guard, Origin, Target};
use super::gzip;
use super::identity::NodeIdentity;

mod alert;
mod error;

use alert::{Alert, AlertWitness};
pub use error::{SendError, Step};

/// Limits of dialling and of answers.
#[derive(Clone, Copy, Debug)]
pub struct DialLimits {
    /// Resolving the name, and dialling all of its addresses, each.
    pub connect_timeout: Duration,
    /// The TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first step until a message's answer is read, or a download's fields are.
    pub request_timeout: Duration,
    /// The body of an answer, in bytes.
    pub max_response_bytes: usize,
    /// The fields of an answer, in bytes.
    pub max_header_bytes: usize,
    /// The fields of an answer.
    pub max_header_count: usize,
    /// How slowly an answer's body may come.
    pub pace: Pace,
    /// How long a connection is kept for the next message. Less than the partner's idle time.
    pub keep: Duration,
    /// How many are kept.
    pub max_kept_connections: usize,
}

impl Default for DialLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            max_response_bytes: 1024 * 1024,
            max_header_bytes: 32 * 1024,
            max_header_count: 64,
            pace: Pace::default(),
            keep: Duration::from_secs(20),
            max_kept_connections: 32,
        }
    }
}

/// An answer that was read whole. What it says stays out of logs.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body, within the limit.
    pub body: Bytes,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Answer")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Sends to one partner. Clones share the kept connections.
#[derive(Clone, Debug)]
pub struct PartnerClient(Arc<Dialer>);

struct Dialer {
    participant: Arc<str>,
    guard: Guard,
    identity: NodeIdentity,
    connector: TlsConnector,
    limits: DialLimits,
    kept: Mutex<VecDeque<Line>>,
}

/// An open connection to the partner.
struct Line<B = Full<Bytes>> {
    origin: Origin,
    sender: http1::SendRequest<B>,
    alert: Alert,
    checked: Checked,
    used: Instant,
    /// Ends with the connection; its error reaches whoever waits for an answer.
    driver: JoinHandle<Result<(), hyper::Error>>,
}

/// What the bytes of a request's body are to the connection that carries them.
trait Carried:
    HttpBody<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Send + 'static
{
    /// Whether its connection is reset when it ends, and as little as possible waits in the kernel.
    const IS_CUT: bool;
}

impl Carried for Full<Bytes> {
    const IS_CUT: bool = false;
}

impl Carried for Body {
    const IS_CUT: bool = true;
}

/// Most bytes of an upload that wait in the kernel.
const MAX_UNSENT_BYTES: u32 = 256 * 1024;

impl PartnerClient {
    /// A client for the participant, which reaches what `guard` lets it reach.
    ///
    /// # Errors
    /// When the TLS configuration cannot be made.
    pub fn new(
        participant: Arc<str>,
        guard: Guard,
        identity: NodeIdentity,
        limits: DialLimits,
    ) -> Result<Self, TlsError> {
        let NodeIdentity { site, trust, time } = identity.clone();
        let tls = client_config(site, trust, &participant, &[b"http/1.1"], time)?;
        Ok(Self(Arc::new(Dialer {
            participant,
            guard,
            identity,
            connector: TlsConnector::from(tls),
            limits,
            kept: Mutex::default(),
        })))
    }

    /// Whom this client dials.
    #[must_use]
    pub fn participant(&self) -> &Arc<str> {
        &self.0.participant
    }

    /// Sends one message and reads its answer; `content_type` goes with a body that is not empty.
    ///
    /// # Errors
    /// [`SendError`]; an answer that is not 2xx is [`SendError::Status`] and carries its body.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        content_type: HeaderValue,
        body: Bytes,
    ) -> Result<Answer, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(gzip::NAME));
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        self.ask(method, url, headers, body).await
    }

    /// Sends one request of a few bytes with these fields and reads its answer.
    ///
    /// # Errors
    /// As [`PartnerClient::send`].
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, SendError> {
        let target = self.0.guard.target(url)?;
        let request = request(method, &target, headers, Full::new(body))?;
        let limit = self.0.limits.request_timeout;
        let exchange = timeout(limit, self.0.exchange(&target.origin, request));
        let answer = exchange
            .await
            .unwrap_or_else(|_| Err(SendError::timeout(&target.origin, Step::Request, limit)))?;
        success(target.origin, answer)
    }

    /// Asks for something large on a connection of its own and returns when the fields have come. Who
    /// reads the body sets its pace ([`super::PacedReader`]); dropping it closes the connection.
    ///
    /// # Errors
    /// [`SendError`]; an answer that is not 2xx is [`SendError::Status`] and carries its body.
    pub async fn open(
        &self,
        url: &str,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, SendError> {
        let target = self.0.guard.target(url)?;
        let origin = &target.origin;
        let request = request(Method::GET, &target, headers, Full::default())?;
        let limit = self.0.limits.request_timeout;
        let answered = timeout(limit, async {
            let mut line = self.0.dial(origin).await?;
            let response = line.sender.send_request(request).await;
            let response = response.map_err(|error| line.alert.explain(origin, error))?;
            if response.status().is_success() {
                return Ok(Ok(response));
            }
            self.0.read(origin, response).await.map(Err)
        });
        let answered = answered
            .await
            .unwrap_or_else(|_| Err(SendError::timeout(origin, Step::Request, limit)))?;
        match answered {
            Ok(response) => Ok(response),
            Err(answer) => Err(not_success(target.origin, answer)),
        }
    }

    /// Sends something large with `PUT` on a connection of its own and reads the answer. The body sets its own pace; dropping
    /// this future resets the connection, so that bytes which the kernel still holds are dropped as well.
    ///
    /// # Errors
    /// As [`PartnerClient::send`]; also when the partner's certificate runs out on the way.
    pub async fn upload(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Answer, SendError> {
        let target = self.0.guard.target(url)?;
        let origin = &target.origin;
        let request = request(Method::PUT, &target, headers, body)?;
        let limit = self.0.limits.request_timeout;
        let dialled = timeout(limit, self.0.dial::<Body>(origin)).await;
        let line =
            dialled.unwrap_or_else(|_| Err(SendError::timeout(origin, Step::Request, limit)))?;
        let Line { mut sender, alert, checked, driver, .. } = line;
        let _ends_with_this = AbortOnDropHandle::new(driver);
        let now = self.0.identity.now();
        let now = now.map_err(|source| SendError::unreachable(origin, Step::Request, source))?;
        let left = Duration::try_from(checked.valid_until.duration_since(now)).unwrap_or_default();
        let exchanged = timeout(left, async {
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| alert.explain(origin, error))?;
            self.0.read(origin, response).await
        });
        let answer = exchanged
            .await
            .unwrap_or_else(|_| Err(SendError::timeout(origin, Step::Request, left)))?;
        success(target.origin, answer)
    }
}

impl Dialer {
    /// One request and its answer, on a kept connection where there is one.
    async fn exchange(
        &self,
        origin: &Origin,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Answer, SendError> {
        while let Some(mut line) = self.take_kept(origin) {
            if line.sender.ready().await.is_err() {
                continue;
            }
            match line.sender.try_send_request(request).await {
                Ok(response) => return self.answer(line, response).await,
                Err(mut failed) => match failed.take_message() {
                    // Not a byte of it was sent: the partner had closed the connection.
                    Some(unsent) => request = unsent,
                    None => return Err(line.alert.explain(origin, failed.into_error())),
                },
            }
        }
        let mut line = self.dial(origin).await?;
        match line.sender.send_request(request).await {
            Ok(response) => self.answer(line, response).await,
            Err(error) => Err(line.alert.explain(origin, error)),
        }
    }

    async fn answer(&self, line: Line, response: Response<Incoming>) -> Result<Answer, SendError> {
        let answer = self.read(&line.origin, response).await?;
        self.keep(line);
        Ok(answer)
    }

    async fn read(
        &self,
        origin: &Origin,
        response: Response<Incoming>,
    ) -> Result<Answer, SendError> {
        let (parts, body) = response.into_parts();
        let most = self.limits.max_response_bytes;
        let body = read_body(body, most, self.limits.pace)
            .await
            .and_then(|body| gzip::decode(&parts.headers, body, most))
            .map_err(|source| SendError::Body { origin: origin.clone(), source })?;
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// Resolves, checks, dials, and lets TLS accept exactly this partner.
    async fn dial<B: Carried + Unpin>(&self, origin: &Origin) -> Result<Line<B>, SendError> {
        let limit = self.limits.connect_timeout;
        let resolved = timeout(limit, resolve(origin))
            .await
            .map_err(|_| SendError::timeout(origin, Step::Resolve, limit))??;
        let addresses = self.guard.addresses(origin, resolved)?;
        let each = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut refused = None;
        for address in addresses {
            match timeout(each, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return self.secure(origin, socket).await,
                Ok(Err(source)) => {
                    refused = Some(SendError::unreachable(origin, Step::Connect, source))
                }
                Err(_) => refused = Some(SendError::timeout(origin, Step::Connect, each)),
            }
        }
        // INVARIANT: the guard never passes an empty list.
        Err(refused.unwrap_or_else(|| SendError::timeout(origin, Step::Connect, limit)))
    }

    async fn secure<B: Carried + Unpin>(
        &self,
        origin: &Origin,
        socket: TcpStream,
    ) -> Result<Line<B>, SendError> {
        // Messages are small and must not wait for more.
        let mut prepared = socket.set_nodelay(true);
        if B::IS_CUT {
            let options = socket2::SockRef::from(&socket);
            prepared = prepared
                .and_then(|()| options.set_tcp_notsent_lowat(MAX_UNSENT_BYTES))
                .and_then(|()| socket.set_zero_linger());
        }
        if let Err(error) = prepared {
            tracing::debug!(%error, "connection.options_failed");
        }
        let limit = self.limits.handshake_timeout;
        let handshake = self.connector.connect(server_name(origin)?, socket);
        let stream = timeout(limit, handshake)
            .await
            .map_err(|_| SendError::timeout(origin, Step::Handshake, limit))?
            .map_err(|error| SendError::handshake(origin, error))?;
        let (_, session) = stream.get_ref();
        let chain = session.peer_certificates().unwrap_or_default();
        let now = self
            .identity
            .now()
            .map_err(|source| SendError::unreachable(origin, Step::Handshake, source))?;
        let checked = self
            .identity
            .trust
            .load()
            .check_server(chain, now, &self.participant)
            .map_err(|source| SendError::PartnerRefused { origin: origin.clone(), source })?;
        let alert = Alert::default();
        let stream = AlertWitness::new(stream, alert.clone());
        let (sender, connection) = http1::Builder::new()
            .max_headers(self.limits.max_header_count)
            .max_buf_size(self.limits.max_header_bytes.max(SMALLEST_BUFFER))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| alert.explain(origin, error))?;
        let driver = tokio::spawn(connection);
        Ok(Line { origin: origin.clone(), sender, alert, checked, used: Instant::now(), driver })
    }

    /// A kept connection whose other end would still be accepted if it were dialled now.
    fn take_kept(&self, origin: &Origin) -> Option<Line> {
        let generation = self.identity.trust.load().generation();
        let now = self.identity.now().ok()?;
        let mut kept = self.kept();
        kept.retain(|line| {
            !line.sender.is_closed()
                && line.used.elapsed() < self.limits.keep
                && line.checked.generation == generation
                && now <= line.checked.valid_until
        });
        // The one used last is the least likely to have been closed.
        let position = kept.iter().rposition(|line| line.origin == *origin)?;
        kept.remove(position)
    }

    fn keep(&self, mut line: Line) {
        if line.sender.is_closed() {
            return;
        }
        line.used = Instant::now();
        let mut kept = self.kept();
        kept.push_back(line);
        while kept.len() > self.limits.max_kept_connections {
            kept.pop_front();
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Line>> {
        // Every change under the lock leaves a whole list.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Dialer")
            .field("participant", &self.participant)
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

/// hyper takes no smaller buffer.
const SMALLEST_BUFFER: usize = 8192;

async fn resolve(origin: &Origin) -> Result<Vec<IpAddr>, SendError> {
    match origin.host() {
        Host::Ipv4(address) => Ok(vec![IpAddr::V4(*address)]),
        Host::Ipv6(address) => Ok(vec![IpAddr::V6(*address)]),
        Host::Domain(name) => tokio::net::lookup_host((name.as_str(), origin.port()))
            .await
            .map(|found| found.map(|address| address.ip()).collect())
            .map_err(|source| SendError::unreachable(origin, Step::Resolve, source)),
    }
}

/// What SNI says; nothing is compared with it (`design.md`, Identity).
fn server_name(origin: &Origin) -> Result<ServerName<'static>, SendError> {
    match origin.host() {
        Host::Ipv4(address) => Ok(ServerName::from(IpAddr::V4(*address))),
        Host::Ipv6(address) => Ok(ServerName::from(IpAddr::V6(*address))),
        Host::Domain(name) => ServerName::try_from(name.clone())
            .map_err(|_| SendError::Name { origin: origin.clone() }),
    }
}

fn request<B>(
    method: Method,
    target: &Target,
    mut headers: HeaderMap,
    body: B,
) -> Result<Request<B>, SendError> {
    let host = HeaderValue::try_from(target.origin.authority())
        .map_err(|_| SendError::Name { origin: target.origin.clone() })?;
    headers.insert(header::HOST, host);
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.path.clone().into();
    *request.headers_mut() = headers;
    Ok(request)
}

fn success(origin: Origin, answer: Answer) -> Result<Answer, SendError> {
    if answer.status.is_success() { Ok(answer) } else { Err(not_success(origin, answer)) }
}

fn not_success(origin: Origin, answer: Answer) -> SendError {
    if answer.status.is_redirection() {
        return SendError::Redirect { origin, status: answer.status };
    }
    SendError::Status { origin, answer: Box::new(answer) }
}

#[cfg(test)]
mod tests;

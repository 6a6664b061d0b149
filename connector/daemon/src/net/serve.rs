//! One connection from its first request to its end, alike for all listeners.
//!
//! hyper's own header timeout also counts the pause between two requests, so it cannot be shorter than
//! the idle time; and hyper has no limit for a peer that takes nothing of a reply. [`Activity`] keeps
//! both, from what the socket reads and what the reply's body is asked for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use super::body::{Body, BodyFailure, empty, later};
use super::connection::{HttpVersion, Kill};
use super::listener::{Handler, HttpLimits};
use super::shutdown::Shutdown;

/// What ends a connection from outside.
pub(super) struct Terms<'a> {
    pub(super) limits: HttpLimits,
    pub(super) activity: Arc<Activity>,
    pub(super) shutdown: &'a Shutdown,
    /// Whether a drain closes the connection; a stop always does.
    pub(super) drains: bool,
    pub(super) kill: &'a Kill,
    pub(super) close: &'a CancellationToken,
}

/// Serves one connection until the peer, a limit, a drain or a kill ends it.
pub(super) async fn serve<I, P, H>(
    io: I,
    version: HttpVersion,
    peer: Arc<P>,
    handler: Arc<H>,
    terms: Terms<'_>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Send + Sync + 'static,
    H: Handler<P>,
{
    let Terms { limits, activity, shutdown, drains, kill, close } = terms;
    activity.start(version);
    let builder = builder(version, &limits);
    let service = Requests { peer, handler, activity: Arc::clone(&activity), limits };
    // A peer's first bytes may come with the last of its handshake, and are then in no read of the socket that follows it.
    let heard = Arc::clone(&activity);
    let io = InspectReader::new(io, move |bytes: &[u8]| {
        if !bytes.is_empty() {
            heard.received();
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut overdue = pin!(activity.overdue(&limits));
    let mut watching = true;
    let mut finish = pin!(tokio::time::sleep(limits.drain));
    let mut finishing = false;
    loop {
        tokio::select! {
            biased;
            // Dropping the connection drops the socket.
            () = kill.killed() => return,
            () = shutdown.stopping() => return kill.kill(),
            () = &mut finish, if finishing => return kill.kill(),
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = &*error, "connection.ended");
                }
                return;
            }
            what = &mut overdue, if watching => {
                tracing::debug!(?what, "connection.overdue");
                if what != Overdue::Request {
                    return kill.kill();
                }
                watching = false;
            }
            () = close.cancelled(), if !finishing => {}
            () = shutdown.draining(), if drains && !finishing => {}
        }
        if !finishing {
            connection.as_mut().graceful_shutdown();
            finish.as_mut().reset(later(Instant::now(), limits.drain));
            finishing = true;
        }
    }
}

fn builder(version: HttpVersion, limits: &HttpLimits) -> auto::Builder<TokioExecutor> {
    // ALPN has decided; bytes are not guessed at.
    let mut builder = match version {
        HttpVersion::Http1 => auto::Builder::new(TokioExecutor::new()).http1_only(),
        HttpVersion::Http2 => auto::Builder::new(TokioExecutor::new()).http2_only(),
    };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .half_close(false)
        .max_headers(limits.max_header_count)
        .max_buf_size(limits.max_header_bytes.max(SMALLEST_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(RESET_STREAMS)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_SEND_BUFFER)
        .keep_alive_interval(limits.idle_timeout / 2)
        .keep_alive_timeout(limits.stall_timeout);
    builder
}

/// hyper takes no smaller buffer.
const SMALLEST_BUFFER: usize = 8192;
/// Streams that a peer may reset before the connection is closed for it (CVE-2023-44487).
const RESET_STREAMS: usize = 32;
/// What a peer may send of one body before a handler reads it.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What a peer may send on all streams before handlers read it.
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// What of one reply may wait for the stream's window.
const STREAM_SEND_BUFFER: usize = 64 * 1024;

/// hyper's side of a [`Handler`].
struct Requests<P, H> {
    peer: Arc<P>,
    handler: Arc<H>,
    activity: Arc<Activity>,
    limits: HttpLimits,
}

impl<P, H> Service<Request<Incoming>> for Requests<P, H>
where
    P: Send + Sync + 'static,
    H: Handler<P>,
{
    type Response = Response<TrackedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = Running::begin(&self.activity);
        let excessive = exceeds(&request, &self.limits);
        let (peer, handler) = (Arc::clone(&self.peer), Arc::clone(&self.handler));
        Box::pin(async move {
            let response = if excessive {
                let mut response = Response::new(empty());
                *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                response
            } else {
                handler.handle(request, peer).await
            };
            Ok(response.map(|body| TrackedBody::new(body, running)))
        })
    }
}

/// hyper bounds its buffers; this bounds what a handler sees, alike in both versions.
fn exceeds<B>(request: &Request<B>, limits: &HttpLimits) -> bool {
    head_bytes(request) > limits.max_header_bytes
        || request.headers().len() > limits.max_header_count
}

/// The bytes of a request's head: its target, and the names and values of its fields.
pub fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    request.headers().iter().fold(target, |sum, (name, value)| {
        sum.saturating_add(name.as_str().len()).saturating_add(value.len())
    })
}

/// What has waited too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The next request.
    Request,
    /// The rest of a request's fields.
    Fields,
    /// The peer, to take a piece of a reply.
    Reader,
}

/// What a connection is waiting for, and since when.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    /// Requests being answered. `Some` since when the peer has left what it was given untaken.
    replies: HashMap<u64, Option<Instant>>,
    next: u64,
    idle_since: Instant,
    /// Since when a request's fields are coming.
    fields_since: Option<Instant>,
    /// Only on HTTP/1.1 do bytes on a connection at rest mean a request.
    bytes_are_requests: bool,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Waiting {
            replies: HashMap::new(),
            next: 0,
            idle_since: Instant::now(),
            fields_since: None,
            bytes_are_requests: false,
        })))
    }

    /// The handshake is over: idle time counts from now.
    fn start(&self, version: HttpVersion) {
        let mut waiting = self.lock();
        waiting.idle_since = Instant::now();
        waiting.bytes_are_requests = version == HttpVersion::Http1;
    }

    fn received(&self) {
        let mut waiting = self.lock();
        if waiting.bytes_are_requests && waiting.replies.is_empty() {
            waiting.fields_since.get_or_insert_with(Instant::now);
        }
    }

    /// Completes when something has waited too long.
    async fn overdue(&self, limits: &HttpLimits) -> Overdue {
        let mut alarm: Pin<Box<Sleep>> = Box::pin(sleep_until(Instant::now()));
        poll_fn(|context| {
            loop {
                let now = Instant::now();
                let (at, what) = self.due(limits, now);
                if let Some(what) = what.filter(|_| at <= now) {
                    return Poll::Ready(what);
                }
                // Polled after each read, so an alarm set too late is drawn nearer in time.
                if alarm.is_elapsed() || at < alarm.deadline() {
                    alarm.as_mut().reset(at);
                }
                ready!(alarm.as_mut().poll(context));
            }
        })
        .await
    }

    /// When to look again, and what will be overdue then.
    fn due(&self, limits: &HttpLimits, now: Instant) -> (Instant, Option<Overdue>) {
        let waiting = self.lock();
        if waiting.replies.is_empty() {
            return match waiting.fields_since {
                Some(since) => (later(since, limits.header_timeout), Some(Overdue::Fields)),
                None => (later(waiting.idle_since, limits.idle_timeout), Some(Overdue::Request)),
            };
        }
        match waiting.replies.values().flatten().min() {
            Some(since) => (later(*since, limits.stall_timeout), Some(Overdue::Reader)),
            None => (later(now, limits.stall_timeout), None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change under the lock is a single assignment or map operation.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request from its arrival to the end of its reply.
struct Running {
    activity: Arc<Activity>,
    number: u64,
}

impl Running {
    fn begin(activity: &Arc<Activity>) -> Self {
        let mut waiting = activity.lock();
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        waiting.fields_since = None;
        waiting.replies.insert(number, None);
        Self { activity: Arc::clone(activity), number }
    }

    fn untaken_since(&self, since: Option<Instant>) {
        self.activity.lock().replies.insert(self.number, since);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut waiting = self.activity.lock();
        waiting.replies.remove(&self.number);
        waiting.idle_since = Instant::now();
    }
}

/// A reply's body that tells [`Activity`] whether hyper waits for us or for the peer.
pub(super) struct TrackedBody {
    body: Body,
    running: Running,
}

impl TrackedBody {
    fn new(body: Body, running: Running) -> Self {
        running.untaken_since(Some(Instant::now()));
        Self { body, running }
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let since = polled.is_ready().then(Instant::now);
        self.running.untaken_since(since);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket under TLS and HTTP that reports what it reads, and that is reset when its connection was
/// killed.
pub(super) struct Wire<S: Reset> {
    socket: S,
    activity: Arc<Activity>,
    kill: Kill,
}

impl<S: Reset> Wire<S> {
    pub(super) fn new(socket: S, activity: &Arc<Activity>, kill: &Kill) -> Self {
        Self { socket, activity: Arc::clone(activity), kill: kill.clone() }
    }
}

impl<S: Reset> Drop for Wire<S> {
    fn drop(&mut self) {
        if self.kill.is_killed() {
            self.socket.reset_on_close();
        }
    }
}

/// What a socket does so that closing it drops the bytes not yet sent.
pub(super) trait Reset {
    fn reset_on_close(&self);
}

impl Reset for TcpStream {
    fn reset_on_close(&self) {
        if let Err(error) = self.set_zero_linger() {
            tracing::debug!(%error, "connection.reset_failed");
        }
    }
}

impl Reset for UnixStream {
    fn reset_on_close(&self) {}
}

impl<S: AsyncRead + Reset + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Reset + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;

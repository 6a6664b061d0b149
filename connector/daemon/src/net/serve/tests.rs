use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::net::testing::{Pair, channel_body, within};
use crate::net::{BodyError, Connection, ListenerLimits, Pace, SendError, full, read_body};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PIECE: usize = 64 * 1024;
const WINDOW: u32 = 64 * 1024;

fn limits(http: HttpLimits) -> ListenerLimits {
    ListenerLimits { http, ..ListenerLimits::default() }
}

async fn ok(_request: Request<Incoming>, _connection: Arc<Connection>) -> Response<Body> {
    Response::new(full("ok"))
}

/// Reads the body within 100 bytes and 50 milliseconds.
async fn upload(request: Request<Incoming>, _connection: Arc<Connection>) -> Response<Body> {
    let pace = Pace { grace: Duration::from_millis(50), ..Pace::default() };
    let mut response = Response::new(full("read"));
    *response.status_mut() = match read_body(request.into_body(), 100, pace).await {
        Ok(_) => StatusCode::OK,
        Err(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(BodyError::TooSlow { .. }) => StatusCode::REQUEST_TIMEOUT,
        Err(BodyError::Broken { .. } | BodyError::Encoding { .. }) => StatusCode::BAD_REQUEST,
    };
    response
}

async fn said(pair: &Pair, text: &[u8]) -> String {
    let mut stream = pair.tls(&[b"http/1.1"]).await;
    stream.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn half_a_request_ends_after_the_header_time_and_silence_after_the_idle_time() {
    let short = Duration::from_millis(50);
    let long = Duration::from_secs(600);
    let cases = [
        (
            HttpLimits { header_timeout: short, idle_timeout: long, ..HttpLimits::default() },
            "GET / HT",
        ),
        (HttpLimits { header_timeout: long, idle_timeout: short, ..HttpLimits::default() }, ""),
    ];
    for (http, text) in cases {
        let pair = Pair::serve(ok, limits(http));
        assert_eq!(said(&pair, text.as_bytes()).await, "");
    }
}

#[tokio::test]
async fn silence_after_a_request_ends_too() {
    let idle_timeout = Duration::from_millis(500);
    let pair = Pair::serve(ok, limits(HttpLimits { idle_timeout, ..HttpLimits::default() }));
    let answer = said(&pair, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn fields_are_limited_in_bytes_and_count() {
    let http = HttpLimits { max_header_bytes: 1000, max_header_count: 8, ..HttpLimits::default() };
    let pair = Pair::serve(ok, limits(http));
    let fields = |count: usize, length: usize| {
        let fields: String =
            (0..count).map(|number| format!("x-{number}: {}\r\n", "v".repeat(length))).collect();
        format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n")
    };
    let cases = [
        (fields(6, 10), "200"),
        (fields(7, 10), "431"),
        (fields(1, 1001), "431"),
        (fields(1, 100_000), "431"),
        (
            format!("GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "p".repeat(1000)),
            "431",
        ),
    ];
    for (request, status) in cases {
        let answer = said(&pair, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {answer}");
    }
}

#[tokio::test]
async fn bodies_are_limited_in_size_and_time() {
    let pair = Pair::serve(upload, limits(HttpLimits::default()));
    let cases = [
        ("content-length: 3\r\n\r\nabc", "200"),
        ("content-length: 101\r\n\r\n", "413"),
        ("transfer-encoding: chunked\r\n\r\n65\r\n", "408"),
        ("content-length: 3\r\n\r\nab", "408"),
    ];
    for (rest, status) in cases {
        let answer = said(
            &pair,
            format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{rest}").as_bytes(),
        )
        .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {answer}");
    }
}

/// Streams without end; tells what became of it.
struct Stream {
    connections: mpsc::UnboundedReceiver<Arc<Connection>>,
    gone: mpsc::UnboundedReceiver<()>,
    cut: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
}

struct TellGone(mpsc::UnboundedSender<()>);

impl Drop for TellGone {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn endless() -> (Stream, impl Handler<Connection>) {
    let (connection_sender, connections) = mpsc::unbounded_channel();
    let (gone_sender, gone) = mpsc::unbounded_channel();
    let (cut_sender, cut) = mpsc::unbounded_channel();
    let handler = move |_request: Request<Incoming>, connection: Arc<Connection>| {
        connection_sender.send(Arc::clone(&connection)).unwrap();
        let (end, ended) = oneshot::channel();
        cut_sender.send(end).unwrap();
        let tell = TellGone(gone_sender.clone());
        async move {
            let (pieces, body) = mpsc::channel(1);
            tokio::spawn(async move {
                let _tell = tell;
                while pieces.send(Bytes::from(vec![7; PIECE])).await.is_ok() {}
            });
            Response::new(connection.cut_when(channel_body(body), async {
                let _ = ended.await;
            }))
        }
    };
    (Stream { connections, gone, cut }, handler)
}

async fn drain(body: Incoming) -> Result<(), hyper::Error> {
    let mut body = body;
    while let Some(frame) = within(body.frame()).await {
        frame?;
    }
    Ok(())
}

#[tokio::test]
async fn killing_a_connection_ends_its_stream() {
    let (mut stream, handler) = endless();
    let pair = Pair::serve(handler, limits(HttpLimits::default()));
    let response = within(pair.client().open(&pair.url("/"), HeaderMap::new())).await.unwrap();
    let connection = stream.connections.recv().await.unwrap();
    let _cut = stream.cut.recv().await.unwrap();
    connection.kill().kill();
    drain(response.into_body()).await.unwrap_err();
    within(stream.gone.recv()).await.unwrap();
}

#[tokio::test]
async fn a_cut_reaches_a_stream_that_nobody_reads() {
    let (mut stream, handler) = endless();
    let pair = Pair::serve(handler, limits(HttpLimits::default()));
    let response = within(pair.client().open(&pair.url("/"), HeaderMap::new())).await.unwrap();
    let cut = stream.cut.recv().await.unwrap();
    let _ = cut.send(());
    // Nothing has been read; still the server has let go.
    within(stream.gone.recv()).await.unwrap();
    drain(response.into_body()).await.unwrap_err();
}

async fn http2(pair: &Pair, window: u32) -> http2::SendRequest<Empty<Bytes>> {
    let stream = pair.tls(&[b"h2"]).await;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(pair: &Pair) -> Request<Empty<Bytes>> {
    Request::get(pair.url("/")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn a_cut_http2_stream_leaves_its_connection() {
    let (mut stream, handler) = endless();
    let pair = Pair::serve(handler, limits(HttpLimits::default()));
    let mut sender = http2(&pair, WINDOW).await;
    let first = within(sender.send_request(request(&pair))).await.unwrap();
    let second = within(sender.send_request(request(&pair))).await.unwrap();
    let cut = stream.cut.recv().await.unwrap();
    let _kept = stream.cut.recv().await.unwrap();
    let (reading, mut second) = (tokio::spawn(drain(first.into_body())), second.into_body());
    let _ = cut.send(());
    within(reading).await.unwrap().unwrap_err();
    within(stream.gone.recv()).await.unwrap();
    for _ in 0..10 {
        within(second.frame()).await.unwrap().unwrap();
    }
    assert!(!stream.connections.recv().await.unwrap().kill().is_killed());
}

#[tokio::test]
async fn a_cut_http2_stream_that_nobody_reads_takes_its_connection_with_it() {
    let (mut stream, handler) = endless();
    let pair = Pair::serve(handler, limits(HttpLimits::default()));
    // Without a window hyper never asks for the body, so the body cannot fail.
    let mut sender = http2(&pair, 0).await;
    let response = within(sender.send_request(request(&pair))).await.unwrap();
    let connection = stream.connections.recv().await.unwrap();
    let _ = stream.cut.recv().await.unwrap().send(());
    within(stream.gone.recv()).await.unwrap();
    within(connection.kill().killed()).await;
    drain(response.into_body()).await.unwrap_err();
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_let_go() {
    let stall_timeout = Duration::from_millis(50);
    let (mut stream, handler) = endless();
    let http = HttpLimits { stall_timeout, ..HttpLimits::default() };
    let pair = Pair::serve(handler, limits(http));
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let _unread = match version {
            HttpVersion::Http1 => {
                within(pair.client().open(&pair.url("/"), HeaderMap::new())).await.unwrap()
            }
            HttpVersion::Http2 => {
                within(http2(&pair, WINDOW).await.send_request(request(&pair))).await.unwrap()
            }
        };
        let _cut = stream.cut.recv().await.unwrap();
        within(stream.gone.recv()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_overdue_depends_on_what_is_waited_for() {
    let limits = HttpLimits {
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        stall_timeout: Duration::from_secs(30),
        ..HttpLimits::default()
    };
    let activity = Activity::new();
    let since = Instant::now();
    let overdue = async || (activity.overdue(&limits).await, since.elapsed().as_secs());
    activity.start(HttpVersion::Http2);
    activity.received();
    assert_eq!(overdue().await, (Overdue::Request, 60));
    activity.start(HttpVersion::Http1);
    activity.received();
    assert_eq!(overdue().await, (Overdue::Fields, 70));
    let running = Running::begin(&activity);
    // A handler may think as long as it likes.
    tokio::time::timeout(Duration::from_secs(1000), overdue()).await.unwrap_err();
    let (pieces, body) = mpsc::channel(1);
    let mut body = TrackedBody::new(channel_body(body), running);
    // Nobody asks for the body.
    assert_eq!(overdue().await, (Overdue::Reader, 1100));
    // The body is asked for and has nothing yet: that is the source's time.
    assert!(body.frame().now_or_never().is_none());
    tokio::time::timeout(Duration::from_secs(1000), overdue()).await.unwrap_err();
    pieces.try_send(Bytes::from_static(b"late")).unwrap();
    body.frame().now_or_never().unwrap().unwrap().unwrap();
    assert_eq!(overdue().await, (Overdue::Reader, 2130));
    drop(body);
    assert_eq!(overdue().await, (Overdue::Request, 2190));
}

#[tokio::test]
async fn a_panicking_handler_costs_its_connection_only() {
    let panicked = Arc::new(AtomicBool::new(false));
    let handler = move |_request: Request<Incoming>, _connection: Arc<Connection>| {
        let first = !panicked.swap(true, Ordering::SeqCst);
        async move {
            assert!(!first, "the first request fails");
            Response::new(full("ok"))
        }
    };
    let pair = Pair::serve(handler, limits(HttpLimits::default()));
    let client = pair.client();
    let send = || client.send(Method::GET, "/", JSON, Bytes::new());
    assert!(matches!(send().await.unwrap_err(), SendError::Guard(_)));
    let url = pair.url("/");
    let send = || within(client.send(Method::GET, &url, JSON, Bytes::new()));
    assert!(send().await.unwrap_err().is_transient());
    assert_eq!(send().await.unwrap().body, "ok");
}

use std::num::NonZeroU64;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::net::testing::{CONSUMER, PROVIDER, Pair, client, identity, site, store, within};
use crate::net::{BodyError, Connection, GuardError, Handler, ListenerLimits, PacedReader, full};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

type Seen = mpsc::UnboundedReceiver<(Request<()>, std::net::SocketAddr)>;

/// Answers by path, and tells what it was asked on which connection.
fn scripted() -> (Seen, impl Handler<Connection>) {
    let (sender, seen) = mpsc::unbounded_channel();
    let handler = move |request: Request<Incoming>, connection: Arc<Connection>| {
        let sender = sender.clone();
        async move {
            let (parts, body) = request.into_parts();
            let path = parts.uri.path().to_owned();
            let body = read_body(body, 1000, Pace::default()).await.unwrap();
            sender.send((Request::from_parts(parts, ()), connection.remote())).unwrap();
            let mut response = match path.as_str() {
                "/echo" => Response::new(full(body)),
                "/large" => Response::new(full(vec![b'x'; 5000])),
                _ => Response::new(full("why")),
            };
            let status = match path.as_str() {
                "/moved" => StatusCode::TEMPORARY_REDIRECT,
                "/refused" => StatusCode::BAD_REQUEST,
                "/busy" => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::OK,
            };
            *response.status_mut() = status;
            let elsewhere = HeaderValue::from_static("https://127.0.0.1:1/");
            response.headers_mut().insert(header::LOCATION, elsewhere);
            response
        }
    };
    (seen, handler)
}

fn pair() -> (Seen, Pair) {
    let (seen, handler) = scripted();
    (seen, Pair::serve(handler, ListenerLimits::default()))
}

async fn post(
    client: &PartnerClient,
    pair: &Pair,
    path: &str,
    body: &'static [u8],
) -> Result<Answer, SendError> {
    let body = Bytes::from_static(body);
    within(client.send(Method::POST, &pair.url(path), JSON, body)).await
}

#[tokio::test]
async fn messages_share_one_connection_and_arrive_as_sent() {
    let (mut seen, pair) = pair();
    let client = pair.client();
    for _ in 0..4 {
        let answer = post(&client, &pair, "/echo?a=b", b"{}").await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"{}"[..]));
    }
    let (request, first) = seen.recv().await.unwrap();
    assert_eq!(request.uri(), "/echo?a=b");
    assert_eq!(request.headers()[header::HOST], pair.address.to_string());
    assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
    for _ in 1..4 {
        assert_eq!(seen.recv().await.unwrap().1, first);
    }
}

#[tokio::test]
async fn a_kept_connection_is_left_when_the_partner_closed_it_or_trust_changed() {
    let (mut seen, pair) = pair();
    let (identity, clock) = identity(&pair.consumer, &[&pair.provider]);
    let client = client(identity.clone(), PROVIDER, pair.address, DialLimits::default());
    post(&client, &pair, "/echo", b"1").await.unwrap();
    let (_, first) = seen.recv().await.unwrap();

    identity.trust.replace(store(2, &[&pair.provider]));
    post(&client, &pair, "/echo", b"2").await.unwrap();
    let (_, second) = seen.recv().await.unwrap();
    assert_ne!(first, second);

    clock.pass_years(30);
    let error = post(&client, &pair, "/echo", b"3").await.unwrap_err();
    assert!(matches!(error, SendError::PartnerRefused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_download_has_a_connection_of_its_own() {
    let (mut seen, pair) = pair();
    let client = pair.client();
    post(&client, &pair, "/echo", b"1").await.unwrap();
    let (_, message) = seen.recv().await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-"));
    let response = within(client.open(&pair.url("/large"), headers)).await.unwrap();
    let (request, download) = seen.recv().await.unwrap();
    assert_ne!(message, download);
    assert_eq!(request.headers()[header::RANGE], "bytes=0-");
    let mut reader = PacedReader::new(response.into_body(), Pace::default());
    while within(reader.next()).await.unwrap().is_some() {}
    assert_eq!(reader.received(), 5000);
}

#[tokio::test]
async fn statuses_are_errors_and_redirects_are_not_followed() {
    let (_seen, pair) = pair();
    let client = pair.client();
    for path in ["/moved", "/refused", "/busy"] {
        let opened = within(client.open(&pair.url(path), HeaderMap::new())).await.map(|_| ());
        let sent = post(&client, &pair, path, b"{}").await.map(|_| ());
        for error in [opened.unwrap_err(), sent.unwrap_err()] {
            assert_eq!(error.is_transient(), path == "/busy", "{error}");
            match error {
                SendError::Redirect { status, .. } => {
                    assert_eq!((path, status), ("/moved", StatusCode::TEMPORARY_REDIRECT));
                }
                SendError::Status { answer, .. } => {
                    assert_ne!(path, "/moved");
                    assert_eq!(answer.body, "why");
                }
                other => panic!("{path}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_answer_is_read_within_the_limit() {
    let (_seen, pair) = pair();
    let limits = DialLimits { max_response_bytes: 4999, ..DialLimits::default() };
    let client = pair.client_of(&pair.consumer, &pair.provider, limits);
    let error = post(&client, &pair, "/large", b"").await.unwrap_err();
    assert!(!error.is_transient());
    let SendError::Body { source: BodyError::TooLarge { limit: 4999 }, .. } = error else {
        panic!("{error:?}")
    };
}

#[tokio::test]
async fn what_the_guard_refuses_is_not_dialled() {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = trap.local_addr().unwrap();
    let (identity, _) = identity(&site(CONSUMER), &[&site(PROVIDER)]);
    let origin: Origin = format!("https://localhost:{}", address.port()).parse().unwrap();
    let client = PartnerClient::new(
        PROVIDER.into(),
        Guard::new(vec![origin], vec![]),
        identity,
        DialLimits::default(),
    )
    .unwrap();
    for url in [
        format!("https://localhost:{}/", address.port()),
        format!("http://localhost:{}/", address.port()),
        format!("https://{address}/"),
    ] {
        let error = within(client.send(Method::GET, &url, JSON, Bytes::new())).await.unwrap_err();
        assert!(matches!(error, SendError::Guard(_)), "{error:?}");
        assert!(!error.may_have_arrived() && !error.is_transient());
    }
    let error = client.open(&format!("https://{address}/"), HeaderMap::new()).await.unwrap_err();
    assert!(matches!(error, SendError::Guard(GuardError::Origin { .. })), "{error:?}");
    assert!(futures_util::FutureExt::now_or_never(trap.accept()).is_none());
}

#[tokio::test]
async fn who_answers_must_be_the_partner() {
    let (_seen, pair) = pair();
    // The partner's name, from an authority that is not the partner's.
    let real = site(PROVIDER);
    let client = pair.client_of(&pair.consumer, &real, DialLimits::default());
    let error = post(&client, &pair, "/echo", b"secret").await.unwrap_err();
    assert!(matches!(error, SendError::PartnerRefused { .. }), "{error:?}");
    assert!(!error.may_have_arrived() && !error.is_transient());
}

#[tokio::test]
async fn an_absent_partner_is_unreachable_and_a_silent_one_too_slow() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (identity, _) = identity(&site(CONSUMER), &[&site(PROVIDER)]);
    let short = Duration::from_millis(50);
    let limits = DialLimits { handshake_timeout: short, ..DialLimits::default() };
    let client = client(identity, PROVIDER, address, limits);
    let url = format!("https://{address}/");
    let send = || within(client.send(Method::GET, &url, JSON, Bytes::new()));
    let error = send().await.unwrap_err();
    assert!(
        matches!(&error, SendError::Timeout { step: Step::Handshake, .. })
            && error.is_transient()
            && !error.may_have_arrived(),
        "{error:?}"
    );
    drop(socket);
    let error = send().await.unwrap_err();
    assert!(
        matches!(&error, SendError::Unreachable { step: Step::Connect, .. })
            && error.is_transient(),
        "{error:?}"
    );
}

#[tokio::test]
async fn something_that_is_not_tls_is_said_to_be_so() {
    use tokio::io::AsyncWriteExt;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = socket.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let (identity, _) = identity(&site(CONSUMER), &[&site(PROVIDER)]);
    let client = client(identity, PROVIDER, address, DialLimits::default());
    let error = within(client.open(&format!("https://{address}/"), HeaderMap::new())).await;
    let error = error.unwrap_err();
    assert!(matches!(error, SendError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_never_comes_takes_the_request_time() {
    let handler = |_request: Request<Incoming>, _connection: Arc<Connection>| {
        std::future::pending::<Response<crate::net::Body>>()
    };
    let pair = Pair::serve(handler, ListenerLimits::default());
    let limits = DialLimits {
        request_timeout: Duration::from_millis(300),
        pace: Pace { minimum_bytes_per_second: NonZeroU64::MIN, ..Pace::default() },
        ..DialLimits::default()
    };
    let client = pair.client_of(&pair.consumer, &pair.provider, limits);
    for error in [
        post(&client, &pair, "/", b"").await.map(|_| ()).unwrap_err(),
        within(client.open(&pair.url("/"), HeaderMap::new())).await.map(|_| ()).unwrap_err(),
    ] {
        assert!(matches!(error, SendError::Timeout { step: Step::Request, .. }), "{error:?}");
        assert!(error.is_transient() && error.may_have_arrived());
    }
}

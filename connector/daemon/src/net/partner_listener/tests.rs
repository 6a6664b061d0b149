use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::NamedGroup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::net::client::SendError;
use crate::net::full;
use crate::net::testing::{CONSUMER, Pair, client, identity, site, store, within};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn limits() -> ListenerLimits {
    ListenerLimits::default()
}

/// Answers with what is known of the connection.
async fn describe(_request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
    let (version, group) = (connection.version(), connection.group());
    let text =
        format!("{} {version:?} {group:?} {}", connection.participant(), connection.remote());
    Response::new(full(text))
}

async fn get(pair: &Pair, client: &crate::net::PartnerClient) -> Result<String, SendError> {
    let answer = within(client.send(Method::GET, &pair.url("/"), JSON, Bytes::new())).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

/// Reads until the other side has closed.
async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    bytes
}

#[tokio::test]
async fn http1_is_served_to_the_partner_that_the_certificate_names() {
    let pair = Pair::serve(describe, limits());
    let said = get(&pair, &pair.client()).await.unwrap();
    let group = Some(NamedGroup::X25519MLKEM768);
    assert!(said.starts_with(&format!("{CONSUMER} Http1 {group:?} 127.0.0.1:")), "{said}");
}

#[tokio::test]
async fn alpn_chooses_http2() {
    let pair = Pair::serve(describe, limits());
    let stream = pair.tls(&[b"h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get(pair.url("/")).body(Empty::<Bytes>::new()).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    let body = Limited::new(response.into_body(), 1000);
    #[expect(clippy::disallowed_methods, reason = "it is limited")]
    let said = body.collect().await.unwrap().to_bytes();
    assert!(said.starts_with(format!("{CONSUMER} Http2").as_bytes()), "{said:?}");
}

#[tokio::test]
async fn http2_without_alpn_and_plain_http_are_not_understood() {
    let mut pair = Pair::serve(describe, limits());
    let mut stream = pair.tls(&[]).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let said = read_to_end(&mut stream).await;
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400"), "{said:?}");

    let mut plain = TcpStream::connect(pair.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(pair.refused().await, "the handshake failed");
    assert!(!read_to_end(&mut plain).await.starts_with(b"HTTP"));
}

#[tokio::test]
async fn a_silent_handshake_ends() {
    let handshake_timeout = Duration::from_millis(50);
    let mut pair = Pair::serve(describe, ListenerLimits { handshake_timeout, ..limits() });
    let mut silent = TcpStream::connect(pair.address).await.unwrap();
    assert_eq!(pair.refused().await, "the handshake took longer than 50.0ms");
    assert!(read_to_end(&mut silent).await.is_empty());
}

#[tokio::test]
async fn one_address_cannot_hold_all_handshakes() {
    let mut pair =
        Pair::serve(describe, ListenerLimits { max_handshakes_per_address: 2, ..limits() });
    let _first = TcpStream::connect(pair.address).await.unwrap();
    let _second = TcpStream::connect(pair.address).await.unwrap();
    let mut third = TcpStream::connect(pair.address).await.unwrap();
    assert_eq!(pair.refused().await, "127.0.0.1 already has 2 handshakes under way");
    assert!(read_to_end(&mut third).await.is_empty());
}

#[tokio::test]
async fn each_partner_has_so_many_connections() {
    let mut pair =
        Pair::serve(describe, ListenerLimits { max_connections_per_partner: 1, ..limits() });
    let first = pair.client();
    get(&pair, &first).await.unwrap();
    let error = get(&pair, &pair.client()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(pair.refused().await, format!("partner `{CONSUMER}` already has 1 connections"));
    // The one that is there works on.
    get(&pair, &first).await.unwrap();
}

#[tokio::test]
async fn all_partners_have_so_many_connections() {
    let mut pair = Pair::serve(describe, ListenerLimits { max_connections: 1, ..limits() });
    let first = pair.client();
    get(&pair, &first).await.unwrap();
    get(&pair, &pair.client()).await.unwrap_err();
    assert_eq!(pair.refused().await, "all 1 connections are in use");
}

#[tokio::test]
async fn a_partner_connects_only_from_its_networks() {
    let mut pair = Pair::serve(describe, limits());
    pair.gate.bar(CONSUMER, pair.address.ip());
    get(&pair, &pair.client()).await.unwrap_err();
    assert!(pair.refused().await.contains("may not connect from 127.0.0.1"));
}

#[tokio::test]
async fn strangers_and_other_authorities_are_refused() {
    let mut pair = Pair::serve(describe, limits());
    // Registered nowhere.
    let stranger = site("did:web:stranger.example");
    let client = pair.client_of(&stranger, &pair.provider, crate::net::DialLimits::default());
    let error = get(&pair, &client).await.unwrap_err();
    assert!(matches!(error, SendError::WeAreRefused { .. }), "{error:?}");
    assert!(pair.refused().await.contains("belongs to no registered partner"));
    // The partner's name, from an authority that is not the partner's.
    let impostor = site(CONSUMER);
    let client = pair.client_of(&impostor, &pair.provider, crate::net::DialLimits::default());
    let error = get(&pair, &client).await.unwrap_err();
    assert!(matches!(error, SendError::WeAreRefused { .. }), "{error:?}");
    assert!(pair.refused().await.contains(CONSUMER));
}

#[tokio::test]
async fn a_partner_that_is_removed_is_refused_on_its_open_connection() {
    let pair = Pair::serve(describe, limits());
    let client = pair.client();
    get(&pair, &client).await.unwrap();
    pair.identity.trust.replace(store(2, &[]));
    let SendError::Status { answer, .. } = get(&pair, &client).await.unwrap_err() else { panic!() };
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.headers.get(header::CONNECTION).unwrap(), "close");
    // The connection is gone; a new one does not get past the handshake.
    let error = get(&pair, &client).await.unwrap_err();
    assert!(matches!(error, SendError::WeAreRefused { .. }), "{error:?}");
}

#[tokio::test]
async fn an_unrelated_change_of_partners_keeps_connections() {
    let pair = Pair::serve(describe, limits());
    let client = pair.client();
    let first = get(&pair, &client).await.unwrap();
    pair.identity.trust.replace(store(2, &[&pair.consumer, &site("did:web:third.example")]));
    assert_eq!(get(&pair, &client).await.unwrap(), first);
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_its_open_connection() {
    let pair = Pair::serve(describe, limits());
    let client = pair.client();
    get(&pair, &client).await.unwrap();
    pair.clock.pass_years(30);
    let SendError::Status { answer, .. } = get(&pair, &client).await.unwrap_err() else { panic!() };
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

/// Says that a request has come, and answers when told.
fn held() -> (mpsc::UnboundedReceiver<()>, Arc<Notify>, impl Handler<Connection>) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let handler = move |_request: Request<Incoming>, _connection: Arc<Connection>| {
        let (arrived, released) = (arrived.clone(), Arc::clone(&released));
        async move {
            arrived.send(()).unwrap();
            released.notified().await;
            Response::new(full("done"))
        }
    };
    (arrivals, release, handler)
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_takes_no_more() {
    let (mut arrivals, release, handler) = held();
    let pair = Pair::serve(handler, limits());
    let client = pair.client();
    let (url, sending) = (pair.url("/"), client.clone());
    let request =
        tokio::spawn(async move { sending.send(Method::GET, &url, JSON, Bytes::new()).await });
    within(arrivals.recv()).await.unwrap();
    pair.shutdown.drain();
    // The listening socket closes with its accept loop.
    let mut refused = get(&pair, &pair.client()).await;
    while !matches!(refused, Err(SendError::Unreachable { .. })) {
        refused = get(&pair, &pair.client()).await;
    }
    assert!(!pair.serving.is_finished());
    release.notify_one();
    assert_eq!(within(request).await.unwrap().unwrap().body, "done");
    within(pair.serving).await.unwrap();
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_a_stop_at_once() {
    for stop in [false, true] {
        let (mut arrivals, _release, handler) = held();
        let drain = Duration::from_millis(if stop { 600_000 } else { 50 });
        let http = HttpLimits { drain, ..HttpLimits::default() };
        let pair = Pair::serve(handler, ListenerLimits { http, ..limits() });
        let (url, client) = (pair.url("/"), pair.client());
        let request =
            tokio::spawn(async move { client.send(Method::GET, &url, JSON, Bytes::new()).await });
        within(arrivals.recv()).await.unwrap();
        pair.shutdown.drain();
        if stop {
            pair.shutdown.stop();
        }
        within(pair.serving).await.unwrap();
        let error = within(request).await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::Interrupted { .. }), "{error:?}");
        assert!(error.is_transient() && error.may_have_arrived());
    }
}

#[tokio::test]
async fn several_addresses_are_served_or_none() {
    let (identity, _) = identity(&site("did:web:alone.example"), &[]);
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = PartnerListener::bind(&[any, any], identity.clone()).unwrap();
    let [first, second] = listener.addresses() else { panic!() };
    assert!(first.port() != 0 && second.port() != 0 && first != second);
    let error = PartnerListener::bind(&[any, *first], identity.clone()).unwrap_err();
    assert!(error.to_string().contains(&first.to_string()), "{error}");
    assert!(matches!(PartnerListener::bind(&[], identity), Err(ListenError::NoAddress)));
}

#[tokio::test]
async fn clients_of_one_node_do_not_share_another_partners_connection() {
    let pair = Pair::serve(describe, limits());
    // Whom we dial has to be who answers, even where both are partners of ours.
    let third = site("did:web:third.example");
    let (identity, _) = identity(&pair.consumer, &[&pair.provider, &third]);
    let wrong = client(identity, "did:web:third.example", pair.address, Default::default());
    let error = get(&pair, &wrong).await.unwrap_err();
    let SendError::PartnerRefused { source, .. } = error else { panic!("{error:?}") };
    assert!(matches!(source, TrustError::OtherPartner { .. }), "{source}");
}

#[test]
fn ipv6_neighbours_count_as_one() {
    let of = |text: &str| household(text.parse().unwrap()).to_string();
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    assert_eq!(of("192.0.2.7"), "192.0.2.7");
}

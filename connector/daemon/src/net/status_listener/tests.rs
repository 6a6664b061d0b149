use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::testing::within;
use crate::net::{Body, full};

async fn alive(request: Request<Incoming>, _visitor: Arc<Visitor>) -> Response<Body> {
    Response::new(full(request.uri().path().to_owned()))
}

const PROBE: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let _ = within(stream.read_to_string(&mut answer)).await;
    answer
}

async fn probe(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(PROBE).await.unwrap();
    rest(stream).await
}

#[tokio::test]
async fn probes_are_answered_until_the_stop() {
    let listener = StatusListener::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listener.addresses()[0];
    let shutdown = Shutdown::new();
    let limits = StatusLimits::default();
    let serving = tokio::spawn(listener.serve(Arc::new(alive), limits, shutdown.clone()));
    assert!(probe(address).await.ends_with("/health/live"));
    shutdown.drain();
    assert!(probe(address).await.ends_with("/health/live"));
    shutdown.stop();
    within(serving).await.unwrap();
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn connections_over_the_limit_are_closed() {
    let listener = StatusListener::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listener.addresses()[0];
    let limits = StatusLimits { max_connections: 1, ..StatusLimits::default() };
    tokio::spawn(listener.serve(Arc::new(alive), limits, Shutdown::new()));
    let mut first = TcpStream::connect(address).await.unwrap();
    assert_eq!(rest(TcpStream::connect(address).await.unwrap()).await, "");
    first.write_all(PROBE).await.unwrap();
    assert!(rest(first).await.ends_with("/health/live"));
}

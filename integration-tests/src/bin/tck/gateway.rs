//! Carries the kit's plain HTTP to the node's mutual-TLS port, and the node's messages back to the kit.
//!
//! Towards the node the gateway is the partner `TCK_PARTICIPANT`: it dials with that client certificate and serves with that
//! server certificate, and takes nobody but the node. Bodies pass byte for byte, with one exception: the node's own
//! `callbackAddress`, which is https with a client certificate and so out of the kit's reach, becomes the gateway's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use integration_tests::authority::Credential;
use integration_tests::connector::BASE;
use integration_tests::schemas::Schemas;
use rustix::net::sockopt;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const LIMIT: Duration = Duration::from_secs(60);
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long the kit is given to take note of an answer before a message of the node follows. It answers 409 to what overtakes
/// its own bookkeeping, and then waits for that message no more, so that no repetition helps.
const SETTLING: Duration = Duration::from_millis(150);
/// How long a message of the node is held at most.
const LONGEST_HOLD: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);
/// What says something about one connection, or is made anew with the body; and the wish for compressed answers, which could
/// not be judged as they pass.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What the line does to messages.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// How long each message and each answer is under way, in both directions.
    pub(crate) latency: Duration,
    /// Of so many connections and requests of the node one is reset, before the request has reached the kit.
    pub(crate) reset_every: Option<u64>,
}

/// Where everybody listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// The node, for partners.
    pub(crate) node: SocketAddr,
    /// The gateway, for the kit: plain.
    pub(crate) for_kit: SocketAddr,
    /// The gateway, for the node: TLS.
    pub(crate) for_node: SocketAddr,
    /// The kit: plain.
    pub(crate) kit: SocketAddr,
}

/// What passed through the gateway.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How many documents of the node there were of each type.
    pub(crate) judged: BTreeMap<String, u64>,
    /// What was wrong with documents of the node.
    pub(crate) faults: Vec<String>,
    /// Connections and requests of the node that were reset.
    pub(crate) resets: u64,
    /// Everything, for people.
    pub(crate) transcript: String,
}

/// The gateway, which serves until the runtime ends.
pub(crate) struct Gateway {
    addresses: Addresses,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    schemas: Schemas,
    faults: Mutex<Faults>,
    counted: AtomicU64,
    seen: Mutex<Seen>,
    asking: Mutex<Asking>,
}

/// What the kit is busy with.
#[derive(Debug, Default)]
struct Asking {
    /// Its messages that are not answered yet.
    count: usize,
    /// When the latest answer reached it.
    answered: Option<Instant>,
}

/// A message or an answer, whole.
struct Whole {
    headers: HeaderMap,
    body: Bytes,
}

impl Gateway {
    /// A gateway with the partner's certificates, for both directions, towards a node with these anchors.
    pub(crate) fn new(
        addresses: Addresses,
        credential: &Credential,
        anchors: RootCertStore,
        schemas: Schemas,
    ) -> Result<Self> {
        let provider = Arc::new(certs::tls::provider());
        let versions = [&rustls::version::TLS13];
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)?
            .with_root_certificates(anchors.clone())
            .with_client_auth_cert(credential.chain.clone(), credential.key.clone_key())?;
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let only_node =
            WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), Arc::clone(&provider))
                .build()?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .with_client_cert_verifier(only_node)
            .with_single_cert(credential.chain.clone(), credential.key.clone_key())?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            addresses,
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            schemas,
            faults: Mutex::default(),
            counted: AtomicU64::new(0),
            seen: Mutex::default(),
            asking: Mutex::default(),
        })
    }

    /// Listens on both sides and serves in the background.
    pub(crate) async fn serve(self: &Arc<Self>) -> Result<()> {
        let for_kit = TcpListener::bind(self.addresses.for_kit).await?;
        let for_node = TcpListener::bind(self.addresses.for_node).await?;
        let gateway = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = for_kit.accept().await {
                let gateway = Arc::clone(&gateway);
                tokio::spawn(async move {
                    let pass = |request| {
                        let gateway = Arc::clone(&gateway);
                        async move { gateway.to_node(request).await }
                    };
                    let _ = serve(stream, pass).await;
                });
            }
        });
        let gateway = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = for_node.accept().await {
                let gateway = Arc::clone(&gateway);
                tokio::spawn(async move {
                    let _ = gateway.take(stream).await;
                });
            }
        });
        Ok(())
    }

    /// Changes what the line does.
    pub(crate) fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Hands over what was seen, and begins anew.
    pub(crate) fn seen(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the kit's own schema judges documents of a type.
    pub(crate) fn is_official(&self, kind: &str) -> bool {
        self.schemas.is_official(kind)
    }

    /// Notes something for people beside the messages.
    pub(crate) fn note(&self, text: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(seen.transcript, "{} {text}", jiff::Timestamp::now());
    }

    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next thing is to be reset; each is counted once.
    fn is_cut(&self) -> bool {
        let Some(every) = self.faults().reset_every else { return false };
        let number = self.counted.fetch_add(1, Ordering::Relaxed) + 1;
        number.is_multiple_of(every.max(1))
    }

    /// Serves one connection of the node.
    async fn take(self: &Arc<Self>, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let wire = Arc::new(std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned()?);
        if self.is_cut() {
            self.reset("a connection", &wire)?;
            return Ok(());
        }
        let stream = self.acceptor.accept(stream).await?;
        let pass = |request| {
            let (gateway, wire) = (Arc::clone(self), Arc::clone(&wire));
            async move { gateway.to_kit(request, &wire).await }
        };
        serve(stream, pass).await
    }

    /// Ends a connection of the node with RST.
    fn reset(&self, what: &str, wire: &std::os::fd::OwnedFd) -> Result<()> {
        self.note(&format!("RESET {what}"));
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).resets += 1;
        sockopt::set_socket_linger(wire, Some(Duration::ZERO))?;
        rustix::net::shutdown(wire, rustix::net::Shutdown::Both)?;
        Ok(())
    }

    /// Carries a request of the node to the kit, and the answer back.
    async fn to_kit(
        &self,
        request: Request<Incoming>,
        wire: &std::os::fd::OwnedFd,
    ) -> Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let mut body = whole(body).await?;
        let shown = format!("{} {}", head.method, head.uri.path());
        if self.is_cut() {
            self.reset(&format!("node -> kit {shown}"), wire)?;
            bail!("reset");
        }
        let document = self.judge(&format!("node -> kit {shown}"), &body);
        if let Some(rewritten) = document.and_then(|document| self.reachable(document)) {
            body = rewritten;
        }
        let latency = self.faults().latency;
        tokio::time::sleep(latency).await;
        self.settled().await;
        let stream =
            TcpStream::connect(self.addresses.kit).await.context("the kit does not listen")?;
        stream.set_nodelay(true)?;
        let (status, answer) = ask(stream, &head, body, self.addresses.kit).await?;
        self.note(&format!(
            "kit -> node {status} to {shown} {}",
            String::from_utf8_lossy(&answer.body)
        ));
        tokio::time::sleep(latency).await;
        Ok(answered(status, answer))
    }

    /// Waits until the kit has had time to note the answers to its own messages.
    async fn settled(&self) {
        let held = Instant::now();
        while held.elapsed() < LONGEST_HOLD {
            {
                let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
                let noted = asking.answered.is_none_or(|when| when.elapsed() >= SETTLING);
                if asking.count == 0 && noted {
                    return;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Carries a request of the kit to the node, and the answer back.
    async fn to_node(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let is_message = request.method() == Method::POST;
        if is_message {
            self.asking.lock().unwrap_or_else(PoisonError::into_inner).count += 1;
        }
        let answered = self.pass_to_node(request).await;
        if is_message {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            asking.count = asking.count.saturating_sub(1);
            asking.answered = Some(Instant::now());
        }
        answered
    }

    async fn pass_to_node(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = whole(body).await?;
        let shown = format!("{} {}", head.method, head.uri.path());
        self.note(&format!("kit -> node {shown} {}", String::from_utf8_lossy(&body)));
        let latency = self.faults().latency;
        tokio::time::sleep(latency).await;
        let stream =
            TcpStream::connect(self.addresses.node).await.context("the node does not listen")?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.addresses.node.ip().into());
        let stream = self.connector.connect(name, stream).await?;
        let (status, answer) = ask(stream, &head, body, self.addresses.node).await?;
        self.judge(&format!("node -> kit {status} to {shown}"), &answer.body);
        tokio::time::sleep(latency).await;
        Ok(answered(status, answer))
    }

    /// Judges a document of the node by the schema of its type. Without a body there is nothing to judge.
    fn judge(&self, context: &str, body: &Bytes) -> Option<Value> {
        self.note(&format!("{context} {}", String::from_utf8_lossy(body)));
        if body.is_empty() {
            return None;
        }
        let parsed = serde_json::from_slice::<Value>(body);
        let (kind, faults) = match &parsed {
            Ok(document) => self.schemas.judge(document),
            Err(error) => ("not JSON".to_owned(), vec![format!("not JSON: {error}")]),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.judged.entry(kind).or_default() += 1;
        seen.faults.extend(faults.into_iter().map(|fault| format!("{context}: {fault}")));
        parsed.ok()
    }

    /// The document with a callback address that the kit can reach; `None` where it has none.
    fn reachable(&self, mut document: Value) -> Option<Bytes> {
        let callback = document.get_mut("callbackAddress")?;
        *callback = Value::String(format!("http://{}{BASE}", self.addresses.for_kit));
        Some(Bytes::from(document.to_string()))
    }
}

/// Serves HTTP on a connection; a request that fails ends it without an answer.
async fn serve<S, F, P>(stream: S, pass: P) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Fn(Request<Incoming>) -> F + Send + Sync,
    F: Future<Output = Result<Response<Full<Bytes>>>> + Send + 'static,
{
    let server = auto::Builder::new(TokioExecutor::new());
    let served = server.serve_connection(TokioIo::new(stream), service_fn(pass)).await;
    served.map_err(|error| anyhow::anyhow!("{error}"))
}

/// Sends one request on a connection of its own and takes the whole answer.
async fn ask<S>(
    stream: S,
    head: &Parts,
    body: Bytes,
    to: SocketAddr,
) -> Result<(http::StatusCode, Whole)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder().method(head.method.clone()).uri(target);
    for (name, value) in &head.headers {
        if !HOP_BY_HOP.contains(name) {
            request = request.header(name, value);
        }
    }
    let request = request.header(header::HOST, to.to_string()).body(Full::new(body))?;
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        anyhow::Ok((head.status, Whole { headers: head.headers, body: whole(body).await? }))
    };
    tokio::time::timeout(LIMIT, exchange).await.context("no answer came")?
}

async fn whole<B>(body: B) -> Result<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
    let collected = Limited::new(body, MAX_BYTES).collect().await;
    Ok(collected.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
}

fn answered(status: http::StatusCode, answer: Whole) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = status;
    for (name, value) in &answer.headers {
        if !HOP_BY_HOP.contains(name) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

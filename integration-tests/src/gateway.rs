//! Carries the plain HTTP of a foreign connector (the peer: the compatibility kit, Eclipse EDC) to the node's mutual-TLS port,
//! and the node's messages back to it.
//!
//! Towards the node the gateway is the partner: it dials with that partner's client certificate and serves with its server
//! certificate, and takes nobody but the node. Bodies pass byte for byte, with one exception: the node's own addresses
//! (`callbackAddress`, the endpoint of a data address), which are https with a client certificate and so out of the peer's
//! reach, become the gateway's.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use rustix::net::sockopt;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::authority::{Authority, Credential};
use crate::plain;
use crate::schemas::Schemas;
use crate::site::Site;

/// How long a message of the node is held at most.
const LONGEST_HOLD: Duration = Duration::from_secs(2);
/// Paths under which the node's documents are judged: the protocol's, not those of data.
const JUDGED: [&str; 2] = ["/dsp", "/.well-known"];
/// Longer bodies are data, of which the transcript has the size.
const SHOWN_MAX: usize = 64 * 1024;
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
pub struct Faults {
    /// How long each message and each answer is under way, in both directions.
    pub latency: Duration,
    /// Of so many connections and requests of the node one is reset, before the request has reached the peer.
    pub reset_every: Option<u64>,
}

/// Where everybody listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The node, for partners.
    pub node: SocketAddr,
    /// The gateway, for the peer: plain.
    pub for_peer: SocketAddr,
    /// The gateway, for the node: TLS.
    pub for_node: SocketAddr,
    /// The peer: plain.
    pub peer: SocketAddr,
}

/// What a peer needs of the gateway beside the line.
#[derive(Debug, Clone)]
pub struct Habits {
    /// What it is called in the transcript.
    pub name: &'static str,
    /// How long it is given to take note of an answer before a message of the node follows.
    pub settling: Duration,
    /// Where requests of the node go whose path begins so, instead of to [`Addresses::peer`].
    pub routes: Vec<(&'static str, SocketAddr)>,
    /// What the `Authorization` of the node's messages says, where the peer asks for a token and the node sends none.
    pub token: Option<String>,
}

/// What passed through the gateway.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many documents of the node there were of each type.
    pub judged: BTreeMap<String, u64>,
    /// What was wrong with documents of the node.
    pub faults: Vec<String>,
    /// Connections and requests of the node that were reset.
    pub resets: u64,
    /// Everything, for people.
    pub transcript: String,
}

/// The gateway, which serves until the runtime ends.
pub struct Gateway {
    addresses: Addresses,
    habits: Habits,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    schemas: Option<Schemas>,
    faults: Mutex<Faults>,
    counted: AtomicU64,
    seen: Mutex<Seen>,
    asking: Mutex<Asking>,
}

/// What the peer is busy with.
#[derive(Debug, Default)]
struct Asking {
    /// Its messages that are not answered yet.
    count: usize,
    /// When the latest answer reached it.
    answered: Option<Instant>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gateway")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway with the partner's certificates, for both directions, towards a node with these anchors.
    ///
    /// # Errors
    /// When the certificates do not serve.
    pub fn new(
        addresses: Addresses,
        habits: Habits,
        credential: &Credential,
        anchors: RootCertStore,
        schemas: Option<Schemas>,
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
            habits,
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
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn serve(self: &Arc<Self>) -> Result<()> {
        let for_peer = TcpListener::bind(self.addresses.for_peer).await?;
        let for_node = TcpListener::bind(self.addresses.for_node).await?;
        let gateway = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = for_peer.accept().await {
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
    pub fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Hands over what was seen, and begins anew.
    pub fn seen(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last line of the transcript that has these words.
    pub fn last(&self, words: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = seen.transcript.lines().rev().find(|line| line.contains(words));
        found.map(str::to_owned)
    }

    /// Whether the kit's own schema judges documents of a type.
    pub fn is_official(&self, kind: &str) -> bool {
        self.schemas.as_ref().is_some_and(|schemas| schemas.is_official(kind))
    }

    /// Notes something for people beside the messages.
    pub fn note(&self, text: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(seen.transcript, "{} {text}", Timestamp::now());
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
            async move { gateway.to_peer(request, &wire).await }
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

    /// Carries a request of the node to the peer, and the answer back.
    async fn to_peer(
        &self,
        request: Request<Incoming>,
        wire: &std::os::fd::OwnedFd,
    ) -> Result<Response<Full<Bytes>>> {
        let peer = self.habits.name;
        let (mut head, body) = request.into_parts();
        let mut body = plain::whole(body).await?;
        let shown = format!("{} {}", head.method, head.uri.path());
        if self.is_cut() {
            self.reset(&format!("node -> {peer} {shown}"), wire)?;
            bail!("reset");
        }
        let document = self.judge(head.uri.path(), &format!("node -> {peer} {shown}"), &body);
        if let Some(rewritten) = document.and_then(|document| self.reachable(document)) {
            body = rewritten;
        }
        let latency = self.faults().latency;
        tokio::time::sleep(latency).await;
        self.settled().await;
        let to = self.route(head.uri.path());
        if let Some(token) = &self.habits.token
            && !head.headers.contains_key(header::AUTHORIZATION)
        {
            head.headers.insert(header::AUTHORIZATION, token.parse()?);
        }
        let stream = TcpStream::connect(to).await;
        let stream = stream.with_context(|| format!("{peer} does not listen at {to}"))?;
        stream.set_nodelay(true)?;
        let answer = ask(stream, &head, body, to).await?;
        self.note(&format!(
            "{peer} -> node {} to {shown} {}",
            answer.status(),
            text(answer.body())
        ));
        tokio::time::sleep(latency).await;
        Ok(answered(answer))
    }

    /// Where a request of the node goes.
    fn route(&self, path: &str) -> SocketAddr {
        let found = self.habits.routes.iter().find(|(prefix, _)| path.starts_with(prefix));
        found.map_or(self.addresses.peer, |(_, to)| *to)
    }

    /// Waits until the peer has had time to note the answers to its own messages.
    async fn settled(&self) {
        let (held, settling) = (Instant::now(), self.habits.settling);
        while !settling.is_zero() && held.elapsed() < LONGEST_HOLD {
            {
                let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
                let noted = asking.answered.is_none_or(|when| when.elapsed() >= settling);
                if asking.count == 0 && noted {
                    return;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Carries a request of the peer to the node, and the answer back.
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
        let peer = self.habits.name;
        let (head, body) = request.into_parts();
        let body = plain::whole(body).await?;
        let shown = format!("{} {}", head.method, head.uri.path());
        self.note(&format!("{peer} -> node {shown} {}", text(&body)));
        let latency = self.faults().latency;
        tokio::time::sleep(latency).await;
        let stream =
            TcpStream::connect(self.addresses.node).await.context("the node does not listen")?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.addresses.node.ip().into());
        let stream = self.connector.connect(name, stream).await?;
        let answer = ask(stream, &head, body, self.addresses.node).await?;
        let context = format!("node -> {peer} {} to {shown}", answer.status());
        self.judge(head.uri.path(), &context, answer.body());
        tokio::time::sleep(latency).await;
        Ok(answered(answer))
    }

    /// Judges a document of the node by the schema of its type. Without a body there is nothing to judge.
    fn judge(&self, path: &str, context: &str, body: &Bytes) -> Option<Value> {
        self.note(&format!("{context} {}", text(body)));
        let judged = !body.is_empty() && JUDGED.iter().any(|prefix| path.starts_with(prefix));
        let schemas = self.schemas.as_ref().filter(|_| judged);
        let parsed = serde_json::from_slice::<Value>(body);
        if let Some(schemas) = schemas {
            let (kind, faults) = match &parsed {
                Ok(document) => schemas.judge(document),
                Err(error) => ("not JSON".to_owned(), vec![format!("not JSON: {error}")]),
            };
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen.judged.entry(kind).or_default() += 1;
            seen.faults.extend(faults.into_iter().map(|fault| format!("{context}: {fault}")));
        }
        parsed.ok()
    }

    /// The document with addresses that the peer can reach; `None` where it has none.
    fn reachable(&self, mut document: Value) -> Option<Bytes> {
        let Addresses { node, for_peer, .. } = self.addresses;
        let own = format!("https://{node}/");
        let mut rewritten = false;
        let mut rewrite = |place: Option<&mut Value>| {
            if let Some(Value::String(address)) = place
                && let Some(path) = address.strip_prefix(&own)
            {
                *address = format!("http://{for_peer}/{path}");
                rewritten = true;
            }
        };
        rewrite(document.get_mut("callbackAddress"));
        if let Some(address) = document.get_mut("dataAddress") {
            rewrite(address.get_mut("endpoint"));
            let properties = address.get_mut("endpointProperties").and_then(Value::as_array_mut);
            for property in properties.into_iter().flatten() {
                rewrite(property.get_mut("value"));
            }
        }
        rewritten.then(|| Bytes::from(document.to_string()))
    }
}

/// What a node needs of a partner that stands behind a gateway, and the gateway of the node.
#[derive(Debug)]
pub struct Trust {
    /// What the gateway presents.
    pub credential: Arc<Credential>,
    /// Above the node's certificates.
    pub anchors: RootCertStore,
}

impl Trust {
    /// Registers the partner with a node whose daemon does not run yet, as an administrator does it for a partner with another
    /// connector: a partner file, with an authority of the partner's own. The certificate calls it `certified`.
    ///
    /// # Errors
    /// When the file cannot be written or the site's certificates cannot be read.
    pub fn register(site: &Site, partner: &Partner<'_>) -> Result<Self> {
        let Partner { name, participant, certified, title, endpoint } = partner;
        let authority = Authority::unknown(&format!("Authority of {title}"))?;
        let anchor = authority.pem()?;
        let text = format!(
            "id = \"{participant}\"\n\
             title = \"{title}\"\n\
             dsp_endpoint = \"{endpoint}\"\n\
             groups = [\"partners\"]\n\
             networks = [\"127.0.0.0/8\"]\n\
             [identity]\n\
             san_uris = [\"{certified}\"]\n\
             server_anchors = [\"\"\"\n{anchor}\"\"\"]\n\
             client_anchors = [\"\"\"\n{anchor}\"\"\"]\n"
        );
        std::fs::write(site.path(&format!("partners/{name}.toml")), text)?;
        let pki = certs::pki::SitePki::load(&site.path("pki"), Timestamp::now())?;
        let mut anchors = RootCertStore::empty();
        for identity in [&pki.server, &pki.client] {
            anchors.add(identity.anchor().der().clone())?;
        }
        Ok(Self { credential: authority.mint(certified)?, anchors })
    }
}

/// A partner that stands behind a gateway.
#[derive(Debug, Clone, Copy)]
pub struct Partner<'a> {
    /// The short name at the node.
    pub name: &'a str,
    /// Its participant id.
    pub participant: &'a str,
    /// How its certificates name it, which has to be a URI.
    pub certified: &'a str,
    /// The name for people.
    pub title: &'a str,
    /// Where the node finds it.
    pub endpoint: &'a str,
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

/// A body as the transcript shows it.
fn text(body: &Bytes) -> String {
    if body.len() > SHOWN_MAX {
        return format!("({} bytes)", body.len());
    }
    String::from_utf8_lossy(body).into_owned()
}

/// Sends a request on and takes the whole answer.
async fn ask<S>(stream: S, head: &Parts, body: Bytes, to: SocketAddr) -> Result<Response<Bytes>>
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
    plain::ask(stream, request.header(header::HOST, to.to_string()).body(Full::new(body))?).await
}

fn answered(answer: Response<Bytes>) -> Response<Full<Bytes>> {
    let (mut head, body) = answer.into_parts();
    for name in HOP_BY_HOP {
        head.headers.remove(name);
    }
    Response::from_parts(head, Full::new(body))
}

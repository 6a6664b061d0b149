//! A partner's whole connector, played by a test: it dials with a site's client certificate and serves under the site's
//! name and address, while the site's own daemon does not run.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::authority::Credential;
use crate::peer::{Peer, Reply};
use crate::schemas::Schemas;
use crate::site::Site;
use crate::wait::PATIENCE;

const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The context of every DSP 2025-1 message.
pub const CONTEXT: &str = "https://w3id.org/dspace/2025/1/context.jsonld";
/// The base path of the node's endpoints, and of ours.
pub const BASE: &str = "/dsp/2025-1";

/// A message that the node sent us.
#[derive(Debug, Clone)]
pub struct Received {
    /// The path at which it came; DSP's are under [`BASE`].
    pub path: String,
    /// Its header fields.
    pub headers: HeaderMap,
    /// The document.
    pub body: Value,
}

/// How the partner's endpoints answer.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// The status.
    pub status: StatusCode,
    /// The status of an answer to HEAD, where it is another.
    pub head: Option<StatusCode>,
    /// A header field.
    pub header: Option<(&'static str, &'static str)>,
    /// How late the answer is.
    pub delay: Duration,
}

/// Where data are, and the token for them.
#[derive(Debug, Clone)]
pub struct Address {
    /// The path at the node.
    pub path: String,
    /// The value of the `Authorization` header.
    pub authorization: String,
    /// The token alone.
    pub token: String,
}

/// A transfer that began.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// Our id of it.
    pub consumer_pid: String,
    /// The node's id of it.
    pub provider_pid: String,
    /// Where the data are.
    pub address: Address,
}

/// A partner's connector, in the role of a consumer.
#[derive(Debug)]
pub struct Connector {
    /// Its dialling half.
    pub peer: Peer,
    origin: String,
    inbox: Receiver<Received>,
    manner: Arc<Mutex<Manner>>,
    schemas: Option<&'static Schemas>,
    _runtime: Runtime,
}

impl Connector {
    /// Plays `site`, whose daemon must not run, towards `node`.
    ///
    /// # Errors
    /// When it cannot listen at the site's address.
    pub fn play(site: &Site, node: &Site) -> Result<Self> {
        let credential = Credential::of_server(site)?;
        Self::serve(site, node, &credential)
    }

    /// Plays `site` with another server certificate.
    ///
    /// # Errors
    /// When it cannot listen at the site's address.
    pub fn serve(site: &Site, node: &Site, credential: &Credential) -> Result<Self> {
        Self::listen(site, node, credential, site.address())
    }

    /// Plays a further server of `site`, whose daemon may run, at another address.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn beside(site: &Site, node: &Site, address: SocketAddr) -> Result<Self> {
        let credential = Credential::of_server(site)?;
        Self::listen(site, node, &credential, address)
    }

    fn listen(
        site: &Site,
        node: &Site,
        credential: &Credential,
        address: SocketAddr,
    ) -> Result<Self> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(certs::tls::provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(credential.chain.clone(), credential.key.clone_key())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (sender, inbox) = mpsc::channel();
        let manner = Arc::new(Mutex::new(Manner::default()));
        let listener = runtime.block_on(listen(address))?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        runtime.spawn(accept(listener, acceptor, sender, Arc::clone(&manner)));
        Ok(Self {
            peer: Peer::of(site, node)?,
            origin: site.origin(),
            inbox,
            manner,
            schemas: Schemas::named()?,
            _runtime: runtime,
        })
    }

    /// Answers further messages with this status.
    pub fn answer(&self, status: StatusCode) {
        self.answer_in(Manner { status, ..Manner::default() });
    }

    /// Answers further messages in this manner.
    pub fn answer_in(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// Our callback address.
    pub fn callback(&self) -> String {
        format!("{}{BASE}", self.origin)
    }

    /// The next message of a type; others are dropped.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn expect(&self, kind: &str) -> Result<Received> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(received) = self.inbox.recv_timeout(left) else {
                bail!("no {kind} came within {PATIENCE:?}");
            };
            // What two of our nodes exchange beside DSP, such as checkpoints, has no official schema.
            if received.path.starts_with(BASE) {
                self.judge(&received.body)?;
            }
            if received.body.get("@type").and_then(Value::as_str) == Some(kind) {
                return Ok(received);
            }
        }
    }

    /// Whether a message came that nobody asked for with [`Connector::expect`].
    pub fn received(&self) -> Option<Received> {
        self.inbox.try_recv().ok()
    }

    /// Posts a message to one of the node's endpoints.
    ///
    /// # Errors
    /// When it is not answered, or with what violates the official schemas.
    pub fn post(&self, path: &str, message: &Value) -> Result<Reply> {
        self.peer.post(&format!("{BASE}{path}"), message)
    }

    /// What the node sent must be as its type's schema says, where the schemas are at hand.
    fn judge(&self, document: &Value) -> Result<()> {
        let Some(schemas) = self.schemas else { return Ok(()) };
        let (kind, faults) = schemas.judge(document);
        ensure!(faults.is_empty(), "{kind} violates its schema: {faults:?}\n{document}");
        Ok(())
    }

    /// The catalog that the node shows us.
    ///
    /// # Errors
    /// When it shows none.
    pub fn catalog(&self) -> Result<Value> {
        let message = json!({ "@context": [CONTEXT], "@type": "CatalogRequestMessage" });
        let reply = self.post("/catalog/request", &message)?;
        ensure!(reply.status == 200, "the catalog was refused: {reply:?}");
        reply.json()
    }

    /// The first offer of a dataset, as a request repeats it.
    ///
    /// # Errors
    /// When the dataset is not offered.
    pub fn offer(&self, dataset: &str) -> Result<Value> {
        let catalog = self.catalog()?;
        let found = array(&catalog, "/dataset")
            .into_iter()
            .find(|entry| entry.get("@id").and_then(Value::as_str) == Some(dataset))
            .with_context(|| format!("`{dataset}` is not in the catalog: {catalog}"))?;
        let mut offer = array(&found, "/hasPolicy")
            .into_iter()
            .next()
            .with_context(|| format!("`{dataset}` has no offer"))?;
        if let Some(members) = offer.as_object_mut() {
            members.insert("target".to_owned(), json!(dataset));
        }
        Ok(offer)
    }

    /// The first message of a negotiation, with new ids.
    pub fn contract_request(&self, offer: &Value, purpose: Option<&str>) -> Value {
        let mut message = json!({
            "@context": [CONTEXT],
            "@type": "ContractRequestMessage",
            "@id": urn(),
            "consumerPid": urn(),
            "callbackAddress": self.callback(),
            "offer": offer,
        });
        if let (Some(purpose), Some(members)) = (purpose, message.as_object_mut()) {
            members.insert("urn:sekisho:v1:purpose".to_owned(), json!(purpose));
        }
        message
    }

    /// Negotiates to the end; the agreement's id.
    ///
    /// # Errors
    /// When the node does not agree.
    pub fn negotiate(&self, dataset: &str, purpose: Option<&str>) -> Result<String> {
        let request = self.contract_request(&self.offer(dataset)?, purpose);
        let reply = self.post("/negotiations/request", &request)?;
        ensure!(reply.status == 201, "the request was refused: {reply:?}");
        let agreement = self.expect("ContractAgreementMessage")?;
        let id = text(&agreement.body, "/agreement/@id")?;
        let provider_pid = text(&agreement.body, "/providerPid")?;
        let verification = json!({
            "@context": [CONTEXT],
            "@type": "ContractAgreementVerificationMessage",
            "@id": urn(),
            "providerPid": provider_pid,
            "consumerPid": text(&agreement.body, "/consumerPid")?,
        });
        let path = format!("/negotiations/{}/agreement/verification", encode(&provider_pid));
        let reply = self.post(&path, &verification)?;
        ensure!(reply.status == 200, "the verification was refused: {reply:?}");
        self.expect("ContractNegotiationEventMessage")?;
        Ok(id)
    }

    /// The first message of a transfer, with new ids.
    pub fn transfer_request(&self, agreement: &str) -> Value {
        json!({
            "@context": [CONTEXT],
            "@type": "TransferRequestMessage",
            "@id": urn(),
            "consumerPid": urn(),
            "agreementId": agreement,
            "format": "HttpData-PULL",
            "callbackAddress": self.callback(),
        })
    }

    /// Requests a transfer and takes its start.
    ///
    /// # Errors
    /// When the node does not start it.
    pub fn transfer(&self, agreement: &str) -> Result<Transfer> {
        let request = self.transfer_request(agreement);
        let reply = self.post("/transfers/request", &request)?;
        ensure!(reply.status == 201, "the transfer was refused: {reply:?}");
        let start = self.expect("TransferStartMessage")?.body;
        let properties = array(&start, "/dataAddress/endpointProperties");
        let token = properties
            .iter()
            .find(|property| property.get("name") == Some(&json!("authorization")))
            .and_then(|property| property.get("value").and_then(Value::as_str))
            .context("the start has no token")?;
        let endpoint = text(&start, "/dataAddress/endpoint")?;
        let path = endpoint.splitn(4, '/').nth(3).context("the endpoint has no path")?;
        Ok(Transfer {
            consumer_pid: text(&start, "/consumerPid")?,
            provider_pid: text(&start, "/providerPid")?,
            address: Address {
                path: format!("/{path}"),
                authorization: format!("Bearer {token}"),
                token: token.to_owned(),
            },
        })
    }
}

/// A new id.
pub fn urn() -> String {
    format!("urn:uuid:{}", Uuid::new_v4())
}

/// A path segment.
pub fn encode(segment: &str) -> String {
    segment.bytes().fold(String::new(), |text, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            text + char::from(byte).encode_utf8(&mut [0; 4])
        }
        byte => format!("{text}%{byte:02X}"),
    })
}

/// A text in a document.
///
/// # Errors
/// When it is not there.
pub fn text(document: &Value, pointer: &str) -> Result<String> {
    let found = document.pointer(pointer).and_then(Value::as_str);
    Ok(found.with_context(|| format!("no `{pointer}` in {document}"))?.to_owned())
}

/// A list in a document; JSON-LD lets a single member stand for a list.
pub fn array(document: &Value, pointer: &str) -> Vec<Value> {
    match document.pointer(pointer) {
        None => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(single) => vec![single.clone()],
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(64)?)
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    inbox: Sender<Received>,
    manner: Arc<Mutex<Manner>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, inbox, manner) = (acceptor.clone(), inbox.clone(), Arc::clone(&manner));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let manner = manner.lock().unwrap_or_else(PoisonError::into_inner).clone();
                take(request, inbox.clone(), manner)
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    inbox: Sender<Received>,
    manner: Manner,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let head = manner.head.filter(|_| request.method() == Method::HEAD);
    #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
    let body = Limited::new(request.into_body(), MAX_BYTES).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if let Ok(body) = serde_json::from_slice(&body) {
        let _ = inbox.send(Received { path, headers, body });
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = head.unwrap_or(manner.status);
    if let Some((name, value)) = manner.header {
        response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    tokio::time::sleep(manner.delay).await;
    Ok(response)
}

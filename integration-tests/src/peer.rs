//! Raw requests over mutual TLS, with any certificate and any bytes: what a careless or hostile partner would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::Credential;
use crate::judged::{self, Judged};
use crate::site::Site;
use crate::wait::PATIENCE;

/// The largest answer that is read whole.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Which HTTP a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// One who dials a node.
#[derive(Debug)]
pub struct Peer {
    runtime: Arc<Runtime>,
    credential: Option<Arc<Credential>>,
    to: SocketAddr,
    version: Version,
    judged: Option<(String, Arc<Judged>)>,
}

/// An answer, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A header as text; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// An answer whose body is read piece by piece.
#[derive(Debug)]
pub struct Opened {
    runtime: Arc<Runtime>,
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
}

impl Opened {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the body fails, or nothing comes in time.
    pub fn chunk(&mut self) -> Result<Option<Bytes>> {
        let Self { runtime, body, .. } = self;
        runtime.block_on(async {
            let frame =
                tokio::time::timeout(PATIENCE, body.frame()).await.context("no byte came")?;
            match frame {
                None => Ok(None),
                Some(frame) => Ok(Some(frame?.into_data().unwrap_or_default())),
            }
        })
    }

    /// Reads on until the body ends or fails; how many bytes came, and whether it ended well.
    pub fn drain(&mut self) -> (u64, bool) {
        let mut count = 0_u64;
        loop {
            match self.chunk() {
                Ok(Some(piece)) => {
                    count = count.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                }
                Ok(None) => return (count, true),
                Err(_) => return (count, false),
            }
        }
    }
}

impl Peer {
    /// A site dialling another with its own certificate.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub fn of(site: &Site, to: &Site) -> Result<Self> {
        let mut peer = Self::new(Some(Credential::of_client(site)?), to.address())?;
        peer.judged = to.judged().map(|judged| (to.name().to_owned(), judged));
        Ok(peer)
    }

    /// Somebody dialling an address with a certificate, or without one.
    ///
    /// # Errors
    /// When no runtime can be made.
    pub fn new(credential: Option<Arc<Credential>>, to: SocketAddr) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self {
            runtime: Arc::new(runtime),
            credential,
            to,
            version: Version::Http1,
            judged: None,
        })
    }

    /// The same, speaking another HTTP.
    #[must_use]
    pub fn speaking(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sends a request without a body on a connection of its own.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        self.send(Method::GET, path, headers, Bytes::new())
    }

    /// Posts a JSON document.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn post(&self, path: &str, document: &Value) -> Result<Reply> {
        self.post_bytes(path, document.to_string().into_bytes())
    }

    /// Posts bytes that claim to be JSON.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn post_bytes(&self, path: &str, body: impl Into<Bytes>) -> Result<Reply> {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.into())
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When it is not answered, or with what violates the official schemas.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply> {
        let mut opened = self.open(method, path, headers, body)?;
        let mut whole = BytesMut::new();
        while let Some(piece) = opened.chunk()? {
            whole.extend_from_slice(&piece);
            if whole.len() > MAX_BYTES {
                bail!("the answer has more than {MAX_BYTES} bytes");
            }
        }
        let reply = Reply { status: opened.status, headers: opened.headers, body: whole.freeze() };
        self.judge(path, &reply)?;
        Ok(reply)
    }

    /// What a node answers must be as DSP wants it, where the schemas are at hand.
    fn judge(&self, path: &str, reply: &Reply) -> Result<()> {
        match &self.judged {
            Some((node, judged)) => judged.answer(node, path, reply),
            None => judged::answer(path, reply).map(|_| ()),
        }
    }

    /// Sends a request and opens the answer.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Opened> {
        let mut request = Request::builder().method(method);
        request = match self.version {
            Version::Http1 => request.uri(path).header("host", self.to.to_string()),
            Version::Http2 => request.uri(format!("https://{}{path}", self.to)),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body))?;
        let exchange = async {
            let stream = self.handshake().await?;
            self.exchange(stream, request).await
        };
        let response = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, exchange).await.context("no answer came")?
        })?;
        let (head, body) = response.into_parts();
        Ok(Opened {
            runtime: Arc::clone(&self.runtime),
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    /// Posts a JSON document several times on one connection, one after the other: each answer, and how long it took until its
    /// last byte was there.
    ///
    /// # Errors
    /// When one is not answered. Only for HTTP/1.1.
    pub fn post_many(&self, paths: &[String], document: &Value) -> Result<Vec<(Reply, Duration)>> {
        let body = Bytes::from(document.to_string());
        self.runtime.block_on(async {
            let stream = TokioIo::new(self.handshake().await?);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
            tokio::spawn(connection);
            let mut replies = Vec::new();
            for path in paths {
                let request = Request::post(path)
                    .header("host", self.to.to_string())
                    .header("content-type", "application/json")
                    .body(Full::new(body.clone()))?;
                let started = std::time::Instant::now();
                let (head, body) = sender.send_request(request).await?.into_parts();
                #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
                let body = Limited::new(body, MAX_BYTES).collect().await;
                let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
                let reply = Reply { status: head.status.as_u16(), headers: head.headers, body };
                self.judge(path, &reply)?;
                replies.push((reply, started.elapsed()));
                sender.ready().await?;
            }
            Ok(replies)
        })
    }

    /// Begins to post a document that never comes, on a connection that is held until what this returns is dropped.
    ///
    /// # Errors
    /// When the connection cannot be made.
    pub fn begin_post(&self, path: &str) -> Result<impl Sized + use<>> {
        self.begin_post_with(path, &[])
    }

    /// The same with further fields.
    ///
    /// # Errors
    /// When the connection cannot be made.
    pub fn begin_post_with(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<impl Sized + use<>> {
        let further = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n{}\r\n{{",
            self.to,
            further.collect::<String>(),
        );
        let begun = async {
            let mut stream = self.handshake().await?;
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await?;
            anyhow::Ok(stream)
        };
        let stream = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, begun).await.context("no connection")?
        })?;
        Ok((Arc::clone(&self.runtime), stream))
    }

    /// Only shakes hands; what the node presented, leaf first.
    ///
    /// # Errors
    /// When the handshake fails as the dialling side sees it.
    pub fn presented(&self) -> Result<Vec<CertificateDer<'static>>> {
        let stream = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.handshake()).await.context("no handshake")?
        })?;
        Ok(stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec())
    }

    async fn handshake(&self) -> Result<TlsStream<TcpStream>> {
        let protocol: &[u8] = match self.version {
            Version::Http1 => b"http/1.1",
            Version::Http2 => b"h2",
        };
        let config = client_config(self.credential.as_deref(), protocol)?;
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.to.ip().into());
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }

    async fn exchange(
        &self,
        stream: TlsStream<TcpStream>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>> {
        let stream = TokioIo::new(stream);
        match self.version {
            Version::Http1 => {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(stream).await?;
                tokio::spawn(connection);
                Ok(sender.send_request(request).await?)
            }
            Version::Http2 => {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                Ok(sender.send_request(request).await?)
            }
        }
    }
}

/// TLS as one who dials a node with this certificate, or with none, and takes whatever certificate it shows.
pub(crate) fn client_config(
    credential: Option<&Credential>,
    protocol: &[u8],
) -> Result<ClientConfig> {
    let provider = Arc::new(certs::tls::provider());
    let verifier = Arc::new(Anybody(provider.signature_verification_algorithms));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match credential {
        Some(credential) => {
            builder.with_client_auth_cert(credential.chain.clone(), credential.key.clone_key())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// The node's certificate is what some tests look at, so every one is taken; its signature must hold.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

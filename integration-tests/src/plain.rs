//! Plain HTTP on loopback, as a foreign connector speaks it: a client, and a shelf of bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::ports;

const LIMIT: Duration = Duration::from_secs(60);
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Sends one request on a connection of its own and takes the whole answer.
///
/// # Errors
/// When no answer comes in time.
pub async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shown = format!("{} {}", request.method(), request.uri());
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        anyhow::Ok(Response::from_parts(head, whole(body).await?))
    };
    let answered = tokio::time::timeout(LIMIT, exchange).await;
    answered.with_context(|| format!("{shown}: no answer came within {LIMIT:?}"))?
}

/// Asks whoever listens at a loopback address. The request's target is a path.
///
/// # Errors
/// When no answer comes.
pub async fn exchange(
    to: SocketAddr,
    request: http::request::Builder,
    body: Bytes,
) -> Result<Response<Bytes>> {
    let stream = TcpStream::connect(to).await.with_context(|| format!("{to} does not listen"))?;
    stream.set_nodelay(true)?;
    let request = request.header(header::HOST, to.to_string()).body(Full::new(body))?;
    ask(stream, request).await
}

/// A body, whole.
///
/// # Errors
/// When it breaks off or is too large.
pub async fn whole<B>(body: B) -> Result<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
    let collected = Limited::new(body, MAX_BYTES).collect().await;
    Ok(collected.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
}

/// A small HTTP server: what lies on it is given, and what is put or posted lies on it from then on.
#[derive(Debug, Clone)]
pub struct Shelf {
    address: SocketAddr,
    content: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl Shelf {
    /// An empty one, which serves until the runtime ends.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn serve() -> Result<Self> {
        let shelf = Self { address: ports::free()?, content: Arc::default() };
        let listener = TcpListener::bind(shelf.address).await?;
        let serving = shelf.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shelf = serving.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| shelf.clone().answer(request));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Ok(shelf)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lays something down at a path.
    pub fn lay(&self, path: &str, bytes: Bytes) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.insert(path.to_owned(), bytes);
    }

    /// What lies at a path.
    pub fn find(&self, path: &str) -> Option<Bytes> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let path = request.uri().path().to_owned();
        let mut response = Response::new(Full::default());
        match *request.method() {
            Method::PUT | Method::POST => self.lay(&path, whole(request.into_body()).await?),
            Method::GET => match self.find(&path) {
                Some(bytes) => *response.body_mut() = Full::new(bytes),
                None => *response.status_mut() = StatusCode::NOT_FOUND,
            },
            _ => *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED,
        }
        Ok(response)
    }
}

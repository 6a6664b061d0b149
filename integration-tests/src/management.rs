//! The management API as a program uses it: HTTP over the site's Unix socket.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::site::Site;
use crate::wait::PATIENCE;

const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A client of one site's daemon. Each request has a connection of its own, unless it keeps them.
#[derive(Debug, Clone)]
pub struct Management {
    socket: PathBuf,
    kept: Option<Arc<Kept>>,
}

/// Connections that are used again.
#[derive(Debug)]
struct Kept {
    idle: Mutex<Vec<Sender>>,
    /// Fewer than the daemon takes: the stream of events and the command line need theirs.
    places: Semaphore,
}

const KEPT_MAX: usize = 32;

type Sender = http1::SendRequest<Full<Bytes>>;

/// An event of the daemon's stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The journal position, from which the stream can be resumed.
    pub id: String,
    /// The kind of the record.
    pub kind: String,
    /// What it says.
    pub data: Value,
}

/// A stream of events that is open.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    unread: Vec<u8>,
}

impl Management {
    /// A client of the daemon of a site.
    pub fn of(site: &Site) -> Self {
        Self::at(&site.path("sekisho.sock"))
    }

    /// A client of the daemon behind a socket.
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), kept: None }
    }

    /// The same client, which uses a connection again, as a program does that has much to ask.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        let places = Semaphore::new(KEPT_MAX);
        self.kept = Some(Arc::new(Kept { idle: Mutex::default(), places }));
        self
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// When it is not given.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let (status, answer) = self.exchange(Method::GET, path, Bytes::new()).await?;
        ensure!(status.is_success(), "GET {path} was answered with {status}: {answer}");
        Ok(answer)
    }

    /// Posts a document and takes the answer.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn post(&self, path: &str, document: &Value) -> Result<Value> {
        let body = Bytes::from(document.to_string());
        let (status, answer) = self.exchange(Method::POST, path, body).await?;
        ensure!(status.is_success(), "POST {path} {document} was answered with {status}: {answer}");
        Ok(answer)
    }

    /// Posts bytes that claim to be JSON: the status and the answer, whatever they are.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn post_bytes(&self, path: &str, body: Vec<u8>) -> Result<(StatusCode, Value)> {
        self.exchange(Method::POST, path, body.into()).await
    }

    /// Opens the stream of events after what has happened until now, or after a position.
    ///
    /// # Errors
    /// When it is not given.
    pub async fn events(&self, query: &str) -> Result<Events> {
        let request =
            Request::get(format!("/v1/events{query}")).header("accept", "text/event-stream");
        let request = request.header("host", "sekisho").body(Full::default())?;
        let (_, response) = self.send(request).await?;
        let status = response.status();
        ensure!(status.is_success(), "GET /v1/events{query} was answered with {status}");
        Ok(Events { body: response.into_body(), unread: Vec::new() })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Value)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "sekisho")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let exchange = async {
            let _place = match &self.kept {
                Some(kept) => Some(kept.places.acquire().await?),
                None => None,
            };
            let (mut sender, response) = self.send(request).await?;
            let status = response.status();
            #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
            let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            if let Some(kept) = &self.kept
                && sender.ready().await.is_ok()
            {
                kept.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
            }
            let shown = || format!("not JSON: {}", String::from_utf8_lossy(&body));
            let answer = if body.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(&body).with_context(shown)?
            };
            anyhow::Ok((status, answer))
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .with_context(|| format!("the daemon did not answer {path}"))?
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(Sender, Response<Incoming>)> {
        let kept = self.kept.as_ref().and_then(|kept| {
            let mut idle = kept.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.pop_if(|sender| sender.is_ready())
        });
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = sender.send_request(request).await?;
        Ok((sender, response))
    }

    async fn connect(&self) -> Result<Sender> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .with_context(|| format!("`{}` cannot be opened", self.socket.display()))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl Events {
    /// The next event; `None` when the daemon ended the stream.
    ///
    /// # Errors
    /// When the stream breaks or says what is no event.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.unread.drain(..end + 2).collect::<Vec<_>>();
                if let Some(event) = parse(std::str::from_utf8(&block)?)? {
                    return Ok(Some(event));
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.unread.extend_from_slice(&data);
            }
            ensure!(self.unread.len() <= MAX_BYTES, "an event has more than {MAX_BYTES} bytes");
        }
    }
}

/// One block of a stream of server-sent events; `None` for what only keeps the connection open.
fn parse(block: &str) -> Result<Option<Event>> {
    let (mut id, mut kind, mut data) = (String::new(), String::new(), String::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut id),
            "event" => value.clone_into(&mut kind),
            "data" => data.push_str(value),
            _ => {}
        }
    }
    if data.is_empty() {
        return Ok(None);
    }
    let data = serde_json::from_str(&data).with_context(|| format!("not JSON: {data}"))?;
    Ok(Some(Event { id, kind, data }))
}

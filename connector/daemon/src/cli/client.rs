//! The command line's side of the management API: HTTP over the site's Unix socket.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::failure::Failure;
use crate::exit::Exit;

/// The largest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The longest line of a stream of events.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Why the daemon did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("the daemon of this site is not running")]
    Away(#[source] io::Error),
    /// The socket may not be used, or does not work.
    #[error("the daemon cannot be reached at `{}`", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection ended in the middle.
    #[error("the connection to the daemon was lost")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not what this release understands.
    #[error("the daemon's answer cannot be understood: {0}")]
    BadAnswer(String),
    /// The daemon refused or failed, and said why.
    #[error("{0}")]
    Refused(Failure),
}

impl ClientError {
    /// Whether the daemon may be back in a moment.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Lost(_))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = crate::site::chain(&error);
        match error {
            ClientError::Refused(failure) => failure,
            ClientError::Away(_) => Self::new(Exit::NotReachable, text).help("start it with `sekisho serve`"),
            ClientError::Socket { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::new(Exit::NotReachable, text)
                    .help("run as the user of the daemon, or let its group in with `management.socket_mode`")
            }
            ClientError::Socket { .. } => Self::new(Exit::NotReachable, text),
            ClientError::Lost(_) => Self::new(Exit::TryAgain, text),
            ClientError::BadAnswer(_) => {
                Self::new(Exit::Internal, text).help("run the command of the same release as the daemon")
            }
        }
    }
}

/// A client of one site's daemon. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon behind a socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks for a JSON value.
    ///
    /// # Errors
    /// When the daemon is not there, or refuses.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.exchange(Method::GET, path, None).await
    }

    /// Posts a JSON value and takes the answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.exchange(Method::POST, path, Some(body)).await
    }

    /// Deletes a thing.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.exchange(Method::DELETE, path, None).await
    }

    /// Follows a stream of events (a JSON object on each line) to its end. An `error` event ends it with that error.
    ///
    /// # Errors
    /// As [`Client::get`], or when `take` refuses an event.
    pub async fn events(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        mut take: impl FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), ClientError> {
        let mut answer = self.open(method, path, body, None).await?.into_body();
        let mut lines = Lines::default();
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| ClientError::Lost(error.into()))?;
            let Ok(data) = frame.into_data() else { continue };
            for event in lines.push(&data)? {
                if let Some(error) = event.get("error") {
                    return Err(ClientError::Refused(Failure::from_api(error)));
                }
                take(event).map_err(ClientError::Refused)?;
            }
        }
        if lines.is_empty() {
            Ok(())
        } else {
            Err(ClientError::Lost("the last event is not whole".into()))
        }
    }

    /// Follows server-sent events to the end of the stream. An event `error` ends it with that error.
    ///
    /// # Errors
    /// As [`Client::events`].
    pub async fn server_sent(
        &self,
        path: &str,
        mut take: impl FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), ClientError> {
        let mut answer = self.open(Method::GET, path, None, None).await?.into_body();
        let mut lines = Lines::default();
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| ClientError::Lost(error.into()))?;
            let Ok(data) = frame.into_data() else { continue };
            lines.add(&data);
            while let Some(line) = lines.next() {
                // The position is in the data too, and so is the kind.
                let Some(data) = line.strip_prefix(b"data: ") else { continue };
                let event: Value = serde_json::from_slice(data)
                    .map_err(|error| ClientError::BadAnswer(error.to_string()))?;
                if let Some(error) = event.get("error") {
                    return Err(ClientError::Refused(Failure::from_api(error)));
                }
                take(event).map_err(ClientError::Refused)?;
            }
            lines.check()?;
        }
        Ok(())
    }

    /// Opens the bytes of a thing, from an offset.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn bytes(&self, path: &str, from: u64) -> Result<Response<Incoming>, ClientError> {
        self.open(Method::GET, path, None, (from > 0).then_some(from)).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let answer = self.open(method, path, body, None).await?;
        let bytes = whole(answer.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| ClientError::BadAnswer(error.to_string()))
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        from: Option<u64>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "sekisho");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| ClientError::BadAnswer(error.to_string()))?;
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::Away(error)
                }
                _ => ClientError::Socket { path: self.socket.clone(), source: error },
            })?;
        let lost = |error: hyper::Error| ClientError::Lost(error.into());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(lost)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer).await)
    }
}

/// The path of segments, each percent-encoded, and a query without what is empty.
pub fn path(segments: &[&str], query: &[(&str, Option<String>)]) -> String {
    let mut text = String::new();
    for segment in segments {
        text.push('/');
        // A form encodes everything but letters, digits and `*-._`; only its space differs from a path's.
        text.push_str(
            &url::form_urlencoded::byte_serialize(segment.as_bytes())
                .collect::<String>()
                .replace('+', "%20"),
        );
    }
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in query {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    let query = form.finish();
    if query.is_empty() { text } else { format!("{text}?{query}") }
}

async fn whole(body: Incoming) -> Result<Bytes, ClientError> {
    #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
    let collected = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    Ok(collected.map_err(ClientError::Lost)?.to_bytes())
}

async fn refusal(answer: Response<Incoming>) -> ClientError {
    let status = answer.status();
    let bytes = match whole(answer.into_body()).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    let error =
        serde_json::from_slice::<Value>(&bytes).ok().and_then(|body| body.get("error").cloned());
    match error {
        Some(error) => ClientError::Refused(Failure::from_api(&error)),
        None if status == StatusCode::NOT_FOUND => {
            ClientError::BadAnswer("it does not know this request".to_owned())
        }
        None => ClientError::BadAnswer(format!("status {status} without a reason")),
    }
}

/// Splits a stream of bytes into JSON values, one on each line.
#[derive(Debug, Default)]
struct Lines(BytesMut);

impl Lines {
    fn push(&mut self, data: &[u8]) -> Result<Vec<Value>, ClientError> {
        self.add(data);
        let mut events = Vec::new();
        while let Some(line) = self.next() {
            if !line.trim_ascii().is_empty() {
                let event = serde_json::from_slice(&line)
                    .map_err(|error| ClientError::BadAnswer(error.to_string()))?;
                events.push(event);
            }
        }
        self.check()?;
        Ok(events)
    }

    fn add(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    fn next(&mut self) -> Option<BytesMut> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        Some(self.0.split_to(end.saturating_add(1)))
    }

    /// Refuses a line that does not end.
    fn check(&self) -> Result<(), ClientError> {
        if self.0.len() > MAX_EVENT_BYTES {
            return Err(ClientError::BadAnswer(format!(
                "an event has more than {MAX_EVENT_BYTES} bytes"
            )));
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.0.trim_ascii().is_empty()
    }
}

#[cfg(test)]
mod tests;

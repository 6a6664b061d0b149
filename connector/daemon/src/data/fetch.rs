//! The consumer's download: one attempt, which goes on where the last one ended.
//!
//! A resumed request carries `Range` and `If-Range` with the strong entity tag of the bytes that are here (RFC 9110, 13.1.5
//! and 14.2); a provider that has other bytes by now answers with all of them, and the download begins anew.

use std::error::Error as StdError;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headers::{ContentLength, ContentRange, HeaderMapExt, Range};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, IF_RANGE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body as HttpBody;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::net::{Answer, BodyError, Pace, PacedReader, SendError, retry_after};
use crate::objects::{Incoming, IncomingError};

/// What one attempt may cost.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Most bytes of a dataset whose size was not announced.
    pub largest: u64,
    /// How slow the provider may be.
    pub pace: Pace,
}

/// Why an attempt did not bring all bytes. What came before is kept unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request could not be sent, or was not answered.
    #[error(transparent)]
    Send(SendError),
    /// The connection broke or became too slow.
    #[error("the download broke off after {received} bytes")]
    Lost {
        /// Bytes that are here.
        received: u64,
        /// What happened.
        #[source]
        source: BodyError,
    },
    /// The answer ended too early.
    #[error("the answer ended after {received} of {size} bytes")]
    Short {
        /// Bytes that are here.
        received: u64,
        /// Bytes that there should be.
        size: u64,
    },
    /// The provider cannot serve now.
    #[error("the provider is busy (status {status}): try again later")]
    Busy {
        /// The status of its answer.
        status: StatusCode,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The provider refused: the grant ended, or it knows no such data.
    #[error("the provider refused the data (status {status}): {text}")]
    Refused {
        /// The status of its answer.
        status: StatusCode,
        /// The beginning of what it said, without control characters.
        text: String,
        /// All of what it said, as it came, for a program to read.
        body: Bytes,
    },
    /// The provider contradicts itself or what was agreed. What was received is forgotten.
    #[error("the provider's answer does not fit: {reason}")]
    Inconsistent {
        /// What does not fit.
        reason: String,
    },
    /// The bytes could not be kept.
    #[error(transparent)]
    Local(#[from] IncomingError),
}

impl FetchError {
    /// Whether the same request may succeed later without anybody doing something.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Send(error) => error.is_transient(),
            // Too much is too much again.
            Self::Lost { source, .. } => !matches!(source, BodyError::TooLarge { .. }),
            Self::Short { .. } | Self::Busy { .. } => true,
            Self::Refused { .. } | Self::Inconsistent { .. } | Self::Local(_) => false,
        }
    }

    fn inconsistent(reason: impl Into<String>) -> Self {
        Self::Inconsistent { reason: reason.into() }
    }
}

/// Makes one attempt to bring what is missing. `open` sends a GET with these header fields added, as
/// [`crate::net::PartnerClient::open`] does. Memory is constant. The bytes are not verified yet: that is [`Incoming::finish`].
///
/// # Errors
/// [`FetchError`], of which [`FetchError::is_retryable`] says whether to try again.
pub async fn download<Opened, B>(
    open: impl FnOnce(HeaderMap) -> Opened,
    incoming: &mut Incoming,
    progress: &watch::Sender<u64>,
    limits: FetchLimits,
    now: Timestamp,
) -> Result<(), FetchError>
where
    Opened: Future<Output = Result<Response<B>, SendError>>,
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let offset = incoming.offset();
    let size = incoming.expected().map(|expected| expected.size);
    if offset > 0 && size == Some(offset) {
        return Ok(());
    }
    let resumption = resumption(incoming);
    let resumes = resumption.is_some();
    let mut fields = resumption.unwrap_or_default();
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let (parts, body) = match open(fields).await {
        Ok(response) => response.into_parts(),
        Err(SendError::Status { answer, .. })
            if resumes && answer.status == StatusCode::RANGE_NOT_SATISFIABLE =>
        {
            incoming.begin(None).await?;
            return Err(FetchError::inconsistent("it has fewer bytes than it sent before"));
        }
        Err(SendError::Status { answer, .. }) => return Err(refusal(&answer, now)),
        Err(error) => return Err(FetchError::Send(error)),
    };
    let accepted = match parts.status {
        StatusCode::OK => whole(&parts.headers, incoming),
        StatusCode::PARTIAL_CONTENT if resumes => rest(&parts.headers, incoming),
        status => Err(FetchError::inconsistent(format!("it answered with status {status}"))),
    };
    let total = match accepted {
        Ok(total) => total,
        Err(error) => {
            incoming.begin(None).await?;
            return Err(error);
        }
    };
    if parts.status == StatusCode::OK {
        incoming.begin(strong_tag(&parts.headers).as_deref()).await?;
    }
    if let Some(sha256) = repr_digest(&parts.headers) {
        incoming.announce(sha256);
    }
    let received = receive(body, incoming, progress, total, limits).await;
    incoming.flush().await?;
    received
}

/// The fields that ask for what is missing; none when there is nothing to go on with, or no tag to know it again by.
fn resumption(incoming: &Incoming) -> Option<HeaderMap> {
    let tag = incoming.validator().filter(|_| incoming.offset() > 0)?;
    let mut fields = HeaderMap::new();
    fields.typed_insert(Range::bytes(incoming.offset()..).ok()?);
    fields.insert(IF_RANGE, HeaderValue::from_str(tag).ok()?);
    Some(fields)
}

/// Checks the fields of an answer with all bytes; gives their number where it is known.
fn whole(fields: &HeaderMap, incoming: &Incoming) -> Result<Option<u64>, FetchError> {
    check_representation(fields, incoming)?;
    let declared = fields.typed_get::<ContentLength>().map(|length| length.0);
    agreed(declared, incoming)
}

/// Checks the fields of an answer with the bytes that are missing; gives the number of all.
fn rest(fields: &HeaderMap, incoming: &Incoming) -> Result<Option<u64>, FetchError> {
    check_representation(fields, incoming)?;
    let offset = incoming.offset();
    let range = fields.typed_get::<ContentRange>();
    let range = range.as_ref().and_then(|range| Some((range.bytes_range()?, range.bytes_len())));
    let Some(((first, last), complete)) = range else {
        return Err(FetchError::inconsistent("it sent a part without saying which"));
    };
    if first != offset || complete.is_some_and(|complete| last + 1 != complete) {
        let reason =
            format!("it sent bytes {first} to {last} where those from {offset} were asked for");
        return Err(FetchError::inconsistent(reason));
    }
    if fields.contains_key(ETAG) && strong_tag(fields).as_deref() != incoming.validator() {
        return Err(FetchError::inconsistent("it sent a part of other bytes than before"));
    }
    agreed(Some(last.saturating_add(1)), incoming)
}

fn check_representation(fields: &HeaderMap, incoming: &Incoming) -> Result<(), FetchError> {
    if fields.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(FetchError::inconsistent("it sent encoded bytes, which were not asked for"));
    }
    match (repr_digest(fields), incoming.expected()) {
        (Some(announced), Some(expected)) if announced != expected.sha256 => {
            let expected = &expected.sha256;
            let reason = format!("it has bytes with sha-256 `{announced}` instead of `{expected}`");
            Err(FetchError::inconsistent(reason))
        }
        _ => Ok(()),
    }
}

/// The number of all bytes, from the answer and from what was announced before.
fn agreed(declared: Option<u64>, incoming: &Incoming) -> Result<Option<u64>, FetchError> {
    match (declared, incoming.expected().map(|expected| expected.size)) {
        (Some(declared), Some(expected)) if declared != expected => {
            let reason = format!("it has {declared} bytes instead of {expected}");
            Err(FetchError::inconsistent(reason))
        }
        (declared, expected) => Ok(expected.or(declared)),
    }
}

async fn receive<B>(
    body: B,
    incoming: &mut Incoming,
    progress: &watch::Sender<u64>,
    total: Option<u64>,
    limits: FetchLimits,
) -> Result<(), FetchError>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let most = total.unwrap_or(limits.largest);
    let mut reader = PacedReader::new(body, limits.pace);
    progress.send_replace(incoming.offset());
    loop {
        let next = reader.next().await;
        let received = incoming.offset();
        match next.map_err(|source| FetchError::Lost { received, source })? {
            Some(bytes) if bytes.len() as u64 > most.saturating_sub(received) => {
                incoming.begin(None).await?;
                return Err(FetchError::inconsistent(format!("it sent more than {most} bytes")));
            }
            Some(bytes) => incoming.append(&bytes).await?,
            None => {
                return match total {
                    Some(size) if received < size => Err(FetchError::Short { received, size }),
                    _ => Ok(()),
                };
            }
        }
        progress.send_replace(incoming.offset());
    }
}

/// The most that is kept of what a provider says, in characters.
const REFUSAL_LENGTH: usize = 1000;

fn refusal(answer: &Answer, now: Timestamp) -> FetchError {
    let status = answer.status;
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        let retry_after = retry_after(&answer.headers, now);
        return FetchError::Busy { status, retry_after };
    }
    // Its words are shown to our operators: they must not steer a terminal.
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    let text = text.take(REFUSAL_LENGTH).collect::<String>().trim().to_owned();
    FetchError::Refused { status, text, body: answer.body.clone() }
}

/// The entity tag as it stands in the header, if it is a strong one: only such a tag identifies bytes.
fn strong_tag(fields: &HeaderMap) -> Option<String> {
    let text = fields.get(ETAG)?.to_str().ok()?;
    fields.typed_get::<headers::ETag>().filter(|tag| !tag.is_weak())?;
    Some(text.trim().to_owned())
}

/// The SHA-256 of the whole representation in `Repr-Digest` (RFC 9530), hexadecimal.
pub(crate) fn repr_digest(fields: &HeaderMap) -> Option<String> {
    fields
        .get_all("repr-digest")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|member| member.trim().strip_prefix("sha-256=:")?.strip_suffix(':'))
        .find_map(|encoded| STANDARD.decode(encoded).ok().filter(|digest| digest.len() == 32))
        .map(hex::encode)
}

#[cfg(test)]
mod tests;

//! The provider's data endpoint: one request, answered under a permit.
//!
//! Ranges, preconditions and validators follow RFC 9110, digests RFC 9530, file names RFC 6266. The entity tag is the
//! BLAKE3 root: it is strong, and the same bytes published again have the same tag.

mod conditions;
mod stream;

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::entity::Digests;
use engine::permit::{EndReason, Permit};
use futures_util::future::BoxFuture;
use headers::{AcceptRanges, ContentLength, ContentRange, ETag, HeaderMapExt, LastModified};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use tokio::time::Instant;

use self::conditions::Plan;
use self::stream::{Leash, Renewal, Source, Stream};
use super::meter::Meters;
use crate::net::{Body, Pace, empty};
use crate::objects::{ReadError, Reader};

/// Everything that serving one request takes.
#[expect(missing_debug_implementations, reason = "it holds the caller's functions")]
pub struct Delivery {
    /// The bytes.
    pub reader: Reader,
    /// What is said about them.
    pub content: Content,
    /// The right to them.
    pub lease: Lease,
    /// Asks for it again when its instant has come. No byte flows while it decides.
    pub renew: Renew,
    /// Counts what is served.
    pub meters: Arc<Meters>,
    /// How slow the partner may be.
    pub pace: Pace,
    /// Told once, when the request has ended.
    pub finished: Box<dyn FnOnce(Finished) + Send>,
}

/// What is said about the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// IANA media type.
    pub media_type: String,
    /// The name offered for the file.
    pub file_name: String,
    /// Size and digests.
    pub digests: Digests,
    /// When this version was published.
    pub published: Timestamp,
}

/// A permit as it was just decided.
#[expect(missing_debug_implementations, reason = "it holds a future of the store")]
pub struct Lease {
    /// The permit.
    pub permit: Permit,
    /// The time of the decision, from which [`Permit::until`] is counted on the monotonic clock.
    pub decided: Timestamp,
    /// Completes when a commit took the permit's ground away.
    pub ending: BoxFuture<'static, EndReason>,
}

/// Decides again on a permit whose instant has come.
pub type Renew = Box<dyn FnMut(Permit) -> BoxFuture<'static, Result<Lease, EndReason>> + Send>;

/// Completes when a stream must end at once; see [`crate::net::Connection::cut_when`].
pub type Ended = BoxFuture<'static, ()>;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Bytes given to the HTTP layer.
    pub bytes: u64,
    /// Why it ended.
    pub outcome: Outcome,
}

/// Why a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything asked for was given to the HTTP layer.
    Complete,
    /// The partner went away, or its connection broke.
    Left,
    /// The permit ended.
    Cut(EndReason),
    /// The partner took bytes too slowly.
    TooSlow,
    /// The bytes could not be read, or are no longer those that were published.
    Unreadable(ReadError),
}

/// Why nothing can be served. It is our fault, not the partner's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// Permit, description and bytes are not of one object.
    #[error("the permit is for `{permitted}`, but the bytes are `{found}`")]
    OtherBytes {
        /// The BLAKE3 root in the permit.
        permitted: String,
        /// The root of what would be served.
        found: String,
    },
    /// A digest in the dataset's entity is not one.
    #[error("`{digest}` is not a SHA-256 digest")]
    NotADigest {
        /// What stands there.
        digest: String,
    },
}

/// Answers a data request. `bind` ties the body to the connection, so that it breaks off when [`Ended`] completes even
/// while the partner takes nothing: `|body, ended| connection.cut_when(body, ended)`.
///
/// # Errors
/// [`ServeError`] when the parts do not belong together; nothing is served then.
pub fn respond(
    method: &Method,
    headers: &HeaderMap,
    delivery: Delivery,
    bind: impl FnOnce(Body, Ended) -> Body,
) -> Result<Response<Body>, ServeError> {
    let Delivery { reader, content, lease, renew, meters, pace, finished } = delivery;
    let permit = lease.permit.clone();
    check_same(permit.digests(), &content.digests, &reader)?;
    let metered = meters.begin(permit.transfer().clone());
    let renewal = renewal(permit, renew);
    let description = Description::new(&content)?;
    Ok(answer(method, headers, description, move |range| {
        let Some(range) = range else {
            drop(metered);
            finished(Finished { bytes: 0, outcome: Outcome::Complete });
            return empty();
        };
        let source = Source { reader, range, metered, finished };
        let (stream, ended) = Stream::new(source, lease.into(), renewal, pace);
        bind(stream.boxed_unsync(), ended)
    }))
}

/// The bytes of a push from an offset on. The sender must go when [`Ended`] completes, even while nobody takes anything.
///
/// # Errors
/// [`ServeError`] when the parts do not belong together; nothing is sent then.
pub fn outgoing(delivery: Delivery, from: u64) -> Result<(Body, Ended), ServeError> {
    let Delivery { reader, content, lease, renew, meters, pace, finished } = delivery;
    let permit = lease.permit.clone();
    check_same(permit.digests(), &content.digests, &reader)?;
    let metered = meters.begin(permit.transfer().clone());
    let range = from.min(content.digests.size)..content.digests.size;
    let source = Source { reader, range, metered, finished };
    let (stream, ended) = Stream::new(source, lease.into(), renewal(permit, renew), pace);
    Ok((stream.boxed_unsync(), ended))
}

/// Decides again, for the same bytes.
fn renewal(permit: Permit, mut renew: Renew) -> Renewal {
    Box::new(move || {
        let digests = permit.digests().clone();
        let decision = renew(permit.clone());
        Box::pin(async move {
            let lease = decision.await?;
            if *lease.permit.digests() == digests {
                return Ok(Leash::from(lease));
            }
            Err(EndReason {
                external: "the dataset has a new version".to_owned(),
                internal: "the permit decided again is for other bytes".to_owned(),
                terminates: false,
                by_policy: false,
            })
        })
    })
}

fn check_same(permitted: &Digests, described: &Digests, reader: &Reader) -> Result<(), ServeError> {
    let found = reader.root().to_hex();
    if permitted == described
        && permitted.blake3 == found.as_str()
        && permitted.size == reader.size()
    {
        return Ok(());
    }
    Err(ServeError::OtherBytes { permitted: permitted.blake3.clone(), found: found.to_string() })
}

impl From<Lease> for Leash {
    fn from(lease: Lease) -> Self {
        let left = lease.permit.until().map(|until| until.duration_since(lease.decided));
        // A time so far away that the monotonic clock cannot name it never comes.
        let until =
            left.and_then(|left| Instant::now().checked_add(left.try_into().unwrap_or_default()));
        Self { until, ending: lease.ending }
    }
}

/// [`Content`] as header fields.
struct Description {
    size: u64,
    etag: ETag,
    modified: SystemTime,
    fields: [(HeaderName, HeaderValue); 3],
}

impl Description {
    fn new(content: &Content) -> Result<Self, ServeError> {
        let digests = &content.digests;
        let sha256 = hex::decode(&digests.sha256).ok().filter(|digest| digest.len() == 32);
        let etag = format!("\"{}\"", digests.blake3).parse().ok();
        let (Some(sha256), Some(etag)) = (sha256, etag) else {
            return Err(ServeError::NotADigest { digest: digests.sha256.clone() });
        };
        let repr_digest = format!("sha-256=:{}:", STANDARD.encode(sha256));
        let fields = [
            (REPR_DIGEST, value_or(&repr_digest, "")),
            (CONTENT_TYPE, value_or(&content.media_type, "application/octet-stream")),
            (CONTENT_DISPOSITION, value_or(&attachment(&content.file_name), "attachment")),
        ];
        let modified = SystemTime::from(content.published);
        Ok(Self { size: digests.size, etag, modified, fields })
    }

    /// The fields that say which representation it is: in every answer that has or stands for one.
    fn identify(&self, headers: &mut HeaderMap) {
        headers.typed_insert(self.etag.clone());
        headers.typed_insert(LastModified::from(self.modified));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    }

    fn describe(&self, headers: &mut HeaderMap) {
        self.identify(headers);
        headers.typed_insert(AcceptRanges::bytes());
        headers.extend(self.fields.clone());
    }
}

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The answer to a request; `body` makes what is sent of a range, or nothing.
fn answer(
    method: &Method,
    headers: &HeaderMap,
    description: Description,
    body: impl FnOnce(Option<std::ops::Range<u64>>) -> Body,
) -> Response<Body> {
    let mut fields = HeaderMap::new();
    let is_get = method == Method::GET;
    let (status, range) = match conditions::plan(method, headers, &description) {
        Plan::Whole => {
            description.describe(&mut fields);
            fields.typed_insert(ContentLength(description.size));
            (StatusCode::OK, Some(0..description.size))
        }
        Plan::Part(range) => {
            description.describe(&mut fields);
            fields.typed_insert(ContentLength(range.end - range.start));
            if let Ok(part) = ContentRange::bytes(range.clone(), description.size) {
                fields.typed_insert(part);
            }
            (StatusCode::PARTIAL_CONTENT, Some(range))
        }
        Plan::NotModified => {
            description.identify(&mut fields);
            (StatusCode::NOT_MODIFIED, None)
        }
        Plan::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, None),
        Plan::Unsatisfiable => {
            fields.typed_insert(ContentRange::unsatisfied_bytes(description.size));
            (StatusCode::RANGE_NOT_SATISFIABLE, None)
        }
        Plan::WrongMethod => {
            fields.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            (StatusCode::METHOD_NOT_ALLOWED, None)
        }
    };
    let mut response = Response::new(body(range.filter(|_| is_get)));
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

fn value_or(text: &str, otherwise: &'static str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(otherwise))
}

/// A `Content-Disposition` for any file name (RFC 6266 with RFC 8187): plain ASCII for all, the exact name for those who
/// can read it. A name is never a path.
fn attachment(file_name: &str) -> String {
    let name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |character: char| match character {
        ' '..='~' if !matches!(character, '"' | '%') => character,
        _ => '_',
    };
    let ascii: String = name.chars().map(plain).collect();
    let mut value = format!("attachment; filename=\"{ascii}\"");
    if ascii != name {
        value.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                value.push(char::from(byte));
            } else {
                value.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    value
}

#[cfg(test)]
mod tests;

//! What a pull brought: its bytes and its evidence, handed over to the one who asked.

use std::io::SeekFrom;
use std::ops::Range;
use std::sync::Arc;

use engine::entity::{Digests, PullStep};
use engine::pull::HandOver;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use http_range_header::{
    EndPosition, StartPosition, SyntacticallyCorrectRange, parse_range_header,
};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::answer::{ApiError, ErrorKind};
use super::caller::APPLICATIONS;
use super::input::Nothing;
use super::pulls::{lost, not_received, visible};
use super::route::{Bytes, Call, Json, Route, Verbatim};
use super::shape::ProvenanceBundle;
use crate::net::{Body, BodyFailure, full};
use crate::node::Node;
use crate::objects::PullName;

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "pulls.content",
            "/v1/pulls/{id}/content",
            "The bytes that were received",
            bytes,
        )
        .for_roles(APPLICATIONS)
        .header("Range", "one range of bytes (RFC 9110 section 14)"),
        Route::get(
            "pulls.provenance",
            "/v1/pulls/{id}/provenance",
            "The evidence of what was received, as `FILE.prov` holds it",
            provenance,
        )
        .for_roles(APPLICATIONS),
        Route::post(
            "pulls.delivered",
            "/v1/pulls/{id}/delivered",
            "Say that everything was taken: what is here of it goes",
            delivered,
        )
        .for_roles(APPLICATIONS),
    ]
}

/// The bytes, from where the command line has them.
async fn bytes(call: Call) -> Result<Bytes, ApiError> {
    let id = call.segment("id");
    let digests = received(&call, id).await?;
    check_terms(&call, id).await?;
    Ok(Bytes(open(call.node(), id, &digests, call.headers()).await?))
}

/// Refuses what may not be used any more: its partner was shut out, its agreement or the time of that is over, a duty was not
/// done, or it was recorded that the data were deleted; and what the terms do not let the application have that asks.
///
/// # Errors
/// The refusal, and how to let go of the copy.
pub(super) async fn check_terms(call: &Call, id: &str) -> Result<(), ApiError> {
    let (node, asked) = (call.node(), id.to_owned());
    let (fresh, application) = (node.fresh(), call.caller.application.clone());
    let decided = node
        .decide(move |view| engine::pull::hand_over(view, &fresh, &asked, application.as_deref()))
        .await;
    match decided {
        Ok(HandOver::Permitted) => Ok(()),
        Ok(HandOver::NotToThisOne(why)) => Err(ApiError::new(ErrorKind::Policy, why).help(
            "ask with the key of an application that the terms name; `sekisho key list` shows the identifier of each key, \
             and `sekisho key create --application IDENTIFIER` gives one",
        )),
        Err(trouble) => {
            let error = ApiError::from(trouble);
            Err(match error.kind {
                ErrorKind::Policy => error.help(format!(
                    "let go of the copy with `sekisho pulls cancel {id}`; the next pull asks for a new agreement"
                )),
                _ => error,
            })
        }
    }
}

/// The bytes of a pull that is received, or the range that is asked for. The terms were checked before.
///
/// # Errors
/// When they are gone, or cannot be read.
pub(super) async fn open(
    node: &Arc<Node>,
    id: &str,
    digests: &Digests,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let Some(received) = node.objects.received(&pull_name(id)?, digests) else {
        return Err(gone(node, id).await);
    };
    let range = match range(headers, digests) {
        Asked::Whole => 0..digests.size,
        Asked::Part(range) => range,
        Asked::Unsatisfiable => return Ok(unsatisfiable(headers, digests.size)),
    };
    let unreadable = |error: std::io::Error| {
        let text = format!("`{}` cannot be read: {error}", received.path.display());
        ApiError::new(ErrorKind::Internal, text)
    };
    let mut file = tokio::fs::File::open(&received.path).await.map_err(unreadable)?;
    file.seek(SeekFrom::Start(range.start)).await.map_err(unreadable)?;
    let length = range.end.saturating_sub(range.start);
    let pieces = ReaderStream::with_capacity(file.take(length), READ_BYTES);
    let frames = futures_util::StreamExt::map(pieces, |piece| {
        piece.map(Frame::data).map_err(|error| BodyFailure::Source(error.into()))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if length < digests.size {
        let last = range.end.saturating_sub(1);
        let text = format!("bytes {}-{last}/{}", range.start, digests.size);
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// The evidence, as `FILE.prov` holds it.
async fn provenance(call: Call) -> Result<Verbatim<ProvenanceBundle>, ApiError> {
    let (node, id) = (call.node(), call.segment("id"));
    // The id names a file: only what is a pull's name may.
    pull_name(id)?;
    let pull = visible(&call, id).await?;
    if !matches!(pull.step, PullStep::Received { .. } | PullStep::Delivered { .. }) {
        return Err(not_received(&pull));
    }
    let kept = crate::evidence::kept(node, id).await.map_err(|error| {
        ApiError::new(
            ErrorKind::Internal,
            format!("the evidence of pull `{id}` cannot be read: {error}"),
        )
    })?;
    let Some(bundle) = kept else {
        return Err(ApiError::not_found(format!("the partner gave no evidence for pull `{id}`"))
            .help("only partners whose card lists `provenance/1` do"));
    };
    let mut response = Response::new(full(bundle));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Verbatim::new(response))
}

/// A pull whose bytes were taken.
#[derive(Debug, Serialize, JsonSchema)]
struct HandedOver {
    /// The pull.
    delivered: String,
}

/// The command line has everything: what is here goes.
async fn delivered(call: Call, _: Nothing) -> Result<Json<HandedOver>, ApiError> {
    let (node, id) = (call.node(), call.segment("id"));
    let pull = visible(&call, id).await?;
    if !matches!(pull.step, PullStep::Received { .. } | PullStep::Delivered { .. }) {
        return Err(not_received(&pull));
    }
    let name = pull_name(id)?;
    let (fresh, asked) = (node.fresh(), id.to_owned());
    node.decide(move |view| engine::pull::delivered(view, &fresh, &asked)).await?;
    node.objects.discard(&name)?;
    Ok(Json(HandedOver { delivered: id.to_owned() }))
}

fn pull_name(id: &str) -> Result<PullName, ApiError> {
    id.parse().map_err(|_| ApiError::not_found(format!("there is no pull `{id}`")))
}

/// The digests of a pull that is received.
async fn received(call: &Call, id: &str) -> Result<Digests, ApiError> {
    // The id names a file: only what is a pull's name may.
    pull_name(id)?;
    let pull = visible(call, id).await?;
    match pull.step {
        PullStep::Received { digests, .. } => Ok(digests),
        _ => Err(not_received(&pull)),
    }
}

/// The bytes were lost with their file: the pull fails, so that the next one starts anew.
async fn gone(node: &Arc<Node>, id: &str) -> ApiError {
    let (context, fresh, asked) = (Arc::clone(&node.context), node.fresh(), id.to_owned());
    let failure = lost();
    let error = ApiError::new(ErrorKind::TryAgain, failure.reason.clone())
        .help("the same command pulls it anew");
    let recorded =
        node.decide(move |view| engine::pull::fail(view, &context, &fresh, &asked, &failure)).await;
    match recorded {
        Ok(()) => error,
        Err(trouble) => trouble.into(),
    }
}

/// The strong entity tag of bytes: their SHA-256.
pub(super) fn etag(digests: &Digests) -> String {
    format!("\"{}\"", digests.sha256)
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// The one range that is asked for. What is none, and several of them, are ignored (RFC 9110 section 14.2), and so is one of
/// other bytes (section 13.1.5).
fn range(headers: &HeaderMap, digests: &Digests) -> Asked {
    let same = |value: &HeaderValue| value.as_bytes() == etag(digests).as_bytes();
    if headers.get(header::IF_RANGE).is_some_and(|value| !same(value)) {
        return Asked::Whole;
    }
    let size = digests.size;
    let parsed = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| parse_range_header(text).ok());
    let one = parsed.as_ref().and_then(|parsed| match parsed.ranges.as_slice() {
        [one] => Some(*one),
        _ => None,
    });
    let Some(SyntacticallyCorrectRange { start, end }) = one else { return Asked::Whole };
    let (start, end) = match (start, end) {
        (StartPosition::FromLast(length), _) => (size.saturating_sub(length), size),
        (StartPosition::Index(start), EndPosition::LastByte) => (start, size),
        (StartPosition::Index(start), EndPosition::Index(last)) if start > last => {
            return Asked::Whole;
        }
        (StartPosition::Index(start), EndPosition::Index(last)) => {
            (start, size.min(last.saturating_add(1)))
        }
    };
    if start < end { Asked::Part(start..end) } else { Asked::Unsatisfiable }
}

fn unsatisfiable(headers: &HeaderMap, size: u64) -> Response<Body> {
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let text =
        format!("`{}` begins beyond the end: there are {size} bytes", asked.unwrap_or_default());
    let mut response = ApiError::invalid(text)
        .help("leave `Range` out for the whole")
        .status(StatusCode::RANGE_NOT_SATISFIABLE)
        .into_response();
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

#[cfg(test)]
mod tests;

//! One call for applications: "give me this dataset for this purpose".
//!
//! It is idempotent. What was received for the purpose is given again as long as its agreement stands; else an agreement
//! that fits is used, else one is negotiated, and the bytes are given when they are here and verified.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine::entity::{Digests, Pull, PullStep};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use protocol::id::DatasetId;
use serde_json::json;

use super::answer::{ApiError, ErrorKind};
use super::caller::APPLICATIONS;
use super::content::etag;
use super::pulls::ShownPull;
use super::route::{BytesOr, Call, Route};
use super::{content, datasets, pulls};
use crate::net::{Body, empty};
use crate::node::Node;
use crate::wire;

/// How long a call waits for a partner that is away, where nothing is said.
const WAIT_SECONDS: u64 = 60;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "data.get",
            "/v1/data/{partner}/{dataset}",
            "Give me this dataset for this purpose: uses what is here, an agreement that stands, or makes one",
            get,
        )
        .for_roles(APPLICATIONS)
        .query::<String>("purpose", "what it is used for, where the policy asks")
        .query::<u64>("wait_seconds", "how long to wait for a partner that is away; 60 where nothing is said")
        .header("Range", "one range of bytes (RFC 9110 section 14)")
        .header("If-Range", "the `ETag` of the bytes that the range continues (RFC 9110 section 13.1.5)")
        .header("If-None-Match", "the `ETag` of what the caller has: 304 where it is the same")
        .header("Prefer", "`respond-async`: 202 at once where it is not here yet (RFC 7240 section 4.1)"),
    ]
}

async fn get(mut call: Call) -> Result<BytesOr<ShownPull>, ApiError> {
    let node = Arc::clone(call.node());
    let (partner, dataset) = (call.segment("partner").to_owned(), call.segment("dataset"));
    let dataset: DatasetId = datasets::dataset_id(dataset)?;
    let purpose = call.query.take::<String>("purpose")?;
    let wait_seconds = call.query.take::<u64>("wait_seconds")?.unwrap_or(WAIT_SECONDS);
    let participant = call.caller.partner(&node, &partner)?;
    call.caller.check(&participant, &dataset, purpose.as_deref())?;
    let active = node.registry().by_participant(&participant).is_some_and(|file| file.is_active());
    if !active {
        return Err(ApiError::new(ErrorKind::Suspended, format!("`{partner}` is suspended here")));
    }
    let wanted = pulls::Wanted { partner, dataset, purpose, push: false, wait_seconds };
    let at_once = prefers_async(call.headers());
    let pull = pulls::obtain(&node, wanted, participant, &call.person(), at_once).await?;
    let PullStep::Received { digests, file_name, .. } = &pull.step else {
        return Ok(BytesOr::new(begun(&node, &pull)));
    };
    content::check_terms(&call, &pull.id).await?;
    if has_same(call.headers(), digests) {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        describe(&mut response, &pull, digests, file_name);
        return Ok(BytesOr::new(response));
    }
    let mut response = content::open(&node, &pull.id, digests, call.headers()).await?;
    // A range that is refused is answered by an error: that is not the bytes.
    if response.status().is_success() {
        describe(&mut response, &pull, digests, file_name);
    }
    Ok(BytesOr::new(response))
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case("respond-async"))
}

/// It goes on by itself; where to look.
fn begun(node: &Node, pull: &Pull) -> Response<Body> {
    let mut response =
        wire::json(StatusCode::ACCEPTED, json!(ShownPull::of(node, pull)).to_string());
    let headers = response.headers_mut();
    if let Ok(place) = HeaderValue::try_from(format!("/v1/pulls/{}", pull.id)) {
        headers.insert(header::LOCATION, place);
    }
    headers.insert("preference-applied", HeaderValue::from_static("respond-async"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Whether the caller has the same bytes already.
fn has_same(headers: &HeaderMap, digests: &Digests) -> bool {
    let etag = etag(digests);
    let values =
        headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// What the bytes are: `ETag`, `Repr-Digest` (RFC 9530), the file's name, and where the evidence is (W3C PROV-AQ).
fn describe(response: &mut Response<Body>, pull: &Pull, digests: &Digests, file_name: &str) {
    let sha256 = hex::decode(&digests.sha256).unwrap_or_default();
    let fields = [
        (header::ETAG, etag(digests)),
        (
            header::HeaderName::from_static("repr-digest"),
            format!("sha-256=:{}:", BASE64_STANDARD.encode(sha256)),
        ),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::CONTENT_LOCATION, format!("/v1/pulls/{}/content", pull.id)),
        (
            header::LINK,
            format!(
                "</v1/pulls/{}/provenance>; rel=\"http://www.w3.org/ns/prov#has_provenance\"",
                pull.id
            ),
        ),
        (
            header::CONTENT_DISPOSITION,
            format!(
                "attachment; filename*=UTF-8''{}",
                percent_encoding::utf8_percent_encode(
                    file_name,
                    percent_encoding::NON_ALPHANUMERIC
                )
            ),
        ),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
}

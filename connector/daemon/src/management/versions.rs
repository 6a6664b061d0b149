//! Whether a partner can be reached, and which versions of the protocol it serves.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use protocol::message::{PROTOCOL_VERSION, ProtocolVersion, VersionResponse};
use protocol::path::BaseUrl;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{ApiError, ErrorKind};
use super::catalog::unsent;
use super::input::Nothing;
use super::partners;
use super::route::{Call, Json, Route};
use crate::net::{PartnerClient, SendError};
use crate::node::Node;
use crate::pulls;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::post(
        "partners.check",
        "/v1/partners/{name}/check",
        "Reach a partner as its file says, prove who it is, and ask which versions of the protocol it serves",
        check,
    )]
}

/// A partner that answered, and which versions it serves.
#[derive(Debug, Serialize, JsonSchema)]
struct ReachedPartner {
    /// The partner, as its certificate proved.
    participant: String,
    /// The endpoint in its file.
    dsp_endpoint: String,
    /// Where its versions are told.
    discovery: String,
    versions: Vec<ServedVersion>,
}

/// A version of the Dataspace Protocol that a partner serves.
#[derive(Debug, Serialize, JsonSchema)]
struct ServedVersion {
    version: String,
    binding: String,
    /// Where it is served, below the connector's root.
    path: String,
    /// Whether it is the one that this site speaks, at the endpoint in the partner's file.
    ours: bool,
}

/// Asks where version discovery may be, from the origin down to the endpoint: a card tells the endpoint alone, and DSP leaves
/// to the connector what its root is (2025-1, exposure of dataspace protocol versions).
async fn check(call: Call, _: Nothing) -> Result<Json<ReachedPartner>, ApiError> {
    let (node, name) = (call.node(), call.segment("name"));
    let participant = call.caller.partner(node, name)?;
    let (client, base) = pulls::reach(node, &participant).ok_or_else(|| partners::unknown(name))?;
    let (root, response) = discover(node, name, &client, &base).await?;
    let ours = |entry: &ProtocolVersion| {
        entry.is_dsp_2025_1() && root.join(&entry.path).is_ok_and(|served| served.is_same(&base))
    };
    let versions = response.protocol_versions.iter().map(|entry| ServedVersion {
        version: entry.version.clone(),
        binding: entry.binding.clone(),
        path: entry.path.clone(),
        ours: ours(entry),
    });
    let versions: Vec<_> = versions.collect();
    if !versions.iter().any(|served| served.ours) {
        let told: Vec<_> =
            versions.iter().map(|one| format!("{} at `{}`", one.version, one.path)).collect();
        let text = format!(
            "`{name}` does not serve DSP {PROTOCOL_VERSION} at `{base}`; it serves {}",
            told.join(", ")
        );
        return Err(ApiError::new(ErrorKind::Refused, text)
            .help("ask the partner for its current card: it tells the endpoint"));
    }
    Ok(Json(ReachedPartner {
        participant: participant.to_string(),
        dsp_endpoint: base.to_string(),
        discovery: root.version().to_string(),
        versions,
    }))
}

async fn discover(
    node: &Arc<Node>,
    name: &str,
    client: &PartnerClient,
    base: &BaseUrl,
) -> Result<(BaseUrl, VersionResponse), ApiError> {
    for root in base.roots() {
        let url = root.version();
        let nothing = HeaderValue::from_static("application/json");
        let answer = match client.send(Method::GET, url.as_str(), nothing, Bytes::new()).await {
            Err(SendError::Status { answer, .. }) if answer.status == StatusCode::NOT_FOUND => {
                continue;
            }
            answer => answer.map_err(|error| unsent(node, name, &error))?,
        };
        let response = VersionResponse::parse(&answer.body, &node.answer_limits());
        return response.map(|response| (root, response)).map_err(|error| {
            let text = format!("what `{name}` answers at {url} is no list of versions: {error}");
            ApiError::new(ErrorKind::Refused, text)
        });
    }
    let text = format!(
        "`{name}` was reached and is who it should be, but tells no versions of the protocol"
    );
    Err(ApiError::new(ErrorKind::Refused, text)
        .help("ask the partner whether its endpoint is still the one of its card"))
}

//! What a partner offers us.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
use policy::explain::{Language, plain};
use policy::odrl::Policy;
use policy::terms::named_purposes;
use protocol::error::PeerRefusal;
use protocol::id::ParticipantId;
use protocol::message::{self, Catalog, CatalogOffer, CatalogRequestMessage, Dataset};
use protocol::path::Endpoint;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{ApiError, ErrorKind};
use super::caller::APPLICATIONS;
use super::partners;
use super::route::{Call, Json, Route};
use crate::net::SendError;
use crate::node::Node;
use crate::pulls;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("catalog.ask", "/v1/catalog", "Ask a partner what it offers us", ask)
            .for_roles(APPLICATIONS),
    ]
}

/// Whose catalog, and which part of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CatalogQuestion {
    /// The partner's short name or participant id.
    partner: String,
    /// Words that have to be in id, title or description.
    filter: Option<String>,
}

/// Asks a partner for its catalog. The filter's words are looked for here, so that they mean the same with every partner.
async fn ask(call: Call, wanted: CatalogQuestion) -> Result<Json<Value>, ApiError> {
    let (node, scope) = (call.node(), &call.caller.scope);
    let unknown = || partners::unknown(&wanted.partner);
    let participant = node
        .partner_id(&wanted.partner)
        .filter(|participant| scope.has_partner(participant))
        .ok_or_else(unknown)?;
    let catalog = fetch(node, &participant, &wanted.partner).await?;
    if catalog.participant_id.as_ref().is_some_and(|claimed| *claimed != participant) {
        let text = format!("`{}` shows a catalog of another participant", wanted.partner);
        return Err(ApiError::new(ErrorKind::Identity, text)
            .help("ask the partner for its current card; its participant id may have changed"));
    }
    let words: Vec<String> = wanted
        .filter
        .iter()
        .flat_map(|filter| filter.split_whitespace())
        .map(str::to_lowercase)
        .collect();
    let mut datasets = Vec::new();
    let is_wanted = |dataset: &Dataset| scope.has(&participant, &dataset.id);
    collect(&catalog, &is_wanted, &words, &mut datasets);
    Ok(Json(json!({ "participant": participant, "datasets": datasets })))
}

async fn fetch(
    node: &Arc<Node>,
    participant: &ParticipantId,
    name: &str,
) -> Result<Catalog, ApiError> {
    let (client, base) = pulls::reach(node, participant).ok_or_else(|| partners::unknown(name))?;
    let url = base.endpoint(Endpoint::CatalogRequest).to_string();
    let body = message::to_bytes(&CatalogRequestMessage::default(), None);
    let json = HeaderValue::from_static("application/json");
    let answer = client
        .send(Method::POST, &url, json, body.into())
        .await
        .map_err(|error| unsent(node, name, &error))?;
    message::parse::<Catalog>(&answer.body, &node.answer_limits())
        .map(|incoming| incoming.message)
        .map_err(|error| {
            let text = format!("the catalog of `{name}` cannot be read: {error}");
            ApiError::new(ErrorKind::Refused, text)
        })
}

/// Why a partner did not answer a request of ours.
pub(super) fn unsent(node: &Node, name: &str, error: &SendError) -> ApiError {
    let text = crate::site::chain(error);
    match error {
        SendError::PartnerRefused { .. } | SendError::WeAreRefused { .. } => {
            ApiError::new(ErrorKind::Identity, text)
        }
        SendError::Status { answer, .. } => {
            let told = PeerRefusal::read(&answer.body, &node.answer_limits()).explanation;
            let kind = match answer.status {
                StatusCode::NOT_FOUND => ErrorKind::NotFound,
                StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => ErrorKind::Suspended,
                status if status.is_server_error() => ErrorKind::TryAgain,
                StatusCode::TOO_MANY_REQUESTS => ErrorKind::TryAgain,
                _ => ErrorKind::Refused,
            };
            let texts = told.texts();
            let reference = texts.iter().find(|text| text.starts_with("urn:uuid:")).cloned();
            let reasons: Vec<&str> = texts
                .iter()
                .map(String::as_str)
                .filter(|text| !text.starts_with("urn:uuid:"))
                .collect();
            let reason = match reasons.as_slice() {
                [] => answer.status.to_string(),
                reasons => reasons.join("; "),
            };
            ApiError::new(kind, format!("`{name}` refuses: {reason}")).reference(reference)
        }
        error if error.is_transient() => ApiError::new(ErrorKind::NotReachable, text),
        SendError::Guard(_) | SendError::Name { .. } => ApiError::invalid(text),
        _ => ApiError::new(ErrorKind::NotReachable, text),
    }
}

/// The datasets of a catalog and of those within it.
fn collect(
    catalog: &Catalog,
    is_wanted: &impl Fn(&Dataset) -> bool,
    words: &[String],
    found: &mut Vec<Value>,
) {
    let wanted = catalog.datasets.iter().filter(|dataset| is_wanted(dataset));
    found.extend(wanted.map(dataset).filter(|dataset| has_words(dataset, words)));
    for inner in &catalog.catalogs {
        collect(inner, is_wanted, words, found);
    }
}

fn has_words(dataset: &Value, words: &[String]) -> bool {
    let text = ["id", "title", "description"]
        .into_iter()
        .filter_map(|member| dataset.get(member).and_then(Value::as_str))
        .map(str::to_lowercase)
        .collect::<Vec<_>>();
    words.iter().all(|word| text.iter().any(|text| text.contains(word)))
}

/// One dataset as the command line shows it. Other connectors write the vocabulary's names with other prefixes.
fn dataset(dataset: &Dataset) -> Value {
    let of_dataset =
        |names: &[&str]| names.iter().find_map(|name| dataset.properties.get(*name)).and_then(text);
    let of_distribution = |names: &[&str]| {
        dataset
            .distributions
            .iter()
            .flat_map(|distribution| names.iter().map(|name| distribution.properties.get(*name)))
            .flatten()
            .find_map(text)
    };
    let size = ["dcat:byteSize", "byteSize", "http://www.w3.org/ns/dcat#byteSize"];
    let media_type = ["dcat:mediaType", "mediaType", "http://www.w3.org/ns/dcat#mediaType"];
    let of_distributions =
        dataset.distributions.iter().flat_map(|distribution| &distribution.offers);
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("id", json!(dataset.id));
    put("title", json!(of_dataset(&["dct:title", "title", "http://purl.org/dc/terms/title"])));
    put(
        "description",
        json!(of_dataset(&[
            "dct:description",
            "description",
            "http://purl.org/dc/terms/description"
        ])),
    );
    put(
        "version",
        json!(of_dataset(&["dcat:version", "version", "http://www.w3.org/ns/dcat#version"])),
    );
    put("media_type", json!(of_distribution(&media_type)));
    put("size", json!(of_distribution(&size).and_then(|size| size.parse::<u64>().ok())));
    put("offers", dataset.offers.iter().chain(of_distributions).map(offer).collect());
    Value::Object(shown)
}

fn offer(offer: &CatalogOffer) -> Value {
    match Policy::from_json(offer.document()) {
        Ok(policy) => json!({
            "id": offer.id(),
            "policy": plain(&policy, Language::English).lines().collect::<Vec<_>>(),
            "purposes": named_purposes(&policy),
        }),
        Err(error) => json!({
            "id": offer.id(),
            "policy": [format!("this policy cannot be understood: {error}")],
            "purposes": [],
        }),
    }
}

/// The text of a property: plain, with a language or type, or the first of several.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => values.iter().find_map(text),
        Value::Object(members) => {
            members.get("@value").or_else(|| members.get("@id")).and_then(text)
        }
        Value::Null | Value::Bool(_) => None,
    }
}

#[cfg(test)]
mod tests;

//! What a partner offers us.

mod cursor;

use std::sync::Arc;

use bytes::Bytes;
use engine::keys::Scope;
use http::{HeaderValue, Method, StatusCode};
use policy::explain::{Language, plain};
use policy::odrl::Policy;
use policy::terms::named_purposes;
use protocol::error::PeerRefusal;
use protocol::id::{CatalogId, ParticipantId};
use protocol::message::{self, Catalog, CatalogOffer, CatalogRequestMessage, Dataset};
use protocol::path::Endpoint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use self::cursor::Place;
use super::answer::{ApiError, ErrorKind};
use super::caller::APPLICATIONS;
use super::partners;
use super::route::{Call, Json, Route};
use crate::net::{PartnerClient, SendError};
use crate::node::Node;
use crate::pulls;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("catalog.ask", "/v1/catalog", "Ask a partner what it offers us", ask)
            .for_roles(APPLICATIONS),
    ]
}

/// How many pages are asked for at most, so that a partner cannot lead us on for ever.
const PAGES_MAX: usize = 1_000;
/// How many datasets are shown where nobody says how many, and at most.
const LIMIT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;
/// How deep catalogs within catalogs are read.
const NESTING_MAX: usize = 8;
/// What a partner's card lists when it knows the filter of [`engine::catalog::Filter`].
const FILTER_EXTENSION: &str = "catalog-filter/1";

/// Whose catalog, and which part of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CatalogQuestion {
    /// The partner's short name or participant id.
    partner: String,
    /// Words that have to be in id, title, description or tags.
    filter: Option<String>,
    /// Tags, of which one is enough.
    #[serde(default)]
    tags: Vec<String>,
    /// The media type.
    media_type: Option<String>,
    /// The `filter` of the CatalogRequestMessage, as this partner's connector wants it; else what is asked for above, where the
    /// partner's card says that it knows our filter.
    dsp_filter: Option<Value>,
    /// How many datasets at most; else 1,000.
    limit: Option<usize>,
    /// The `next` of the answer before, with the same question.
    cursor: Option<String>,
}

impl CatalogQuestion {
    /// What a cursor is good for: everything that is asked, but for how many at once.
    fn text(&self, participant: &ParticipantId) -> Vec<u8> {
        let asked = json!([participant, self.filter, self.tags, self.media_type, self.dsp_filter]);
        asked.to_string().into_bytes()
    }
}

/// Asks a partner for its catalog, page by page. Whether the partner filters or not, what is shown was looked at here too, so
/// that a filter means the same with every partner.
async fn ask(call: Call, wanted: CatalogQuestion) -> Result<Json<PartnerCatalog>, ApiError> {
    let (node, scope) = (call.node(), &call.caller.scope);
    let participant = call.caller.partner(node, &wanted.partner)?;
    let search = Search {
        participant: &participant,
        is_allowed: &|dataset| scope.has(&participant, &dataset.id),
        words: wanted
            .filter
            .iter()
            .flat_map(|filter| filter.split_whitespace())
            .map(str::to_lowercase)
            .collect(),
        tags: &wanted.tags,
        media_type: wanted.media_type.as_deref(),
    };
    let limit = wanted.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let question = wanted.text(&participant);
    let site = node.identity.site.load();
    let mut place = match &wanted.cursor {
        None => None,
        Some(cursor) => Some(Place::open(cursor, &site.token_key, &question).ok_or_else(|| {
            ApiError::invalid("the cursor is not one that this node gave for this question")
                .help("repeat the question of the first answer, or begin again without `cursor`")
        })?),
    };
    let filter = match &wanted.dsp_filter {
        None => None,
        Some(Value::Array(entries)) => Some(entries.clone()),
        Some(entry) => Some(vec![entry.clone()]),
    };
    let mut found = Found::default();
    let mut next = None;
    let mut pages =
        Pages::new(node, &participant, &wanted.partner, filter, &search, place.as_ref())?;
    while next.is_none()
        && found.datasets.len() < limit
        && let Some((page, catalog)) = pages.next().await?
    {
        if catalog.participant_id.as_ref().is_some_and(|claimed| *claimed != participant) {
            let text = format!("`{}` shows a catalog of another participant", wanted.partner);
            return Err(ApiError::new(ErrorKind::Identity, text).help(
                "ask the partner for its current card; its participant id may have changed",
            ));
        }
        let before = found.datasets.len();
        search.collect(&catalog, &mut found);
        let mut on_page = found.datasets.split_off(before);
        let ids = on_page.iter().map(|dataset| dataset.id.as_str());
        let shown = place.take().map_or(0, |place| place.shown_of(ids));
        let rest = on_page.split_off(shown);
        let room = limit.saturating_sub(before);
        let is_cut = rest.len() > room;
        found.datasets.extend(rest.into_iter().take(room));
        if is_cut {
            let last = found.datasets.last().map(|dataset| dataset.id.clone());
            next = Some(Place { page: page.into(), shown: shown.saturating_add(room), last });
        }
    }
    let page = pages.next.map(|page| Place { page: page.into(), shown: 0, last: None });
    let next = next.or(page).map(|place| place.seal(&site.token_key, &question));
    for catalog in &mut found.catalogs {
        catalog.name_partner(node, scope);
    }
    Ok(Json(PartnerCatalog {
        participant: participant.to_string(),
        datasets: found.datasets,
        catalogs: found.catalogs,
        more: next.is_some(),
        next,
    }))
}

/// The pages of a partner's catalog.
struct Pages<'a> {
    node: &'a Arc<Node>,
    name: &'a str,
    client: PartnerClient,
    request: Bytes,
    /// Where the next page is.
    next: Option<Url>,
    asked: usize,
}

impl<'a> Pages<'a> {
    fn new(
        node: &'a Arc<Node>,
        participant: &ParticipantId,
        name: &'a str,
        filter: Option<Vec<Value>>,
        search: &Search<'_>,
        place: Option<&Place>,
    ) -> Result<Self, ApiError> {
        let (client, base) =
            pulls::reach(node, participant).ok_or_else(|| partners::unknown(name))?;
        let filters = node
            .registry()
            .by_participant(participant)
            .is_some_and(|file| file.partner.extensions.contains(FILTER_EXTENSION));
        let filter = filter.unwrap_or_else(|| if filters { search.filter() } else { Vec::new() });
        let request = message::to_bytes(&CatalogRequestMessage { filter }, None).into();
        let next = match place {
            None => base.endpoint(Endpoint::CatalogRequest),
            Some(place) => Url::parse(&place.page).map_err(|error| {
                ApiError::invalid(format!("the cursor's page cannot be asked for: {error}"))
            })?,
        };
        let next = Some(next);
        Ok(Self { node, name, client, request, next, asked: 0 })
    }

    /// Asks for the next page; nothing after the last, and after as many as are asked for.
    async fn next(&mut self) -> Result<Option<(Url, Catalog)>, ApiError> {
        if self.asked == PAGES_MAX {
            return Ok(None);
        }
        let Some(url) = self.next.take() else { return Ok(None) };
        self.asked += 1;
        let json = HeaderValue::from_static("application/json");
        let answer = self
            .client
            .send(Method::POST, url.as_str(), json, self.request.clone())
            .await
            .map_err(|error| unsent(self.node, self.name, &error))?;
        // The guard looks at the address again before it is dialled: a link leads nowhere but to the partner.
        self.next =
            crate::net::link::next(&answer.headers).and_then(|target| url.join(&target).ok());
        message::parse::<Catalog>(&answer.body, &self.node.answer_limits())
            .map(|incoming| Some((url, incoming.message)))
            .map_err(|error| {
                let text = format!("the catalog of `{}` cannot be read: {error}", self.name);
                ApiError::new(ErrorKind::Refused, text)
            })
    }
}

/// Why a partner did not answer a request of ours.
pub(super) fn unsent(node: &Node, name: &str, error: &SendError) -> ApiError {
    let text = crate::site::chain(error);
    match error {
        SendError::PartnerRefused { .. } | SendError::WeAreRefused { .. } => {
            ApiError::new(ErrorKind::Identity, text)
        }
        SendError::Status { answer, .. } => {
            let PeerRefusal { explanation, reference, .. } =
                PeerRefusal::read(&answer.body, &node.answer_limits());
            let kind = match answer.status {
                StatusCode::NOT_FOUND => ErrorKind::NotFound,
                StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => ErrorKind::Suspended,
                status if status.is_server_error() => ErrorKind::TryAgain,
                StatusCode::TOO_MANY_REQUESTS => ErrorKind::TryAgain,
                _ => ErrorKind::Refused,
            };
            let reason = match explanation.texts() {
                texts if texts.is_empty() => answer.status.to_string(),
                texts => texts.join("; "),
            };
            ApiError::new(kind, format!("`{name}` refuses: {reason}")).reference(reference)
        }
        error if error.is_transient() => ApiError::new(ErrorKind::NotReachable, text),
        SendError::Guard(_) | SendError::Name { .. } => ApiError::invalid(text),
        _ => ApiError::new(ErrorKind::NotReachable, text),
    }
}

/// What is looked for in a catalog.
struct Search<'a> {
    participant: &'a ParticipantId,
    is_allowed: &'a (dyn Fn(&Dataset) -> bool + Sync),
    /// In lower case.
    words: Vec<String>,
    tags: &'a [String],
    media_type: Option<&'a str>,
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    datasets: Vec<OfferedDataset>,
    catalogs: Vec<Nested>,
}

/// What a partner offers us.
#[derive(Debug, Serialize, JsonSchema)]
struct PartnerCatalog {
    /// The partner.
    participant: String,
    datasets: Vec<OfferedDataset>,
    /// The catalogs within the partner's.
    catalogs: Vec<Nested>,
    /// Whether there may be more datasets than are shown.
    more: bool,
    /// The cursor of what follows; nothing after the last.
    next: Option<String>,
}

/// A dataset of a partner's catalog.
#[derive(Debug, Serialize, JsonSchema)]
struct OfferedDataset {
    id: String,
    title: Option<String>,
    description: Option<String>,
    version: Option<String>,
    tags: Vec<String>,
    media_type: Option<String>,
    /// Bytes.
    size: Option<u64>,
    offers: Vec<ShownOffer>,
    /// The catalog within the partner's in which it is.
    catalog: Option<String>,
}

/// An offer, and what it means.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownOffer {
    id: String,
    /// Its policy, a line for each clause.
    policy: Vec<String>,
    /// The purposes that it names.
    purposes: Vec<String>,
}

/// A catalog within a catalog.
#[derive(Debug, Serialize, JsonSchema)]
struct Nested {
    #[schemars(with = "String")]
    id: CatalogId,
    title: Option<String>,
    /// Whose it is, where it is not the partner's.
    #[serde(rename = "participant")]
    #[schemars(with = "Option<String>")]
    other: Option<ParticipantId>,
    /// Under which name that one is a partner of ours.
    partner: Option<String>,
    endpoint: Option<String>,
}

impl Nested {
    fn name_partner(&mut self, node: &Node, scope: &Scope) {
        let registry = node.registry();
        let other = self.other.as_ref().filter(|other| scope.has_partner(other));
        let partner = other.and_then(|other| registry.by_participant(other));
        self.partner = partner.map(|partner| partner.name().to_owned());
    }
}

impl Search<'_> {
    /// The same for a partner that knows our filter.
    fn filter(&self) -> Vec<Value> {
        let mut entries = Vec::new();
        if !self.words.is_empty() {
            entries.push(json!({ "text": self.words.join(" ") }));
        }
        if !self.tags.is_empty() {
            entries.push(json!({ "tag": self.tags }));
        }
        if let Some(media_type) = self.media_type {
            entries.push(json!({ "mediaType": media_type }));
        }
        entries
    }

    fn collect(&self, catalog: &Catalog, found: &mut Found) {
        self.collect_from(catalog, None, 0, found);
    }

    /// The datasets of a catalog and of those within it. One of another participant is told, and its datasets are not: they
    /// are not this partner's to give. Nothing in it is dialled.
    fn collect_from(
        &self,
        catalog: &Catalog,
        within: Option<&str>,
        depth: usize,
        found: &mut Found,
    ) {
        let allowed = catalog.datasets.iter().filter(|dataset| (self.is_allowed)(dataset));
        let shown = allowed.map(|one| dataset(one, within));
        found.datasets.extend(shown.filter(|dataset| self.is_found(dataset)));
        if depth == NESTING_MAX {
            return;
        }
        for inner in &catalog.catalogs {
            let other = inner.participant_id.clone().filter(|owner| owner != self.participant);
            let title = TITLES.iter().find_map(|name| inner.properties.get(*name)).and_then(text);
            let is_others = other.is_some();
            if found.catalogs.iter().all(|known| known.id != inner.id) {
                let endpoint = inner.services.first().map(|service| service.endpoint_url.clone());
                let (id, title) = (inner.id.clone(), title.clone());
                found.catalogs.push(Nested { id, title, other, partner: None, endpoint });
            }
            if !is_others {
                let name = title.as_deref().unwrap_or(inner.id.as_str());
                self.collect_from(inner, Some(name), depth + 1, found);
            }
        }
    }

    fn is_found(&self, dataset: &OfferedDataset) -> bool {
        let text = [Some(&dataset.id), dataset.title.as_ref(), dataset.description.as_ref()]
            .into_iter()
            .flatten()
            .chain(&dataset.tags)
            .map(|text| text.to_lowercase())
            .collect::<Vec<_>>();
        self.words.iter().all(|word| text.iter().any(|text| text.contains(word)))
            && (self.tags.is_empty() || dataset.tags.iter().any(|tag| self.tags.contains(tag)))
            && self
                .media_type
                .is_none_or(|media_type| dataset.media_type.as_deref() == Some(media_type))
    }
}

const TITLES: [&str; 3] = ["dct:title", "title", "http://purl.org/dc/terms/title"];
const KEYWORDS: [&str; 3] = ["dcat:keyword", "keyword", "http://www.w3.org/ns/dcat#keyword"];

/// One dataset as the command line shows it. Other connectors write the vocabulary's names with other prefixes.
fn dataset(dataset: &Dataset, catalog: Option<&str>) -> OfferedDataset {
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
    let description = ["dct:description", "description", "http://purl.org/dc/terms/description"];
    let version = ["dcat:version", "version", "http://www.w3.org/ns/dcat#version"];
    let tags = KEYWORDS.iter().find_map(|name| dataset.properties.get(*name));
    OfferedDataset {
        id: dataset.id.to_string(),
        title: of_dataset(&TITLES),
        description: of_dataset(&description),
        version: of_dataset(&version),
        tags: tags.map(texts).unwrap_or_default(),
        media_type: of_distribution(&media_type),
        size: of_distribution(&size).and_then(|size| size.parse().ok()),
        offers: dataset.offers.iter().chain(of_distributions).map(offer).collect(),
        catalog: catalog.map(str::to_owned),
    }
}

fn offer(offer: &CatalogOffer) -> ShownOffer {
    let (policy, purposes) = match Policy::from_json(offer.document()) {
        Ok(policy) => (
            plain(&policy, Language::English).lines().map(str::to_owned).collect(),
            named_purposes(&policy),
        ),
        Err(error) => (vec![format!("this policy cannot be understood: {error}")], Vec::new()),
    };
    ShownOffer { id: offer.id().to_string(), policy, purposes }
}

/// The texts of a property that may have several values.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().filter_map(text).collect(),
        value => text(value).into_iter().collect(),
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

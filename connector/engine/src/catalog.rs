//! What a partner sees of our catalog.

use jiff::Timestamp;
use protocol::id::{CatalogId, DatasetId, ParticipantId, ServiceId};
use protocol::message::{AccessService, Catalog, CatalogOffer, DataService, Dataset, Distribution};
use serde_json::{Map, Value, json};

use crate::context::{self, Context, Decided, Fresh, Peer, settle};
use crate::entity::{self, Partner, Rules};
use crate::transfer::HTTP_PULL;
use crate::{Decision, Need, View, judge};

/// What is needed to build a partner's catalog from the datasets of the store.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The partner.
    pub partner: Partner,
    /// The rule set in force.
    pub rules: std::sync::Arc<Rules>,
    /// The instant.
    pub now: Timestamp,
}

/// Admits a partner to its catalog.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn admit(view: &dyn View, fresh: &Fresh, peer: &Peer) -> Decided<Reader> {
    settle((|| {
        let partner = context::active_partner(view, fresh, peer)?;
        let now = context::trusted_time(view, fresh)?;
        Ok(Decision::answer(Reader { partner, rules: judge::rules_in_force(view)?, now }))
    })())
}

/// One dataset as a partner sees it.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn dataset(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    id: &DatasetId,
) -> Decided<Dataset> {
    settle((|| {
        let partner = context::active_partner(view, fresh, peer)?;
        let now = context::trusted_time(view, fresh)?;
        let reader = Reader { partner, rules: judge::rules_in_force(view)?, now };
        let hidden = || fresh.not_found(format!("dataset `{id}` is not visible"));
        let provider = context.participant.as_str();
        let (dataset, _) = judge::visible(view, &reader.rules, provider, &reader.partner, id, now)?
            .ok_or_else(hidden)?;
        let entry = reader.entry(context, &dataset).ok_or_else(hidden)?;
        Ok(Decision::answer(entry))
    })())
}

impl Reader {
    /// The catalog entry of a dataset; `None` where the partner may see no offer of it.
    pub fn entry(&self, context: &Context, dataset: &entity::Dataset) -> Option<Dataset> {
        let offers = judge::offers(
            &self.rules,
            context.participant.as_str(),
            &self.partner,
            dataset,
            self.now,
        );
        let offers: Vec<CatalogOffer> = offers
            .iter()
            .filter_map(|offered| CatalogOffer::new(&offered.id, &offered.offer).ok())
            .collect();
        if offers.is_empty() {
            return None;
        }
        let distribution = Distribution {
            format: HTTP_PULL.to_owned(),
            access_service: AccessService::Reference(service_id(context)?),
            offers: Vec::new(),
            properties: distribution_properties(dataset),
        };
        Some(Dataset {
            id: dataset.id.clone(),
            offers,
            distributions: vec![distribution],
            properties: properties(dataset),
        })
    }

    /// A catalog page of entries.
    pub fn catalog(&self, context: &Context, datasets: Vec<Dataset>) -> Option<Catalog> {
        let service = DataService {
            id: service_id(context)?,
            endpoint_url: context.dsp_endpoint.clone(),
            properties: Map::new(),
        };
        Some(Catalog {
            id: CatalogId::new(&format!("{}/catalog", context.dsp_endpoint)).ok()?,
            participant_id: Some(participant(context)),
            datasets,
            catalogs: Vec::new(),
            services: vec![service],
            distributions: Vec::new(),
            properties: Map::new(),
        })
    }
}

fn participant(context: &Context) -> ParticipantId {
    context.participant.clone()
}

fn service_id(context: &Context) -> Option<ServiceId> {
    ServiceId::new(&context.dsp_endpoint).ok()
}

fn properties(dataset: &entity::Dataset) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut put = |name: &str, value: Value| {
        properties.insert(name.to_owned(), value);
    };
    put("dct:title", json!(dataset.title));
    put("dct:issued", json!(dataset.published.to_string()));
    put("dcat:version", json!(dataset.version));
    for (name, value) in [
        ("dct:description", &dataset.description),
        ("dct:language", &dataset.language),
        ("dct:license", &dataset.licence),
        ("urn:sekisho:v1:confidentiality", &dataset.confidentiality),
    ] {
        if let Some(value) = value {
            put(name, json!(value));
        }
    }
    if !dataset.tags.is_empty() {
        put("dcat:keyword", json!(dataset.tags));
    }
    properties
}

fn distribution_properties(dataset: &entity::Dataset) -> Map<String, Value> {
    let mut properties = Map::new();
    properties.insert("dct:format".to_owned(), json!(HTTP_PULL));
    properties.insert("dcat:mediaType".to_owned(), json!(dataset.media_type));
    properties.insert("dcat:byteSize".to_owned(), json!(dataset.digests.size));
    properties.insert("urn:sekisho:v1:sha256".to_owned(), json!(dataset.digests.sha256));
    properties
}

/// Reads the rule set in force, for our own administrator.
///
/// # Errors
/// [`Need`] when it is not loaded.
pub fn rules(view: &dyn View) -> Result<std::sync::Arc<Rules>, Need> {
    judge::rules_in_force(view)
}

//! What a partner sees of our catalog.

mod filter;
mod page;
mod selection;

use jiff::Timestamp;
use protocol::id::{CatalogId, DatasetId, ParticipantId, ServiceId};
use protocol::message::{AccessService, Catalog, CatalogOffer, DataService, Dataset, Distribution};
use serde_json::{Map, Value, json};

use crate::context::{self, Context, Decided, Fresh, Peer, settle};
use crate::derived::{self, Lapsed};
use crate::entity::{self, Partner, Rules};
use crate::transfer::FORMATS;
use crate::{Decision, Need, View, judge};

pub use filter::{Filter, FilterError, Query};
pub use page::{Extent, Link, Page};
pub use selection::{Selected, Selection, Selector, Start};

/// What is needed to build a partner's catalog from the datasets of the store.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The partner.
    pub partner: Partner,
    /// The rule set in force.
    pub rules: std::sync::Arc<Rules>,
    /// The instant.
    pub now: Timestamp,
    /// The agreements that ended, among those on which the datasets to be listed depend ([`derived::lapsed`]).
    pub lapsed: Lapsed,
}

/// Admits a partner to its catalog.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn admit(view: &dyn View, fresh: &Fresh, peer: &Peer) -> Decided<Reader> {
    settle((|| {
        let partner = context::active_partner(view, fresh, peer)?;
        let now = context::trusted_time(view, fresh)?;
        Ok(Decision::answer(Reader::new(partner, judge::rules_in_force(view)?, now)))
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
        let mut reader = Reader::new(partner, judge::rules_in_force(view)?, now);
        let hidden = || fresh.not_found(format!("dataset `{id}` is not visible"));
        let provider = context.participant.as_str();
        let (dataset, _) = judge::visible(view, &reader.rules, provider, &reader.partner, id, now)?
            .ok_or_else(hidden)?;
        reader.lapsed = derived::lapsed(view, [&dataset])?;
        let entry = reader.entry(context, &dataset).ok_or_else(hidden)?;
        Ok(Decision::answer(entry))
    })())
}

impl Reader {
    fn new(partner: Partner, rules: std::sync::Arc<Rules>, now: Timestamp) -> Self {
        Self { partner, rules, now, lapsed: Lapsed::new() }
    }

    /// The catalog entry of a dataset; `None` where the partner may see no offer of it.
    pub fn entry(&self, context: &Context, dataset: &entity::Dataset) -> Option<Dataset> {
        let offers = judge::offers(
            &self.rules,
            context.participant.as_str(),
            &self.partner,
            dataset,
            &self.lapsed,
            self.now,
        );
        let offers: Vec<CatalogOffer> = offers
            .iter()
            .filter_map(|offered| CatalogOffer::new(&offered.id, &offered.offer).ok())
            .collect();
        if offers.is_empty() {
            return None;
        }
        let service = service_id(context)?;
        let distributions = FORMATS.map(|format| Distribution {
            format: format.to_owned(),
            access_service: AccessService::Reference(service.clone()),
            offers: Vec::new(),
            properties: distribution_properties(dataset, format),
        });
        Some(Dataset {
            id: dataset.id.clone(),
            offers,
            distributions: distributions.into(),
            properties: properties(dataset),
        })
    }

    /// A page of the catalog. Each entry comes with the name of the nested catalog in which it stands, or with none.
    pub fn catalog(
        &self,
        context: &Context,
        entries: Vec<(Option<&str>, Dataset)>,
    ) -> Option<Catalog> {
        let root = format!("{}/catalog", context.dsp_endpoint);
        let mut datasets = Vec::new();
        let mut catalogs: Vec<(&str, Catalog)> = Vec::new();
        for (name, entry) in entries {
            let Some(name) = name else {
                datasets.push(entry);
                continue;
            };
            match catalogs.iter_mut().find(|(other, _)| *other == name) {
                Some((_, catalog)) => catalog.datasets.push(entry),
                None => {
                    let catalog = Catalog {
                        id: CatalogId::new(&format!("{root}#{name}")).ok()?,
                        participant_id: Some(participant(context)),
                        datasets: vec![entry],
                        catalogs: Vec::new(),
                        services: Vec::new(),
                        distributions: Vec::new(),
                        properties: Map::from_iter([("dct:title".to_owned(), json!(name))]),
                    };
                    catalogs.push((name, catalog));
                }
            }
        }
        let service = DataService {
            id: service_id(context)?,
            endpoint_url: context.dsp_endpoint.clone(),
            properties: Map::new(),
        };
        Some(Catalog {
            id: CatalogId::new(&root).ok()?,
            participant_id: Some(participant(context)),
            datasets,
            catalogs: catalogs.into_iter().map(|(_, catalog)| catalog).collect(),
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

fn distribution_properties(dataset: &entity::Dataset, format: &str) -> Map<String, Value> {
    let mut properties = Map::new();
    properties.insert("dct:format".to_owned(), json!(format));
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

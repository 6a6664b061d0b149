//! Messages of the catalog protocol.

use serde_json::Value;

use super::wire::{Members, Node, Wire, put, put_list, put_others};
use super::{CatalogOffer, WireError, WireFault};
use crate::id::{CatalogId, DatasetId, ParticipantId, ServiceId};

/// A consumer asks for a catalog.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CatalogRequestMessage {
    /// Which datasets it wants, in words that the two sides agreed on; a provider refuses what it does not know.
    pub filter: Vec<Value>,
}

/// A consumer asks for one dataset. On HTTPS the id is in the path and the message has no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetRequestMessage {
    /// The dataset.
    pub dataset: DatasetId,
}

/// What a provider offers to the asking consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// What the catalog is called.
    pub id: CatalogId,
    /// Who offers; nothing for a nested catalog that does not say.
    pub participant_id: Option<ParticipantId>,
    /// The datasets.
    pub datasets: Vec<Dataset>,
    /// Catalogs within this one.
    pub catalogs: Vec<Catalog>,
    /// The services that give access.
    pub services: Vec<DataService>,
    /// How the catalog itself can be had.
    pub distributions: Vec<Distribution>,
    /// Further members, such as `dct:title`.
    pub properties: Members,
}

/// One dataset with its offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// What the dataset is called.
    pub id: DatasetId,
    /// The offers (`hasPolicy`). What is sent has at least one.
    pub offers: Vec<CatalogOffer>,
    /// How it can be had. What is sent has at least one.
    pub distributions: Vec<Distribution>,
    /// Further members, such as `dct:title`.
    pub properties: Members,
}

/// One way to have a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// What a transfer request names, such as `HttpData-PULL`.
    pub format: String,
    /// Who gives access.
    pub access_service: AccessService,
    /// Offers that hold for this distribution only.
    pub offers: Vec<CatalogOffer>,
    /// Further members.
    pub properties: Members,
}

/// The service that gives access to a distribution.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessService {
    /// By its identifier.
    Reference(ServiceId),
    /// In place.
    Embedded(DataService),
}

/// A service that gives access.
#[derive(Debug, Clone, PartialEq)]
pub struct DataService {
    /// What the service is called.
    pub id: ServiceId,
    /// Where it is (`endpointURL`).
    pub endpoint_url: String,
    /// Further members.
    pub properties: Members,
}

const CATALOG_MEMBERS: [&str; 9] = [
    "@id",
    "@type",
    "participantId",
    "dataset",
    "catalog",
    "service",
    "distribution",
    "hasPolicy",
    "@context",
];
const DATASET_MEMBERS: [&str; 5] = ["@id", "@type", "hasPolicy", "distribution", "@context"];
const DISTRIBUTION_MEMBERS: [&str; 5] =
    ["@type", "format", "accessService", "hasPolicy", "@context"];
const SERVICE_MEMBERS: [&str; 4] = ["@id", "@type", "endpointURL", "@context"];

impl Wire for CatalogRequestMessage {
    const TYPE: &'static str = "CatalogRequestMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { filter: node.list("filter", |entry| Ok(entry.value().clone()))? })
    }

    fn write(&self, members: &mut Members) {
        put_list(members, "filter", self.filter.iter().cloned());
    }
}

impl Wire for DatasetRequestMessage {
    const TYPE: &'static str = "DatasetRequestMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { dataset: node.required("dataset")?.id()? })
    }

    fn write(&self, members: &mut Members) {
        put(members, "dataset", self.dataset.as_str());
    }
}

impl Wire for Catalog {
    const TYPE: &'static str = "Catalog";
    const OWN_ID: bool = true;
    const SHOWN: bool = true;

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let catalog = Self::read_nested(node)?;
        node.required("participantId")?;
        Ok(catalog)
    }

    fn write(&self, members: &mut Members) {
        put(members, "@id", self.id.as_str());
        if let Some(participant_id) = &self.participant_id {
            put(members, "participantId", participant_id.as_str());
        }
        put_list(members, "dataset", self.datasets.iter().map(nested));
        put_list(members, "catalog", self.catalogs.iter().map(nested));
        put_list(members, "service", self.services.iter().map(DataService::to_json));
        put_list(members, "distribution", self.distributions.iter().map(Distribution::to_json));
        put_others(members, &self.properties, &CATALOG_MEMBERS);
    }
}

impl Catalog {
    fn read_nested(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: node.required("@id")?.id()?,
            participant_id: node.optional("participantId")?.map(|id| id.id()).transpose()?,
            datasets: node.list("dataset", Dataset::read)?,
            catalogs: node.list("catalog", Self::read_nested)?,
            services: node.list("service", DataService::read)?,
            distributions: node.list("distribution", Distribution::read)?,
            properties: node.others(&CATALOG_MEMBERS)?,
        })
    }
}

impl Wire for Dataset {
    const TYPE: &'static str = "Dataset";
    const OWN_ID: bool = true;
    const SHOWN: bool = true;

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: node.required("@id")?.id()?,
            offers: node.list("hasPolicy", CatalogOffer::read)?,
            distributions: node.list("distribution", Distribution::read)?,
            properties: node.others(&DATASET_MEMBERS)?,
        })
    }

    fn write(&self, members: &mut Members) {
        put(members, "@id", self.id.as_str());
        put_list(members, "hasPolicy", self.offers.iter().map(|offer| offer.document().clone()));
        put_list(members, "distribution", self.distributions.iter().map(Distribution::to_json));
        put_others(members, &self.properties, &DATASET_MEMBERS);
    }
}

impl Distribution {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            format: node.required("format")?.id_text()?.to_owned(),
            access_service: AccessService::read(&node.required("accessService")?)?,
            offers: node.list("hasPolicy", CatalogOffer::read)?,
            properties: node.others(&DISTRIBUTION_MEMBERS)?,
        })
    }

    fn to_json(&self) -> Value {
        let mut members = Members::new();
        put(&mut members, "@type", "Distribution");
        put(&mut members, "format", &self.format);
        let service = match &self.access_service {
            AccessService::Reference(id) => Value::from(id.as_str()),
            AccessService::Embedded(service) => service.to_json(),
        };
        members.insert("accessService".to_owned(), service);
        put_list(
            &mut members,
            "hasPolicy",
            self.offers.iter().map(|offer| offer.document().clone()),
        );
        put_others(&mut members, &self.properties, &DISTRIBUTION_MEMBERS);
        Value::Object(members)
    }
}

impl AccessService {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let mut services = node.items();
        let (Some(service), None) = (services.next(), services.next()) else {
            return Err(node.refuse(WireFault::ExactlyOne { members: "its services" }));
        };
        if service.value().get("endpointURL").is_some() {
            Ok(Self::Embedded(DataService::read(&service)?))
        } else {
            Ok(Self::Reference(service.id()?))
        }
    }
}

impl DataService {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: node.required("@id")?.id()?,
            endpoint_url: node.required("endpointURL")?.id_text()?.to_owned(),
            properties: node.others(&SERVICE_MEMBERS)?,
        })
    }

    fn to_json(&self) -> Value {
        let mut members = Members::new();
        put(&mut members, "@id", self.id.as_str());
        put(&mut members, "@type", "DataService");
        put(&mut members, "endpointURL", &self.endpoint_url);
        put_others(&mut members, &self.properties, &SERVICE_MEMBERS);
        Value::Object(members)
    }
}

/// A catalog or dataset within a catalog: typed, but without a context of its own.
fn nested<T: Wire>(item: &T) -> Value {
    let mut members = Members::new();
    put(&mut members, "@type", T::TYPE);
    item.write(&mut members);
    Value::Object(members)
}

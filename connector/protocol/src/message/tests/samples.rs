//! One message of each kind and stage, as we send them.

use super::*;
use crate::error::{CatalogError, ContractNegotiationError, TransferError};
use crate::id::{AgreementId, CatalogId, DatasetId, OfferId, ParticipantId, PurposeId, ServiceId};
use crate::negotiation::State;
use crate::path::BaseUrl;
use crate::transfer::WireState;

pub(super) fn policy() -> Value {
    json!({
        "@id": "urn:example:policy",
        "@type": "Set",
        "permission": [{
            "action": ["use", {"@id": "display"}],
            "constraint": [
                {"leftOperand": "purpose", "operator": "eq", "rightOperand": "urn:example:audit"},
                {"leftOperand": "count", "operator": "odrl:lteq", "rightOperand": 5},
                {"or": [
                    {"leftOperand": "spatial", "operator": "isAnyOf", "rightOperand": ["JP", "DE"]},
                    {"leftOperand": "dateTime", "operator": "lt", "rightOperand":
                        {"@value": "2027-01-01T00:00:00Z", "@type": "xsd:dateTime"}},
                ]},
            ],
            "duty": [{"action": "delete", "constraint": []}],
        }],
        "prohibition": [],
        "obligation": {"action": "inform"},
    })
}

pub(super) fn offer_id() -> OfferId {
    OfferId::new("urn:example:offer").unwrap()
}

pub(super) fn dataset_id() -> DatasetId {
    DatasetId::new("urn:example:dataset").unwrap()
}

pub(super) fn pids() -> Pids {
    Pids { consumer: pid("urn:uuid:c"), provider: pid("p/1 ü") }
}

pub(super) fn explanation() -> Explanation {
    Explanation::new("policy", "the purpose is not permitted")
}

fn callback_address() -> BaseUrl {
    BaseUrl::new("https://consumer.example:8443/dsp/").unwrap()
}

pub(super) fn message_offer() -> MessageOffer {
    MessageOffer::new(&offer_id(), &dataset_id(), &policy()).unwrap()
}

pub(super) fn contract_request() -> ContractRequestMessage {
    ContractRequestMessage {
        consumer_pid: pid("urn:uuid:c"),
        stage: RequestStage::Initial { callback_address: callback_address() },
        offer: message_offer(),
        purpose: Some(PurposeId::new("urn:example:audit").unwrap()),
    }
}

pub(super) fn counter_request() -> ContractRequestMessage {
    let stage = RequestStage::Counter { provider_pid: pid("p/1 ü") };
    ContractRequestMessage { stage, purpose: None, ..contract_request() }
}

pub(super) fn contract_offer() -> ContractOfferMessage {
    ContractOfferMessage {
        provider_pid: pid("p/1 ü"),
        stage: OfferStage::Initial { callback_address: callback_address() },
        offer: message_offer(),
    }
}

pub(super) fn counter_offer() -> ContractOfferMessage {
    let stage = OfferStage::Counter { consumer_pid: pid("urn:uuid:c") };
    ContractOfferMessage { stage, ..contract_offer() }
}

pub(super) fn agreement_terms() -> AgreementTerms {
    AgreementTerms {
        id: AgreementId::new("urn:example:agreement").unwrap(),
        target: dataset_id(),
        assigner: ParticipantId::new("urn:example:provider").unwrap(),
        assignee: ParticipantId::new("urn:example:consumer").unwrap(),
        timestamp: "2026-01-31T12:00:00.5Z".parse().unwrap(),
    }
}

pub(super) fn contract_agreement() -> ContractAgreementMessage {
    let agreement = Agreement::new(&agreement_terms(), &policy()).unwrap();
    ContractAgreementMessage { pids: pids(), agreement, not_honoured: Vec::new() }
}

pub(super) fn verification() -> ContractAgreementVerificationMessage {
    ContractAgreementVerificationMessage { pids: pids() }
}

pub(super) fn event(event: NegotiationEvent) -> ContractNegotiationEventMessage {
    ContractNegotiationEventMessage { pids: pids(), event }
}

pub(super) fn negotiation_termination() -> ContractNegotiationTerminationMessage {
    ContractNegotiationTerminationMessage { pids: pids(), explanation: explanation() }
}

pub(super) fn negotiation(state: State) -> ContractNegotiation {
    ContractNegotiation { pids: pids(), state }
}

pub(super) fn negotiation_error() -> ContractNegotiationError {
    ContractNegotiationError { pids: pids(), explanation: explanation() }
}

pub(super) fn data_address() -> DataAddress {
    DataAddress::with_bearer_token(
        "https://w3id.org/idsa/v4.1/HTTP",
        "https://provider.example/data/1",
        "very-secret",
    )
}

pub(super) fn transfer_request(data_address: Option<DataAddress>) -> TransferRequestMessage {
    TransferRequestMessage {
        consumer_pid: pid("urn:uuid:c"),
        agreement_id: AgreementId::new("urn:example:agreement").unwrap(),
        format: "HttpData-PULL".to_owned(),
        callback_address: callback_address(),
        data_address,
    }
}

pub(super) fn transfer_start(data_address: Option<DataAddress>) -> TransferStartMessage {
    TransferStartMessage { pids: pids(), data_address }
}

pub(super) fn suspension() -> TransferSuspensionMessage {
    TransferSuspensionMessage { pids: pids(), explanation: explanation() }
}

pub(super) fn completion() -> TransferCompletionMessage {
    TransferCompletionMessage { pids: pids() }
}

pub(super) fn transfer_termination() -> TransferTerminationMessage {
    TransferTerminationMessage { pids: pids(), explanation: Explanation::default() }
}

pub(super) fn transfer(state: WireState) -> TransferProcess {
    TransferProcess { pids: pids(), state }
}

pub(super) fn transfer_error() -> TransferError {
    TransferError { pids: pids(), explanation: explanation() }
}

pub(super) fn catalog_error() -> CatalogError {
    CatalogError { explanation: explanation() }
}

pub(super) fn service() -> DataService {
    DataService {
        id: ServiceId::new("urn:example:service").unwrap(),
        endpoint_url: "https://provider.example/dsp".to_owned(),
        properties: Map::new(),
    }
}

pub(super) fn dataset() -> Dataset {
    let distribution = |access_service| Distribution {
        format: "HttpData-PULL".to_owned(),
        access_service,
        offers: Vec::new(),
        properties: Map::new(),
    };
    Dataset {
        id: dataset_id(),
        offers: vec![CatalogOffer::new(&offer_id(), &policy()).unwrap()],
        distributions: vec![
            distribution(AccessService::Reference(service().id)),
            distribution(AccessService::Embedded(service())),
        ],
        properties: json!({"dct:title": "Motor 関所"}).as_object().unwrap().clone(),
    }
}

pub(super) fn empty_catalog() -> Catalog {
    Catalog {
        id: CatalogId::new("urn:example:catalog").unwrap(),
        participant_id: Some(ParticipantId::new("urn:example:provider").unwrap()),
        datasets: Vec::new(),
        catalogs: Vec::new(),
        services: Vec::new(),
        distributions: Vec::new(),
        properties: Map::new(),
    }
}

pub(super) fn catalog() -> Catalog {
    let nested = Catalog { participant_id: None, ..empty_catalog() };
    Catalog {
        datasets: vec![dataset()],
        catalogs: vec![nested],
        services: vec![service()],
        distributions: dataset().distributions,
        ..empty_catalog()
    }
}

pub(super) fn catalog_request() -> CatalogRequestMessage {
    CatalogRequestMessage { filter: vec![json!({"keyword": "motor"})] }
}

pub(super) fn dataset_request() -> DatasetRequestMessage {
    DatasetRequestMessage { dataset: dataset_id() }
}

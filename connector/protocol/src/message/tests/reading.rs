use proptest::prelude::*;

use super::samples::*;
use super::*;
use crate::error::PeerRefusal;

#[test]
fn reads_leniently() {
    let sent = to_json(&counter_request(), None);
    let table = [
        ("/@context", json!(CONTEXT)),
        ("/@context", json!(["https://w3id.org/edc/dspace/v0.0.1", {"x": "y:z"}, CONTEXT])),
        ("/@type", json!(["ContractRequestMessage"])),
        ("/@type", json!("https://w3id.org/dspace/2025/1/ContractRequestMessage")),
        ("/consumerPid", json!({"@id": "urn:uuid:c"})),
        ("/unknown", json!({"@id": [1, 2, {"deep": null}]})),
        ("/constraints", json!([])),
        ("/callbackAddress", Value::Null),
    ];
    for (place, value) in table {
        let incoming = read::<ContractRequestMessage>(&with(&sent, place, Some(value.clone())));
        assert_eq!(incoming.unwrap().message, counter_request(), "{place} {value}");
    }
    let offer =
        json!({"@id": "o", "@type": "odrl:Offer", "target": {"@id": "d"}, "constraints": 1});
    let incoming = read::<ContractRequestMessage>(&with(&sent, "/offer", Some(offer.clone())));
    let read_offer = incoming.unwrap().message.offer;
    assert_eq!(read_offer.document(), &offer, "an offer is kept member for member");
    assert_eq!(read_offer.target().as_str(), "d");
}

#[test]
fn names_the_place_and_the_reason() {
    let sent = to_json(&contract_request(), None);
    let table = [
        ("/@context", json!(["https://example.org"]), "`$.@context`: it does not have"),
        ("/@type", json!("Catalog"), "`$.@type`: it does not name ContractRequestMessage"),
        ("/@id", json!(7), "`$.@id`: it is a number, not an identifier"),
        ("/consumerPid", json!(""), "`$.consumerPid`: an identifier is empty"),
        ("/consumerPid", json!({"@id": {"@id": "x"}}), "`$.consumerPid`: it is an object"),
        ("/providerPid", json!("p"), "`$`: exactly one of `callbackAddress` and `providerPid`"),
        ("/callbackAddress", json!("http://x"), "`$.callbackAddress`: the scheme `http`"),
        ("/offer", json!("o"), "`$.offer`: it is a string, not an object"),
        ("/offer/@type", json!("Agreement"), "`$.offer.@type`: it does not name Offer"),
        ("/offer/target", json!("a\nb"), "`$.offer.target`: an identifier has the control"),
        ("/urn:sekisho:v1:purpose", json!(["a"]), "`$.urn:sekisho:v1:purpose`: it is a list"),
    ];
    for (place, value, expected) in table {
        let error = read::<ContractRequestMessage>(&with(&sent, place, Some(value))).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the ContractRequestMessage is refused at "), "{text}");
        assert!(text.contains(expected), "{text}, not {expected}");
    }
    let error = read::<ContractRequestMessage>(&json!([])).unwrap_err();
    assert!(error.to_string().contains("`$`: it is a list, not an object"), "{error}");
    let error = read::<ContractNegotiation>(&with(
        &to_json(&negotiation(crate::negotiation::State::Agreed), None),
        "/state",
        Some(json!("STARTED")),
    ));
    assert!(error.unwrap_err().to_string().contains("`$.state`: it is not one of REQUESTED"));
}

#[test]
fn a_catalog_of_edc_is_read() {
    let document = json!({
        "@context": [CONTEXT, "https://w3id.org/edc/dspace/v0.0.1"],
        "@id": "567bf428",
        "@type": "Catalog",
        "participantId": "provider",
        "dataset": {
            "@id": "asset-1",
            "@type": "Dataset",
            "hasPolicy": [{"@id": "ZGVm:YXNzZXQ=:MQ==", "@type": "Offer"}],
            "distribution": [
                {"@type": "Distribution", "format": {"@id": "HttpData-PULL"},
                 "accessService": {"@id": "s1", "@type": "DataService", "endpointURL": "http://e/dsp"}},
                {"@type": "Distribution", "format": "HttpData-PUSH", "accessService": {"@id": "s1"}},
            ],
            "edc:name": "first",
            "edc:serial": 12_345_678_901_234_567_890_u64,
        },
        "service": [{"@id": "s1", "@type": "DataService", "endpointURL": "http://e/dsp"}],
        "distribution": [],
        "edc:originator": "x",
    });
    let catalog = read::<Catalog>(&document).unwrap().message;
    assert_eq!(catalog.participant_id.as_ref().unwrap().as_str(), "provider");
    assert_eq!(catalog.properties["edc:originator"], "x");
    let [dataset] = catalog.datasets.as_slice() else { panic!("one dataset") };
    assert_eq!(dataset.properties["edc:name"], "first");
    assert_eq!(dataset.properties["edc:serial"], "12345678901234567890");
    assert_eq!(dataset.distributions[0].format, "HttpData-PULL");
    let reference = crate::id::ServiceId::new("s1").unwrap();
    assert_eq!(dataset.distributions[1].access_service, AccessService::Reference(reference));
    // An offer without rules permits nothing, so it cannot be asked for.
    assert!(dataset.offers[0].for_dataset(&dataset.id).is_err());
}

#[test]
fn a_data_address_of_edc_is_read_and_its_secrets_are_not_kept() {
    let property = |name: &str, value: &str| json!({"@type": "EndpointProperty", "name": name, "value": value});
    let document = json!({
        "@context": [CONTEXT],
        "@type": "TransferStartMessage",
        "consumerPid": "c",
        "providerPid": "p",
        "dataAddress": {
            "@type": "DataAddress",
            "endpointType": "https://w3id.org/idsa/v4.1/HTTP",
            "endpointProperties": [
                property("https://w3id.org/edc/v0.0.1/ns/endpoint", "https://e/public"),
                property("https://w3id.org/edc/v0.0.1/ns/authType", "bearer"),
                property("https://w3id.org/edc/v0.0.1/ns/authorization", "very-secret"),
                property("refreshToken", "also-secret"),
            ],
        },
    });
    let incoming = read::<TransferStartMessage>(&document).unwrap();
    let address = incoming.message.data_address.as_ref().unwrap();
    assert_eq!(address.endpoint(), Some("https://e/public"));
    assert_eq!(
        (address.auth_type(), address.authorization()),
        (Some("bearer"), Some("very-secret"))
    );

    assert_eq!(incoming.digest, json::content_digest(&document).unwrap(), "of what came");
    for shown in [incoming.document.to_string(), format!("{incoming:?}")] {
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("bearer"), "{shown}");
    }
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest("very-secret"));
    assert!(incoming.document.to_string().contains(&format!("sha256:{digest}")));
}

#[test]
fn secrets_in_odd_places_are_redacted_too() {
    let mut sent = to_json(&transfer_start(Some(data_address())), None);
    sent["dataAddress"]["endpointProperties"] = json!({"name": "authorization", "value": 4711});
    let incoming = read::<TransferStartMessage>(&sent).unwrap();
    assert_eq!(incoming.message.data_address.unwrap().authorization(), Some("4711"));
    assert!(!incoming.document.to_string().contains("4711"));
    // Connectors write addresses of their own kinds, too.
    sent["dataAddress"]["https://w3id.org/edc/v0.0.1/ns/authCode"] = json!("s3cret");
    sent["dataAddress"]["header"] = json!({ "x-api-key": ["s3cret"] });
    let kept = read::<TransferStartMessage>(&sent).unwrap().document.to_string();
    assert!(!kept.contains("s3cret"), "{kept}");
}

#[test]
fn any_refusal_of_a_peer_is_read() {
    let limits = Limits::default();
    let full = PeerRefusal::read(&to_bytes(&negotiation_error(), None), &limits);
    assert_eq!(full.kind.as_deref(), Some("ContractNegotiationError"));
    assert_eq!(full.explanation, explanation());
    let tagged = br#"{"code":409,"reason":[{"@value":"no","@language":"en"},{"x":1},"why"]}"#;
    let tagged = PeerRefusal::read(tagged, &limits);
    assert_eq!(tagged.explanation.code.as_deref(), Some("409"));
    assert_eq!(tagged.explanation.texts(), ["no", r#"{"x":1}"#, "why"]);
    for bytes in [&b""[..], b"<html>", b"[]", b"null", br#"{"code":{}}"#, b"\xff"] {
        assert_eq!(PeerRefusal::read(bytes, &limits), PeerRefusal::default());
    }
}

/// Any value where a message has some other: wrong types everywhere.
fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(-7)),
        Just(json!("")),
        Just(json!("urn:x")),
        Just(json!([])),
        Just(json!({})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from),
            (prop_oneof!["@id", "@value", "name", "value", "and"], inner)
                .prop_map(|(key, value)| json!({ key: value })),
        ]
    })
}

fn places(value: &Value, place: &str, found: &mut Vec<String>) {
    if let Value::Object(members) = value {
        for (key, member) in members {
            let place = format!("{place}/{}", key.replace('/', "~1"));
            places(member, &place, found);
            found.push(place);
        }
    }
}

fn survives<T: Message + PartialEq + fmt::Debug>(message: &T, junk: &Value) {
    let sent = to_json(message, None);
    let mut found = Vec::new();
    places(&sent, "", &mut found);
    for place in found {
        let Ok(incoming) = read::<T>(&with(&sent, &place, Some(junk.clone()))) else { continue };
        // What was accepted can be written and read again with the same meaning.
        let again = read::<T>(&to_json(&incoming.message, None)).unwrap();
        assert_eq!(again.message, incoming.message, "{place}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn wrong_values_never_panic(junk in junk()) {
        survives(&contract_request(), &junk);
        survives(&counter_offer(), &junk);
        survives(&contract_agreement(), &junk);
        survives(&negotiation_termination(), &junk);
        survives(&transfer_request(Some(data_address())), &junk);
        survives(&transfer_start(Some(data_address())), &junk);
        survives(&catalog(), &junk);
        survives(&dataset(), &junk);
    }
}

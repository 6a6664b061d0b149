use super::samples::*;
use super::*;
use crate::negotiation::State;
use crate::transfer::WireState;

/// What we send is read back as it was, in whatever spacing, and every required member is required.
fn check<T: Message + PartialEq + fmt::Debug>(message: &T, required: &[&str]) {
    let id = MessageId::new("urn:uuid:m").unwrap();
    let document = to_json(message, (!T::OWN_ID).then_some(&id));
    assert_eq!(document["@context"], json!([CONTEXT]));
    assert_eq!(document["@type"], T::TYPE);
    assert_no_empty_list(&document);

    let pretty = serde_json::to_vec_pretty(&document).unwrap();
    let incoming = parse::<T>(&pretty, &Limits::default()).unwrap();
    assert_eq!(&incoming.message, message);
    assert_eq!(incoming.message_id, (!T::OWN_ID).then_some(id));
    assert_eq!(incoming.digest, json::content_digest(&document).unwrap());

    let keys: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
    for key in keys {
        let place = format!("/{}", key.replace('/', "~1"));
        let is_required = key == "@context" || key == "@type" || required.contains(&key.as_str());
        for absent in [None, Some(Value::Null)] {
            let outcome = read::<T>(&with(&document, &place, absent));
            assert_eq!(outcome.is_err(), is_required, "{} without {key}", T::TYPE);
        }
    }
}

fn assert_no_empty_list(value: &Value) {
    match value {
        Value::Array(items) => {
            assert!(!items.is_empty(), "the schemas forbid empty lists");
            items.iter().for_each(assert_no_empty_list);
        }
        Value::Object(members) => members.values().for_each(assert_no_empty_list),
        _ => {}
    }
}

const BOTH_PIDS: &[&str] = &["consumerPid", "providerPid"];

#[test]
fn catalog_messages() {
    check(&catalog_request(), &[]);
    check(&dataset_request(), &["dataset"]);
    check(&catalog(), &["@id", "participantId"]);
    check(&empty_catalog(), &["@id", "participantId"]);
    check(&dataset(), &["@id"]);
    check(&catalog_error(), &[]);
}

#[test]
fn negotiation_messages() {
    check(&contract_request(), &["consumerPid", "callbackAddress", "offer"]);
    check(&counter_request(), &["consumerPid", "providerPid", "offer"]);
    check(&contract_offer(), &["providerPid", "callbackAddress", "offer"]);
    check(&counter_offer(), &["providerPid", "consumerPid", "offer"]);
    check(&contract_agreement(), &["consumerPid", "providerPid", "agreement"]);
    check(&verification(), BOTH_PIDS);
    for kind in [NegotiationEvent::Accepted, NegotiationEvent::Finalized] {
        check(&event(kind), &["consumerPid", "providerPid", "eventType"]);
    }
    check(&negotiation_termination(), BOTH_PIDS);
    for state in State::ALL {
        check(&negotiation(state), &["consumerPid", "providerPid", "state"]);
    }
    check(&negotiation_error(), BOTH_PIDS);
}

#[test]
fn transfer_messages() {
    let required = ["consumerPid", "agreementId", "format", "callbackAddress"];
    for address in [None, Some(data_address())] {
        check(&transfer_request(address.clone()), &required);
        check(&transfer_start(address), BOTH_PIDS);
    }
    check(&suspension(), BOTH_PIDS);
    check(&completion(), BOTH_PIDS);
    check(&transfer_termination(), BOTH_PIDS);
    for state in WireState::ALL {
        check(&transfer(state), &["consumerPid", "providerPid", "state"]);
    }
    check(&transfer_error(), BOTH_PIDS);
}

#[test]
fn version_discovery() {
    let response = VersionResponse {
        protocol_versions: vec![
            VersionResponse::current("/dsp").protocol_versions[0].clone(),
            ProtocolVersion {
                version: "2024-1".to_owned(),
                path: "/old".to_owned(),
                binding: "HTTPS".to_owned(),
                service_id: Some("urn:example:service".to_owned()),
                identifier_type: Some("D-U-N-S".to_owned()),
                auth: Some(VersionAuth {
                    protocol: "mTLS".to_owned(),
                    version: "1".to_owned(),
                    profile: vec!["x".to_owned()],
                }),
            },
        ],
    };
    let document = response.to_json();
    assert_eq!(
        document["protocolVersions"][0],
        json!({"version": "2025-1", "path": "/dsp", "binding": "HTTPS"})
    );
    let bytes = document.to_string().into_bytes();
    let read = VersionResponse::parse(&bytes, &Limits::default()).unwrap();
    assert_eq!(read, response);
    assert_eq!(
        read.protocol_versions.iter().find(|entry| entry.is_dsp_2025_1()).unwrap().path,
        "/dsp"
    );
    for bytes in [
        &b"{}"[..],
        br#"{"protocolVersions":[]}"#,
        br#"{"protocolVersions":[{"version":"2025-1"}]}"#,
        b"[]",
    ] {
        assert!(VersionResponse::parse(bytes, &Limits::default()).is_err());
    }
}

#[test]
fn a_request_is_written_as_peers_expect_it() {
    let id = MessageId::new("urn:uuid:m").unwrap();
    assert_eq!(
        to_json(&contract_request(), Some(&id)),
        json!({
            "@context": ["https://w3id.org/dspace/2025/1/context.jsonld"],
            "@type": "ContractRequestMessage",
            "@id": "urn:uuid:m",
            "consumerPid": "urn:uuid:c",
            "callbackAddress": "https://consumer.example:8443/dsp/",
            "offer": {
                "@id": "urn:example:offer",
                "@type": "Offer",
                "target": "urn:example:dataset",
                "permission": message_offer().document()["permission"],
                "obligation": [{"action": "odrl:inform"}],
            },
            "urn:sekisho:v1:purpose": "urn:example:audit",
        })
    );
}

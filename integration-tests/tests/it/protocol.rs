//! The wire as careless and hostile partners use it.

use anyhow::Result;
use http::{Method, StatusCode};
use integration_tests::connector::{BASE, CONTEXT, Connector, encode, text, urn};
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::stage::{Pair, note};

/// A supplier with one open dataset, and a customer that the test plays.
struct Played {
    supplier: Site,
    customer: Site,
    connector: Connector,
}

impl Played {
    fn new(scene: &Scene) -> Result<Self> {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        Ok(Self { supplier, customer, connector })
    }

    fn kinds(&self, kind: &str) -> Result<usize> {
        Ok(self.supplier.records("a", kind)?.len())
    }
}

#[test]
fn a_repeated_request_gets_the_same_answer_and_no_second_effect() -> Result<()> {
    Scene::play(|scene| {
        let played = Played::new(scene)?;
        let connector = &played.connector;
        let request = connector.contract_request(&connector.offer("one")?, None);
        let first = connector.post("/negotiations/request", &request)?;
        connector.expect("ContractAgreementMessage")?;
        let repeated = connector.post("/negotiations/request", &request)?;
        assert_eq!((first.status, repeated.status), (201, 201));
        assert_eq!(first.json()?["providerPid"], repeated.json()?["providerPid"]);
        assert_eq!(first.body, repeated.body);
        assert_eq!(played.kinds("negotiation-requested")?, 1);

        let mut other = request.clone();
        other["urn:sekisho:v1:purpose"] = json!("something-else");
        assert_eq!(connector.post("/negotiations/request", &other)?.status, 400);
        assert_eq!(played.kinds("negotiation-requested")?, 1);
        Ok(())
    })
}

#[test]
fn a_start_that_is_not_acknowledged_is_sent_again_byte_for_byte() -> Result<()> {
    Scene::play(|scene| {
        let played = Played::new(scene)?;
        let connector = &played.connector;
        let agreement = connector.negotiate("one", None)?;
        connector.answer(StatusCode::SERVICE_UNAVAILABLE);
        let reply =
            connector.post("/transfers/request", &connector.transfer_request(&agreement))?;
        assert_eq!(reply.status, 201);
        let first = connector.expect("TransferStartMessage")?;
        let second = connector.expect("TransferStartMessage")?;
        assert_eq!(first.body, second.body);
        connector.answer(StatusCode::OK);
        connector.expect("TransferStartMessage")?;
        assert_eq!(played.kinds("transfer-granted")?, 1);
        Ok(())
    })
}

#[test]
fn a_process_of_another_partner_does_not_exist() -> Result<()> {
    Scene::play(|scene| {
        let played = Played::new(scene)?;
        let third = scene.plan("c").make()?;
        played.supplier.register(&third, &["partners"])?;
        let other = Connector::play(&third, &played.supplier)?;
        let agreement = played.connector.negotiate("one", None)?;
        let transfer = played.connector.transfer(&agreement)?;

        let path = format!("{BASE}/transfers/{}", encode(&transfer.provider_pid));
        assert_eq!(played.connector.peer.get(&path, &[])?.json()?["state"], "STARTED");
        let missing = format!("{BASE}/transfers/{}", encode(&urn()));
        let (foreign, missing) = (other.peer.get(&path, &[])?, other.peer.get(&missing, &[])?);
        assert_eq!((foreign.status, missing.status), (404, 404));
        assert_eq!(foreign.body.len(), missing.body.len());
        let completion = completion(&transfer.consumer_pid, &transfer.provider_pid);
        let target = format!("/transfers/{}/completion", encode(&transfer.provider_pid));
        assert_eq!(other.post(&target, &completion)?.status, 404);

        // The token is bound to the participant: stolen, it opens nothing.
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let stolen = other.peer.get(&transfer.address.path, &headers)?;
        assert!((401..=404).contains(&stolen.status), "{stolen:?}");
        let own = played.connector.peer.get(&transfer.address.path, &headers)?;
        assert_eq!((own.status, &own.body[..]), (200, &b"one"[..]));
        // Another's agreement is no ground for a transfer.
        let asked = other.post("/transfers/request", &other.transfer_request(&agreement))?;
        assert_eq!(asked.status, 404);
        Ok(())
    })
}

#[test]
fn transitions_that_the_state_does_not_allow_are_refused() -> Result<()> {
    Scene::play(|scene| {
        let played = Played::new(scene)?;
        let connector = &played.connector;
        let agreement = connector.negotiate("one", None)?;
        let transfer = connector.transfer(&agreement)?;
        let (consumer, provider) = (&transfer.consumer_pid, &transfer.provider_pid);
        let target = |verb: &str| format!("/transfers/{}/{verb}", encode(provider));
        assert_eq!(
            connector.post(&target("completion"), &completion(consumer, provider))?.status,
            200
        );
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let late = connector.peer.get(&transfer.address.path, &headers)?;
        assert!((401..=404).contains(&late.status), "{late:?}");

        let suspension = message("TransferSuspensionMessage", consumer, provider);
        assert_eq!(connector.post(&target("suspension"), &suspension)?.status, 400);
        let start = message("TransferStartMessage", consumer, provider);
        assert_eq!(connector.post(&target("start"), &start)?.status, 400);
        let status = connector.peer.get(&format!("{BASE}/transfers/{}", encode(provider)), &[])?;
        assert_eq!(status.json()?["state"], "COMPLETED");
        // Ids that do not belong together.
        let crossed = completion(&urn(), provider);
        assert!(matches!(connector.post(&target("completion"), &crossed)?.status, 400 | 404));
        Ok(())
    })
}

#[test]
fn a_negotiation_can_be_asked_for_and_ended() -> Result<()> {
    Scene::play(|scene| {
        let played = Played::new(scene)?;
        let connector = &played.connector;
        let request = connector.contract_request(&connector.offer("one")?, None);
        let provider =
            text(&connector.post("/negotiations/request", &request)?.json()?, "/providerPid")?;
        connector.expect("ContractAgreementMessage")?;
        let path = format!("{BASE}/negotiations/{}", encode(&provider));
        wait::until("the agreement is acknowledged", PATIENCE, || {
            let state = connector.peer.get(&path, &[])?.json()?["state"].clone();
            Ok((state == "AGREED").then_some(()))
        })?;
        let consumer = text(&request, "/consumerPid")?;
        let end = message("ContractNegotiationTerminationMessage", &consumer, &provider);
        let target = format!("/negotiations/{}/termination", encode(&provider));
        assert_eq!(connector.post(&target, &end)?.status, 200);
        assert_eq!(connector.peer.get(&path, &[])?.json()?["state"], "TERMINATED");
        let verification = message("ContractAgreementVerificationMessage", &consumer, &provider);
        let target = format!("/negotiations/{}/agreement/verification", encode(&provider));
        assert_eq!(connector.post(&target, &verification)?.status, 400);
        Ok(())
    })
}

#[test]
fn documents_that_are_too_much_or_not_clear_are_refused() -> Result<()> {
    Scene::play(|scene| {
        let played = Played::new(scene)?;
        let peer = &played.connector.peer;
        let path = format!("{BASE}/negotiations/request");
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let nested = format!(r#"{{"@context":["{CONTEXT}"],"x":{deep}}}"#);
        let twice = format!(
            r#"{{"@context":["{CONTEXT}"],"@type":"ContractRequestMessage","@type":"ContractRequestMessage"}}"#
        );
        let large = format!(r#"{{"x":"{}"}}"#, "y".repeat(2 * 1024 * 1024));
        let cases: [(&str, Vec<u8>); 8] = [
            ("nothing", Vec::new()),
            ("no JSON", b"{".to_vec()),
            ("not UTF-8", b"{\"x\":\"\xff\"}".to_vec()),
            ("no object", b"[]".to_vec()),
            ("too deep", nested.into_bytes()),
            ("a member twice", twice.into_bytes()),
            ("too large", large.into_bytes()),
            (
                "another message",
                json!({"@context": [CONTEXT], "@type": "Surprise"}).to_string().into(),
            ),
        ];
        for (name, body) in cases {
            // Of a body that is refused before its end the answer may be lost: then the connection was closed.
            match peer.post_bytes(&path, body) {
                Ok(reply) => assert!((400..500).contains(&reply.status), "{name}: {reply:?}"),
                Err(error) => assert_eq!(name, "too large", "{error:#}"),
            }
        }
        let refused = peer.send(Method::PUT, &path, &[], bytes::Bytes::new())?;
        assert_eq!((refused.status, &refused.headers["allow"]), (405, &"POST".parse()?));
        assert_eq!(peer.get("/no/such/path", &[])?.status, 404);
        // It is none the worse for it.
        played.connector.negotiate("one", None)?;
        Ok(())
    })
}

#[test]
fn a_callback_elsewhere_is_refused() -> Result<()> {
    Scene::play(|scene| {
        let played = Played::new(scene)?;
        let mut request = played.connector.contract_request(&played.connector.offer("one")?, None);
        request["callbackAddress"] = json!("https://169.254.169.254/latest");
        let reply = played.connector.post("/negotiations/request", &request)?;
        assert_eq!(reply.status, 400, "{reply:?}");
        Ok(())
    })
}

#[test]
fn an_offer_that_was_not_made_is_not_agreed() -> Result<()> {
    Scene::play(|scene| {
        let played = Played::new(scene)?;
        let mut offer = played.connector.offer("one")?;
        offer["permission"] = json!([{ "action": "distribute" }]);
        let request = played.connector.contract_request(&offer, None);
        let reply = played.connector.post("/negotiations/request", &request)?;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert_eq!(reply.json()?["@type"], "ContractNegotiationError");
        assert_eq!(played.kinds("negotiation-agreed")?, 0);
        Ok(())
    })
}

#[test]
fn what_is_owed_is_delivered_after_a_crash() -> Result<()> {
    Scene::play(|scene| {
        let mut played = Played::new(scene)?;
        let connector = &played.connector;
        connector.answer(StatusCode::SERVICE_UNAVAILABLE);
        let request = connector.contract_request(&connector.offer("one")?, None);
        assert_eq!(connector.post("/negotiations/request", &request)?.status, 201);
        let before = connector.expect("ContractAgreementMessage")?;
        played.supplier.kill()?;
        connector.answer(StatusCode::OK);
        played.supplier.start()?;
        let after = played.connector.expect("ContractAgreementMessage")?;
        assert_eq!(before.body, after.body);
        assert!(played.customer.log().is_ok());
        Ok(())
    })
}

fn message(kind: &str, consumer: &str, provider: &str) -> Value {
    json!({
        "@context": [CONTEXT],
        "@type": kind,
        "@id": urn(),
        "consumerPid": consumer,
        "providerPid": provider,
    })
}

fn completion(consumer: &str, provider: &str) -> Value {
    message("TransferCompletionMessage", consumer, provider)
}

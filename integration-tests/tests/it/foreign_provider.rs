//! Our node as consumer of another connector: what its endpoints answer to a provider, and the error bodies of both protocols.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{Method, StatusCode};
use integration_tests::connector::{BASE, CONTEXT, Connector, Manner, array, encode, text, urn};
use integration_tests::peer::Reply;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::foreign::{partner_file, played};
use crate::stage::{Pair, note, word};

/// A provider that the test plays towards a customer's node, and its negotiation.
struct Offering {
    supplier: Site,
    customer: Site,
    provider: Connector,
    /// The provider's id of the negotiation.
    own: String,
}

impl Offering {
    fn new(scene: &Scene) -> Result<Self> {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        supplier.stop()?;
        let provider = Connector::play(&supplier, &customer)?;
        Ok(Self { supplier, customer, provider, own: urn() })
    }

    fn terms(&self) -> Value {
        json!({
            "@id": urn(), "@type": "Offer", "target": "one",
            "assigner": self.supplier.participant(), "permission": [{ "action": "use" }],
        })
    }

    fn message(&self, kind: &str, members: Value) -> Value {
        let mut message =
            json!({ "@context": [CONTEXT], "@type": kind, "@id": urn(), "providerPid": self.own });
        if let (Some(message), Value::Object(members)) = (message.as_object_mut(), members) {
            message.extend(members);
        }
        message
    }

    /// Offers what nobody asked for: the customer's id of the negotiation.
    fn offer(&self, path: &str) -> Result<String> {
        let members = json!({ "callbackAddress": self.provider.callback(), "offer": self.terms() });
        let message = self.message("ContractOfferMessage", members);
        let answer = self.provider.post(path, &message)?;
        let told = answer.json()?;
        assert_eq!((answer.status, &told["@type"]), (201, &json!("ContractNegotiation")));
        assert_eq!((&told["state"], &told["providerPid"]), (&json!("OFFERED"), &json!(self.own)));
        // The same message again is the same offer.
        let again = self.provider.post(path, &message)?;
        assert_eq!((again.status, again.body), (201, answer.body));
        text(&told, "/consumerPid")
    }

    /// Posts a message to the negotiation: nothing is answered but a status.
    fn tell(&self, pid: &str, path: &str, kind: &str, mut members: Value) -> Result<u16> {
        members["consumerPid"] = json!(pid);
        let path = format!("/negotiations/{}{path}", encode(pid));
        let answer = self.provider.post(&path, &self.message(kind, members))?;
        ensure!(answer.status != 200 || answer.body.is_empty(), "{answer:?}");
        Ok(answer.status)
    }

    fn state(&self, pid: &str) -> Result<String> {
        let path = format!("{BASE}/negotiations/{}", encode(pid));
        text(&self.provider.peer.get(&path, &[])?.json()?, "/state")
    }
}

#[test]
fn a_provider_leads_a_negotiation_from_its_offer_to_the_end() -> Result<()> {
    Scene::play(|scene| {
        let offering = Offering::new(scene)?;
        let (customer, provider) = (&offering.customer, &offering.provider);
        let pid = offering.offer("/negotiations/offers")?;
        assert_eq!(offering.state(&pid)?, "OFFERED");
        // The customer wants other terms, and is offered the first ones once more.
        let terms = note(scene, "terms.json", r#"{"permission":[{"action":"use"}]}"#)?;
        customer.ask(&["negotiation", "counter", &pid, "--terms", word(&terms)?])?;
        let countered = provider.expect("ContractRequestMessage")?;
        assert_eq!(countered.path, format!("{BASE}/negotiations/{}/request", offering.own));
        let terms = offering.terms();
        let offered = || json!({ "offer": terms });
        wait::until("the counter-offer is taken", PATIENCE, || {
            let status = offering.tell(&pid, "/offers", "ContractOfferMessage", offered())?;
            Ok((status == 200).then_some(()))
        })?;
        assert_eq!(offering.state(&pid)?, "OFFERED");
        customer.ask(&["negotiation", "accept", &pid])?;
        let accepted = provider.expect("ContractNegotiationEventMessage")?.body;
        assert_eq!(accepted["eventType"], "ACCEPTED", "{accepted}");
        let agreement = json!({ "agreement": {
            "@id": urn(), "@type": "Agreement", "target": "one",
            "assigner": offering.supplier.participant(), "assignee": customer.participant(),
            "timestamp": "2026-04-01T00:00:00Z", "permission": [{ "action": "use" }],
        }});
        // A trailing slash makes no difference.
        let status = offering.tell(&pid, "/agreement/", "ContractAgreementMessage", agreement)?;
        assert_eq!(status, 200);
        customer.ask(&["negotiation", "verify", &pid])?;
        provider.expect("ContractAgreementVerificationMessage")?;
        let event = || json!({ "eventType": "FINALIZED" });
        let finalized = "ContractNegotiationEventMessage";
        wait::until("the agreement is final", PATIENCE, || {
            let status = offering.tell(&pid, "/events/", finalized, event())?;
            Ok((status == 200).then_some(()))
        })?;
        assert_eq!(offering.state(&pid)?, "FINALIZED");
        // What is final stays so.
        let end = "ContractNegotiationTerminationMessage";
        assert_eq!(offering.tell(&pid, "/termination", end, json!({}))?, 400);
        assert_eq!(offering.state(&pid)?, "FINALIZED");
        Ok(())
    })
}

#[test]
fn a_provider_ends_what_it_offered() -> Result<()> {
    Scene::play(|scene| {
        let offering = Offering::new(scene)?;
        let pid = offering.offer("/negotiations/offers/")?;
        let end = "ContractNegotiationTerminationMessage";
        let why = json!({ "code": "sold-out", "reason": ["no more of it"] });
        assert_eq!(offering.tell(&pid, "/termination/", end, why)?, 200);
        assert_eq!(offering.state(&pid)?, "TERMINATED");
        let shown = offering.customer.ask(&["negotiation", "show", &pid])?;
        assert_eq!(shown["failure"]["code"], "sold-out", "{shown}");
        Ok(())
    })
}

#[test]
fn a_partners_file_says_who_takes_our_steps() -> Result<()> {
    Scene::play(|scene| {
        let mut offering = Offering::new(scene)?;
        let auto = |text| format!("handling = \"auto\"\n{text}");
        partner_file(&offering.customer, "b", auto)?;
        offering.offer("/negotiations/offers")?;
        let ended = offering.provider.expect("ContractNegotiationTerminationMessage")?.body;
        assert_eq!(ended["code"], "unasked", "{ended}");

        // The other way round: what the policy permits at once waits for a person of the supplier.
        drop(offering.provider);
        offering.supplier.start()?;
        let (supplier, customer) = (&offering.supplier, &offering.customer);
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        partner_file(supplier, "a", |text| format!("handling = \"manual\"\n{text}"))?;
        let begun = customer.ask(&["negotiation", "request", "b", "one"])?;
        let waiting = wait::until("a decision is asked for", PATIENCE, || {
            let list = supplier.ask(&["approvals", "list"])?;
            Ok(list.pointer("/approvals/0").cloned())
        })?;
        assert_eq!((&waiting["state"], &waiting["partner"]), (&json!("REQUESTED"), &json!("a")));
        let shown = customer.ask(&["negotiation", "show", &text(&begun, "/id")?])?;
        assert_eq!(shown["state"], "REQUESTED", "{shown}");
        Ok(())
    })
}

#[test]
fn a_state_that_is_asked_for_while_our_message_is_under_way_is_the_new_one() -> Result<()> {
    Scene::play(|scene| {
        let (_supplier, connector) = played(scene)?;
        let request = connector.contract_request(&connector.offer("one")?, None);
        // The partner takes our agreement, and is late to say so.
        connector.answer_in(Manner { delay: Duration::from_millis(100), ..Manner::default() });
        assert_eq!(connector.post("/negotiations/request", &request)?.status, 201);
        let agreed = connector.expect("ContractAgreementMessage")?.body;
        let path = format!("{BASE}/negotiations/{}", encode(&text(&agreed, "/providerPid")?));
        assert_eq!(connector.peer.get(&path, &[])?.json()?["state"], "AGREED");
        Ok(())
    })
}

/// An error body as DSP wants it, and what our administrators find it by.
fn judged(what: &str, reply: &Reply, status: u16, code: &str) -> Result<()> {
    let error = reply.json().with_context(|| format!("{what}: {reply:?}"))?;
    let kind =
        if what.starts_with("/transfers") { "TransferError" } else { "ContractNegotiationError" };
    let told = (reply.status, error["@type"].as_str(), error["code"].as_str());
    ensure!(told == (status, Some(kind), Some(code)), "{what}: {told:?}");
    for member in ["/providerPid", "/consumerPid"] {
        ensure!(!text(&error, member)?.is_empty(), "{what}: {error}");
    }
    let reasons = array(&error, "/reason");
    let reference =
        |reason: &&Value| reason.as_str().is_some_and(|text| text.starts_with("urn:uuid:"));
    ensure!(reasons.len() == 2 && reasons.iter().filter(reference).count() == 1, "{what}: {error}");
    Ok(())
}

#[test]
fn each_refusal_has_the_error_body_of_its_protocol_and_a_reference() -> Result<()> {
    Scene::play(|scene| {
        let mut supplier = scene
            .plan("b")
            .setting("partner_listener", "max_body_bytes", "16384")
            .setting("outbound", "max_waiting_messages_per_partner_count", "3")
            .make()?;
        supplier.start()?;
        let Pair { supplier, mut customer } = Pair::of(supplier, scene.site("a")?)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let offer = connector.offer("one")?;
        let agreement = connector.negotiate("one", None)?;
        let negotiation = || connector.contract_request(&offer, None);
        let transfer = || connector.transfer_request(&agreement);
        let first: [(&str, &dyn Fn() -> Value); 2] =
            [("/negotiations/request", &negotiation), ("/transfers/request", &transfer)];
        let unknown = |kind: &str| {
            json!({
                "@context": [CONTEXT], "@type": kind, "@id": urn(),
                "providerPid": "urn:uuid:none", "consumerPid": urn(),
            })
        };
        for (path, kind) in [
            ("/negotiations/urn:uuid:none/termination", "ContractNegotiationTerminationMessage"),
            ("/transfers/urn:uuid:none/termination", "TransferTerminationMessage"),
        ] {
            judged(path, &connector.post(path, &unknown(kind))?, 404, "not-found")?;
            let path = path.trim_end_matches("/termination");
            let reply = connector.peer.get(&format!("{BASE}{path}"), &[])?;
            judged(path, &reply, 404, "not-found")?;
        }
        for (path, message) in first {
            let reply = connector.post(path, &json!({ "@context": [CONTEXT] }))?;
            judged(path, &reply, 400, "invalid")?;
            let mut wrong = message();
            wrong["callbackAddress"] = json!("https://elsewhere.example/dsp");
            judged(path, &connector.post(path, &wrong)?, 400, "invalid")?;
            let large = json!({ "filler": "x".repeat(20_000) });
            judged(path, &connector.post(path, &large)?, 413, "too-large")?;
        }
        // As many messages as may wait for a partner that takes none.
        connector.answer(StatusCode::SERVICE_UNAVAILABLE);
        let mut asked = 0;
        while connector.post("/negotiations/request", &negotiation())?.status == 201 {
            asked += 1;
            ensure!(asked < 10, "whatever waits, more is taken");
        }
        for (path, message) in first {
            let reply = connector.post(path, &message())?;
            judged(path, &reply, 429, "too-many")?;
            ensure!(!reply.header("retry-after").is_empty(), "{path}: {reply:?}");
        }
        supplier.ask(&["partner", "suspend", "a", "--reason", "an audit"])?;
        for (path, message) in first {
            let post = |message: Value| {
                let json = [("content-type", "application/json")];
                let path = format!("{BASE}{path}");
                connector.peer.send(Method::POST, &path, &json, message.to_string().into())
            };
            // What waited was refused before the partner was looked at.
            let reply = post(message())?;
            ensure!(matches!(reply.status, 403 | 429), "{path}: {reply:?}");
        }
        let pid = "/negotiations/urn:uuid:none";
        judged(pid, &connector.peer.get(&format!("{BASE}{pid}"), &[])?, 403, "suspended")?;
        let pid = "/transfers/urn:uuid:none";
        judged(pid, &connector.peer.get(&format!("{BASE}{pid}"), &[])?, 403, "suspended")
    })
}

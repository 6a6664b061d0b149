//! Transfers that people drive: granted by hand, suspended, resumed, completed and terminated, in both roles.

use anyhow::{Context as _, Result};
use http::{Method, StatusCode};
use integration_tests::connector::{CONTEXT, Connector, encode, text, urn};
use integration_tests::files;
use integration_tests::proxy::Faults;
use integration_tests::scene::Scene;
use integration_tests::site::{COMMAND_LIMIT, Site};
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::stage::{Pair, note, word};

/// An agreement about a dataset, as two parties would write it down.
pub(crate) fn agreement(id: &str, dataset: &str, provider: &Site, consumer: &Site) -> Value {
    json!({
        "@id": id, "@type": "Agreement", "target": dataset,
        "assigner": provider.participant(), "assignee": consumer.participant(),
        "timestamp": "2026-04-01T00:00:00Z",
        "permission": [{ "action": "use" }],
    })
}

/// Imports an agreement at one of its parties.
pub(crate) fn import(
    scene: &Scene,
    at: &Site,
    partner: &str,
    side: &str,
    agreement: &Value,
    more: &[&str],
) -> Result<Value> {
    let file = note(scene, &format!("{side}-agreement.json"), &agreement.to_string())?;
    let command = ["agreement", "import", word(&file)?, "--partner", partner, "--side", side];
    at.ask(&[&command[..], &["--reason", "signed on paper"], more].concat())
}

/// A message in a transfer.
fn message(kind: &str, consumer_pid: &str, provider_pid: &str) -> Value {
    json!({
        "@context": [CONTEXT], "@type": kind, "@id": urn(),
        "consumerPid": consumer_pid, "providerPid": provider_pid,
    })
}

/// The state of a transfer as the node tells its partner.
fn told(connector: &Connector, pid: &str) -> Result<String> {
    let path = format!("{}/transfers/{}", integration_tests::connector::BASE, encode(pid));
    text(&connector.peer.get(&path, &[])?.json()?, "/state")
}

fn token(start: &Value) -> Result<String> {
    let properties = integration_tests::connector::array(start, "/dataAddress/endpointProperties");
    let found = properties.iter().find(|property| property["name"] == "authorization");
    text(found.context("the start has no token")?, "/value")
}

#[test]
fn a_provider_grants_by_hand_suspends_resumes_and_completes() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let agreed = agreement("ATP0101", "one", &supplier, &customer);
        import(scene, &supplier, "a", "provider", &agreed, &["--manual"])?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let request = connector.transfer_request("ATP0101");
        let answer = connector.post("/transfers/request", &request)?;
        assert_eq!(answer.status, 201, "{answer:?}");
        let (own, pid) = (text(&request, "/consumerPid")?, text(&answer.json()?, "/providerPid")?);
        let post = |step: &str, kind: &str| {
            let path = format!("/transfers/{}/{step}", encode(&pid));
            connector.post(&path, &message(kind, &own, &pid))
        };
        // It waits, and nothing but its end is legal meanwhile.
        assert_eq!(told(&connector, &pid)?, "REQUESTED");
        for (step, kind) in [
            ("completion", "TransferCompletionMessage"),
            ("suspension", "TransferSuspensionMessage"),
            ("start", "TransferStartMessage"),
        ] {
            assert_eq!(post(step, kind)?.status, 400, "{step}");
        }
        assert_eq!(told(&connector, &pid)?, "REQUESTED");
        let shown = supplier.ask(&["transfer", "show", &pid])?;
        assert_eq!(shown["steps"], json!(["start", "terminate"]), "{shown}");
        assert!(shown["awaiting"]["deadline"].is_string(), "{shown}");
        let refused = supplier.run(&["transfer", "suspend", &pid])?.expect(77)?;
        assert!(refused.text("/error/message")?.contains("start, terminate"), "{refused:?}");

        supplier.ask(&["transfer", "start", &pid, "--reason", "the customer called"])?;
        let start = connector.expect("TransferStartMessage")?.body;
        let path = text(&start, "/dataAddress/endpoint")?;
        let path = format!("/{}", path.splitn(4, '/').nth(3).context("no path")?);
        let get = |token: &str| {
            let authorization = format!("Bearer {token}");
            let headers = [("authorization", authorization.as_str())];
            anyhow::Ok(connector.peer.send(Method::GET, &path, &headers, "".into())?.status)
        };
        let first = token(&start)?;
        assert_eq!(get(&first)?, 200);
        let granted = supplier.records("a", "transfer-granted")?;
        assert!(granted[0].to_string().contains("the customer called"), "{}", granted[0]);

        supplier.ask(&["transfer", "suspend", &pid, "--reason", "maintenance"])?;
        let suspension = connector.expect("TransferSuspensionMessage")?.body;
        assert!(suspension.to_string().contains("maintenance"));
        assert_eq!(told(&connector, &pid)?, "SUSPENDED");
        assert_eq!(get(&first)?, 503, "who asks shall come again");
        // Only the provider suspended, so only it resumes; nor can a suspended transfer be completed.
        assert_eq!(post("start", "TransferStartMessage")?.status, 400);
        assert_eq!(post("completion", "TransferCompletionMessage")?.status, 400);
        supplier.ask(&["transfer", "resume", &pid])?;
        let second = token(&connector.expect("TransferStartMessage")?.body)?;
        assert_ne!(first, second);
        assert_eq!(get(&second)?, 200);
        assert_ne!(get(&first)?, 200);

        supplier.ask(&["transfer", "complete", &pid])?;
        connector.expect("TransferCompletionMessage")?;
        wait::until("the end is acknowledged", PATIENCE, || {
            Ok((told(&connector, &pid)? == "COMPLETED").then_some(()))
        })?;
        assert_eq!(post("termination", "TransferTerminationMessage")?.status, 400);
        Ok(())
    })
}

#[test]
fn a_consumer_drives_a_transfer_whose_address_is_elsewhere() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        let agreed = agreement("ATPC0101", "whatever they call it", &supplier, &customer);
        let more = ["--consumer-pid", "urn:ours", "--provider-pid", "urn:theirs"];
        let taken = import(scene, &customer, "b", "consumer", &agreed, &more)?;
        assert_eq!(taken["negotiation"], "urn:ours");
        supplier.stop()?;
        let connector = Connector::play(&supplier, &customer)?;
        let begun = customer.ask(&["transfer", "request", "b", "ATPC0101"])?;
        let (own, theirs) = (text(&begun, "/id")?, urn());
        let request = connector.expect("TransferRequestMessage")?.body;
        assert_eq!(
            (&request["consumerPid"], &request["agreementId"]),
            (&json!(own), &json!("ATPC0101"))
        );
        let post = |step: &str, message: &Value| {
            connector.post(&format!("/transfers/{}/{step}", encode(&own)), message)
        };
        let mut start = message("TransferStartMessage", &own, &theirs);
        start["dataAddress"] = json!({
            "@type": "DataAddress", "endpointType": "https://w3id.org/idsa/v4.1/HTTP",
            "endpoint": "http://example.com",
        });
        assert_eq!(post("start", &start)?.status, 200);
        assert_eq!(told(&connector, &own)?, "STARTED");

        customer.ask(&["transfer", "suspend", &own])?;
        connector.expect("TransferSuspensionMessage")?;
        wait::until("the suspension is acknowledged", PATIENCE, || {
            Ok((told(&connector, &own)? == "SUSPENDED").then_some(()))
        })?;
        start["@id"] = json!(urn());
        assert_eq!(post("start", &start)?.status, 400, "we suspended, so only we resume");
        let completion = message("TransferCompletionMessage", &own, &theirs);
        assert_eq!(post("completion", &completion)?.status, 400);

        customer.ask(&["transfer", "resume", &own])?;
        let resumption = connector.expect("TransferStartMessage")?.body;
        assert!(resumption.get("dataAddress").is_none(), "{resumption}");
        start["@id"] = json!(urn());
        assert_eq!(post("start", &start)?.status, 200);
        customer.ask(&[
            "transfer",
            "terminate",
            &own,
            "--code",
            "enough",
            "--reason",
            "no need",
        ])?;
        let ended = connector.expect("TransferTerminationMessage")?.body;
        assert_eq!((&ended["code"], &ended["reason"]), (&json!("enough"), &json!(["no need"])));
        start["@id"] = json!(urn());
        assert_eq!(post("start", &start)?.status, 400);
        assert_eq!(told(&connector, &own)?, "TERMINATED");
        Ok(())
    })
}

/// The customer's transfer, once there is one.
pub(crate) fn transfer_of(site: &Site) -> Result<String> {
    wait::until("there is a transfer", PATIENCE, || {
        let list = site.ask(&["transfer", "list"])?;
        let first = list["transfers"].as_array().and_then(|list| list.first().cloned());
        Ok(first.and_then(|found| found["id"].as_str().map(str::to_owned)))
    })
}

pub(crate) fn in_state(site: &Site, id: &str, state: &str) -> Result<()> {
    wait::until(&format!("the transfer is {state}"), PATIENCE, || {
        Ok((site.ask(&["transfer", "show", id])?["state"] == state).then_some(()))
    })
}

#[test]
fn a_pull_survives_suspensions_of_either_side_and_goes_on_where_it_was() -> Result<()> {
    const SIZE: u64 = 24 * 1024 * 1024;
    Scene::play(|scene| {
        let (supplier, proxy) = scene.site_behind_a_line("b")?;
        let Pair { supplier, customer } = Pair::of(supplier, scene.site("a")?)?;
        let source = scene.file("source.bin");
        files::write(&source, SIZE, "source")?;
        supplier.publish(&source, "one", "open")?;
        proxy.set(Faults { bytes_per_second: Some(4 * 1024 * 1024), ..Faults::default() });
        let target = scene.file("got.bin");
        let running = customer.begin(&["pull", "b", "one", "-o", word(&target)?])?;
        let underway = || {
            let enough = proxy.passed() + SIZE / 8;
            wait::until("a part of the file passed", PATIENCE, || {
                Ok((proxy.passed() >= enough).then_some(()))
            })
        };
        underway()?;
        let begun = proxy.passed();
        let (own, theirs) = (transfer_of(&customer)?, transfer_of(&supplier)?);
        for (site, id) in [(&supplier, &theirs), (&customer, &own)] {
            site.ask(&["transfer", "suspend", id, "--reason", "a pause"])?;
            in_state(&customer, &own, "SUSPENDED")?;
            in_state(&supplier, &theirs, "SUSPENDED")?;
            let held = proxy.passed();
            for other in [&supplier, &customer] {
                // Time passes, and no data.
                let steps = other.ask(&["transfer", "list"])?;
                let may_resume = steps["transfers"][0]["steps"].to_string().contains("resume");
                assert_eq!(may_resume, other.name() == site.name(), "{steps}");
            }
            assert!(proxy.passed() - held < 256 * 1024, "data flowed while suspended");
            site.ask(&["transfer", "resume", id])?;
            in_state(&customer, &own, "STARTED")?;
            underway()?;
        }
        proxy.set(Faults::default());
        running.wait(COMMAND_LIMIT)?.expect(0)?;
        assert!(proxy.passed() - begun < SIZE, "it began from the start again");
        assert_eq!(files::sha256(&target)?, files::sha256(&source)?);
        let grants = supplier.records("a", "transfer-granted")?;
        assert_eq!(grants.len(), 3, "each start has a token of its own");
        let uses = grants.iter().filter(|grant| grant.to_string().contains("\"use\"")).count();
        assert_eq!(uses, 1, "a resumption is no further use");
        Ok(())
    })
}

#[test]
fn a_manual_request_is_denied_by_hand_and_steps_need_an_answer_to_the_one_before() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let agreed = agreement("ATP0105", "one", &supplier, &customer);
        import(scene, &supplier, "a", "provider", &agreed, &["--manual"])?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let request = connector.transfer_request("ATP0105");
        let answer = connector.post("/transfers/request", &request)?;
        let pid = text(&answer.json()?, "/providerPid")?;
        supplier.ask(&["transfer", "terminate", &pid, "--reason", "not this month"])?;
        let ended = connector.expect("TransferTerminationMessage")?.body;
        assert_eq!(ended["reason"], json!(["not this month"]));
        assert!(supplier.records("a", "transfer-granted")?.is_empty());

        // A start that the consumer does not answer: a suspension has to wait for it, an end does not.
        let second = connector.transfer_request("ATP0105");
        let answer = connector.post("/transfers/request", &second)?;
        let pid = text(&answer.json()?, "/providerPid")?;
        connector.answer(StatusCode::SERVICE_UNAVAILABLE);
        supplier.ask(&["transfer", "start", &pid])?;
        connector.expect("TransferStartMessage")?;
        supplier.run(&["transfer", "suspend", &pid])?.expect(75)?;
        supplier.ask(&["transfer", "terminate", &pid])?;
        connector.answer(StatusCode::OK);
        connector.expect("TransferTerminationMessage")?;
        Ok(())
    })
}

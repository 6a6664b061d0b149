//! What becomes of messages that a partner does not take, or does not take yet.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use integration_tests::connector::{Connector, text};
use integration_tests::process::get;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait;
use serde_json::{Value, json};

use crate::stage::{Pair, note};

const LIMIT: Duration = Duration::from_secs(30);
/// Partners may use it when somebody says so.
const ASKED: &str = r#"
title = "Asked"
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
[offer]
handling = "manual"
"#;

/// The dead letters of a site, once there are so many.
fn letters(site: &Site, count: usize) -> Result<Vec<Value>> {
    wait::until(&format!("{count} dead letters"), LIMIT, || {
        let listed = site.ask(&["dead-letter", "list"])?;
        let letters = listed["dead-letters"].as_array().context("a list")?.clone();
        Ok((letters.len() == count).then_some(letters))
    })
}

/// A negotiation of a site, once it is in a state.
fn reaches(site: &Site, id: &str, state: &str) -> Result<Value> {
    wait::until(&format!("{id} in {state}"), LIMIT, || {
        let shown = site.ask(&["negotiation", "show", id])?;
        Ok((shown["state"] == state).then_some(shown))
    })
}

#[test]
fn a_partner_that_was_away_too_long_is_told_by_a_retry_when_it_is_back() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, mut customer } = Pair::new(scene)?;
        supplier.activate(&[("asked", ASKED)])?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "asked")?;
        let own = text(&customer.ask(&["negotiation", "request", "b", "one"])?, "/id")?;
        reaches(&customer, &own, "REQUESTED")?;
        let open = supplier.ask(&["negotiation", "list"])?;
        let theirs = text(&open, "/negotiations/0/id")?;

        customer.stop()?;
        customer.set("outbound", "delivery_deadline_seconds", "1");
        customer.start()?;
        supplier.stop()?;
        let end = ["negotiation", "terminate", &own, "--reason", "not needed any more"];
        customer.ask(&end)?;
        let letter = letters(&customer, 1)?.remove(0);
        assert_eq!(letter["message_type"], "ContractNegotiationTerminationMessage", "{letter}");
        assert_eq!((&letter["partner"], &letter["process"]), (&json!("b"), &json!(own)));
        assert_eq!(letter["code"], "undelivered");
        assert!(letter["reason"].as_str().is_some_and(|why| why.contains("in time")), "{letter}");
        assert!(letter["last_error"].is_string(), "what went wrong is said: {letter}");
        assert!(letter["attempts"].as_u64() > Some(0), "{letter}");
        assert_eq!(customer.ask(&["status"])?["dead_letters"], 1);
        let (_, metrics) = get(customer.status(), "/metrics")?;
        let counted = |line: &&str| {
            line.starts_with("sekisho_deliveries_total") && line.contains(r#"outcome="given-up""#)
        };
        assert!(metrics.lines().any(|line| counted(&line)), "it is alerted on: {metrics}");

        customer.stop()?;
        customer.set("outbound", "delivery_deadline_seconds", "600");
        customer.start()?;
        assert_eq!(
            letters(&customer, 1)?,
            std::slice::from_ref(&letter),
            "it is kept over a restart"
        );
        supplier.start()?;
        assert_eq!(supplier.ask(&["negotiation", "show", &theirs])?["state"], "REQUESTED");
        let id = text(&letter, "/id")?;
        let again = ["dead-letter", "retry", &id, "--reason", "their node is back"];
        customer.ask(&again)?;
        let ended = reaches(&supplier, &theirs, "TERMINATED")?;
        assert!(ended.to_string().contains("not needed any more"), "{ended}");
        letters(&customer, 0)?;
        let told = customer.run(&again)?.expect(66)?;
        assert!(told.text("/error/help")?.contains("dead-letter list"));
        let retried = customer.records("b", "message-retried")?;
        assert_eq!(retried.len(), 1);
        assert_eq!(retried[0]["account"]["reason"], "their node is back");
        Ok(())
    })
}

/// A supplier whose partner is played by the test.
fn played(scene: &Scene, patience_ms: &str) -> Result<(Site, Connector)> {
    let mut supplier = scene
        .plan("b")
        .setting("outbound", "refusal_patience_ms", patience_ms)
        .setting("outbound", "retry_minimum_ms", "20")
        .setting("outbound", "retry_maximum_ms", "100")
        .make()?;
    supplier.start()?;
    let Pair { supplier, mut customer } = Pair::of(supplier, scene.site("a")?)?;
    supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
    customer.stop()?;
    let connector = Connector::play(&customer, &supplier)?;
    Ok((supplier, connector))
}

/// Requests a contract; the supplier's process id.
fn requested(connector: &Connector) -> Result<String> {
    let request = connector.contract_request(&connector.offer("one")?, None);
    let reply = connector.post("/negotiations/request", &request)?;
    ensure!(reply.status == 201, "{reply:?}");
    text(&reply.json()?, "/providerPid")
}

/// The next agreement that comes in a negotiation.
fn agreement(connector: &Connector, pid: &str) -> Result<Value> {
    loop {
        let received = connector.expect("ContractAgreementMessage")?;
        if received.body["providerPid"] == pid {
            return Ok(received.body);
        }
    }
}

#[test]
fn a_refusal_of_what_overtook_the_partners_records_is_not_final() -> Result<()> {
    Scene::play(|scene| {
        // Longer than the test waits for anything.
        let (supplier, connector) = played(scene, "600000")?;
        for status in [StatusCode::CONFLICT, StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND] {
            connector.answer(status);
            let pid = requested(&connector)?;
            let (first, second) = (agreement(&connector, &pid)?, agreement(&connector, &pid)?);
            assert_eq!(first, second, "the same message each time");
            let shown = supplier.ask(&["negotiation", "show", &pid])?;
            assert_eq!(shown["pending"], "ContractAgreementMessage", "{status}: {shown}");
            connector.answer(StatusCode::OK);
            let agreed = reaches(&supplier, &pid, "AGREED")?;
            assert_eq!(agreed["failure"], Value::Null, "{status}: {agreed}");
        }
        letters(&supplier, 0)?;
        Ok(())
    })
}

#[test]
fn a_refusal_is_final_when_patience_is_over_and_what_was_refused_is_kept() -> Result<()> {
    Scene::play(|scene| {
        let (supplier, connector) = played(scene, "200")?;
        connector.answer(StatusCode::CONFLICT);
        let pid = requested(&connector)?;
        let ended = reaches(&supplier, &pid, "TERMINATED")?;
        assert_eq!(ended["failure"]["code"], "refused", "{ended}");
        assert!(ended["failure"]["reason"].as_str().is_some_and(|why| why.contains("409")));
        // The end that follows from it is refused as well.
        let kept = letters(&supplier, 2)?;
        let of = |kind: &str| kept.iter().find(|letter| letter["message_type"] == kind);
        let letter = of("ContractAgreementMessage").context("the agreement")?;
        assert!(letter["attempts"].as_u64() > Some(1), "it was tried for a while: {letter}");
        // What ended for want of the message cannot begin again by it.
        let id = text(letter, "/id")?;
        let retry = ["dead-letter", "retry", &id, "--reason", "perhaps now"];
        let refused = supplier.run(&retry)?.expect(77)?;
        assert!(refused.text("/error/message")?.contains("begin another one"));
        // Its end can still be told.
        let end = of("ContractNegotiationTerminationMessage").context("the end")?;
        connector.answer(StatusCode::OK);
        supplier.ask(&["dead-letter", "retry", &text(end, "/id")?, "--reason", "perhaps now"])?;
        assert_eq!(letters(&supplier, 1)?, std::slice::from_ref(letter));
        Ok(())
    })
}

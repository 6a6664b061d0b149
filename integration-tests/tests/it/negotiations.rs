//! Negotiations that people decide, from either side.

use anyhow::{Context as _, Result};
use integration_tests::clocked::ClockedNode;
use integration_tests::connector::text;
use integration_tests::scene::Scene;
use integration_tests::site::{COMMAND_LIMIT, Site};
use integration_tests::wait::{self, PATIENCE};
use serde_json::Value;

use crate::stage::{Pair, note, word};

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

/// The supplier's one dataset, for which a person is asked.
fn asked(scene: &Scene, supplier: &Site) -> Result<()> {
    supplier.activate(&[("asked", ASKED)])?;
    supplier.publish(&note(scene, "one.txt", "one")?, "one", "asked")?;
    Ok(())
}

/// What waits for a decision at a site, once that is one thing in this state.
fn waiting(site: &Site, state: &str) -> Result<Value> {
    wait::until(&format!("a decision in {state}"), PATIENCE, || {
        let list = site.ask(&["approvals", "list"])?;
        let found = list.pointer("/approvals/0").filter(|one| one["state"] == state);
        Ok(found.cloned())
    })
}

fn decide(site: &Site, verb: &str, state: &str) -> Result<String> {
    let id = text(&waiting(site, state)?, "/id")?;
    site.ask(&["approvals", verb, &id, "--reason", "as we said by telephone"])?;
    Ok(id)
}

/// The events of a kind.
fn events(site: &Site, kind: &str) -> Result<Vec<Value>> {
    site.run(&["events", "--kind", kind])?.expect(0)?.lines()
}

fn reaches(site: &Site, id: &str, state: &str) -> Result<Value> {
    wait::until(&format!("{id} in {state}"), PATIENCE, || {
        let shown = site.ask(&["negotiation", "show", id])?;
        Ok((shown["state"] == state).then_some(shown))
    })
}

#[test]
fn what_a_person_approves_is_agreed_and_the_record_says_who_and_why() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        asked(scene, &supplier)?;
        let file = scene.file("got.txt");
        let pull = customer.begin(&["pull", "b", "one", "-o", word(&file)?])?;
        let first = waiting(&supplier, "REQUESTED")?;
        assert_eq!(first["approving"], "agree", "{first}");
        assert_eq!((&first["dataset"], &first["partner"]), (&"one".into(), &"a".into()));
        // It waits on through a restart.
        supplier.restart()?;
        decide(&supplier, "approve", "REQUESTED")?;
        let id = decide(&supplier, "approve", "VERIFIED")?;
        reaches(&supplier, &id, "FINALIZED")?;
        // The transfer under a manual agreement waits as well.
        let grant = wait::until("the transfer", PATIENCE, || {
            let list = supplier.ask(&["approvals", "list"])?;
            let found = list.pointer("/approvals/0").filter(|one| one["kind"] == "transfer");
            Ok(found.cloned())
        })?;
        let grant = text(&grant, "/id")?;
        supplier.ask(&["approvals", "approve", &grant, "--reason", "the same"])?;
        pull.wait(COMMAND_LIMIT)?.expect(0)?;
        assert_eq!(std::fs::read_to_string(file)?, "one");
        let agreed = supplier.records("a", "negotiation-agreed")?;
        let record = agreed.first().context("no record")?.to_string();
        assert!(record.contains("as we said by telephone"), "{record}");
        assert!(record.contains(r#""by":"hand""#), "{record}");
        let told = events(&supplier, "negotiation-agreed")?;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0]["person"].as_str().is_some_and(|person| !person.is_empty()), "{told:?}");
        assert_eq!(supplier.records("a", "decision-awaited")?.len(), 3);
        Ok(())
    })
}

#[test]
fn what_a_person_denies_or_nobody_decides_ends_and_the_partner_learns_no_more() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        asked(scene, &supplier)?;
        let begun = customer.ask(&["negotiation", "request", "b", "one"])?;
        let id = text(&begun, "/id")?;
        decide(&supplier, "deny", "REQUESTED")?;
        let ended = reaches(&customer, &id, "TERMINATED")?;
        assert_eq!(ended["failure"]["code"], "denied", "{ended}");
        assert!(!ended.to_string().contains("telephone"), "{ended}");
        let told = events(&supplier, "negotiation-terminated")?;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0]["person"].is_string(), "who: {told:?}");
        assert!(told[0].to_string().contains("as we said by telephone"), "and why: {told:?}");

        supplier.stop()?;
        supplier.set("processes", "approval_deadline_seconds", "1");
        supplier.start()?;
        let begun = customer.ask(&["negotiation", "request", "b", "one"])?;
        let ended = reaches(&customer, &text(&begun, "/id")?, "TERMINATED")?;
        assert_eq!(ended["failure"]["code"], "expired", "{ended}");
        let told = events(&supplier, "negotiation-terminated")?;
        let last = told.last().context("no event")?;
        assert!(last["person"].is_null(), "nobody decided: {last}");
        let list = supplier.ask(&["approvals", "list"])?;
        assert_eq!(list["approvals"].as_array().map(Vec::len), Some(0));
        Ok(())
    })
}

#[test]
fn what_nobody_decided_while_the_node_was_away_is_denied_when_it_is_back() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene.plan("b").setting("processes", "approval_deadline_seconds", "3600");
        let mut supplier = plan.make()?;
        supplier.start()?;
        let Pair { mut supplier, customer } = Pair::of(supplier, scene.site("a")?)?;
        asked(scene, &supplier)?;
        let begun = customer.ask(&["negotiation", "request", "b", "one"])?;
        decide(&supplier, "approve", "REQUESTED")?;
        decide(&supplier, "approve", "VERIFIED")?;
        reaches(&customer, &text(&begun, "/id")?, "FINALIZED")?;
        // A transfer under it waits for a decision, and so does another negotiation.
        let pull = customer.begin(&["pull", "b", "one", "-o", word(&scene.file("got.txt"))?])?;
        let transfer = wait::until("the transfer", PATIENCE, || {
            let list = supplier.ask(&["approvals", "list"])?;
            Ok(list.pointer("/approvals/0").filter(|one| one["kind"] == "transfer").cloned())
        })?;
        let begun = customer.ask(&["negotiation", "request", "b", "one"])?;
        let undecided = text(&begun, "/id")?;
        reaches(&customer, &undecided, "REQUESTED")?;
        supplier.stop()?;

        let node = ClockedNode::start_later(&supplier, 2 * 3600)?;
        let ended = reaches(&customer, &undecided, "TERMINATED")?;
        assert_eq!(ended["failure"]["code"], "expired", "{ended}");
        let outcome = pull.wait(COMMAND_LIMIT)?;
        assert_ne!(outcome.code, Some(0), "{outcome:?}");
        let shown = supplier.ask(&["transfer", "show", &text(&transfer, "/id")?])?;
        assert_eq!(shown["state"], "TERMINATED", "{shown}");
        let list = supplier.ask(&["approvals", "list"])?;
        assert_eq!(list["approvals"].as_array().map(Vec::len), Some(0), "{list}");
        // Who is late is told so, and decides nothing.
        let late = ["approvals", "approve", &text(&transfer, "/id")?, "--reason", "yes"];
        assert_ne!(supplier.run(&late)?.code, Some(0));
        drop(node);
        Ok(())
    })
}

#[test]
fn an_offer_that_nobody_asked_for_is_countered_repeated_and_accepted() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let theirs = text(&supplier.ask(&["negotiation", "offer", "a", "one"])?, "/id")?;
        let own = text(&waiting(&customer, "OFFERED")?, "/id")?;
        let refused = customer.run(&["negotiation", "verify", &own])?;
        assert_ne!(refused.code, Some(0));
        assert!(refused.stdout.contains("accept"), "{}", refused.stdout);

        let terms = note(scene, "terms.json", r#"{"permission": [{"action": "distribute"}]}"#)?;
        customer.ask(&["negotiation", "counter", &own, "--terms", word(&terms)?])?;
        // The supplier decides alone: its offer stands, and comes again.
        let repeated = wait::until("the offer again", PATIENCE, || {
            let shown = customer.ask(&["negotiation", "show", &own])?;
            let again = shown["state"] == "OFFERED" && shown["awaiting"].is_object();
            Ok((again && !shown["terms"].to_string().contains("distribute")).then_some(shown))
        })?;
        assert_eq!(repeated["role"], "consumer");
        customer.ask(&["negotiation", "accept", &own, "--reason", "well then"])?;
        decide(&customer, "approve", "AGREED")?;
        reaches(&customer, &own, "FINALIZED")?;
        reaches(&supplier, &theirs, "FINALIZED")?;
        // What was agreed this way is what a pull then uses.
        let file = scene.file("got.txt");
        let pull = customer.begin(&["pull", "b", "one", "-o", word(&file)?])?;
        pull.wait(COMMAND_LIMIT)?.expect(0)?;
        assert_eq!(customer.ask(&["agreement", "list"])?["total"], 1);
        Ok(())
    })
}

#[test]
fn terms_given_in_a_command_are_offered_and_agreed() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        asked(scene, &supplier)?;
        let request = ["negotiation", "request", "b", "one", "--manual"];
        let own = text(&customer.ask(&request)?, "/id")?;
        let theirs = text(&waiting(&supplier, "REQUESTED")?, "/id")?;
        let terms = r#"{"permission": [{"action": "use", "constraint": [
            {"leftOperand": "count", "operator": "lteq", "rightOperand": 2}]}]}"#;
        let terms = note(scene, "terms.json", terms)?;
        let counter = ["negotiation", "counter", &theirs, "--terms", word(&terms)?];
        supplier.ask(&counter)?;
        let offered = reaches(&customer, &own, "OFFERED")?;
        assert!(offered["terms"].to_string().contains("lteq"), "{offered}");
        customer.ask(&["negotiation", "accept", &own])?;
        decide(&supplier, "approve", "ACCEPTED")?;
        decide(&customer, "approve", "AGREED")?;
        decide(&supplier, "approve", "VERIFIED")?;
        let ended = reaches(&customer, &own, "FINALIZED")?;
        let agreement = text(&ended, "/agreement")?;
        let held = customer.ask(&["agreement", "show", &agreement])?;
        assert!(held.to_string().contains("lteq"), "{held}");
        Ok(())
    })
}

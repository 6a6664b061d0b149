//! The main job: a site publishes, a partner pulls, anybody can check.

use anyhow::{Result, ensure};
use integration_tests::command::{self};
use integration_tests::files;
use integration_tests::process;
use integration_tests::scene::Scene;
use integration_tests::schemas;
use integration_tests::site::{COMMAND_LIMIT, Site};
use serde_json::{Value, json};
use std::process::Command;

use crate::stage::{Pair, note, word};

#[test]
fn a_published_file_arrives_whole_with_evidence_that_verifies_offline() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        let source = scene.file("footprint.json");
        files::write(&source, 300_000, "footprint")?;
        pair.supplier.publish(&source, "cfp-part-b", "reporting")?;

        let catalog = pair.customer.ask(&["catalog", "b"])?;
        assert_eq!(catalog["participant"], "did:web:b.example");
        assert_eq!(ids(&catalog["datasets"]), ["cfp-part-b"]);
        assert_eq!(catalog["datasets"][0]["size"], 300_000);

        let target = scene.file("received.json");
        let arguments =
            ["pull", "b", "cfp-part-b", "-o", word(&target)?, "--purpose", "cfp-reporting"];
        let delivered = pair.customer.ask(&arguments)?;
        assert_eq!(delivered["delivered"]["sha256"], json!(files::sha256(&source)?));
        assert_eq!(files::sha256(&target)?, files::sha256(&source)?);

        // A third party with nothing but the card.
        let evidence = scene.file("received.json.prov");
        assert!(evidence.is_file());
        let verified = offline(&target, &scene.file("b.card"))?.expect(0)?.last()?;
        assert_eq!(verified["verified"], true);
        // Another company's card is no ground to believe it.
        offline(&target, &scene.file("a.card"))?.expect(65)?;

        let agreements = pair.customer.ask(&["agreement", "list"])?;
        assert_eq!(agreements["agreements"].as_array().map(Vec::len), Some(1));
        let transfers = pair.supplier.ask(&["transfer", "list"])?;
        assert_eq!(transfers["transfers"][0]["dataset"], "cfp-part-b");
        Ok(())
    })
}

#[test]
fn a_second_pull_uses_the_agreement_that_stands() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        let source = note(scene, "one.txt", "one")?;
        pair.supplier.publish(&source, "one", "open")?;
        for name in ["first", "second"] {
            let target = scene.file(name);
            pair.customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
            assert_eq!(std::fs::read_to_string(target)?, "one");
        }
        let agreements = pair.customer.ask(&["agreement", "list"])?;
        assert_eq!(agreements["agreements"].as_array().map(Vec::len), Some(1));
        drop(pair);
        // Where the official schemas are at hand, what the two sent each other was held against them.
        let least = if std::env::var_os(schemas::VARIABLE).is_some() { 10 } else { 0 };
        ensure!(scene.judged() >= least, "{} messages were judged", scene.judged());
        Ok(())
    })
}

#[test]
fn a_new_version_replaces_the_old_one_and_a_withdrawn_dataset_is_gone() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        pair.supplier.publish(&note(scene, "one.txt", "old")?, "one", "open")?;
        let first = pair.supplier.ask(&["dataset", "show", "one"])?;
        pair.supplier.publish(&note(scene, "two.txt", "new")?, "one", "open")?;
        let second = pair.supplier.ask(&["dataset", "show", "one"])?;
        assert_ne!(version(&first), version(&second));

        let target = scene.file("got");
        pair.customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        assert_eq!(std::fs::read_to_string(&target)?, "new");

        pair.supplier.ask(&["dataset", "withdraw", "one", "--reason", "superseded"])?;
        assert!(ids(&pair.customer.ask(&["catalog", "b"])?["datasets"]).is_empty());
        let again = scene.file("again");
        let refused = pair.customer.run(&["pull", "b", "one", "-o", word(&again)?])?;
        assert_ne!(refused.code, Some(0), "{}", refused.stdout);
        assert!(!again.exists());
        Ok(())
    })
}

#[test]
fn nothing_is_written_over_a_file_that_exists() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        pair.supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let target = note(scene, "mine", "mine")?;
        pair.customer.run(&["pull", "b", "one", "-o", word(&target)?])?.expect(73)?;
        assert_eq!(std::fs::read_to_string(&target)?, "mine");
        pair.customer.ask(&["pull", "b", "one", "-o", word(&target)?, "--force"])?;
        assert_eq!(std::fs::read_to_string(&target)?, "one");
        Ok(())
    })
}

#[test]
fn an_empty_file_is_a_file() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        pair.supplier.publish(&note(scene, "empty", "")?, "empty", "open")?;
        let target = scene.file("got");
        pair.customer.ask(&["pull", "b", "empty", "-o", word(&target)?])?;
        assert_eq!(std::fs::read(&target)?, b"");
        offline(&target, &scene.file("b.card"))?.expect(0)?;
        Ok(())
    })
}

#[test]
fn a_partner_that_is_away_is_waited_for() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        supplier.stop()?;
        let target = scene.file("got");
        let arguments = ["pull", "b", "one", "-o", word(&target)?, "--wait"];
        let away = customer.run(&[&arguments[..], &["0"]].concat())?;
        assert!(matches!(away.code, Some(69 | 75)), "{}", away.stdout);
        let waiting = customer.begin(&[&arguments[..], &["60"]].concat())?;
        supplier.start()?;
        waiting.wait(COMMAND_LIMIT)?.expect(0)?;
        assert_eq!(std::fs::read_to_string(&target)?, "one");
        Ok(())
    })
}

/// Verifies a file's evidence without any site.
fn offline(file: &std::path::Path, card: &std::path::Path) -> Result<command::Outcome> {
    let mut verify = Command::new(process::sekisho()?);
    verify.args(["--json", "provenance", "verify"]).arg(file).arg("--card").arg(card);
    command::run(&mut verify, COMMAND_LIMIT)
}

fn ids(datasets: &Value) -> Vec<String> {
    let datasets = datasets.as_array().into_iter().flatten();
    datasets.filter_map(|dataset| dataset["id"].as_str().map(str::to_owned)).collect()
}

fn version(shown: &Value) -> String {
    let version = shown.pointer("/version").or_else(|| shown.pointer("/dataset/version"));
    version.map(Value::to_string).unwrap_or_default()
}

#[test]
fn both_roles_run_in_one_daemon() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        customer.activate(&[("open", crate::stage::OPEN)])?;
        supplier.publish(&note(scene, "b.txt", "of b")?, "of-b", "open")?;
        customer.publish(&note(scene, "a.txt", "of a")?, "of-a", "open")?;
        let pull = |site: &Site, partner, dataset, name| -> Result<String> {
            let target = scene.file(name);
            site.ask(&["pull", partner, dataset, "-o", word(&target)?])?;
            Ok(std::fs::read_to_string(target)?)
        };
        assert_eq!(pull(&customer, "b", "of-b", "got-b")?, "of b");
        assert_eq!(pull(&supplier, "a", "of-a", "got-a")?, "of a");
        Ok(())
    })
}

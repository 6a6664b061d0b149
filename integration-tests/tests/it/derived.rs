//! Data made from received data, over three nodes: published only where the agreement lets it go further, and offered and
//! agreed upon only under terms that are as strict.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use integration_tests::command::Outcome;
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};
use integration_tests::wait;
use serde_json::{Value, json};

use crate::stage::{OPEN, Pair, note, word};

/// The datasets of a catalog.
fn offered(site: &Site, partner: &str) -> Result<Vec<String>> {
    let catalog = site.ask(&["catalog", partner])?;
    let datasets = catalog["datasets"].as_array().with_context(|| catalog.to_string())?;
    Ok(datasets.iter().filter_map(|dataset| dataset["id"].as_str().map(str::to_owned)).collect())
}

/// Pulls a dataset and answers with the path of its evidence.
fn received(scene: &Scene, site: &Site, partner: &str, dataset: &str) -> Result<String> {
    let target = scene.file(&format!("{}-{dataset}.txt", site.name()));
    site.ask(&["pull", partner, dataset, "-o", word(&target)?])?;
    Ok(format!("{}.prov", word(&target)?))
}

/// Publishes a file under a policy, as made from what the evidence is of.
fn derive(site: &Site, file: &Path, id: &str, policy: &str, evidence: &str) -> Result<Outcome> {
    site.run(&[
        "dataset",
        "publish",
        word(file)?,
        "--id",
        id,
        "--title",
        "Derived",
        "--policy",
        policy,
        "--derived-from",
        evidence,
        "--yes",
    ])
}

/// Partners may use it, and whoever has it deletes it in time.
fn deleting(actions: &str, days: u32) -> String {
    let rule = OPEN.replace("[\"use\"]", actions);
    format!("{rule}[[duty]]\naction = \"delete\"\nwithin = \"P{days}D\"\n")
}

#[test]
fn derived_data_go_no_further_than_their_agreement_lets_them() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        let buyer = scene.site("c")?;
        befriend(&customer, &buyer)?;
        supplier.activate(&[("onward", &deleting("[\"use\", \"distribute\"]", 30))])?;
        supplier.publish(&note(scene, "1.txt", "one")?, "free", "onward")?;
        supplier.publish(&note(scene, "2.txt", "two")?, "bound", "open")?;
        customer.activate(&[("strict", &deleting("[\"use\"]", 7)), ("weak", OPEN)])?;
        let report = note(scene, "report.txt", "made of it")?;
        let free = received(scene, &customer, "b", "free")?;
        let bound = received(scene, &customer, "b", "bound")?;

        let kept = derive(&customer, &report, "x", "strict", &bound)?.expect(77)?;
        assert!(kept.text("/error/message")?.contains("passing on"), "{}", kept.stdout);
        let weaker = derive(&customer, &report, "x", "weak", &free)?.expect(77)?;
        let message = weaker.text("/error/message")?;
        assert!(message.contains("`weak`") && message.contains("delete"), "{message}");
        let forged = note(scene, "forged.prov", "{}")?;
        derive(&customer, &report, "x", "strict", word(&forged)?)?.expect(64)?;
        assert!(!offered(&buyer, "a")?.contains(&"x".to_owned()));
        derive(&customer, &report, "x", "strict", &free)?.expect(0)?;
        let shown = customer.ask(&["dataset", "show", "x"])?;
        let agreement = shown["derived_from"][0].as_str().context("no agreement")?.to_owned();
        assert_eq!(shown["not_offered"], json!([]));
        let recorded = customer.records("site", "dataset-published")?;
        assert!(recorded.iter().any(|record| record.to_string().contains(&agreement)));

        // Whoever gets it learns that it was made from something, and not from what.
        let evidence = received(scene, &buyer, "a", "x")?;
        assert!(!std::fs::read_to_string(&evidence)?.contains(&agreement));
        let claims = buyer.ask(&["provenance", "show", &evidence])?;
        let parents = claims.pointer("/claims/parents").and_then(Value::as_array).map(Vec::len);
        assert_eq!(parents, Some(1), "{claims}");

        // Terms that a person gives are bound as well.
        let loose = note(
            scene,
            "loose.json",
            &json!({
                "@context": "http://www.w3.org/ns/odrl.jsonld", "@type": "Offer",
                "permission": [{ "action": "use" }],
            })
            .to_string(),
        )?;
        let given = ["negotiation", "offer", "c", "x", "--terms", word(&loose)?];
        let given = customer.run(&given)?.expect(77)?;
        assert!(given.text("/error/message")?.contains("delete"), "{}", given.stdout);

        // A policy that becomes weaker later no longer offers it, and everybody who asks is told alike.
        customer.activate(&[("strict", &deleting("[\"use\"]", 60))])?;
        wait::until("it is warned", Duration::from_secs(20), || {
            Ok(customer.log()?.contains("offer.barred").then_some(()))
        })?;
        let shown = customer.ask(&["dataset", "show", "x"])?;
        assert_eq!(shown["not_offered"][0]["policy"], "strict", "{shown}");
        assert_eq!(shown["visible_to"], json!([]));
        let explained = customer.ask(&["policy", "explain", "--partner", "c", "--dataset", "x"])?;
        assert_eq!(explained["permitted"], false, "{explained}");
        assert!(explained["text"].to_string().contains("delete"), "{explained}");
        assert!(!offered(&buyer, "a")?.contains(&"x".to_owned()));
        let asked = buyer.run(&["negotiation", "request", "a", "x"])?;
        assert_ne!(asked.code, Some(0), "{}", asked.stdout);

        // Strict again, it is offered again; once the agreement that it rests on has ended, never more.
        customer.activate(&[("strict", &deleting("[\"use\"]", 30))])?;
        assert!(offered(&buyer, "a")?.contains(&"x".to_owned()));
        customer.ask(&["agreement", "end", &agreement, "--reason", "the project is over"])?;
        assert!(!offered(&buyer, "a")?.contains(&"x".to_owned()));
        let explained = customer.ask(&["policy", "explain", "--partner", "c", "--dataset", "x"])?;
        assert!(explained["text"].to_string().contains("the project is over"), "{explained}");
        let late = derive(&customer, &report, "y", "strict", &free)?.expect(77)?;
        assert!(late.text("/error/message")?.contains("ended"), "{}", late.stdout);
        Ok(())
    })
}

//! Duties of agreements, seen from both sides: listed, fulfilled, violated at their deadline, and what follows.

use anyhow::{Context as _, Result};
use integration_tests::clocked::ClockedNode;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::Value;

use crate::stage::{Pair, note, word};

/// Half a day after the agreement the data must be gone.
const FLEETING: &str = r#"
title = "Fleeting"
description = "For half a day."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
[[duty]]
action = "delete"
within = "PT12H"
"#;

const A_DAY: i64 = 24 * 3600;

/// The one duty that a site lists.
fn duty(site: &Site) -> Result<Value> {
    let listed = site.ask(&["duty", "list", "--all"])?;
    let duties = listed["duties"].as_array().context("no list of duties")?;
    anyhow::ensure!(duties.len() == 1, "{listed}");
    Ok(duties[0].clone())
}

fn wait_violated(site: &Site) -> Result<()> {
    wait::until("the duty is violated", PATIENCE, || {
        Ok((duty(site)?["state"] == "violated").then_some(()))
    })
}

/// The events of a kind.
fn events(site: &Site, kind: &str) -> Result<Vec<Value>> {
    let told = site.run(&["events", "--kind", kind])?.expect(0)?;
    told.lines()
}

#[test]
fn a_duty_done_in_time_is_on_record_and_blocks_nothing() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        pair.supplier.activate(&[("fleeting", FLEETING)])?;
        pair.supplier.publish(&note(scene, "one.txt", "one")?, "one", "fleeting")?;
        pair.customer.ask(&["pull", "b", "one", "-o", word(&scene.file("first"))?])?;
        let (theirs, own) = (duty(&pair.customer)?, duty(&pair.supplier)?);
        assert_eq!([&theirs["state"], &own["state"]], ["not-set", "not-set"]);
        assert_eq!(theirs["agreement"], own["agreement"]);
        assert_eq!([&theirs["bearer"], &own["bearer"]], ["consumer", "consumer"]);
        assert_eq!(theirs["deadline"], own["deadline"]);

        let agreement = own["agreement"].as_str().context("no agreement")?.to_owned();
        let silent = ["duty", "fulfil", &agreement, "1", "--how", " "];
        pair.supplier.run(&silent)?.expect(64)?;
        let how = "the customer's letter of today";
        let done = pair.supplier.ask(&["duty", "fulfil", &agreement, "1", "--how", how])?;
        assert_eq!(done["state"], "fulfilled");
        let told = events(&pair.supplier, "duty-fulfilled")?;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!([&told[0]["reason"], &told[0]["agreement"]], [how, &agreement]);
        assert!(told[0]["person"].is_string(), "{told:?}");
        let open = pair.supplier.ask(&["duty", "list"])?;
        assert_eq!(open["duties"], serde_json::json!([]));
        pair.customer.ask(&["pull", "b", "one", "-o", word(&scene.file("second"))?])?;
        Ok(())
    })
}

#[test]
fn a_duty_overdue_after_a_restart_blocks_the_dataset_until_it_is_made_good() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, mut customer } = Pair::new(scene)?;
        supplier.activate(&[("fleeting", FLEETING)])?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "fleeting")?;
        supplier.publish(&note(scene, "two.txt", "two")?, "two", "open")?;
        let pull = |dataset: &'static str, to: &str| -> Result<_> {
            let target = scene.file(to);
            Ok(["pull".to_owned(), "b".to_owned(), dataset.to_owned(), "-o".to_owned()]
                .into_iter()
                .chain([word(&target)?.to_owned()])
                .collect::<Vec<_>>())
        };
        customer.ask(&pull("one", "first")?)?;
        supplier.stop()?;
        customer.stop()?;

        // Both stood still while the deadline passed.
        let mut provider = ClockedNode::start_later(&supplier, A_DAY)?;
        let mut consumer = ClockedNode::start_later(&customer, A_DAY)?;
        wait_violated(&supplier)?;
        wait_violated(&customer)?;
        for site in [&supplier, &customer] {
            let told = events(site, "duty-violated")?;
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0]["dataset"], "one");
            assert!(told[0]["reason"].to_string().contains("delete"), "{told:?}");
        }
        // Its own node does not ask.
        let refused = customer.run(&pull("one", "early")?)?.expect(77)?;
        assert!(refused.text("/error/message")?.contains("duty fulfil"), "{}", refused.stdout);
        let agreement = duty(&customer)?["agreement"].as_str().context("no agreement")?.to_owned();
        customer.ask(&["duty", "fulfil", &agreement, "1", "--how", "erased"])?;

        // It says that it is done; the supplier has not recorded it.
        let granted = supplier.records("a", "transfer-granted")?.len();
        let refused = customer.run(&pull("one", "second")?)?.expect(77)?;
        assert!(refused.text("/error/message")?.contains("delete"), "{}", refused.stdout);
        assert!(!scene.file("second").exists());
        // The agreement is held still, and a new one for another purpose is no way round.
        let mut anew = pull("one", "third")?;
        anew.extend(["--purpose".to_owned(), "audit".to_owned()]);
        let refused = customer.run(&anew)?.expect(77)?;
        assert!(refused.text("/error/message")?.contains("delete"), "{}", refused.stdout);
        assert_eq!(supplier.records("a", "transfer-granted")?.len(), granted);
        // Another dataset is none of its business.
        customer.ask(&pull("two", "other")?)?;

        supplier.ask(&["duty", "fulfil", &agreement, "1", "--how", "seen on their site"])?;
        customer.ask(&pull("one", "fourth")?)?;
        let agreements = customer.ask(&["agreement", "list"])?;
        let of_one = agreements["agreements"].as_array().context("no agreements")?.iter();
        assert_eq!(of_one.filter(|found| found["dataset"] == "one").count(), 1, "{agreements}");
        consumer.stop()?;
        provider.stop()
    })
}

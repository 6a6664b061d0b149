//! Duties of agreements, seen from both sides: listed, fulfilled, violated at their deadline, and what follows.

use std::process::Command;

use anyhow::{Context as _, Result};
use integration_tests::clocked::ClockedNode;
use integration_tests::process::{get, sekisho};
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::Value;

use crate::stage::{FLEETING, Pair, note, word};

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
        assert_eq!([&theirs["state"], &own["state"]], ["pending", "pending"]);
        assert_eq!(theirs["agreement"], own["agreement"]);
        assert_eq!([&theirs["bearer"], &own["bearer"]], ["consumer", "consumer"]);
        assert_eq!(theirs["deadline"], own["deadline"]);

        let agreement = own["agreement"].as_str().context("no agreement")?.to_owned();
        let silent = ["duty", "fulfil", &agreement, "obligation-1", "--how", " "];
        pair.supplier.run(&silent)?.expect(64)?;
        let how = "the customer's letter of today";
        let done =
            pair.supplier.ask(&["duty", "fulfil", &agreement, "obligation-1", "--how", how])?;
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
        customer.ask(&["duty", "fulfil", &agreement, "obligation-1", "--how", "erased"])?;

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

        supplier.ask(&[
            "duty",
            "fulfil",
            &agreement,
            "obligation-1",
            "--how",
            "seen on their site",
        ])?;
        customer.ask(&pull("one", "fourth")?)?;
        let agreements = customer.ask(&["agreement", "list"])?;
        let of_one = agreements["agreements"].as_array().context("no agreements")?.iter();
        assert_eq!(of_one.filter(|found| found["dataset"] == "one").count(), 1, "{agreements}");
        consumer.stop()?;
        provider.stop()
    })
}

/// What is owed at once, what is owed later, what follows when it is not done, and what an infringement costs.
const DEMANDING: &str = r#"
title = "Demanding"
description = "With duties of every kind."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
[[prohibit]]
actions = ["distribute"]
remedy = [{ action = "inform", within = "P3D" }]
[[duty]]
action = "delete"
within = "PT12H"
otherwise = [{ action = "compensate", within = "P2D" }]
[[duty]]
action = "reviewPolicy"
when = ["elapsedTime gteq PT6H"]
within = "P20D"
"#;

/// What a command says to a person.
fn in_words(site: &Site, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(sekisho()?);
    command.arg("--site").arg(site.path(".")).args(arguments);
    command.envs(site.variables().iter().map(|(name, value)| (name, value)));
    Ok(String::from_utf8(command.output()?.stdout)?)
}

/// The state of every duty, by name.
fn states(site: &Site) -> Result<Vec<(String, String)>> {
    let listed = site.ask(&["duty", "list", "--all"])?;
    let mut states: Vec<(String, String)> = (listed["duties"].as_array().into_iter().flatten())
        .map(|duty| (duty["name"].to_string(), duty["state"].to_string()))
        .map(|(name, state)| (name.replace('"', ""), state.replace('"', "")))
        .collect();
    states.sort();
    Ok(states)
}

fn named(site: &Site, name: &str) -> Result<Value> {
    let listed = site.ask(&["duty", "list", "--all"])?;
    let mut duties = listed["duties"].as_array().into_iter().flatten();
    duties.find(|duty| duty["name"] == name).cloned().with_context(|| format!("{name}: {listed}"))
}

/// Waits until the duties of a site have these states: delete, its consequence, review, and the remedy.
fn wait_states(site: &Site, expected: [&str; 4]) -> Result<()> {
    let names =
        ["obligation-1", "obligation-1-consequence-1", "obligation-2", "prohibition-1-remedy-1"];
    let expected: Vec<(String, String)> = names
        .iter()
        .zip(expected)
        .map(|(name, state)| ((*name).to_owned(), state.to_owned()))
        .collect();
    wait::until(&format!("duties are {expected:?}"), PATIENCE, || {
        Ok((states(site)? == expected).then_some(()))
    })
}

#[test]
fn every_duty_is_tracked_from_the_agreement_to_its_end_on_both_nodes() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, mut customer } = Pair::new(scene)?;
        supplier.activate(&[("demanding", DEMANDING)])?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "demanding")?;
        let file = scene.file("first");
        customer.ask(&["pull", "b", "one", "-o", word(&file)?])?;
        let early = ["pending", "inactive", "inactive", "inactive"];
        wait_states(&supplier, early)?;
        wait_states(&customer, early)?;
        let terms = customer.ask(&["terms", word(&file)?])?;
        assert_eq!(terms["duties"][0]["names"][0], "obligation-1", "{terms}");
        assert_eq!(terms["duties"][0]["by"], named(&customer, "obligation-1")?["deadline"]);
        let japanese = customer.ask(&["terms", word(&file)?, "--lang", "ja"])?;
        assert!(japanese["text"].to_string().contains("不履行から2日以内に"), "{japanese}");
        let agreement = named(&customer, "obligation-1")?["agreement"].clone();
        let agreement = agreement.as_str().context("no agreement")?.to_owned();
        let refused =
            customer.run(&["duty", "fulfil", &agreement, "obligation-2", "--how", "x"])?;
        assert!(refused.stdout.contains("not owed"), "{}", refused.stdout);

        // A restart in between, then time passes.
        supplier.stop()?;
        customer.stop()?;
        let mut provider = ClockedNode::start(&supplier)?;
        let mut consumer = ClockedNode::start(&customer)?;
        wait_states(&supplier, early)?;
        for (site, node) in [(&supplier, &provider), (&customer, &consumer)] {
            node.clock.pass(7 * 3600);
            wait_states(site, ["pending", "inactive", "pending", "inactive"])?;
            let told = events(site, "duty-changed")?;
            assert!(told[0]["reason"].to_string().contains("obligation-2"), "{told:?}");
        }
        for (site, node) in [(&supplier, &provider), (&customer, &consumer)] {
            node.clock.pass(6 * 3600);
            wait_states(site, ["violated", "pending", "pending", "inactive"])?;
            let told = events(site, "duty-violated")?;
            assert!(told[0]["reason"].to_string().contains("obligation-1"), "{told:?}");
        }
        // Both count from the violation, and so agree.
        let name = "obligation-1-consequence-1";
        let (theirs, own) = (named(&customer, name)?, named(&supplier, name)?);
        assert!(own["deadline"].is_string() && own["deadline"] == theirs["deadline"], "{own}");
        assert_eq!([&theirs["ours"], &own["ours"]], [true, false]);
        assert_eq!(theirs["bearer_id"], own["bearer_id"]);
        for (site, who) in [(&customer, "this site"), (&supplier, "  a  ")] {
            let text = in_words(site, &["duty", "list"])?;
            let line = text.lines().find(|line| line.contains(name)).context("not listed")?;
            assert!(line.contains(who) && line.contains("pending"), "{text}");
            wait::until("the metric tells of one duty", PATIENCE, || {
                let (_, metrics) = get(site.status(), "/metrics")?;
                let is_told = |line: &str| {
                    line.starts_with("sekisho_duties_overdue{") && line.ends_with(" 1")
                };
                Ok(metrics.lines().any(is_told).then_some(()))
            })?;
        }
        let second = scene.file("second");
        let again = ["pull", "b", "one", "-o", word(&second)?];
        let refused = customer.run(&again)?.expect(77)?;
        assert!(refused.text("/error/message")?.contains("obligation-1"), "{}", refused.stdout);

        for site in [&supplier, &customer] {
            site.ask(&["duty", "fulfil", &agreement, "obligation-1", "--how", "erased"])?;
        }
        customer.run(&again)?.expect(77)?;
        for site in [&supplier, &customer] {
            site.ask(&["duty", "fulfil", &agreement, name, "--how", "paid"])?;
            site.ask(&["duty", "fulfil", &agreement, "obligation-2", "--how", "read"])?;
            wait_states(site, ["fulfilled", "fulfilled", "fulfilled", "inactive"])?;
        }
        customer.ask(&again)?;

        // What a person saw is recorded, and what it costs is owed.
        let infringed =
            ["duty", "infringed", &agreement, "prohibition-1", "--how", "on their site"];
        let recorded = supplier.ask(&infringed)?;
        let remedy = &recorded["remedies"][0];
        assert_eq!([&remedy["name"], &remedy["state"]], ["prohibition-1-remedy-1", "pending"]);
        assert_eq!(events(&supplier, "prohibition-infringed")?.len(), 1);
        let shown = supplier.ask(&["agreement", "show", &agreement])?;
        assert_eq!(shown["infringed"][0]["how"], "on their site", "{shown}");
        provider.clock.pass(4 * A_DAY);
        consumer.clock.pass(4 * A_DAY);
        wait_states(&supplier, ["fulfilled", "fulfilled", "fulfilled", "violated"])?;
        let third = scene.file("third");
        let again = ["pull", "b", "one", "-o", word(&third)?];
        customer.run(&again)?.expect(77)?;
        let remedy = "prohibition-1-remedy-1";
        supplier.ask(&["duty", "fulfil", &agreement, remedy, "--how", "their letter"])?;
        customer.ask(&again)?;
        consumer.stop()?;
        provider.stop()
    })
}

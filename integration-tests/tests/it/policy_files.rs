//! Policy files as they change: half written, wrong beside right, and brought back by a rollback that is interrupted.

use std::io::Write as _;

use anyhow::Result;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::stage::{OPEN, Pair, note, word};

const HOLD: &str = "[[prohibit]]\nactions = [\"use\"]\nreason = \"export hold\"\n";

fn set_in_force(site: &Site) -> Result<Value> {
    let history = site.ask(&["policy", "history", "--limit", "1"])?;
    Ok(history["activations"][0]["set"].clone())
}

#[test]
fn a_file_that_is_still_being_written_does_not_come_into_force() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        supplier.activate(&[("restrictions", HOLD)])?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let before = set_in_force(&supplier)?;
        // An editor that writes in place: for a while the file is whole TOML that restricts nobody here.
        let path = supplier.path("policies/restrictions.toml");
        let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(&path)?;
        file.write_all(HOLD.as_bytes())?;
        file.write_all(b"partners = [\"did:web:nobody.example\"]\n")?;
        file.flush()?;
        wait::until("the daemon waits for the file", PATIENCE, || {
            Ok(supplier.log()?.contains("reload.waits").then_some(()))
        })?;
        assert_eq!(set_in_force(&supplier)?, before);
        let target = scene.file("got");
        let pull = ["pull", "b", "one", "-o", word(&target)?, "--force"];
        assert_ne!(customer.run(&pull)?.code, Some(0));
        drop(file);
        wait::until("the file is in force", PATIENCE, || {
            Ok((set_in_force(&supplier)? != before).then_some(()))
        })?;
        customer.ask(&pull)?;
        Ok(())
    })
}

#[test]
fn what_is_wrong_in_a_policy_holds_up_neither_a_suspension_nor_a_restriction() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let target = scene.file("got");
        let pull = ["pull", "b", "one", "-o", word(&target)?, "--force"];
        customer.ask(&pull)?;

        supplier.policy("wrong", "title = 3\n")?;
        supplier.policy("restrictions", HOLD)?;
        wait::until("the restriction is in force", PATIENCE, || {
            let ask = ["policy", "explain", "--partner", "a", "--dataset", "one"];
            let explained = supplier.ask(&ask)?;
            Ok((explained["clause"]["file"] == "restrictions.toml").then_some(()))
        })?;
        assert_ne!(customer.run(&pull)?.code, Some(0));
        assert!(supplier.log()?.contains("reload.refused"));
        // It is not lifted by files that are wrong elsewhere.
        std::fs::remove_file(supplier.path("policies/restrictions.toml"))?;

        let file = supplier.path("partners/a.toml");
        let text = std::fs::read_to_string(&file)?;
        std::fs::write(&file, text.replace("state = \"active\"", "state = \"suspended\""))?;
        wait::until("the partner is suspended", PATIENCE, || {
            let shown = supplier.ask(&["partner", "list"])?;
            Ok(shown.to_string().contains("\"suspended\"").then_some(()))
        })?;
        std::fs::write(&file, text)?;
        wait::until("the partner is back", PATIENCE, || {
            let shown = supplier.ask(&["partner", "list"])?;
            Ok((!shown.to_string().contains("\"suspended\"")).then_some(()))
        })?;
        assert_ne!(customer.run(&pull)?.code, Some(0), "the restriction is in force still");

        std::fs::remove_file(supplier.path("policies/wrong.toml"))?;
        supplier.activate(&[])?;
        customer.ask(&pull)?;
        Ok(())
    })
}

#[test]
fn a_rollback_that_is_interrupted_is_finished_at_the_next_start() -> Result<()> {
    Scene::play(|scene| {
        let mut supplier = scene.site("b")?;
        let titled = |title: &str| OPEN.replacen("title = \"", &format!("title = \"{title} "), 1);
        supplier.activate(&[("open", &titled("Old")), ("older", &titled("Older"))])?;
        let earlier = set_in_force(&supplier)?;
        std::fs::remove_file(supplier.path("policies/older.toml"))?;
        supplier.activate(&[("open", &titled("New"))])?;
        let earlier = earlier.as_str().unwrap_or_default();
        assert_ne!(set_in_force(&supplier)?, json!(earlier));

        // One of its files cannot be written: the set is in force, its files are not all there, and the node stops so.
        let hindrance = supplier.path("policies/older.toml");
        std::fs::create_dir_all(hindrance.join("in-the-way"))?;
        let rollback = ["policy", "rollback", earlier, "--yes", "--reason", "too early"];
        let failed = supplier.run(&rollback)?;
        assert_ne!(failed.code, Some(0));
        assert!(
            failed.text("/error/message")?.contains("the set is in force"),
            "{}",
            failed.stdout
        );
        supplier.kill()?;
        std::fs::remove_dir_all(&hindrance)?;
        supplier.start()?;

        let open = std::fs::read_to_string(supplier.path("policies/open.toml"))?;
        assert_eq!(open, titled("Old"));
        assert_eq!(std::fs::read_to_string(&hindrance)?, titled("Older"));
        let history = supplier.ask(&["policy", "history"])?;
        let activation = &history["activations"][0];
        assert_eq!(activation["filed"], true, "{history}");
        assert_eq!(activation["set"], earlier, "{history}");
        assert_eq!(activation["reason"], "too early", "{history}");
        // It is over: the files rule again.
        supplier.activate(&[("open", &titled("Newest"))])?;
        Ok(())
    })
}

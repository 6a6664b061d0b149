//! The command line and the configuration as their users meet them.

use std::process::Command;

use anyhow::{Context as _, Result};
use integration_tests::command;
use integration_tests::process::{get, sekisho};
use integration_tests::scene::Scene;
use integration_tests::site::COMMAND_LIMIT;
use serde_json::Value;

use crate::stage::{Pair, note, word};

#[test]
fn a_wrong_configuration_is_refused_with_file_line_key_and_remedy() -> Result<()> {
    Scene::play(|scene| {
        let site = scene.plan("b").make()?;
        let file = site.path("sekisho.toml");
        let right = std::fs::read_to_string(&file)?;
        let cases = [
            ("#max_body_bytes = 1048576", "max_body_bytes = \"much\"", "max_body_bytes"),
            ("#max_json_depth = 64", "max_json_dept = 64", "max_json_dept"),
            ("#drain_seconds = 30", "drain_seconds = -1", "drain_seconds"),
            ("#log_format = \"text\"", "log_format = \"xml\"", "log_format"),
        ];
        for (from, to, key) in cases {
            let wrong = right.replacen(from, to, 1);
            assert_ne!(wrong, right, "{from}");
            std::fs::write(&file, &wrong)?;
            let line = wrong.lines().position(|line| line == to).context("no such line")? + 1;
            for word in ["check", "serve"] {
                let refused = site.run(&[word])?.expect(64)?;
                let place = format!("sekisho.toml:{line}");
                let named = refused.stdout.contains(&place)
                    || refused.stdout.contains(&format!("\"line\":{line}"));
                assert!(named, "{word}, {to}: {}", refused.stdout);
                assert!(refused.stdout.contains(key), "{word}, {to}: {}", refused.stdout);
            }
            // Refused before any port was bound.
            assert!(get(site.status(), "/health/live").is_err());
        }
        std::fs::write(&file, &right)?;
        let checked = site.ask(&["check"])?;
        assert_eq!(checked["ok"], true);
        assert_eq!(checked["participant"], "did:web:b.example");
        Ok(())
    })
}

#[test]
fn the_environment_is_checked_like_the_file() -> Result<()> {
    Scene::play(|scene| {
        let mut site = scene.plan("b").make()?;
        site.set("telemetry", "log_level", "debug");
        site.ask(&["check"])?;
        site.set("journal", "no_such_key", "1");
        let refused = site.run(&["check"])?.expect(64)?;
        assert!(refused.stdout.to_lowercase().contains("no_such_key"), "{}", refused.stdout);
        Ok(())
    })
}

#[test]
fn misuse_ends_with_its_own_code() -> Result<()> {
    Scene::play(|scene| {
        let site = scene.plan("b").make()?;
        let misuse: [&[&str]; 5] = [
            &["no-such-command"],
            &["pull", "a"],
            &["dataset", "show"],
            &["serve", "--twice"],
            &[],
        ];
        for words in misuse {
            site.run(words)?.expect(64)?;
        }
        // A daemon that does not run is not reachable.
        let away = site.run(&["status"])?.expect(69)?;
        assert!(away.text("/error/help")?.contains("sekisho serve"));
        // A site is never made over another.
        let directory = site.path(".");
        let again = ["init", word(&directory)?, "--participant", "did:web:x.example"];
        let again = [&again[..], &["--name", "X", "--ip", "127.0.0.1", "--trial-ca"]].concat();
        assert_ne!(site.run(&again)?.code, Some(0));
        let checked = site.ask(&["check"])?;
        assert_eq!(checked["participant"], "did:web:b.example");
        Ok(())
    })
}

#[test]
fn help_teaches_every_command() -> Result<()> {
    let help = |words: &[&str]| {
        let mut command = Command::new(sekisho()?);
        command.args(words).arg("--help");
        command::run(&mut command, COMMAND_LIMIT)?.expect(0)
    };
    let overview = help(&[])?.stdout;
    let commands = [
        "init",
        "check",
        "serve",
        "pki",
        "partner",
        "dataset",
        "catalog",
        "pull",
        "agreement",
        "transfer",
        "audit",
        "provenance",
        "policy",
        "rebuild",
        "status",
        "clock",
    ];
    for name in commands {
        assert!(overview.contains(&format!("  {name}")), "{name} is not in the overview");
        assert!(!help(&[name])?.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn two_daemons_never_share_a_directory() -> Result<()> {
    Scene::play(|scene| {
        let mut site = scene.site("b")?;
        let refused = site.run(&["serve"])?;
        assert!(matches!(refused.code, Some(64..=75)), "{refused:?}");
        // On other ports it is the same directory still.
        let mut second = site.command(&["serve"])?;
        second.env("SEKISHO__PARTNER_LISTENER__BIND", "127.0.0.1:0");
        second.env("SEKISHO__STATUS_LISTENER__BIND", "127.0.0.1:0");
        second.env("SEKISHO__MANAGEMENT__SOCKET", "other.sock");
        let refused = command::run(&mut second, COMMAND_LIMIT)?;
        assert!(matches!(refused.code, Some(64..=75)), "{refused:?}");
        assert!(!site.daemon()?.is_over()?);
        site.ask(&["status"])?;
        let rebuild = site.run(&["rebuild"])?;
        assert_ne!(rebuild.code, Some(0), "a running daemon's directory was rebuilt");
        Ok(())
    })
}

#[test]
fn results_and_errors_are_json_for_machines() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        pair.supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let target = scene.file("got");
        pair.customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        let cases: [(&[&str], &[&str]); 8] = [
            (&["status"], &["/participant"]),
            (&["partner", "list"], &["/partners/0/name", "/partners/0/state"]),
            (&["partner", "show", "a"], &["/participant"]),
            (&["dataset", "list"], &["/datasets/0/id", "/datasets/0/version"]),
            (&["agreement", "list"], &["/agreements/0/id", "/agreements/0/partner"]),
            (&["transfer", "list"], &["/transfers/0/id", "/transfers/0/state"]),
            (&["audit", "show", "--limit", "5"], &["/records/0/kind", "/records/0/time"]),
            (&["pki", "show"], &["/participant", "/fingerprint"]),
        ];
        for (words, pointers) in cases {
            let answer = pair.supplier.ask(words)?;
            for pointer in pointers {
                let found = answer.pointer(pointer).and_then(Value::as_str);
                assert!(found.is_some(), "{words:?} has no {pointer}: {answer}");
            }
        }
        let unknown = pair.supplier.run(&["partner", "show", "nobody"])?.expect(66)?.last()?;
        assert_eq!(unknown.pointer("/error/exit"), Some(&Value::from(66)));
        let unknown = pair.customer.run(&["catalog", "nobody"])?;
        assert_eq!(unknown.code, Some(66), "{unknown:?}");
        Ok(())
    })
}

#[test]
fn nothing_is_published_without_a_yes() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        let file = note(scene, "one.txt", "one")?;
        let publish = ["dataset", "publish", word(&file)?, "--id", "one", "--title", "One"];
        let publish = [&publish[..], &["--policy", "open"]].concat();
        pair.supplier.run(&publish)?.expect(79)?;
        let list = pair.supplier.ask(&["dataset", "list"])?;
        assert_eq!(list["datasets"].as_array().map(Vec::len), Some(0));
        let unknown = [&publish[..6], &["One", "--policy", "no-such-policy", "--yes"]].concat();
        assert_ne!(pair.supplier.run(&unknown)?.code, Some(0));
        Ok(())
    })
}

#[test]
fn a_new_partner_is_not_taken_where_nobody_can_compare_the_fingerprint() -> Result<()> {
    Scene::play(|scene| {
        let (supplier, customer) = (scene.site("b")?, scene.site("a")?);
        let card = scene.file("a.card");
        let issued = customer.ask(&["partner", "card", "-o", word(&card)?])?;
        let add = ["partner", "add", word(&card)?, "--name", "a"];
        for more in [None, Some("--yes")] {
            let words: Vec<&str> = add.into_iter().chain(more).collect();
            let refused = supplier.run(&words)?;
            assert_ne!(refused.code, Some(0), "{words:?}");
            assert!(refused.stdout.contains("--fingerprint"), "{words:?}: {}", refused.stdout);
        }
        assert_eq!(supplier.ask(&["partner", "list"])?["partners"], serde_json::json!([]));
        let fingerprint = issued["fingerprint"].as_str().context("no fingerprint")?;
        let words: Vec<&str> = add.into_iter().chain(["--fingerprint", fingerprint]).collect();
        supplier.ask(&words)?;
        Ok(())
    })
}

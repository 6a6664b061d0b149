//! The administrator's tools: what they say is what the node does, and what they put in force is recorded.

use std::process::Command;

use anyhow::{Result, ensure};
use integration_tests::process::sekisho;
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::stage::{OPEN, Pair, REPORTING, note, word};

const LIMITED: &str = r#"title = "Limited"
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
when = ["purpose isAnyOf [audit]", "count lteq 1"]
[[duty]]
action = "delete"
within = "P30D"
"#;

const RESTRICTION: &str = r#"title = "Hold"

[[prohibit]]
actions = ["use"]
reason = "export hold"
"#;

const CASES: &str = r#"
[[dataset]]
id = "one"
policies = ["limited"]

[[case]]
name = "audits may use it"
partner = "a"
dataset = "one"
purpose = "audit"
at = 2026-06-01T00:00:00+09:00
expect = "permit"

[[case]]
name = "once"
partner = "a"
dataset = "one"
purpose = "audit"
at = 2026-06-01T00:00:00+09:00
uses = 1
expect = "deny"
clause = "count lteq 1"
"#;

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[test]
fn what_is_explained_is_what_happens() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        pair.supplier.activate(&[("limited", LIMITED)])?;
        pair.supplier.publish(&note(scene, "one.txt", "one")?, "one", "limited")?;
        let explain = |more: &[&str]| {
            let words = ["policy", "explain", "--partner", "a", "--dataset", "one"];
            pair.supplier.ask(&[&words, more].concat())
        };
        // The words of the question, whether it is permitted, the line of the deciding clause.
        let cases: [(&[&str], bool, u64); 4] = [
            (&["--purpose", "audit"], true, 4),
            (&["--purpose", "marketing"], false, 6),
            (&["--purpose", "audit", "--uses", "1"], false, 6),
            (&["--purpose", "audit", "--action", "distribute"], true, 4),
        ];
        for (words, permitted, line) in cases {
            let answer = explain(words)?;
            assert_eq!(answer["permitted"], permitted, "{words:?}: {answer}");
            assert_eq!(answer["clause"]["file"], "limited.toml", "{words:?}: {answer}");
            assert_eq!(answer["clause"]["line"], line, "{words:?}: {answer}");
        }
        let refused = explain(&["--purpose", "marketing"])?;
        assert_eq!(refused["changes"], json!([{ "purpose": "audit" }]));
        let japanese = explain(&["--purpose", "marketing", "--lang", "ja"])?;
        assert!(text(&japanese, "/text").contains("利用目的「audit」を申告する"), "{japanese}");

        // The node does what was said, and the recipient reads its terms.
        let target = scene.file("got");
        let pull = |purpose: &str| {
            pair.customer.run(&[
                "pull",
                "b",
                "one",
                "-o",
                word(&target)?,
                "--purpose",
                purpose,
                "--force",
            ])
        };
        pull("marketing")?.expect(77)?;
        pull("audit")?.expect(0)?;
        let terms = pair.customer.ask(&["terms", word(&target)?])?;
        assert_eq!(terms["purpose"], "audit", "{terms}");
        assert_eq!(terms["duties"][0]["actions"], json!(["delete"]));
        assert!(terms["duties"][0]["by"].is_string(), "{terms}");
        assert_eq!(terms["permitted"][0]["over"], false);
        let read = japanese_text(&pair.customer, &["terms", word(&target)?])?;
        let purpose = "\n  利用目的: audit\n許可されている行為:\n  許可: 利用(use)。";
        assert!(read.starts_with("データセット: one(版 ") && read.contains(purpose), "{read}");
        assert!(read.contains("\n証跡そのものは検証していません。"), "{read}");
        pull("audit")?.expect(77)?;
        Ok(())
    })
}

#[test]
fn the_tools_show_compare_and_test_what_the_files_say() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        let site = &pair.supplier;
        site.activate(&[("limited", LIMITED)])?;
        site.publish(&note(scene, "one.txt", "one")?, "one", "limited")?;

        let matrix = site.ask(&["policy", "matrix", "--action", "use"])?;
        assert_eq!(matrix["entries"][0]["outcome"]["purposes"], json!(["audit"]), "{matrix}");
        let shown = site.ask(&["policy", "show", "limited", "--lang", "ja"])?;
        assert!(text(&shown, "/text").contains("合意から30日以内に削除(delete)"), "{shown}");
        assert!(text(&shown, "/text").contains("許可1: use(本システムが制御。"), "{shown}");
        let checked = site.ask(&["policy", "check", "--lang", "ja"])?;
        assert!(text(&checked, "/policies/0/text").contains("許可: 利用(use)"), "{checked}");
        assert_eq!(shown["odrl"]["permission"][0]["action"], "use");
        // So are findings, with the place in the file.
        let over = LIMITED.replace("count lteq 1", "dateTime lt 2026-01-01T00:00:00Z");
        let file = note(scene, "over.toml", &over)?;
        let found = site.ask(&["policy", "check", word(&file)?, "--lang", "ja"])?;
        let message = "この許可は 2026-01-01T00:00:00Z に期限が切れています。";
        assert!(found["findings"].to_string().contains(message), "{found}");
        let read = japanese_text(site, &["policy", "check", word(&file)?])?;
        for part in [
            "各条項の実効性:",
            "警告: この許可は",
            "--> over.toml:6:",
            "対処: 期限を延ばすか",
            "うち警告は",
        ] {
            assert!(read.contains(part), "{part}: {read}");
        }
        // What is exported is taken back, and gives the same to the same.
        std::fs::write(scene.file("export.jsonld"), shown["odrl"].to_string())?;
        site.ask(&["policy", "check", word(&scene.file("export.jsonld"))?])?;
        let exported = scene.file("exported");
        std::fs::create_dir(&exported)?;
        std::fs::write(exported.join("limited.jsonld"), shown["odrl"].to_string())?;
        let diff = site.ask(&["policy", "diff", "active", word(&exported)?])?;
        assert_eq!(diff["changes"], json!([]), "{diff}");
        // The other policies are not in the directory; this one is the same.
        assert!(!diff["not_weighed"].to_string().contains("limited"), "{diff}");
        let schema = site.ask(&["policy", "schema"])?;
        assert!(schema["properties"]["permit"].is_object(), "{schema}");
        let schema = site.ask(&["policy", "schema", "--of", "test"])?;
        assert!(schema["properties"]["case"].is_object(), "{schema}");

        site.policy("limited.test", CASES)?;
        let tested = site.ask(&["policy", "test"])?;
        assert_eq!((&tested["passed"], &tested["failed"]), (&json!(2), &json!(0)), "{tested}");
        site.policy("limited.test", &CASES.replace("\"permit\"", "\"deny\""))?;
        let failed = site.run(&["policy", "test"])?.expect(65)?;
        assert!(failed.stdout.contains("limited.test.toml"), "{}", failed.stdout);
        // A file that is no file of cases keeps none of the others from being judged.
        site.policy("broken.test", "[[case]\n")?;
        let broken = site.run(&["policy", "test"])?.expect(64)?;
        assert!(broken.stdout.contains("broken.test.toml"), "{}", broken.stdout);
        assert!(broken.stdout.contains("limited.test.toml"), "{}", broken.stdout);
        std::fs::remove_file(site.path("policies/broken.test.toml"))?;

        let draft = scene.file("draft");
        std::fs::create_dir(&draft)?;
        std::fs::write(draft.join("limited.toml"), LIMITED.replace("lteq 1\"", "lteq 2\""))?;
        let diff = site.ask(&["policy", "diff", "active", word(&draft)?])?;
        let of_one: Vec<_> = diff["changes"].as_array().into_iter().flatten().collect();
        assert_eq!(of_one.len(), 1, "{diff}");
        assert_eq!(text(of_one[0], "/what"), "terms");
        assert_eq!(text(of_one[0], "/partner"), "a");

        let odd = LIMITED.replace("count lteq 1", "count lt 1");
        std::fs::write(scene.file("limited.toml"), odd)?;
        let file = scene.file("limited.toml");
        let checked = site.ask(&["policy", "check", word(&file)?])?;
        assert_eq!(checked["findings"][0]["code"], "never-holds", "{checked}");
        assert_eq!(checked["findings"][0]["line"], 6, "{checked}");
        site.run(&["policy", "check", "--strict", word(&file)?])?.expect(64)?;
        site.run(&["policy", "show", "missing"])?.expect(66)?;
        site.run(&["policy", "diff", "00000000", "active"])?.expect(66)?;
        Ok(())
    })
}

#[test]
fn with_activation_by_command_a_change_is_a_draft_until_somebody_activates_it() -> Result<()> {
    Scene::play(|scene| {
        let mut supplier = scene.plan("b").setting("policy", "activation", "command").make()?;
        std::fs::remove_file(supplier.path("policies/customers.toml")).ok();
        supplier.policy("reporting", REPORTING)?;
        supplier.start()?;
        let customer = scene.site("a")?;
        befriend(&supplier, &customer)?;
        assert_eq!(supplier.ask(&["policy", "list"])?["policies"], json!([]));

        let diff = supplier.ask(&["policy", "diff"])?;
        assert_eq!(diff["agreements"]["keep_their_terms"], json!([]), "{diff}");
        // Nobody is there to confirm.
        supplier.run(&["policy", "activate"])?.expect(79)?;
        let activate = ["policy", "activate", "--yes", "--reason", "approved by legal"];
        let first = supplier.ask(&activate)?;
        assert_eq!(first["changed"], true, "{first}");
        for dataset in ["one", "two"] {
            supplier.publish(&note(scene, "file.txt", dataset)?, dataset, "reporting")?;
        }
        let before = jiff::Timestamp::now().to_string();
        let target = scene.file("got");
        let pull = |dataset: &str, code: u8| {
            let words =
                ["pull", "b", dataset, "-o", word(&target)?, "--purpose", "audit", "--force"];
            customer.run(&words)?.expect(i32::from(code))
        };
        pull("one", 0)?;

        // A draft changes nothing, even one that is wrong, and even over a restart.
        supplier.policy("reporting", &REPORTING.replace(", audit", ""))?;
        supplier.policy("wrong", "title = 3\n")?;
        supplier.restart()?;
        pull("one", 0)?;
        supplier.run(&["policy", "activate", "--yes"])?.expect(64)?;
        std::fs::remove_file(supplier.path("policies/wrong.toml"))?;
        let diff = supplier.ask(&["policy", "diff"])?;
        assert_eq!(diff["changes"][0]["what"], "purposes", "{diff}");
        let agreements = supplier.ask(&["agreement", "list"])?;
        let kept = &diff["agreements"]["keep_their_terms"];
        assert_eq!(kept[0]["agreement"], agreements["agreements"][0]["id"], "{diff}");
        assert_eq!(kept[0]["dataset"], "one", "{diff}");
        supplier.ask(&["policy", "activate", "--yes", "--reason", "no audits"])?;
        // What was agreed goes on; nothing new is agreed.
        pull("one", 0)?;
        pull("two", 77)?;

        let history = supplier.ask(&["policy", "history"])?;
        let reasons: Vec<String> = (history["activations"].as_array().into_iter().flatten())
            .map(|activation| text(activation, "/reason"))
            .filter(|reason| !reason.is_empty())
            .collect();
        assert_eq!(reasons, ["no audits", "approved by legal"], "{history}");
        assert!(history["activations"][0]["person"].is_string(), "{history}");
        assert_eq!(history["activations"][0]["filed"], true);
        let listed = |words: &[&str]| supplier.ask(&[&["policy", "history"], words].concat());
        let chosen = listed(&["--where", "reason~legal", "--where", "in_force=false"])?;
        assert_eq!(
            (&chosen["total"], &chosen["activations"][0]["reason"]),
            (&json!(1), &json!("approved by legal"))
        );
        let oldest = listed(&["--order", "time", "--limit", "1"])?;
        assert_eq!(oldest["total"], history["total"]);
        let last = history["activations"].as_array().and_then(|all| all.last());
        assert_eq!(oldest["activations"].as_array().and_then(|all| all.first()), last);
        supplier.run(&["policy", "history", "--where", "colour=red"])?.expect(64)?;

        // The past is answered by what ruled then, today by what rules now.
        let ask = ["policy", "explain", "--partner", "a", "--dataset", "one", "--purpose", "audit"];
        assert_eq!(supplier.ask(&ask)?["permitted"], false);
        let then = supplier.ask(&[&ask[..], &["--at", &before]].concat())?;
        assert_eq!(then["permitted"], true, "{then}");
        let long_ago = [&ask[..], &["--at", "2001-01-01T00:00:00Z"]].concat();
        supplier.run(&long_ago)?.expect(66)?;

        let set = text(&first, "/set");
        let short = set.chars().take(12).collect::<String>();
        let back = ["policy", "rollback", &short, "--yes", "--reason", "audits again"];
        assert_eq!(supplier.ask(&back)?["changed"], true);
        pull("two", 0)?;
        assert_eq!(supplier.ask(&["policy", "history"])?["activations"][0]["filed"], false);
        Ok(())
    })
}

#[test]
fn a_restriction_stops_what_was_agreed_and_a_rollback_brings_the_files_back() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let target = scene.file("got");
        customer.ask(&["pull", "b", "one", "-o", word(&target)?, "--force"])?;
        let history = supplier.ask(&["policy", "history"])?;
        let before = text(&history, "/activations/0/set");

        let draft = scene.file("draft");
        std::fs::create_dir(&draft)?;
        std::fs::write(draft.join("open.toml"), OPEN)?;
        std::fs::write(draft.join("restrictions.toml"), RESTRICTION)?;
        let diff = supplier.ask(&["policy", "diff", "active", word(&draft)?])?;
        let stopped = text(&diff, "/agreements/stopped/0/restriction");
        assert!(stopped.contains("export hold"), "{diff}");

        supplier.activate(&[("restrictions", RESTRICTION)])?;
        let refused = customer.run(&["pull", "b", "one", "-o", word(&target)?, "--force"])?;
        assert_ne!(refused.code, Some(0), "{}", refused.stdout);
        assert!(!refused.stdout.contains("export hold"), "{}", refused.stdout);
        let explained =
            supplier.ask(&["policy", "explain", "--partner", "a", "--dataset", "one"])?;
        assert_eq!(explained["clause"]["file"], "restrictions.toml", "{explained}");

        // A draft that is not in force would be lost.
        supplier.policy("wrong", "title = 3\n")?;
        supplier.run(&["policy", "rollback", &before, "--yes"])?.expect(77)?;
        std::fs::remove_file(supplier.path("policies/wrong.toml"))?;
        wait::until("the rollback is taken", PATIENCE, || {
            let outcome = supplier.run(&["policy", "rollback", &before, "--yes"])?;
            Ok((outcome.code == Some(0)).then_some(()))
        })?;
        assert!(!supplier.path("policies/restrictions.toml").exists());
        customer.ask(&["pull", "b", "one", "-o", word(&target)?, "--force"])?;
        Ok(())
    })
}

/// What a command says to a person who reads Japanese.
fn japanese_text(site: &Site, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(sekisho()?);
    command.arg("--site").arg(site.path("")).args(arguments).args(["--lang", "ja"]);
    let output = command.envs(site.variables().iter().cloned()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

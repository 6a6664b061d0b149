//! `policy explain` against the node itself: for each partner, dataset and purpose the two answer alike.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};
use integration_tests::wait;

use crate::stage::{OPEN, note, word};

/// The name of a policy, its conditions, and what there is of the dataset under it besides.
const CASES: [(&str, &str, &[&str]); 12] = [
    ("open", "", &[]),
    ("small", "\"absoluteSize lteq 5\"", &[]),
    ("large", "\"absoluteSize gteq 6\"", &[]),
    ("csv", "\"fileFormat eq text/csv\"", &["--media-type", "text/csv"]),
    ("not-csv", "\"fileFormat eq text/csv\"", &["--media-type", "text/plain"]),
    ("edition", "\"version gteq 2.0\"", &["--dataset-version", "2.1"]),
    ("old", "\"version gteq 2.0\"", &["--dataset-version", "1.9"]),
    ("japanese", "\"language eq ja\"", &["--language", "ja"]),
    ("unsaid", "\"language eq ja\"", &[]),
    ("members", "\"Membership eq active\"", &[]),
    ("pulled", "\"deliveryChannel eq https\"", &[]),
    ("audit", "\"purpose isAnyOf [audit, reporting]\"", &[]),
];

fn policy(name: &str, conditions: &str) -> String {
    let text = OPEN.replace("\"Open\"", &format!("\"{name}\""));
    format!("{text}when = [{conditions}]\n")
}

/// Whether a partner gets a dataset for a purpose.
fn gets(scene: &Scene, site: &Site, dataset: &str, purpose: &str) -> Result<bool> {
    let target = scene.file(&format!("{}-{dataset}-{purpose}", site.name()));
    let outcome = site.run(&["pull", "s", dataset, "--purpose", purpose, "-o", word(&target)?])?;
    Ok(outcome.code == Some(0))
}

#[test]
fn what_is_explained_is_what_each_partner_gets() -> Result<()> {
    Scene::play(|scene| {
        let site = scene.site("s")?;
        let partners = [scene.site("m")?, scene.site("n")?];
        for partner in &partners {
            befriend(&site, partner)?;
        }
        let texts = CASES.map(|(name, conditions, _)| (name, policy(name, conditions)));
        let policies: Vec<(&str, &str)> =
            texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        site.activate(&policies)?;
        let file = site.path("partners").join("m.toml");
        let before = std::fs::read_to_string(&file)?;
        std::fs::write(&file, format!("{before}\n[attributes]\nMembership = [\"active\"]\n"))?;
        let data = note(scene, "data.txt", "12345")?;
        for (name, _, more) in CASES {
            let words = [
                "dataset",
                "publish",
                word(&data)?,
                "--id",
                name,
                "--title",
                name,
                "--policy",
                name,
                "--yes",
            ];
            site.ask(&[&words[..], more].concat())?;
        }
        let explained = |partner: &Site, dataset: &str, purpose: &str| -> Result<bool> {
            let answer = site.ask(&[
                "policy",
                "explain",
                "--partner",
                partner.name(),
                "--dataset",
                dataset,
                "--purpose",
                purpose,
            ])?;
            Ok(answer["permitted"] == true)
        };
        wait::until("the attribute is in force", Duration::from_secs(20), || {
            Ok(explained(&partners[0], "members", "audit")?.then_some(()))
        })?;
        let mut permitted = 0;
        for partner in &partners {
            for (dataset, _, _) in CASES {
                for purpose in ["audit", "sales"] {
                    let said = explained(partner, dataset, purpose)?;
                    let got = gets(scene, partner, dataset, purpose)?;
                    let who = partner.name();
                    ensure!(said == got, "{who}, {dataset}, {purpose}: said {said}, got {got}");
                    permitted += usize::from(got);
                }
            }
        }
        // Both answers were there to be told apart.
        ensure!(permitted > 10 && permitted < 40, "{permitted}");
        Ok(())
    })
}

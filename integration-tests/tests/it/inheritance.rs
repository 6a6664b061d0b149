//! An ODRL file that inherits from another: what the parent says holds for those who pull under the child.

use anyhow::Result;
use integration_tests::scene::Scene;
use serde_json::json;

use crate::stage::{Pair, note, word};

#[test]
fn what_a_parent_prohibits_is_refused_under_its_child() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        let house = json!({
            "@context": "http://www.w3.org/ns/odrl.jsonld", "@id": "urn:example:house",
            "conflict": "prohibit",
            "urn:sekisho:v1:offer": { "who": { "anyone-registered": true } },
            "permission": [{ "action": "index" }],
            "prohibition": [{ "action": "reproduce", "constraint": [
                { "leftOperand": "purpose", "operator": "eq", "rightOperand": "marketing" },
            ] }],
        });
        let drawings = json!({
            "@context": "http://www.w3.org/ns/odrl.jsonld", "@id": "urn:example:drawings",
            "inheritFrom": "urn:example:house", "conflict": "prohibit",
            "urn:sekisho:v1:offer": { "who": { "anyone-registered": true }, "what": { "datasets": ["one"] } },
            "permission": [{ "action": "use" }],
        });
        std::fs::write(supplier.path("policies/house.jsonld"), house.to_string())?;
        std::fs::write(supplier.path("policies/drawings.jsonld"), drawings.to_string())?;
        supplier.activate(&[])?;
        let file = note(scene, "one.txt", "one")?;
        let publish =
            ["dataset", "publish", word(&file)?, "--id", "one", "--title", "One", "--yes"];
        supplier.ask(&publish)?;

        let target = scene.file("got");
        let pull = |purpose: &str| -> Result<_> {
            let words = ["pull", "b", "one", "--purpose", purpose, "-o", word(&target)?, "--force"];
            customer.run(&words)
        };
        pull("audit")?.expect(0)?;
        pull("marketing")?.expect(77)?;

        // The explanation has the reports of each rule, those of the parent among them.
        let explain = ["policy", "explain", "--partner", "a", "--dataset", "one", "--purpose"];
        let explained = supplier.ask(&[&explain[..], &["marketing"]].concat())?;
        assert_eq!(explained["permitted"], false, "{explained}");
        let rules = explained.pointer("/reports/0/ruleReport").cloned().unwrap_or_default();
        let found =
            rules.as_array().into_iter().flatten().find(|rule| rule["rule"] == "prohibition 1");
        let found = found.cloned().unwrap_or_default();
        assert_eq!(found["attemptState"], "Attempted", "{explained}");
        assert_eq!(found["activationState"], "Active", "{explained}");
        assert_eq!(
            found.pointer("/premiseReport/3/constraint"),
            Some(&json!("purpose eq marketing"))
        );

        // Two files of one identifier say which of them is meant no longer: the set before stays in force.
        std::fs::write(supplier.path("policies/other.jsonld"), house.to_string())?;
        let outcome = supplier.run(&["policy", "check"])?;
        assert_ne!(outcome.code, Some(0), "{}", outcome.stdout);
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains("urn:example:house") && said.contains("other.jsonld"), "{said}");
        pull("audit")?.expect(0)?;
        Ok(())
    })
}

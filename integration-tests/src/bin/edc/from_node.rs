//! The node asks EDC: EDC is the provider.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::stage::{Ids, Kind, PARTNER, Stage, same, text};
use crate::tally::Tally;

/// All steps.
pub(crate) fn play(stage: &Stage, tally: &mut Tally) {
    let node = Consumer(stage);
    if tally.step("EDC publishes", || node.published()).is_none() {
        return;
    }
    tally.step("our node proves who EDC is", || node.checked());
    tally.step("our node asks EDC's catalog", || node.catalog());
    tally.step("our node pulls `theirs-open`", || node.pull("theirs-open"));
    tally.step("our node pulls `theirs-dated`", || node.pull("theirs-dated"));
    tally.step("our node pulls what EDC does not have", || {
        node.is_refused("theirs-unknown", &[], &["offers us no dataset"])
    });
    tally.step("our node pulls what was over before it was agreed", || {
        node.is_refused("theirs-past", &[], &["not found or not valid"])
    });
    tally.step("our node pulls what EDC offers without a permission", || {
        node.is_refused("theirs-empty", &[], &["neither a permission nor a prohibition"])
    });
    tally.step("our pull is suspended and resumed by us", || node.we_suspend());
    tally.step("EDC suspends and resumes our pull", || node.it_suspends());
    tally.step("we terminate our pull", || node.we_terminate());
    tally.step("EDC terminates our pull", || node.it_terminates());
    // EDC's data plane sends to what it has a sink for, and has none for the endpoint type of the protocol's own examples.
    tally.step("our node asks EDC to push", || {
        node.is_refused("theirs-pushed", &["--push"], &["Cannot find a transfer Service"])
    });
}

/// What our operator does.
struct Consumer<'a>(&'a Stage);

impl Consumer<'_> {
    fn published(&self) -> Result<(String, ())> {
        let until = |instant: &str| {
            json!({ "permission": [{
                "action": "use",
                "constraint": {
                    "leftOperand": "https://w3id.org/edc/v0.0.1/ns/inForceDate",
                    "operator": "lteq",
                    "rightOperand": instant,
                },
            }] })
        };
        let open = || json!({ "permission": [{ "action": "use" }] });
        let assets = [
            ("theirs-open", open()),
            ("theirs-pushed", open()),
            ("theirs-dated", until("contractAgreement+30d")),
            ("theirs-past", until("2026-01-01T00:00:00Z")),
            ("theirs-empty", json!({})),
        ];
        let source = self.0.on_shelf("/source");
        for (asset, policy) in &assets {
            self.0.runtime.block_on(self.0.edc.publish(asset, &source, policy))?;
        }
        Ok((assets.map(|(asset, _)| asset).join(", "), ()))
    }

    fn checked(&self) -> Result<(String, ())> {
        let reached = self.0.node.ask(&["partner", "check", PARTNER])?;
        let shown = reached.to_string();
        ensure!(shown.contains("2025-1"), "no 2025-1 in {reached}");
        Ok((shown, ()))
    }

    fn catalog(&self) -> Result<(String, ())> {
        let catalog = self.0.node.ask(&["catalog", PARTNER])?;
        let shown = catalog.to_string();
        for expected in ["theirs-open", "theirs-dated"] {
            ensure!(shown.contains(expected), "no `{expected}` in {catalog}");
        }
        let count = catalog.get("datasets").and_then(Value::as_array).map_or(0, Vec::len);
        Ok((format!("{count} datasets"), ()))
    }

    fn pull(&self, dataset: &str) -> Result<(String, ())> {
        let file = self.0.directory.join(format!("got-{dataset}"));
        let path = file.to_str().context("a path is not UTF-8")?;
        self.0.node.ask(&["pull", PARTNER, dataset, "-o", path])?;
        Ok((same(&std::fs::read(&file)?, &self.0.theirs)?, ()))
    }

    /// A pull must be refused in words that have one of these.
    fn is_refused(&self, dataset: &str, options: &[&str], words: &[&str]) -> Result<(String, ())> {
        let file = self.0.directory.join("not-got");
        let path = file.to_str().context("a path is not UTF-8")?;
        let mut asked = vec!["pull", PARTNER, dataset, "-o", path];
        asked.extend(options);
        let outcome = self.0.node.run(&asked)?;
        let said = outcome.last()?.to_string();
        ensure!(outcome.code != Some(0) && !file.exists(), "it was not refused: {said}");
        ensure!(words.iter().any(|word| said.contains(word)), "{said}");
        Ok((format!("exit {:?}: {said}", outcome.code), ()))
    }

    /// The agreement on a dataset that a pull made.
    fn agreement(&self, dataset: &str) -> Result<String> {
        let path = format!("/v1/agreements?dataset={dataset}&limit=1");
        let page = self.0.runtime.block_on(self.0.management.get(&path))?;
        text(page.pointer("/items/0").context("there is no agreement")?, "id")
    }

    /// A transfer outside of a pull, which has begun.
    fn started(&self) -> Result<Ids> {
        let request = json!({ "partner": PARTNER, "agreement": self.agreement("theirs-open")? });
        let begun = self.0.runtime.block_on(self.0.management.post("/v1/transfers", &request))?;
        let node = integration_tests::connector::text(&begun, "/id")?;
        self.0.node_reaches(Kind::Transfer, &node, "STARTED")?;
        let edc = self.0.edc_knows(Kind::Transfer, &node)?;
        Ok(Ids { edc, node })
    }

    fn we_suspend(&self) -> Result<(String, ())> {
        let ids = self.started()?;
        self.0.step(Kind::Transfer, &ids.node, "suspend")?;
        self.0.both_reach(Kind::Transfer, &ids, "SUSPENDED")?;
        self.0.step(Kind::Transfer, &ids.node, "resume")?;
        self.0.both_reach(Kind::Transfer, &ids, "STARTED")?;
        Ok(("both were SUSPENDED and are STARTED again".to_owned(), ()))
    }

    fn it_suspends(&self) -> Result<(String, ())> {
        let ids = self.started()?;
        self.0.edc_step(Kind::Transfer, &ids.edc, "suspend")?;
        self.0.both_reach(Kind::Transfer, &ids, "SUSPENDED")?;
        self.0.edc_step(Kind::Transfer, &ids.edc, "resume")?;
        self.0.both_reach(Kind::Transfer, &ids, "STARTED")?;
        Ok(("both were SUSPENDED and are STARTED again".to_owned(), ()))
    }

    fn we_terminate(&self) -> Result<(String, ())> {
        let ids = self.started()?;
        self.0.step(Kind::Transfer, &ids.node, "terminate")?;
        self.0.both_reach(Kind::Transfer, &ids, "TERMINATED")?;
        Ok(("both are TERMINATED".to_owned(), ()))
    }

    fn it_terminates(&self) -> Result<(String, ())> {
        let ids = self.started()?;
        self.0.edc_step(Kind::Transfer, &ids.edc, "terminate")?;
        self.0.both_reach(Kind::Transfer, &ids, "TERMINATED")?;
        Ok(("both are TERMINATED".to_owned(), ()))
    }
}

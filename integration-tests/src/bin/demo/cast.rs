//! The three companies and the line between them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use integration_tests::command::{self, Outcome};
use integration_tests::narration::line;
use integration_tests::process::sekisho;
use integration_tests::proxy::{Faults, Proxy};
use integration_tests::scene::Scene;
use integration_tests::site::{COMMAND_LIMIT, Site};
use serde_json::Value;

use crate::tell::{chapter, shows};

/// Between A社 and B社: one gigabit in a second, so that there is a middle in which to kill somebody.
const LINE: Faults = Faults {
    bytes_per_second: Some(125_000_000),
    latency: Duration::ZERO,
    reset_after: None,
    refuse: false,
    blackhole: false,
};

/// The companies.
pub(crate) struct Cast {
    /// B社, the supplier.
    pub(crate) supplier: Site,
    /// A社, its customer.
    pub(crate) customer: Site,
    /// C社, a customer of B社 for whom not everything is meant.
    pub(crate) stranger: Site,
    /// The line to B社.
    pub(crate) proxy: Proxy,
    pub(crate) scene: Scene,
    material: PathBuf,
}

impl Cast {
    /// Makes three sites, starts them, and lets them exchange cards.
    pub(crate) fn assemble() -> Result<Self> {
        chapter("Three sites, each with its own keys and certificate authority");
        let material = PathBuf::from("integration-tests/demo");
        anyhow::ensure!(material.is_dir(), "run this from the top of the repository: `./demo`");
        let scene = Scene::new()?;
        let proxy = Proxy::new()?;
        proxy.set(LINE);
        let make = |name: &str, title: &str, operator: &str, behind: bool| -> Result<Site> {
            let plan = scene.plan(name).title(title).operator_id(operator);
            let plan = if behind { plan.dialled_at(proxy.address()) } else { plan };
            let mut site = plan.make()?;
            if behind {
                proxy.lead_to(site.address());
            }
            site.start()?;
            let ready = site.daemon()?.ready_after();
            line(format!(
                "  {title}: `sekisho init`, then `sekisho serve`, ready after {ready:.0?}"
            ));
            Ok(site)
        };
        let supplier = make("b-sha", "B社", "15572d1c-ec13-0d78-7f92-dd4278871373", true)?;
        let customer = make("a-sha", "A社", "b39e6248-c888-56ca-d9d0-89de1b1adc8e", false)?;
        let stranger = make("c-sha", "C社", "f99c9546-e76e-9f15-35b2-abb9c9b21698", false)?;
        for partner in [&customer, &stranger] {
            supplier.register(partner, &["customers"])?;
            partner.register(&supplier, &["suppliers"])?;
        }
        shows("B社", "exchanged signed cards with A社 and C社, and compared fingerprints", true)?;
        let cast = Self { supplier, customer, stranger, proxy, scene, material };
        cast.activate()?;
        Ok(cast)
    }

    /// Puts B社's policies in force.
    fn activate(&self) -> Result<()> {
        let read = |name: &str| {
            std::fs::read_to_string(self.material.join(format!("policies/{name}.toml")))
        };
        self.supplier.activate(&[("cfp", &read("cfp")?), ("oem", &read("oem")?)])?;
        shows(
            "B社",
            "put two policy files into policies/; its daemon took them while running",
            true,
        )
    }

    /// The path of a file of the demonstration.
    pub(crate) fn material(&self, name: &str) -> Result<String> {
        let path = self.material.join(name);
        Ok(path.to_str().context("a path is not UTF-8")?.to_owned())
    }

    /// The ids that a company sees at B社.
    pub(crate) fn catalog(&self, who: &Site) -> Result<Vec<String>> {
        let catalog = who.ask(&["catalog", self.supplier.name()])?;
        let datasets =
            catalog.get("datasets").and_then(Value::as_array).cloned().unwrap_or_default();
        let id = |dataset: &Value| dataset.get("id").and_then(Value::as_str).map(str::to_owned);
        Ok(datasets.iter().filter_map(id).collect())
    }

    /// The words of a pull from B社.
    pub(crate) fn words(&self, id: &str, target: &Path, purpose: &str) -> Result<Vec<String>> {
        let target = target.to_str().context("a path is not UTF-8")?;
        let words =
            ["pull", self.supplier.name(), id, "-o", target, "--purpose", purpose, "--force"];
        Ok(words.map(str::to_owned).to_vec())
    }

    /// Pulls from B社 to the end.
    pub(crate) fn pull(
        &self,
        who: &Site,
        id: &str,
        target: &Path,
        purpose: &str,
    ) -> Result<Outcome> {
        who.run(&self.words(id, target, purpose)?)
    }

    /// Verifies a file as a third party, with nothing but B社's card.
    pub(crate) fn verify_offline(&self, file: &Path) -> Result<Outcome> {
        let mut verify = Command::new(sekisho()?);
        verify.args(["--json", "provenance", "verify"]).arg(file);
        verify.arg("--card").arg(self.scene.file(&format!("{}.card", self.supplier.name())));
        command::run(&mut verify, COMMAND_LIMIT)
    }

    /// Everybody stops in good order.
    pub(crate) fn leave(&mut self) -> Result<()> {
        for site in [&mut self.supplier, &mut self.customer, &mut self.stranger] {
            site.stop()?;
        }
        Ok(())
    }
}

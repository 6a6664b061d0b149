//! The node under test, exactly as shipped: made by `sekisho init`, told about its partner by a partner file, about its
//! data by `dataset publish`, about agreements made elsewhere by `agreement import`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use integration_tests::connector::{BASE, text};
use integration_tests::gateway::{Partner, Trust};
use integration_tests::peer::Peer;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use jiff::Timestamp;
use serde_json::json;

use crate::script::{self, Hands, Part};

/// The short name of the kit at the node.
pub(crate) const PARTNER: &str = "tck";
/// The kit's participant id, which it does not let anybody choose.
const PARTICIPANT: &str = "TCK_PARTICIPANT";
/// How the kit's certificate names it: its participant id is no URI.
const CERTIFIED: &str = "urn:dspace:tck:participant";
/// The dataset of all transfers that the node serves.
const DATASET: &str = "transferred";
/// The dataset that is looked for in the catalog.
pub(crate) const IN_CATALOG: &str = "in-catalog";

const AUTO: &str = r#"
title = "Use"
description = "Partners may use the data."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
"#;
const MANUAL: &str = r#"
title = "Use, as decided by a person"
description = "Partners may use the data when we say so."
[offer]
handling = "manual"
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
"#;

/// The node and who dials it.
pub(crate) struct Node {
    pub(crate) site: Site,
    /// What the kit's gateway and the node know of each other.
    pub(crate) trust: Trust,
}

impl Node {
    /// Makes a node whose partner is dialled at this address, and starts it.
    pub(crate) fn start(scene: &Scene, partner: SocketAddr) -> Result<Self> {
        let mut site = scene.plan("node").make()?;
        let kit = Partner {
            name: PARTNER,
            participant: PARTICIPANT,
            certified: CERTIFIED,
            title: "Eclipse Dataspace TCK",
            endpoint: &format!("https://{partner}"),
        };
        let trust = Trust::register(&site, &kit)?;
        site.policy("auto", AUTO)?;
        site.policy("manual", MANUAL)?;
        site.start()?;
        let node = Self { site, trust };
        node.publish(scene)?;
        Ok(node)
    }

    fn publish(&self, scene: &Scene) -> Result<()> {
        let file = scene.file("data.txt");
        std::fs::write(&file, "What the compatibility kit never downloads.\n")?;
        self.site.publish(&file, IN_CATALOG, "auto")?;
        self.site.publish(&file, DATASET, "auto")?;
        for part in &script::PROVIDER_NEGOTIATIONS {
            let policy = if part.hands == Hands::Auto { "auto" } else { "manual" };
            self.site.publish(&file, &part.id(), policy)?;
        }
        Ok(())
    }

    /// Imports the agreements of the transfers: both sides' exist before a kit's test begins.
    pub(crate) fn import_agreements(&self, scene: &Scene) -> Result<()> {
        for part in &script::PROVIDER_TRANSFERS {
            self.import(scene, part, "provider")?;
        }
        for part in &script::CONSUMER_TRANSFERS {
            self.import(scene, part, "consumer")?;
        }
        Ok(())
    }

    fn import(&self, scene: &Scene, part: &Part, side: &str) -> Result<()> {
        let (id, own) = (part.id(), self.site.participant());
        let (assigner, assignee, target) = match side {
            "provider" => (own, PARTICIPANT, DATASET),
            _ => (PARTICIPANT, own, "kit-data"),
        };
        let agreement = json!({
            "@id": id,
            "@type": "Agreement",
            "target": target,
            "assigner": assigner,
            "assignee": assignee,
            "timestamp": Timestamp::now().to_string(),
            "permission": [{ "action": "use" }],
        });
        let file = scene.file(&format!("{id}.json"));
        std::fs::write(&file, agreement.to_string())?;
        let file = file.to_str().context("a path is not UTF-8")?;
        let mut words = vec!["agreement", "import", file, "--partner", PARTNER, "--side", side];
        if part.hands == Hands::Manual {
            words.push("--manual");
        }
        words.extend(["--reason", "made for the compatibility kit"]);
        self.site.ask(&words)?;
        Ok(())
    }

    /// The id of the offer of a dataset, as the partner sees it.
    pub(crate) fn offer(&self, dataset: &str) -> Result<String> {
        let partner = Peer::new(Some(Arc::clone(&self.trust.credential)), self.site.address())?;
        let shown = partner.get(&format!("{BASE}/catalog/datasets/{dataset}"), &[])?.json()?;
        text(&shown, "/hasPolicy/0/@id")
    }
}

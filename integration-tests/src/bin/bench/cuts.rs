//! Cuts: how long after the record of what took a transfer's ground away its last byte came, by cause.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use integration_tests::connector::{Connector, Transfer, text};
use integration_tests::peer::Opened;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use jiff::{SignedDuration, Timestamp};

use crate::Extent;
use crate::figures::{Figures, mebibytes, milliseconds, percentile};
use crate::node::{OPEN, pair};

/// More than a reader takes before it is cut: a hole, so that it needs no room.
const SIZE: u64 = 2 << 30;

/// Between two pieces that a reader takes: so it never reaches the end.
const PAUSE: Duration = Duration::from_millis(1);

/// What takes the ground away.
struct Cause {
    name: &'static str,
    policy: &'static str,
    /// The log and kind of the record of the change; nothing where the clock alone changes the answer.
    record: Option<(&'static str, &'static str)>,
}

const CAUSES: [Cause; 5] = [
    Cause { name: "group left", policy: "grouped", record: Some(("a", "partner-updated")) },
    Cause {
        name: "credential removed",
        policy: "credible",
        record: Some(("a", "partner-updated")),
    },
    Cause { name: "restriction", policy: "open", record: Some(("site", "rules-activated")) },
    Cause { name: "partner suspended", policy: "open", record: Some(("a", "partner-suspended")) },
    Cause { name: "credential ended", policy: "credible", record: None },
];

/// The delay of each cause, and what a reader that stalls can still take.
pub(crate) fn after_records(figures: &mut Figures, extent: Extent) -> Result<()> {
    let scene = Scene::new()?;
    let stage = Stage::new(&scene)?;
    for cause in &CAUSES {
        let (mut delays, mut stalled) = (Vec::new(), Vec::new());
        for _ in 0..extent.starts {
            stage.restore(None)?;
            let (delay, left) = stage.cut(cause)?;
            delays.push(delay);
            stalled.push(left);
        }
        let name = format!("last byte after the record, {}", cause.name);
        figures.add(format!("{name}, median"), percentile(&mut delays, 0.5), "ms");
        figures.add(format!("{name}, most"), percentile(&mut delays, 1.0), "ms");
        let name = format!("what a stalled reader still got, {}, most", cause.name);
        figures.add(name, percentile(&mut stalled, 1.0), "MiB");
    }
    Ok(())
}

/// A provider of one long file under three policies, and a partner that is played.
struct Stage {
    provider: Site,
    connector: Connector,
    agreements: Vec<(&'static str, String)>,
    partner: PathBuf,
    /// The partner's file as the card made it.
    plain: String,
}

impl Stage {
    fn new(scene: &Scene) -> Result<Self> {
        let (provider, mut consumer) = pair(scene)?;
        let source = scene.file("source.bin");
        std::fs::File::create(&source)?.set_len(SIZE)?;
        let when = |condition: &str| {
            OPEN.replace("[[permit]]\n", &format!("[[permit]]\nwhen = [\"{condition}\"]\n"))
        };
        provider.activate(&[
            ("grouped", &when("recipient isPartOf members")),
            ("credible", &when("Membership eq active")),
        ])?;
        let partner = provider.path("partners").join("a.toml");
        let plain = std::fs::read_to_string(&partner)?;
        let path = source.to_str().context("a path is not UTF-8")?;
        for policy in ["open", "grouped", "credible"] {
            let words = ["dataset", "publish", path, "--id", policy, "--title", policy];
            provider.ask(&[&words[..], &["--policy", policy, "--in-place", "--yes"]].concat())?;
        }
        consumer.stop()?;
        let connector = Connector::play(&consumer, &provider)?;
        let mut stage = Self { provider, connector, agreements: Vec::new(), partner, plain };
        stage.restore(None)?;
        for policy in ["open", "grouped", "credible"] {
            let agreed = wait::until("an agreement", PATIENCE, || {
                Ok(stage.connector.negotiate(policy, None).ok())
            })?;
            stage.agreements.push((policy, agreed));
        }
        Ok(stage)
    }

    /// Everything holds again; the credential until an instant.
    fn restore(&self, until: Option<Timestamp>) -> Result<()> {
        let grouped = self.plain.replace("groups = [", "groups = [\"members\", ");
        let until = until.map(|until| format!("valid_until = \"{until}\"\n")).unwrap_or_default();
        let whole = format!(
            "{grouped}\n[[credentials]]\ntype = \"MembershipCredential\"\nissuer = \"the authority\"\n\
             verified_by = \"the bench\"\nsays = {{ Membership = [\"active\"] }}\n{until}"
        );
        let restrictions = self.provider.path("policies/restrictions.toml");
        if restrictions.exists() {
            std::fs::remove_file(restrictions)?;
        }
        self.write(&whole)?;
        let shown = self.provider.ask(&["partner", "show", "a"])?;
        if shown.get("state").and_then(serde_json::Value::as_str) == Some("suspended") {
            self.provider.ask(&["partner", "resume", "a"])?;
        }
        Ok(())
    }

    fn write(&self, partner: &str) -> Result<()> {
        let new = self.partner.with_extension("new");
        std::fs::write(&new, partner)?;
        Ok(std::fs::rename(&new, &self.partner)?)
    }

    fn begin(&self, policy: &str) -> Result<Transfer> {
        let agreed = self.agreements.iter().find(|(of, _)| *of == policy);
        let (_, agreed) = agreed.context("there is no agreement under this policy")?;
        // What was changed back comes into force a moment later.
        wait::until("a transfer", PATIENCE, || Ok(self.connector.transfer(agreed).ok()))
    }

    fn open(&self, transfer: &Transfer) -> Result<Opened> {
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let path = &transfer.address.path;
        let mut opened = self.connector.peer.open(Method::GET, path, &headers, Bytes::new())?;
        opened.chunk()?.context("the stream is empty")?;
        Ok(opened)
    }

    /// One cut: milliseconds until a reader's last byte, and the mebibytes that a reader took that stalled until then.
    fn cut(&self, cause: &Cause) -> Result<(f64, f64)> {
        let mut ends = None;
        if cause.record.is_none() {
            let end = Timestamp::now().checked_add(SignedDuration::from_secs(6))?;
            ends = Some(end);
            self.restore(ends)?;
        }
        let transfers = [self.begin(cause.policy)?, self.begin(cause.policy)?];
        let [reads, stalls] = &transfers;
        let (mut reader, mut stalled) = (self.open(reads)?, self.open(stalls)?);
        let reading = thread::spawn(move || {
            // The last byte is the last that came before the break.
            let mut last = Timestamp::now();
            while let Ok(Some(_)) = reader.chunk() {
                last = Timestamp::now();
                thread::sleep(PAUSE);
            }
            last
        });
        match cause.name {
            "group left" => {
                let whole = std::fs::read_to_string(&self.partner)?;
                self.write(&whole.replace("\"members\", ", ""))?;
            }
            "credential removed" => {
                let whole = std::fs::read_to_string(&self.partner)?;
                self.write(whole.split("\n[[credentials]]").next().unwrap_or_default())?;
            }
            "restriction" => self.provider.policy(
                "restrictions",
                "title = \"Stop\"\n[[prohibit]]\nactions = [\"use\"]\ndatasets = [\"open\"]\nreason = \"stop\"\n",
            )?,
            "partner suspended" => {
                self.provider.ask(&["partner", "suspend", "a", "--reason", "bench"])?;
            }
            _ => {}
        }
        let last = reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        let changed = match (cause.record, ends) {
            (Some((log, kind)), _) => {
                let records = self.provider.records(log, kind)?;
                let newest = records.last().context("the change is not on record")?;
                text(newest, "/time")?.parse()?
            }
            (None, ends) => ends.context("nothing ends")?,
        };
        let (left, _) = stalled.drain();
        let delay = last.duration_since(changed).max(SignedDuration::ZERO);
        Ok((milliseconds(delay.try_into()?), mebibytes(left)))
    }
}

//! `sekisho policy diff`: what a change of policies changes for whom.

use std::path::Path;

use jiff::Timestamp;
use policy::inquiry::Site;
use policy::matrix::{Difference, diff, stopped};
use policy::set::RuleSet;
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::output::{Output, cell};
use super::matrix::outcome;
use super::{Desk, facts};
use crate::exit::Exit;

pub(super) fn run(
    desk: &Desk,
    old: &str,
    new: &str,
    at: Timestamp,
    output: Output,
) -> Result<(), Failure> {
    let (old, new) = (named(desk, old, output)?, named(desk, new, output)?);
    let report = Report::make(desk, &old, &new, at)?;
    output.result(&report.to_json(), |_| report.text());
    Ok(())
}

/// A set by what people call it.
fn named(desk: &Desk, name: &str, output: Output) -> Result<RuleSet, Failure> {
    let away = || {
        let text = format!("`{name}` is known to the daemon, and it is not running");
        Failure::new(Exit::NotReachable, text)
            .help("start it with `sekisho serve`, or name a directory of policy files")
    };
    match name {
        "draft" => desk.filed(output),
        "active" => Ok(desk.facts(&[])?.ok_or_else(away)?.set),
        path if Path::new(path).is_dir() => desk.compiled(Path::new(path), output),
        hash => Ok(desk.facts(&[("set", Some(hash.to_owned()))])?.ok_or_else(away)?.set),
    }
}

/// What a change of sets means.
pub(super) struct Report {
    differences: Vec<Difference>,
    agreements: Option<Agreements>,
}

/// What becomes of running agreements under which we provide data.
struct Agreements {
    /// How many keep the terms that they were made under.
    keep: usize,
    /// Those that a restriction of the new set stops, with the restriction.
    stopped: Vec<(Value, String)>,
}

impl Report {
    /// Compares two sets by the partners and datasets of now.
    pub(super) fn make(
        desk: &Desk,
        old: &RuleSet,
        new: &RuleSet,
        at: Timestamp,
    ) -> Result<Self, Failure> {
        let partners = facts::partners(&desk.registry()?);
        let known = desk.facts(&[])?;
        let is_running = known.is_some();
        let datasets = known.map(|facts| facts.into_site().datasets).unwrap_or_default();
        let site = |rules: &RuleSet| Site {
            rules: rules.clone(),
            partners: partners.clone(),
            datasets: datasets.clone(),
        };
        let (old, new) = (site(old), site(new));
        let agreements =
            if is_running { Some(Agreements::look(desk, &old, &new, at)?) } else { None };
        Ok(Self { differences: diff(&old, &new, at), agreements })
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> Value {
        let changes = self.differences.iter().map(|change| {
            json!({
                "partner": change.partner, "dataset": change.dataset, "action": change.action,
                "what": change.kind.name(),
                "before": outcome(&change.before), "after": outcome(&change.after),
            })
        });
        json!({
            "changes": changes.collect::<Vec<_>>(),
            "agreements": self.agreements.as_ref().map(|found| json!({
                "keep_their_terms": found.keep,
                "stopped": found.stopped.iter().map(|(agreement, restriction)| json!({
                    "agreement": agreement.get("id"), "partner": agreement.get("partner"),
                    "dataset": agreement.get("dataset"), "restriction": restriction,
                })).collect::<Vec<_>>(),
            })),
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::new();
        for change in &self.differences {
            let head = format!("{}: {} of {}", change.partner, change.action, change.dataset);
            lines.push(format!("{:<10} {head}", change.kind.name()));
            for (label, outcome) in [("before", &change.before), ("after", &change.after)] {
                lines.push(format!("  {label:<7} {}", shown(outcome)));
            }
        }
        if lines.is_empty() {
            lines.push("Nobody may do anything more, less, or under other terms.".to_owned());
        }
        if let Some(found) = &self.agreements {
            lines.push(format!(
                "{} running agreements keep the terms that they were made under.",
                found.keep
            ));
            for (agreement, restriction) in &found.stopped {
                lines.push(format!(
                    "stopped    agreement {} with {} on {}: {restriction}",
                    cell(agreement.get("id")),
                    cell(agreement.get("partner")),
                    cell(agreement.get("dataset")),
                ));
            }
        }
        lines.join("\n")
    }
}

impl Agreements {
    fn look(desk: &Desk, old: &Site, new: &Site, at: Timestamp) -> Result<Self, Failure> {
        let answer = desk.get("/v1/agreements?limit=10000")?;
        let mut found = Self { keep: 0, stopped: Vec::new() };
        for agreement in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
            let text = |member: &str| agreement.get(member).and_then(Value::as_str);
            if text("side") != Some("provider") || text("state") != Some("in force") {
                continue;
            }
            let stop = |site: &Site| {
                let partner = site.partner(text("participant")?)?;
                let dataset = site.dataset(text("dataset")?)?;
                stopped(site, partner, &dataset, text("purpose"), at)
            };
            match (stop(old), stop(new)) {
                (None, Some(restriction)) => found.stopped.push((agreement.clone(), restriction)),
                _ => found.keep += 1,
            }
        }
        Ok(found)
    }
}

fn shown(outcome: &policy::matrix::Outcome) -> String {
    if !outcome.permitted {
        return outcome
            .ground
            .as_ref()
            .map_or_else(|| "not offered".to_owned(), |ground| format!("denied: {ground}"));
    }
    let purposes: Vec<&str> = outcome.purposes.iter().map(String::as_str).collect();
    let purposes = if purposes.is_empty() { "any purpose".to_owned() } else { purposes.join(", ") };
    let terms =
        if outcome.terms.is_empty() { "no terms".to_owned() } else { outcome.terms.join("; ") };
    format!("permitted by {} for {purposes}; {terms}", outcome.policies.join(", "))
}

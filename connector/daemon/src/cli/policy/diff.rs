//! `sekisho policy diff`: what a change of policies changes for whom.

use std::path::Path;

use jiff::Timestamp;
use policy::inquiry::Site;
use policy::matrix::{Comparison, Unweighed, diff, stopped};
use policy::odrl::Policy;
use policy::set::RuleSet;
use policy::terms::named_purposes;
use serde_json::{Value, json};

use super::super::client::path;
use super::super::failure::Failure;
use super::super::output::{Output, cell};
use super::matrix::outcome;
use super::{Desk, facts};
use crate::exit::Exit;

/// How many agreements that go on as before are listed for people.
const SHOWN: usize = 20;

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
    comparison: Comparison,
    agreements: Option<Agreements>,
}

/// What becomes of running agreements under which we provide data.
struct Agreements {
    /// Those that keep the terms that they were made under.
    keep: Vec<Value>,
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
        Ok(Self { comparison: diff(&old, &new, at), agreements })
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> Value {
        let changes = self.comparison.changes.iter().map(|change| {
            json!({
                "partner": change.partner, "dataset": change.dataset, "action": change.action,
                "what": change.kind.name(),
                "before": outcome(&change.before), "after": outcome(&change.after),
            })
        });
        json!({
            "changes": changes.collect::<Vec<_>>(),
            "not_weighed": self.comparison.unweighed.iter().map(unweighed).collect::<Vec<_>>(),
            "agreements": self.agreements.as_ref().map(|found| json!({
                "keep_their_terms": found.keep.iter().map(agreement).collect::<Vec<_>>(),
                "stopped": found.stopped.iter().map(|(stopped, restriction)| {
                    let mut stopped = agreement(stopped);
                    if let Some(members) = stopped.as_object_mut() {
                        members.insert("restriction".to_owned(), json!(restriction));
                    }
                    stopped
                }).collect::<Vec<_>>(),
            })),
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::new();
        for change in &self.comparison.changes {
            let head = format!("{}: {} of {}", change.partner, change.action, change.dataset);
            lines.push(format!("{:<10} {head}", change.kind.name()));
            for (label, outcome) in [("before", &change.before), ("after", &change.after)] {
                lines.push(format!("  {label:<7} {}", shown(outcome)));
            }
        }
        let unweighed = self.comparison.unweighed.iter();
        lines.extend(unweighed.map(|found| format!("{:<10} {found}", "not shown")));
        if lines.is_empty() {
            lines.push("Nobody may do anything more, less, or under other terms.".to_owned());
        }
        if let Some(found) = &self.agreements {
            lines.push(format!(
                "{} running agreements keep the terms that they were made under.",
                found.keep.len()
            ));
            lines.extend(
                found.keep.iter().take(SHOWN).map(|kept| format!("keeps      {}", told(kept))),
            );
            if found.keep.len() > SHOWN {
                let others = found.keep.len() - SHOWN;
                lines.push(format!("           and {others} others; `--json` lists all"));
            }
            for (agreement, restriction) in &found.stopped {
                lines.push(format!("stopped    {}: {restriction}", told(agreement)));
            }
        }
        lines.join("\n")
    }
}

impl Agreements {
    fn look(desk: &Desk, old: &Site, new: &Site, at: Timestamp) -> Result<Self, Failure> {
        let mut found = Self { keep: Vec::new(), stopped: Vec::new() };
        let mut cursor: Option<String> = None;
        loop {
            let query = [
                ("side", Some("provider".to_owned())),
                ("state", Some("in force".to_owned())),
                ("order", Some("id".to_owned())),
                ("count", Some("false".to_owned())),
                ("limit", Some("1000".to_owned())),
                ("cursor", cursor),
            ];
            let page = desk.get(&path(&["v1", "agreements"], &query))?;
            for agreement in page.get("items").and_then(Value::as_array).into_iter().flatten() {
                match newly_stopped(desk, old, new, agreement, at)? {
                    Some(restriction) => found.stopped.push((agreement.clone(), restriction)),
                    None => found.keep.push(agreement.clone()),
                }
            }
            cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }
}

/// The restriction of the new set that stops an agreement, where none of the old set does.
fn newly_stopped(
    desk: &Desk,
    old: &Site,
    new: &Site,
    agreement: &Value,
    at: Timestamp,
) -> Result<Option<String>, Failure> {
    let text = |member: &str| agreement.get(member).and_then(Value::as_str);
    // Without restrictions nothing is stopped, and there is nothing to ask for.
    if new.rules.restrictions().list.is_empty() {
        return Ok(None);
    }
    let purposes = match (text("purpose"), text("id")) {
        (Some(purpose), _) => vec![purpose.to_owned()],
        // It is for all that its terms name.
        (None, Some(id)) => {
            let whole = desk.get(&path(&["v1", "agreements", id], &[]))?;
            let terms = whole.get("terms").and_then(|terms| Policy::from_json(terms).ok());
            terms.as_ref().map(named_purposes).unwrap_or_default()
        }
        (None, None) => Vec::new(),
    };
    let stop = |site: &Site| {
        let partner = site.partner(text("participant")?)?;
        let dataset = site.dataset(text("dataset")?)?;
        stopped(site, partner, &dataset, &purposes, at)
    };
    Ok(stop(new).filter(|_| stop(old).is_none()))
}

/// Which agreement it is, as JSON.
fn agreement(listed: &Value) -> Value {
    json!({
        "agreement": listed.get("id"), "partner": listed.get("partner"),
        "dataset": listed.get("dataset"),
    })
}

/// Which agreement it is, for people.
fn told(listed: &Value) -> String {
    let [id, partner, dataset] =
        ["id", "partner", "dataset"].map(|member| cell(listed.get(member)));
    format!("agreement {id} with {partner} on {dataset}")
}

fn unweighed(found: &Unweighed) -> Value {
    let (kind, policy, concerns) = match found {
        Unweighed::Policy { name, concerns, .. } => ("policy", Some(name), concerns.as_slice()),
        Unweighed::Restrictions => ("restrictions", None, [].as_slice()),
        Unweighed::Purposes => ("purposes", None, [].as_slice()),
    };
    let concerns = concerns.iter();
    let concerns =
        concerns.map(|(partner, dataset)| json!({ "partner": partner, "dataset": dataset }));
    json!({
        "what": kind, "policy": policy, "concerns": concerns.collect::<Vec<_>>(),
        "text": found.to_string(),
    })
}

fn shown(outcome: &policy::matrix::Outcome) -> String {
    if !outcome.permitted {
        return outcome
            .ground
            .as_ref()
            .map_or_else(|| "not offered".to_owned(), |ground| format!("denied: {ground}"));
    }
    let purposes = outcome.told_purposes();
    let terms =
        if outcome.terms.is_empty() { "no terms".to_owned() } else { outcome.terms.join("; ") };
    format!("permitted by {} for {purposes}; {terms}", outcome.policies.join(", "))
}

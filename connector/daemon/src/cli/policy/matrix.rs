//! `sekisho policy matrix`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policy::matrix::{Entry, Outcome, actions, csv, matrix};
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::output::{Output, raw, table};
use super::Desk;

/// What is to be shown.
pub(super) struct Wanted {
    pub(super) csv: bool,
    pub(super) actions: Vec<String>,
    pub(super) at: Timestamp,
    pub(super) draft: bool,
}

pub(super) fn run(desk: &Desk, wanted: Wanted, output: Output) -> Result<(), Failure> {
    let site = if wanted.draft { desk.draft(output)?.0 } else { desk.in_force(None, output)?.0 };
    let chosen: BTreeSet<String> = if wanted.actions.is_empty() {
        actions(&site)
    } else {
        wanted.actions.into_iter().collect()
    };
    let entries = matrix(&site, &chosen, wanted.at);
    if wanted.csv && !output.is_json() {
        raw(csv(&entries).as_bytes());
        return Ok(());
    }
    let result = json!({
        "at": wanted.at.to_string(),
        "entries": entries.iter().map(entry).collect::<Vec<_>>(),
    });
    output.result(&result, |_| {
        if entries.is_empty() {
            return "There are no partners, or no datasets that a policy or publication names."
                .to_owned();
        }
        let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
        table(&["PARTNER", "DATASET", "ACTION", "MAY", "PURPOSES", "TERMS"], &rows)
    });
    Ok(())
}

fn row(entry: &Entry) -> Vec<String> {
    let outcome = &entry.outcome;
    let may = if outcome.permitted { "yes" } else { "no" };
    let purposes = if outcome.permitted { outcome.told_purposes() } else { "-".to_owned() };
    let terms = match (&outcome.ground, outcome.permitted) {
        (Some(ground), _) => ground.clone(),
        (None, false) => "not offered".to_owned(),
        (None, true) => outcome.terms.join("; "),
    };
    vec![
        entry.partner.clone(),
        entry.dataset.clone(),
        entry.action.clone(),
        may.to_owned(),
        purposes,
        terms,
    ]
}

fn entry(entry: &Entry) -> Value {
    json!({
        "partner": entry.partner, "dataset": entry.dataset, "action": entry.action,
        "outcome": outcome(&entry.outcome),
    })
}

/// An outcome as JSON.
pub(super) fn outcome(outcome: &Outcome) -> Value {
    json!({
        "permitted": outcome.permitted,
        "policies": outcome.policies,
        "purposes": outcome.purposes,
        "except_purposes": outcome.except,
        "terms": outcome.terms,
        "until": outcome.until.map(|until| until.to_string()),
        "reason": outcome.ground,
    })
}

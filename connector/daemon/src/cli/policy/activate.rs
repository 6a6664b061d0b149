//! `sekisho policy activate` and `rollback`: another set comes into force once somebody has seen what it changes.

use jiff::Timestamp;
use policy::set::RuleSet;
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::output::Output;
use super::diff::Report;
use super::{Desk, refused};
use crate::exit::Exit;

/// Puts the files in force.
pub(super) fn activate(
    desk: &Desk,
    reason: Option<String>,
    yes: bool,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let new = desk.filed(output)?;
    let body = json!({ "expected": hex::encode(new.hash()), "reason": reason });
    put_in_force(desk, &new, "/v1/policies/activate", &body, yes, output, now)
}

/// Puts an earlier set in force again.
pub(super) fn rollback(
    desk: &Desk,
    hash: &str,
    reason: Option<String>,
    yes: bool,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let facts = desk.facts(&[("set", Some(hash.to_owned()))])?.ok_or_else(away)?;
    // An earlier set is judged by the groups of now, as the daemon will.
    let new = facts
        .set
        .regrouped(&desk.registry()?.groups(), desk.paths.unhonoured)
        .map_err(|found| refused(&found, output))?;
    let body = json!({ "set": facts.hash, "reason": reason });
    put_in_force(desk, &new, "/v1/policies/rollback", &body, yes, output, now)
}

fn put_in_force(
    desk: &Desk,
    new: &RuleSet,
    path: &str,
    body: &Value,
    yes: bool,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let active = desk.facts(&[])?.ok_or_else(away)?.set;
    let report = Report::make(desk, &active, new, now)?;
    if !output.is_json() {
        output.note(&report.text());
    }
    output.confirm("Put these policies in force?", yes)?;
    let mut answer = desk.post(path, body)?;
    if let (Some(members), Value::Object(more)) = (answer.as_object_mut(), report.to_json()) {
        members.extend(more);
    }
    output.result(&answer, |answer| {
        let set = answer.get("set").and_then(Value::as_str).unwrap_or_default();
        let short = set.get(..12).unwrap_or(set);
        if answer.get("changed") == Some(&json!(true)) {
            format!("The set {short} is in force.")
        } else {
            format!("The set {short} was in force already; nothing changed.")
        }
    });
    Ok(())
}

fn away() -> Failure {
    Failure::new(
        Exit::NotReachable,
        "the daemon is not running, and it alone puts policies in force",
    )
    .help("start it with `sekisho serve`")
}

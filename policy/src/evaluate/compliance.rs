//! An evaluation as a document in the terms of the Compliance Report Model (SolidLab): a report for each rule, with one for each
//! premise that it rests on.
//!
//! The model knows `Satisfied` and `Unsatisfied`; what is missing, comes later or is not understood is `Unsatisfied` there, and
//! `status` says which.

use super::{
    Activation, Attempt, ConstraintReport, Deontic, DutyReport, Evaluation, Performance, RuleKind,
    RuleReport, Status,
};
use serde_json::{Value, json};

/// The reports of an evaluation. `rule` counts from 1 in the list of its kind.
#[must_use]
pub fn compliance(evaluation: &Evaluation) -> Value {
    let rules = evaluation.rules.iter().map(rule);
    // What must be done before a permission is reported with it.
    let obligations = evaluation.obligations.iter().filter(|duty| !duty.is_condition).map(duty);
    json!({ "@type": "PolicyReport", "ruleReport": rules.chain(obligations).collect::<Vec<_>>() })
}

fn rule(report: &RuleReport) -> Value {
    let (kind, name, duties) = match report.kind {
        RuleKind::Permission => ("PermissionReport", "permission", "conditionReport"),
        RuleKind::Prohibition => ("ProhibitionReport", "prohibition", "remedyReport"),
    };
    let of = |kind: &str, status| premise(kind, status);
    let mut premises = vec![
        of("TargetReport", report.target),
        of("PartyReport", report.party),
        of("ActionReport", report.performs),
    ];
    premises.extend(report.constraints.iter().map(constraint));
    json!({
        "@type": kind,
        "rule": format!("{name} {}", report.index + 1),
        "action": report.action,
        "attemptState": match report.attempt() {
            Attempt::Attempted => "Attempted",
            Attempt::NotAttempted => "NotAttempted",
        },
        "activationState": activation(report.activation()),
        "performanceState": performance(report.performance),
        "deonticState": deontic(report.deontic()),
        "premiseReport": premises,
        duties: report.duties.iter().map(duty).collect::<Vec<_>>(),
    })
}

fn duty(report: &DutyReport) -> Value {
    json!({
        "@type": "DutyReport",
        "rule": report.clause,
        "activationState": activation(report.activation()),
        "performanceState": performance(report.performance()),
        "deonticState": deontic(report.deontic()),
        "premiseReport": report.conditions.iter().map(constraint).collect::<Vec<_>>(),
        "deadline": report.deadline.map(|deadline| deadline.to_string()),
        "consequenceReport": report.consequences.iter().map(duty).collect::<Vec<_>>(),
    })
}

/// A constraint with its operands; reading bounds how deep they stand.
fn constraint(report: &ConstraintReport) -> Value {
    let mut document = premise("ConstraintReport", report.status);
    if let Some(members) = document.as_object_mut() {
        members.insert("constraint".to_owned(), json!(report.clause));
        members.insert("found".to_owned(), json!(report.found));
        let operands: Vec<Value> = report.operands.iter().map(constraint).collect();
        members.insert("premiseReport".to_owned(), json!(operands));
    }
    document
}

fn premise(kind: &str, status: Status) -> Value {
    let (state, shown) = match status {
        Status::Satisfied => ("Satisfied", "satisfied"),
        Status::Unsatisfied => ("Unsatisfied", "unsatisfied"),
        Status::AppliesLater => ("Unsatisfied", "applies-later"),
        Status::Elsewhere => ("Unsatisfied", "judged-elsewhere"),
        Status::Undecidable => ("Unsatisfied", "undecidable"),
        Status::NotUnderstood => ("Unsatisfied", "not-understood"),
    };
    json!({ "@type": kind, "satisfactionState": state, "status": shown })
}

const fn activation(state: Activation) -> &'static str {
    match state {
        Activation::Active => "Active",
        Activation::Inactive => "Inactive",
    }
}

const fn performance(state: Performance) -> &'static str {
    match state {
        Performance::Performed => "Performed",
        Performance::Unperformed => "Unperformed",
        Performance::Unknown => "Unknown",
    }
}

const fn deontic(state: Deontic) -> &'static str {
    match state {
        Deontic::Fulfilled => "Fulfilled",
        Deontic::Violated => "Violated",
        Deontic::NotSet => "NonSet",
    }
}

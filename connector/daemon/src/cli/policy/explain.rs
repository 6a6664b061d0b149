//! `sekisho policy explain`.

use jiff::Timestamp;
use policy::evaluate::compliance;
use policy::inquiry::{Answer, Change, Judged, Question, Verdict, ask, render};
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::output::Output;
use super::arguments::Explain;
use super::{Desk, partner};
use crate::exit::Exit;

pub(super) fn run(
    desk: &Desk,
    arguments: &Explain,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let past = arguments.at.filter(|at| *at < now);
    let (site, origin) = if arguments.draft {
        (desk.draft(output)?.0, "the policy files".to_owned())
    } else {
        desk.in_force(past, output)?
    };
    if !policy::vocabulary::is_action(&arguments.action) {
        return Err(Failure::misuse(format!("`{}` is not an ODRL action", arguments.action))
            .help(format!("known are {}", policy::vocabulary::actions().join(", "))));
    }
    let partner = partner(&site, &arguments.partner)?;
    let dataset = site.dataset(&arguments.dataset).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("there is no dataset `{}`", arguments.dataset))
            .help("`sekisho dataset list` shows all; a policy may name one before it is published")
    })?;
    let at = arguments.at.unwrap_or(now);
    let question = Question {
        action: arguments.action.clone(),
        purpose: arguments.purpose.clone(),
        at,
        uses: arguments.uses,
        previous: arguments.previous_use,
        agreed_at: arguments.agreed.unwrap_or(at),
        done: arguments.done.iter().cloned().collect(),
        node: arguments.node.clone(),
        application: arguments.application.clone(),
    };
    let answer = ask(&site, partner, &dataset, &question);
    let text = render(&site, partner, &dataset, &question, &answer, arguments.lang);
    let mut result = described(&answer);
    if let Some(members) = result.as_object_mut() {
        members.insert("judged_by".to_owned(), json!(origin));
        members.insert("text".to_owned(), json!(text));
    }
    output.result(&result, |_| format!("{text}\n\nJudged by {origin}."));
    Ok(())
}

fn described(answer: &Answer) -> Value {
    let reason = match &answer.verdict {
        Verdict::Permit { .. } => None,
        Verdict::Deny { ground, .. } => Some(ground.to_string()),
        Verdict::NotOffered { barred, .. } => Some(match barred.first() {
            Some((policy, reason)) => format!("not offered: policy `{policy}` is {reason}"),
            None => "not offered".to_owned(),
        }),
        Verdict::Suspended => Some("suspended".to_owned()),
        Verdict::Withdrawn => Some("withdrawn".to_owned()),
    };
    let until = match &answer.verdict {
        Verdict::Permit { until, .. } => until.map(|until| until.to_string()),
        _ => None,
    };
    json!({
        "permitted": answer.is_permit(),
        "policy": answer.verdict.policy(),
        "reason": reason,
        "until": until,
        "clause": answer.verdict.clause().map(|clause| json!({
            "file": clause.file, "line": clause.spot.line, "column": clause.spot.column,
            "text": clause.text,
        })),
        "changes": answer.changes.iter().map(change).collect::<Vec<_>>(),
        "reports": answer.judged.iter().map(report).collect::<Vec<_>>(),
    })
}

/// What each policy says, rule by rule.
fn report(judged: &Judged) -> Value {
    let mut document = compliance(&judged.evaluation);
    if let Some(members) = document.as_object_mut() {
        members.insert("policy".to_owned(), json!(judged.policy.name));
        members.insert("offered".to_owned(), json!(judged.is_offered));
        members.insert("permitted".to_owned(), json!(judged.evaluation.is_permit()));
    }
    document
}

fn change(change: &Change) -> Value {
    match change {
        Change::Purpose(purpose) => json!({ "purpose": purpose }),
        Change::At(at) => json!({ "at": at.to_string() }),
        Change::Done(actions) => json!({ "done": actions }),
        Change::Group(group) => json!({ "group": group }),
        Change::Region(region) => json!({ "region": region }),
        Change::FewerUses => json!({ "uses": 0 }),
        Change::Resumed => json!({ "state": "active" }),
        Change::Named { policy } => json!({ "named_by": policy }),
    }
}

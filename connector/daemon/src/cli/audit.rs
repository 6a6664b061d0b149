//! `sekisho audit`.

use http::Method;
use serde_json::{Value, json};

use super::arguments::Audit;
use super::client::{Client, ClientError, path};
use super::dataset::{byte_bar, show_progress};
use super::failure::Failure;
use super::list::{self, Reading, Source};
use super::output::{Output, cell, fields};
use crate::exit::Exit;

pub(super) async fn run(command: Audit, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Audit::Tail { log } => {
            let path = path(&["v1", "audit", "tail"], &[("log", log)]);
            let show = |record: Value| {
                output.result(&record, record_text);
                Ok(())
            };
            Ok(client.events(Method::GET, &path, None, show).await?)
        }
        Audit::Show { log, from, epoch, kind, reference, listing } => {
            let asked = [
                ("log", json!(log)),
                ("from", json!(from)),
                ("epoch", json!(epoch)),
                ("kind", json!(kind)),
                ("reference", json!(reference)),
            ];
            let source = Source {
                path: &["v1", "audit", "records", "query"],
                name: "records",
                more: asked.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            };
            // From a number on, the oldest come first already.
            let reading = if from.is_some() { Reading::AsOrdered } else { Reading::NewestLast };
            let answer = list::fetch_from(source, reading, &listing, client, output).await?;
            output.result(&answer, |answer| {
                let records = answer.get("records").and_then(Value::as_array);
                if records.is_none_or(Vec::is_empty) {
                    return "There are no such records.".to_owned();
                }
                records.into_iter().flatten().map(record_text).collect::<Vec<_>>().join("\n")
            });
            Ok(())
        }
        Audit::Verify => verify(client, output).await,
        Audit::NewEpoch { reason, anyway } => {
            let request = json!({ "reason": reason, "anyway": anyway });
            let answer = client.post("/v1/audit/new-epoch", &request).await?;
            output.result(&answer, |answer| {
                let names = answer.get("relations").and_then(Value::as_array);
                let behind = names.into_iter().flatten().filter(|relation| {
                    relation.get("was_behind").and_then(Value::as_bool) == Some(true)
                });
                let behind: Vec<String> =
                    behind.map(|relation| cell(relation.get("partner"))).collect();
                let mut text = format!(
                    "The logs are in epoch {} now; checkpoints are signed again.",
                    cell(answer.get("epoch"))
                );
                if !behind.is_empty() {
                    text.push_str(&format!(
                        "\nThe relations with {} were behind. Transfers that were granted in the part that is lost cannot \
                         be proven any more: tell these partners to pull again.",
                        behind.join(", ")
                    ));
                }
                text
            });
            Ok(())
        }
    }
}

async fn verify(client: &Client, output: Output) -> Result<(), Failure> {
    let bar = byte_bar(output);
    let mut report = None;
    let outcome = client
        .events(Method::POST, "/v1/audit/verify", None, |event| {
            match event.get("progress") {
                Some(progress) => {
                    show_progress(&bar, progress);
                    output.event(&event);
                }
                None => report = Some(event),
            }
            Ok(())
        })
        .await;
    bar.finish_and_clear();
    outcome?;
    let Some(report) = report else {
        return Err(ClientError::BadAnswer("it ended without a report".to_owned()).into());
    };
    let inner = report.get("report").unwrap_or(&report);
    output.result(&report, |_| fields(inner));
    match inner.get("verified").and_then(Value::as_bool) {
        Some(true) => Ok(()),
        _ => Err(Failure::new(Exit::NotVerified, "the journal does not verify")
            .help("keep the data directory as it is, and compare checkpoints with your partners")),
    }
}

/// A record on one line: when, which log and number, what, and the account of it.
fn record_text(record: &Value) -> String {
    let mut text = format!(
        "{}  {}{}#{}  {}",
        cell(record.get("time")),
        cell(record.get("log")),
        // Most sites have one epoch all their life.
        match record.get("epoch").and_then(Value::as_u64) {
            None | Some(1) => String::new(),
            Some(epoch) => format!("/{epoch}"),
        },
        cell(record.get("index")),
        cell(record.get("kind")),
    );
    for (name, value) in record.get("account").and_then(Value::as_object).into_iter().flatten() {
        if !value.is_null() {
            text.push_str(&format!("  {}={}", super::output::printable(name), cell(Some(value))));
        }
    }
    text
}

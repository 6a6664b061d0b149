//! `sekisho agreement`.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{Agreement, AgreementImport, Side};
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, cell, fields, rows, table};
use super::partner::holdings_text;
use crate::config::Problem;

/// Larger files are no agreements.
const MAX_BYTES: u64 = 1024 * 1024;

pub(super) async fn run(
    command: Agreement,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    match command {
        Agreement::List(listing) => {
            let list =
                list::fetch("agreements", Reading::NewestLast, &listing, client, output).await?;
            output.result(&list, |list| {
                let members = ["created", "partner", "side", "state", "dataset", "purpose", "id"];
                table(
                    &["MADE", "PARTNER", "SIDE", "STATE", "DATASET", "PURPOSE", "ID"],
                    &rows(list.get("agreements"), &members),
                )
            });
        }
        Agreement::Show { id } => {
            let agreement = client.get(&path(&["v1", "agreements", &id], &[])).await?;
            output.result(&agreement, fields);
        }
        Agreement::Import(arguments) => import(&arguments, client, output).await?,
        Agreement::End { id, reason } => {
            let body = json!({ "reason": reason });
            let ended = client.post(&path(&["v1", "agreements", &id, "end"], &[]), &body).await?;
            output.result(&ended, |ended| {
                let transfers =
                    ended.get("transfers").and_then(Value::as_array).map_or(0, Vec::len);
                let told = format!(
                    "Agreement {id} has ended; {transfers} transfers were terminated with it.\n"
                );
                told + &ended.get("holdings").map(holdings_text).unwrap_or_default()
            });
        }
    }
    Ok(())
}

async fn import(
    arguments: &AgreementImport,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let side = match arguments.side {
        Side::Provider => "provider",
        Side::Consumer => "consumer",
    };
    let body = json!({
        "partner": arguments.partner,
        "side": side,
        "agreement": read(&arguments.file)?,
        "consumerPid": arguments.consumer_pid,
        "providerPid": arguments.provider_pid,
        "purpose": arguments.purpose,
        "handling": arguments.manual.then_some("manual"),
        "reason": arguments.reason,
    });
    let taken = client.post("/v1/agreements", &body).await?;
    output.result(&taken, |taken| {
        format!(
            "Agreement {} about {} stands; this site is its {side}.",
            cell(taken.get("id")),
            cell(taken.get("dataset"))
        )
    });
    Ok(())
}

fn read(file: &Path) -> Result<Value, Failure> {
    let size = std::fs::metadata(file).map_err(|error| Problem::unreadable(file, &error))?.len();
    if size > MAX_BYTES {
        return Err(Failure::misuse(format!("`{}` is too large for an agreement", file.display())));
    }
    let bytes = std::fs::read(file).map_err(|error| Problem::unreadable(file, &error))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::misuse(format!("`{}` is not JSON: {error}", file.display())))
}

//! `sekisho transfer`.

use serde_json::{Value, json};

use super::arguments::{Listing, Transfer, TransferStep};
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, cell, fields, rows, table};

pub(super) async fn run(command: Transfer, client: &Client, output: Output) -> Result<(), Failure> {
    let (step, arguments) = match command {
        Transfer::List(listing) => return list(&listing, client, output).await,
        Transfer::Show { id } => {
            let transfer = client.get(&path(&["v1", "transfers", &id], &[])).await?;
            output.result(&transfer, fields);
            return Ok(());
        }
        Transfer::Request { partner, agreement, format, reason } => {
            let body = json!({
                "partner": partner,
                "agreement": agreement,
                "format": format,
                "reason": reason,
            });
            let transfer = client.post("/v1/transfers", &body).await?;
            output.result(&transfer, told);
            return Ok(());
        }
        Transfer::Start(arguments) => ("start", arguments),
        Transfer::Suspend(arguments) => ("suspend", arguments),
        Transfer::Resume(arguments) => ("resume", arguments),
        Transfer::Complete(arguments) => ("complete", arguments),
        Transfer::Terminate(arguments) => ("terminate", arguments),
    };
    take(step, &arguments, client, output).await
}

async fn list(listing: &Listing, client: &Client, output: Output) -> Result<(), Failure> {
    let list = list::fetch("transfers", Reading::NewestLast, listing, client, output).await?;
    output.result(&list, |list| {
        let members = ["created", "partner", "side", "state", "dataset", "steps", "id"];
        table(
            &["BEGAN", "PARTNER", "SIDE", "STATE", "DATASET", "POSSIBLE", "ID"],
            &rows(list.get("transfers"), &members),
        )
    });
    Ok(())
}

async fn take(
    step: &str,
    arguments: &TransferStep,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let body = json!({ "code": arguments.code, "reason": arguments.reason });
    let transfer =
        client.post(&path(&["v1", "transfers", &arguments.id, step], &[]), &body).await?;
    output.result(&transfer, told);
    Ok(())
}

fn told(transfer: &Value) -> String {
    let state = cell(transfer.get("state"));
    let state = match transfer.get("pending").filter(|pending| !pending.is_null()) {
        Some(pending) => format!("{state}; {} is on its way", cell(Some(pending))),
        None => state,
    };
    format!("{}: {state}", cell(transfer.get("id")))
}

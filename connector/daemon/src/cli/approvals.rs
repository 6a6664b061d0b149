//! `sekisho approvals`.

use serde_json::{Value, json};

use super::arguments::{Approvals, Listing};
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, cell, rows, table};

pub(super) async fn run(
    command: Approvals,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let (verb, id, reason) = match command {
        Approvals::List(listing) => return list(&listing, client, output).await,
        Approvals::Approve { id, reason } => ("approve", id, reason),
        Approvals::Deny { id, reason } => ("deny", id, reason),
    };
    let body = json!({ "reason": reason });
    let decided = client.post(&path(&["v1", "approvals", &id, verb], &[]), &body).await?;
    output.result(&decided, super::negotiation::told);
    Ok(())
}

async fn list(listing: &Listing, client: &Client, output: Output) -> Result<(), Failure> {
    let list = list::fetch("approvals", Reading::AsOrdered, listing, client, output).await?;
    output.result(&list, |list| {
        if list.get("approvals").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            return "Nothing waits for a decision.".to_owned();
        }
        let members =
            ["kind", "partner", "dataset", "purpose", "state", "approving", "deadline", "id"];
        let headings =
            ["KIND", "PARTNER", "DATASET", "PURPOSE", "STATE", "APPROVING WOULD", "UNTIL", "ID"];
        let mut text = table(&headings, &rows(list.get("approvals"), &members));
        text.push_str(
            "\n\nThe terms: `sekisho negotiation show ID` or `sekisho transfer show ID`.",
        );
        let first = list.pointer("/approvals/0/id");
        text.push_str(&format!(
            "\nTo decide: `sekisho approvals approve {} --reason '…'`, or deny.",
            cell(first)
        ));
        text
    });
    Ok(())
}

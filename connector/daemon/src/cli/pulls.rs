//! `sekisho pulls`.

use serde_json::json;

use super::arguments::Pulls;
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, cell, fields, rows, table};

pub(super) async fn run(command: Pulls, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Pulls::List(listing) => {
            let list = list::fetch("pulls", Reading::NewestLast, &listing, client, output).await?;
            output.result(&list, |list| {
                let members = ["created", "partner", "step", "dataset", "purpose", "id"];
                table(
                    &["BEGAN", "PARTNER", "STEP", "DATASET", "PURPOSE", "ID"],
                    &rows(list.get("pulls"), &members),
                )
            });
        }
        Pulls::Show { id } => {
            let pull = client.get(&path(&["v1", "pulls", &id], &[])).await?;
            output.result(&pull, fields);
        }
        Pulls::Cancel { id, reason } => {
            let body = json!({ "reason": reason });
            let pull = client.post(&path(&["v1", "pulls", &id, "cancel"], &[]), &body).await?;
            output.result(&pull, |pull| {
                let why = cell(pull.get("failure"));
                format!("The pull of `{}` has ended: {why}.", cell(pull.get("dataset")))
            });
        }
    }
    Ok(())
}

//! `sekisho duty`.

use serde_json::{Value, json};

use super::arguments::Duty;
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, cell, rows, table};

pub(super) async fn run(command: Duty, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Duty::List { all, mut listing } => {
            if !all {
                listing.criteria.push("open=true".to_owned());
            }
            let list = list::fetch("duties", Reading::AsOrdered, &listing, client, output).await?;
            output.result(&list, |list| {
                let members =
                    ["state", "deadline", "bearer", "partner", "clause", "agreement", "number"];
                table(
                    &["STATE", "UNTIL", "BEARER", "PARTNER", "DUTY", "AGREEMENT", "NUMBER"],
                    &rows(list.get("duties"), &members),
                )
            });
        }
        Duty::Fulfil { agreement, number, how, facts } => {
            let facts: serde_json::Map<String, Value> =
                facts.iter().map(|text| fact(text)).collect::<Result<_, _>>()?;
            let body = json!({ "how": how, "facts": facts });
            let number = number.to_string();
            let target = path(&["v1", "agreements", &agreement, "duties", &number, "fulfil"], &[]);
            let duty = client.post(&target, &body).await?;
            output.result(&duty, |duty| {
                let blocks = duty.get("blocks_transfers") == Some(&Value::Bool(true));
                let rest = if blocks {
                    " It was not done in time, and what it must be made good with is still to be done."
                } else {
                    ""
                };
                format!("Recorded: `{}` is {}.{rest}", cell(duty.get("clause")), cell(duty.get("state")))
            });
        }
    }
    Ok(())
}

fn fact(text: &str) -> Result<(String, Value), Failure> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        Failure::misuse(format!("`{text}` is no fact; write one like payAmount=500"))
    })?;
    Ok((name.to_owned(), json!(value)))
}

//! `sekisho dead-letter`.

use serde_json::{Value, json};

use super::arguments::DeadLetter;
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, cell, rows, table};

pub(super) async fn run(
    command: DeadLetter,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    match command {
        DeadLetter::List(listing) => {
            let reading = Reading::NewestLast;
            let list = list::fetch("dead-letters", reading, &listing, client, output).await?;
            output.result(&list, |list| {
                let letters = list.get("dead-letters");
                if letters.and_then(Value::as_array).is_none_or(Vec::is_empty) {
                    return "No message was given up.".to_owned();
                }
                let members = ["given_up", "partner", "message_type", "attempts", "reason", "id"];
                let headings = ["GIVEN UP", "PARTNER", "MESSAGE", "ATTEMPTS", "REASON", "ID"];
                table(&headings, &rows(letters, &members))
            });
        }
        DeadLetter::Retry { id, reason } => {
            let path = path(&["v1", "dead-letters", &id, "retry"], &[]);
            let letter = client.post(&path, &json!({ "reason": reason })).await?;
            output.result(&letter, |letter| {
                format!(
                    "The {} is on its way to `{}` again.",
                    cell(letter.get("message_type")),
                    cell(letter.get("partner"))
                )
            });
        }
    }
    Ok(())
}

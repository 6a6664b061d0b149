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
                let mut list = list.clone();
                for duty in
                    list.get_mut("duties").and_then(Value::as_array_mut).into_iter().flatten()
                {
                    plain(duty);
                }
                let members =
                    ["state", "deadline", "bearer", "partner", "clause", "agreement", "name"];
                table(
                    &["STATE", "UNTIL", "WHO", "PARTNER", "DUTY", "AGREEMENT", "NAME"],
                    &rows(list.get("duties"), &members),
                )
            });
        }
        Duty::Infringed { agreement, prohibition, how, at } => {
            let body = json!({ "how": how, "at": at.map(|at| at.to_string()) });
            let target = path(
                &["v1", "agreements", &agreement, "prohibitions", &prohibition, "infringed"],
                &[],
            );
            let done = client.post(&target, &body).await?;
            output.result(&done, |done| {
                let remedies = done.get("remedies").and_then(Value::as_array);
                let mut lines = vec![format!(
                    "Recorded: {prohibition} was infringed at {}.",
                    cell(done.get("at"))
                )];
                for remedy in remedies.into_iter().flatten() {
                    lines.push(format!(
                        "  {}: `{}` is {}, until {}",
                        cell(remedy.get("name")),
                        cell(remedy.get("clause")),
                        cell(remedy.get("state")),
                        cell(remedy.get("deadline")),
                    ));
                }
                if remedies.is_none_or(Vec::is_empty) {
                    lines.push("  The agreement names no remedy for it.".to_owned());
                }
                lines.join("\n")
            });
        }
        Duty::Fulfil { agreement, name, how, facts } => {
            let facts: serde_json::Map<String, Value> =
                facts.iter().map(|text| fact(text)).collect::<Result<_, _>>()?;
            let body = json!({ "how": how, "facts": facts });
            let target = path(&["v1", "agreements", &agreement, "duties", &name, "fulfil"], &[]);
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

/// Says of a duty in a list what a person wants to know at once: whether it is for this site to do, and whether that is certain.
fn plain(duty: &mut Value) {
    let (ours, id) = (duty.get("ours") == Some(&json!(true)), duty.get("bearer_id").cloned());
    let who = if ours { json!("this site") } else { id.unwrap_or_default() };
    let partner = duty.get("participant") == Some(&who);
    let who = if partner { duty.get("partner").cloned().unwrap_or_default() } else { who };
    let is_certain = duty.get("certain") != Some(&json!(false));
    let state = duty.get("state").and_then(Value::as_str).unwrap_or_default();
    let state = if is_certain { json!(state) } else { json!(format!("{state}?")) };
    if let Some(duty) = duty.as_object_mut() {
        duty.insert("bearer".to_owned(), who);
        duty.insert("state".to_owned(), state);
    }
}

fn fact(text: &str) -> Result<(String, Value), Failure> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        Failure::misuse(format!("`{text}` is no fact; write one like payAmount=500"))
    })?;
    Ok((name.to_owned(), json!(value)))
}

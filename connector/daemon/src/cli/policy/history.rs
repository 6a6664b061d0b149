//! `sekisho policy list` and `history`.

use serde_json::{Map, Value, json};

use super::super::arguments::Listing;
use super::super::failure::Failure;
use super::super::list::{self, Reading, Source};
use super::super::output::{Output, rows, table};
use super::Desk;

pub(super) fn list(desk: &Desk, output: Output) -> Result<(), Failure> {
    let (site, origin) = desk.in_force(None, output)?;
    let policies: Vec<_> = (site.rules.policies())
        .map(|policy| {
            json!({
                "name": policy.name,
                "title": policy.title,
                "priority": policy.priority,
                "sha256": hex::encode(policy.hash),
                "datasets": (site.all_datasets().iter())
                    .filter(|dataset| site.policies_of(dataset).iter().any(|one| one.name == policy.name))
                    .map(|dataset| dataset.id.clone())
                    .collect::<Vec<_>>(),
            })
        })
        .collect();
    let result =
        json!({ "from": origin, "set": hex::encode(site.rules.hash()), "policies": policies });
    output.result(&result, |result| {
        let members = ["name", "priority", "datasets", "title"];
        let listed = rows(result.get("policies"), &members);
        format!("From {origin}.\n{}", table(&["NAME", "PRIORITY", "DATASETS", "TITLE"], &listed))
    });
    Ok(())
}

pub(super) fn history(desk: &Desk, listing: &Listing, output: Output) -> Result<(), Failure> {
    let from = Source {
        path: &["v1", "policies", "history", "query"],
        name: "activations",
        more: Map::new(),
    };
    let asked = list::fetch_from(from, Reading::AsOrdered, listing, &desk.client, output);
    let answer = desk.runtime.block_on(asked)?;
    output.result(&answer, |answer| {
        let members = ["time", "set", "person", "place", "reason"];
        let mut listed = rows(answer.get("activations"), &members);
        for row in &mut listed {
            if let Some(hash) = row.get_mut(1) {
                hash.truncate(12);
            }
        }
        let mut text = table(&["SINCE", "SET", "BY", "THROUGH", "WHY"], &listed);
        let shown = answer.get("activations").and_then(Value::as_array);
        let is = |one: &Value, member: &str| one.get(member).and_then(Value::as_bool) == Some(true);
        if shown.into_iter().flatten().any(|one| is(one, "in_force") && !is(one, "filed")) {
            text.push_str("\nThe policy files have changes that are not in force: `sekisho policy diff` shows them.");
        }
        text
    });
    Ok(())
}

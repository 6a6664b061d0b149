//! `sekisho catalog`.

use serde_json::{Value, json};

use super::arguments::Catalog;
use super::client::Client;
use super::failure::Failure;
use super::output::{Output, bytes, cell};

/// Shows what a partner offers us.
pub(super) async fn catalog(
    arguments: &Catalog,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let request = json!({
        "partner": arguments.partner,
        "filter": arguments.filter,
        "tags": arguments.tags,
        "media_type": arguments.media_type,
        "dsp_filter": arguments.dsp_filter,
        "limit": arguments.limit,
        "cursor": arguments.cursor,
    });
    let catalog = client.post("/v1/catalog", &request).await?;
    output.result(&catalog, catalog_text);
    Ok(())
}

fn catalog_text(catalog: &Value) -> String {
    let mut text = format!("Catalog of {}\n", cell(catalog.get("participant")));
    let datasets = catalog.get("datasets").and_then(Value::as_array);
    if datasets.is_none_or(Vec::is_empty) {
        text.push_str("It offers us nothing.\n");
    }
    for dataset in datasets.into_iter().flatten() {
        let size = dataset
            .get("size")
            .and_then(Value::as_u64)
            .map_or_else(|| "size unknown".to_owned(), bytes);
        text.push_str(&format!(
            "\n{}  {}\n  version {}, {}, {size}\n",
            cell(dataset.get("id")),
            cell(dataset.get("title")),
            cell(dataset.get("version")),
            cell(dataset.get("media_type")),
        ));
        if dataset.get("catalog").is_some_and(|name| !name.is_null()) {
            text.push_str(&format!("  in {}\n", cell(dataset.get("catalog"))));
        }
        for offer in dataset.get("offers").and_then(Value::as_array).into_iter().flatten() {
            text.push_str(&format!("  offer {}\n", cell(offer.get("id"))));
            let lines = match offer.get("policy") {
                Some(Value::Array(lines)) => lines.iter().map(|line| cell(Some(line))).collect(),
                Some(Value::String(lines)) => lines.lines().map(super::output::printable).collect(),
                _ => Vec::new(),
            };
            for line in lines {
                text.push_str(&format!("    {line}\n"));
            }
            if offer
                .get("purposes")
                .and_then(Value::as_array)
                .is_some_and(|purposes| !purposes.is_empty())
            {
                text.push_str(&format!("    purposes: {}\n", cell(offer.get("purposes"))));
            }
        }
    }
    for nested in catalog.get("catalogs").and_then(Value::as_array).into_iter().flatten() {
        let Some(owner) = nested.get("participant").filter(|owner| !owner.is_null()) else {
            continue;
        };
        let hint = match nested.get("partner").and_then(Value::as_str) {
            Some(name) => format!("`sekisho catalog {}` shows it", super::output::printable(name)),
            None => "not a partner of this site".to_owned(),
        };
        text.push_str(&format!("\nIt names a catalog of {}: {hint}.\n", cell(Some(owner))));
    }
    if catalog.get("more") == Some(&Value::Bool(true)) {
        text.push_str("\nThere is more: narrow it with --filter, --tag or --media-type, or give a greater --limit. ");
        text.push_str(&format!("What follows:\n  --cursor {}\n", cell(catalog.get("next"))));
    }
    text
}

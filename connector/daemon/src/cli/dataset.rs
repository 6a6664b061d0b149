//! `sekisho dataset`.

mod publish_list;

use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::arguments::{Dataset, Publish};
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, bytes, cell, fields, rows, table};

pub(super) async fn run(command: Dataset, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Dataset::Publish(arguments) => publish(&arguments, client, output).await,
        Dataset::PublishList(arguments) => publish_list::run(&arguments, client, output).await,
        Dataset::List(listing) => {
            let list =
                list::fetch("datasets", Reading::AsOrdered, &listing, client, output).await?;
            output.result(&list, |list| {
                let members = ["id", "version", "size", "media_type", "policies", "title"];
                table(
                    &["ID", "VERSION", "SIZE", "MEDIA TYPE", "POLICIES", "TITLE"],
                    &rows(list.get("datasets"), &members),
                )
            });
            Ok(())
        }
        Dataset::Show { id } => {
            let dataset = client.get(&path(&["v1", "datasets", id.as_str()], &[])).await?;
            output.result(&dataset, fields);
            Ok(())
        }
        Dataset::Withdraw(change) => {
            let body = json!({ "reason": change.reason });
            let answer = client
                .post(&path(&["v1", "datasets", &change.name, "withdraw"], &[]), &body)
                .await?;
            output.result(&answer, |_| {
                format!("The dataset `{}` is no longer offered or served.", change.name)
            });
            Ok(())
        }
    }
}

async fn publish(arguments: &Publish, client: &Client, output: Output) -> Result<(), Failure> {
    // The daemon runs elsewhere: it needs the whole path.
    let file = arguments.path.canonicalize().map_err(|error| {
        Failure::misuse(format!("`{}` cannot be read: {error}", arguments.path.display()))
    })?;
    let Some(file) = file.to_str() else {
        return Err(Failure::misuse(format!("the path `{}` is not UTF-8", file.display())));
    };
    let evidence: Vec<String> = (arguments.derived_from.iter())
        .map(|path| {
            std::fs::read_to_string(path).map_err(|error| {
                Failure::misuse(format!("`{}` cannot be read: {error}", path.display()))
            })
        })
        .collect::<Result<_, _>>()?;
    let request = json!({
        "path": file,
        "id": arguments.id,
        "title": arguments.title,
        "description": arguments.description,
        "version": arguments.version,
        "language": arguments.language,
        "licence": arguments.licence,
        "confidentiality": arguments.confidentiality,
        "tags": arguments.tags,
        "policies": arguments.policies,
        "media_type": arguments.media_type,
        "in_place": arguments.in_place,
        "derived_from": evidence,
    });
    let preview = client.post("/v1/datasets/preview", &request).await?;
    output.note(&audience(&preview));
    output.confirm("Publish it?", arguments.yes)?;

    let bar = byte_bar(output);
    let mut published = None;
    let outcome = client
        .events(Method::POST, "/v1/datasets", Some(&request), |event| {
            if let Some(progress) = event.get("progress") {
                show_progress(&bar, progress);
            }
            match event.get("dataset") {
                Some(dataset) => published = Some(dataset.clone()),
                None => output.event(&event),
            }
            Ok(())
        })
        .await;
    bar.finish_and_clear();
    outcome?;
    let Some(dataset) = published else {
        return Err(super::client::ClientError::BadAnswer(
            "it ended without the dataset".to_owned(),
        )
        .into());
    };
    output.result(&json!({ "dataset": dataset }), |_| {
        format!(
            "Published `{}`, version {}.",
            cell(dataset.get("id")),
            cell(dataset.get("version"))
        )
    });
    Ok(())
}

fn audience(preview: &Value) -> String {
    let seers = rows(preview.get("visible_to"), &["partner", "via_policy", "title"]);
    let mut text = if seers.is_empty() {
        "No partner will see it: no policy offers it to anybody.".to_owned()
    } else {
        format!(
            "These partners will see it:\n{}",
            table(&["PARTNER", "BY POLICY", "TITLE"], &seers)
        )
    };
    if let Some(version) = preview.get("replaces_version").filter(|version| !version.is_null()) {
        text.push_str(&format!("\nIt replaces version {}.", cell(Some(version))));
    }
    text
}

/// A bar for bytes on a terminal, nothing elsewhere.
pub(super) fn byte_bar(output: Output) -> ProgressBar {
    if !output.is_watched() {
        return ProgressBar::hidden();
    }
    let template = "{bar:30} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}

/// Shows `{"done", "total"}`.
pub(super) fn show_progress(bar: &ProgressBar, progress: &Value) {
    if let Some(total) = progress.get("total").and_then(Value::as_u64) {
        bar.set_length(total);
    }
    if let Some(done) = progress.get("done").and_then(Value::as_u64) {
        bar.set_position(done);
    }
}

/// `{"done", "total"}` in words.
pub(super) fn progress_text(progress: &Value) -> String {
    let count =
        |member| progress.get(member).and_then(Value::as_u64).map_or_else(|| "?".to_owned(), bytes);
    format!("{} of {}", count("done"), count("total"))
}

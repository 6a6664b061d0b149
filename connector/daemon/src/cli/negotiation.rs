//! `sekisho negotiation`.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{Listing, Negotiation, NegotiationBegin};
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, cell, fields, rows, table};
use crate::exit::Exit;

/// The largest file of terms that is read.
const MAX_TERMS_BYTES: u64 = 1024 * 1024;

pub(super) async fn run(
    command: Negotiation,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let (id, step, body) = match command {
        Negotiation::List(listing) => return list(&listing, client, output).await,
        Negotiation::Show { id } => {
            let negotiation = client.get(&path(&["v1", "negotiations", &id], &[])).await?;
            output.result(&negotiation, fields);
            return Ok(());
        }
        Negotiation::Request(arguments) => {
            return begin("consumer", &arguments, client, output).await;
        }
        Negotiation::Offer(arguments) => {
            return begin("provider", &arguments, client, output).await;
        }
        Negotiation::Counter { id, terms, reason } => {
            let terms = terms.as_deref().map(read_terms).transpose()?;
            let found = client.get(&path(&["v1", "negotiations", &id], &[])).await?;
            // The consumer counters with a request, the provider with an offer.
            let is_consumer = found.get("role").and_then(Value::as_str) == Some("consumer");
            if is_consumer && terms.is_none() {
                let text = "a counter-request needs terms: a consumer asks for something else than is offered";
                return Err(Failure::new(Exit::Misuse, text)
                    .help("give `--terms FILE`, or `sekisho negotiation accept` what is offered"));
            }
            let step = if is_consumer { "request" } else { "offer" };
            (id, step, json!({ "terms": terms, "reason": reason }))
        }
        Negotiation::Agree { id, terms, reason } => {
            let terms = terms.as_deref().map(read_terms).transpose()?;
            (id, "agree", json!({ "terms": terms, "reason": reason }))
        }
        Negotiation::Accept(step) => (step.id, "accept", json!({ "reason": step.reason })),
        Negotiation::Verify(step) => (step.id, "verify", json!({ "reason": step.reason })),
        Negotiation::Finalize(step) => (step.id, "finalize", json!({ "reason": step.reason })),
        Negotiation::Terminate { id, code, reason } => {
            (id, "terminate", json!({ "code": code, "reason": reason }))
        }
    };
    let negotiation = client.post(&path(&["v1", "negotiations", &id, step], &[]), &body).await?;
    output.result(&negotiation, told);
    Ok(())
}

async fn list(listing: &Listing, client: &Client, output: Output) -> Result<(), Failure> {
    let list = list::fetch("negotiations", Reading::NewestLast, listing, client, output).await?;
    output.result(&list, |list| {
        let members = ["created", "partner", "role", "state", "dataset", "steps", "id"];
        table(
            &["BEGAN", "PARTNER", "ROLE", "STATE", "DATASET", "POSSIBLE", "ID"],
            &rows(list.get("negotiations"), &members),
        )
    });
    Ok(())
}

async fn begin(
    role: &str,
    arguments: &NegotiationBegin,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let terms = arguments.terms.as_deref().map(read_terms).transpose()?;
    let body = json!({
        "partner": arguments.partner,
        "role": role,
        "dataset": arguments.dataset,
        "offer": arguments.offer,
        "terms": terms,
        "purpose": arguments.purpose,
        "handling": arguments.manual.then_some("manual"),
        "reason": arguments.reason,
    });
    let negotiation = client.post("/v1/negotiations", &body).await?;
    output.result(&negotiation, told);
    Ok(())
}

/// An ODRL policy as JSON.
fn read_terms(file: &Path) -> Result<Value, Failure> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::NotFound, format!("`{}` cannot be read: {error}", file.display()))
    };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(MAX_TERMS_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(Exit::Misuse, format!("`{}` is not JSON: {error}", file.display())).help(
            "terms are an ODRL policy as JSON, such as {\"permission\": [{\"action\": \"use\"}]}",
        )
    })
}

/// What became of a negotiation, in a line.
pub(super) fn told(negotiation: &Value) -> String {
    let state = match negotiation.get("state") {
        Some(Value::String(state)) => state.clone(),
        _ => "not sent yet".to_owned(),
    };
    let mut text = format!("{}: {state}", cell(negotiation.get("id")));
    if let Some(pending) = negotiation.get("pending").filter(|pending| !pending.is_null()) {
        text.push_str(&format!("; {} is on its way", cell(Some(pending))));
    }
    text
}

//! `sekisho events`.

use std::time::Duration;

use serde_json::Value;

use super::arguments::Events;
use super::client::{Client, path};
use super::failure::Failure;
use super::output::{Output, cell};

/// How long it waits for a daemon that went away before it asks again.
const PAUSE: Duration = Duration::from_secs(1);

/// The members that are shown on an event's line, besides when and what.
const SHOWN: [&str; 14] = [
    "partner",
    "role",
    "state",
    "pending",
    "awaiting",
    "dataset",
    "purpose",
    "negotiation",
    "agreement",
    "transfer",
    "pull",
    "reason",
    "reference",
    "person",
];

pub(super) async fn run(command: &Events, client: &Client, output: Output) -> Result<(), Failure> {
    let mut from = command.from.clone();
    if from.is_none() && !command.follow {
        from = Some("start".to_owned());
    }
    loop {
        let query = [
            ("from", from.clone()),
            ("kind", (!command.kinds.is_empty()).then(|| command.kinds.join(","))),
            ("partner", command.partner.clone()),
            ("follow", (!command.follow).then(|| "false".to_owned())),
        ];
        let show = |event: Value| {
            from = event.get("position").and_then(Value::as_str).map(str::to_owned);
            output.result(&event, line);
            Ok(())
        };
        match client.server_sent(&path(&["v1", "events"], &query), show).await {
            Ok(()) if !command.follow => return Ok(()),
            Err(error) if !command.follow || !error.is_passing() => return Err(error.into()),
            // It goes on after the last event that was shown. Where none was, it cannot miss one by asking at once.
            Ok(()) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// An event on one line.
fn line(event: &Value) -> String {
    let mut line = format!(
        "{}  {}  {}",
        cell(event.get("time")),
        cell(event.get("position")),
        cell(event.get("kind")),
    );
    for name in SHOWN {
        if let Some(value) = event.get(name).filter(|value| !value.is_null()) {
            line.push_str(&format!("  {name}={}", cell(Some(value))));
        }
    }
    line
}

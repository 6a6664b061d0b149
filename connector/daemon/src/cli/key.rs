//! `sekisho key`.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde_json::{Value, json};

use super::arguments::{Key, KeyCreate};
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, cell};
use crate::exit::Exit;

pub(super) async fn run(
    command: Key,
    client: &Client,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    match command {
        Key::Create(create) => {
            let answer = client.post("/v1/keys", &wanted(&create, now)?).await?;
            output.result(&answer, |answer| {
                let text = answer.get("text").and_then(Value::as_str).unwrap_or_default();
                format!("{text}\nThis is the only time that the key is shown: keep it as a secret.")
            });
        }
        Key::List(listing) => {
            let answer = list::fetch("keys", Reading::AsOrdered, &listing, client, output).await?;
            output.result(&answer, |answer| {
                let keys = answer.get("keys").and_then(Value::as_array);
                if keys.is_none_or(Vec::is_empty) {
                    return "There are no keys.".to_owned();
                }
                keys.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
            });
        }
        Key::Revoke(named) => {
            let path = path(&["v1", "keys", &named.name, "revoke"], &[]);
            let answer = client.post(&path, &json!({ "reason": named.reason })).await?;
            output.result(&answer, |_| format!("The key `{}` is revoked.", named.name));
        }
    }
    Ok(())
}

fn wanted(create: &KeyCreate, now: Timestamp) -> Result<Value, Failure> {
    let some = |items: &[String]| (!items.is_empty()).then(|| items.to_vec());
    let datasets: Vec<String> = create.datasets.iter().map(ToString::to_string).collect();
    Ok(json!({
        "name": create.name,
        "role": create.role,
        "partners": some(&create.partners),
        "purposes": some(&create.purposes),
        "datasets": some(&datasets),
        "application": create.application,
        "expires": expiry(&create.expires, now)?,
    }))
}

/// A date or time, a span from now, or `never`.
fn expiry(text: &str, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    if text == "never" {
        return Ok(None);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Some(time));
    }
    let date = text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC));
    let later = || {
        let span: Span = text.parse()?;
        now.to_zoned(TimeZone::UTC).checked_add(span)
    };
    date.or_else(|_| later()).map(|time| Some(time.timestamp())).map_err(|_| {
        Failure::new(Exit::Misuse, format!("`{text}` is no time at which a key expires")).help(
            "give a date such as 2027-03-31, a time such as 2027-03-31T12:00:00Z, a span such as `90 days`, or `never`",
        )
    })
}

/// A key on one line.
fn line(key: &Value) -> String {
    let mut line = format!(
        "{:<24} {:<21} {:<9}",
        cell(key.get("name")),
        cell(key.get("role")),
        cell(key.get("state")),
    );
    for name in ["expires", "application", "partners", "purposes", "datasets"] {
        if let Some(value) = key.get(name).filter(|value| !value.is_null()) {
            line.push_str(&format!("  {name}={}", cell(Some(value))));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_expires_at_a_date_a_time_after_a_span_or_never() {
        let now: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let table = [
            ("2027-03-31", Some("2027-03-31T00:00:00Z")),
            ("2027-03-31T12:00:00Z", Some("2027-03-31T12:00:00Z")),
            ("2027-03-31T12:00:00+09:00", Some("2027-03-31T03:00:00Z")),
            ("90 days", Some("2027-01-30T12:00:00Z")),
            ("1 year", Some("2027-11-01T12:00:00Z")),
            ("never", None),
        ];
        for (text, expected) in table {
            let found = expiry(text, now).unwrap().map(|time| time.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        for text in ["", "soon", "31.3.2027"] {
            assert!(expiry(text, now).is_err(), "{text}");
        }
    }
}

//! `sekisho partner`.

use std::fs;
use std::path::Path;

use certs::card::{CardDetails, Fingerprint, OdsIdentifiers};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::arguments::{NamedReason, Partner, PartnerAdd};
use super::client::{Client, path};
use super::failure::Failure;
use super::list::{self, Reading};
use super::output::{Output, can_ask, cell, fields, rows, table};
use crate::config::Config;
use crate::exit::Exit;
use crate::site::{self, Paths};

/// The number of the last card, beside the keys.
const CARD_NUMBER_FILE: &str = "card-number";

/// Larger files are no cards.
const MAX_CARD_BYTES: u64 = 512 * 1024;

/// The extensions of the wire that this release speaks, as cards list them.
const EXTENSIONS: [&str; 5] =
    ["catalog-filter/1", "checkpoint/1", "hand-over/1", "provenance/1", "purpose/1"];

/// The path of our Dataspace Protocol endpoints under the public URL.
const DSP_PATH: &str = "/dsp/2025-1";

/// How a new partner is accepted where nobody can be asked.
const UNSEEN_HELP: &str =
    "ask the partner for the fingerprint over another channel, and give it with `--fingerprint`";

/// Writes our card under the next number.
pub(super) fn card(
    directory: &Path,
    file: Option<&Path>,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let (config, paths) = super::locate(directory)?;
    let pki = site::load_pki(&paths, &config, now)?;
    let number = next_number(&paths)?;
    let card = certs::card::issue(&pki, details(&config, number), now)
        .map_err(|error| Failure::misuse(site::chain(&error)))?;
    let fingerprint = Fingerprint::of(&pki.signing.key().verifying_key()).to_string();
    match file {
        Some(file) => {
            certs::files::replace_public(file, card.as_bytes())
                .map_err(|error| Failure::new(Exit::CannotWrite, site::chain(&error)))?;
            let result = json!({ "file": file, "number": number, "fingerprint": fingerprint });
            output.result(&result, |_| {
                format!("Wrote card number {number} to `{}`.", file.display())
            });
        }
        None => {
            let result = json!({ "card": card, "number": number, "fingerprint": fingerprint });
            output.result(&result, |_| card.clone());
        }
    }
    output
        .note(&format!("Tell your partner this fingerprint over another channel:\n{fingerprint}"));
    Ok(())
}

fn details(config: &Config, number: u64) -> CardDetails {
    let site = &config.site;
    let origin = config.partner_listener.public_url.as_str();
    CardDetails {
        number,
        endpoint: format!("{origin}{DSP_PATH}"),
        origins: vec![origin.to_owned()],
        ods: site.operator_id.clone().map(|operator_id| OdsIdentifiers {
            operator_id,
            open_operator_id: site.open_operator_id.clone(),
            global_operator_id: site.global_operator_id.clone(),
        }),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

/// Takes the next number, and keeps it before a card with it exists.
fn next_number(paths: &Paths) -> Result<u64, Failure> {
    let path = paths.pki.join(CARD_NUMBER_FILE);
    let last = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().map_err(|_| {
            Failure::misuse(format!("`{}` holds no number", path.display()))
                .help("write the number of the last card that you gave out into it")
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(crate::config::Problem::unreadable(&path, &error).into()),
    };
    let number = last.saturating_add(1);
    certs::files::replace_public(&path, format!("{number}\n").as_bytes())
        .map_err(|error| Failure::new(Exit::CannotWrite, site::chain(&error)))?;
    Ok(number)
}

/// The commands that ask the daemon.
pub(super) async fn run(command: Partner, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Partner::Add(arguments) => add(&arguments, client, output).await,
        Partner::List(listing) => {
            let list =
                list::fetch("partners", Reading::AsOrdered, &listing, client, output).await?;
            output.result(&list, |list| {
                let members = ["name", "state", "region", "groups", "participant", "title"];
                table(
                    &["NAME", "STATE", "REGION", "GROUPS", "PARTICIPANT", "TITLE"],
                    &rows(list.get("partners"), &members),
                )
            });
            Ok(())
        }
        Partner::Show { name } => {
            let partner = client.get(&path(&["v1", "partners", &name], &[])).await?;
            output.result(&partner, fields);
            Ok(())
        }
        Partner::Check { name } => {
            let url = path(&["v1", "partners", &name, "check"], &[]);
            let reached = client.post(&url, &json!({})).await?;
            output.result(&reached, |reached| reached_text(&name, reached));
            Ok(())
        }
        Partner::Suspend(change) => {
            set_state(&change, "suspend", "is suspended; what ran with it is cut", client, output)
                .await
        }
        Partner::Offboard { name, reason, yes } => {
            offboard(&name, &reason, yes, client, output).await
        }
        Partner::Holdings { name, mut listing } => {
            if let Some(name) = name {
                let partner = client.get(&path(&["v1", "partners", &name], &[])).await?;
                listing.criteria.push(format!("participant={}", cell(partner.get("participant"))));
            }
            let list =
                list::fetch("holdings", Reading::AsOrdered, &listing, client, output).await?;
            output
                .result(&list, |list| list.get("holdings").map(holdings_text).unwrap_or_default());
            Ok(())
        }
        Partner::Resume(change) => {
            set_state(&change, "resume", "may exchange again", client, output).await
        }
        Partner::Remove { name, yes } => {
            output.confirm(&format!("Remove the partner `{name}`?"), yes)?;
            let answer = client.delete(&path(&["v1", "partners", &name], &[])).await?;
            output.result(&answer, |_| format!("The partner `{name}` is removed."));
            Ok(())
        }
        // Written from the site's files, without the daemon.
        Partner::Card { .. } => {
            Err(Failure::new(Exit::Internal, "a card does not need the daemon"))
        }
    }
}

async fn set_state(
    change: &NamedReason,
    verb: &str,
    outcome: &str,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let body = json!({ "reason": change.reason });
    let answer = client.post(&path(&["v1", "partners", &change.name, verb], &[]), &body).await?;
    output.result(&answer, |_| format!("The partner `{}` {outcome}.", change.name));
    Ok(())
}

async fn add(arguments: &PartnerAdd, client: &Client, output: Output) -> Result<(), Failure> {
    let card = read_card(&arguments.file)?;
    let mut request = json!({
        "card": card,
        "name": arguments.name,
        "groups": arguments.groups,
        "region": arguments.region,
        "networks": arguments.networks,
    });
    let preview = client.post("/v1/partners/preview", &request).await?;
    let fingerprint = preview.get("fingerprint").and_then(Value::as_str).unwrap_or_default();
    let is_update = preview.get("is_update").and_then(Value::as_bool).unwrap_or(false);
    output.note(&described(&preview, fingerprint, is_update));
    if let Some(expected) = &arguments.fingerprint {
        if digits(expected) != digits(fingerprint) {
            return Err(Failure::new(Exit::RefusedIdentity, "the card has another fingerprint than the expected one")
                .help("somebody may have changed the card on its way: ask the partner over another channel"));
        }
    } else if !is_update && arguments.yes {
        return Err(Failure::misuse("a new partner is not accepted unseen").help(UNSEEN_HELP));
    } else if !is_update && !can_ask() {
        let text = "nobody is there to compare the new partner's fingerprint";
        return Err(Failure::new(Exit::Declined, text).help(UNSEEN_HELP));
    }
    let question = if is_update {
        "Update this partner?"
    } else {
        "Is this the fingerprint that the partner told you?"
    };
    let certain = arguments.yes || (arguments.fingerprint.is_some() && !is_update);
    output.confirm(question, certain)?;
    if let Some(body) = request.as_object_mut() {
        body.insert("accept_fingerprint".to_owned(), Value::from(fingerprint));
    }
    let answer = client.post("/v1/partners", &request).await?;
    output.result(&answer, |_| {
        let name = cell(preview.get("name"));
        format!(
            "The partner is registered as `{name}`. Reach it with `sekisho partner check {name}`."
        )
    });
    Ok(())
}

fn described(preview: &Value, fingerprint: &str, is_update: bool) -> String {
    let mut text = format!(
        "{}\n  participant: {}\n  origins: {}\n  name here: {}\n",
        cell(preview.get("title")),
        cell(preview.get("participant")),
        cell(preview.get("origins")),
        cell(preview.get("name")),
    );
    if is_update {
        text.push_str("Signed by the key that is registered. It changes:\n");
        for change in preview.get("changes").and_then(Value::as_array).into_iter().flatten() {
            text.push_str(&format!("  {}\n", cell(Some(change))));
        }
    } else {
        text.push_str("Fingerprint, to be compared with the partner over another channel:\n");
        for line in fingerprint.lines() {
            text.push_str(&format!("  {}\n", super::output::printable(line)));
        }
    }
    text
}

fn read_card(file: &Path) -> Result<String, Failure> {
    let refused = |reason: String| {
        Failure::misuse(format!("`{}` cannot be read as a card: {reason}", file.display()))
    };
    let size = fs::metadata(file).map_err(|error| refused(error.to_string()))?.len();
    if size > MAX_CARD_BYTES {
        return Err(refused(format!("it has {size} bytes")));
    }
    fs::read_to_string(file).map_err(|error| refused(error.to_string()))
}

/// The hexadecimal digits of a fingerprint, however it is written.
fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect()
}

async fn offboard(
    name: &str,
    reason: &str,
    yes: bool,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let question =
        format!("End all agreements and transfers with `{name}`, tell it, and shut it out?");
    output.confirm(&question, yes)?;
    let body = json!({ "reason": reason });
    let done = client.post(&path(&["v1", "partners", name, "offboard"], &[]), &body).await?;
    output.result(&done, |done| {
        let count = |member: &str| {
            done.get("ended").and_then(|ended| ended.get(member)).and_then(Value::as_array).map_or(0, Vec::len)
        };
        let mut text = format!(
            "`{name}` is offboarded: {} agreements, {} negotiations and {} transfers have ended.\n",
            count("agreements"),
            count("negotiations"),
            count("transfers"),
        );
        match done.get("untold").and_then(Value::as_u64) {
            Some(0) | None => text.push_str("It has been told.\n"),
            Some(untold) => text.push_str(&format!(
                "{untold} messages that tell it so wait for it; they are sent until their deadline.\n"
            )),
        }
        text + &done.get("holdings").map(holdings_text).unwrap_or_default()
    });
    Ok(())
}

/// Who was reached, and what it serves.
fn reached_text(name: &str, reached: &Value) -> String {
    let versions = table(
        &["VERSION", "BINDING", "PATH", "OURS"],
        &rows(reached.get("versions"), &["version", "binding", "path", "ours"]),
    );
    format!(
        "`{name}` is reached at {} and has proven to be {}.\n\n{versions}",
        cell(reached.get("dsp_endpoint")),
        cell(reached.get("participant")),
    )
}

/// What each side holds of the other's data.
pub(super) fn holdings_text(holdings: &Value) -> String {
    if holdings.is_null() {
        return "Who holds which data is not known while the index is being rebuilt; ask with `sekisho partner holdings` later.\n".to_owned();
    }
    let of_kind = |kind: &str| {
        let all = holdings.as_array().into_iter().flatten();
        let found = all.filter(|one| one.get("kind").and_then(Value::as_str) == Some(kind));
        Value::Array(found.cloned().collect())
    };
    let list = |kind: &str, title: &str, columns: &[(&str, &str)]| {
        let found =
            rows(Some(&of_kind(kind)), &columns.iter().map(|(_, one)| *one).collect::<Vec<_>>());
        let headings = columns.iter().map(|(heading, _)| *heading).collect::<Vec<_>>();
        let none = found.is_empty().then(|| "none".to_owned());
        format!("\n{title}\n{}\n", none.unwrap_or_else(|| table(&headings, &found)))
    };
    let ends = [("SHA-256", "sha256"), ("DUTIES", "duties")];
    let begins = [("PARTNER", "partner"), ("DATASET", "dataset"), ("AGREEMENT", "agreement")];
    let with = |middle: [(&'static str, &'static str); 2]| [&begins[..], &middle, &ends].concat();
    let made = [&begins[..], &[("VERSION", "version"), ("PUBLISHED", "published")]].concat();
    let received = with([("WHEN", "since"), ("STATE", "kept")]);
    let given = with([("WHEN", "since"), ("STATE", "state")]);
    list("received", "Data of theirs that came here:", &received)
        + &list("derived", "Datasets of ours that were made from data of theirs:", &made)
        + &list("given", "Data of ours that they were granted:", &given)
}

//! `sekisho terms`: what may be done with a received file.

use std::path::Path;

use jiff::Timestamp;
use policy::classify::{Class, classify};
use policy::explain::{Due, Language, not_honoured, terms};
use policy::odrl::{self, Policy};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::path;
use super::super::failure::Failure;
use super::super::output::{Output, printable};
use super::super::provenance;
use super::arguments::Terms;
use super::{Desk, read};
use crate::exit::Exit;

/// What the daemon keeps of an agreement.
#[derive(Debug, Deserialize)]
struct Kept {
    terms: Value,
    created: Timestamp,
    ended: Option<(Timestamp, String)>,
}

/// Reads the agreement that the evidence of a file names, and says what it means for whoever holds the file.
pub(in super::super) fn run(
    site: &Path,
    arguments: &Terms,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let claims = provenance::claims(&arguments.file)?;
    let desk = Desk::open(site)?;
    let kept: Kept =
        read(desk.get(&path(&["v1", "policies", "terms", &claims.agreement.id], &[]))?)?;
    let unreadable = |what: String| {
        Failure::new(Exit::NotVerified, format!("the agreement `{}` {what}", claims.agreement.id))
            .help("ask the provider; do not use the file before you know its terms")
    };
    let digest = odrl::canonical_hash(&kept.terms)
        .map_err(|error| unreadable(format!("cannot be hashed: {error}")))?;
    if claims.agreement.sha256.to_string() != hex::encode(digest) {
        return Err(unreadable(
            "that this site keeps is not the one that the evidence names".to_owned(),
        ));
    }
    let policy = Policy::from_json(&kept.terms)
        .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let found = terms(&policy, kept.created, now, arguments.lang);
    let clauses = classify(&policy);
    let text = found.text(arguments.lang);
    let instant = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let duties = |duties: &[Due]| -> Vec<Value> {
        let duty = |due: &Due| {
            json!({
                "names": due.names, "actions": due.actions, "by": instant(due.by), "over": due.is_over,
                "before_use": due.is_condition, "by_whom": due.by_whom, "text": due.text,
            })
        };
        duties.iter().map(duty).collect()
    };
    let result = json!({
        "dataset": claims.subject,
        "version": claims.dataset.version,
        "provider": claims.issuer,
        "recipient": claims.audience,
        "agreement": claims.agreement.id,
        "agreed": kept.created.to_string(),
        "ended": kept.ended.as_ref().map(|(when, why)| json!({ "when": when.to_string(), "why": why })),
        "purpose": claims.purpose,
        "purposes": found.purposes,
        "permitted": found.permitted.iter().map(|allowed| json!({
            "actions": allowed.actions, "until": instant(allowed.until), "over": allowed.is_over,
            "text": allowed.text,
        })).collect::<Vec<_>>(),
        "prohibited": found.prohibited,
        "duties": duties(&found.duties),
        "duties_of_others": duties(&found.others),
        "clauses": clauses.iter().map(|clause| json!({
            "place": clause.place, "clause": clause.clause,
            "class": clause.class.to_string(), "note": clause.note,
        })).collect::<Vec<_>>(),
        "text": text,
    });
    output.result(&result, |_| {
        let mut lines = head(&claims, &kept, arguments.lang);
        lines.extend(text.lines().map(printable));
        let unhonoured = clauses.iter().filter(|clause| clause.class == Class::Refused);
        lines.extend(
            unhonoured
                .map(|clause| format!("  {}", printable(&not_honoured(clause, arguments.lang)))),
        );
        lines.push(not_verified(arguments.lang).to_owned());
        lines.join("\n")
    });
    Ok(())
}

/// What the file is, from whom, and under which agreement.
fn head(claims: &::provenance::Claims, kept: &Kept, language: Language) -> Vec<String> {
    let (dataset, version) = (printable(&claims.subject), printable(&claims.dataset.version));
    let (provider, agreement) = (printable(&claims.issuer), printable(&claims.agreement.id));
    let (agreed, purpose) = (kept.created, claims.purpose.as_deref().map(printable));
    let ended = kept.ended.as_ref().map(|(when, why)| (when, printable(why)));
    let mut lines = Vec::new();
    match language {
        Language::Japanese => {
            lines.push(format!("データセット: {dataset}(版 {version})"));
            lines.push(format!("  提供者: {provider}"));
            lines.push(format!("  合意: {agreement}(成立日時 {agreed})"));
            lines.extend(purpose.map(|purpose| format!("  利用目的: {purpose}")));
            lines.extend(
                ended.map(|(when, why)| format!("  この合意は {when} に終了しました。理由: {why}")),
            );
        }
        _ => {
            lines.push(format!("{dataset}, version {version}"));
            lines.push(format!("  from {provider} under agreement {agreement} of {agreed}"));
            lines.extend(purpose.map(|purpose| format!("  for the purpose {purpose}")));
            lines
                .extend(ended.map(|(when, why)| format!("  The agreement ended at {when}: {why}")));
        }
    }
    lines
}

const fn not_verified(language: Language) -> &'static str {
    match language {
        Language::Japanese => {
            "証跡そのものは検証していません。検証するには `sekisho provenance verify` を実行してください。"
        }
        _ => "The evidence itself was not verified: `sekisho provenance verify` does that.",
    }
}

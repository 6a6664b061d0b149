//! `sekisho check`.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use crate::config::{Activation, Place, Problem, process_variables};
use crate::policies::PoliciesError;
use crate::site::{Site, SiteError};

/// Certificates that end within this time are worth a warning.
const RENEW_WITHIN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Reports everything that is wrong with a site's files.
pub(super) fn run(directory: &Path, output: Output, now: Timestamp) -> Result<(), Failure> {
    match Site::open(directory, process_variables(), now) {
        Ok(site) => {
            let mut summary = summary(&site, now);
            if let Some(warnings) = summary.get_mut("warnings").and_then(Value::as_array_mut) {
                warnings.extend(unreadable(&site).into_iter().map(Value::from));
            }
            output.result(&summary, text);
            Ok(())
        }
        Err(error) => {
            if output.is_json() {
                output.event(&report(&error));
            }
            Err(refused(&error))
        }
    }
}

/// Why a site's files are refused, for people.
pub(super) fn refused(error: &SiteError) -> Failure {
    Failure::misuse(error.to_string())
}

fn summary(site: &Site, now: Timestamp) -> Value {
    let soonest = [
        ("signing", site.pki.signing.valid_until()),
        ("server", site.pki.server.valid_until()),
        ("client", site.pki.client.valid_until()),
    ];
    let mut warnings = Vec::new();
    for (role, until) in soonest {
        if until.duration_since(now) < RENEW_WITHIN {
            warnings.push(format!("the {role} certificate ends at {until}: renew it"));
        }
    }
    if let Some(problem) = &site.draft {
        warnings
            .push(format!("the policy files are a draft that could not be activated\n{problem}"));
    }
    for found in site.rules.unknown_groups() {
        let (file, line) = (site.paths.policies.join(&found.file), found.line);
        warnings.push(format!("{}:{line}: {}; {}", file.display(), found.message, found.help));
    }
    if site.pki.trial {
        warnings
            .push("the certificates come from a trial authority, for evaluation only".to_owned());
    }
    if site.partners.iter().next().is_none() {
        warnings.push("no partner is registered: exchange cards with `sekisho partner`".to_owned());
    }
    json!({
        "ok": true,
        "participant": site.config.site.participant,
        "public_url": site.config.partner_listener.public_url,
        "partners": site.partners.iter().map(|partner| partner.name()).collect::<Vec<_>>(),
        "policies": site.rules.policies().map(|policy| policy.name.as_str()).collect::<Vec<_>>(),
        "certificates_until": soonest.map(|(_, until)| until).iter().min(),
        "warnings": warnings,
    })
}

/// What the running daemon cannot read of the policies that it keeps in force; the files do not tell where they are a draft.
fn unreadable(site: &Site) -> Vec<String> {
    if site.config.policy.activation != Activation::Command {
        return Vec::new();
    }
    let client = Client::new(&site.paths.socket);
    let status =
        super::runtime().ok().and_then(|runtime| runtime.block_on(client.get("/v1/status")).ok());
    let found = status.as_ref().and_then(|status| status.pointer("/policies/unreadable"));
    let found = found.and_then(Value::as_array).into_iter().flatten();
    found
        .map(|found| {
            let cell = |member: &str| super::output::cell(found.get(member));
            format!(
                "the policy in force `{}` cannot be read by this release and denies (line {}): {}; correct the file, then \
                 `sekisho policy activate`",
                cell("file"),
                cell("line"),
                cell("problem"),
            )
        })
        .collect()
}

fn text(summary: &Value) -> String {
    let shown = |member: &str| match super::output::cell(summary.get(member)) {
        empty if empty.is_empty() => "none".to_owned(),
        shown => shown,
    };
    let mut text = format!(
        "Everything is right.\n  participant: {}\n  public URL: {}\n  partners: {}\n  policies: {}\n  \
         certificates until: {}\n",
        shown("participant"),
        shown("public_url"),
        shown("partners"),
        shown("policies"),
        shown("certificates_until"),
    );
    for warning in summary.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!("Note: {}.\n", super::output::cell(Some(warning))));
    }
    text
}

fn report(error: &SiteError) -> Value {
    let mut problems = error.problems.iter().map(problem).collect::<Vec<_>>();
    match &error.policies {
        None => {}
        Some(PoliciesError::Files(found)) => problems.extend(found.0.iter().map(problem)),
        Some(PoliciesError::Policies(found)) => {
            problems.extend(found.iter().map(super::policy::finding));
        }
    }
    json!({ "ok": false, "problems": problems })
}

fn problem(problem: &Problem) -> Value {
    let (file, line, column, variable) = match &problem.place {
        Place::File(file) => (Some(file), None, None, None),
        Place::Line { file, line, column } => (Some(file), Some(line), Some(column), None),
        Place::Variable(name) => (None, None, None, Some(name)),
    };
    json!({
        "file": file, "line": line, "column": column, "variable": variable,
        "key": problem.key, "message": problem.message, "help": problem.help,
    })
}

//! What an administrator expects of a set, in files beside the policies, checked without a node.
//!
//! ```toml
#![doc = include_str!("cases/example.toml")]
//! ```
//!
//! The file is named `NAME.test.toml`. Partners and datasets are those of the site; a file may declare its own besides, which
//! take precedence, so that cases say the same on every machine.

#[cfg(test)]
mod tests;

use crate::diagnostic::Diagnostic;
use crate::evaluate::{Facts, Subject};
use crate::inquiry::{self, Answer, Dataset, Partner, Question, Site};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeSet;
use toml::Spanned;

/// How the names of case files end.
pub const ENDING: &str = ".test.toml";

/// The cases of one file.
#[derive(Debug, Clone)]
pub struct Cases {
    name: String,
    text: String,
    partners: Vec<WrittenPartner>,
    datasets: Vec<WrittenDataset>,
    cases: Vec<WrittenCase>,
}

/// What became of one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the case is called.
    pub name: String,
    /// Why it failed; none where it passed.
    pub failure: Option<Diagnostic>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    #[serde(default)]
    partner: Vec<WrittenPartner>,
    #[serde(default)]
    dataset: Vec<WrittenDataset>,
    #[serde(default)]
    case: Vec<WrittenCase>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenPartner {
    name: String,
    /// Participant id; else made from the name.
    id: Option<String>,
    #[serde(default)]
    groups: BTreeSet<String>,
    region: Option<String>,
    /// Whether its node judges the terms for each of its applications: its card lists `hand-over/1`.
    #[serde(default)]
    asks_applications: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenDataset {
    id: String,
    #[serde(default)]
    tags: BTreeSet<String>,
    #[serde(default)]
    policies: BTreeSet<String>,
    /// IANA media type.
    media_type: Option<String>,
    /// Bytes.
    size: Option<u64>,
    version: Option<String>,
    /// BCP 47.
    language: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenCase {
    name: Spanned<String>,
    partner: Spanned<String>,
    dataset: Spanned<String>,
    #[serde(default = "use_action")]
    action: String,
    purpose: Option<String>,
    at: Spanned<Instant>,
    #[serde(default)]
    uses: u64,
    previous_use: Option<Spanned<Instant>>,
    agreed: Option<Spanned<Instant>>,
    #[serde(default)]
    done: BTreeSet<String>,
    /// A name of the certificate of the node that fetches.
    node: Option<String>,
    /// The identifier of the application to which the partner's node would hand the data out.
    application: Option<String>,
    expect: Spanned<Expected>,
    /// The policy that must decide.
    policy: Option<Spanned<String>>,
    /// A part of the clause that must decide.
    clause: Option<Spanned<String>>,
}

/// A date as TOML writes it, with or without quotes.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Instant {
    Date(toml::value::Datetime),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expected {
    Permit,
    Deny,
}

fn use_action() -> String {
    "use".to_owned()
}

impl Cases {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, Diagnostic> {
        let text = crate::file::decode(name, bytes)?;
        let written: Written = toml::from_str(text).map_err(|error| {
            let help = "see `sekisho policy test --help` for an example";
            Diagnostic::at(name, text, error.span().unwrap_or(0..0), error.message().trim(), help)
        })?;
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            partners: written.partner,
            datasets: written.dataset,
            cases: written.case,
        })
    }

    /// Judges every case by the policies of a site.
    #[must_use]
    pub fn run(&self, site: &Site) -> Vec<Outcome> {
        let partners: Vec<_> = self.partners.iter().map(|written| written.facts(site)).collect();
        let mut datasets: Vec<_> = self.datasets.iter().map(WrittenDataset::facts).collect();
        let others = |id: &str| !self.datasets.iter().any(|own| own.id == id);
        datasets.extend(site.datasets.iter().filter(|dataset| others(&dataset.id)).cloned());
        let site = Site {
            rules: site.rules.clone(),
            partners: partners.into_iter().chain(site.partners.iter().cloned()).collect(),
            datasets,
        };
        (self.cases.iter())
            .map(|case| Outcome {
                name: case.name.get_ref().clone(),
                failure: self.judge(case, &site).err(),
            })
            .collect()
    }

    fn judge(&self, case: &WrittenCase, site: &Site) -> Result<(), Diagnostic> {
        let at = |span, message: String, help: &str| {
            Diagnostic::at(&self.name, &self.text, span, message, help)
        };
        let partner = site.partner(case.partner.get_ref()).ok_or_else(|| {
            let message = format!("`{}` is no partner", case.partner.get_ref());
            at(case.partner.span(), message, "register it, or declare it here under [[partner]]")
        })?;
        let dataset = site.dataset(case.dataset.get_ref()).ok_or_else(|| {
            let message = format!("no policy or [[dataset]] names `{}`", case.dataset.get_ref());
            at(
                case.dataset.span(),
                message,
                "declare it here under [[dataset]] with its tags or policies",
            )
        })?;
        let instant = |written: &Spanned<Instant>| {
            written.get_ref().parse().ok_or_else(|| {
                let help = "write an instant with its zone, like 2027-01-01T00:00:00+09:00";
                at(written.span(), "this is no instant".to_owned(), help)
            })
        };
        let now = instant(&case.at)?;
        let question = Question {
            action: case.action.clone(),
            purpose: case.purpose.clone(),
            at: now,
            uses: case.uses,
            previous: case.previous_use.as_ref().map(instant).transpose()?,
            node: case.node.clone(),
            application: case.application.clone(),
            agreed_at: case.agreed.as_ref().map(instant).transpose()?.unwrap_or(now),
            done: case.done.clone(),
        };
        let answer = inquiry::ask(site, partner, &dataset, &question);
        let found = if answer.is_permit() { Expected::Permit } else { Expected::Deny };
        if found != *case.expect.get_ref() {
            let name = case.name.get_ref();
            let message = format!("case `{name}` fails: {}", said(&answer));
            return Err(at(
                case.expect.span(),
                message,
                "correct the policy, or what is expected of it",
            ));
        }
        let (policy, clause) = (answer.verdict.policy(), answer.verdict.clause());
        if let Some(expected) = &case.policy
            && policy != Some(expected.get_ref().as_str())
        {
            let message = format!("another policy decides: {}", said(&answer));
            return Err(at(expected.span(), message, ""));
        }
        if let Some(expected) = &case.clause
            && !clause.is_some_and(|clause| clause.text.contains(expected.get_ref().as_str()))
        {
            let message = format!("another clause decides: {}", said(&answer));
            return Err(at(expected.span(), message, ""));
        }
        Ok(())
    }
}

/// What was answered, in short.
fn said(answer: &Answer) -> String {
    let verdict = if answer.is_permit() { "permit" } else { "deny" };
    match (&answer.verdict, answer.verdict.clause()) {
        (inquiry::Verdict::Deny { policy, ground, .. }, Some(clause)) => {
            format!(
                "{verdict}, by {}:{} of policy `{policy}`: {ground}",
                clause.file, clause.spot.line
            )
        }
        (_, Some(clause)) => {
            format!("{verdict}, by {}:{}: `{}`", clause.file, clause.spot.line, clause.text)
        }
        (inquiry::Verdict::Suspended, _) => format!("{verdict}, the partner is suspended"),
        (inquiry::Verdict::Withdrawn, _) => format!("{verdict}, the dataset is withdrawn"),
        _ => format!("{verdict}, no policy offers the dataset to the partner"),
    }
}

impl WrittenPartner {
    fn facts(&self, site: &Site) -> Partner {
        let id = self.id.clone().unwrap_or_else(|| format!("urn:partner:{}", self.name));
        let mut groups = site.rules.groups_of(&id);
        groups.extend(self.groups.iter().cloned());
        Partner {
            name: self.name.clone(),
            is_active: true,
            subject: Subject {
                participant: id,
                groups,
                region: self.region.clone(),
                asks_applications: self.asks_applications,
                ..Subject::default()
            },
        }
    }
}

impl WrittenDataset {
    fn facts(&self) -> Dataset {
        Dataset {
            id: self.id.clone(),
            facts: Facts {
                collections: self.tags.clone(),
                media_type: self.media_type.clone(),
                size: self.size,
                version: self.version.clone(),
                language: self.language.clone(),
                ..Facts::unpublished()
            },
            policies: self.policies.clone(),
            is_available: true,
            bounds: Vec::new(),
        }
    }
}

impl Instant {
    fn parse(&self) -> Option<Timestamp> {
        match self {
            Self::Date(date) => date.to_string().parse().ok(),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

//! `sekisho policy`: the tools of a policy administrator.
//!
//! `check`, `test` and `schema` work on files alone. The others ask the running daemon what is in force, and make do with the
//! files when it is away.

mod activate;
pub(super) mod arguments;
mod check;
mod diff;
mod explain;
mod history;
mod matrix;
mod show;
pub(super) mod terms;
mod test;

use std::path::Path;

use jiff::Timestamp;
use policy::diagnostic::Diagnostic;
use policy::inquiry::Site;
use policy::set::RuleSet;
use serde_json::{Value, json};

use super::client::{Client, ClientError, path};
use super::failure::Failure;
use super::output::Output;
use crate::exit::Exit;
use crate::partners::Registry;
use crate::policies;
use crate::policies::facts::{self, Facts};
use crate::site::Paths;
use arguments::Policy;

pub(super) fn run(
    site: &Path,
    command: Policy,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    match command {
        Policy::Check { files, strict, lang } => {
            check::run(&Desk::open(site)?, &files, strict, lang, output, now)
        }
        Policy::Explain(arguments) => explain::run(&Desk::open(site)?, &arguments, output, now),
        Policy::Test { files } => test::run(&Desk::open(site)?, &files, output),
        Policy::Diff { old, new, at } => {
            diff::run(&Desk::open(site)?, &old, &new, at.unwrap_or(now), output)
        }
        Policy::Show { name, form, lang, draft } => {
            show::run(&Desk::open(site)?, &name, form, lang, draft, output)
        }
        Policy::Matrix { csv, actions, at, draft } => {
            let wanted = matrix::Wanted { csv, actions, at: at.unwrap_or(now), draft };
            matrix::run(&Desk::open(site)?, wanted, output)
        }
        Policy::Schema { of } => {
            let schema = policy::file::schema::json_schema(of);
            output.result(&schema, |schema| format!("{schema:#}"));
            Ok(())
        }
        Policy::Activate { reason, yes } => {
            activate::activate(&Desk::open(site)?, reason, yes, output, now)
        }
        Policy::Rollback { hash, reason, yes } => {
            activate::rollback(&Desk::open(site)?, &hash, reason, yes, output, now)
        }
        Policy::List => history::list(&Desk::open(site)?, output),
        Policy::History(listing) => history::history(&Desk::open(site)?, &listing, output),
    }
}

/// A site's files, and its daemon if that runs.
struct Desk {
    paths: Paths,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Desk {
    fn open(site: &Path) -> Result<Self, Failure> {
        let (_, paths) = super::locate(site)?;
        Ok(Self { client: Client::new(&paths.socket), paths, runtime: super::runtime()? })
    }

    fn registry(&self) -> Result<Registry, Failure> {
        Ok(Registry::load(&self.paths.partners)?)
    }

    /// The set of the site's files.
    fn filed(&self, output: Output) -> Result<RuleSet, Failure> {
        self.compiled(&self.paths.policies, output)
    }

    /// The set of a directory of policy files, under the site's partners and purposes.
    fn compiled(&self, directory: &Path, output: Output) -> Result<RuleSet, Failure> {
        let sources = policies::sources(directory)?;
        let purposes = policies::purposes(&self.paths.purposes)?;
        let (groups, unhonoured) = (self.registry()?.groups(), self.paths.unhonoured);
        RuleSet::compile_with(&sources, &groups, &purposes, unhonoured)
            .map_err(|found| refused(&found, output))
    }

    /// The site as the files say, with the datasets of the daemon where it runs.
    fn draft(&self, output: Output) -> Result<(Site, bool), Failure> {
        let rules = self.filed(output)?;
        let partners = facts::partners(&self.registry()?);
        match self.facts(&[])? {
            Some(facts) => {
                let datasets = facts.into_site().datasets;
                Ok((Site { rules, partners, datasets }, true))
            }
            None => Ok((Site { rules, partners, datasets: Vec::new() }, false)),
        }
    }

    /// The site as it is in force, at an instant of the past where one is given; as the files say where the daemon is away.
    fn in_force(&self, at: Option<Timestamp>, output: Output) -> Result<(Site, String), Failure> {
        if let Some(facts) = self.facts(&[("at", at.map(|at| at.to_string()))])? {
            let since = facts.activation.as_ref().map_or_else(String::new, |activation| {
                format!(", in force since {}", activation.time)
            });
            let short = facts.hash.get(..8).unwrap_or_default();
            let origin = format!("set {short}{since}");
            return Ok((facts.into_site(), origin));
        }
        if at.is_some() {
            return Err(Failure::new(
                Exit::NotReachable,
                "what was in force in the past is in the journal, and the daemon is not running",
            )
            .help("start it with `sekisho serve`"));
        }
        output.note("The daemon is not running: this is what the files say, about the datasets that they name.");
        Ok((self.draft(output)?.0, "the policy files".to_owned()))
    }

    /// What the daemon says that rules; none where it is away.
    fn facts(&self, query: &[(&str, Option<String>)]) -> Result<Option<Facts>, Failure> {
        let answer = self.runtime.block_on(self.client.get(&path(&["v1", "policies"], query)));
        match answer {
            Ok(answer) => read(answer).map(Some),
            Err(ClientError::Away(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.runtime.block_on(self.client.get(path))?)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Ok(self.runtime.block_on(self.client.post(path, body))?)
    }
}

/// A typed answer of the daemon.
fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::new(Exit::Internal, format!("the daemon's answer cannot be read: {error}"))
            .help("daemon and command are of different versions; restart the daemon")
    })
}

/// A finding as JSON.
pub(super) fn finding(finding: &Diagnostic) -> Value {
    json!({
        "severity": finding.severity.to_string(),
        "file": finding.file, "line": finding.line, "column": finding.column,
        "message": finding.message, "help": finding.help,
    })
}

fn refused(found: &[Diagnostic], output: Output) -> Failure {
    let findings = found.iter().map(finding).collect::<Vec<_>>();
    output.event(&json!({ "ok": false, "problems": findings }));
    let number = found.len();
    if output.is_json() {
        // The event before has each of them.
        return Failure::misuse(format!("the policies are refused for {number} problems"));
    }
    let texts = found.iter().map(ToString::to_string).collect::<Vec<_>>();
    Failure::misuse(format!("the policies are refused\n{}", texts.join("\n\n")))
}

/// The partner, or that there is none.
fn partner<'a>(site: &'a Site, name: &str) -> Result<&'a policy::inquiry::Partner, Failure> {
    site.partner(name).ok_or_else(|| {
        let names: Vec<&str> = site.partners.iter().map(|partner| partner.name.as_str()).collect();
        let help = match names.as_slice() {
            [] => "nobody is registered yet: see `sekisho partner add --help`".to_owned(),
            names => format!("registered are: {}", names.join(", ")),
        };
        Failure::new(Exit::NotFound, format!("`{name}` is not a registered partner")).help(help)
    })
}

/// The policy, or that there is none.
fn policy_named<'a>(
    rules: &'a RuleSet,
    name: &str,
) -> Result<&'a policy::set::CompiledPolicy, Failure> {
    rules.policy(name).map(AsRef::as_ref).ok_or_else(|| {
        let names: Vec<&str> = rules.policies().map(|policy| policy.name.as_str()).collect();
        let help = match names.as_slice() {
            [] => "there are none yet: write one into the site's directory of policies".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        Failure::new(Exit::NotFound, format!("there is no policy `{name}`")).help(help)
    })
}

//! A site's directory: configuration, keys, partners and policies, all checked before anything runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use certs::pki::SitePki;
use jiff::Timestamp;
use policy::set::{RuleSet, Unhonoured};

use crate::config::{Activation, Config, FILE_NAME, Place, Problem};
use crate::partners::Registry;
use crate::policies::{self, PoliciesError};

/// Where the parts of a site are, absolute or relative as its directory was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The directory itself.
    pub site: PathBuf,
    /// `sekisho.toml`.
    pub config: PathBuf,
    /// Partner files.
    pub partners: PathBuf,
    /// Policy files.
    pub policies: PathBuf,
    /// The purposes that policies may name.
    pub purposes: PathBuf,
    /// What is done with clauses of policy files that this release cannot honour.
    pub unhonoured: Unhonoured,
    /// Keys and certificates.
    pub pki: PathBuf,
    /// Journal, objects, index, snapshots.
    pub data: PathBuf,
    /// The management socket.
    pub socket: PathBuf,
}

impl Paths {
    /// The paths of a site, by its configuration.
    pub fn new(directory: &Path, config: &Config) -> Self {
        // The system reports changed files by absolute paths. Without a working directory there is none.
        let directory = &std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        Self {
            unhonoured: match config.policy.strict {
                true => Unhonoured::Refused,
                false => Unhonoured::Named,
            },
            site: directory.to_owned(),
            config: directory.join(FILE_NAME),
            partners: directory.join(&config.site.partners_directory),
            policies: directory.join(&config.site.policies_directory),
            purposes: directory.join(&config.policy.purposes_file),
            pki: directory.join(&config.site.pki_directory),
            data: directory.join(&config.site.data_directory),
            socket: directory.join(&config.management.socket),
        }
    }
}

/// A site as its files say, everything checked.
#[derive(Debug)]
pub struct Site {
    /// Where its parts are.
    pub paths: Paths,
    /// Its configuration.
    pub config: Config,
    /// Its keys and certificates.
    pub pki: SitePki,
    /// Its partners.
    pub partners: Registry,
    /// Its policies, as the files say.
    pub rules: RuleSet,
    /// What is wrong with the policy files where they are only a draft; then [`Self::rules`] has none.
    pub draft: Option<PoliciesError>,
}

/// Why a site cannot be used: everything that is wrong in its files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", texts(problems, policies.as_ref()))]
pub struct SiteError {
    /// What is wrong with configuration, keys and partners.
    pub problems: Vec<Problem>,
    /// What is wrong with policies.
    pub policies: Option<PoliciesError>,
}

impl Site {
    /// Opens the site in a directory as of `now`, with the `SEKISHO__…` variables among those given.
    ///
    /// # Errors
    /// Everything that is wrong, as far as it can be seen past what is wrong before it.
    pub fn open(
        directory: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        now: Timestamp,
    ) -> Result<Self, SiteError> {
        let config = Config::load(directory, variables)
            .map_err(|problems| SiteError { problems: problems.0, policies: None })?;
        let paths = Paths::new(directory, &config);
        let mut problems = exposed(&paths);
        let pki = load_pki(&paths, &config, now).map_err(|problem| problems.push(problem)).ok();
        let (partners, found) = Registry::load_usable(&paths.partners);
        let own = partners.by_participant(&config.site.participant);
        problems.extend(own.map(|own| {
            let place = Place::File(own.path.clone());
            Problem::new(
                place,
                "id",
                "is our own participant id",
                "remove the file, or correct the id",
            )
        }));
        let partners_hold = found.is_empty();
        problems.extend(found);
        // Policies name groups, which come from the partners: judged without them they would be accused wrongly.
        let rules = match policies::load(&paths, &partners) {
            Ok(rules) => Ok(rules),
            Err(PoliciesError::Policies(_)) if !partners_hold => Err(None),
            Err(error) => Err(Some(error)),
        };
        // A draft that is not right yet stops nothing: what is in force is in the journal.
        let (rules, draft) = match rules {
            Err(error) if config.policy.activation == Activation::Command => {
                (Ok(RuleSet::empty()), error)
            }
            rules => (rules, None),
        };
        match (pki, rules) {
            (Some(pki), Ok(rules)) if problems.is_empty() => {
                Ok(Self { paths, config, pki, partners, rules, draft })
            }
            (_, rules) => Err(SiteError { problems, policies: rules.err().flatten() }),
        }
    }
}

/// Loads `pki/`, and checks that it is this site's.
///
/// # Errors
/// What is wrong with the keys or certificates, or that they are another participant's.
pub fn load_pki(paths: &Paths, config: &Config, now: Timestamp) -> Result<SitePki, Problem> {
    let place = || Place::File(paths.pki.clone());
    let pki = SitePki::load(&paths.pki, now)
        .map_err(|error| Problem::new(place(), "", chain(&error), ""))?;
    let (certified, configured) = (pki.identity.participant(), config.site.participant.as_str());
    if certified != configured {
        return Err(Problem::new(
            place(),
            "site.participant",
            format!("the keys are for `{certified}`, the configuration says `{configured}`"),
            "a participant id never changes: correct the configuration",
        ));
    }
    Ok(pki)
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// What others may change: whoever writes these files says who gets in and what is allowed.
fn exposed(paths: &Paths) -> Vec<Problem> {
    let listed = [&paths.partners, &paths.policies]
        .into_iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()));
    let fixed = [&paths.site, &paths.config, &paths.partners, &paths.policies, &paths.purposes]
        .map(Clone::clone);
    fixed
        .into_iter()
        .chain(listed)
        .filter_map(|path| {
            let mode = std::fs::metadata(&path).ok()?.permissions().mode();
            (mode & 0o002 != 0).then(|| {
                let help = format!("run `chmod o-w {}`", path.display());
                let message = format!("has mode {:04o}: every user can change it", mode & 0o7777);
                Problem::new(Place::File(path), "", message, help)
            })
        })
        .collect()
}

fn texts(problems: &[Problem], policies: Option<&PoliciesError>) -> String {
    let mut lines = problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    lines.extend(policies.map(ToString::to_string));
    lines.join("\n")
}

#[cfg(test)]
mod tests;

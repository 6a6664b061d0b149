//! The site's policies: the files of `policies/` and the purposes that they may name, compiled into one set.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use policy::cases;
use policy::diagnostic::Diagnostic;
use policy::file::RESTRICTIONS_FILE;
use policy::set::{Groups, Purpose, Purposes, RuleSet, Source};

use crate::config::{Place, Problem, Problems};
use crate::partners::Registry;
use crate::site::Paths;

pub mod facts;
pub(crate) mod rollback;

/// The endings of policy files: our TOML form, and ODRL as it is.
const ENDINGS: [&str; 3] = ["toml", "json", "jsonld"];

/// The ending of files that are there to be copied.
const EXAMPLE_ENDING: &str = ".example";
/// How often files are read until they are the same twice.
const READS: usize = 5;

/// What is wrong with policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoliciesError {
    /// Files that cannot be read, or purposes that make no hierarchy.
    Files(Problems),
    /// Policies that cannot be honoured as they stand, each with its place.
    Policies(Vec<Diagnostic>),
}

impl fmt::Display for PoliciesError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(problems) => problems.fmt(formatter),
            Self::Policies(found) => {
                let texts = found.iter().map(ToString::to_string).collect::<Vec<_>>();
                formatter.write_str(&texts.join("\n\n"))
            }
        }
    }
}

impl std::error::Error for PoliciesError {}

impl From<Problem> for PoliciesError {
    fn from(problem: Problem) -> Self {
        Self::Files(problem.into())
    }
}

/// Compiles every policy file of the site, with the groups of its partners. Either all are right or there is no set.
///
/// # Errors
/// Everything that is wrong.
pub fn load(paths: &Paths, registry: &Registry) -> Result<RuleSet, PoliciesError> {
    if let Some(rules) = rollback::committed(paths)? {
        return rules
            .regrouped(&registry.groups(), paths.unhonoured)
            .map_err(PoliciesError::Policies);
    }
    let (sources, purposes) = read_whole(paths)?;
    RuleSet::compile_with(&sources, &registry.groups(), &purposes, paths.unhonoured)
        .map_err(PoliciesError::Policies)
}

/// Reads policies and purposes twice, so that what is written meanwhile is not taken for whole.
fn read_whole(paths: &Paths) -> Result<(Vec<Source>, Purposes), Problem> {
    let read = || Ok::<_, Problem>((sources(&paths.policies)?, purposes(&paths.purposes)?));
    let mut before = read()?;
    for _ in 0..READS {
        let now = read()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    let help = "wait until whatever writes them is done";
    let place = Place::File(paths.policies.clone());
    Err(Problem::new(place, "", "changes while it is read", help))
}

/// The set in force among other groups, with the restrictions of the files where those are right and only add to what is
/// restricted: what is wrong in a policy does not keep a restriction from its force.
pub(crate) fn at_least(paths: &Paths, in_force: &RuleSet, groups: &Groups) -> RuleSet {
    let path = paths.policies.join(RESTRICTIONS_FILE);
    let restricted = source(&path, RESTRICTIONS_FILE)
        .ok()
        .and_then(|filed| in_force.restricted_by(&filed, groups));
    restricted.unwrap_or_else(|| in_force.among(groups))
}

/// Reads the policy files of a directory, in the order of their names. Cases for `sekisho policy test` are none.
///
/// # Errors
/// When the directory or a file cannot be read, or a file is too large to be a policy.
pub fn sources(directory: &Path) -> Result<Vec<Source>, Problem> {
    let entries = entries(directory)?;
    // Of all files this one permits something by not being there.
    if let Some((path, _)) =
        entries.iter().find(|(_, name)| policy::file::is_nearly_restrictions(name))
    {
        let message = format!("is not read, and is nearly named `{RESTRICTIONS_FILE}`");
        let help = format!("name it `{RESTRICTIONS_FILE}`, or move it elsewhere");
        return Err(Problem::new(Place::File(path.clone()), "", message, help));
    }
    read(entries.into_iter().filter(|(path, name)| is_policy(path, name)))
}

/// Reads the files of cases of a directory, in the order of their names.
///
/// # Errors
/// As [`sources`].
pub fn case_files(directory: &Path) -> Result<Vec<Source>, Problem> {
    read(entries(directory)?.into_iter().filter(|(_, name)| name.ends_with(cases::ENDING)))
}

/// What a directory of policies holds and nobody reads, by name: neither policies nor cases, nor meant as an example.
///
/// # Errors
/// When the directory cannot be read.
pub fn not_read(directory: &Path) -> Result<Vec<String>, Problem> {
    let is_meant = |path: &Path, name: &str| {
        is_policy(path, name) || name.ends_with(cases::ENDING) || name.ends_with(EXAMPLE_ENDING)
    };
    let entries = entries(directory)?.into_iter();
    Ok(entries.filter(|(path, name)| !is_meant(path, name)).map(|(_, name)| name).collect())
}

/// Whether a policy of this name has a file, in force or not.
pub fn has_file(directory: &Path, name: &str) -> bool {
    entries(directory).is_ok_and(|entries| {
        entries.iter().any(|(path, file)| {
            is_policy(path, file) && file.rsplit_once('.').is_some_and(|(stem, _)| stem == name)
        })
    })
}

/// Whether an entry of a directory of policies is one. The restrictions are, whatever they are: what cannot be read is refused.
fn is_policy(path: &Path, name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let is_named = ENDINGS.contains(&ending) && !name.ends_with(cases::ENDING);
    is_named && (name == RESTRICTIONS_FILE || !path.is_dir())
}

/// The entries of a directory with their names, in the order of these. Editors leave dotfiles beside the file.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, String)>, Problem> {
    let unreadable = |error| Problem::unreadable(directory, &error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            continue;
        };
        if !name.starts_with('.') {
            entries.push((path, name));
        }
    }
    entries.sort();
    Ok(entries)
}

fn read(entries: impl Iterator<Item = (PathBuf, String)>) -> Result<Vec<Source>, Problem> {
    entries.map(|(path, name)| source(&path, &name)).collect()
}

/// Reads one policy file under a name.
///
/// # Errors
/// When the file cannot be read, or is too large to be a policy.
pub fn source(path: &Path, name: &str) -> Result<Source, Problem> {
    let unreadable = |error| Problem::unreadable(path, &error);
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > u64::try_from(policy::file::MAX_BYTES).unwrap_or(u64::MAX) {
        let message =
            format!("has {size} bytes; a policy may have {} at most", policy::file::MAX_BYTES);
        let help = "split it, or move it elsewhere if it is no policy";
        return Err(Problem::new(Place::File(path.to_owned()), "", message, help));
    }
    Ok(Source { name: name.to_owned(), bytes: std::fs::read(path).map_err(unreadable)? })
}

/// Writes a set over the policy files and purposes of a site, and removes the files that it does not have.
///
/// # Errors
/// When a file cannot be read, written or removed. What was written by then stays.
pub fn write(paths: &Paths, rules: &RuleSet) -> Result<(), Problem> {
    for (name, text) in rules.files() {
        replace(&paths.policies.join(name), text)?;
    }
    for source in sources(&paths.policies)? {
        if !rules.files().any(|(name, _)| name == source.name) {
            let path = paths.policies.join(&source.name);
            std::fs::remove_file(&path).map_err(|error| unwritable(&path, &error))?;
        }
    }
    if purposes(&paths.purposes)? == *rules.purposes() {
        return Ok(());
    }
    let listed: BTreeMap<String, Purpose> = rules.purposes().clone().into();
    let text = toml::to_string(&listed).map_err(|error| {
        Problem::new(Place::File(paths.purposes.clone()), "", error.to_string(), "")
    })?;
    replace(&paths.purposes, &text)
}

/// Whether the files of a site are those of a set. Files that cannot be read are not.
pub fn are_filed(paths: &Paths, rules: &RuleSet) -> bool {
    let (Ok(filed), Ok(purposes)) = (sources(&paths.policies), purposes(&paths.purposes)) else {
        return false;
    };
    let same = |source: &Source| {
        let mut files = rules.files();
        files.any(|(name, text)| name == source.name && text.as_bytes() == source.bytes)
    };
    purposes == *rules.purposes() && filed.len() == rules.files().count() && filed.iter().all(same)
}

/// Replaces a file as a whole.
fn replace(path: &Path, text: &str) -> Result<(), Problem> {
    use std::io::Write as _;
    let failed = |error: std::io::Error| unwritable(path, &error);
    if std::fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".").tempfile_in(directory).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    // As any file that an administrator makes: a policy is no secret.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Problem {
    let message = format!("cannot be written: {error}");
    Problem::new(Place::File(path.to_owned()), "", message, "see who may write there")
}

/// Reads the purposes of a site; none when the file does not exist.
///
/// # Errors
/// When the file cannot be read or the purposes make no hierarchy.
pub fn purposes(path: &Path) -> Result<Purposes, Problem> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Purposes::default());
        }
        Err(error) => return Err(Problem::unreadable(path, &error)),
    };
    let text = policy::file::decode("purposes.toml", &bytes).map_err(|found| {
        Problem::new(Place::File(path.to_owned()), "", found.message, found.help)
    })?;
    let purposes: BTreeMap<String, Purpose> = toml::from_str(text).map_err(|error| {
        let place = Place::at(path, text, error.span().map_or(0, |span| span.start));
        Problem::new(
            place,
            "",
            error.message(),
            "each purpose is a section with `title` and `part-of`",
        )
    })?;
    Purposes::new(purposes)
        .map_err(|error| Problem::new(Place::File(path.to_owned()), "", error.to_string(), ""))
}

#[cfg(test)]
mod tests;

//! The files of an earlier set, brought back as one step although they are several.
//!
//! They are kept in one file of the data directory before the commit that puts the set in force, and written over the policy
//! files after it. From the commit on that one file stands for the policy files until all of them are written, over a stop in
//! between as well: so never does a mix of two sets come into force.

use std::fs;
use std::path::{Path, PathBuf};

use policy::set::RuleSet;

use super::PoliciesError;
use crate::config::{Place, Problem};
use crate::site::Paths;

/// Before the commit is known to have happened.
const PREPARED: &str = "rollback.prepared.json";
/// Since.
const COMMITTED: &str = "rollback.json";

fn prepared_file(paths: &Paths) -> PathBuf {
    paths.data.join(PREPARED)
}

fn committed_file(paths: &Paths) -> PathBuf {
    paths.data.join(COMMITTED)
}

/// Keeps a set whose files are to be brought back, should it come into force.
pub(crate) fn prepare(paths: &Paths, rules: &RuleSet) -> Result<(), Problem> {
    let path = prepared_file(paths);
    let text = serde_json::to_string(rules)
        .map_err(|error| Problem::new(Place::File(path.clone()), "", error.to_string(), ""))?;
    super::replace(&path, &text)?;
    synced(&paths.data)
}

/// What a stop left undecided: the set in force says whether it came into force.
pub(crate) fn prepared(paths: &Paths) -> Result<Option<RuleSet>, Problem> {
    read(&prepared_file(paths))
}

/// The set has come into force: from now on it stands for the policy files.
pub(crate) fn commit(paths: &Paths) -> Result<(), Problem> {
    let (from, to) = (prepared_file(paths), committed_file(paths));
    fs::rename(&from, &to).map_err(|error| super::unwritable(&to, &error))?;
    synced(&paths.data)
}

/// The set has not come into force.
pub(crate) fn discard(paths: &Paths) -> Result<(), Problem> {
    remove(&prepared_file(paths))
}

/// The set that stands for the policy files while they are not all written.
pub(super) fn committed(paths: &Paths) -> Result<Option<RuleSet>, Problem> {
    read(&committed_file(paths))
}

/// Writes the files of a set that has come into force, where that is not done yet.
pub(crate) fn finish(paths: &Paths) -> Result<(), PoliciesError> {
    let Some(rules) = committed(paths)? else { return Ok(()) };
    super::write(paths, &rules)?;
    synced(&paths.policies)?;
    if let Some(parent) = paths.purposes.parent() {
        synced(parent)?;
    }
    Ok(remove(&committed_file(paths))?)
}

fn read(path: &Path) -> Result<Option<RuleSet>, Problem> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Problem::unreadable(path, &error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        let help = "it holds the files of a set that was rolled back to; restore the policy files yourself and remove it";
        Problem::new(Place::File(path.to_owned()), "", error.to_string(), help)
    })
}

fn remove(path: &Path) -> Result<(), Problem> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(super::unwritable(path, &error))
        }
        _ => Ok(()),
    }
}

/// What was done in a directory survives a loss of power.
fn synced(directory: &Path) -> Result<(), Problem> {
    let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| super::unwritable(directory, &error))
}

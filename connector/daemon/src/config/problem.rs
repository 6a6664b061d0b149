//! A problem in what an administrator wrote: where, what, and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong in a file or the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key, as `section.key`; empty when the whole place is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; may be empty.
    pub help: String,
}

/// Where a problem is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A whole file or directory.
    File(PathBuf),
    /// A place in a file; line and column count from 1.
    Line {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
}

impl Place {
    /// The place of a byte offset in a file's text.
    pub fn at(file: &Path, text: &str, offset: usize) -> Self {
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count());
        Self::Line { file: file.to_owned(), line, column: column.saturating_add(1) }
    }
}

impl Problem {
    /// A problem with a help text.
    pub fn new(
        place: Place,
        key: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { place, key: key.into(), message: message.into(), help: help.into() }
    }

    /// The problem of a file that could not be read.
    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "run `sekisho init DIR` to make a site, or name its directory with `--site`"
            }
            std::io::ErrorKind::PermissionDenied => {
                "give the user who runs sekisho the right to read it"
            }
            _ => "",
        };
        Self::new(Place::File(path.to_owned()), "", format!("cannot be read: {error}"), help)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(formatter, "{}", file.display()),
            Self::Line { file, line, column } => {
                write!(formatter, "{}:{line}:{column}", file.display())
            }
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(formatter, "`{}`: ", self.key)?;
        }
        formatter.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(formatter, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// Everything that is wrong, one per line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct Problems(pub Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// The one of `known` that `written` was probably meant to be.
pub(crate) fn nearest<'known>(
    written: &str,
    known: impl IntoIterator<Item = &'known str>,
) -> Option<&'known str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

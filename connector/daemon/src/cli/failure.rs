//! How a command fails: an exit code, a text, and what to do.

use serde_json::{Value, json};

use crate::config::{Problem, Problems};
use crate::exit::Exit;

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the process ends with.
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// The reference to give to an administrator, of this site or of the partner.
    pub reference: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Failure {
    /// A failure without reference or help.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), reference: None, help: None }
    }

    /// The command line or a file is wrong.
    pub fn misuse(message: impl Into<String>) -> Self {
        Self::new(Exit::Misuse, message)
    }

    /// A file cannot be written.
    pub fn write(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Exit::CannotWrite, format!("`{}` cannot be written: {error}", path.display()))
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The error that the management API answered with (`{"kind","message","reference","help"}`).
    pub fn from_api(error: &Value) -> Self {
        let text =
            |member: &str| error.get(member).and_then(Value::as_str).map(super::output::printable);
        Self {
            exit: Exit::of_kind(&text("kind").unwrap_or_default()),
            message: text("message").unwrap_or_else(|| "the daemon gave no reason".to_owned()),
            reference: text("reference"),
            help: text("help"),
        }
    }

    /// The same as JSON, with the exit code.
    pub fn to_json(&self) -> Value {
        json!({ "error": {
            "exit": self.exit.code(),
            "meaning": self.exit.meaning(),
            "message": self.message,
            "reference": self.reference,
            "help": self.help,
        }})
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::misuse(problem.to_string())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::misuse(problems.to_string())
    }
}

impl From<certs::pki::PkiError> for Failure {
    fn from(error: certs::pki::PkiError) -> Self {
        Self::misuse(crate::site::chain(&error))
    }
}

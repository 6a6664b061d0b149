//! Exit codes of the command line, after `sysexits.h` where it has a fitting one. Scripts rely on them: they never change.

use std::fmt;
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The command line or the configuration is wrong.
    Misuse = 64,
    /// A file, token, journal or download did not verify.
    NotVerified = 65,
    /// A named thing does not exist.
    NotFound = 66,
    /// The partner, or the daemon, could not be reached.
    NotReachable = 69,
    /// A fault of ours.
    Internal = 70,
    /// An output file cannot be written.
    CannotWrite = 73,
    /// Not now: disk full, index being rebuilt, partner away. The same command may work later.
    TryAgain = 75,
    /// A policy refused.
    RefusedByPolicy = 77,
    /// Refused because of who asks: unknown, suspended, wrong certificate or key.
    RefusedIdentity = 78,
    /// A question was answered with no.
    Declined = 79,
    /// Stopped by a signal.
    Interrupted = 130,
}

impl Exit {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::Misuse,
        Self::NotVerified,
        Self::NotFound,
        Self::NotReachable,
        Self::Internal,
        Self::CannotWrite,
        Self::TryAgain,
        Self::RefusedByPolicy,
        Self::RefusedIdentity,
        Self::Declined,
        Self::Interrupted,
    ];

    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Misuse => "the command line or the configuration is wrong",
            Self::NotVerified => "a file, token, journal or download did not verify",
            Self::NotFound => "a named thing does not exist",
            Self::NotReachable => "the partner or the daemon could not be reached",
            Self::Internal => "a fault of sekisho",
            Self::CannotWrite => "an output file cannot be written",
            Self::TryAgain => "not now; the same command may work later",
            Self::RefusedByPolicy => "a usage policy, or the partner, refused",
            Self::RefusedIdentity => {
                "refused for who asks: unknown, suspended, wrong certificate or key"
            }
            Self::Declined => "a question was answered with no",
            Self::Interrupted => "stopped by a signal",
        }
    }

    /// The kind of an error as the management API names it (`error.kind`).
    pub fn of_kind(kind: &str) -> Self {
        match kind {
            "invalid" | "misuse" => Self::Misuse,
            "not-verified" => Self::NotVerified,
            "not-found" => Self::NotFound,
            "not-reachable" => Self::NotReachable,
            "cannot-write" => Self::CannotWrite,
            "unavailable" | "too-many" | "try-again" => Self::TryAgain,
            "policy" | "refused" => Self::RefusedByPolicy,
            "suspended" | "identity" | "unauthorized" | "forbidden" => Self::RefusedIdentity,
            _ => Self::Internal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>3}  {}", self.code(), self.meaning())
    }
}

//! What a verification found: every check by name, with its outcome and its reason.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::claims::Claims;

/// The outcome of a verification. [`Display`](fmt::Display) tells it to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The checks, in the order in which they were made.
    pub checks: Vec<Finding>,
    /// What the token says, once its signature was verified. It counts only if [`Report::is_verified`].
    pub claims: Option<Claims>,
    /// The instant that certificates were judged at.
    pub judged_at: Timestamp,
    /// Who, beside the provider, vouches for the time of the record.
    pub witness: Witness,
}

/// Who vouches for the time of a record, beside the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Witness {
    /// Nobody: certificates are judged as of now and not as of then.
    Unwitnessed,
}

/// One check and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// The part of the evidence that it is about.
    pub part: Part,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "text", rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds; the text says what does.
    Passed(String),
    /// It does not hold; the text says why.
    Failed(String),
    /// It was not made; the text says why not.
    NotChecked(String),
}

/// The checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The token is a JWS of our type, in its one form.
    Form,
    /// The certificates of the token lead to a trust anchor, as of now.
    Chain,
    /// The token was signed with the key of its certificate, or with the registered key.
    Signature,
    /// The claims are complete, within their limits and not of the future.
    Claims,
    /// The issuer is who the certificate, or the registered key, stands for.
    Issuer,
    /// The claims are about the exchange that the caller expects.
    Expected,
    /// The log entry holds the digests of this token and this dataset.
    LogEntry,
    /// The checkpoint is of the log that the token names and signed with its key.
    Checkpoint,
    /// The log entry is in the tree that the checkpoint signs.
    Inclusion,
    /// The parents that are shown are those that the token commits to.
    Parents,
    /// The file has the size and digests that the token names.
    File,
}

/// The parts of the evidence, as people are told of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The document as a whole.
    Bundle,
    /// The provenance token.
    Token,
    /// The certificates in its header.
    Chain,
    /// The leaf of the record.
    LogEntry,
    /// The signed tree head.
    Checkpoint,
    /// The inclusion proof.
    LogProof,
    /// The openings of parents.
    Parents,
    /// The file itself.
    File,
}

/// The checks without which nothing is proven. The chain is not among them, because a registered key
/// stands in for it; the issuer passes only by one of the two.
const REQUIRED: [Check; 7] = [
    Check::Form,
    Check::Signature,
    Check::Claims,
    Check::Issuer,
    Check::LogEntry,
    Check::Checkpoint,
    Check::Inclusion,
];

impl Report {
    pub(crate) fn new(judged_at: Timestamp) -> Self {
        Self { checks: Vec::new(), claims: None, judged_at, witness: Witness::Unwitnessed }
    }

    /// Whether the evidence holds: no check failed and none that is needed is missing. Whether the file
    /// itself was compared says [`Report::outcome`] of [`Check::File`].
    #[must_use]
    pub fn is_verified(&self) -> bool {
        let passed = |check| matches!(self.outcome(check), Some(Outcome::Passed(_)));
        self.failure().is_none() && REQUIRED.into_iter().all(passed)
    }

    /// The claims, if the evidence holds; else the report again, with the reasons.
    ///
    /// # Errors
    /// When it is not verified.
    pub fn verified(mut self) -> Result<Claims, Box<Self>> {
        match self.is_verified().then(|| self.claims.take()).flatten() {
            Some(claims) => Ok(claims),
            None => Err(Box::new(self)),
        }
    }

    /// The outcome of a check.
    #[must_use]
    pub fn outcome(&self, check: Check) -> Option<&Outcome> {
        self.checks.iter().find(|finding| finding.check == check).map(|finding| &finding.outcome)
    }

    /// The first check that failed: what to tell people.
    #[must_use]
    pub fn failure(&self) -> Option<&Finding> {
        self.failures().next()
    }

    /// Every check that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.checks.iter().filter(|finding| matches!(finding.outcome, Outcome::Failed(_)))
    }

    /// Notes how a check ended and hands on what it found.
    pub(crate) fn note<T>(
        &mut self,
        check: Check,
        result: Result<(T, String), Refused>,
    ) -> Option<T> {
        let (value, part, outcome) = match result {
            Ok((value, text)) => (Some(value), check.part(), Outcome::Passed(text)),
            Err(Refused { part, reason }) => {
                (None, part.unwrap_or(check.part()), Outcome::Failed(reason))
            }
        };
        self.checks.push(Finding { check, part, outcome });
        value
    }

    /// Notes that a check was not made.
    pub(crate) fn skip(&mut self, check: Check, why: impl Into<String>) {
        let outcome = Outcome::NotChecked(why.into());
        self.checks.push(Finding { check, part: check.part(), outcome });
    }
}

/// Why a check failed, and whose fault it is where that is not the check's own part.
pub(crate) struct Refused {
    pub(crate) part: Option<Part>,
    pub(crate) reason: String,
}

impl<T: fmt::Display> From<T> for Refused {
    fn from(reason: T) -> Self {
        Self { part: None, reason: reason.to_string() }
    }
}

impl Check {
    /// The part of the evidence that it is about.
    #[must_use]
    pub fn part(self) -> Part {
        match self {
            Self::Form | Self::Signature | Self::Claims | Self::Issuer | Self::Expected => {
                Part::Token
            }
            Self::Chain => Part::Chain,
            Self::LogEntry => Part::LogEntry,
            Self::Checkpoint => Part::Checkpoint,
            Self::Inclusion => Part::LogProof,
            Self::Parents => Part::Parents,
            Self::File => Part::File,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Chain => "certificates",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Expected => "exchange",
            Self::LogEntry => "log entry",
            Self::Checkpoint => "checkpoint",
            Self::Inclusion => "log proof",
            Self::Parents => "parents",
            Self::File => "file",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bundle => "the bundle",
            Self::Token => "the token",
            Self::Chain => "the certificate chain",
            Self::LogEntry => "the log entry",
            Self::Checkpoint => "the checkpoint",
            Self::LogProof => "the log proof",
            Self::Parents => "the list of parents",
            Self::File => "the file",
        })
    }
}

/// `the file: …`, for one line.
impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed(text) => write!(formatter, "{}: {text}", self.part),
            Outcome::Failed(reason) => write!(formatter, "{}: {reason}", self.part),
            Outcome::NotChecked(why) => write!(formatter, "{}: not checked: {why}", self.part),
        }
    }
}

/// One line for each check, then the verdict with its limits.
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.checks {
            let (mark, text) = match &finding.outcome {
                Outcome::Passed(text) => ("ok", text),
                Outcome::Failed(reason) => ("FAILED", reason),
                Outcome::NotChecked(why) => ("-", why),
            };
            writeln!(formatter, "  {mark:<8}{:<14}{text}", finding.check.title())?;
        }
        match self.failure() {
            Some(finding) => writeln!(formatter, "NOT VERIFIED. {finding}")?,
            None if !self.is_verified() => writeln!(formatter, "NOT VERIFIED.")?,
            None if matches!(self.outcome(Check::File), Some(Outcome::Passed(_))) => {
                writeln!(formatter, "VERIFIED.")?;
            }
            None => writeln!(formatter, "VERIFIED, but no file was compared with the evidence.")?,
        }
        match self.witness {
            Witness::Unwitnessed => writeln!(
                formatter,
                "Unwitnessed: the time of the record is the provider's word. Certificates were judged as of \
                 {}, without revocation lists.",
                self.judged_at
            ),
        }
    }
}

#[cfg(test)]
mod tests;

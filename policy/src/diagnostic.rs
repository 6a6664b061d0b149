//! What is wrong in a policy file: where, why, and what would be right.

use std::fmt;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing need be done.
    Note,
    /// Most likely not what was meant. The policy can be used.
    Warning,
    /// The policy cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Where something stands in the text of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters it covers in its line, at least 1.
    pub length: usize,
}

impl Default for Spot {
    /// The begin of a file.
    fn default() -> Self {
        Self { line: 1, column: 1, length: 1 }
    }
}

impl Spot {
    /// The spot of a byte range of a text. A range outside of the text is moved to its end.
    #[must_use]
    pub fn of(text: &str, span: std::ops::Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        let covered = text.get(span).and_then(|part| part.lines().next()).unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |part| part.chars().count()) + 1,
            length: covered.chars().count().max(1),
        }
    }
}

/// One finding in one file, placed so that a terminal or an editor can show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters the finding covers, at least 1.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// The line as it stands in the file, without its end.
    pub excerpt: Box<str>,
}

impl Diagnostic {
    /// Places a finding at a byte range of a file's text. A range outside of the text is moved to its end.
    #[must_use]
    pub fn at(
        file: &str,
        text: &str,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::spotted(file, text, Spot::of(text, span), message, help)
    }

    /// Places a finding at a spot of a file's text.
    #[must_use]
    pub fn spotted(
        file: &str,
        text: &str,
        spot: Spot,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let excerpt = text.lines().nth(spot.line.saturating_sub(1)).unwrap_or_default();
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: spot.line,
            column: spot.column,
            length: spot.length,
            message: message.into(),
            help: help.into(),
            excerpt: excerpt.trim_end().into(),
        }
    }

    /// The form of a compiler's message, in plain text, with these words for the severity and for `help`.
    #[must_use]
    pub fn labelled(&self, severity: &str, help_label: &str) -> String {
        let Self { file, line, column, length, message, help, excerpt, .. } = self;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let indent: String = (excerpt.chars().take(column.saturating_sub(1)))
            .map(|character| match character {
                '\t' => '\t',
                // As wide as what it stands under.
                wide if is_wide(wide) => '\u{3000}',
                _ => ' ',
            })
            .collect();
        let covered = excerpt.chars().skip(column.saturating_sub(1)).take(*length);
        let wide = covered.filter(|character| is_wide(*character)).count();
        let marks = "^".repeat(length + wide);
        let mut text = format!(
            "{severity}: {message}\n{margin}--> {file}:{line}:{column}\n{margin} |\n{number} | {excerpt}\n\
             {margin} | {indent}{marks}"
        );
        if !help.is_empty() {
            text.push_str(&format!("\n{margin} = {help_label}: {help}"));
        }
        text
    }

    /// The same finding, more or less grave.
    #[must_use]
    pub fn graded(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

/// The form of a compiler's message, in plain text.
impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.labelled(&self.severity.to_string(), "help"))
    }
}

impl std::error::Error for Diagnostic {}

/// Whether terminals show a character in two columns (Unicode Annex 11, `W` and `F`; emoji aside).
const fn is_wide(character: char) -> bool {
    matches!(character,
        '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}'
        | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE6F}' | '\u{FF00}'..='\u{FF60}'
        | '\u{FFE0}'..='\u{FFE6}')
}

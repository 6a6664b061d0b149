//! What is wrong in a policy file: where, why, and what would be right.

use std::fmt;

/// One finding in one file, placed so that a terminal or an editor can show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
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
    pub excerpt: String,
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
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        let excerpt =
            text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let column = before.get(line_start..).map_or(0, |part| part.chars().count()) + 1;
        let covered = text.get(span).and_then(|part| part.lines().next()).unwrap_or_default();
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            length: covered.chars().count().max(1),
            message: message.into(),
            help: help.into(),
            excerpt: excerpt.trim_end().to_owned(),
        }
    }
}

/// The form of a compiler's message, in plain text.
impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, length, message, help, excerpt } = self;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(formatter, "error: {message}")?;
        writeln!(formatter, "{margin}--> {file}:{line}:{column}")?;
        writeln!(formatter, "{margin} |")?;
        writeln!(formatter, "{number} | {excerpt}")?;
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
        write!(formatter, "{margin} | {indent}{}", "^".repeat(length + wide))?;
        if !help.is_empty() {
            write!(formatter, "\n{margin} = help: {help}")?;
        }
        Ok(())
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

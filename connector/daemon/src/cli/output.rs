//! The one place that writes to the terminal.
//!
//! Results go to standard output, everything else to standard error. With `--json` each result is one JSON value on one
//! line, and so is an error. Colours are used on terminals only, and never when `NO_COLOR` is set.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::failure::Failure;
use crate::exit::Exit;

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
    colours: bool,
}

impl Output {
    /// Output as text or JSON.
    pub(super) fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, colours: wanted && io::stderr().is_terminal() }
    }

    /// Whether results are JSON.
    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// Whether somebody watches progress.
    pub(super) fn is_watched(self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Writes a result: the value as JSON, or the text that is made of it.
    pub(super) fn result(self, value: &Value, text: impl FnOnce(&Value) -> String) {
        if self.json {
            write_line(io::stdout().lock(), &value.to_string());
        } else {
            write_line(io::stdout().lock(), text(value).trim_end());
        }
    }

    /// Writes an event of a running command as JSON; text output shows progress in its own way.
    pub(super) fn event(self, value: &Value) {
        if self.json {
            write_line(io::stdout().lock(), &value.to_string());
        }
    }

    /// Says something to people, beside the result.
    pub(super) fn note(self, text: &str) {
        if !self.json {
            write_line(io::stderr().lock(), text);
        }
    }

    /// Says why the command failed.
    pub(super) fn failure(self, failure: &Failure) {
        if self.json {
            write_line(io::stdout().lock(), &failure.to_json().to_string());
            return;
        }
        let label = if self.colours { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
        let mut text = format!("{label} {}", failure.message);
        if let Some(reference) = &failure.reference {
            text.push_str(&format!("\n  reference: {reference}"));
        }
        if let Some(help) = failure.help.as_ref().filter(|help| !help.is_empty()) {
            text.push_str(&format!("\n  help: {help}"));
        }
        write_line(io::stderr().lock(), &text);
    }

    /// Asks a yes-or-no question; `assumed` answers it with yes.
    ///
    /// # Errors
    /// When the answer is no, or nobody is there to be asked.
    pub(super) fn confirm(self, question: &str, assumed: bool) -> Result<(), Failure> {
        if assumed {
            return Ok(());
        }
        if !can_ask() {
            return Err(Failure::new(
                Exit::Declined,
                "this needs a confirmation, and nobody is there to give it",
            )
            .help("look at what is shown, then run the command again with `--yes`"));
        }
        let answer = dialoguer::Confirm::new().with_prompt(question).default(false).interact();
        match answer {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::new(Exit::Declined, "nothing was changed")),
            Err(error) => {
                Err(Failure::new(Exit::Internal, format!("the terminal cannot be read: {error}")))
            }
        }
    }
}

/// Whether somebody is there to be asked.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Writes raw text to standard output, as for completions.
pub(super) fn raw(bytes: &[u8]) {
    let _ = io::stdout().lock().write_all(bytes);
}

/// A reader that went away, such as `head`, has seen enough: that is no error of the command.
fn write_line(mut to: impl io::Write, text: &str) {
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}

/// Rows as aligned columns under headings; the last column is not padded.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        let heading = headings.get(column).map_or(0, |heading| heading.chars().count());
        cells.chain([heading]).max().unwrap_or(0)
    };
    let widths = (0..headings.len()).map(width).collect::<Vec<_>>();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// The rows of a list of objects: one column for each member.
pub(super) fn rows(list: Option<&Value>, members: &[&str]) -> Vec<Vec<String>> {
    let objects = list.and_then(Value::as_array).into_iter().flatten();
    objects.map(|object| members.iter().map(|member| cell(object.get(member))).collect()).collect()
}

/// One value on one line; text from a peer cannot steer the terminal.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => printable(&other.to_string()),
    }
}

/// An object with a line for each member, nested ones indented.
pub(super) fn fields(value: &Value) -> String {
    fn write(value: &Value, indent: usize, text: &mut String) {
        let Some(object) = value.as_object() else {
            text.push_str(&format!("{:indent$}{}\n", "", cell(Some(value))));
            return;
        };
        for (name, value) in object {
            let name = printable(&name.replace('_', " "));
            let nested = match value {
                Value::Object(_) => true,
                Value::Array(items) => items.iter().any(Value::is_object),
                _ => false,
            };
            if !nested {
                text.push_str(&format!("{:indent$}{name}: {}\n", "", cell(Some(value))));
                continue;
            }
            text.push_str(&format!("{:indent$}{name}:\n", ""));
            match value.as_array() {
                Some(items) => {
                    items.iter().for_each(|item| write(item, indent.saturating_add(2), text))
                }
                None => write(value, indent.saturating_add(2), text),
            }
        }
    }
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

/// Text without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect()
}

/// Bytes for people.
pub(super) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

//! Takes values out of a TOML table and collects findings instead of stopping at the first.

use super::Words;
use crate::diagnostic::{Diagnostic, Spot};
use crate::file::expression::suggestion;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    pub(super) words: &'a Words<'a>,
    findings: Vec<Diagnostic>,
}

/// A text of the file with its place.
pub(super) struct Text {
    pub(super) value: String,
    pub(super) span: Range<usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(name: &'a str, text: &'a str, words: &'a Words<'a>) -> Self {
        Self { name, text, words, findings: Vec::new() }
    }

    pub(super) fn finish<T>(self, file: T) -> Result<T, Vec<Diagnostic>> {
        if self.findings.is_empty() { Ok(file) } else { Err(self.findings) }
    }

    pub(super) fn finding(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.findings.push(Diagnostic::at(self.name, self.text, span, message, help));
    }

    /// Where a range of the file is, for people.
    pub(super) fn spot(&self, span: Range<usize>) -> Spot {
        Spot::of(self.text, span)
    }

    /// Reports every key that is not known.
    pub(super) fn known(&mut self, table: &DeTable<'_>, section: &str, keys: &[&str]) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if !keys.contains(&name) {
                let message = format!("`{name}` is not a key of {section}");
                self.finding(key.span(), message, suggestion(name, keys));
            }
        }
    }

    pub(super) fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<Text> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Text { value: text.to_string(), span: value.span() }),
            other => {
                let message = format!("`{key}` must be a text, not {}", kind(other));
                self.finding(value.span(), message, format!("write {key} = \"…\""));
                None
            }
        }
    }

    /// A text, or a date as TOML writes it, without quotes.
    pub(super) fn text_or_date(&mut self, table: &DeTable<'_>, key: &str) -> Option<Text> {
        match table.get(key).map(|value| (value.span(), value.get_ref())) {
            Some((span, DeValue::Datetime(date))) => Some(Text { value: date.to_string(), span }),
            _ => self.text(table, key),
        }
    }

    pub(super) fn flag(&mut self, table: &DeTable<'_>, key: &str) -> bool {
        let Some(value) = table.get(key) else { return false };
        match value.get_ref() {
            DeValue::Boolean(flag) => *flag,
            other => {
                let message = format!("`{key}` must be true or false, not {}", kind(other));
                self.finding(value.span(), message, format!("write {key} = true"));
                false
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        bounds: std::ops::RangeInclusive<i32>,
    ) -> Option<i32> {
        let value = table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(digits) => i32::from_str_radix(digits.as_str(), digits.radix())
                .ok()
                .filter(|number| bounds.contains(number)),
            other => {
                let message = format!("`{key}` must be a whole number, not {}", kind(other));
                self.finding(value.span(), message, format!("write {key} = 10"));
                return None;
            }
        };
        if number.is_none() {
            let message = format!("`{key}` must lie from {} to {}", bounds.start(), bounds.end());
            self.finding(value.span(), message, format!("write {key} = 10"));
        }
        number
    }

    pub(super) fn texts(&mut self, table: &DeTable<'_>, key: &str) -> Vec<Text> {
        let mut texts = Vec::new();
        for value in self.list(table, key) {
            match value.get_ref() {
                DeValue::String(text) => {
                    texts.push(Text { value: text.to_string(), span: value.span() });
                }
                other => {
                    let message =
                        format!("an entry of `{key}` must be a text, not {}", kind(other));
                    self.finding(value.span(), message, format!("write {key} = [\"…\", \"…\"]"));
                }
            }
        }
        texts
    }

    pub(super) fn list<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        key: &str,
    ) -> &'t [Spanned<DeValue<'i>>] {
        let Some(value) = table.get(key) else { return &[] };
        match value.get_ref() {
            DeValue::Array(values) => values,
            other => {
                let message = format!("`{key}` must be a list, not {}", kind(other));
                self.finding(value.span(), message, format!("write {key} = [\"…\"]"));
                &[]
            }
        }
    }

    pub(super) fn table<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        key: &str,
    ) -> Option<&'t DeTable<'i>> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let message = format!("`{key}` must be a section, not {}", kind(other));
                self.finding(
                    value.span(),
                    message,
                    format!("write a line [{key}] and its keys under it"),
                );
                None
            }
        }
    }

    /// The entries of a list of sections, `[[key]]`, each with its place.
    pub(super) fn tables<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        key: &str,
    ) -> Vec<(Range<usize>, &'t DeTable<'i>)> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let DeValue::Array(values) = value.get_ref() else {
            let message =
                format!("`{key}` must be a list of sections, not {}", kind(value.get_ref()));
            self.finding(
                value.span(),
                message,
                format!("write a line [[{key}]] and its keys under it"),
            );
            return Vec::new();
        };
        let mut tables = Vec::new();
        for value in values {
            match value.get_ref() {
                DeValue::Table(table) => tables.push((value.span(), table)),
                other => {
                    let message =
                        format!("an entry of `{key}` must be a section, not {}", kind(other));
                    self.finding(value.span(), message, format!("write a line [[{key}]]"));
                }
            }
        }
        tables
    }

    /// The place of a range within a text of the file. A text with escapes is marked as a whole.
    pub(super) fn within(&self, text: &Text, range: Range<usize>) -> Range<usize> {
        let raw = self.text.get(text.span.clone()).unwrap_or_default();
        match raw.find(&text.value) {
            // An empty text is found before its quotes.
            Some(_) if text.value.is_empty() => text.span.clone(),
            Some(start) => {
                let base = text.span.start + start;
                base + range.start..base + range.end
            }
            None => text.span.clone(),
        }
    }
}

pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

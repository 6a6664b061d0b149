//! Changing a partner file in place: what the administrator wrote around a value stays as it is.

use std::path::Path;

use engine::entity::PartnerState;
use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::PartnerFile;
use crate::config::{Place, Problem};

/// Suspends or resumes a partner: changes the `state` line of its file. Whoever watches the file makes it take effect.
///
/// # Errors
/// When the file cannot be read, is not TOML any more, or cannot be written.
pub fn set_state(partner: &PartnerFile, state: PartnerState) -> Result<(), Problem> {
    let path = &partner.path;
    let text = std::fs::read_to_string(path).map_err(|error| Problem::unreadable(path, &error))?;
    let mut document = parse(path, &text)?;
    let state = match state {
        PartnerState::Active => "active",
        PartnerState::Suspended => "suspended",
        PartnerState::Offboarded => "offboarded",
    };
    put(document.as_table_mut(), "state", state);
    write(path, &document.to_string())
}

/// Reads a document to be changed.
pub(super) fn parse(path: &Path, text: &str) -> Result<DocumentMut, Problem> {
    text.parse::<DocumentMut>().map_err(|error| {
        let place = Place::at(path, text, error.span().map_or(0, |span| span.start));
        Problem::new(place, "", error.message().to_owned(), "")
    })
}

/// Sets a value, keeping the comments and spaces around an earlier one.
pub(super) fn put(table: &mut dyn TableLike, key: &str, value: impl Into<Value>) {
    let mut value = value.into();
    let Some(item) = table.get_mut(key) else {
        table.insert(key, Item::Value(value));
        return;
    };
    if let Some(earlier) = item.as_value() {
        *value.decor_mut() = earlier.decor().clone();
    }
    *item = Item::Value(value);
}

/// Replaces a partner file, whole and durable or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Problem> {
    certs::files::replace_public(path, text.as_bytes()).map_err(|error| {
        Problem::new(Place::File(path.to_owned()), "", crate::site::chain(&error), "")
    })
}

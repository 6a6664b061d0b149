//! Identifiers, one type for each kind of thing.
//!
//! DSP treats identifiers as opaque: whatever the owner of a thing calls it is echoed byte for byte. So the only checks are
//! those that keep an identifier usable as one: 1 to 1,024 bytes, no control characters, and not `.` or `..`, which a URL
//! path cannot carry.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest identifier that is accepted, in bytes.
pub const MAX_ID_BYTES: usize = 1024;

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Nothing was given.
    #[error("an identifier is empty; give at least one character")]
    Empty,
    /// More than [`MAX_ID_BYTES`].
    #[error("an identifier has {bytes} bytes; at most {MAX_ID_BYTES} are accepted")]
    TooLong {
        /// How many bytes it has.
        bytes: usize,
    },
    /// A control character such as NUL or a line break.
    #[error("an identifier has the control character U+{code:04X} at byte {at}; remove it")]
    Control {
        /// The character's code point.
        code: u32,
        /// Its byte position.
        at: usize,
    },
    /// `.` or `..`, which a URL path drops.
    #[error("`.` and `..` cannot be identifiers, because a URL path cannot carry them")]
    DotSegment,
}

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes `text`.
            ///
            /// # Errors
            /// When `text` is empty, too long, has a control character or is a dot segment.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// A fresh identifier `urn:uuid:…` from a UUID that the caller drew.
            #[must_use]
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(Arc::from(uuid.urn().to_string()))
            }

            /// The identifier as its owner wrote it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;

            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    )*};
}

identifiers! {
    /// A participant of the data space (`participantId`, `assigner`, `assignee`).
    ParticipantId;
    /// A catalog (`@id` of a Catalog).
    CatalogId;
    /// A data service (`@id` of a DataService).
    ServiceId;
    /// A dataset (`@id` of a Dataset, `target` of an offer or agreement).
    DatasetId;
    /// An offer (`@id` of an Offer).
    OfferId;
    /// An agreement (`@id` of an Agreement, `agreementId`).
    AgreementId;
    /// A negotiation or transfer process, as one of its two sides calls it (`consumerPid`, `providerPid`).
    Pid;
    /// One message (top-level `@id`); what a repeat is recognised by.
    MessageId;
    /// A purpose that a consumer declares with a request (`urn:sekisho:v1:purpose`).
    PurposeId;
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong { bytes: text.len() });
    }
    if text == "." || text == ".." {
        return Err(IdError::DotSegment);
    }
    match text.char_indices().find(|(_, character)| character.is_control()) {
        Some((at, character)) => Err(IdError::Control { code: u32::from(character), at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

//! Credentials in a partner's file: what an administrator verified of the partner, or of one of its nodes, and until when.
//!
//! Nothing here checks a signature: the file says who did, and the node holds the partner to the dates.

use std::collections::{BTreeMap, BTreeSet};

use engine::entity::Credential;
use jiff::Timestamp;
use policy::vocabulary::{Fact, LeftOperand, Operand};
use serde::Deserialize;
use toml::Spanned;

/// One entry under `[[credentials]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(rename = "type")]
    kind: String,
    issuer: String,
    id: Option<String>,
    verified_by: String,
    node: Option<String>,
    says: BTreeMap<String, BTreeSet<String>>,
    valid_from: Option<Instant>,
    valid_until: Option<Instant>,
}

/// An instant with its zone, with or without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Instant {
    Date(toml::value::Datetime),
    Text(String),
}

impl Instant {
    fn parse(&self, key: &'static str) -> Result<Timestamp, Wrong> {
        let text = match self {
            Self::Date(date) => date.to_string(),
            Self::Text(text) => text.clone(),
        };
        text.parse().map_err(|_| Wrong {
            key,
            message: format!("`{}` is no instant", text.escape_debug()),
            help: "write it with its zone, like 2027-01-01T00:00:00+09:00",
        })
    }
}

/// What is wrong with an entry.
pub(super) struct Wrong {
    pub(super) key: &'static str,
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// Checks the entries of a file. An error comes with the place of its entry.
pub(super) fn check(
    written: Vec<Spanned<Written>>,
    attributes: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Vec<Credential>, (std::ops::Range<usize>, Wrong)> {
    let all = written.into_iter().map(|entry| {
        let span = entry.span();
        credential(entry.into_inner(), attributes).map_err(|wrong| (span, wrong))
    });
    all.collect()
}

fn credential(
    written: Written,
    attributes: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Credential, Wrong> {
    for (key, text, help) in [
        ("type", &written.kind, "say what it is, such as `MembershipCredential`"),
        ("issuer", &written.issuer, "say who issued it: a DID, an IRI or a name"),
        ("verified_by", &written.verified_by, "say who verified it here, and how or when"),
    ] {
        if text.trim().is_empty() {
            return Err(Wrong { key, message: "is empty".to_owned(), help });
        }
    }
    let mut says = BTreeMap::new();
    for (name, values) in written.says {
        let Some(operand) = stated(&name) else {
            let known: Vec<_> = stated_operands().map(|operand| operand.term).collect();
            return Err(Wrong {
                key: "says",
                message: format!(
                    "`{}` is no operand that a credential can decide; known are {}",
                    name.escape_debug(),
                    known.join(", ")
                ),
                help: "",
            });
        };
        if values.is_empty() {
            let message = format!("`{name}` has no value");
            return Err(Wrong {
                key: "says",
                message,
                help: "give a list, such as `[\"active\"]`",
            });
        }
        // INVARIANT: what a credential says ends with it.
        if attributes.keys().any(|other| stated(other).is_some_and(|other| other == operand)) {
            return Err(Wrong {
                key: "says",
                message: format!("`{name}` stands under [attributes] as well, where it never ends"),
                help: "leave it in one of the two",
            });
        }
        says.insert(operand.term.to_owned(), values);
    }
    if says.is_empty() {
        let help = "such as `says = { Membership = [\"active\"] }`";
        return Err(Wrong { key: "says", message: "says nothing".to_owned(), help });
    }
    let instant = |key, written: Option<Instant>| written.map(|at| at.parse(key)).transpose();
    let valid_from = instant("valid_from", written.valid_from)?;
    let valid_until = instant("valid_until", written.valid_until)?;
    if let (Some(from), Some(until)) = (valid_from, valid_until)
        && until <= from
    {
        let message = format!("`{until}` is not after valid_from, `{from}`");
        return Err(Wrong { key: "valid_until", message, help: "" });
    }
    Ok(Credential {
        kind: written.kind,
        issuer: written.issuer,
        id: written.id,
        verified_by: written.verified_by,
        node: written.node,
        says,
        valid_from,
        valid_until,
    })
}

fn stated(name: &str) -> Option<&'static Operand> {
    match LeftOperand::parse(name) {
        Some(LeftOperand::Other(operand)) if operand.fact == Fact::Attribute => Some(operand),
        _ => None,
    }
}

fn stated_operands() -> impl Iterator<Item = &'static Operand> {
    Operand::all().filter(|operand| operand.fact == Fact::Attribute)
}

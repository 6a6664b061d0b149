//! Which members of a policy may be passed over: a clause must not be lost because it is misspelt.

use super::operand::is_annotation;
use super::{NotUnderstood, Value};
use crate::file::OFFER_MEMBER;
use crate::file::expression::{is_near, suggestion};
use crate::vocabulary::short;
use serde_json::Map;

/// The members of a policy that are known, by their short names.
const OF_POLICY: [&str; 18] = [
    "uid",
    "profile",
    "conflict",
    "inheritFrom",
    "assigner",
    "assignee",
    "target",
    "action",
    "permission",
    "prohibition",
    "obligation",
    // Refused where they are read, with a reason of their own.
    "constraint",
    "duty",
    "remedy",
    "refinement",
    // Of an agreement (DSP 2025-1).
    "timestamp",
    "title",
    "description",
];

/// The members of a rule or duty that are known.
const OF_RULE: [&str; 9] = [
    "uid",
    "action",
    "target",
    "assigner",
    "assignee",
    "constraint",
    "duty",
    "remedy",
    "consequence",
];

/// The keywords of JSON-LD that carry no clause; the others can hold or replace whole nodes.
const KEYWORDS: [&str; 3] = ["@context", "@id", "@type"];

/// What is done with a member of a policy that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is a property of another vocabulary, which DSP 2025-1 lets anybody add, unless it may be a clause: a term in the
    /// namespace of ODRL, a keyword, or what is most likely a term misspelt.
    Foreign,
    /// It is not understood.
    Refused,
}

/// The members of a policy that are not known and may not be passed over.
pub(super) fn not_known(object: &Map<String, Value>, unknown: Unknown) -> Vec<NotUnderstood> {
    let may_pass = |name: &str, member: &Value| match unknown {
        Unknown::Foreign => is_empty(member) || is_foreign(name),
        Unknown::Refused => is_annotation(name) || name == "comment" || name == OFFER_MEMBER,
    };
    let found = object.iter().filter(|(name, member)| {
        let known = KEYWORDS.contains(&name.as_str()) || OF_POLICY.contains(&short(name));
        !known && !may_pass(name, member)
    });
    let part = |(name, member): (&String, &Value)| NotUnderstood {
        member: name.clone(),
        reason: "is not a member of a policy that is known here".to_owned(),
        source: member.clone(),
    };
    found.map(part).collect()
}

/// What a member of a policy (`place` is `policy`) or of a rule that is not known was most likely meant to be.
pub(crate) fn meant(place: &str, name: &str) -> Option<String> {
    let known: &[&str] = if place == "policy" { &OF_POLICY } else { &OF_RULE };
    (!known.contains(&short(name))).then(|| suggestion(local(name), known))
}

/// The last part of an IRI or prefixed name.
fn local(name: &str) -> &str {
    name.rsplit(['/', '#', ':']).next().unwrap_or(name)
}

/// Whether a member is of another vocabulary than ODRL's, or of none.
fn is_foreign(name: &str) -> bool {
    let is_odrl = short(name) != name || name.contains("w3.org/ns/odrl");
    let local = local(name);
    let is_misspelt = OF_POLICY.iter().any(|term| *term == local || is_near(local, term));
    !is_odrl && !name.starts_with('@') && !is_misspelt
}

/// Whether a member says nothing.
pub(super) fn is_empty(member: &Value) -> bool {
    member.is_null() || member.as_array().is_some_and(Vec::is_empty)
}

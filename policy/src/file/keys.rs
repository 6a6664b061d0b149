//! The keys of policy files, by section: what the reader accepts and what the JSON Schema lists.

pub(super) const FILE: &[&str] = &[
    "title",
    "description",
    "priority",
    "who",
    "what",
    "valid",
    "permit",
    "prohibit",
    "duty",
    "offer",
    "conflict",
];
pub(super) const WHO: &[&str] =
    &["partners", "groups", "anyone-registered", "except-partners", "except-groups"];
pub(super) const WHAT: &[&str] = &["datasets", "tags"];
pub(super) const VALID: &[&str] = &["from", "until"];
pub(super) const DUTY: &[&str] = &["action", "policy", "within", "by", "when", "otherwise"];
pub(super) const OFFER: &[&str] = &["handling"];
pub(super) const GROUP: &[&str] = &["any-of", "one-of", "all-of", "in-order"];
/// The root of `restrictions.toml`.
pub(super) const RESTRICTIONS: &[&str] = &["title", "description", "prohibit"];
/// `[[prohibit]]` in `restrictions.toml`.
pub(super) const RESTRICTION: &[&str] = &[
    "actions",
    "when",
    "reason",
    "partners",
    "groups",
    "except-partners",
    "except-groups",
    "datasets",
    "tags",
];

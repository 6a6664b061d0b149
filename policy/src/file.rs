//! Policy files: TOML with ODRL terms, readable by a person who has never seen ODRL.
//!
//! ```toml
#![doc = include_str!("file/example.toml")]
//! ```
//!
//! `when` lists conditions that must all hold. A group such as `{ any-of = [ ] }` is one condition;
//! `one-of`, `all-of` and `in-order` are the others. `[valid]` bounds everything that is permitted
//! by `from` and `until`. `requires` lists duties that must be done before. Where a permission and a
//! prohibition meet, the prohibition wins unless the file says otherwise with `conflict`. Policies are
//! alternatives: each is an offer of its own, and `priority` says which is offered first (ADR 0022).

pub mod expression;
pub(crate) mod json;
mod json_places;
mod keys;
mod offering;
pub mod places;
mod reader;
pub mod restrictions;
mod rules;
pub mod schema;
#[cfg(test)]
mod tests;

use crate::classify::{Class, ClauseReport, classify};
use crate::diagnostic::{Diagnostic, Spot};
use crate::evaluate::Subject;
use crate::odrl::{Asset, Constraint, Kind, Policy, Rule, meant};
use crate::set::{Groups, Purposes};
use json_places::JsonText;
pub(crate) use offering::MEMBER as OFFER_MEMBER;
use offering::Offered;
pub use offering::export;
use places::Places;
use reader::Reader;
pub use restrictions::{Restriction, Restrictions};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How large a policy file may be, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// The file among the policies that is none: what the site prohibits to everybody.
pub const RESTRICTIONS_FILE: &str = "restrictions.toml";

/// How early an offer may be shown; a site with more policies than this in order has other troubles.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// The words of the site that a policy may use.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// Groups of partners.
    pub groups: &'a Groups,
    /// Purposes.
    pub purposes: &'a Purposes,
    /// Policies that others may inherit from, by identifier.
    pub parents: &'a BTreeMap<String, Policy>,
    /// What is done with a clause that this release cannot honour.
    pub unhonoured: Unhonoured,
}

/// What is done with a clause that this release cannot honour ([`Class::Refused`]) when a policy file is read. In both ways it
/// never grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unhonoured {
    /// The file is refused: strict mode.
    #[default]
    Refused,
    /// The file is taken. The clause denies what it concerns, and is named: to administrators, and to the partner with the
    /// agreement.
    Named,
}

/// A policy file, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFile {
    /// For people.
    pub title: String,
    /// For people.
    pub description: String,
    /// Who may know of the offer.
    pub audience: Audience,
    /// Identifiers of the datasets it offers.
    pub datasets: BTreeSet<String>,
    /// Tags of the datasets it offers.
    pub tags: BTreeSet<String>,
    /// Which offer of a dataset is shown first: the greater number.
    pub priority: i32,
    /// The terms: an ODRL Set without identifier, parties or target.
    pub terms: Policy,
    /// Where its clauses stand.
    pub places: Places,
    /// Who decides on requests for the offer.
    pub handling: Handling,
}

/// Who takes the steps of this side in a negotiation and in the transfers under its agreement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handling {
    /// The node itself, as the policy says.
    #[default]
    Auto,
    /// A person or an application, within what the policy permits.
    Manual,
}

/// Who may know of an offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience {
    /// Every registered partner.
    pub anyone_registered: bool,
    /// Participant ids.
    pub partners: BTreeSet<String>,
    /// Names of groups.
    pub groups: BTreeSet<String>,
    /// Participant ids that are left out, whatever else names them.
    pub except_partners: BTreeSet<String>,
    /// Groups whose members are left out.
    pub except_groups: BTreeSet<String>,
}

impl Audience {
    /// Whether a subject belongs to it.
    #[must_use]
    pub fn includes(&self, subject: &Subject) -> bool {
        let is_named = self.anyone_registered
            || self.partners.contains(&subject.participant)
            || !self.groups.is_disjoint(&subject.groups);
        let is_left_out = self.except_partners.contains(&subject.participant)
            || !self.except_groups.is_disjoint(&subject.groups);
        is_named && !is_left_out
    }
}

/// Reads one policy file: `.toml` in the form above, `.json` and `.jsonld` as ODRL.
///
/// # Errors
/// Every finding, each with its place and remedy.
pub fn read(name: &str, bytes: &[u8], words: &Words<'_>) -> Result<PolicyFile, Vec<Diagnostic>> {
    let text = decode(name, bytes).map_err(|finding| vec![finding])?;
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("toml") => toml_file(name, text, words),
        Some("json" | "jsonld") => json_file(name, text, words),
        _ => {
            let message = format!("`{name}` is no kind of policy file");
            let help = "name it .toml, or .jsonld when it is ODRL";
            Err(vec![Diagnostic::at(name, text, 0..0, message, help)])
        }
    }
}

/// The policy of an ODRL file that has an identifier, and where that stands. Nothing where there is none; what cannot be read
/// is found where the file itself is read.
pub(crate) fn identified(name: &str, bytes: &[u8]) -> Option<(Policy, Spot)> {
    if !(name.ends_with(".json") || name.ends_with(".jsonld")) {
        return None;
    }
    let text = decode(name, bytes).ok()?;
    let policy = Policy::from_file(&json::read(text).ok()?).ok()?;
    let places = JsonText::new(text);
    let root = places.clause("");
    let key = places.member(&root, "@id").or_else(|| places.member(&root, "uid"));
    (!policy.uid.is_empty()).then(|| (policy, Spot::of(text, key.unwrap_or_default())))
}

/// Reads [`RESTRICTIONS_FILE`].
///
/// # Errors
/// Every finding, each with its place and remedy.
pub fn read_restrictions(bytes: &[u8], words: &Words<'_>) -> Result<Restrictions, Vec<Diagnostic>> {
    let name = RESTRICTIONS_FILE;
    let text = decode(name, bytes).map_err(|finding| vec![finding])?;
    let root = toml_root(name, text)?;
    let mut reader = Reader::new(name, text, words);
    let found = restrictions::restrictions(&mut reader, root.get_ref());
    reader.finish(found)
}

/// Whether a file is most likely meant to be [`RESTRICTIONS_FILE`], and is not: a backup of an editor is none.
#[must_use]
pub fn is_nearly_restrictions(name: &str) -> bool {
    name != RESTRICTIONS_FILE
        && !name.ends_with('~')
        && expression::distance(name, RESTRICTIONS_FILE) <= 2
}

/// Where a clause stands in the text of its policy file, in whichever format.
pub(crate) fn clause_spot(
    name: &str,
    text: &str,
    places: &Places,
    terms: &Policy,
    clause: &ClauseReport,
) -> Spot {
    match name.ends_with(".json") || name.ends_with(".jsonld") {
        true => Spot::of(text, JsonText::new(text).part(clause)),
        false => places.clause(terms, clause),
    }
}

/// The name of a policy: that of its file without extension.
#[must_use]
pub fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// The text of a file in UTF-8, without byte order mark.
///
/// # Errors
/// When it is too large, or in another encoding, which is named where it can be told.
pub fn decode<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Diagnostic> {
    let finding = |message: String, help: &str| Diagnostic::at(name, "", 0..0, message, help);
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", bytes.len());
        return Err(finding(message, "split the policy"));
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(finding("the file is UTF-16".to_owned(), "save it as UTF-8"));
    }
    // No text of ours begins so; one of two bytes for each letter does.
    if bytes.iter().take(4).any(|byte| *byte == 0) {
        let message = "the file looks like UTF-16 without byte order mark".to_owned();
        return Err(finding(message, "save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let before = String::from_utf8_lossy(valid).into_owned();
        let encoding = guess(bytes.get(error.valid_up_to()..).unwrap_or_default());
        let message = format!("the file is not UTF-8{encoding}");
        Diagnostic::at(name, &before, before.len()..before.len(), message, "save it as UTF-8")
    })
}

/// Names the encoding that the bytes most likely are, as a help and no more.
fn guess(bytes: &[u8]) -> &'static str {
    // Letters with accents stand alone between others; Japanese ones seldom do.
    let is_alone = bytes.chunk_by(|one, other| one.is_ascii() == other.is_ascii());
    let mut runs = is_alone.filter(|run| run.first().is_some_and(|byte| !byte.is_ascii()));
    if runs.all(|run| matches!(run, [0xA0..=0xFF])) {
        return "; it looks like ISO 8859-1 (Latin-1) or Windows-1252";
    }
    match bytes {
        [0x81..=0x9F, ..] => "; it looks like Shift_JIS",
        [0xA1..=0xFE, 0xA1..=0xFE, ..] => "; it looks like EUC-JP",
        [0xE0..=0xEF, 0x40..=0xFC, ..] => "; it looks like Shift_JIS",
        _ => "",
    }
}

fn toml_file(name: &str, text: &str, words: &Words<'_>) -> Result<PolicyFile, Vec<Diagnostic>> {
    let root = toml_root(name, text)?;
    let mut reader = Reader::new(name, text, words);
    let file = rules::policy_file(&mut reader, root.get_ref());
    reader.finish(file)
}

fn toml_root<'t>(
    name: &str,
    text: &'t str,
) -> Result<toml::Spanned<toml::de::DeTable<'t>>, Vec<Diagnostic>> {
    toml::de::DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let help = "the file must be TOML: `key = value` lines under `[section]` lines";
        vec![Diagnostic::at(name, text, span, error.message(), help)]
    })
}

fn json_file(name: &str, text: &str, words: &Words<'_>) -> Result<PolicyFile, Vec<Diagnostic>> {
    let one =
        |span, message: String, help: &str| vec![Diagnostic::at(name, text, span, message, help)];
    if let Some(start) = json::too_deep(text) {
        let message = format!("the file is nested deeper than {} levels", json::MAX_LEVELS);
        return Err(one(
            start..start + 1,
            message,
            "a policy needs few levels: write its conditions side by side",
        ));
    }
    let value = json::read(text).map_err(|error| {
        let start = offset(text, error.line(), error.column());
        // The place stands beside the message; serde's text would say it again.
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        if error.is_data() {
            return one(start..start, reason.to_owned(), "join the two, or remove one");
        }
        let help = "mend the JSON here, or just before";
        one(start..start, format!("the file is not JSON: {reason}"), help)
    })?;
    let places = JsonText::new(text);
    let help =
        "an ODRL policy is an object with the members `permission`, `prohibition` or `obligation`";
    let terms = Policy::from_file(&value).map_err(|error| one(0..0, error.to_string(), help))?;
    let root = places.clause("");
    let inherit_from = places.member(&root, "inheritFrom").unwrap_or_default();
    let own_rules = (terms.permissions.len(), terms.prohibitions.len(), terms.obligations.len());
    let mut terms = (terms.inherited(|parent| words.parents.get(parent))).map_err(|error| {
        one(inherit_from.clone(), error.to_string(), "name a policy of another file by its `@id`")
    })?;
    let refused: Vec<_> = (classify(&terms).into_iter())
        .filter(|clause| clause.class == Class::Refused)
        .map(|clause| {
            let message = format!("{}: {}: {}", clause.place, clause.clause, clause.note);
            let (rule, part) = (places.clause(&clause.place), places.part(&clause));
            // A member that is not known is shown itself, with what was most likely meant.
            let unknown = clause.clause.split_once(": ").and_then(|(member, _)| {
                Some((places.member(&rule, member)?, meant(&clause.place, member)?))
            });
            if let Some((key, help)) = unknown {
                return Diagnostic::at(name, text, key, message, help);
            }
            let help = "this node refuses what it cannot honour; remove the clause or write it with known terms";
            Diagnostic::at(name, text, part, message, help)
        })
        .collect();
    if words.unhonoured == Unhonoured::Refused && !refused.is_empty() {
        return Err(refused);
    }
    let with_target = |(kind, own, targets): (&'static str, usize, Vec<Option<&Asset>>)| {
        let index = targets.iter().position(Option::is_some)?;
        let target = targets.get(index).copied().flatten()?.clone();
        Some((kind, index, index >= own, target))
    };
    let obligations = terms.obligations.iter();
    // The target of a duty `nextPolicy` is the policy that it names.
    let of_duties = obligations.map(|duty| duty.target.as_ref().filter(|_| !duty.is_next_policy()));
    let rules = [
        ("permission", own_rules.0, targets(&terms.permissions)),
        ("prohibition", own_rules.1, targets(&terms.prohibitions)),
        ("obligation", own_rules.2, of_duties.collect()),
    ];
    match rules.into_iter().find_map(with_target) {
        Some((_, _, true, target)) => {
            let message = format!(
                "what it inherits is about `{}`, and it is about another target: no DSP offer can have both",
                target.id
            );
            let help = "remove the target of the policy that it inherits from; its rules are then about this one's";
            return Err(one(inherit_from, message, help));
        }
        Some((kind, index, false, _)) => {
            let span = places.clause(&format!("{kind} {}", index + 1));
            let help = "give the policy one target, or one file for each dataset";
            let message = format!("this {kind} has its own target, which no DSP offer can have");
            return Err(one(span, message, help));
        }
        None => {}
    }
    let title = ["title", "dct:title", "dcterms:title"];
    let title = title.iter().find_map(|key| value.get(*key)?.as_str()).unwrap_or(stem(name));
    let assignee = terms.assignee.take();
    let target = terms.target.take();
    // Who may know of an offer, and of which dataset, is decided by name; what members must satisfy besides becomes a
    // condition of every rule, so that it is judged with it.
    let refinements = assignee.iter().flat_map(|party| &party.refinements);
    let refinements = refinements.chain(target.iter().flat_map(|asset| &asset.refinements));
    let refinements: Vec<Constraint> = refinements.cloned().collect();
    for rule in terms.permissions.iter_mut().chain(&mut terms.prohibitions) {
        rule.constraints.extend_from_slice(&refinements);
    }
    let own = value.get(offering::MEMBER);
    let named = assignee.is_some() || target.is_some();
    let offered = match own {
        Some(own) => {
            let place = text.find(offering::MEMBER).unwrap_or_default();
            let place = place..place + offering::MEMBER.len();
            if named {
                let message = format!("`{}` stands beside an assignee or target", offering::MEMBER);
                let help =
                    "say once to whom the policy is offered, and on what: remove one of the two";
                return Err(one(place, message, help));
            }
            offering::read(own, words).map_err(|(message, help)| one(place, message, &help))?
        }
        None => {
            let Some(assignee) = assignee.map(|party| party.id) else {
                return Err(one(
                    0..0,
                    "the policy does not say to whom it is offered".to_owned(),
                    TO_WHOM,
                ));
            };
            // A target may be a dataset or one of our tags; it is looked up as both.
            let datasets: BTreeSet<String> = target.into_iter().map(|asset| asset.id).collect();
            Offered {
                audience: Audience {
                    // An assignee may be a partner or a group of ours; it is looked up as both.
                    partners: [assignee.clone()].into(),
                    groups: [assignee].into(),
                    ..Audience::default()
                },
                tags: datasets.clone(),
                datasets,
                ..Offered::default()
            }
        }
    };
    (terms.uid, terms.kind, terms.assigner) = (String::new(), Kind::Set, None);
    Ok(PolicyFile {
        title: title.to_owned(),
        description: offered.description,
        audience: offered.audience,
        datasets: offered.datasets,
        tags: offered.tags,
        priority: offered.priority,
        terms,
        places: places.places(),
        handling: offered.handling,
    })
}

/// What an ODRL file lacks that names nobody: nothing is open by omission.
const TO_WHOM: &str = "add \"assignee\": \"GROUP or participant id\"; or, to offer it to every registered partner, \
    \"urn:sekisho:v1:offer\": { \"who\": { \"anyone-registered\": true }, \"what\": { \"datasets\": [\"ID\"] } } in place of a target";

fn targets(rules: &[Rule]) -> Vec<Option<&Asset>> {
    rules.iter().map(|rule| rule.target.as_ref()).collect()
}

/// The byte offset of a line and column, both from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

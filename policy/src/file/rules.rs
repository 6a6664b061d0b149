//! Compiles the sections of a policy file into ODRL.

use super::expression;
use super::places::{Places, RulePlaces};
use super::reader::{Reader, Text, kind};
use super::{Audience, Handling, PRIORITIES, PolicyFile, keys};
use crate::diagnostic::Spot;
use crate::odrl::{
    Action, Asset, Atomic, Conflict, Connective, Constraint, Duty, Kind, LeftOperand, Logical,
    Operator, Policy, RightOperand, Rule,
};
use crate::vocabulary;
use serde_json::json;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How deep groups of conditions may stand in each other.
const MAX_GROUPS: usize = 8;
/// How many consequences may follow one another.
const MAX_CONSEQUENCES: usize = 2;

pub(super) fn policy_file(reader: &mut Reader<'_>, root: &DeTable<'_>) -> PolicyFile {
    reader.known(root, "a policy file", keys::FILE);
    let title = reader.text(root, "title");
    if title.is_none() && !root.contains_key("title") {
        reader.finding(0..0, "the policy has no title", "write title = \"…\" in the first line");
    }
    let description = reader.text(root, "description");
    let audience = audience(reader, root);
    let (datasets, tags) = what(reader, root);
    let handling = handling(reader, root);
    let priority = reader.number(root, "priority", PRIORITIES).unwrap_or_default();
    let (terms, places) = terms(reader, root);
    PolicyFile {
        title: title.map(|text| text.value).unwrap_or_default(),
        description: description.map(|text| text.value).unwrap_or_default(),
        audience,
        datasets,
        tags,
        priority,
        terms,
        places,
        handling,
    }
}

fn audience(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Audience {
    let Some(who) = reader.table(root, "who") else {
        if !root.contains_key("who") {
            reader.finding(
                0..0,
                "the policy does not say who may see the offer",
                "add [who] with partners = [\"…\"], groups = [\"…\"] or anyone-registered = true",
            );
        }
        return Audience::default();
    };
    reader.known(who, "[who]", keys::WHO);
    let audience = named_parties(reader, who, "except-groups");
    if !audience.anyone_registered && audience.partners.is_empty() && audience.groups.is_empty() {
        let help =
            "add partners = [\"…\"], groups = [\"…\"] or anyone-registered = true under [who]";
        reader.finding(0..0, "[who] names nobody, so nobody would see the offer", help);
    }
    audience
}

/// The parties that a table names and leaves out. `withholding` is the key of the groups whose members get less by it.
pub(super) fn named_parties(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    withholding: &str,
) -> Audience {
    let mut groups = |key: &str| {
        let groups = reader.texts(table, key);
        if key == withholding {
            refuse_misspelt(reader, &groups);
        }
        named(groups)
    };
    let (groups, except_groups) = (groups("groups"), groups("except-groups"));
    Audience {
        anyone_registered: reader.flag(table, "anyone-registered"),
        partners: named(reader.texts(table, "partners")),
        groups,
        except_partners: named(reader.texts(table, "except-partners")),
        except_groups,
    }
}

/// A group without members matches nobody, and is only warned of ([`crate::set::RuleSet::unknown_groups`]): its last member may
/// have left. Where that would give somebody more than was meant, a name that is nearly another's is taken for misspelt.
fn refuse_misspelt(reader: &mut Reader<'_>, groups: &[Text]) {
    let known = reader.words.groups;
    for group in groups.iter().filter(|group| !known.contains_key(&group.value)) {
        if let Some(near) = known.keys().find(|known| expression::is_near(known, &group.value)) {
            let message = format!("no partner is in a group `{}`", group.value);
            reader.finding(group.span.clone(), message, format!("did you mean `{near}`?"));
        }
    }
}

fn what(reader: &mut Reader<'_>, root: &DeTable<'_>) -> (BTreeSet<String>, BTreeSet<String>) {
    // Without [what] the policy offers the datasets that are published under its name.
    let Some(what) = reader.table(root, "what") else { return Default::default() };
    reader.known(what, "[what]", keys::WHAT);
    (named(reader.texts(what, "datasets")), named(reader.texts(what, "tags")))
}

/// Who decides on requests for the offer: the policy alone, or a person within what it permits.
fn handling(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Handling {
    let Some(offer) = reader.table(root, "offer") else { return Handling::default() };
    reader.known(offer, "[offer]", keys::OFFER);
    let Some(text) = reader.text(offer, "handling") else { return Handling::default() };
    match text.value.as_str() {
        "auto" => Handling::Auto,
        "manual" => Handling::Manual,
        other => {
            let message = format!("requests cannot be handled as `{other}`");
            let help =
                "write \"auto\" (the policy alone decides) or \"manual\" (a person decides too)";
            reader.finding(text.span, message, help);
            Handling::default()
        }
    }
}

fn terms(reader: &mut Reader<'_>, root: &DeTable<'_>) -> (Policy, Places) {
    let (mut permissions, mut permission_places) = rules(reader, root, "permit", "requires");
    for (constraint, spot) in validity(reader, root) {
        permissions.iter_mut().for_each(|rule| rule.constraints.push(constraint.clone()));
        permission_places.iter_mut().for_each(|place| place.constraints.push(spot));
    }
    let (prohibitions, prohibition_places) = rules(reader, root, "prohibit", "remedy");
    let (mut obligations, mut obligation_places) = (Vec::new(), Vec::new());
    for (span, table) in reader.tables(root, "duty") {
        let spot = reader.spot(span.clone());
        if let Some(duty) = duty(reader, span, table, "[[duty]]", MAX_CONSEQUENCES) {
            obligations.push(duty);
            obligation_places.push(spot);
        }
    }
    if !root.contains_key("permit") {
        reader.finding(
            0..0,
            "the policy permits nothing, so its offer could never be used",
            "add a line [[permit]] and under it actions = [\"use\"]",
        );
    }
    let terms = Policy {
        uid: String::new(),
        kind: Kind::Set,
        profiles: Vec::new(),
        conflict: conflict(reader, root, prohibitions.is_empty()),
        assigner: None,
        assignee: None,
        target: None,
        inherits: Vec::new(),
        permissions,
        prohibitions,
        obligations,
        not_understood: Vec::new(),
    };
    let places = Places {
        permissions: permission_places,
        prohibitions: prohibition_places,
        obligations: obligation_places,
    };
    (terms, places)
}

/// ODRL's default would void every policy that permits `use` and prohibits part of it, so a file
/// with prohibitions says explicitly that they win.
fn conflict(reader: &mut Reader<'_>, root: &DeTable<'_>, permits_only: bool) -> Conflict {
    let default = if permits_only { Conflict::Invalid } else { Conflict::Prohibit };
    let Some(text) = reader.text(root, "conflict") else { return default };
    match text.value.as_str() {
        "prohibit" => Conflict::Prohibit,
        "perm" => Conflict::Perm,
        "invalid" => Conflict::Invalid,
        other => {
            let message = format!("`{other}` is not a conflict strategy");
            let help = "write \"prohibit\" (the prohibition wins), \"perm\" (the permission wins) or \"invalid\"";
            reader.finding(text.span, message, help);
            Conflict::Invalid
        }
    }
}

/// The rules of one kind with their places. An entry with several actions is several rules, as the wire form needs them.
pub(super) fn rules(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
    section: &str,
    duty_key: &str,
) -> (Vec<Rule>, Vec<RulePlaces>) {
    let (mut rules, mut places) = (Vec::new(), Vec::new());
    for (span, table) in reader.tables(root, section) {
        reader.known(table, &format!("[[{section}]]"), &["actions", "when", duty_key]);
        let (found, place) = rule(reader, span, table, section, duty_key);
        places.extend(found.iter().map(|_| place.clone()));
        rules.extend(found);
    }
    (rules, places)
}

/// The rules of one entry, one for each action, and where the entry stands.
pub(super) fn rule(
    reader: &mut Reader<'_>,
    span: Range<usize>,
    table: &DeTable<'_>,
    section: &str,
    duty_key: &str,
) -> (Vec<Rule>, RulePlaces) {
    let mut place = RulePlaces { rule: reader.spot(span.clone()), ..RulePlaces::default() };
    let listed = actions(reader, table, "actions");
    if listed.is_empty() && reader.list(table, "actions").is_empty() {
        let message = format!("this [[{section}]] names no action");
        reader.finding(span, message, "add actions = [\"use\"]");
    }
    let mut constraints = Vec::new();
    for (constraint, spot) in conditions(reader, table) {
        constraints.push(constraint);
        place.constraints.push(spot);
    }
    // A remedy may not have a consequence of its own (IM 2.6.7).
    let depth = if duty_key == "requires" { MAX_CONSEQUENCES } else { 0 };
    let mut duties = Vec::new();
    for (duty, spot) in duties_of(reader, table, duty_key, depth) {
        duties.push(duty);
        place.duties.push(spot);
    }
    let rules = listed
        .into_iter()
        .map(|action| Rule {
            actions: vec![action],
            constraints: constraints.clone(),
            duties: duties.clone(),
            ..Rule::default()
        })
        .collect();
    (rules, place)
}

/// Duties under a key: an action's name, or a section as under `[[duty]]`.
fn duties_of(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    key: &str,
    depth: usize,
) -> Vec<(Duty, Spot)> {
    let mut duties = Vec::new();
    for entry in reader.list(table, key) {
        let spot = reader.spot(entry.span());
        let found = match entry.get_ref() {
            DeValue::String(text) => {
                let text = Text { value: text.to_string(), span: entry.span() };
                let action = action(reader, text);
                action.map(|action| Duty { actions: vec![action], ..Duty::default() })
            }
            DeValue::Table(table) => {
                duty(reader, entry.span(), table, &format!("a duty under `{key}`"), depth)
            }
            other => {
                let message = format!("a duty must be a text or a section, not {}", kind(other));
                let help = format!(
                    "write {key} = [\"delete\"] or {key} = [{{ action = \"delete\", within = \"P30D\" }}]"
                );
                reader.finding(entry.span(), message, help);
                None
            }
        };
        duties.extend(found.map(|duty| (duty, spot)));
    }
    duties
}

fn actions(reader: &mut Reader<'_>, table: &DeTable<'_>, key: &str) -> Vec<Action> {
    let texts = reader.texts(table, key);
    texts.into_iter().filter_map(|text| action(reader, text)).collect()
}

fn action(reader: &mut Reader<'_>, text: Text) -> Option<Action> {
    let name = vocabulary::short(&text.value);
    if vocabulary::is_action(name) {
        return Some(Action { name: name.to_owned(), refinements: Vec::new() });
    }
    let message = format!("`{}` is not an ODRL action", text.value);
    let help = expression::suggestion(name, &vocabulary::actions());
    reader.finding(text.span, message, help);
    None
}

/// One duty. `depth` is how many consequences may follow one another.
fn duty(
    reader: &mut Reader<'_>,
    span: Range<usize>,
    table: &DeTable<'_>,
    section: &str,
    depth: usize,
) -> Option<Duty> {
    reader.known(table, section, keys::DUTY);
    let Some(text) = reader.text(table, "action") else {
        if !table.contains_key("action") {
            let message = if section.starts_with('[') {
                format!("this {section} names no action")
            } else {
                format!("{section} names no action")
            };
            reader.finding(span, message, "add action = \"delete\"");
        }
        return None;
    };
    let action = action(reader, text)?;
    let mut constraints: Vec<_> =
        conditions(reader, table).into_iter().map(|(constraint, _)| constraint).collect();
    constraints.extend(deadline(reader, table, "within", LeftOperand::ElapsedTime));
    constraints.extend(deadline(reader, table, "by", LeftOperand::DateTime));
    let otherwise = match depth.checked_sub(1) {
        Some(depth) => duties_of(reader, table, "otherwise", depth),
        None => {
            if let Some(value) = table.get("otherwise") {
                let message = format!("{section} cannot have a consequence of its own");
                let help = "ODRL allows none there; write it as a [[duty]] of the policy";
                reader.finding(value.span(), message, help);
            }
            Vec::new()
        }
    };
    let consequences = otherwise.into_iter().map(|(duty, _)| duty).collect();
    let named = reader.text(table, "policy");
    let target =
        named.as_ref().map(|text| Asset { id: text.value.clone(), refinements: Vec::new() });
    let duty = Duty { actions: vec![action], target, constraints, consequences, ..Duty::default() };
    if let Some(named) = named.filter(|_| !duty.is_next_policy()) {
        let help = "remove it, or write action = \"nextPolicy\"";
        reader.finding(named.span, "only the duty `nextPolicy` names a policy", help);
    }
    Some(duty)
}

fn deadline(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    key: &str,
    left: LeftOperand,
) -> Option<Constraint> {
    let help =
        "`within` counts from the agreement, like \"P30D\"; `by` is an instant with its zone";
    bound(reader, table, key, (left, Operator::Lteq), help)
}

/// A key that is one comparison, such as `until`.
fn bound(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    key: &str,
    (left, operator): (LeftOperand, Operator),
    help: &str,
) -> Option<Constraint> {
    let text = reader.text_or_date(table, key)?;
    match Atomic::new(left, operator, &json!(text.value)) {
        Ok(atomic) => Some(Constraint::Atomic(atomic)),
        Err(reason) => {
            reader.finding(text.span, format!("`{key}` {reason}"), help);
            None
        }
    }
}

/// The time in which everything permitted is permitted: from its first instant, and before its last.
fn validity(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Vec<(Constraint, Spot)> {
    let Some(valid) = reader.table(root, "valid") else { return Vec::new() };
    reader.known(valid, "[valid]", keys::VALID);
    let help = "write an instant with its zone, like 2027-01-01T00:00:00+09:00";
    let bounds = [("from", Operator::Gteq), ("until", Operator::Lt)];
    let mut found = Vec::new();
    for (key, operator) in bounds {
        let constraint = bound(reader, valid, key, (LeftOperand::DateTime, operator), help);
        let span = valid.get(key).map(Spanned::span).unwrap_or_default();
        found.extend(constraint.map(|constraint| (constraint, reader.spot(span))));
    }
    found
}

pub(super) fn conditions(reader: &mut Reader<'_>, table: &DeTable<'_>) -> Vec<(Constraint, Spot)> {
    let mut found = Vec::new();
    for entry in reader.list(table, "when") {
        let spot = reader.spot(entry.span());
        found.extend(condition(reader, entry, 0).map(|constraint| (constraint, spot)));
    }
    found
}

fn condition(
    reader: &mut Reader<'_>,
    entry: &Spanned<DeValue<'_>>,
    depth: usize,
) -> Option<Constraint> {
    match entry.get_ref() {
        DeValue::String(text) => {
            simple(reader, &Text { value: text.to_string(), span: entry.span() })
        }
        DeValue::Table(group) => connected(reader, entry.span(), group, depth),
        other => {
            let message = format!("a condition must be a text or a group, not {}", kind(other));
            reader.finding(
                entry.span(),
                message,
                "write \"count lteq 10\" or { any-of = [\"…\", \"…\"] }",
            );
            None
        }
    }
}

fn simple(reader: &mut Reader<'_>, text: &Text) -> Option<Constraint> {
    match expression::parse(&text.value) {
        Ok(constraint) => {
            unknown_words(reader, text, &constraint);
            Some(constraint)
        }
        Err(error) => {
            let span = reader.within(text, error.span);
            reader.finding(span, error.message, error.help);
            None
        }
    }
}

/// A purpose that the site does not list is most likely misspelt, and would silently never be met.
fn unknown_words(reader: &mut Reader<'_>, text: &Text, constraint: &Constraint) {
    let Constraint::Atomic(atomic) = constraint else { return };
    let (LeftOperand::Purpose, RightOperand::Terms(terms)) = (atomic.left, &atomic.right) else {
        return;
    };
    let purposes = reader.words.purposes;
    for term in terms.iter().filter(|term| !purposes.knows(term)) {
        let start = text.value.find(term.as_str()).unwrap_or_default();
        let span = reader.within(text, start..start + term.len());
        let known: Vec<_> = purposes.iter().map(|(name, _)| name.as_str()).collect();
        let help = expression::suggestion(term, &known);
        reader.finding(span, format!("`{term}` is not a purpose of this site"), help);
    }
}

fn connected(
    reader: &mut Reader<'_>,
    span: Range<usize>,
    group: &DeTable<'_>,
    depth: usize,
) -> Option<Constraint> {
    let names = [
        ("any-of", Connective::Or),
        ("one-of", Connective::Xone),
        ("all-of", Connective::And),
        ("in-order", Connective::AndSequence),
    ];
    reader.known(group, "a group of conditions", keys::GROUP);
    let mut given = names.iter().filter(|(name, _)| group.contains_key(*name));
    let (Some((name, connective)), None) = (given.next(), given.next()) else {
        let help = "write exactly one of any-of, one-of, all-of, in-order";
        reader.finding(span, "a group of conditions has one key", help);
        return None;
    };
    if depth >= MAX_GROUPS {
        let message = format!("groups stand more than {MAX_GROUPS} deep in each other");
        reader.finding(span, message, "write simpler conditions");
        return None;
    }
    let entries = reader.list(group, name);
    if entries.is_empty() {
        reader.finding(span, format!("`{name}` lists no condition"), "add conditions or remove it");
        return None;
    }
    let operands: Vec<_> =
        entries.iter().filter_map(|entry| condition(reader, entry, depth + 1)).collect();
    Some(Constraint::Logical(Logical { connective: *connective, operands, uid: None }))
}

pub(super) fn named(texts: Vec<Text>) -> BTreeSet<String> {
    texts.into_iter().map(|text| text.value).collect()
}

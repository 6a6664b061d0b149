//! Reads compact JSON-LD into the model. Total: every JSON value becomes a policy or a [`ReadError`].

use super::members::{Unknown, is_empty, not_known};
use super::operand::{atomic, fits_type, is_annotation, list, literal_type, number, text};
use super::{
    Action, Asset, Atomic, Conflict, Connective, Constraint, Duty, Kind, LeftOperand, Logical,
    MAX_DEPTH, MAX_LIST, MAX_NODES, NotUnderstood, Operator, Party, Policy, ReadError,
    RightOperand, Rule, TARGET_SHA256,
};
use crate::vocabulary::{short, short_action};
use serde_json::{Map, Value};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

type Object = Map<String, Value>;
type Members<'a> = BTreeMap<&'a str, &'a Value>;

pub(super) fn policy(value: &Value, unknown: Unknown) -> Result<Policy, ReadError> {
    within_limits(value)?;
    let object = value
        .as_object()
        .ok_or_else(|| ReadError::Shape { place: "policy".to_owned(), expected: "an object" })?;
    let mut policy = Policy {
        uid: String::new(),
        kind: kind(object)?,
        profiles: Vec::new(),
        conflict: Conflict::default(),
        assigner: None,
        assignee: None,
        target: None,
        inherits: Vec::new(),
        permissions: Vec::new(),
        prohibitions: Vec::new(),
        obligations: Vec::new(),
        not_understood: not_known(object, unknown),
    };
    let mut shared = None;
    for (name, member) in members(object, &mut policy.not_understood) {
        if name == "action" {
            shared = Some(member);
        } else {
            policy_member(&mut policy, name, member)?;
        }
    }
    share_actions(&mut policy, shared);
    if policy.permissions.is_empty()
        && policy.prohibitions.is_empty()
        && policy.obligations.is_empty()
        && policy.inherits.is_empty()
        && policy.not_understood.is_empty()
    {
        return Err(ReadError::Empty);
    }
    Ok(policy)
}

/// An action of the policy is that of each rule which has none of its own (IM 2.7.2). In a policy that denies as a
/// whole it stays where it is.
fn share_actions(policy: &mut Policy, member: Option<&Value>) {
    let mut shared = Vec::new();
    if let Some(member) = member.filter(|member| !list(member).is_empty()) {
        let mut unknown = Vec::new();
        let read = actions(member, &mut unknown);
        if policy.not_understood.is_empty() && unknown.is_empty() {
            shared = read;
        } else {
            let reason = "stands beside what is not understood";
            policy.not_understood.push(not_understood("action", reason, member));
        }
    }
    let rules = policy.permissions.iter_mut().chain(&mut policy.prohibitions);
    let parts = rules.map(|rule| (&mut rule.actions, &mut rule.not_understood));
    let duties = policy.obligations.iter_mut();
    let parts = parts.chain(duties.map(|duty| (&mut duty.actions, &mut duty.not_understood)));
    for (actions, unknown) in parts.filter(|(actions, _)| actions.is_empty()) {
        if shared.is_empty() {
            unknown.push(not_understood("action", "is missing", &Value::Null));
        }
        actions.extend_from_slice(&shared);
    }
}

fn policy_member(policy: &mut Policy, name: &str, member: &Value) -> Result<(), ReadError> {
    let unknown = &mut policy.not_understood;
    match name {
        "@id" => match text(member) {
            Some(uid) if !uid.is_empty() => uid.clone_into(&mut policy.uid),
            _ => unknown.push(not_understood(name, "is not an identifier", member)),
        },
        "profile" => {
            for profile in list(member) {
                match text(profile) {
                    Some(profile) => policy.profiles.push(profile.to_owned()),
                    None => unknown.push(not_understood(name, "is not an identifier", profile)),
                }
            }
        }
        "conflict" => match text(member).map(short) {
            Some("perm") => policy.conflict = Conflict::Perm,
            Some("prohibit") => policy.conflict = Conflict::Prohibit,
            Some("invalid") => policy.conflict = Conflict::Invalid,
            _ => unknown.push(not_understood(
                name,
                "is none of `perm`, `prohibit`, `invalid`",
                member,
            )),
        },
        "assigner" => policy.assigner = party(name, member, unknown),
        "assignee" => policy.assignee = party(name, member, unknown),
        "target" => policy.target = asset(name, member, unknown),
        "permission" => policy.permissions = rules(name, "duty", member)?,
        "prohibition" => policy.prohibitions = rules(name, "remedy", member)?,
        "obligation" => policy.obligations = duties(name, member)?,
        "inheritFrom" => {
            for parent in list(member) {
                match text(parent) {
                    Some(parent) => policy.inherits.push(parent.to_owned()),
                    None => unknown.push(not_understood(name, "is not an identifier", parent)),
                }
            }
        }
        // The information model has no such members of a policy: their meaning must not be lost.
        "constraint" | "duty" | "remedy" | "refinement" => unknown.push(not_understood(
            name,
            "is not supported at the level of the policy",
            member,
        )),
        _ => {}
    }
    Ok(())
}

fn kind(object: &Object) -> Result<Kind, ReadError> {
    let Some(value) = object.get("@type") else { return Ok(Kind::Set) };
    let shown = text(value).unwrap_or_default();
    match short(shown) {
        "Set" | "Policy" => Ok(Kind::Set),
        "Offer" => Ok(Kind::Offer),
        "Agreement" => Ok(Kind::Agreement),
        _ => Err(ReadError::UnknownKind { kind: shown.to_owned() }),
    }
}

fn rules(place: &str, duty_member: &str, value: &Value) -> Result<Vec<Rule>, ReadError> {
    list(value)
        .iter()
        .map(|value| match value.as_object() {
            Some(object) => Ok(rule(object, duty_member)?),
            None => {
                Err(ReadError::Shape { place: place.to_owned(), expected: "a list of objects" })
            }
        })
        .collect()
}

fn rule(object: &Object, duty_member: &str) -> Result<Rule, ReadError> {
    let mut rule = Rule::default();
    for (name, member) in members(object, &mut rule.not_understood) {
        let unknown = &mut rule.not_understood;
        match name {
            "@id" => rule.uid = text(member).map(str::to_owned),
            "action" => rule.actions = actions(member, unknown),
            "target" => rule.target = asset("target", member, unknown),
            "assigner" => rule.assigner = party("assigner", member, unknown),
            "assignee" => rule.assignee = party("assignee", member, unknown),
            "constraint" => rule.constraints = constraints(member),
            other if other == duty_member => rule.duties = nested_duties(other, member)?,
            other => annotation(other, member, unknown),
        }
    }
    // A remedy is what makes up for an infringement; it may not itself have a consequence (IM 2.6.7).
    if duty_member == "remedy" && rule.duties.iter().any(|remedy| !remedy.consequences.is_empty()) {
        rule.not_understood.push(not_understood(
            "remedy",
            "has a consequence, which a remedy cannot have",
            &Value::Null,
        ));
    }
    Ok(rule)
}

fn duties(place: &str, value: &Value) -> Result<Vec<Duty>, ReadError> {
    list(value)
        .iter()
        .map(|value| match value.as_object() {
            Some(object) => duty(object),
            None => {
                Err(ReadError::Shape { place: place.to_owned(), expected: "a list of objects" })
            }
        })
        .collect()
}

/// Duties of a rule or duty: each names its own action.
fn nested_duties(place: &str, value: &Value) -> Result<Vec<Duty>, ReadError> {
    let mut duties = duties(place, value)?;
    for duty in duties.iter_mut().filter(|duty| duty.actions.is_empty()) {
        duty.not_understood.push(not_understood("action", "is missing", &Value::Null));
    }
    Ok(duties)
}

fn duty(object: &Object) -> Result<Duty, ReadError> {
    let mut duty = Duty::default();
    for (name, member) in members(object, &mut duty.not_understood) {
        let unknown = &mut duty.not_understood;
        match name {
            "@id" => duty.uid = text(member).map(str::to_owned),
            "action" => duty.actions = actions(member, unknown),
            "target" => duty.target = asset("target", member, unknown),
            "assigner" => duty.assigner = party("assigner", member, unknown),
            "assignee" => duty.assignee = party("assignee", member, unknown),
            "constraint" => duty.constraints = constraints(member),
            TARGET_SHA256 => match sha256(member) {
                Some(digest) => duty.target_sha256 = Some(digest),
                None => {
                    unknown.push(not_understood(name, "is no SHA-256 in hexadecimal", member));
                }
            },
            "consequence" => duty.consequences = nested_duties("consequence", member)?,
            other => annotation(other, member, unknown),
        }
    }
    Ok(duty)
}

fn sha256(member: &Value) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text(member)?, &mut digest).ok()?;
    Some(digest)
}

/// Members of a rule that carry no meaning for it are let pass; any other is kept as not understood.
fn annotation(name: &str, member: &Value, unknown: &mut Vec<NotUnderstood>) {
    let harmless = matches!(name, "@type" | "@context" | "title" | "description" | "comment")
        || is_annotation(name);
    let empty = member.as_array().is_some_and(Vec::is_empty);
    if !harmless && !empty {
        unknown.push(not_understood(name, "is not a member of a rule that is known here", member));
    }
}

fn actions(value: &Value, unknown: &mut Vec<NotUnderstood>) -> Vec<Action> {
    let mut actions = Vec::new();
    for value in list(value) {
        match action(value) {
            Some(action) => actions.push(action),
            None => unknown.push(not_understood("action", "is not an action", value)),
        }
    }
    actions
}

fn action(value: &Value) -> Option<Action> {
    let plain =
        |name: &str| Action { name: short_action(name).to_owned(), refinements: Vec::new() };
    let object = match value {
        Value::String(name) => return Some(plain(name)),
        Value::Object(object) => object,
        _ => return None,
    };
    let mut name = None;
    let mut refinements = Vec::new();
    for (key, member) in object {
        match short(key) {
            "@id" | "@value" | "rdf:value" | "value" | "type" => {
                let given = text(member);
                if name.is_some() && name != given {
                    // Which of two names counts is not defined.
                    return None;
                }
                name = given;
            }
            "refinement" => refinements = constraints(member),
            "@type" => {}
            other => refinements.push(Constraint::NotUnderstood(not_understood(
                other,
                "is not a member of an action that is known here",
                member,
            ))),
        }
    }
    Some(Action { refinements, ..plain(name?) })
}

fn party(name: &str, value: &Value, unknown: &mut Vec<NotUnderstood>) -> Option<Party> {
    if let Some(id) = text(value) {
        let collection = value.as_object().is_some_and(|object| object.len() > 1);
        if !collection {
            return Some(Party { id: id.to_owned(), refinements: Vec::new() });
        }
    }
    let read = value.as_object().and_then(collection);
    let read = read.map(|(id, refinements)| Party { id, refinements });
    if read.is_none() {
        unknown.push(not_understood(name, "is not a party that is known here", value));
    }
    read
}

fn asset(name: &str, value: &Value, unknown: &mut Vec<NotUnderstood>) -> Option<Asset> {
    let read = match value {
        Value::Object(object)
            if object.keys().any(|key| matches!(short(key), "refinement" | "source")) =>
        {
            collection(object)
        }
        _ => text(value).map(|id| (id.to_owned(), Vec::new())),
    };
    let asset = read.map(|(id, refinements)| Asset { id, refinements });
    if asset.is_none() {
        unknown.push(not_understood(name, "is not one dataset or collection", value));
    }
    asset
}

/// A collection: what it is a part of, and what its members satisfy.
fn collection(object: &Object) -> Option<(String, Vec<Constraint>)> {
    let (mut id, mut refinements) = (String::new(), Vec::new());
    for (key, member) in object {
        match short(key) {
            "source" => text(member)?.clone_into(&mut id),
            // Without `source` the identifier of the collection itself names the members.
            "@id" | "uid" if id.is_empty() => text(member)?.clone_into(&mut id),
            "refinement" => refinements = constraints(member),
            "@id" | "uid" | "@type" => {}
            _ => return None,
        }
    }
    (!id.is_empty()).then_some((id, refinements))
}

fn constraints(value: &Value) -> Vec<Constraint> {
    list(value).iter().map(constraint).collect()
}

pub(super) fn constraint(value: &Value) -> Constraint {
    let unknown = |reason: String| {
        Constraint::NotUnderstood(NotUnderstood {
            member: "constraint".to_owned(),
            reason,
            source: value.clone(),
        })
    };
    let Some(object) = value.as_object() else { return unknown("is not an object".to_owned()) };
    let mut repeated = Vec::new();
    let members = members(object, &mut repeated);
    if let Some(part) = repeated.first() {
        return unknown(format!("has the member `{}`, which {}", part.member, part.reason));
    }
    let read = match connective(&members) {
        Ok(Some((connective, operands))) => logical(&members, connective, operands),
        Ok(None) => comparison(&members),
        Err(reason) => Err(reason),
    };
    read.unwrap_or_else(unknown)
}

fn connective<'a>(members: &Members<'a>) -> Result<Option<(Connective, &'a Value)>, String> {
    let mut found = None;
    for (name, member) in members {
        let connective = match *name {
            "and" => Connective::And,
            "andSequence" => Connective::AndSequence,
            "or" => Connective::Or,
            "xone" => Connective::Xone,
            _ => continue,
        };
        if found.replace((connective, *member)).is_some() {
            return Err("has more than one logical operator".to_owned());
        }
    }
    Ok(found)
}

fn logical(
    members: &Members<'_>,
    connective: Connective,
    value: &Value,
) -> Result<Constraint, String> {
    let mut uid = None;
    for (name, member) in members {
        match *name {
            "@id" => uid = text(member).map(str::to_owned),
            "@type" => {}
            other if other == connective.term() => {}
            other => return Err(format!("has the member `{other}` beside a logical operator")),
        }
    }
    // A list of JSON-LD says that the order counts; it may stand in an array by itself.
    let operands = match list(value) {
        [Value::Object(wrapped)] if wrapped.len() == 1 && wrapped.contains_key("@list") => {
            wrapped.get("@list").map(list).unwrap_or_default()
        }
        operands => operands,
    };
    if operands.is_empty() {
        return Err(format!("`{}` has no operands", connective.term()));
    }
    let mut seen = HashSet::with_capacity(operands.len());
    if !operands.iter().all(|operand| seen.insert(operand)) {
        return Err(format!("`{}` has an operand twice", connective.term()));
    }
    let operands = operands.iter().map(constraint).collect();
    Ok(Constraint::Logical(Logical { connective, operands, uid }))
}

fn comparison(members: &Members<'_>) -> Result<Constraint, String> {
    let (mut left, mut operator, mut right, mut uid, mut status) = (None, None, None, None, 0);
    let (mut data_type, mut unit, mut reference) = (None, None, None);
    for (name, member) in members {
        match *name {
            "leftOperand" => left = text(member),
            "operator" => operator = text(member),
            "rightOperand" => right = Some(*member),
            "rightOperandReference" => reference = Some(*member),
            "dataType" => data_type = Some(text(member).ok_or("has a `dataType` that is no name")?),
            "unit" => unit = Some(text(member).ok_or("has a `unit` that is no name")?),
            "@id" => uid = text(member).map(str::to_owned),
            "@type" => {}
            "status" => status = number(member).ok_or("has a `status` that is no whole number")?,
            other => return Err(format!("has the member `{other}`, which is not known here")),
        }
    }
    let left = left.ok_or("has no `leftOperand`")?;
    let left = LeftOperand::parse(left)
        .ok_or_else(|| format!("compares `{left}`, a fact this connector does not know"))?;
    let operator = operator.ok_or("has no `operator`")?;
    let operator = Operator::parse(operator)
        .ok_or_else(|| format!("uses `{operator}`, which is not an ODRL operator"))?;
    let literals = right.into_iter().flat_map(list).filter_map(literal_type);
    if let Some(data_type) =
        data_type.into_iter().chain(literals).find(|name| !fits_type(left, name))
    {
        return Err(format!("gives `{}` the type `{data_type}`", left.term()));
    }
    if status != 0 && left != LeftOperand::Count {
        return Err(format!("gives `{}` a `status`, which only `count` has here", left.term()));
    }
    let mut atomic = match (right, reference) {
        (Some(right), None) => atomic(left, operator, right, unit)?,
        (None, Some(reference)) => referenced(left, operator, reference, unit)?,
        (Some(_), Some(_)) => {
            return Err("has both a `rightOperand` and a `rightOperandReference`".to_owned());
        }
        (None, None) => return Err("has no `rightOperand`".to_owned()),
    };
    (atomic.uid, atomic.status) = (uid, status);
    atomic.data_type = data_type.map(str::to_owned);
    Ok(Constraint::Atomic(atomic))
}

/// A comparison with what an identifier stands for.
fn referenced(
    left: LeftOperand,
    operator: Operator,
    written: &Value,
    unit: Option<&str>,
) -> Result<Atomic, String> {
    let reference = text(written).filter(|reference| !reference.is_empty());
    let reference = reference.ok_or("has a `rightOperandReference` that is no identifier")?;
    if !left.operators().include(operator) {
        let (left, listed) = (left.term(), left.operators().listed());
        return Err(format!("compares `{left}` with `{}`; it takes {listed}", operator.term()));
    }
    Ok(Atomic {
        left,
        operator,
        right: RightOperand::Reference(reference.to_owned()),
        status: 0,
        unit: unit.map(str::to_owned),
        data_type: None,
        uid: None,
        written: written.clone(),
    })
}

/// The members of an object by the short names of their terms. A term given twice under two
/// spellings with two values, such as `permission` and `odrl:permission`, counts once, and the
/// other is not understood: which of them counts is not defined.
fn members<'a>(object: &'a Object, unknown: &mut Vec<NotUnderstood>) -> Members<'a> {
    let meaning = |name: &'a str| match short(name) {
        "uid" => "@id",
        name => name,
    };
    let (plain, spelt): (Vec<_>, Vec<_>) =
        object.iter().partition(|(name, _)| meaning(name) == name.as_str());
    let mut members: BTreeMap<&str, &Value> =
        plain.into_iter().map(|(name, member)| (name.as_str(), member)).collect();
    for (name, member) in spelt {
        match members.entry(meaning(name)) {
            Entry::Vacant(place) => drop(place.insert(member)),
            Entry::Occupied(place) if *place.get() == member || is_empty(member) => {}
            Entry::Occupied(mut place) if is_empty(place.get()) => drop(place.insert(member)),
            Entry::Occupied(_) => unknown.push(not_understood(name, "is given twice", member)),
        }
    }
    members
}

fn not_understood(member: &str, reason: &str, source: &Value) -> NotUnderstood {
    NotUnderstood { member: member.to_owned(), reason: reason.to_owned(), source: source.clone() }
}

/// Refuses what is too deep or too large, without recursion.
pub(super) fn within_limits(value: &Value) -> Result<(), ReadError> {
    let mut pending = vec![(value, 1_usize)];
    let mut nodes = 0_usize;
    while let Some((value, depth)) = pending.pop() {
        nodes += 1;
        let (what, limit, length) = match value {
            Value::Array(values) => {
                pending.extend(values.iter().map(|value| (value, depth + 1)));
                ("entries in one list", MAX_LIST, values.len())
            }
            Value::Object(members) => {
                pending.extend(members.values().map(|value| (value, depth + 1)));
                ("members in one object", MAX_LIST, members.len())
            }
            _ => ("", MAX_LIST, 0),
        };
        if length > limit {
            return Err(ReadError::TooLarge { what, limit });
        }
        if depth > MAX_DEPTH {
            return Err(ReadError::TooLarge { what: "levels", limit: MAX_DEPTH });
        }
        if nodes > MAX_NODES {
            return Err(ReadError::TooLarge { what: "values", limit: MAX_NODES });
        }
    }
    Ok(())
}

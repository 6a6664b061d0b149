//! Writes the model as compact JSON-LD in the form that DSP 2025-1 requires: lists always lists,
//! empty ones left out.

use super::{
    Action, Asset, Conflict, Constraint, Duty, Kind, NotUnderstood, Party, Policy, RightOperand,
    Rule, TARGET_SHA256,
};
use crate::vocabulary::short;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

pub(super) fn policy(policy: &Policy) -> Value {
    let mut object = Object::new();
    if !policy.uid.is_empty() {
        object.insert("@id".to_owned(), json!(policy.uid));
    }
    let kind = match policy.kind {
        Kind::Set => "Set",
        Kind::Offer => "Offer",
        Kind::Agreement => "Agreement",
    };
    object.insert("@type".to_owned(), json!(kind));
    if !policy.profiles.is_empty() {
        object.insert("profile".to_owned(), json!(policy.profiles));
    }
    if !policy.inherits.is_empty() {
        object.insert("inheritFrom".to_owned(), json!(policy.inherits));
    }
    match policy.conflict {
        // Beside another spelling of the member the default is said, so that it is read as given twice again.
        Conflict::Invalid if policy.not_understood.iter().any(is_other_conflict) => {
            object.insert("conflict".to_owned(), json!("invalid"))
        }
        Conflict::Invalid => None,
        Conflict::Perm => object.insert("conflict".to_owned(), json!("perm")),
        Conflict::Prohibit => object.insert("conflict".to_owned(), json!("prohibit")),
    };
    write_party(&mut object, "assigner", policy.assigner.as_ref());
    write_party(&mut object, "assignee", policy.assignee.as_ref());
    write_asset(&mut object, policy.target.as_ref());
    write_list(&mut object, "permission", &policy.permissions, |item| rule(item, "duty"));
    write_list(&mut object, "prohibition", &policy.prohibitions, |item| rule(item, "remedy"));
    write_list(&mut object, "obligation", &policy.obligations, duty);
    write_unknown(&mut object, &policy.not_understood);
    Value::Object(object)
}

/// The conflict strategy in another spelling than the one that is written.
fn is_other_conflict(part: &NotUnderstood) -> bool {
    part.member != "conflict" && short(&part.member) == "conflict"
}

fn rule(rule: &Rule, duty_member: &str) -> Value {
    let mut object = Object::new();
    write_uid(&mut object, rule.uid.as_ref());
    write_actions(&mut object, &rule.actions);
    write_asset(&mut object, rule.target.as_ref());
    write_party(&mut object, "assigner", rule.assigner.as_ref());
    write_party(&mut object, "assignee", rule.assignee.as_ref());
    write_list(&mut object, "constraint", &rule.constraints, constraint);
    write_list(&mut object, duty_member, &rule.duties, duty);
    write_unknown(&mut object, &rule.not_understood);
    Value::Object(object)
}

fn duty(item: &Duty) -> Value {
    let mut object = Object::new();
    write_uid(&mut object, item.uid.as_ref());
    write_actions(&mut object, &item.actions);
    write_asset(&mut object, item.target.as_ref());
    if let Some(digest) = item.target_sha256 {
        object.insert(TARGET_SHA256.to_owned(), json!(hex::encode(digest)));
    }
    write_party(&mut object, "assigner", item.assigner.as_ref());
    write_party(&mut object, "assignee", item.assignee.as_ref());
    write_list(&mut object, "constraint", &item.constraints, constraint);
    write_list(&mut object, "consequence", &item.consequences, duty);
    write_unknown(&mut object, &item.not_understood);
    Value::Object(object)
}

pub(super) fn constraint(constraint: &Constraint) -> Value {
    let mut object = Object::new();
    match constraint {
        Constraint::NotUnderstood(part) => return part.source.clone(),
        Constraint::Atomic(atomic) => {
            write_uid(&mut object, atomic.uid.as_ref());
            object.insert("leftOperand".to_owned(), json!(atomic.left.written()));
            object.insert("operator".to_owned(), json!(atomic.operator.term()));
            let member = match atomic.right {
                RightOperand::Reference(_) => "rightOperandReference",
                _ => "rightOperand",
            };
            object.insert(member.to_owned(), atomic.written.clone());
            for (name, text) in [("dataType", &atomic.data_type), ("unit", &atomic.unit)] {
                if let Some(text) = text {
                    object.insert(name.to_owned(), json!(text));
                }
            }
            if atomic.status != 0 {
                object.insert("status".to_owned(), json!(atomic.status));
            }
        }
        Constraint::Logical(logical) => {
            write_uid(&mut object, logical.uid.as_ref());
            let operands = logical.operands.iter().map(self::constraint).collect();
            object.insert(logical.connective.term().to_owned(), Value::Array(operands));
        }
    }
    Value::Object(object)
}

/// Says of each sequence that its order counts, as JSON-LD does: neither ODRL's context nor DSP's makes `andSequence` a list,
/// and what is no list there is a set. Reading bounds how deep a policy is.
pub(super) fn ordered(mut value: Value) -> Value {
    match &mut value {
        Value::Array(entries) => {
            entries.iter_mut().for_each(|entry| *entry = ordered(entry.take()))
        }
        Value::Object(members) => {
            for (name, member) in members {
                *member = ordered(member.take());
                if name == "andSequence" && member.is_array() {
                    *member = json!({ "@list": member.take() });
                }
            }
        }
        _ => {}
    }
    value
}

fn write_actions(object: &mut Object, actions: &[Action]) {
    let written: Vec<Value> = actions
        .iter()
        .map(|action| {
            if action.refinements.is_empty() {
                return json!(action.name);
            }
            let mut object = Object::new();
            object.insert("@id".to_owned(), json!(action.name));
            write_list(&mut object, "refinement", &action.refinements, constraint);
            Value::Object(object)
        })
        .collect();
    // One action is a plain string on the wire (DSP 2025-1, contract schema).
    let value = match <[Value; 1]>::try_from(written) {
        Ok([one]) => one,
        Err(several) if several.is_empty() => return,
        Err(several) => Value::Array(several),
    };
    object.insert("action".to_owned(), value);
}

fn write_asset(object: &mut Object, asset: Option<&Asset>) {
    let Some(asset) = asset else { return };
    let value = if asset.refinements.is_empty() {
        json!(asset.id)
    } else {
        let mut collection = Object::new();
        collection.insert("@type".to_owned(), json!("AssetCollection"));
        collection.insert("source".to_owned(), json!(asset.id));
        write_list(&mut collection, "refinement", &asset.refinements, constraint);
        Value::Object(collection)
    };
    object.insert("target".to_owned(), value);
}

fn write_party(object: &mut Object, name: &str, party: Option<&Party>) {
    let Some(party) = party else { return };
    let value = if party.refinements.is_empty() {
        json!(party.id)
    } else {
        let mut collection = Object::new();
        collection.insert("@type".to_owned(), json!("PartyCollection"));
        collection.insert("source".to_owned(), json!(party.id));
        write_list(&mut collection, "refinement", &party.refinements, constraint);
        Value::Object(collection)
    };
    object.insert(name.to_owned(), value);
}

fn write_uid(object: &mut Object, uid: Option<&String>) {
    if let Some(uid) = uid {
        object.insert("@id".to_owned(), json!(uid));
    }
}

fn write_list<T>(object: &mut Object, name: &str, items: &[T], write: impl Fn(&T) -> Value) {
    if !items.is_empty() {
        object.insert(name.to_owned(), Value::Array(items.iter().map(write).collect()));
    }
}

/// Parts that were not understood stand again where they stood, so that the other side sees them too.
fn write_unknown(object: &mut Object, parts: &[NotUnderstood]) {
    for part in parts.iter().filter(|part| !part.source.is_null()) {
        match object.get_mut(&part.member) {
            Some(Value::Array(present)) => present.push(part.source.clone()),
            Some(present) => *present = json!([present.take(), part.source]),
            None => drop(object.insert(part.member.clone(), part.source.clone())),
        }
    }
}

//! Compares terms by meaning: each rule is brought into one canonical text, then the two bags of
//! texts are compared.

use super::Difference;
use crate::file::expression;
use crate::odrl::{
    Action, Asset, Atomic, Connective, Constraint, Duty, Party, Policy, RightOperand, Rule,
};
use crate::vocabulary::ValueType;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn policies(offered: &Policy, requested: &Policy) -> Result<(), Difference> {
    let member = |name: &str| Err(Difference::Member { member: name.to_owned() });
    // The default may be left out by a connector that does not know the member: the agreement carries ours.
    if requested.conflict != offered.conflict
        && requested.conflict != crate::odrl::Conflict::default()
    {
        return member("conflict");
    }
    let (mut ours, mut theirs) = (offered.profiles.clone(), requested.profiles.clone());
    ours.sort();
    theirs.sort();
    if !theirs.is_empty() && ours != theirs {
        return member("profile");
    }
    if offered.inherits != requested.inherits {
        return member("inheritFrom");
    }
    let unknown = |policy: &Policy| -> Vec<String> {
        let parts = policy.not_understood.iter();
        sorted(parts.map(|part| format!("{}: {}", part.member, canonical(&part.source))).collect())
    };
    let (ours, theirs) = (unknown(offered), unknown(requested));
    if ours != theirs {
        let part = theirs.iter().chain(&ours).next().cloned().unwrap_or_default();
        return Err(Difference::Member { member: part });
    }
    bags("permission", &offered.permissions, &requested.permissions, rule, expression::write_rule)?;
    bags(
        "prohibition",
        &offered.prohibitions,
        &requested.prohibitions,
        rule,
        expression::write_rule,
    )?;
    bags("obligation", &offered.obligations, &requested.obligations, duty, expression::write_duty)
}

fn bags<T>(
    kind: &'static str,
    offered: &[T],
    requested: &[T],
    form: impl Fn(&T) -> Value,
    clause: impl Fn(&T) -> String,
) -> Result<(), Difference> {
    let texts = |rule: &T| apart(form(rule)).iter().map(canonical).collect::<Vec<_>>();
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for text in requested.iter().flat_map(texts) {
        *left.entry(text).or_default() += 1;
    }
    for rule in offered {
        for text in texts(rule) {
            match left.get_mut(&text) {
                Some(number) if *number > 0 => *number -= 1,
                _ => return Err(Difference::Missing { kind, clause: clause(rule) }),
            }
        }
    }
    let is_left = |text: &String| left.get(text).is_some_and(|number| *number > 0);
    match requested.iter().find(|rule| texts(rule).iter().any(is_left)) {
        Some(rule) => Err(Difference::Added { kind, clause: clause(rule) }),
        None => Ok(()),
    }
}

/// A rule with several actions is short for as many rules (IM 2.7.1), and messages carry those.
fn apart(form: Value) -> Vec<Value> {
    match form.get("actions").and_then(Value::as_array) {
        Some(actions) if actions.len() > 1 => {
            let one = |action: &Value| {
                let mut form = form.clone();
                if let Some(own) = form.get_mut("actions") {
                    *own = json!([action]);
                }
                form
            };
            actions.iter().map(one).collect()
        }
        _ => vec![form],
    }
}

fn rule(rule: &Rule) -> Value {
    json!({
        "actions": set(&rule.actions, action),
        "target": rule.target.as_ref().map(asset),
        "assigner": rule.assigner.as_ref().map(party),
        "assignee": rule.assignee.as_ref().map(party),
        "constraints": set(&rule.constraints, constraint),
        "duties": set_apart(&rule.duties),
        "unknown": set(&rule.not_understood, |part| json!([part.member, part.source])),
    })
}

fn duty(item: &Duty) -> Value {
    json!({
        "actions": set(&item.actions, action),
        "target": item.target.as_ref().map(asset),
        "target_sha256": item.target_sha256.map(hex::encode),
        "assigner": item.assigner.as_ref().map(party),
        "assignee": item.assignee.as_ref().map(party),
        "constraints": set(&item.constraints, constraint),
        "consequences": set_apart(&item.consequences),
        "unknown": set(&item.not_understood, |part| json!([part.member, part.source])),
    })
}

fn action(action: &Action) -> Value {
    json!({ "name": action.name, "refinements": set(&action.refinements, constraint) })
}

fn asset(asset: &Asset) -> Value {
    json!({ "id": asset.id, "refinements": set(&asset.refinements, constraint) })
}

fn party(party: &Party) -> Value {
    json!({ "id": party.id, "refinements": set(&party.refinements, constraint) })
}

fn constraint(item: &Constraint) -> Value {
    match item {
        Constraint::NotUnderstood(part) => json!({ "unknown": part.source }),
        Constraint::Atomic(atomic) => json!({
            "left": atomic.left.term(),
            "operator": atomic.operator.term(),
            "right": right(atomic),
            "status": atomic.status,
            "unit": match atomic.right {
                // Sizes are compared in bytes, in whatever unit they were written.
                RightOperand::Decimal(_) if atomic.left.value() == ValueType::Bytes => None,
                _ => atomic.unit.as_ref(),
            },
        }),
        Constraint::Logical(logical) => {
            let operands = match logical.connective {
                Connective::AndSequence => logical.operands.iter().map(constraint).collect(),
                _ => set(&logical.operands, constraint),
            };
            json!({ logical.connective.term(): operands })
        }
    }
}

fn right(atomic: &Atomic) -> Value {
    match &atomic.right {
        RightOperand::Instant(instant) => json!(instant.to_string()),
        RightOperand::Duration(span) => json!(span.0.to_string()),
        RightOperand::Number(number) => json!(number.to_string()),
        RightOperand::Decimal(number) => json!(number.to_string()),
        RightOperand::Reference(reference) => json!({ "reference": reference }),
        RightOperand::Terms(terms) => json!(sorted(terms.clone())),
    }
}

/// Whether two conditions say the same.
pub(super) fn same_constraint(one: &Constraint, other: &Constraint) -> bool {
    canonical(&constraint(one)) == canonical(&constraint(other))
}

/// Whether two targets are the same.
pub(super) fn same_asset(one: &Option<Asset>, other: &Option<Asset>) -> bool {
    one.as_ref().map(|one| canonical(&asset(one)))
        == other.as_ref().map(|other| canonical(&asset(other)))
}

/// Whether two parties are the same.
pub(super) fn same_party(one: &Option<Party>, other: &Option<Party>) -> bool {
    one.as_ref().map(|one| canonical(&party(one)))
        == other.as_ref().map(|other| canonical(&party(other)))
}

fn set<T>(items: &[T], form: impl Fn(&T) -> Value) -> Value {
    let mut forms: Vec<Value> = items.iter().map(form).collect();
    forms.sort_by_cached_key(canonical);
    Value::Array(forms)
}

fn set_apart(duties: &[Duty]) -> Value {
    let mut forms: Vec<Value> = duties.iter().map(duty).flat_map(apart).collect();
    forms.sort_by_cached_key(canonical);
    Value::Array(forms)
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts.dedup();
    texts
}

/// Two equal values give one text: every object here is built in one order, and parts of others are
/// compared as they came.
fn canonical(value: &Value) -> String {
    serde_jcs::to_string(value).unwrap_or_else(|_| value.to_string())
}

//! Inheritance (P4): any depth, several parents, never circular; and what differs between parents.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn policies(list: &[Value]) -> BTreeMap<String, Policy> {
    let read = |value: &Value| Policy::from_json(value).unwrap();
    list.iter().map(read).map(|policy| (policy.uid.clone(), policy)).collect()
}

fn inherited(list: &[Value]) -> Result<Policy, InheritError> {
    let all = policies(list);
    let child = Policy::from_json(&list[0]).unwrap();
    child.inherited(|id| all.get(id))
}

#[test]
fn a_child_has_all_that_its_ancestors_say() {
    let whole = inherited(&[
        json!({ "@id": "urn:c", "inheritFrom": ["urn:p", "urn:q"], "permission": [{ "action": "use" }] }),
        json!({ "@id": "urn:p", "inheritFrom": "urn:g", "target": "urn:d", "permission": [{
            "action": "print",
            "constraint": [{ "leftOperand": "count", "operator": "lteq", "rightOperand": "10", "status": 5 }],
        }] }),
        json!({ "@id": "urn:q", "profile": "urn:x", "obligation": [{ "action": "delete" }] }),
        json!({ "@id": "urn:g", "prohibition": [{ "action": "sell" }] }),
    ])
    .unwrap();
    assert!(whole.inherits.is_empty());
    assert_eq!(
        (whole.permissions.len(), whole.prohibitions.len(), whole.obligations.len()),
        (2, 1, 1)
    );
    assert_eq!(whole.target.as_ref().map(|target| target.id.as_str()), Some("urn:d"));
    assert_eq!(whole.profiles, ["urn:x"]);
    let Constraint::Atomic(limit) = &whole.permissions[1].constraints[0] else { panic!() };
    assert_eq!(limit.status, 0, "the parent's count is not the child's");
}

#[test]
fn a_circle_and_a_stranger_are_refused_and_a_diamond_is_not() {
    let child = |parents: Value| json!({ "@id": "urn:c", "inheritFrom": parents });
    let with = |id: &str, parents: Value| json!({ "@id": id, "inheritFrom": parents, "permission": [{ "action": "use" }] });
    let circle =
        [child(json!(["urn:p"])), with("urn:p", json!(["urn:q"])), with("urn:q", json!(["urn:p"]))];
    assert!(matches!(inherited(&circle), Err(InheritError::Circular { .. })));
    let own = [child(json!(["urn:c"]))];
    assert!(matches!(inherited(&own), Err(InheritError::Circular { .. })));
    let stranger = [child(json!(["urn:z"]))];
    assert!(matches!(inherited(&stranger), Err(InheritError::Unknown { .. })));
    let diamond = [
        child(json!(["urn:p", "urn:q"])),
        with("urn:p", json!(["urn:g"])),
        with("urn:q", json!(["urn:g"])),
        with("urn:g", json!([])),
    ];
    assert_eq!(inherited(&diamond).unwrap().permissions.len(), 3, "a grandparent counts once");
}

#[test]
fn different_conflict_strategies_void_on_any_conflict() {
    let parent = |conflict: &str| json!({ "@id": "urn:p", "conflict": conflict, "permission": [{ "action": "use" }] });
    let child = json!({ "@id": "urn:c", "conflict": "perm", "inheritFrom": "urn:p" });
    let same = inherited(&[child.clone(), parent("perm")]).unwrap();
    let other = inherited(&[child, parent("prohibit")]).unwrap();
    assert_eq!((same.conflict, other.conflict), (Conflict::Perm, Conflict::Invalid));
}

#[test]
fn an_action_of_the_policy_is_that_of_its_rules() {
    let value = json!({ "action": ["use", "print"], "permission": [{ "target": "urn:d" }] });
    let policy = Policy::from_json(&value).unwrap();
    let names: Vec<_> =
        policy.permissions[0].actions.iter().map(|action| action.name.as_str()).collect();
    assert_eq!(names, ["use", "print"], "an action of the policy is that of each of its rules");
}

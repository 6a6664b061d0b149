//! What is shown to be as strict, and what is refused because it is not.

use super::*;
use crate::set::Purpose;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn purposes() -> Purposes {
    let purpose = |wider: &[&str]| Purpose {
        title: String::new(),
        part_of: wider.iter().map(|name| (*name).to_owned()).collect(),
    };
    Purposes::new(BTreeMap::from([
        ("quality".to_owned(), purpose(&[])),
        ("audit".to_owned(), purpose(&["quality"])),
    ]))
    .unwrap()
}

fn shown(child: &Value, parent: &Value) -> Result<(), Weaker> {
    let read = |value: &Value| Policy::from_json(value).unwrap();
    no_weaker(&read(child), &read(parent), &purposes())
}

fn permit(expressions: &[&str]) -> Value {
    let constraints: Vec<Value> =
        expressions.iter().map(|text| expression::parse(text).unwrap().to_json()).collect();
    json!({ "permission": [{ "action": "use", "constraint": constraints }] })
}

#[test]
fn conditions_imply_wider_ones() {
    // Child, parent, whether the child is shown to be as strict.
    let table = [
        ("count lteq 5", "count lteq 10", true),
        ("count lteq 10", "count lteq 5", false),
        ("count lt 10", "count lteq 10", true),
        ("count lteq 10", "count lt 10", false),
        ("dateTime lt 2026-12-31T15:00:00Z", "dateTime lt 2027-01-01T00:00:00+09:00", true),
        ("dateTime lteq 2027-01-01T00:00:00Z", "dateTime lt 2027-01-01T00:00:00Z", false),
        ("elapsedTime lteq P29D", "elapsedTime lteq P30D", true),
        ("elapsedTime lteq P4W", "elapsedTime lteq P28D", true),
        ("elapsedTime lteq P1M", "elapsedTime lteq P30D", false),
        ("elapsedTime eq P10D", "elapsedTime lteq P10D", true),
        ("purpose eq audit", "purpose isAnyOf [quality]", true),
        ("purpose eq quality", "purpose eq audit", false),
        ("purpose isNoneOf [quality]", "purpose isNoneOf [audit]", true),
        ("purpose isNoneOf [audit]", "purpose isNoneOf [quality]", false),
        ("spatial eq JP-13", "spatial isAnyOf [JP, DE]", true),
        ("spatial eq JP", "spatial eq JP-13", false),
        ("recipient eq a", "purpose eq quality", false),
    ];
    for (child, parent, expected) in table {
        let found = shown(&permit(&[child]), &permit(&[parent]));
        assert_eq!(found.is_ok(), expected, "{child} under {parent}: {found:?}");
    }
}

#[test]
fn nothing_that_binds_may_be_left_out() {
    let parent = json!({
        "conflict": "prohibit",
        "permission": [{ "action": "use" }],
        "prohibition": [{ "action": "distribute" }],
        "obligation": [{ "action": "delete", "constraint": [
            { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P30D" },
        ] }],
    });
    assert_eq!(shown(&parent, &parent), Ok(()));
    let without = |name: &str| {
        let mut child = parent.clone();
        child.as_object_mut().unwrap().remove(name);
        shown(&child, &parent)
    };
    assert!(matches!(without("prohibition"), Err(Weaker::Allows { .. })));
    assert!(matches!(without("obligation"), Err(Weaker::Releases { .. })));
    let mut later = parent.clone();
    later["obligation"][0]["constraint"][0]["rightOperand"] = json!("P31D");
    assert!(matches!(shown(&later, &parent), Err(Weaker::Releases { .. })));
    let mut sooner = parent.clone();
    sooner["obligation"][0]["constraint"][0]["rightOperand"] = json!("P7D");
    assert_eq!(shown(&sooner, &parent), Ok(()));
    let mut perm = parent.clone();
    perm["conflict"] = json!("perm");
    assert_eq!(shown(&perm, &parent), Err(Weaker::Conflict));
    let mut wider = parent.clone();
    wider["permission"][0]["action"] = json!("transfer");
    assert!(matches!(shown(&wider, &parent), Err(Weaker::Permits { .. })));
    let mut narrower = parent.clone();
    narrower["permission"][0]["action"] = json!("print");
    assert_eq!(shown(&narrower, &parent), Ok(()));
    let unclear = json!({ "permission": [{ "action": "use", "constraint": [{}] }] });
    assert!(matches!(shown(&unclear, &parent), Err(Weaker::NotUnderstood { which: "child", .. })));
}

proptest! {
    #[test]
    fn terms_are_no_weaker_than_themselves_and_stay_so_with_more_conditions(
        conditions in prop::collection::vec(
            prop_oneof![
                Just("count lteq 3"), Just("spatial eq JP"), Just("purpose eq quality"),
                Just("dateTime lt 2027-01-01T00:00:00Z"),
            ],
            0..4,
        ),
        more in prop_oneof![Just("count lteq 2"), Just("industry eq automotive")],
    ) {
        let parent = permit(&conditions);
        prop_assert_eq!(shown(&parent, &parent), Ok(()));
        let mut stricter = conditions.clone();
        stricter.push(more);
        prop_assert_eq!(shown(&permit(&stricter), &parent), Ok(()));
    }
}

#[test]
fn what_was_counted_before_is_taken_off_whatever_the_operator() {
    // Operator, the child's bound and status, the parent's, whether the child is shown to be as strict.
    let table = [
        ("lteq", (10, 5), (10, 5), true),
        ("lteq", (10, 4), (10, 5), false),
        ("lteq", (5, 0), (10, 5), true),
        ("lteq", (6, 0), (10, 5), false),
        ("gteq", (2, 1), (2, 0), false),
        ("gteq", (2, 0), (2, 1), true),
        ("gt", (3, 1), (2, 0), true),
        ("eq", (3, 1), (3, 0), false),
        ("eq", (3, 1), (2, 0), true),
        ("neq", (3, 1), (3, 0), false),
        ("neq", (3, 1), (2, 0), true),
    ];
    for (operator, child, parent, expected) in table {
        let policy = |(bound, status): (u64, u64)| {
            json!({ "permission": [{ "action": "use", "constraint": [{
                "leftOperand": "count", "operator": operator, "rightOperand": bound,
                "status": status,
            }] }] })
        };
        let found = shown(&policy(child), &policy(parent));
        assert_eq!(found.is_ok(), expected, "{operator} {child:?} under {parent:?}: {found:?}");
    }
}

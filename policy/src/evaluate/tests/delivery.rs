//! What a delivery of data necessarily is: a prohibition of that refuses it.

use super::*;
use crate::classify::{Class, classify};

fn but(conflict: &str, action: &str) -> Value {
    json!({
        "conflict": conflict,
        "permission": [{ "action": "use" }],
        "prohibition": [{ "action": action }],
    })
}

#[test]
fn a_prohibition_of_what_a_delivery_is_refuses_it() {
    // The prohibited action, and whether it still may be delivered, printed.
    for (action, delivered, printed) in [
        ("use", false, false),
        ("read", false, true),
        ("reproduce", false, true),
        ("print", true, false),
        ("extract", true, true),
        ("distribute", true, true),
        ("transfer", true, true),
    ] {
        let policy = but("prohibit", action);
        for (asked, expected) in [("use", delivered), ("print", printed)] {
            let answer = Case { action: asked, ..Case::new() }.evaluate(&policy);
            assert_eq!(answer.is_permit(), expected, "prohibit {action}: {asked}");
        }
        // Where permissions win they win here as well.
        assert!(Case::new().evaluate(&but("perm", action)).is_permit(), "{action}");
        let open = Case { behaviour: Behaviour::Open, ..Case::new() };
        assert_eq!(open.evaluate(&policy).is_permit(), delivered, "a restriction of {action}");
    }
    // To permit it is not to permit a delivery.
    let read = json!({ "permission": [{ "action": ["read", "reproduce"] }] });
    assert!(!Case::new().evaluate(&read).is_permit());
}

#[test]
fn an_action_is_called_enforced_where_a_delivery_is_refused_for_it() {
    for action in ["use", "read", "reproduce", "print", "distribute"] {
        let policy = Policy::from_json(&but("prohibit", action)).unwrap();
        let enforced = |place: &str| {
            classify(&policy).iter().any(|c| c.place == place && c.class == Class::Enforced)
        };
        let refused = !Case::new().evaluate(&but("prohibit", action)).is_permit();
        assert_eq!(enforced("prohibition 1"), refused, "{action}");
        let permitted = json!({ "permission": [{ "action": action }] });
        let grants = Case::new().evaluate(&permitted).is_permit();
        let clauses = classify(&Policy::from_json(&permitted).unwrap());
        assert_eq!(clauses[0].class == Class::Enforced, grants, "{action}");
    }
}

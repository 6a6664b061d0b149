//! What an agreement lets go further, and under which terms.

use super::*;
use crate::odrl::TARGET_SHA256;
use serde_json::{Value, json};

fn read(value: &Value) -> Policy {
    Policy::from_json(value).unwrap()
}

fn condition(text: &str) -> Value {
    expression::parse(text).unwrap().to_json()
}

#[test]
fn only_a_permission_that_names_it_lets_data_be_passed_on() {
    let distribute = json!([{ "action": ["use", "distribute"] }]);
    let table = [
        (json!({ "permission": [{ "action": "use" }] }), Err(Kept::NotPermitted)),
        (json!({ "permission": [{ "action": ["use", "derive"] }] }), Err(Kept::NotPermitted)),
        (json!({ "permission": distribute }), Ok(())),
        (json!({ "permission": [{ "action": ["derive", "share"] }] }), Ok(())),
        (json!({ "permission": [{ "action": "share" }] }), Err(Kept::NotDerivable)),
        (
            json!({ "permission": distribute, "prohibition": [{ "action": "derive" }] }),
            Err(Kept::Prohibited { clause: "derive".to_owned() }),
        ),
        (
            json!({ "permission": [
                { "action": ["use"] },
                { "action": "distribute", "duty": [{ "action": "nextPolicy" }] },
            ] }),
            Err(Kept::Unnamed),
        ),
        (
            json!({ "permission": distribute, "prohibition": [{ "action": "distribute" }] }),
            Err(Kept::Prohibited { clause: "distribute".to_owned() }),
        ),
        (
            json!({ "permission": distribute, "prohibition": [{ "action": "distribute" }], "conflict": "perm" }),
            Ok(()),
        ),
        (json!({ "permission": distribute, "prohibition": [{ "action": "print" }] }), Ok(())),
    ];
    for (agreed, expected) in table {
        assert_eq!(next(&read(&agreed)).map(drop), expected, "{agreed}");
    }
}

#[test]
fn the_bound_is_what_is_named_or_the_terms_themselves() {
    let agreed = |duty: Value| {
        let constraint = [condition("purpose isAnyOf [audit]")];
        read(&json!({
            "@type": "Agreement", "@id": "urn:a", "target": "urn:x", "assignee": "did:web:us.example",
            "permission": [
                { "action": "use" },
                { "action": "distribute", "constraint": constraint, "duty": duty },
            ],
            "prohibition": [{ "action": "print" }],
            "obligation": [{ "action": "delete", "constraint": [condition("elapsedTime lteq P30D")] }],
        }))
    };
    let named = next(&agreed(json!([{
        "action": "nextPolicy", "target": "urn:example:next", TARGET_SHA256: "ab".repeat(32),
    }])));
    let policy = |sha256| Named { id: "urn:example:next".to_owned(), sha256 };
    let next_policy = vec![policy(Some([0xab; 32]))];
    assert_eq!(named, Ok(Next { own: None, named: next_policy, always: Vec::new() }));

    let overall = json!({
        "permission": [{ "action": ["use", "distribute"] }],
        "obligation": [{ "action": "nextPolicy", "target": "urn:example:next" }],
    });
    let overall = next(&read(&overall)).unwrap();
    assert_eq!(overall.always, [policy(None)]);
    assert_eq!(overall.own.map(|own| own.obligations.len()), Some(0));

    let bound = next(&agreed(json!([]))).unwrap().own.unwrap();
    let offer = |purpose: &str, days: &str, print: bool| {
        let prohibition = if print { json!([]) } else { json!([{ "action": "print" }]) };
        read(&json!({
            "permission": [{ "action": "use", "constraint": [condition(purpose)] }],
            "prohibition": prohibition,
            "obligation": [{ "action": "delete", "constraint": [condition(days)] }],
        }))
    };
    let bounded = |all_of: Vec<Vec<Policy>>, lapsed: Option<&str>| Bound {
        source: "agreement urn:a".to_owned(),
        lapsed: lapsed.map(str::to_owned),
        all_of,
    };
    let by_own = [bounded(vec![vec![bound.clone()]], None)];
    let judged = |offered: &Policy| barred(offered, &by_own, &Purposes::default());
    assert_eq!(judged(&offer("purpose eq audit", "elapsedTime lteq P7D", false)), None);
    for (weaker, why) in [
        (offer("purpose eq sales", "elapsedTime lteq P7D", false), "sales"),
        (offer("purpose eq audit", "elapsedTime lteq P60D", false), "delete"),
        (offer("purpose eq audit", "elapsedTime lteq P7D", true), "print"),
    ] {
        let found = judged(&weaker).unwrap_or_else(|| panic!("{why} is not found"));
        assert!(found.contains(why), "{found}");
    }
    let strict = offer("purpose eq audit", "elapsedTime lteq P7D", false);
    for (all_of, lapsed, why) in [
        (vec![], None, "cannot be read"),
        (vec![vec![]], None, "weaker"),
        (vec![vec![bound.clone()], vec![]], None, "weaker"),
        (vec![vec![bound.clone()]], Some("ended"), "ended"),
    ] {
        let found = barred(&strict, &[bounded(all_of, lapsed)], &Purposes::default()).unwrap();
        assert!(found.contains(why), "{found}");
    }
    let loose = offer("purpose eq sales", "elapsedTime lteq P60D", true);
    let either = [bounded(vec![vec![bound.clone(), loose.clone()]], None)];
    assert_eq!(barred(&strict, &either, &Purposes::default()), None);
    let both = [bounded(vec![vec![bound], vec![loose]], None)];
    assert!(barred(&strict, &both, &Purposes::default()).is_some());
}

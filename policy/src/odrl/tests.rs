//! Reading and writing: nothing that carries meaning is lost, nothing panics.

use super::*;
use proptest::prelude::*;
use serde_json::json;

mod bounds;

fn permission(constraint: Value) -> Policy {
    let value = json!({
        "@type": "Set",
        "permission": [{ "action": "use", "constraint": [constraint] }],
    });
    Policy::from_json(&value).unwrap()
}

fn only_constraint(policy: &Policy) -> &Constraint {
    &policy.permissions[0].constraints[0]
}

#[test]
fn a_policy_comes_back_as_it_went() {
    let value = json!({
        "@id": "urn:example:1",
        "@type": "Agreement",
        "conflict": "prohibit",
        "assigner": "did:web:b.example",
        "assignee": "did:web:a.example",
        "target": "urn:example:dataset",
        "permission": [{
            "action": "use",
            "constraint": [
                { "leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": ["a", "b"] },
                { "andSequence": [
                    { "leftOperand": "count", "operator": "lteq", "rightOperand": "10" },
                    { "xone": [
                        { "leftOperand": "spatial", "operator": "eq", "rightOperand": "JP" },
                        { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P30D" },
                    ] },
                ] },
            ],
            "duty": [{ "action": "obtainConsent" }],
        }],
        "prohibition": [{ "action": "distribute", "remedy": [{ "action": "delete" }] }],
        "obligation": [{
            "action": "delete",
            "constraint": [
                { "leftOperand": "dateTime", "operator": "lteq", "rightOperand": "2027-01-01T00:00:00+09:00" },
            ],
            "consequence": [{ "action": "compensate" }],
        }],
    });
    assert_eq!(Policy::from_json(&value).unwrap().to_json(), value);
}

#[test]
fn a_sequence_keeps_its_order_whoever_reads_it() {
    let first = json!({ "leftOperand": "purpose", "operator": "eq", "rightOperand": "b" });
    let second = json!({ "or": [
        { "leftOperand": "purpose", "operator": "eq", "rightOperand": "a" },
        { "andSequence": [first] },
    ] });
    let policy = permission(json!({ "andSequence": [first, second] }));
    let written = policy.to_json_ld();
    let place = "/permission/0/constraint/0/andSequence";
    assert_eq!(written.pointer(&format!("{place}/@list/0")), Some(&first));
    assert_eq!(written.pointer(&format!("{place}/@list/1/or/1/andSequence/@list/0")), Some(&first));
    // The schemas of DSP know only the array.
    assert!(policy.to_json().pointer(place).is_some_and(Value::is_array));
    assert_eq!(Policy::from_json(&written), Ok(policy.clone()));
    let alone = permission(json!({ "andSequence": [{ "@list": [first, second] }] }));
    assert_eq!(alone, policy);
    let more = permission(json!({ "andSequence": { "@list": [first], "@type": "x" } }));
    assert_ne!(more, permission(json!({ "andSequence": [first] })), "no member is passed over");
}

#[test]
fn every_spelling_of_a_term_is_the_same_term() {
    let spelt = json!({
        "@type": "http://www.w3.org/ns/odrl/2/Set",
        "odrl:permission": {
            "odrl:action": { "@id": "odrl:use" },
            "odrl:constraint": {
                "odrl:leftOperand": { "@id": "odrl:count" },
                "odrl:operator": { "@id": "http://www.w3.org/ns/odrl/2/lteq" },
                "odrl:rightOperand": { "@value": "10", "@type": "xsd:integer" },
            },
        },
        "odrl:prohibition": [],
    });
    let policy = Policy::from_json(&spelt).unwrap();
    let Constraint::Atomic(atomic) = only_constraint(&policy) else { panic!("not understood") };
    assert_eq!(
        (atomic.left, atomic.operator, &atomic.right),
        (LeftOperand::Count, Operator::Lteq, &RightOperand::Number(10))
    );
}

#[test]
fn what_is_not_understood_stays_and_is_written_again() {
    let table = [
        json!({ "leftOperand": "mood", "operator": "eq", "rightOperand": "good" }),
        json!({ "leftOperand": "count", "operator": "about", "rightOperand": "10" }),
        json!({ "leftOperand": "count", "operator": "lteq", "rightOperand": "ten" }),
        json!({ "leftOperand": "count", "operator": "lteq", "rightOperand": "-1" }),
        json!({ "leftOperand": "count", "operator": "isAnyOf", "rightOperand": ["1"] }),
        json!({ "leftOperand": "count", "operator": "lteq", "rightOperand": "1", "unit": "urn:byte" }),
        json!({ "leftOperand": "purpose", "operator": "lt", "rightOperand": "a" }),
        json!({ "leftOperand": "purpose", "operator": "eq", "rightOperand": ["a", "b"] }),
        json!({ "leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": [] }),
        json!({ "leftOperand": "purpose", "operator": "lt", "rightOperandReference": "urn:x" }),
        json!({ "leftOperand": "purpose", "operator": "eq", "rightOperand": "a", "rightOperandReference": "urn:x" }),
        json!({ "leftOperand": "dateTime", "operator": "lt", "rightOperand": "2027-01-01" }),
        json!({ "leftOperand": "dateTime", "operator": "lt", "rightOperand": "2027-01-01T00:00:00" }),
        json!({ "leftOperand": "dateTime", "operator": "lt", "rightOperand": "tomorrow" }),
        json!({ "leftOperand": "dateTime", "operator": "lt", "rightOperand": "2027-01-01T00:00:00Z", "dataType": "xsd:string" }),
        json!({ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "30 days" }),
        json!({ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "-P1D" }),
        json!({ "leftOperand": "spatial", "operator": "eq", "rightOperand": "Atlantis" }),
        json!({ "and": [], "or": [] }),
        json!({ "and": [] }),
        json!({ "leftOperand": "purpose", "and": [{}] }),
        json!("purpose eq a"),
        json!(null),
    ];
    for constraint in table {
        if constraint.is_null() {
            continue;
        }
        let policy = permission(constraint.clone());
        assert!(
            matches!(only_constraint(&policy), Constraint::NotUnderstood(_)),
            "`{constraint}` was taken as {:?}",
            only_constraint(&policy)
        );
        assert_eq!(policy.to_json()["permission"][0]["constraint"][0], constraint);
    }
}

#[test]
fn unknown_members_of_rules_and_policies_with_meaning_are_kept() {
    let value = json!({
        "permission": [{ "action": "use", "preference": "high", "dct:title": "harmless" }],
        "constraint": "urn:parent",
        "note": "ignored",
    });
    let policy = Policy::from_json(&value).unwrap();
    assert_eq!(policy.not_understood[0].member, "constraint");
    assert_eq!(policy.permissions[0].not_understood[0].member, "preference");
    let written = policy.to_json();
    assert_eq!(written["constraint"], "urn:parent");
    assert_eq!(written["permission"][0]["preference"], "high");
}

#[test]
fn a_partner_may_add_properties_but_no_clause_is_passed_over() {
    let table = [
        ("edc:policyType", json!("contract"), true),
        ("https://example.com/ns#note", json!("x"), true),
        ("note", json!("x"), true),
        ("title", json!("x"), true),
        ("odrl:prohibitions", json!([]), true),
        ("prohibitions", json!([{ "action": "use" }]), false),
        ("Prohibition", json!([{ "action": "use" }]), false),
        ("https://www.w3.org/ns/odrl/2/prohibition", json!([{ "action": "use" }]), false),
        ("ex:prohibition", json!([{ "action": "use" }]), false),
        ("odrl:inheritAllowed", json!(false), false),
        ("profiles", json!("urn:x"), false),
        ("@graph", json!([{}]), false),
    ];
    for (name, member, passed) in table {
        let mut value = json!({ "@type": "Agreement", "permission": [{ "action": "use" }] });
        value[name] = member;
        let policy = Policy::from_json(&value).unwrap();
        assert_eq!(policy.not_understood.is_empty(), passed, "{name}");
        if !passed {
            assert_eq!(policy.to_json()[name], value[name], "it is written again");
        }
    }
}

#[test]
fn a_term_given_twice_is_not_understood() {
    let value = json!({
        "permission": [{ "action": "use" }],
        "odrl:permission": [{ "action": "use", "constraint": [{}] }],
    });
    assert!(!Policy::from_json(&value).unwrap().not_understood.is_empty());
    let rule = json!({ "permission": [{ "action": "read", "odrl:action": "use" }] });
    assert!(!Policy::from_json(&rule).unwrap().permissions[0].not_understood.is_empty());
    let twice = json!({ "permission": [{ "action": { "@id": "delete", "rdf:value": "use" } }] });
    assert!(!Policy::from_json(&twice).unwrap().permissions[0].not_understood.is_empty());
    // What is written says as little as what was read.
    let conflict = json!({
        "permission": [{ "action": "use" }], "conflict": "invalid", "odrl:conflict": "perm",
    });
    let policy = Policy::from_json(&conflict).unwrap();
    assert!(!policy.not_understood.is_empty());
    assert_eq!(Policy::from_json(&policy.to_json()), Ok(policy));
    // Nothing beside something is not twice.
    let empty = json!({ "permission": [], "odrl:permission": [{ "action": "use" }] });
    let policy = Policy::from_json(&empty).unwrap();
    assert!(policy.not_understood.is_empty() && policy.permissions.len() == 1);
}

#[test]
fn regions_have_one_canonical_code() {
    let table = [
        ("jp", Some("JP")),
        ("JPN", Some("JP")),
        ("JP-13", Some("JP-13")),
        ("ZZ", None),
        ("", None),
        ("日本", None),
    ];
    for (written, expected) in table {
        assert_eq!(canonical_region(written).as_deref(), expected, "{written}");
    }
}

#[test]
fn limits_hold_and_no_policy_is_an_error() {
    let mut deep = json!({ "leftOperand": "count", "operator": "eq", "rightOperand": "1" });
    for _ in 0..40 {
        deep = json!({ "and": [deep] });
    }
    let policy = json!({ "permission": [{ "action": "use", "constraint": [deep] }] });
    assert!(matches!(
        Policy::from_json(&policy),
        Err(ReadError::TooLarge { what: "levels", limit: MAX_DEPTH })
    ));
    let long = json!({ "permission": vec![json!({ "action": "use" }); MAX_LIST + 1] });
    assert!(matches!(Policy::from_json(&long), Err(ReadError::TooLarge { .. })));
    assert_eq!(Policy::from_json(&json!({ "permission": [] })), Err(ReadError::Empty));
    assert!(Policy::from_json(&json!({ "@type": "Ticket", "permission": [{}] })).is_err());
    assert!(Policy::from_json(&json!({ "permission": ["use"] })).is_err());
    assert!(Policy::from_json(&json!(7)).is_err());
}

#[test]
fn the_canonical_hash_ignores_order_and_space() {
    let one: Value = serde_json::from_str(r#"{"b":1,"a":[1,2]}"#).unwrap();
    let other: Value = serde_json::from_str(r#"{ "a": [1, 2], "b": 1.0 }"#).unwrap();
    assert_eq!(canonical_hash(&one).unwrap(), canonical_hash(&other).unwrap());
    let swapped = json!({ "b": 1, "a": [2, 1] });
    assert_ne!(canonical_hash(&one).unwrap(), canonical_hash(&swapped).unwrap());
    assert_eq!(
        hex::encode(canonical_hash(&json!({})).unwrap()),
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );
}

/// JSON that is often nearly a policy.
pub(crate) fn nearly_policy() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("permission"),
        Just("prohibition"),
        Just("obligation"),
        Just("action"),
        Just("constraint"),
        Just("duty"),
        Just("remedy"),
        Just("leftOperand"),
        Just("operator"),
        Just("rightOperand"),
        Just("and"),
        Just("xone"),
        Just("@id"),
        Just("@type"),
        Just("odrl:action"),
        Just("assignee"),
        Just("source"),
        Just("refinement"),
        Just("status"),
        Just("conflict"),
        Just("profile"),
        Just("@list"),
        Just("@value"),
        Just("target"),
    ];
    let leaf = prop_oneof![
        Just(json!("use")),
        Just(json!("count")),
        Just(json!("lteq")),
        Just(json!("10")),
        Just(json!("Set")),
        Just(json!("dateTime")),
        Just(json!("P9999Y")),
        Just(json!("isAnyOf")),
        Just(json!(null)),
        any::<i64>().prop_map(|n| json!(n)),
        ".{0,6}".prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn reading_never_panics_and_what_was_read_is_stable(value in nearly_policy()) {
        if let Ok(policy) = Policy::from_json(&value) {
            let _ = crate::classify::classify(&policy);
            let _ = crate::explain::plain(&policy, crate::explain::Language::English);
            let written = policy.to_json();
            if let Ok(again) = Policy::from_json(&written) {
                prop_assert_eq!(again.to_json(), written);
            }
        }
    }
}

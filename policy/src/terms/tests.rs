//! Offers, agreements and their equality.

use super::*;
use crate::set::Purpose;
use proptest::prelude::*;

fn offered() -> Value {
    json!({
        "@id": "urn:example:offer",
        "@type": "Offer",
        "assigner": "did:web:b.example",
        "permission": [
            { "action": "use", "constraint": [
                { "leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": ["a", "b"] },
                { "leftOperand": "dateTime", "operator": "lt", "rightOperand": "2027-01-01T00:00:00+09:00" },
                { "leftOperand": "count", "operator": "lteq", "rightOperand": "10" },
            ] },
            { "action": "print", "constraint": [{ "andSequence": [
                { "leftOperand": "spatial", "operator": "eq", "rightOperand": "JP" },
                { "leftOperand": "purpose", "operator": "eq", "rightOperand": "c" },
            ] }] },
        ],
        "obligation": [{ "action": "delete" }],
    })
}

#[test]
fn the_same_terms_in_another_form_are_the_same() {
    let requested = json!({
        "@id": "urn:other",
        "@type": "odrl:Offer",
        "target": "urn:example:dataset",
        "assignee": "did:web:a.example",
        "odrl:obligation": { "odrl:action": { "@id": "odrl:delete" } },
        "odrl:permission": [
            { "action": "print", "constraint": { "andSequence": { "@list": [
                { "leftOperand": "spatial", "operator": "eq", "rightOperand": "JPN" },
                { "leftOperand": "purpose", "operator": "eq", "rightOperand": ["c"] },
            ] } } },
            { "action": "odrl:use", "constraint": [
                { "leftOperand": "count", "operator": "odrl:lteq", "rightOperand": { "@value": 10 } },
                { "leftOperand": "dateTime", "operator": "lt", "rightOperand": "2026-12-31T15:00:00Z" },
                { "leftOperand": "odrl:purpose", "operator": "isAnyOf", "rightOperand": ["b", "a"] },
            ] },
        ],
    });
    assert_eq!(same_terms(&offered(), &requested), Ok(()));
}

#[test]
fn a_rule_with_several_actions_is_short_for_as_many_rules() {
    let short = json!({
        "permission": [{
            "action": ["use", "distribute"],
            "duty": [{ "action": ["inform", "log"] }],
        }],
        "obligation": [{ "action": ["delete", "archive"] }],
    });
    let duties = json!([{ "action": "log" }, { "action": "inform" }]);
    let mut long = json!({
        "permission": [
            { "action": "distribute", "duty": duties },
            { "action": "use", "duty": duties },
        ],
        "obligation": [{ "action": "archive" }, { "action": "delete" }],
    });
    assert_eq!(same_terms(&short, &long), Ok(()));
    assert_eq!(same_terms(&long, &short), Ok(()));
    long["obligation"].as_array_mut().unwrap().pop();
    assert!(matches!(same_terms(&short, &long), Err(Difference::Missing { .. })));
    assert!(matches!(same_terms(&long, &short), Err(Difference::Added { .. })));
}

#[test]
fn every_change_of_meaning_is_a_difference() {
    let table: [(&str, Value); 10] = [
        ("/permission/0/constraint/2/rightOperand", json!("11")),
        ("/permission/0/constraint/2/operator", json!("lt")),
        ("/permission/0/constraint/0/rightOperand", json!(["a"])),
        ("/permission/0/constraint/1/rightOperand", json!("2027-01-01T00:00:00Z")),
        ("/permission/0/constraint", json!([])),
        ("/permission/0/action", json!("read")),
        ("/permission", json!([{ "action": "use" }])),
        ("/obligation", json!([])),
        (
            "/permission/1/constraint/0/andSequence",
            json!([
                { "leftOperand": "purpose", "operator": "eq", "rightOperand": "c" },
                { "leftOperand": "spatial", "operator": "eq", "rightOperand": "JP" },
            ]),
        ),
        (
            "/permission/0/constraint/0",
            json!({ "leftOperand": "mood", "operator": "eq", "rightOperand": "good" }),
        ),
    ];
    for (place, value) in table {
        let mut requested = offered();
        *requested.pointer_mut(place).unwrap() = value;
        assert!(same_terms(&offered(), &requested).is_err(), "{place} made no difference");
        assert!(same_terms(&requested, &offered()).is_err(), "{place} made no difference");
    }
}

#[test]
fn additions_are_differences_too() {
    let table = [
        ("prohibition", json!([{ "action": "use" }])),
        ("conflict", json!("perm")),
        ("profile", json!("urn:profile")),
        ("inheritFrom", json!("urn:parent")),
    ];
    for (name, value) in table {
        let mut requested = offered();
        requested[name] = value;
        assert!(same_terms(&offered(), &requested).is_err(), "{name} made no difference");
    }
    let mut requested = offered();
    requested["permission"].as_array_mut().unwrap().push(json!({ "action": "sell" }));
    let difference = same_terms(&offered(), &requested).unwrap_err();
    assert_eq!(difference, Difference::Added { kind: "permission", clause: "sell".to_owned() });
    assert!(matches!(
        same_terms(&offered(), &json!(1)),
        Err(Difference::Unreadable { which: "requested", .. })
    ));
}

#[test]
fn an_agreement_has_the_rules_of_its_offer_and_a_head_of_its_own() {
    let parties = Parties {
        id: "urn:uuid:1",
        assigner: "did:web:b.example",
        assignee: "did:web:a.example",
        target: "urn:example:dataset",
        timestamp: "2026-11-22T12:00:00Z".parse().unwrap(),
    };
    let agreement = agreement(&message_offer(&offered(), "urn:example:dataset"), &parties);
    assert_eq!(agreement["@type"], "Agreement");
    assert_eq!(agreement["@id"], "urn:uuid:1");
    assert_eq!(agreement["timestamp"], "2026-11-22T12:00:00Z");
    assert_eq!(agreement["assignee"], "did:web:a.example");
    assert_eq!(agreement["permission"], offered()["permission"]);
    assert_eq!(same_terms(&offered(), &agreement), Ok(()));
    assert_eq!(Policy::from_json(&agreement).unwrap().kind, crate::odrl::Kind::Agreement);
}

fn purposes() -> Purposes {
    let part = |wider: &[&str]| Purpose {
        title: String::new(),
        part_of: wider.iter().map(|name| (*name).to_owned()).collect(),
    };
    let listed = [("a", part(&[])), ("a-audit", part(&["a"])), ("b", part(&[])), ("z", part(&[]))];
    Purposes::new(listed.map(|(name, purpose)| (name.to_owned(), purpose)).into_iter().collect())
        .unwrap()
}

#[test]
fn a_declared_purpose_narrows_an_offer() {
    let narrowed = with_declared_purpose(&offered(), "a-audit", &purposes()).unwrap();
    let added = json!({ "leftOperand": "purpose", "operator": "eq", "rightOperand": "a-audit" });
    for permission in narrowed["permission"].as_array().unwrap() {
        assert_eq!(permission["constraint"].as_array().unwrap().last(), Some(&added));
    }
    assert_eq!(narrowed["@id"], "urn:example:offer");
    let twice = with_declared_purpose(&narrowed, "a-audit", &purposes()).unwrap();
    assert_eq!(twice, narrowed);
    // An offer that says nothing of purposes allows any, and the agreement holds to it.
    let open = json!({ "permission": [{ "action": "use" }] });
    assert!(with_declared_purpose(&open, "z", &purposes()).is_ok());
}

#[test]
fn a_purpose_that_is_not_allowed_is_refused_with_those_that_are() {
    let error = with_declared_purpose(&offered(), "z", &purposes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the offer does not allow the purpose `z`; it allows `a`, `b`, `c`"
    );
    let prohibited = json!({
        "conflict": "prohibit",
        "permission": [{ "action": "use" }],
        "prohibition": [{ "action": "use", "constraint": [
            { "leftOperand": "purpose", "operator": "eq", "rightOperand": "a" },
        ] }],
    });
    assert!(with_declared_purpose(&prohibited, "a-audit", &purposes()).is_err());
    assert!(with_declared_purpose(&prohibited, "b", &purposes()).is_ok());
}

proptest! {
    #[test]
    fn terms_equal_themselves(value in crate::odrl::nearly_policy()) {
        if Policy::from_json(&value).is_ok() {
            prop_assert_eq!(same_terms(&value, &value), Ok(()));
        }
    }
}

#[test]
fn purposes_of_the_catena_x_profile_are_declared_as_well() {
    let offer = json!({ "permission": [{ "action": "use", "constraint": [
        { "leftOperand": "cx-policy:UsagePurpose", "operator": "isAnyOf", "rightOperand": ["cx.core.qualityNotifications:1"] },
    ] }] });
    let policy = Policy::from_json(&offer).unwrap();
    assert_eq!(named_purposes(&policy), ["cx.core.qualityNotifications:1"]);
}

//! The rules that Catena-X adds (P17, P18), one by one.

use super::*;
use serde_json::{Value, json};

fn condition(left: &str) -> Value {
    let operand = LeftOperand::parse(left).unwrap();
    let operator = crate::vocabulary::Operator::terms()
        .into_iter()
        .find(|term| operand.operators().include(crate::vocabulary::Operator::parse(term).unwrap()))
        .unwrap();
    let right = match operand.value() {
        crate::vocabulary::ValueType::Instant | crate::vocabulary::ValueType::InForce => {
            "2027-01-01T00:00:00Z"
        }
        crate::vocabulary::ValueType::Days | crate::vocabulary::ValueType::Decimal => "1",
        _ => "x",
    };
    json!({ "leftOperand": left, "operator": operator, "rightOperand": right })
}

fn breach_of(policy: Value) -> Option<String> {
    let mut policy = policy;
    policy["profile"] = json!("cx-policy:profile2405");
    let policy = Policy::from_json(&policy).unwrap();
    breach(&policy).map(|breach| format!("{} {}", breach.clause, breach.reason))
}

#[test]
fn there_are_29_operands_of_catena_x() {
    let number = crate::vocabulary::Operand::all()
        .filter(|operand| operand.profile == Profile::CatenaX)
        .count();
    assert_eq!(number, 29);
}

#[test]
fn each_operand_stands_where_its_profile_lets_it() {
    let terms = crate::vocabulary::Operand::all()
        .filter(|operand| operand.profile == Profile::CatenaX)
        .map(|operand| operand.term);
    for term in terms {
        let one = [condition(term)];
        let access = json!({ "permission": [{ "action": "cx-policy:access", "constraint": one }] });
        let prohibition = json!({
            "permission": [{ "action": "use" }],
            "prohibition": [{ "action": "use", "constraint": one }],
        });
        let obligation = json!({
            "permission": [{ "action": "use" }],
            "obligation": [{ "action": "use", "constraint": one }],
        });
        assert_eq!(
            breach_of(access).is_none(),
            ACCESS_OPERANDS.contains(&term),
            "{term} in access"
        );
        assert_eq!(
            breach_of(prohibition).is_none(),
            PROHIBITION_OPERANDS.contains(&term),
            "{term} in a prohibition"
        );
        assert_eq!(
            breach_of(obligation).is_none(),
            OBLIGATION_OPERANDS.contains(&term),
            "{term} in an obligation"
        );
    }
}

#[test]
fn an_access_policy_neither_prohibits_nor_binds_and_connects_by_and_alone() {
    let access = |extra: Value| {
        let mut policy = json!({ "permission": [{
            "action": "access", "constraint": [condition("Membership")],
        }] });
        for (name, member) in extra.as_object().unwrap() {
            policy[name] = member.clone();
        }
        breach_of(policy).is_some()
    };
    assert!(!access(json!({})));
    assert!(access(json!({ "prohibition": [{ "action": "print" }] })));
    assert!(access(json!({ "obligation": [{ "action": "delete" }] })));
    for (connective, allowed) in
        [("and", true), ("or", false), ("xone", false), ("andSequence", false)]
    {
        let operands = [condition("Membership"), condition("FrameworkAgreement")];
        let policy = json!({ "permission": [{
            "action": "use", "constraint": [{ connective: operands }],
        }] });
        assert_eq!(breach_of(policy).is_none(), allowed, "{connective}");
    }
    let foreign =
        json!({ "permission": [{ "action": "use", "constraint": [condition("industry")] }] });
    assert!(breach_of(foreign).is_some_and(|text| text.contains("industry")), "CAC-001");
}

#[test]
fn operands_exclude_each_other_whether_or_not_the_profile_is_named() {
    for group in EXCLUSIVE {
        for one in group {
            for other in group.iter().filter(|other| *other != one) {
                let both = [condition(one), condition(other)];
                let policy = json!({ "permission": [{ "action": "use", "constraint": both }] });
                let found = breach(&Policy::from_json(&policy).unwrap());
                assert!(
                    found.is_some_and(|found| found.reason.contains("exclude")),
                    "{one} {other}"
                );
            }
        }
    }
}

#[test]
fn a_condition_counts_wherever_it_stands() {
    let foreign = json!([condition("industry")]);
    let refined = |kind: &str| json!({ "@type": kind, "source": "urn:x", "refinement": foreign });
    let deep = json!({ "action": "delete", "consequence": [{
        "action": "inform", "consequence": [{ "action": [{
            "rdf:value": { "@id": "odrl:compensate" }, "refinement": foreign,
        }] }],
    }] });
    let table = [
        (
            "an action",
            json!({ "permission": [{ "action": [{
            "rdf:value": { "@id": "odrl:use" }, "refinement": foreign,
        }] }] }),
        ),
        (
            "a target",
            json!({ "permission": [{
            "action": "use", "target": refined("AssetCollection"),
        }] }),
        ),
        (
            "an assignee",
            json!({ "permission": [{
            "action": "use", "assignee": refined("PartyCollection"),
        }] }),
        ),
        (
            "the policy's target",
            json!({
                "target": refined("AssetCollection"), "permission": [{ "action": "use" }],
            }),
        ),
        (
            "a consequence of an obligation",
            json!({
                "permission": [{ "action": "use" }], "obligation": [deep],
            }),
        ),
        (
            "a consequence of a duty",
            json!({
                "permission": [{ "action": "use", "duty": [deep] }],
            }),
        ),
        (
            "a remedy",
            json!({
                "permission": [{ "action": "use" }],
                "prohibition": [{ "action": "use", "remedy": [{
                    "action": "delete", "constraint": foreign,
                }] }],
            }),
        ),
    ];
    for (place, policy) in table {
        let found = breach_of(policy);
        assert!(found.as_ref().is_some_and(|text| text.contains("industry")), "{place}: {found:?}");
    }
}

#[test]
fn a_profile_is_known_by_its_whole_identifier() {
    let table = [
        ("cx-policy:profile2405", true),
        ("https://w3id.org/catenax/policy/profile2405", true),
        ("https://w3id.org/catenax/2025/9/policy/", true),
        ("cx-policy:profile2705", false),
        ("cx-policy:profile2405x", false),
        ("https://w3id.org/catenax/2025/9/policy/other", false),
        ("https://w3id.org/catenax/policy/profile", false),
        ("http://www.w3.org/ns/odrl/2/core", true),
        ("http://www.w3.org/ns/odrl/3/core", false),
        ("", false),
    ];
    for (profile, known) in table {
        assert_eq!(is_known(profile), known, "{profile}");
    }
}

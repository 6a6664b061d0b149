//! What a partner is told, what an administrator is told, and what a lawyer reads.

use super::*;
use crate::evaluate::{Phase, Request, Subject, World, evaluate};
use crate::set::Purposes;
use serde_json::{Value, json};

fn policy() -> Policy {
    Policy::from_json(&json!({
        "permission": [{
            "action": "use",
            "constraint": [
                { "leftOperand": "spatial", "operator": "isNoneOf", "rightOperand": ["KP"] },
                { "leftOperand": "count", "operator": "lteq", "rightOperand": "10" },
                { "or": [
                    { "leftOperand": "purpose", "operator": "eq", "rightOperand": "cfp-reporting" },
                    { "leftOperand": "dateTime", "operator": "lt", "rightOperand": "2026-01-01T00:00:00+09:00" },
                ] },
            ],
            "duty": [{ "action": "obtainConsent" }],
        }],
        "prohibition": [{ "action": "sell" }],
        "obligation": [{
            "action": "delete",
            "constraint": [{ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P30D" }],
            "consequence": [{ "action": "compensate" }],
        }],
    }))
    .unwrap()
}

#[test]
fn a_partner_learns_the_clause_and_no_fact_of_ours() {
    let subject = Subject {
        participant: "did:web:a.example".to_owned(),
        groups: ["secret-group".to_owned()].into(),
        region: Some("JP".to_owned()),
        ..Subject::default()
    };
    let none = Purposes::default();
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    let world = World { earlier_uses: Some(41), ..World::new(now, &subject, &none) };
    let purposes = ["cfp-reporting".to_owned()];
    let request =
        Request { action: "use", target: "urn:d", purposes: &purposes, phase: Phase::Data };
    let explanation = refusal("cfp", &evaluate(&policy(), &request, &world)).unwrap();
    assert_eq!(
        explanation.external,
        "the condition `count lteq 10` does not hold; the agreed number of uses is spent"
    );
    assert!(!explanation.external.contains("42") && !explanation.external.contains("secret"));
    assert!(
        explanation.internal.starts_with(
            "policy `cfp` denies: `count lteq 10` does not hold: this would be use 42"
        )
    );
    assert!(
        explanation.internal.contains("spatial isNoneOf [KP]: yes (the partner's region is `JP`)")
    );
    assert!(explanation.internal.contains("\n    purpose eq cfp-reporting: yes"));
}

#[test]
fn a_policy_reads_as_plain_sentences() {
    assert_eq!(
        plain(&policy(), Language::English),
        "Permitted: use, provided that the region registered for the recipient is none of KP, and the number of uses is at most 10, \
         and at least one of these holds: (the declared purpose is exactly cfp-reporting; the time is before \
         2026-01-01T00:00:00+09:00), after having done: obtain consent.\n\
         Prohibited: sell.\n\
         Required: delete within 30 days of the agreement; otherwise: compensate.\n\
         Where a permission and a prohibition contradict each other, the whole policy is void and nothing is permitted."
    );
}

#[test]
fn a_policy_reads_as_plain_japanese() {
    assert_eq!(
        plain(&policy(), Language::Japanese),
        "許可: 利用(use)。条件: 受領者の登録地域が KP のいずれでもないこと、かつ、利用回数が 10 以下であること、かつ、\
         次の少なくとも一つを満たす(申告された利用目的が cfp-reporting であること、\
         利用日時が 2026-01-01T00:00:00+09:00 より前であること)(事前に行うこと: 同意の取得(obtainConsent))。\n\
         禁止: 販売(sell)。\n\
         義務: 合意から30日以内に削除(delete)(履行しない場合: 対価の支払い(compensate))。\n\
         許可と禁止が矛盾する場合は、ポリシー全体が無効となり、何も許可されません。"
    );
}

#[test]
fn every_clause_has_its_class() {
    use crate::classify::{By, Class, classify};
    let classes: Vec<_> =
        classify(&policy()).into_iter().map(|report| (report.clause, report.class)).collect();
    let expected = [
        ("use", Class::Enforced),
        ("spatial isNoneOf [KP]", Class::Declared(By::Administrator)),
        ("count lteq 10", Class::Enforced),
        ("purpose eq cfp-reporting", Class::Declared(By::Partner)),
        ("dateTime lt 2026-01-01T00:00:00+09:00", Class::Enforced),
        ("obtainConsent", Class::Declared(By::Partner)),
        ("sell", Class::Observed),
        ("delete when elapsedTime lteq P30D", Class::Observed),
        ("compensate", Class::Observed),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(clause, class)| (clause.to_owned(), class)).collect();
    assert_eq!(classes, expected);
}

/// A policy in which every member of the model says something.
fn full() -> Value {
    let refinement =
        json!([{ "leftOperand": "count", "operator": "lteq", "rightOperand": "3", "status": 1 }]);
    let deadline =
        json!([{ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P30D" }]);
    json!({
        "permission": [{
            "action": [{ "value": "print", "refinement": refinement.clone() }],
            "target": "urn:t", "assignee": "urn:a", "assigner": "urn:g",
            "constraint": [
                { "leftOperand": "absoluteSize", "operator": "lteq", "rightOperand": "5", "unit": "MB" },
                { "or": [{ "leftOperand": "purpose", "operator": "eq", "rightOperand": "audit" }] },
            ],
            "duty": [{ "action": "obtainConsent" }],
        }],
        "prohibition": [{ "action": "sell", "assignee": "urn:p", "remedy": [{ "action": "compensate" }] }],
        "obligation": [{
            "action": [{ "value": "delete", "refinement": refinement }],
            "target": "urn:d", "assignee": "urn:b", "assigner": "urn:o",
            "constraint": deadline.clone(),
            "consequence": [{ "action": "inform", "assignee": "urn:c", "constraint": deadline }],
        }],
        "conflict": "prohibit",
        "assigner": "urn:giver",
        "assignee": { "uid": "urn:taker", "refinement": [{ "leftOperand": "spatial", "operator": "eq", "rightOperand": "JP" }] },
        "target": { "uid": "urn:data", "refinement": [{ "leftOperand": "version", "operator": "eq", "rightOperand": "1" }] },
    })
}

#[test]
fn a_change_of_any_field_changes_the_text() {
    let edits = [
        ("/conflict", "perm"),
        ("/assigner", "urn:other"),
        ("/assignee/uid", "urn:other"),
        ("/assignee/refinement/0/rightOperand", "DE"),
        ("/target/uid", "urn:other"),
        ("/target/refinement/0/rightOperand", "2"),
        ("/permission/0/action/0/value", "display"),
        ("/permission/0/action/0/refinement/0/rightOperand", "4"),
        ("/permission/0/action/0/refinement/0/operator", "lt"),
        ("/permission/0/target", "urn:other"),
        ("/permission/0/assignee", "urn:other"),
        ("/permission/0/assigner", "urn:other"),
        ("/permission/0/constraint/0/leftOperand", "percentage"),
        ("/permission/0/constraint/0/operator", "gteq"),
        ("/permission/0/constraint/0/rightOperand", "6"),
        ("/permission/0/constraint/0/unit", "GB"),
        ("/permission/0/constraint/1/or/0/rightOperand", "marketing"),
        ("/permission/0/duty/0/action", "inform"),
        ("/prohibition/0/action", "distribute"),
        ("/prohibition/0/assignee", "urn:other"),
        ("/prohibition/0/remedy/0/action", "inform"),
        ("/obligation/0/action/0/value", "anonymize"),
        ("/obligation/0/action/0/refinement/0/rightOperand", "4"),
        ("/obligation/0/target", "urn:other"),
        ("/obligation/0/assignee", "urn:other"),
        ("/obligation/0/assigner", "urn:other"),
        ("/obligation/0/constraint/0/rightOperand", "P31D"),
        ("/obligation/0/constraint/0/operator", "lt"),
        ("/obligation/0/consequence/0/action", "compensate"),
        ("/obligation/0/consequence/0/assignee", "urn:other"),
        ("/obligation/0/consequence/0/constraint/0/rightOperand", "P31D"),
    ];
    let said = |policy: &Value| {
        let policy = Policy::from_json(policy).unwrap();
        [Language::English, Language::Japanese].map(|language| plain(&policy, language))
    };
    let before = said(&full());
    let differs = |edited: &Value, place: &str| {
        for (before, after) in before.iter().zip(said(edited)) {
            assert_ne!(*before, after, "{place}");
        }
    };
    for (place, other) in edits {
        let mut edited = full();
        *edited.pointer_mut(place).unwrap() = json!(other);
        differs(&edited, place);
    }
    let mut edited = full();
    edited["permission"][0]["action"][0]["refinement"][0]["status"] = json!(2);
    differs(&edited, "status");
    let mut edited = full();
    edited["permission"][0]["unheardOf"] = json!(1);
    differs(&edited, "what is not understood");
    for member in ["permission", "prohibition", "obligation", "assigner", "assignee", "target"] {
        let mut edited = full();
        edited.as_object_mut().unwrap().remove(member);
        differs(&edited, member);
    }
    let mut edited = full();
    edited["obligation"][0]["urn:sekisho:v1:targetSha256"] = json!("00".repeat(32));
    differs(&edited, "the digest of a target");
}

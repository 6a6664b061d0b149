//! What a partner is told, what an administrator is told, and what a lawyer reads.

use super::*;
use crate::evaluate::{Phase, Request, Subject, World, evaluate};
use crate::set::Purposes;
use serde_json::json;

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
         Required: delete within 30 days of the agreement; otherwise: compensate."
    );
}

#[test]
fn a_policy_reads_as_plain_japanese() {
    assert_eq!(
        plain(&policy(), Language::Japanese),
        "許可: 利用(use)。条件: 受領者の登録地域が KP のいずれでもないこと、かつ、利用回数が 10 以下であること、かつ、\
         次の少なくとも一つを満たす(申告された利用目的が cfp-reporting であること、\
         日時が 2026-01-01T00:00:00+09:00 より前であること)(事前に行うこと: 同意の取得(obtainConsent))。\n\
         禁止: 販売(sell)。\n\
         義務: 合意から30日以内に削除(delete)(行わない場合: 対価の支払い(compensate))。"
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

//! A fact that is wider than what a condition names: which part of it holds is not known, so nothing is granted by it.

use super::*;

/// A prohibition of `use` beside a permission that holds.
fn but(conflict: &str, prohibited: Value) -> Value {
    json!({
        "conflict": conflict,
        "permission": [{ "action": "use" }],
        "prohibition": [{ "action": "use", "constraint": [prohibited] }],
    })
}

#[test]
fn a_wider_fact_leaves_every_comparison_with_its_parts_open() {
    const OPEN: Status = Status::Undecidable;
    // Known of the partner: Ukraine. Crimea (UA-43) is a part of it, Tokyo is not.
    let case = Case {
        subject: Subject { region: Some("UA".to_owned()), ..Case::new().subject },
        declared: vec!["quality".to_owned()],
        ..Case::new()
    };
    for (expression, expected) in [
        ("spatial isNoneOf [UA-43]", OPEN),
        ("spatial isNoneOf [JP, UA-43]", OPEN),
        ("spatial isNoneOf [UA, UA-43]", NO),
        ("spatial isNoneOf [JP-13]", YES),
        ("spatial neq UA-43", OPEN),
        ("spatial neq UA", NO),
        ("spatial eq UA-43", OPEN),
        ("spatial isA UA-43", OPEN),
        ("spatial isPartOf UA-43", OPEN),
        ("spatial isAnyOf [JP, UA-43]", OPEN),
        ("spatial isAnyOf [UA, UA-43]", YES),
        ("spatial isAllOf [UA, UA-43]", OPEN),
        ("spatial isAllOf [JP, UA-43]", NO),
        ("spatial hasPart UA-43", YES),
        // `quality-audit` is a part of `quality`.
        ("purpose neq quality-audit", OPEN),
        ("purpose isNoneOf [marketing, quality-audit]", OPEN),
        ("purpose isNoneOf [marketing]", YES),
        ("purpose eq quality-audit", OPEN),
        ("purpose isAnyOf [marketing, quality-audit]", OPEN),
        ("purpose isAllOf [quality-audit]", OPEN),
        ("purpose isAllOf [quality, marketing]", NO),
    ] {
        assert_eq!(case.status(expression), expected, "{expression}");
    }
    // One that is as close or closer is decided.
    let audit = Case { declared: vec!["quality-audit".to_owned()], ..case };
    assert_eq!(audit.status("purpose neq quality-audit"), NO);
    assert_eq!(audit.status("purpose isAnyOf [quality]"), YES);
}

#[test]
fn a_prohibition_of_a_part_stands_against_the_whole() {
    let crimea = constraint("spatial", "eq", "UA-43");
    let wide = Case {
        subject: Subject { region: Some("UA".to_owned()), ..Case::new().subject },
        ..Case::new()
    };
    let elsewhere = Case {
        subject: Subject { region: Some("UA-30".to_owned()), ..Case::new().subject },
        ..Case::new()
    };
    for conflict in ["prohibit", "invalid"] {
        let policy = but(conflict, crimea.clone());
        assert!(!wide.evaluate(&policy).is_permit(), "{conflict}");
        assert!(elsewhere.evaluate(&policy).is_permit(), "{conflict}");
        let policy = but(conflict, constraint("purpose", "eq", "quality-audit"));
        assert!(!Case::new().evaluate(&policy).is_permit(), "{conflict}");
    }
    // Nothing else counts either: exactly one of two may be both of them.
    let exactly_one = json!({ "xone": [constraint("spatial", "eq", "UA"), crimea] });
    assert!(!wide.evaluate(&permit(&[exactly_one])).is_permit());
}

#[test]
fn what_is_agreed_reads_the_same_beside_a_prohibition() {
    let agreed =
        constraint("https://w3id.org/catenax/2025/9/policy/Liability", "eq", "cx.data.liability:1");
    let obligation = json!({
        "conflict": "prohibit",
        "permission": [{ "action": "use" }],
        "obligation": [{ "action": "delete", "constraint": [agreed] }],
    });
    let mut beside = obligation.clone();
    beside["prohibition"] =
        json!([{ "action": "print", "constraint": [constraint("spatial", "eq", "DE")] }]);
    for policy in [obligation, beside] {
        let answer = Case::new().evaluate(&policy);
        assert_eq!(answer.obligations[0].state, DutyState::Pending, "{policy}");
    }
    // A permission refined by such a term meets a prohibition as any other, so that the policy is void.
    let policy = json!({
        "permission": [{ "action": { "@id": "print", "refinement": [agreed] } }, { "action": "display" }],
        "prohibition": [{ "action": "print" }],
    });
    let answer = Case { action: "display", ..Case::new() }.evaluate(&policy);
    assert_eq!(answer.ground, Some(Ground::Conflict { permission: 0, prohibition: 0 }));
}

//! Every rule, operand and operator with its boundary, and what must hold for all policies.

use super::*;
use crate::evaluate::compliance;
use crate::odrl::Policy;
use crate::set::Purpose;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

mod delivery;
mod hand_over;
mod profiles;
mod properties;
mod semantics;
mod wider_facts;

const TARGET: &str = "urn:example:dataset";
const ME: &str = "did:web:a.example";

/// A world in which everything is known; tests change what they are about.
#[derive(Debug, Clone)]
struct Case {
    now: Timestamp,
    subject: Subject,
    earlier_uses: Option<u64>,
    previous_use: PreviousUse,
    use_began: Option<Timestamp>,
    agreed_at: Option<Timestamp>,
    performed: Vec<Performed>,
    purposes: Purposes,
    declared: Vec<String>,
    action: &'static str,
    phase: Phase,
    facts: Facts,
    past: Past,
    behaviour: Behaviour,
}

impl Case {
    fn new() -> Self {
        let purpose = |wider: &[&str]| Purpose {
            title: String::new(),
            part_of: wider.iter().map(|name| (*name).to_owned()).collect(),
        };
        let purposes = BTreeMap::from([
            ("quality".to_owned(), purpose(&[])),
            ("quality-audit".to_owned(), purpose(&["quality"])),
            ("marketing".to_owned(), purpose(&[])),
        ]);
        Self {
            now: at("2026-11-22T12:00:00Z"),
            subject: Subject {
                participant: ME.to_owned(),
                groups: BTreeSet::from(["customers".to_owned()]),
                region: Some("JP-13".to_owned()),
                ..Subject::default()
            },
            earlier_uses: Some(0),
            previous_use: PreviousUse::Never,
            use_began: None,
            agreed_at: Some(at("2026-11-01T00:00:00Z")),
            performed: Vec::new(),
            purposes: Purposes::new(purposes).unwrap(),
            declared: vec!["quality".to_owned()],
            action: "use",
            phase: Phase::Data,
            facts: Facts::default(),
            past: Past::new(),
            behaviour: Behaviour::Closed,
        }
    }

    fn evaluate(&self, policy: &Value) -> Evaluation {
        let policy = Policy::from_json(policy).unwrap();
        evaluate(&policy, &self.request(), &self.world())
    }

    fn request(&self) -> Request<'_> {
        Request { action: self.action, target: TARGET, purposes: &self.declared, phase: self.phase }
    }

    fn world(&self) -> World<'_> {
        World {
            now: self.now,
            subject: &self.subject,
            earlier_uses: self.earlier_uses,
            previous_use: self.previous_use,
            use_began: self.use_began,
            agreed_at: self.agreed_at,
            performed: &self.performed,
            past: &self.past,
            purposes: &self.purposes,
            facts: &self.facts,
            behaviour: self.behaviour,
        }
    }

    /// The status of one expression in a permission of `use`.
    fn status(&self, expression: &str) -> Status {
        let constraint = crate::file::expression::parse(expression).unwrap().to_json();
        let answer = self.evaluate(&permit(&[constraint]));
        let status = answer.rules[0].constraints[0].status;
        let granted = status == Status::Satisfied
            || status == Status::AppliesLater && self.phase < Phase::Transfer;
        assert_eq!(answer.is_permit(), granted, "{expression}: {answer:?}");
        assert_eq!(answer.ground.is_none(), granted);
        status
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn permit(constraints: &[Value]) -> Value {
    json!({ "permission": [{ "action": "use", "constraint": constraints }] })
}

fn constraint(left: &str, operator: &str, right: &str) -> Value {
    json!({ "leftOperand": left, "operator": operator, "rightOperand": right })
}

const YES: Status = Status::Satisfied;
const NO: Status = Status::Unsatisfied;

#[test]
fn every_operator_on_an_instant_at_its_boundary() {
    // The bound is noon UTC written in another zone; one nanosecond before, at it, one after.
    let bound = "2026-11-22T21:00:00+09:00";
    let table = [
        ("lt", YES, NO, NO),
        ("lteq", YES, YES, NO),
        ("eq", NO, YES, NO),
        ("gteq", NO, YES, YES),
        ("gt", NO, NO, YES),
        ("neq", YES, NO, YES),
    ];
    for (operator, before, equal, after) in table {
        let instants = [
            ("2026-11-22T11:59:59.999999999Z", before),
            ("2026-11-22T12:00:00Z", equal),
            ("2026-11-22T12:00:00.000000001Z", after),
        ];
        for (now, expected) in instants {
            let case = Case { now: at(now), ..Case::new() };
            let expression = format!("dateTime {operator} {bound}");
            assert_eq!(case.status(&expression), expected, "{expression} at {now}");
        }
    }
}

#[test]
fn the_answer_says_until_when_it_holds() {
    let table = [("lt", "2026-11-22T12:00:00Z"), ("lteq", "2026-11-22T12:00:00.000000001Z")];
    for (operator, expected) in table {
        let case = Case { now: at("2026-11-22T11:00:00Z"), ..Case::new() };
        let policy = permit(&[constraint("dateTime", operator, "2026-11-22T12:00:00Z")]);
        let answer = case.evaluate(&policy);
        assert!(answer.is_permit());
        assert_eq!(answer.until, Some(at(expected)), "{operator}");
        let then = Case { now: at(expected), ..Case::new() }.evaluate(&policy);
        assert!(!then.is_permit(), "at `until` the answer is another");
        assert_eq!(then.until, None);
    }
}

#[test]
fn a_leap_second_is_the_last_second_of_its_minute() {
    let case = Case { now: at("2016-12-31T23:59:59Z"), ..Case::new() };
    assert_eq!(case.status("dateTime lteq 2016-12-31T23:59:60Z"), YES);
    assert_eq!(Case::new().status("dateTime lteq 2016-12-31T23:59:60Z"), NO);
}

#[test]
fn a_count_includes_this_use() {
    let table = [
        (Some(0), "count lteq 1", YES),
        (Some(1), "count lteq 1", NO),
        (Some(9), "count lteq 10", YES),
        (Some(10), "count lteq 10", NO),
        (Some(8), "count lt 10", YES),
        (Some(9), "count lt 10", NO),
        (Some(9), "count eq 10", YES),
        (Some(9), "count neq 10", NO),
        (Some(9), "count gteq 10", YES),
        (Some(9), "count gt 10", NO),
        (None, "count lteq 10", Status::Undecidable),
        (Some(u64::MAX), "count lteq 10", Status::Undecidable),
    ];
    for (earlier_uses, expression, expected) in table {
        let case = Case { earlier_uses, ..Case::new() };
        assert_eq!(case.status(expression), expected, "{expression} after {earlier_uses:?}");
    }
}

#[test]
fn a_status_counts_as_uses_already_made() {
    let mut limited = constraint("count", "lteq", "10");
    limited["status"] = json!(5);
    let answer = |uses| {
        Case { earlier_uses: Some(uses), ..Case::new() }.evaluate(&permit(&[limited.clone()]))
    };
    assert!(answer(4).is_permit());
    assert!(!answer(5).is_permit());
}

#[test]
fn named_values_are_compared_with_their_wider_terms() {
    let table = [
        ("purpose eq quality-audit", "quality-audit", YES),
        ("purpose eq quality", "quality-audit", YES),
        ("purpose eq quality-audit", "quality", Status::Undecidable),
        ("purpose neq marketing", "quality", YES),
        ("purpose neq quality", "quality-audit", NO),
        ("purpose isA quality", "quality-audit", YES),
        ("purpose isPartOf quality", "quality-audit", YES),
        ("purpose hasPart quality-audit", "quality", YES),
        ("purpose hasPart quality", "quality-audit", NO),
        ("purpose isAnyOf [marketing, quality]", "quality", YES),
        ("purpose isAnyOf [marketing]", "quality", NO),
        ("purpose isNoneOf [marketing]", "quality", YES),
        ("purpose isNoneOf [marketing, quality]", "quality-audit", NO),
        ("purpose isAllOf [quality]", "quality-audit", YES),
        ("purpose isAllOf [quality, marketing]", "quality", NO),
    ];
    for (expression, declared, expected) in table {
        let case = Case { declared: vec![declared.to_owned()], ..Case::new() };
        assert_eq!(case.status(expression), expected, "{expression} for {declared}");
    }
}

#[test]
fn every_declared_purpose_must_be_allowed() {
    let both = Case { declared: vec!["quality".to_owned(), "marketing".to_owned()], ..Case::new() };
    let answer = both.evaluate(&permit(&[constraint("purpose", "eq", "quality")]));
    assert!(matches!(answer.ground, Some(Ground::Condition { .. })));
    // Two permissions, one for each purpose, allow both.
    let split = json!({ "permission": [
        { "action": "use", "constraint": [constraint("purpose", "eq", "quality")] },
        { "action": "use", "constraint": [constraint("purpose", "eq", "marketing")] },
    ] });
    assert!(both.evaluate(&split).is_permit());
    let none = Case { declared: Vec::new(), ..Case::new() };
    assert_eq!(none.status("purpose eq quality"), Status::Undecidable);
    assert_eq!(none.status("purpose isNoneOf [marketing]"), Status::Undecidable);
}

#[test]
fn regions_and_recipients() {
    let table = [
        ("spatial eq JP", YES),
        ("spatial eq JPN", YES),
        ("spatial isAnyOf [DE, JP]", YES),
        ("spatial isNoneOf [JP]", NO),
        ("spatial eq JP-13", YES),
        ("spatial eq JP-27", NO),
        ("recipient eq did:web:a.example", YES),
        ("recipient isPartOf customers", YES),
        ("recipient isAnyOf [suppliers]", NO),
        ("recipient isNoneOf [customers]", NO),
    ];
    for (expression, expected) in table {
        assert_eq!(Case::new().status(expression), expected, "{expression}");
    }
    let mut nowhere = Case::new();
    nowhere.subject.region = None;
    assert_eq!(nowhere.status("spatial isNoneOf [KP]"), Status::Undecidable);
    nowhere.subject.region = Some("Atlantis".to_owned());
    assert_eq!(nowhere.status("spatial isNoneOf [KP]"), Status::Undecidable);
}

#[test]
fn periods_are_counted_from_their_anchor_by_the_calendar() {
    let table = [
        ("elapsedTime lteq P30D", "2026-12-01T00:00:00Z", YES),
        ("elapsedTime lteq P30D", "2026-12-01T00:00:00.001Z", NO),
        ("elapsedTime eq P30D", "2026-11-02T00:00:00Z", YES),
        ("elapsedTime lt P1M", "2026-11-30T23:59:59.999Z", YES),
        ("elapsedTime lt P1M", "2026-12-01T00:00:00Z", NO),
        ("delayPeriod gteq P1D", "2026-11-01T23:59:59.999Z", NO),
        ("delayPeriod gteq P1D", "2026-11-02T00:00:00Z", YES),
        ("delayPeriod eq P1D", "2026-12-24T00:00:00Z", YES),
        ("elapsedTime lteq P9000Y", "2026-12-24T00:00:00Z", Status::Undecidable),
    ];
    for (expression, now, expected) in table {
        let case = Case { now: at(now), ..Case::new() };
        assert_eq!(case.status(expression), expected, "{expression} at {now}");
    }
    let unknown = Case { agreed_at: None, ..Case::new() };
    assert_eq!(unknown.status("elapsedTime lteq P30D"), Status::Undecidable);
}

#[test]
fn an_interval_is_counted_from_the_use_before() {
    let table = [
        (PreviousUse::Never, "timeInterval gteq P7D", YES),
        (PreviousUse::Never, "timeInterval lt P7D", NO),
        (PreviousUse::At(at("2026-11-15T12:00:00Z")), "timeInterval eq P7D", YES),
        (PreviousUse::At(at("2026-11-15T12:00:00.001Z")), "timeInterval eq P7D", NO),
        (PreviousUse::Unknown, "timeInterval eq P7D", Status::Undecidable),
    ];
    for (previous_use, expression, expected) in table {
        let case = Case { previous_use, ..Case::new() };
        assert_eq!(case.status(expression), expected, "{expression} after {previous_use:?}");
    }
}

#[test]
fn a_use_in_progress_is_timed_until_it_began() {
    let (before, now) = ("2026-11-15T12:00:00Z", "2026-12-24T00:00:00Z");
    let table = [
        ("2026-11-22T11:59:59.999Z", "timeInterval lt P7D", YES),
        ("2026-11-22T12:00:00Z", "timeInterval lt P7D", NO),
        ("2026-11-22T12:00:00Z", "timeInterval lteq P7D", YES),
        ("2026-11-22T12:00:00.001Z", "timeInterval lteq P7D", NO),
        ("2026-11-22T11:59:59.999Z", "timeInterval gteq P7D", NO),
        ("2026-11-22T12:00:00Z", "timeInterval eq P7D", YES),
    ];
    for (began, expression, expected) in table {
        let case = Case {
            previous_use: PreviousUse::At(at(before)),
            use_began: Some(at(began)),
            now: at(now),
            ..Case::new()
        };
        assert_eq!(case.status(expression), expected, "{expression} begun at {began}");
    }
}

#[test]
fn facts_are_judged_in_the_phases_where_they_exist() {
    let later = Status::AppliesLater;
    let table = [
        ("purpose eq marketing", later, NO, NO),
        ("count lteq 0", later, later, NO),
        ("elapsedTime lteq P1D", later, later, NO),
        ("delayPeriod gteq P60D", later, later, NO),
        ("timeInterval lt P7D", later, later, NO),
        ("spatial eq DE", NO, NO, NO),
        ("recipient eq did:web:c.example", NO, NO, NO),
        ("dateTime lt 2026-01-01T00:00:00Z", NO, NO, NO),
        ("dateTime gteq 2027-01-01T00:00:00Z", later, later, NO),
    ];
    for (expression, catalog, negotiation, data) in table {
        let phases = [
            (Phase::Catalog, catalog),
            (Phase::Negotiation, negotiation),
            (Phase::Transfer, data),
            (Phase::Data, data),
        ];
        for (phase, expected) in phases {
            let case = Case { phase, ..Case::new() };
            assert_eq!(case.status(expression), expected, "{expression} in {phase:?}");
        }
    }
}

#[test]
fn connectives_follow_their_truth_tables() {
    let (yes, no) = (constraint("count", "lteq", "1"), constraint("count", "gt", "1"));
    let (also_yes, also_no) = (constraint("count", "lteq", "2"), constraint("count", "gt", "2"));
    let open = constraint("elapsedTime", "lteq", "P9000Y");
    let unknown = constraint("mood", "eq", "good");
    let undecidable = Status::Undecidable;
    let not_understood = Status::NotUnderstood;
    let table = [
        (vec![&yes, &also_yes], YES, YES, NO),
        (vec![&yes, &no], NO, YES, YES),
        (vec![&no, &also_no], NO, NO, NO),
        (vec![&yes], YES, YES, YES),
        (vec![&yes, &open], undecidable, YES, undecidable),
        (vec![&no, &open], NO, undecidable, undecidable),
        (vec![&yes, &also_yes, &open], undecidable, YES, NO),
        (vec![&yes, &unknown], not_understood, not_understood, not_understood),
        (vec![&no, &unknown], not_understood, not_understood, not_understood),
    ];
    for (operands, and, or, xone) in table {
        let expected = [("and", and), ("andSequence", and), ("or", or), ("xone", xone)];
        for (connective, expected) in expected {
            let answer = Case::new().evaluate(&permit(&[json!({ connective: operands })]));
            assert_eq!(
                answer.rules[0].constraints[0].status, expected,
                "{connective} {operands:?}"
            );
            assert_eq!(answer.is_permit(), expected == YES);
        }
    }
}

#[test]
fn what_is_not_understood_denies_and_is_named() {
    let table = [
        (
            json!({ "permission": [{ "action": "use", "constraint": [constraint("mood", "eq", "good")] }] }),
            "mood",
        ),
        (json!({ "permission": [{ "action": "use", "preference": 1 }] }), "preference"),
        (json!({ "permission": [{ "action": "teleport" }] }), "teleport"),
        (json!({ "permission": [{ "action": "use" }], "profile": "urn:unknown" }), "urn:unknown"),
        (
            json!({ "permission": [{ "action": "use" }], "inheritFrom": "urn:parent" }),
            "inheritFrom",
        ),
        (json!({ "permission": [{ "action": "use" }], "conflict": "maybe" }), "maybe"),
        (
            json!({ "permission": [{ "action": "use" }], "obligation": [{ "action": "teleport" }] }),
            "teleport",
        ),
        (
            json!({ "permission": [{ "action": "use" }], "prohibition": [{ "action": "teleport" }], "conflict": "perm" }),
            "teleport",
        ),
        (
            json!({ "permission": [{ "action": "use" }], "prohibition": [{ "action": "use", "constraint": [constraint("mood", "eq", "good")] }], "conflict": "prohibit" }),
            "mood",
        ),
    ];
    let unclear = [
        (
            json!({ "permission": [{ "action": "use", "constraint": [{ "or": [constraint("count", "lteq", "9"), constraint("mood", "eq", "good")] }] }] }),
            "mood",
        ),
        (
            json!({ "permission": [{ "action": { "@id": "use", "refinement": [constraint("mood", "eq", "good")] } }] }),
            "mood",
        ),
        (
            json!({ "permission": [{ "action": "use", "assignee": { "source": "customers", "refinement": [constraint("mood", "eq", "good")] } }] }),
            "mood",
        ),
        (
            json!({ "permission": [{ "action": "use", "duty": [{ "action": "teleport" }] }] }),
            "teleport",
        ),
        (
            json!({ "permission": [{ "action": "use" }], "prohibition": [{ "action": "use", "remedy": [{ "action": "teleport" }] }], "conflict": "prohibit" }),
            "teleport",
        ),
        (
            json!({ "permission": [{ "action": "use" }], "obligation": [{ "action": "delete", "consequence": [{ "action": "teleport" }] }] }),
            "teleport",
        ),
        (
            json!({ "permission": [{ "action": "use" }], "obligation": [{ "action": "delete", "constraint": [constraint("mood", "eq", "good")] }] }),
            "mood",
        ),
    ];
    for (policy, named) in table.into_iter().chain(unclear) {
        for phase in [Phase::Catalog, Phase::Negotiation, Phase::Transfer, Phase::Data] {
            let answer = Case { phase, ..Case::new() }.evaluate(&policy);
            let Some(ground @ Ground::NotUnderstood { .. }) = answer.ground else {
                panic!("{policy} gave {:?}", answer.ground)
            };
            assert!(ground.to_string().contains(named), "{ground} does not name {named}");
        }
    }
}

#[test]
fn a_permission_that_is_not_understood_does_not_spoil_another() {
    let policy = json!({ "permission": [{ "action": "teleport" }, { "action": "use" }] });
    assert!(Case::new().evaluate(&policy).is_permit());
}

#[test]
fn actions_include_narrower_ones() {
    let ask = |action, policy: &Value| Case { action, ..Case::new() }.evaluate(policy);
    let only = |action: &str| json!({ "permission": [{ "action": action }] });
    assert!(ask("print", &only("use")).is_permit());
    assert!(ask("display", &only("use")).is_permit());
    assert!(!ask("use", &only("print")).is_permit());
    assert!(!ask("sell", &only("use")).is_permit());
    assert!(matches!(ask("teleport", &only("use")).ground, Some(Ground::UnknownAction { .. })));
}

#[test]
fn conflicts_are_resolved_as_the_policy_says() {
    // Strategy, permitted, prohibited, requested, granted.
    let table = [
        ("invalid", "use", "use", "use", false),
        ("invalid", "use", "print", "use", false),
        ("invalid", "use", "print", "print", false),
        ("invalid", "share", "distribute", "share", false),
        ("invalid", "print", "display", "print", true),
        ("prohibit", "use", "print", "use", true),
        ("prohibit", "use", "print", "print", false),
        ("prohibit", "share", "distribute", "share", false),
        ("prohibit", "use", "use", "print", false),
        ("perm", "use", "print", "print", true),
        ("perm", "use", "use", "use", true),
        ("perm", "print", "use", "display", false),
    ];
    for (conflict, permitted, prohibited, action, granted) in table {
        let policy = json!({
            "conflict": conflict,
            "permission": [{ "action": permitted }],
            "prohibition": [{ "action": prohibited }],
        });
        let answer = Case { action, ..Case::new() }.evaluate(&policy);
        let row = (conflict, permitted, prohibited, action);
        assert_eq!(answer.is_permit(), granted, "{row:?}: {:?}", answer.ground);
    }
    let default =
        json!({ "permission": [{ "action": "use" }], "prohibition": [{ "action": "print" }] });
    assert!(matches!(Case::new().evaluate(&default).ground, Some(Ground::Conflict { .. })));
}

#[test]
fn what_cannot_be_decided_does_not_keep_a_contradiction_away() {
    let (yes, no) = (constraint("spatial", "eq", "JP"), constraint("spatial", "eq", "DE"));
    let (open, later) = (constraint("industry", "eq", "x"), constraint("count", "lteq", "9"));
    // In between the one who asks for `use` has a permission that nothing is against. The first and the second are of `distribute`.
    let table = [
        (&yes, &yes, false),
        (&yes, &open, false),
        (&yes, &no, true),
        (&open, &yes, false),
        (&open, &open, false),
        (&open, &no, true),
        (&no, &yes, true),
        (&no, &open, true),
    ];
    let policy = |permitted: &Value, prohibited: &Value| {
        json!({
            "permission": [
                { "action": "display" },
                { "action": "give", "constraint": [permitted] },
            ],
            "prohibition": [{ "action": "sell", "constraint": [prohibited] },
                { "action": "transfer", "constraint": [prohibited] }],
        })
    };
    for (permitted, prohibited, granted) in table {
        let case = Case { action: "display", ..Case::new() };
        let answer = case.evaluate(&policy(permitted, prohibited));
        assert_eq!(answer.is_permit(), granted, "{permitted} {prohibited}: {:?}", answer.ground);
        assert_eq!(matches!(answer.ground, Some(Ground::Conflict { .. })), !granted);
    }
    // What is judged later is judged then, and voids the policy then.
    let catalog = Case { action: "display", phase: Phase::Catalog, ..Case::new() };
    assert!(catalog.evaluate(&policy(&later, &yes)).is_permit());
    let data = Case { phase: Phase::Data, ..catalog };
    assert!(!data.evaluate(&policy(&later, &yes)).is_permit());
}

#[test]
fn a_duty_says_which_of_its_conditions_could_not_be_decided_and_why() {
    let (yes, no) = (constraint("spatial", "eq", "JP"), constraint("spatial", "eq", "DE"));
    let open = constraint("industry", "eq", "x");
    let missing = ("industry eq x", "the partner's file does not say");
    let table = [
        (json!([]), DutyState::Pending, vec![]),
        (json!([yes]), DutyState::Pending, vec![]),
        (json!([open]), DutyState::Pending, vec![missing]),
        (json!([yes, open]), DutyState::Pending, vec![missing]),
        // It does not apply, whatever the other is.
        (json!([no, open]), DutyState::Inactive, vec![]),
        (json!([{ "or": [no, open] }]), DutyState::Pending, vec![missing]),
        (json!([{ "or": [yes, open] }]), DutyState::Pending, vec![]),
        (json!([{ "and": [yes, { "xone": [no, open] }] }]), DutyState::Pending, vec![missing]),
    ];
    for (conditions, state, expected) in table {
        let policy = json!({
            "permission": [{ "action": "use" }],
            "obligation": [{ "action": "inform", "constraint": conditions }],
        });
        let case = Case::new();
        let read = Policy::from_json(&policy).unwrap();
        let tracked = duties(&read, &case.request(), &case.world());
        let report = &tracked.duties[0].report;
        assert_eq!(report.state, state, "{conditions}");
        let undecided: Vec<_> = (report.undecided().into_iter())
            .map(|report| (report.clause.as_str(), report.found.as_str()))
            .collect();
        assert_eq!(undecided, expected, "{conditions}");
        let told = compliance(&case.evaluate(&policy)).to_string();
        assert!(expected.is_empty() || told.contains("undecidable"), "{told}");
    }
}

#[test]
fn a_prohibition_holds_only_when_all_its_constraints_do() {
    let policy = |constraints: Value| {
        json!({
            "conflict": "prohibit",
            "permission": [{ "action": "use" }],
            "prohibition": [{ "action": "use", "constraint": constraints }],
        })
    };
    let (holds, fails) = (constraint("spatial", "eq", "JP"), constraint("spatial", "eq", "DE"));
    let open = constraint("purpose", "eq", "marketing");
    assert!(!Case::new().evaluate(&policy(json!([holds, holds]))).is_permit());
    assert!(Case::new().evaluate(&policy(json!([holds, fails]))).is_permit());
    // A fact that is missing prohibits, unless another condition fails for certain.
    let silent = Case { declared: Vec::new(), ..Case::new() };
    assert!(!silent.evaluate(&policy(json!([open]))).is_permit());
    assert!(silent.evaluate(&policy(json!([open, fails]))).is_permit());
    // Before the purpose is declared it cannot be held against anybody.
    let catalog = Case { phase: Phase::Catalog, ..Case::new() };
    assert!(catalog.evaluate(&policy(json!([open]))).is_permit());
}

#[test]
fn a_rule_for_somebody_else_neither_grants_nor_forbids() {
    let other = json!({ "permission": [{ "action": "use", "assignee": "did:web:c.example" }] });
    assert!(matches!(Case::new().evaluate(&other).ground, Some(Ground::NoPermission { .. })));
    let forbidden = json!({
        "permission": [{ "action": "use" }],
        "prohibition": [{ "action": "use", "assignee": "did:web:c.example" }],
    });
    assert!(Case::new().evaluate(&forbidden).is_permit());
    let elsewhere = json!({
        "permission": [{ "action": "use" }],
        "prohibition": [{ "action": "use", "target": "urn:example:other" }],
    });
    assert!(Case::new().evaluate(&elsewhere).is_permit());
    let collection = |region: &str| {
        json!({ "permission": [{
        "action": "use",
        "assignee": {
            "@type": "PartyCollection",
            "source": "customers",
            "refinement": [constraint("spatial", "eq", region)],
        },
    }] })
    };
    assert!(Case::new().evaluate(&collection("JP")).is_permit());
    assert!(!Case::new().evaluate(&collection("DE")).is_permit());
}

#[test]
fn the_head_of_a_policy_must_fit() {
    let with = |name: &str, value: &str| {
        let mut policy = permit(&[]);
        policy[name] = json!(value);
        Case::new().evaluate(&policy).ground
    };
    assert_eq!(with("target", TARGET), None);
    assert_eq!(with("assignee", ME), None);
    assert!(matches!(with("target", "urn:example:other"), Some(Ground::OtherTarget { .. })));
    assert!(matches!(with("assignee", "did:web:c.example"), Some(Ground::OtherAssignee { .. })));
    assert_eq!(with("@type", "Offer"), Some(Ground::OnlyOffered));
    let mut offer = permit(&[]);
    offer["@type"] = json!("Offer");
    assert!(Case { phase: Phase::Negotiation, ..Case::new() }.evaluate(&offer).is_permit());
}

#[test]
fn a_refinement_narrows_the_action() {
    let policy = |region: &str| {
        json!({ "permission": [{
        "action": { "@id": "use", "refinement": [constraint("spatial", "eq", region)] },
    }] })
    };
    let granted = Case::new().evaluate(&policy("JP"));
    assert!(granted.is_permit());
    let refused = Case::new().evaluate(&policy("DE"));
    // The rule stays active; only the action is another one.
    assert_eq!((refused.rules[0].active, refused.rules[0].concerns), (YES, NO));
    assert!(!refused.is_permit());
}

#[test]
fn a_duty_of_a_permission_must_be_done_before() {
    let policy =
        json!({ "permission": [{ "action": "use", "duty": [{ "action": "obtainConsent" }] }] });
    let mut case = Case::new();
    let refused = case.evaluate(&policy);
    assert!(matches!(refused.ground, Some(Ground::Duty { .. })));
    assert!(Case { phase: Phase::Negotiation, ..Case::new() }.evaluate(&policy).is_permit());
    let done = |target: &str, now: &str| Performed {
        action: "obtainConsent".to_owned(),
        target: target.to_owned(),
        at: at(now),
        facts: BTreeMap::new(),
    };
    case.performed = vec![done("urn:example:other", "2026-11-22T11:00:00Z")];
    assert!(!case.evaluate(&policy).is_permit(), "done to another dataset");
    case.performed = vec![done(TARGET, "2026-11-22T13:00:00Z")];
    assert!(!case.evaluate(&policy).is_permit(), "done after");
    case.performed = vec![done(TARGET, "2026-11-22T12:00:00Z")];
    assert!(case.evaluate(&policy).is_permit());
    // A duty whose own condition does not hold is inactive and asks nothing.
    let inactive = json!({ "permission": [{ "action": "use", "duty": [{
        "action": "obtainConsent", "constraint": [constraint("spatial", "eq", "DE")],
    }] }] });
    assert!(Case::new().evaluate(&inactive).is_permit());
}

#[test]
fn obligations_have_states_and_deadlines() {
    let policy = json!({
        "permission": [{ "action": "use" }],
        "obligation": [{ "action": "delete", "constraint": [constraint("elapsedTime", "lteq", "P30D")] }],
    });
    let end = at("2026-12-01T00:00:00Z");
    let state = |now: &str, done: Option<&str>| {
        let performed = done.map(|done| Performed {
            action: "delete".to_owned(),
            target: TARGET.to_owned(),
            at: at(done),
            facts: BTreeMap::new(),
        });
        let case = Case { now: at(now), performed: performed.into_iter().collect(), ..Case::new() };
        let answer = case.evaluate(&policy);
        assert!(answer.is_permit(), "an obligation is no condition");
        assert_eq!(answer.obligations[0].deadline, Some(end));
        answer.obligations[0].state
    };
    assert_eq!(state("2026-12-01T00:00:00Z", None), DutyState::Pending);
    assert_eq!(state("2026-12-01T00:00:00.001Z", None), DutyState::Violated);
    assert_eq!(state("2026-12-02T00:00:00Z", Some("2026-12-01T00:00:00Z")), DutyState::Fulfilled);
    assert_eq!(
        state("2026-12-02T00:00:00Z", Some("2026-12-01T00:00:00.001Z")),
        DutyState::Violated
    );
}

#[test]
fn the_deciding_condition_is_named() {
    let policy = permit(&[constraint("spatial", "eq", "JP"), constraint("count", "lteq", "10")]);
    let answer = Case { earlier_uses: Some(10), ..Case::new() }.evaluate(&policy);
    let Some(Ground::Condition { permission: 0, report }) = answer.ground else { panic!() };
    assert_eq!(report.clause, "count lteq 10");
    assert_eq!(report.found, "this would be use 11");
}

fn rule_strategy() -> impl Strategy<Value = Value> {
    let constraint = prop_oneof![
        Just(constraint("spatial", "eq", "JP")),
        Just(constraint("spatial", "eq", "DE")),
        Just(constraint("count", "lteq", "3")),
        Just(constraint("purpose", "eq", "quality")),
        Just(constraint("purpose", "eq", "marketing")),
        Just(constraint("dateTime", "lt", "2026-11-22T12:00:00Z")),
        Just(constraint("dateTime", "gteq", "2026-11-22T12:00:00Z")),
        Just(constraint("mood", "eq", "good")),
    ];
    let nested = prop_oneof![
        3 => constraint.clone(),
        1 => prop::collection::vec(constraint.clone(), 1..4).prop_map(|c| json!({ "or": c })),
        1 => prop::collection::vec(constraint, 1..4).prop_map(|c| json!({ "xone": c })),
    ];
    let action = prop_oneof![Just("use"), Just("print"), Just("distribute"), Just("teleport")];
    (action, prop::collection::vec(nested, 0..3)).prop_map(|(action, constraints)| {
        if constraints.is_empty() {
            json!({ "action": action })
        } else {
            json!({ "action": action, "constraint": constraints })
        }
    })
}

fn case_strategy() -> impl Strategy<Value = Case> {
    let phase = prop_oneof![
        Just(Phase::Catalog),
        Just(Phase::Negotiation),
        Just(Phase::Transfer),
        Just(Phase::Data)
    ];
    let purposes = prop::collection::vec(prop_oneof![Just("quality"), Just("marketing")], 0..3);
    let action = prop_oneof![Just("use"), Just("print"), Just("sell")];
    (phase, purposes, action, prop::option::of(0..5_u64)).prop_map(
        |(phase, purposes, action, earlier_uses)| Case {
            phase,
            declared: purposes.into_iter().map(str::to_owned).collect(),
            action,
            earlier_uses,
            ..Case::new()
        },
    )
}

fn policy(conflict: &str, permissions: &[Value], prohibitions: &[Value]) -> Value {
    let mut policy = json!({ "conflict": conflict });
    for (name, rules) in [("permission", permissions), ("prohibition", prohibitions)] {
        if !rules.is_empty() {
            policy[name] = json!(rules);
        }
    }
    policy
}

proptest! {
    #[test]
    fn adding_a_prohibition_never_grants(
        case in case_strategy(),
        conflict in prop_oneof![Just("perm"), Just("prohibit"), Just("invalid")],
        permissions in prop::collection::vec(rule_strategy(), 1..4),
        mut prohibitions in prop::collection::vec(rule_strategy(), 0..3),
        added in rule_strategy(),
    ) {
        let before = case.evaluate(&policy(conflict, &permissions, &prohibitions)).is_permit();
        prohibitions.push(added);
        let after = case.evaluate(&policy(conflict, &permissions, &prohibitions)).is_permit();
        prop_assert!(before || !after);
    }

    #[test]
    fn the_order_of_rules_never_matters(
        case in case_strategy(),
        conflict in prop_oneof![Just("perm"), Just("prohibit"), Just("invalid")],
        mut permissions in prop::collection::vec(rule_strategy(), 1..5),
        mut prohibitions in prop::collection::vec(rule_strategy(), 0..5),
    ) {
        let one = case.evaluate(&policy(conflict, &permissions, &prohibitions));
        permissions.reverse();
        prohibitions.reverse();
        let other = case.evaluate(&policy(conflict, &permissions, &prohibitions));
        prop_assert_eq!((one.decision, one.until), (other.decision, other.until));
    }

    #[test]
    fn the_answer_does_not_change_before_it_says(
        case in case_strategy(),
        permissions in prop::collection::vec(rule_strategy(), 1..4),
        prohibitions in prop::collection::vec(rule_strategy(), 0..3),
        early in 1..7200_i64,
        later in 0..7200_i64,
    ) {
        let policy = policy("prohibit", &permissions, &prohibitions);
        let now = case.now.checked_sub(jiff::SignedDuration::from_secs(early)).unwrap();
        let then = now.checked_add(jiff::SignedDuration::from_secs(later)).unwrap();
        let answer = Case { now, ..case.clone() }.evaluate(&policy);
        prop_assert!(answer.until.is_none_or(|until| until > now));
        if answer.until.is_none_or(|until| then < until) {
            let again = Case { now: then, ..case }.evaluate(&policy);
            prop_assert_eq!(again.decision, answer.decision);
        }
    }

    #[test]
    fn nothing_panics_on_what_a_peer_may_send(value in crate::odrl::nearly_policy(), case in case_strategy()) {
        if let Ok(policy) = Policy::from_json(&value) {
            let answer = evaluate(&policy, &case.request(), &case.world());
            prop_assert_eq!(answer.ground.is_none(), answer.is_permit());
            let _ = crate::explain::refusal("p", &answer);
        }
    }
}

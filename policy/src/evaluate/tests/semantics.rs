//! The rules of ODRL and of its formal semantics one by one, and operands with the boundaries of their values.

use super::*;
use crate::odrl::Decimal;

fn done(action: &str, when: &str, facts: &[(&str, &str)]) -> Performed {
    Performed {
        action: action.to_owned(),
        target: TARGET.to_owned(),
        at: at(when),
        facts: facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

/// A case whose dataset, partner and delivery are all known.
pub(super) fn known() -> Case {
    let mut case = Case::new();
    case.facts = Facts {
        collections: BTreeSet::from(["parts".to_owned()]),
        media_type: Some("text/csv".to_owned()),
        size: Some(1_000_000),
        version: Some("1.10".to_owned()),
        language: Some("ja".to_owned()),
        delivery_channels: BTreeSet::from(["https".to_owned()]),
        metered_time: Some(jiff::SignedDuration::from_mins(30)),
        paid: BTreeMap::from([("EUR".to_owned(), "5.00".parse::<Decimal>().unwrap())]),
        references: BTreeMap::from([("urn:limit".to_owned(), json!("3"))]),
    };
    let names = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    case.subject.node =
        Some(Link { names: names(&["node-1.a.example", "urn:node:1"]), proof: Proof::Connection });
    case.subject.locations = names(&["https://a.example"]);
    case.subject.attributes = BTreeMap::from([
        ("industry".to_owned(), names(&["automotive"])),
        ("event".to_owned(), names(&["urn:event:recall"])),
        ("Membership".to_owned(), names(&["active"])),
        ("FrameworkAgreement".to_owned(), names(&["DataExchangeGovernance:1.0"])),
        ("SECURITY_LEVEL".to_owned(), names(&["trust-plus"])),
        ("operatorId".to_owned(), names(&["b39e6248-c888-56ca-d9d0-89de1b1adc8e"])),
    ]);
    case
}

fn status(case: &Case, left: &str, operator: &str, right: Value, unit: Option<&str>) -> Status {
    let mut one = json!({ "leftOperand": left, "operator": operator, "rightOperand": right });
    if let Some(unit) = unit {
        one["unit"] = json!(unit);
    }
    case.evaluate(&permit(&[one])).rules[0].constraints[0].status
}

const OPEN: Status = Status::Undecidable;
const UNCLEAR: Status = Status::NotUnderstood;

#[test]
fn operands_of_the_dataset_and_the_delivery_at_their_boundaries() {
    let table = [
        ("fileFormat", "eq", json!("text/csv"), None, YES),
        ("fileFormat", "eq", json!("TEXT/CSV"), None, YES),
        (
            "fileFormat",
            "isAnyOf",
            json!(["https://www.iana.org/assignments/media-types/text/csv"]),
            None,
            YES,
        ),
        ("fileFormat", "isNoneOf", json!(["text/csv"]), None, NO),
        ("language", "eq", json!("ja"), None, YES),
        ("absoluteSize", "lteq", json!("1000000"), None, YES),
        ("absoluteSize", "lt", json!("1000000"), None, NO),
        ("absoluteSize", "lteq", json!("1"), Some("MB"), YES),
        ("absoluteSize", "lt", json!("1"), Some("http://qudt.org/vocab/unit/MegaBYTE"), NO),
        ("absoluteSize", "lteq", json!(0.999_999_999), Some("unit:MegaBYTE"), NO),
        ("absoluteSize", "lt", json!("1"), Some("MiB"), YES),
        ("absoluteSize", "lt", json!("1"), Some("furlong"), UNCLEAR),
        ("percentage", "lteq", json!("100"), None, YES),
        ("percentage", "lteq", json!("99.999999999"), Some("percent"), NO),
        ("percentage", "lteq", json!("99.9999999999"), None, UNCLEAR),
        ("version", "eq", json!("1.10"), None, YES),
        ("version", "eq", json!("1.10.0"), None, YES),
        ("version", "gteq", json!("1.9"), None, YES),
        ("version", "gt", json!("1.10"), None, NO),
        ("version", "lt", json!("v2"), None, YES),
        ("version", "lt", json!("next"), None, OPEN),
        ("version", "isAnyOf", json!(["1.9", "1.10"]), None, YES),
        ("deliveryChannel", "eq", json!("https"), None, YES),
        ("deliveryChannel", "eq", json!("post"), None, NO),
        ("meteredTime", "lteq", json!("PT30M"), None, YES),
        ("meteredTime", "lteq", json!("PT29M59.999S"), None, NO),
        ("meteredTime", "lt", json!("PT30M"), None, NO),
        ("meteredTime", "lt", json!("PT30M0.001S"), None, YES),
        ("unitOfCount", "eq", json!("transfer"), None, YES),
        ("unitOfCount", "eq", json!("person"), None, NO),
        ("payAmount", "gteq", json!("5"), Some("EUR"), YES),
        ("payAmount", "gteq", json!("5.000000001"), Some("EUR"), NO),
        ("payAmount", "gteq", json!("5"), Some("JPY"), OPEN),
        ("payAmount", "gteq", json!("5"), None, UNCLEAR),
        ("resolution", "lteq", json!("1"), None, OPEN),
    ];
    for (left, operator, right, unit, expected) in table {
        let found = status(&known(), left, operator, right.clone(), unit);
        assert_eq!(found, expected, "{left} {operator} {right} {unit:?}");
    }
    // Nothing of it is known: nothing of it grants.
    for left in ["fileFormat", "language", "version"] {
        assert_eq!(status(&Case::new(), left, "neq", json!("x"), None), OPEN, "{left}");
    }
}

#[test]
fn operands_of_the_partner_and_of_profiles() {
    let table = [
        ("industry", "eq", json!("automotive"), YES),
        ("industry", "isNoneOf", json!(["automotive"]), NO),
        ("event", "eq", json!("urn:event:recall"), YES),
        ("virtualLocation", "eq", json!("https://a.example"), YES),
        ("virtualLocation", "eq", json!("https://b.example"), NO),
        // The node is the one of the connection, and not the participant that it belongs to.
        ("systemDevice", "isAnyOf", json!(["node-1.a.example"]), YES),
        ("systemDevice", "eq", json!("urn:node:1"), YES),
        ("systemDevice", "isAnyOf", json!([ME, "customers"]), NO),
        ("systemDevice", "isNoneOf", json!(["node-1.a.example"]), NO),
        ("systemDevice", "isNoneOf", json!(["node-2.a.example"]), YES),
        ("cx-policy:Membership", "eq", json!("active"), YES),
        ("https://w3id.org/catenax/2025/9/policy/Membership", "eq", json!("active"), YES),
        ("Membership", "neq", json!("active"), UNCLEAR),
        ("FrameworkAgreement", "eq", json!("DataExchangeGovernance:1.0"), YES),
        ("FrameworkAgreement", "eq", json!("DataExchangeGovernance:2.0"), NO),
        ("BusinessPartnerNumber", "isAnyOf", json!([ME]), YES),
        ("BusinessPartnerNumber", "isNoneOf", json!([ME]), NO),
        ("BusinessPartnerNumber", "eq", json!(ME), UNCLEAR),
        ("BusinessPartnerGroup", "isAnyOf", json!(["customers"]), YES),
        ("UsagePurpose", "isAnyOf", json!(["quality"]), YES),
        ("UsagePurpose", "isAnyOf", json!(["marketing"]), NO),
        ("Liability", "eq", json!("cx.data.liability:1"), YES),
        ("ContractReference", "isAllOf", json!(["C-1"]), YES),
        ("ContractReference", "isAnyOf", json!(["C-1"]), UNCLEAR),
        ("DataUsageEndDate", "eq", json!("2026-11-22T12:00:00Z"), YES),
        ("DataUsageEndDate", "eq", json!("2026-11-22T11:59:59.999Z"), NO),
        ("DataUsageEndDate", "lteq", json!("2027-01-01T00:00:00Z"), UNCLEAR),
        ("DataUsageEndDurationDays", "eq", json!("22"), YES),
        ("DataUsageEndDurationDays", "eq", json!("21"), NO),
        ("edc:inForceDate", "lteq", json!("2026-11-22T21:00:00+09:00"), YES),
        ("inForceDate", "lteq", json!("contractAgreement+22d"), YES),
        ("inForceDate", "lteq", json!("contractAgreement+21d"), NO),
        ("inForceDate", "gteq", json!("contractAgreement+0s"), YES),
        // Only the end dates of Catena-X mean "until" by `eq`.
        ("inForceDate", "eq", json!("2026-11-22T12:00:00Z"), YES),
        ("inForceDate", "eq", json!("2027-01-01T00:00:00Z"), NO),
        ("inForceDate", "eq", json!("contractAgreement+30d"), NO),
        ("percentage", "lteq", json!("100.1"), UNCLEAR),
        ("percentage", "gteq", json!("-1"), UNCLEAR),
        ("inForceDate", "lteq", json!("contractAgreement+5y"), UNCLEAR),
        ("idsc:SECURITY_LEVEL", "eq", json!("trust-plus"), YES),
        ("idsc:CONNECTOR", "isAnyOf", json!([ME]), NO),
        ("idsc:CONNECTOR", "eq", json!("urn:node:1"), YES),
        ("idsc:JSON_PATH", "eq", json!("$.a"), OPEN),
        ("operatorId", "eq", json!("b39e6248-c888-56ca-d9d0-89de1b1adc8e"), YES),
    ];
    for (left, operator, right, expected) in table {
        let found = status(&known(), left, operator, right.clone(), None);
        assert_eq!(found, expected, "{left} {operator} {right}");
    }
    for left in ["industry", "event", "Membership", "operatorId", "virtualLocation"] {
        assert_eq!(status(&Case::new(), left, "eq", json!("x"), None), OPEN, "{left} is not known");
    }
}

#[test]
fn every_operand_answers_every_operator_and_never_more_than_its_table_says() {
    use crate::vocabulary::{LeftOperand, Operator, ValueType};
    for left in LeftOperand::all() {
        for term in Operator::terms() {
            let operator = Operator::parse(term).unwrap();
            let value = match left.value() {
                ValueType::Instant | ValueType::InForce => json!("2026-11-22T12:00:00Z"),
                ValueType::Duration => json!("P1D"),
                ValueType::Days
                | ValueType::Decimal
                | ValueType::Percent
                | ValueType::Bytes
                | ValueType::Money => {
                    json!("1")
                }
                ValueType::Version => json!("1.0"),
                ValueType::Terms => json!("JP"),
            };
            let unit = (left.value() == ValueType::Money).then_some("EUR");
            let found = status(&known(), &left.written(), term, value, unit);
            let takes = left.operators().include(operator);
            assert_eq!(found == UNCLEAR, !takes, "{} {term}: {found:?}", left.term());
        }
    }
}

#[test]
fn operators_of_named_values_by_set() {
    // Known are `customers` and the participant itself.
    let table = [
        ("eq", json!("customers"), YES),
        ("neq", json!("customers"), NO),
        ("isA", json!("customers"), YES),
        ("isPartOf", json!("customers"), YES),
        // A member belongs to its group; it does not contain it.
        ("hasPart", json!("customers"), NO),
        ("hasPart", json!(ME), YES),
        ("hasPart", json!("suppliers"), NO),
        ("isAnyOf", json!(["customers", "suppliers"]), YES),
        ("isAllOf", json!(["customers", ME]), YES),
        ("isAllOf", json!(["customers", "suppliers"]), NO),
        ("isNoneOf", json!(["suppliers"]), YES),
        ("isNoneOf", json!(["suppliers", "customers"]), NO),
        ("lt", json!("customers"), UNCLEAR),
    ];
    for (operator, right, expected) in table {
        let found = status(&Case::new(), "recipient", operator, right.clone(), None);
        assert_eq!(found, expected, "{operator} {right}");
    }
}

/// The operators that CX-0152 gives each operand, from its schemas.
#[test]
fn the_operands_of_catena_x_take_the_operators_of_their_schemas() {
    let any_of = [
        "UsagePurpose",
        "AffiliatesBpnl",
        "AffiliatesRegion",
        "ManagedLegalEntityBpnl",
        "ManagedLegalEntityRegion",
        "ConfidentialInformationSharing",
    ];
    let any_or_none = ["BusinessPartnerGroup", "BusinessPartnerNumber"];
    let all_of = ["ContractReference", "UsageRestriction"];
    let equal = [
        "FrameworkAgreement",
        "Membership",
        "ExclusiveUsage",
        "Precedence",
        "VersionChanges",
        "DataFrequency",
        "ContractTermination",
        "Liability",
        "Warranty",
        "WarrantyDefinition",
        "WarrantyDurationMonths",
        "JurisdictionLocation",
        "JurisdictionLocationReference",
        "ConfidentialInformationMeasures",
        "DataUsageEndDate",
        "DataUsageEndDefinition",
        "DataUsageEndDurationDays",
        "DataProvisioningEndDate",
        "DataProvisioningEndDurationDays",
    ];
    let rows = [
        (any_of.as_slice(), ["isAnyOf"].as_slice()),
        (&any_or_none, &["isAnyOf", "isNoneOf"]),
        (&all_of, &["isAllOf"]),
        (&equal, &["eq"]),
    ];
    assert_eq!(rows.iter().map(|(operands, _)| operands.len()).sum::<usize>(), 29);
    for (operands, operators) in rows {
        for left in operands {
            let value = match *left {
                "DataUsageEndDate" | "DataProvisioningEndDate" => json!("2027-01-01T00:00:00Z"),
                "DataUsageEndDurationDays"
                | "DataProvisioningEndDurationDays"
                | "WarrantyDurationMonths" => json!("30"),
                _ => json!("x"),
            };
            for operator in crate::vocabulary::Operator::terms() {
                for prefix in ["", "cx-policy:", "https://w3id.org/catenax/2025/9/policy/"] {
                    let left = format!("{prefix}{left}");
                    let found = status(&known(), &left, operator, value.clone(), None);
                    assert_eq!(
                        found != UNCLEAR,
                        operators.contains(&operator),
                        "{left} {operator}"
                    );
                }
            }
        }
    }
}

/// ODRL vocabulary 4.5 gives instants, periods and numbers an order; 4.6 gives names the relations of sets and parts.
#[test]
fn values_with_an_order_take_the_six_comparisons_and_names_the_others() {
    let comparisons = ["eq", "neq", "gt", "gteq", "lt", "lteq"];
    let relations = ["eq", "neq", "isA", "hasPart", "isPartOf", "isAnyOf", "isAllOf", "isNoneOf"];
    let ordered = [
        ("dateTime", "2027-01-01T00:00:00Z"),
        ("elapsedTime", "P1D"),
        ("delayPeriod", "P1D"),
        ("timeInterval", "P1D"),
        ("meteredTime", "PT1H"),
        ("count", "1"),
        ("absoluteSize", "1"),
        ("percentage", "1"),
    ];
    let named = [
        ("purpose", "quality"),
        ("spatial", "JP"),
        ("recipient", "x"),
        ("systemDevice", "x"),
        ("virtualLocation", "x"),
        ("fileFormat", "x"),
        ("language", "x"),
        ("event", "x"),
        ("deliveryChannel", "x"),
        ("industry", "x"),
        ("unitOfCount", "x"),
    ];
    for (left, value) in ordered.into_iter().chain(named) {
        let taken: &[&str] =
            if ordered.contains(&(left, value)) { &comparisons } else { &relations };
        for operator in crate::vocabulary::Operator::terms() {
            let found = status(&known(), left, operator, json!(value), None);
            assert_eq!(found != UNCLEAR, taken.contains(&operator), "{left} {operator}: {found:?}");
        }
    }
}

/// Each period a millisecond before its end, at it, and a millisecond after; `eq` states the period (vocabulary 4.5).
#[test]
fn every_operator_on_a_period_at_its_boundary() {
    let within = ("eq", [YES, YES, NO]);
    let not_before = ("eq", [NO, YES, YES]);
    let others = [
        ("lt", [YES, NO, NO]),
        ("lteq", [YES, YES, NO]),
        ("gteq", [NO, YES, YES]),
        ("gt", [NO, NO, YES]),
        ("neq", [YES, NO, YES]),
    ];
    let (agreed, metered) = (at("2026-11-01T00:00:00Z"), jiff::SignedDuration::from_mins(30));
    let millisecond = jiff::SignedDuration::from_millis(1);
    for (left, eq) in [
        ("elapsedTime", within),
        ("delayPeriod", not_before),
        ("timeInterval", not_before),
        ("meteredTime", within),
    ] {
        for (operator, expected) in others.into_iter().chain([eq]) {
            for (offset, expected) in [-1, 0, 1].into_iter().zip(expected) {
                let end = at("2026-11-08T00:00:00Z");
                let mut case = Case {
                    agreed_at: Some(agreed),
                    previous_use: PreviousUse::At(agreed),
                    ..known()
                };
                case.now = end.checked_add(millisecond * offset).unwrap();
                case.facts.metered_time = Some(metered + millisecond * offset);
                let period = if left == "meteredTime" { "PT30M" } else { "P7D" };
                assert_eq!(
                    case.status(&format!("{left} {operator} {period}")),
                    expected,
                    "{left} {operator} {offset} ms"
                );
            }
        }
    }
}

#[test]
fn an_instant_is_one_in_every_zone_and_a_leap_second_ends_its_minute() {
    let noon = Case { now: at("2026-11-22T12:00:00Z"), ..Case::new() };
    for bound in [
        "2026-11-22T12:00:00Z",
        "2026-11-22T21:00:00+09:00",
        "2026-11-22T06:30:00-05:30",
        "2026-11-23T02:00:00+14:00",
        "2026-11-22T12:00:00.000Z",
        "2026-11-22T12:00:00-00:00",
    ] {
        for (operator, expected) in
            [("eq", YES), ("lteq", YES), ("gteq", YES), ("lt", NO), ("gt", NO), ("neq", NO)]
        {
            assert_eq!(
                noon.status(&format!("dateTime {operator} {bound}")),
                expected,
                "{operator} {bound}"
            );
        }
    }
    // The leap second of 2016 counts as the second before it: POSIX clocks show no other.
    for (now, expected) in [
        ("2016-12-31T23:59:58.999Z", YES),
        ("2016-12-31T23:59:59Z", YES),
        ("2017-01-01T00:00:00Z", NO),
    ] {
        let case = Case { now: at(now), ..Case::new() };
        assert_eq!(case.status("dateTime lteq 2016-12-31T23:59:60Z"), expected, "{now}");
        assert_eq!(case.status("dateTime lteq 2017-01-01T08:59:60+09:00"), expected, "{now}");
    }
    for unclear in [
        "2026-11-22",
        "2026-11-22T12:00:00",
        "2026-11-22T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-22T12:00:00[Asia/Tokyo]",
    ] {
        assert_eq!(status(&noon, "dateTime", "lteq", json!(unclear), None), UNCLEAR, "{unclear}");
    }
}

#[test]
fn p5_a_literal_says_its_type_and_nothing_that_is_passed_over() {
    let table = [
        (json!({ "@value": "10", "@type": "xsd:integer" }), YES),
        (json!({ "@value": 10 }), YES),
        (
            json!({ "@value": "10", "@type": "http://www.w3.org/2001/XMLSchema#nonNegativeInteger" }),
            YES,
        ),
        (json!({ "@value": "10", "@type": "xsd:string" }), UNCLEAR),
        (json!({ "@value": "10", "unless": "sunday" }), UNCLEAR),
        (json!({ "@value": "10", "@id": "urn:ten" }), UNCLEAR),
        (json!("1e1"), UNCLEAR),
        (json!(10.5), UNCLEAR),
    ];
    for (right, expected) in table {
        assert_eq!(status(&Case::new(), "count", "lteq", right.clone(), None), expected, "{right}");
    }
    let left = json!({ "leftOperand": { "@id": "count", "refinement": [] }, "operator": "lteq", "rightOperand": "10" });
    assert_eq!(Case::new().evaluate(&permit(&[left])).rules[0].constraints[0].status, UNCLEAR);
    let target =
        json!({ "permission": [{ "action": "use", "target": { "@id": TARGET, "part": 1 } }] });
    assert!(!Case::new().evaluate(&target).is_permit());
    let noted = json!({ "permission": [{ "action": "use", "target": { "@id": TARGET, "@type": "Asset", "dct:title": "t" } }] });
    assert!(Case::new().evaluate(&noted).is_permit());
}

#[test]
fn p9_only_sets_and_agreements_grant() {
    for (kind, granted) in [
        (None, true),
        (Some("Policy"), true),
        (Some("Set"), true),
        (Some("Agreement"), true),
        (Some("odrl:Agreement"), true),
        (Some("Offer"), false),
    ] {
        let mut policy = permit(&[]);
        if let Some(kind) = kind {
            policy["@type"] = json!(kind);
        }
        assert_eq!(Case::new().evaluate(&policy).is_permit(), granted, "{kind:?}");
    }
}

#[test]
fn p13_an_obligation_names_both_its_parties() {
    let policy = json!({
        "permission": [{ "action": "use" }],
        "obligation": [
            { "action": "delete", "assigner": "did:web:b.example", "assignee": ME },
            { "action": "inform", "assigner": ME, "assignee": "did:web:b.example" },
        ],
    });
    let answer = Case::new().evaluate(&policy);
    assert!(answer.is_permit());
    let owed: Vec<_> = answer.obligations.iter().map(|duty| duty.actions.concat()).collect();
    assert_eq!(owed, ["delete"], "the other is not the subject's");
    assert_eq!(Policy::from_json(&policy).unwrap().to_json()["obligation"], policy["obligation"]);
}

#[test]
fn p1_an_unknown_profile_stops_processing() {
    for (profile, granted) in [
        ("http://www.w3.org/ns/odrl/2/core", true),
        ("cx-policy:profile2405", true),
        ("urn:other:profile", false),
    ] {
        let mut policy = permit(&[]);
        policy["profile"] = json!(profile);
        assert_eq!(Case::new().evaluate(&policy).is_permit(), granted, "{profile}");
    }
    let mut both = permit(&[]);
    both["profile"] = json!(["http://www.w3.org/ns/odrl/2/core", "urn:other:profile"]);
    assert!(!Case::new().evaluate(&both).is_permit());
}

#[test]
fn p5_a_reference_is_what_it_stands_for_and_undecidable_otherwise() {
    let policy = |reference: &str| {
        permit(&[
            json!({ "leftOperand": "count", "operator": "lteq", "rightOperandReference": reference }),
        ])
    };
    let uses = |earlier_uses| Case { earlier_uses: Some(earlier_uses), ..known() };
    assert!(uses(2).evaluate(&policy("urn:limit")).is_permit());
    assert!(!uses(3).evaluate(&policy("urn:limit")).is_permit());
    let unknown = uses(0).evaluate(&policy("urn:other"));
    assert_eq!(unknown.rules[0].constraints[0].status, OPEN);
}

#[test]
fn p6_the_order_of_a_sequence_is_kept_and_counts() {
    let open = constraint("elapsedTime", "lteq", "P9000Y");
    let no = constraint("count", "gt", "1");
    let judged = |operands: [&Value; 2]| {
        let policy = permit(&[json!({ "andSequence": { "@list": operands } })]);
        Case::new().evaluate(&policy).rules[0].constraints[0].status
    };
    assert_eq!(judged([&open, &no]), OPEN, "what follows is not reached");
    assert_eq!(judged([&no, &open]), NO);
    let twice = permit(&[json!({ "xone": [no, no] })]);
    assert_eq!(Case::new().evaluate(&twice).rules[0].constraints[0].status, UNCLEAR);
}

#[test]
fn p8_a_collection_of_datasets_is_refined() {
    let policy = |source: &str, format: &str| {
        json!({
            "target": {
                "@type": "AssetCollection",
                "source": source,
                "refinement": [constraint("fileFormat", "eq", format)],
            },
            "permission": [{ "action": "use" }],
        })
    };
    assert!(known().evaluate(&policy("parts", "text/csv")).is_permit());
    assert!(!known().evaluate(&policy("parts", "application/json")).is_permit());
    assert!(!known().evaluate(&policy("drawings", "text/csv")).is_permit());
    assert!(
        !Case::new().evaluate(&policy("parts", "text/csv")).is_permit(),
        "not known to be a member"
    );
}

#[test]
fn p10_a_constraint_makes_inactive_and_a_refinement_does_not() {
    let constrained = Case::new().evaluate(&permit(&[constraint("spatial", "eq", "DE")]));
    let refined = Case::new().evaluate(&json!({ "permission": [{
        "action": { "@id": "use", "refinement": [constraint("spatial", "eq", "DE")] },
    }] }));
    let states = |answer: &Evaluation| (answer.rules[0].activation(), answer.rules[0].attempt());
    assert_eq!(states(&constrained), (Activation::Inactive, Attempt::Attempted));
    assert_eq!(states(&refined), (Activation::Active, Attempt::NotAttempted));
    assert!(!constrained.is_permit() && !refined.is_permit());
}

#[test]
fn p11_and_p13_duties_with_refinements_and_consequences() {
    let policy = json!({
        "permission": [{ "action": "use", "duty": [{
            "action": { "@id": "compensate", "refinement": [
                { "leftOperand": "payAmount", "operator": "gteq", "rightOperand": "500", "unit": "EUR" },
            ] },
            "constraint": [constraint("dateTime", "lteq", "2026-11-20T00:00:00Z")],
            "consequence": [{ "action": "inform" }],
        }] }],
    });
    let judged = |performed: Vec<Performed>| {
        let answer = Case { performed, ..Case::new() }.evaluate(&policy);
        let report = answer.rules[0].duties[0].clone();
        assert_eq!(answer.is_permit(), report.state == DutyState::Fulfilled, "{answer:?}");
        (report.state, report.deontic())
    };
    let paid = |when, amount| done("compensate", when, &[("payAmount", amount)]);
    let (early, late) = ("2026-11-19T00:00:00Z", "2026-11-21T00:00:00Z");
    assert_eq!(judged(vec![]), (DutyState::Violated, Deontic::Violated));
    assert_eq!(judged(vec![paid(early, "500")]), (DutyState::Fulfilled, Deontic::Fulfilled));
    assert_eq!(judged(vec![paid(early, "499.99")]).0, DutyState::Violated, "too little");
    assert_eq!(
        judged(vec![done("compensate", early, &[])]).0,
        DutyState::Violated,
        "not said how much"
    );
    assert_eq!(judged(vec![paid(late, "500")]).0, DutyState::Violated, "too late");
    let made_up = vec![paid(late, "500"), done("inform", late, &[])];
    assert_eq!(judged(made_up).0, DutyState::Fulfilled, "late, with the consequence");
}

#[test]
fn p12_an_infringed_prohibition_owes_its_remedy() {
    let policy = json!({
        "conflict": "prohibit",
        "permission": [{ "action": "use" }],
        "prohibition": [{ "action": "print", "remedy": [{ "action": "compensate" }] }],
    });
    let report = |performed| {
        let answer = Case { performed, ..Case::new() }.evaluate(&policy);
        answer.rules[1].clone()
    };
    let before = report(vec![]);
    assert_eq!((before.deontic(), before.duties.len()), (Deontic::NotSet, 0));
    let infringed = report(vec![done("print", "2026-11-21T00:00:00Z", &[])]);
    assert_eq!(infringed.deontic(), Deontic::Violated);
    assert_eq!(infringed.duties[0].state, DutyState::Pending);
    let mut chained = policy.clone();
    chained["prohibition"][0]["remedy"][0]["consequence"] = json!([{ "action": "inform" }]);
    let answer = Case { action: "print", ..Case::new() }.evaluate(&chained);
    assert!(
        matches!(answer.ground, Some(Ground::NotUnderstood { .. })),
        "a remedy has no consequence"
    );
}

#[test]
fn p14_an_open_world_permits_what_nothing_prohibits() {
    let policy = json!({ "prohibition": [{ "action": "print" }] });
    for (behaviour, action, granted) in [
        (Behaviour::Open, "use", true),
        (Behaviour::Open, "print", false),
        (Behaviour::Closed, "use", false),
        (Behaviour::Closed, "print", false),
    ] {
        let case = Case { behaviour, action, ..Case::new() };
        assert_eq!(case.evaluate(&policy).is_permit(), granted, "{behaviour:?} {action}");
    }
    let mut elsewhere = policy.clone();
    elsewhere["target"] = json!("urn:example:other");
    let open = Case { behaviour: Behaviour::Open, action: "print", ..Case::new() };
    assert!(open.evaluate(&elsewhere).is_permit(), "it is about another dataset");
    let agreed = json!({ "prohibition": [{ "action": "use", "constraint": [
        { "leftOperand": "UsageRestriction", "operator": "isAllOf", "rightOperand": ["r"] },
    ] }] });
    let open = Case { behaviour: Behaviour::Open, ..Case::new() };
    assert!(!open.evaluate(&agreed).is_permit(), "nobody agreed to a restriction of the site");
}

#[test]
fn p16_the_deontic_state_follows_its_table() {
    use Activation::{Active, Inactive};
    use Concept::{Duty, Permission, Prohibition};
    use Deontic::{Fulfilled, NotSet, Violated};
    use Performance::{Performed, Unknown, Unperformed};
    let table = [
        (Active, Performed, Permission, Fulfilled),
        (Active, Performed, Prohibition, Violated),
        (Active, Performed, Duty, Fulfilled),
        (Active, Unperformed, Permission, NotSet),
        (Active, Unperformed, Prohibition, Fulfilled),
        (Active, Unperformed, Duty, Violated),
        (Active, Unknown, Permission, NotSet),
        (Active, Unknown, Prohibition, NotSet),
        (Active, Unknown, Duty, NotSet),
        (Inactive, Performed, Permission, Violated),
        (Inactive, Performed, Prohibition, NotSet),
        (Inactive, Performed, Duty, NotSet),
        (Inactive, Unperformed, Permission, Fulfilled),
        (Inactive, Unperformed, Prohibition, NotSet),
        (Inactive, Unperformed, Duty, NotSet),
        (Inactive, Unknown, Permission, NotSet),
        (Inactive, Unknown, Prohibition, NotSet),
        (Inactive, Unknown, Duty, NotSet),
    ];
    for (activation, performance, concept, expected) in table {
        let found = deontic(activation, performance, concept);
        assert_eq!(found, expected, "{activation:?} {performance:?} {concept:?}");
    }
}

#[test]
fn a_member_of_the_chain_that_is_only_declared_grants_nothing() {
    let policy = permit(&[constraint("recipient", "eq", "urn:person:1")]);
    let excludes = permit(&[constraint("recipient", "neq", "urn:person:1")]);
    for (proof, granted) in [
        (Proof::Connection, true),
        (Proof::Credential, true),
        (Proof::Attestation, true),
        (Proof::Declared, false),
    ] {
        let mut case = Case::new();
        case.subject.person = Some(Link::new("urn:person:1", proof));
        assert_eq!(case.evaluate(&policy).is_permit(), granted, "{proof:?}");
        assert!(!case.evaluate(&excludes).is_permit(), "{proof:?} is enough to be left out");
    }
}

#[test]
fn a_member_that_is_only_declared_leaves_every_condition_about_it_open() {
    let member = "urn:person:1";
    let named = |operator: &str, kind: &str| {
        let condition = match operator {
            "isAnyOf" | "isNoneOf" | "isAllOf" => json!({
                "leftOperand": "recipient", "operator": operator, "rightOperand": [member],
            }),
            _ => constraint("recipient", operator, member),
        };
        match kind {
            "permission" => permit(&[condition]),
            _ => json!({
                "conflict": "prohibit",
                "permission": [{ "action": "use" }],
                "prohibition": [{ "action": "use", "constraint": [condition] }],
            }),
        }
    };
    let operators = ["eq", "isA", "isPartOf", "hasPart", "isAnyOf", "isAllOf", "neq", "isNoneOf"];
    for operator in operators {
        let excludes = matches!(operator, "neq" | "isNoneOf");
        for (proof, is_proven) in [(Proof::Connection, true), (Proof::Declared, false)] {
            let mut case = Case::new();
            case.subject.person = Some(Link::new(member, proof));
            let grants = |kind| case.evaluate(&named(operator, kind)).is_permit();
            assert_eq!(grants("permission"), is_proven && !excludes, "permit {operator} {proof:?}");
            assert_eq!(grants("prohibition"), is_proven && excludes, "forbid {operator} {proof:?}");
        }
    }
    // One of two that are proven and declared is not exactly one.
    let mut case = Case::new();
    case.subject.person = Some(Link::new(member, Proof::Declared));
    let own = case.subject.participant.clone();
    let xone = json!({ "xone": [
        constraint("recipient", "eq", &own), constraint("recipient", "eq", member),
    ] });
    assert!(!case.evaluate(&permit(&[xone])).is_permit());
}

#[test]
fn the_node_is_judged_once_data_are_fetched_and_only_where_it_is_proven() {
    let policies = [
        ("eq", permit(&[constraint("systemDevice", "eq", "node-1.a.example")])),
        ("neq", permit(&[constraint("systemDevice", "neq", "node-2.a.example")])),
    ];
    for (operator, policy) in policies {
        for (phase, proof, granted) in [
            (Phase::Catalog, None, true),
            (Phase::Negotiation, None, true),
            (Phase::Transfer, None, false),
            (Phase::Data, None, false),
            (Phase::Data, Some(Proof::Connection), true),
            (Phase::Data, Some(Proof::Declared), false),
        ] {
            let mut case = Case { phase, ..Case::new() };
            case.subject.node = proof.map(|proof| Link::new("node-1.a.example", proof));
            let found = case.evaluate(&policy).is_permit();
            assert_eq!(found, granted, "{operator} {phase:?} {proof:?}");
        }
    }
    let prohibits = json!({
        "conflict": "prohibit",
        "permission": [{ "action": "use" }],
        "prohibition": [{
            "action": "use", "constraint": [constraint("systemDevice", "neq", "node-1.a.example")],
        }],
    });
    assert!(!Case::new().evaluate(&prohibits).is_permit(), "which node it is is not known");
}

#[test]
fn a_credential_counts_while_it_is_valid_and_says_when_that_changes() {
    let (from, until) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
    let statement = Statement {
        operand: "Membership".to_owned(),
        values: BTreeSet::from(["active".to_owned()]),
        source: "MembershipCredential of urn:issuer".to_owned(),
        node: None,
        from: Some(from),
        until: Some(until),
    };
    let member = permit(&[constraint("Membership", "eq", "active")]);
    let table = [
        ("2026-10-31T23:59:59.999Z", false, Some(from), "valid from 2026-11-01T00:00:00Z"),
        ("2026-11-01T00:00:00Z", true, Some(until), ""),
        ("2026-11-30T23:59:59.999Z", true, Some(until), ""),
        // Half an hour before midnight in Tokyo it is not over yet.
        ("2026-12-01T08:30:00+09:00", true, Some(until), ""),
        ("2026-12-01T00:00:00Z", false, None, "ended at 2026-12-01T00:00:00Z"),
        ("2026-12-01T00:00:00.001Z", false, None, "ended at 2026-12-01T00:00:00Z"),
    ];
    for (now, granted, changes, found) in table {
        let mut case = Case { now: at(now), ..Case::new() };
        case.subject.statements = vec![statement.clone()];
        let answer = case.evaluate(&member);
        assert_eq!((answer.is_permit(), answer.until), (granted, changes), "{now}");
        let report = &answer.rules[0].constraints[0];
        assert!(report.found.contains(found), "{now}: {}", report.found);
        // What is not known to be so prohibits as well.
        let prohibition = json!({
            "conflict": "prohibit",
            "permission": [{ "action": "use" }],
            "prohibition": [{ "action": "use", "constraint": [constraint("Membership", "eq", "active")] }],
        });
        assert!(!case.evaluate(&prohibition).is_permit(), "{now}");
    }
    // One that ended does not take away what another says.
    let mut case = Case { now: at("2026-12-24T00:00:00Z"), ..Case::new() };
    let later = Statement { from: Some(until), until: None, ..statement.clone() };
    case.subject.statements = vec![statement, later];
    assert!(case.evaluate(&member).is_permit());
}

#[test]
fn an_attestation_of_a_node_counts_for_that_node_alone() {
    let attested = permit(&[constraint("idsc:APPLICATION", "eq", "urn:app:solver")]);
    let mut case = Case::new();
    case.subject.statements = vec![Statement {
        operand: "APPLICATION".to_owned(),
        values: BTreeSet::from(["urn:app:solver".to_owned()]),
        source: "attestation".to_owned(),
        node: Some("node-1.a.example".to_owned()),
        from: None,
        until: None,
    }];
    for (name, proof, granted) in [
        ("node-1.a.example", Proof::Connection, true),
        ("node-1.a.example", Proof::Declared, false),
        ("node-2.a.example", Proof::Connection, false),
    ] {
        case.subject.node = Some(Link::new(name, proof));
        assert_eq!(case.evaluate(&attested).is_permit(), granted, "{name} {proof:?}");
    }
    case.subject.node = None;
    assert!(!case.evaluate(&attested).is_permit(), "which node it is is not known");
    case.phase = Phase::Negotiation;
    assert!(case.evaluate(&attested).is_permit(), "it applies later");
}

proptest! {
    #[test]
    fn a_decision_is_the_same_with_and_without_words(
        case in case_strategy(),
        conflict in prop_oneof![Just("perm"), Just("prohibit"), Just("invalid")],
        permissions in prop::collection::vec(rule_strategy(), 1..4),
        prohibitions in prop::collection::vec(rule_strategy(), 0..3),
    ) {
        let policy = Policy::from_json(&policy(conflict, &permissions, &prohibitions)).unwrap();
        let (full, short) = (
            evaluate(&policy, &case.request(), &case.world()),
            decide(&policy, &case.request(), &case.world()),
        );
        prop_assert_eq!((full.decision, full.until), (short.decision, short.until));
        let states = |answer: &Evaluation| -> Vec<_> {
            answer.rules.iter().map(|report| (report.concerns, report.active)).collect()
        };
        prop_assert_eq!(states(&full), states(&short));
    }

    #[test]
    fn connectives_obey_the_laws_of_logic(
        case in case_strategy(),
        one in prop_oneof![Just(("count", "lteq", "3")), Just(("spatial", "eq", "JP")), Just(("spatial", "eq", "DE"))],
        other in prop_oneof![Just(("purpose", "eq", "quality")), Just(("count", "gt", "2"))],
    ) {
        let (a, b) = (constraint(one.0, one.1, one.2), constraint(other.0, other.1, other.2));
        let judged = |condition: Value| {
            case.evaluate(&permit(&[condition])).rules[0].constraints[0].status
        };
        for connective in ["and", "or", "xone"] {
            prop_assert_eq!(
                judged(json!({ connective: [a, b] })),
                judged(json!({ connective: [b, a] })),
                "{} commutes", connective
            );
            prop_assert_eq!(judged(json!({ connective: [a] })), judged(a.clone()));
        }
        let nested = json!({ "and": [{ "or": [a, b] }, b] });
        if judged(b.clone()) == YES {
            prop_assert_eq!(judged(nested), YES, "absorption");
        }
        if judged(json!({ "and": [a, b] })) == YES {
            prop_assert_eq!(judged(json!({ "or": [a, b] })), YES);
            prop_assert_eq!(judged(json!({ "xone": [a, b] })), NO);
        }
    }
}

#[test]
fn p16_the_reports_are_written_in_the_terms_of_the_model() {
    let policy = json!({
        "conflict": "prohibit",
        "permission": [{
            "action": "use",
            "constraint": [{ "or": [constraint("spatial", "eq", "JP"), constraint("event", "eq", "x")] }],
            "duty": [{ "action": "obtainConsent" }],
        }],
        "prohibition": [{ "action": "print" }],
        "obligation": [{ "action": "delete", "constraint": [constraint("elapsedTime", "lteq", "P1D")] }],
    });
    let written = compliance(&Case::new().evaluate(&policy));
    let at = |place: &str| written.pointer(place).cloned().unwrap_or_default();
    for (place, expected) in [
        ("/@type", json!("PolicyReport")),
        ("/ruleReport/0/@type", json!("PermissionReport")),
        ("/ruleReport/0/rule", json!("permission 1")),
        ("/ruleReport/0/attemptState", json!("Attempted")),
        ("/ruleReport/0/activationState", json!("Inactive")),
        ("/ruleReport/0/performanceState", json!("Unknown")),
        ("/ruleReport/0/deonticState", json!("NonSet")),
        ("/ruleReport/0/premiseReport/2/@type", json!("ActionReport")),
        ("/ruleReport/0/premiseReport/2/satisfactionState", json!("Satisfied")),
        ("/ruleReport/0/premiseReport/3/premiseReport/0/constraint", json!("spatial eq JP")),
        ("/ruleReport/0/premiseReport/3/premiseReport/1/satisfactionState", json!("Unsatisfied")),
        ("/ruleReport/0/premiseReport/3/premiseReport/1/status", json!("undecidable")),
        ("/ruleReport/0/conditionReport/0/activationState", json!("Active")),
        ("/ruleReport/1/@type", json!("ProhibitionReport")),
        ("/ruleReport/1/attemptState", json!("NotAttempted")),
        ("/ruleReport/2/@type", json!("DutyReport")),
        ("/ruleReport/2/deonticState", json!("Violated")),
        ("/ruleReport/2/deadline", json!("2026-11-02T00:00:00Z")),
    ] {
        assert_eq!(at(place), expected, "{place} in {written:#}");
    }
}

/// What was done before a consequence is owed does not count for it, and its period runs from the violation.
#[test]
fn p13_a_consequence_counts_from_the_violation() {
    let policy = json!({
        "permission": [{ "action": "use" }],
        "obligation": [{
            "action": "delete",
            "constraint": [constraint("dateTime", "lt", "2026-11-20T00:00:00Z")],
            "consequence": [{
                "action": "compensate", "constraint": [constraint("elapsedTime", "lteq", "P2D")],
            }],
        }],
    });
    let policy = Policy::from_json(&policy).unwrap();
    let tracked = |now: &str, performed: Vec<Performed>| {
        let case = Case { now: at(now), performed, ..Case::new() };
        let found = duties(&policy, &case.request(), &case.world());
        let states: Vec<_> = found.duties.iter().map(|duty| duty.report.state).collect();
        (states, found.duties[1].clone(), found.until)
    };
    let (before, after) = ("2026-11-19T23:59:59.999Z", "2026-11-20T00:00:00Z");
    let (states, consequence, until) = tracked(before, Vec::new());
    assert_eq!(states, [DutyState::Pending, DutyState::Inactive]);
    assert_eq!(
        (consequence.name.as_str(), consequence.report.deadline),
        ("obligation-1-consequence-1", None)
    );
    assert_eq!(until, Some(at(after)));
    let paid = |when| vec![done("compensate", when, &[])];
    for (now, performed, second) in [
        (after, Vec::new(), DutyState::Pending),
        (after, paid(before), DutyState::Pending),
        (after, paid(after), DutyState::Fulfilled),
        ("2026-11-22T00:00:00Z", Vec::new(), DutyState::Pending),
        ("2026-11-22T00:00:00.001Z", Vec::new(), DutyState::Violated),
    ] {
        let (states, consequence, _) = tracked(now, performed);
        assert_eq!(states, [DutyState::Violated, second], "{now}");
        assert_eq!(consequence.report.since, Some(at(after)), "{now}");
        assert_eq!(consequence.report.deadline, Some(at("2026-11-22T00:00:00Z")), "{now}");
    }
}

/// What is on record of a duty or prohibition outlasts the conditions from which it came.
#[test]
fn the_past_of_duties_and_prohibitions_stays() {
    let elsewhere = constraint("spatial", "eq", "DE");
    let policy = json!({
        "conflict": "prohibit",
        "permission": [{ "action": "use" }],
        "prohibition": [{ "action": "print", "constraint": [elsewhere], "remedy": [{ "action": "inform" }] }],
        "obligation": [{ "action": "delete", "constraint": [elsewhere] }],
    });
    let policy = Policy::from_json(&policy).unwrap();
    let states = |past: Past| {
        let case = Case { past, ..Case::new() };
        let found = duties(&policy, &case.request(), &case.world());
        found.duties.iter().map(|duty| duty.report.state).collect::<Vec<_>>()
    };
    assert_eq!(states(Past::new()), [DutyState::Inactive, DutyState::Inactive]);
    let violated = |name: &str| {
        let when = Some(at("2026-11-20T00:00:00Z"));
        Past::from([(name.to_owned(), Happened { violated: when, ..Happened::default() })])
    };
    assert_eq!(states(violated("obligation-1")), [DutyState::Violated, DutyState::Inactive]);
    assert_eq!(states(violated("prohibition-1")), [DutyState::Inactive, DutyState::Pending]);
    let case = Case { past: violated("prohibition-1"), ..Case::new() };
    let answer = evaluate(&policy, &case.request(), &case.world());
    assert_eq!(answer.rules[1].duties[0].state, DutyState::Pending);
}

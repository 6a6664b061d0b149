//! The operands of profiles by their specifications: CX-0152 with its operators, types, places and exclusions; the policy
//! classes of the IDSA; the operator identifier of the ODS. The tables are written from those texts, not from ours.

use super::semantics::known;
use super::*;
use crate::classify::{By, Class, classify};
use crate::profile::breach;

const OPERATORS: [&str; 12] = [
    "eq", "neq", "gt", "gteq", "lt", "lteq", "isA", "hasPart", "isPartOf", "isAnyOf", "isAllOf",
    "isNoneOf",
];

/// Each constraint of CX-0152: the operators of its schema, a value that fits, and one of another type where there is one.
const CATENA_X: [(&str, &[&str], &str, Option<&str>); 29] = [
    ("FrameworkAgreement", &["eq"], "DataExchangeGovernance:1.0", None),
    ("Membership", &["eq"], "active", None),
    ("ExclusiveUsage", &["eq"], "cx.exclusiveUsage.dataConsumer:1", None),
    ("Precedence", &["eq"], "cx.precedence.contractReference:1", None),
    ("VersionChanges", &["eq"], "cx.versionChanges.minor:1", None),
    ("DataFrequency", &["eq"], "cx.dataFrequency.once:1", None),
    ("ContractTermination", &["eq"], "cx.data.contractTermination:1", None),
    ("Liability", &["eq"], "cx.grossNegligence:1", None),
    ("Warranty", &["eq"], "cx.warranty.none:1", None),
    ("WarrantyDefinition", &["eq"], "cx.warranty.contractEndDate:1", None),
    ("WarrantyDurationMonths", &["eq"], "12", Some("a year")),
    ("JurisdictionLocation", &["eq"], "DE", None),
    ("JurisdictionLocationReference", &["eq"], "cx.location.dataConsumer:1", None),
    ("ConfidentialInformationMeasures", &["eq"], "cx.confidentiality.measures:1", None),
    ("DataUsageEndDate", &["eq"], "2027-01-01T00:00:00Z", Some("2027-01-01")),
    ("DataUsageEndDefinition", &["eq"], "cx.dataUsageEnd.unlimited:1", None),
    ("DataUsageEndDurationDays", &["eq"], "30", Some("30.5")),
    ("DataProvisioningEndDate", &["eq"], "2027-01-01T00:00:00Z", Some("next year")),
    ("DataProvisioningEndDurationDays", &["eq"], "30", Some("-1")),
    ("UsagePurpose", &["isAnyOf"], "quality", None),
    ("AffiliatesBpnl", &["isAnyOf"], "BPNL000000000001", None),
    ("AffiliatesRegion", &["isAnyOf"], "cx.region.europe:1", None),
    ("ManagedLegalEntityBpnl", &["isAnyOf"], "BPNL000000000001", None),
    ("ManagedLegalEntityRegion", &["isAnyOf"], "cx.region.europe:1", None),
    ("ConfidentialInformationSharing", &["isAnyOf"], "cx.sharing.affiliates:1", None),
    ("BusinessPartnerGroup", &["isAnyOf", "isNoneOf"], "customers", None),
    ("BusinessPartnerNumber", &["isAnyOf", "isNoneOf"], "BPNL000000000001", None),
    ("ContractReference", &["isAllOf"], "C-1", None),
    ("UsageRestriction", &["isAllOf"], "cx.thirdParty.forbidden:1", None),
];

fn comparison(left: &str, operator: &str, right: &str) -> Value {
    let is_list = matches!(operator, "isAnyOf" | "isAllOf" | "isNoneOf");
    let right = if is_list { json!([right]) } else { json!(right) };
    json!({ "leftOperand": left, "operator": operator, "rightOperand": right })
}

fn judged(case: &Case, condition: Value) -> Status {
    case.evaluate(&permit(&[condition])).rules[0].constraints[0].status
}

#[test]
fn each_operand_of_catena_x_takes_the_operators_and_type_of_its_schema() {
    let case = known();
    for (term, operators, value, wrong) in CATENA_X {
        for spelling in [
            term.to_owned(),
            format!("cx-policy:{term}"),
            format!("https://w3id.org/catenax/policy/{term}"),
            format!("https://w3id.org/catenax/2025/9/policy/{term}"),
        ] {
            for operator in OPERATORS {
                let found = judged(&case, comparison(&spelling, operator, value));
                let taken = operators.contains(&operator);
                assert_eq!(found != Status::NotUnderstood, taken, "{spelling} {operator}");
            }
        }
        if let Some(wrong) = wrong {
            let found = judged(&case, comparison(term, operators[0], wrong));
            assert_eq!(found, Status::NotUnderstood, "{term} {wrong}");
        }
    }
    let other = "https://w3id.org/catenax/2025/9/policy/Unheard";
    assert_eq!(judged(&case, comparison(other, "eq", "x")), Status::NotUnderstood);
}

#[test]
fn each_operand_of_catena_x_stands_where_its_schema_puts_it() {
    const ACCESS: [&str; 4] =
        ["FrameworkAgreement", "Membership", "BusinessPartnerGroup", "BusinessPartnerNumber"];
    const PROHIBITION: [&str; 3] = ["AffiliatesRegion", "AffiliatesBpnl", "UsageRestriction"];
    const OBLIGATION: [&str; 2] = ["DataProvisioningEndDate", "DataProvisioningEndDurationDays"];
    for (term, operators, value, _) in CATENA_X {
        let one = [comparison(term, operators[0], value)];
        let stands = |mut policy: Value| {
            policy["profile"] = json!("https://w3id.org/catenax/policy/profile2405");
            breach(&Policy::from_json(&policy).unwrap()).is_none()
        };
        let access = json!({ "permission": [{ "action": "access", "constraint": one }] });
        assert_eq!(stands(access), ACCESS.contains(&term), "{term} in access");
        let prohibition = json!({ "permission": [{ "action": "use" }], "prohibition": [{
            "action": "use", "constraint": one,
        }] });
        assert_eq!(stands(prohibition), PROHIBITION.contains(&term), "{term} in a prohibition");
        let obligation = json!({ "permission": [{ "action": "use" }], "obligation": [{
            "action": "use", "constraint": one,
        }] });
        assert_eq!(stands(obligation), OBLIGATION.contains(&term), "{term} in an obligation");
    }
}

#[test]
fn the_exclusions_of_catena_x_void_a_policy() {
    let groups: [&[&str]; 3] = [
        &["WarrantyDurationMonths", "WarrantyDefinition"],
        &["DataUsageEndDurationDays", "DataUsageEndDate", "DataUsageEndDefinition"],
        &["DataProvisioningEndDurationDays", "DataProvisioningEndDate"],
    ];
    let group_of = |term: &str| groups.iter().position(|group| group.contains(&term));
    let condition = |term: &str| {
        let (_, operators, value, _) = CATENA_X.into_iter().find(|row| row.0 == term).unwrap();
        comparison(term, operators[0], value)
    };
    let terms: Vec<&str> = groups.concat();
    for one in &terms {
        for other in terms.iter().filter(|other| *other != one) {
            let policy = permit(&[condition(one), condition(other)]);
            let is_void = breach(&Policy::from_json(&policy).unwrap()).is_some();
            assert_eq!(is_void, group_of(one) == group_of(other), "{one} and {other}");
        }
    }
}

#[test]
fn an_end_in_days_is_counted_to_the_millisecond() {
    let case = |now: &str| Case {
        agreed_at: Some(at("2024-02-28T23:30:00+09:00")),
        now: at(now),
        ..Case::new()
    };
    // Two days over the 29th of February, whatever the zone in which it was agreed.
    for (now, expected) in [
        ("2024-03-01T14:29:59.999Z", YES),
        ("2024-03-01T14:30:00Z", YES),
        ("2024-03-01T23:30:00+09:00", YES),
        ("2024-03-01T14:30:00.001Z", NO),
    ] {
        for term in ["DataUsageEndDurationDays", "DataProvisioningEndDurationDays"] {
            assert_eq!(judged(&case(now), comparison(term, "eq", "2")), expected, "{term} {now}");
        }
    }
    for (now, expected) in [
        ("2026-12-31T23:59:59.999Z", YES),
        ("2027-01-01T08:59:59.999+09:00", YES),
        ("2027-01-01T00:00:00Z", YES),
        ("2027-01-01T00:00:00.001Z", NO),
    ] {
        for term in ["DataUsageEndDate", "DataProvisioningEndDate"] {
            let condition = comparison(term, "eq", "2027-01-01T09:00:00+09:00");
            assert_eq!(judged(&case(now), condition), expected, "{term} {now}");
        }
    }
}

#[test]
fn the_policy_classes_of_the_idsa_are_said_to_be_what_they_are() {
    let administrator = Class::Declared(By::Administrator);
    let table = [
        ("1 consumer", "recipient", "urn:x", Class::Enforced),
        ("2 connector", "idsc:CONNECTOR", "urn:x", Class::Enforced),
        ("3 application", "https://w3id.org/idsa/code/APPLICATION", "urn:x", Class::AtRecipient),
        ("4 role", "idsc:ROLE", "urn:x", administrator),
        ("5 location", "spatial", "JP", administrator),
        ("6 purpose", "purpose", "urn:x", Class::Declared(By::Partner)),
        ("7 event", "event", "urn:x", administrator),
        ("8 security level", "idsc:SECURITY_LEVEL", "urn:x", administrator),
        ("9 interval", "dateTime", "2027-01-01T00:00:00Z", Class::Enforced),
        ("10 duration", "elapsedTime", "P30D", Class::Enforced),
        ("11 count", "count", "10", Class::Enforced),
        ("13 modify in transit", "idsc:JSON_PATH", "$.a", Class::Refused),
        ("15 log", "idsc:LOG_LEVEL", "urn:x", Class::Refused),
        ("16 inform", "idsc:NOTIFICATION_LEVEL", "urn:x", Class::Refused),
        ("21 state", "idsc:STATE", "urn:x", administrator),
        ("21 device", "systemDevice", "urn:x", Class::Enforced),
    ];
    for (name, left, right, expected) in table {
        let operator = if left == "dateTime" { "lt" } else { "eq" };
        let policy = permit(&[comparison(left, operator, right)]);
        let clauses = classify(&Policy::from_json(&policy).unwrap());
        let found = clauses.iter().find(|clause| clause.clause != "use").map(|found| found.class);
        assert_eq!(found, Some(expected), "{name}");
    }
    let duty = |action: &str| {
        let policy = json!({
            "permission": [{ "action": "use" }], "obligation": [{ "action": action }],
        });
        let clauses = classify(&Policy::from_json(&policy).unwrap());
        clauses.last().map(|found| found.class)
    };
    assert_eq!(duty("delete"), Some(Class::Observed), "12");
    assert_eq!(duty("idsc:LOG"), Some(Class::Enforced), "15");
    assert_eq!(duty("inform"), Some(Class::Enforced), "16");
    assert_eq!(duty("idsc:REPLACE"), Some(Class::Refused), "14");
    assert_eq!(duty("compensate"), Some(Class::Observed), "19");
    assert_eq!(duty("anonymize"), Some(Class::Observed), "25");
}

#[test]
fn the_operator_of_the_ods_is_compared_as_a_whole() {
    let own = "b39e6248-c888-56ca-d9d0-89de1b1adc8e";
    let table = [
        ("eq", own, YES),
        ("neq", own, NO),
        ("isAnyOf", own, YES),
        ("isNoneOf", own, NO),
        ("isAllOf", own, YES),
        ("isA", own, YES),
        ("eq", "b39e6248", NO),
        ("eq", "c39e6248-c888-56ca-d9d0-89de1b1adc8e", NO),
        ("isNoneOf", "c39e6248-c888-56ca-d9d0-89de1b1adc8e", YES),
        ("lt", own, Status::NotUnderstood),
        ("eq", "", Status::NotUnderstood),
    ];
    for (operator, right, expected) in table {
        for left in ["operatorId", "sekisho:operatorId", "urn:sekisho:v1:operatorId"] {
            let found = judged(&known(), comparison(left, operator, right));
            assert_eq!(found, expected, "{left} {operator} {right}");
        }
    }
}

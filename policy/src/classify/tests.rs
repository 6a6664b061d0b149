//! How far the usage control classes of the IDSA are honoured, as `docs/policy-guide.md` lists them.

use super::*;
use serde_json::json;

#[test]
fn the_classes_of_the_idsa_are_honoured_as_the_guide_says() {
    let (administrator, partner) =
        (Class::Declared(By::Administrator), Class::Declared(By::Partner));
    let compare = |left: &str, operator: &str, right: &str| {
        json!({ "permission": [{ "action": "use", "constraint": [
            { "leftOperand": left, "operator": operator, "rightOperand": right },
        ] }] })
    };
    let before = |action: &str| json!({ "permission": [{ "action": "use", "duty": [{ "action": action }] }] });
    let after = |action: &str| json!({ "permission": [{ "action": "use" }], "obligation": [{ "action": action }] });
    let table = [
        (1, compare("recipient", "eq", "did:web:a.example"), Class::Enforced),
        (2, compare("idsc:CONNECTOR", "eq", "did:web:a.example"), Class::Enforced),
        (3, compare("idsc:APPLICATION", "eq", "urn:app"), Class::AtRecipient),
        (4, compare("idsc:ROLE", "eq", "auditor"), administrator),
        (5, compare("spatial", "eq", "JP"), administrator),
        (6, compare("purpose", "eq", "audit"), partner),
        (7, compare("event", "eq", "urn:event"), administrator),
        (7, compare("event", "lt", "urn:event"), Class::Refused),
        (8, compare("idsc:SECURITY_LEVEL", "eq", "idsc:TRUST_SECURITY_PROFILE"), administrator),
        (8, compare("idsc:SECURITY_LEVEL", "gteq", "idsc:TRUST_SECURITY_PROFILE"), Class::Refused),
        (9, compare("dateTime", "lt", "2031-01-01T00:00:00Z"), Class::Enforced),
        (10, compare("elapsedTime", "lteq", "P30D"), Class::Enforced),
        (11, compare("count", "lteq", "10"), Class::Enforced),
        (12, after("delete"), Class::Observed),
        (13, compare("idsc:JSON_PATH", "eq", "$.name"), Class::Refused),
        (14, after("idsc:REPLACE"), Class::Refused),
        (15, after("log"), Class::Enforced),
        (15, compare("idsc:LOG_LEVEL", "eq", "x"), Class::Refused),
        (16, after("inform"), Class::Enforced),
        (16, compare("idsc:NOTIFICATION_LEVEL", "eq", "x"), Class::Refused),
        (17, after("nextPolicy"), Class::Observed),
        (18, compare("idsc:ARTIFACT_STATE", "eq", "idsc:ANONYMIZED"), Class::Refused),
        (
            19,
            json!({ "permission": [{ "action": "use", "constraint": [
            { "leftOperand": "payAmount", "operator": "gteq", "rightOperand": "5", "unit": "EUR" },
        ] }] }),
            Class::Refused,
        ),
        (20, before("compensate"), partner),
        (21, compare("idsc:STATE", "eq", "x"), administrator),
        (22, compare("spatial", "isAnyOf", "JP"), administrator),
        (23, before("obtainConsent"), partner),
        (24, compare("skos:concept", "isNoneOf", "secret"), Class::Refused),
        (25, after("anonymize"), Class::Observed),
    ];
    for (number, policy, expected) in table {
        let clauses = classify(&Policy::from_json(&policy).unwrap());
        assert_eq!(
            clauses.last().map(|clause| clause.class),
            Some(expected),
            "class {number}: {policy}"
        );
    }
}

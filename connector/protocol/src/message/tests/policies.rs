use super::samples::*;
use super::*;

#[test]
fn rules_are_written_as_the_schema_wants_them() {
    let constraint = json!([
        {"leftOperand": "odrl:purpose", "operator": "eq", "rightOperand": "urn:example:audit"},
        {"leftOperand": "odrl:count", "operator": "lteq", "rightOperand": "5"},
        {"or": [
            {"leftOperand": "odrl:spatial", "operator": "isAnyOf", "rightOperand": ["JP", "DE"]},
            {"leftOperand": "odrl:dateTime", "operator": "lt", "rightOperand":
                {"@value": "2027-01-01T00:00:00Z", "@type": "xsd:dateTime"}},
        ]},
    ]);
    let rule = |action: &str| json!({"action": action, "constraint": constraint, "duty": [{"action": "odrl:delete"}]});
    let rules = [rule("use"), rule("odrl:display")];

    let targeted = with(&policy(), "/target", Some(json!("urn:example:dataset")));
    let offer = CatalogOffer::new(&offer_id(), &targeted).unwrap();
    let expected = json!({
        "@id": "urn:example:offer",
        "@type": "Offer",
        "permission": rules,
        "obligation": [{"action": "odrl:inform"}],
    });
    assert_eq!(offer.document(), &expected);

    let repeated = offer.for_dataset(&dataset_id()).unwrap();
    assert_eq!(repeated.document()["target"], "urn:example:dataset");
    assert_eq!(repeated.document()["permission"], json!(rules));

    let agreement = Agreement::new(&agreement_terms(), repeated.document()).unwrap();
    let document = agreement.document();
    assert_eq!(document["@type"], "Agreement");
    assert_eq!(document["@id"], "urn:example:agreement");
    assert_eq!(document["timestamp"], "2026-01-31T12:00:00.5Z");
    assert_eq!(document["permission"], json!(rules));
}

#[test]
fn what_dsp_cannot_carry_is_not_sent() {
    let atomic = |operator: &str| json!([{"leftOperand": "purpose", "operator": operator, "rightOperand": "x"}]);
    let refined = json!({"@id": "use", "refinement": [{"leftOperand": "a"}]});
    let table = [
        ("/permission", json!([]), "`$`: it has neither a permission"),
        ("/permission", json!("use"), "`$.permission`: it is a string"),
        ("/permission", json!([{}]), "`$.permission[0].action`: it is missing"),
        ("/permission", json!([{"action": []}]), "`$.permission[0].action`: it has no entry"),
        ("/permission", json!([{"action": refined}]), "`$.permission[0].action`: it is an object"),
        ("/permission", json!([{"action": "use", "target": "other"}]), "contradicts the dataset"),
        (
            "/permission",
            json!([{"action": "use", "constraint": atomic("like")}]),
            "constraint[0].operator`",
        ),
        (
            "/permission",
            json!([{"action": "use", "constraint": [{"and": []}]}]),
            "constraint[0].and`: it has no",
        ),
        (
            "/permission",
            json!([{"action": "use", "constraint": [{"and": atomic("eq"), "or": atomic("eq")}]}]),
            "exactly one of `and`",
        ),
        (
            "/permission",
            json!([{"action": "use", "constraint": [{"leftOperand": "a"}]}]),
            "operator`: it is missing",
        ),
        ("/target", json!("other"), "`$.target`: it contradicts the dataset"),
    ];
    for (place, value, expected) in table {
        let policy = with(&policy(), place, Some(value));
        let error = MessageOffer::new(&offer_id(), &dataset_id(), &policy).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}, not {expected}");
    }
    let repeating = json!({"permission": [{"action": "use", "target": "urn:example:dataset"}]});
    let offer = MessageOffer::new(&offer_id(), &dataset_id(), &repeating).unwrap();
    assert_eq!(offer.document()["permission"], json!([{"action": "use"}]));
    for (profile, sent) in [(json!(["p"]), json!("p")), (json!(["p", "q"]), json!(["p", "q"]))] {
        let policy = with(&repeating, "/profile", Some(profile));
        let offer = CatalogOffer::new(&offer_id(), &policy);
        // The rule's target is another than the policy's, which has none.
        assert!(offer.is_err());
        let offer = MessageOffer::new(&offer_id(), &dataset_id(), &policy).unwrap();
        assert_eq!(offer.document()["profile"], sent);
    }
}

#[test]
fn stored_policies_are_checked_when_they_are_read() {
    let agreement = Agreement::new(&agreement_terms(), &policy()).unwrap();
    let stored = serde_json::to_value(&agreement).unwrap();
    assert_eq!(&stored, agreement.document());
    assert_eq!(serde_json::from_value::<Agreement>(stored.clone()).unwrap(), agreement);
    for key in ["/@id", "/target", "/assigner", "/assignee"] {
        assert!(serde_json::from_value::<Agreement>(with(&stored, key, None)).is_err());
    }
    assert!(serde_json::from_value::<MessageOffer>(stored).is_err(), "an agreement is no offer");
}

#[test]
fn timestamps_are_read_as_xml_schema_writes_them() {
    let stored = contract_agreement().agreement.document().clone();
    for (text, expected) in [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.25+09:00", "2026-01-31T03:00:00.25Z"),
        ("2026-01-31T12:00:00", "2026-01-31T12:00:00Z"),
    ] {
        let document = with(&stored, "/timestamp", Some(json!(text)));
        let agreement = Agreement::try_from(document).unwrap();
        assert_eq!(agreement.timestamp(), Some(expected.parse().unwrap()));
    }
    let typed = json!({"@value": "2026-01-31T12:00:00Z", "@type": "xsd:dateTime"});
    assert!(Agreement::try_from(with(&stored, "/timestamp", Some(typed))).is_ok());
    for junk in [json!("yesterday"), json!(""), json!(1_700_000_000), json!({})] {
        assert!(Agreement::try_from(with(&stored, "/timestamp", Some(junk))).is_err());
    }
}

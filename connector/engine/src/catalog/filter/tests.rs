//! What a filter admits, and what is refused.

use serde_json::json;

use super::*;

fn dataset() -> Dataset {
    Dataset {
        v: 1,
        id: "urn:part-b".parse().unwrap(),
        title: "Carbon Footprint".to_owned(),
        description: Some("of part B".to_owned()),
        version: "1".to_owned(),
        last_number: 0,
        language: Some("ja".to_owned()),
        licence: None,
        confidentiality: None,
        tags: BTreeSet::from(["cfp".to_owned()]),
        policies: BTreeSet::new(),
        media_type: "application/json".to_owned(),
        file_name: "b.json".to_owned(),
        digests: crate::entity::Digests { sha256: String::new(), blake3: String::new(), size: 1 },
        location: crate::entity::Location::Stored,
        published: jiff::Timestamp::UNIX_EPOCH,
        withdrawn: None,
        damaged: None,
        derived_from: Vec::new(),
    }
}

#[test]
fn every_condition_has_to_hold_and_any_of_its_values() {
    for (filter, admitted) in [
        (json!([]), true),
        (json!([{}]), true),
        (json!([{ "@type": "Criterion" }]), true),
        (json!([{ "id": "urn:part-b" }]), true),
        (json!([{ "id": ["urn:part-a", "urn:part-b"] }]), true),
        (json!([{ "id": "urn:part" }]), false),
        (json!([{ "id": "no\u{0}id" }]), false),
        (json!([{ "tag": "cfp", "mediaType": "application/json" }]), true),
        (json!([{ "tag": "cfp" }, { "mediaType": "text/csv" }]), false),
        (json!([{ "tag": "cfp" }, { "tag": "other" }]), false),
        (json!([{ "tag": ["cfp", "other"] }]), true),
        (json!([{ "language": "ja" }]), true),
        (json!([{ "language": "en" }]), false),
        (json!([{ "text": "carbon PART" }]), true),
        (json!([{ "text": ["carbon", "cfp"] }]), true),
        (json!([{ "text": "carbon steel" }]), false),
    ] {
        let read = Query::read(filter.as_array().unwrap()).unwrap().filter;
        assert_eq!(read.admits(&dataset()), admitted, "{filter}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    for filter in [
        json!(["part-b"]),
        json!([1]),
        json!([null]),
        json!([[{ "id": "a" }]]),
        json!([{ "id": 1 }]),
        json!([{ "id": null }]),
        json!([{ "tag": [] }]),
        json!([{ "tag": ["a", 1] }]),
        json!([{ "operandLeft": "id", "operator": "=", "operandRight": "a" }]),
        json!([{ "text": long }]),
        json!([{ "tag": vec!["a"; COUNT_MAX + 1] }]),
        json!([{ "text": (0..=COUNT_MAX).map(|word| word.to_string()).collect::<Vec<_>>().join(" ") }]),
        json!(vec![json!({ "tag": "a" }); COUNT_MAX + 1]),
    ] {
        assert!(Query::read(filter.as_array().unwrap()).is_err(), "{filter}");
    }
}

/// What EDC 0.13 to 0.18 write: terms, the prefix, absolute IRIs, and the expanded form.
fn query_specs(limit: usize, offset: usize, filter: &Value) -> Vec<Value> {
    let long = |name: &str| format!("https://w3id.org/edc/v0.0.1/ns/{name}");
    let spec = |name: &dyn Fn(&str) -> String| {
        json!({
            "@type": name("QuerySpec"),
            name("limit"): limit,
            name("offset"): offset,
            name("sortOrder"): "ASC",
            name("filterExpression"): filter,
        })
    };
    vec![
        spec(&str::to_owned),
        spec(&|name| format!("edc:{name}")),
        spec(&long),
        json!({
            "@type": [long("QuerySpec")],
            long("limit"): [{ "@value": limit }],
            long("offset"): [{ "@value": offset }],
            long("sortOrder"): [{ "@value": "ASC" }],
            long("filterExpression"): [{ "@list": filter.as_array().cloned().unwrap_or_else(|| vec![filter.clone()]) }],
        }),
    ]
}

#[test]
fn a_query_spec_of_an_edc_connector_is_read_in_every_form() {
    let ids = ["id", "@id", "edc:id", "https://w3id.org/edc/v0.0.1/ns/id"];
    for spec in query_specs(50, 20, &json!([])) {
        let read = Query::read(std::slice::from_ref(&spec)).unwrap();
        let wanted = Query { filter: Filter::default(), limit: Some(50), offset: 20 };
        assert_eq!(read, wanted, "{spec}");
    }
    for id in ids {
        for (operator, right, admitted) in [
            ("=", json!("urn:part-b"), true),
            ("=", json!({ "@value": "urn:part-b" }), true),
            ("=", json!(["urn:part-a"]), false),
            ("in", json!(["urn:part-a", "urn:part-b"]), true),
            ("in", json!([{ "@list": [{ "@value": "urn:part-b" }] }]), true),
            ("in", json!({ "@type": "@json", "@value": ["urn:part-b"] }), true),
        ] {
            let criterion =
                json!({ "operandLeft": id, "operator": operator, "operandRight": right });
            let edc = "https://w3id.org/edc/v0.0.1/ns/";
            let long = json!({
                "@type": format!("{edc}Criterion"),
                format!("{edc}operandLeft"): [{ "@value": id }],
                format!("{edc}operator"): [{ "@value": operator }],
                format!("{edc}operandRight"): right,
            });
            for filter in [json!([criterion]), criterion.clone(), json!([long])] {
                for spec in query_specs(50, 0, &filter) {
                    let read = Query::read(std::slice::from_ref(&spec)).unwrap();
                    assert_eq!(read.filter.admits(&dataset()), admitted, "{spec}");
                }
            }
        }
    }
    let none = [
        json!({ "@type": "QuerySpec" }),
        json!({ "filterExpression": null }),
        json!({ "limit": "2147483647" }),
        json!({ "sortField": "id", "sortOrder": "asc" }),
        json!({ "sortOrder": "DESC" }),
    ];
    for spec in none {
        let read = Query::read(std::slice::from_ref(&spec)).unwrap();
        assert!(read.filter.is_empty(), "{spec}");
    }
}

#[test]
fn what_of_a_query_spec_cannot_be_honoured_is_refused_by_name() {
    let criterion = |left: &str, operator: &str, right: Value| json!({ "filterExpression": [{ "operandLeft": left, "operator": operator, "operandRight": right }] });
    for (filter, named) in [
        (json!([criterion("https://w3id.org/edc/v0.0.1/ns/name", "=", json!("x"))]), "/name"),
        (json!([criterion("id", "like", json!("urn:%"))]), "`like`"),
        (json!([criterion("id", "=", json!(["a", "b"]))]), "with 2 values"),
        (json!([criterion("id", "in", json!([]))]), "with 0 values"),
        (json!([criterion("id", "=", json!(1))]), "operandRight"),
        (json!([{ "filterExpression": ["id = a"] }]), "filterExpression"),
        (json!([{ "limit": 0 }]), "limit"),
        (json!([{ "limit": "many" }]), "`many`"),
        (json!([{ "offset": -1 }]), "offset"),
        (json!([{ "offset": 10_001 }]), "links"),
        (json!([{ "sortField": "name" }]), "`name`"),
        (json!([{ "sortField": "id", "sortOrder": "DESC" }]), "sortOrder"),
        (json!([{ "@type": "QuerySpec", "range": 1 }]), "`range`"),
        (json!([{ "limit": 1 }, { "limit": 2 }]), "more than one"),
        (json!([criterion("id", "in", json!(vec!["a"; COUNT_MAX + 1]))]), "too large"),
        (
            json!([criterion(
                "id",
                "in",
                json!([
                    ("x".repeat(500)),
                    ("y".repeat(500)),
                    ("z".repeat(500)),
                    "w".repeat(500),
                    "v".repeat(500)
                ])
            )]),
            "in all",
        ),
    ] {
        let error = Query::read(filter.as_array().unwrap()).unwrap_err().to_string();
        assert!(error.contains(named), "{filter}: {error}");
    }
}

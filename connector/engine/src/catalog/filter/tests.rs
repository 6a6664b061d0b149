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
        let read = Filter::read(filter.as_array().unwrap()).unwrap();
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
        assert!(Filter::read(filter.as_array().unwrap()).is_err(), "{filter}");
    }
}

//! Catalogs of our own and of other connectors, as the command line shows them.

use protocol::json::Limits;

use super::*;

/// A catalog with one dataset that has these members and distribution members.
fn catalog(dataset: Value, distribution: Value) -> Catalog {
    let merged = |mut base: Value, more: Value| {
        base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        base
    };
    let distribution = merged(
        json!({ "@type": "Distribution", "format": "HttpData-PULL", "accessService": "urn:service" }),
        distribution,
    );
    let dataset = merged(
        json!({
            "@type": "Dataset",
            "@id": "urn:part-b",
            "hasPolicy": [{
                "@id": "urn:offer",
                "@type": "Offer",
                "permission": [{
                    "action": "use",
                    "constraint": [{ "leftOperand": "purpose", "operator": "eq", "rightOperand": "cfp-reporting" }],
                }],
            }],
            "distribution": [distribution],
        }),
        dataset,
    );
    let document = json!({
        "@context": ["https://w3id.org/dspace/2025/1/context.jsonld"],
        "@type": "Catalog",
        "@id": "urn:catalog",
        "participantId": "did:web:b.example",
        "dataset": [],
        "catalog": [{ "@type": "Catalog", "@id": "urn:inner", "dataset": [dataset] }],
    });
    message::parse(document.to_string().as_bytes(), &Limits::default()).unwrap().message
}

fn shown(catalog: &Catalog, words: &[&str]) -> Vec<Value> {
    found(catalog, words).datasets.iter().map(|dataset| json!(dataset)).collect()
}

fn found(catalog: &Catalog, words: &[&str]) -> Found {
    let mut found = Found::default();
    let search = Search {
        participant: &"did:web:b.example".parse().unwrap(),
        is_allowed: &|_| true,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        tags: &[],
        media_type: None,
    };
    search.collect(catalog, &mut found);
    found
}

#[test]
fn our_own_properties_and_those_of_others_are_read() {
    let cases = [
        (
            json!({ "dct:title": "Part B", "dcat:version": "2" }),
            json!({ "dcat:byteSize": 7, "dcat:mediaType": "application/json" }),
        ),
        (
            json!({
                "http://purl.org/dc/terms/title": [{ "@value": "Part B", "@language": "en" }],
                "version": { "@value": "2" },
            }),
            json!({ "byteSize": "7", "mediaType": { "@id": "application/json" } }),
        ),
    ];
    for (of_dataset, of_distribution) in cases {
        let found = shown(&catalog(of_dataset, of_distribution), &[]);
        let [dataset] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(dataset["id"], "urn:part-b");
        assert_eq!(dataset["title"], "Part B");
        assert_eq!(dataset["version"], "2");
        assert_eq!(dataset["size"], 7);
        assert_eq!(dataset["media_type"], "application/json");
        assert_eq!(dataset["offers"][0]["id"], "urn:offer");
        assert_eq!(dataset["offers"][0]["purposes"], json!(["cfp-reporting"]));
        assert!(!dataset["offers"][0]["policy"].as_array().unwrap().is_empty());
    }
}

#[test]
fn what_nobody_says_is_unknown() {
    let found = shown(&catalog(json!({}), json!({ "dcat:byteSize": "large" })), &[]);
    assert_eq!(found[0]["title"], Value::Null);
    assert_eq!(found[0]["size"], Value::Null);
}

#[test]
fn every_word_of_a_filter_has_to_be_found() {
    let catalog = catalog(
        json!({ "dct:title": "Carbon footprint", "dct:description": "of part B" }),
        json!({}),
    );
    for (words, count) in [
        (vec!["carbon"], 1),
        (vec!["carbon", "part"], 1),
        (vec!["urn:part-b"], 1),
        (vec!["carbon", "steel"], 0),
    ] {
        assert_eq!(shown(&catalog, &words).len(), count, "{words:?}");
    }
}

#[test]
fn a_catalog_of_another_is_told_and_its_datasets_are_not_taken_for_the_partners() {
    let mut catalog = catalog(json!({ "dcat:keyword": ["cfp"] }), json!({}));
    let ours = found(&catalog, &["cfp"]);
    assert_eq!(ours.datasets[0].catalog.as_deref(), Some("urn:inner"));
    assert_eq!(json!(ours.catalogs[0])["participant"], Value::Null);
    catalog.catalogs[0].participant_id = Some("did:web:c.example".parse().unwrap());
    let others = found(&catalog, &[]);
    assert!(others.datasets.is_empty(), "{others:?}");
    assert_eq!(json!(others.catalogs[0])["participant"], "did:web:c.example");
}

#[test]
fn catalogs_are_read_to_a_depth() {
    let mut nested = catalog(json!({}), json!({}));
    for number in 0..2 * NESTING_MAX {
        let id = format!("urn:level:{number}").parse().unwrap();
        nested = Catalog {
            catalogs: vec![nested],
            id,
            datasets: Vec::new(),
            ..catalog(json!({}), json!({}))
        };
    }
    let found = found(&nested, &[]);
    assert!(found.datasets.is_empty());
    assert_eq!(found.catalogs.len(), NESTING_MAX);
}

//! The committed description is the one that the routes make.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// `SEKISHO_GOLDEN=write` writes it anew.
#[test]
fn the_committed_description_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = serde_json::to_string_pretty(&crate::management::openapi()).unwrap() + "\n";
    if std::env::var("SEKISHO_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "docs/openapi.json is not what the routes say; write it anew with \
         `SEKISHO_GOLDEN=write cargo test -p daemon openapi`"
    );
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_who_may_call_it() {
    let document = crate::management::openapi();
    let mut names = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "`{name}` is there twice");
            let roles = operation["security"][0]["key"].as_array().unwrap();
            assert!(roles.contains(&"administrator".into()), "{method} {path}");
            for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                let named = operation["parameters"].as_array().unwrap();
                let name = part.trim_end_matches('}');
                assert!(named.iter().any(|one| one["name"] == name && one["in"] == "path"));
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn visit(value: &serde_json::Value, document: &serde_json::Value) {
        if let Some(reference) = value.get("$ref").and_then(serde_json::Value::as_str) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        match value {
            serde_json::Value::Array(items) => items.iter().for_each(|item| visit(item, document)),
            serde_json::Value::Object(members) => {
                members.values().for_each(|member| visit(member, document));
            }
            _ => {}
        }
    }
    let document = crate::management::openapi();
    visit(&document, &document);
}

/// Where a shape says nothing of what it is.
fn shapeless(
    shape: &Value,
    document: &Value,
    place: String,
    seen: &mut BTreeSet<String>,
    found: &mut Vec<String>,
) {
    if let Some(reference) = shape.get("$ref").and_then(Value::as_str) {
        if seen.insert(reference.to_owned()) {
            let named = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
            shapeless(named, document, format!("{place} {reference}"), seen, found);
        }
        return;
    }
    let says = ["type", "anyOf", "oneOf", "allOf", "enum", "const"];
    if !says.iter().any(|member| shape.get(member).is_some()) {
        found.push(place);
        return;
    }
    let is = |name: &str| match &shape["type"] {
        Value::Array(types) => types.iter().any(|one| one == name),
        one => one == name,
    };
    if is("array") && shape.get("items").is_none() && shape.get("prefixItems").is_none() {
        found.push(format!("{place}[]"));
    }
    let members = ["properties", "patternProperties"]
        .into_iter()
        .filter_map(|name| shape[name].as_object())
        .flatten();
    for (name, member) in members {
        shapeless(member, document, format!("{place}.{name}"), seen, found);
    }
    for name in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for part in shape[name].as_array().into_iter().flatten() {
            shapeless(part, document, place.clone(), seen, found);
        }
    }
    if let Some(items) = shape.get("items") {
        shapeless(items, document, format!("{place}[]"), seen, found);
    }
    if let Some(others) =
        shape.get("additionalProperties").filter(|others| **others != Value::Bool(false))
    {
        shapeless(others, document, format!("{place}.*"), seen, found);
    }
}

#[test]
fn no_answer_is_described_as_any_json() {
    let document = crate::management::openapi();
    let mut found = Vec::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let Some(content) =
                    answer["content"].as_object().filter(|_| status.starts_with('2'))
                else {
                    continue;
                };
                for (media_type, described) in content {
                    // Bytes are of any form.
                    if media_type == "application/octet-stream" {
                        continue;
                    }
                    let place = format!("{name} {status}");
                    shapeless(
                        &described["schema"],
                        &document,
                        place,
                        &mut BTreeSet::new(),
                        &mut found,
                    );
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

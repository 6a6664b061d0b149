//! The committed description is the one that the routes make.

use std::path::Path;

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

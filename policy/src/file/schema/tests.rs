//! The committed schema is what the types make, its keys are the reader's, and every example passes it.

use super::*;
use crate::file::keys;
use std::collections::BTreeSet;
use std::path::Path;

/// `SEKISHO_GOLDEN=write` writes it anew.
#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.schema.json");
    let made = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var("SEKISHO_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "docs/policy.schema.json is not what the types say; write it anew with \
         `SEKISHO_GOLDEN=write cargo test -p policy schema`"
    );
}

#[test]
fn the_schema_has_the_keys_of_the_reader() {
    let schema = json_schema();
    let properties = |pointer: &str| -> BTreeSet<String> {
        let found = schema.pointer(&format!("{pointer}/properties"));
        let found = found.unwrap_or_else(|| panic!("{pointer} in {schema:#}"));
        found.as_object().unwrap().keys().cloned().collect()
    };
    let set = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    let table = [
        ("", keys::FILE),
        ("/$defs/Who", keys::WHO),
        ("/$defs/What", keys::WHAT),
        ("/$defs/Valid", keys::VALID),
        ("/$defs/Permit", &["actions", "when", "requires"]),
        ("/$defs/Prohibit", &["actions", "when", "remedy"]),
        ("/$defs/Duty", keys::DUTY),
        ("/$defs/Offer", keys::OFFER),
        ("/$defs/Group", keys::GROUP),
    ];
    for (pointer, keys) in table {
        assert_eq!(properties(pointer), set(keys), "{pointer}");
    }
}

#[test]
fn every_example_passes_and_a_wrong_file_does_not() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    let value = |text: &str| -> Value {
        let table: toml::Table = toml::from_str(text).unwrap();
        plain(toml::Value::Table(table))
    };
    let example = include_str!("../example.toml");
    let new_site = include_str!("../../../../connector/daemon/src/cli/init/example-policy.toml");
    for text in [example, new_site, crate::file::tests::COMPLETE] {
        let found: Vec<_> = validator.iter_errors(&value(text)).map(|e| e.to_string()).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    for (from, to) in [
        ("actions = [\"use\"]", "actions = [\"yuse\"]"),
        ("count lteq 10", "cuont lteq 10"),
        ("count lteq 10", "count lesseq 10"),
        ("handling", "handlin"),
        ("title = ", "titel = "),
    ] {
        let wrong = example.replace(from, to);
        assert_ne!(wrong, example);
        assert!(!validator.is_valid(&value(&wrong)), "{to}");
    }
}

/// TOML as JSON, dates as text, as editors see them.
fn plain(value: toml::Value) -> Value {
    match value {
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(plain).collect(),
        toml::Value::Table(table) => {
            table.into_iter().map(|(key, value)| (key, plain(value))).collect()
        }
        other => serde_json::to_value(other).unwrap(),
    }
}

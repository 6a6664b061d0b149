//! The committed schema is what the types make, its keys are the reader's, and every example passes it.

use super::*;
use crate::file::keys;
use std::collections::BTreeSet;
use std::path::Path;

const COMMITTED: [(Kind, &str); 4] = [
    (Kind::Policy, "policy"),
    (Kind::Restrictions, "restrictions"),
    (Kind::Purposes, "purposes"),
    (Kind::Test, "policy-test"),
];

/// `SEKISHO_GOLDEN=write` writes them anew.
#[test]
fn the_committed_schemas_are_current() {
    for (kind, name) in COMMITTED {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/{name}.schema.json"));
        let made = serde_json::to_string_pretty(&json_schema(kind)).unwrap() + "\n";
        if std::env::var("SEKISHO_GOLDEN").as_deref() == Ok("write") {
            std::fs::write(&path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == made,
            "docs/{name}.schema.json is not what the types say; write it anew with \
             `SEKISHO_GOLDEN=write cargo test -p policy schema`"
        );
    }
}

#[test]
fn the_schema_has_the_keys_of_the_reader() {
    let (policies, restrictions) = (json_schema(Kind::Policy), json_schema(Kind::Restrictions));
    let properties = |schema: &Value, pointer: &str| -> BTreeSet<String> {
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
        assert_eq!(properties(&policies, pointer), set(keys), "{pointer}");
    }
    assert_eq!(properties(&restrictions, ""), set(keys::RESTRICTIONS));
    assert_eq!(properties(&restrictions, "/$defs/Restriction"), set(keys::RESTRICTION));
}

#[test]
fn every_example_passes_and_a_wrong_file_does_not() {
    let validator = jsonschema::validator_for(&json_schema(Kind::Policy)).unwrap();
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
        ("count lteq 10", "count isAnyOf [10]"),
        ("handling", "handlin"),
        ("title = ", "titel = "),
    ] {
        let wrong = example.replace(from, to);
        assert_ne!(wrong, example);
        assert!(!validator.is_valid(&value(&wrong)), "{to}");
    }
}

/// What the guide shows, the demonstration runs and a new site has.
#[test]
fn the_files_of_the_guide_pass_the_schema_of_their_kind() {
    let guide = include_str!("../../../../docs/policy-guide.md");
    let mut seen = BTreeMap::<&str, usize>::new();
    for block in guide.split("\n```toml ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let text = rest.split_once("\n```").unwrap().0;
        let kind = match name {
            "purposes.toml" => "purposes",
            "policies/restrictions.toml" => "restrictions",
            name if name.ends_with(".test.toml") => "test",
            // Shown because it is wrong.
            "policies/wrong.toml" => continue,
            name if name.starts_with("policies/") => "policy",
            _ => continue,
        };
        *seen.entry(kind).or_default() += 1;
        assert_eq!(errors(kind, text), "", "{name}");
    }
    assert_eq!(
        seen.into_keys().collect::<Vec<_>>(),
        ["policy", "purposes", "restrictions", "test"]
    );
    assert_eq!(errors("test", include_str!("../../cases/example.toml")), "");
    let restrictions = include_str!("../restrictions.toml");
    assert_eq!(errors("restrictions", restrictions), "");
    for (kind, wrong) in [
        ("restrictions", restrictions.replace("reason", "raison")),
        ("restrictions", restrictions.replace("spatial isNoneOf", "spatial lt")),
        ("restrictions", "title = \"T\"\n".to_owned()),
        ("purposes", "[audit]\npart = [\"a\"]\n".to_owned()),
        ("test", "[[case]]\nname = \"n\"\n".to_owned()),
    ] {
        assert_ne!(errors(kind, &wrong), "", "{kind}: {wrong}");
    }
}

/// Each operand passes with each operator that the reader takes, and with no other.
#[test]
fn the_schema_takes_the_operators_of_each_operand() {
    let pattern = json_schema(Kind::Policy).pointer("/$defs/Expression").unwrap().clone();
    let validator = jsonschema::validator_for(&pattern).unwrap();
    for left in LeftOperand::all() {
        for operator in crate::vocabulary::Operator::terms() {
            let taken = crate::vocabulary::Operator::parse(operator).unwrap();
            let alike = LeftOperand::all().filter(|other| other.term() == left.term());
            let taken = alike.into_iter().any(|other| other.operators().include(taken));
            let text = format!("{} {operator} x", left.term());
            assert_eq!(validator.is_valid(&text.clone().into()), taken, "{text}");
        }
    }
}

/// What the schema of a kind finds in a file.
fn errors(kind: &str, text: &str) -> String {
    let validator = jsonschema::validator_for(&json_schema(kind.parse().unwrap())).unwrap();
    validator.iter_errors(&value(text)).map(|error| error.to_string()).collect()
}

fn value(text: &str) -> Value {
    let table: toml::Table = toml::from_str(text).unwrap();
    plain(toml::Value::Table(table))
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

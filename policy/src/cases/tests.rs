//! Cases pass and fail for the reason that they say.

use super::*;
use crate::inquiry::tests::site;

const CASES: &str = include_str!("example.toml");
const POLICY: &str = include_str!("../file/example.toml");

fn run(cases: &str) -> Vec<Outcome> {
    let policy = POLICY.replace("[valid]", "");
    let site = site(&[("example.toml", &policy)]);
    Cases::read("example.test.toml", cases.as_bytes()).unwrap().run(&site)
}

fn failure(cases: &str) -> Diagnostic {
    run(cases).into_iter().find_map(|outcome| outcome.failure).expect("a case fails")
}

#[test]
fn the_example_of_the_documentation_passes() {
    let outcomes = run(CASES);
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|outcome| outcome.failure.is_none()), "{outcomes:?}");
}

#[test]
fn a_case_that_fails_says_what_was_answered_and_where_it_stands() {
    let found = failure(&CASES.replacen("\"permit\"", "\"deny\"", 1));
    assert_eq!((found.line, found.column), (15, 10));
    assert!(found.message.contains("fails: permit, by example.toml:9"), "{found}");
    let found = failure(&CASES.replacen("purpose = \"cfp-reporting\"", "purpose = \"ads\"", 1));
    assert!(found.message.contains("deny, by example.toml:11 of policy `example`"), "{found}");
    let found = failure(&CASES.replace("dateTime lt", "count lteq"));
    assert!(found.message.contains("another clause decides"), "{found}");
    let found = failure(&CASES.replace("policy = \"example\"", "policy = \"other\""));
    assert!(found.message.contains("another policy decides"), "{found}");
    let found = failure(&CASES.replace("partner = \"b\"", "partner = \"z\""));
    assert!(found.message.contains("`z` is no partner"), "{found}");
    let found = failure(&CASES.replace("dataset = \"cfp-part-b\"", "dataset = \"z\""));
    assert!(found.message.contains("names `z`"), "{found}");
    let found = failure(&CASES.replace("2026-06-01T00:00:00+09:00", "2026-06-01"));
    assert!(found.message.contains("no instant") && found.help.contains("zone"), "{found}");
}

#[test]
fn a_file_that_is_none_is_refused_with_its_place() {
    let found = Cases::read("x.test.toml", b"[[case]]\nnam = \"x\"\n").unwrap_err();
    assert_eq!(found.line, 2);
    assert!(found.message.contains("nam"), "{found}");
    assert!(Cases::read("x.test.toml", b"\xFF\xFEx").unwrap_err().message.contains("UTF-16"));
}

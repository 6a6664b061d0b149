//! What is as deep, as long and as large as the limits allow is handled on a small stack; what is more is refused before
//! anything recurses over it.

use super::*;
use crate::evaluate::{Phase, Request, Subject, World, decide, duties, evaluate};
use crate::explain::Language;
use crate::file::{Unhonoured, Words};
use crate::set::{Groups, Purposes};
use crate::{cases, classify, explain, file, terms};
use std::collections::BTreeMap;

/// A quarter of the smallest stack that a thread of the daemon has; tests run code that is not optimised, with larger frames.
const STACK: usize = 512 << 10;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(test).unwrap();
    thread.join().unwrap();
}

/// Groups in each other around a comparison.
fn nested(levels: usize) -> Value {
    let leaf = |number: usize| json!({ "leftOperand": "count", "operator": "lteq", "rightOperand": number.to_string() });
    (0..levels).fold(leaf(1), |inner, level| {
        let connective = ["and", "or", "xone", "andSequence"][level % 4];
        json!({ connective: [inner, leaf(level + 2)] })
    })
}

/// Consequences of consequences.
fn chained(levels: usize) -> Value {
    let duty = json!({ "action": "inform", "constraint": [
        { "leftOperand": "dateTime", "operator": "lteq", "rightOperand": "2020-01-01T00:00:00Z" },
    ] });
    (0..levels).fold(duty.clone(), |inner, _| {
        let mut duty = duty.clone();
        duty["consequence"] = json!([inner]);
        duty
    })
}

/// Everything that is done with a policy that was read.
fn exercise(policy: &Policy) {
    let (subject, purposes) = (Subject::default(), Purposes::default());
    let world = World {
        earlier_uses: Some(0),
        agreed_at: Some(Timestamp::UNIX_EPOCH),
        ..World::new("2026-06-01T00:00:00Z".parse().unwrap(), &subject, &purposes)
    };
    let request = Request { action: "use", target: "d", purposes: &[], phase: Phase::Data };
    let (full, short) = (evaluate(policy, &request, &world), decide(policy, &request, &world));
    assert_eq!(full.decision, short.decision);
    let _ = explain::refusal("p", &full);
    let _ = duties(policy, &request, &world);
    let _ = classify::classify(policy);
    for language in [Language::English, Language::Japanese] {
        let _ = explain::plain(policy, language);
        let _ = explain::terms(policy, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH, language)
            .text(language);
    }
    let written = policy.to_json();
    assert_eq!(&Policy::from_json(&written).unwrap(), policy);
    assert_eq!(terms::same_terms(&written, &written), Ok(()));
    let _ = terms::no_weaker(policy, &policy.clone(), &purposes);
    let _ = terms::with_declared_purpose(&written, "audit", &purposes);
    canonical_hash(&written).unwrap();
}

#[test]
fn what_is_as_deep_as_may_be_is_handled_and_one_level_more_is_refused() {
    type Make = fn(usize) -> Value;
    let shapes: [Make; 4] = [
        |levels| json!({ "permission": [{ "action": "use", "constraint": [nested(levels)] }] }),
        |levels| json!({ "permission": [{ "action": { "@id": "use", "refinement": [nested(levels)] } }] }),
        |levels| json!({ "permission": [{ "action": "use", "duty": [chained(levels)] }] }),
        |levels| json!({ "permission": [{ "action": "use" }], "obligation": [chained(levels)] }),
    ];
    for make in shapes {
        on_a_small_stack(move || {
            let deepest = (0..MAX_DEPTH)
                .take_while(|levels| Policy::from_json(&make(*levels)).is_ok())
                .count();
            assert!(deepest > 10, "only {deepest} levels are read");
            exercise(&Policy::from_json(&make(deepest - 1)).unwrap());
            let refused = Policy::from_json(&make(deepest));
            assert_eq!(refused, Err(ReadError::TooLarge { what: "levels", limit: MAX_DEPTH }));
            // As deep as the parsers of JSON let through.
            let deep = make(60);
            assert!(Policy::from_json(&deep).is_err());
            assert!(matches!(Constraint::from_json(&deep), Constraint::NotUnderstood(_)));
        });
    }
}

#[test]
fn what_is_as_long_and_large_as_may_be_is_handled_and_one_more_is_refused() {
    let rules = |number: usize| json!({ "permission": vec![json!({ "action": "use" }); number] });
    let terms = |number: usize| {
        let names: Vec<String> = (0..number).map(|name| format!("p{name}")).collect();
        json!({ "permission": [{ "action": "use", "constraint": [
            { "leftOperand": "recipient", "operator": "isAnyOf", "rightOperand": names },
        ] }] })
    };
    for make in [&rules as &dyn Fn(usize) -> Value, &terms] {
        exercise(&Policy::from_json(&make(MAX_LIST)).unwrap());
        let refused = Policy::from_json(&make(MAX_LIST + 1));
        assert_eq!(
            refused,
            Err(ReadError::TooLarge { what: "entries in one list", limit: MAX_LIST })
        );
    }
    let mut large = rules(MAX_LIST);
    let filler: Vec<Value> = (0..8).map(|_| json!(vec![0; MAX_LIST])).collect();
    large["comment"] = json!(filler);
    assert!(matches!(Policy::from_json(&large), Err(ReadError::TooLarge { what: "values", .. })));
    large["comment"] = json!(filler[..7]);
    exercise(&Policy::from_json(&large).unwrap());
}

#[test]
fn what_is_far_too_deep_is_refused_before_anything_recurses() {
    const MILLION: usize = 1_000_000;
    // A thirtieth of the smallest stack that a thread of the daemon has: one frame for each level would not fit, nor for a tenth.
    let small = || std::thread::Builder::new().stack_size(64 << 10);
    let table = [
        "[".repeat(MILLION),
        "{\"a\":".repeat(MILLION),
        format!("{}1{}", "[".repeat(MILLION), "]".repeat(MILLION)),
        format!("{}1{}", "{\"constraint\":[".repeat(MILLION / 2), "]}".repeat(MILLION / 2)),
        format!("\"{}\", [", "[".repeat(MILLION)),
    ];
    for text in table {
        let read = move || {
            assert!(file::json::read(&text).is_err());
            assert!(file::identified("p.json", text.as_bytes()).is_none());
        };
        small().spawn(read).unwrap().join().unwrap();
    }
    // What is in a text is no level, and one level more than is read is too many.
    let most = file::json::MAX_LEVELS;
    let flat = format!("\"{}\"", "[".repeat(MILLION));
    let deepest = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(file::json::read(&flat).is_ok() && file::json::read(&deepest(most)).is_ok());
    assert!(file::json::read(&deepest(most + 1)).is_err());
    let close = |levels: usize| "[]".repeat(levels).replace("][", "],[");
    assert!(file::json::read(&format!("[{}]", close(most * 3))).is_ok());
}

#[test]
fn files_that_are_too_deep_are_errors_with_a_place() {
    let (groups, purposes, parents) = (Groups::new(), Purposes::default(), BTreeMap::new());
    let head = "title = \"t\"\n[who]\nanyone-registered = true\n[[permit]]\nactions = [\"use\"]\n";
    let groups_in = |levels: usize| {
        let (open, close) = ("{ all-of = [".repeat(levels), "] }".repeat(levels));
        format!("{head}when = [{open}\"count lteq 1\"{close}]\n")
    };
    let read = move |name: &'static str, text: String| {
        let (groups, purposes, parents) =
            (groups.clone(), purposes.clone(), BTreeMap::clone(&parents));
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let words = Words {
                groups: &groups,
                purposes: &purposes,
                parents: &parents,
                unhonoured: Unhonoured::Refused,
            };
            file::read(name, text.as_bytes(), &words).map_err(|mut found| found.remove(0))
        });
        thread.unwrap().join().unwrap()
    };
    exercise(&read("p.toml", groups_in(8)).unwrap().terms);
    let found = read("p.toml", groups_in(9)).unwrap_err();
    assert_eq!((found.line, found.message.contains("8 deep")), (6, true), "{found}");
    let deep = 60_000;
    let table = [
        ("p.toml", groups_in(deep / 12)),
        ("p.toml", format!("{head}when = {}{}\n", "[".repeat(deep), "]".repeat(deep))),
        ("p.toml", format!("{}\n", "[".repeat(deep))),
        ("p.toml", format!("a{} = 1\n", ".a".repeat(deep))),
        ("p.toml", format!("[a{}]\nb = 1\n", ".a".repeat(deep))),
        ("p.toml", format!("{head}when = {}\n", "{ a = ".repeat(deep / 6))),
        ("p.json", "[".repeat(deep)),
        ("p.json", format!("{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep))),
        (
            "p.json",
            serde_json::to_string(
                &json!({ "permission": [{ "action": "use", "constraint": [nested(20)] }] }),
            )
            .unwrap(),
        ),
    ];
    for (name, text) in table {
        let start: String = text.chars().take(60).collect();
        let found = read(name, text).unwrap_err();
        assert!(found.line > 0 && !found.message.is_empty(), "{start}: {found}");
    }
    let case = format!("[[case]]\nname = {}\n", "[".repeat(deep));
    on_a_small_stack(move || assert!(cases::Cases::read("p.test.toml", case.as_bytes()).is_err()));
    let dotted = format!("a{} = 1\n", ".a".repeat(deep));
    on_a_small_stack(move || {
        assert!(cases::Cases::read("p.test.toml", dotted.as_bytes()).is_err())
    });
}

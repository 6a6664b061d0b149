//! Policy files: what they compile to, and what a person reads when one is wrong.

use super::*;
use crate::set::{CompiledPolicy, Purpose, RuleSet, Source};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const COMPLETE: &str = r#"
title = "部品Bのカーボンフットプリント"
description = "For reporting to the authorities."
conflict = "prohibit"

[who]
partners = ["did:web:a.example"]
groups = ["customers"]

[what]
datasets = ["urn:example:cfp"]
tags = ["cfp"]

[valid]
from = 2026-04-01T00:00:00+09:00
until = "2027-04-01T00:00:00+09:00"

[[permit]]
actions = ["use", "print"]
requires = ["obtainConsent"]
when = [
  "purpose isAnyOf [cfp-reporting, 'carbon accounting']",
  { any-of = ["spatial isAnyOf [JP, DE]", { one-of = ["count lteq 10", "elapsedTime lteq P30D"] }] },
]

[[prohibit]]
actions = ["distribute"]
when = ["recipient isNoneOf [customers]"]
remedy = ["delete"]

[[duty]]
action = "delete"
within = "P30D"
otherwise = ["compensate"]

[offer]
handling = "auto"
"#;

fn read_text(name: &str, bytes: &[u8]) -> Result<PolicyFile, Vec<Diagnostic>> {
    let members = BTreeSet::from(["did:web:a.example".to_owned()]);
    let groups = Groups::from([("customers".to_owned(), members)]);
    let names = ["cfp-reporting", "carbon accounting"];
    let purposes = names
        .into_iter()
        .map(|name| (name.to_owned(), Purpose::default()))
        .collect::<BTreeMap<_, _>>();
    let purposes = Purposes::new(purposes).unwrap();
    read(
        name,
        bytes,
        &Words {
            groups: &groups,
            purposes: &purposes,
            parents: &BTreeMap::new(),
            unhonoured: Unhonoured::Refused,
        },
    )
}

#[test]
fn a_complete_file_compiles_to_odrl() {
    let file = read_text("cfp.toml", COMPLETE.as_bytes()).unwrap();
    let from_until = [
        json!({ "leftOperand": "dateTime", "operator": "gteq", "rightOperand": "2026-04-01T00:00:00+09:00" }),
        json!({ "leftOperand": "dateTime", "operator": "lt", "rightOperand": "2027-04-01T00:00:00+09:00" }),
    ];
    let conditions = json!([
        { "leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": ["cfp-reporting", "carbon accounting"] },
        { "or": [
            { "leftOperand": "spatial", "operator": "isAnyOf", "rightOperand": ["JP", "DE"] },
            { "xone": [
                { "leftOperand": "count", "operator": "lteq", "rightOperand": "10" },
                { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P30D" },
            ] },
        ] },
        from_until[0],
        from_until[1],
    ]);
    let consent = json!([{ "action": "obtainConsent" }]);
    let expected = json!({
        "@type": "Set",
        "conflict": "prohibit",
        "permission": [
            { "action": "use", "constraint": conditions, "duty": consent },
            { "action": "print", "constraint": conditions, "duty": consent },
        ],
        "prohibition": [{
            "action": "distribute",
            "constraint": [{ "leftOperand": "recipient", "operator": "isNoneOf", "rightOperand": ["customers"] }],
            "remedy": [{ "action": "delete" }],
        }],
        "obligation": [{
            "action": "delete",
            "constraint": [{ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P30D" }],
            "consequence": [{ "action": "compensate" }],
        }],
    });
    assert_eq!(file.terms.to_json(), expected);
    // What was compiled is what is read from the wire.
    assert_eq!(Policy::from_json(&expected).unwrap(), file.terms);
    assert_eq!(file.title, "部品Bのカーボンフットプリント");
    assert_eq!(file.tags, BTreeSet::from(["cfp".to_owned()]));
    assert!(!file.audience.anyone_registered);
}

#[test]
fn the_example_of_the_documentation_compiles() {
    let file = read_text("example.toml", include_bytes!("example.toml")).unwrap();
    assert_eq!(file.terms.permissions[0].constraints.len(), 3);
    assert_eq!(file.terms.conflict, crate::odrl::Conflict::Prohibit);
}

#[test]
fn a_duty_may_be_a_section_wherever_duties_stand() {
    let text = with(
        "requires = [\"obtainConsent\", { action = \"inform\", by = 2027-01-01T00:00:00Z }]\n\
         [[prohibit]]\nactions = [\"sell\"]\nremedy = [{ action = \"delete\", within = \"P1D\" }]\n\
         [[duty]]\naction = \"delete\"\nwithin = \"P30D\"\n\
         otherwise = [{ action = \"compensate\", otherwise = [\"inform\"] }]",
    );
    let terms = read_text("p.toml", text.as_bytes()).unwrap().terms.to_json();
    let by = json!([{ "leftOperand": "dateTime", "operator": "lteq", "rightOperand": "2027-01-01T00:00:00Z" }]);
    let within = |period| json!([{ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": period }]);
    assert_eq!(
        terms["permission"][0]["duty"],
        json!([{ "action": "obtainConsent" }, { "action": "inform", "constraint": by }])
    );
    assert_eq!(
        terms["prohibition"][0]["remedy"],
        json!([{ "action": "delete", "constraint": within("P1D") }])
    );
    assert_eq!(
        terms["obligation"][0],
        json!({
            "action": "delete",
            "constraint": within("P30D"),
            "consequence": [{ "action": "compensate", "consequence": [{ "action": "inform" }] }],
        })
    );
}

#[test]
fn an_audience_leaves_out_whom_it_excepts() {
    let text = with("").replace(
        "anyone-registered = true",
        "anyone-registered = true\nexcept-partners = [\"urn:x\"]\nexcept-groups = [\"customers\"]",
    );
    let audience = read_text("p.toml", text.as_bytes()).unwrap().audience;
    let subject = |participant: &str, groups: &[&str]| Subject {
        participant: participant.to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..Subject::default()
    };
    assert!(audience.includes(&subject("urn:y", &["suppliers"])));
    assert!(!audience.includes(&subject("urn:x", &[])));
    assert!(!audience.includes(&subject("urn:y", &["customers"])));
}

#[test]
fn every_clause_knows_its_place() {
    let file = read_text("cfp.toml", COMPLETE.as_bytes()).unwrap();
    let spot = |line, column, length| crate::diagnostic::Spot { line, column, length };
    // One permission for each of two actions; the window of [valid] stands there.
    assert_eq!(file.places.permissions.len(), 2);
    let permission = &file.places.permissions[1];
    assert_eq!(permission.rule, spot(18, 1, 10));
    let lines: Vec<_> = permission.constraints.iter().map(|spot| spot.line).collect();
    assert_eq!(lines, [22, 23, 15, 16]);
    assert_eq!(permission.duties, [spot(20, 13, 15)]);
    assert_eq!(file.places.prohibitions[0].constraint(0), spot(28, 9, 32));
    assert_eq!(file.places.obligations, [spot(31, 1, 8)]);
}

#[test]
fn line_ends_and_byte_order_mark_do_not_matter() {
    let plain = read_text("p.toml", COMPLETE.as_bytes()).unwrap();
    let crlf = COMPLETE.replace('\n', "\r\n");
    assert_eq!(read_text("p.toml", crlf.as_bytes()).unwrap(), plain);
    let marked = [&[0xEF, 0xBB, 0xBF], COMPLETE.as_bytes()].concat();
    assert_eq!(read_text("p.toml", &marked).unwrap(), plain);
}

#[test]
fn another_encoding_is_named() {
    let table: [(&[u8], &str); 7] = [
        (b"\xFF\xFEt\0i\0", "UTF-16"),
        (b"t\0i\0", "UTF-16"),
        (b"title = \"f\xFCr B\xE9la\"", "Latin-1"),
        (b"title = \"B\xE9la \x95\x94\x95i\"", "not UTF-8"),
        (b"title = \"\x95\x94\x95i\"", "Shift_JIS"),
        (b"title = \"\xC9\xF4\xC9\xCA\"", "EUC-JP"),
        (b"title = \"\xFF\"", "not UTF-8"),
    ];
    for (bytes, name) in table {
        let findings = read_text("p.toml", bytes).unwrap_err();
        assert!(findings[0].message.contains(name), "{:?}", findings[0]);
    }
}

/// A right file but for one line.
fn with(line: &str) -> String {
    format!(
        "title = \"t\"\n[who]\nanyone-registered = true\n[[permit]]\nactions = [\"use\"]\n{line}\n"
    )
}

#[test]
fn a_finding_has_its_place_and_its_remedy() {
    // The line, line number, column, length, a word of the message, a word of the help.
    let table = [
        ("when = [\"cuont lteq 10\"]", 6, 10, 5, "`cuont`", "did you mean `count`?"),
        ("when = [\"count lesseq 10\"]", 6, 16, 6, "`lesseq`", "lteq"),
        ("when = [\"count lteq ten\"]", 6, 21, 3, "`ten`", "count lteq 10"),
        ("when = [\"count lteq\"]", 6, 20, 1, "no value", "count lteq 10"),
        ("when = [\"count\"]", 6, 15, 1, "no operator", "known are"),
        ("when = [\"\"]", 6, 9, 2, "empty", "count lteq 10"),
        ("when = [\"count lteq 10 20\"]", 6, 24, 2, "`20` follows", "one condition"),
        ("when = [\"spatial isAnyOf [JP, XX]\"]", 6, 26, 8, "`XX`", "ISO 3166|spatial isAnyOf"),
        ("when = [\"spatial isAnyOf [JP\"]", 6, 26, 3, "not closed", "]"),
        ("when = [\"purpose eq 'a\"]", 6, 21, 2, "quote", "'"),
        ("when = [\"dateTime lt 2027-01-01\"]", 6, 22, 10, "zone", "dateTime lt 2027"),
        (
            "when = [\"purpose isAnyOf [cfp-reportin]\"]",
            6,
            27,
            12,
            "not a purpose",
            "did you mean `cfp-reporting`?",
        ),
        ("when = [{ any-of = [] }]", 6, 9, 15, "lists no condition", "remove"),
        (
            "when = [{ any-of = [\"count lteq 1\"], one-of = [\"count lteq 1\"] }]",
            6,
            9,
            56,
            "one key",
            "exactly one",
        ),
        ("when = [3]", 6, 9, 1, "not a number", "count lteq 10"),
        ("wen = []", 6, 1, 3, "`wen` is not a key", "did you mean `when`?"),
        ("requires = [\"obtainconsent\"]", 6, 13, 15, "not an ODRL action", "obtainConsent"),
        ("priority = \"high\"", 6, 1, 8, "`priority` is not a key of [[permit]]", "known are"),
        ("requires = [1]", 6, 13, 1, "not a number", "action ="),
        ("requires = [{ within = \"P1D\" }]", 6, 13, 18, "names no action", "delete"),
        (
            "[[prohibit]]\nactions = [\"sell\"]\nremedy = [{ action = \"delete\", otherwise = [\"inform\"] }]",
            8,
            44,
            10,
            "no consequence|cannot have a consequence",
            "[[duty]]",
        ),
        ("[[duty]]\nwithin = \"P1D\"", 6, 1, 8, "names no action", "delete"),
        ("[[duty]]\naction = \"delete\"\nwithin = \"30 days\"", 8, 10, 9, "`30 days`", "P30D"),
        ("[valid]\nuntil = 2027-01-01", 7, 9, 10, "zone", "2027-01-01T"),
        ("[offer]\nhandling = \"maybe\"", 7, 12, 7, "`maybe`", "auto"),
        ("[other]", 6, 2, 5, "`other`", "offer"),
        ("when = \"count lteq 10\"", 6, 8, 15, "must be a list", "[\""),
        ("when = [", 6, 9, 1, "", "TOML"),
    ];
    for (line, number, column, length, message, help) in table {
        let findings = read_text("p.toml", with(line).as_bytes()).unwrap_err();
        let finding = &findings[0];
        assert_eq!((finding.line, finding.column), (number, column), "{finding}");
        assert!(message.split('|').any(|message| finding.message.contains(message)), "{finding}");
        assert!(help.split('|').any(|help| finding.help.contains(help)), "{finding}");
        if !message.is_empty() {
            assert_eq!(finding.length, length, "{finding}");
        }
    }
}

#[test]
fn a_priority_is_a_number_within_bounds() {
    let read_with = |line: &str| read_text("p.toml", format!("{line}\n{}", with("")).as_bytes());
    assert_eq!(read_with("priority = 10").unwrap().priority, 10);
    assert_eq!(read_with("priority = -1_000").unwrap().priority, -1000);
    for (line, message) in
        [("priority = 1001", "from -1000 to 1000"), ("priority = \"high\"", "whole number")]
    {
        let finding = &read_with(line).unwrap_err()[0];
        assert!(finding.message.contains(message), "{finding}");
        assert_eq!((finding.line, finding.column), (1, 12));
    }
}

#[test]
fn the_restrictions_of_the_documentation_compile() {
    let read = |text: &str| {
        let (groups, purposes) = (Groups::new(), Purposes::default());
        super::read_restrictions(
            text.as_bytes(),
            &Words {
                groups: &groups,
                purposes: &purposes,
                parents: &BTreeMap::new(),
                unhonoured: Unhonoured::Refused,
            },
        )
    };
    let found = read(include_str!("restrictions.toml")).unwrap();
    assert_eq!(found.list.len(), 1);
    assert!(found.list[0].audience.anyone_registered);
    let finding = &read("[[prohibit]]\nactions = [\"use\"]\n").unwrap_err()[0];
    assert!(finding.message.contains("does not say why"), "{finding}");
    let finding = &read("[[permit]]\nactions = [\"use\"]\n").unwrap_err()[0];
    assert!(finding.message.contains("`permit` is not a key of restrictions.toml"), "{finding}");
}

#[test]
fn all_findings_come_at_once() {
    let text = "titel = \"t\"\n[who]\nanyone-registered = true\nexcept-groups = [\"custmers\"]\n[[permit]]\nactions = [\"yuse\"]\n";
    let findings = read_text("p.toml", text.as_bytes()).unwrap_err();
    let messages: Vec<_> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "`titel` is not a key of a policy file",
            "the policy has no title",
            "no partner is in a group `custmers`",
            "`yuse` is not an ODRL action",
        ]
    );
}

#[test]
fn a_finding_is_rendered_like_a_compilers() {
    let text = with("when = [\"purpose eq '部品' x\"]");
    let findings = read_text("cfp.toml", text.as_bytes()).unwrap_err();
    let expected = "\
error: `x` follows the value
 --> cfp.toml:6:26
  |
6 | when = [\"purpose eq '部品' x\"]
  |                      \u{3000}\u{3000}  ^
  = help: write one condition an entry; several values as [A, B]; a value with spaces in single quotes";
    assert_eq!(findings[0].to_string(), expected);
}

#[test]
fn groups_have_a_depth() {
    let mut group = "\"count lteq 1\"".to_owned();
    for _ in 0..MAX_DEPTH_TRIED {
        group = format!("{{ any-of = [{group}] }}");
    }
    let findings = read_text("p.toml", with(&format!("when = [{group}]")).as_bytes()).unwrap_err();
    assert!(findings[0].message.contains("deep"), "{}", findings[0]);
}

const MAX_DEPTH_TRIED: usize = 12;

#[test]
fn an_odrl_file_is_taken_as_it_is() {
    let odrl = json!({
        "@context": "http://www.w3.org/ns/odrl.jsonld",
        "@type": "Offer",
        "uid": "urn:example:policy",
        "dct:title": "From elsewhere",
        "target": "urn:example:cfp",
        "assignee": "customers",
        "permission": [{ "action": "use" }],
    });
    let file = read_text("p.jsonld", odrl.to_string().as_bytes()).unwrap();
    assert_eq!(file.title, "From elsewhere");
    assert_eq!(file.datasets, BTreeSet::from(["urn:example:cfp".to_owned()]));
    assert!(file.audience.groups.contains("customers") && !file.audience.anyone_registered);
    assert_eq!(
        file.terms.to_json(),
        json!({ "@type": "Set", "permission": [{ "action": "use" }] })
    );
}

#[test]
fn an_odrl_file_that_names_nobody_is_open_to_nobody() {
    let mut odrl = json!({ "target": "d", "permission": [{ "action": "use" }] });
    let findings = read_text("p.json", odrl.to_string().as_bytes()).unwrap_err();
    assert!(findings[0].message.contains("to whom it is offered"), "{findings:?}");
    assert!(
        findings[0].help.contains("assignee") && findings[0].help.contains("anyone-registered")
    );
    // Either way out of the help is one.
    odrl["assignee"] = json!("customers");
    let named = read_text("p.json", odrl.to_string().as_bytes()).unwrap();
    assert!(!named.audience.anyone_registered && named.audience.groups.contains("customers"));
    let member = json!({ "who": { "anyone-registered": true }, "what": { "datasets": ["d"] } });
    let open = json!({ "permission": [{ "action": "use" }], offering::MEMBER: member });
    let open = read_text("p.json", open.to_string().as_bytes()).unwrap();
    assert!(open.audience.anyone_registered && open.datasets.contains("d"));
}

#[test]
fn an_odrl_file_with_a_clause_that_cannot_be_honoured_is_refused() {
    let refused = |value: Value| {
        let findings = read_text("p.json", value.to_string().as_bytes()).unwrap_err();
        findings[0].message.clone()
    };
    let mood = json!({ "leftOperand": "mood", "operator": "eq", "rightOperand": "good" });
    let table = [
        (json!({ "permission": [{ "action": "use", "constraint": [mood] }] }), "mood"),
        (json!({ "permission": [{ "action": "teleport" }] }), "teleport"),
        (json!({ "permission": [{ "action": "use" }], "profile": "urn:unknown" }), "urn:unknown"),
        (json!({ "permission": [{ "action": "use", "target": "urn:x" }] }), "own target"),
        (json!({ "permission": [] }), "neither permission"),
    ];
    for (value, named) in table {
        let message = refused(value);
        assert!(message.contains(named), "{message}");
    }
    let findings = read_text("p.json", b"{\n  \"permission\": [}").unwrap_err();
    assert_eq!(findings[0].line, 2);
    assert!(read_text("p.yaml", b"title: x").is_err());
}

fn constraint_strategy() -> impl Strategy<Value = String> {
    let value = "[a-zA-Z0-9:/.#_-]{1,12}";
    let named = prop_oneof![Just("purpose"), Just("recipient")];
    let operator = prop_oneof![Just("isAnyOf"), Just("isNoneOf"), Just("isAllOf")];
    prop_oneof![
        (named.clone(), value).prop_map(|(left, value)| format!("{left} eq {value}")),
        (named, operator, prop::collection::vec(value, 1..4)).prop_map(
            |(left, operator, values)| format!("{left} {operator} [{}]", values.join(", "))
        ),
        any::<u64>().prop_map(|number| format!("count lteq {number}")),
    ]
}

proptest! {
    #[test]
    fn an_expression_comes_back_as_it_went(text in constraint_strategy()) {
        let read = expression::parse(&text).unwrap();
        prop_assert_eq!(expression::write(&read), text);
    }

    #[test]
    fn no_expression_panics(text in "(count|purpose|.{0,8}) (lteq|isAnyOf|.{0,4}) ?[\\[']?.{0,12}") {
        if let Err(error) = expression::parse(&text) {
            prop_assert!(error.span.start <= error.span.end);
        }
    }

    #[test]
    fn no_file_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["p.toml", "p.json", "p"] {
            let _ = read_text(name, &bytes).map_err(|findings| findings[0].to_string());
        }
    }

    #[test]
    fn no_broken_file_panics(start in 0..900_usize, end in 0..900_usize, inserted in ".{0,3}") {
        let mut text = COMPLETE.to_owned();
        let (start, end) = (start.min(end).min(text.len()), start.max(end).min(text.len()));
        if text.is_char_boundary(start) && text.is_char_boundary(end) {
            text.replace_range(start..end, &inserted);
            if let Err(findings) = read_text("p.toml", text.as_bytes()) {
                prop_assert!(!findings.is_empty());
                prop_assert!(findings.iter().all(|finding| !finding.to_string().is_empty()));
            }
        }
    }
}

/// Lines that a policy file, restrictions or cases are made of, right and wrong, in any order.
fn nearly_toml() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        3 => prop::sample::select(vec![
            "title = \"t\"", "[who]", "groups = [\"customers\"]", "anyone-registered = true", "[what]",
            "tags = [\"cfp\"]", "[valid]", "until = 2027-01-01T00:00:00+09:00", "[[permit]]",
            "actions = [\"use\"]", "actions = [\"use\", \"print\"]", "[[prohibit]]", "reason = \"r\"",
            "[[duty]]", "action = \"delete\"", "within = \"P30D\"", "by = 2027-01-01", "requires = [\"inform\"]",
            "otherwise = [{ action = \"compensate\", within = \"P1D\" }]", "conflict = \"perm\"", "priority = 3",
            "[offer]", "handling = \"manual\"", "when = [\"count lteq 10\"]",
            "when = [{ any-of = [\"purpose eq a\", { one-of = [\"spatial eq JP\"] }] }]",
            "[[case]]", "name = \"n\"", "partner = \"b\"", "dataset = \"part-b\"", "expect = \"deny\"",
            "at = 2026-06-01T00:00:00Z", "at = \"2026-06-01\"", "uses = -1", "[[partner]]", "[[dataset]]", "id = \"x\"",
        ]).prop_map(str::to_owned),
        1 => "(when|actions|until|priority|who|at) = (\\[|\\{|\"|'|-?[0-9]{1,20}|.{0,8}).{0,8}",
        1 => ".{0,12}",
    ];
    prop::collection::vec(line, 0..24).prop_map(|lines| lines.join("\n"))
}

/// Whatever is refused is refused with a reason at a place in the text.
fn are_placed(text: &str, findings: &[Diagnostic]) -> Result<(), TestCaseError> {
    prop_assert!(!findings.is_empty());
    let lines = text.split('\n').count();
    for finding in findings {
        prop_assert!((1..=lines).contains(&finding.line) && finding.column >= 1, "{finding}");
        prop_assert!(!finding.message.is_empty() && !finding.to_string().is_empty());
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_read_of_a_file_is_written_as_odrl_and_read_as_the_same(text in nearly_toml()) {
        match read_text("p.toml", text.as_bytes()) {
            Ok(file) => {
                let written = file.terms.to_json();
                let again = Policy::from_json(&written);
                prop_assert_eq!(again.as_ref(), Ok(&file.terms));
                // The same policy as an ODRL file means the same.
                let mut document = written.clone();
                document["assignee"] = json!("customers");
                let odrl = read_text("p.json", document.to_string().as_bytes());
                prop_assert_eq!(odrl.map(|odrl| odrl.terms.to_json()).ok(), Some(written));
            }
            Err(findings) => are_placed(&text, &findings)?,
        }
    }

    #[test]
    fn restrictions_are_read_or_refused_at_a_place(text in nearly_toml()) {
        let (groups, purposes, parents) = Default::default();
        let words = Words {
                groups: &groups,
                purposes: &purposes,
                parents: &parents,
                unhonoured: Unhonoured::Refused,
            };
        match read_restrictions(text.as_bytes(), &words) {
            Ok(read) => for restriction in read.list {
                let written = restriction.terms.to_json();
                prop_assert_eq!(Policy::from_json(&written), Ok(restriction.terms));
                prop_assert!(!restriction.reason.is_empty() || text.contains("reason"));
            },
            Err(findings) => are_placed(&text, &findings)?,
        }
    }

    #[test]
    fn cases_are_read_or_refused_at_a_place(text in nearly_toml()) {
        let site = crate::inquiry::tests::site(&[("p.toml", crate::inquiry::tests::POLICY)]);
        match crate::cases::Cases::read("p.test.toml", text.as_bytes()) {
            Ok(cases) => for outcome in cases.run(&site) {
                if let Some(failure) = outcome.failure {
                    are_placed(&text, &[failure])?;
                }
            },
            Err(finding) => are_placed(&text, &[finding])?,
        }
    }

    #[test]
    fn a_file_of_nearly_odrl_is_read_or_refused_at_a_place(value in crate::odrl::nearly_policy()) {
        let text = format!("{value:#}");
        match read_text("p.json", text.as_bytes()) {
            Ok(file) => {
                let written = file.terms.to_json();
                prop_assert_eq!(Policy::from_json(&written), Ok(file.terms));
                prop_assert_eq!(file.places.permissions.len(), rules_of(&value, "permission"));
            }
            Err(findings) => are_placed(&text, &findings)?,
        }
    }
}

fn rules_of(policy: &serde_json::Value, member: &str) -> usize {
    match &policy[member] {
        serde_json::Value::Null => 0,
        serde_json::Value::Array(rules) => rules.len(),
        _ => 1,
    }
}

#[test]
fn findings_in_an_odrl_file_stand_at_their_clause() {
    let text = r#"{
  "@type": "Set", "dct:title": "a \"}\" b", "assignee": "customers",
  "odrl:permission": [
    { "action": "use" },
    {
      "action": "use",
      "constraint": [{ "leftOperand": "mood", "operator": "eq", "rightOperand": "}]" }]
    }
  ],
  "prohibition": { "action": "teleport" },
  "obligation": [{ "action": "delete", "consequence": [
    { "action": "inform" },
    { "action": "sing" }
  ] }]
}"#;
    let findings = read_text("p.json", text.as_bytes()).unwrap_err();
    let places: Vec<_> = findings.iter().map(|found| (found.line, found.column)).collect();
    assert_eq!(places, [(7, 22), (10, 30), (13, 17)], "{findings:?}");
    let right =
        text.replace("mood", "recipient").replace("teleport", "print").replace("sing", "delete");
    let file = read_text("p.json", right.as_bytes()).unwrap();
    let place = &file.places.permissions[1];
    assert_eq!((place.rule.line, place.constraint(0).line, place.constraint(0).column), (5, 7, 22));
    assert_eq!((file.places.prohibitions[0].rule.line, file.places.obligations[0].line), (10, 11));
    let missing =
        read_text("p.json", b"{ \"permission\": [{ \"action\": \"use\" },] }").unwrap_err();
    let shown = missing[0].to_string();
    assert!(!shown.contains(" at line ") && shown.contains("p.json:1:38"), "{shown}");
}

#[test]
fn no_clause_of_an_odrl_file_is_lost_by_its_name() {
    let use_it = r#""permission": [{ "action": "use" }]"#;
    // What else stands in the file: its column in line 2, what is said of it, and the way out.
    let table = [
        (
            r#""prohibition": [], "prohibition": [{ "action": "use" }]"#,
            32,
            "`prohibition` is given twice",
            "remove one",
        ),
        (
            r#""prohibition": [], "prohibitio\u006e": []"#,
            37,
            "`prohibition` is given twice",
            "remove one",
        ),
        (
            r#""prohibitions": [{ "action": "use" }]"#,
            1,
            "`prohibitions`",
            "did you mean `prohibition`?",
        ),
        (r#""profiles": "urn:unknown""#, 1, "profiles", "did you mean `profile`?"),
        (r#""inheritsFrom": "urn:parent""#, 1, "inheritsFrom", "did you mean `inheritFrom`?"),
        (
            r#""https://www.w3.org/ns/odrl/2/prohibition": []"#,
            1,
            "prohibition",
            "did you mean `prohibition`?",
        ),
        (r#""odrl:inheritAllowed": false"#, 1, "inheritAllowed", "known are"),
        (r#""@graph": []"#, 1, "@graph", "known are"),
        (r#""note": "for whom?""#, 1, "note", "known are"),
        (
            r#""obligation": [{ "action": "delete", "constraints": [{}] }]"#,
            38,
            "constraints",
            "did you mean `constraint`?",
        ),
    ];
    for (member, column, message, help) in table {
        let text = format!("{{ {use_it},\n{member} }}");
        let findings = read_text("p.json", text.as_bytes()).unwrap_err();
        let found = &findings[0];
        assert_eq!(findings.len(), 1, "{member}: {findings:?}");
        assert!(found.message.contains(message.trim_matches('`')), "{member}: {found}");
        assert!(found.help.contains(help), "{member}: {found}");
        assert_eq!((found.line, found.column), (2, column), "{member}: {found}");
    }
    // What people read may stand there.
    let text = format!(
        r#"{{ {use_it}, "assignee": "customers", "@context": "http://www.w3.org/ns/odrl.jsonld", "title": "t", "description": "d",
            "dc:creator": "c", "http://purl.org/dc/terms/issued": "2026", "rdfs:label": "l", "skos:note": "n",
            "timestamp": "2026-01-01T00:00:00Z", "comment": "k" }}"#
    );
    assert!(read_text("p.json", text.as_bytes()).is_ok());
}

#[test]
fn a_clause_of_an_odrl_file_is_found_however_deep_it_stands() {
    let mood = r#"{ "leftOperand": "mood", "operator": "eq", "rightOperand": "x" }"#;
    let count = r#"{ "leftOperand": "count", "operator": "lteq", "rightOperand": "3" }"#;
    let lang = r#"{ "leftOperand": "media", "operator": "eq", "rightOperand": "x" }"#;
    // The text of a rule up to the clause that is refused, and what follows.
    let table = [
        (r#"{ "action": "use", "constraint": "#.to_owned(), mood, " }".to_owned()),
        (format!(r#"{{ "action": "use", "constraint": [{count}, "#), lang, "] }".to_owned()),
        (
            format!(r#"{{ "action": "use", "constraint": [{{ "or": [{count}, "#),
            lang,
            "] }] }".to_owned(),
        ),
        (
            format!(r#"{{ "action": "use", "constraint": [{{ "odrl:xone": [{{ "and": [{count}, "#),
            lang,
            "] }] }] }".to_owned(),
        ),
        (
            format!(
                r#"{{ "action": "use", "constraint": [{{ "andSequence": {{ "@list": [{count}, "#
            ),
            lang,
            "] } }] }".to_owned(),
        ),
        (r#"{ "action": { "@id": "use", "refinement": "#.to_owned(), lang, " } }".to_owned()),
        (
            format!(
                r#"{{ "action": [{{ "@id": "print" }}, {{ "@id": "use", "refinement": [{count}, "#
            ),
            mood,
            "] }] }".to_owned(),
        ),
        (r#"{ "constraint": [], "action": ["use", "#.to_owned(), r#""teleport""#, "] }".to_owned()),
        (r#"{ "action": "use", "#.to_owned(), r#""constraints""#, ": [{}] }".to_owned()),
    ];
    for (before, clause, after) in table {
        let line = format!("  {before}{clause}{after}");
        let text = format!("{{ \"assignee\": \"customers\", \"permission\": [\n{line}\n] }}");
        let findings = read_text("p.json", text.as_bytes()).unwrap_err();
        let found = &findings[0];
        let column = line.find(clause).unwrap() + 1;
        assert_eq!((found.line, found.column), (2, column), "{line}: {found}");
        assert_eq!(found.length, clause.chars().count(), "{found}");
    }
}

#[test]
fn two_policies_of_equal_terms_are_exported_as_two() {
    let text = "title = \"T\"\n[who]\nanyone-registered = true\n[[permit]]\nactions = [\"use\"]\n";
    let uids = |edit: &str| -> Vec<String> {
        let sources = ["one.toml", "two.toml", "二.toml"].map(|name| Source {
            name: name.to_owned(),
            bytes: format!("{text}{edit}").into_bytes(),
        });
        let set = RuleSet::compile(&sources, &Groups::new(), &Purposes::default()).unwrap();
        let uid = |policy: &std::sync::Arc<CompiledPolicy>| {
            export(policy)["uid"].as_str().unwrap().to_owned()
        };
        set.policies().map(uid).collect()
    };
    let (before, after) = (uids(""), uids("when = [\"count lteq 3\"]\n"));
    let all: std::collections::BTreeSet<&String> = before.iter().chain(&after).collect();
    assert_eq!(all.len(), 6, "each name and each edition has its own: {all:?}");
    assert_eq!(before, uids(""), "and it follows from them");
    let terms = |uid: &String| uid.rsplit_once(':').unwrap().0.to_owned();
    assert_eq!(terms(&before[0]), terms(&before[1]), "the terms are told to be the same");
}

#[test]
fn an_exported_policy_comes_back_as_it_was() {
    let compiled = |name: &str, text: &str| {
        let sources = [Source { name: name.to_owned(), bytes: text.as_bytes().to_vec() }];
        let set = RuleSet::compile(&sources, &Groups::new(), &Purposes::default());
        set.unwrap_or_else(|found| panic!("{}", found[0])).policy("p").unwrap().as_ref().clone()
    };
    let text = "title = \"T\"\ndescription = \"D\"\npriority = 7\n\
        [who]\ngroups = [\"customers\"]\npartners = [\"urn:x\"]\nexcept-partners = [\"urn:b\"]\nexcept-groups = [\"late\"]\n\
        [what]\ndatasets = [\"d\"]\ntags = [\"t\"]\n[offer]\nhandling = \"manual\"\n\
        [valid]\nfrom = 2026-01-01T00:00:00Z\nuntil = 2027-01-01T00:00:00Z\n\
        [[permit]]\nactions = [\"use\"]\nwhen = [\"count lteq 10\"]\n[[prohibit]]\nactions = [\"distribute\"]\n";
    let written = compiled("p.toml", text);
    let read = compiled("p.jsonld", &export(&written).to_string());
    let file = |policy: &CompiledPolicy| CompiledPolicy {
        file: String::new(),
        places: Places::default(),
        own_sha256: [0; 32],
        ..policy.clone()
    };
    assert_eq!(file(&read), file(&written));
    // And once more, from the ODRL file.
    assert_eq!(export(&read), export(&written));

    let refused = |edit: fn(&mut Value)| {
        let mut document = export(&written);
        edit(&mut document);
        let findings = read_text("p.jsonld", document.to_string().as_bytes()).unwrap_err();
        findings[0].message.clone()
    };
    let none = refused(|document| document[offering::MEMBER]["who"] = json!({}));
    assert!(none.contains("names nobody"), "{none}");
    let unknown = refused(|document| document[offering::MEMBER]["whom"] = json!(1));
    assert!(unknown.contains("whom"), "{unknown}");
    let twice = refused(|document| document["assignee"] = json!("urn:y"));
    assert!(twice.contains("beside an assignee"), "{twice}");
    let early = refused(|document| document[offering::MEMBER]["priority"] = json!(5000));
    assert!(early.contains("no priority"), "{early}");
}

#[test]
fn restrictions_that_restrict_nothing_are_refused_unless_it_is_said() {
    let (groups, purposes, parents) = Default::default();
    let unhonoured = Unhonoured::Refused;
    let words = Words { groups: &groups, purposes: &purposes, parents: &parents, unhonoured };
    for text in ["", "title = \"T\"\n"] {
        let findings = read_restrictions(text.as_bytes(), &words).unwrap_err();
        assert!(findings[0].help.contains("prohibit = []"), "{}", findings[0]);
    }
    assert_eq!(read_restrictions(b"prohibit = []", &words).unwrap().list, []);
}

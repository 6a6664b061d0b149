//! What is found, in which place, and that a policy in order has no finding.

use super::*;
use crate::inquiry::Dataset;
use crate::inquiry::tests::{POLICY, site};

fn options() -> Options {
    Options { now: "2026-06-01T00:00:00Z".parse().unwrap(), knows_datasets: true }
}

/// Every text of a finding has a translation, in which nothing is left of the words around what it names.
fn is_said_in_japanese(finding: &Finding) {
    let (english, said) = (&finding.diagnostic, finding.said(Language::Japanese));
    for (english, said) in [(&english.message, &said.message), (&english.help, &said.help)] {
        let is_japanese = |text: &str| text.chars().any(|c| ('ぁ'..='ん').contains(&c));
        assert!(english.is_empty() && said.is_empty() || is_japanese(said), "{english}: {said}");
        for word in [" the ", " is ", " can ", " or ", "{", "}"] {
            assert!(!said.contains(word), "{said}");
        }
    }
    let place = |found: &Diagnostic| (found.line, found.column, found.length, found.severity);
    assert_eq!(place(english), place(&said));
}

#[test]
fn a_finding_is_said_in_japanese_as_a_compiler_says_it() {
    let text = "title = \"t\"\n[who]\ngroups = [\"customers\"]\n[what]\ntags = [\"cfp\"]\n\
        [[permit]]\nactions = [\"use\"]\nwhen = [\"count lteq 3\", \"count gt 3\"]\n";
    let findings = lint(&site(&[("p.toml", text)]), options());
    let said = findings[0].text(Language::Japanese);
    let expected = "\
警告: この許可は成立することがありません。「count lteq 3」と「count gt 3」は両立しません。
 --> p.toml:8:25
  |
8 | when = [\"count lteq 3\", \"count gt 3\"]
  |                         ^^^^^^^^^^^^
  = 対処: 条件のいずれかを変更するか、any-of の下に並べてください。";
    assert_eq!(said, expected);
    assert_eq!(findings[0].text(Language::English), findings[0].diagnostic.to_string());
}

fn found(text: &str) -> Vec<(&'static str, usize)> {
    let findings = lint(&site(&[("p.toml", text)]), options());
    findings.iter().for_each(is_said_in_japanese);
    findings.into_iter().map(|finding| (finding.code, finding.diagnostic.line)).collect()
}

#[test]
fn a_policy_in_order_has_no_finding() {
    assert_eq!(found(POLICY), []);
}

#[test]
fn every_mistake_is_found_in_its_place() {
    let head = "title = \"t\"\n[who]\ngroups = [\"customers\"]\n[what]\ntags = [\"cfp\"]\n";
    let permit = "[[permit]]\nactions = [\"use\"]\n";
    // What follows the head (5 lines), the findings with their lines.
    let table = [
        (format!("{permit}when = [\"count lteq 3\", \"count gt 3\"]"), vec![("never-holds", 8)]),
        (format!("{permit}when = [\"count lt 1\"]"), vec![("never-holds", 8)]),
        (
            format!(
                "{permit}when = [\"dateTime gteq 2027-01-01T00:00:00Z\", \"dateTime lt 2027-01-01T09:00:00+09:00\"]"
            ),
            vec![("never-holds", 8)],
        ),
        (
            format!("{permit}when = [\"spatial eq JP\", \"spatial eq DE\"]"),
            vec![("never-holds", 8)],
        ),
        // They hold together; that the one partner is not known to be in Tokyo is another finding.
        (
            format!("{permit}when = [\"spatial eq JP\", \"spatial eq JP-13\"]"),
            vec![("unusable", 8)],
        ),
        (
            format!(
                "{permit}when = [\"purpose eq audit\", {{ all-of = [\"purpose isNoneOf [audit]\"] }}]"
            ),
            vec![("never-holds", 8)],
        ),
        (
            format!("{permit}when = [\"elapsedTime lteq P1D\", \"elapsedTime gteq P1M\"]"),
            vec![("never-holds", 8)],
        ),
        // `eq` on a period states the period: within ten days is within thirty.
        (format!("{permit}when = [\"elapsedTime eq P30D\", \"elapsedTime lt P10D\"]"), vec![]),
        (format!("{permit}when = [\"dateTime lt 2026-01-01T00:00:00Z\"]"), vec![("over", 8)]),
        (format!("{permit}when = [\"dateTime lt 2026-06-01T00:00:00.001Z\"]"), vec![]),
        (format!("{permit}[[permit]]\nactions = [\"print\"]"), vec![("shadowed", 8)]),
        (format!("{permit}{permit}"), vec![("shadowed", 8)]),
        (format!("{permit}when = [\"count lteq 3\"]\n[[permit]]\nactions = [\"print\"]"), vec![]),
        (format!("{permit}[[prohibit]]\nactions = [\"use\"]"), vec![("unreachable", 6)]),
        (format!("{permit}[[prohibit]]\nactions = [\"use\"]\nwhen = [\"count gt 3\"]"), vec![]),
        (format!("{permit}when = [\"recipient isPartOf custmers\"]"), vec![("unknown-partner", 8)]),
        (
            format!("{permit}[[duty]]\naction = \"delete\"\nby = 2026-01-01T00:00:00Z"),
            vec![("duty-impossible", 8)],
        ),
        (
            format!("{permit}[[duty]]\naction = \"delete\"\nwithin = \"PT0S\""),
            vec![("duty-impossible", 8)],
        ),
        (
            format!(
                "{permit}[[prohibit]]\nactions = [\"delete\"]\n[[duty]]\naction = \"delete\"\nwithin = \"P1D\""
            ),
            vec![("duty-prohibited", 10)],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(found(&format!("{head}{text}\n")), expected, "{text}");
    }
    let void =
        format!("conflict = \"invalid\"\n{head}{permit}[[prohibit]]\nactions = [\"print\"]\n");
    assert_eq!(found(&void), [("void", 7)]);
    let harmless = void.replace("\"invalid\"", "\"perm\"").replace("print", "use");
    assert_eq!(found(&harmless), [("no-effect", 7)]);
}

#[test]
fn parties_and_datasets_that_do_not_exist_are_found() {
    let text = "title = \"t\"\n[who]\npartners = [\"urn:x\"]\n[what]\ndatasets = [\"no\"]\n[[permit]]\nactions = [\"use\"]\n";
    let expected =
        [("offers-nothing", 1), ("nobody", 2), ("unknown-partner", 3), ("unknown-dataset", 5)];
    assert_eq!(found(text), expected);
    let findings = lint(&site(&[("p.toml", text)]), Options { knows_datasets: false, ..options() });
    assert!(findings.iter().all(|finding| !finding.code.contains("dataset")));
    let regional = "title = \"t\"\n[who]\nanyone-registered = true\n[what]\ntags = [\"cfp\"]\n[[permit]]\nactions = [\"use\"]\nwhen = [\"spatial eq JP\"]\n";
    let findings = lint(&site(&[("p.toml", regional)]), options());
    assert_eq!(findings[0].code, "no-region");
    assert!(findings[0].diagnostic.help.contains("partners/c.toml"));
}

#[test]
fn purposes_that_differ_by_a_letter_are_found_where_the_site_lists_none() {
    let other = POLICY.replace("cfp-reporting", "cfp-reportng");
    let findings = lint(&site(&[("a.toml", POLICY), ("b.toml", &other)]), options());
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].code, findings[0].diagnostic.file.as_str()),
        ("unknown-purpose", "b.toml")
    );
}

#[test]
fn choices_are_looked_into() {
    let head = "title = \"t\"\n[who]\ngroups = [\"customers\"]\n[what]\ntags = [\"cfp\"]\n";
    let permit = "[[permit]]\nactions = [\"use\"]\n";
    // The conditions of a permission in line 8, and what is found there.
    let table: [(&str, &[&str]); 19] = [
        (r#"{ any-of = ["count lteq 3", "purpose eq audit"] }"#, &[]),
        (r#"{ any-of = ["count lteq 3", "count gt 3"] }"#, &["always-holds"]),
        (r#"{ any-of = ["count lt 3", "count gt 3"] }"#, &[]),
        (
            r#"{ any-of = ["dateTime lt 2027-01-01T00:00:00Z", "dateTime gteq 2027-01-01T09:00:00+09:00"] }"#,
            &["always-holds"],
        ),
        (r#"{ any-of = ["spatial isAnyOf [JP]", "spatial isNoneOf [JP-13]"] }"#, &["always-holds"]),
        (
            r#"{ any-of = ["purpose isAnyOf [audit]", "purpose isNoneOf [audit, cfp-reporting]"] }"#,
            &[],
        ),
        (r#"{ one-of = ["count lteq 3", "count gt 3"] }"#, &[]),
        (
            r#"{ any-of = ["dateTime lt 2026-01-01T00:00:00Z", "purpose eq audit"] }"#,
            &["dead-branch"],
        ),
        (r#"{ any-of = ["dateTime lt 2026-01-01T00:00:00Z", "count lt 1"] }"#, &["never-holds"]),
        (
            r#""spatial eq JP", { any-of = ["spatial eq DE", "purpose eq audit"] }"#,
            &["dead-branch"],
        ),
        (r#""spatial eq JP", { any-of = ["spatial eq DE", "spatial eq FR"] }"#, &["never-holds"]),
        (
            r#"{ all-of = ["count gt 3", { any-of = ["count lteq 3", "purpose eq audit"] }] }"#,
            &["dead-branch"],
        ),
        (
            r#"{ any-of = [{ all-of = ["count gt 3", "count lteq 3"] }, "purpose eq audit"] }"#,
            &["dead-branch"],
        ),
        (
            r#"{ any-of = ["purpose eq audit", "purpose isAnyOf [audit, cfp-reporting]"] }"#,
            &["no-effect"],
        ),
        (r#"{ any-of = ["count lteq 3", "count lteq 10"] }"#, &["no-effect"]),
        (r#"{ any-of = ["purpose eq audit", "purpose isAnyOf [audit]"] }"#, &["no-effect"]),
        (r#"{ one-of = ["count lteq 3", "count lteq 10"] }"#, &["dead-branch"]),
        (r#"{ one-of = ["purpose eq audit", "spatial eq JP"] }"#, &[]),
        // Of one operand with different units nothing is known.
        (r#"{ any-of = ["recipient isPartOf customers", "recipient eq urn:b"] }"#, &[]),
    ];
    for (when, expected) in table {
        let text = format!("{head}{permit}when = [{when}]\n");
        let expected: Vec<_> = expected.iter().map(|code| (*code, 8)).collect();
        assert_eq!(found(&text), expected, "{when}");
        // A condition of a prohibition is looked at in the same way.
        let text = format!("{head}{permit}[[prohibit]]\nactions = [\"print\"]\nwhen = [{when}]\n");
        let expected: Vec<_> = expected.iter().map(|(code, _)| (*code, 10)).collect();
        assert_eq!(found(&text), expected, "{when} in a prohibition");
    }
}

fn found_in(files: &[(&str, &str)]) -> Vec<(&'static str, String, usize)> {
    let findings = lint(&site(files), options());
    findings.iter().for_each(is_said_in_japanese);
    findings
        .into_iter()
        .map(|finding| (finding.code, finding.diagnostic.file, finding.diagnostic.line))
        .collect()
}

#[test]
fn what_only_shows_beside_other_files_is_found() {
    let policy = |who: &str, what: &str, rest: &str| {
        format!("title = \"t\"\n[who]\n{who}\n[what]\n{what}\n{rest}\n")
    };
    let (customers, cfp) = ("groups = [\"customers\"]", "tags = [\"cfp\"]");
    let printing = "[[permit]]\nactions = [\"print\"]";
    let prints = policy(customers, cfp, printing);
    let not_printing = "[[permit]]\nactions = [\"use\"]\n[[prohibit]]\nactions = [\"print\"]";
    let conflict = ("conflicting-terms", "a.toml".to_owned(), 6);
    let table: [(String, Vec<_>); 5] = [
        (policy(customers, cfp, not_printing), vec![conflict.clone()]),
        // The same dataset by its id, which is published with the tag.
        (policy(customers, "datasets = [\"part-b\"]", not_printing), vec![conflict]),
        (policy("partners = [\"urn:c\"]", cfp, not_printing), vec![]),
        // Not wherever the other permits.
        (policy(customers, cfp, &format!("{not_printing}\nwhen = [\"count gt 3\"]")), vec![]),
        // Part of what is permitted is prohibited: that is what policies are for.
        (
            policy(
                customers,
                cfp,
                "[[permit]]\nactions = [\"use\"]\n[[prohibit]]\nactions = [\"display\"]",
            ),
            vec![],
        ),
    ];
    for (other, expected) in table {
        assert_eq!(found_in(&[("a.toml", &prints), ("b.toml", &other)]), expected, "{other}");
    }
    let uses =
        policy(customers, cfp, "[[permit]]\nactions = [\"use\"]\nwhen = [\"spatial eq JP\"]");
    let restriction =
        |rest: &str| format!("[[prohibit]]\nactions = [\"use\"]\nreason = \"r\"\n{rest}\n");
    let restricted = vec![("restricted", "a.toml".to_owned(), 6)];
    let table = [
        ("", restricted.clone()),
        ("when = [\"spatial isAnyOf [JP, DE]\"]", restricted.clone()),
        ("when = [\"spatial isNoneOf [JP]\"]", vec![]),
        ("tags = [\"cfp\"]", restricted),
        ("tags = [\"drawing\"]", vec![]),
        ("partners = [\"urn:c\"]", vec![]),
        ("partners = [\"urn:x\"]", vec![("unknown-partner", "restrictions.toml".to_owned(), 1)]),
        (
            "when = [\"count lt 3\", \"count gt 4\"]",
            vec![("never-holds", "restrictions.toml".to_owned(), 1)],
        ),
        (
            "when = [\"dateTime lt 2026-01-01T00:00:00Z\"]",
            vec![("over", "restrictions.toml".to_owned(), 1)],
        ),
    ];
    for (rest, expected) in table {
        let text = restriction(rest);
        let files = [("a.toml", uses.as_str()), ("restrictions.toml", &text)];
        assert_eq!(found_in(&files), expected, "{rest}");
    }
}

#[test]
fn what_nobody_can_use_or_do_is_found() {
    let head = "title = \"t\"\n[who]\ngroups = [\"customers\"]\n[what]\ntags = [\"cfp\"]\n";
    let permit = "[[permit]]\nactions = [\"use\"]\n";
    let valid = "[valid]\nfrom = 2026-07-01T00:00:00Z\n";
    let table = [
        (format!("{permit}when = [\"spatial eq DE\"]\n"), vec![("unusable", 8)]),
        (format!("{permit}when = [\"recipient eq urn:c\"]\n"), vec![("unusable", 8)]),
        (
            format!("{permit}when = [\"spatial eq DE\"]\n{permit}when = [\"spatial eq JP\"]\n"),
            vec![],
        ),
        // What is known of a dataset decides later.
        (format!("{permit}when = [\"fileFormat eq text/csv\"]\n"), vec![]),
        (format!("{permit}when = [\"dateTime gteq 2030-01-01T00:00:00Z\"]\n"), vec![]),
        (
            format!("{valid}{permit}[[duty]]\naction = \"delete\"\nby = 2026-07-01T00:00:00Z\n"),
            vec![("duty-impossible", 10)],
        ),
        (
            format!(
                "{valid}{permit}[[duty]]\naction = \"delete\"\nby = 2026-07-01T00:00:00.001Z\n"
            ),
            vec![],
        ),
        (
            format!(
                "{permit}[[duty]]\naction = \"delete\"\nwithin = \"P1D\"\notherwise = [{{ action = \"compensate\", by = 2026-01-01T00:00:00Z }}]\n"
            ),
            vec![("duty-impossible", 8)],
        ),
        (
            format!(
                "{permit}[[prohibit]]\nactions = [\"print\"]\nwhen = [\"dateTime lt 2026-01-01T00:00:00Z\"]\n"
            ),
            vec![("over", 10)],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(found(&format!("{head}{text}")), expected, "{text}");
    }
    let borne = r#"{
      "target": "cfp", "assignee": "customers",
      "permission": [{ "action": "use" }],
      "obligation": [
        { "action": "delete", "assignee": "urn:nobody" },
        { "action": { "@id": "delete", "refinement": [{ "or": [
          { "leftOperand": "fileFormat", "operator": "eq", "rightOperand": "text/csv" } ] }] } }
      ]
    }"#;
    let findings = found_in(&[("d.json", borne)]);
    let expected = [("unknown-partner", 5), ("duty-impossible", 6)];
    assert_eq!(findings, expected.map(|(code, line)| (code, "d.json".to_owned(), line)));
}

#[test]
fn every_finding_has_a_place_and_a_remedy() {
    let text = "title = \"t\"\n[who]\npartners = [\"urn:x\"]\n[what]\ntags = [\"no\"]\n[[permit]]\nactions = [\"use\"]\nwhen = [\"count lt 1\", { any-of = [\"count gt 2\", \"count lteq 2\"] }]\n";
    let findings = lint(&site(&[("p.toml", text)]), options());
    assert!(findings.len() > 3);
    for Finding { code, diagnostic } in findings {
        let spot = (diagnostic.line > 0, diagnostic.column > 0, diagnostic.excerpt.is_empty());
        assert_eq!(spot, (true, true, false), "{code}");
        // Only a note about a tag says all there is to say.
        assert!(!diagnostic.help.is_empty() || diagnostic.severity == Severity::Note, "{code}");
    }
}

/// The files of the demonstration and of the guide, with the partners and datasets that they are written for.
#[test]
fn what_is_written_for_administrators_to_learn_from_has_no_finding() {
    let guide = include_str!("../../../docs/policy-guide.md");
    let mut files: Vec<(String, String)> = vec![
        (
            "demo-cfp.toml".into(),
            include_str!("../../../integration-tests/demo/policies/cfp.toml").into(),
        ),
        ("example.toml".into(), include_str!("../file/example.toml").into()),
    ];
    for block in guide.split("\n```") {
        let Some((head, body)) = block.split_once('\n') else { continue };
        let Some(name) = head.split_once(" policies/").map(|(_, name)| name) else { continue };
        // `paid.jsonld` is for a site that is not strict.
        if name != "wrong.toml" && name != "paid.jsonld" && !name.ends_with(".test.toml") {
            files.push((name.to_owned(), body.to_owned()));
        }
    }
    assert!(files.len() >= 6, "{}", files.len());
    let listed: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut site = site(&listed);
    let published = |id: &str, tags: &[&str], policies: &[&str]| Dataset {
        id: id.to_owned(),
        facts: crate::evaluate::Facts {
            collections: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..crate::evaluate::Facts::unpublished()
        },
        policies: policies.iter().map(|name| (*name).to_owned()).collect(),
        is_available: true,
        bounds: Vec::new(),
    };
    site.datasets.extend([
        published("cfp-part-b", &[], &["demo-cfp"]),
        published("drafts", &[], &[]),
        published("drawing-1", &["drawing"], &[]),
        published("forecast", &[], &[]),
        published("parts", &[], &[]),
    ]);
    let competitor = crate::evaluate::Subject {
        participant: "did:web:competitor.example".to_owned(),
        ..crate::evaluate::Subject::default()
    };
    site.partners.push(Partner { name: "k".to_owned(), is_active: true, subject: competitor });
    let shown: Vec<_> = (lint(&site, options()).iter())
        .filter(|finding| finding.diagnostic.severity > Severity::Note)
        .map(|finding| finding.diagnostic.to_string())
        .collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
}

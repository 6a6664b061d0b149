//! What is found, in which place, and that a policy in order has no finding.

use super::*;
use crate::inquiry::tests::{POLICY, site};

fn options() -> Options {
    Options { now: "2026-06-01T00:00:00Z".parse().unwrap(), knows_datasets: true }
}

fn found(text: &str) -> Vec<(&'static str, usize)> {
    let findings = lint(&site(&[("p.toml", text)]), options());
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
        (format!("{permit}when = [\"spatial eq JP\", \"spatial eq JP-13\"]"), vec![]),
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
        // One of two is no contradiction.
        (format!("{permit}when = [{{ any-of = [\"count lteq 3\", \"count gt 3\"] }}]"), vec![]),
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

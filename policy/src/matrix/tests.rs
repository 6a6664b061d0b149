//! Who may do what, and what an edit changes for whom.

use super::*;
use crate::inquiry::tests::{POLICY, site};

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

#[test]
fn the_matrix_says_who_may_do_what_and_under_which_terms() {
    let site = site(&[("cfp.toml", POLICY)]);
    let entries = matrix(&site, &["use".to_owned(), "distribute".to_owned()].into(), now());
    let shown: Vec<_> = (entries.iter())
        .map(|entry| (entry.partner.as_str(), entry.action.as_str(), entry.outcome.permitted))
        .collect();
    assert_eq!(
        shown,
        [
            ("b", "distribute", false),
            ("b", "use", true),
            ("c", "distribute", false),
            ("c", "use", false)
        ]
    );
    let outcome = &entries[1].outcome;
    assert_eq!(outcome.policies, ["cfp"]);
    assert_eq!(outcome.purposes, ["audit".to_owned(), "cfp-reporting".to_owned()].into());
    assert_eq!(
        outcome.terms,
        [
            "count lteq 10",
            "spatial isAnyOf [JP, DE]",
            "dateTime lt 2027-01-01T00:00:00Z",
            "before: obtain consent",
            "duty: delete within 30 days of the agreement",
        ]
    );
    assert_eq!(outcome.until, Some("2027-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(entries[0].outcome.ground.as_deref(), Some("prohibited by `distribute`"));
}

#[test]
fn a_table_for_spreadsheets_is_quoted() {
    let mut entry = Entry {
        partner: "=cmd()".to_owned(),
        dataset: "a,b".to_owned(),
        action: "use".to_owned(),
        outcome: Outcome { permitted: true, ..Outcome::default() },
    };
    entry.outcome.terms = vec!["recipient eq 'a \"b\"'".to_owned()];
    let text = csv(&[entry]);
    let lines: Vec<_> = text.split("\r\n").collect();
    assert_eq!(
        lines[0],
        "partner,dataset,action,permitted,policies,purposes,except,terms,until,reason"
    );
    assert_eq!(lines[1], "'=cmd(),\"a,b\",use,yes,,,,\"recipient eq 'a \"\"b\"\"'\",,");
}

#[test]
fn a_difference_names_whom_it_concerns_and_of_what_kind_it_is() {
    let old = site(&[("cfp.toml", POLICY)]);
    let kinds = |text: &str| -> Vec<_> {
        let new = site(&[("cfp.toml", text)]);
        let found = diff(&old, &new, now());
        found.changes.into_iter().map(|change| (change.partner, change.kind)).collect()
    };
    let changed = |from: &str, to: &str| {
        assert!(POLICY.contains(from));
        POLICY.replacen(from, to, 1)
    };
    let b = |kind| vec![("b".to_owned(), kind)];
    assert_eq!(kinds(POLICY), []);
    assert_eq!(kinds(&changed("Carbon footprint", "Another title")), []);
    assert_eq!(kinds(&changed("count lteq 10", "count lteq 11")), b(DifferenceKind::Terms));
    assert_eq!(kinds(&changed(", audit", "")), b(DifferenceKind::Purposes));
    assert_eq!(kinds(&changed("2027-01-01", "2026-01-01")), b(DifferenceKind::Withdrawn));
    let removed = diff(&old, &site(&[]), now());
    assert_eq!(removed.changes[0].kind, DifferenceKind::Withdrawn);
    assert_eq!(diff(&site(&[]), &old, now()).changes[0].kind, DifferenceKind::Granted);
}

/// A policy for part-b with these lines behind its head.
fn policy(lines: &str) -> String {
    format!(
        "title = \"T\"\n[who]\npartners = [\"urn:b\"]\n[what]\ndatasets = [\"part-b\"]\n{lines}\n"
    )
}

/// What an administrator is told about the change: of which kind it is for which action, and what is not weighed.
fn told(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
    let found = diff(&site(old), &site(new), now());
    let changes =
        found.changes.iter().map(|change| format!("{} {}", change.kind.name(), change.action));
    changes.chain(found.unweighed.iter().map(ToString::to_string)).collect()
}

#[test]
fn whatever_gives_more_is_told() {
    let permit = "[[permit]]\nactions = [\"use\"]";
    let limited = policy(&format!("{permit}\nwhen = [\"count lteq 10\"]"));
    let open = policy(permit);
    // A second policy with weaker terms for the same partner.
    assert_eq!(
        told(&[("a.toml", &limited)], &[("a.toml", &limited), ("b.toml", &open)]),
        ["terms use"]
    );
    // A second permission of the same policy.
    let alternative = format!("{limited}{permit}");
    assert_eq!(told(&[("a.toml", &limited)], &[("a.toml", &alternative)]), ["terms use"]);
    // A prohibition that is gone, of an action that no permission names.
    let kept = policy(&format!("{permit}\n[[prohibit]]\nactions = [\"distribute\"]"));
    assert_eq!(told(&[("a.toml", &kept)], &[("a.toml", &open)]), ["granted distribute"]);
    // Purposes that are named to be left out.
    let none_of =
        |names: &str| policy(&format!("{permit}\nwhen = [\"purpose isNoneOf [{names}]\"]"));
    let (both, one) = (none_of("marketing, profiling"), none_of("marketing"));
    assert_eq!(told(&[("a.toml", &both)], &[("a.toml", &one)]), ["purposes use"]);
    assert_eq!(told(&[("a.toml", &one)], &[("a.toml", &open)]), ["purposes use"]);
    let prohibited = policy(&format!(
        "{permit}\n[[prohibit]]\nactions = [\"use\"]\nwhen = [\"purpose eq marketing\"]"
    ));
    assert_eq!(told(&[("a.toml", &prohibited)], &[("a.toml", &open)]), ["purposes use"]);
    // Nobody has to agree any more.
    let manual = policy(&format!("[offer]\nhandling = \"manual\"\n{permit}"));
    assert_eq!(told(&[("a.toml", &manual)], &[("a.toml", &open)]), ["terms use"]);
    // An infringement costs nothing any more.
    let remedy = |line: &str| format!("{permit}\n[[prohibit]]\nactions = [\"distribute\"]\n{line}");
    let remedied = policy(&remedy("remedy = [\"compensate\"]"));
    assert_ne!(told(&[("a.toml", &remedied)], &[("a.toml", &kept)]), [""; 0]);
    // A restriction of the site, of a purpose that no policy names.
    let restriction =
        "[[prohibit]]\nreason = \"r\"\nactions = [\"use\"]\nwhen = [\"purpose eq marketing\"]\n";
    let restricted = [("a.toml", open.as_str()), ("restrictions.toml", restriction)];
    let found = told(&restricted, &[("a.toml", &open)]);
    assert_eq!(found.first().map(String::as_str), Some("purposes use"));
}

#[test]
fn what_no_outcome_shows_is_told_as_such() {
    let permit = "[[permit]]\nactions = [\"use\"]";
    let open = policy(permit);
    let late = policy(&format!("[valid]\nfrom = 2026-12-01T00:00:00Z\n{permit}"));
    let text = "for b on part-b, in what a first use at this instant does not show, such as a time yet to come: read both versions";
    assert_eq!(told(&[], &[("late.toml", &late)]), [format!("policy late is new, {text}")]);
    let elsewhere = open.replace("datasets = [\"part-b\"]", "tags = [\"none-yet\"]");
    assert_eq!(
        told(&[], &[("a.toml", &elsewhere)]),
        ["policy a is new, and concerns no partner and dataset that there are now"]
    );
    let restriction =
        "[[prohibit]]\nreason = \"r\"\nactions = [\"distribute\"]\npartners = [\"urn:c\"]\n";
    let restricted = [("a.toml", open.as_str()), ("restrictions.toml", restriction)];
    assert_eq!(
        told(&restricted, &[("a.toml", &open)]),
        ["the site's restrictions are not the same: compare both versions of restrictions.toml"]
    );
    assert_eq!(told(&restricted, &restricted), [""; 0]);
}

#[test]
fn a_restriction_of_a_purpose_stops_the_agreements_for_it_alone() {
    let restriction =
        "[[prohibit]]\nreason = \"r\"\nactions = [\"use\"]\nwhen = [\"purpose eq marketing\"]\n";
    let site = site(&[("restrictions.toml", restriction)]);
    let (partner, dataset) = (site.partner("b").unwrap(), site.datasets.first().unwrap());
    let stop = |purpose: &str| stopped(&site, partner, dataset, &[purpose.to_owned()], now());
    assert_eq!(stop("audit"), None);
    assert!(stop("marketing").is_some());
}

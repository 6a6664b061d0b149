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
            "before: obtainConsent",
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
    assert_eq!(lines[0], "partner,dataset,action,permitted,policies,purposes,terms,until,reason");
    assert_eq!(lines[1], "'=cmd(),\"a,b\",use,yes,,,\"recipient eq 'a \"\"b\"\"'\",,");
}

#[test]
fn a_difference_names_whom_it_concerns_and_of_what_kind_it_is() {
    let old = site(&[("cfp.toml", POLICY)]);
    let kinds = |text: &str| -> Vec<_> {
        let new = site(&[("cfp.toml", text)]);
        let found = diff(&old, &new, now());
        found.into_iter().map(|change| (change.partner, change.kind)).collect()
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
    assert_eq!(removed[0].kind, DifferenceKind::Withdrawn);
    assert_eq!(diff(&site(&[]), &old, now())[0].kind, DifferenceKind::Granted);
}

//! What an administrator is told: the verdict, the deciding clause in its place, and what would change it.

use super::*;
use crate::explain::Language;
use crate::set::{Groups, Purposes, Source};

pub(crate) const POLICY: &str = r#"title = "Carbon footprint"
[who]
groups = ["customers"]
[what]
tags = ["cfp"]
[valid]
until = 2027-01-01T00:00:00Z
[[permit]]
actions = ["use"]
requires = ["obtainConsent"]
when = [
  "purpose isAnyOf [cfp-reporting, audit]",
  "count lteq 10",
  "spatial isAnyOf [JP, DE]",
]
[[prohibit]]
actions = ["distribute"]
[[duty]]
action = "delete"
within = "P30D"
"#;

pub(crate) fn site(files: &[(&str, &str)]) -> Site {
    let groups = Groups::from([("customers".to_owned(), ["urn:b".to_owned()].into())]);
    let sources: Vec<_> = (files.iter())
        .map(|(name, text)| Source { name: (*name).to_owned(), bytes: text.as_bytes().to_vec() })
        .collect();
    let rules = RuleSet::compile(&sources, &groups, &Purposes::default())
        .unwrap_or_else(|found| panic!("{}", found[0]));
    let partner = |name: &str, groups: &[&str], region: Option<&str>| Partner {
        name: name.to_owned(),
        is_active: true,
        subject: Subject {
            participant: format!("urn:{name}"),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            region: region.map(str::to_owned),
            ..Subject::default()
        },
    };
    let dataset = Dataset {
        id: "part-b".to_owned(),
        facts: Facts { collections: ["cfp".to_owned()].into(), ..Facts::unpublished() },
        is_available: true,
        ..Dataset::default()
    };
    Site {
        rules,
        partners: vec![partner("b", &["customers"], Some("JP")), partner("c", &[], None)],
        datasets: vec![dataset],
    }
}

pub(crate) fn may() -> Question {
    let mut question = Question::at("2026-06-01T00:00:00Z".parse().unwrap());
    question.purpose = Some("audit".to_owned());
    question.done = ["obtainConsent".to_owned()].into();
    question
}

fn ask_about(partner: &str, question: &Question) -> Answer {
    let site = site(&[("cfp.toml", POLICY)]);
    ask(&site, site.partner(partner).unwrap(), &site.dataset("part-b").unwrap(), question)
}

#[test]
fn a_permit_names_its_permission_and_its_end() {
    let answer = ask_about("b", &may());
    let Verdict::Permit { policy, clause, until } = &answer.verdict else { panic!("{answer:?}") };
    assert_eq!((policy.as_str(), clause.file.as_str(), clause.spot.line), ("cfp", "cfp.toml", 8));
    assert_eq!(until.unwrap().to_string(), "2027-01-01T00:00:00Z");
}

#[test]
fn a_refusal_names_its_clause_in_its_place_and_what_would_change_it() {
    let late = "2027-02-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2026-12-31T23:59:59Z".parse().unwrap();
    // The question, the line of the deciding clause, its text, the changes.
    let table = [
        (
            Question { purpose: Some("marketing".to_owned()), ..may() },
            12,
            "purpose isAnyOf [cfp-reporting, audit]",
            vec![Change::Purpose("audit".to_owned()), Change::Purpose("cfp-reporting".to_owned())],
        ),
        (Question { uses: 10, ..may() }, 13, "count lteq 10", vec![Change::FewerUses]),
        (
            Question { at: late, ..may() },
            7,
            "dateTime lt 2027-01-01T00:00:00Z",
            vec![Change::At(end)],
        ),
        (
            Question { done: BTreeSet::new(), ..may() },
            10,
            "obtainConsent",
            vec![Change::Done(["obtainConsent".to_owned()].into())],
        ),
        (Question { action: "distribute".to_owned(), ..may() }, 16, "distribute", vec![]),
        (Question { action: "sell".to_owned(), ..may() }, 8, "no permission covers `sell`", vec![]),
        // Two conditions fail: no single change helps.
        (
            Question { uses: 10, purpose: Some("marketing".to_owned()), ..may() },
            12,
            "purpose isAnyOf [cfp-reporting, audit]",
            vec![],
        ),
    ];
    for (question, line, text, changes) in table {
        let answer = ask_about("b", &question);
        let clause = answer.verdict.clause().unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!((clause.spot.line, clause.text.as_str()), (line, text), "{question:?}");
        assert_eq!(answer.changes, changes, "{question:?}");
    }
}

#[test]
fn to_whom_nothing_is_offered_is_told_who_would_be() {
    let answer = ask_about("c", &may());
    assert_eq!(
        answer.verdict,
        Verdict::NotOffered { hidden: vec!["cfp".to_owned()], barred: Vec::new() }
    );
    // It has no region either, so naming it alone would not do.
    assert_eq!(answer.changes, []);
    let mut site = site(&[("cfp.toml", POLICY)]);
    site.partners[1].subject.region = Some("DE".to_owned());
    let dataset = site.dataset("part-b").unwrap();
    let answer = ask(&site, &site.partners[1], &dataset, &may());
    let named = Change::Named { policy: "cfp".to_owned() };
    assert_eq!(answer.changes, [Change::Group("customers".to_owned()), named]);
}

#[test]
fn a_suspended_partner_and_a_withdrawn_dataset_are_refused_whatever_the_policy_says() {
    let mut site = site(&[("cfp.toml", POLICY)]);
    let dataset = site.dataset("part-b").unwrap();
    let withdrawn = Dataset { is_available: false, ..dataset.clone() };
    let answer = ask(&site, &site.partners[0], &withdrawn, &may());
    assert_eq!((answer.verdict, answer.changes), (Verdict::Withdrawn, vec![]));
    site.partners[0].is_active = false;
    let answer = ask(&site, &site.partners[0], &dataset, &may());
    assert_eq!((answer.verdict, answer.changes), (Verdict::Suspended, vec![Change::Resumed]));
}

#[test]
fn a_restriction_is_named_with_its_place() {
    let restriction =
        "title = \"hold\"\n\n[[prohibit]]\nactions = [\"use\"]\nreason = \"export hold\"\n";
    let site = site(&[("cfp.toml", POLICY), ("restrictions.toml", restriction)]);
    let answer = ask(&site, &site.partners[0], &site.dataset("part-b").unwrap(), &may());
    let clause = answer.verdict.clause().unwrap();
    assert_eq!((clause.file.as_str(), clause.spot.line), ("restrictions.toml", 3));
    let text =
        render(&site, &site.partners[0], &site.datasets[0], &may(), &answer, Language::Japanese);
    assert!(text.contains("理由: export hold"), "{text}");
}

#[test]
fn the_first_policy_that_permits_decides_in_the_order_of_priorities() {
    let open = "title = \"o\"\n[who]\nanyone-registered = true\n[what]\ntags = [\"cfp\"]\n[[permit]]\nactions = [\"use\"]\n";
    for (priority, expected) in [(1, "open"), (0, "cfp"), (-1, "cfp")] {
        let open = format!("priority = {priority}\n{open}");
        let site = site(&[("cfp.toml", POLICY), ("open.toml", &open)]);
        let answer = ask(&site, &site.partners[0], &site.dataset("part-b").unwrap(), &may());
        assert_eq!(answer.verdict.policy(), Some(expected), "{priority}");
    }
}

#[test]
fn an_answer_reads_like_a_compilers_message() {
    let site = site(&[("cfp.toml", POLICY)]);
    let (partner, dataset) = (&site.partners[0], site.dataset("part-b").unwrap());
    let question = Question { uses: 10, ..may() };
    let answer = ask(&site, partner, &dataset, &question);
    let english = render(&site, partner, &dataset, &question, &answer, Language::English);
    let expected = "\
Denied: `b`, action \"use\", dataset `part-b` for the purpose `audit`, at 2026-06-01T00:00:00Z.

note: `count lteq 10` does not hold: this would be use 11
  --> cfp.toml:13:3
   |
13 |   \"count lteq 10\",
   |   ^^^^^^^^^^^^^^^

What would change the answer:
  - raise the limit of uses in the policy";
    assert_eq!(english, expected);
    let japanese = render(&site, partner, &dataset, &question, &answer, Language::Japanese);
    let expected = "\
拒否: 取引先「b」、行為「利用(use)」、データセット「part-b」、利用目的「audit」、日時 2026-06-01T00:00:00Z。

注記: 条件を満たしません: 利用回数が 10 以下であること
  --> cfp.toml:13:3
   |
13 |   \"count lteq 10\",
   |   ^^^^^^^^^^^^^^^

結果が変わる条件:
  - ポリシーの利用回数の上限を上げる";
    assert_eq!(japanese, expected);
}

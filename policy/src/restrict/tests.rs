//! Restrictions end what they prohibit, for whom and what they name, and grant nothing.

use super::*;
use crate::evaluate::{Phase, PreviousUse, Subject};
use crate::set::{Groups, Purposes, Source};

const POLICY: &str =
    "title = \"t\"\n[who]\nanyone-registered = true\n[[permit]]\nactions = [\"use\"]\n";

fn set(restrictions: &str) -> RuleSet {
    let groups = Groups::from([("suppliers".to_owned(), ["urn:s".to_owned()].into())]);
    let files = [("p.toml", POLICY), (crate::file::RESTRICTIONS_FILE, restrictions)];
    let sources =
        files.map(|(name, text)| Source { name: name.to_owned(), bytes: text.as_bytes().to_vec() });
    RuleSet::compile(&sources, &groups, &Purposes::default()).unwrap()
}

fn judge(
    set: &RuleSet,
    participant: &str,
    region: Option<&str>,
    tags: &[&str],
    phase: Phase,
) -> Evaluation {
    let subject = Subject {
        participant: participant.to_owned(),
        groups: set.groups_of(participant),
        region: region.map(str::to_owned),
        ..Subject::default()
    };
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    let world = World {
        earlier_uses: Some(0),
        previous_use: PreviousUse::Never,
        agreed_at: Some("2026-11-01T00:00:00Z".parse().unwrap()),
        ..World::new(now, &subject, set.purposes())
    };
    let request = Request { action: "use", target: "urn:d", purposes: &[], phase };
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let policy = set.policy("p").unwrap();
    restrict(set, &tags, &request, &world, evaluate(&policy.template, &request, &world))
}

#[test]
fn a_restriction_denies_whom_and_what_it_names() {
    let head = "[[prohibit]]\nactions = [\"use\"]\nreason = \"hold\"\n";
    // What the restriction says besides, participant, region, tags, whether it is permitted.
    let table = [
        ("", "urn:s", None, &[][..], false),
        ("groups = [\"suppliers\"]", "urn:s", None, &[], false),
        ("groups = [\"suppliers\"]", "urn:o", None, &[], true),
        ("partners = [\"urn:o\"]", "urn:o", None, &[], false),
        ("except-groups = [\"suppliers\"]", "urn:s", None, &[], true),
        ("except-groups = [\"suppliers\"]", "urn:o", None, &[], false),
        ("datasets = [\"urn:d\"]", "urn:s", None, &[], false),
        ("datasets = [\"urn:e\"]", "urn:s", None, &[], true),
        ("tags = [\"controlled\"]", "urn:s", None, &["controlled"], false),
        ("tags = [\"controlled\"]", "urn:s", None, &["other"], true),
        ("when = [\"spatial isNoneOf [JP]\"]", "urn:s", Some("JP"), &[], true),
        ("when = [\"spatial isNoneOf [JP]\"]", "urn:s", Some("US"), &[], false),
        // A region that is not known is not known to be allowed.
        ("when = [\"spatial isNoneOf [JP]\"]", "urn:s", None, &[], false),
    ];
    for (more, participant, region, tags, permitted) in table {
        let set = set(&format!("{head}{more}\n"));
        let found = judge(&set, participant, region, tags, Phase::Data);
        assert_eq!(found.is_permit(), permitted, "{more} for {participant} in {region:?}");
        if !permitted {
            let ground = found.ground.unwrap();
            assert!(
                matches!(&ground, Ground::Restricted { reason, .. } if reason == "hold"),
                "{ground}"
            );
        }
    }
}

#[test]
fn a_restriction_that_begins_says_when_to_ask_again() {
    let set = set(
        "[[prohibit]]\nactions = [\"use\"]\nreason = \"hold\"\nwhen = [\"dateTime gteq 2026-12-01T00:00:00Z\"]\n",
    );
    let found = judge(&set, "urn:s", None, &[], Phase::Data);
    assert!(found.is_permit());
    assert_eq!(found.until, Some("2026-12-01T00:00:00Z".parse().unwrap()));
}

#[test]
fn a_set_with_restrictions_is_stored_with_them() {
    let set = set("[[prohibit]]\nactions = [\"use\"]\nreason = \"hold\"\n");
    let stored = serde_json::to_string(&set).unwrap();
    let again: RuleSet = serde_json::from_str(&stored).unwrap();
    assert_eq!(again.restrictions(), set.restrictions());
    assert_eq!(again.hash(), set.hash());
}

//! Sets: what rules, who sees it, and that it comes back the same.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn policy_text(who: &str, what: &str, count: u32) -> Vec<u8> {
    format!(
        "title = \"t\"\n[who]\n{who}\n[what]\n{what}\n[[permit]]\nactions = [\"use\"]\nwhen = [\"count lteq {count}\"]\n"
    )
    .into_bytes()
}

fn source(name: &str, bytes: Vec<u8>) -> Source {
    Source { name: name.to_owned(), bytes }
}

fn groups() -> Groups {
    Groups::from([("customers".to_owned(), BTreeSet::from(["did:web:a.example".to_owned()]))])
}

fn compile(sources: &[Source]) -> RuleSet {
    RuleSet::compile(sources, &groups(), &Purposes::default()).unwrap()
}

fn three() -> Vec<Source> {
    vec![
        source(
            "named.toml",
            policy_text("partners = [\"did:web:a.example\"]", "datasets = [\"urn:d\"]", 1),
        ),
        source("tagged.toml", policy_text("groups = [\"customers\"]", "tags = [\"cfp\"]", 2)),
        source("plain.toml", policy_text("anyone-registered = true", "", 3)),
    ]
}

fn subject(participant: &str, groups: BTreeSet<String>) -> Subject {
    Subject { participant: participant.to_owned(), groups, ..Subject::default() }
}

#[test]
fn policies_are_found_by_dataset_tag_and_name() {
    let set = compile(&three());
    let names = |dataset: &str, tags: &[&str], assigned: &[&str]| -> Vec<String> {
        let found = set.policies_for(dataset, tags.iter().copied(), assigned.iter().copied());
        found.into_iter().map(|policy| policy.name.clone()).collect()
    };
    assert_eq!(names("urn:d", &[], &[]), ["named"]);
    assert_eq!(
        names("urn:d", &["cfp"], &["plain", "named", "missing"]),
        ["named", "plain", "tagged"]
    );
    assert!(names("urn:other", &["other"], &[]).is_empty());
}

#[test]
fn only_the_audience_sees_an_offer() {
    let set = compile(&three());
    let customer = subject("did:web:a.example", set.groups_of("did:web:a.example"));
    let stranger = subject("did:web:c.example", set.groups_of("did:web:c.example"));
    let visible = |subject: &Subject, action: &str| -> BTreeSet<String> {
        set.visible_to(subject, action).map(|policy| policy.name.clone()).collect()
    };
    let all = ["named", "plain", "tagged"].map(str::to_owned);
    assert_eq!(visible(&customer, "use"), BTreeSet::from(all));
    assert_eq!(visible(&stranger, "use"), BTreeSet::from(["plain".to_owned()]));
    assert!(visible(&customer, "sell").is_empty());
}

proptest! {
    /// What the index finds for a subject is what asking every policy finds.
    #[test]
    fn the_index_of_audiences_leaves_out_and_adds_nothing(
        audiences in prop::collection::vec((any::<bool>(), 0_u8..8, 0_u8..8, 0_u8..8, 0_u8..8), 1..12),
        (participant, member_of) in (0_usize..3, 0_u8..8),
    ) {
        let list = |bits: u8, what: &str| {
            let members = (0..3).filter(|bit| bits & (1 << bit) != 0);
            members.map(|bit| format!("\"{what}{bit}\"")).collect::<Vec<_>>().join(", ")
        };
        // A policy for nobody is refused.
        let audiences = audiences.iter().filter(|(anyone, partners, groups, ..)| *anyone || partners | groups != 0);
        let sources: Vec<_> = audiences.enumerate().map(|(number, (anyone, partners, groups, no_partner, no_group))| {
            let who = format!(
                "anyone-registered = {anyone}\npartners = [{}]\ngroups = [{}]\nexcept-partners = [{}]\nexcept-groups = [{}]",
                list(*partners, "did:web:p"), list(*groups, "g"), list(*no_partner, "did:web:p"), list(*no_group, "g"),
            );
            source(&format!("p{number}.toml"), policy_text(&who, "", 1))
        }).collect();
        let groups = (0..3).map(|bit| (format!("g{bit}"), BTreeSet::new())).collect();
        let set = RuleSet::compile(&sources, &groups, &Purposes::default()).unwrap();
        let member_of = (0..3).filter(|bit| member_of & (1 << bit) != 0).map(|bit| format!("g{bit}"));
        let subject = subject(&format!("did:web:p{participant}"), member_of.collect());
        let names = |policy: &Arc<CompiledPolicy>| policy.name.clone();
        let asked = set.policies().filter(|policy| policy.is_visible_to(&subject));
        let asked: BTreeSet<_> = asked.map(names).collect();
        prop_assert_eq!(set.visible_to(&subject, "use").map(names).collect::<BTreeSet<_>>(), asked);
    }
}

#[test]
fn an_offer_is_known_by_its_terms_and_dataset() {
    let set = compile(&three());
    let policy = set.policy("plain").unwrap();
    let offer = policy.offer_for("urn:d", "did:web:b.example");
    assert_eq!(offer["@type"], "Offer");
    assert_eq!(offer["assigner"], "did:web:b.example");
    assert!(offer.get("target").is_none() && offer.get("obligation").is_none());
    assert_eq!(policy.message_offer_for("urn:d", "did:web:b.example")["target"], "urn:d");
    assert_ne!(policy.offer_id("urn:d"), policy.offer_id("urn:e"));
    assert_eq!(
        policy.offer_id("urn:d"),
        compile(&three()).policy("plain").unwrap().offer_id("urn:d")
    );
    let edited = compile(&[source("plain.toml", policy_text("anyone-registered = true", "", 4))]);
    assert_ne!(policy.offer_id("urn:d"), edited.policy("plain").unwrap().offer_id("urn:d"));
    // Who sees it is not part of the terms.
    let moved = compile(&[source("plain.toml", policy_text("groups = [\"customers\"]", "", 3))]);
    assert_eq!(policy.hash, moved.policy("plain").unwrap().hash);
}

#[test]
fn a_set_comes_back_from_its_stored_form() {
    let set = compile(&three());
    let stored = serde_json::to_value(&set).unwrap();
    let again: RuleSet = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(again.hash(), set.hash());
    assert_eq!(again.policies().count(), 3);
    assert!(again.unreadable().is_empty());
    let mut later = stored;
    later["version"] = json!(2);
    assert!(serde_json::from_value::<RuleSet>(later).is_err());
}

#[test]
fn every_part_changes_the_hash() {
    let set = compile(&three());
    let fewer = compile(&three()[..2]);
    let mut more = groups();
    more.insert("suppliers".to_owned(), BTreeSet::new());
    let regrouped = RuleSet::compile(&three(), &more, &Purposes::default()).unwrap();
    let hashes =
        BTreeSet::from([set.hash(), fewer.hash(), regrouped.hash(), RuleSet::empty().hash()]);
    assert_eq!(hashes.len(), 4);
}

#[test]
fn one_bad_file_refuses_the_set_and_all_findings_are_told() {
    let mut sources = three();
    sources.push(source("bad.toml", b"title = 1\n".to_vec()));
    sources.push(source(
        "plain.jsonld",
        br#"{"assignee":"customers","permission":[{"action":"use"}]}"#.to_vec(),
    ));
    let findings = RuleSet::compile(&sources, &groups(), &Purposes::default()).unwrap_err();
    assert!(findings.iter().any(|finding| finding.file == "bad.toml"));
    assert!(findings.iter().any(|finding| finding.message.contains("two policies named `plain`")));
}

#[test]
fn purposes_form_a_hierarchy_without_cycles() {
    let purposes = |listed: &[(&str, &[&str])]| {
        let listed = listed.iter().map(|(name, wider)| {
            let part_of = wider.iter().map(|name| (*name).to_owned()).collect();
            ((*name).to_owned(), Purpose { title: String::new(), part_of })
        });
        Purposes::new(listed.collect())
    };
    let known = purposes(&[("a", &["b"]), ("b", &["c"]), ("c", &[]), ("d", &["b", "c"])]).unwrap();
    assert!(known.is_within("a", "c") && known.is_within("d", "c") && known.is_within("x", "x"));
    assert!(!known.is_within("c", "a") && !known.is_within("a", "d"));
    assert!(known.knows("a") && !known.knows("x") && Purposes::default().knows("x"));
    let cycle = purposes(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]);
    assert!(matches!(cycle, Err(PurposesError::Cycle { .. })));
    assert!(matches!(purposes(&[("a", &["x"])]), Err(PurposesError::Unknown { .. })));
    let read: Purposes =
        serde_json::from_value(json!({ "a": { "part-of": ["b"] }, "b": {} })).unwrap();
    assert!(read.is_within("a", "b"));
}

#[test]
fn a_group_without_members_matches_nobody_and_is_warned_of() {
    let text = |who: &str| source("p.toml", policy_text(who, "datasets = [\"urn:d\"]", 1));
    let compile = |who: &str| RuleSet::compile(&[text(who)], &groups(), &Purposes::default());
    let set = compile("groups = [\"custmers\"]").unwrap();
    let customer = subject("did:web:a.example", set.groups_of("did:web:a.example"));
    assert!(!set.policy("p").unwrap().is_visible_to(&customer));
    let warnings = set.unknown_groups();
    assert_eq!(warnings.len(), 1);
    assert_eq!((warnings[0].severity, warnings[0].line), (crate::diagnostic::Severity::Warning, 3));
    assert!(warnings[0].help.contains("did you mean `customers`?"), "{}", warnings[0]);
    assert!(compile("groups = [\"customers\"]").unwrap().unknown_groups().is_empty());
    // The last member of a group that is left out may leave; a misspelt one would let in whom it was to keep out.
    let gone = compile("anyone-registered = true\nexcept-groups = [\"rivals\"]").unwrap();
    assert_eq!(gone.unknown_groups().len(), 1);
    let misspelt = compile("anyone-registered = true\nexcept-groups = [\"custmers\"]").unwrap_err();
    assert!(misspelt[0].help.contains("did you mean `customers`?"), "{}", misspelt[0]);
    let restricted = source(
        RESTRICTIONS_FILE,
        b"[[prohibit]]\nactions = [\"use\"]\nreason = \"r\"\ngroups = [\"custmers\"]\n".to_vec(),
    );
    assert!(RuleSet::compile(&[restricted], &groups(), &Purposes::default()).is_err());
}

#[test]
fn what_cannot_be_read_of_a_stored_set_denies_and_is_named() {
    let restrictions =
        source(RESTRICTIONS_FILE, b"[[prohibit]]\nactions = [\"sell\"]\nreason = \"r\"\n".to_vec());
    let mut sources = three();
    sources.push(restrictions);
    let written = serde_json::to_value(compile(&sources)).unwrap();
    let read = |file: &str, text: &str| -> RuleSet {
        let mut stored = written.clone();
        stored["files"][file] = json!(text);
        let set: RuleSet = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&set).unwrap(), stored, "its sources stay as they are");
        assert_ne!(set.hash(), compile(&sources).hash());
        set
    };
    let set = read("named.toml", "title = \"t\"\n[from-an-earlier-release]\n");
    assert!(set.policy("named").is_none() && set.policy("plain").is_some());
    assert!(set.policies_for("urn:d", [], ["named"]).is_empty());
    let found = &set.unreadable()[0];
    assert_eq!((found.file.as_str(), found.line), ("named.toml", 2));
    assert!(found.message.contains("from-an-earlier-release"), "{found}");

    let set = read(RESTRICTIONS_FILE, "[[prohibit]]\nactions = [\"unheard-of\"]\nreason = \"r\"\n");
    assert_eq!(set.unreadable()[0].file, RESTRICTIONS_FILE);
    let subject = subject("did:web:a.example", BTreeSet::new());
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    let world = crate::evaluate::World::new(now, &subject, set.purposes());
    let phase = crate::evaluate::Phase::Catalog;
    let request = crate::evaluate::Request { action: "use", target: "urn:d", purposes: &[], phase };
    let terms = &set.policy("plain").unwrap().template;
    let evaluation = crate::evaluate::evaluate(terms, &request, &world);
    assert!(evaluation.is_permit());
    let restricted =
        crate::restrict::restrict(&set, &BTreeSet::new(), &request, &world, evaluation);
    assert!(!restricted.is_permit(), "nobody knows what the restrictions said");
}

#[test]
fn a_clause_that_cannot_be_honoured_is_refused_at_its_place() {
    let text = "title = \"t\"\n[who]\nanyone-registered = true\n[[permit]]\nactions = [\"use\"]\nwhen = [\"count lteq 1\", \"product eq x\"]\n";
    let source = Source { name: "p.toml".to_owned(), bytes: text.as_bytes().to_vec() };
    let found = RuleSet::compile(&[source], &Groups::new(), &Purposes::default()).unwrap_err();
    assert_eq!((found.len(), found[0].line, found[0].column), (1, 6, 25), "{}", found[0]);
}

#[test]
fn a_clause_that_cannot_be_honoured_is_refused_or_denies_what_it_concerns() {
    let unknown = json!([{ "leftOperand": "payAmount", "operator": "gteq", "rightOperand": "5", "unit": "EUR" }]);
    let strange =
        json!([{ "leftOperand": "urn:example:mood", "operator": "eq", "rightOperand": "good" }]);
    // What the policy says besides, and whether the data may then be used, and printed.
    let table = [
        (json!({}), true, true),
        (
            json!({ "permission": [{ "action": "read" }, { "action": "print", "constraint": unknown }] }),
            true,
            false,
        ),
        (json!({ "permission": [{ "action": "use", "constraint": unknown }] }), false, false),
        (json!({ "permission": [{ "action": "use", "constraint": strange }] }), false, false),
        (json!({ "prohibition": [{ "action": "print", "constraint": strange }] }), true, false),
        (json!({ "prohibition": [{ "action": "sell", "constraint": unknown }] }), true, true),
        (json!({ "prohibition": [{ "action": "use", "constraint": unknown }] }), false, false),
        (json!({ "obligation": [{ "action": "urn:example:dance" }] }), false, false),
    ];
    for (more, read, print) in table {
        let mut policy = json!({ "assignee": "customers", "permission": [{ "action": "use" }], "conflict": "prohibit" });
        for (name, member) in more.as_object().unwrap() {
            policy[name] = member.clone();
        }
        let sources = [source("p.json", policy.to_string().into_bytes())];
        let strict = RuleSet::compile(&sources, &groups(), &Purposes::default());
        assert_eq!(strict.is_ok(), more == json!({}), "{more}");
        let set =
            RuleSet::compile_with(&sources, &groups(), &Purposes::default(), Unhonoured::Named)
                .unwrap();
        let stored = serde_json::to_value(&set).unwrap();
        let again: RuleSet = serde_json::from_value(stored).unwrap();
        assert_eq!(again.hash(), set.hash());
        if let Ok(strict) = strict {
            assert_ne!(strict.hash(), set.hash(), "the mode belongs to the set");
        }
        for set in [set, again] {
            let policy = set.policy("p").unwrap();
            let named = policy.clauses.iter().any(|clause| clause.class == Class::Refused);
            assert_eq!(named, more != json!({}), "{more}: it is named");
            for (action, expected) in [("read", read), ("print", print)] {
                let subject = subject("did:web:a.example", BTreeSet::new());
                let now = "2026-01-01T00:00:00Z".parse().unwrap();
                let world = crate::evaluate::World::new(now, &subject, set.purposes());
                let request = crate::evaluate::Request {
                    action,
                    target: "urn:d",
                    purposes: &[],
                    phase: crate::evaluate::Phase::Data,
                };
                let found = crate::evaluate::evaluate(&policy.template, &request, &world);
                assert_eq!(found.is_permit(), expected, "{more}: {action}: {:?}", found.ground);
            }
        }
    }
}

#[test]
fn a_policy_is_found_by_the_identifier_of_its_file() {
    let policy = json!({ "@id": "urn:example:next", "assignee": "customers", "permission": [{ "action": "use" }] });
    let set = compile(&[source("next.jsonld", policy.to_string().into_bytes())]);
    assert_eq!(set.by_uid("urn:example:next").map(|found| found.name.as_str()), Some("next"));
    assert!(set.by_uid("").is_none() && set.by_uid("urn:example:other").is_none());
}

#[test]
fn a_file_takes_over_what_the_files_of_its_ancestors_say() {
    let child = json!({
        "@id": "urn:child", "inheritFrom": "urn:parent", "target": "cfp", "assignee": "customers",
        "permission": [{ "action": "use" }],
    });
    let parent = json!({
        "@id": "urn:parent", "inheritFrom": "urn:grandparent", "assignee": "customers",
        "permission": [{ "action": "distribute" }], "prohibition": [{ "action": "sell" }],
    });
    let grandparent = json!({ "@id": "urn:grandparent", "assignee": "customers", "obligation": [{ "action": "delete" }], "permission": [{ "action": "print" }] });
    let files = |child: &Value, parent: &Value| {
        [("a.json", child), ("b.jsonld", parent), ("c.json", &grandparent)]
            .map(|(name, policy)| source(name, policy.to_string().into_bytes()))
    };
    let set = compile(&files(&child, &parent));
    let terms = &set.policy("a").unwrap().terms;
    assert_eq!(
        *terms,
        json!({
            "@type": "Set",
            "permission": [{ "action": "use" }, { "action": "distribute" }, { "action": "print" }],
            "prohibition": [{ "action": "sell" }],
            "obligation": [{ "action": "delete" }],
        })
    );
    let again: RuleSet = serde_json::from_value(serde_json::to_value(&set).unwrap()).unwrap();
    assert_eq!(&again.policy("a").unwrap().terms, terms);
    // What cannot be taken over is refused at `inheritFrom`.
    let refused = |change: fn(&mut Value, &mut Value), said: &str| {
        let (mut child, mut parent) = (child.clone(), parent.clone());
        change(&mut child, &mut parent);
        let findings =
            RuleSet::compile(&files(&child, &parent), &groups(), &Purposes::default()).unwrap_err();
        let found = findings.iter().find(|found| found.message.contains(said));
        let found = found.unwrap_or_else(|| panic!("{said}: {findings:?}"));
        assert!(
            found.excerpt.get(found.column - 1..).unwrap().starts_with("\"inheritFrom\""),
            "{found}"
        );
    };
    refused(|child, _| child["inheritFrom"] = json!("urn:nobody"), "`urn:nobody`, which is not");
    refused(
        |_, parent| parent["inheritFrom"] = json!("urn:parent"),
        "itself by way of `urn:parent`",
    );
    refused(|_, parent| parent["target"] = json!("pcf"), "about `pcf`, and it is about another");
}

#[test]
fn an_identifier_is_that_of_one_file() {
    let policy = |action: &str| json!({ "@id": "urn:p", "assignee": "customers", "permission": [{ "action": action }] });
    let child = json!({ "inheritFrom": "urn:p", "assignee": "customers", "permission": [{ "action": "use" }] });
    let sources = [
        source("a.json", policy("use").to_string().into_bytes()),
        source(
            "b.json",
            format!("\u{FEFF}{{\n  {}", policy("print").to_string().trim_start_matches('{'))
                .into_bytes(),
        ),
        source("c.json", child.to_string().into_bytes()),
    ];
    let findings = RuleSet::compile(&sources, &groups(), &Purposes::default()).unwrap_err();
    let twice = findings.iter().find(|found| found.message.contains("a.json:1:2")).unwrap();
    assert_eq!((twice.file.as_str(), twice.line, twice.column), ("b.json", 2, 3), "{twice}");
    // Neither is inherited from.
    assert!(findings.iter().any(|found| found.file == "c.json"), "{findings:?}");
}

#[test]
fn the_next_policy_is_bound_by_what_its_file_says() {
    let next =
        json!({ "@id": "urn:next", "assignee": "customers", "permission": [{ "action": "use" }] });
    let head = "title = \"t\"\n[who]\nanyone-registered = true\n[what]\ntags = [\"cfp\"]\n";
    let requires = |duty: &str| {
        format!("{head}[[permit]]\nactions = [\"use\", \"distribute\"]\nrequires = [{duty}]\n")
    };
    let toml = requires(r#"{ action = "nextPolicy", policy = "urn:next" }"#);
    let odrl = json!({
        "assignee": "customers",
        "permission": [{ "action": "use" }],
        "obligation": [{ "action": "nextPolicy", "target": "urn:next" }],
    });
    let sources = |first: &str, odrl: &Value, next: &Value| {
        let files = [
            ("a.toml", first.to_owned()),
            ("b.json", odrl.to_string()),
            ("next.jsonld", next.to_string()),
        ];
        files.map(|(name, text)| source(name, text.into_bytes()))
    };
    let set = compile(&sources(&toml, &odrl, &next));
    let said = set.by_uid("urn:next").unwrap().own_sha256;
    for (policy, place) in [("a", "/permission/1/duty/0"), ("b", "/obligation/0")] {
        let policy = set.policy(policy).unwrap();
        let duty = policy.terms.pointer(place).unwrap();
        assert_eq!(duty["target"], "urn:next");
        assert_eq!(duty[odrl::TARGET_SHA256], hex::encode(said), "{}", policy.terms);
        assert_eq!(policy.hash, odrl::canonical_hash(&policy.terms).unwrap());
        // As it goes to a partner and comes back.
        assert_eq!(odrl::Policy::from_json(&policy.terms), Ok(policy.template.clone()));
    }
    // A recipient reads the same from the provider's file, whatever stands beside it; of another text something else.
    let of = |next: &Value| {
        compile(&[source("n.json", next.to_string().into_bytes())])
            .by_uid("urn:next")
            .unwrap()
            .own_sha256
    };
    let spelt = json!({ "uid": "urn:next", "assignee": "b", "dct:title": "t", "odrl:permission": { "action": "odrl:use" } });
    assert_eq!((of(&next), of(&spelt)), (said, said));
    let weaker = json!({ "@id": "urn:next", "assignee": "customers", "permission": [{ "action": ["use", "print"] }] });
    assert_ne!(of(&weaker), said);
    // A duty that nobody could show to be kept is refused where it stands.
    let wrong = json!({ "assignee": "customers", "permission": [{ "action": "use" }], "obligation": [{
        "action": "nextPolicy", "target": "urn:next", odrl::TARGET_SHA256: "00".repeat(32),
    }] });
    let unnamed = json!({ "assignee": "customers", "permission": [{ "action": "use" }], "obligation": [{ "action": "nextPolicy" }] });
    for (first, odrl, file, said) in [
        (requires("\"nextPolicy\""), &odrl, "a.toml", "does not name the policy"),
        (
            toml.replace("urn:next", "urn:other"),
            &odrl,
            "a.toml",
            "`urn:other` is not the identifier",
        ),
        (
            requires(r#"{ action = "delete", policy = "urn:next" }"#),
            &odrl,
            "a.toml",
            "only the duty `nextPolicy`",
        ),
        (toml.clone(), &wrong, "b.json", "something else than the SHA-256"),
        (toml, &unnamed, "b.json", "does not name the policy"),
    ] {
        let sources = sources(&first, odrl, &next);
        let findings = RuleSet::compile(&sources, &groups(), &Purposes::default()).unwrap_err();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].file == file && findings[0].message.contains(said), "{}", findings[0]);
        assert!(file == "b.json" || findings[0].line == 8, "{}", findings[0]);
    }
}

#[test]
fn restrictions_may_be_added_to_a_set_in_force_and_none_lifted() {
    let restrictions = |actions: &[&str]| {
        let entry =
            |action: &&str| format!("[[prohibit]]\nreason = \"r\"\nactions = [\"{action}\"]\n");
        let text: String = actions.iter().map(entry).collect();
        source("restrictions.toml", text.into_bytes())
    };
    let groups = Groups::new();
    let in_force = compile(&[restrictions(&["distribute"])]);
    let count = |actions: &[&str]| {
        let set = in_force.restricted_by(&restrictions(actions), &groups);
        set.map(|set| set.restrictions().list.len())
    };
    assert_eq!(count(&["use", "distribute"]), Some(2));
    assert_eq!(count(&["use"]), None);
    assert_eq!(count(&[]), None);
    assert_eq!(
        in_force.restricted_by(&source("restrictions.toml", b"[[pro".to_vec()), &groups),
        None
    );
}

//! What the site decides by itself: what rules, what it publishes, its clock, its evidence.

use protocol::id::ParticipantId;

use super::world::*;
use crate::entity::{Dataset, Head, Partner, PartnerState, Witness};
use crate::evidence::{self, Shown};
use crate::registry::{self, Author, Changes};
use crate::{Entity, Key, Kind, LogId, RecordKind, RefusalKind, TreeId, datasets, epoch, site};

fn activate(world: &mut World, conditions: &str, partners: &[Partner]) -> Changes {
    let known: Vec<ParticipantId> = world
        .of_kind(Kind::Partner)
        .into_iter()
        .filter_map(|key| match key {
            Key::Partner(participant) => Some(participant),
            _ => None,
        })
        .collect();
    let author =
        Author { place: "file change".to_owned(), person: Some("sato".to_owned()), reason: None };
    let rules = rules(conditions);
    world.decide(|view| registry::activate(view, &rules, partners, &known, &author))
}

#[test]
fn an_activation_records_exactly_what_changed() {
    let mut world = World::new(PROVIDER);
    let active = partner(CONSUMER);
    let suspended = Partner { state: PartnerState::Suspended, ..active.clone() };
    let renamed = Partner { title: "Consumer K.K.".to_owned(), ..active.clone() };
    let steps: [(&str, &[Partner], bool, Option<RecordKind>); 8] = [
        ("", std::slice::from_ref(&active), true, Some(RecordKind::PartnerRegistered)),
        ("", std::slice::from_ref(&active), false, None),
        ("\"count lteq 1\"", std::slice::from_ref(&active), true, None),
        (
            "\"count lteq 1\"",
            std::slice::from_ref(&suspended),
            false,
            Some(RecordKind::PartnerSuspended),
        ),
        (
            "\"count lteq 1\"",
            std::slice::from_ref(&active),
            false,
            Some(RecordKind::PartnerResumed),
        ),
        (
            "\"count lteq 1\"",
            std::slice::from_ref(&renamed),
            false,
            Some(RecordKind::PartnerUpdated),
        ),
        ("", &[], true, Some(RecordKind::PartnerRemoved)),
        ("", &[], false, None),
    ];
    for (number, (conditions, partners, rules, kind)) in steps.into_iter().enumerate() {
        let before = world.records.len();
        let changes = activate(&mut world, conditions, partners);
        assert_eq!(changes.rules, rules, "step {number}");
        assert_eq!(changes.partners.iter().map(|(_, kind)| *kind).next(), kind, "step {number}");
        let mut expected: Vec<RecordKind> = kind.into_iter().collect();
        expected.extend(rules.then_some(RecordKind::RulesActivated));
        assert_eq!(world.kinds(before), expected, "step {number}");
        for record in &world.records[before..] {
            let urgent =
                matches!(record.kind, RecordKind::PartnerSuspended | RecordKind::PartnerRemoved);
            assert_eq!(record.essential, urgent, "step {number}");
            assert_eq!(record.body.person.as_deref(), Some("sato"));
        }
    }
}

fn publish(world: &mut World, dataset: &Dataset) -> Result<Dataset, RefusalKind> {
    let fresh = world.fresh();
    let published =
        world.decide(|view| datasets::publish(view, &fresh, dataset, &[], Some("sato")));
    published.map_err(|refusal| refusal.kind)
}

#[test]
fn a_version_names_one_content() {
    let mut world = World::new(PROVIDER);
    let unnamed = |content: &str| Dataset { version: String::new(), ..dataset(DATASET, content) };
    assert_eq!(publish(&mut world, &unnamed("a")).unwrap().version, "1");
    assert_eq!(publish(&mut world, &unnamed("b")).unwrap().version, "2");
    let other = Dataset { version: "2".to_owned(), ..dataset(DATASET, "c") };
    assert_eq!(publish(&mut world, &other), Err(RefusalKind::Invalid));
    let same = Dataset { version: "2".to_owned(), ..dataset(DATASET, "b") };
    assert!(publish(&mut world, &same).is_ok());
    // A number is never given twice, whatever was named or withdrawn in between.
    let named =
        |version: &str| Dataset { version: version.to_owned(), ..dataset(DATASET, version) };
    for (published, version) in [
        (named("draft"), "draft"),
        (unnamed("f"), "3"),
        (named("7"), "7"),
        (named("4"), "4"),
        (unnamed("g"), "8"),
    ] {
        assert_eq!(publish(&mut world, &published).unwrap().version, version);
    }
    let fresh = world.fresh();
    let id = dataset_id();
    world.decide(|view| datasets::withdraw(view, &fresh, &id, "old", None)).unwrap();
    assert_eq!(publish(&mut world, &unnamed("h")).unwrap().version, "9");
    let last = named(&u64::MAX.to_string());
    assert!(publish(&mut world, &last).is_ok());
    assert_eq!(publish(&mut world, &unnamed("i")), Err(RefusalKind::Invalid));
    world.put(Key::Rules, rules(""));
    let mut assigned = dataset(DATASET, "d");
    assigned.policies.insert("missing".to_owned());
    assert_eq!(publish(&mut world, &assigned), Err(RefusalKind::Invalid));
    let long = Dataset { description: Some("x".repeat(60_000)), ..dataset(DATASET, "e") };
    assert_eq!(publish(&mut world, &long), Err(RefusalKind::Invalid));
}

#[test]
fn damage_and_withdrawal_are_recorded_once_and_end_with_a_new_publication() {
    let (_, mut provider) = pair("");
    let fresh = provider.fresh();
    let published = dataset(DATASET, "1").published;
    for _ in 0..2 {
        provider
            .decide(|view| datasets::damaged(view, &fresh, &dataset_id(), published, "block 3"))
            .unwrap();
        provider
            .decide(|view| datasets::withdraw(view, &fresh, &dataset_id(), "old", None))
            .unwrap();
    }
    let kinds = provider.kinds(3);
    assert_eq!(kinds, [RecordKind::DatasetDamaged, RecordKind::DatasetWithdrawn][..]);
    assert!(provider.records[3..].iter().all(|record| record.essential));
    assert!(super::pulls::choice(&provider, None).is_none());
    publish(&mut provider, &dataset(DATASET, "2")).unwrap();
    assert!(super::pulls::choice(&provider, None).is_some());
    // What is said of an earlier publication is not said of this one.
    let before = provider.records.len();
    let earlier = published - jiff::SignedDuration::from_secs(1);
    provider
        .decide(|view| datasets::damaged(view, &fresh, &dataset_id(), earlier, "block 3"))
        .unwrap();
    assert_eq!(provider.records.len(), before);
}

#[test]
fn a_site_belongs_to_one_participant_and_knows_how_it_stopped() {
    let mut world = World::new(PROVIDER);
    let participant: ParticipantId = PROVIDER.parse().unwrap();
    let start = |world: &mut World, participant: &ParticipantId| {
        world.decide(|view| site::started(view, participant, "0.1.0"))
    };
    assert!(!start(&mut world, &participant).unwrap().unclean);
    assert!(start(&mut world, &participant).unwrap().unclean);
    world.decide(|view| site::stopped(view, "asked to"));
    assert!(!start(&mut world, &participant).unwrap().unclean);
    let other: ParticipantId = CONSUMER.parse().unwrap();
    assert_eq!(start(&mut world, &other).unwrap_err(), participant);
    for expected in [1, 0] {
        let before = world.records.len();
        world.decide(|view| site::refuse_clock(view, "it went back"));
        assert_eq!(world.records.len() - before, expected);
    }
    assert!(world.decide(|view| site::accept_clock(view, "checked", Some("sato"))));
    assert!(!world.decide(|view| site::accept_clock(view, "checked", Some("sato"))));
}

fn head(size: u64) -> Head {
    Head {
        v: 1,
        size,
        root: format!("root{size}"),
        note: format!("note {size}"),
        signed: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

#[test]
fn a_head_never_goes_back() {
    let mut world = World::new(PROVIDER);
    let (fresh, tree) = (world.fresh(), relation(1));
    for (size, given) in [(3, 3), (2, 3), (3, 3), (5, 5), (4, 5)] {
        let answer = world.decide(|view| evidence::checkpoint(view, &fresh, &tree, &head(size)));
        assert_eq!(answer.unwrap().size, given, "checkpoint of size {size}");
    }
    for size in [9, 7] {
        world
            .decide(|view| evidence::anchor(view, &fresh, &tree, &head(size), "salt", "hash"))
            .unwrap();
    }
    let site = LogId::Site.in_epoch(1);
    let latest = world.look(|view| evidence::latest_head(view, &site)).unwrap();
    assert_eq!(latest.size, 9);
}

/// The provider's log with the consumer.
fn relation(epoch: u32) -> TreeId {
    LogId::Relation(CONSUMER.parse().unwrap()).in_epoch(epoch)
}

#[test]
fn a_tree_is_known_by_its_label_and_its_origin() {
    let (owner, partner): (ParticipantId, ParticipantId) =
        (PROVIDER.parse().unwrap(), "https://c.example/site/2".parse().unwrap());
    for tree in [LogId::Site.in_epoch(1), LogId::Relation(partner).in_epoch(7)] {
        assert_eq!(TreeId::from_label(&tree.label()), Some(tree.clone()));
        assert_eq!(TreeId::from_origin(&tree.origin(&owner), &owner), Some(tree.clone()));
        assert_eq!(TreeId::from_note(&format!("{}\n3\n", tree.origin(&owner)), &owner), Some(tree));
    }
    for wrong in ["site", "site/0", "site/01", "site/+1", "sites/1", "relation//1", "relation/1"] {
        assert_eq!(TreeId::from_label(wrong), None, "{wrong}");
    }
    assert_eq!(TreeId::from_origin(&format!("{PROVIDER}x/site/1"), &owner), None);
}

#[test]
fn an_epoch_is_opened_where_a_relation_is_behind_or_the_operator_insists() {
    let mut world = World::new(PROVIDER);
    let (owner, consumer): (ParticipantId, ParticipantId) =
        (PROVIDER.parse().unwrap(), CONSUMER.parse().unwrap());
    let fresh = world.fresh();
    world.decide(|view| site::started(view, &owner, "0.1.0")).unwrap();
    let logs = [LogId::Site, LogId::Relation(consumer.clone())];
    let open = |world: &mut World, anyway| {
        world.decide(|view| epoch::open(view, &logs, anyway, "restored", Some("sato")))
    };
    world.decide(|view| evidence::checkpoint(view, &fresh, &relation(1), &head(3))).unwrap();
    let before = world.records.len();
    assert_eq!(open(&mut world, false), None);
    assert_eq!(world.records.len(), before, "nothing is recorded");

    let shown = format!("{}\n9\n", relation(4).origin(&owner));
    world.decide(|view| evidence::behind(view, &consumer, &shown, 3));
    let behind = world.decide(|view| evidence::checkpoint(view, &fresh, &relation(1), &head(4)));
    assert_eq!(behind.unwrap_err().kind, RefusalKind::Unproven);
    let opened = open(&mut world, false).unwrap();
    assert_eq!((opened.epoch, opened.relations), (5, vec![(consumer.clone(), true)]));
    let [.., of_site, of_relation] = &world.records[..] else { panic!() };
    assert_eq!((&of_site.log, of_site.kind), (&LogId::Site, RecordKind::EpochOpened));
    assert_eq!(of_relation.log, LogId::Relation(consumer.clone()));
    assert_eq!(of_relation.digests[epoch::PREVIOUS], epoch::sha256("note 3"));
    assert_eq!(of_relation.digests[epoch::SHOWN], epoch::sha256(&shown));
    assert!(of_site.essential && of_relation.essential);
    // The old epoch has ended, and the new one is signed in.
    let sign = |world: &mut World, epoch| {
        world.decide(|view| evidence::checkpoint(view, &fresh, &relation(epoch), &head(1)))
    };
    assert_eq!(sign(&mut world, 1).unwrap_err().kind, RefusalKind::Unproven);
    assert_eq!(sign(&mut world, 5).unwrap().size, 1);
    let held = world.look(|view| evidence::latest_witness(view, &consumer)).unwrap();
    assert_eq!((held.behind, held.given_up), (None, vec![shown]));
    assert_eq!(open(&mut world, false), None);
    assert_eq!(open(&mut world, true).unwrap().epoch, 6);
}

fn witness(size: u64, root: &str) -> Entity {
    let text = serde_json::json!({ "witness": {
        "v": 1, "size": size, "root": root, "note": format!("{root} {size}"),
        "taken": "2026-01-01T00:00:00Z", "conflict": null,
    } });
    serde_json::from_value(text).unwrap()
}

fn show(world: &mut World, shown: &Shown, size: u64, root: &str) -> Result<(), RefusalKind> {
    let Entity::Witness(witness) = witness(size, root) else { panic!() };
    let (fresh, consumer) = (world.fresh(), CONSUMER.parse().unwrap());
    world
        .decide(|view| evidence::witness(view, &fresh, &consumer, shown, &witness))
        .map_err(|refusal| refusal.kind)
}

#[test]
fn a_partners_new_epoch_keeps_what_was_held_of_the_one_before() {
    let mut world = World::new(PROVIDER);
    let (fresh, consumer): (_, ParticipantId) = (world.fresh(), CONSUMER.parse().unwrap());
    let opened = |held| Shown::Opened { held, named: true, leaf: "a leaf".to_owned() };
    let take = |world: &mut World, shown: &Shown, epoch: u32, size: u64, root: &str| {
        let Entity::Witness(witness) = witness(size, root) else { panic!() };
        let witness = Witness { epoch, ..witness };
        world
            .decide(|view| evidence::witness(view, &fresh, &consumer, shown, &witness))
            .map_err(|refusal| refusal.kind)
    };
    take(&mut world, &Shown::Consistent { held: 0 }, 1, 9, "a").unwrap();
    take(&mut world, &Shown::Contradicts, 1, 9, "x").unwrap();
    world.decide(|view| evidence::behind(view, &consumer, "our note", 4));
    // A proof within one tree says nothing of another, nor does an opening of what is not held any more.
    let unproven = Shown::Consistent { held: 9 };
    take(&mut world, &unproven, 2, 12, "b").unwrap();
    assert_eq!(take(&mut world, &opened(3), 4, 2, "b"), Err(RefusalKind::Unavailable));
    assert_eq!(take(&mut world, &opened(1), 1, 12, "b"), Err(RefusalKind::Unavailable));
    take(&mut world, &opened(1), 3, 2, "b").unwrap();
    assert_eq!(world.records.last().unwrap().kind, RecordKind::EpochWitnessed);
    let held = world.look(|view| evidence::latest_witness(view, &consumer)).unwrap();
    assert_eq!((held.epoch, held.size, held.conflict), (3, 2, None));
    let earlier = &held.earlier[0];
    assert_eq!((earlier.epoch, earlier.note.as_str()), (1, "a 9"));
    assert_eq!(earlier.conflict.as_deref(), Some("x 9"));
    assert_eq!(held.behind.as_deref(), Some("our note"), "that is about our own log");
    // Nothing of an epoch that has ended is taken.
    take(&mut world, &Shown::Consistent { held: 2 }, 1, 30, "c").unwrap();
    let held = world.look(|view| evidence::latest_witness(view, &consumer)).unwrap();
    assert_eq!((held.epoch, held.size), (3, 2));
    assert_eq!(
        take(&mut world, &Shown::Consistent { held: 2 }, 4, 30, "c"),
        Err(RefusalKind::Unavailable)
    );
}

#[test]
fn a_partners_checkpoint_is_kept_and_a_contradiction_never_replaced() {
    let mut world = World::new(PROVIDER);
    let held = |world: &World| -> Witness {
        world.look(|view| evidence::latest_witness(view, &CONSUMER.parse().unwrap())).unwrap()
    };
    let from = |held: u64| Shown::Consistent { held };
    assert_eq!(
        show(&mut world, &from(2), 3, "a"),
        Err(RefusalKind::Unavailable),
        "nothing is held"
    );
    show(&mut world, &from(0), 3, "a").unwrap();
    show(&mut world, &from(3), 5, "b").unwrap();
    assert_eq!(
        show(&mut world, &from(3), 6, "c"),
        Err(RefusalKind::Unavailable),
        "another came between"
    );
    assert_eq!(
        show(&mut world, &from(5), 5, "x"),
        Err(RefusalKind::Invalid),
        "one size, two roots"
    );
    show(&mut world, &from(3), 4, "late").unwrap();
    assert_eq!((held(&world).size, held(&world).root.as_str()), (5, "b"));
    // That we are behind what we once signed outlives the checkpoints that follow.
    let consumer = CONSUMER.parse().unwrap();
    for _ in 0..2 {
        world.decide(|view| evidence::behind(view, &consumer, "our note", 9));
    }
    show(&mut world, &from(5), 6, "c").unwrap();
    assert_eq!((held(&world).size, held(&world).behind.as_deref()), (6, Some("our note")));
    show(&mut world, &Shown::Contradicts, 7, "forged").unwrap();
    let evidence = held(&world);
    assert_eq!((evidence.size, evidence.conflict.as_deref()), (6, Some("forged 7")));
    let before = world.records.len();
    assert!(world.records[before - 1].essential);
    show(&mut world, &Shown::Contradicts, 8, "again").unwrap();
    show(&mut world, &from(6), 9, "d").unwrap();
    assert_eq!(held(&world), evidence);
    assert_eq!(world.records.len(), before);
}

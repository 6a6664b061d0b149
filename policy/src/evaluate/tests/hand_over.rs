//! What is left to the recipient's node, and that both nodes together permit no more than one that knew everything.

use super::*;

const SOLVER: &str = "https://a.example/apps/solver";
const VIEWER: &str = "https://a.example/apps/viewer";

fn is_application(operator: &str, name: &str) -> Value {
    constraint("idsc:APPLICATION", operator, name)
}

/// The provider's node, and what it knows: everything but the application.
fn provider() -> Case {
    let mut case = Case::new();
    case.subject.asks_applications = true;
    case
}

/// The recipient's node, which knows who it is, the time and who asks it.
fn recipient(application: Option<&str>) -> Case {
    let mut case = Case::new();
    case.phase = Phase::HandOver;
    case.subject = Subject {
        participant: ME.to_owned(),
        application: application.map(|name| Link::new(name, Proof::Key)),
        ..Subject::default()
    };
    case.purposes = Purposes::new(BTreeMap::new()).unwrap();
    case.facts = Facts::default();
    (case.earlier_uses, case.previous_use) = (None, PreviousUse::Unknown);
    case
}

/// A node that would know both.
fn all_knowing(application: &str) -> Case {
    let mut case = Case::new();
    let names = BTreeSet::from([application.to_owned()]);
    case.subject.attributes = BTreeMap::from([("APPLICATION".to_owned(), names)]);
    case
}

#[test]
fn the_provider_leaves_the_application_only_to_a_node_that_asks() {
    let policy = permit(&[is_application("eq", SOLVER)]);
    for phase in [Phase::Catalog, Phase::Negotiation, Phase::Transfer, Phase::Data] {
        let asking = Case { phase, ..provider() };
        let answer = asking.evaluate(&policy);
        assert!(answer.is_permit(), "{phase:?}: {answer:?}");
        assert_eq!(answer.rules[0].constraints[0].status, Status::Elsewhere);
        assert!(!Case { phase, ..Case::new() }.evaluate(&policy).is_permit(), "{phase:?}");
        // A restriction of the site is in no agreement: nobody else judges it.
        let open = Case { phase, behaviour: Behaviour::Open, ..provider() };
        let restriction = json!({ "prohibition": [{ "action": "use", "constraint": [is_application("eq", SOLVER)] }] });
        assert!(!open.evaluate(&restriction).is_permit(), "{phase:?}");
        // What our administrator entered stands, also when it has ended.
        let mut entered = Case { phase, ..provider() };
        entered.subject.statements = vec![Statement {
            operand: "APPLICATION".to_owned(),
            values: BTreeSet::from([SOLVER.to_owned()]),
            source: "attestation".to_owned(),
            node: None,
            from: None,
            until: Some(at("2026-11-01T00:00:00Z")),
        }];
        assert!(!entered.evaluate(&policy).is_permit(), "{phase:?}");
    }
}

#[test]
fn the_recipient_hands_over_to_whom_the_terms_name() {
    let japan = || constraint("spatial", "eq", "JP");
    let open = json!({ "permission": [{ "action": "use" }] });
    let sole = permit(&[is_application("eq", SOLVER)]);
    let with_region = permit(&[japan(), is_application("eq", SOLVER)]);
    let mixed = permit(&[json!({ "or": [japan(), is_application("eq", SOLVER)] })]);
    let several = json!({ "permission": [
        { "action": "use", "constraint": [japan()] },
        { "action": "use", "constraint": [is_application("eq", SOLVER)] },
    ] });
    let refused = |constraints: Value| {
        json!({ "conflict": "prohibit", "permission": [{ "action": "use" }],
        "prohibition": [{ "action": "use", "constraint": constraints }] })
    };
    let prohibited = refused(json!([is_application("eq", VIEWER)]));
    let partly = refused(json!([japan(), is_application("eq", VIEWER)]));
    let elsewhere = refused(json!([constraint("spatial", "eq", "DE")]));
    let over = permit(&[
        constraint("dateTime", "lt", "2026-11-22T12:00:00Z"),
        is_application("eq", SOLVER),
    ]);
    let begins = permit(&[
        constraint("dateTime", "gt", "2026-11-22T12:00:00Z"),
        is_application("eq", SOLVER),
    ]);
    let purpose = permit(&[constraint("purpose", "eq", "quality"), is_application("eq", SOLVER)]);
    let group =
        permit(&[constraint("recipient", "isPartOf", "customers"), is_application("eq", SOLVER)]);
    let refined = json!({ "permission": [{ "action": { "rdf:value": { "@id": "use" },
        "refinement": [is_application("eq", SOLVER)] } }] });
    // policy, solver, viewer, unknown
    let table = [
        ("open", &open, [true, true, true]),
        ("sole", &sole, [true, false, false]),
        ("with region", &with_region, [true, false, false]),
        // That the region was right is not known, so it does not make up for the application.
        ("mixed", &mixed, [true, false, false]),
        ("several", &several, [true, false, false]),
        ("prohibited", &prohibited, [true, false, false]),
        ("partly prohibited", &partly, [true, false, false]),
        ("prohibited by what the provider judged", &elsewhere, [true, true, true]),
        ("over", &over, [false, false, false]),
        ("begun for the provider", &begins, [true, false, false]),
        ("purpose", &purpose, [true, false, false]),
        ("group", &group, [true, false, false]),
        ("refined", &refined, [true, false, false]),
    ];
    for (name, policy, expected) in table {
        let asked = [Some(SOLVER), Some(VIEWER), None];
        for (application, expected) in asked.into_iter().zip(expected) {
            let answer = recipient(application).evaluate(policy);
            assert_eq!(answer.is_permit(), expected, "{name} {application:?}: {answer:?}");
        }
        // A name that is only declared decides nothing.
        let mut declared = recipient(None);
        declared.subject.application = Some(Link::new(SOLVER, Proof::Declared));
        assert_eq!(declared.evaluate(policy).is_permit(), expected[2], "{name}");
    }
}

fn atom() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(is_application("eq", SOLVER)),
        2 => Just(is_application("neq", SOLVER)),
        2 => Just(is_application("isAnyOf", VIEWER)),
        1 => Just(constraint("spatial", "eq", "JP")),
        1 => Just(constraint("spatial", "neq", "JP")),
        1 => Just(constraint("recipient", "isPartOf", "customers")),
        1 => Just(constraint("recipient", "eq", ME)),
        1 => Just(constraint("dateTime", "lt", "2027-01-01T00:00:00Z")),
        1 => Just(constraint("dateTime", "gteq", "2027-01-01T00:00:00Z")),
        1 => Just(constraint("purpose", "eq", "quality")),
        1 => Just(constraint("purpose", "neq", "marketing")),
        1 => Just(constraint("count", "lteq", "1")),
        1 => Just(constraint("count", "gt", "1")),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    let group = (prop_oneof![Just("and"), Just("or"), Just("xone")], atom(), atom());
    prop_oneof![
        3 => atom(),
        1 => group.prop_filter_map("operands are unique", |(connective, one, other)| {
            (one != other).then(|| json!({ connective: [one, other] }))
        }),
    ]
}

fn rules(least: usize) -> impl Strategy<Value = Vec<Value>> {
    let rule = prop::collection::vec(condition(), 0..3).prop_flat_map(|constraints| {
        let actions = prop_oneof![3 => Just("use"), 1 => Just("print"), 1 => Just("distribute")];
        actions.prop_map(move |action| json!({ "action": action, "constraint": constraints }))
    });
    prop::collection::vec(rule, least..=3)
}

proptest! {
    #[test]
    fn both_nodes_together_permit_no_more_than_one_that_knows_everything(
        permission in rules(1),
        prohibition in rules(0),
        conflict in prop_oneof![Just("perm"), Just("prohibit"), Just("invalid")],
        region in prop_oneof![Just("JP-13"), Just("FR")],
        application in prop_oneof![Just(SOLVER), Just(VIEWER)],
    ) {
        let policy = json!({ "conflict": conflict, "permission": permission, "prohibition": prohibition });
        let located = |mut case: Case| {
            case.subject.region = Some(region.to_owned());
            case
        };
        let given = located(provider()).evaluate(&policy).is_permit();
        let handed = recipient(Some(application)).evaluate(&policy).is_permit();
        let known = located(all_knowing(application)).evaluate(&policy);
        prop_assert!(!(given && handed) || known.is_permit(), "{:?}", known.ground);
    }
}

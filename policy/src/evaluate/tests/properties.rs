//! What must hold for all policies, with everything in them that a policy can have.

use super::*;

const LIABILITY: &str = "https://w3id.org/catenax/2025/9/policy/Liability";

const OF_LIST: &[&str] = &["isAnyOf", "isNoneOf", "isAllOf"];
const OF_ONE: &[&str] = &["eq", "neq", "isA", "isPartOf"];

fn comparison() -> impl Strategy<Value = Value> {
    let named = |left: &'static str, terms: &'static [&'static str]| {
        let list = prop::sample::subsequence(terms, 1..=terms.len());
        let of_list = (prop::sample::select(OF_LIST), list).prop_map(move |(operator, terms)| {
            json!({ "leftOperand": left, "operator": operator, "rightOperand": terms })
        });
        let of_one = (prop::sample::select(OF_ONE), prop::sample::select(terms))
            .prop_map(move |(operator, term)| constraint(left, operator, term));
        prop_oneof![of_list, of_one]
    };
    prop_oneof![
        3 => named("spatial", &["JP", "JP-13", "JP-27", "DE"]),
        3 => named("purpose", &["quality", "quality-audit", "marketing"]),
        1 => named("recipient", &["customers", ME, "did:web:b.example"]),
        1 => Just(constraint("count", "lteq", "3")),
        1 => Just(constraint("dateTime", "lt", "2026-11-22T12:00:00Z")),
        1 => Just(constraint("event", "neq", "fair")),
        1 => Just(constraint(LIABILITY, "eq", "cx.data.liability:1")),
        1 => Just(constraint("mood", "eq", "good")),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    comparison().prop_recursive(2, 8, 3, |inner| {
        let connective = prop::sample::select(&["and", "or", "xone"][..]);
        (connective, prop::collection::vec(inner, 1..4)).prop_map(|(connective, mut operands)| {
            operands.dedup();
            json!({ connective: operands })
        })
    })
}

fn conditions() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(condition(), 0..3)
}

fn duty() -> impl Strategy<Value = Value> {
    let action = prop::sample::select(&["delete", "obtainConsent", "inform"][..]);
    (action, conditions(), prop::bool::ANY).prop_map(|(action, mut conditions, late)| {
        if late {
            conditions.push(constraint("elapsedTime", "lteq", "P1D"));
        }
        json!({ "action": action, "constraint": conditions })
    })
}

fn rule(duties: &'static str) -> impl Strategy<Value = Value> {
    let action = prop::sample::select(&["use", "print", "read", "distribute", "sell"][..]);
    let target = prop::sample::select(&[None, Some(TARGET), Some("tag"), Some("urn:other")][..]);
    let assignee = prop::sample::select(&[None, Some(ME), Some("customers"), Some("urn:x")][..]);
    let parts = (action, prop::option::of(condition()), target, assignee);
    let duty = prop::collection::vec(duty(), 0..2);
    (parts, conditions(), duty).prop_map(
        move |((action, refinement, target, assignee), conditions, duty)| {
            let mut rule = json!({ "action": action, "constraint": conditions, duties: duty });
            if let Some(refinement) = refinement {
                rule["action"] = json!({ "@id": action, "refinement": [refinement] });
            }
            for (name, id) in [("target", target), ("assignee", assignee)] {
                if let Some(id) = id {
                    rule[name] = json!(id);
                }
            }
            rule
        },
    )
}

fn rules(duties: &'static str) -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(rule(duties), 0..4)
}

fn policy() -> impl Strategy<Value = Value> {
    let conflict = prop::sample::select(&["perm", "prohibit", "invalid"][..]);
    let obligations = prop::collection::vec(duty(), 0..3);
    (conflict, rules("duty"), rules("remedy"), obligations).prop_map(
        |(conflict, mut permissions, prohibitions, obligations)| {
            permissions.push(json!({ "action": "use" }));
            json!({
                "conflict": conflict, "permission": permissions, "prohibition": prohibitions,
                "obligation": obligations,
            })
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let region = prop::sample::select(&[None, Some("JP"), Some("JP-13"), Some("DE")][..]);
    let behaviour = prop::sample::select(&[Behaviour::Open, Behaviour::Closed][..]);
    let declared = prop::sample::select(&["quality", "quality-audit", "marketing"][..]);
    (case_strategy(), region, behaviour, prop::option::of(declared)).prop_map(
        |(case, region, behaviour, declared)| {
            let subject = Subject { region: region.map(str::to_owned), ..case.subject.clone() };
            let facts =
                Facts { collections: BTreeSet::from(["tag".to_owned()]), ..Facts::default() };
            let declared = declared.into_iter().map(str::to_owned).collect();
            Case { subject, behaviour, facts, declared, ..case }
        },
    )
}

/// The same policy with every list, but those whose order means something, in another order.
fn shuffled(value: &Value, by: usize) -> Value {
    match value {
        Value::Array(entries) => {
            let mut entries: Vec<Value> = entries.iter().map(|entry| shuffled(entry, by)).collect();
            if by % 2 == 1 {
                entries.reverse();
            }
            let length = entries.len().max(1);
            entries.rotate_left(by % length);
            Value::Array(entries)
        }
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), shuffled(member, by)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn states(answer: &Evaluation) -> Vec<String> {
    let mut states: Vec<_> = (answer.obligations.iter())
        .map(|duty| format!("{:?} {:?} {:?}", duty.actions, duty.state, duty.deadline))
        .collect();
    states.sort();
    states
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn adding_a_prohibition_never_grants(case in case(), policy in policy(), added in rule("remedy")) {
        let mut more = policy.clone();
        more["prohibition"].as_array_mut().unwrap().push(added);
        prop_assert!(case.evaluate(&policy).is_permit() || !case.evaluate(&more).is_permit());
    }

    #[test]
    fn the_order_of_nothing_matters(case in case(), policy in policy(), by in 1..6_usize) {
        let (one, other) = (case.evaluate(&policy), case.evaluate(&shuffled(&policy, by)));
        prop_assert_eq!(one.decision, other.decision);
        prop_assert_eq!(one.until, other.until);
        prop_assert_eq!(states(&one), states(&other));
    }

    /// What is not known of a fact is never taken for the better: whoever turns out to be in a part of the region that was
    /// known, or to have a part of the purpose that was declared, may do all that it was granted before.
    #[test]
    fn what_is_granted_for_a_fact_is_granted_for_its_parts(case in case(), policy in policy()) {
        let mut policy = policy;
        if policy["conflict"] == "invalid" {
            // A permission that turns out to hold may be what contradicts.
            policy["conflict"] = json!("prohibit");
        }
        let region = |region: &str| Some(region.to_owned());
        let wide = Case {
            subject: Subject { region: region("JP"), ..case.subject.clone() },
            declared: vec!["quality".to_owned()],
            ..case
        };
        let narrow = Case {
            subject: Subject { region: region("JP-13"), ..wide.subject.clone() },
            declared: vec!["quality-audit".to_owned()],
            ..wide.clone()
        };
        prop_assert!(!wide.evaluate(&policy).is_permit() || narrow.evaluate(&policy).is_permit());
    }

    #[test]
    fn what_must_be_done_does_not_depend_on_what_is_prohibited(case in case(), policy in policy()) {
        let mut fewer = policy.clone();
        fewer["prohibition"] = json!([]);
        let (one, other) = (case.evaluate(&policy), case.evaluate(&fewer));
        prop_assert_eq!(states(&one), states(&other));
    }
}

//! What one decision of the policy engine costs, in this process: no network, no store.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use policy::evaluate::{
    Evaluation, Facts, Link, Performed, Phase, PreviousUse, Proof, Request, Subject, World, decide,
    evaluate,
};
use policy::odrl::Policy;
use policy::restrict::restrict;
use policy::set::{Groups, Purpose, Purposes, RuleSet, Source};
use policy::terms::named_purposes;
use serde_json::{Value, json};

use crate::Extent;
use crate::figures::{Figures, percentile};

const DATASET: &str = "urn:example:dataset:4711";
const PARTNER: &str = "did:web:partner-4711.example";

/// The policies of the guide and of the demonstration: what administrators write.
const GUIDE: &str = include_str!("../../../../docs/policy-guide.md");
const DEMO: [(&str, &str); 2] = [
    ("demo-cfp.toml", include_str!("../../../demo/policies/cfp.toml")),
    ("demo-oem.toml", include_str!("../../../demo/policies/oem.toml")),
];

/// Measures decisions one by one: ordinary policies as the node asks them on a data request and in the catalog, and in words as
/// `explain` does; one with 500 conditions; and one among 10,000 policies.
pub(crate) fn decisions(figures: &mut Figures, extent: Extent) -> Result<()> {
    let rounds = extent.decisions;
    let set = ordinary()?;
    let mut add = |name: &str, mut spent: Vec<f64>| {
        figures.add(format!("policy decision, {name}, median"), percentile(&mut spent, 0.5), "ns");
        figures.add(format!("policy decision, {name}, p99"), percentile(&mut spent, 0.99), "ns");
    };
    add("ordinary, data request", asked(&set, Phase::Data, rounds, decide)?);
    add("ordinary, catalog", asked(&set, Phase::Catalog, rounds, decide)?);
    add("ordinary, in words", asked(&set, Phase::Data, rounds, evaluate)?);
    let large = read(&with_conditions(500))?;
    add("500 conditions", measure(&large, rounds / 10, decide));
    add("500 conditions, in words", measure(&large, rounds / 10, evaluate));
    add("10,000 policies loaded", among(&many(10_000)?, rounds));
    Ok(())
}

/// The files of the guide and of the demonstration as one set, the guide's restrictions of the site among them.
fn ordinary() -> Result<RuleSet> {
    let mut sources: Vec<Source> = Vec::new();
    let mut purposes = Purposes::default();
    for block in GUIDE.split("\n```").filter(|block| !block.starts_with('\n')) {
        let (head, body) = block.split_once('\n').unwrap_or((block, ""));
        let Some((_, file)) = head.split_once(' ') else { continue };
        if file == "purposes.toml" {
            let listed: BTreeMap<String, Purpose> = toml::from_str(body)?;
            purposes = Purposes::new(listed)?;
        }
        let Some(name) = file.strip_prefix("policies/") else { continue };
        // Two are there to be refused, and cases are no policy.
        if !["wrong.toml", "paid.jsonld"].contains(&name) && !name.ends_with(".test.toml") {
            sources.push(Source { name: name.to_owned(), bytes: body.as_bytes().to_vec() });
        }
    }
    let demo = DEMO.map(|(name, text)| Source { name: name.to_owned(), bytes: text.into() });
    sources.extend(demo);
    let groups = Groups::from([("customers".to_owned(), BTreeSet::from([PARTNER.to_owned()]))]);
    let set = RuleSet::compile(&sources, &groups, &purposes)
        .map_err(|findings| anyhow::anyhow!("the guide has {} findings", findings.len()))?;
    ensure!(set.policies().count() >= 5, "the guide and the demonstration have fewer policies");
    Ok(set)
}

/// Decides by a policy.
type Decide = for<'a> fn(&Policy, &Request<'a>, &World<'a>) -> Evaluation;

/// Nanoseconds of each of many decisions by the policies of a set in turn, with the restrictions of the site.
fn asked(set: &RuleSet, phase: Phase, rounds: usize, decide: Decide) -> Result<Vec<f64>> {
    let (subject, tags) = (subject(), BTreeSet::from(["drawing".to_owned()]));
    let facts = Facts { collections: tags.clone(), ..Facts::default() };
    let consent = [Performed {
        action: "obtainConsent".to_owned(),
        target: DATASET.to_owned(),
        at: now(),
        facts: BTreeMap::new(),
    }];
    let world = World { performed: &consent, ..world(&subject, set.purposes(), &facts) };
    let mut spent = Vec::with_capacity(rounds);
    while spent.len() < rounds {
        for policy in set.policies() {
            let purposes = named_purposes(&policy.template);
            let purposes = purposes.get(..1).unwrap_or_default();
            let request = Request { action: "use", target: DATASET, purposes, phase };
            let start = Instant::now();
            let answer =
                decide(black_box(&policy.template), black_box(&request), black_box(&world));
            let answer = restrict(set, &tags, &request, &world, answer);
            spent.push(nanoseconds(start.elapsed()));
            ensure!(black_box(answer).is_permit(), "`{}` does not permit", policy.name);
        }
    }
    Ok(spent)
}

fn read(policy: &Value) -> Result<Policy> {
    Policy::from_json(policy).context("the policy of the benchmark cannot be read")
}

/// One permission whose conditions all hold: of several operands, some of them in groups.
fn with_conditions(number: usize) -> Value {
    let condition = |index: usize| match index % 5 {
        0 => {
            json!({ "leftOperand": "count", "operator": "lteq", "rightOperand": (index + 10).to_string() })
        }
        1 => {
            json!({ "leftOperand": "dateTime", "operator": "lt", "rightOperand": format!("20{}-01-01T00:00:00Z", 30 + index % 60) })
        }
        2 => {
            json!({ "leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": [format!("p{index}"), "quality"] })
        }
        3 => {
            json!({ "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": format!("P{index}D") })
        }
        _ => json!({ "or": [
            { "leftOperand": "spatial", "operator": "isAnyOf", "rightOperand": ["DE", "FR"] },
            { "leftOperand": "recipient", "operator": "isNoneOf", "rightOperand": [format!("urn:{index}")] },
        ] }),
    };
    json!({
        "@type": "Agreement",
        "permission": [{ "action": "use", "constraint": (0..number).map(condition).collect::<Vec<_>>() }],
    })
}

fn subject() -> Subject {
    Subject {
        participant: PARTNER.to_owned(),
        groups: BTreeSet::from(["customers".to_owned()]),
        region: Some("JP".to_owned()),
        node: Some(Link::new("urn:example:node:2", Proof::Connection)),
        attributes: BTreeMap::from([(
            "Membership".to_owned(),
            BTreeSet::from(["active".to_owned()]),
        )]),
        ..Subject::default()
    }
}

/// Nanoseconds of each of many decisions, all of which permit.
fn measure(policy: &Policy, rounds: usize, decide: Decide) -> Vec<f64> {
    let (subject, purposes, facts) = (subject(), Purposes::default(), Facts::default());
    let declared = ["quality".to_owned()];
    let world = world(&subject, &purposes, &facts);
    let request =
        Request { action: "use", target: DATASET, purposes: &declared, phase: Phase::Data };
    (0..rounds)
        .map(|_| {
            let start = Instant::now();
            let answer = decide(black_box(policy), black_box(&request), black_box(&world));
            let spent = start.elapsed();
            assert!(black_box(answer).is_permit(), "the policy of the benchmark permits");
            nanoseconds(spent)
        })
        .collect()
}

/// The same for what a partner may see of a dataset, with each policy for another dataset or another partner.
fn among(set: &RuleSet, rounds: usize) -> Vec<f64> {
    let (subject, facts) = (subject(), Facts::default());
    let world = world(&subject, set.purposes(), &facts);
    let request = Request { action: "use", target: DATASET, purposes: &[], phase: Phase::Catalog };
    (0..rounds)
        .map(|_| {
            let start = Instant::now();
            let offered = set.offered_to(black_box(&subject), DATASET, ["parts"], [], "use");
            let granted = (offered.into_iter())
                .filter(|policy| decide(&policy.template, &request, &world).is_permit())
                .count();
            let spent = start.elapsed();
            assert_eq!(black_box(granted), 2, "one by dataset and one by tag");
            nanoseconds(spent)
        })
        .collect()
}

fn world<'a>(subject: &'a Subject, purposes: &'a Purposes, facts: &'a Facts) -> World<'a> {
    World {
        earlier_uses: Some(3),
        previous_use: PreviousUse::Never,
        agreed_at: Some(now()),
        facts,
        ..World::new(now(), subject, purposes)
    }
}

/// A time of 2026, within what the policies of the guide are valid for.
fn now() -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(495_000)
}

/// Half of the policies are for a dataset each, half for one tag and a partner each.
fn many(number: usize) -> Result<RuleSet> {
    let sources: Vec<Source> = (0..number)
        .map(|index| {
            let what = if index % 2 == 1 {
                format!("datasets = [\"urn:example:dataset:{index}\"]")
            } else {
                "tags = [\"parts\"]".to_owned()
            };
            // The one for the dataset and the one for the tag that are this partner's.
            let partner = if index == 4_710 { 4_711 } else { index };
            let text = format!(
                "title = \"t\"\n[who]\npartners = [\"did:web:partner-{partner}.example\"]\n[what]\n{what}\n\
                 [[permit]]\nactions = [\"use\"]\nwhen = [\"purpose eq quality\", \"count lteq 10\"]\n"
            );
            Source { name: format!("p{index:05}.toml"), bytes: text.into_bytes() }
        })
        .collect();
    RuleSet::compile(&sources, &Groups::new(), &Purposes::default())
        .map_err(|findings| anyhow::anyhow!("{} findings", findings.len()))
}

#[expect(clippy::cast_precision_loss, reason = "a decision takes far less than 2^52 ns")]
fn nanoseconds(spent: std::time::Duration) -> f64 {
    spent.as_nanos() as f64
}

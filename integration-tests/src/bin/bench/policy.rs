//! What one decision of the policy engine costs, in this process: no network, no store.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result};
use policy::evaluate::{Facts, Phase, PreviousUse, Request, Subject, World, decide};
use policy::odrl::Policy;
use policy::set::{Groups, Purposes, RuleSet, Source};
use serde_json::{Value, json};

use crate::Extent;
use crate::figures::{Figures, percentile};

const DATASET: &str = "urn:example:dataset:4711";
const PARTNER: &str = "did:web:partner-4711.example";

/// Measures decisions one by one: an ordinary agreement, one with 500 conditions, and one among 10,000 policies.
pub(crate) fn decisions(figures: &mut Figures, extent: Extent) -> Result<()> {
    let rounds = extent.decisions;
    let mut ordinary = measure(&read(&ordinary())?, rounds);
    figures.add("policy decision, ordinary, median", percentile(&mut ordinary, 0.5), "ns");
    figures.add("policy decision, ordinary, p99", percentile(&mut ordinary, 0.99), "ns");
    let mut large = measure(&read(&with_conditions(500))?, rounds / 10);
    figures.add("policy decision, 500 conditions, median", percentile(&mut large, 0.5), "ns");
    figures.add("policy decision, 500 conditions, p99", percentile(&mut large, 0.99), "ns");
    let set = many(10_000)?;
    let mut among = among(&set, rounds);
    figures.add(
        "policy decision, 10,000 policies loaded, median",
        percentile(&mut among, 0.5),
        "ns",
    );
    figures.add("policy decision, 10,000 policies loaded, p99", percentile(&mut among, 0.99), "ns");
    Ok(())
}

fn read(policy: &Value) -> Result<Policy> {
    Policy::from_json(policy).context("the policy of the benchmark cannot be read")
}

/// A permission with the conditions that agreements usually have, a prohibition and a duty.
fn ordinary() -> Value {
    json!({
        "@type": "Agreement",
        "conflict": "prohibit",
        "assignee": PARTNER,
        "target": DATASET,
        "permission": [{ "action": "use", "constraint": [
            { "leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": ["quality", "audit"] },
            { "leftOperand": "dateTime", "operator": "lt", "rightOperand": "2027-01-01T00:00:00Z" },
            { "leftOperand": "count", "operator": "lteq", "rightOperand": "10" },
            { "leftOperand": "spatial", "operator": "isAnyOf", "rightOperand": ["JP", "DE"] },
        ] }],
        "prohibition": [{ "action": "distribute" }],
        "obligation": [{ "action": "delete", "constraint": [
            { "leftOperand": "elapsedTime", "operator": "lteq", "rightOperand": "P30D" },
        ] }],
    })
}

/// One permission whose conditions all hold.
fn with_conditions(number: usize) -> Value {
    let condition = |index: usize| json!({ "leftOperand": "count", "operator": "lteq", "rightOperand": (index + 10).to_string() });
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
        ..Subject::default()
    }
}

/// Nanoseconds of each of many decisions, all of which permit.
fn measure(policy: &Policy, rounds: usize) -> Vec<f64> {
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
    let now = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(495_000);
    World {
        earlier_uses: Some(3),
        previous_use: PreviousUse::Never,
        agreed_at: Some(now),
        facts,
        ..World::new(now, subject, purposes)
    }
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

//! Pulls, from the first request to delivered bytes.

use protocol::id::Pid;
use protocol::negotiation::State as NegotiationState;
use protocol::transfer::State as TransferState;
use serde_json::json;

use super::world::*;
use crate::entity::{Digests, Failure, PartnerState, Pull, PullStep};
use crate::negotiation::Choice;
use crate::pull::{self, Arrival, Begun, Next, Wanted};
use crate::{Entity, Key, Kind, RecordKind, Refusal, judge};

/// The offer of the provider's catalog, chosen.
pub(super) fn choice(provider: &World, purpose: Option<&str>) -> Option<Choice> {
    let rules = provider.look(judge::rules_in_force);
    let Some(Entity::Dataset(dataset)) = provider.get(&Key::Dataset(dataset_id())) else {
        return None;
    };
    let Some(Entity::Partner(asking)) = provider.get(&Key::Partner(CONSUMER.parse().unwrap()))
    else {
        return None;
    };
    let offers = judge::offers(
        &rules,
        PROVIDER,
        asking,
        dataset,
        &crate::derived::Lapsed::new(),
        provider.now,
    );
    let offered = offers.into_iter().next()?;
    Some(Choice {
        dataset: dataset_id(),
        offer: offered.id,
        terms: offered.offer,
        purpose: purpose.map(str::to_owned),
    })
}

pub(super) fn begin(
    consumer: &mut World,
    id: &str,
    choice: Option<&Choice>,
    purpose: Option<&str>,
) -> Result<Begun, Refusal> {
    begin_in(consumer, id, choice, purpose, false)
}

/// Begins, to be pulled or pushed.
pub(super) fn begin_in(
    consumer: &mut World,
    id: &str,
    choice: Option<&Choice>,
    purpose: Option<&str>,
    push: bool,
) -> Result<Begun, Refusal> {
    let wanted = Wanted {
        id: id.to_owned(),
        participant: PROVIDER.parse().unwrap(),
        dataset: dataset_id(),
        purpose: purpose.map(str::to_owned),
        person: Some("sato".to_owned()),
        push,
    };
    let (context, fresh) = (consumer.context.clone(), consumer.fresh());
    consumer.decide(|view| pull::begin(view, &context, &fresh, &wanted, choice, None, token_sha256))
}

pub(super) fn advance(consumer: &mut World, id: &str) -> Next {
    let (context, fresh) = (consumer.context.clone(), consumer.fresh());
    consumer.decide(|view| pull::advance(view, &context, &fresh, id, token_sha256)).unwrap()
}

pub(super) fn received(consumer: &mut World, id: &str) -> Pull {
    let (context, fresh) = (consumer.context.clone(), consumer.fresh());
    let arrival = Arrival {
        digests: Digests { sha256: "11".repeat(32), blake3: "22".repeat(32), size: 1000 },
        file_name: "footprints.csv".to_owned(),
        provenance_sha256: Some("33".repeat(32)),
    };
    consumer.decide(|view| pull::received(view, &context, &fresh, id, &arrival)).unwrap()
}

pub(super) fn fail(consumer: &mut World, id: &str, reason: &str) {
    let (context, fresh) = (consumer.context.clone(), consumer.fresh());
    let failure = Failure {
        code: "cancelled".to_owned(),
        reason: reason.to_owned(),
        reference: None,
        by_policy: false,
    };
    consumer.decide(|view| pull::fail(view, &context, &fresh, id, &failure)).unwrap();
}

pub(super) fn step(consumer: &World, id: &str) -> PullStep {
    match consumer.get(&Key::Pull(id.to_owned())) {
        Some(Entity::Pull(pull)) => pull.step.clone(),
        other => panic!("{other:?}"),
    }
}

/// Pulls until the transfer is started. The answer is the consumer's and the provider's id of it.
pub(super) fn started(consumer: &mut World, provider: &mut World, id: &str) -> (Pid, Pid) {
    let chosen = choice(provider, None).unwrap();
    begin(consumer, id, Some(&chosen), None).unwrap();
    settle(consumer, provider);
    advance(consumer, id);
    settle(consumer, provider);
    match advance(consumer, id) {
        Next::Download { transfer, .. } => (transfer.pid, transfer.peer_pid.unwrap()),
        next => panic!("{next:?}"),
    }
}

fn failure_of_pull(consumer: &World, id: &str) -> Failure {
    match step(consumer, id) {
        PullStep::Failed { failure } => failure,
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_pull_ends_with_both_sides_closed_and_nothing_owed() {
    let (mut consumer, mut provider) = pair("");
    let (own, theirs) = started(&mut consumer, &mut provider, "p");
    received(&mut consumer, "p");
    assert_eq!(consumer.kinds(0).last(), Some(&RecordKind::TransferCompleted));
    settle(&mut consumer, &mut provider);
    let fresh = consumer.fresh();
    consumer.decide(|view| pull::delivered(view, &fresh, "p")).unwrap();
    assert!(matches!(step(&consumer, "p"), PullStep::Delivered { .. }));
    assert_eq!(consumer.transfer(&own).process.state(), Some(TransferState::Completed));
    assert_eq!(provider.transfer(&theirs).process.state(), Some(TransferState::Completed));
    for (world, kind) in
        [(&consumer, Kind::Outbox), (&provider, Kind::Outbox), (&provider, Kind::Token)]
    {
        assert!(world.of_kind(kind).is_empty());
    }
    let indexed = consumer.of_kind(Kind::PeerProcess);
    assert!(indexed.is_empty(), "a consumer began these itself: {indexed:?}");
}

#[test]
fn a_standing_agreement_is_used_again_until_it_is_refused() {
    let (mut consumer, mut provider) = pair("\"count lteq 2\"");
    let chosen = choice(&provider, None).unwrap();
    for (number, id) in ["first", "second"].iter().enumerate() {
        let began = begin(&mut consumer, id, (number == 0).then_some(&chosen), None).unwrap();
        assert!(matches!(began, Begun::Running(_)));
        settle(&mut consumer, &mut provider);
        advance(&mut consumer, id);
        settle(&mut consumer, &mut provider);
        assert!(matches!(advance(&mut consumer, id), Next::Download { .. }), "{id}");
        received(&mut consumer, id);
        settle(&mut consumer, &mut provider);
    }
    assert_eq!(consumer.of_kind(Kind::Agreement).len(), 1);
    // The third use is one too many: exactly two are granted.
    begin(&mut consumer, "third", None, None).unwrap();
    settle(&mut consumer, &mut provider);
    advance(&mut consumer, "third");
    let failure = failure_of_pull(&consumer, "third");
    assert!(failure.by_policy && failure.reason.contains("count lteq 2"), "{failure:?}");
    assert!(failure.reference.is_some());
    let Some(Entity::Usage(usage)) = provider.get(&provider.of_kind(Kind::Usage)[0]) else {
        panic!()
    };
    assert_eq!(usage.uses, 2);
    // It stands no longer, so today's offers are asked for.
    assert_eq!(begin(&mut consumer, "fourth", None, None).unwrap(), Begun::NeedOffer);
}

#[test]
fn an_agreement_stands_for_its_purpose_only() {
    let conditions = "\"purpose isAnyOf [cfp-reporting, audit]\"";
    let (mut consumer, mut provider) = pair(conditions);
    let chosen = choice(&provider, Some("audit")).unwrap();
    begin(&mut consumer, "p", Some(&chosen), Some("audit")).unwrap();
    settle(&mut consumer, &mut provider);
    advance(&mut consumer, "p");
    let agreement = consumer.of_kind(Kind::Agreement);
    let Some(Entity::Agreement(agreement)) = consumer.get(&agreement[0]) else { panic!() };
    assert_eq!(agreement.purpose.as_deref(), Some("audit"));
    assert!(agreement.terms.to_string().contains("\"eq\""), "{}", agreement.terms);
    assert_eq!(begin(&mut consumer, "q", None, None).unwrap(), Begun::NeedOffer);
    assert!(matches!(begin(&mut consumer, "r", None, Some("audit")).unwrap(), Begun::Running(_)));
}

#[test]
fn a_refused_request_fails_the_pull_with_clause_and_reference() {
    let (mut consumer, mut provider) = pair("\"purpose eq audit\"");
    let chosen = choice(&provider, Some("marketing")).unwrap();
    begin(&mut consumer, "p", Some(&chosen), Some("marketing")).unwrap();
    settle(&mut consumer, &mut provider);
    advance(&mut consumer, "p");
    let failure = failure_of_pull(&consumer, "p");
    assert!(failure.by_policy && failure.reason.contains("marketing"), "{failure:?}");
    assert!(failure.reason.contains("`audit`"), "{failure:?}");
    assert!(failure.reference.unwrap().starts_with("urn:uuid:"));
    assert!(provider.of_kind(Kind::Negotiation).is_empty(), "a refused request leaves nothing");
}

#[test]
fn a_pull_that_is_given_up_early_ends_the_negotiation_on_both_sides() {
    for fate in [None, Some(Fate::Lost), Some(Fate::AnswerLost)] {
        let (mut consumer, mut provider) = pair("");
        let chosen = choice(&provider, None).unwrap();
        begin(&mut consumer, "p", Some(&chosen), None).unwrap();
        let pid = consumer.only(Kind::Negotiation);
        if let Some(fate) = fate {
            send(&mut consumer, &mut provider, &pid, fate);
        }
        fail(&mut consumer, "p", "nobody wants it");
        settle(&mut consumer, &mut provider);
        let own = consumer.negotiation(&pid);
        assert_eq!(own.process.state(), Some(NegotiationState::Terminated), "{fate:?}");
        assert!(own.process.is_closed());
        let theirs = provider.negotiation(&provider.only(Kind::Negotiation));
        assert_eq!(theirs.process.state(), Some(NegotiationState::Terminated), "{fate:?}");
        assert_eq!(theirs.failure.unwrap().reason, "nobody wants it");
    }
}

#[test]
fn a_suspended_partner_only_delays_a_pull() {
    let (mut consumer, mut provider) = pair("");
    let chosen = choice(&provider, None).unwrap();
    begin(&mut consumer, "p", Some(&chosen), None).unwrap();
    settle(&mut consumer, &mut provider);
    let key = Key::Partner(PROVIDER.parse().unwrap());
    let suspended = crate::entity::Partner { state: PartnerState::Suspended, ..partner(PROVIDER) };
    consumer.put(key.clone(), suspended);
    let Next::Wait(keys) = advance(&mut consumer, "p") else { panic!() };
    assert!(keys.contains(&key));
    assert_eq!(
        begin(&mut consumer, "q", None, None).unwrap_err().kind,
        crate::RefusalKind::Suspended
    );
    consumer.put(key.clone(), partner(PROVIDER));
    assert!(matches!(advance(&mut consumer, "p"), Next::Wait(_)));
    assert!(matches!(step(&consumer, "p"), PullStep::Transferring { .. }));
}

#[test]
fn bytes_that_came_before_a_suspension_end_the_transfer() {
    let (mut consumer, mut provider) = pair("");
    let (own, theirs) = started(&mut consumer, &mut provider, "p");
    let text = json!({
        "@context": [protocol::message::CONTEXT], "@type": "TransferSuspensionMessage", "@id": "urn:s",
        "consumerPid": own.as_str(), "providerPid": theirs.as_str(), "code": "x", "reason": ["y"],
    });
    consumer.receive(&provider.peer(), &text).unwrap();
    received(&mut consumer, "p");
    let process = consumer.transfer(&own).process;
    assert_eq!(process.pending().unwrap().target, TransferState::Terminated);
    settle(&mut consumer, &mut provider);
    assert!(provider.transfer(&theirs).process.is_closed());
}

#[test]
fn a_start_without_an_address_ends_pull_and_transfer() {
    let (mut consumer, mut provider) = pair("");
    let chosen = choice(&provider, None).unwrap();
    begin(&mut consumer, "p", Some(&chosen), None).unwrap();
    settle(&mut consumer, &mut provider);
    advance(&mut consumer, "p");
    let own = consumer.only(Kind::Transfer);
    send(&mut consumer, &mut provider, &own, Fate::Arrives);
    let theirs = provider.only(Kind::Transfer);
    let (_, mut text) = provider.due(&theirs).unwrap();
    text.as_object_mut().unwrap().remove("dataAddress");
    consumer.receive(&provider.peer(), &text).unwrap();
    assert!(matches!(advance(&mut consumer, "p"), Next::Closed(_)));
    assert_eq!(failure_of_pull(&consumer, "p").code, "no-data-address");
    assert_eq!(
        consumer.transfer(&own).process.pending().unwrap().target,
        TransferState::Terminated
    );
}

#[test]
fn what_cannot_be_delivered_ends_process_and_pull() {
    let (mut consumer, provider) = pair("");
    let chosen = choice(&provider, None).unwrap();
    begin(&mut consumer, "p", Some(&chosen), None).unwrap();
    let pid = consumer.only(Kind::Negotiation);
    let failure = Failure {
        code: "undelivered".to_owned(),
        reason: "not in time".to_owned(),
        reference: None,
        by_policy: false,
    };
    consumer.refused(&pid, 1, &failure);
    assert!(consumer.negotiation(&pid).process.is_closed());
    assert!(matches!(advance(&mut consumer, "p"), Next::Closed(_)));
    assert_eq!(failure_of_pull(&consumer, "p"), failure);
    // Told twice, it is the same.
    let records = consumer.records.len();
    consumer.refused(&pid, 1, &failure);
    consumer.acknowledged(&pid, 1, None);
    assert_eq!(consumer.records.len(), records);
}

#[test]
fn a_pull_goes_on_with_a_new_version_of_its_dataset_a_few_times() {
    let (mut consumer, mut provider) = pair("");
    let (first, _) = started(&mut consumer, &mut provider, "p");
    let mut transfers = vec![first];
    let mut republished = |consumer: &mut World| {
        let (context, fresh) = (consumer.context.clone(), consumer.fresh());
        let failure = Failure {
            code: pull::NEW_VERSION_CODE.to_owned(),
            reason: "the dataset has a new version".to_owned(),
            reference: None,
            by_policy: false,
        };
        consumer.decide(|view| pull::fail(view, &context, &fresh, "p", &failure)).unwrap();
        settle(consumer, &mut provider);
    };
    for round in 1..=3 {
        republished(&mut consumer);
        let PullStep::Transferring { transfer } = step(&consumer, "p") else {
            panic!("round {round}: {:?}", step(&consumer, "p"));
        };
        assert!(!transfers.contains(&transfer), "round {round}");
        let before = transfers.last().unwrap();
        assert_eq!(consumer.transfer(before).process.state(), Some(TransferState::Terminated));
        assert!(matches!(advance(&mut consumer, "p"), Next::Download { .. }), "round {round}");
        transfers.push(transfer);
    }
    republished(&mut consumer);
    assert_eq!(failure_of_pull(&consumer, "p").code, pull::NEW_VERSION_CODE);
}

#[test]
fn a_cancelled_pull_is_terminated_at_the_provider_and_stays_cancelled() {
    let (mut consumer, mut provider) = pair("");
    let (_, theirs) = started(&mut consumer, &mut provider, "p");
    for _ in 0..2 {
        let (context, fresh) = (consumer.context.clone(), consumer.fresh());
        let cancelled = consumer
            .decide(|view| pull::cancel(view, &context, &fresh, "p", "wrong file", Some("sato")));
        assert!(matches!(cancelled.unwrap().step, PullStep::Failed { .. }));
        settle(&mut consumer, &mut provider);
    }
    let failure = failure_of_pull(&consumer, "p");
    assert_eq!((failure.code.as_str(), failure.reason.as_str()), ("cancelled", "wrong file"));
    let mut records = consumer.records.iter();
    let by = records.find(|record| record.kind == RecordKind::PullFailed).unwrap();
    assert_eq!(by.body.person.as_deref(), Some("sato"));
    let told = provider.transfer(&theirs);
    assert_eq!(told.process.state(), Some(TransferState::Terminated));
    assert!(told.failure.is_some_and(|failure| failure.reason.contains("wrong file")));
}

//! Negotiations by hand, from either side, with counter-offers.

use protocol::id::Pid;
use protocol::negotiation::{MessageKind, Negotiation as Machinery, Process, State};
use protocol::process::{Machine as _, Role};
use serde_json::{Value, json};

use super::exchange::request;
use super::pulls::choice;
use super::world::*;
use crate::entity::{Agreement, Dataset, Negotiation, Partner};
use crate::negotiation::steps::{self, Beginning, Offering, Step};
use crate::{
    Category, Decider, Entity, Handling, Key, Kind, LogId, RecordDraft, RecordKind, Refusal,
    RefusalKind, approvals,
};

fn decider() -> Decider {
    Decider { person: Some("sato".to_owned()), reason: Some("agreed by telephone".to_owned()) }
}

pub(super) fn act(world: &mut World, pid: &Pid, step: &Step) -> Result<Negotiation, Refusal> {
    let (context, fresh, attempted) =
        (world.context.clone(), world.fresh(), world.attempted.contains(pid));
    world.decide(|view| steps::act(view, &context, &fresh, pid, step, &decider(), attempted))
}

fn approve(world: &mut World, pid: &Pid) -> Result<Negotiation, Refusal> {
    let (context, fresh) = (world.context.clone(), world.fresh());
    world.decide(|view| steps::approve(view, &context, &fresh, pid, &decider(), true))
}

/// The node's handling of everything with this partner.
pub(super) fn handles(world: &mut World, participant: &str, handling: Handling) {
    let known = Partner { handling: Some(handling), ..partner(participant) };
    world.put(Key::Partner(participant.parse().unwrap()), known);
}

fn beginning(participant: &str, handling: Option<Handling>) -> Beginning {
    Beginning { participant: participant.parse().unwrap(), handling, decider: decider() }
}

pub(super) fn offer(
    provider: &mut World,
    terms: Option<Value>,
    handling: Option<Handling>,
) -> Result<Negotiation, Refusal> {
    let offering = Offering { dataset: dataset_id(), offer: None, terms, purpose: None };
    let (context, fresh) = (provider.context.clone(), provider.fresh());
    provider.decide(|view| {
        let beginning = beginning(CONSUMER, handling);
        steps::begin_offer(view, &context, &fresh, &beginning, &offering)
    })
}

/// Use at most so often.
pub(super) fn terms(count: u32) -> Value {
    json!({ "permission": [{
        "action": "use",
        "constraint": [{ "leftOperand": "count", "operator": "lteq", "rightOperand": count }],
    }]})
}

fn counter(count: u32) -> Step {
    Step::Request { terms: terms(count), offer: Some("CD123:ACN0102:456".parse().unwrap()) }
}

fn state(world: &World, pid: &Pid) -> State {
    world.negotiation(pid).process.state().unwrap()
}

fn names(negotiation: &Negotiation) -> Vec<&'static str> {
    steps::possible(negotiation).into_iter().map(steps::name_of).collect()
}

fn agreement(world: &World) -> Agreement {
    let key = world.of_kind(Kind::Agreement).remove(0);
    match world.get(&key) {
        Some(Entity::Agreement(agreement)) => agreement.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_provider_by_hand_waits_at_each_step_and_the_record_says_who_and_why() {
    let (mut consumer, mut provider) = pair("");
    handles(&mut provider, CONSUMER, Handling::Manual);
    let (own, _) = request(&mut consumer, &provider, None);
    settle(&mut consumer, &mut provider);
    let theirs = provider.only(Kind::Negotiation);
    let waiting = provider.negotiation(&theirs);
    assert!(provider.owing().is_empty(), "nothing is sent before somebody decides");
    assert_eq!(names(&waiting), ["offer", "agree", "terminate"]);
    let deadline = waiting.awaiting.unwrap().deadline;
    assert_eq!(deadline.duration_since(provider.now), provider.context.approval_deadline);

    let before = provider.records.len();
    act(&mut provider, &theirs, &Step::Offer { terms: None }).unwrap();
    let record = &provider.records[before];
    assert_eq!(record.kind, RecordKind::NegotiationOffered);
    assert_eq!(record.body.person.as_deref(), Some("sato"));
    assert_eq!(record.account.reason.as_deref(), Some("agreed by telephone"));
    assert_eq!(provider.negotiation(&theirs).awaiting, None);
    // What was requested is offered: the consumer, which decides alone, accepts it.
    settle(&mut consumer, &mut provider);
    assert_eq!(state(&provider, &theirs), State::Accepted);
    assert_eq!(names(&provider.negotiation(&theirs)), ["agree", "terminate"]);
    approve(&mut provider, &theirs).unwrap();
    settle(&mut consumer, &mut provider);
    assert_eq!(state(&provider, &theirs), State::Verified);
    assert!(provider.negotiation(&theirs).awaiting.is_some());
    approve(&mut provider, &theirs).unwrap();
    settle(&mut consumer, &mut provider);
    assert_eq!(state(&provider, &theirs), State::Finalized);
    assert_eq!(state(&consumer, &own), State::Finalized);
    assert_eq!(agreement(&provider).handling, Handling::Manual);
    assert!(agreement(&provider).finalized && agreement(&consumer).finalized);
    let refusal = approve(&mut provider, &theirs).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::IllegalState);
}

#[test]
fn a_consumer_by_hand_accepts_and_verifies_when_told() {
    let (mut consumer, mut provider) = pair("");
    handles(&mut provider, CONSUMER, Handling::Manual);
    handles(&mut consumer, PROVIDER, Handling::Manual);
    let (own, _) = request(&mut consumer, &provider, None);
    settle(&mut consumer, &mut provider);
    let theirs = provider.only(Kind::Negotiation);
    act(&mut provider, &theirs, &Step::Offer { terms: None }).unwrap();
    settle(&mut consumer, &mut provider);
    assert_eq!(names(&consumer.negotiation(&own)), ["request", "accept", "terminate"]);
    approve(&mut consumer, &own).unwrap();
    settle(&mut consumer, &mut provider);
    approve(&mut provider, &theirs).unwrap();
    settle(&mut consumer, &mut provider);
    assert_eq!(names(&consumer.negotiation(&own)), ["verify", "terminate"]);
    assert!(!agreement(&consumer).finalized, "held, and not in force");
    approve(&mut consumer, &own).unwrap();
    settle(&mut consumer, &mut provider);
    approve(&mut provider, &theirs).unwrap();
    settle(&mut consumer, &mut provider);
    assert_eq!(state(&consumer, &own), State::Finalized);
}

#[test]
fn an_agreement_that_is_not_verified_by_hand_ends_with_the_negotiation() {
    let (mut consumer, mut provider) = pair("");
    handles(&mut consumer, PROVIDER, Handling::Manual);
    let (own, _) = request(&mut consumer, &provider, None);
    settle(&mut consumer, &mut provider);
    assert_eq!(state(&consumer, &own), State::Agreed);
    let (context, fresh) = (consumer.context.clone(), consumer.fresh());
    consumer
        .decide(|view| approvals::deny(view, &context, &fresh, &own, &decider(), false))
        .unwrap();
    let (_, text) = consumer.due(&own).unwrap();
    assert_eq!(text["code"], "denied");
    assert!(!text.to_string().contains("telephone"), "the partner is not told why: {text}");
    settle(&mut consumer, &mut provider);
    assert!(agreement(&consumer).ended.is_some() && agreement(&provider).ended.is_some());
}

#[test]
fn terms_given_by_hand_are_offered_judged_and_agreed() {
    let (mut consumer, mut provider) = pair("");
    handles(&mut provider, CONSUMER, Handling::Manual);
    handles(&mut consumer, PROVIDER, Handling::Manual);
    let (own, _) = request(&mut consumer, &provider, None);
    settle(&mut consumer, &mut provider);
    let theirs = provider.only(Kind::Negotiation);
    act(&mut provider, &theirs, &Step::Offer { terms: Some(terms(2)) }).unwrap();
    settle(&mut consumer, &mut provider);
    let offered = consumer.negotiation(&own);
    assert_eq!(
        offered.terms["permission"][0]["constraint"][0]["rightOperand"].to_string(),
        "\"2\""
    );
    assert_ne!(
        offered.offer,
        provider.negotiation(&theirs).offer,
        "another offer than the published"
    );
    act(&mut consumer, &own, &Step::Accept).unwrap();
    settle(&mut consumer, &mut provider);
    act(&mut provider, &theirs, &Step::Agree { terms: None }).unwrap();
    settle(&mut consumer, &mut provider);
    let (held, given) = (agreement(&consumer), agreement(&provider));
    assert_eq!(held.sha256, given.sha256);
    policy::terms::same_terms(&terms(2), &held.terms).unwrap();
}

#[test]
fn a_consumer_that_decides_alone_takes_no_other_offer_than_it_asked_for() {
    let (mut consumer, mut provider) = pair("");
    handles(&mut provider, CONSUMER, Handling::Manual);
    let (own, _) = request(&mut consumer, &provider, None);
    settle(&mut consumer, &mut provider);
    let theirs = provider.only(Kind::Negotiation);
    act(&mut provider, &theirs, &Step::Offer { terms: Some(terms(2)) }).unwrap();
    settle(&mut consumer, &mut provider);
    let ended = consumer.negotiation(&own);
    assert_eq!(ended.process.state(), Some(State::Terminated));
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "offer-differs");
    assert!(failure.reason.contains("use"), "{}", failure.reason);
    assert_eq!(state(&provider, &theirs), State::Terminated);
}

#[test]
fn nobody_decides_against_the_policy() {
    let (mut consumer, mut provider) = pair("\"dateTime lt 2026-06-01T00:00:00Z\"");
    handles(&mut provider, CONSUMER, Handling::Manual);
    request(&mut consumer, &provider, None);
    settle(&mut consumer, &mut provider);
    let theirs = provider.only(Kind::Negotiation);
    let late = json!({ "permission": [{ "action": "use", "constraint": [{
        "leftOperand": "dateTime", "operator": "lt", "rightOperand": "2025-01-01T00:00:00Z",
    }]}]});
    let before = provider.records.len();
    let refusal = act(&mut provider, &theirs, &Step::Offer { terms: Some(late) }).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Policy, "{}", refusal.internal);
    let unknown = json!({ "permission": "everything" });
    let refusal = act(&mut provider, &theirs, &Step::Offer { terms: Some(unknown) }).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid, "{}", refusal.internal);
    // What was permitted when it was asked for is judged when it is decided.
    provider.now = "2026-07-01T00:00:00Z".parse().unwrap();
    for step in [Step::Agree { terms: None }, Step::Offer { terms: None }] {
        act(&mut provider, &theirs, &step).unwrap_err();
    }
    provider.now = "2026-01-01T00:00:00Z".parse().unwrap();
    let withdrawn = Some(provider.now);
    provider.put(Key::Dataset(dataset_id()), Dataset { withdrawn, ..dataset(DATASET, "1") });
    let refusal = act(&mut provider, &theirs, &Step::Agree { terms: None }).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotFound);
    assert_eq!(provider.records.len(), before + 1, "only the withdrawal");
    assert!(provider.negotiation(&theirs).awaiting.is_some(), "it still waits");
}

#[test]
fn what_was_offered_and_is_withdrawn_is_not_agreed() {
    let (mut consumer, mut provider) = pair("");
    let theirs = offer(&mut provider, None, None).unwrap().pid;
    settle(&mut provider, &mut consumer);
    let own = consumer.only(Kind::Negotiation);
    let withdrawn = Some(provider.now);
    provider.put(Key::Dataset(dataset_id()), Dataset { withdrawn, ..dataset(DATASET, "1") });
    act(&mut consumer, &own, &Step::Accept).unwrap();
    settle(&mut provider, &mut consumer);
    let ended = provider.negotiation(&theirs);
    assert_eq!(ended.process.state(), Some(State::Terminated));
    assert_eq!(ended.failure.unwrap().code, "offer-withdrawn");
}

#[test]
fn an_offer_that_nobody_asked_for_waits_and_leads_to_an_agreement() {
    let (mut consumer, mut provider) = pair("");
    let theirs = offer(&mut provider, None, None).unwrap().pid;
    let (_, text) = provider.due(&theirs).unwrap();
    settle(&mut provider, &mut consumer);
    let own = consumer.only(Kind::Negotiation);
    let waiting = consumer.negotiation(&own);
    assert_eq!((waiting.initiator, waiting.handling), (Role::Provider, Handling::Manual));
    assert_eq!(state(&consumer, &own), State::Offered);
    // The same again has no second effect; another under its process id is refused.
    let records = consumer.records.len();
    let again = consumer.take_offer(&provider.peer(), &text).unwrap();
    assert_eq!((again.state, consumer.records.len()), (State::Offered, records));
    let mut other = text.clone();
    other["offer"]["permission"][0]["action"] = json!("distribute");
    let refusal = consumer.take_offer(&provider.peer(), &other).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    let mut elsewhere = text;
    elsewhere["providerPid"] = json!("urn:uuid:new");
    elsewhere["callbackAddress"] = json!("https://provider.example:444/dsp");
    let refusal = consumer.take_offer(&provider.peer(), &elsewhere).unwrap_err();
    assert!(refusal.external.contains("callbackAddress"), "{}", refusal.external);

    approve(&mut consumer, &own).unwrap();
    settle(&mut provider, &mut consumer);
    approve(&mut consumer, &own).unwrap();
    settle(&mut provider, &mut consumer);
    assert_eq!(state(&consumer, &own), State::Finalized);
    assert_eq!(state(&provider, &theirs), State::Finalized);
}

#[test]
fn a_node_that_decides_alone_refuses_offers_that_nobody_asked_for() {
    let (mut consumer, mut provider) = pair("");
    handles(&mut consumer, PROVIDER, Handling::Auto);
    let theirs = offer(&mut provider, None, None).unwrap().pid;
    settle(&mut provider, &mut consumer);
    let ended = provider.negotiation(&theirs);
    assert_eq!(ended.process.state(), Some(State::Terminated));
    assert_eq!(ended.failure.unwrap().code, "unasked");
}

#[test]
fn a_provider_that_decides_alone_repeats_its_offer_once_and_then_ends() {
    let (mut consumer, mut provider) = pair("");
    let theirs = offer(&mut provider, None, None).unwrap().pid;
    settle(&mut provider, &mut consumer);
    let own = consumer.only(Kind::Negotiation);
    let first = consumer.negotiation(&own).terms;
    act(&mut consumer, &own, &counter(2)).unwrap();
    settle(&mut provider, &mut consumer);
    assert_eq!(state(&consumer, &own), State::Offered);
    assert_eq!(consumer.negotiation(&own).terms, first, "the offer stands");
    act(&mut consumer, &own, &counter(2)).unwrap();
    settle(&mut provider, &mut consumer);
    let ended = provider.negotiation(&theirs);
    assert_eq!(ended.process.state(), Some(State::Terminated));
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "offer-stands");
    assert!(failure.reason.contains("use"), "the difference is named: {}", failure.reason);
}

#[test]
fn a_counter_request_for_what_is_offered_is_agreed() {
    let (mut consumer, mut provider) = pair("");
    let theirs = offer(&mut provider, Some(terms(5)), None).unwrap().pid;
    settle(&mut provider, &mut consumer);
    let own = consumer.only(Kind::Negotiation);
    act(&mut consumer, &own, &counter(5)).unwrap();
    settle(&mut provider, &mut consumer);
    assert_eq!(state(&provider, &theirs), State::Agreed);
    approve(&mut consumer, &own).unwrap();
    settle(&mut provider, &mut consumer);
    assert_eq!(state(&consumer, &own), State::Finalized);
}

#[test]
fn terms_of_the_partner_are_agreed_only_by_who_repeats_them() {
    let (mut consumer, mut provider) = pair("");
    let theirs = offer(&mut provider, None, Some(Handling::Manual)).unwrap().pid;
    settle(&mut provider, &mut consumer);
    let own = consumer.only(Kind::Negotiation);
    act(&mut consumer, &own, &counter(7)).unwrap();
    settle(&mut provider, &mut consumer);
    assert_eq!(state(&provider, &theirs), State::Requested);
    // A second one, while the first waits, is not legal in REQUESTED.
    let mut again = json!({
        "@context": [protocol::message::CONTEXT], "@type": "ContractRequestMessage", "@id": "urn:again",
        "consumerPid": own.as_str(), "providerPid": theirs.as_str(),
        "offer": { "@id": "urn:o", "@type": "Offer", "target": DATASET, "permission": [{ "action": "use" }] },
    });
    let refusal = provider.receive(&consumer.peer(), &again).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::IllegalState);
    let refusal = approve(&mut provider, &theirs).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Policy, "approving takes published terms only");
    let wrong = Step::Agree { terms: Some(terms(8)) };
    assert_eq!(act(&mut provider, &theirs, &wrong).unwrap_err().kind, RefusalKind::Invalid);
    act(&mut provider, &theirs, &Step::Agree { terms: Some(terms(7)) }).unwrap();
    settle(&mut provider, &mut consumer);
    assert!(provider.negotiation(&theirs).bargained);
    policy::terms::same_terms(&terms(7), &agreement(&consumer).terms).unwrap();

    // A counter-request about something else.
    let (mut consumer, mut provider) = pair("");
    let theirs = offer(&mut provider, None, Some(Handling::Manual)).unwrap().pid;
    settle(&mut provider, &mut consumer);
    let own = consumer.only(Kind::Negotiation);
    again["consumerPid"] = json!(own.as_str());
    again["providerPid"] = json!(theirs.as_str());
    again["offer"]["target"] = json!("urn:example:other");
    let refusal = provider.receive(&consumer.peer(), &again).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    assert_eq!(state(&provider, &theirs), State::Offered);
}

#[test]
fn a_request_for_other_terms_waits_for_a_person_where_there_is_one() {
    let (mut consumer, mut provider) = pair("");
    handles(&mut provider, CONSUMER, Handling::Manual);
    let mut chosen = choice(&provider, None).unwrap();
    chosen.terms = terms(3);
    let (context, fresh) = (consumer.context.clone(), consumer.fresh());
    let own = consumer
        .decide(|view| {
            let beginning = beginning(PROVIDER, Some(Handling::Manual));
            steps::begin_request(view, &context, &fresh, &beginning, &chosen)
        })
        .unwrap();
    settle(&mut consumer, &mut provider);
    let theirs = provider.only(Kind::Negotiation);
    assert_eq!(state(&provider, &theirs), State::Requested);
    act(&mut provider, &theirs, &Step::Offer { terms: None }).unwrap();
    settle(&mut consumer, &mut provider);
    assert_eq!(state(&consumer, &own.pid), State::Offered);
    act(&mut consumer, &own.pid, &Step::Accept).unwrap();
    settle(&mut consumer, &mut provider);
    approve(&mut provider, &theirs).unwrap();
    settle(&mut consumer, &mut provider);
    policy::terms::same_terms(
        &json!({ "permission": [{ "action": "use" }] }),
        &agreement(&consumer).terms,
    )
    .unwrap();
}

/// Both sides with a negotiation of theirs, the one of `role` in `state`.
fn in_state(role: Role, state: State, handling: Handling) -> (World, World, Pid, Pid) {
    let (mut consumer, mut provider) = pair("");
    let (own, _) = request(&mut consumer, &provider, None);
    settle(&mut consumer, &mut provider);
    let theirs = provider.only(Kind::Negotiation);
    let (world, pid) = match role {
        Role::Consumer => (&mut consumer, &own),
        Role::Provider => (&mut provider, &theirs),
    };
    let mut changed = world.negotiation(pid);
    changed.process = Process::in_state(role, state);
    changed.handling = handling;
    if state < State::Agreed {
        changed.agreement = None;
    }
    let mut draft = RecordDraft::new(LogId::Site, RecordKind::SiteStarted, Category::Service)
        .put(Key::Negotiation(pid.clone()), changed);
    if role == Role::Provider {
        let index = crate::entity::PeerProcess {
            v: 1,
            pid: pid.clone(),
            transfer: false,
            closed: Machinery::is_terminal(state),
        };
        draft = draft.put(Key::PeerProcess(CONSUMER.parse().unwrap(), own.clone()), index);
    }
    world.apply(vec![draft]);
    (consumer, provider, own, theirs)
}

fn text(kind: MessageKind, own: &Pid, theirs: &Pid, offer: &Value, agreement: &Value) -> Value {
    let mut text = json!({
        "@context": [protocol::message::CONTEXT], "@type": kind.message_type(), "@id": "urn:m",
        "consumerPid": own.as_str(), "providerPid": theirs.as_str(),
    });
    match kind {
        MessageKind::Request | MessageKind::Offer => text["offer"] = offer.clone(),
        MessageKind::Accepted => text["eventType"] = json!("ACCEPTED"),
        MessageKind::Finalized => text["eventType"] = json!("FINALIZED"),
        MessageKind::Agreement => text["agreement"] = agreement.clone(),
        MessageKind::Verification | MessageKind::Termination => {}
    }
    text
}

#[test]
fn every_message_in_every_state_role_and_handling_is_as_the_protocol_says() {
    for role in [Role::Consumer, Role::Provider] {
        for state in State::ALL {
            for handling in [Handling::Auto, Handling::Manual] {
                for kind in Machinery::MESSAGES {
                    let name = format!("{role} in {state} ({handling:?}) takes {kind}");
                    let (mut consumer, mut provider, own, theirs) = in_state(role, state, handling);
                    let offer = consumer.negotiation(&own).terms;
                    let mut agreed = agreement(&provider).terms;
                    agreed["@id"] = json!("urn:uuid:another");
                    let message = text(*kind, &own, &theirs, &offer, &agreed);
                    let (world, peer, pid) = match role {
                        Role::Consumer => (&mut consumer, provider.peer(), &own),
                        Role::Provider => (&mut provider, consumer.peer(), &theirs),
                    };
                    let taken = world.take_at(&peer, pid, &message);
                    let Some(next) = Machinery::next(Some(state), *kind, role.peer()) else {
                        let refusal = taken.unwrap_err();
                        assert_eq!(refusal.kind, RefusalKind::IllegalState, "{name}");
                        continue;
                    };
                    taken.unwrap_or_else(|refusal| panic!("{name}: {}", refusal.internal));
                    let after = world.negotiation(pid);
                    assert_eq!(after.process.state(), Some(next), "{name}");
                    let ours =
                        Machinery::next(Some(next), MessageKind::Termination, role).is_some();
                    let answers = after.process.pending().is_some();
                    let waits = after.awaiting.is_some();
                    match handling {
                        Handling::Manual => assert_eq!((answers, waits), (false, ours), "{name}"),
                        Handling::Auto => assert_eq!((answers, waits), (ours, false), "{name}"),
                    }
                }
            }
        }
    }
}

#[test]
fn every_step_in_every_state_and_role_is_taken_or_refused_with_those_that_are_possible() {
    let all = [
        Step::Offer { terms: None },
        counter(2),
        Step::Accept,
        Step::Agree { terms: None },
        Step::Verify,
        Step::Finalize,
        Step::Terminate { code: "x".to_owned(), reason: "y".to_owned() },
    ];
    for role in [Role::Consumer, Role::Provider] {
        for state in State::ALL {
            for step in &all {
                let name = format!("{role} in {state}: {step:?}");
                let (mut consumer, mut provider, own, theirs) =
                    in_state(role, state, Handling::Manual);
                let (world, pid) = match role {
                    Role::Consumer => (&mut consumer, &own),
                    Role::Provider => (&mut provider, &theirs),
                };
                let taken = act(world, pid, step);
                if Machinery::next(Some(state), step.message(), role).is_some() {
                    let after =
                        taken.unwrap_or_else(|refusal| panic!("{name}: {}", refusal.internal));
                    let pending = after.process.pending().map(|pending| pending.message);
                    assert_eq!(pending, Some(step.message()), "{name}");
                    assert_eq!(
                        names(&world.negotiation(pid)).len(),
                        usize::from(pending != Some(MessageKind::Termination))
                    );
                } else {
                    let refusal = taken.unwrap_err();
                    assert_eq!(refusal.kind, RefusalKind::IllegalState, "{name}");
                    let possible = names(&world.negotiation(pid));
                    for step in &possible {
                        assert!(refusal.internal.contains(step), "{name}: {}", refusal.internal);
                    }
                }
            }
        }
    }
}

#[test]
fn what_nobody_decides_ends_at_its_deadline() {
    let (mut consumer, mut provider) = pair("");
    handles(&mut provider, CONSUMER, Handling::Manual);
    let (own, _) = request(&mut consumer, &provider, None);
    settle(&mut consumer, &mut provider);
    let theirs = provider.only(Kind::Negotiation);
    provider.now = provider.negotiation(&theirs).awaiting.unwrap().deadline;
    let (context, fresh) = (provider.context.clone(), provider.fresh());
    let key = Key::Negotiation(theirs.clone());
    provider.decide(|view| crate::deadline::expire(view, &context, &fresh, &key, false));
    settle(&mut consumer, &mut provider);
    let ended = consumer.negotiation(&own);
    assert_eq!(ended.process.state(), Some(State::Terminated));
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, crate::deadline::EXPIRED);
    assert!(failure.reason.contains("nobody"), "{}", failure.reason);
}

#[test]
fn identifiers_are_opaque() {
    for id in [
        "TCK_PARTICIPANT",
        "CD123:ACN0102:456",
        "6a2f0d1e-0b1f-4c7e-9c3d-3f0e5a1b2c3d",
        "offerACNC0101",
    ] {
        id.parse::<protocol::id::ParticipantId>().unwrap();
        id.parse::<protocol::id::OfferId>().unwrap();
        id.parse::<protocol::id::DatasetId>().unwrap();
        id.parse::<protocol::id::AgreementId>().unwrap();
    }
    let (mut consumer, mut provider) = pair("");
    let theirs = offer(&mut provider, None, Some(Handling::Manual)).unwrap().pid;
    settle(&mut provider, &mut consumer);
    let own = consumer.only(Kind::Negotiation);
    act(&mut consumer, &own, &counter(2)).unwrap();
    settle(&mut provider, &mut consumer);
    assert_eq!(provider.negotiation(&theirs).terms["@id"], "CD123:ACN0102:456");
}

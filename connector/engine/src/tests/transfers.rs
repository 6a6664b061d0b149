//! Steps of ours and messages of the partner, over every state, role and handling.

use protocol::id::Pid;
use protocol::process::Role;
use protocol::transfer::{MessageKind, Process, State};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::pulls::started;
use super::world::*;
use crate::entity::{PeerProcess, Transfer};
use crate::transfer::{Acted, Order, Prepared, Step, Wanted, act, begin, steps};
use crate::{
    Category, Decider, Handling, Key, Kind, LogId, RecordDraft, RecordKind, Refusal, RefusalKind,
};

const BY_CONSUMER: State = State::Suspended(Role::Consumer);
const BY_PROVIDER: State = State::Suspended(Role::Provider);

fn order(step: Step) -> Order {
    let by = Decider { person: Some("sato".to_owned()), reason: Some("because".to_owned()) };
    Order { step, code: None, by }
}

/// Takes a step of ours; grants are signed as they are asked for.
pub(super) fn take(world: &mut World, pid: &Pid, step: Step) -> Result<Transfer, Refusal> {
    try_take(world, pid, step).map(|taken| taken.expect("nothing of ours is under way"))
}

/// The same; nothing where a message of ours is under way.
pub(super) fn try_take(
    world: &mut World,
    pid: &Pid,
    step: Step,
) -> Result<Option<Transfer>, Refusal> {
    let (context, fresh) = (world.context.clone(), world.fresh());
    let (attempted, order) = (world.attempted.contains(pid), order(step));
    let mut prepared = None;
    for _ in 0..3 {
        let acted = world.decide(|view| {
            let prepared = prepared.as_ref();
            act(view, &context, &fresh, pid, attempted, &order, prepared, token_sha256)
        })?;
        match acted {
            Acted::Done(transfer) => return Ok(Some(*transfer)),
            Acted::Busy(_) => return Ok(None),
            Acted::Prepare(facts) => {
                prepared = Some(Prepared {
                    provenance: format!("provenance of {}", facts.transfer),
                    provenance_sha256: hex::encode(Sha256::digest(facts.transfer.as_str())),
                    token_sha256: token_sha256(&facts.transfer, facts.generation),
                    facts: *facts,
                });
            }
        }
    }
    panic!("the facts of a grant never settle");
}

/// Puts a transfer that was started into another state, as though it had come there.
pub(super) fn put_in_state(world: &mut World, pid: &Pid, state: State, handling: Handling) {
    let mut transfer = world.transfer(pid);
    transfer.process = Process::in_state(transfer.process.role(), state);
    transfer.handling = handling;
    let closed = transfer.process.is_closed();
    let mut record = RecordDraft::new(LogId::Site, RecordKind::SiteStarted, Category::Service);
    if let (true, Some(grant)) = (closed || state == State::Requested, &transfer.grant) {
        record = record.remove(Key::Token(grant.token_sha256.clone()));
    }
    if state == State::Requested {
        transfer.grant = None;
    }
    if transfer.process.role() == Role::Provider {
        let theirs = transfer.peer_pid.clone().unwrap();
        record = record.put(
            Key::PeerProcess(transfer.participant.clone(), theirs),
            PeerProcess { v: 1, pid: pid.clone(), transfer: true, closed },
        );
    }
    world.apply(vec![record.put(Key::Transfer(pid.clone()), transfer)]);
}

/// The node in a role with a transfer in a state, the partner's node, and the ids of the transfer: ours, the partner's.
fn node_in(role: Role, state: State, handling: Handling) -> (World, World, Pid, Pid) {
    let (mut consumer, mut provider) = pair("");
    let (own, theirs) = started(&mut consumer, &mut provider, "p");
    let (mut node, partner, own, theirs) = match role {
        Role::Consumer => (consumer, provider, own, theirs),
        Role::Provider => (provider, consumer, theirs, own),
    };
    put_in_state(&mut node, &own, state, handling);
    (node, partner, own, theirs)
}

fn message(role: Role, own: &Pid, theirs: &Pid, kind: MessageKind) -> Value {
    let (consumer, provider) = match role {
        Role::Consumer => (own, theirs),
        Role::Provider => (theirs, own),
    };
    let mut text = json!({
        "@context": [protocol::message::CONTEXT], "@type": kind.message_type(), "@id": "urn:m",
        "consumerPid": consumer.as_str(), "providerPid": provider.as_str(),
    });
    if kind == MessageKind::Start && role == Role::Consumer {
        text["dataAddress"] = json!({
            "@type": "DataAddress", "endpointType": "https://w3id.org/idsa/v4.1/HTTP",
            "endpoint": "http://example.com",
        });
    }
    text
}

/// What each side may do in each state; nothing else is legal.
const STEPS: [(Role, State, &[Step]); 14] = {
    use Role::{Consumer, Provider};
    use Step::{Complete, Resume, Start, Suspend, Terminate};
    [
        (Provider, State::Requested, &[Start, Terminate]),
        (Provider, State::Started, &[Suspend, Complete, Terminate]),
        (Provider, State::Resumed, &[Start, Suspend, Complete, Terminate]),
        (Provider, BY_PROVIDER, &[Resume, Terminate]),
        (Provider, BY_CONSUMER, &[Terminate]),
        (Provider, State::Completed, &[]),
        (Provider, State::Terminated, &[]),
        (Consumer, State::Requested, &[Terminate]),
        (Consumer, State::Started, &[Suspend, Complete, Terminate]),
        (Consumer, State::Resumed, &[Suspend, Complete, Terminate]),
        (Consumer, BY_CONSUMER, &[Resume, Terminate]),
        (Consumer, BY_PROVIDER, &[Terminate]),
        (Consumer, State::Completed, &[]),
        (Consumer, State::Terminated, &[]),
    ]
};

#[test]
fn every_step_in_every_state_of_either_role_and_handling() {
    for (role, state, legal) in STEPS {
        for handling in [Handling::Auto, Handling::Manual] {
            for step in Step::ALL {
                let case = format!("{step} as {role} in {state}, {handling:?}");
                let (mut node, mut partner, own, _) = node_in(role, state, handling);
                assert_eq!(steps(&node.transfer(&own)), legal, "{case}");
                let before = node.records.len();
                let taken = take(&mut node, &own, step);
                if !legal.contains(&step) {
                    let refusal = taken.expect_err(&case);
                    assert_eq!(refusal.kind, RefusalKind::IllegalState, "{case}");
                    assert_eq!(node.records.len(), before, "{case}");
                    continue;
                }
                taken.expect(&case);
                let record = node.records.last().unwrap();
                assert_eq!(record.body.person.as_deref(), Some("sato"), "{case}");
                assert_eq!(record.account.reason.as_deref(), Some("because"), "{case}");
                let pending = node.transfer(&own).process.pending().expect(&case);
                let (due, text) = node.due(&own).expect(&case);
                assert_eq!(text["@type"], pending.message.message_type(), "{case}");
                let is_start = matches!(step, Step::Start | Step::Resume);
                let names_address = text.get("dataAddress").is_some();
                assert_eq!(names_address, is_start && role == Role::Provider, "{case}");
                assert!(due.entity.terminates == (step == Step::Terminate), "{case}");
                // Acknowledged, it is done.
                put_in_state_of(&mut partner, &node, role, state);
                node.acknowledged(&own, due.number, None);
                assert_eq!(node.transfer(&own).process.state(), Some(pending.target), "{case}");
            }
        }
    }
}

/// The partner's transfer comes to the same state; it takes what is legal.
pub(super) fn put_in_state_of(partner: &mut World, node: &World, role: Role, state: State) {
    let theirs = partner.only(Kind::Transfer);
    put_in_state(partner, &theirs, state, Handling::Auto);
    let own = node.only(Kind::Transfer);
    if let Some((_, text)) = node.due(&own)
        && (role == Role::Provider || text["@type"] != "TransferStartMessage")
    {
        partner.receive(&node.peer(), &text).unwrap();
    }
}

/// What comes of each message in each state of its receiver: the state after it; nothing where it is refused.
#[rustfmt::skip]
const RECEIVED: [(Role, State, [Option<State>; 4]); 14] = {
    use Role::{Consumer, Provider};
    use State::{Completed, Requested, Resumed, Started, Terminated};
    [
        //                      start          suspension         completion       termination
        (Provider, Requested,   [None,          None,              None,            Some(Terminated)]),
        (Provider, Started,     [None,          Some(BY_CONSUMER), Some(Completed), Some(Terminated)]),
        (Provider, Resumed,     [None,          Some(BY_CONSUMER), Some(Completed), Some(Terminated)]),
        (Provider, BY_CONSUMER, [Some(Resumed), None,              None,            Some(Terminated)]),
        (Provider, BY_PROVIDER, [None,          None,              None,            Some(Terminated)]),
        (Provider, Completed,   [None,          None,              None,            None]),
        (Provider, Terminated,  [None,          None,              None,            None]),
        (Consumer, Requested,   [Some(Started), None,              None,            Some(Terminated)]),
        (Consumer, Started,     [None,          Some(BY_PROVIDER), Some(Completed), Some(Terminated)]),
        (Consumer, Resumed,     [Some(Started), Some(BY_PROVIDER), Some(Completed), Some(Terminated)]),
        (Consumer, BY_CONSUMER, [None,          None,              None,            Some(Terminated)]),
        (Consumer, BY_PROVIDER, [Some(Started), None,              None,            Some(Terminated)]),
        (Consumer, Completed,   [None,          None,              None,            None]),
        (Consumer, Terminated,  [None,          None,              None,            None]),
    ]
};

#[test]
fn every_message_in_every_state_of_either_role_and_handling() {
    use MessageKind::{Completion, Start, Suspension, Termination};
    for (role, state, after) in RECEIVED {
        for handling in [Handling::Auto, Handling::Manual] {
            for (kind, after) in [Start, Suspension, Completion, Termination].into_iter().zip(after)
            {
                let case = format!("{kind} to the {role} in {state}, {handling:?}");
                let (mut node, partner, own, theirs) = node_in(role, state, handling);
                let before = node.records.len();
                let text = message(role, &own, &theirs, kind);
                let taken = node.receive(&partner.peer(), &text);
                let transfer = node.transfer(&own);
                let Some(after) = after else {
                    let refusal = taken.expect_err(&case);
                    assert_eq!(refusal.kind, RefusalKind::IllegalState, "{case}");
                    assert_eq!(transfer.process.state(), Some(state), "{case}");
                    assert_eq!(node.records.len(), before, "{case}");
                    continue;
                };
                taken.expect(&case);
                assert_eq!(transfer.process.state(), Some(after), "{case}");
                // Only a resumption asks for a step of ours: our own start, by us or by somebody who decides.
                let asks = after == State::Resumed;
                let owed = transfer.process.pending().map(|pending| pending.message);
                let manual = handling == Handling::Manual;
                assert_eq!(owed, (asks && !manual).then_some(Start), "{case}");
                assert_eq!(transfer.awaiting.is_some(), asks && manual, "{case}");
                if asks && manual {
                    take(&mut node, &own, Step::Start).expect(&case);
                    let grant = node.transfer(&own).grant.unwrap();
                    assert_eq!(grant.generation, 2, "{case}");
                }
            }
        }
    }
}

fn manual(world: &mut World, side: Kind) {
    let keys = world.of_kind(side);
    for key in keys {
        if let Some(crate::Entity::Agreement(agreement)) = world.get(&key).cloned() {
            let agreement = crate::entity::Agreement { handling: Handling::Manual, ..agreement };
            world.put(key, agreement);
        }
    }
}

/// An agreement under manual handling, and a transfer that was requested under it: the consumer's and provider's id.
fn requested() -> (World, World, Pid, Pid) {
    let (mut consumer, mut provider) = pair("\"count lteq 1\"");
    let chosen = super::pulls::choice(&provider, None).unwrap();
    super::pulls::begin(&mut consumer, "p", Some(&chosen), None).unwrap();
    settle(&mut consumer, &mut provider);
    manual(&mut provider, Kind::Agreement);
    super::pulls::advance(&mut consumer, "p");
    settle(&mut consumer, &mut provider);
    let (own, theirs) = (consumer.only(Kind::Transfer), provider.only(Kind::Transfer));
    (consumer, provider, own, theirs)
}

#[test]
fn a_request_under_a_manual_agreement_waits_for_a_decision() {
    let (mut consumer, mut provider, own, theirs) = requested();
    let waiting = provider.transfer(&theirs);
    assert_eq!(waiting.process.state(), Some(State::Requested));
    assert!(waiting.grant.is_none() && waiting.awaiting.is_some());
    assert!(provider.owing().is_empty() && provider.of_kind(Kind::Usage).is_empty());
    assert_eq!(provider.kinds(0).last(), Some(&RecordKind::DecisionAwaited));
    // The same request again has no second effect.
    let before = provider.records.len();
    let request = consumer.records.iter().rev().find_map(|record| record.body.message.clone());
    provider.receive(&consumer.peer(), &request.unwrap()).unwrap();
    assert_eq!(provider.records.len(), before);

    take(&mut provider, &theirs, Step::Start).unwrap();
    let granted = provider.transfer(&theirs);
    assert_eq!(granted.grant.as_ref().unwrap().use_number, 1);
    assert!(granted.awaiting.is_none());
    settle(&mut consumer, &mut provider);
    assert_eq!(consumer.transfer(&own).process.state(), Some(State::Started));
    assert_eq!(provider.transfer(&theirs).process.state(), Some(State::Started));
}

#[test]
fn a_person_decides_among_what_the_policy_permits_never_against_it() {
    let (_, mut provider, _, theirs) = requested();
    let key = Key::Usage(
        CONSUMER.parse().unwrap(),
        super::pulls::choice(&provider, None).unwrap().offer,
        dataset_id(),
    );
    provider.put(key, crate::entity::Usage { v: 1, uses: 1, latest: Some(provider.now) });
    let refusal = take(&mut provider, &theirs, Step::Start).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Policy);
    assert!(provider.transfer(&theirs).awaiting.is_some(), "it can still be denied");
    take(&mut provider, &theirs, Step::Terminate).unwrap();
    assert!(provider.transfer(&theirs).awaiting.is_none());
}

#[test]
fn both_sides_suspend_and_resume_and_agree_on_the_state() {
    for role in [Role::Provider, Role::Consumer] {
        let (mut consumer, mut provider) = pair("\"count lteq 1\"");
        let (own, theirs) = started(&mut consumer, &mut provider, "p");
        let states = |consumer: &World, provider: &World| {
            let states = [consumer.transfer(&own), provider.transfer(&theirs)];
            states.map(|transfer| transfer.process.state().unwrap())
        };
        let node = |role, step, consumer: &mut World, provider: &mut World| match role {
            Role::Provider => take(provider, &theirs, step),
            Role::Consumer => take(consumer, &own, step),
        };
        node(role, Step::Suspend, &mut consumer, &mut provider).unwrap();
        settle(&mut consumer, &mut provider);
        assert_eq!(states(&consumer, &provider), [State::Suspended(role); 2]);
        // The other side cannot resume, nor can it complete.
        for step in [Step::Resume, Step::Complete] {
            let refused = node(role.peer(), step, &mut consumer, &mut provider).unwrap_err();
            assert_eq!(refused.kind, RefusalKind::IllegalState, "{role} {step}");
        }
        let waits = super::pulls::advance(&mut consumer, "p");
        assert!(matches!(waits, crate::pull::Next::Wait(_)), "{role}: {waits:?}");
        node(role, Step::Resume, &mut consumer, &mut provider).unwrap();
        settle(&mut consumer, &mut provider);
        assert_eq!(states(&consumer, &provider), [State::Started; 2]);
        let grant = provider.transfer(&theirs).grant.unwrap();
        assert_eq!((grant.generation, grant.use_number), (2, 1), "{role}");
        let source = consumer.transfer(&own).source.unwrap();
        assert_eq!(source.sealed_token, Some(token_sha256(&theirs, 2)), "{role}");
        let goes_on = super::pulls::advance(&mut consumer, "p");
        assert!(matches!(goes_on, crate::pull::Next::Download { .. }), "{role}: {goes_on:?}");
    }
}

#[test]
fn a_transfer_begun_by_command_is_driven_by_steps_alone() {
    let (mut consumer, mut provider) = pair("");
    let (first, _) = started(&mut consumer, &mut provider, "p");
    let agreement = consumer.transfer(&first).agreement;
    let (context, fresh) = (consumer.context.clone(), consumer.fresh());
    let by = Decider { person: Some("sato".to_owned()), reason: Some("by hand".to_owned()) };
    let participant = PROVIDER.parse().unwrap();
    let begun = consumer
        .decide(|view| {
            let wanted = Wanted::default();
            begin(view, &context, &fresh, &participant, &agreement, &wanted, &by)
        })
        .unwrap();
    let record = consumer.records.last().unwrap();
    assert_eq!(record.body.person.as_deref(), Some("sato"));
    assert_eq!(record.account.reason.as_deref(), Some("by hand"));
    settle(&mut consumer, &mut provider);
    assert_eq!(consumer.transfer(&begun.pid).process.state(), Some(State::Started));
    take(&mut consumer, &begun.pid, Step::Complete).unwrap();
    settle(&mut consumer, &mut provider);
    assert_eq!(consumer.transfer(&begun.pid).process.state(), Some(State::Completed));
    let fresh = consumer.fresh();
    let unknown = "urn:nothing".parse().unwrap();
    let refusal = consumer
        .decide(|view| {
            let wanted = Wanted::default();
            begin(view, &context, &fresh, &participant, &unknown, &wanted, &by)
        })
        .unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotFound);
}

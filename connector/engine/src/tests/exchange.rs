//! Messages of partners: what is taken, what is refused and in which words, and what a repeat does.

use protocol::id::Pid;
use protocol::negotiation::State as Negotiated;
use protocol::transfer::State as Transferred;
use serde_json::{Value, json};

use super::pulls::{advance, begin, choice, started};
use super::world::*;
use crate::context::Peer;
use crate::entity::{Agreement, ClockRefusal, Dataset, Partner, PartnerState, Site};
use crate::{Entity, Key, Kind, RecordKind, Refusal, RefusalKind, negotiation, transfer};

/// The consumer's first message.
pub(super) fn request(
    consumer: &mut World,
    provider: &World,
    purpose: Option<&str>,
) -> (Pid, Value) {
    let chosen = choice(provider, purpose).unwrap();
    begin(consumer, "p", Some(&chosen), purpose).unwrap();
    let pid = consumer.only(Kind::Negotiation);
    let (_, text) = consumer.due(&pid).unwrap();
    (pid, text)
}

/// A change of a message, by name.
type Change = (&'static str, fn(&mut Value));

/// A change of a message, by name, how it is refused, and a word of the refusal.
type Wrong = (&'static str, fn(&mut Value), RefusalKind, &'static str);

#[test]
fn what_may_not_be_seen_and_what_does_not_exist_are_refused_in_the_same_words() {
    let (mut consumer, mut provider) = pair("");
    let (_, seen) = request(&mut consumer, &provider, None);
    let mut hidden = dataset("urn:example:hidden!", "1");
    hidden.id = "urn:example:another".parse().unwrap();
    provider.put(Key::Dataset(hidden.id.clone()), hidden);
    let changes: [Change; 4] = [
        ("hidden", |text| text["offer"]["target"] = json!("urn:example:another")),
        ("missing", |text| text["offer"]["target"] = json!("urn:example:missing")),
        ("other offer", |text| text["offer"]["@id"] = json!("urn:example:offer")),
        ("both", |text| {
            text["offer"]["@id"] = json!("urn:example:offer");
            text["offer"]["target"] = json!("urn:example:missing");
        }),
    ];
    let peer = consumer.peer();
    let mut told = Vec::new();
    for (name, change) in changes {
        let mut text = seen.clone();
        change(&mut text);
        let refusal = provider.take_request(&peer, &text).unwrap_err();
        assert!(refusal.internal.contains("visible"), "{name}: {}", refusal.internal);
        told.push((refusal.kind, refusal.external, refusal.reference.len()));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, RefusalKind::NotFound);
    // Withdrawn is as good as not there.
    let withdrawn = Some(provider.now);
    provider.put(Key::Dataset(dataset_id()), Dataset { withdrawn, ..dataset(DATASET, "1") });
    let refusal = provider.take_request(&peer, &seen).unwrap_err();
    assert_eq!((refusal.kind, refusal.external, refusal.reference.len()), told[0]);
    assert!(provider.of_kind(Kind::Negotiation).is_empty());
    assert!(provider.of_kind(Kind::PeerProcess).is_empty(), "a refused request is judged anew");
}

#[test]
fn a_visible_offer_is_refused_with_what_is_wrong() {
    let conditions = "\"purpose isAnyOf [audit, reporting]\", \"count lteq 2\"";
    let changes: [Wrong; 5] = [
        (
            "purpose",
            |text| text[protocol::message::PURPOSE] = json!("marketing"),
            RefusalKind::Policy,
            "marketing",
        ),
        (
            "terms",
            |text| {
                let changed =
                    text["offer"].to_string().replace("\"2\"", "\"9\"").replace(":2}", ":9}");
                text["offer"] = serde_json::from_str(&changed).unwrap();
            },
            RefusalKind::Policy,
            "not those offered",
        ),
        (
            "more permissions",
            |text| {
                let more = json!({ "action": "distribute" });
                text["offer"]["permission"].as_array_mut().unwrap().push(more);
            },
            RefusalKind::Policy,
            "distribute",
        ),
        (
            "callback",
            |text| text["callbackAddress"] = json!("https://elsewhere.example/dsp"),
            RefusalKind::Invalid,
            "callbackAddress",
        ),
        (
            "callback port",
            |text| text["callbackAddress"] = json!("https://consumer.example:444/dsp"),
            RefusalKind::Invalid,
            "callbackAddress",
        ),
    ];
    for (name, change, kind, words) in changes {
        let (mut consumer, mut provider) = pair(conditions);
        let (_, mut text) = request(&mut consumer, &provider, None);
        change(&mut text);
        let before = provider.records.len();
        let refusal = provider.take_request(&consumer.peer(), &text).unwrap_err();
        assert_eq!(refusal.kind, kind, "{name}: {}", refusal.external);
        assert!(refusal.external.contains(words), "{name}: {}", refusal.external);
        assert_eq!(provider.records.len(), before, "{name}");
    }
}

#[test]
fn a_suspended_partner_and_a_doubtful_clock_refuse_whatever_is_asked() {
    let (mut consumer, mut provider) = pair("");
    let (own, theirs) = started(&mut consumer, &mut provider, "p");
    let negotiation = provider.only(Kind::Negotiation);
    let peer = consumer.peer();
    begin(&mut consumer, "q", None, None).unwrap();
    let transfers = consumer.of_kind(Kind::Transfer);
    let pids = transfers.iter().filter_map(|key| match key {
        Key::Transfer(pid) if *pid != own => consumer.due(pid),
        _ => None,
    });
    let asking_transfer = pids.map(|(_, text)| text).next().unwrap();
    let (mut other, _) = pair("");
    let (_, mut asking_contract) = request(&mut other, &provider, None);
    asking_contract["consumerPid"] = json!("urn:uuid:new");

    let clock_refused =
        Some(ClockRefusal { reason: "it went back".to_owned(), since: provider.now });
    let participant = provider.context.participant.clone();
    let site = Site { v: 1, participant, epoch: 1, clock_refused, running: true };
    provider.put(Key::Site, site.clone());
    for text in [&asking_contract, &asking_transfer] {
        let refusal = provider.receive(&peer, text).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Unavailable);
        assert!(!refusal.external.contains("clock"), "{}", refusal.external);
        assert!(refusal.internal.contains("sekisho clock accept"), "{}", refusal.internal);
    }
    provider.put(Key::Site, Site { clock_refused: None, ..site });
    let suspended = Partner { state: PartnerState::Suspended, ..partner(CONSUMER) };
    provider.put(Key::Partner(CONSUMER.parse().unwrap()), suspended);
    let fresh = provider.fresh();
    let mut refusals: Vec<Refusal> = [&asking_contract, &asking_transfer]
        .map(|text| provider.receive(&peer, text).unwrap_err())
        .into();
    refusals.push(provider.take_at(&peer, &theirs, &ended(&own, &theirs, true)).unwrap_err());
    let asked = |view: &dyn crate::View| negotiation::status(view, &fresh, &peer, &negotiation);
    refusals.push(provider.look(asked).reply.unwrap_err());
    let asked = |view: &dyn crate::View| transfer::status(view, &fresh, &peer, &theirs);
    refusals.push(provider.look(asked).reply.unwrap_err());
    for refusal in refusals {
        assert_eq!(refusal.kind, RefusalKind::Suspended, "{}", refusal.internal);
    }
}

fn ended(own: &Pid, theirs: &Pid, of_transfer: bool) -> Value {
    let kind = if of_transfer {
        "TransferTerminationMessage"
    } else {
        "ContractNegotiationTerminationMessage"
    };
    json!({
        "@context": [protocol::message::CONTEXT], "@type": kind, "@id": "urn:ended",
        "consumerPid": own.as_str(), "providerPid": theirs.as_str(), "code": "x", "reason": ["y"],
    })
}

#[test]
fn a_process_is_known_to_its_partner_only() {
    let (mut consumer, mut provider) = pair("");
    let (own, theirs) = started(&mut consumer, &mut provider, "p");
    let negotiation = provider.only(Kind::Negotiation);
    provider.put(Key::Partner("urn:example:other".parse().unwrap()), partner("urn:example:other"));
    let other = Peer { participant: "urn:example:other".parse().unwrap(), ..consumer.peer() };
    let missing = Pid::new("urn:uuid:missing").unwrap();
    for of_transfer in [true, false] {
        let known = if of_transfer { &theirs } else { &negotiation };
        for (peer, pid) in [(&other, known), (&consumer.peer(), &missing)] {
            let text = ended(&own, pid, of_transfer);
            let refusal = provider.take_at(peer, pid, &text).unwrap_err();
            let told = (refusal.kind, refusal.external.as_str());
            assert_eq!(told, (RefusalKind::NotFound, "not found"));
        }
        let text = ended(&missing, known, of_transfer);
        let refusal = provider.take_at(&consumer.peer(), known, &text).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Invalid, "another process id of the partner");
    }
    // Some connectors name their own process id twice; that is still this process.
    let text = ended(&own, &own, true);
    provider.take_at(&consumer.peer(), &theirs, &text).unwrap();
    assert_eq!(provider.transfer(&theirs).process.state(), Some(Transferred::Terminated));
}

#[test]
fn a_partner_whose_process_id_is_unknown_must_name_ours() {
    let (mut consumer, mut provider) = pair("");
    let (own, text) = request(&mut consumer, &provider, None);
    provider.receive(&consumer.peer(), &text).unwrap();
    consumer.attempted.insert(own.clone());
    let theirs = provider.only(Kind::Negotiation);
    let (_, mut text) = provider.due(&theirs).unwrap();
    text["consumerPid"] = text["providerPid"].clone();
    let refusal = consumer.take_at(&provider.peer(), &own, &text).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    assert_eq!(
        consumer.negotiation(&own).peer_pid,
        None,
        "nothing is learned from a refused message"
    );
}

#[test]
fn repeats_get_the_first_answer_and_have_no_second_effect() {
    let (mut consumer, mut provider) = pair("");
    let (_, text) = request(&mut consumer, &provider, None);
    let peer = consumer.peer();
    let first = provider.take_request(&peer, &text).unwrap();
    let records = provider.records.len();
    let mut renamed = text.clone();
    renamed["@id"] = json!("urn:another");
    let mut nameless = text.clone();
    nameless.as_object_mut().unwrap().remove("@id");
    for again in [&text, &renamed, &nameless] {
        assert_eq!(
            provider.take_request(&peer, again).unwrap(),
            negotiation::Status { pending: true, ..first.clone() }
        );
    }
    let mut other = text.clone();
    other["offer"]["target"] = json!("urn:example:missing");
    let refusal = provider.take_request(&peer, &other).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    let transfer = json!({
        "@context": [protocol::message::CONTEXT], "@type": "TransferRequestMessage", "@id": "urn:t",
        "consumerPid": text["consumerPid"], "agreementId": "urn:a", "format": "HttpData-PULL",
        "callbackAddress": "https://consumer.example/dsp",
    });
    let refusal = provider.receive(&peer, &transfer).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid, "one process id for two processes");
    assert_eq!(provider.records.len(), records);
}

#[test]
fn a_later_message_repeated_is_known_by_its_id_or_its_content() {
    let (mut consumer, mut provider) = pair("");
    let (own, _) = request(&mut consumer, &provider, None);
    send(&mut consumer, &mut provider, &own, Fate::Arrives);
    let theirs = provider.only(Kind::Negotiation);
    send(&mut provider, &mut consumer, &theirs, Fate::Arrives);
    let (_, text) = consumer.due(&own).unwrap();
    let mut nameless = text.clone();
    nameless.as_object_mut().unwrap().remove("@id");
    let peer = consumer.peer();
    provider.receive(&peer, &nameless).unwrap();
    assert_eq!(provider.negotiation(&theirs).process.state(), Some(Negotiated::Verified));
    let records = provider.records.len();
    // Our own message in answer is no transition of the process yet.
    provider.receive(&peer, &nameless).unwrap();
    assert_eq!(provider.records.len(), records);
    let ended = ended(&own, &theirs, false);
    provider.attempted.insert(theirs.clone());
    provider.receive(&peer, &ended).unwrap();
    let mut changed = ended.clone();
    changed["code"] = json!("other");
    let refusal = provider.receive(&peer, &changed).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    provider.receive(&peer, &ended).unwrap();
    let after = provider.receive(&peer, &nameless).unwrap_err();
    assert_eq!(after.kind, RefusalKind::IllegalState, "the process has moved since");
}

#[test]
fn messages_are_taken_in_the_states_of_the_protocol_only() {
    use protocol::process::{Machine as _, Role};
    let kinds = [
        "TransferStartMessage",
        "TransferSuspensionMessage",
        "TransferCompletionMessage",
        "TransferTerminationMessage",
    ];
    let messages = &protocol::transfer::Transfer::MESSAGES[1..];
    for role in [Role::Consumer, Role::Provider] {
        for state in Transferred::ALL {
            for (kind, message) in kinds.iter().zip(messages) {
                let (mut consumer, mut provider) = pair("");
                let (own, theirs) = started(&mut consumer, &mut provider, "p");
                let (world, peer, pid) = match role {
                    Role::Consumer => (&mut consumer, provider.peer(), &own),
                    Role::Provider => (&mut provider, consumer.peer(), &theirs),
                };
                let mut transfer = world.transfer(pid);
                transfer.process = protocol::transfer::Process::in_state(role, state);
                let records = crate::transfer::finish(vec![draft()], &mut transfer);
                world.apply(records);
                let text = json!({
                    "@context": [protocol::message::CONTEXT], "@type": kind, "@id": "urn:m",
                    "consumerPid": own.as_str(), "providerPid": theirs.as_str(),
                });
                let taken = world.receive(&peer, &text);
                let next = protocol::transfer::Transfer::next(Some(state), *message, role.peer());
                match next {
                    Some(next) => {
                        assert!(taken.is_ok(), "{role} in {state} takes {kind}: {taken:?}");
                        assert_eq!(world.transfer(pid).process.state(), Some(next));
                    }
                    None => assert_eq!(taken.unwrap_err().kind, RefusalKind::IllegalState),
                }
            }
        }
    }
}

fn draft() -> crate::RecordDraft {
    crate::RecordDraft::new(crate::LogId::Site, RecordKind::SiteStarted, crate::Category::Service)
}

#[test]
fn an_agreement_that_differs_from_the_request_is_refused_by_an_end() {
    let changes: [Change; 4] = [
        ("assignee", |agreement| agreement["assignee"] = json!("urn:example:other")),
        ("assigner", |agreement| agreement["assigner"] = json!("urn:example:other")),
        ("target", |agreement| agreement["target"] = json!("urn:example:other")),
        ("rules", |agreement| {
            let constraint =
                json!([{ "leftOperand": "count", "operator": "lteq", "rightOperand": 1 }]);
            agreement["permission"][0]["constraint"] = constraint;
        }),
    ];
    for (name, change) in changes {
        let (mut consumer, mut provider) = pair("");
        let (own, _) = request(&mut consumer, &provider, None);
        send(&mut consumer, &mut provider, &own, Fate::Arrives);
        let theirs = provider.only(Kind::Negotiation);
        let (_, mut text) = provider.due(&theirs).unwrap();
        change(&mut text["agreement"]);
        consumer.receive(&provider.peer(), &text).unwrap();
        let (_, answer) = consumer.due(&own).unwrap();
        assert_eq!(answer["code"], "agreement-differs", "{name}");
        assert!(consumer.of_kind(Kind::Agreement).is_empty(), "{name}");
        // The pull does not wait until the provider has heard.
        assert!(matches!(advance(&mut consumer, "p"), crate::pull::Next::Closed(_)), "{name}");
    }
}

#[test]
fn an_agreement_is_in_force_on_both_sides_or_on_none() {
    let (mut consumer, mut provider) = pair("");
    let (own, _) = request(&mut consumer, &provider, None);
    for _ in 0..3 {
        let pid = provider.of_kind(Kind::Negotiation).into_iter().next();
        send(&mut consumer, &mut provider, &own, Fate::Arrives);
        if let Some(Key::Negotiation(pid)) = pid {
            provider.attempted.insert(pid.clone());
            if provider.negotiation(&pid).process.state() != Some(Negotiated::Verified) {
                send(&mut provider, &mut consumer, &pid, Fate::Arrives);
            }
        }
    }
    let theirs = provider.only(Kind::Negotiation);
    assert_eq!(provider.negotiation(&theirs).process.state(), Some(Negotiated::Verified));
    // The consumer ends it while our last message is on its way: that ends the agreement which it would have finalized.
    let before = provider.records.len();
    provider.receive(&consumer.peer(), &ended(&own, &theirs, false)).unwrap();
    assert_eq!(
        provider.kinds(before),
        [RecordKind::NegotiationTerminated, RecordKind::AgreementEnded]
    );
    assert!(provider.records[before..].iter().all(|record| record.essential));
    assert!(provider.owing().is_empty());
    let key = provider.of_kind(Kind::Agreement).remove(0);
    let Some(Entity::Agreement(Agreement { ended, .. })) = provider.get(&key) else { panic!() };
    assert!(ended.is_some());
}

#[test]
fn a_transfer_request_shows_that_the_agreement_was_finalized() {
    let (mut consumer, mut provider) = pair("");
    let (own, _) = request(&mut consumer, &provider, None);
    for _ in 0..2 {
        send(&mut consumer, &mut provider, &own, Fate::Arrives);
        let theirs = provider.only(Kind::Negotiation);
        let last = provider.negotiation(&theirs).process.state() == Some(Negotiated::Verified);
        let fate = if last { Fate::AnswerLost } else { Fate::Arrives };
        send(&mut provider, &mut consumer, &theirs, fate);
    }
    let theirs = provider.only(Kind::Negotiation);
    assert!(provider.negotiation(&theirs).process.pending().is_some());
    advance(&mut consumer, "p");
    let transfer = consumer.only(Kind::Transfer);
    assert_eq!(send(&mut consumer, &mut provider, &transfer, Fate::Arrives), Some(Ok(())));
    let negotiation = provider.negotiation(&theirs);
    assert!(negotiation.process.is_closed() && negotiation.outbox.is_empty());
    assert_eq!(negotiation.process.state(), Some(Negotiated::Finalized));
}

#[test]
fn transfer_requests_are_refused_with_what_is_wrong() {
    let changes: [Wrong; 4] = [
        (
            "agreement",
            |text| text["agreementId"] = json!("urn:none"),
            RefusalKind::NotFound,
            "not found",
        ),
        (
            "format",
            |text| text["format"] = json!("AmazonS3-PUSH"),
            RefusalKind::Invalid,
            "HttpData-PULL, HttpData-PUSH",
        ),
        (
            "push to nowhere",
            |text| text["format"] = json!("HttpData-PUSH"),
            RefusalKind::Invalid,
            "dataAddress",
        ),
        (
            "callback",
            |text| text["callbackAddress"] = json!("https://consumer.example:444/dsp"),
            RefusalKind::Invalid,
            "callbackAddress",
        ),
    ];
    let (mut consumer, mut provider) = pair("");
    started(&mut consumer, &mut provider, "p");
    begin(&mut consumer, "q", None, None).unwrap();
    let owing = consumer.owing();
    let (_, text) = consumer.due(&owing[0]).unwrap();
    let before = provider.records.len();
    for (name, change, kind, words) in changes {
        let mut text = text.clone();
        change(&mut text);
        let refusal = provider.receive(&consumer.peer(), &text).unwrap_err();
        assert_eq!(refusal.kind, kind, "{name}");
        assert!(refusal.external.contains(words), "{name}: {}", refusal.external);
    }
    assert_eq!(provider.records.len(), before);
    provider.receive(&consumer.peer(), &text).unwrap();
}

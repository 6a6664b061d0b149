//! Pushes: what may be sent, and what is taken.

use protocol::id::Pid;
use protocol::process::Role;
use protocol::transfer::State;
use serde_json::{Value, json};

use super::pulls::{advance, begin_in, choice, fail, received};
use super::transfers::put_in_state;
use super::world::*;
use crate::context::Peer;
use crate::data::admit_push;
use crate::entity::Agreement;
use crate::push::{self, Admitted, Next, admit_upload};
use crate::{Entity, Handling, Key, Kind, Refusal, RefusalKind, pull};

/// A push that both sides know to be started: the consumer's and the provider's id of it.
fn started() -> (World, World, Pid, Pid) {
    let (mut consumer, mut provider) = pair("");
    let chosen = choice(&provider, None).unwrap();
    begin_in(&mut consumer, "p", Some(&chosen), None, true).unwrap();
    settle(&mut consumer, &mut provider);
    advance(&mut consumer, "p");
    settle(&mut consumer, &mut provider);
    let (own, theirs) = (consumer.only(Kind::Transfer), provider.only(Kind::Transfer));
    (consumer, provider, own, theirs)
}

fn next(provider: &World, pid: &Pid) -> Next {
    provider.look(|view| push::next(view, pid)).reply
}

fn upload(consumer: &mut World, peer: &Peer, pid: &Pid, token: &str) -> Result<Admitted, Refusal> {
    let fresh = consumer.fresh();
    consumer.decide(|view| admit_upload(view, &fresh, peer, pid, token))
}

#[test]
fn a_push_is_requested_with_a_token_and_started_without_an_address() {
    let (mut consumer, provider, own, theirs) = started();
    let target = provider.transfer(&theirs).target.unwrap();
    assert!(target.endpoint.ends_with("/upload") && target.endpoint.contains(own.as_str()));
    assert_eq!(target.sealed_token, Some(format!("sealed {}", token_sha256(&own, 1))));
    let sent = |world: &World, kind: &str| -> Value {
        let mut texts = world.records.iter().filter_map(|record| record.body.message.clone());
        texts.find(|text| text["@type"] == kind).unwrap()
    };
    let request = sent(&consumer, "TransferRequestMessage");
    assert_eq!(request["format"], "HttpData-PUSH");
    assert!(!request.to_string().contains(&token_sha256(&own, 1)), "no secret is kept");
    let start = sent(&provider, "TransferStartMessage");
    assert!(start.get("dataAddress").is_none(), "{start}");
    assert!(matches!(next(&provider, &theirs), Next::Push(_)));
    assert!(
        matches!(advance(&mut consumer, "p"), pull::Next::Wait(_)),
        "the bytes come by themselves"
    );
}

#[test]
fn how_data_are_delivered_is_what_the_transfer_says() {
    for (channel, push, granted) in [
        ("HttpData-PUSH", true, true),
        ("HttpData-PUSH", false, false),
        ("HttpData-PULL", true, false),
        ("HttpData-PULL", false, true),
    ] {
        let (mut consumer, mut provider) = pair(&format!("\"deliveryChannel eq {channel}\""));
        let chosen = choice(&provider, None).unwrap();
        begin_in(&mut consumer, "p", Some(&chosen), None, push).unwrap();
        settle(&mut consumer, &mut provider);
        advance(&mut consumer, "p");
        settle(&mut consumer, &mut provider);
        let transfers = provider.of_kind(Kind::Transfer);
        assert_eq!(!transfers.is_empty(), granted, "{channel}, push: {push}");
    }
}

#[test]
fn a_push_to_where_we_may_not_dial_or_without_a_secret_is_refused() {
    let (mut consumer, mut provider, ..) = started();
    begin_in(&mut consumer, "q", None, None, true).unwrap();
    let owing = consumer.owing();
    let (_, text) = consumer.due(&owing[0]).unwrap();
    type Change = (&'static str, fn(&mut Value));
    let changes: [Change; 4] = [
        ("registered origins", |address| address["endpoint"] = json!("https://x.example/data")),
        ("endpointType", |address| address["endpointType"] = json!("s3")),
        ("authorization", |address| address["endpointProperties"] = json!([])),
        ("endpoint", |address| {
            address.as_object_mut().unwrap().remove("endpoint");
        }),
    ];
    for (words, change) in changes {
        let mut text = text.clone();
        change(&mut text["dataAddress"]);
        let refusal = provider.receive(&consumer.peer(), &text).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Invalid, "{words}");
        assert!(refusal.external.contains(words), "{words}: {}", refusal.external);
    }
    provider.receive(&consumer.peer(), &text).unwrap();
}

#[test]
fn bytes_are_sent_and_taken_in_started_alone() {
    let by = State::Suspended;
    let states = [
        (State::Requested, false, true),
        (State::Started, true, true),
        (State::Resumed, false, true),
        (by(Role::Provider), false, true),
        (by(Role::Consumer), false, true),
        (State::Completed, false, false),
        (State::Terminated, false, false),
    ];
    for (state, flows, open) in states {
        let (mut consumer, mut provider, own, theirs) = started();
        put_in_state(&mut consumer, &own, state, Handling::Auto);
        put_in_state(&mut provider, &theirs, state, Handling::Auto);
        assert_eq!(matches!(next(&provider, &theirs), Next::Push(_)), flows, "{state}");
        assert_eq!(matches!(next(&provider, &theirs), Next::Over), !open, "{state}");
        let fresh = provider.fresh();
        let permitted = provider.look(|view| admit_push(view, &fresh, &theirs));
        assert_eq!(permitted.permit.is_some(), flows, "{state}");
        let taken = upload(&mut consumer, &provider.peer(), &own, &token_sha256(&own, 1));
        match taken {
            Ok(taken) => assert!(flows && matches!(taken, Admitted::Open { .. }), "{state}"),
            Err(refusal) if open => assert_eq!(refusal.kind, RefusalKind::Unavailable, "{state}"),
            Err(refusal) => assert_eq!(refusal.kind, RefusalKind::IllegalState, "{state}"),
        }
    }
}

#[test]
fn an_upload_is_opened_by_its_partner_with_its_token_and_stays_answered_when_it_is_here() {
    let (mut consumer, provider, own, theirs) = started();
    let (peer, token) = (provider.peer(), token_sha256(&own, 1));
    let other = "urn:example:other";
    consumer.put(Key::Partner(other.parse().unwrap()), partner(other));
    let stranger = Peer { participant: other.parse().unwrap(), ..peer.clone() };
    for (asking, pid, token) in [
        (&stranger, &own, token.as_str()),
        (&peer, &own, "00"),
        (&peer, &own, token_sha256(&theirs, 1).as_str()),
        (&peer, &theirs, token.as_str()),
    ] {
        let refusal = upload(&mut consumer, asking, pid, token).unwrap_err();
        assert_eq!((refusal.kind, refusal.external.as_str()), (RefusalKind::NotFound, "not found"));
    }
    received(&mut consumer, "p");
    let again = upload(&mut consumer, &peer, &own, &token).unwrap();
    assert_eq!(again, Admitted::Received { size: 1000 });
    let fresh = consumer.fresh();
    consumer.decide(|view| pull::delivered(view, &fresh, "p")).unwrap();
    assert_eq!(upload(&mut consumer, &peer, &own, &token).unwrap(), again);
}

#[test]
fn nothing_is_taken_or_sent_for_a_pull_that_failed_or_an_agreement_that_ended() {
    let (mut consumer, provider, own, _) = started();
    fail(&mut consumer, "p", "no need");
    let refusal =
        upload(&mut consumer, &provider.peer(), &own, &token_sha256(&own, 1)).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::IllegalState);

    let (mut consumer, mut provider, own, theirs) = started();
    for world in [&mut consumer, &mut provider] {
        let key = world.of_kind(Kind::Agreement).remove(0);
        let Some(Entity::Agreement(found)) = world.get(&key).cloned() else { panic!() };
        let ended = Some((world.now, "over".to_owned()));
        world.put(key, Agreement { ended, ..found });
    }
    let refusal =
        upload(&mut consumer, &provider.peer(), &own, &token_sha256(&own, 1)).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::AgreementEnded);
    let fresh = provider.fresh();
    let refused = provider.look(|view| admit_push(view, &fresh, &theirs)).reply.unwrap_err();
    assert_eq!(push::ends(&refused), Some("agreement-ended"));
}

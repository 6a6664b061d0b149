use super::*;
use crate::negotiation::{self, Negotiation};
use crate::transfer::{self, Transfer};

mod crossing;
mod simulation;

type Sending = (negotiation::Process, negotiation::MessageKind);

/// A provider in REQUESTED with an offer pending.
fn offering() -> Sending {
    use negotiation::{MessageKind, Process, State};
    let process = Process::in_state(Role::Provider, State::Requested);
    (process.send(MessageKind::Offer).unwrap().process, MessageKind::Offer)
}

#[test]
fn a_message_takes_effect_when_it_is_acknowledged() {
    use negotiation::{MessageKind, Process, State};
    let begun = Process::begin(Role::Consumer, MessageKind::Request).unwrap();
    assert_eq!(begun.state(), None);
    assert!(!begun.pending().unwrap().attempted);
    let acknowledged = begun.attempted().acknowledged();
    assert_eq!(acknowledged, Process::in_state(Role::Consumer, State::Requested));
    assert_eq!(acknowledged.acknowledged(), acknowledged, "a late answer changes nothing");
    assert_eq!(acknowledged.refused(), acknowledged);

    let (offer, _) = offering();
    assert_eq!(offer.state(), Some(State::Requested));
    assert_eq!(offer.attempted().refused(), Process::in_state(Role::Provider, State::Requested));
}

#[test]
fn a_process_begins_only_with_its_first_message() {
    use negotiation::{MessageKind, Process, State};
    for (role, message, state) in [
        (Role::Consumer, MessageKind::Request, State::Requested),
        (Role::Provider, MessageKind::Offer, State::Offered),
    ] {
        let begun = Process::begin(role, message).unwrap();
        assert_eq!(begun.pending().unwrap().target, state);
        let theirs = Process::begun_by_peer(role.peer(), message).unwrap();
        assert_eq!(theirs, Process::in_state(role.peer(), state));
        assert!(Process::begin(role.peer(), message).is_err());
        assert!(Process::begun_by_peer(role, message).is_err());
    }
    assert!(Process::begin(Role::Consumer, MessageKind::Termination).is_err());
    assert!(transfer::Process::begin(Role::Provider, transfer::MessageKind::Start).is_err());
}

#[test]
fn a_first_message_that_is_refused_ends_the_process() {
    use negotiation::{MessageKind, Process, State};
    let begun = Process::begin(Role::Consumer, MessageKind::Request).unwrap().attempted();
    let ended = Process::in_state(Role::Consumer, State::Terminated);
    assert_eq!(begun.refused(), ended);
    assert_eq!(begun.send(MessageKind::Termination).unwrap().process.refused(), ended);
}

#[test]
fn at_most_one_message_is_pending() {
    use negotiation::MessageKind;
    let (offer, own) = offering();
    for process in [offer, offer.attempted()] {
        let rejection = process.send(MessageKind::Agreement).unwrap_err();
        assert_eq!(rejection, Rejection::Busy { message: MessageKind::Agreement, pending: own });
    }
}

#[test]
fn a_termination_withdraws_what_was_not_attempted() {
    use negotiation::{MessageKind, Process, State};
    let (offer, _) = offering();
    let sent = offer.send(MessageKind::Termination).unwrap();
    assert_eq!((sent.delivery, sent.withdrew_own), (Delivery::Now, true));
    assert_eq!(sent.process.pending().unwrap().message, MessageKind::Termination);

    let begun = Process::begin(Role::Consumer, MessageKind::Request).unwrap();
    let sent = begun.send(MessageKind::Termination).unwrap();
    assert_eq!((sent.delivery, sent.withdrew_own), (Delivery::Unneeded, true));
    assert_eq!(sent.process, Process::in_state(Role::Consumer, State::Terminated));
}

#[test]
fn a_termination_queues_behind_what_was_attempted() {
    use negotiation::{MessageKind, State};
    let (offer, _) = offering();
    let sent = offer.attempted().send(MessageKind::Termination).unwrap();
    assert_eq!((sent.delivery, sent.withdrew_own), (Delivery::Queued, false));
    assert!(sent.process.termination_queued());
    assert_eq!(sent.process.pending(), offer.attempted().pending());
    let again = sent.process.send(MessageKind::Termination).unwrap_err();
    assert_eq!(again, Rejection::Terminating { message: MessageKind::Termination });

    for (settled, state) in [
        (sent.process.acknowledged(), State::Offered),
        (sent.process.refused(), State::Requested),
        // The counter-request shows that the offer arrived.
        (sent.process.receive(MessageKind::Request).unwrap().process, State::Requested),
    ] {
        assert_eq!(settled.state(), Some(state));
        let pending = settled.pending().unwrap();
        assert_eq!((pending.message, pending.attempted), (MessageKind::Termination, false));
        assert!(!settled.termination_queued());
    }
    let theirs = sent.process.receive(MessageKind::Termination).unwrap();
    assert!(theirs.dropped_own && theirs.process.is_closed());
}

#[test]
fn a_queued_termination_falls_away_when_the_process_ends() {
    use transfer::{MessageKind, Process, State};
    let completing =
        Process::in_state(Role::Consumer, State::Started).send(MessageKind::Completion).unwrap();
    let queued = completing.process.attempted().send(MessageKind::Termination).unwrap().process;
    assert_eq!(queued.acknowledged(), Process::in_state(Role::Consumer, State::Completed));
    assert_eq!(queued.refused().pending().unwrap().message, MessageKind::Termination);
}

#[test]
fn the_peers_acts_acknowledge_what_they_presuppose() {
    use negotiation::{MessageKind, Process, State};
    let verified = Process::in_state(Role::Provider, State::Verified);
    let finalizing = verified.send(MessageKind::Finalized).unwrap().process;
    let finalized = Process::in_state(Role::Provider, State::Finalized);
    assert_eq!(finalizing.attempted().witness(State::Finalized), Ok(finalized));
    assert_eq!(finalized.witness(State::Finalized), Ok(finalized));
    assert_eq!(finalizing.attempted().witness(State::Verified), Ok(finalizing.attempted()));
    for process in [finalizing, verified] {
        let rejection = process.witness(State::Finalized).unwrap_err();
        assert_eq!(
            rejection.to_string(),
            "the peer takes the process to be in state FINALIZED, but it is in VERIFIED"
        );
    }
}

#[test]
fn a_quick_first_answer_acknowledges_the_first_message() {
    use negotiation::{MessageKind, Process, State};
    let begun = Process::begin(Role::Consumer, MessageKind::Request).unwrap();
    let early = begun.receive(MessageKind::Agreement).unwrap_err();
    assert!(early.to_string().ends_with("state before its first message; legal: none"), "{early}");

    let received = begun.attempted().receive(MessageKind::Agreement).unwrap();
    assert!(received.acknowledged_own && !received.dropped_own);
    assert_eq!(received.process, Process::in_state(Role::Consumer, State::Agreed));
    assert!(begun.attempted().receive(MessageKind::Finalized).is_err());
}

#[test]
fn storage_keeps_every_process_and_refuses_what_cannot_be() {
    let (offer, _) = offering();
    let queued = offer.attempted().send(negotiation::MessageKind::Termination).unwrap().process;
    for process in [offer, offer.attempted(), queued, queued.acknowledged()] {
        let stored = serde_json::to_string(&process).unwrap();
        assert_eq!(serde_json::from_str::<negotiation::Process>(&stored).unwrap(), process);
    }
    assert_eq!(
        serde_json::to_string(&queued).unwrap(),
        r#"{"role":"provider","state":"REQUESTED","pending":"ContractOfferMessage","attempted":true,"termination_queued":true}"#
    );
    for stored in [
        r#"{"role":"provider","state":null}"#,
        r#"{"role":"consumer","state":"REQUESTED","pending":"ContractOfferMessage"}"#,
        r#"{"role":"provider","state":"TERMINATED","pending":"ContractOfferMessage"}"#,
        r#"{"role":"provider","state":"REQUESTED","termination_queued":true}"#,
        r#"{"role":"provider","state":"REQUESTED","pending":"ContractOfferMessage","termination_queued":true}"#,
        r#"{"role":"provider","state":"REQUESTED","extra":1}"#,
        r#"{"role":"owner","state":"REQUESTED"}"#,
    ] {
        assert!(serde_json::from_str::<negotiation::Process>(stored).is_err(), "{stored}");
    }
}

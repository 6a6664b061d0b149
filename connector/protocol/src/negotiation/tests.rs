use crate::process::Machine as _;

use super::*;

/// Every legal step of DSP 2025-1; whatever is not here is illegal.
#[rustfmt::skip]
const STEPS: &[(Option<State>, MessageKind, Role, State)] = {
    use MessageKind as Message;
    use Role::{Consumer, Provider};
    use State::{Accepted, Agreed, Finalized, Offered, Requested, Terminated, Verified};
    &[
        (None,            Message::Request,      Consumer, Requested),
        (None,            Message::Offer,        Provider, Offered),
        (Some(Requested), Message::Offer,        Provider, Offered),
        (Some(Requested), Message::Agreement,    Provider, Agreed),
        (Some(Requested), Message::Termination,  Consumer, Terminated),
        (Some(Requested), Message::Termination,  Provider, Terminated),
        (Some(Offered),   Message::Request,      Consumer, Requested),
        (Some(Offered),   Message::Accepted,     Consumer, Accepted),
        (Some(Offered),   Message::Termination,  Consumer, Terminated),
        (Some(Offered),   Message::Termination,  Provider, Terminated),
        (Some(Accepted),  Message::Agreement,    Provider, Agreed),
        (Some(Accepted),  Message::Termination,  Consumer, Terminated),
        (Some(Accepted),  Message::Termination,  Provider, Terminated),
        (Some(Agreed),    Message::Verification, Consumer, Verified),
        (Some(Agreed),    Message::Termination,  Consumer, Terminated),
        (Some(Agreed),    Message::Termination,  Provider, Terminated),
        (Some(Verified),  Message::Finalized,    Provider, Finalized),
        (Some(Verified),  Message::Termination,  Consumer, Terminated),
        (Some(Verified),  Message::Termination,  Provider, Terminated),
    ]
};

#[test]
fn every_state_message_and_sender() {
    let states = State::ALL.into_iter().map(Some).chain([None]);
    for state in states {
        for &message in Negotiation::MESSAGES {
            for sender in [Role::Consumer, Role::Provider] {
                let expected = STEPS
                    .iter()
                    .find(|step| (step.0, step.1, step.2) == (state, message, sender))
                    .map(|step| step.3);
                let next = Negotiation::next(state, message, sender);
                assert_eq!(next, expected, "{message} from the {sender} in {state:?}");
                let Some(state) = state else { continue };
                let received = Process::in_state(sender.peer(), state).receive(message);
                assert_eq!(received.ok().and_then(|received| received.process.state()), expected);
                let sent = Process::in_state(sender, state).send(message);
                let target = sent.ok().and_then(|sent| sent.process.pending());
                assert_eq!(target.map(|pending| pending.target), expected);
            }
        }
    }
}

#[test]
fn terminal_states_stay_terminal() {
    for state in State::ALL {
        let has_step = STEPS.iter().any(|step| step.0 == Some(state));
        assert_eq!(Negotiation::is_terminal(state), !has_step, "{state}");
    }
}

#[test]
fn stored_names_are_those_of_the_wire() {
    for state in State::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
    for &message in Negotiation::MESSAGES {
        assert_eq!(serde_json::to_value(message).unwrap(), message.to_string());
        assert!(message.to_string().starts_with(message.message_type()));
    }
}

#[test]
fn a_rejection_tells_the_state_and_what_is_legal() {
    let rejection =
        Process::in_state(Role::Consumer, State::Accepted).receive(MessageKind::Offer).unwrap_err();
    assert_eq!(
        rejection.to_string(),
        "ContractOfferMessage from the provider is not legal in state ACCEPTED; legal: \
         ContractAgreementMessage, ContractNegotiationTerminationMessage"
    );
    let rejection = Process::in_state(Role::Provider, State::Finalized)
        .receive(MessageKind::Termination)
        .unwrap_err();
    assert!(rejection.to_string().ends_with("in state FINALIZED; legal: none"), "{rejection}");
}

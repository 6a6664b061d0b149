use crate::process::Machine as _;

use super::*;

/// Every legal step of DSP 2025-1, with STARTED apart from RESUMED, and SUSPENDED by who suspended; whatever is not here
/// is illegal.
#[rustfmt::skip]
const STEPS: &[(Option<State>, MessageKind, Role, State)] = {
    use MessageKind as Message;
    use Role::{Consumer, Provider};
    use State::{Completed, Requested, Resumed, Started, Suspended, Terminated};
    const BY_CONSUMER: State = Suspended(Consumer);
    const BY_PROVIDER: State = Suspended(Provider);
    &[
        (None,              Message::Request,     Consumer, Requested),
        (Some(Requested),   Message::Start,       Provider, Started),
        (Some(Requested),   Message::Termination, Consumer, Terminated),
        (Some(Requested),   Message::Termination, Provider, Terminated),
        (Some(Started),     Message::Suspension,  Consumer, BY_CONSUMER),
        (Some(Started),     Message::Suspension,  Provider, BY_PROVIDER),
        (Some(Started),     Message::Completion,  Consumer, Completed),
        (Some(Started),     Message::Completion,  Provider, Completed),
        (Some(Started),     Message::Termination, Consumer, Terminated),
        (Some(Started),     Message::Termination, Provider, Terminated),
        (Some(Resumed),     Message::Start,       Provider, Started),
        (Some(Resumed),     Message::Suspension,  Consumer, BY_CONSUMER),
        (Some(Resumed),     Message::Suspension,  Provider, BY_PROVIDER),
        (Some(Resumed),     Message::Completion,  Consumer, Completed),
        (Some(Resumed),     Message::Completion,  Provider, Completed),
        (Some(Resumed),     Message::Termination, Consumer, Terminated),
        (Some(Resumed),     Message::Termination, Provider, Terminated),
        (Some(BY_CONSUMER), Message::Start,       Consumer, Resumed),
        (Some(BY_CONSUMER), Message::Termination, Consumer, Terminated),
        (Some(BY_CONSUMER), Message::Termination, Provider, Terminated),
        (Some(BY_PROVIDER), Message::Start,       Provider, Started),
        (Some(BY_PROVIDER), Message::Termination, Consumer, Terminated),
        (Some(BY_PROVIDER), Message::Termination, Provider, Terminated),
    ]
};

#[test]
fn every_state_message_and_sender() {
    let states = State::ALL.into_iter().map(Some).chain([None]);
    for state in states {
        for &message in Transfer::MESSAGES {
            for sender in [Role::Consumer, Role::Provider] {
                let expected = STEPS
                    .iter()
                    .find(|step| (step.0, step.1, step.2) == (state, message, sender))
                    .map(|step| step.3);
                let next = Transfer::next(state, message, sender);
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
        assert_eq!(Transfer::is_terminal(state), !has_step, "{state}");
    }
}

#[test]
fn the_wire_knows_five_states() {
    for state in WireState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        assert!(State::ALL.into_iter().any(|own| own.on_wire() == state));
    }
    assert_eq!(State::Resumed.on_wire().as_str(), "STARTED");
    for &message in Transfer::MESSAGES {
        assert_eq!(serde_json::to_value(message).unwrap(), message.message_type());
    }
}

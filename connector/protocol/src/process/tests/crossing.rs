//! Every message against every pending message of ours, decided or attempted: the whole table, reviewed line by line.
//!
//! `keep`: accepted, ours stays or there is none. `drop`: accepted, ours is dropped. `ack`: accepted, ours is thereby
//! acknowledged. `crossed`: refused, ours prevails. What a line does not name is illegal.

use super::*;

#[test]
fn every_message_against_every_pending_one() {
    let negotiation = table::<Negotiation>(&negotiation::State::ALL);
    let transfer = table::<Transfer>(&transfer::State::ALL);
    let actual = format!("{negotiation}\n{transfer}");
    for (actual, expected) in actual.lines().zip(include_str!("crossing.txt").lines()) {
        assert_eq!(actual, expected);
    }
    assert_eq!(actual, include_str!("crossing.txt"));
}

fn table<M: Machine>(states: &[M::State]) -> String {
    let mut rows = String::new();
    for role in [Role::Consumer, Role::Provider] {
        let known = states.iter().copied().map(Some).chain([None]);
        for state in known {
            for &own in M::MESSAGES.iter().filter(|own| M::next(state, **own, role).is_some()) {
                let pending = match state {
                    Some(state) => Process::<M>::in_state(role, state).send(own).unwrap().process,
                    None => Process::begin(role, own).unwrap(),
                };
                let state = state.map_or("-".to_owned(), |state| format!("{state:?}"));
                for process in [pending, pending.attempted()] {
                    let attempted = if process == pending { "decided" } else { "attempted" };
                    rows += &format!("{role} {state} {own:?} {attempted}:");
                    for &message in M::MESSAGES {
                        rows += &outcome(process, message);
                    }
                    rows += "\n";
                }
            }
        }
    }
    rows
}

fn outcome<M: Machine>(process: Process<M>, message: M::Message) -> String {
    match process.receive(message) {
        Err(Rejection::Illegal { .. }) => String::new(),
        Err(_) => format!(" {message:?}=crossed"),
        Ok(Received { process, acknowledged_own, dropped_own }) => {
            let effect = match (acknowledged_own, dropped_own) {
                (true, _) => "ack",
                (_, true) => "drop",
                _ => "keep",
            };
            format!(" {message:?}={effect}:{:?}", process.state().unwrap())
        }
    }
}

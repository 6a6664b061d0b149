use std::sync::Arc;

use engine::entity::{PeerProcess, Pull, PullStep};
use engine::{Entity, Key, Kind, Position, View as _, Write};
use jiff::Timestamp;
use protocol::id::ParticipantId;

use super::{Loaded, Present, State, Stored};

fn at(frame: u64) -> Position {
    Position { frame, record: 0 }
}

fn key(name: &str) -> Key {
    Key::Pull(name.to_owned())
}

fn pull(closed: bool) -> Entity {
    let transfer = "t".parse().unwrap();
    Pull {
        v: 1,
        id: "p".to_owned(),
        participant: "partner".parse().unwrap(),
        dataset: "d".parse().unwrap(),
        purpose: None,
        push: false,
        step: match closed {
            true => PullStep::Delivered { transfer, digests: None, file_name: None },
            false => PullStep::Transferring { transfer },
        },
        renewals: 0,
        created: Timestamp::UNIX_EPOCH,
        received: None,
    }
    .into()
}

fn write(name: &str, entity: Option<Entity>) -> Write {
    Write { key: key(name), entity }
}

fn version(state: &State, loaded: &Loaded, name: &str) -> Result<Option<Position>, engine::Need> {
    Present { state, loaded, now: Timestamp::UNIX_EPOCH }.version(&key(name))
}

fn loaded(name: &str, value: Option<Position>, applied: u64) -> Loaded {
    let mut loaded = Loaded::default();
    let value = value.map(|version| Stored { entity: Arc::new(pull(true)), version });
    loaded.insert(key(name).encode(), value, applied);
    loaded
}

#[test]
fn absence_in_memory_proves_nothing_for_kinds_that_may_be_cold() {
    let state = State::default();
    let none = Loaded::default();
    assert!(version(&state, &none, "a").is_err());
    let view = Present { state: &state, loaded: &none, now: Timestamp::UNIX_EPOCH };
    assert_eq!(view.entity(&Key::Site), Ok(None), "a site is always hot");
    assert_eq!(version(&state, &loaded("a", None, 0), "a"), Ok(None));
}

#[test]
fn memory_is_newer_than_what_was_loaded() {
    let mut state = State::default();
    let old = loaded("a", Some(at(1)), 2);
    assert_eq!(version(&state, &old, "a"), Ok(Some(at(1))));
    assert!(state.apply(write("a", Some(pull(false))), at(2)).is_none(), "hot ones stay here");
    assert_eq!(version(&state, &old, "a"), Ok(Some(at(2))));
    assert!(state.apply(write("a", Some(pull(true))), at(3)).is_some());
    assert_eq!(version(&state, &old, "a"), Ok(Some(at(3))));
    assert!(state.apply(write("a", None), at(4)).is_some());
    assert_eq!(version(&state, &old, "a"), Ok(None));
}

#[test]
fn what_was_loaded_before_effects_were_forgotten_is_loaded_again() {
    let mut state = State::default();
    let early = loaded("a", None, 2);
    state.apply(write("a", Some(pull(true))), at(2));
    state.keep();
    // The index has it; the first tidying forgets nothing, so that who loads now is not disturbed.
    state.forget(3, |_| false);
    assert_eq!(version(&state, &early, "a"), Ok(Some(at(2))));
    state.forget(3, |_| false);
    assert!(version(&state, &early, "a").is_err(), "it is out of date");
    assert_eq!(version(&state, &loaded("a", Some(at(2)), 3), "a"), Ok(Some(at(2))));
}

#[test]
fn pinned_entities_are_not_forgotten() {
    let mut state = State::default();
    let ground = key("a").encode();
    state.pin(&ground, &loaded("a", Some(at(1)), 2));
    for _ in 0..3 {
        state.forget(9, |key| *key == ground);
    }
    assert_eq!(version(&state, &Loaded::default(), "a"), Ok(Some(at(1))));
    for _ in 0..2 {
        state.forget(9, |_| false);
    }
    assert!(version(&state, &Loaded::default(), "a").is_err());
}

#[test]
fn taking_back_restores_what_was_before_the_group() {
    let mut state = State::default();
    state.apply(write("a", Some(pull(false))), at(1));
    state.apply(write("b", Some(pull(true))), at(1));
    state.keep();
    state.apply(write("a", Some(pull(true))), at(2));
    state.apply(write("a", None), at(2));
    state.apply(write("b", Some(pull(false))), at(2));
    state.apply(write("c", Some(pull(true))), at(2));
    state.take_back();
    let none = Loaded::default();
    assert_eq!(version(&state, &none, "a"), Ok(Some(at(1))));
    assert_eq!(version(&state, &none, "b"), Ok(Some(at(1))));
    assert!(version(&state, &none, "c").is_err());
    let range = state.range(Kind::Pull, None, 10);
    assert_eq!(range.entries.len(), 2);
}

#[test]
fn open_processes_are_counted_by_partner_through_every_change() {
    let partner: ParticipantId = "partner".parse().unwrap();
    let process = |name: &str, transfer: bool, closed: bool| Write {
        key: Key::PeerProcess(partner.clone(), name.parse().unwrap()),
        entity: Some(PeerProcess { v: 1, pid: name.parse().unwrap(), transfer, closed }.into()),
    };
    let counts = |state: &State, partner: &ParticipantId| {
        let (loaded, now) = (Loaded::default(), Timestamp::UNIX_EPOCH);
        let view = Present { state, loaded: &loaded, now };
        (view.open_processes(partner, false), view.open_processes(partner, true))
    };
    let mut state = State::default();
    state.replay(process("a", false, false), at(1));
    state.apply(process("b", false, false), at(2));
    state.apply(process("c", true, false), at(2));
    state.apply(process("c", true, false), at(2));
    assert_eq!(counts(&state, &partner), (2, 1));
    assert_eq!(counts(&state, &"partner2".parse().unwrap()), (0, 0));
    state.keep();
    state.apply(process("a", false, true), at(3));
    state.apply(process("c", true, true), at(3));
    assert_eq!(counts(&state, &partner), (1, 0));
    state.take_back();
    assert_eq!(counts(&state, &partner), (2, 1));
    state.replay(process("b", false, true), at(4));
    assert_eq!(counts(&state, &partner), (1, 1));
    state.apply(process("b", false, false), at(5));
    state.apply(Write { key: process("a", false, false).key, entity: None }, at(5));
    state.apply(process("c", false, false), at(5));
    assert_eq!(counts(&state, &partner), (2, 0), "what was a transfer may be a negotiation");
    state.take_back();
    assert_eq!(counts(&state, &partner), (1, 1));
    state.apply(process("a", false, true), at(6));
    state.apply(process("c", true, true), at(6));
    assert_eq!(counts(&state, &partner), (0, 0));
    assert!(state.open.is_empty(), "a partner without open processes costs nothing");
}

#[test]
fn a_range_merges_both_and_says_how_far_it_is_complete() {
    let mut state = State::default();
    for (name, closed) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        state.apply(write(name, Some(pull(closed))), at(1));
    }
    state.apply(write("c", None), at(2));
    let all = state.range(Kind::Pull, None, 10);
    let live = |memory: &super::InMemory| -> Vec<(u8, bool)> {
        let last = |key: &Vec<u8>| *key.last().unwrap();
        memory.entries.iter().map(|(key, value)| (last(key), value.is_some())).collect()
    };
    assert_eq!(live(&all), [(b'a', true), (b'b', true), (b'c', false), (b'd', true)]);
    assert_eq!(all.complete_to, None);
    let some = state.range(Kind::Pull, Some(&key("a").encode()), 1);
    assert_eq!(live(&some), [(b'b', true)]);
    assert_eq!(some.complete_to, Some(key("b").encode()));
}

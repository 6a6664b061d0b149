//! Two sides that exchange messages over a network which loses requests and answers, repeats, delays and reorders them and lets
//! them cross, and that restart at any moment. Whatever happens, both end in one state.
//!
//! A request that its sender waits for no longer may still arrive, several of them in any order, but not later than the answer
//! to a message of the other side that was sent after it: DSP numbers no messages, so one that comes from so long ago cannot be told
//! from a new one (ADR 0011).
//!
//! `SEEDS=10000` asks for more scripts than the usual ones, `FIRST_SEED` for others. A script that failed is kept in
//! `simulation/kept.jsonl` and played before all others.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use serde::{Deserialize, Serialize};

use super::*;

/// Scripts that once failed, one a line, each after the name of its test.
const KEPT: &str = include_str!("simulation/kept.jsonl");

/// One HTTP exchange under way.
#[derive(Debug, Clone, Copy)]
enum Exchange<M: Machine> {
    Request { id: u64, message: M::Message },
    Answer { id: u64, accepted: bool },
}

/// A node, as far as one process needs it: the process, the ids that the engine keeps, the outbox.
#[derive(Debug)]
struct Side<M: Machine> {
    process: Option<Process<M>>,
    pending: Option<u64>,
    queued: Option<u64>,
    /// What this side accepted, by message id: a repeat gets the stored answer.
    accepted: Vec<(u64, M::Message)>,
    /// What this side sent and knows to be accepted.
    delivered: Vec<u64>,
    dropped: Vec<u64>,
    exchange: Option<Exchange<M>>,
    /// Requests on their way that nobody waits for.
    strays: Vec<(u64, M::Message)>,
}

#[derive(Debug)]
struct Network<M: Machine> {
    consumer: Side<M>,
    provider: Side<M>,
    next_id: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Step {
    Decide(usize),
    Attempt,
    Carry,
    CarryAndKeep,
    CarryStray(usize),
    Lose,
    /// The sender waits no longer.
    GiveUp,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let step = prop_oneof![
        4 => (0usize..16).prop_map(Step::Decide),
        4 => Just(Step::Attempt),
        6 => Just(Step::Carry),
        1 => Just(Step::CarryAndKeep),
        4 => (0usize..8).prop_map(Step::CarryStray),
        1 => Just(Step::Lose),
        2 => Just(Step::GiveUp),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec((any::<bool>(), step), 0..120)
}

impl<M: Machine> Side<M> {
    fn new(process: Option<Process<M>>, pending: Option<u64>) -> Self {
        Self {
            process,
            pending,
            queued: None,
            accepted: Vec::new(),
            delivered: Vec::new(),
            dropped: Vec::new(),
            exchange: None,
            strays: Vec::new(),
        }
    }

    /// The pending message is settled, one way or the other.
    fn settle(&mut self, delivered: bool) {
        let id = self.pending.take().expect("a message was pending");
        if delivered {
            self.delivered.push(id)
        } else {
            self.dropped.push(id)
        }
        self.give_up();
        let queued = self.queued.take();
        if self.process.is_some_and(|process| process.pending().is_some()) {
            self.pending = Some(queued.expect("only a queued termination follows by itself"));
        }
    }

    /// Nobody waits for the answer any more, but the request cannot be called back.
    fn give_up(&mut self) {
        if let Some(Exchange::Request { id, message }) = self.exchange.take() {
            self.strays.push((id, message));
        }
    }

    fn decide(&mut self, choice: usize, role: Role, id: u64) {
        let Some(process) = self.process else { return };
        let mut choices = process.legal(role);
        choices.push(M::TERMINATION);
        let Ok(sent) = process.send(choices[choice % choices.len()]) else { return };
        self.process = Some(sent.process);
        if sent.withdrew_own {
            self.dropped.extend(self.pending.take());
        }
        match sent.delivery {
            Delivery::Now => self.pending = Some(id),
            Delivery::Queued => self.queued = Some(id),
            Delivery::Unneeded => {}
        }
    }

    fn attempt(&mut self) {
        let Some(process) = self.process else { return };
        if let (Some(pending), None) = (process.pending(), self.exchange) {
            self.process = Some(process.attempted());
            let id = self.pending.expect("what is pending has an id");
            self.exchange = Some(Exchange::Request { id, message: pending.message });
        }
    }

    fn receive(&mut self, role: Role, id: u64, message: M::Message) -> bool {
        if self.accepted.iter().any(|(known, _)| *known == id) {
            return true;
        }
        let received = match self.process {
            None => Process::begun_by_peer(role, message).map(|process| Received {
                process,
                acknowledged_own: false,
                dropped_own: false,
            }),
            Some(process) => process.receive(message),
        };
        let Ok(received) = received else { return false };
        assert!(!(received.acknowledged_own && received.dropped_own));
        self.process = Some(received.process);
        self.accepted.push((id, message));
        if received.acknowledged_own || received.dropped_own {
            self.settle(received.acknowledged_own);
        }
        true
    }

    /// After a restart every pending message may have been attempted, and no connection is left.
    fn restart(&mut self) {
        self.give_up();
        self.process = self.process.map(|process| {
            let stored = serde_json::to_vec(&process).unwrap();
            serde_json::from_slice::<Process<M>>(&stored).unwrap().attempted()
        });
    }
}

impl<M: Machine> Network<M> {
    fn new(first: M::Message) -> Self {
        let consumer = Process::begin(Role::Consumer, first).ok();
        let provider = Process::begin(Role::Provider, first).ok();
        Self {
            provider: Side::new(provider, provider.map(|_| 0)),
            consumer: Side::new(consumer, consumer.map(|_| 0)),
            next_id: 1,
        }
    }

    fn sides(&mut self, role: Role) -> (&mut Side<M>, &mut Side<M>) {
        match role {
            Role::Consumer => (&mut self.consumer, &mut self.provider),
            Role::Provider => (&mut self.provider, &mut self.consumer),
        }
    }

    fn step(&mut self, role: Role, step: Step) {
        let id = self.next_id;
        self.next_id += 1;
        let (own, peer) = self.sides(role);
        match step {
            Step::Decide(choice) => own.decide(choice, role, id),
            Step::Attempt => own.attempt(),
            Step::Lose => own.exchange = None,
            Step::GiveUp => own.give_up(),
            Step::CarryStray(choice) => {
                if let Some(at) = choice.checked_rem(own.strays.len()) {
                    let (id, message) = own.strays.remove(at);
                    peer.receive(role.peer(), id, message);
                }
            }
            Step::Restart => own.restart(),
            Step::Carry | Step::CarryAndKeep => match own.exchange {
                None => {}
                Some(Exchange::Request { id, message }) => {
                    let accepted = peer.receive(role.peer(), id, message);
                    if matches!(step, Step::Carry) {
                        own.exchange = Some(Exchange::Answer { id, accepted });
                    }
                }
                Some(Exchange::Answer { id, accepted }) => {
                    assert_eq!(own.pending, Some(id));
                    peer.strays.clear();
                    let process = own.process.unwrap();
                    own.process =
                        Some(if accepted { process.acknowledged() } else { process.refused() });
                    own.settle(accepted);
                }
            },
        }
        self.check();
    }

    fn check(&self) {
        for side in [&self.consumer, &self.provider] {
            let Some(process) = side.process else { continue };
            assert_eq!(process.pending().is_some(), side.pending.is_some(), "{side:?}");
            assert_eq!(process.termination_queued(), side.queued.is_some(), "{side:?}");
        }
    }

    /// From now on nothing is decided and nothing is lost.
    fn quiesce(&mut self) {
        for _ in 0..10 {
            for role in [Role::Consumer, Role::Provider] {
                for step in [Step::Attempt, Step::Carry, Step::Carry] {
                    self.step(role, step);
                }
            }
        }
        for (own, peer) in [(&self.consumer, &self.provider), (&self.provider, &self.consumer)] {
            assert_eq!(own.pending, None, "something waits for ever: {self:?}");
            // Evidence agrees: what one side knows to be accepted the other has accepted.
            for id in &own.delivered {
                assert!(peer.accepted.iter().any(|(known, _)| known == id), "{id} in {self:?}");
            }
        }
        let state = |side: &Side<M>| side.process.and_then(|process| process.state());
        let (consumer, provider) = (state(&self.consumer), state(&self.provider));
        let never_began = |own: Option<M::State>, peer: Option<M::State>| {
            own == Some(M::TERMINATED) && peer.is_none()
        };
        assert!(
            consumer == provider
                || never_began(consumer, provider)
                || never_began(provider, consumer),
            "the sides diverged: {self:?}"
        );
    }
}

fn play<M: Machine>(first: M::Message, script: &[(bool, Step)]) {
    let mut network = Network::<M>::new(first);
    for (is_consumer, step) in script {
        network.step(if *is_consumer { Role::Consumer } else { Role::Provider }, *step);
    }
    network.quiesce();
}

/// A number in the environment.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

/// Plays what was kept for a test, and then new scripts.
fn run<M: Machine>(test: &str, first: M::Message) {
    for line in KEPT.lines() {
        let (name, script): (String, Vec<(bool, Step)>) = serde_json::from_str(line).expect(line);
        if name == test {
            play::<M>(first, &script);
        }
    }
    let from = number("FIRST_SEED", 0);
    for seed in from..from.saturating_add(number("SEEDS", 4096)) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let config = ProptestConfig {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: 10_000,
            ..ProptestConfig::default()
        };
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let failed = TestRunner::new_with_rng(config, random).run(&steps(), |script| {
            play::<M>(first, &script);
            Ok(())
        });
        if let Err(TestError::Fail(reason, script)) = failed {
            let line = serde_json::to_string(&(test, script)).unwrap();
            let kept = file!().replace(".rs", "/kept.jsonl");
            panic!("seed {seed}: {reason}\nadd this line to {kept}:\n{line}");
        }
    }
}

#[test]
fn negotiations_begun_by_the_consumer_converge() {
    run::<Negotiation>("consumer", negotiation::MessageKind::Request);
}

#[test]
fn negotiations_begun_by_the_provider_converge() {
    run::<Negotiation>("provider", negotiation::MessageKind::Offer);
}

#[test]
fn transfers_converge() {
    run::<Transfer>("transfer", transfer::MessageKind::Request);
}

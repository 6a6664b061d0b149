//! Two nodes under loss, repetition, crossing, restarts and every command, in random order.

use proptest::prelude::*;
use protocol::id::Pid;
use serde_json::Value;

use super::bargain::{act, handles, offer, terms};
use super::pulls::{advance, begin, choice, fail, received};
use super::world::*;
use crate::entity::Failure;
use crate::negotiation::steps::Step as By;
use crate::{Entity, Handling, Key, Kind, negotiation, pull::Next, transfer};

/// How often the offer may be used.
const LIMIT: u64 = 3;

#[derive(Debug, Clone)]
enum Step {
    Begin,
    Advance(usize),
    Receive(usize),
    Fail(usize),
    Send {
        by_consumer: bool,
        process: usize,
        fate: Fate,
    },
    Repeat(usize),
    /// A partner's negotiations are handled by hand from now on, or not.
    Handle {
        by_consumer: bool,
        manual: bool,
    },
    /// The provider offers what nobody asked for.
    Offer,
    /// A step by hand in a negotiation, legal or not.
    Hand {
        by_consumer: bool,
        process: usize,
        step: usize,
    },
    Terminate {
        by_consumer: bool,
        transfer: bool,
        process: usize,
    },
    Suspend(usize),
    Resume(usize),
    Restart {
        by_consumer: bool,
    },
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        6 => Just(Fate::Arrives),
        1 => Just(Fate::Lost),
        2 => Just(Fate::AnswerLost)
    ];
    let send = (any::<bool>(), 0..4_usize, fate)
        .prop_map(|(by_consumer, process, fate)| Step::Send { by_consumer, process, fate });
    let terminate =
        (any::<bool>(), any::<bool>(), 0..4_usize).prop_map(|(by_consumer, transfer, process)| {
            Step::Terminate { by_consumer, transfer, process }
        });
    let step = prop_oneof![
        2 => Just(Step::Begin),
        4 => (0..4_usize).prop_map(Step::Advance),
        1 => (0..4_usize).prop_map(Step::Receive),
        1 => (0..4_usize).prop_map(Step::Fail),
        14 => send,
        3 => (0..64_usize).prop_map(Step::Repeat),
        1 => terminate,
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(by_consumer, manual)| Step::Handle { by_consumer, manual }),
        1 => Just(Step::Offer),
        5 => (any::<bool>(), 0..6_usize, 0..7_usize)
            .prop_map(|(by_consumer, process, step)| Step::Hand { by_consumer, process, step }),
        1 => (0..4_usize).prop_map(Step::Suspend),
        1 => (0..4_usize).prop_map(Step::Resume),
        1 => any::<bool>().prop_map(|by_consumer| Step::Restart { by_consumer }),
        1 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..60)
}

struct Scene {
    consumer: World,
    provider: World,
    pulls: usize,
    /// What was accepted: whether by the provider, and the text.
    accepted: Vec<(bool, Value)>,
    by_hand: u64,
}

impl Scene {
    fn new() -> Self {
        let (consumer, provider) = pair(&format!("\"count lteq {LIMIT}\""));
        Self { consumer, provider, pulls: 0, accepted: Vec::new(), by_hand: 0 }
    }

    fn sides(&mut self, by_consumer: bool) -> (&mut World, &mut World) {
        if by_consumer {
            (&mut self.consumer, &mut self.provider)
        } else {
            (&mut self.provider, &mut self.consumer)
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Begin if self.pulls < 4 => {
                let chosen = choice(&self.provider, None);
                self.pulls += 1;
                let _ = begin(
                    &mut self.consumer,
                    &format!("pull{}", self.pulls),
                    chosen.as_ref(),
                    None,
                );
            }
            Step::Advance(number) => {
                if let Some(id) = self.pull(*number) {
                    advance(&mut self.consumer, &id);
                }
            }
            Step::Receive(number) => {
                if let Some(id) = self.pull(*number)
                    && matches!(advance(&mut self.consumer, &id), Next::Download { .. })
                {
                    received(&mut self.consumer, &id);
                }
            }
            Step::Fail(number) => {
                if let Some(id) = self.pull(*number) {
                    fail(&mut self.consumer, &id, "cancelled");
                }
            }
            Step::Send { by_consumer, process, fate } => {
                let (from, to) = self.sides(*by_consumer);
                let owing = from.owing();
                let Some(pid) = owing.get(process % owing.len().max(1)) else { return };
                let text = from.due(pid).map(|(_, text)| text);
                let answer = send(from, to, pid, *fate);
                if let (Some(Ok(())), Some(text)) = (answer, text) {
                    self.accepted.push((*by_consumer, text));
                }
            }
            Step::Repeat(number) => self.repeat(*number),
            Step::Handle { by_consumer, manual } => {
                let handling = if *manual { Handling::Manual } else { Handling::Auto };
                match by_consumer {
                    true => handles(&mut self.consumer, PROVIDER, handling),
                    false => handles(&mut self.provider, CONSUMER, handling),
                }
            }
            Step::Offer if self.provider.of_kind(Kind::Negotiation).len() < 6 => {
                let _ = offer(&mut self.provider, None, None);
            }
            Step::Hand { by_consumer, process, step } => self.hand(*by_consumer, *process, *step),
            Step::Terminate { by_consumer, transfer, process } => {
                self.terminate(*by_consumer, *transfer, *process);
            }
            Step::Suspend(number) => self.by_hand(*number, "TransferSuspensionMessage"),
            Step::Resume(number) => self.by_hand(*number, "TransferStartMessage"),
            Step::Restart { by_consumer } => {
                let (world, _) = self.sides(*by_consumer);
                world.attempted = world.owing().into_iter().collect();
            }
            Step::Settle => settle(&mut self.consumer, &mut self.provider),
            Step::Begin | Step::Offer => {}
        }
    }

    /// Somebody takes a step by hand: as it leaves nothing undone that is not allowed, it is refused or taken whole.
    fn hand(&mut self, by_consumer: bool, process: usize, step: usize) {
        let (world, _) = self.sides(by_consumer);
        let keys = world.of_kind(Kind::Negotiation);
        let Some(Key::Negotiation(pid)) = keys.get(process % keys.len().max(1)) else { return };
        let records = world.records.len();
        let possible = negotiation::steps::possible(&world.negotiation(pid));
        let step = match step {
            0 => By::Offer { terms: Some(terms(2)) },
            1 => By::Request { terms: terms(1), offer: None },
            2 => By::Accept,
            3 => By::Agree { terms: None },
            4 => By::Verify,
            5 => By::Finalize,
            _ => By::Offer { terms: None },
        };
        let taken = act(world, pid, &step);
        assert!(taken.is_err() || possible.contains(&step.message()), "{step:?} is not possible");
        assert_eq!(taken.is_ok(), world.records.len() > records, "{step:?}");
    }

    fn pull(&self, number: usize) -> Option<String> {
        let id = format!("pull{}", number % self.pulls.max(1) + 1);
        self.consumer.get(&Key::Pull(id.clone())).map(|_| id)
    }

    /// What was accepted once gets the same answer, with no second effect.
    fn repeat(&mut self, number: usize) {
        if self.accepted.is_empty() {
            return;
        }
        let (by_consumer, text) = self.accepted[number % self.accepted.len()].clone();
        let (from, to) = self.sides(by_consumer);
        let (peer, before) = (from.peer(), to.records.len());
        to.receive(&peer, &text).unwrap();
        assert_eq!(to.records.len(), before, "a repeat had an effect: {text}");
    }

    fn terminate(&mut self, by_consumer: bool, is_transfer: bool, process: usize) {
        let (world, _) = self.sides(by_consumer);
        let kind = if is_transfer { Kind::Transfer } else { Kind::Negotiation };
        let keys = world.of_kind(kind);
        let Some(Key::Transfer(pid) | Key::Negotiation(pid)) =
            keys.get(process % keys.len().max(1))
        else {
            return;
        };
        let (context, fresh) = (world.context.clone(), world.fresh());
        let attempted = world.attempted.contains(pid);
        let failure = Failure {
            code: "x".to_owned(),
            reason: "by command".to_owned(),
            reference: None,
            by_policy: false,
        };
        world.decide(|view| {
            if is_transfer {
                transfer::terminate(view, &context, &fresh, pid, attempted, &failure)
            } else {
                negotiation::terminate(view, &context, &fresh, pid, attempted, "x", "by command")
            }
        });
    }

    /// Another connector's consumer suspends and resumes; ours does not, so only the provider hears of it.
    fn by_hand(&mut self, number: usize, kind: &str) {
        let keys = self.provider.of_kind(Kind::Transfer);
        let Some(Key::Transfer(pid)) = keys.get(number % keys.len().max(1)) else { return };
        let own = self.provider.transfer(pid);
        let consumer_pid = own.peer_pid.unwrap();
        // The consumer's own state follows only what it took part in; so it is ended afterwards by its termination.
        self.by_hand += 1;
        let text = serde_json::json!({
            "@context": [protocol::message::CONTEXT], "@type": kind, "@id": format!("urn:hand:{}", self.by_hand),
            "consumerPid": consumer_pid.as_str(), "providerPid": pid.as_str(), "code": "x", "reason": ["y"],
        });
        let peer = self.consumer.peer();
        let _ = self.provider.receive(&peer, &text);
    }

    fn check_counts(&self) {
        for key in self.provider.of_kind(Kind::Usage) {
            let Some(Entity::Usage(usage)) = self.provider.get(&key) else { panic!() };
            assert!(usage.uses <= LIMIT, "{usage:?}");
            // What waits for a decision is not granted yet.
            let transfers = self.provider.of_kind(Kind::Transfer).into_iter();
            let is_granted = |key: &Key| match self.provider.get(key) {
                Some(Entity::Transfer(transfer)) => transfer.grant.is_some(),
                _ => false,
            };
            let granted = transfers.filter(is_granted).count() as u64;
            assert_eq!(usage.uses, granted);
        }
    }

    /// Where both sides know a process, they agree on its state, and no message is under way.
    fn check_agreement(&self) {
        let theirs = |pid: &Option<Pid>| pid.clone();
        for key in self.consumer.of_kind(Kind::Negotiation) {
            let Key::Negotiation(pid) = &key else { panic!() };
            let own = self.consumer.negotiation(pid);
            assert!(own.process.pending().is_none());
            if let Some(pid) = theirs(&own.peer_pid) {
                let other = self.provider.negotiation(&pid);
                assert_eq!(own.process.state(), other.process.state(), "{key}");
                let (own, other) = (own.agreement, other.agreement);
                if let Some(id) = own {
                    assert_eq!(Some(&id), other.as_ref());
                    let key = Key::Agreement(id);
                    let (Some(Entity::Agreement(one)), Some(Entity::Agreement(two))) =
                        (self.consumer.get(&key), self.provider.get(&key))
                    else {
                        panic!("{key}")
                    };
                    assert_eq!(one.sha256, two.sha256);
                    assert_eq!(
                        one.finalized && one.ended.is_none(),
                        two.finalized && two.ended.is_none()
                    );
                }
            }
        }
    }

    fn check_transfers(&self) {
        for key in self.consumer.of_kind(Kind::Transfer) {
            let Key::Transfer(pid) = &key else { panic!() };
            let own = self.consumer.transfer(pid);
            assert!(own.process.pending().is_none());
            if let Some(pid) = &own.peer_pid {
                let other = self.provider.transfer(pid);
                assert_eq!(own.process.state(), other.process.state(), "{key}");
            }
        }
    }
}

/// How many random sequences are tried; `SEEDS` in the environment asks for more.
fn seeds() -> u32 {
    std::env::var("SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: seeds(), ..ProptestConfig::default() })]

    #[test]
    fn two_nodes_always_come_to_agree(steps in steps()) {
        let mut scene = Scene::new();
        let mut by_hand = false;
        for step in &steps {
            scene.run(step);
            scene.check_counts();
            by_hand |= matches!(step, Step::Suspend(_) | Step::Resume(_));
        }
        settle(&mut scene.consumer, &mut scene.provider);
        scene.check_agreement();
        if !by_hand {
            scene.check_transfers();
        }
    }
}

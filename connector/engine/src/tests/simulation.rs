//! Two nodes that decide, crash and start again at random, on a network that loses, repeats, delays and reorders requests and
//! answers. Whatever happens, both end in one state and hold the same evidence.
//!
//! `SEEDS=10000` asks for more scripts than the usual ones, `FIRST_SEED` for others. A script that failed is kept in
//! `simulation/kept.jsonl` and played before all others.

mod checks;
mod network;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use protocol::process::Role;
use serde::{Deserialize, Serialize};

use super::bargain::{act, handles, offer, terms};
use super::pulls::{advance, begin, choice, fail, received};
use super::transfers::try_take;
use super::world::*;
use crate::entity::Failure;
use crate::negotiation::steps::Step as By;
use crate::{Handling, Key, Kind, negotiation, pull::Next, transfer};
use network::Network;

/// How often the offer may be used.
const LIMIT: u64 = 3;
/// Scripts that once failed, one a line, the latest last.
const KEPT: &str = include_str!("simulation/kept.jsonl");

/// One thing that happens. A number chooses among what there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Step {
    Begin,
    Advance(usize),
    Receive(usize),
    Fail(usize),
    /// A worker begins to send what a process owes.
    Attempt {
        by: Role,
        process: usize,
    },
    /// A request arrives, in any order; a copy may stay on its way.
    Arrive {
        request: usize,
        copied: bool,
    },
    /// An answer arrives. An impatient sender takes a refusal as final.
    Answer {
        answer: usize,
        patient: bool,
    },
    LoseRequest(usize),
    LoseAnswer(usize),
    /// The sender waits no longer for an answer. What it sent may still arrive.
    GiveUp {
        by: Role,
        process: usize,
    },
    /// What was accepted once comes again.
    Repeat(usize),
    /// A partner's negotiations are handled by hand from now on, or not.
    Handle {
        by: Role,
        manual: bool,
    },
    /// The provider offers what nobody asked for.
    Offer,
    /// A step by hand in a negotiation, legal or not.
    Hand {
        by: Role,
        process: usize,
        step: usize,
    },
    /// A step by hand in a transfer, legal or not.
    Order {
        by: Role,
        process: usize,
        step: usize,
    },
    Terminate {
        by: Role,
        transfer: bool,
        process: usize,
    },
    /// A node signs a checkpoint of its log of the relation and sends it off.
    Checkpoint {
        by: Role,
    },
    /// A checkpoint arrives, in any order.
    Witness(usize),
    /// A node stops without warning and starts again.
    Crash {
        by: Role,
    },
    Settle,
}

/// A step, and whether what it decided is durable before the next one.
type Line = (Step, bool);

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Consumer), Just(Role::Provider)]
}

fn scripts() -> impl Strategy<Value = Vec<Line>> {
    let many = 0..64_usize;
    let few = 0..6_usize;
    // Mostly suspended and resumed: the other steps end it.
    let order = prop_oneof![1 => 0..5_usize, 3 => Just(1_usize), 3 => Just(2_usize)];
    let step = prop_oneof![
        3 => Just(Step::Begin),
        6 => few.clone().prop_map(Step::Advance),
        1 => few.clone().prop_map(Step::Receive),
        1 => few.clone().prop_map(Step::Fail),
        14 => (role(), few.clone()).prop_map(|(by, process)| Step::Attempt { by, process }),
        14 => (many.clone(), prop::bool::weighted(0.2))
            .prop_map(|(request, copied)| Step::Arrive { request, copied }),
        14 => (many.clone(), prop::bool::weighted(0.9))
            .prop_map(|(answer, patient)| Step::Answer { answer, patient }),
        1 => many.clone().prop_map(Step::LoseRequest),
        1 => many.clone().prop_map(Step::LoseAnswer),
        3 => (role(), few.clone()).prop_map(|(by, process)| Step::GiveUp { by, process }),
        3 => many.clone().prop_map(Step::Repeat),
        1 => (role(), any::<bool>()).prop_map(|(by, manual)| Step::Handle { by, manual }),
        1 => Just(Step::Offer),
        5 => (role(), few.clone(), 0..7_usize)
            .prop_map(|(by, process, step)| Step::Hand { by, process, step }),
        8 => (role(), few.clone(), order)
            .prop_map(|(by, process, step)| Step::Order { by, process, step }),
        1 => (role(), any::<bool>(), few)
            .prop_map(|(by, transfer, process)| Step::Terminate { by, transfer, process }),
        2 => role().prop_map(|by| Step::Checkpoint { by }),
        2 => many.prop_map(Step::Witness),
        2 => role().prop_map(|by| Step::Crash { by }),
        3 => Just(Step::Settle),
    ];
    let script = prop::collection::vec((step, prop::bool::weighted(0.8)), 1..120);
    // How many of the first steps bring a pull to its data without trouble.
    (0..=4_usize, script).prop_map(|(quiet, script)| {
        let begun = [Step::Begin, Step::Settle, Step::Advance(0), Step::Settle];
        begun.into_iter().take(quiet).map(|step| (step, true)).chain(script).collect()
    })
}

/// The two nodes and what is between them.
struct Scene {
    network: Network,
    pulls: usize,
}

impl Scene {
    fn new() -> Self {
        let (consumer, provider) = pair(&format!("\"count lteq {LIMIT}\""));
        Self { network: Network::new(consumer, provider), pulls: 0 }
    }

    fn node(&mut self, role: Role) -> &mut World {
        self.network.node(role)
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Begin if self.pulls < 4 => {
                let chosen = choice(&self.network.provider, None);
                self.pulls += 1;
                let id = format!("pull{}", self.pulls);
                let _ = begin(&mut self.network.consumer, &id, chosen.as_ref(), None);
            }
            Step::Advance(number) => {
                if let Some(id) = self.pull(*number) {
                    advance(&mut self.network.consumer, &id);
                }
            }
            Step::Receive(number) => {
                if let Some(id) = self.pull(*number)
                    && matches!(advance(&mut self.network.consumer, &id), Next::Download { .. })
                {
                    received(&mut self.network.consumer, &id);
                }
            }
            Step::Fail(number) => {
                if let Some(id) = self.pull(*number) {
                    fail(&mut self.network.consumer, &id, "cancelled");
                }
            }
            Step::Attempt { by, process } => self.network.attempt(*by, *process),
            Step::Arrive { request, copied } => self.network.arrive(*request, *copied),
            Step::Answer { answer, patient } => self.network.answer(*answer, *patient),
            Step::LoseRequest(number) => self.network.lose_request(*number),
            Step::LoseAnswer(number) => self.network.lose_answer(*number),
            Step::GiveUp { by, process } => self.network.give_up(*by, *process),
            Step::Repeat(number) => self.network.repeat(*number),
            Step::Handle { by, manual } => {
                let handling = if *manual { Handling::Manual } else { Handling::Auto };
                let peer = if *by == Role::Consumer { PROVIDER } else { CONSUMER };
                handles(self.node(*by), peer, handling);
            }
            Step::Offer if self.network.provider.of_kind(Kind::Negotiation).len() < 6 => {
                let _ = offer(&mut self.network.provider, None, None);
            }
            Step::Hand { by, process, step } => self.hand(*by, *process, *step),
            Step::Order { by, process, step } => self.order(*by, *process, *step),
            Step::Terminate { by, transfer, process } => self.terminate(*by, *transfer, *process),
            Step::Checkpoint { by } => self.network.checkpoint(*by),
            Step::Witness(number) => self.network.witness(*number),
            Step::Crash { by } => self.network.crash(*by),
            Step::Settle => self.network.settle(),
            Step::Begin | Step::Offer => {}
        }
    }

    /// Somebody takes a step by hand: as it leaves nothing undone that is not allowed, it is refused or taken whole.
    fn hand(&mut self, by: Role, process: usize, step: usize) {
        let world = self.node(by);
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

    /// The same in a transfer.
    fn order(&mut self, by: Role, process: usize, step: usize) {
        let world = self.node(by);
        let keys = world.of_kind(Kind::Transfer);
        let Some(Key::Transfer(pid)) = keys.get(process % keys.len().max(1)) else { return };
        let records = world.records.len();
        let step = transfer::Step::ALL[step % transfer::Step::ALL.len()];
        let possible = transfer::steps(&world.transfer(pid)).contains(&step);
        let taken = try_take(world, pid, step);
        assert!(possible || !matches!(taken, Ok(Some(_))), "{step:?} is not possible");
        assert_eq!(matches!(taken, Ok(Some(_))), world.records.len() > records, "{step:?}");
    }

    fn pull(&self, number: usize) -> Option<String> {
        let id = format!("pull{}", number % self.pulls.max(1) + 1);
        self.network.consumer.get(&Key::Pull(id.clone())).map(|_| id)
    }

    fn terminate(&mut self, by: Role, is_transfer: bool, process: usize) {
        let world = self.node(by);
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
}

/// Plays a script to its end, and lets the nodes come to rest.
fn play(script: &[Line]) {
    let mut scene = Scene::new();
    for (step, durable) in script {
        scene.run(step);
        if *durable {
            scene.network.sync();
        }
        scene.check_counts();
    }
    scene.network.settle();
    for role in [Role::Consumer, Role::Provider] {
        scene.network.crash(role);
    }
    scene.network.settle();
    scene.check();
}

/// A number in the environment.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

#[test]
fn two_nodes_always_come_to_agree() {
    for line in KEPT.lines() {
        play(&serde_json::from_str::<Vec<Line>>(line).expect(line));
    }
    let first = number("FIRST_SEED", 0);
    for seed in first..first.saturating_add(number("SEEDS", 400)) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let config = ProptestConfig {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: 10_000,
            ..ProptestConfig::default()
        };
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config, random);
        let failed = runner.run(&scripts(), |script| {
            play(&script);
            Ok(())
        });
        if let Err(TestError::Fail(reason, script)) = failed {
            let line = serde_json::to_string(&script).unwrap();
            let kept = file!().replace(".rs", "/kept.jsonl");
            panic!("seed {seed}: {reason}\nadd this line to {kept}:\n{line}");
        }
    }
}

//! The step detector's table.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const STEP: Duration = Duration::from_secs(60);

fn tick(wall: i64, since_boot: u64) -> Tick {
    Tick {
        wall: Timestamp::from_second(wall).unwrap(),
        since_boot: Duration::from_secs(since_boot),
    }
}

#[test]
fn judges_by_the_time_since_boot_and_the_journal() {
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    let stepped = |seconds| Err(ClockFault::Stepped { by: SignedDuration::from_secs(seconds) });
    let behind = |seconds, journaled| {
        Err(ClockFault::Behind {
            by: SignedDuration::from_secs(seconds),
            journaled: Timestamp::from_second(journaled).unwrap(),
        })
    };
    let cases = [
        ("first look", None, tick(1000, 5), None, Ok(())),
        ("steady", Some(tick(1000, 5)), tick(1005, 10), at(1004), Ok(())),
        ("a suspended machine", Some(tick(1000, 5)), tick(87_400, 86_405), None, Ok(())),
        ("exactly the step", Some(tick(1000, 5)), tick(1065, 10), None, Ok(())),
        ("one second more", Some(tick(1000, 5)), tick(1066, 10), None, stepped(61)),
        ("exactly the step back", Some(tick(1000, 5)), tick(945, 10), None, Ok(())),
        ("further back", Some(tick(1000, 5)), tick(944, 10), None, stepped(-61)),
        ("a little behind the journal", None, tick(1000, 5), at(1060), Ok(())),
        ("far behind the journal", None, tick(1000, 5), at(1061), behind(61, 1061)),
        ("ahead of the journal", None, tick(100_000, 5), at(1000), Ok(())),
        ("unsteady", Some(tick(1000, 5)), tick(1000, 4), None, Err(ClockFault::Unsteady)),
        ("far apart", Some(tick(-1, 0)), tick(0, u64::MAX), None, stepped(i64::MIN)),
    ];
    for (name, before, now, journaled, expected) in cases {
        let found = judge(before, now, journaled, STEP);
        match (&found, &expected) {
            (Err(ClockFault::Stepped { .. }), Err(ClockFault::Stepped { .. }))
                if name == "far apart" => {}
            _ => assert_eq!(found, expected, "{name}"),
        }
    }
}

proptest::proptest! {
    #[test]
    fn a_clock_that_runs_true_is_always_accepted(
        start in 0_i64..4_000_000_000,
        boot in 0_u64..1_000_000_000,
        passed in 0_u32..u32::MAX,
        drift in -60_i64..=60,
    ) {
        let before = tick(start, boot);
        let now = tick(start + i64::from(passed) + drift, boot + u64::from(passed));
        proptest::prop_assert!(judge(Some(before), now, None, STEP).is_ok());
    }

    #[test]
    fn a_larger_step_is_always_found(
        start in 0_i64..4_000_000_000,
        boot in 0_u64..1_000_000_000,
        passed in 0_u32..u32::MAX,
        jump in 61_i64..1_000_000_000,
        back: bool,
    ) {
        let jump = if back { -jump } else { jump };
        let now = tick(start + i64::from(passed) + jump, boot + u64::from(passed));
        let expected = ClockFault::Stepped { by: SignedDuration::from_secs(jump) };
        proptest::prop_assert_eq!(judge(Some(tick(start, boot)), now, None, STEP), Err(expected));
    }
}

/// A machine that sleeps an hour after some readings of the wall clock.
#[derive(Debug)]
struct Sleeper {
    slept: AtomicU64,
    sleeps: AtomicU64,
}

impl Clock for Sleeper {
    fn now(&self) -> Timestamp {
        let slept = self.slept.load(Ordering::SeqCst);
        if self.sleeps.load(Ordering::SeqCst) > 0 {
            self.sleeps.fetch_sub(1, Ordering::SeqCst);
            self.slept.fetch_add(3600, Ordering::SeqCst);
        }
        Timestamp::from_second(i64::try_from(1000 + slept).unwrap()).unwrap()
    }

    fn since_boot(&self) -> Duration {
        Duration::from_secs(5 + self.slept.load(Ordering::SeqCst))
    }
}

#[test]
fn a_machine_that_sleeps_between_the_readings_has_a_true_clock() {
    for sleeps in 0..3 {
        let clock = Sleeper { slept: AtomicU64::new(0), sleeps: AtomicU64::new(sleeps) };
        assert_eq!(judge(Some(tick(1000, 5)), Tick::take(&clock), None, STEP), Ok(()));
    }
}

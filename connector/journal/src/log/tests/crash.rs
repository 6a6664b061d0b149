//! Stops at any operation, with and without loss of what was not synced.

use proptest::prelude::*;

use super::model::{Fault, Model};
use super::*;

const SEGMENT: u64 = 8_192;
const DIRECTORY: &str = "journal";

#[derive(Debug, Clone)]
struct Life {
    /// The sizes of the records of each frame to append.
    frames: Vec<Vec<usize>>,
    /// Changing operations until the machine stops.
    stop_after: u64,
    /// Changing operations that fail.
    faults: Vec<(u64, bool)>,
    /// How many segments the disk has room for.
    room: Option<u64>,
    loses_power: bool,
}

fn life() -> impl Strategy<Value = Life> {
    let size = prop_oneof![8 => 0_usize..600, 3 => 600_usize..4_000, 1 => 4_000_usize..20_000];
    let frame = prop::collection::vec(size, 0..4);
    (
        prop::collection::vec(frame, 0..14),
        0_u64..60,
        prop::collection::vec((0_u64..60, any::<bool>()), 0..3),
        prop::option::weighted(0.3, 0_u64..8),
        any::<bool>(),
    )
        .prop_map(|(frames, stop_after, faults, room, loses_power)| Life {
            frames,
            stop_after,
            faults,
            room,
            loses_power,
        })
}

/// What the owner of the journal knows.
#[derive(Default)]
struct Owner {
    /// What was acknowledged, or shown after a start.
    certain: Vec<Vec<Record>>,
    /// What was given to the journal when it stopped: it may be there, whole, or not.
    uncertain: Option<Vec<Record>>,
    next: usize,
}

impl Owner {
    fn records(&mut self, sizes: &[usize]) -> Vec<Record> {
        sizes
            .iter()
            .map(|size| {
                self.next += 1;
                record(self.next, *size)
            })
            .collect()
    }

    /// Opens the journal and checks what it shows.
    fn open(&mut self, model: &Model) -> Result<Journal<Model>, OpenError> {
        let layer = model.clone();
        let (journal, _, frames) =
            open_from(Path::new(DIRECTORY), options(SEGMENT), layer, Mark::START)?;
        let shown: Vec<Vec<Record>> = frames.iter().map(written).collect();
        let known = self.certain.len();
        assert!(shown.len() >= known, "{} of {known} acknowledged frames are there", shown.len());
        assert_eq!(shown[..known], self.certain);
        match &shown[known..] {
            [] => {}
            [more] => assert_eq!(Some(more), self.uncertain.as_ref(), "a frame nobody wrote"),
            more => panic!("{} frames that nobody wrote", more.len()),
        }
        self.certain = shown;
        self.uncertain = None;
        journal.reader().verify(|_| {}).unwrap();
        Ok(journal)
    }

    /// Appends until all is done or the machine stops.
    fn work(&mut self, journal: &mut Journal<Model>, life: &Life, model: &Model) {
        for (number, sizes) in life.frames.iter().enumerate() {
            let records = self.records(sizes);
            let essential = if number % 3 == 0 { Essential::Yes } else { Essential::No };
            match journal.append(&records, essential) {
                Ok(_) => self.certain.push(records),
                Err(AppendError::SyncFailed { .. }) => self.uncertain = Some(records),
                Err(AppendError::Refusing) => return,
                // A refusal is final: the frame must not turn up later.
                Err(_) if !model.has_stopped() => {}
                Err(_) => self.uncertain = Some(records),
            }
            if model.has_stopped() {
                return;
            }
        }
    }
}

fn end(life: &Life, model: &Model) {
    if life.loses_power { model.lose_power() } else { model.restart_process() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn acknowledged_frames_outlast_every_stop(
        seed in any::<u64>(),
        lives in prop::collection::vec(life(), 1..6),
    ) {
        let model = Model::new(seed);
        let mut owner = Owner::default();
        for life in &lives {
            model.stop_after(life.stop_after);
            model.set_room(life.room.map(|segments| segments * SEGMENT));
            for (operation, full) in &life.faults {
                model.fail_after(*operation, if *full { Fault::Full } else { Fault::Broken });
            }
            // Opening may be stopped as well; then nothing was shown and the next start decides.
            if let Ok(mut journal) = owner.open(&model) {
                owner.work(&mut journal, life, &model);
            }
            end(life, &model);
        }
        model.set_room(None);
        drop(owner.open(&model).unwrap());
        let shown = owner.certain.clone();
        // What was shown once is durable, and opening again finds nothing more to do.
        for _ in 0..3 {
            model.lose_power();
            drop(owner.open(&model).unwrap());
            prop_assert_eq!(&owner.certain, &shown);
        }
    }
}

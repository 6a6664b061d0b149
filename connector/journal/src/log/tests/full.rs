//! A full disk and a disk that fails.

use super::model::{Fault, Model};
use super::*;

const SEGMENT: u64 = 8_192;

fn open_on(model: &Model) -> (Journal<Model>, Recovery, Vec<Frame>) {
    open_from(Path::new("journal"), options(SEGMENT), model.clone(), Mark::START).unwrap()
}

fn is_full(result: &Result<FrameReceipt, AppendError>) -> bool {
    matches!(result, Err(AppendError::DiskFull { .. }))
}

#[test]
fn on_a_full_disk_essential_records_still_commit() {
    let model = Model::new(1);
    let (mut journal, ..) = open_on(&model);
    assert!(journal.has_reserve());
    model.set_room(Some(model.used()));

    let mut appended = 0;
    let refused = loop {
        match journal.append(&[record(appended, 1_000)], Essential::No) {
            Ok(_) => appended += 1,
            Err(refused) => break refused,
        }
    };
    assert!(appended > 2, "the segment that was set aside is used first");
    match refused {
        AppendError::DiskFull { place, needed, .. } => {
            assert_eq!((place.as_path(), needed), (Path::new("journal"), SEGMENT));
        }
        other => panic!("{other:?}"),
    }

    // The first essential record takes the reserve; ordinary ones may not eat it up.
    for _ in 0..3 {
        journal.append(&[record(appended, 1_000)], Essential::Yes).unwrap();
        appended += 1;
        assert!(!journal.has_reserve());
        assert!(is_full(&journal.append(&[record(0, 10)], Essential::No)));
    }
    let essential = loop {
        match journal.append(&[record(appended, 1_000)], Essential::Yes) {
            Ok(_) => appended += 1,
            Err(refused) => break Err(refused),
        }
    };
    assert!(is_full(&essential), "the reserve is one segment");

    // It opens on the full disk, too, and goes on as before once there is room.
    drop(journal);
    let (mut journal, _, frames) = open_on(&model);
    assert_eq!(frames.len(), appended);
    assert!(is_full(&journal.append(&[record(0, 10)], Essential::No)));
    model.set_room(None);
    journal.append(&[record(appended, 1_000)], Essential::No).unwrap();
    assert!(journal.has_reserve());
    let frames: Vec<Frame> =
        journal.reader().frames_from(Mark::START).map(Result::unwrap).collect();
    for (number, frame) in frames.iter().enumerate() {
        assert_eq!(written(frame), [record(number, 1_000)]);
    }
    assert_eq!(frames.len(), appended + 1);
}

#[test]
fn a_frame_larger_than_the_reserve_needs_room() {
    let model = Model::new(2);
    let (mut journal, ..) = open_on(&model);
    model.set_room(Some(model.used()));
    assert!(is_full(&journal.append(&[record(0, 20_000)], Essential::Yes)));
    journal.append(&[record(0, 100)], Essential::Yes).unwrap();
    assert!(journal.has_reserve());
}

#[test]
fn a_write_that_fails_is_taken_back() {
    for (fault, seed) in (0..40).flat_map(|seed| [(Fault::Full, seed), (Fault::Broken, seed)]) {
        let model = Model::new(seed);
        let (mut journal, ..) = open_on(&model);
        journal.append(&[record(0, 100)], Essential::No).unwrap();
        let before = journal.mark();
        model.fail_after(0, fault);
        let refused = journal.append(&[record(1, 3_000)], Essential::No);
        match (fault, refused) {
            (Fault::Full, Err(AppendError::DiskFull { .. }))
            | (Fault::Broken, Err(AppendError::Write { .. })) => {}
            (_, other) => panic!("{other:?}"),
        }
        assert_eq!(journal.mark(), before);
        if seed % 2 == 0 {
            journal.append(&[record(2, 10)], Essential::No).unwrap();
        }
        model.lose_power();
        let (_, recovery, frames) = open_on(&model);
        assert_eq!(recovery.torn, None, "nothing of the failed write is left");
        let expected: &[Record] =
            if seed % 2 == 0 { &[record(0, 100), record(2, 10)] } else { &[record(0, 100)] };
        assert_eq!(frames.iter().flat_map(written).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn after_a_failed_sync_nothing_is_taken() {
    let model = Model::new(3);
    let (mut journal, ..) = open_on(&model);
    let reader = journal.reader();
    let before = journal.append(&[record(0, 100)], Essential::No).unwrap().mark;
    model.fail_after(1, Fault::Broken);
    let refused = journal.append(&[record(1, 100)], Essential::Yes);
    assert!(matches!(refused, Err(AppendError::SyncFailed { .. })));
    assert_eq!(reader.end(), before.end, "what is not durable is not read");
    for essential in [Essential::Yes, Essential::No] {
        let refused = journal.append(&[record(2, 100)], essential);
        assert!(matches!(refused, Err(AppendError::Refusing)));
    }
    drop(journal);

    // The kernel shows the frame to the next process and will never write it by itself. Once that
    // process has shown it to anyone, it must outlast a loss of power.
    model.restart_process();
    let (_, _, shown) = open_on(&model);
    assert_eq!(shown.len(), 2);
    for _ in 0..20 {
        model.lose_power();
        assert_eq!(open_on(&model).2, shown);
    }
}

#[test]
fn a_write_that_cannot_be_taken_back_ends_the_journal() {
    for later in [1, 2, 3] {
        let model = Model::new(4);
        let (mut journal, ..) = open_on(&model);
        model.fail_after(0, Fault::Broken);
        model.fail_after(later, Fault::Broken);
        let refused = journal.append(&[record(0, 100)], Essential::No);
        assert!(matches!(refused, Err(AppendError::SyncFailed { .. })), "{later}: {refused:?}");
        assert!(matches!(journal.append_empty(), Err(AppendError::Refusing)));
    }
}

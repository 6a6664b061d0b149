use super::*;

#[test]
fn what_is_appended_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, recovery, frames) = open(directory.path(), 8_192);
    assert_eq!((recovery.torn, frames.len()), (None, 0));
    let reader = journal.reader();

    let groups: Vec<Vec<Record>> = (0..40)
        .map(|group| (0..group % 5).map(|own| record(group * 5 + own, 700)).collect())
        .collect();
    let mut positions = Vec::new();
    for group in &groups {
        let receipt = journal.append(group, Essential::No).unwrap();
        assert_eq!(receipt.mark, journal.mark());
        assert_eq!(reader.end(), receipt.mark.end);
        positions.extend(receipt.positions().zip(group.clone()));
    }
    assert!(positions.is_sorted_by_key(|(position, _)| *position));
    assert!(segments(directory.path()).len() > 5);

    for (position, record) in &positions {
        let stored = reader.read(*position).unwrap();
        assert_eq!(stored.position, *position);
        assert_eq!((&stored.log, &stored.leaf), (&record.log, &record.leaf));
    }
    let frames: Vec<Frame> = reader.frames_from(Mark::START).map(Result::unwrap).collect();
    assert_eq!(frames.iter().map(written).collect::<Vec<_>>(), groups);
    let done = reader.verify(|_| {}).unwrap();
    assert_eq!((done.frames, done.records), (40, positions.len() as u64));
    assert_eq!((done.checked, done.end), (journal.mark().end, journal.mark().end));

    let (reopened, recovery, found) = open(directory.path(), 8_192);
    assert_eq!(recovery.torn, None);
    assert_eq!(found, frames);
    assert_eq!(reopened.mark(), journal.mark());
}

#[test]
fn reading_may_start_at_any_frame() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path(), 4_096);
    let receipts: Vec<FrameReceipt> = (0..30)
        .map(|number| journal.append(&[record(number, 600)], Essential::No).unwrap())
        .collect();
    let all: Vec<Frame> = journal.reader().frames_from(Mark::START).map(Result::unwrap).collect();
    for (number, receipt) in receipts.iter().enumerate() {
        let after = open_from(directory.path(), options(4_096), OsFiles, receipt.mark).unwrap().2;
        assert_eq!(after, all[number + 1..]);
        let reader = journal.reader();
        let read = |frames: Frames| frames.map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(read(reader.frames_from(receipt.mark)), all[number + 1..]);
        assert_eq!(read(reader.frames_at(receipt.offset)), all[number..]);
    }
}

#[test]
fn a_frame_larger_than_a_segment_has_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path(), 4_096);
    for size in [100, 50_000, 100] {
        journal.append(&[record(2, size)], Essential::No).unwrap();
    }
    let sizes: Vec<u64> = segments(directory.path()).into_iter().map(|(_, size)| size).collect();
    assert_eq!(sizes[0], 512, "a finished segment keeps no room");
    assert!(sizes[1] > 50_000);
    assert_eq!(sizes[2], 4_096);
    drop(journal);
    let (_, _, frames) = open(directory.path(), 4_096);
    assert_eq!(
        frames.iter().map(|frame| frame.records[0].effect.len()).collect::<Vec<_>>(),
        [100, 50_000, 100]
    );
}

#[test]
fn records_outside_the_limits_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path(), 4_096);
    let before = journal.mark();
    let good = record(0, 10);
    let cases = [
        (Record { log: String::new(), ..good.clone() }, RecordError::Label { found: 0 }),
        (Record { log: "x".repeat(4_097), ..good.clone() }, RecordError::Label { found: 4_097 }),
        (
            Record { leaf: vec![0; LEAF_BYTES_MAX + 1], ..good.clone() },
            RecordError::Leaf { found: 65_536 },
        ),
    ];
    for (bad, expected) in cases {
        match journal.append(&[good.clone(), bad], Essential::No) {
            Err(AppendError::Record { index: 1, reason }) => assert_eq!(reason, expected),
            other => panic!("{other:?}"),
        }
    }
    let large =
        Record { effect: vec![0; usize::try_from(FRAME_BYTES_MAX).unwrap()], ..good.clone() };
    let refused = journal.append(&[large], Essential::No);
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
    assert_eq!(journal.mark(), before);

    let largest = Record {
        log: "x".repeat(LABEL_BYTES_MAX),
        leaf: vec![1; LEAF_BYTES_MAX],
        effect: Vec::new(),
        body: Some(Vec::new()),
    };
    let receipt = journal.append(std::slice::from_ref(&largest), Essential::No).unwrap();
    let stored = journal.reader().read(receipt.positions().next().unwrap()).unwrap();
    assert_eq!(stored.body, Body::Present(Vec::new()));
    assert_eq!(stored.leaf, largest.leaf);
}

#[test]
fn what_is_not_there_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path(), 4_096);
    let receipt = journal.append(&[record(0, 2_000)], Essential::No).unwrap();
    let reader = journal.reader();
    for (offset, index) in [(receipt.mark.end, 0), (0, 1), (0, u32::MAX), (u64::MAX, 0)] {
        let refused = reader.read(Position { offset, index });
        assert!(matches!(refused, Err(ReadError::NotThere { .. })), "{offset}.{index}");
    }
    for offset in [1, 512, 1_024] {
        let refused = reader.read(Position { offset, index: 0 });
        assert!(matches!(refused, Err(ReadError::Damaged(_))), "{offset}");
    }
}

#[test]
fn a_caller_may_refuse_a_frame() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path(), 4_096);
    let first = journal.append(&[record(0, 10)], Essential::No).unwrap();
    journal.append(&[record(1, 10)], Essential::No).unwrap();
    drop(journal);
    let refused = Journal::open(directory.path(), options(4_096), OsFiles, Mark::START, |frame| {
        if frame.offset > 0 { Err("unknown effect".into()) } else { Ok(()) }
    });
    match refused {
        Err(OpenError::Visitor { offset, source }) => {
            assert_eq!((offset, source.to_string().as_str()), (first.mark.end, "unknown effect"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_position_has_one_spelling() {
    let position = Position { offset: 1_024, index: 7 };
    assert_eq!(position.to_string(), "1024.7");
    assert_eq!("1024.7".parse::<Position>().unwrap(), position);
    assert_eq!(serde_json::to_string(&position).unwrap(), r#""1024.7""#);
    for wrong in ["", "1024", "1024.", ".7", "+1024.7", "01024.7", "1024.7 ", "1024.4294967296"] {
        assert!(wrong.parse::<Position>().is_err(), "{wrong}");
    }
}

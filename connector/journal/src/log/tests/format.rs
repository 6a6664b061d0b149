//! The bytes on disk, written here by hand from the description of the format.

use std::os::unix::fs::FileExt as _;

use sha2::{Digest, Sha256};

use super::*;

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

/// A frame with one record that has a body, built without the code under test.
fn frame_by_hand(
    offset: u64,
    sequence: u64,
    previous: [u8; 32],
    body: &[u8],
) -> (Vec<u8>, [u8; 32]) {
    let mut records = Vec::new();
    records.extend(4_u16.to_be_bytes());
    records.extend(b"site");
    records.extend(3_u32.to_be_bytes());
    records.extend(b"{ }");
    records.extend(6_u32.to_be_bytes());
    records.extend(b"effect");
    records.push(1);
    records.extend(length(body).to_be_bytes());
    records.extend(Sha256::digest(body));

    let mut frame = b"SEKISHOJ".to_vec();
    frame.extend([0, 1, 0, 0, 0, 0, 0, 1]);
    frame.extend(ID);
    frame.extend(sequence.to_be_bytes());
    frame.extend(offset.to_be_bytes());
    frame.extend(length(&records).to_be_bytes());
    frame.extend((1 + length(body)).to_be_bytes());
    frame.extend(previous);
    let hash = Sha256::new().chain_update(&frame).chain_update(&records).finalize();
    frame.extend(hash);
    assert_eq!(frame.len(), 120);
    frame.extend(records);
    frame.push(1);
    frame.extend(body);
    frame.resize(frame.len().next_multiple_of(512), 0);
    (frame, hash.into())
}

fn record() -> Record {
    Record {
        log: "site".into(),
        leaf: b"{ }".into(),
        effect: b"effect".into(),
        body: Some(b"a body".into()),
    }
}

#[test]
fn frames_are_written_as_described() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path(), 2_048);
    journal.append(&[record()], Essential::No).unwrap();
    journal.append(&[record()], Essential::No).unwrap();

    let (first, hash) = frame_by_hand(0, 1, [0; 32], b"a body");
    let (second, _) = frame_by_hand(512, 2, hash, b"a body");
    let file = std::fs::read(directory.path().join("00000000000000000000.seg")).unwrap();
    assert_eq!(file, [first, second, vec![0; 1_024]].concat());
}

#[test]
fn a_blanked_body_leaves_the_chain_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path(), 2_048);
    let receipt = journal.append(&[record()], Essential::No).unwrap();
    journal.append(&[record()], Essential::No).unwrap();
    let whole: Vec<Frame> = journal.reader().frames_from(Mark::START).map(Result::unwrap).collect();

    let path = directory.path().join("00000000000000000000.seg");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let content = std::fs::read(&path).unwrap();
    let place = content.windows(6).position(|window| window == b"a body").unwrap() as u64;
    let read = || journal.reader().read(receipt.positions().next().unwrap());

    // A kind alone does not erase, and other bytes do not replace.
    file.write_all_at(&[2], place - 1).unwrap();
    assert!(matches!(read(), Err(ReadError::Damaged(Damage { defect: Defect::Body { .. }, .. }))));
    file.write_all_at(b"\x01a bodY", place - 1).unwrap();
    assert!(matches!(read(), Err(ReadError::Damaged(Damage { defect: Defect::Body { .. }, .. }))));

    file.write_all_at(&[2, 0, 0, 0, 0, 0, 0], place - 1).unwrap();
    let erased = Body::Erased { length: 6, digest: Hash::of(b"a body") };
    assert_eq!(read().unwrap().body, erased);
    journal.reader().verify(|_| {}).unwrap();
    let (_, recovery, frames) = open(directory.path(), 2_048);
    assert_eq!(recovery.torn, None);
    assert_eq!(frames[0].records[0].body, erased);
    assert_eq!(frames[0].mark, whole[0].mark);
    assert_eq!(frames[1], whole[1]);
}

#[test]
fn what_a_later_release_wrote_is_refused_and_kept() {
    let body_kind = 120 + 2 + 4 + 4 + 3 + 4 + 6 + 1 + 4 + 32;
    for (place, byte, expected) in [
        (9, 2, Defect::Version { version: 2 }),
        (11, 1, Defect::Flags { flags: 1 }),
        (16, b'S', Defect::OtherJournal),
        (40, 1, Defect::OtherPlace { stated: (1 << 56) + 512 }),
        (body_kind, 9, Defect::BodyKind { index: 0, kind: 9 }),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, ..) = open(directory.path(), 2_048);
        journal.append(&[record()], Essential::No).unwrap();
        journal.append(&[record()], Essential::No).unwrap();
        drop(journal);
        let path = directory.path().join("00000000000000000000.seg");
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[byte], 512 + place).unwrap();
        let before = std::fs::read(&path).unwrap();

        // Though it is the last frame, it is not the rest of an interrupted write.
        match open_from(directory.path(), options(2_048), OsFiles, Mark::START) {
            Err(OpenError::Damaged(damage)) => {
                assert_eq!(damage.defect, expected);
                assert_eq!((damage.offset, damage.place, &damage.segment), (512, 512, &path));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

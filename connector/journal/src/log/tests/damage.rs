//! Files that were changed behind the journal's back.

use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use super::*;

const SEGMENT: u64 = 4_096;

fn journal_of(directory: &Path, frames: usize) -> Vec<Frame> {
    let (mut journal, ..) = open(directory, SEGMENT);
    for number in 0..frames {
        let records: Vec<Record> =
            (0..number % 3).map(|own| record(3 * number + own, 150 * own)).collect();
        journal.append(&records, Essential::No).unwrap();
    }
    journal.reader().frames_from(Mark::START).map(Result::unwrap).collect()
}

fn damaged(result: Result<(Journal, Recovery, Vec<Frame>), OpenError>) -> Damage {
    match result {
        Err(OpenError::Damaged(damage)) => damage,
        other => panic!("{other:?}"),
    }
}

fn reopen(directory: &Path) -> Result<(Journal, Recovery, Vec<Frame>), OpenError> {
    open_from(directory, options(SEGMENT), OsFiles, Mark::START)
}

#[test]
fn a_damaged_frame_is_named_with_file_place_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let frames = journal_of(directory.path(), 30);
    let (path, _) = segments(directory.path())[1].clone();
    let base: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let frame = frames.iter().find(|frame| frame.offset > base).unwrap();
    let place = frame.offset - base;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff], place + 60).unwrap();

    let damage = damaged(reopen(directory.path()));
    assert_eq!((damage.segment.as_path(), damage.place), (path.as_path(), place));
    assert_eq!((damage.offset, &damage.defect), (frame.offset, &Defect::Hash));
    let text = damage.to_string();
    assert!(text.contains(&format!("`{}` at byte {place}", path.display())), "{text}");
    assert!(text.contains("restore the file"), "{text}");
    assert!(matches!(reopen(directory.path()), Err(OpenError::Damaged(_))), "nothing was cut off");
}

#[test]
fn an_audit_names_the_first_bad_place() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path(), SEGMENT);
    let receipts: Vec<FrameReceipt> = (0..20)
        .map(|number| journal.append(&[record(number, 500)], Essential::No).unwrap())
        .collect();
    let bad = receipts[11].offset;
    let (path, base) = segments(directory.path())
        .into_iter()
        .map(|(path, _)| {
            let base: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            (path, base)
        })
        .rfind(|(_, base)| *base <= bad)
        .unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"!", bad - base + 200).unwrap();

    let mut last = Progress::default();
    match journal.reader().verify(|progress| last = progress) {
        Err(ReadError::Damaged(damage)) => assert_eq!(damage.offset, bad),
        other => panic!("{other:?}"),
    }
    assert_eq!((last.frames, last.checked), (11, bad));
    assert_eq!(journal.reader().frames_from(Mark::START).count(), 12, "it ends after the error");
}

#[test]
fn missing_and_foreign_files_are_refused() {
    type Change = fn(&[(PathBuf, u64)]);
    let changes: [(&str, Change); 4] = [
        ("the first is missing", |files| std::fs::remove_file(&files[0].0).unwrap()),
        ("one between is missing", |files| std::fs::remove_file(&files[1].0).unwrap()),
        ("one does not belong", |files| {
            std::fs::copy(&files[1].0, files[1].0.with_file_name("00000000000000001024.seg"))
                .map(drop)
                .unwrap();
        }),
        ("one has the content of another", |files| {
            std::fs::copy(&files[2].0, &files[1].0).map(drop).unwrap();
        }),
    ];
    for (what, change) in changes {
        let directory = tempfile::tempdir().unwrap();
        journal_of(directory.path(), 40);
        change(&segments(directory.path()));
        assert!(matches!(reopen(directory.path()), Err(OpenError::Damaged(_))), "{what}");
    }

    let directory = tempfile::tempdir().unwrap();
    journal_of(directory.path(), 4);
    let stray = directory.path().join("0.seg");
    std::fs::write(&stray, "").unwrap();
    match reopen(directory.path()) {
        Err(OpenError::Stray { path }) => assert_eq!(path, stray),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_journal_that_lost_frames_is_behind_its_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let frames = journal_of(directory.path(), 5);
    let old = tempfile::tempdir().unwrap();
    for (path, _) in segments(directory.path()) {
        std::fs::copy(&path, old.path().join(path.file_name().unwrap())).unwrap();
    }
    let (mut journal, ..) = open(directory.path(), SEGMENT);
    let mark = journal.append(&[record(1, 10)], Essential::No).unwrap().mark;

    let refused = open_from(old.path(), options(SEGMENT), OsFiles, mark);
    match refused {
        Err(OpenError::Behind { end, wanted, .. }) => {
            assert_eq!((end, wanted), (mark.last, mark.end))
        }
        other => panic!("{other:?}"),
    }
    let empty = tempfile::tempdir().unwrap();
    let refused = open_from(empty.path(), options(SEGMENT), OsFiles, mark);
    assert!(matches!(refused, Err(OpenError::Behind { end: 0, .. })));

    // Another history of the same length is not behind: it is another one.
    let (mut journal, ..) = open(old.path(), SEGMENT);
    journal.append(&[record(2, 10)], Essential::No).unwrap();
    let damage = damaged(open_from(old.path(), options(SEGMENT), OsFiles, mark));
    assert_eq!(damage.defect, Defect::Chain { expected: 6, found: 6 });
    assert_eq!(damage.offset, frames[4].mark.end);
}

#[test]
fn two_histories_do_not_mix() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (directory, own) in [(&one, 1), (&two, 2)] {
        let (mut journal, ..) = open(directory.path(), SEGMENT);
        for number in 0..20 {
            let mut record = record(3 * number, 500);
            record.leaf = vec![own];
            journal.append(&[record], Essential::No).unwrap();
        }
    }
    let last = |directory: &tempfile::TempDir| segments(directory.path()).pop().unwrap().0;
    let name = last(&one).file_name().unwrap().to_owned();
    std::fs::copy(two.path().join(&name), last(&one)).unwrap();
    // The frames of the other journal are whole, so nothing of them is the rest of a write.
    assert!(matches!(damaged(reopen(one.path())).defect, Defect::Chain { .. }));
}

#[test]
fn text_of_a_peer_does_not_pass_for_a_frame() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path(), 1 << 16);
    let first = journal.append(&[record(0, 10)], Essential::No).unwrap();

    // Headers of another journal's id at every sector to come, as a peer could send them.
    let mut text = Vec::new();
    for offset in (0..20_000_u64).step_by(512) {
        let mut header = b"SEKISHOJ".to_vec();
        header.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        header.extend([b'x'; 16]);
        header.extend(9_u64.to_be_bytes());
        header.extend((first.mark.end + offset).to_be_bytes());
        header.resize(512, 0);
        text.extend(header);
    }
    let aligned = 512 - (120 + 2 + 4 + 4 + 4);
    let effect = [vec![0; aligned], text].concat();
    let imitation = Record { log: "site".into(), leaf: Vec::new(), effect, body: None };
    journal.append(&[imitation], Essential::No).unwrap();
    drop(journal);
    let (path, _) = segments(directory.path())[0].clone();
    let content = std::fs::read(&path).unwrap();
    let aligned = content.chunks(512).filter(|sector| sector.starts_with(b"SEKISHOJ")).count();
    assert!(aligned > 30, "the imitation lies where frames begin");

    // Its write was interrupted: the rest is cut off all the same.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 512], first.mark.end).unwrap();
    let (_, recovery, frames) = open(directory.path(), 1 << 16);
    assert_eq!(frames.len(), 1);
    assert_eq!(recovery.torn.map(|torn| torn.offset), Some(first.mark.end));
}

#[test]
fn the_rest_of_an_interrupted_write_is_cut_off_once() {
    let directory = tempfile::tempdir().unwrap();
    let frames = journal_of(directory.path(), 3);
    let (path, size) = segments(directory.path())[0].clone();
    let end = frames[2].mark.end;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"half a frame", end + 700).unwrap();

    let (_, recovery, found) = open(directory.path(), SEGMENT);
    let torn = TornTail { segment: path.clone(), place: end, offset: end, defect: Defect::NoFrame };
    assert_eq!(recovery.torn, Some(torn));
    assert_eq!(found, frames);
    assert_eq!(path.metadata().unwrap().len(), size);
    let (_, recovery, found) = open(directory.path(), SEGMENT);
    assert_eq!((recovery.torn, found), (None, frames));
}

#[test]
fn a_write_may_end_at_any_byte() {
    let directory = tempfile::tempdir().unwrap();
    let frames = journal_of(directory.path(), 3);
    let (path, _) = segments(directory.path())[0].clone();
    let whole = std::fs::read(&path).unwrap();
    let (start, end) =
        [frames[2].offset, frames[2].mark.end].map(|at| usize::try_from(at).unwrap()).into();
    let content_end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(content_end > start + 120);
    for cut in start..=end {
        let mut content = whole.clone();
        content[cut..].fill(0);
        std::fs::write(&path, content).unwrap();
        let (_, recovery, found) = open(directory.path(), SEGMENT);
        let expected = if cut < content_end { 2 } else { 3 };
        assert_eq!(found, frames[..expected], "cut at {cut}");
        assert_eq!(recovery.torn.is_some(), start < cut && cut < content_end, "cut at {cut}");
        assert_eq!(std::fs::read(&path).unwrap().len(), whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever byte is changed, at most the last frame is lost, and nothing false is shown.
    #[test]
    fn no_changed_byte_goes_unnoticed(at in any::<prop::sample::Index>(), flip in 1_u8..=255) {
        let directory = tempfile::tempdir().unwrap();
        let frames = journal_of(directory.path(), 16);
        let files = segments(directory.path());
        let mut at = at.index(files.iter().map(|(_, size)| usize::try_from(*size).unwrap()).sum()) as u64;
        let (path, _) = files
            .iter()
            .find(|(_, size)| {
                let here = at < *size;
                if !here {
                    at -= size;
                }
                here
            })
            .unwrap();
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ flip], at).unwrap();

        match reopen(directory.path()) {
            Ok((_, recovery, found)) => {
                prop_assert!(recovery.torn.is_some());
                prop_assert!(found.len() + 1 >= frames.len());
                prop_assert_eq!(&found[..], &frames[..found.len()]);
            }
            Err(OpenError::Damaged(damage)) => prop_assert_eq!(&damage.segment, path),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }

    /// However short the last file is cut, what is shown was written, and in its order.
    #[test]
    fn a_shortened_file_shows_nothing_false(length in 0_u64..SEGMENT) {
        let directory = tempfile::tempdir().unwrap();
        let frames = journal_of(directory.path(), 16);
        let (path, _) = segments(directory.path()).pop().unwrap();
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
        let (mut journal, _, found) = reopen(directory.path()).unwrap();
        prop_assert_eq!(&found[..], &frames[..found.len()]);
        journal.append(&[record(7, 300)], Essential::No).unwrap();
        let (_, recovery, again) = reopen(directory.path()).unwrap();
        prop_assert_eq!(recovery.torn, None);
        prop_assert_eq!(again.len(), found.len() + 1);
    }
}

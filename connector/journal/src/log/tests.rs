mod crash;
mod damage;
mod format;
mod full;
mod model;
mod writing;

use std::path::{Path, PathBuf};

use super::*;
use crate::files::{FileLayer, OsFiles};

const ID: [u8; 16] = *b"sixteen byte id!";

fn options(segment_bytes: u64) -> Options {
    Options { journal_id: ID, segment_bytes }
}

/// A record whose parts can be told from those of any other number.
fn record(number: usize, size: usize) -> Record {
    Record {
        log: if number.is_multiple_of(3) { "site".into() } else { format!("relation/{number}") },
        leaf: format!("leaf {number}").into_bytes(),
        effect: vec![u8::try_from(number % 251).unwrap(); size],
        body: (number % 4 != 1).then(|| format!("body {number} ").repeat(size % 90).into_bytes()),
    }
}

fn open_from<L: FileLayer>(
    directory: &Path,
    options: Options,
    layer: L,
    from: Mark,
) -> Result<(Journal<L>, Recovery, Vec<Frame>), OpenError> {
    let mut frames = Vec::new();
    let (journal, recovery) = Journal::open(directory, options, layer, from, |frame| {
        frames.push(frame);
        Ok(())
    })?;
    assert_eq!(recovery.frames, frames.len() as u64);
    let records: usize = frames.iter().map(|frame| frame.records.len()).sum();
    assert_eq!(recovery.records, records as u64);
    Ok((journal, recovery, frames))
}

fn open(directory: &Path, segment_bytes: u64) -> (Journal, Recovery, Vec<Frame>) {
    open_from(directory, options(segment_bytes), OsFiles, Mark::START).unwrap()
}

/// What was written, as records to compare with.
fn written(frame: &Frame) -> Vec<Record> {
    frame
        .records
        .iter()
        .map(|stored| Record {
            log: stored.log.clone(),
            leaf: stored.leaf.clone(),
            effect: stored.effect.clone(),
            body: match &stored.body {
                Body::Absent => None,
                Body::Present(bytes) => Some(bytes.clone()),
                Body::Erased { .. } => panic!("nothing was erased"),
            },
        })
        .collect()
}

fn segments(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .map(|path| (path.clone(), path.metadata().unwrap().len()))
        .collect();
    found.sort();
    found
}

//! Reading a journal from outside, and the checkpoints that were ever given out.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::site::Site;
use journal::files::OsFiles;
use journal::log::{Frame, Journal, Mark, Options, StoredRecord};
use journal::tlog::{Checkpoint, Frontier, Hash, leaf_hash};
use serde_json::Value;

/// What a journal holds, computed anew from its leaves.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) records: u64,
    /// Records that say a partner's checkpoint contradicts an earlier one.
    pub(crate) conflicts: u64,
    /// For each log, the tree's root at each size, the empty tree first.
    logs: BTreeMap<String, Vec<Hash>>,
    /// For each log, its leaves.
    leaves: BTreeMap<String, Vec<Vec<u8>>>,
}

/// Reads a copy of the journal of a site whose daemon does not run: opening it may cut off a torn end.
pub(crate) fn read(site: &Site, copy: &Path) -> Result<Read> {
    if copy.exists() {
        std::fs::remove_dir_all(copy)?;
    }
    std::fs::create_dir(copy)?;
    for entry in std::fs::read_dir(site.path("data/journal"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), copy.join(entry.file_name()))?;
    }
    let instance = std::fs::read(site.path("data/instance.json"))?;
    let instance: Value = serde_json::from_slice(&instance)?;
    let id = instance.get("id").and_then(Value::as_str).context("the journal has no id")?;
    let mut journal_id = [0; 16];
    hex::decode_to_slice(id, &mut journal_id)?;
    let mut read = Read::default();
    let mut trees = BTreeMap::new();
    let visit = |frame: Frame| {
        frame.records.into_iter().try_for_each(|record| read.take(record, &mut trees))
    };
    Journal::open(copy, Options::new(journal_id), OsFiles, Mark::START, visit)?;
    Ok(read)
}

impl Read {
    fn take(
        &mut self,
        record: StoredRecord,
        trees: &mut BTreeMap<String, Frontier>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.records += 1;
        let leaf: Value = serde_json::from_slice(&record.leaf)?;
        if leaf.get("kind").and_then(Value::as_str) == Some("checkpoint-conflict") {
            self.conflicts += 1;
        }
        let tree = trees.entry(record.log.clone()).or_default();
        tree.append(leaf_hash(&record.leaf));
        let empty = || vec![Hash::EMPTY_TREE];
        self.logs.entry(record.log.clone()).or_insert_with(empty).push(tree.root());
        self.leaves.entry(record.log).or_default().push(record.leaf);
        Ok(())
    }
}

/// What the provider gave out with each file: a checkpoint, and the record of the grant.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    given: Vec<(Checkpoint, u64, String)>,
}

impl Kept {
    /// Keeps what a file's evidence holds.
    pub(crate) fn keep(&mut self, evidence: &Path) -> Result<()> {
        let bundle: Value = serde_json::from_slice(&std::fs::read(evidence)?)?;
        let text = |member: &str| {
            let text = bundle.get(member).and_then(Value::as_str);
            text.map(str::to_owned).with_context(|| format!("the evidence has no {member}"))
        };
        let note = text("checkpoint")?;
        let (body, _) = note.split_once("\n\n").context("the checkpoint is no signed note")?;
        let checkpoint = Checkpoint::from_body(&format!("{body}\n"))?;
        let index =
            bundle.get("index").and_then(Value::as_u64).context("the evidence has no index")?;
        self.given.push((checkpoint, index, text("leaf")?));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.given.len()
    }

    /// Each checkpoint is one of the tree that the journal makes, and each grant is in it where it was said to be.
    pub(crate) fn check(&self, read: &Read) -> Result<()> {
        for (checkpoint, index, leaf) in &self.given {
            let found = read.logs.iter().find(|(label, _)| is_log(&checkpoint.origin, label));
            let Some((label, roots)) = found else {
                bail!("no log of the journal is `{}`", checkpoint.origin);
            };
            let size = usize::try_from(checkpoint.size)?;
            let root = roots.get(size).with_context(|| {
                format!("a checkpoint of size {size} was given out; the log is shorter now")
            })?;
            ensure!(
                *root == checkpoint.root,
                "the checkpoint of size {size} that was given out is not consistent with the log"
            );
            let leaves = read.leaves.get(label).map(Vec::as_slice).unwrap_or_default();
            let stored = leaves.get(usize::try_from(*index)?);
            ensure!(
                stored.is_some_and(|stored| stored == leaf.as_bytes()),
                "a file was served, and the record of its grant is not at index {index}"
            );
        }
        Ok(())
    }
}

/// Whether a checkpoint's origin (`OWNER/relation/PARTNER/EPOCH`) is that of the tree with this label (`relation/PARTNER/EPOCH`).
fn is_log(origin: &str, label: &str) -> bool {
    origin.strip_suffix(label).is_some_and(|owner| owner.ends_with('/'))
}

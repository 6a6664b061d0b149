//! Verifying the whole journal while the node runs.
//!
//! Everything is computed anew from the frames as they are on the disk: checksums and chain, leaves against effects and
//! bodies, the tree of each log, and every checkpoint that we ever signed against the records that it covers. Nothing that
//! is derived from the journal is believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::entity::{Head, Witness};
use engine::{Entity, Key, Kind, LogId, Store as _, TreeId};
use journal::tlog::{Checkpoint, Frontier, Hash, verify_checkpoint, verify_consistency};
use protocol::id::ParticipantId;
use schemars::JsonSchema;
use serde::Serialize;
use store::{CheckedFrame, StoredRecord};

use super::answer::{self, ApiError, ErrorKind, Events, Stop, Throttle};
use super::caller::READERS;
use super::input::Nothing;
use super::route::{Call, Lines, Route};
use super::status;
use crate::node::Node;
use crate::witness;

/// How many findings are reported; more of them say nothing new.
const FINDINGS_MAX: usize = 100;
/// How many checkpoints of partners are read at once.
const SCAN_STEP: usize = 256;

const RESTORE: &str = "keep the data directory as it is, restore the journal from a backup, and compare checkpoints with your partners";
const REBUILD: &str = "stop the daemon and run `sekisho rebuild`; the journal itself is whole";
const COMPARE: &str =
    "keep the data directory as it is, and compare checkpoints with your partners";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "audit.verify",
            "/v1/audit/verify",
            "Verify the whole journal: frames, records, trees and checkpoints",
            verify,
        )
        .for_roles(READERS),
    ]
}

/// What happens while the journal is verified.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Verifying {
    /// How far the reading is, in bytes.
    Progress { done: u64, total: u64 },
    /// The last event.
    Report(Report),
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
struct Report {
    /// Whether nothing is wrong.
    verified: bool,
    bytes: u64,
    frames: u64,
    records: u64,
    /// Our own checkpoints.
    checkpoints: u64,
    their_checkpoints: TheirCheckpoints,
    logs: Vec<VerifiedLog>,
    problem_count: u64,
    /// The first of them.
    problems: Vec<ShownFinding>,
}

/// Checkpoints of partners that we hold.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct TheirCheckpoints {
    verified: u64,
    /// Those of partners that are not registered any more: there is no key to verify by.
    without_key: u64,
}

/// A log as its records make it.
#[derive(Debug, Serialize, JsonSchema)]
struct VerifiedLog {
    /// `site`, or the partner's short name.
    log: String,
    epoch: u32,
    size: u64,
    /// The root of its tree, hexadecimal.
    root: String,
}

/// What is wrong, where, and what to do.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownFinding {
    place: String,
    problem: String,
    help: &'static str,
}

/// Verifies everything; the events end with the report.
async fn verify(call: Call, _: Nothing) -> Result<Lines<Verifying>, ApiError> {
    let node = Arc::clone(call.node());
    let Ok(turn) = Arc::clone(&call.api.verifying).try_lock_owned() else {
        return Err(ApiError::new(ErrorKind::TooMany, "the journal is being verified already")
            .help("wait for that to end"));
    };
    Ok(answer::stream(move |events| async move {
        let _turn = turn;
        let report = run(&node, &events).await?;
        events.send(&Verifying::Report(report)).await
    }))
}

async fn run(node: &Arc<Node>, events: &Events<Verifying>) -> Result<Report, Stop> {
    // What there is before the reading begins has to be found by it.
    let mut before = Vec::new();
    for tree in node.store.trees() {
        let (size, _) = node.store.tree_head(tree.clone()).await?;
        before.push((tree, size));
    }
    let walk = Walk::new(
        node.context.participant.clone(),
        node.identity.site.load().signing.key().public_key(),
    );
    let (reader, told) = (node.store.clone(), events.clone());
    let read = tokio::task::spawn_blocking(move || {
        let total = reader.journal_bytes();
        let mut walk = walk;
        walk.read(reader.frames(), total, &told).map(|()| walk)
    });
    let mut walk = read
        .await
        .map_err(|_| ApiError::new(ErrorKind::Unavailable, "the daemon is stopping"))??;
    if walk.is_whole {
        walk.check_trees(node, &before).await?;
        walk.check_earlier(node).await;
    }
    let witnesses = check_witnesses(node, &mut walk.findings).await?;
    Ok(walk.report(node, witnesses))
}

/// What is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    place: String,
    what: String,
    help: &'static str,
}

#[derive(Debug, Default)]
struct Findings {
    first: Vec<Finding>,
    count: u64,
}

impl Findings {
    fn add(&mut self, place: impl Into<String>, what: impl Into<String>, help: &'static str) {
        self.count = self.count.saturating_add(1);
        if self.first.len() < FINDINGS_MAX {
            self.first.push(Finding { place: place.into(), what: what.into(), help });
        }
    }
}

/// A checkpoint of ours that covers less than its log had when it was recorded.
#[derive(Debug)]
struct Earlier {
    place: String,
    tree: TreeId,
    size: u64,
    root: Hash,
}

/// What was found while the journal was read.
struct Walk {
    own: ParticipantId,
    key: [u8; 32],
    /// The trees of the logs, made anew.
    trees: BTreeMap<TreeId, Frontier>,
    earlier: Vec<Earlier>,
    findings: Findings,
    frames: u64,
    records: u64,
    bytes: u64,
    checkpoints: u64,
    /// Whether every frame could be read.
    is_whole: bool,
}

impl Walk {
    fn new(own: ParticipantId, key: [u8; 32]) -> Self {
        Self {
            own,
            key,
            trees: BTreeMap::new(),
            earlier: Vec::new(),
            findings: Findings::default(),
            frames: 0,
            records: 0,
            bytes: 0,
            checkpoints: 0,
            is_whole: true,
        }
    }

    /// Reads all frames; tells how far it is.
    fn read(
        &mut self,
        frames: impl Iterator<Item = Result<CheckedFrame, store::EvidenceError>>,
        total: u64,
        events: &Events<Verifying>,
    ) -> Result<(), Stop> {
        let mut throttle = Throttle::default();
        for frame in frames {
            match frame {
                Ok(frame) => self.frame(&frame),
                Err(error) => {
                    self.is_whole = false;
                    self.findings.add(
                        format!("journal byte {}", self.bytes),
                        error.to_string(),
                        RESTORE,
                    );
                }
            }
            if throttle.is_due() {
                events.offer(&Verifying::Progress { done: self.bytes, total })?;
            }
        }
        if self.is_whole && self.bytes < total {
            self.is_whole = false;
            let what = format!("the journal ends here, and has {total} bytes");
            self.findings.add(format!("journal byte {}", self.bytes), what, RESTORE);
        }
        events.offer(&Verifying::Progress { done: self.bytes, total })
    }

    fn frame(&mut self, frame: &CheckedFrame) {
        self.frames = self.frames.saturating_add(1);
        self.bytes = frame.end;
        for record in &frame.records {
            match record {
                Ok(record) => self.record(record),
                Err(error) => {
                    // Its log is not known to have the leaf, so no tree can be made anew.
                    self.is_whole = false;
                    self.findings.add(
                        format!("record {}", error.position),
                        error.to_string(),
                        RESTORE,
                    );
                }
            }
        }
    }

    fn record(&mut self, record: &StoredRecord) {
        self.records = self.records.saturating_add(1);
        let tree = self.trees.entry(record.tree.clone()).or_default();
        tree.append(record.leaf_hash());
        for write in &record.writes {
            if let (Key::Head(label), Some(Entity::Head(head))) = (&write.key, &write.entity) {
                let place = format!("record {}", record.position);
                if let Err(what) = self.head(&place, label, head) {
                    self.findings.add(place, what, COMPARE);
                }
            }
        }
    }

    /// A checkpoint that we signed: by our key, of our log, and of the records that are in it.
    fn head(&mut self, place: &str, label: &str, head: &Head) -> Result<(), String> {
        self.checkpoints = self.checkpoints.saturating_add(1);
        let id = TreeId::from_label(label)
            .ok_or_else(|| format!("a checkpoint is of the log `{label}`, which cannot be"))?;
        let checkpoint = verify_checkpoint(&head.note, &witness::key_name(&self.own), &self.key)
            .map_err(|error| format!("the checkpoint of `{label}` does not verify: {error}"))?;
        let origin = id.origin(&self.own);
        let Checkpoint { size, root, .. } = checkpoint;
        if checkpoint.origin != origin || size != head.size || hex::encode(root.0) != head.root {
            return Err(format!("the checkpoint of `{label}` is not what its record says"));
        }
        let tree = self.trees.entry(id.clone()).or_default();
        if size > tree.size() {
            return Err(format!(
                "the checkpoint of `{label}` covers {size} records, and {} were written before it",
                tree.size()
            ));
        }
        if size == tree.size() {
            return if root == tree.root() {
                Ok(())
            } else {
                Err(format!(
                    "the first {size} records of `{label}` are not those of the checkpoint"
                ))
            };
        }
        // Records came in between; what they were is proven from the whole tree at the end.
        self.earlier.push(Earlier { place: place.to_owned(), tree: id, size, root });
        Ok(())
    }

    /// Whether the trees that proofs are made from are those of the records.
    async fn check_trees(&mut self, node: &Node, before: &[(TreeId, u64)]) -> Result<(), Stop> {
        for (log, size) in before {
            let read = self.trees.get(log).map_or(0, Frontier::size);
            if read < *size {
                let what = format!("the tree has {size} records, and the journal {read}");
                self.findings.add(format!("log `{}`", log.label()), what, REBUILD);
            }
        }
        let trees: Vec<(TreeId, u64, Hash)> =
            self.trees.iter().map(|(log, tree)| (log.clone(), tree.size(), tree.root())).collect();
        for (log, size, root) in trees {
            let (now, now_root) = node.store.tree_head(log.clone()).await?;
            if let Err(what) = continues(node, &log, (size, root), (now, Hash(now_root))).await {
                self.findings.add(format!("log `{}`", log.label()), what, REBUILD);
            }
        }
        Ok(())
    }

    /// Whether the checkpoints that records came in between of are of the records that are in the logs.
    async fn check_earlier(&mut self, node: &Node) {
        for earlier in std::mem::take(&mut self.earlier) {
            let Some(tree) = self.trees.get(&earlier.tree) else { continue };
            let (old, new) = ((earlier.size, earlier.root), (tree.size(), tree.root()));
            if let Err(what) = continues(node, &earlier.tree, old, new).await {
                let what = format!("the checkpoint of `{}`: {what}", earlier.tree);
                self.findings.add(earlier.place, what, COMPARE);
            }
        }
    }

    fn report(&self, node: &Node, their_checkpoints: TheirCheckpoints) -> Report {
        let logs = self.trees.iter().map(|(id, tree)| VerifiedLog {
            log: status::name(node, &id.log),
            epoch: id.epoch,
            size: tree.size(),
            root: hex::encode(tree.root().0),
        });
        let problems = self.findings.first.iter().map(|found| ShownFinding {
            place: found.place.clone(),
            problem: found.what.clone(),
            help: found.help,
        });
        Report {
            verified: self.findings.count == 0,
            bytes: self.bytes,
            frames: self.frames,
            records: self.records,
            checkpoints: self.checkpoints,
            their_checkpoints,
            logs: logs.collect(),
            problem_count: self.findings.count,
            problems: problems.collect(),
        }
    }
}

/// Whether a larger tree continues a smaller one. The proof comes from files, and is believed as far as it proves.
async fn continues(
    node: &Node,
    tree: &TreeId,
    (old, old_root): (u64, Hash),
    (new, new_root): (u64, Hash),
) -> Result<(), String> {
    let differs = || format!("the tree of {new} records does not continue that of {old}");
    if new < old || new == old && new_root != old_root || old == 0 && old_root != Hash::EMPTY_TREE {
        return Err(differs());
    }
    if new == old || old == 0 {
        return Ok(());
    }
    let proof =
        node.store.consistency(tree.clone(), old, new).await.map_err(|error| error.to_string())?;
    verify_consistency(old, &old_root, new, &new_root, &proof).map_err(|_| differs())
}

/// Verifies the partners' checkpoints that we hold. A partner that is not registered any more has no key to verify by.
async fn check_witnesses(
    node: &Arc<Node>,
    findings: &mut Findings,
) -> Result<TheirCheckpoints, ApiError> {
    let mut checked = TheirCheckpoints::default();
    let mut after = None;
    loop {
        let page = node.store.scan(Kind::Witness, after.take(), SCAN_STEP).await?;
        for (key, entity) in &page {
            let (Key::Witness(partner), Entity::Witness(held)) = (key, entity.as_ref()) else {
                continue;
            };
            let Some(signer) = witness::signing_key(node, partner) else {
                checked.without_key += 1;
                continue;
            };
            match held_is_true(&node.context.participant, partner, held, &signer) {
                Ok(()) => checked.verified += 1,
                Err((what, help)) => {
                    findings.add(format!("the checkpoint held of `{partner}`"), what, help);
                }
            }
        }
        if page.len() < SCAN_STEP {
            return Ok(checked);
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

fn held_is_true(
    own: &ParticipantId,
    partner: &ParticipantId,
    held: &Witness,
    signer: &[u8; 32],
) -> Result<(), (String, &'static str)> {
    let is_of = |note: &str, epoch: u32| {
        let checkpoint = verify_checkpoint(note, &witness::key_name(partner), signer)
            .map_err(|error| (format!("it does not verify: {error}"), COMPARE))?;
        let tree = LogId::Relation(own.clone()).in_epoch(epoch);
        match checkpoint.origin == tree.origin(partner) {
            true => Ok(checkpoint),
            false => Err(("it is not what its record says".to_owned(), COMPARE)),
        }
    };
    for earlier in &held.earlier {
        is_of(&earlier.note, earlier.epoch)?;
    }
    // Nothing of the partner's log is held where it only showed that ours is behind.
    if held.size > 0 {
        let checkpoint = is_of(&held.note, held.epoch)?;
        if checkpoint.size != held.size || hex::encode(checkpoint.root.0) != held.root {
            return Err(("it is not what its record says".to_owned(), COMPARE));
        }
    }
    if held.conflict.is_some() {
        return Err((
            "the partner signed two histories that contradict each other; both notes are kept"
                .to_owned(),
            "show the partner both notes, and ask which of its records it changed",
        ));
    }
    if held.behind.is_some() {
        return Err((
            "the partner holds a checkpoint that this node signed, and that our log does not continue"
                .to_owned(),
            status::BEHIND_HELP,
        ));
    }
    Ok(())
}

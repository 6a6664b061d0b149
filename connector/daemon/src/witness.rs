//! Checkpoints of relation logs: signed at most once a second, given out, exchanged with the partner, and each new one of
//! the partner's checked for consistency with the one we hold. A new epoch begins with a record that says so.

mod judge;
mod opening;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use engine::entity::{Head, PartnerState, Witness};
use engine::evidence::{self, Shown};
use engine::{LogId, Store as _, StoreError, TreeId};
use http::{HeaderValue, Method};
use journal::tlog::{Checkpoint, Hash, sign_checkpoint, verify_checkpoint, verify_consistency};
use protocol::id::ParticipantId;
use protocol::json::{self, Limits};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, Semaphore};

pub use judge::judge;
pub use opening::Opening;

use crate::net::PartnerClient;
use crate::node::Node;
use crate::wire::{self, Trouble};

/// A relation log is checkpointed at most this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the first signature of a run waits for the partner to say which checkpoint of ours it holds.
const FIRST_ASK: Duration = Duration::from_secs(3);
/// How often an exchange that failed is tried again, and how soon at first; each wait is four times the one before.
const RETRIES: usize = 4;
const RETRY_FIRST: Duration = Duration::from_secs(4);
/// How many exchanges that nobody waits for run at once.
const LANES: usize = 16;
/// The largest exchange that is read, in bytes.
pub const EXCHANGE_BYTES_MAX: usize = 192 * 1024;

/// When this run last signed for a relation.
type Turn = Arc<tokio::sync::Mutex<Option<tokio::time::Instant>>>;

/// The work on checkpoints that is under way.
#[derive(Debug)]
pub struct Witnesses {
    /// One signature at a time for each relation.
    signing: Mutex<HashMap<ParticipantId, Turn>>,
    /// Relations for which an exchange is waiting to begin, and what makes one that failed begin sooner.
    waiting: Mutex<HashMap<ParticipantId, Arc<Notify>>>,
    /// The partners that have said in this run which checkpoint of ours they hold.
    heard: Mutex<HashSet<ParticipantId>>,
    /// The places of exchanges that nobody waits for.
    lanes: Semaphore,
}

impl Default for Witnesses {
    fn default() -> Self {
        Self {
            signing: Mutex::default(),
            waiting: Mutex::default(),
            heard: Mutex::default(),
            lanes: Semaphore::new(LANES),
        }
    }
}

impl Witnesses {
    /// The right to sign for a relation, with when this run last did.
    fn turn(&self, partner: &ParticipantId) -> Turn {
        let mut signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(signing.entry(partner.clone()).or_default())
    }

    /// Enters a relation among those that wait. `None` when it is there already, and told to begin sooner.
    fn wait(&self, partner: &ParticipantId) -> Option<Arc<Notify>> {
        match self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(partner.clone()) {
            Entry::Occupied(waiting) => {
                waiting.get().notify_one();
                None
            }
            Entry::Vacant(place) => Some(Arc::clone(place.insert(Arc::default()))),
        }
    }

    fn begin(&self, partner: &ParticipantId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(partner);
    }

    fn hear(&self, partner: &ParticipantId) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(partner.clone());
    }

    fn has_heard(&self, partner: &ParticipantId) -> bool {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).contains(partner)
    }
}

/// One side's part of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// The sender's checkpoint of its log of the relation, a signed note; absent where it has signed none in its epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checkpoint: Option<String>,
    /// The size of the receiver's checkpoint that the sender holds; 0 for none.
    pub holds: u64,
    /// That checkpoint, so that a node restored from an old backup sees what it once signed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<String>,
    /// The proof that the receiver's held size of the sender's log is a prefix of `checkpoint`, hexadecimal hashes.
    #[serde(default)]
    pub proof: Vec<String>,
    /// The size that `proof` starts from.
    #[serde(default)]
    pub proof_from: u64,
    /// What opened the epoch of `checkpoint`, where it is not the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub opening: Option<Opening>,
}

impl Exchange {
    /// Reads what a partner sent. Nothing in it is verified by that.
    ///
    /// # Errors
    /// [`WitnessError::Refused`] for what is too large, no JSON, or has not these members.
    pub fn read(body: &[u8]) -> Result<Self, WitnessError> {
        let limits = Limits { max_bytes: EXCHANGE_BYTES_MAX, ..Limits::default() };
        let document = json::read(body, &limits);
        let document = document.map_err(|error| WitnessError::Refused(error.to_string()))?;
        // A list of members without their names would be read as well.
        if !document.is_object() {
            return Err(WitnessError::Refused("an exchange is an object".to_owned()));
        }
        serde_json::from_value(document).map_err(|error| WitnessError::Refused(error.to_string()))
    }
}

/// Why a checkpoint was not made or not taken.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The state could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own log could not be proven.
    #[error(transparent)]
    Evidence(#[from] store::EvidenceError),
    /// The note could not be signed.
    #[error("the checkpoint cannot be signed: {0}")]
    Sign(String),
    /// What the partner sent is not a checkpoint of its log.
    #[error("the partner's checkpoint is refused: {0}")]
    Refused(String),
    /// The partner could not be asked.
    #[error(transparent)]
    Send(#[from] crate::net::SendError),
    /// The partner signed two logs of one relation.
    #[error(
        "`{0}` signed a checkpoint that contradicts another one of its log with us; both are recorded in the audit trail: \
         ask the partner which of its data were changed"
    )]
    Contradicts(ParticipantId),
    /// The partner did not prove that a checkpoint is of the log that it has shown before.
    #[error(
        "`{partner}` gave a checkpoint of size {size} and does not prove that it is of the log it has shown before \
         ({reason}): ask the partner whether its data were restored from a backup"
    )]
    NotProven {
        /// The partner.
        partner: ParticipantId,
        /// The size of the checkpoint.
        size: u64,
        /// What it did instead.
        reason: String,
    },
    /// We signed a longer or another log before: our data are older than that, or were changed.
    #[error(
        "this node once signed a checkpoint of size {signed} for `{partner}` that its log of size {size} does not continue; \
         no checkpoint is signed for this relation: restore the newer data, or open a new epoch with \
         `sekisho audit new-epoch --reason …`"
    )]
    Behind {
        /// The partner that holds the checkpoint.
        partner: ParticipantId,
        /// The size that was signed.
        signed: u64,
        /// The size of our log.
        size: u64,
    },
    /// The log was in an earlier epoch, and no checkpoint of that covers as much.
    #[error("no checkpoint of `{tree}` covers {size} records, and its epoch has ended")]
    Ended {
        /// The log and its epoch.
        tree: TreeId,
        /// How many records were to be covered.
        size: u64,
    },
}

impl WitnessError {
    /// Whether no waiting helps: an operator has to act.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Behind { .. } | Self::Ended { .. } | Self::Contradicts(_) => true,
            Self::Refused { .. }
            | Self::NotProven { .. }
            | Self::Store(_)
            | Self::Evidence(_)
            | Self::Sign(_)
            | Self::Send(_) => false,
        }
    }
}

impl From<Trouble> for WitnessError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Store(error) => error.into(),
            Trouble::Refused(refusal) => Self::Refused(refusal.internal),
        }
    }
}

/// The name of a participant's key in signed notes: it may have neither spaces nor plus signs.
pub fn key_name(participant: &ParticipantId) -> String {
    participant.as_str().replace([' ', '+'], "_")
}

/// The tree in which our log of the relation with a partner is now.
///
/// # Errors
/// When the store is closed.
pub async fn tree(node: &Node, partner: &ParticipantId) -> Result<TreeId, StoreError> {
    let epoch = node.commit(|view| evidence::epoch(view).map(engine::Decision::answer)).await?;
    Ok(LogId::Relation(partner.clone()).in_epoch(epoch))
}

/// A checkpoint of our log with a partner that covers at least `size` records of a tree.
///
/// # Errors
/// [`WitnessError`]; [`WitnessError::Ended`] where the tree's epoch has ended before they were covered.
pub async fn covering(node: &Arc<Node>, tree: &TreeId, size: u64) -> Result<Head, WitnessError> {
    if let Some(head) = latest_of(node, tree, size).await? {
        return Ok(head);
    }
    let LogId::Relation(partner) = &tree.log else {
        return Err(WitnessError::Sign(format!("`{tree}` is not the log of a relation")));
    };
    let turn = node.witnesses.turn(partner);
    let mut signed = turn.lock().await;
    if let Some(head) = latest_of(node, tree, size).await? {
        return Ok(head);
    }
    match *signed {
        Some(before) => tokio::time::sleep_until(before + INTERVAL).await,
        None => ask_first(node, partner).await,
    }
    let head = sign(node, partner, tree, size).await?;
    *signed = Some(tokio::time::Instant::now());
    Ok(head)
}

async fn latest_of(node: &Node, tree: &TreeId, size: u64) -> Result<Option<Head>, StoreError> {
    Ok(latest(node, tree).await?.filter(|head| head.size >= size && size > 0))
}

async fn latest(node: &Node, tree: &TreeId) -> Result<Option<Head>, StoreError> {
    let tree = tree.clone();
    node.commit(move |view| evidence::latest_head(view, &tree).map(engine::Decision::answer)).await
}

/// Before the first signature of a run: shows the partner the checkpoint that we have, and learns which one of ours it
/// holds, so that a node restored from a backup finds out before it signs. A partner that is away holds nothing up.
async fn ask_first(node: &Arc<Node>, partner: &ParticipantId) {
    if !exchanges(node, partner) || node.witnesses.has_heard(partner) {
        return;
    }
    match tokio::time::timeout(FIRST_ASK, ask(node, partner)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(event = "checkpoint.not_asked", partner = %partner, error = %error);
        }
        Err(_) => {
            tracing::warn!(event = "checkpoint.not_asked", partner = %partner, error = "no answer in time");
        }
    }
}

/// Exchanges what is signed already, and signs nothing for it. The answer is what was shown.
async fn ask(node: &Arc<Node>, partner: &ParticipantId) -> Result<Option<Head>, WitnessError> {
    let stored = latest(node, &tree(node, partner).await?).await?;
    exchange_with(node, partner, stored.as_ref()).await?;
    Ok(stored)
}

/// Anchors the site's latest checkpoint in the relation log, then signs the relation log's head and records it in the site
/// log.
async fn sign(
    node: &Arc<Node>,
    partner: &ParticipantId,
    tree: &TreeId,
    wanted: u64,
) -> Result<Head, WitnessError> {
    if *tree != self::tree(node, partner).await? {
        return Err(WitnessError::Ended { tree: tree.clone(), size: wanted });
    }
    if let Some(note) = held(node, partner).await?.and_then(|held| held.behind) {
        let (size, _) = node.store.tree_head(tree.clone()).await?;
        let signed = note.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
        return Err(WitnessError::Behind { partner: partner.clone(), signed, size });
    }
    let site_head = note(node, &LogId::Site.in_epoch(tree.epoch)).await?;
    let salt = hex::encode(rand_bytes());
    let salted = hex::encode(Sha256::digest([salt.as_bytes(), site_head.note.as_bytes()].concat()));
    let (fresh, asked) = (node.fresh(), tree.clone());
    node.decide(move |view| evidence::anchor(view, &fresh, &asked, &site_head, &salt, &salted))
        .await?;
    let head = note(node, tree).await?;
    let (fresh, asked) = (node.fresh(), tree.clone());
    Ok(node.decide(move |view| evidence::checkpoint(view, &fresh, &asked, &head)).await?)
}

fn rand_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes
}

/// The signed note of a tree's durable head.
async fn note(node: &Node, tree: &TreeId) -> Result<Head, WitnessError> {
    let (size, root) = node.store.tree_head(tree.clone()).await?;
    let origin = tree.origin(&node.context.participant);
    let site = node.identity.site.load();
    let key = site.signing.key();
    let checkpoint = Checkpoint::new(origin, size, Hash(root));
    let name = key_name(&node.context.participant);
    let note = sign_checkpoint(&checkpoint, &name, &key.public_key(), |bytes| {
        Ok::<_, std::convert::Infallible>(key.sign(bytes))
    })
    .map_err(|error| WitnessError::Sign(error.to_string()))?;
    Ok(Head { v: 1, size, root: hex::encode(root), note, signed: node.clock.now() })
}

/// Exchanges checkpoints with every partner, once after a start: what was signed before it and not shown yet is shown, and a
/// node restored from a backup finds out before anything else happens.
pub fn resume_all(node: &Arc<Node>) {
    for file in node.registry().iter() {
        if file.partner.state == PartnerState::Active {
            later(node, &file.partner.participant);
        }
    }
}

/// Exchanges checkpoints with a partner soon, never on the path of a message. Several requests become one exchange; one
/// that fails is tried again for some minutes.
pub fn later(node: &Arc<Node>, partner: &ParticipantId) {
    if !exchanges(node, partner) {
        return;
    }
    if node.witnesses.wait(partner).is_none() {
        return;
    }
    let (node, partner) = (Arc::clone(node), partner.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = node.shutdown.draining() => {}
            () = exchange_until_done(&node, &partner) => {}
        }
    });
}

async fn exchange_until_done(node: &Arc<Node>, partner: &ParticipantId) {
    let delays = || {
        ExponentialBuilder::default()
            .with_min_delay(RETRY_FIRST)
            .with_factor(4.0)
            .with_max_times(RETRIES)
            .with_jitter()
            .build()
    };
    let mut waits = delays();
    loop {
        tokio::time::sleep(INTERVAL).await;
        // What is asked for from here on wants an exchange of its own.
        node.witnesses.begin(partner);
        let outcome = {
            let Ok(_lane) = node.witnesses.lanes.acquire().await else { return };
            exchange(node, partner).await
        };
        let Err(error) = outcome else { return };
        tracing::warn!(event = "checkpoint.not_exchanged", partner = %partner, error = %error);
        let wait = match error {
            WitnessError::Send(_) | WitnessError::Store(_) => waits.next(),
            _ => None,
        };
        let Some(wait) = wait else { return };
        let Some(sooner) = node.witnesses.wait(partner) else { return };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = sooner.notified() => waits = delays(),
        }
    }
}

/// Whether a partner exchanges checkpoints.
fn exchanges(node: &Node, partner: &ParticipantId) -> bool {
    node.registry()
        .by_participant(partner)
        .is_some_and(|file| file.partner.extensions.contains("checkpoint/1"))
}

/// Sends our checkpoint, takes the partner's.
///
/// # Errors
/// [`WitnessError`].
pub async fn exchange(node: &Arc<Node>, partner: &ParticipantId) -> Result<(), WitnessError> {
    let mut shown = None;
    if !node.witnesses.has_heard(partner) {
        // Nothing new is signed before the partner has said what it holds.
        shown = ask(node, partner).await?;
    }
    let head = grown(node, partner).await?;
    if head.is_some() && head == shown {
        return Ok(());
    }
    exchange_with(node, partner, head.as_ref()).await
}

async fn exchange_with(
    node: &Arc<Node>,
    partner: &ParticipantId,
    head: Option<&Head>,
) -> Result<(), WitnessError> {
    let Some((client, url)) = address(node, partner) else { return Ok(()) };
    let size = head.map_or(0, |head| head.size);
    let mut proof_from = 0;
    // The first round may find out from where the partner needs a proof; the second has it.
    for _ in 0..2 {
        let ours = statement(node, partner, head, proof_from).await?;
        let theirs = send(&client, &url, &ours).await?;
        take(node, partner, &theirs).await?;
        check_behind(node, partner, &theirs).await?;
        if theirs.holds == 0 || theirs.holds == proof_from || theirs.holds >= size {
            break;
        }
        proof_from = theirs.holds;
    }
    Ok(())
}

fn address(node: &Node, partner: &ParticipantId) -> Option<(PartnerClient, String)> {
    let client = node.client(partner)?;
    let registry = node.registry();
    let origin = registry.by_participant(partner)?.partner.origins.iter().next()?.clone();
    Some((client, format!("{}{}", origin.trim_end_matches('/'), wire::CHECKPOINT)))
}

async fn send(
    client: &PartnerClient,
    url: &str,
    ours: &Exchange,
) -> Result<Exchange, WitnessError> {
    let body = serde_json::to_vec(ours).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    let answer = client.send(Method::POST, url, json, body.into()).await?;
    Exchange::read(&answer.body)
}

/// Answers a partner's exchange.
///
/// # Errors
/// [`WitnessError`].
pub async fn answer(
    node: &Arc<Node>,
    partner: &ParticipantId,
    body: &[u8],
) -> Result<Exchange, WitnessError> {
    let theirs = Exchange::read(body)?;
    take(node, partner, &theirs).await?;
    check_behind(node, partner, &theirs).await?;
    let head = grown(node, partner).await?;
    statement(node, partner, head.as_ref(), theirs.holds).await
}

/// Our part of an exchange: a checkpoint of ours, a proof from the size that the partner holds, and what we hold.
async fn statement(
    node: &Arc<Node>,
    partner: &ParticipantId,
    head: Option<&Head>,
    proof_from: u64,
) -> Result<Exchange, WitnessError> {
    let held = held(node, partner).await?.filter(|held| held.size > 0);
    let mut exchange = Exchange {
        checkpoint: head.map(|head| head.note.clone()),
        holds: held.as_ref().map_or(0, |held| held.size),
        held: held.map(|held| held.note),
        proof: Vec::new(),
        proof_from,
        opening: None,
    };
    let Some(head) = head else { return Ok(exchange) };
    let Some(tree) = TreeId::from_note(&head.note, &node.context.participant) else {
        return Ok(exchange);
    };
    if proof_from > 0 && proof_from <= head.size {
        let proof = node.store.consistency(tree.clone(), proof_from, head.size).await?;
        exchange.proof = proof.iter().map(|hash| hex::encode(hash.0)).collect();
    }
    exchange.opening = opening::of(node, &tree, head).await?;
    Ok(exchange)
}

/// Our latest checkpoint; a new one when the log grew by more than what a checkpoint itself writes, unless one is being
/// signed: that may be waiting for the partner, who waits for us, and the next exchange shows it.
async fn grown(node: &Arc<Node>, partner: &ParticipantId) -> Result<Option<Head>, WitnessError> {
    let tree = tree(node, partner).await?;
    let latest = latest(node, &tree).await?;
    let (size, _) = node.store.tree_head(tree.clone()).await?;
    let is_signing = || node.witnesses.turn(partner).try_lock().is_err();
    if latest.as_ref().is_some_and(|head| head.size >= size) || is_signing() {
        return Ok(latest);
    }
    covering(node, &tree, size.max(1)).await.map(Some)
}

async fn held(node: &Node, partner: &ParticipantId) -> Result<Option<Witness>, StoreError> {
    let partner = partner.clone();
    node.commit(move |view| evidence::latest_witness(view, &partner).map(engine::Decision::answer))
        .await
}

/// Takes a partner's checkpoint: signed by its key, about our relation, and consistent with the one we hold; or of a later
/// epoch whose opening is proven.
async fn take(
    node: &Arc<Node>,
    partner: &ParticipantId,
    theirs: &Exchange,
) -> Result<(), WitnessError> {
    let Some(note) = &theirs.checkpoint else { return Ok(()) };
    let (epoch, checkpoint) = verify_note(node, partner, note)?;
    let Some(held) = held(node, partner).await?.filter(|held| held.size > 0) else {
        let shown = Shown::Consistent { held: 0 };
        return record(node, partner, shown, epoch, &checkpoint, note).await;
    };
    // An older one than we hold says nothing new.
    if epoch < held.epoch {
        return Ok(());
    }
    let shown = if epoch > held.epoch {
        opening::judge(node, partner, theirs.opening.as_ref(), epoch, &checkpoint, &held)?
    } else {
        match hash_of(&held.root) {
            None => return Err(WitnessError::Refused("the one held cannot be read".to_owned())),
            Some(root) if held.size == checkpoint.size && root == checkpoint.root => return Ok(()),
            Some(_) if held.size == checkpoint.size => Shown::Contradicts,
            Some(_) if checkpoint.size < held.size => return Ok(()),
            Some(_) if theirs.proof_from != held.size => return Ok(()),
            Some(root) => proof_of(theirs, held.size, &root, &checkpoint)?,
        }
    };
    record(node, partner, shown, epoch, &checkpoint, note).await
}

/// Records what a verified checkpoint of a partner's log means to us.
async fn record(
    node: &Arc<Node>,
    partner: &ParticipantId,
    shown: Shown,
    epoch: u32,
    checkpoint: &Checkpoint,
    note: &str,
) -> Result<(), WitnessError> {
    if let Shown::Opened { named, .. } = shown {
        tracing::warn!(
            event = "epoch.witnessed",
            partner = %partner,
            epoch,
            named,
            "the partner opened a new epoch of its log; the last checkpoint of the one before is kept"
        );
    }
    if shown == Shown::Contradicts {
        tracing::error!(
            event = "checkpoint.conflict",
            partner = %partner,
            "the partner shows a log that contradicts the one it signed before"
        );
    }
    let now = node.clock.now();
    let witness = Witness {
        epoch,
        size: checkpoint.size,
        root: hex::encode(checkpoint.root.0),
        note: note.to_owned(),
        ..Witness::nothing(now)
    };
    let (fresh, asked) = (node.fresh(), partner.clone());
    Ok(node.decide(move |view| evidence::witness(view, &fresh, &asked, &shown, &witness)).await?)
}

/// Whether the partner holds a checkpoint of ours that our log does not continue.
async fn check_behind(
    node: &Arc<Node>,
    partner: &ParticipantId,
    theirs: &Exchange,
) -> Result<(), WitnessError> {
    let Some(note) = &theirs.held else {
        node.witnesses.hear(partner);
        return Ok(());
    };
    let own = &node.context.participant;
    let key = node.identity.site.load().signing.key().public_key();
    // What we did not sign proves nothing against us.
    let Ok(signed) = verify_checkpoint(note, &key_name(own), &key) else { return Ok(()) };
    let now = tree(node, partner).await?;
    let Some(of) = TreeId::from_origin(&signed.origin, own).filter(|of| of.log == now.log) else {
        return Ok(());
    };
    let (size, root) = node.store.tree_head(of.clone()).await?;
    let continued = signed.size <= size && signed.size > 0 && {
        let proof = node.store.consistency(of.clone(), signed.size, size).await?;
        verify_consistency(signed.size, &signed.root, size, &Hash(root), &proof).is_ok()
    };
    let (asked, note) = (partner.clone(), note.clone());
    if continued || signed.size == 0 {
        node.witnesses.hear(partner);
        return Ok(());
    }
    if of.epoch < now.epoch {
        node.commit(move |view| evidence::admit(view, &asked, &note)).await?;
        node.witnesses.hear(partner);
        return Ok(());
    }
    node.commit(move |view| evidence::behind(view, &asked, &note, size)).await?;
    tracing::error!(
        event = "relation.behind",
        partner = %partner,
        signed = signed.size,
        size,
        "this node once signed more than its log of the relation has; nothing is signed for it before \
         `sekisho audit new-epoch`"
    );
    node.witnesses.hear(partner);
    Err(WitnessError::Behind { partner: partner.clone(), signed: signed.size, size })
}

/// What the proof in an exchange says of a held size and root.
fn proof_of(
    theirs: &Exchange,
    held: u64,
    root: &Hash,
    shown: &Checkpoint,
) -> Result<Shown, WitnessError> {
    let proof: Option<Vec<Hash>> = theirs.proof.iter().map(|text| hash_of(text)).collect();
    let proof = proof.ok_or_else(|| WitnessError::Refused("the proof is not one".to_owned()))?;
    Ok(match verify_consistency(held, root, shown.size, &shown.root, &proof) {
        Ok(()) => Shown::Consistent { held },
        Err(_) => Shown::Contradicts,
    })
}

/// A partner's checkpoint of its log of our relation, its signature verified, and the epoch that it is of.
fn verify_note(
    node: &Node,
    partner: &ParticipantId,
    note: &str,
) -> Result<(u32, Checkpoint), WitnessError> {
    let key = signing_key(node, partner)
        .ok_or_else(|| WitnessError::Refused("its signing key is not registered".to_owned()))?;
    let checkpoint = verify_checkpoint(note, &key_name(partner), &key)
        .map_err(|error| WitnessError::Refused(error.to_string()))?;
    let ours = LogId::Relation(node.context.participant.clone());
    match TreeId::from_origin(&checkpoint.origin, partner) {
        Some(tree) if tree.log == ours => Ok((tree.epoch, checkpoint)),
        _ => Err(WitnessError::Refused(format!(
            "its origin `{}` is not our relation",
            checkpoint.origin
        ))),
    }
}

/// A partner's registered Ed25519 key.
pub fn signing_key(node: &Node, partner: &ParticipantId) -> Option<[u8; 32]> {
    use base64::Engine as _;
    let registry = node.registry();
    let text = registry.by_participant(partner)?.partner.signing_key.clone()?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
    bytes.try_into().ok()
}

fn hash_of(text: &str) -> Option<Hash> {
    let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
    Some(Hash(bytes))
}

#[cfg(test)]
mod tests;

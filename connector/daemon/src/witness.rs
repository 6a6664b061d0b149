//! Checkpoints of relation logs: signed at most once a second, given out, exchanged with the partner, and each new one of
//! the partner's checked for consistency with the one we hold.

mod judge;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use engine::entity::{Head, Witness};
use engine::evidence::{self, Shown};
use engine::{LogId, Store as _, StoreError};
use http::{HeaderValue, Method};
use journal::tlog::{Checkpoint, Hash, sign_checkpoint, verify_checkpoint, verify_consistency};
use protocol::id::ParticipantId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

pub use judge::judge;

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
/// The largest exchange that is read, in bytes.
pub const EXCHANGE_BYTES_MAX: usize = 64 * 1024;

/// The work on checkpoints that is under way.
#[derive(Debug, Default)]
pub struct Witnesses {
    /// One signature at a time for each relation.
    signing: Mutex<HashMap<ParticipantId, Arc<tokio::sync::Mutex<Option<tokio::time::Instant>>>>>,
    /// Relations for which an exchange is waiting to begin, and what makes one that failed begin sooner.
    waiting: Mutex<HashMap<ParticipantId, Arc<Notify>>>,
}

impl Witnesses {
    /// The right to sign for a relation, with when this run last did.
    fn turn(
        &self,
        partner: &ParticipantId,
    ) -> Arc<tokio::sync::Mutex<Option<tokio::time::Instant>>> {
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
}

/// One side's part of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// The sender's checkpoint of its log of the relation, a signed note.
    pub checkpoint: String,
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
    /// We signed a longer or another log before: our data are older than that, or were changed.
    #[error(
        "this node once signed a checkpoint of size {signed} for `{partner}` that its log of size {size} does not continue; \
         no checkpoint is signed for this relation: restore the newer data"
    )]
    Behind {
        /// The partner that holds the checkpoint.
        partner: ParticipantId,
        /// The size that was signed.
        signed: u64,
        /// The size of our log.
        size: u64,
    },
}

/// The origin of our log of a relation: who keeps it, with whom, and in which epoch.
pub fn origin(owner: &ParticipantId, partner: &ParticipantId, epoch: u32) -> String {
    format!("{owner}/relation/{partner}/{epoch}")
}

/// The name of a participant's key in signed notes: it may have neither spaces nor plus signs.
pub fn key_name(participant: &ParticipantId) -> String {
    participant.as_str().replace([' ', '+'], "_")
}

/// The epoch that logs are in.
pub const EPOCH: u32 = 1;

/// A checkpoint of our log with a partner that covers at least `size` records.
///
/// # Errors
/// [`WitnessError`].
pub async fn covering(
    node: &Arc<Node>,
    partner: &ParticipantId,
    size: u64,
) -> Result<Head, WitnessError> {
    let log = LogId::Relation(partner.clone());
    let latest = latest(node, &log).await?;
    if let Some(head) = latest.filter(|head| head.size >= size && size > 0) {
        return Ok(head);
    }
    let turn = node.witnesses.turn(partner);
    let mut signed = turn.lock().await;
    if let Some(head) = self::latest(node, &log).await?.filter(|head| head.size >= size && size > 0)
    {
        return Ok(head);
    }
    match *signed {
        Some(before) => tokio::time::sleep_until(before + INTERVAL).await,
        None => ask_first(node, partner).await,
    }
    let head = sign(node, partner).await?;
    *signed = Some(tokio::time::Instant::now());
    Ok(head)
}

async fn latest(node: &Node, log: &LogId) -> Result<Option<Head>, StoreError> {
    let log = log.clone();
    node.commit(move |view| evidence::latest_head(view, &log).map(engine::Decision::answer)).await
}

/// Before the first signature of a run: shows the partner the checkpoint that we have, and learns which one of ours it
/// holds, so that a node restored from a backup finds out before it signs. A partner that is away holds nothing up.
async fn ask_first(node: &Arc<Node>, partner: &ParticipantId) {
    let log = LogId::Relation(partner.clone());
    if !exchanges(node, partner) {
        return;
    }
    let Ok(Some(stored)) = latest(node, &log).await else { return };
    if matches!(held(node, partner).await, Ok(Some(Witness { behind: Some(_), .. }))) {
        return;
    }
    match tokio::time::timeout(FIRST_ASK, exchange_with(node, partner, &stored)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(event = "checkpoint.not_asked", partner = %partner, error = %error);
        }
        Err(_) => {
            tracing::warn!(event = "checkpoint.not_asked", partner = %partner, error = "no answer in time");
        }
    }
}

/// Anchors the site's latest checkpoint in the relation log, then signs the relation log's head and records it in the site
/// log.
async fn sign(node: &Arc<Node>, partner: &ParticipantId) -> Result<Head, WitnessError> {
    if let Some(note) = held(node, partner).await?.and_then(|held| held.behind) {
        let (size, _) = node.store.tree_head(LogId::Relation(partner.clone())).await?;
        let signed = note.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
        return Err(WitnessError::Behind { partner: partner.clone(), signed, size });
    }
    let site_head =
        note(node, &LogId::Site, format!("{}/site/{EPOCH}", node.context.participant)).await?;
    let salt = hex::encode(rand_bytes());
    let salted = hex::encode(Sha256::digest([salt.as_bytes(), site_head.note.as_bytes()].concat()));
    let asked = partner.clone();
    node.commit(move |view| evidence::anchor(view, &asked, &site_head, &salt, &salted)).await?;
    let log = LogId::Relation(partner.clone());
    let head = note(node, &log, origin(&node.context.participant, partner, EPOCH)).await?;
    let asked = partner.clone();
    Ok(node.commit(move |view| evidence::checkpoint(view, &asked, &head)).await?)
}

fn rand_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes
}

/// The signed note of a log's durable head.
async fn note(node: &Node, log: &LogId, origin: String) -> Result<Head, WitnessError> {
    let (size, root) = node.store.tree_head(log.clone()).await?;
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
        let Err(error) = exchange(node, partner).await else { return };
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
    let head = grown(node, partner).await?;
    exchange_with(node, partner, &head).await
}

async fn exchange_with(
    node: &Arc<Node>,
    partner: &ParticipantId,
    head: &Head,
) -> Result<(), WitnessError> {
    let Some((client, url)) = address(node, partner) else { return Ok(()) };
    let mut proof_from = 0;
    // The first round may find out from where the partner needs a proof; the second has it.
    for _ in 0..2 {
        let ours = statement(node, partner, head, proof_from).await?;
        let theirs = send(&client, &url, &ours).await?;
        take(node, partner, &theirs).await?;
        check_behind(node, partner, &theirs).await?;
        if theirs.holds == 0 || theirs.holds == proof_from || theirs.holds >= head.size {
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
    parse(&answer.body)
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
    let theirs = parse(body)?;
    take(node, partner, &theirs).await?;
    check_behind(node, partner, &theirs).await?;
    let head = grown(node, partner).await?;
    statement(node, partner, &head, theirs.holds).await
}

fn parse(body: &[u8]) -> Result<Exchange, WitnessError> {
    if body.len() > EXCHANGE_BYTES_MAX {
        return Err(WitnessError::Refused("it is too large".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| WitnessError::Refused(error.to_string()))
}

/// Our part of an exchange: a checkpoint of ours, a proof from the size that the partner holds, and what we hold.
async fn statement(
    node: &Arc<Node>,
    partner: &ParticipantId,
    head: &Head,
    proof_from: u64,
) -> Result<Exchange, WitnessError> {
    let log = LogId::Relation(partner.clone());
    let proof = if proof_from > 0 && proof_from <= head.size {
        let proof = node.store.consistency(log, proof_from, head.size).await?;
        proof.iter().map(|hash| hex::encode(hash.0)).collect()
    } else {
        Vec::new()
    };
    let held = held(node, partner).await?;
    Ok(Exchange {
        checkpoint: head.note.clone(),
        holds: held.as_ref().map_or(0, |held| held.size),
        held: held.map(|held| held.note),
        proof,
        proof_from,
    })
}

/// Our latest checkpoint; a new one when the log grew by more than what a checkpoint itself writes, unless one is being
/// signed: that may be waiting for the partner, who waits for us, and the next exchange shows it.
async fn grown(node: &Arc<Node>, partner: &ParticipantId) -> Result<Head, WitnessError> {
    let log = LogId::Relation(partner.clone());
    let latest = latest(node, &log).await?;
    let (size, _) = node.store.tree_head(log).await?;
    match latest {
        Some(head) if head.size >= size || node.witnesses.turn(partner).try_lock().is_err() => {
            Ok(head)
        }
        _ => covering(node, partner, size.max(1)).await,
    }
}

async fn held(node: &Node, partner: &ParticipantId) -> Result<Option<Witness>, StoreError> {
    let partner = partner.clone();
    node.commit(move |view| evidence::latest_witness(view, &partner).map(engine::Decision::answer))
        .await
}

/// Takes a partner's checkpoint: signed by its key, about our relation, and consistent with the one we hold.
async fn take(
    node: &Arc<Node>,
    partner: &ParticipantId,
    theirs: &Exchange,
) -> Result<(), WitnessError> {
    let checkpoint = verify_note(node, partner, &theirs.checkpoint)?;
    let held = held(node, partner).await?;
    let (held_size, held_root) =
        held.as_ref().map_or((0, None), |held| (held.size, hash_of(&held.root)));
    let shown = match held_root {
        None => Shown::Consistent { held: 0 },
        Some(root) if held_size == checkpoint.size => {
            if root == checkpoint.root {
                return Ok(());
            }
            Shown::Contradicts
        }
        // An older one than we hold says nothing new.
        Some(_) if checkpoint.size < held_size => return Ok(()),
        Some(_) if theirs.proof_from != held_size => return Ok(()),
        Some(root) => proof_of(theirs, held_size, &root, &checkpoint)?,
    };
    record(node, partner, shown, &checkpoint, &theirs.checkpoint).await
}

/// Records what a verified checkpoint of a partner's log means to us.
async fn record(
    node: &Arc<Node>,
    partner: &ParticipantId,
    shown: Shown,
    checkpoint: &Checkpoint,
    note: &str,
) -> Result<(), WitnessError> {
    if shown == Shown::Contradicts {
        tracing::error!(
            event = "checkpoint.conflict",
            partner = %partner,
            "the partner shows a log that contradicts the one it signed before"
        );
    }
    let witness = Witness {
        v: 1,
        size: checkpoint.size,
        root: hex::encode(checkpoint.root.0),
        note: note.to_owned(),
        taken: node.clock.now(),
        conflict: None,
        behind: None,
    };
    let (fresh, asked) = (node.fresh(), partner.clone());
    match node.decide(move |view| evidence::witness(view, &fresh, &asked, &shown, &witness)).await {
        Ok(()) => Ok(()),
        Err(Trouble::Store(error)) => Err(error.into()),
        Err(Trouble::Refused(refusal)) => Err(WitnessError::Refused(refusal.internal)),
    }
}

/// Whether the partner holds a checkpoint of ours that our log does not continue.
async fn check_behind(
    node: &Arc<Node>,
    partner: &ParticipantId,
    theirs: &Exchange,
) -> Result<(), WitnessError> {
    let Some(note) = &theirs.held else { return Ok(()) };
    let name = key_name(&node.context.participant);
    let key = node.identity.site.load().signing.key().public_key();
    // What we did not sign proves nothing against us.
    let Ok(signed) = verify_checkpoint(note, &name, &key) else { return Ok(()) };
    if signed.origin != origin(&node.context.participant, partner, EPOCH) || signed.size == 0 {
        return Ok(());
    }
    let log = LogId::Relation(partner.clone());
    let (size, root) = node.store.tree_head(log.clone()).await?;
    let continued = signed.size <= size && {
        let proof = node.store.consistency(log, signed.size, size).await?;
        verify_consistency(signed.size, &signed.root, size, &Hash(root), &proof).is_ok()
    };
    if continued {
        return Ok(());
    }
    let (asked, note) = (partner.clone(), note.clone());
    node.commit(move |view| evidence::behind(view, &asked, &note, size)).await?;
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

fn verify_note(
    node: &Node,
    partner: &ParticipantId,
    note: &str,
) -> Result<Checkpoint, WitnessError> {
    let key = signing_key(node, partner)
        .ok_or_else(|| WitnessError::Refused("its signing key is not registered".to_owned()))?;
    let checkpoint = verify_checkpoint(note, &key_name(partner), &key)
        .map_err(|error| WitnessError::Refused(error.to_string()))?;
    let prefix = format!("{partner}/relation/{}/", node.context.participant);
    if !checkpoint.origin.starts_with(&prefix) {
        return Err(WitnessError::Refused(format!(
            "its origin `{}` is not our relation",
            checkpoint.origin
        )));
    }
    Ok(checkpoint)
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

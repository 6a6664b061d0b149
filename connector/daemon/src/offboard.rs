//! The end of the exchange with a partner, and what each side then holds of the other's data.
//!
//! The partner is shut out first: from then on whatever it asks is refused, and permits end. Then everything open with it
//! ends, and it is told by the messages that DSP has; what is owed to an offboarded partner is still delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::entity::{Agreement, Dataset, Pull, PullStep, Transfer};
use engine::registry::Author;
use engine::{Decider, Decision, Entity, Key, Kind, Store as _, StoreError};
use policy::classify::classify;
use policy::odrl::Policy;
use protocol::id::{AgreementId, ParticipantId, Pid};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::node::Node;
use crate::transfers;
use crate::wire::Trouble;

/// The code by which the partner is told.
pub const CODE: &str = "offboarded";
/// How many entities are read at once.
const SCAN_STEP: usize = 256;
/// How long the partner has to take what it is told before the command answers. What it did not take stays owed.
const TELL_WAIT: Duration = Duration::from_secs(10);

/// What ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Agreements.
    pub agreements: Vec<AgreementId>,
    /// Negotiations.
    pub negotiations: Vec<Pid>,
    /// Transfers.
    pub transfers: Vec<Pid>,
    /// Messages that the partner has not taken yet.
    pub untold: usize,
}

/// Ends everything that is open with a partner, who was shut out before.
///
/// # Errors
/// When it cannot be stored. What has ended so far has; the same call goes on.
pub async fn end_all(
    node: &Arc<Node>,
    participant: &ParticipantId,
    author: &Author,
) -> Result<Ended, Trouble> {
    let reason = author.reason.clone().unwrap_or_else(|| "the exchange was ended".to_owned());
    let by = Decider { person: author.person.clone(), reason: Some(reason.clone()) };
    let mut ended = Ended::default();
    for id in agreements(node, participant).await? {
        let done = transfers::end_agreement(node, &id, &by).await?;
        ended.transfers.extend(done.transfers);
        ended.agreements.push(id);
    }
    for pid in negotiations(node, participant).await? {
        let (context, fresh) = (Arc::clone(&node.context), node.fresh());
        let (attempted, said, asked) = (node.attempts.any(&pid), reason.clone(), pid.clone());
        let done = node
            .commit(move |view| {
                let terminate = engine::negotiation::terminate;
                terminate(view, &context, &fresh, &asked, attempted, CODE, &said)
            })
            .await?;
        if done {
            ended.negotiations.push(pid);
        }
    }
    for along in transfers::open(node, |transfer| transfer.participant == *participant).await? {
        let (context, pid) = (Arc::clone(&node.context), along.pid.clone());
        let failure = engine::entity::Failure {
            code: CODE.to_owned(),
            reason: reason.clone(),
            reference: None,
            by_policy: false,
        };
        let done = node
            .commit(move |view| {
                let terminate = engine::transfer::terminate;
                terminate(view, &context, &along.fresh, &along.pid, along.attempted, &failure)
            })
            .await?;
        if done {
            ended.transfers.push(pid);
        }
    }
    ended.untold = untold(node, participant).await?;
    Ok(ended)
}

/// Waits until the partner has taken what it is told. The answer is how many messages it has not.
async fn untold(node: &Arc<Node>, participant: &ParticipantId) -> Result<usize, StoreError> {
    let end = Instant::now() + TELL_WAIT;
    let mut changes = node.store.subscribe_kinds(&[Kind::Outbox]);
    loop {
        let owed = owed(node, participant).await?;
        if owed == 0 || tokio::time::timeout_at(end, changes.next()).await.is_err() {
            return Ok(owed);
        }
    }
}

/// How many messages a partner is owed. Those of others are not read: a message's key begins with whom it is for.
async fn owed(node: &Node, participant: &ParticipantId) -> Result<usize, StoreError> {
    // Our process ids are `urn:uuid:…`, which this is before.
    let before = Pid::new("!").ok().map(|pid| Key::Outbox(participant.clone(), pid, 0));
    let (mut count, mut after) = (0, before);
    loop {
        let page = node.store.scan_hot(Kind::Outbox, after.take(), SCAN_STEP).await?;
        let theirs = |key: &Key| matches!(key, Key::Outbox(to, ..) if to == participant);
        let found = page.iter().take_while(|(key, _)| theirs(key)).count();
        count += found;
        if found < SCAN_STEP {
            return Ok(count);
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

/// The agreements with a partner that have not ended.
async fn agreements(
    node: &Node,
    participant: &ParticipantId,
) -> Result<Vec<AgreementId>, StoreError> {
    each(node, true, Kind::Agreement, |_, entity| match entity {
        Entity::Agreement(found) if found.participant == *participant && found.ended.is_none() => {
            Some(found.id.clone())
        }
        _ => None,
    })
    .await
}

/// The open negotiations with a partner.
async fn negotiations(node: &Node, participant: &ParticipantId) -> Result<Vec<Pid>, StoreError> {
    each(node, true, Kind::Negotiation, |_, entity| match entity {
        Entity::Negotiation(found)
            if found.participant == *participant && !found.process.is_closed() =>
        {
            Some(found.pid.clone())
        }
        _ => None,
    })
    .await
}

/// What is found among the entities of a kind: those in memory, or all.
async fn each<T>(
    node: &Node,
    hot: bool,
    kind: Kind,
    find: impl Fn(&Key, &Entity) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = match hot {
            true => node.store.scan_hot(kind, after.take(), SCAN_STEP).await?,
            false => node.store.scan(kind, after.take(), SCAN_STEP).await?,
        };
        after = page.last().map(|(key, _)| key.clone());
        found.extend(page.iter().filter_map(|(key, entity)| find(key, entity)));
        if page.len() < SCAN_STEP {
            return Ok(found);
        }
    }
}

/// Data that one side holds of the other.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Holding {
    /// What tells it from all others: `received/PULL`, `given/TRANSFER` or `derived/AGREEMENT/DATASET`.
    id: String,
    /// `received`: data of the partner that came to us; `derived`: a dataset of ours that was made from them; `given`: data of
    /// ours that the partner was granted.
    kind: HoldingKind,
    /// The partner's short name.
    partner: String,
    participant: String,
    dataset: String,
    version: Option<String>,
    /// The agreement under which it, or its source, was received or granted.
    agreement: Option<String>,
    /// The declared purpose.
    purpose: Option<String>,
    /// When all of it was here, when it was granted, or when what was made from it was published.
    since: Option<String>,
    /// Our id of the pull or the transfer by which it went.
    process: Option<String>,
    /// The name that the provider gave the file.
    file_name: Option<String>,
    /// Bytes of the whole.
    size: Option<u64>,
    /// Hexadecimal.
    sha256: Option<String>,
    /// How much of what we received is here: `part` while a pull is not done, `whole`, or `taken` by the one who asked.
    kept: Option<Kept>,
    /// The DSP state of the transfer by which it was given.
    state: Option<String>,
    /// Bytes of it that were served, at most.
    served_bytes: Option<u64>,
    /// Whether what was made from it is published still.
    published: Option<bool>,
    /// What the holder has to do or may not do with it, clause by clause.
    duties: Vec<String>,
}

/// Who holds what of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum HoldingKind {
    Received,
    Derived,
    Given,
}

impl Holding {
    /// One of which nothing more is known.
    fn new(node: &Node, kind: HoldingKind, id: &str, of: &ParticipantId, dataset: String) -> Self {
        let begins = match kind {
            HoldingKind::Received => "received",
            HoldingKind::Derived => "derived",
            HoldingKind::Given => "given",
        };
        Self {
            id: format!("{begins}/{id}"),
            kind,
            partner: node.partner_name(of),
            participant: of.to_string(),
            dataset,
            version: None,
            agreement: None,
            purpose: None,
            since: None,
            process: None,
            file_name: None,
            size: None,
            sha256: None,
            kept: None,
            state: None,
            served_bytes: None,
            published: None,
            duties: Vec::new(),
        }
    }
}

/// How much of a partner's data is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Part,
    Whole,
    Taken,
}

/// Whose holdings are asked for; all where nothing is said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// Those of one partner.
    pub participant: Option<&'a ParticipantId>,
    /// Those under one agreement.
    pub agreement: Option<&'a AgreementId>,
}

impl Asked<'_> {
    fn of(&self, participant: &ParticipantId) -> bool {
        self.participant.is_none_or(|asked| asked == participant)
    }

    fn under(&self, agreement: &AgreementId) -> bool {
        self.agreement.is_none_or(|asked| asked == agreement)
    }
}

/// What data of partners we hold, and what data of ours they hold.
///
/// # Errors
/// When the store is closed, or its index is being rebuilt.
pub async fn holdings(node: &Arc<Node>, asked: Asked<'_>) -> Result<Vec<Holding>, StoreError> {
    if !node.store.is_ready() {
        return Err(StoreError::Rebuilding);
    }
    let pulls = each(node, false, Kind::Pull, |_, entity| match entity {
        Entity::Pull(pull) if asked.of(&pull.participant) => arrived(pull),
        _ => None,
    })
    .await?;
    let mut found = Vec::new();
    for (pull, transfer, kept) in pulls {
        let transfer = read_transfer(node, transfer).await?;
        if transfer.as_ref().is_none_or(|transfer| asked.under(&transfer.agreement)) {
            found.push(of_pull(node, &pull, transfer.as_ref(), kept).await?);
        }
    }
    let theirs = each(node, false, Kind::Agreement, |_, entity| match entity {
        Entity::Agreement(found) if asked.of(&found.participant) && asked.under(&found.id) => {
            Some((found.id.clone(), found.participant.clone()))
        }
        _ => None,
    })
    .await?;
    let theirs: BTreeMap<AgreementId, ParticipantId> = theirs.into_iter().collect();
    let derived = each(node, false, Kind::Dataset, |_, entity| match entity {
        Entity::Dataset(dataset) => Some(made_from(node, dataset, &theirs)),
        _ => None,
    })
    .await?;
    found.extend(derived.into_iter().flatten());
    let granted = each(node, false, Kind::Transfer, |_, entity| match entity {
        Entity::Transfer(found) if asked.of(&found.participant) && found.grant.is_some() => {
            Some(found.clone())
        }
        _ => None,
    })
    .await?;
    for transfer in granted.iter().filter(|transfer| asked.under(&transfer.agreement)) {
        found.push(of_transfer(node, transfer).await?);
    }
    Ok(found)
}

/// What a dataset of ours was made from, one for each agreement under which it was received.
fn made_from(
    node: &Node,
    dataset: &Dataset,
    theirs: &BTreeMap<AgreementId, ParticipantId>,
) -> Vec<Holding> {
    let sources: BTreeSet<&AgreementId> =
        dataset.derived_from.iter().map(|parent| &parent.agreement).collect();
    let held = sources.into_iter().filter_map(|id| Some((id, theirs.get(id)?)));
    held.map(|(agreement, participant)| {
        let id = format!("{agreement}/{}", dataset.id);
        let holding =
            Holding::new(node, HoldingKind::Derived, &id, participant, dataset.id.to_string());
        Holding {
            version: Some(dataset.version.clone()),
            agreement: Some(agreement.to_string()),
            since: Some(dataset.published.to_string()),
            published: Some(dataset.withdrawn.is_none()),
            ..holding
        }
    })
    .collect()
}

/// A pull of which bytes came, the transfer they came by, and how much of them is here.
fn arrived(pull: &Pull) -> Option<(Pull, Pid, Kept)> {
    let (transfer, kept) = match &pull.step {
        PullStep::Transferring { transfer } => (transfer, Kept::Part),
        PullStep::Received { transfer, .. } => (transfer, Kept::Whole),
        PullStep::Delivered { transfer, .. } => (transfer, Kept::Taken),
        _ => return None,
    };
    Some((pull.clone(), transfer.clone(), kept))
}

async fn of_pull(
    node: &Arc<Node>,
    pull: &Pull,
    transfer: Option<&Transfer>,
    kept: Kept,
) -> Result<Holding, StoreError> {
    let agreement = agreement_of(node, transfer).await?;
    let (digests, file_name) = match &pull.step {
        PullStep::Received { digests, file_name, .. } => (Some(digests), Some(file_name)),
        PullStep::Delivered { digests, file_name, .. } => (digests.as_ref(), file_name.as_ref()),
        _ => (None, None),
    };
    let dataset = pull.dataset.to_string();
    let holding = Holding::new(node, HoldingKind::Received, &pull.id, &pull.participant, dataset);
    Ok(Holding {
        agreement: transfer.map(|transfer| transfer.agreement.to_string()),
        purpose: pull.purpose.clone(),
        since: pull.received.map(|when| when.to_string()),
        process: Some(pull.id.clone()),
        file_name: file_name.cloned(),
        size: digests.map(|digests| digests.size),
        sha256: digests.map(|digests| digests.sha256.clone()),
        kept: Some(kept),
        duties: agreement.as_ref().map(duties).unwrap_or_default(),
        ..holding
    })
}

async fn of_transfer(node: &Arc<Node>, transfer: &Transfer) -> Result<Holding, StoreError> {
    let agreement = agreement_of(node, Some(transfer)).await?;
    let grant = transfer.grant.as_ref();
    let (pid, dataset) = (transfer.pid.to_string(), transfer.dataset.to_string());
    let holding = Holding::new(node, HoldingKind::Given, &pid, &transfer.participant, dataset);
    Ok(Holding {
        version: grant.map(|grant| grant.version.clone()),
        agreement: Some(transfer.agreement.to_string()),
        purpose: agreement.as_ref().and_then(|agreement| agreement.purpose.clone()),
        since: Some(transfer.created.to_string()),
        process: Some(pid),
        state: transfer.process.state().map(|state| state.on_wire().as_str().to_owned()),
        served_bytes: grant.map(|grant| grant.served),
        size: grant.map(|grant| grant.digests.size),
        sha256: grant.map(|grant| grant.digests.sha256.clone()),
        duties: agreement.as_ref().map(duties).unwrap_or_default(),
        ..holding
    })
}

async fn read_transfer(node: &Arc<Node>, pid: Pid) -> Result<Option<Transfer>, StoreError> {
    let key = Key::Transfer(pid);
    let found = node.commit(move |view| Ok(Decision::answer(view.entity(&key)?))).await?;
    Ok(match found.as_deref() {
        Some(Entity::Transfer(transfer)) => Some(transfer.clone()),
        _ => None,
    })
}

async fn agreement_of(
    node: &Arc<Node>,
    transfer: Option<&Transfer>,
) -> Result<Option<Agreement>, StoreError> {
    let Some(transfer) = transfer else { return Ok(None) };
    let key = Key::Agreement(transfer.agreement.clone());
    let found = node.commit(move |view| Ok(Decision::answer(view.entity(&key)?))).await?;
    Ok(match found.as_deref() {
        Some(Entity::Agreement(agreement)) => Some(agreement.clone()),
        _ => None,
    })
}

/// What the consumer has to do or may not do under an agreement, clause by clause.
fn duties(agreement: &Agreement) -> Vec<String> {
    let Ok(terms) = Policy::from_json(&agreement.terms) else { return Vec::new() };
    let binds =
        |place: &str| ["duty", "obligation", "prohibition"].iter().any(|word| place.contains(word));
    classify(&terms)
        .into_iter()
        .filter(|clause| binds(&clause.place))
        .map(|clause| format!("{}: {}", clause.place, clause.clause))
        .collect()
}

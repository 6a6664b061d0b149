//! How the node is.

use std::collections::HashMap;
use std::sync::Arc;

use engine::entity::{Earlier, Head, PartnerState, Witness};
use engine::{Decision, Entity, Key, Kind, LogId, Store as _, TreeId};
use jiff::Timestamp;
use policy::diagnostic::Diagnostic;
use policy::set::RuleSet;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::ApiError;
use super::caller::READERS;
use super::route::{Call, Json, Route};
use crate::net::Phase;
use crate::node::Node;

/// What to do where a partner holds a checkpoint of ours that our log does not continue.
pub(super) const BEHIND_HELP: &str = "put the newer data directory back; where it is lost, open a new epoch with `sekisho audit new-epoch --reason …`";

/// How many entities are looked through at once.
const SCAN_STEP: usize = 1024;

/// Certificates that end sooner are warned of.
const WARNING_DAYS: i64 = 30;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("status.show", "/v1/status", "Everything an operator asks first", report)
            .for_roles(READERS),
    ]
}

/// Everything an operator asks first.
#[derive(Debug, Serialize, JsonSchema)]
struct Status {
    /// Our participant id.
    participant: String,
    /// The site's name.
    name: String,
    /// The release of the daemon.
    version: &'static str,
    /// `serving` or `draining`.
    state: &'static str,
    uptime_seconds: u64,
    /// `complete`, or `rebuilding`: lists are not answered then.
    index: &'static str,
    partners: PartnerCounts,
    open: OpenCounts,
    outbox: OutboxStatus,
    /// How many messages were given up; nothing while the index is rebuilt.
    dead_letters: Option<u64>,
    certificates: CertificatesStatus,
    clock: ClockStatus,
    /// The hash of the rule set in force.
    rules: String,
    policies: PoliciesStatus,
    /// The epoch of our logs.
    epoch: u32,
    /// The relations for which nothing is signed.
    behind: Vec<Behind>,
    logs: Vec<LogStatus>,
}

/// What the policies in force have that denies, and what is most likely misspelt.
#[derive(Debug, Serialize, JsonSchema)]
struct PoliciesStatus {
    /// What this release cannot read of them: it denies.
    unreadable: Vec<PolicyFinding>,
    warnings: Vec<PolicyFinding>,
}

/// A place in a policy file.
#[derive(Debug, Serialize, JsonSchema)]
struct PolicyFinding {
    file: String,
    line: usize,
    problem: String,
    help: String,
}

/// How many partners there are, by state.
#[derive(Debug, Serialize, JsonSchema)]
struct PartnerCounts {
    active: usize,
    suspended: usize,
    offboarded: usize,
}

/// What is open.
#[derive(Debug, Serialize, JsonSchema)]
struct OpenCounts {
    negotiations: u64,
    transfers: u64,
    pulls: u64,
}

/// The messages that are owed to partners.
#[derive(Debug, Serialize, JsonSchema)]
struct OutboxStatus {
    waiting: u64,
    oldest: Option<OldestMessage>,
}

/// The message that is owed the longest.
#[derive(Debug, Serialize, JsonSchema)]
struct OldestMessage {
    /// The partner's short name.
    partner: String,
    age_seconds: i64,
    given_up_at: String,
}

/// Our certificates.
#[derive(Debug, Serialize, JsonSchema)]
struct CertificatesStatus {
    /// Whether they are of a trial authority of the site's own.
    trial: bool,
    certificates: Vec<CertificateStatus>,
}

/// One certificate of ours.
#[derive(Debug, Serialize, JsonSchema)]
struct CertificateStatus {
    /// `server`, `client` or `signing`.
    role: &'static str,
    valid_until: String,
    days_left: i64,
    /// What to do, where it ends soon.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

/// Whether the wall clock is trusted. Nothing is served while it is not.
#[derive(Debug, Serialize, JsonSchema)]
struct ClockStatus {
    trusted: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'static str>,
}

/// A relation for which nothing is signed: the partner holds a checkpoint of ours that our log does not continue.
#[derive(Debug, Serialize, JsonSchema)]
struct Behind {
    /// The partner's short name.
    partner: String,
    /// The size in that checkpoint.
    signed_size: Option<u64>,
    problem: &'static str,
    help: &'static str,
}

/// A log.
#[derive(Debug, Serialize, JsonSchema)]
struct LogStatus {
    /// `site`, or the partner's short name.
    log: String,
    epoch: u32,
    /// Records.
    size: u64,
    /// The latest checkpoint that we signed.
    checkpoint: Option<ShownHead>,
    /// The latest that the partner gave us of its own log.
    their_checkpoint: Option<ShownWitness>,
}

/// Our latest checkpoint of a log.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownHead {
    size: u64,
    signed: String,
    /// Hexadecimal.
    root: String,
}

/// A partner's latest checkpoint of its log.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownWitness {
    epoch: u32,
    size: u64,
    /// When it was given.
    taken: String,
    /// Hexadecimal.
    root: String,
    /// Whether the partner showed one that contradicts it.
    conflict: bool,
    /// Whether it holds one of ours that our log does not continue.
    behind: bool,
    /// The last of each earlier epoch.
    earlier_epochs: Vec<EarlierEpoch>,
    /// Checkpoints of our own earlier epochs that our logs do not continue.
    given_up: Vec<String>,
}

/// The last that a partner has shown of an earlier epoch of its log.
#[derive(Debug, Serialize, JsonSchema)]
struct EarlierEpoch {
    epoch: u32,
    /// The signed note of the checkpoint that we hold.
    note: String,
    /// The one that contradicts it, where the partner has shown one.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<String>,
    /// Whether the first record of the epoch that followed names the checkpoint.
    named: bool,
}

impl From<&Earlier> for EarlierEpoch {
    fn from(earlier: &Earlier) -> Self {
        Self {
            epoch: earlier.epoch,
            note: earlier.note.clone(),
            conflict: earlier.conflict.clone(),
            named: earlier.named,
        }
    }
}

impl ShownHead {
    pub(super) fn of(head: &Head) -> Self {
        Self { size: head.size, signed: head.signed.to_string(), root: head.root.clone() }
    }
}

impl ShownWitness {
    pub(super) fn of(witness: &Witness) -> Self {
        Self {
            epoch: witness.epoch,
            size: witness.size,
            taken: witness.taken.to_string(),
            root: witness.root.clone(),
            conflict: witness.conflict.is_some(),
            behind: witness.behind.is_some(),
            earlier_epochs: witness.earlier.iter().map(EarlierEpoch::from).collect(),
            given_up: witness.given_up.clone(),
        }
    }
}

async fn report(call: Call) -> Result<Json<Status>, ApiError> {
    let (node, uptime) = (call.node(), call.api.started.elapsed());
    let registry = node.registry();
    let in_state = |state| registry.iter().filter(|partner| partner.partner.state == state).count();
    let partners = PartnerCounts {
        active: in_state(PartnerState::Active),
        suspended: in_state(PartnerState::Suspended),
        offboarded: in_state(PartnerState::Offboarded),
    };
    let site = site(node).await?;
    let rules = node.commit(|view| engine::catalog::rules(view).map(Decision::answer)).await?;
    Ok(Json(Status {
        participant: node.context.participant.to_string(),
        name: node.config.site.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        state: match node.shutdown.phase() {
            Phase::Running => "serving",
            Phase::Draining | Phase::Stopping => "draining",
        },
        uptime_seconds: uptime.as_secs(),
        index: if node.store.is_ready() { "complete" } else { "rebuilding" },
        partners,
        open: OpenCounts {
            negotiations: count(node, Kind::Negotiation).await?,
            transfers: count(node, Kind::Transfer).await?,
            pulls: count(node, Kind::Pull).await?,
        },
        outbox: outbox(node).await?,
        dead_letters: dead_letters(node).await?,
        certificates: certificates(node),
        clock: clock(site.as_deref()),
        rules: rules.hash.clone(),
        policies: policies(&rules.set),
        epoch: epoch(site.as_deref()),
        behind: behind(node).await?,
        logs: logs(node).await?,
    }))
}

fn policies(rules: &RuleSet) -> PoliciesStatus {
    let found = |found: &Diagnostic| PolicyFinding {
        file: found.file.clone(),
        line: found.line,
        problem: found.message.clone(),
        help: found.help.clone(),
    };
    PoliciesStatus {
        unreadable: rules.unreadable().iter().map(found).collect(),
        warnings: rules.unknown_groups().iter().map(found).collect(),
    }
}

fn epoch(site: Option<&Entity>) -> u32 {
    match site {
        Some(Entity::Site(site)) => site.epoch,
        _ => engine::FIRST_EPOCH,
    }
}

/// The relations for which nothing is signed, because the partner holds a checkpoint of ours that our log does not continue.
async fn behind(node: &Node) -> Result<Vec<Behind>, ApiError> {
    let mut found = Vec::new();
    each_hot(node, Kind::Witness, |key, entity| {
        if let (Key::Witness(partner), Entity::Witness(Witness { behind: Some(note), .. })) =
            (key, entity)
        {
            found.push(Behind {
                partner: node.partner_name(partner),
                signed_size: note.lines().nth(1).and_then(|line| line.parse().ok()),
                problem: "this node once signed more than its log holds: its data are older than that, or were changed; \
                            it signs nothing for this relation",
                help: BEHIND_HELP,
            });
        }
    })
    .await?;
    Ok(found)
}

async fn site(node: &Node) -> Result<Option<Arc<Entity>>, ApiError> {
    Ok(node.commit(|view| view.entity(&Key::Site).map(Decision::answer)).await?)
}

fn clock(site: Option<&Entity>) -> ClockStatus {
    let refusal = match site {
        Some(Entity::Site(site)) => site.clock_refused.as_ref(),
        _ => None,
    };
    ClockStatus {
        trusted: refusal.is_none(),
        reason: refusal.map(|refusal| refusal.reason.clone()),
        since: refusal.map(|refusal| refusal.since.to_string()),
        help: refusal
            .map(|_| "look at the clock, then accept it with `sekisho clock accept --reason …`"),
    }
}

/// Visits the hot entities of a kind.
async fn each_hot(
    node: &Node,
    kind: Kind,
    mut visit: impl FnMut(&Key, &Entity),
) -> Result<(), ApiError> {
    let mut after = None;
    loop {
        let page = node.store.scan_hot(kind, after.take(), SCAN_STEP).await?;
        page.iter().for_each(|(key, entity)| visit(key, entity));
        if page.len() < SCAN_STEP {
            return Ok(());
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

/// The open entities of a kind. What is closed but has not left memory yet is not counted.
async fn count(node: &Node, kind: Kind) -> Result<u64, ApiError> {
    let mut open = 0_u64;
    each_hot(node, kind, |_, entity| open += u64::from(entity.is_hot())).await?;
    Ok(open)
}

/// The messages that are owed, and to whom the oldest of them.
async fn outbox(node: &Node) -> Result<OutboxStatus, ApiError> {
    let mut waiting = 0_u64;
    let mut oldest: Option<(Timestamp, Key, Timestamp)> = None;
    each_hot(node, Kind::Outbox, |key, entity| {
        let Entity::Outbox(owed) = entity else { return };
        waiting += 1;
        if oldest.as_ref().is_none_or(|(queued, ..)| owed.queued < *queued) {
            oldest = Some((owed.queued, key.clone(), owed.deadline));
        }
    })
    .await?;
    let oldest = oldest.map(|(queued, key, deadline)| {
        let partner = match &key {
            Key::Outbox(participant, ..) => node.partner_name(participant),
            _ => String::new(),
        };
        let age = node.clock.now().as_second().saturating_sub(queued.as_second()).max(0);
        OldestMessage { partner, age_seconds: age, given_up_at: deadline.to_string() }
    });
    Ok(OutboxStatus { waiting, oldest })
}

/// How many messages were given up.
async fn dead_letters(node: &Node) -> Result<Option<u64>, ApiError> {
    if !node.store.is_ready() {
        return Ok(None);
    }
    let (mut count, mut after) = (0_u64, None);
    loop {
        let page = node.store.scan(Kind::DeadLetter, after.take(), SCAN_STEP).await?;
        count = count.saturating_add(page.len() as u64);
        if page.len() < SCAN_STEP {
            return Ok(Some(count));
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

fn certificates(node: &Node) -> CertificatesStatus {
    let now = node.clock.now();
    let pki = node.identity.site.load();
    let ends = [
        ("server", pki.server.valid_until()),
        ("client", pki.client.valid_until()),
        ("signing", pki.signing.valid_until()),
    ];
    let certificates = ends.into_iter().map(|(role, until)| {
        let days_left = days_left(now, until);
        let warning = (days_left < WARNING_DAYS).then(|| warning(days_left, pki.trial));
        CertificateStatus { role, valid_until: until.to_string(), days_left, warning }
    });
    CertificatesStatus { trial: pki.trial, certificates: certificates.collect() }
}

fn days_left(now: Timestamp, until: Timestamp) -> i64 {
    until.as_second().saturating_sub(now.as_second()).div_euclid(SECONDS_PER_DAY)
}

fn warning(days: i64, trial: bool) -> &'static str {
    match (days < 0, trial) {
        (true, true) => "it has expired: `sekisho pki renew`",
        (true, false) => "it has expired: send `sekisho pki requests` to your authority",
        (false, true) => "it ends soon: `sekisho pki renew`",
        (false, false) => "it ends soon: send `sekisho pki requests` to your authority",
    }
}

/// Each log with its size, our latest checkpoint of it, and the partner's of its own.
async fn logs(node: &Node) -> Result<Vec<LogStatus>, ApiError> {
    let mut heads: HashMap<String, Head> = HashMap::new();
    each_hot(node, Kind::Head, |key, entity| {
        if let (Key::Head(label), Entity::Head(head)) = (key, entity) {
            heads.insert(label.clone(), head.clone());
        }
    })
    .await?;
    let epoch = epoch(site(node).await?.as_deref());
    let mut witnesses: HashMap<LogId, Witness> = HashMap::new();
    each_hot(node, Kind::Witness, |key, entity| {
        if let (Key::Witness(participant), Entity::Witness(witness)) = (key, entity) {
            witnesses.insert(LogId::Relation(participant.clone()), witness.clone());
        }
    })
    .await?;
    let mut logs = Vec::new();
    for tree in node.store.trees() {
        let (size, _) = node.store.tree_head(tree.clone()).await?;
        let TreeId { log, epoch: of } = &tree;
        // It is about the relation, whatever epoch our own log of that is in.
        let theirs = if *of == epoch { witnesses.get(log) } else { None };
        logs.push(LogStatus {
            log: name(node, log),
            epoch: *of,
            size,
            checkpoint: heads.get(&tree.label()).map(ShownHead::of),
            their_checkpoint: theirs.map(ShownWitness::of),
        });
    }
    Ok(logs)
}

/// What a log is called here: `site`, or the short name of the partner.
pub(super) fn name(node: &Node, log: &LogId) -> String {
    match log {
        LogId::Site => log.to_string(),
        LogId::Relation(participant) => {
            let registry = node.registry();
            registry
                .by_participant(participant)
                .map_or_else(|| participant.to_string(), |partner| partner.name().to_owned())
        }
    }
}

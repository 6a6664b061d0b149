//! How the node is.

use std::collections::HashMap;
use std::sync::Arc;

use engine::entity::{Head, PartnerState, Witness};
use engine::{Decision, Entity, Key, Kind, LogId, Store as _, TreeId};
use jiff::Timestamp;
use serde_json::{Value, json};

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
async fn report(call: Call) -> Result<Json<Value>, ApiError> {
    let (node, uptime) = (call.node(), call.api.started.elapsed());
    let registry = node.registry();
    let in_state = |state| registry.iter().filter(|partner| partner.partner.state == state).count();
    let site = site(node).await?;
    let rules = node.commit(|view| engine::catalog::rules(view).map(Decision::answer)).await?;
    let state = match node.shutdown.phase() {
        Phase::Running => "serving",
        Phase::Draining | Phase::Stopping => "draining",
    };
    Ok(Json(json!({
        "participant": node.context.participant,
        "name": node.config.site.name,
        "version": env!("CARGO_PKG_VERSION"),
        "state": state,
        "uptime_seconds": uptime.as_secs(),
        "index": if node.store.is_ready() { "complete" } else { "rebuilding" },
        "partners": {
            "active": in_state(PartnerState::Active),
            "suspended": in_state(PartnerState::Suspended),
            "offboarded": in_state(PartnerState::Offboarded),
        },
        "open": {
            "negotiations": count(node, Kind::Negotiation).await?,
            "transfers": count(node, Kind::Transfer).await?,
            "pulls": count(node, Kind::Pull).await?,
        },
        "outbox": outbox(node).await?,
        "certificates": certificates(node),
        "clock": clock(site.as_deref()),
        "rules": rules.hash,
        "epoch": epoch(site.as_deref()),
        "behind": behind(node).await?,
        "logs": logs(node).await?,
    })))
}

/// Our latest checkpoint of a log.
pub(super) fn head(head: &Head) -> Value {
    json!({ "size": head.size, "signed": head.signed.to_string(), "root": head.root })
}

/// A partner's latest checkpoint; what it holds of ours where our log is behind that; and the last of each earlier epoch.
pub(super) fn witness(witness: &Witness) -> Value {
    json!({
        "epoch": witness.epoch,
        "size": witness.size,
        "taken": witness.taken.to_string(),
        "root": witness.root,
        "conflict": witness.conflict.is_some(),
        "behind": witness.behind.is_some(),
        "earlier_epochs": witness.earlier,
        "given_up": witness.given_up,
    })
}

fn epoch(site: Option<&Entity>) -> u32 {
    match site {
        Some(Entity::Site(site)) => site.epoch,
        _ => engine::FIRST_EPOCH,
    }
}

/// The relations for which nothing is signed, because the partner holds a checkpoint of ours that our log does not continue.
async fn behind(node: &Node) -> Result<Vec<Value>, ApiError> {
    let mut found = Vec::new();
    each_hot(node, Kind::Witness, |key, entity| {
        if let (Key::Witness(partner), Entity::Witness(Witness { behind: Some(note), .. })) =
            (key, entity)
        {
            found.push(json!({
                "partner": node.partner_name(partner),
                "signed_size": note.lines().nth(1).and_then(|line| line.parse::<u64>().ok()),
                "problem": "this node once signed more than its log holds: its data are older than that, or were changed; \
                            it signs nothing for this relation",
                "help": BEHIND_HELP,
            }));
        }
    })
    .await?;
    Ok(found)
}

async fn site(node: &Node) -> Result<Option<Arc<Entity>>, ApiError> {
    Ok(node.commit(|view| view.entity(&Key::Site).map(Decision::answer)).await?)
}

fn clock(site: Option<&Entity>) -> Value {
    let refusal = match site {
        Some(Entity::Site(site)) => site.clock_refused.as_ref(),
        _ => None,
    };
    match refusal {
        None => json!({ "trusted": true }),
        Some(refusal) => json!({
            "trusted": false,
            "reason": refusal.reason,
            "since": refusal.since.to_string(),
            "help": "look at the clock, then accept it with `sekisho clock accept --reason …`",
        }),
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
async fn outbox(node: &Node) -> Result<Value, ApiError> {
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
        json!({ "partner": partner, "age_seconds": age, "given_up_at": deadline.to_string() })
    });
    Ok(json!({ "waiting": waiting, "oldest": oldest }))
}

fn certificates(node: &Node) -> Value {
    let now = node.clock.now();
    let pki = node.identity.site.load();
    let ends = [
        ("server", pki.server.valid_until()),
        ("client", pki.client.valid_until()),
        ("signing", pki.signing.valid_until()),
    ];
    let listed: Vec<Value> = ends
        .into_iter()
        .map(|(role, until)| {
            let days = days_left(now, until);
            let mut listed =
                json!({ "role": role, "valid_until": until.to_string(), "days_left": days });
            if days < WARNING_DAYS
                && let Some(members) = listed.as_object_mut()
            {
                members.insert("warning".to_owned(), json!(warning(days, pki.trial)));
            }
            listed
        })
        .collect();
    json!({ "trial": pki.trial, "certificates": listed })
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
async fn logs(node: &Node) -> Result<Vec<Value>, ApiError> {
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
        let mut listed = json!({
            "log": name(node, log),
            "epoch": of,
            "size": size,
            "checkpoint": heads.get(&tree.label()).map(head),
        });
        // It is about the relation, whatever epoch our own log of that is in.
        if let (true, Some(members)) = (*of == epoch, listed.as_object_mut()) {
            members.insert("their_checkpoint".to_owned(), json!(witnesses.get(log).map(witness)));
        }
        logs.push(listed);
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

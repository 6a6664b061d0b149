//! Agreements and transfers.

use engine::{Entity, Kind, Store as _};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::ApiError;
use super::caller::READERS_AND_APPLICATIONS;
use super::route::{Call, Json, Route};
use super::{agreements, transfers};
use crate::node::Node;

/// How many entities are read at once.
const SCAN_STEP: usize = 512;
/// How many are listed when nothing is said.
const LIMIT: usize = 1_000;
/// How many are listed at most.
const LIMIT_MAX: usize = 10_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("agreements.list", "/v1/agreements", "The newest agreements", list_agreements)
            .for_roles(READERS_AND_APPLICATIONS)
            .query::<usize>("limit", "how many at most"),
        Route::get("transfers.list", "/v1/transfers", "The newest transfers", list_transfers)
            .for_roles(READERS_AND_APPLICATIONS)
            .query::<usize>("limit", "how many at most"),
    ]
}

/// The newest agreements, the oldest of them first.
async fn list_agreements(call: Call) -> Result<Json<Value>, ApiError> {
    let scope = call.caller.scope.clone();
    newest(call, Kind::Agreement, "agreements", |node, entity| match entity {
        Entity::Agreement(found) if scope.has(&found.participant, &found.dataset) => {
            Some((found.created, agreements::shown(node, found)))
        }
        _ => None,
    })
    .await
}

/// The newest transfers, the oldest of them first.
async fn list_transfers(call: Call) -> Result<Json<Value>, ApiError> {
    let scope = call.caller.scope.clone();
    newest(call, Kind::Transfer, "transfers", |node, entity| match entity {
        Entity::Transfer(found) if scope.has(&found.participant, &found.dataset) => {
            Some((found.created, transfers::shown(node, found)))
        }
        _ => None,
    })
    .await
}

/// Lists the newest entities of a kind. They are stored by id, which says nothing of their age, so all are looked at; only
/// what is shown is kept.
pub(super) async fn newest(
    mut call: Call,
    kind: Kind,
    member: &str,
    show: impl Fn(&Node, &Entity) -> Option<(Timestamp, Value)>,
) -> Result<Json<Value>, ApiError> {
    let limit = call.query.take::<usize>("limit")?.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let node = call.node();
    if !node.store.is_ready() {
        return Err(ApiError::from(engine::StoreError::Rebuilding));
    }
    let mut kept: Vec<(Timestamp, Value)> = Vec::new();
    let mut total = 0_u64;
    let mut after = None;
    loop {
        let page = node.store.scan(kind, after.take(), SCAN_STEP).await?;
        let found = page.iter().filter_map(|(_, entity)| show(node, entity));
        let before = kept.len();
        kept.extend(found);
        total += (kept.len() - before) as u64;
        if kept.len() > limit.saturating_mul(2) {
            keep_newest(&mut kept, limit);
        }
        if page.len() < SCAN_STEP {
            break;
        }
        after = page.last().map(|(key, _)| key.clone());
    }
    keep_newest(&mut kept, limit);
    let listed: Vec<Value> = kept.into_iter().map(|(_, shown)| shown).collect();
    Ok(Json(json!({ member: listed, "total": total })))
}

fn keep_newest(kept: &mut Vec<(Timestamp, Value)>, limit: usize) {
    kept.sort_by_key(|(created, _)| *created);
    let excess = kept.len().saturating_sub(limit);
    kept.drain(..excess);
}

//! New epochs of the logs, on the operator's word.

use engine::LogId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{ApiError, ErrorKind};
use super::route::{Call, Json, Route};
use super::status;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::post(
        "audit.newEpoch",
        "/v1/audit/new-epoch",
        "Give up the logs as they are and begin new ones, after a restore from an old backup",
        open,
    )]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewEpoch {
    /// Why, for the journal and the partners.
    reason: String,
    /// Although no partner has shown a checkpoint that a log does not continue.
    #[serde(default)]
    anyway: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct EpochOpened {
    /// The epoch that the logs are in now.
    epoch: u32,
    /// The relations whose logs begin anew.
    relations: Vec<BegunAnew>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct BegunAnew {
    /// The partner's short name, or its participant id.
    partner: String,
    /// Whether the partner had shown a checkpoint that the log did not continue.
    was_behind: bool,
}

/// Opens a new epoch of all logs, and tells the partners.
async fn open(call: Call, body: NewEpoch) -> Result<Json<EpochOpened>, ApiError> {
    let NewEpoch { reason, anyway } = body;
    if reason.trim().is_empty() {
        return Err(ApiError::invalid("the reason is empty").help("say why: partners may ask"));
    }
    let (node, person) = (call.node(), call.person());
    let mut logs: Vec<LogId> = node.store.trees().into_iter().map(|tree| tree.log).collect();
    logs.dedup();
    let opened = node
        .commit(move |view| engine::epoch::open(view, &logs, anyway, &reason, Some(&person)))
        .await?;
    let Some(opened) = opened else {
        return Err(ApiError::new(
            ErrorKind::Refused,
            "no partner has shown a checkpoint of ours that our logs do not continue: no new epoch is needed",
        )
        .help("after a restore from an old backup while partners are away, say it with `--anyway`"));
    };
    tracing::warn!(event = "epoch.opened", epoch = opened.epoch);
    let mut relations = Vec::new();
    for (partner, was_behind) in opened.relations {
        crate::witness::later(node, &partner);
        let partner = status::name(node, &LogId::Relation(partner));
        relations.push(BegunAnew { partner, was_behind });
    }
    Ok(Json(EpochOpened { epoch: opened.epoch, relations }))
}

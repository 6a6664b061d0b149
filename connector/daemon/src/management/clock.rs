//! The wall clock, when it was in doubt.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::ApiError;
use super::route::{Call, Json, Route};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::post(
        "clock.accept",
        "/v1/clock/accept",
        "Accept the wall clock as it is now: permits are given again",
        accept,
    )]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClockAcceptance {
    /// Why, for the journal.
    reason: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ClockAccepted {
    /// Whether the clock was in doubt.
    accepted: bool,
}

/// An operator looked at the clock and accepts it: permits are given again.
async fn accept(call: Call, body: ClockAcceptance) -> Result<Json<ClockAccepted>, ApiError> {
    let person = call.person();
    let accepted = call
        .node()
        .commit(move |view| engine::site::accept_clock(view, &body.reason, Some(&person)))
        .await?;
    Ok(Json(ClockAccepted { accepted }))
}

//! Pulling: begins a pull or finds the one that is open, and tells how it goes. The worker goes on when nobody listens.

use std::sync::Arc;
use std::time::Duration;

use engine::entity::{Failure, Pull, PullStep};
use engine::{Decision, Entity, Key, Need, View};
use protocol::id::{DatasetId, ParticipantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use super::answer::{self, ApiError, ErrorKind, Events, Stop, Throttle};
use super::caller::{APPLICATIONS, READERS_AND_APPLICATIONS};
use super::catalog::unsent;
use super::route::{Call, Json, Lines, Route};
use crate::net::Phase;
use crate::node::Node;
use crate::pulls::{self, PullError, State};

/// The longest that anybody waits for a partner that is away, whatever they ask for. The pull itself goes on without them.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long nothing happens before it is looked at whether the partner is away.
const QUIET: Duration = Duration::from_secs(2);

/// The time over which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(3);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "pulls.begin",
            "/v1/pulls",
            "Pull a dataset, or go on with the pull that is open; ends with `received` or an error",
            pull,
        )
        .for_roles(APPLICATIONS),
        Route::get("pulls.show", "/v1/pulls/{id}", "One pull", show)
            .for_roles(READERS_AND_APPLICATIONS),
        Route::post(
            "pulls.cancel",
            "/v1/pulls/{id}/cancel",
            "End a pull: its negotiation or transfer is terminated, and what is here of it goes",
            cancel,
        )
        .for_roles(APPLICATIONS),
    ]
}

/// Why, for the journal and for the partner.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    reason: Option<String>,
}

/// Ends a pull, and waits until nothing is left of it here. One that failed before is shown as it is.
async fn cancel(call: Call, why: Cancellation) -> Result<Json<ShownPull>, ApiError> {
    let (node, person) = (call.node(), call.person());
    let id = visible(&call, call.segment("id")).await?.id;
    let reason = why.reason.unwrap_or_else(|| "the recipient does not want it any more".to_owned());
    let pull = pulls::cancel(node, &id, &reason, &person).await?;
    if matches!(pull.step, PullStep::Delivered { .. }) {
        let text = format!("the pull `{id}` is delivered: there is nothing to cancel");
        return Err(ApiError::new(ErrorKind::Refused, text));
    }
    Ok(Json(ShownPull::of(node, &pull)))
}

async fn show(call: Call) -> Result<Json<ShownPull>, ApiError> {
    let pull = visible(&call, call.segment("id")).await?;
    Ok(Json(ShownPull::of(call.node(), &pull)))
}

/// A pull.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownPull {
    id: String,
    /// When it was asked for.
    created: String,
    /// The provider's short name.
    partner: String,
    /// The provider.
    participant: String,
    dataset: String,
    /// The declared purpose.
    purpose: Option<String>,
    /// How far it is: `negotiating`, `transferring`, `received`, `delivered` or `failed`.
    step: &'static str,
    /// Bytes, once all are here.
    size: Option<u64>,
    /// Their SHA-256, hexadecimal.
    sha256: Option<String>,
    /// The name that the provider gave the file.
    file_name: Option<String>,
    /// A code for why it failed.
    code: Option<String>,
    /// Why it failed.
    failure: Option<String>,
    /// The reference to give to the provider's administrator.
    reference: Option<String>,
}

impl ShownPull {
    pub(super) fn of(node: &Node, pull: &Pull) -> Self {
        let received = match &pull.step {
            PullStep::Received { digests, file_name, .. } => Some((digests, file_name)),
            _ => None,
        };
        let failure = match &pull.step {
            PullStep::Failed { failure } => Some(failure),
            _ => None,
        };
        Self {
            id: pull.id.clone(),
            created: pull.created.to_string(),
            partner: node.partner_name(&pull.participant),
            participant: pull.participant.to_string(),
            dataset: pull.dataset.to_string(),
            purpose: pull.purpose.clone(),
            step: step_name(&pull.step),
            size: received.map(|(digests, _)| digests.size),
            sha256: received.map(|(digests, _)| digests.sha256.clone()),
            file_name: received.map(|(_, file_name)| file_name.clone()),
            code: failure.map(|failure| failure.code.clone()),
            failure: failure.map(|failure| failure.reason.clone()),
            reference: failure.and_then(|failure| failure.reference.clone()),
        }
    }
}

/// What to pull, and for what.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The partner's short name or participant id.
    pub(super) partner: String,
    /// The dataset's id.
    #[schemars(with = "String")]
    pub(super) dataset: DatasetId,
    /// What it is used for, where the policy asks.
    pub(super) purpose: Option<String>,
    /// Whether the provider shall push the bytes to us (`HttpData-PUSH`), instead of us asking for them.
    #[serde(default)]
    pub(super) push: bool,
    /// How long to wait for a partner that is away; a week at most.
    pub(super) wait_seconds: u64,
}

/// What happens to a pull.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Pulling {
    /// It took a step, or waits for the partner.
    Pull {
        /// Nothing before it has begun.
        id: Option<String>,
        /// As a pull shows it, or that it waits.
        step: String,
        /// Why it waits.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Bytes came.
    Progress {
        /// How many are here.
        done: u64,
        /// How many there are, once known.
        total: Option<u64>,
        /// Per second.
        rate: u64,
    },
    /// All bytes are here, and verified. The last event.
    Received {
        /// The pull.
        id: String,
        /// The name that the provider gave the file.
        file_name: String,
        /// Bytes.
        size: u64,
        /// Hexadecimal.
        sha256: String,
        /// The root of the BLAKE3 tree, hexadecimal.
        blake3: String,
    },
}

/// Pulls a dataset; the events end with `received` or an error.
async fn pull(call: Call, wanted: Wanted) -> Result<Lines<Pulling>, ApiError> {
    let (node, person) = (Arc::clone(call.node()), call.person());
    let participant = call.caller.partner(&node, &wanted.partner)?;
    call.caller.check(&participant, &wanted.dataset, wanted.purpose.as_deref())?;
    Ok(answer::stream(move |events| async move {
        let watcher = Watcher::new(node, wanted, participant, events);
        let pull = watcher.begin(&person).await?;
        watcher.follow(&pull).await
    }))
}

/// Pulls for one who wants the outcome alone: received, or an error. At once, it may still be open.
///
/// # Errors
/// As the events of a pull end.
pub(super) async fn obtain(
    node: &Arc<Node>,
    wanted: Wanted,
    participant: ParticipantId,
    person: &str,
    at_once: bool,
) -> Result<Pull, ApiError> {
    let watcher = Watcher::new(Arc::clone(node), wanted, participant, Events::unheard());
    let away = || {
        ApiError::new(ErrorKind::TryAgain, "the daemon is stopping; the pull stays open")
            .help("the same request goes on with it")
    };
    let failed = |stop| match stop {
        Stop::Failed(error) => error,
        Stop::Gone => away(),
    };
    let pull = watcher.begin(person).await.map_err(failed)?;
    if matches!(pull.step, PullStep::Received { .. }) {
        return Ok(pull);
    }
    if at_once {
        pulls::drive(node, &pull.id);
        return Ok(pull);
    }
    watcher.follow(&pull).await.map_err(failed)?;
    existing(node, &pull.id).await
}

/// One who waits for a pull.
struct Watcher {
    node: Arc<Node>,
    wanted: Wanted,
    participant: ParticipantId,
    patience: Duration,
    events: Events<Pulling>,
}

impl Watcher {
    fn new(
        node: Arc<Node>,
        wanted: Wanted,
        participant: ParticipantId,
        events: Events<Pulling>,
    ) -> Self {
        // One attempt is always made to its end.
        let patience = Duration::from_secs(wanted.wait_seconds)
            .min(WAIT_MAX)
            .max(node.config.outbound.connect_timeout());
        Self { node, wanted, participant, patience, events }
    }

    /// Begins the pull, as soon as the partner is there.
    async fn begin(&self, person: &str) -> Result<Pull, Stop> {
        let outbound = &self.node.config.outbound;
        let mut delays = outbound.delays();
        let since = Instant::now();
        loop {
            let begun = pulls::begin(
                &self.node,
                &self.participant,
                &self.wanted.dataset,
                self.wanted.purpose.as_deref(),
                self.wanted.push,
                Some(person.to_owned()),
            )
            .await;
            let error = match begun {
                Ok(pull) => return Ok(pull),
                Err(PullError::Send(error)) if error.is_transient() => error,
                Err(error) => return Err(self.refused(error).into()),
            };
            let left = self.patience.saturating_sub(since.elapsed());
            let delay = delays.next().unwrap_or_else(|| outbound.retry_maximum()).min(left);
            if left.is_zero() {
                return Err(unsent(&self.node, &self.wanted.partner, &error)
                    .help("nothing was begun; the same command tries again")
                    .into());
            }
            self.waiting(None, &crate::site::chain(&error)).await?;
            tokio::select! {
                () = self.events.gone() => return Err(Stop::Gone),
                () = self.node.shutdown.draining() => return Err(Stop::Gone),
                () = sleep(delay) => {}
            }
        }
    }

    /// Tells how the pull goes, until it has ended or the partner was away too long.
    async fn follow(&self, pull: &Pull) -> Result<(), Stop> {
        let progress = pulls::drive(&self.node, &pull.id);
        // Whoever asks again has a reason to think that it works now, and patience of its own.
        progress.try_now();
        let asked = Instant::now();
        let mut watched = progress.watch();
        let mut told = Told::default();
        let mut heard = Instant::now();
        loop {
            let state = watched.borrow_and_update().clone();
            self.tell(&pull.id, &state, &mut told).await?;
            if state.ended {
                return self.end(&pull.id).await;
            }
            let away = state.away.as_ref().map(|(since, _)| (*since).max(asked));
            let give_up = away.unwrap_or(heard) + self.patience;
            let pause = give_up.saturating_duration_since(Instant::now()).min(QUIET);
            tokio::select! {
                () = self.events.gone() => return Err(Stop::Gone),
                changed = timeout(pause, watched.changed()) => {
                    if changed.is_ok() {
                        heard = Instant::now();
                        continue;
                    }
                }
            }
            let reason = match &state.away {
                Some((_, reason)) => Some(reason.clone()),
                None => self.owed(&pull.id).await?,
            };
            match reason {
                Some(reason) if Instant::now() >= give_up => {
                    return Err(self.away(&reason).into());
                }
                Some(reason) if told.waiting.as_ref() != Some(&reason) => {
                    self.waiting(Some(&pull.id), &reason).await?;
                    told.waiting = Some(reason);
                }
                Some(_) => {}
                // It has taken what we sent, and thinks about it.
                None => heard = Instant::now(),
            }
        }
    }

    async fn tell(&self, id: &str, state: &State, told: &mut Told) -> Result<(), Stop> {
        if let Some((_, reason)) = &state.away {
            if told.waiting.as_ref() != Some(reason) {
                self.waiting(Some(id), reason).await?;
                told.waiting = Some(reason.clone());
                // Said again when it goes on.
                told.step = "";
            }
            return Ok(());
        }
        if state.step != told.step && !state.step.is_empty() {
            let (id, step) = (Some(id.to_owned()), state.step.to_owned());
            self.events.send(&Pulling::Pull { id, step, reason: None }).await?;
            told.step = state.step;
            told.waiting = None;
        }
        let whole = state.total == Some(state.done);
        if state.done != told.done && (whole || told.throttle.is_due()) {
            told.done = state.done;
            let rate = told.rate.after(state.done);
            let (done, total) = (state.done, state.total);
            self.events.offer(&Pulling::Progress { done, total, rate })?;
        }
        Ok(())
    }

    async fn waiting(&self, id: Option<&str>, reason: &str) -> Result<(), Stop> {
        let step = format!("waiting for {}", self.wanted.partner);
        let (id, reason) = (id.map(str::to_owned), Some(reason.to_owned()));
        self.events.send(&Pulling::Pull { id, step, reason }).await
    }

    /// Why nothing happens: a message that the partner has not acknowledged yet.
    async fn owed(&self, id: &str) -> Result<Option<String>, Stop> {
        let id = id.to_owned();
        let owed = self.node.commit(move |view| owed(view, &id).map(Decision::answer)).await?;
        Ok(owed.then(|| "a message to it is not acknowledged yet".to_owned()))
    }

    async fn end(&self, id: &str) -> Result<(), Stop> {
        let pull = existing(&self.node, id).await?;
        match pull.step {
            PullStep::Received { digests, file_name, .. } => {
                let received = Pulling::Received {
                    id: pull.id,
                    file_name,
                    size: digests.size,
                    sha256: digests.sha256,
                    blake3: digests.blake3,
                };
                self.events.send(&received).await
            }
            PullStep::Failed { failure } => Err(failed(&self.wanted.partner, &failure).into()),
            PullStep::Delivered { .. } => {
                Err(ApiError::new(ErrorKind::TryAgain, "another command took what was received")
                    .help("the same command pulls it anew")
                    .into())
            }
            PullStep::Negotiating { .. } | PullStep::Transferring { .. } => self.left_open(),
        }
    }

    /// The worker ended before the pull did.
    fn left_open(&self) -> Result<(), Stop> {
        // It goes on with the next start of the daemon, and so does the command.
        if self.node.shutdown.phase() != Phase::Running {
            return Err(Stop::Gone);
        }
        let registry = self.node.registry();
        let partner = registry.by_participant(&self.participant);
        let error = if partner.is_some_and(|partner| partner.is_active()) {
            ApiError::new(ErrorKind::TryAgain, "the pull stopped and stays open")
                .help("the daemon's log says why; the same command continues it")
        } else {
            let text = format!("`{}` is suspended or removed here", self.wanted.partner);
            ApiError::new(ErrorKind::Suspended, text)
                .help("the pull stays open; the same command continues it when the partner may exchange again")
        };
        Err(error.into())
    }

    fn away(&self, reason: &str) -> ApiError {
        let text = format!("`{}` cannot be reached: {reason}", self.wanted.partner);
        ApiError::new(ErrorKind::NotReachable, text).help(
            "the pull stays open and goes on by itself when the partner is back; the same command continues it",
        )
    }

    fn refused(&self, error: PullError) -> ApiError {
        match error {
            PullError::Trouble(trouble) => trouble.into(),
            PullError::Send(error) => unsent(&self.node, &self.wanted.partner, &error),
            PullError::NotOffered { .. } => ApiError::not_found(error.to_string()),
            PullError::TooMany(_) | PullError::TooManyCopies(_) => {
                ApiError::new(ErrorKind::TooMany, error.to_string())
            }
            PullError::Unreadable(_) => ApiError::new(ErrorKind::Refused, error.to_string()),
        }
    }
}

/// What was told last.
#[derive(Default)]
struct Told {
    step: &'static str,
    waiting: Option<String>,
    done: u64,
    rate: Rate,
    throttle: Throttle,
}

/// Bytes per second over the latest seconds. The first value counts as what was there before.
#[derive(Debug, Default)]
struct Rate(std::collections::VecDeque<(Instant, u64)>);

impl Rate {
    fn after(&mut self, done: u64) -> u64 {
        let now = Instant::now();
        self.0.push_back((now, done));
        while self.0.len() > 2
            && self.0.get(1).is_some_and(|(then, _)| now.duration_since(*then) >= RATE_WINDOW)
        {
            self.0.pop_front();
        }
        let Some((then, before)) = self.0.front() else { return 0 };
        let milliseconds = u64::try_from(now.duration_since(*then).as_millis()).unwrap_or(u64::MAX);
        done.saturating_sub(*before).saturating_mul(1000).checked_div(milliseconds).unwrap_or(0)
    }
}

/// A pull by its id, where the one who asks may see it.
pub(super) async fn visible(call: &Call, id: &str) -> Result<Pull, ApiError> {
    let pull = existing(call.node(), id).await?;
    let scope = &call.caller.scope;
    let within =
        scope.has(&pull.participant, &pull.dataset) && scope.has_purpose(pull.purpose.as_deref());
    if within { Ok(pull) } else { Err(unknown(id)) }
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no pull `{id}`"))
}

/// A pull by its id.
async fn existing(node: &Node, id: &str) -> Result<Pull, ApiError> {
    let key = Key::Pull(id.to_owned());
    let found = node.commit(move |view| view.entity(&key).map(Decision::answer)).await?;
    match found.as_deref() {
        Some(Entity::Pull(pull)) => Ok(pull.clone()),
        _ => Err(unknown(id)),
    }
}

/// Whether the process of a pull owes the partner a message.
fn owed(view: &dyn View, id: &str) -> Result<bool, Need> {
    let found = view.entity(&Key::Pull(id.to_owned()))?;
    let Some(Entity::Pull(pull)) = found.as_deref() else { return Ok(false) };
    let key = match &pull.step {
        PullStep::Negotiating { negotiation } => Key::Negotiation(negotiation.clone()),
        PullStep::Transferring { transfer } => Key::Transfer(transfer.clone()),
        _ => return Ok(false),
    };
    Ok(match view.entity(&key)?.as_deref() {
        Some(Entity::Negotiation(negotiation)) => !negotiation.outbox.is_empty(),
        Some(Entity::Transfer(transfer)) => !transfer.outbox.is_empty(),
        _ => false,
    })
}

/// Why a pull failed, for the one who asked for it.
fn failed(partner: &str, failure: &Failure) -> ApiError {
    let kind = match failure.code.as_str() {
        _ if failure.by_policy => ErrorKind::Policy,
        "not-verified" => ErrorKind::NotVerified,
        "cannot-write" | "not-kept" | "too-large" => ErrorKind::CannotWrite,
        "suspended" | "offboarded" | "unregistered" => ErrorKind::Suspended,
        "not-found" => ErrorKind::NotFound,
        "too-many" => ErrorKind::TooMany,
        "unavailable" | "lost" | engine::pull::NEW_VERSION_CODE => ErrorKind::TryAgain,
        "undelivered" | "download-failed" => ErrorKind::NotReachable,
        _ => ErrorKind::Refused,
    };
    let error = ApiError::new(kind, failure.reason.clone()).reference(failure.reference.clone());
    match kind {
        ErrorKind::Policy | ErrorKind::Refused | ErrorKind::Suspended
            if failure.reference.is_some() =>
        {
            error
                .help(format!("the administrator of `{partner}` finds the reason by the reference"))
        }
        ErrorKind::TryAgain => error.help("the same command pulls it anew"),
        _ => error,
    }
}

/// The failure of a pull whose bytes are gone.
pub(super) fn lost() -> Failure {
    Failure {
        code: "lost".to_owned(),
        reason: "the bytes that were received are gone from the data directory".to_owned(),
        reference: None,
        by_policy: false,
    }
}

/// The name of a pull's step.
pub(super) fn step_name(step: &PullStep) -> &'static str {
    match step {
        PullStep::Negotiating { .. } => "negotiating",
        PullStep::Transferring { .. } => "transferring",
        PullStep::Received { .. } => "received",
        PullStep::Delivered { .. } => "delivered",
        PullStep::Failed { .. } => "failed",
    }
}

/// What the API says of a pull that is not received.
pub(super) fn not_received(pull: &Pull) -> ApiError {
    ApiError::new(
        ErrorKind::Refused,
        format!("the pull `{}` has nothing to hand over: it is {}", pull.id, step_name(&pull.step)),
    )
}

//! Pulls: each is driven by one worker, from the first request to verified bytes, across restarts of either side.

mod stop;
mod worker;

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use engine::entity::{Pull, PullStep};
use engine::negotiation::Choice;
use engine::pull::{self, Begun, Wanted};
use engine::refusal::{Refusal, RefusalKind};
use engine::{Decision, Entity, Key, Kind};
use http::{HeaderValue, Method};
use protocol::id::{AgreementId, DatasetId, OfferId, ParticipantId, Pid};
use protocol::message;
use protocol::path::{BaseUrl, Endpoint};
use tokio::sync::{Notify, watch};
use tracing::Instrument as _;

use crate::net::{PartnerClient, SendError};
use crate::node::Node;
use crate::transfers::token_sha256;
use crate::wire::Trouble;

use worker::Worker;
pub(crate) use worker::arrival;

/// How many open pulls are looked through at once.
const SCAN_STEP: usize = 256;

/// What the worker of a pull tells those who watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes that there will be, once known.
    pub total: Option<u64>,
    /// What it does, in a word.
    pub step: &'static str,
    /// Since when the partner could not be reached, and why.
    pub away: Option<(tokio::time::Instant, String)>,
    /// Whether the worker has ended; the entity says how.
    pub ended: bool,
}

/// What those who watch a pull share with its worker.
#[derive(Debug)]
pub struct Progress {
    state: watch::Sender<State>,
    /// Ends the pause before the next attempt.
    nudge: Notify,
}

impl Progress {
    /// Follows the worker.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Makes the next attempt at once.
    pub fn try_now(&self) {
        self.nudge.notify_waiters();
    }

    /// Bytes of a push are here: so many of so many, where that is known.
    pub fn pushed(&self, done: u64, total: Option<u64>) {
        self.away(None);
        self.state.send_modify(|state| {
            state.step = "receiving";
            (state.done, state.total) = (done, total);
        });
    }

    /// A push broke off, for this reason.
    pub fn interrupted(&self, reason: &str) {
        self.away(Some(reason.to_owned()));
    }

    fn step(&self, step: &'static str) {
        self.state.send_if_modified(|state| {
            let changed = state.step != step;
            state.step = step;
            changed
        });
    }

    fn away(&self, reason: Option<String>) {
        self.state.send_if_modified(|state| match (reason, &mut state.away) {
            (None, away) => away.take().is_some(),
            (Some(reason), Some((_, text))) => {
                let changed = *text != reason;
                *text = reason;
                changed
            }
            (Some(reason), away) => {
                *away = Some((tokio::time::Instant::now(), reason));
                true
            }
        });
    }
}

/// Why a pull could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The engine refuses, or it could not be stored.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The partner's catalog could not be read.
    #[error("{}", crate::site::chain(.0))]
    Send(#[from] SendError),
    /// The partner offers no such dataset to us.
    #[error(
        "partner `{partner}` offers us no dataset `{dataset}`; `sekisho catalog {partner}` lists what it does"
    )]
    NotOffered {
        /// The partner.
        partner: String,
        /// The dataset.
        dataset: DatasetId,
    },
    /// The partner's answer is no dataset.
    #[error("the partner's catalog entry cannot be read: {0}")]
    Unreadable(String),
    /// Too many pulls run.
    #[error("{0} pulls run already (data.max_concurrent_pulls_count); wait for one to end")]
    TooMany(usize),
    /// Too many copies wait for the one who asked.
    #[error(
        "{0} received copies are kept here already (data.max_kept_copies_count); let go of some: `sekisho pulls list --where step=received`, `sekisho pulls cancel ID`"
    )]
    TooManyCopies(usize),
}

/// Resumes every open pull after a start.
pub async fn resume_all(node: &Arc<Node>) -> Result<(), engine::StoreError> {
    for pull in open_pulls(node).await? {
        drive(node, &pull.id);
    }
    Ok(())
}

/// The pulls that are not delivered or failed.
///
/// # Errors
/// When the store is closed.
pub async fn open_pulls(node: &Node) -> Result<Vec<Pull>, engine::StoreError> {
    let mut pulls = Vec::new();
    let mut after = None;
    loop {
        let page = node.store.scan_hot(Kind::Pull, after.take(), SCAN_STEP).await?;
        after = page.last().map(|(key, _)| key.clone());
        for (_, entity) in &page {
            if let Entity::Pull(pull) = entity.as_ref()
                && !pull.is_closed()
            {
                pulls.push(pull.clone());
            }
        }
        if page.len() < SCAN_STEP {
            return Ok(pulls);
        }
    }
}

/// Lets go of the copies that were received under an agreement and not handed over.
///
/// # Errors
/// When it cannot be stored.
pub async fn let_go(
    node: &Arc<Node>,
    agreement: &AgreementId,
    reason: &str,
    person: &str,
) -> Result<(), Trouble> {
    for pull in open_pulls(node).await? {
        let PullStep::Received { transfer, .. } = &pull.step else { continue };
        let key = Key::Transfer(transfer.clone());
        let found = node.commit(move |view| Ok(Decision::answer(view.entity(&key)?))).await?;
        let Some(Entity::Transfer(transfer)) = found.as_deref() else { continue };
        if transfer.agreement == *agreement {
            cancel(node, &pull.id, reason, person).await?;
        }
    }
    Ok(())
}

/// Ends a pull on behalf of a person; what was received goes before the answer.
///
/// # Errors
/// When it cannot be stored.
pub async fn cancel(
    node: &Arc<Node>,
    id: &str,
    reason: &str,
    person: &str,
) -> Result<Pull, Trouble> {
    let (context, fresh) = (Arc::clone(&node.context), node.fresh());
    let (asked, said, by) = (id.to_owned(), reason.to_owned(), person.to_owned());
    let pull = node
        .decide(move |view| pull::cancel(view, &context, &fresh, &asked, &said, Some(&by)))
        .await?;
    // Whoever writes the bytes removes them.
    let mut state = drive(node, id).watch();
    let _ = state.wait_for(|state| state.ended).await;
    Ok(pull)
}

/// Begins a pull, or finds the one that is open for the same dataset and purpose. `push`: the provider shall send the
/// bytes to us.
///
/// # Errors
/// [`PullError`].
pub async fn begin(
    node: &Arc<Node>,
    participant: &ParticipantId,
    dataset: &DatasetId,
    purpose: Option<&str>,
    push: bool,
    person: Option<String>,
) -> Result<Pull, PullError> {
    let wanted = Wanted {
        id: uuid::Uuid::new_v4().to_string(),
        participant: participant.clone(),
        dataset: dataset.clone(),
        purpose: purpose.map(str::to_owned),
        person,
        push,
    };
    if let Begun::Running(pull) = find_or_ask(node, &wanted, None).await? {
        return Ok(pull);
    }
    let purpose = wanted.purpose.as_deref();
    let choice = choose(node, participant, dataset, None, purpose).await?;
    match find_or_ask(node, &wanted, Some(choice)).await? {
        Begun::Running(pull) => Ok(pull),
        Begun::NeedOffer => Err(PullError::NotOffered {
            partner: node.partner_name(participant),
            dataset: dataset.clone(),
        }),
    }
}

/// Finds the open pull for what is wanted, or asks the engine to begin one.
async fn find_or_ask(
    node: &Arc<Node>,
    wanted: &Wanted,
    choice: Option<Choice>,
) -> Result<Begun, PullError> {
    let _one = node.beginning_pull.lock().await;
    let open = open_pulls(node).await.map_err(Trouble::from)?;
    let same = open.iter().find(|pull| {
        pull.participant == wanted.participant
            && pull.dataset == wanted.dataset
            && pull.purpose == wanted.purpose
    });
    if let Some(pull) = same {
        return Ok(Begun::Running(pull.clone()));
    }
    let copies = open.iter().filter(|pull| matches!(pull.step, PullStep::Received { .. })).count();
    let limits = &node.config.data;
    if copies >= limits.max_kept_copies_count {
        return Err(PullError::TooManyCopies(limits.max_kept_copies_count));
    }
    if open.len().saturating_sub(copies) >= limits.max_concurrent_pulls_count {
        return Err(PullError::TooMany(limits.max_concurrent_pulls_count));
    }
    node.check_owing(&wanted.participant).map_err(Trouble::from)?;
    Ok(ask(node, wanted, choice).await?)
}

async fn ask(node: &Arc<Node>, wanted: &Wanted, choice: Option<Choice>) -> Result<Begun, Trouble> {
    let (context, fresh, wanted) = (Arc::clone(&node.context), node.fresh(), wanted.clone());
    let site = node.identity.site.load();
    node.decide(move |view| {
        let token = |pid: &Pid, generation: u32| token_sha256(&site, pid, generation);
        pull::begin(view, &context, &fresh, &wanted, choice.as_ref(), None, token)
    })
    .await
}

/// Chooses an offer from the provider's catalog: one that allows the purpose where there is one. Where none does, the
/// provider is asked all the same, so that it is the one who refuses, with its clause.
///
/// # Errors
/// [`PullError`] when the catalog cannot be read, or has no such offer.
pub async fn choose(
    node: &Arc<Node>,
    participant: &ParticipantId,
    id: &DatasetId,
    offer: Option<&OfferId>,
    purpose: Option<&str>,
) -> Result<Choice, PullError> {
    let entry = dataset(node, participant, id).await?;
    let purposes = policy::set::Purposes::default();
    let fits = |offer: &&message::CatalogOffer| match purpose {
        Some(purpose) => {
            policy::terms::with_declared_purpose(offer.document(), purpose, &purposes).is_ok()
        }
        None => true,
    };
    let chosen = match offer {
        Some(wanted) => entry.offers.iter().find(|offer| offer.id() == wanted),
        None => entry.offers.iter().find(fits).or_else(|| entry.offers.first()),
    };
    let chosen = chosen.ok_or_else(|| PullError::NotOffered {
        partner: node.partner_name(participant),
        dataset: id.clone(),
    })?;
    Ok(Choice {
        dataset: id.clone(),
        offer: chosen.id().clone(),
        terms: chosen.document().clone(),
        purpose: purpose.map(str::to_owned),
    })
}

/// A dataset's entry in a partner's catalog.
async fn dataset(
    node: &Arc<Node>,
    participant: &ParticipantId,
    id: &DatasetId,
) -> Result<message::Dataset, PullError> {
    let not_offered =
        || PullError::NotOffered { partner: node.partner_name(participant), dataset: id.clone() };
    let (client, base) = reach(node, participant).ok_or_else(not_offered)?;
    let url = base.endpoint(Endpoint::Dataset(id)).to_string();
    let json = HeaderValue::from_static("application/json");
    let answer = match client.send(Method::GET, &url, json, Bytes::new()).await {
        Ok(answer) => answer,
        Err(SendError::Status { answer, .. }) if answer.status == http::StatusCode::NOT_FOUND => {
            return Err(not_offered());
        }
        Err(error) => return Err(error.into()),
    };
    message::parse::<message::Dataset>(&answer.body, &node.answer_limits())
        .map(|incoming| incoming.message)
        .map_err(|error| PullError::Unreadable(error.to_string()))
}

/// A partner's client and the base of its DSP endpoints.
pub fn reach(node: &Node, participant: &ParticipantId) -> Option<(PartnerClient, BaseUrl)> {
    let client = node.client(participant)?;
    let registry = node.registry();
    let partner = registry.by_participant(participant)?;
    Some((client, BaseUrl::new(&partner.partner.dsp_endpoint).ok()?))
}

/// The worker of a pull: started where none runs.
pub fn drive(node: &Arc<Node>, id: &str) -> Arc<Progress> {
    let mut pulling = node.pulling.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(progress) = pulling.get(id) {
        return Arc::clone(progress);
    }
    let progress =
        Arc::new(Progress { state: watch::Sender::new(State::default()), nudge: Notify::new() });
    pulling.insert(id.to_owned(), Arc::clone(&progress));
    drop(pulling);
    let worker =
        Worker { node: Arc::clone(node), id: id.to_owned(), progress: Arc::clone(&progress) };
    let span = tracing::info_span!("pull", pull = worker.id);
    tokio::spawn(async move {
        worker.run_to_the_end().instrument(span).await;
        worker.node.pulling.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker.id);
        worker.progress.state.send_modify(|state| state.ended = true);
    });
    progress
}

/// The refusal of a request that names no registered partner.
pub fn unknown_partner(node: &Node, name: &str) -> Refusal {
    let text = format!("`{name}` is not a registered partner; `sekisho partner list` shows all");
    Refusal::new(RefusalKind::NotFound, text.clone(), text, node.fresh().reference)
}

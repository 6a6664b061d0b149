//! Keys of applications and remote administrators: making, listing, revoking, and who shows one.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use engine::keys::{KeyEnded, KeyError, ManagementKey, Role, Scope};
use engine::{Decision, Entity, Key, Kind, Store as _, StoreError};
use http::{HeaderMap, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use protocol::id::{DatasetId, ParticipantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::answer::{ApiError, ErrorKind};
use super::caller::Caller;
use super::partners;
use super::route::{Call, Created, Json, Route};
use crate::net::{Body, BodyFailure};
use crate::node::Node;

/// How a key's text begins: whoever finds one somewhere knows what it opens.
const PREFIX: &str = "sekisho.";
/// Random bytes of a key.
const SECRET_BYTES: usize = 32;
/// How many keys are read at once.
const SCAN_STEP: usize = 256;
/// A key may use up the requests of this time at once.
const BURST: Duration = Duration::from_secs(3);
/// How often an unexpired key of an answer under way is looked at, at the least.
const LOOK: Duration = Duration::from_secs(3600);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "keys.create",
            "/v1/keys",
            "Make a key. Its text is in this answer and nowhere else",
            create,
        ),
        Route::post(
            "keys.revoke",
            "/v1/keys/{name}/revoke",
            "Take a key no longer; what runs under it ends",
            revoke,
        ),
    ]
}

/// A role by its name in the API.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Role")]
enum RoleName {
    Administrator,
    PolicyAdministrator,
    Auditor,
    Application,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Administrator => Self::Administrator,
            RoleName::PolicyAdministrator => Self::PolicyAdministrator,
            RoleName::Auditor => Self::Auditor,
            RoleName::Application => Self::Application,
        }
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Administrator => Self::Administrator,
            Role::PolicyAdministrator => Self::PolicyAdministrator,
            Role::Auditor => Self::Auditor,
            Role::Application => Self::Application,
        }
    }
}

/// A key to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeyWanted {
    /// Lower-case letters, digits and hyphens. A name is never used again.
    name: String,
    role: RoleName,
    /// The partners an application's key is for, by short name or participant id; all of them where nothing is said.
    partners: Option<BTreeSet<String>>,
    /// The purposes that an application may declare; all of them where nothing is said.
    purposes: Option<BTreeSet<String>>,
    /// The datasets an application's key is for; all of them where nothing is said.
    #[schemars(with = "Option<BTreeSet<String>>")]
    datasets: Option<BTreeSet<DatasetId>>,
    /// The identifier (IRI) of the application that will hold it, as usage policies name it: `APPLICATION eq …`.
    application: Option<String>,
    /// From when on it is no longer taken.
    expires: Option<Timestamp>,
}

/// What is known of a key: everything but its text.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct KeyShown {
    name: String,
    role: RoleName,
    /// `in force`, `expired` or `revoked`.
    state: &'static str,
    /// Short names, or participant ids of partners that were removed; nothing stands for all.
    partners: Option<BTreeSet<String>>,
    purposes: Option<BTreeSet<String>>,
    #[schemars(with = "Option<BTreeSet<String>>")]
    datasets: Option<BTreeSet<DatasetId>>,
    /// The identifier of the application, as usage policies name it.
    application: Option<String>,
    created: Timestamp,
    expires: Option<Timestamp>,
    revoked: Option<Timestamp>,
}

/// A key that was made.
#[derive(Debug, Serialize, JsonSchema)]
struct KeyMade {
    /// Its text, for `Authorization: Bearer …`. It is shown this once.
    text: String,
    key: KeyShown,
}

/// Why, for the journal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Revocation {
    reason: Option<String>,
}

/// Every key, those that ended among them.
///
/// # Errors
/// When the store is closed.
pub(super) async fn all(node: &Node) -> Result<Vec<KeyShown>, StoreError> {
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = node.store.scan(Kind::ManagementKey, after.take(), SCAN_STEP).await?;
        keys.extend(page.iter().filter_map(|(_, entity)| match entity.as_ref() {
            Entity::ManagementKey(key) => Some(shown(node, key)),
            _ => None,
        }));
        if page.len() < SCAN_STEP {
            return Ok(keys);
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

async fn create(call: Call, wanted: KeyWanted) -> Result<Created<KeyMade>, ApiError> {
    let (node, person) = (call.node(), call.person());
    let resolve = |name: &String| node.partner_id(name).ok_or_else(|| partners::unknown(name));
    let partners: Option<BTreeSet<ParticipantId>> =
        wanted.partners.as_ref().map(|names| names.iter().map(resolve).collect()).transpose()?;
    let text = draw(&wanted.name)?;
    let asked = ManagementKey {
        v: 1,
        name: wanted.name,
        sha256: hex::encode(Sha256::digest(text.as_bytes())),
        role: wanted.role.into(),
        scope: Scope { partners, purposes: wanted.purposes, datasets: wanted.datasets },
        application: wanted.application,
        created: node.clock.now(),
        expires: wanted.expires,
        revoked: None,
    };
    let made = node.commit(move |view| engine::keys::create(view, &asked, Some(&person))).await??;
    Ok(Created(KeyMade { text, key: shown(node, &made) }))
}

async fn revoke(call: Call, revocation: Revocation) -> Result<Json<KeyShown>, ApiError> {
    let (node, person, name) = (call.node(), call.person(), call.segment("name").to_owned());
    let revoked = node
        .commit(move |view| {
            engine::keys::revoke(view, &name, revocation.reason.as_deref(), Some(&person))
        })
        .await??;
    Ok(Json(shown(node, &revoked)))
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let kind = match &error {
            KeyError::Unknown(_) => ErrorKind::NotFound,
            KeyError::Taken(_) | KeyError::Revoked(_) => ErrorKind::Refused,
            KeyError::Name(_)
            | KeyError::Scope
            | KeyError::Expired(_)
            | KeyError::NoApplication
            | KeyError::Application(_) => ErrorKind::Invalid,
        };
        let help = match &error {
            KeyError::Unknown(_) => "`sekisho key list` shows all",
            KeyError::Taken(_) => "choose another name, such as one with the date",
            _ => return Self::new(kind, error.to_string()),
        };
        Self::new(kind, error.to_string()).help(help)
    }
}

/// The text of a new key: its name, and 32 random bytes.
fn draw(name: &str) -> Result<String, ApiError> {
    let mut secret = [0_u8; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| {
        ApiError::new(ErrorKind::Internal, "the system gives no random bytes; no key was made")
    })?;
    Ok(format!("{PREFIX}{name}.{}", BASE64_URL_SAFE_NO_PAD.encode(secret)))
}

fn shown(node: &Node, key: &ManagementKey) -> KeyShown {
    let name = |participant: &ParticipantId| {
        let registry = node.registry();
        let found = registry.by_participant(participant);
        found.map_or_else(|| participant.to_string(), |partner| partner.name().to_owned())
    };
    KeyShown {
        name: key.name.clone(),
        role: key.role.into(),
        state: match key.check(node.clock.now()) {
            Ok(()) => "in force",
            Err(KeyEnded::Expired(_)) => "expired",
            Err(KeyEnded::Revoked(_)) => "revoked",
        },
        partners: key.scope.partners.as_ref().map(|partners| partners.iter().map(name).collect()),
        purposes: key.scope.purposes.clone(),
        datasets: key.scope.datasets.clone(),
        application: key.application.clone(),
        created: key.created,
        expires: key.expires,
        revoked: key.revoked,
    }
}

/// Who shows a key that is taken.
///
/// # Errors
/// [`ErrorKind::Unauthorized`], alike for every key that was never made; the holder of one that ended is told so.
pub(super) async fn authenticate(
    node: &Arc<Node>,
    headers: &HeaderMap,
    remote: SocketAddr,
) -> Result<(Caller, ManagementKey), ApiError> {
    let refuse = |text: &str| {
        ApiError::new(ErrorKind::Unauthorized, text)
            .help("send `Authorization: Bearer KEY` with a key of `sekisho key create`")
    };
    let shown = bearer(headers).ok_or_else(|| refuse("no key was shown"))?;
    let unknown = || refuse("the key is not known");
    let name = shown
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('.'))
        .map(|(name, _)| name)
        .filter(|name| engine::keys::is_name(name))
        .ok_or_else(unknown)?;
    let found = look(node, name).await?.ok_or_else(unknown)?;
    let sha256 = hex::encode(Sha256::digest(shown.as_bytes()));
    aws_lc_rs::constant_time::verify_slices_are_equal(sha256.as_bytes(), found.sha256.as_bytes())
        .map_err(|_| unknown())?;
    found.check(node.clock.now()).map_err(|ended| {
        ApiError::new(ErrorKind::Unauthorized, ended.to_string())
            .help("ask an administrator for another one")
    })?;
    let caller = Caller {
        person: format!("key {name}, from {}", remote.ip().to_canonical()),
        role: found.role,
        scope: found.scope.clone(),
        application: found.application.clone(),
    };
    Ok((caller, found))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    // Two of them contradict each other.
    if values.next().is_some() {
        return None;
    }
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

async fn look(node: &Node, name: &str) -> Result<Option<ManagementKey>, engine::StoreError> {
    let name = name.to_owned();
    node.commit(move |view| engine::keys::key(view, &name).map(Decision::answer)).await
}

/// How many requests each key may make.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<String, Instant>>);

impl Rates {
    /// Counts a request of a key (generic cell rate algorithm).
    ///
    /// # Errors
    /// When there were too many of them.
    pub(super) fn take(&self, name: &str, per_second: u32) -> Result<(), ApiError> {
        let now = Instant::now();
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = keys.entry(name.to_owned()).or_insert(now);
        let ahead = due.saturating_duration_since(now);
        if ahead >= BURST {
            let text = format!("the key `{name}` makes more than {per_second} requests per second");
            return Err(ApiError::new(ErrorKind::TooMany, text).help(
                "wait a second; `management.max_requests_per_key_per_second_count` sets the rate",
            ));
        }
        *due = now + ahead + Duration::from_secs(1) / per_second.max(1);
        Ok(())
    }
}

/// Ends an answer that takes a while when its key does.
pub(super) fn guard(
    node: &Arc<Node>,
    key: &ManagementKey,
    response: Response<Body>,
) -> Response<Body> {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    let ending = Box::pin(ended(Arc::clone(node), key.name.clone()));
    response.map(|body| Guarded { body, ending }.boxed_unsync())
}

/// Resolves when a key is not taken any more.
async fn ended(node: Arc<Node>, name: String) -> KeyEnded {
    let mut changes = node.store.subscribe(Key::ManagementKey(name.clone()));
    loop {
        changes.mark_unchanged();
        let now = node.clock.now();
        let left = match look(&node, &name).await {
            Ok(Some(key)) => match key.check(now) {
                Ok(()) => key.expires.map(|expires| expires.duration_since(now).unsigned_abs()),
                Err(ended) => return ended,
            },
            // Who cannot be looked up is let in no longer.
            Ok(None) | Err(_) => return KeyEnded::Revoked(now),
        };
        let pause = left.unwrap_or(LOOK).min(LOOK);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return KeyEnded::Revoked(node.clock.now());
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// A body that fails when its reader's key has ended.
struct Guarded {
    body: Body,
    ending: Pin<Box<dyn Future<Output = KeyEnded> + Send>>,
}

impl HttpBody for Guarded {
    type Data = bytes::Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, BodyFailure>>> {
        if let Poll::Ready(ended) = self.ending.as_mut().poll(context) {
            return Poll::Ready(Some(Err(BodyFailure::Source(ended.into()))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

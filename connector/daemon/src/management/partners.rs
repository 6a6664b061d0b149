//! Partners: registered by their cards, suspended, resumed and removed.
//!
//! A change is a change of the partner's file, then a reload that is recorded with the person. The answer comes after the
//! reload. A file that the reload refuses is put back as it was; only a suspension stays written, because what is refused
//! then is another file, and the partner shall be out as soon as that one is repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certs::card::Fingerprint;
use certs::key::{Algorithm, VerifyingKey};
use certs::x509::Certificate;
use engine::entity::{Credential, PartnerState};
use engine::evidence::{latest_head, latest_witness};
use engine::registry::{Author, Changes};
use engine::{Decision, RecordKind};
use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{ApiError, ErrorKind};
use super::caller::READERS;
use super::route::{Call, Json, Route};
use super::status;
use crate::node::Node;
use crate::offboard::{self, Asked, Holding};
use crate::partners::from_card::{CardRefusal, Declared, Plan, plan};
use crate::partners::{PartnerFile, set_state};
use crate::reload::{self, ReloadError};
use crate::site::chain;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "partners.add",
            "/v1/partners",
            "Register or update a partner by its card",
            add,
        ),
        Route::post(
            "partners.preview",
            "/v1/partners/preview",
            "What registering a card would do. Nothing happens",
            preview,
        ),
        Route::get("partners.show", "/v1/partners/{name}", "One partner", show).for_roles(READERS),
        Route::delete(
            "partners.remove",
            "/v1/partners/{name}",
            "Remove a partner. What happened with it stays in the journal",
            remove,
        ),
        Route::post(
            "partners.suspend",
            "/v1/partners/{name}/suspend",
            "Shut a partner out at once; running transfers are cut",
            suspend,
        ),
        Route::post(
            "partners.offboard",
            "/v1/partners/{name}/offboard",
            "End everything with a partner, tell it, shut it out, and say who holds what of whom",
            offboard,
        ),
        Route::post(
            "partners.resume",
            "/v1/partners/{name}/resume",
            "Let a suspended partner in again",
            resume,
        ),
    ]
}

/// A card, and what our administrator declares beside it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Registration {
    /// The text of the card.
    card: String,
    /// The short name to use here; else made from the participant id.
    name: Option<String>,
    /// Groups for policies.
    #[serde(default)]
    groups: BTreeSet<String>,
    /// The country that is declared (ISO 3166-1 alpha-2).
    region: Option<String>,
    /// Networks of private or loopback addresses in which it may be dialled.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    networks: Vec<IpNet>,
    /// The fingerprint that was compared with the partner; needed to register.
    accept_fingerprint: Option<String>,
}

/// Why, for the journal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: Option<String>,
}

/// One partner: what its file says, by what it is known, and the latest checkpoints of the relation.
async fn show(call: Call) -> Result<Json<ShownPartner>, ApiError> {
    let (node, name) = (call.node(), call.segment("name"));
    let registry = node.registry();
    let file = registered(node, name)?;
    let participant = file.partner.participant.clone();
    let tree = crate::witness::tree(node, &participant).await?;
    let asked = tree.clone();
    let (head, witness) = node
        .commit(move |view| {
            let head = latest_head(view, &asked)?;
            Ok(Decision::answer((head, latest_witness(view, &participant)?)))
        })
        .await?;
    let (size, _) = engine::Store::tree_head(&node.store, tree.clone()).await?;
    drop(registry);
    let (partner, now) = (&file.partner, node.clock.now());
    Ok(Json(ShownPartner {
        summary: PartnerSummary::of(&file),
        dsp_endpoint: partner.dsp_endpoint.clone(),
        origins: partner.origins.clone(),
        networks: file.networks.clone(),
        operator_id: partner.operator_id.clone(),
        attributes: partner.attributes.clone(),
        credentials: (partner.credentials.iter())
            .map(|credential| ShownCredential::of(credential, now))
            .collect(),
        card_number: partner.card_number,
        extensions: partner.extensions.clone(),
        fingerprint: fingerprint(&file),
        trust: trust(node, &file),
        log: RelationLog {
            epoch: tree.epoch,
            size,
            checkpoint: head.as_ref().map(status::ShownHead::of),
            their_checkpoint: witness.as_ref().map(status::ShownWitness::of),
        },
        file: file.path.clone(),
        file_sha256: partner.file_sha256.clone(),
    }))
}

/// What registering a card would do.
async fn preview(call: Call, registration: Registration) -> Result<Json<Planned>, ApiError> {
    let plan = planned(call.node(), &registration)?;
    let partner = &plan.partner.partner;
    Ok(Json(Planned {
        participant: partner.participant.to_string(),
        title: partner.title.clone(),
        fingerprint: plan.fingerprint.to_string(),
        origins: partner.origins.clone(),
        name: plan.partner.name().to_owned(),
        is_update: plan.is_update,
        changes: plan.changes,
    }))
}

/// Registers or updates a partner by a card whose fingerprint the administrator accepted.
async fn add(call: Call, registration: Registration) -> Result<Json<RegisteredPartner>, ApiError> {
    let node = call.node();
    let Some(accepted) = &registration.accept_fingerprint else {
        return Err(ApiError::invalid("no fingerprint was accepted").help(
            "ask for `/v1/partners/preview` first, and compare the fingerprint with the partner",
        ));
    };
    let _turn = call.api.editing.lock().await;
    let plan = planned(node, &registration)?;
    if !is_same(accepted, &plan.fingerprint) {
        return Err(ApiError::new(
            ErrorKind::Identity,
            "the card has another fingerprint than the one that was accepted",
        )
        .help(
            "somebody may have changed the card on its way: ask the partner over another channel",
        ));
    }
    let edit = Edit::begin(&plan.partner.path).await?;
    let (name, is_update) = (plan.partner.name().to_owned(), plan.is_update);
    blocking(move || plan.write().map_err(unwritten)).await??;
    let author = author("sekisho partner add", call.person(), None);
    let changes = edit.activate(node, author).await?;
    let file = registered(node, &name)?;
    Ok(Json(RegisteredPartner {
        partner: PartnerSummary::of(&file),
        updated: is_update,
        changed: changed(&changes),
    }))
}

/// Shuts a partner out; what runs with it is cut by the commit.
async fn suspend(call: Call, reason: Reason) -> Result<Json<ChangedPartner>, ApiError> {
    let (node, name) = (call.node(), call.segment("name"));
    let _turn = call.api.editing.lock().await;
    let file = registered(node, name)?;
    let author = author("sekisho partner suspend", call.person(), reason.reason);
    // It acts first, and does not wait for what another file may have wrong.
    let (participant, asked) = (file.partner.participant.clone(), author.clone());
    node.commit(move |view| {
        engine::registry::shut_out(view, &participant, PartnerState::Suspended, &asked)
    })
    .await?;
    write_state(&file, PartnerState::Suspended).await?;
    match reload::reload(node, author).await {
        Ok(changes) => answer_state(node, name, &changes),
        Err(error) => Err(ApiError::from(error)
            .because(&format!("`{}` is suspended, but other files are not in order", file.name()))
            .help("repair what is named here; until then no other change of partners and policies takes effect")),
    }
}

/// Why, for the journal and for the partner.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Offboarding {
    reason: String,
}

/// What ended with a partner, and who holds what.
#[derive(Debug, Serialize, JsonSchema)]
struct OffboardedPartner {
    partner: PartnerSummary,
    ended: EndedWith,
    /// Messages that the partner has not taken yet.
    untold: usize,
    /// What data of the partner we hold, and what data of ours it holds.
    holdings: Vec<Holding>,
}

/// What ended with a partner, by our ids.
#[derive(Debug, Serialize, JsonSchema)]
struct EndedWith {
    agreements: Vec<String>,
    negotiations: Vec<String>,
    transfers: Vec<String>,
}

/// Ends everything with a partner.
async fn offboard(call: Call, why: Offboarding) -> Result<Json<OffboardedPartner>, ApiError> {
    let (node, name) = (call.node(), call.segment("name"));
    let _turn = call.api.editing.lock().await;
    let file = registered(node, name)?;
    let participant = &file.partner.participant;
    let author = author("sekisho partner offboard", call.person(), Some(why.reason));
    // It acts first, and stays so over a stop in between: the same command goes on then.
    let (partner, asked) = (participant.clone(), author.clone());
    node.commit(move |view| {
        engine::registry::shut_out(view, &partner, PartnerState::Offboarded, &asked)
    })
    .await?;
    write_state(&file, PartnerState::Offboarded).await?;
    let ended = offboard::end_all(node, participant, &author).await?;
    reload::reload(node, author).await.map_err(|error| {
        let done = format!("`{}` is offboarded, but other files are not in order", file.name());
        ApiError::from(error).because(&done).help("repair what is named here")
    })?;
    let asked = Asked { participant: Some(participant), agreement: None };
    Ok(Json(OffboardedPartner {
        partner: PartnerSummary::of(&registered(node, name)?),
        ended: EndedWith {
            agreements: ended.agreements.iter().map(ToString::to_string).collect(),
            negotiations: ended.negotiations.iter().map(ToString::to_string).collect(),
            transfers: ended.transfers.iter().map(ToString::to_string).collect(),
        },
        untold: ended.untold,
        holdings: offboard::holdings(node, asked).await?,
    }))
}

/// Lets a suspended or offboarded partner in again.
async fn resume(call: Call, reason: Reason) -> Result<Json<ChangedPartner>, ApiError> {
    let (node, name) = (call.node(), call.segment("name"));
    let _turn = call.api.editing.lock().await;
    let file = registered(node, name)?;
    let edit = Edit::begin(&file.path).await?;
    write_state(&file, PartnerState::Active).await?;
    let changes =
        edit.activate(node, author("sekisho partner resume", call.person(), reason.reason)).await?;
    answer_state(node, name, &changes)
}

/// Removes a partner. What happened with it stays in the journal.
async fn remove(call: Call) -> Result<Json<RemovedPartner>, ApiError> {
    let (node, name) = (call.node(), call.segment("name"));
    let _turn = call.api.editing.lock().await;
    let file = registered(node, name)?;
    let edit = Edit::begin(&file.path).await?;
    let path = file.path.clone();
    blocking(move || remove_file(&path)).await??;
    let changes =
        edit.activate(node, author("sekisho partner remove", call.person(), None)).await?;
    Ok(Json(RemovedPartner { removed: file.name().to_owned(), changed: changed(&changes) }))
}

fn planned(node: &Node, registration: &Registration) -> Result<Plan, ApiError> {
    let now = node.clock.now();
    let opened = certs::card::open(&registration.card, now)
        .map_err(|error| ApiError::invalid(chain(&error)))?;
    let declared = Declared {
        name: registration.name.clone(),
        groups: registration.groups.clone(),
        region: registration.region.clone(),
        networks: registration.networks.clone(),
    };
    let own = &node.context.participant;
    Ok(plan(&node.paths.partners, &node.registry(), own, &opened, &declared)?)
}

impl From<CardRefusal> for ApiError {
    fn from(refusal: CardRefusal) -> Self {
        let kind = match refusal {
            CardRefusal::ChangedKey { .. } => ErrorKind::Identity,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<ReloadError> for ApiError {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Store(error) => error.into(),
            error => Self::invalid(chain(&error)),
        }
    }
}

/// A partner file that is being changed, as it was before.
struct Edit {
    path: PathBuf,
    before: Option<Vec<u8>>,
}

impl Edit {
    async fn begin(path: &Path) -> Result<Self, ApiError> {
        let path = path.to_owned();
        blocking(move || match std::fs::read(&path) {
            Ok(bytes) => Ok(Self { path, before: Some(bytes) }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path, before: None })
            }
            Err(error) => Err(unreadable(&path, &error)),
        })
        .await?
    }

    /// Puts the change in force, or the file back as it was.
    async fn activate(self, node: &Arc<Node>, author: Author) -> Result<Changes, ApiError> {
        let refused = match reload::reload(node, author).await {
            Ok(changes) => return Ok(changes),
            Err(error) => ApiError::from(error).because("nothing was changed"),
        };
        let path = self.path.clone();
        match blocking(move || self.undo()).await? {
            Ok(()) => Err(refused),
            Err(error) => {
                Err(refused
                    .help(format!("put `{}` back as it was yourself: {error}", path.display())))
            }
        }
    }

    fn undo(self) -> Result<(), ApiError> {
        match self.before {
            Some(bytes) => certs::files::replace_public(&self.path, &bytes)
                .map_err(|error| ApiError::new(ErrorKind::CannotWrite, chain(&error))),
            None => remove_file(&self.path),
        }
    }
}

async fn write_state(file: &PartnerFile, state: PartnerState) -> Result<(), ApiError> {
    let file = file.clone();
    blocking(move || set_state(&file, state).map_err(unwritten)).await?
}

fn remove_file(path: &Path) -> Result<(), ApiError> {
    let failed = |error: std::io::Error| {
        let text = format!("`{}` cannot be removed: {error}", path.display());
        ApiError::new(ErrorKind::CannotWrite, text)
    };
    std::fs::remove_file(path).map_err(failed)?;
    match path.parent() {
        Some(parent) => {
            std::fs::File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
        }
        None => Ok(()),
    }
}

/// Files are written durably, which may take a while.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ApiError::new(ErrorKind::Unavailable, "the daemon is stopping"))
}

fn unwritten(problem: crate::config::Problem) -> ApiError {
    ApiError::new(ErrorKind::CannotWrite, problem.to_string())
}

fn unreadable(path: &Path, error: &std::io::Error) -> ApiError {
    let text = format!("`{}` cannot be read: {error}", path.display());
    ApiError::new(ErrorKind::Internal, text)
}

fn author(place: &str, person: String, reason: Option<String>) -> Author {
    Author { place: place.to_owned(), person: Some(person), reason }
}

/// The file of a partner by its short name or participant id.
fn registered(node: &Node, name: &str) -> Result<PartnerFile, ApiError> {
    node.partner_id(name)
        .and_then(|participant| node.registry().by_participant(&participant).cloned())
        .ok_or_else(|| unknown(name))
}

/// There is no such partner.
pub(super) fn unknown(name: &str) -> ApiError {
    ApiError::not_found(format!("`{name}` is not a registered partner"))
        .help("`sekisho partner list` shows all")
}

fn answer_state(
    node: &Node,
    name: &str,
    changes: &Changes,
) -> Result<Json<ChangedPartner>, ApiError> {
    let file = registered(node, name)?;
    Ok(Json(ChangedPartner { partner: PartnerSummary::of(&file), changed: changed(changes) }))
}

fn changed(changes: &Changes) -> Vec<Change> {
    changes
        .partners
        .iter()
        .map(|(name, kind)| Change { partner: name.clone(), what: *kind })
        .collect()
}

/// A partner in lists.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PartnerSummary {
    /// The short name.
    name: String,
    /// `active`, `suspended` or `offboarded`.
    state: &'static str,
    /// The country that is declared (ISO 3166-1 alpha-2).
    region: Option<String>,
    groups: BTreeSet<String>,
    participant: String,
    /// The name for people.
    title: String,
}

impl PartnerSummary {
    pub(super) fn of(file: &PartnerFile) -> Self {
        Self {
            name: file.name().to_owned(),
            state: match file.partner.state {
                PartnerState::Active => "active",
                PartnerState::Suspended => "suspended",
                PartnerState::Offboarded => "offboarded",
            },
            region: file.partner.region.clone(),
            groups: file.partner.groups.clone(),
            participant: file.partner.participant.to_string(),
            title: file.partner.title.clone(),
        }
    }
}

/// All that is known of a partner.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownPartner {
    #[serde(flatten)]
    summary: PartnerSummary,
    /// The base URL of its DSP endpoints.
    dsp_endpoint: String,
    /// The origins that we may dial.
    origins: BTreeSet<String>,
    /// Networks of private or loopback addresses in which it may be dialled.
    #[schemars(with = "Vec<String>")]
    networks: Vec<IpNet>,
    /// ODS operator id.
    operator_id: Option<String>,
    /// What policies compare of it, by the name of the operand, as its file declares it.
    attributes: BTreeMap<String, BTreeSet<String>>,
    /// Credentials of it, and attestations of its nodes, that its file lists.
    credentials: Vec<ShownCredential>,
    /// The number of the card that its file came from.
    card_number: Option<u64>,
    /// The extensions of ours that it speaks.
    extensions: BTreeSet<String>,
    /// What people compare, of its signing key.
    fingerprint: Option<String>,
    trust: Trust,
    log: RelationLog,
    /// Its file on the daemon's host.
    file: PathBuf,
    file_sha256: String,
}

/// A credential of a partner, or an attestation of one of its nodes.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownCredential {
    /// What it is.
    r#type: String,
    issuer: String,
    /// Its own identifier.
    id: Option<String>,
    /// Who verified it here, and how or when.
    verified_by: String,
    /// The node that it is about; else the participant.
    node: Option<String>,
    /// What it says, by the name of the operand.
    says: BTreeMap<String, BTreeSet<String>>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    /// Whether it counts now.
    is_valid: bool,
}

impl ShownCredential {
    fn of(credential: &Credential, now: Timestamp) -> Self {
        let begun = credential.valid_from.is_none_or(|from| from <= now);
        let over = credential.valid_until.is_some_and(|until| until <= now);
        Self {
            r#type: credential.kind.clone(),
            issuer: credential.issuer.clone(),
            id: credential.id.clone(),
            verified_by: credential.verified_by.clone(),
            node: credential.node.clone(),
            says: credential.says.clone(),
            valid_from: credential.valid_from.map(|from| from.to_string()),
            valid_until: credential.valid_until.map(|until| until.to_string()),
            is_valid: begun && !over,
        }
    }
}

/// By what a partner is known, and until when that holds.
#[derive(Debug, Serialize, JsonSchema)]
struct Trust {
    san_uris: Vec<String>,
    san_dns: Vec<String>,
    /// SHA-256 of public keys, hexadecimal.
    pins: Vec<String>,
    server_anchors: Vec<ShownCertificate>,
    client_anchors: Vec<ShownCertificate>,
    signing_anchors: Vec<ShownCertificate>,
    /// How many revocation lists there are.
    revocation_lists: usize,
    /// When the first of them is to be replaced.
    revocation_lists_due: Option<String>,
}

/// A certificate.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownCertificate {
    subject: String,
    valid_until: String,
    /// Hexadecimal.
    sha256: String,
}

/// The log of the relation with a partner.
#[derive(Debug, Serialize, JsonSchema)]
struct RelationLog {
    epoch: u32,
    /// Records.
    size: u64,
    /// The latest that we signed.
    checkpoint: Option<status::ShownHead>,
    /// The latest that the partner gave us of its own.
    their_checkpoint: Option<status::ShownWitness>,
}

/// What registering a card would do.
#[derive(Debug, Serialize, JsonSchema)]
struct Planned {
    participant: String,
    /// The name for people.
    title: String,
    /// What is to be compared with the partner over another channel.
    fingerprint: String,
    origins: BTreeSet<String>,
    /// The short name.
    name: String,
    /// Whether it is registered already.
    is_update: bool,
    /// What would change, in words.
    changes: Vec<String>,
}

/// A partner whose state was changed.
#[derive(Debug, Serialize, JsonSchema)]
struct ChangedPartner {
    partner: PartnerSummary,
    changed: Vec<Change>,
}

/// What the reload of the files changed.
#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    /// The partner's short name.
    partner: String,
    /// The kind of the record.
    #[schemars(with = "String")]
    what: RecordKind,
}

/// A partner that was registered.
#[derive(Debug, Serialize, JsonSchema)]
struct RegisteredPartner {
    partner: PartnerSummary,
    /// Whether it was registered before.
    updated: bool,
    changed: Vec<Change>,
}

/// A partner that was removed.
#[derive(Debug, Serialize, JsonSchema)]
struct RemovedPartner {
    /// Its short name.
    removed: String,
    changed: Vec<Change>,
}

fn trust(node: &Node, file: &PartnerFile) -> Trust {
    let material = &file.material;
    let store = node.identity.trust.load();
    let lists_due = store.partner(&material.participant).and_then(|trust| trust.next_update());
    Trust {
        san_uris: material.san_uris.to_vec(),
        san_dns: material.san_dns.to_vec(),
        pins: material.pins.iter().map(hex::encode).collect(),
        server_anchors: anchors(&material.server_anchors),
        client_anchors: anchors(&material.client_anchors),
        signing_anchors: file.signing_anchors.iter().map(ShownCertificate::of).collect(),
        revocation_lists: material.crls.len(),
        revocation_lists_due: lists_due.map(|due| due.to_string()),
    }
}

fn anchors(bundles: &[Vec<u8>]) -> Vec<ShownCertificate> {
    bundles
        .iter()
        .filter_map(|bundle| Certificate::bundle(bundle).ok())
        .flatten()
        .map(|anchor| ShownCertificate::of(&anchor))
        .collect()
}

impl ShownCertificate {
    fn of(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject().to_string(),
            valid_until: certificate.not_after().to_string(),
            sha256: hex::encode(certificate.sha256()),
        }
    }
}

/// What people compare, of the registered key; none for a partner without one.
fn fingerprint(file: &PartnerFile) -> Option<String> {
    let key = file.signing_key.as_ref().filter(|key| key.algorithm == Algorithm::EdDsa)?;
    let key = VerifyingKey::from_ed25519(&key.key).ok()?;
    Some(Fingerprint::of(&key).to_string().replace('\n', " "))
}

/// Whether a text is a fingerprint, however it is spaced.
fn is_same(text: &str, fingerprint: &Fingerprint) -> bool {
    let digits: String = text
        .chars()
        .filter(|character| !character.is_whitespace())
        .collect::<String>()
        .to_lowercase();
    digits == hex::encode(fingerprint.as_bytes())
}

//! Datasets: who will see them, publishing, withdrawing.

mod batch;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::derived::{Lapsed, Received};
use engine::entity::{Dataset, Digests, Location, Rules};
use engine::{Decision, Entity, Key, View};
use headers::ContentType;
use jiff::Timestamp;
use protocol::id::DatasetId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, ApiError, ErrorKind, Events, Stop, Throttle};
use super::caller::{POLICY, READERS};
use super::route::{Call, Json, Lines, Route};
use crate::node::Node;
use crate::objects::{Placement, PublishError, Published, StorageError};
use crate::policies;

pub(super) fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::post(
            "datasets.publish",
            "/v1/datasets",
            "Publish a file of the daemon's host, or a new version of it",
            publish,
        )
        .for_roles(POLICY),
        Route::post(
            "datasets.preview",
            "/v1/datasets/preview",
            "Who would see a dataset. Nothing happens",
            preview,
        )
        .for_roles(POLICY),
        Route::get("datasets.show", "/v1/datasets/{id}", "One dataset, and who sees it", show)
            .for_roles(READERS),
        Route::post(
            "datasets.withdraw",
            "/v1/datasets/{id}/withdraw",
            "Offer and serve a dataset no longer; running transfers of it are cut",
            withdraw,
        )
        .for_roles(POLICY),
    ];
    routes.extend(batch::routes());
    routes
}

/// A file to publish, and what the catalog shall say of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Publication {
    /// The file, by its absolute path on the daemon's host.
    path: PathBuf,
    /// The id in the catalog.
    #[schemars(with = "String")]
    id: DatasetId,
    title: String,
    description: Option<String>,
    version: Option<String>,
    language: Option<String>,
    licence: Option<String>,
    confidentiality: Option<String>,
    #[serde(default)]
    tags: BTreeSet<String>,
    #[serde(default)]
    policies: BTreeSet<String>,
    media_type: Option<String>,
    /// Leave the file where it is and verify each block as it is served.
    #[serde(default)]
    in_place: bool,
    /// The evidence (`FILE.prov`) of received data that it was made from, each as the text of the file.
    #[serde(default)]
    derived_from: Vec<String>,
}

/// Why, for the journal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Withdrawal {
    reason: Option<String>,
}

/// One dataset, and who sees it now.
async fn show(call: Call) -> Result<Json<SeenDataset>, ApiError> {
    let (node, id) = (call.node(), dataset_id(call.segment("id"))?);
    let dataset = existing(node, &id).await?.ok_or_else(|| {
        ApiError::not_found(format!("there is no dataset `{id}`"))
            .help("`sekisho dataset list` shows all")
    })?;
    let rules = rules(node).await?;
    let visible_to = visible_to(node, &rules, &dataset).await?;
    let lapsed = lapsed(node, &dataset).await?;
    Ok(Json(SeenDataset { dataset: ShownDataset::of(&dataset, &rules, &lapsed), visible_to }))
}

/// Who would see a dataset, and which version it would replace. Nothing happens.
async fn preview(call: Call, publication: Publication) -> Result<Json<Audience>, ApiError> {
    let node = call.node();
    let rules = rules_with(node, &publication.policies).await?;
    publication.check(node, &rules)?;
    let earlier = existing(node, &publication.id).await?;
    let dataset = publication.imagined(node).await?;
    Ok(Json(Audience {
        visible_to: visible_to(node, &rules, &dataset).await?,
        replaces_version: earlier.map(|earlier| earlier.version),
    }))
}

/// What happens while a file is published.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Publishing {
    /// Bytes were read.
    Progress {
        /// How many.
        done: u64,
        /// How many there are.
        total: u64,
    },
    /// It is published. The last event.
    Dataset(Box<ShownDataset>),
}

/// Publishes a file; tells how far the reading is.
async fn publish(call: Call, publication: Publication) -> Result<Lines<Publishing>, ApiError> {
    let (node, person) = (call.node(), call.person());
    let rules = rules_with(node, &publication.policies).await?;
    publication.check(node, &rules)?;
    // What would be refused is refused before a large file is read.
    publication.imagined(node).await?;
    let node = Arc::clone(node);
    Ok(answer::stream(move |events| work(node, publication, person, rules, events)))
}

async fn work(
    node: Arc<Node>,
    publication: Publication,
    person: String,
    rules: Arc<Rules>,
    events: Events<Publishing>,
) -> Result<(), Stop> {
    let placement = if publication.in_place { Placement::InPlace } else { Placement::Stored };
    let total = tokio::fs::metadata(&publication.path).await.map_or(0, |file| file.len());
    let (told, mut throttle) = (events.clone(), Throttle::default());
    let progress = move |done: u64| {
        if throttle.is_due() {
            // What cannot be told is only progress.
            let _ = told.offer(&Publishing::Progress { done, total });
        }
        // Who asked for it went away before it was done: nothing is published behind their back.
        if told.is_gone() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let published = node.objects.publish(publication.path.clone(), placement, progress).await?;
    let dataset = publication.dataset(&Measured::of(&published), node.clock.now());
    let (fresh, received) = (node.fresh(), publication.received(&node)?);
    let committed = node
        .decide(move |view| {
            engine::datasets::publish(view, &fresh, &dataset, &received, Some(&person))
        })
        .await?;
    // INVARIANT: the object was claimed until here, so no sweep took it before the dataset referred to it.
    drop(published.claim);
    let shown = ShownDataset::of(&committed, &rules, &Lapsed::new());
    events.send(&Publishing::Dataset(Box::new(shown))).await
}

/// Withdraws a dataset: it is no longer offered, and running transfers of it are cut by the commit.
async fn withdraw(call: Call, withdrawal: Withdrawal) -> Result<Json<ChangedDataset>, ApiError> {
    let (node, person) = (call.node(), call.person());
    let (id, fresh) = (dataset_id(call.segment("id"))?, node.fresh());
    let reason = withdrawal.reason.unwrap_or_else(|| "no reason was given".to_owned());
    let dataset = node
        .decide(move |view| engine::datasets::withdraw(view, &fresh, &id, &reason, Some(&person)))
        .await?;
    let rules = rules(node).await?;
    let lapsed = lapsed(node, &dataset).await?;
    Ok(Json(ChangedDataset { dataset: ShownDataset::of(&dataset, &rules, &lapsed) }))
}

/// What the bytes of a dataset are known to be.
struct Measured {
    digests: Digests,
    location: Location,
    media_type: String,
    file_name: String,
}

impl Measured {
    fn of(published: &Published) -> Self {
        Self {
            digests: published.digests.clone(),
            location: published.location.clone(),
            media_type: published.media_type.clone(),
            file_name: published.file_name.clone(),
        }
    }
}

impl Publication {
    /// What can be known to be wrong before the file is read.
    fn check(&self, node: &Node, rules: &Rules) -> Result<(), ApiError> {
        if !self.path.is_absolute() {
            let text = format!("the path `{}` is not absolute", self.path.display());
            return Err(ApiError::invalid(text).help("the daemon works in another directory"));
        }
        let real = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        if is_ours(&real, &[&node.paths.pki, &node.paths.data]) {
            let text = format!("`{}` is a file of the site's own keys or data", real.display());
            return Err(ApiError::invalid(text).help("such files are never published"));
        }
        if self.title.trim().is_empty() {
            return Err(
                ApiError::invalid("the title is empty").help("partners see it in the catalog")
            );
        }
        if let Some(media_type) = &self.media_type
            && media_type.parse::<ContentType>().is_err()
        {
            return Err(ApiError::invalid(format!("`{media_type}` is no media type"))
                .help("a media type is such as `application/json`"));
        }
        match self.policies.iter().find(|name| rules.set.policy(name).is_none()) {
            Some(draft) if policies::has_file(&node.paths.policies, draft) => {
                let text = format!("the policy `{draft}` is not in force");
                Err(ApiError::invalid(text).help(
                    "`sekisho policy check` says what is wrong with it; where nothing is, it waits for \
                     `sekisho policy activate`",
                ))
            }
            Some(unknown) => {
                let names = rules.set.policies().map(|policy| policy.name.as_str());
                Err(ApiError::invalid(format!("there is no policy `{unknown}`")).help(
                    match crate::config::nearest(unknown, names) {
                        Some(nearest) => format!("did you mean `{nearest}`?"),
                        None => "`sekisho policy check` lists what is in force".to_owned(),
                    },
                ))
            }
            None => Ok(()),
        }
    }

    /// What it was made from, verified.
    fn received(&self, node: &Node) -> Result<Vec<Received>, ApiError> {
        let parents = self.derived_from.iter().enumerate();
        parents
            .map(|(index, text)| {
                crate::evidence::received(node, text).map_err(|reason| {
                    let number = index.saturating_add(1);
                    ApiError::invalid(format!(
                        "the evidence {number} of what it was made from does not verify: {reason}"
                    ))
                    .help("`sekisho provenance show FILE.prov` shows what it says; its provider must be a partner here")
                })
            })
            .collect()
    }

    /// The dataset before its file was read, with what it is made from. Who sees it does not depend on the file.
    async fn imagined(&self, node: &Node) -> Result<Dataset, ApiError> {
        let measured = Measured {
            digests: Digests { sha256: String::new(), blake3: String::new(), size: 0 },
            location: Location::Stored,
            media_type: String::new(),
            file_name: String::new(),
        };
        let dataset = self.dataset(&measured, node.clock.now());
        let (fresh, received) = (node.fresh(), self.received(node)?);
        if received.is_empty() {
            return Ok(dataset);
        }
        Ok(node
            .decide(move |view| engine::derived::check(view, &fresh, &dataset, &received))
            .await?)
    }

    fn dataset(&self, measured: &Measured, now: Timestamp) -> Dataset {
        Dataset {
            v: 1,
            id: self.id.clone(),
            title: self.title.clone(),
            description: self.description.clone(),
            version: self.version.clone().unwrap_or_default(),
            // The decision counts on from the earlier versions.
            last_number: 0,
            language: self.language.clone(),
            licence: self.licence.clone(),
            confidentiality: self.confidentiality.clone(),
            tags: self.tags.clone(),
            policies: self.policies.clone(),
            media_type: self.media_type.clone().unwrap_or_else(|| measured.media_type.clone()),
            file_name: measured.file_name.clone(),
            digests: measured.digests.clone(),
            location: measured.location.clone(),
            published: now,
            withdrawn: None,
            damaged: None,
            derived_from: Vec::new(),
        }
    }
}

/// Whether a path lies in one of our own directories: the daemon may read there, and nobody may have it read for them.
fn is_ours(path: &Path, directories: &[&Path]) -> bool {
    directories.iter().any(|directory| {
        let directory = directory.canonicalize().unwrap_or_else(|_| (*directory).to_owned());
        path.starts_with(directory)
    })
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        let kind = match &error {
            PublishError::Unreadable { .. }
            | PublishError::NotAFile { .. }
            | PublishError::NotText { .. } => ErrorKind::Invalid,
            PublishError::Changed { .. } | PublishError::Stopped { .. } => ErrorKind::TryAgain,
            PublishError::Storage(_) => ErrorKind::CannotWrite,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        Self::new(ErrorKind::CannotWrite, error.to_string())
    }
}

/// The id in a path or body.
pub(super) fn dataset_id(text: &str) -> Result<DatasetId, ApiError> {
    DatasetId::new(text)
        .map_err(|error| ApiError::invalid(format!("`{text}` is no dataset's id: {error}")))
}

async fn existing(node: &Node, id: &DatasetId) -> Result<Option<Dataset>, ApiError> {
    let key = Key::Dataset(id.clone());
    let found = node.commit(move |view| view.entity(&key).map(Decision::answer)).await?;
    Ok(match found.as_deref() {
        Some(Entity::Dataset(dataset)) => Some(dataset.clone()),
        _ => None,
    })
}

/// The rules in force; with what was written to the policies' files until now where a policy is not among them.
async fn rules_with(
    node: &Node,
    policies: impl IntoIterator<Item = &String>,
) -> Result<Arc<Rules>, ApiError> {
    let in_force = rules(node).await?;
    if policies.into_iter().all(|name| in_force.set.policy(name).is_some()) {
        return Ok(in_force);
    }
    node.catching_up.wait().await;
    rules(node).await
}

pub(super) async fn rules(node: &Node) -> Result<Arc<Rules>, ApiError> {
    Ok(node.commit(|view| engine::catalog::rules(view).map(Decision::answer)).await?)
}

/// The agreements on what a dataset was made from that have ended.
pub(super) async fn lapsed(node: &Node, dataset: &Dataset) -> Result<Lapsed, ApiError> {
    if dataset.derived_from.is_empty() {
        return Ok(Lapsed::new());
    }
    let dataset = dataset.clone();
    let look =
        move |view: &dyn View| engine::derived::lapsed(view, [&dataset]).map(Decision::answer);
    Ok(node.commit(look).await?)
}

/// The active partners that see an offer of the dataset, each with the policy that shows it.
async fn visible_to(node: &Node, rules: &Rules, dataset: &Dataset) -> Result<Vec<Seer>, ApiError> {
    let now = node.clock.now();
    let lapsed = lapsed(node, dataset).await?;
    let registry = node.registry();
    let provider = node.context.participant.as_str();
    let active = registry.iter().filter(|file| file.is_active());
    Ok(active
        .flat_map(|file| {
            let offers =
                engine::judge::offers(rules, provider, &file.partner, dataset, &lapsed, now);
            offers.into_iter().map(move |offered| Seer {
                partner: file.name().to_owned(),
                title: file.partner.title.clone(),
                via_policy: offered.policy,
            })
        })
        .collect())
}

/// A dataset in lists.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DatasetSummary {
    id: String,
    version: String,
    /// `offered`, `withdrawn`, or `damaged`: not served until published again.
    state: &'static str,
    /// Bytes.
    size: u64,
    media_type: String,
    /// The policies under which it is offered.
    policies: Vec<String>,
    title: String,
    /// When this version was published.
    published: String,
}

impl DatasetSummary {
    pub(super) fn of(dataset: &Dataset, rules: &Rules) -> Self {
        let policies = rules.set.policies_for(
            dataset.id.as_str(),
            dataset.tags.iter().map(String::as_str),
            dataset.policies.iter().map(String::as_str),
        );
        Self {
            id: dataset.id.to_string(),
            version: dataset.version.clone(),
            state: match (dataset.withdrawn, &dataset.damaged) {
                (Some(_), _) => "withdrawn",
                (None, Some(_)) => "damaged",
                (None, None) => "offered",
            },
            size: dataset.digests.size,
            media_type: dataset.media_type.clone(),
            policies: policies.iter().map(|policy| policy.name.clone()).collect(),
            title: dataset.title.clone(),
            published: dataset.published.to_string(),
        }
    }
}

/// All that is known of a dataset.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownDataset {
    #[serde(flatten)]
    summary: DatasetSummary,
    description: Option<String>,
    /// BCP 47.
    language: Option<String>,
    licence: Option<String>,
    confidentiality: Option<String>,
    tags: BTreeSet<String>,
    file_name: String,
    /// Hexadecimal.
    sha256: String,
    /// The root of the BLAKE3 tree, hexadecimal.
    blake3: String,
    /// The file, where it stays with the publisher.
    in_place: Option<String>,
    withdrawn: Option<String>,
    /// How it was found changed.
    damaged: Option<String>,
    /// The agreements on received data that it was made from.
    derived_from: Vec<String>,
    /// The policies that may not offer it because of those.
    not_offered: Vec<NotOffered>,
}

/// A policy that would offer a dataset under weaker terms than what it was made from allows.
#[derive(Debug, Serialize, JsonSchema)]
struct NotOffered {
    policy: String,
    reason: String,
}

/// A dataset, and who sees it now.
#[derive(Debug, Serialize, JsonSchema)]
struct SeenDataset {
    #[serde(flatten)]
    dataset: ShownDataset,
    visible_to: Vec<Seer>,
}

/// A dataset that was changed.
#[derive(Debug, Serialize, JsonSchema)]
struct ChangedDataset {
    dataset: ShownDataset,
}

/// Who would see a dataset.
#[derive(Debug, Serialize, JsonSchema)]
struct Audience {
    visible_to: Vec<Seer>,
    /// The version that it would replace.
    replaces_version: Option<String>,
}

/// A partner that sees an offer of a dataset.
#[derive(Debug, Serialize, JsonSchema)]
struct Seer {
    /// Its short name.
    partner: String,
    title: String,
    /// The policy that shows it the offer.
    via_policy: String,
}

impl ShownDataset {
    fn of(dataset: &Dataset, rules: &Rules, lapsed: &Lapsed) -> Self {
        Self {
            summary: DatasetSummary::of(dataset, rules),
            description: dataset.description.clone(),
            language: dataset.language.clone(),
            licence: dataset.licence.clone(),
            confidentiality: dataset.confidentiality.clone(),
            tags: dataset.tags.clone(),
            file_name: dataset.file_name.clone(),
            sha256: dataset.digests.sha256.clone(),
            blake3: dataset.digests.blake3.clone(),
            in_place: match &dataset.location {
                Location::Stored => None,
                Location::InPlace(path) => Some(path.clone()),
            },
            withdrawn: dataset.withdrawn.map(|time| time.to_string()),
            damaged: dataset.damaged.clone(),
            derived_from: (dataset.derived_from.iter())
                .map(|parent| parent.agreement.to_string())
                .collect(),
            not_offered: engine::derived::barred(&rules.set, dataset, lapsed)
                .into_iter()
                .map(|(policy, reason)| NotOffered { policy, reason })
                .collect(),
        }
    }
}

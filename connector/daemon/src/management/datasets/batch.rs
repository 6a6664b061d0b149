//! Publishing many files at once: all of a batch in one commit, or none of it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use engine::Key;
use engine::datasets::PUBLISHED_AT_ONCE_MAX;
use engine::entity::Rules;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::answer::{self, ApiError, Events, Stop, Throttle};
use super::super::caller::POLICY;
use super::super::route::{Call, Json, Lines, Route};
use super::{Measured, Publication, rules_with, visible_to};
use crate::node::Node;
use crate::objects::{Placement, Published};

/// How many files are read at once.
const READ_AT_ONCE: usize = 4;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "datasets.publishBatch",
            "/v1/datasets/batch",
            "Publish many files in one commit; what is published already, unchanged, is left as it is",
            publish,
        )
        .for_roles(POLICY),
        Route::post(
            "datasets.previewBatch",
            "/v1/datasets/batch/preview",
            "What is wrong with a batch, and how many of it each partner would see. Nothing happens",
            preview,
        )
        .for_roles(POLICY),
    ]
}

/// Files to publish together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Batch {
    /// At most 1,000 of them, each id once.
    datasets: Vec<Publication>,
}

impl Batch {
    /// The policies that its datasets name.
    fn policies(&self) -> impl Iterator<Item = &String> {
        self.datasets.iter().flat_map(|publication| &publication.policies)
    }

    /// What can be known to be wrong before a file is read.
    fn check(&self, node: &Node, rules: &Rules) -> Result<(), ApiError> {
        if self.datasets.len() > PUBLISHED_AT_ONCE_MAX {
            let text = format!("a batch has {} datasets", self.datasets.len());
            return Err(ApiError::invalid(text)
                .help(format!("send at most {PUBLISHED_AT_ONCE_MAX} at once")));
        }
        let mut ids = std::collections::BTreeSet::new();
        for publication in &self.datasets {
            let id = &publication.id;
            if !ids.insert(id) {
                return Err(ApiError::invalid(format!("dataset `{id}` is twice in one batch")));
            }
            publication.check(node, rules).map_err(|error| of(publication, error))?;
        }
        Ok(())
    }
}

/// How many datasets of a batch each partner would see.
#[derive(Debug, Serialize, JsonSchema)]
struct BatchAudience {
    /// How many there are.
    datasets: usize,
    /// The partners that would see one.
    visible_to: Vec<PartOfBatch>,
}

/// A partner, and how many datasets of a batch it would see.
#[derive(Debug, Serialize, JsonSchema)]
struct PartOfBatch {
    /// Its short name.
    partner: String,
    datasets: u64,
}

/// What happens while a batch is published.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum BatchProgress {
    /// Files were read.
    Reading { progress: FilesRead },
    /// The last event.
    Done {
        /// How many datasets are new, or have a new version.
        published: usize,
        /// How many were published already, unchanged.
        unchanged: usize,
    },
}

/// How far the reading is.
#[derive(Debug, Serialize, JsonSchema)]
struct FilesRead {
    files: usize,
    of: usize,
}

/// How many datasets of a batch each partner would see.
async fn preview(call: Call, batch: Batch) -> Result<Json<BatchAudience>, ApiError> {
    let node = call.node();
    let rules = rules_with(node, batch.policies()).await?;
    batch.check(node, &rules)?;
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for publication in &batch.datasets {
        tokio::fs::metadata(&publication.path).await.map_err(|error| {
            let text = format!("`{}` cannot be read: {error}", publication.path.display());
            of(publication, ApiError::invalid(text))
        })?;
        let dataset = publication.imagined(node).await.map_err(|error| of(publication, error))?;
        let seers = visible_to(node, &rules, &dataset).await?;
        let names = seers.iter().map(|seer| seer.partner.as_str());
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            *seen.entry(name.to_owned()).or_default() += 1;
        }
    }
    let visible_to = seen.into_iter().map(|(partner, datasets)| PartOfBatch { partner, datasets });
    Ok(Json(BatchAudience { datasets: batch.datasets.len(), visible_to: visible_to.collect() }))
}

async fn publish(call: Call, batch: Batch) -> Result<Lines<BatchProgress>, ApiError> {
    let (node, person) = (call.node(), call.person());
    let rules = rules_with(node, batch.policies()).await?;
    batch.check(node, &rules)?;
    for publication in &batch.datasets {
        publication.imagined(node).await.map_err(|error| of(publication, error))?;
    }
    let node = Arc::clone(node);
    Ok(answer::stream(move |events| work(node, batch, person, events)))
}

async fn work(
    node: Arc<Node>,
    batch: Batch,
    person: String,
    events: Events<BatchProgress>,
) -> Result<(), Stop> {
    // A file that several datasets share is read once.
    let files: std::collections::BTreeSet<(PathBuf, bool)> =
        batch.datasets.iter().map(|one| (one.path.clone(), one.in_place)).collect();
    let total = files.len();
    let (mut done, mut throttle) = (0_usize, Throttle::default());
    let mut read: BTreeMap<(PathBuf, bool), Published> = BTreeMap::new();
    let mut reading = stream::iter(files)
        .map(|(path, in_place)| {
            let placement = if in_place { Placement::InPlace } else { Placement::Stored };
            let (node, told) = (Arc::clone(&node), events.clone());
            async move {
                let goes_on = move |_| match told.is_gone() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                };
                let published = node.objects.publish(path.clone(), placement, goes_on).await?;
                Ok::<_, Stop>(((path, in_place), published))
            }
        })
        .buffer_unordered(READ_AT_ONCE);
    while let Some((file, published)) = reading.try_next().await? {
        read.insert(file, published);
        done += 1;
        if throttle.is_due() {
            // What cannot be told is only progress.
            let progress = FilesRead { files: done, of: total };
            let _ = events.offer(&BatchProgress::Reading { progress });
        }
    }
    drop(reading);
    let now = node.clock.now();
    let measured = |one: &Publication| read.get(&(one.path.clone(), one.in_place));
    let datasets = (batch.datasets.iter())
        .filter_map(|one| Some((one, Measured::of(measured(one)?))))
        .map(|(one, measured)| Ok((one.dataset(&measured, now), one.received(&node)?)))
        .collect::<Result<Vec<_>, ApiError>>()?;
    let keys = datasets.iter().map(|(dataset, _)| Key::Dataset(dataset.id.clone())).collect();
    let fresh = node.fresh();
    let published = node
        .decide_with(keys, move |view| {
            engine::datasets::publish_all(view, &fresh, &datasets, Some(&person))
        })
        .await?;
    // INVARIANT: the objects were claimed until here, so no sweep took one before a dataset referred to it.
    drop(read);
    let unchanged = batch.datasets.len().saturating_sub(published);
    events.send(&BatchProgress::Done { published, unchanged }).await
}

/// Says of which dataset it is.
fn of(publication: &Publication, error: ApiError) -> ApiError {
    error.because(&format!("dataset `{}`", publication.id))
}

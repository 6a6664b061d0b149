//! Publishing and withdrawing datasets.

use jiff::Timestamp;
use protocol::id::DatasetId;
use serde_json::json;

use crate::context::{self, Decided, Fresh, Stop, settle};
use crate::derived::Received;
use crate::entity::{Dataset, Parent};
use crate::refusal::RefusalKind;
use crate::{Account, Category, Decision, Key, LogId, RecordDraft, RecordKind, View, derived};

/// The largest stored form of a dataset's description: the cold index keeps values up to 64 KiB.
const DESCRIPTION_LIMIT: usize = 48 * 1024;

/// The longest title and file name, in bytes.
const TEXT_LIMIT: usize = 4096;

/// Publishes a dataset, or a new version of it. A version name that is empty becomes the number
/// after the greatest that an earlier version had, also one that was withdrawn.
///
/// What was made from received data is published only where the agreements on those allow it, under policies that are shown
/// to be no weaker than they ask ([`crate::derived`]).
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn publish(
    view: &dyn View,
    fresh: &Fresh,
    dataset: &Dataset,
    received: &[Received],
    person: Option<&str>,
) -> Decided<Dataset> {
    settle(try_publish(view, fresh, dataset, received, person))
}

/// The most datasets that are published in one commit.
pub const PUBLISHED_AT_ONCE_MAX: usize = 1_000;

/// Publishes datasets in one commit: all of them, but for those that are published already, unchanged. Answers how many
/// were. Each id may be there once.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn publish_all(
    view: &dyn View,
    fresh: &Fresh,
    datasets: &[(Dataset, Vec<Received>)],
    person: Option<&str>,
) -> Decided<usize> {
    settle((|| {
        if datasets.len() > PUBLISHED_AT_ONCE_MAX {
            let text = format!("at most {PUBLISHED_AT_ONCE_MAX} datasets are published at once");
            return Err(fresh.refuse(RefusalKind::TooLarge, text.clone(), text));
        }
        let mut records = Vec::new();
        for (dataset, received) in datasets {
            if !is_published(view, dataset, received)? {
                records.extend(try_publish(view, fresh, dataset, received, person)?.records);
            }
        }
        let published = records.len();
        Ok(Decision::commit(records, published))
    })())
}

/// Whether a dataset is offered as it would be published again.
fn is_published(
    view: &dyn View,
    dataset: &Dataset,
    received: &[Received],
) -> Result<bool, crate::Need> {
    let Some(mut published) = context::dataset(view, &dataset.id)? else { return Ok(false) };
    published.published = dataset.published;
    published.last_number = dataset.last_number;
    if dataset.version.is_empty() {
        published.version.clear();
    }
    let adds_none = received.iter().all(|one| derived::is_of(&published, one));
    published.derived_from.clear();
    Ok(adds_none && published == *dataset)
}

fn try_publish(
    view: &dyn View,
    fresh: &Fresh,
    dataset: &Dataset,
    received: &[Received],
    person: Option<&str>,
) -> Result<Decision<Dataset>, Stop> {
    let now = context::trusted_time(view, fresh)?;
    if let Some(rules) = context::rules(view)?
        && let Some(unknown) = dataset.policies.iter().find(|name| rules.set.policy(name).is_none())
    {
        let text = format!(
            "there is no policy `{unknown}`; `sekisho policy check` lists what is in force"
        );
        return Err(fresh.refuse(RefusalKind::Invalid, text.clone(), text));
    }
    for (what, text) in [("title", &dataset.title), ("file name", &dataset.file_name)] {
        // The provenance token carries both, and bounds them.
        if text.is_empty() || text.len() > TEXT_LIMIT {
            let text = format!("the {what} must have 1 to {TEXT_LIMIT} bytes");
            return Err(fresh.refuse(RefusalKind::Invalid, text.clone(), text));
        }
    }
    let earlier = context::dataset(view, &dataset.id)?;
    let mut published = dataset.clone();
    published.published = now;
    let last = earlier.as_ref().map_or(0, last_number);
    published.derived_from = derived::parents(view, fresh, dataset, received)?;
    if published.version.is_empty() {
        let Some(next) = last.checked_add(1) else {
            let text = "there is no number after that of an earlier version; give a `--version`";
            return Err(fresh.refuse(RefusalKind::Invalid, text, text));
        };
        published.version = next.to_string();
    } else if let Some(earlier) = &earlier
        && earlier.version == published.version
        && earlier.digests != published.digests
    {
        let text = format!(
            "dataset `{}` version `{}` is published with other content; give a new `--version`",
            published.id, published.version
        );
        return Err(fresh.refuse(RefusalKind::Invalid, text.clone(), text));
    }
    published.last_number = last.max(number(&published));
    if serde_json::to_vec(&published).map_or(usize::MAX, |text| text.len()) > DESCRIPTION_LIMIT {
        let text = "title, description, tags, policies and the terms of what it was made from are together over 48 KiB";
        return Err(fresh.refuse(RefusalKind::Invalid, text, text));
    }
    let account = Account::default()
        .fact("dataset", published.id.to_string())
        .fact("version", published.version.clone())
        .fact("size", published.digests.size)
        .fact("derivedFrom", published.derived_from.iter().map(said_parent).collect::<Vec<_>>())
        .fact("policies", published.policies.iter().cloned().collect::<Vec<_>>());
    let account = context::follows(view, account, &Key::Dataset(published.id.clone()))?;
    let record = RecordDraft::new(LogId::Site, RecordKind::DatasetPublished, Category::Processing)
        .account(account)
        .digest("dataset", published.digests.sha256.clone())
        .person(person.map(str::to_owned))
        .put(Key::Dataset(published.id.clone()), published.clone());
    Ok(Decision::commit(vec![record], published))
}

/// Of what a dataset was made, for the record: the agreement, the evidence and the data.
fn said_parent(parent: &Parent) -> serde_json::Value {
    json!({
        "agreement": parent.agreement,
        "provenance": parent.token_sha256,
        "sha256": parent.sha256,
    })
}

/// The greatest number that a version of a dataset had; 0 where none was a number.
fn last_number(dataset: &Dataset) -> u64 {
    dataset.last_number.max(number(dataset))
}

fn number(dataset: &Dataset) -> u64 {
    dataset.version.parse().unwrap_or(0)
}

/// Withdraws a dataset: it is no longer offered, and running transfers of it are cut.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn withdraw(
    view: &dyn View,
    fresh: &Fresh,
    id: &DatasetId,
    reason: &str,
    person: Option<&str>,
) -> Decided<Dataset> {
    settle((|| {
        let mut dataset = existing(view, fresh, id)?;
        if dataset.withdrawn.is_some() {
            return Ok(Decision::answer(dataset));
        }
        dataset.withdrawn = Some(view.now());
        let record = RecordDraft::new(LogId::Site, RecordKind::DatasetWithdrawn, Category::Service)
            .account(context::follows(view, said(id, reason), &Key::Dataset(id.clone()))?)
            .person(person.map(str::to_owned))
            .put(Key::Dataset(id.clone()), dataset.clone())
            .essential();
        Ok(Decision::commit(vec![record], dataset))
    })())
}

/// Marks a dataset whose bytes in place are no longer those that were published. It is served again only after it was
/// published again.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn damaged(
    view: &dyn View,
    fresh: &Fresh,
    id: &DatasetId,
    published: Timestamp,
    reason: &str,
) -> Decided<()> {
    settle((|| {
        let mut dataset = existing(view, fresh, id)?;
        if dataset.damaged.is_some() || dataset.published != published {
            return Ok(Decision::answer(()));
        }
        dataset.damaged = Some(reason.to_owned());
        let record =
            RecordDraft::new(LogId::Site, RecordKind::DatasetDamaged, Category::Processing)
                .account(context::follows(view, said(id, reason), &Key::Dataset(id.clone()))?)
                .put(Key::Dataset(id.clone()), dataset)
                .essential();
        Ok(Decision::commit(vec![record], ()))
    })())
}

fn existing(view: &dyn View, fresh: &Fresh, id: &DatasetId) -> Result<Dataset, Stop> {
    context::dataset(view, id)?.ok_or_else(|| {
        let text = format!("there is no dataset `{id}`; `sekisho dataset list` shows all");
        fresh.refuse(RefusalKind::NotFound, text.clone(), text)
    })
}

fn said(id: &DatasetId, reason: &str) -> Account {
    Account { reason: Some(reason.to_owned()), ..Account::default() }
        .fact("dataset", id.to_string())
}

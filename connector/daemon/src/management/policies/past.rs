//! What ruled in the past, from the journal.
//!
//! The record of rules, a dataset or a partner names the one that it follows. So what was there at an instant is found by going
//! back from what is there now, however long the journal is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::context::FOLLOWS;
use engine::entity::{Dataset, Partner};
use engine::{Decision, Entity, Key, Kind, LogId, Position, RecordKind, Store as _};
use jiff::Timestamp;
use policy::set::RuleSet;
use store::StoredRecord;

use super::super::answer::ApiError;
use super::{each, facts_of};
use crate::node::Node;
use crate::policies::facts::{ActivationFacts, Facts, PartnerFacts};

/// How many records are read at once.
const STEP: u64 = 256;
/// How many versions are asked for at once.
const VERSIONS_STEP: usize = 512;

/// Visits the activations, the newest first, until the visitor has seen enough.
pub(super) async fn activations(
    node: &Node,
    mut visit: impl FnMut(ActivationFacts, RuleSet) -> bool,
) -> Result<(), ApiError> {
    let mut position = version(node, &Key::Rules).await?;
    while let Some(at) = position {
        let record = node.store.record_at(at).await?;
        let found = activation(&record).ok_or_else(|| broken(at, "is no activation"))?;
        if !visit(found.0, found.1) {
            return Ok(());
        }
        position = before(&record)?;
    }
    Ok(())
}

/// What ruled at an instant of the past.
pub(super) async fn ruling(node: &Arc<Node>, at: Timestamp) -> Result<Facts, ApiError> {
    let mut ruling = None;
    activations(node, |facts, set| {
        if facts.time <= at {
            ruling = Some((facts, set));
        }
        ruling.is_none()
    })
    .await?;
    let Some((activation, set)) = ruling else {
        return Err(ApiError::not_found(format!("no policies were in force at {at}"))
            .help("`sekisho policy history` shows since when there are some"));
    };
    let mut datasets: Vec<Dataset> = Vec::new();
    let mut later = BTreeSet::new();
    each(node, Kind::Dataset, |key, entity| {
        let Entity::Dataset(dataset) = entity else { return };
        // What was damaged does not say when.
        match dataset.published <= at && dataset.damaged.is_none() {
            true => {
                let withdrawn = dataset.withdrawn.filter(|withdrawn| *withdrawn <= at);
                datasets.push(Dataset { withdrawn, ..dataset.clone() });
            }
            false => {
                later.insert(key.clone());
            }
        }
    })
    .await?;
    let mut partners: Vec<Partner> = Vec::new();
    each(node, Kind::Partner, |key, _| {
        later.insert(key.clone());
    })
    .await?;
    for entity in as_of(node, later, at).await? {
        match entity {
            Entity::Dataset(dataset) => datasets.push(dataset),
            Entity::Partner(partner) => partners.push(partner),
            _ => {}
        }
    }
    for participant in relations(node) {
        if !partners.iter().any(|partner| partner.participant == participant) {
            partners.extend(registered(node, &participant, at).await?);
        }
    }
    partners.sort_by(|one, other| one.name.cmp(&other.name));
    datasets.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(Facts {
        activation: Some(activation),
        hash: hex::encode(set.hash()),
        set,
        partners: partners.iter().map(PartnerFacts::from).collect(),
        datasets: facts_of(node, datasets, at).await?,
    })
}

/// Entities that are there now, as they were at an instant; without those that were not there then.
async fn as_of(node: &Node, keys: BTreeSet<Key>, at: Timestamp) -> Result<Vec<Entity>, ApiError> {
    let mut pending: BTreeMap<Position, Key> = BTreeMap::new();
    let keys: Vec<Key> = keys.into_iter().collect();
    for some in keys.chunks(VERSIONS_STEP) {
        let asked = some.to_vec();
        let versions = move |view: &dyn engine::View| {
            let versions: Result<Vec<_>, _> = asked.iter().map(|key| view.version(key)).collect();
            versions.map(Decision::answer)
        };
        let found = node.store.transact(some.to_vec(), versions).await?.reply;
        pending
            .extend(found.into_iter().zip(some).filter_map(|(at, key)| Some((at?, key.clone()))));
    }
    let mut found = Vec::new();
    // The newest first: what one of them follows is older, and often in the same page of its log.
    while let Some((newest, _)) = pending.last_key_value() {
        let (tree, index) = node.store.index_of(*newest).await?;
        let start = index.saturating_add(1).saturating_sub(STEP);
        let page = node.store.records(tree, start..index.saturating_add(1)).await?;
        let before = pending.len();
        let mut resolved = 0_usize;
        for record in page.iter().rev() {
            let Some(key) = pending.remove(&record.position) else { continue };
            resolved = resolved.saturating_add(1);
            match record.time <= at {
                true => found.extend(written(record, &key).cloned()),
                false => {
                    pending.extend(self::before(record)?.map(|position| (position, key)));
                }
            }
        }
        if resolved == 0 {
            let place = pending.last_key_value().map(|(place, _)| *place).unwrap_or_default();
            return Err(broken(place, &format!("is not where {before} entities are said to be")));
        }
    }
    Ok(found)
}

/// A partner that was removed since, or removed and registered anew, as it was at an instant. A removal leaves nothing that
/// says where it is, but in the log of the relation.
async fn registered(
    node: &Node,
    participant: &protocol::id::ParticipantId,
    at: Timestamp,
) -> Result<Option<Partner>, ApiError> {
    let key = Key::Partner(participant.clone());
    for tree in node.store.trees().into_iter().rev() {
        if tree.log != LogId::Relation(participant.clone()) {
            continue;
        }
        let (mut end, _) = node.store.tree_head(tree.clone()).await?;
        while end > 0 {
            let start = end.saturating_sub(STEP);
            let page = node.store.records(tree.clone(), start..end).await?;
            let mut writing = page.iter().rev().filter(|record| writes(record, &key));
            if let Some(record) = writing.find(|record| record.time <= at) {
                return Ok(match written(record, &key) {
                    Some(Entity::Partner(partner)) => Some(partner.clone()),
                    _ => None,
                });
            }
            end = start;
        }
    }
    Ok(None)
}

fn relations(node: &Node) -> BTreeSet<protocol::id::ParticipantId> {
    let logs = node.store.trees().into_iter().map(|tree| tree.log);
    logs.filter_map(|log| match log {
        LogId::Relation(participant) => Some(participant),
        _ => None,
    })
    .collect()
}

async fn version(node: &Node, key: &Key) -> Result<Option<Position>, ApiError> {
    let key = key.clone();
    Ok(node.commit(move |view| view.version(&key).map(Decision::answer)).await?)
}

/// The record that a record follows; none for the first.
fn before(record: &StoredRecord) -> Result<Option<Position>, ApiError> {
    let Some(named) = record.account.facts.get(FOLLOWS) else { return Ok(None) };
    let position = named.as_str().and_then(|text| text.parse().ok());
    match position.filter(|position| *position < record.position) {
        Some(position) => Ok(Some(position)),
        None => Err(broken(record.position, "does not say what it follows")),
    }
}

fn broken(position: Position, why: &str) -> ApiError {
    ApiError::new(
        super::ErrorKind::Internal,
        format!("the journal's record {position} {why}; the past cannot be told"),
    )
    .help("`sekisho audit show` shows the records around it")
}

fn writes(record: &StoredRecord, key: &Key) -> bool {
    record.writes.iter().any(|write| write.key == *key)
}

fn written<'r>(record: &'r StoredRecord, key: &Key) -> Option<&'r Entity> {
    record.writes.iter().find(|write| write.key == *key)?.entity.as_ref()
}

/// The activation that a record is.
fn activation(record: &StoredRecord) -> Option<(ActivationFacts, RuleSet)> {
    if record.kind != RecordKind::RulesActivated {
        return None;
    }
    let rules = record.writes.iter().find_map(|write| match &write.entity {
        Some(Entity::Rules(rules)) => Some(rules),
        _ => None,
    })?;
    let facts = ActivationFacts {
        record: record.position.to_string(),
        rules: rules.hash.clone(),
        set: hex::encode(rules.set.hash()),
        time: record.time,
        place: record.account.place.clone(),
        person: record.body.as_ref().and_then(|body| body.person.clone()),
        reason: record.account.reason.clone(),
        policies: rules.set.policies().map(|policy| policy.name.clone()).collect(),
    };
    Some((facts, rules.set.as_ref().clone()))
}

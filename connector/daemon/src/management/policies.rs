//! Policies: what rules and what ruled, who put it in force, and putting another set in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::entity::Rules;
use engine::registry::Author;
use engine::{Decision, Entity, Key, Kind, LogId, RecordKind, Store as _, TreeId};
use jiff::Timestamp;
use policy::set::RuleSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::StoredRecord;

use super::answer::{ApiError, ErrorKind};
use super::caller::{POLICY, READERS};
use super::route::{Call, Json, Route};
use crate::node::Node;
use crate::policies::facts::{ActivationFacts, DatasetFacts, Facts, PartnerFacts};
use crate::policies::{self, PoliciesError};
use crate::reload::{self, ReloadError, Wanted};

/// How many records are read at once.
const STEP: u64 = 256;
/// How many records of one log are looked at for one question.
const LOOK_MAX: u64 = 200_000;
/// How many entities are read at once.
const SCAN_STEP: usize = 512;
/// How many activations are listed when nothing is said, and at most.
const HISTORY: usize = 50;
const HISTORY_MAX: usize = 1_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "policies.show",
            "/v1/policies",
            "What rules: the set, the partners and the datasets as policies see them, now or at an instant",
            show,
        )
        .for_roles(READERS)
        .query::<String>("at", "an instant of the past, RFC 3339")
        .query::<String>("set", "the set of this hash, or its first digits, with the partners and datasets of now"),
        Route::get(
            "policies.history",
            "/v1/policies/history",
            "The sets that ruled, the newest first, with who put each in force and why",
            history,
        )
        .for_roles(READERS)
        .query::<usize>("limit", "how many at most"),
        Route::get(
            "policies.terms",
            "/v1/policies/terms/{agreement}",
            "The terms of one agreement, as they were agreed",
            terms,
        )
        .for_roles(READERS),
        Route::post(
            "policies.activate",
            "/v1/policies/activate",
            "Put the policy files in force",
            activate,
        )
        .for_roles(POLICY),
        Route::post(
            "policies.rollback",
            "/v1/policies/rollback",
            "Put an earlier set in force again",
            rollback,
        )
        .for_roles(POLICY),
    ]
}

/// Which files, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PolicyActivation {
    /// SHA-256 of the set that was looked at: files that changed since are refused.
    expected: Option<String>,
    /// Why, for the journal.
    reason: Option<String>,
}

/// Which set, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PolicyRollback {
    /// The hash of the set or of its activation, or its first digits (eight at least).
    set: String,
    /// Why, for the journal.
    reason: Option<String>,
}

/// What came into force.
#[derive(Debug, Serialize, JsonSchema)]
struct PolicyActivated {
    /// Whether another set came into force.
    changed: bool,
    /// SHA-256 over the set and the partners' files, hexadecimal.
    rules: String,
    /// SHA-256 of the set itself, hexadecimal.
    set: String,
}

/// The sets that ruled.
#[derive(Debug, Serialize, JsonSchema)]
struct PolicyHistory {
    /// The newest first.
    activations: Vec<ActivationFacts>,
    /// Whether the policy files are the set in force; else they are a draft.
    filed: bool,
    /// Whether all that was asked for was found; a long journal is not looked through to its begin.
    whole: bool,
}

async fn show(mut call: Call) -> Result<Json<Facts>, ApiError> {
    let at = call.query.take::<String>("at")?;
    let set = call.query.take::<String>("set")?;
    let node = call.node();
    match (at, set) {
        (Some(_), Some(_)) => {
            Err(ApiError::invalid("a set is asked for by its hash or by an instant"))
        }
        (Some(at), None) => {
            let at: Timestamp = at.parse().map_err(|error: jiff::Error| {
                ApiError::invalid(format!("`{at}` is no instant: {error}"))
                    .help("write one with its zone, like 2027-01-01T00:00:00+09:00")
            })?;
            Ok(Json(past(node, at).await?))
        }
        (None, Some(set)) => {
            let (activation, set) = find(node, &set).await?;
            let now = present(node).await?;
            let hash = hex::encode(set.hash());
            Ok(Json(Facts { activation: Some(activation), hash, set, ..now }))
        }
        (None, None) => Ok(Json(present(node).await?)),
    }
}

async fn history(mut call: Call) -> Result<Json<PolicyHistory>, ApiError> {
    let limit = call.query.take::<usize>("limit")?.unwrap_or(HISTORY).clamp(1, HISTORY_MAX);
    let node = call.node();
    let mut activations = Vec::new();
    let whole = look_back(node, LogId::Site, None, |record| {
        activations.extend(activation(record).map(|(facts, _)| facts));
        activations.len() < limit
    })
    .await?;
    let rules = in_force(node).await?;
    Ok(Json(PolicyHistory {
        activations,
        filed: policies::are_filed(&node.paths, &rules.set),
        whole,
    }))
}

/// The terms of an agreement.
#[derive(Debug, Serialize, JsonSchema)]
struct AgreedTerms {
    /// The agreement as it was sent.
    #[schemars(with = "super::shape::OdrlPolicy")]
    terms: serde_json::Value,
    /// SHA-256 of its RFC 8785 form, hexadecimal.
    sha256: String,
    /// When it was made.
    created: String,
    /// When and why it ended.
    ended: Option<(String, String)>,
}

async fn terms(call: Call) -> Result<Json<AgreedTerms>, ApiError> {
    let id = call.segment("agreement").to_owned();
    let unknown = || {
        ApiError::not_found(format!("this site has no agreement `{id}`"))
            .help("`sekisho agreement list` shows all")
    };
    let key = Key::Agreement(id.parse().map_err(|_| unknown())?);
    let found = call.node().commit(move |view| view.entity(&key).map(Decision::answer)).await?;
    match found.as_deref() {
        Some(Entity::Agreement(agreement)) => Ok(Json(AgreedTerms {
            terms: agreement.terms.clone(),
            sha256: agreement.sha256.clone(),
            created: agreement.created.to_string(),
            ended: agreement.ended.as_ref().map(|(when, why)| (when.to_string(), why.clone())),
        })),
        _ => Err(unknown()),
    }
}

async fn activate(call: Call, body: PolicyActivation) -> Result<Json<PolicyActivated>, ApiError> {
    let author = author("sekisho policy activate", &call, body.reason);
    put_in_force(call.node(), author, Wanted::Filed(body.expected)).await
}

async fn rollback(call: Call, body: PolicyRollback) -> Result<Json<PolicyActivated>, ApiError> {
    let (_, set) = find(call.node(), &body.set).await?;
    let author = author("sekisho policy rollback", &call, body.reason);
    put_in_force(call.node(), author, Wanted::Earlier(set)).await
}

fn author(place: &str, call: &Call, reason: Option<String>) -> Author {
    Author { place: place.to_owned(), person: Some(call.person()), reason }
}

async fn put_in_force(
    node: &Arc<Node>,
    author: Author,
    wanted: Wanted,
) -> Result<Json<PolicyActivated>, ApiError> {
    let changes = reload::put_in_force(node, author, wanted).await.map_err(refused)?;
    let rules = in_force(node).await?;
    Ok(Json(PolicyActivated {
        changed: changes.rules,
        rules: rules.hash.clone(),
        set: hex::encode(rules.set.hash()),
    }))
}

fn refused(error: ReloadError) -> ApiError {
    match error {
        ReloadError::Store(error) => error.into(),
        ReloadError::Changed => ApiError::new(ErrorKind::Refused, error.to_string())
            .help("look at what changes now with `sekisho policy diff`, and activate again"),
        ReloadError::Unfiled => ApiError::new(ErrorKind::Refused, error.to_string())
            .help("`sekisho policy check` says what is wrong with them; move them elsewhere, or put them in force first"),
        ReloadError::Policies(PoliciesError::Policies(_)) => {
            ApiError::invalid(format!("the policies are refused\n{error}"))
                .help("what was in force still is")
        }
        other => ApiError::invalid(other.to_string()).help("what was in force still is"),
    }
}

async fn in_force(node: &Node) -> Result<Arc<Rules>, ApiError> {
    Ok(node.commit(|view| engine::catalog::rules(view).map(Decision::answer)).await?)
}

/// What rules now.
async fn present(node: &Arc<Node>) -> Result<Facts, ApiError> {
    let rules = in_force(node).await?;
    let mut activation = None;
    look_back(node, LogId::Site, None, |record| {
        activation = self::activation(record).map(|(facts, _)| facts);
        activation.is_none()
    })
    .await?;
    let mut partners = Vec::new();
    each(node, Kind::Partner, |entity| {
        if let Entity::Partner(partner) = entity {
            partners.push(PartnerFacts::from(partner));
        }
    })
    .await?;
    let mut datasets = Vec::new();
    each(node, Kind::Dataset, |entity| {
        if let Entity::Dataset(dataset) = entity {
            datasets.push(DatasetFacts::from(dataset));
        }
    })
    .await?;
    partners.sort_by(|one, other| one.name.cmp(&other.name));
    let set = rules.set.as_ref().clone();
    Ok(Facts { activation, hash: hex::encode(set.hash()), set, partners, datasets })
}

async fn each(node: &Node, kind: Kind, mut visit: impl FnMut(&Entity)) -> Result<(), ApiError> {
    let mut after = None;
    loop {
        let page = node.store.scan(kind, after.take(), SCAN_STEP).await?;
        page.iter().for_each(|(_, entity)| visit(entity));
        if page.len() < SCAN_STEP {
            return Ok(());
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

/// What ruled at an instant of the past, from the journal: the last record before it that wrote each thing decides.
async fn past(node: &Arc<Node>, at: Timestamp) -> Result<Facts, ApiError> {
    let mut ruling = None;
    let mut seen: BTreeMap<Key, Option<DatasetFacts>> = BTreeMap::new();
    let whole = look_back(node, LogId::Site, Some(at), |record| {
        if ruling.is_none() {
            ruling = activation(record);
        }
        for write in &record.writes {
            if matches!(write.key, Key::Dataset(_)) {
                seen.entry(write.key.clone()).or_insert_with(|| match &write.entity {
                    Some(Entity::Dataset(dataset)) => Some(DatasetFacts::from(dataset)),
                    _ => None,
                });
            }
        }
        true
    })
    .await?;
    let Some((activation, set)) = ruling.filter(|_| whole) else {
        return Err(no_set(at, whole));
    };
    let mut partners = Vec::new();
    let logs: BTreeSet<LogId> = node.store.trees().into_iter().map(|tree| tree.log).collect();
    for log in logs {
        let LogId::Relation(participant) = &log else { continue };
        let key = Key::Partner(participant.clone());
        let mut found = None;
        let whole = look_back(node, log.clone(), Some(at), |record| {
            found = record.writes.iter().find(|write| write.key == key).map(|write| {
                match &write.entity {
                    Some(Entity::Partner(partner)) => Some(PartnerFacts::from(partner)),
                    _ => None,
                }
            });
            found.is_none()
        })
        .await?;
        if found.is_none() && !whole {
            return Err(no_set(at, false));
        }
        partners.extend(found.flatten());
    }
    partners.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Facts {
        activation: Some(activation),
        hash: hex::encode(set.hash()),
        set,
        partners,
        datasets: seen.into_values().flatten().collect(),
    })
}

fn no_set(at: Timestamp, whole: bool) -> ApiError {
    if whole {
        return ApiError::not_found(format!("no policies were in force at {at}"))
            .help("`sekisho policy history` shows since when there are some");
    }
    ApiError::new(
        ErrorKind::TooMany,
        format!("the journal has more than {LOOK_MAX} records between then and what was in force"),
    )
    .help("ask about an instant sooner after a change")
}

/// The set of a hash, or its first digits, and its latest activation.
async fn find(node: &Arc<Node>, hash: &str) -> Result<(ActivationFacts, RuleSet), ApiError> {
    let digits = hash.to_ascii_lowercase();
    if digits.len() < 8 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(ApiError::invalid(format!("`{hash}` is not the hash of a set")).help(
            "give eight hexadecimal digits at least, as `sekisho policy history` shows them",
        ));
    }
    let mut sets: BTreeSet<String> = BTreeSet::new();
    let mut found = None;
    look_back(node, LogId::Site, None, |record| {
        if let Some((facts, set)) = activation(record)
            && (facts.rules.starts_with(&digits) || facts.set.starts_with(&digits))
        {
            sets.insert(facts.set.clone());
            found.get_or_insert((facts, set));
        }
        true
    })
    .await?;
    if sets.len() > 1 {
        let all: Vec<String> = sets.into_iter().collect();
        return Err(ApiError::invalid(format!("`{hash}` is the begin of several sets"))
            .help(format!("give more digits of one of {}", all.join(", "))));
    }
    found.ok_or_else(|| {
        ApiError::not_found(format!("no set `{hash}` was ever in force"))
            .help("`sekisho policy history` shows all")
    })
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

/// Visits the records of a log from the newest, or from the last before the end of an instant, backwards until the visitor has
/// seen enough. Says whether nothing was left out.
async fn look_back(
    node: &Node,
    log: LogId,
    at: Option<Timestamp>,
    mut visit: impl FnMut(&StoredRecord) -> bool,
) -> Result<bool, ApiError> {
    let mut left = LOOK_MAX;
    // Older epochs come before newer ones, and are looked through after them.
    for tree in node.store.trees().into_iter().rev().filter(|tree| tree.log == log) {
        let (size, _) = node.store.tree_head(tree.clone()).await?;
        let mut end = match at {
            Some(at) => first_after(node, &tree, size, at).await?,
            None => size,
        };
        while end > 0 {
            if left == 0 {
                return Ok(false);
            }
            let start = end.saturating_sub(STEP.min(left));
            let page = node.store.records(tree.clone(), start..end).await?;
            for record in page.iter().rev() {
                if !visit(record) {
                    return Ok(true);
                }
            }
            left = left.saturating_sub(end - start);
            end = start;
        }
    }
    Ok(true)
}

/// The index of the first record later than an instant. The times of a log never go back.
async fn first_after(
    node: &Node,
    tree: &TreeId,
    size: u64,
    at: Timestamp,
) -> Result<u64, ApiError> {
    let (mut low, mut high) = (0, size);
    while low < high {
        let middle = low + (high - low) / 2;
        let page = node.store.records(tree.clone(), middle..middle + 1).await?;
        if page.first().is_some_and(|record| record.time <= at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

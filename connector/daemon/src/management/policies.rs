//! Policies: what rules and what ruled, who put it in force, and putting another set in force.

mod past;

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::derived;
use engine::entity::{Dataset, Rules};
use engine::registry::Author;
use engine::{Decision, Entity, Key, Kind, Store as _, View};
use jiff::Timestamp;
use policy::set::RuleSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{ApiError, ErrorKind};
use super::caller::{POLICY, READERS};
use super::route::{Call, Json, Route};
use crate::node::Node;
use crate::policies::facts::{ActivationFacts, DatasetFacts, Facts, PartnerFacts};
use crate::policies::{self, PoliciesError};
use crate::reload::{self, ReloadError, Wanted};

/// How many entities are read at once.
const SCAN_STEP: usize = 512;

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

/// A set that ruled, in lists.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownActivation {
    #[serde(flatten)]
    activation: ActivationFacts,
    /// Whether it is what rules now.
    in_force: bool,
    /// Whether it is what rules now and the policy files are this set; where those of the set in force are not, they are a draft.
    filed: bool,
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
            Ok(Json(past::ruling(node, at).await?))
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

/// The sets that ruled, the newest first.
pub(super) async fn history(node: &Arc<Node>) -> Result<Vec<ShownActivation>, ApiError> {
    let mut shown = Vec::new();
    past::activations(node, |activation, set| {
        let in_force = shown.is_empty();
        let filed = in_force && policies::are_filed(&node.paths, &set);
        shown.push(ShownActivation { activation, in_force, filed });
        true
    })
    .await?;
    Ok(shown)
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
        ReloadError::Unwritten(_) => ApiError::new(ErrorKind::CannotWrite, error.to_string())
            .help("mend what is named; they are written when the daemon starts or reads its files the next time"),
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
    past::activations(node, |facts, _| {
        activation = Some(facts);
        false
    })
    .await?;
    let mut partners = Vec::new();
    each(node, Kind::Partner, |_, entity| {
        if let Entity::Partner(partner) = entity {
            partners.push(PartnerFacts::from(partner));
        }
    })
    .await?;
    let mut found = Vec::new();
    each(node, Kind::Dataset, |_, entity| {
        if let Entity::Dataset(dataset) = entity {
            found.push(dataset.clone());
        }
    })
    .await?;
    let datasets = facts_of(node, found, Timestamp::MAX).await?;
    partners.sort_by(|one, other| one.name.cmp(&other.name));
    let set = rules.set.as_ref().clone();
    Ok(Facts { activation, hash: hex::encode(set.hash()), set, partners, datasets })
}

async fn each(
    node: &Node,
    kind: Kind,
    mut visit: impl FnMut(&Key, &Entity),
) -> Result<(), ApiError> {
    let mut after = None;
    loop {
        let page = node.store.scan(kind, after.take(), SCAN_STEP).await?;
        page.iter().for_each(|(key, entity)| visit(key, entity));
        if page.len() < SCAN_STEP {
            return Ok(());
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

/// Datasets as policies saw them at an instant.
async fn facts_of(
    node: &Node,
    datasets: Vec<Dataset>,
    at: Timestamp,
) -> Result<Vec<DatasetFacts>, ApiError> {
    let derived: Vec<Dataset> =
        datasets.iter().filter(|dataset| !dataset.derived_from.is_empty()).cloned().collect();
    let look = move |view: &dyn View| derived::lapsed_at(view, &derived, at).map(Decision::answer);
    let lapsed = node.commit(look).await?;
    Ok(datasets.iter().map(|dataset| DatasetFacts::of(dataset, &lapsed)).collect())
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
    past::activations(node, |facts, set| {
        if facts.rules.starts_with(&digits) || facts.set.starts_with(&digits) {
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

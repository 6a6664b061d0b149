//! Partners, policies, certificates and revocation lists, reloaded as files change.
//!
//! What changed is read and checked as a whole. An error leaves what was in force and is logged with its place; otherwise
//! one commit puts the new set in force, and only then does the trust store follow.

use std::sync::Arc;
use std::time::Duration;

use engine::derived::Lapsed;
use engine::entity::Rules;
use engine::registry::{self, Author, Changes};
use engine::{Decision, Entity, Kind, Store as _};
use notify::{RecursiveMode, Watcher as _};
use policy::classify::Class;
use policy::set::RuleSet;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::config::Activation;
use crate::node::Node;
use crate::partners::Registry;
use crate::site::Paths;
use crate::{policies, site};

/// Changes that come within this time are read together.
const SETTLE: Duration = Duration::from_millis(150);
/// How many partners are read from the store at once.
const SCAN_STEP: usize = 256;

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A partner's file is not right.
    #[error("{0}")]
    Partners(#[from] crate::config::Problems),
    /// The partners' files contradict each other.
    #[error(transparent)]
    Trust(#[from] crate::partners::RegistryError),
    /// A policy is not right.
    #[error("{0}")]
    Policies(#[from] policies::PoliciesError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] engine::StoreError),
    /// The files are not those that were looked at.
    #[error("the policy files changed after they were looked at")]
    Changed,
    /// The files hold changes that are not in force and would be lost.
    #[error("the policy files have changes that are not in force, and would be overwritten")]
    Unfiled,
}

/// Which policies come into force.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Those that the configuration says: of the files, or those in force ([`Activation::Command`]).
    Configured,
    /// Those of the files; where a hash is given, only a set of this hash.
    Filed(Option<String>),
    /// Those of an earlier set, under the purposes of that set and the groups of now.
    Earlier(RuleSet),
}

/// Reads partners and policies and puts them in force.
///
/// # Errors
/// [`ReloadError`]; then what was in force still is.
pub async fn reload(node: &Arc<Node>, author: Author) -> Result<Changes, ReloadError> {
    put_in_force(node, author, Wanted::Configured).await
}

/// Puts partners, and the policies that are wanted, in force.
///
/// # Errors
/// [`ReloadError`]; then what was in force still is.
pub async fn put_in_force(
    node: &Arc<Node>,
    author: Author,
    wanted: Wanted,
) -> Result<Changes, ReloadError> {
    let _turn = node.reloading.lock().await;
    let outcome = activate(node, author, wanted).await;
    node.metrics.reload(outcome.is_ok());
    outcome
}

/// The policies that are wanted, under the groups of the partners' files.
async fn wanted_rules(
    node: &Arc<Node>,
    registry: &Registry,
    wanted: Wanted,
) -> Result<RuleSet, ReloadError> {
    let in_force = || async {
        let rules = node.commit(|view| engine::catalog::rules(view).map(Decision::answer)).await?;
        Ok::<_, engine::StoreError>(rules.set.as_ref().clone())
    };
    let is_filed = node.config.policy.activation == Activation::File;
    let regrouped = |rules: &RuleSet| {
        rules
            .regrouped(&registry.groups(), node.paths.unhonoured)
            .map_err(policies::PoliciesError::Policies)
    };
    match wanted {
        Wanted::Configured if is_filed => Ok(policies::load(&node.paths, registry)?),
        // What rules already stops nothing: what cannot be read of it denies.
        Wanted::Configured => Ok(in_force().await?.among(&registry.groups())),
        Wanted::Filed(expected) => {
            let rules = policies::load(&node.paths, registry)?;
            match expected {
                Some(expected) if expected != hex::encode(rules.hash()) => {
                    Err(ReloadError::Changed)
                }
                _ => Ok(rules),
            }
        }
        Wanted::Earlier(earlier) => {
            let rules = regrouped(&earlier)?;
            if is_filed {
                if !policies::are_filed(&node.paths, &in_force().await?) {
                    return Err(ReloadError::Unfiled);
                }
                policies::write(&node.paths, &rules).map_err(policies::PoliciesError::from)?;
            }
            Ok(rules)
        }
    }
}

async fn activate(
    node: &Arc<Node>,
    author: Author,
    wanted: Wanted,
) -> Result<Changes, ReloadError> {
    let registry = Registry::load(&node.paths.partners)?;
    let generation = node.identity.trust.load().generation().saturating_add(1);
    let trust = registry.trust_store(generation)?;
    let rules = wanted_rules(node, &registry, wanted).await?;
    let partners = registry.entities();
    let mut digest = Sha256::new();
    digest.update(rules.hash());
    for partner in &partners {
        digest.update(partner.file_sha256.as_bytes());
    }
    report(&rules);
    let rules = Rules { v: 1, hash: hex::encode(digest.finalize()), set: Arc::new(rules) };
    let known = known(node).await?;
    let changes = node
        .commit(move |view| registry::activate(view, &rules, &partners, &known, &author))
        .await?;
    node.replace_registry(registry, trust);
    for (name, kind) in &changes.partners {
        tracing::info!(event = "partner.changed", partner = name, change = ?kind);
    }
    if changes.rules {
        tracing::info!(event = "rules.activated");
        tokio::spawn(warn_of_barred(Arc::clone(node)));
    }
    Ok(changes)
}

/// Logs what a set has that denies, and what is most likely misspelt.
fn report(rules: &RuleSet) {
    for found in rules.unreadable() {
        tracing::error!(
            event = "policies.unreadable",
            file = found.file,
            line = found.line,
            problem = found.message,
            "the policy in force cannot be read by this release and denies; correct the file and activate it"
        );
    }
    for policy in rules.policies() {
        for clause in policy.clauses.iter().filter(|clause| clause.class == Class::Refused) {
            tracing::warn!(
                event = "policies.not_honoured",
                file = policy.file,
                clause = clause.clause,
                problem = clause.note,
            );
        }
    }
    for found in rules.unknown_groups() {
        tracing::warn!(
            event = "policies.unknown_group",
            file = found.file,
            line = found.line,
            problem = found.message,
            help = found.help,
        );
    }
}

/// Warns of datasets that the policies in force would offer under weaker terms than what they were made from allows. They are
/// not offered so: neither in the catalog nor in negotiations.
async fn warn_of_barred(node: Arc<Node>) {
    let rules = node.commit(|view| engine::catalog::rules(view).map(Decision::answer)).await;
    let Ok(rules) = rules else { return };
    let mut after = None;
    loop {
        let page = match node.store.scan(Kind::Dataset, after.take(), SCAN_STEP).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(event = "datasets.not_read", error = %error);
                return;
            }
        };
        for (_, entity) in &page {
            let Entity::Dataset(dataset) = entity.as_ref() else { continue };
            // Those of agreements that have ended were not hidden by this set.
            for (policy, reason) in engine::derived::barred(&rules.set, dataset, &Lapsed::new()) {
                let dataset = dataset.id.as_str();
                tracing::warn!(event = "offer.barred", dataset, policy, reason);
            }
        }
        if page.len() < SCAN_STEP {
            return;
        }
        after = page.last().map(|(key, _)| key.clone());
    }
}

async fn known(node: &Node) -> Result<Vec<protocol::id::ParticipantId>, engine::StoreError> {
    let mut known = Vec::new();
    let mut after = None;
    loop {
        let page = node.store.scan(Kind::Partner, after.take(), SCAN_STEP).await?;
        after = page.last().map(|(key, _)| key.clone());
        for (_, entity) in &page {
            if let Entity::Partner(partner) = entity.as_ref() {
                known.push(partner.participant.clone());
            }
        }
        if page.len() < SCAN_STEP {
            return Ok(known);
        }
    }
}

/// Reads the site's keys and certificates again.
pub fn reload_pki(node: &Node) {
    match site::load_pki(&node.paths, &node.config, node.clock.now()) {
        Ok(pki) => {
            node.identity.site.replace(pki);
            show_expiry(node);
            tracing::info!(event = "certificates.loaded");
        }
        Err(problem) => {
            tracing::error!(event = "certificates.refused", problem = %problem);
        }
    }
}

/// Shows in the metrics until when our certificates hold.
pub fn show_expiry(node: &Node) {
    let site = node.identity.site.load();
    node.metrics.certificate_expiry("server", site.server.valid_until());
    node.metrics.certificate_expiry("client", site.client.valid_until());
    node.metrics.certificate_expiry("signing", site.signing.valid_until());
}

/// Changes of a site's files since [`watch`].
#[derive(Debug)]
pub struct Watched {
    _watcher: notify::RecommendedWatcher,
    changed: mpsc::UnboundedReceiver<notify::Result<notify::Event>>,
}

/// Notes changes of the files from now on. To be called before they are read: a change in between is then seen by [`follow`].
///
/// # Errors
/// When the system does not watch files.
pub fn watch(paths: &Paths) -> Result<Watched, notify::Error> {
    let (sender, changed) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event as well, and would wake us for ever.
        if event.as_ref().is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        let _ = sender.send(event);
    })?;
    for directory in [&paths.partners, &paths.policies, &paths.pki] {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    if let Some(parent) = paths.purposes.parent() {
        watcher.watch(parent, RecursiveMode::NonRecursive)?;
    }
    Ok(Watched { _watcher: watcher, changed })
}

/// Follows the files until the node stops.
pub async fn follow(node: Arc<Node>, mut watched: Watched) {
    loop {
        let event = tokio::select! {
            () = node.shutdown.draining() => return,
            event = watched.changed.recv() => event,
        };
        let Some(event) = event else { return };
        let mut events = vec![event];
        tokio::time::sleep(SETTLE).await;
        while let Ok(more) = watched.changed.try_recv() {
            events.push(more);
        }
        react(&node, &events).await;
    }
}

async fn react(node: &Arc<Node>, events: &[notify::Result<notify::Event>]) {
    let under = |directory: &std::path::Path| {
        events.iter().any(|event| match event {
            Ok(event) => event.paths.iter().any(|path| path.starts_with(directory)),
            // Something was missed: look at everything.
            Err(_) => true,
        })
    };
    if under(&node.paths.pki) {
        reload_pki(node);
    }
    let rules = [&node.paths.partners, &node.paths.policies, &node.paths.purposes];
    if !rules.into_iter().any(|path| under(path)) {
        return;
    }
    let author = Author { place: "file change".to_owned(), person: None, reason: None };
    match reload(node, author).await {
        Ok(_) => {}
        Err(error) => {
            tracing::error!(event = "reload.refused", error = %error, "what was in force stays so");
        }
    }
}

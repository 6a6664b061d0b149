//! Partners, policies, certificates and revocation lists, reloaded as files change.
//!
//! What changed is read and checked as a whole. An error leaves what was in force and is logged with its place; otherwise
//! one commit puts the new set in force, and only then does the trust store follow.

mod settle;

use std::sync::Arc;
use std::time::Duration;

use engine::derived::Lapsed;
use engine::entity::Rules;
use engine::registry::{self, Author, Changes};
use engine::{Decision, Entity, Kind, Store as _};
use notify::{RecursiveMode, Watcher as _};
use policy::classify::Class;
use policy::set::RuleSet;
use settle::{Changed, Noted};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::config::Activation;
use crate::node::Node;
use crate::partners::Registry;
use crate::policies::{self, rollback};
use crate::site::{self, Paths};

/// How many partners are read from the store at once.
const SCAN_STEP: usize = 256;
/// How long [`CatchingUp`] waits: longer than files that are still written to are waited for.
const CATCHING_UP_LIMIT: Duration = Duration::from_secs(10);

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
    /// The set is in force, and its files are not all written.
    #[error("the set is in force, but its files could not be written: {0}")]
    Unwritten(policies::PoliciesError),
}

/// Which policies come into force.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Those that the configuration says: of the files, or those in force ([`Activation::Command`]). Where the files are not
    /// right, those in force: partners and further restrictions do not wait for that.
    Configured,
    /// Those in force.
    InForce,
    /// Those of the files; where a hash is given, only a set of this hash.
    Filed(Option<String>),
    /// Those of an earlier set, under the purposes of that set and the groups of now.
    Earlier(RuleSet),
}

/// What is to come into force.
struct Ruling {
    rules: RuleSet,
    /// Why it is not what the files say.
    refused: Option<policies::PoliciesError>,
    /// Whether the files are to be made those of the set.
    is_filed_after: bool,
}

/// Reads partners and policies and puts them in force. Where only the policies are not right, the partners come into force
/// with the policies that were, and the log says so.
///
/// # Errors
/// [`ReloadError`]; then what was in force still is.
pub async fn reload(node: &Arc<Node>, author: Author) -> Result<Changes, ReloadError> {
    put_in_force(node, author, Wanted::Configured).await
}

/// Puts partners, and the policies that are wanted, in force.
///
/// # Errors
/// [`ReloadError`]; then what was in force still is, but for [`ReloadError::Unwritten`].
pub async fn put_in_force(
    node: &Arc<Node>,
    author: Author,
    wanted: Wanted,
) -> Result<Changes, ReloadError> {
    let _turn = node.reloading.lock().await;
    let outcome = activate(node, author, wanted).await;
    node.metrics.reload(outcome.as_ref().is_ok_and(|(_, is_whole)| *is_whole));
    outcome.map(|(changes, _)| changes)
}

async fn in_force(node: &Node) -> Result<RuleSet, engine::StoreError> {
    let rules = node.commit(|view| engine::catalog::rules(view).map(Decision::answer)).await?;
    Ok(rules.set.as_ref().clone())
}

/// The policies that are wanted, under the groups of the partners' files.
async fn wanted_rules(
    node: &Arc<Node>,
    registry: &Registry,
    wanted: Wanted,
) -> Result<Ruling, ReloadError> {
    let ruling = |rules| Ruling { rules, refused: None, is_filed_after: false };
    let is_filed = node.config.policy.activation == Activation::File;
    let groups = registry.groups();
    match wanted {
        Wanted::Configured if is_filed => {
            let filed = match finish_rollback(node).await? {
                Ok(()) => policies::load(&node.paths, registry),
                Err(unwritten) => Err(unwritten),
            };
            match filed {
                Ok(rules) => Ok(ruling(rules)),
                Err(refused) => {
                    let rules = policies::at_least(&node.paths, &in_force(node).await?, &groups);
                    Ok(Ruling { rules, refused: Some(refused), is_filed_after: false })
                }
            }
        }
        // What rules already stops nothing: what cannot be read of it denies.
        Wanted::Configured | Wanted::InForce => Ok(ruling(in_force(node).await?.among(&groups))),
        Wanted::Filed(expected) => {
            let rules = policies::load(&node.paths, registry)?;
            match expected {
                Some(expected) if expected != hex::encode(rules.hash()) => {
                    Err(ReloadError::Changed)
                }
                _ => Ok(ruling(rules)),
            }
        }
        Wanted::Earlier(earlier) => {
            let rules = earlier
                .regrouped(&groups, node.paths.unhonoured)
                .map_err(policies::PoliciesError::Policies)?;
            if is_filed {
                finish_rollback(node).await??;
                if !policies::are_filed(&node.paths, &in_force(node).await?) {
                    return Err(ReloadError::Unfiled);
                }
                rollback::prepare(&node.paths, &rules).map_err(policies::PoliciesError::from)?;
            }
            Ok(Ruling { rules, refused: None, is_filed_after: is_filed })
        }
    }
}

/// Ends what a stop interrupted between putting an earlier set in force and writing its files. What cannot be written is the
/// inner error.
async fn finish_rollback(
    node: &Node,
) -> Result<Result<(), policies::PoliciesError>, engine::StoreError> {
    let paths = &node.paths;
    let prepared = match rollback::prepared(paths) {
        Ok(prepared) => prepared,
        Err(problem) => return Ok(Err(problem.into())),
    };
    if let Some(prepared) = prepared {
        let has_come = in_force(node).await?.hash() == prepared.hash();
        let settled = if has_come { rollback::commit(paths) } else { rollback::discard(paths) };
        if let Err(problem) = settled {
            return Ok(Err(problem.into()));
        }
    }
    Ok(rollback::finish(paths))
}

/// Puts what is wanted in force. The answer says besides whether it is what the files say.
async fn activate(
    node: &Arc<Node>,
    author: Author,
    wanted: Wanted,
) -> Result<(Changes, bool), ReloadError> {
    let registry = Registry::load(&node.paths.partners)?;
    let generation = node.identity.trust.load().generation().saturating_add(1);
    let trust = registry.trust_store(generation)?;
    let Ruling { rules, refused, is_filed_after } = wanted_rules(node, &registry, wanted).await?;
    if let Some(refused) = &refused {
        tracing::error!(
            event = "reload.refused",
            error = %refused,
            "the policies in force stay so; partners and further restrictions come into force"
        );
    }
    let partners = registry.entities();
    let mut digest = Sha256::new();
    digest.update(rules.hash());
    for partner in &partners {
        digest.update(partner.file_sha256.as_bytes());
    }
    report(&rules);
    report_not_read(node);
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
    if is_filed_after {
        rollback::commit(&node.paths).map_err(|problem| ReloadError::Unwritten(problem.into()))?;
        rollback::finish(&node.paths).map_err(ReloadError::Unwritten)?;
    }
    Ok((changes, refused.is_none()))
}

/// Logs what the directory of policies holds and nobody reads.
fn report_not_read(node: &Node) {
    for file in policies::not_read(&node.paths.policies).unwrap_or_default() {
        tracing::warn!(
            event = "policies.not_read",
            file,
            help = "name policies .toml or .jsonld and put them into the directory itself, or move it elsewhere"
        );
    }
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

/// Changes of a site's files since [`watch()`].
#[derive(Debug)]
pub struct Watched {
    _watcher: notify::RecommendedWatcher,
    changed: mpsc::UnboundedReceiver<Noted>,
}

/// Notes changes of the files from now on. To be called before they are read: a change in between is then seen by [`follow`].
///
/// # Errors
/// When the system does not watch files.
pub fn watch(paths: &Paths) -> Result<Watched, notify::Error> {
    let (sender, changed) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: Noted| {
        if settle::is_of_interest(&event) {
            let _ = sender.send(event);
        }
    })?;
    for directory in [&paths.partners, &paths.policies, &paths.pki] {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    if let Some(parent) = paths.purposes.parent() {
        watcher.watch(parent, RecursiveMode::NonRecursive)?;
    }
    Ok(Watched { _watcher: watcher, changed })
}

/// Those who wait until the policies' files, as they are now, have been looked at.
#[derive(Debug, Default)]
pub struct CatchingUp {
    /// How often that was asked for.
    asked: watch::Sender<u64>,
    /// The last of these that was done.
    done: watch::Sender<u64>,
}

impl CatchingUp {
    /// Returns when what the files held at the call is in force or was refused. Changes are followed unasked: this is for a
    /// person's next command, which may come sooner.
    pub async fn wait(&self) {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked = asked.wrapping_add(1);
            number = *asked;
        });
        let mut done = self.done.subscribe();
        // A node that is stopping looks at nothing any more.
        let _ = timeout(CATCHING_UP_LIMIT, done.wait_for(|done| *done >= number)).await;
    }
}

/// Follows the files until the node stops.
pub async fn follow(node: Arc<Node>, mut watched: Watched) {
    let mut changed = Changed::default();
    let mut asked = node.catching_up.asked.subscribe();
    loop {
        tokio::select! {
            () = node.shutdown.draining() => return,
            event = watched.changed.recv() => match event {
                Some(event) => changed.note(event),
                None => return,
            },
            Ok(()) = asked.changed() => changed.look_at(&node.paths.policies),
        }
        let is_whole = tokio::select! {
            () = node.shutdown.draining() => return,
            is_whole = changed.settle(&mut watched.changed) => is_whole,
        };
        let number = *asked.borrow_and_update();
        react(&node, &changed, is_whole).await;
        if is_whole {
            changed = Changed::default();
        }
        node.catching_up.done.send_replace(number);
    }
}

/// Puts in force what changed. Where policies are still written to, they wait, and the rest does not.
async fn react(node: &Arc<Node>, changed: &Changed, is_whole: bool) {
    if changed.is_under(&node.paths.pki) {
        reload_pki(node);
    }
    let rules = [&node.paths.partners, &node.paths.policies, &node.paths.purposes];
    if !rules.into_iter().any(|path| changed.is_under(path)) {
        return;
    }
    if !is_whole {
        let file = changed.open().map(|path| path.display().to_string());
        tracing::warn!(
            event = "reload.waits",
            file,
            "a file is still written to; the policies in force stay so until that is done"
        );
    }
    let author = Author { place: "file change".to_owned(), person: None, reason: None };
    let wanted = if is_whole { Wanted::Configured } else { Wanted::InForce };
    if let Err(error) = put_in_force(node, author, wanted).await {
        tracing::error!(event = "reload.refused", error = %error, "what was in force stays so");
    }
}

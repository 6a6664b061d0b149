//! Starting and stopping the node.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use certs::tls::SharedSite;
use certs::trust::SharedTrust;
use engine::registry::Author;
use engine::{Context, Entity, Key, Kind, Store as _};
use jiff::SignedDuration;
use store::{Clock, Environment, FileStore, Options, SystemRandom};
use tokio::task::JoinHandle;

use super::Node;
use crate::clock::{Tick, judge};
use crate::net::{
    HttpLimits, ListenError, ListenerLimits, ManagementLimits, ManagementListener, NodeIdentity,
    PartnerListener, Shutdown, StatusLimits, StatusListener, UnixLimits, UnixListener,
};
use crate::objects::{Objects, PullName};
use crate::partner::{Entrance, Intake, Partners, Places, Unread};
use crate::refusals::Refusals;
use crate::site::Site;
use crate::telemetry::Telemetry;
use crate::{deadlines, management, outbox, pulls, reload, status, wire};

/// A start that read more journal than this asks for a snapshot.
const LONG_TAIL_BYTES: u64 = 8 << 20;
/// How often what was served is recorded.
const SUMMARY: Duration = Duration::from_secs(1);
/// How many reads of datasets wait for the disk at once.
const READS: usize = 16;
/// How many entities are looked through at once.
const SCAN_STEP: usize = 256;

/// Why the node does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory.
    #[error(transparent)]
    Open(#[from] store::OpenError),
    /// The state.
    #[error(transparent)]
    Store(#[from] engine::StoreError),
    /// The datasets' files.
    #[error(transparent)]
    Objects(#[from] crate::objects::StorageError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Partners and policies.
    #[error(transparent)]
    Reload(#[from] reload::ReloadError),
    /// The data belong to another participant.
    #[error("the data directory `{}` belongs to participant `{owner}`; a participant id never changes", data.display())]
    OtherOwner {
        /// The data directory.
        data: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// The system does not watch files.
    #[error("files cannot be watched for changes: {0}")]
    Watch(#[from] notify::Error),
    /// Signals or routes.
    #[error("{0}")]
    System(String),
}

/// A node that serves.
pub struct Running {
    /// The node.
    pub node: Arc<Node>,
    /// The bound addresses of the partner listener.
    pub partner: Vec<SocketAddr>,
    /// The bound addresses of the status listener.
    pub status: Vec<SocketAddr>,
    /// The bound addresses of the management listener on TCP; none where there is none.
    pub management: Vec<SocketAddr>,
    listeners: Vec<JoinHandle<()>>,
    partner_listener: JoinHandle<()>,
    workers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Running").field("partner", &self.partner).finish_non_exhaustive()
    }
}

/// Starts a node on a site that was opened: binds, opens the state, serves.
///
/// # Errors
/// [`ServeError`]; then nothing serves.
pub async fn start(
    site: Site,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    shutdown: Shutdown,
) -> Result<Running, ServeError> {
    let Site { paths, config, pki, partners, rules: _, draft } = site;
    if let Some(problem) = draft {
        tracing::warn!(event = "policies.draft_refused", problem = %problem);
    }
    let trust = partners.trust_store(1).map_err(reload::ReloadError::from)?;
    let identity = NodeIdentity {
        site: SharedSite::new(pki),
        trust: SharedTrust::new(trust),
        time: Arc::new(HandshakeTime(Arc::clone(&clock))),
    };
    // Bound before anything is written: a port that is taken leaves no trace in the journal.
    let partner_listener = PartnerListener::bind(&config.partner_listener.bind, identity.clone())?;
    let status_listener = StatusListener::bind(&config.status_listener.bind)?;
    let remote_management = ManagementListener::bind(&config.management.bind, &identity)?;
    let origin = config.partner_listener.public_url.as_str();
    let context = Arc::new(Context {
        participant: config.site.participant.clone(),
        dsp_endpoint: format!("{origin}{}", wire::DSP),
        data_endpoint: format!("{origin}{}", wire::DATA),
        delivery_deadline: SignedDuration::try_from(config.outbound.delivery_deadline())
            .unwrap_or(SignedDuration::MAX),
        approval_deadline: SignedDuration::try_from(config.processes.approval_deadline())
            .unwrap_or(SignedDuration::MAX),
        limits: config.processes.limits(),
    });
    let options = Options {
        segment_bytes: config.journal.segment_bytes,
        snapshot_bytes: config.journal.snapshot_interval_bytes,
        queue_length: config.journal.max_waiting_transactions_count,
        cache_bytes: config.journal.index_cache_bytes,
        ..Options::default()
    };
    let environment = Environment {
        context: context.as_ref().clone(),
        clock: Arc::clone(&clock),
        random: Arc::new(SystemRandom::default()),
    };
    let (store, report) = FileStore::open(&paths.data, options, environment)?;
    tracing::info!(
        event = "store.opened",
        frames = report.frames,
        records = report.records,
        journal_bytes = report.journal_bytes,
        torn = report.torn,
        index_kept = report.index_kept,
    );
    if report.journal_bytes > LONG_TAIL_BYTES {
        // In the background, so that the next start has less to read.
        store.request_snapshot();
    }
    // After the data directory is locked: of two daemons that start at once, one never touches the other's socket.
    let unix_limits = UnixLimits {
        mode: config.management.socket_mode.bits(),
        max_connections: config.management.max_connections_count,
        ..UnixLimits::default()
    };
    let management_listener = UnixListener::bind(&paths.socket, unix_limits).await?;
    let objects = Objects::open(&paths.data, READS)?;
    let files = reload::watch(&paths)?;
    let node = Arc::new(Node {
        catalogs: Places::new(
            usize::MAX,
            config.partner_listener.max_concurrent_catalog_requests_per_partner_count,
        ),
        unread: Unread::new(config.partner_listener.max_unread_body_bytes_per_partner),
        intake: Intake::new(config.partner_listener.max_message_bytes_per_partner_per_hour),
        streams: Places::new(
            config.partner_listener.max_concurrent_transfers_count,
            config.partner_listener.max_concurrent_transfers_per_partner_count,
        ),
        refusals: Refusals::new(
            store.clone(),
            config.partner_listener.max_refusals_per_partner_per_second_count,
            config.partner_listener.max_refusals_per_partner_per_hour_count,
        ),
        paths,
        config,
        context,
        store,
        objects,
        identity,
        clock,
        registry: RwLock::new(Arc::new(partners)),
        trust_changed: tokio::sync::watch::Sender::new(()),
        clients: Mutex::default(),
        attempts: outbox::Attempts::default(),
        owing: outbox::Owing::default(),
        meters: Arc::default(),
        witnesses: crate::witness::Witnesses::default(),
        metrics: telemetry.metrics(),
        ticks: tokio::sync::watch::Sender::new(()),
        shutdown,
        reloading: tokio::sync::Mutex::default(),
        catching_up: reload::CatchingUp::default(),
        beginning_pull: tokio::sync::Mutex::default(),
        pulling: Mutex::default(),
    });
    open_books(&node).await?;
    let management = (management_listener, remote_management);
    serve(node, partner_listener, status_listener, management, files, telemetry).await
}

/// The first records of a run: that it started, what rules, and what a stop without its mark left open.
async fn open_books(node: &Arc<Node>) -> Result<(), ServeError> {
    let participant = node.context.participant.clone();
    let started = node
        .commit(move |view| engine::site::started(view, &participant, env!("CARGO_PKG_VERSION")))
        .await?;
    let unclean = match started {
        Ok(started) => started.unclean,
        Err(owner) => {
            return Err(ServeError::OtherOwner {
                data: node.paths.data.clone(),
                owner: owner.to_string(),
            });
        }
    };
    // Read again now that changes are noted: one that came since the site was read is lost otherwise.
    reload::reload_pki(node);
    let author = Author { place: "start".to_owned(), person: None, reason: None };
    reload::reload(node, author).await?;
    outbox::assume_attempted(node).await?;
    if unclean {
        let mut after = None;
        loop {
            let page = node.store.scan_hot(Kind::Transfer, after.take(), SCAN_STEP).await?;
            after = page.last().map(|(key, _)| key.clone());
            // Asked together, they share a group and its fsync.
            let interrupted = page.iter().filter_map(|(key, _)| match key {
                Key::Transfer(pid) => {
                    let pid = pid.clone();
                    Some(node.commit(move |view| engine::data::interrupted(view, &pid)))
                }
                _ => None,
            });
            futures_util::future::try_join_all(interrupted).await?;
            if page.len() < SCAN_STEP {
                break;
            }
        }
    }
    Ok(())
}

async fn serve(
    node: Arc<Node>,
    partner_listener: PartnerListener,
    status_listener: StatusListener,
    (management_listener, remote_management): (UnixListener, Option<ManagementListener>),
    files: reload::Watched,
    telemetry: Arc<Telemetry>,
) -> Result<Running, ServeError> {
    let system = |error: &dyn std::fmt::Display| ServeError::System(error.to_string());
    let (partner, status_addresses) =
        (partner_listener.addresses().to_vec(), status_listener.addresses().to_vec());
    let partners = Arc::new(Partners::new(Arc::clone(&node)).map_err(|error| system(&error))?);
    let limits = listener_limits(&node);
    let (entrance, shutdown) = (Arc::new(Entrance::new(Arc::clone(&node))), node.shutdown.clone());
    let partner_listener = tokio::spawn(async move {
        let handler = Arc::new(move |request, connection| {
            let partners = Arc::clone(&partners);
            async move { partners.answer(request, connection).await }
        });
        partner_listener.serve(entrance, handler, limits, shutdown).await;
    });
    let status_limits = StatusLimits {
        max_connections: node.config.status_listener.max_connections_count,
        ..StatusLimits::default()
    };
    let (watched, shutdown) = (Arc::clone(&node), node.shutdown.clone());
    let status_listener = tokio::spawn(async move {
        let handler = Arc::new(move |request, _visitor| {
            let response = status::answer(&watched, &telemetry, &request);
            async move { response }
        });
        status_listener.serve(handler, status_limits, shutdown).await;
    });
    let managed =
        Arc::new(management::Management::new(Arc::clone(&node)).map_err(|error| system(&error))?);
    let shutdown = node.shutdown.clone();
    let local = Arc::clone(&managed);
    let management_listener = tokio::spawn(async move {
        let handler = Arc::new(move |request, peer| {
            let managed = Arc::clone(&local);
            async move { managed.answer(request, peer).await }
        });
        management_listener.serve(handler, shutdown).await;
    });
    let mut listeners = vec![status_listener, management_listener];
    let mut management = Vec::new();
    if let Some(listener) = remote_management {
        management = listener.addresses().to_vec();
        let (limits, shutdown) = (management_limits(&node), node.shutdown.clone());
        listeners.push(tokio::spawn(async move {
            let handler = Arc::new(move |request, visitor| {
                let managed = Arc::clone(&managed);
                async move { managed.answer_remote(request, visitor).await }
            });
            listener.serve(handler, limits, shutdown).await;
        }));
    }
    let workers = vec![
        tokio::spawn(outbox::run(Arc::clone(&node))),
        tokio::spawn(summarise(Arc::clone(&node))),
        tokio::spawn(watch_clock(Arc::clone(&node))),
        tokio::spawn(deadlines::run(Arc::clone(&node))),
        tokio::spawn(crate::pushes::run(Arc::clone(&node))),
        tokio::spawn(tidy(Arc::clone(&node))),
        tokio::spawn(reload::follow(Arc::clone(&node), files)),
    ];
    pulls::resume_all(&node).await?;
    crate::witness::resume_all(&node);
    reload::show_expiry(&node);
    Ok(Running {
        node,
        partner,
        status: status_addresses,
        management,
        listeners,
        partner_listener,
        workers,
    })
}

impl Running {
    /// Serves until the shutdown drains, and stops in good order: running transfers end, what is owed stays owed, the
    /// journal says that it stopped.
    pub async fn wait(self) {
        let node = self.node;
        node.shutdown.draining().await;
        tracing::info!(event = "draining", seconds = node.config.partner_listener.drain_seconds);
        let _ = self.partner_listener.await;
        node.shutdown.stop();
        for task in self.listeners.into_iter().chain(self.workers) {
            let _ = task.await;
        }
        record_served(&node).await;
        if let Err(error) = node.commit(|view| engine::site::stopped(view, "shutdown")).await {
            tracing::error!(event = "stop.not_recorded", error = %error);
        }
        if let Err(error) = node.store.close().await {
            tracing::error!(event = "store.not_closed", error = %error);
        }
        tracing::info!(event = "stopped");
    }
}

fn listener_limits(node: &Node) -> ListenerLimits {
    let section = &node.config.partner_listener;
    ListenerLimits {
        http: HttpLimits {
            max_header_bytes: section.max_header_bytes,
            max_header_count: section.max_header_count,
            header_timeout: section.header_timeout(),
            idle_timeout: section.idle_timeout(),
            stall_timeout: node.config.data.stall_timeout(),
            max_concurrent_streams: section.max_concurrent_streams_count,
            drain: section.drain(),
        },
        max_connections: section.max_connections_count,
        max_connections_per_partner: section.max_connections_per_partner_count,
        handshake_timeout: section.handshake_timeout(),
        max_handshakes: section.max_handshakes_count,
        max_handshakes_per_address: section.max_handshakes_per_address_count,
        max_unsent_bytes: section.max_unsent_bytes,
    }
}

fn management_limits(node: &Node) -> ManagementLimits {
    let section = &node.config.management;
    ManagementLimits {
        http: listener_limits(node).http,
        max_connections: section.max_connections_count,
        // One application's host does not take all places of the others.
        max_connections_per_address: section.max_connections_count.div_ceil(2),
        handshake_timeout: node.config.partner_listener.handshake_timeout(),
    }
}

/// Records what was served, each second while anything is.
async fn summarise(node: Arc<Node>) {
    loop {
        tokio::select! {
            () = node.shutdown.stopping() => return,
            () = node.meters.pending() => {}
        }
        tokio::select! {
            () = node.shutdown.stopping() => return,
            () = tokio::time::sleep(SUMMARY) => {}
        }
        record_served(&node).await;
    }
}

/// Records what was served and is not recorded yet.
pub async fn record_served(node: &Arc<Node>) {
    for (pid, served) in node.meters.drain() {
        let asked = pid.clone();
        let recorded = node
            .commit(move |view| engine::data::served(view, &asked, served.bytes, served.requests))
            .await;
        if let Err(error) = recorded {
            tracing::warn!(event = "served.not_recorded", transfer = %pid, error = %error);
            node.meters.restore(&pid, served);
        }
    }
}

/// Removes, once after a start, the files that nothing refers to any more.
async fn tidy(node: Arc<Node>) {
    tokio::select! {
        () = node.shutdown.draining() => return,
        () = node.store.ready() => {}
    }
    let outcome = async {
        let sweep = node.objects.sweep();
        let mut keep = HashSet::new();
        let mut after = None;
        loop {
            let page = node.store.scan(Kind::Dataset, after.take(), SCAN_STEP).await?;
            after = page.last().map(|(key, _)| key.clone());
            for (_, entity) in &page {
                if let Entity::Dataset(dataset) = entity.as_ref() {
                    keep.insert(dataset.digests.blake3.clone());
                }
            }
            if page.len() < SCAN_STEP {
                break;
            }
        }
        let swept = sweep.finish(keep).await?;
        let pulls: HashSet<PullName> = pulls::open_pulls(&node)
            .await?
            .iter()
            .filter_map(|pull| pull.id.parse().ok())
            .collect();
        let incoming = node.objects.sweep_incoming(&pulls)?;
        tracing::debug!(event = "tidied", objects = swept.objects, incoming = incoming);
        Ok::<_, ServeError>(())
    };
    if let Err(error) = outcome.await {
        tracing::warn!(event = "tidying.failed", error = %error);
    }
}

/// The one periodic task there is: sees steps of the wall clock, and what came due while the machine was suspended.
async fn watch_clock(node: Arc<Node>) {
    let mut before = None;
    loop {
        // Asked before the clocks are read: time that passes in between does not put the clock behind the journal.
        let journaled = node.commit(|view| Ok(engine::Decision::answer(view.now()))).await;
        let now = Tick::take(node.clock.as_ref());
        if let Ok(journaled) = journaled {
            let judged = judge(before, now, Some(journaled), node.config.clock.max_step());
            // A step that could not be recorded is seen again at the next look.
            let settled = match judged {
                Ok(()) => true,
                Err(fault) => distrust_clock(&node, &fault.to_string()).await,
            };
            if settled || before.is_none() {
                before = Some(now);
            }
        }
        if let Err(error) = node.store.recheck_due().await {
            tracing::error!(event = "permits.not_rechecked", error = %error);
        }
        node.ticks.send_replace(());
        tokio::select! {
            () = node.shutdown.stopping() => return,
            () = tokio::time::sleep(node.config.clock.tick()) => {}
        }
    }
}

async fn distrust_clock(node: &Arc<Node>, reason: &str) -> bool {
    node.metrics.clock_fault();
    tracing::error!(event = "clock.refused", reason = reason);
    let reason = reason.to_owned();
    match node.commit(move |view| engine::site::refuse_clock(view, &reason)).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(event = "clock.not_recorded", error = %error);
            false
        }
    }
}

/// The clock of handshakes is the node's.
struct HandshakeTime(Arc<dyn Clock>);

impl rustls::time_provider::TimeProvider for HandshakeTime {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl std::fmt::Debug for HandshakeTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HandshakeTime")
    }
}

//! The running node: what every listener and worker shares.

mod serve;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use certs::trust::TrustStore;
use engine::{
    Context, Decision, Fresh, Key, Need, Peer, Refusal, RefusalKind, Store as _, StoreError, View,
};
use protocol::id::ParticipantId;
use protocol::json::Limits;
use store::{Clock, FileStore};
use tokio::sync::watch;
use uuid::Uuid;

pub use serve::{Running, ServeError, record_served, start};

use crate::config::Config;
use crate::data::Meters;
use crate::net::{Connection, DialLimits, Guard, NodeIdentity, Pace, PartnerClient, Shutdown};
use crate::objects::Objects;
use crate::outbox::{Attempts, Owing};
use crate::partners::Registry;
use crate::refusals::Refusals;
use crate::site::Paths;
use crate::telemetry::Metrics;
use crate::wire::Trouble;
use crate::witness::Witnesses;

/// The running node. Shared by everything that serves or works.
pub struct Node {
    /// Where the site's files are.
    pub paths: Paths,
    /// The configuration.
    pub config: Config,
    /// What decisions are told about us.
    pub context: Arc<Context>,
    /// The state.
    pub store: FileStore,
    /// The bytes of datasets.
    pub objects: Objects,
    /// Our certificates, our partners' trust, the clock of handshakes.
    pub identity: NodeIdentity,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The partners' files as they are in force.
    registry: RwLock<Arc<Registry>>,
    /// Changes after other partners' files were put in force.
    trust_changed: watch::Sender<()>,
    /// One client for each partner, made anew when its file changes.
    clients: Mutex<HashMap<ParticipantId, (u64, PartnerClient)>>,
    /// Which messages may have reached their partner.
    pub attempts: Attempts,
    /// How much waits for each partner.
    pub owing: Owing,
    /// What is being served.
    pub meters: Arc<Meters>,
    /// Refusals on their way into the journal.
    pub refusals: Refusals,
    /// Checkpoints.
    pub witnesses: Witnesses,
    /// Instruments.
    pub metrics: Metrics,
    /// Changes each time that the clock was looked at.
    pub ticks: watch::Sender<()>,
    /// When to stop.
    pub shutdown: Shutdown,
    /// One change of partners and policies at a time.
    pub reloading: tokio::sync::Mutex<()>,
    /// Who waits for changes of policies.
    pub catching_up: crate::reload::CatchingUp,
    /// One search for an open pull, and the beginning of one where there is none, at a time; never held over the network.
    pub beginning_pull: tokio::sync::Mutex<()>,
    /// The pulls that a worker is busy with.
    pub pulling: Mutex<HashMap<String, Arc<crate::pulls::Progress>>>,
    /// How many data streams may run, in all and for each partner.
    pub streams: crate::partner::Places,
    /// How many bytes of requests that are not answered yet may be held for each partner.
    pub unread: crate::partner::Unread,
    /// How many bytes of messages each partner may send in an hour.
    pub intake: crate::partner::Intake,
    /// How many catalogs may be read for each partner at once.
    pub catalogs: crate::partner::Places,
}

impl Node {
    /// Fresh identifiers for one decision.
    pub fn fresh(&self) -> Fresh {
        Fresh::draw(Uuid::new_v4)
    }

    /// Who is at the other end of a connection.
    ///
    /// # Errors
    /// When the certificate's participant id is not an identifier, which trust never yields.
    pub fn peer(&self, connection: &Connection) -> Result<Peer, protocol::id::IdError> {
        let checked = connection.checked();
        Ok(Peer {
            participant: ParticipantId::new(&checked.participant)?,
            proof: hex::encode(checked.leaf_sha256),
            node: (*checked.node).clone(),
            place: format!("partner {}", connection.remote()),
        })
    }

    /// Decides and commits something that may be refused.
    ///
    /// # Errors
    /// [`Trouble`]: it is refused, or could not be stored.
    pub async fn decide<R: Send + 'static>(
        &self,
        decide: impl FnMut(&dyn View) -> Result<Decision<Result<R, Refusal>>, Need> + Send + 'static,
    ) -> Result<R, Trouble> {
        self.decide_with(Vec::new(), decide).await
    }

    /// As [`Node::decide`], where it is known that the decision needs many entities.
    ///
    /// # Errors
    /// As [`Node::decide`].
    pub async fn decide_with<R: Send + 'static>(
        &self,
        keys: Vec<Key>,
        mut decide: impl FnMut(&dyn View) -> Result<Decision<Result<R, Refusal>>, Need> + Send + 'static,
    ) -> Result<R, Trouble> {
        let started = std::time::Instant::now();
        let committed = self.store.transact(keys, move |view| decide(view)).await?;
        self.metrics.commit(started.elapsed());
        Ok(committed.reply?)
    }

    /// Decides and commits something that cannot be refused.
    ///
    /// # Errors
    /// When it could not be stored.
    pub async fn commit<R: Send + 'static>(
        &self,
        decide: impl FnMut(&dyn View) -> Result<Decision<R>, Need> + Send + 'static,
    ) -> Result<R, StoreError> {
        let started = std::time::Instant::now();
        let committed = self.store.transact(Vec::new(), decide).await?;
        self.metrics.commit(started.elapsed());
        Ok(committed.reply)
    }

    /// Refuses to begin another process with a partner that does not take what it is owed.
    ///
    /// # Errors
    /// When as many of its processes as may owe it something.
    pub fn check_owing(&self, participant: &ParticipantId) -> Result<(), Refusal> {
        let most = self.config.outbound.max_waiting_messages_per_partner_count;
        if self.owing.to(participant) < most {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalKind::TooMany,
            "too many messages wait for you; take them first",
            format!(
                "{most} messages wait for `{participant}` (outbound.max_waiting_messages_per_partner_count)"
            ),
            Uuid::new_v4(),
        ))
    }

    /// The partners' files in force.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other partners' files in force, after the commit that says so.
    pub fn replace_registry(&self, registry: Registry, trust: TrustStore) {
        // The files first: a client that is made in between is made again for the newer generation.
        *self.registry.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(registry);
        self.identity.trust.replace(trust);
        self.trust_changed.send_replace(());
    }

    /// Tells streams that run that certificates have to be judged again.
    pub fn trust_changes(&self) -> watch::Receiver<()> {
        self.trust_changed.subscribe()
    }

    /// A partner by its short name or its participant id.
    pub fn partner_id(&self, name: &str) -> Option<ParticipantId> {
        let registry = self.registry();
        if let Some(partner) = registry.by_name(name) {
            return Some(partner.partner.participant.clone());
        }
        let participant = ParticipantId::new(name).ok()?;
        registry.by_participant(&participant).map(|partner| partner.partner.participant.clone())
    }

    /// The short name of a partner, for logs and metrics.
    pub fn partner_name(&self, participant: &ParticipantId) -> String {
        self.registry()
            .by_participant(participant)
            .map_or_else(|| "unknown".to_owned(), |partner| partner.name().to_owned())
    }

    /// The client that dials a partner; `None` where it is not registered.
    pub fn client(&self, participant: &ParticipantId) -> Option<PartnerClient> {
        let generation = self.identity.trust.load().generation();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, client)) = clients.get(participant)
            && *made == generation
        {
            return Some(client.clone());
        }
        let registry = self.registry();
        let partner = registry.by_participant(participant)?;
        let origins =
            partner.partner.origins.iter().filter_map(|origin| origin.parse().ok()).collect();
        let guard = Guard::new(origins, partner.networks.clone());
        let client = PartnerClient::new(
            Arc::from(participant.as_str()),
            guard,
            self.identity.clone(),
            self.dial_limits(),
        );
        match client {
            Ok(client) => {
                clients.insert(participant.clone(), (generation, client.clone()));
                Some(client)
            }
            Err(error) => {
                tracing::error!(event = "client.failed", partner = partner.name(), error = %error);
                None
            }
        }
    }

    fn dial_limits(&self) -> DialLimits {
        let outbound = &self.config.outbound;
        DialLimits {
            connect_timeout: outbound.connect_timeout(),
            handshake_timeout: outbound.handshake_timeout(),
            request_timeout: outbound.request_timeout(),
            max_response_bytes: outbound.max_response_bytes,
            keep: outbound.idle_connection(),
            max_kept_connections: outbound.max_idle_connections_per_partner_count,
            max_header_bytes: outbound.max_header_bytes,
            max_header_count: outbound.max_header_count,
            pace: self.pace_of(outbound.stall_timeout()),
        }
    }

    /// How slowly a partner may send a message.
    pub fn pace(&self) -> Pace {
        self.pace_of(self.config.partner_listener.stall_timeout())
    }

    /// How slowly a partner may send data.
    pub fn data_pace(&self) -> Pace {
        self.pace_of(self.config.data.stall_timeout())
    }

    fn pace_of(&self, grace: std::time::Duration) -> Pace {
        let rate = self.config.partner_listener.minimum_rate_bytes_per_second;
        Pace {
            minimum_bytes_per_second: std::num::NonZeroU64::new(rate)
                .unwrap_or(std::num::NonZeroU64::MIN),
            grace,
        }
    }

    /// The limits of JSON that partners answer with.
    pub fn answer_limits(&self) -> Limits {
        Limits {
            max_bytes: self.config.outbound.max_response_bytes,
            max_depth: self.config.partner_listener.max_json_depth,
            max_nodes: 1_000_000,
        }
    }

    /// The limits of JSON that partners send.
    pub fn json_limits(&self) -> Limits {
        Limits {
            max_bytes: self.config.partner_listener.max_body_bytes,
            max_depth: self.config.partner_listener.max_json_depth,
            ..Limits::default()
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Node")
            .field("participant", &self.context.participant)
            .finish_non_exhaustive()
    }
}

//! The partner listener: mutual TLS 1.3 on one port, HTTP/1.1 and HTTP/2 (`design.md`, Listeners).
//!
//! Strangers can hold only the few places for handshakes, and lose them to whoever comes when all are taken
//! ([`super::handshakes`]). A place among the connections is given after the handshake, counted per partner, so no partner
//! can shut out another.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certs::tls::{SERVER_ALPN, server_config};
use certs::trust::{Checked, TrustError};
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::body::Body;
use super::connection::{Connection, HttpVersion, Kill};
use super::handshakes::{Begun, Handshakes};
use super::identity::NodeIdentity;
use super::listener::{Handler, HttpLimits, ListenError, accept, bind_all, bound};
use super::serve::{Activity, Terms, Wire, serve};
use super::shutdown::Shutdown;

/// Limits of the partner listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// Limits of each connection.
    pub http: HttpLimits,
    /// Connections with a completed handshake, of all partners.
    pub max_connections: usize,
    /// Connections with a completed handshake, of one partner.
    pub max_connections_per_partner: usize,
    /// Handshakes under way; for each further one the oldest of the address that has most is closed.
    pub max_handshakes: usize,
    /// Handshakes under way from one address, or one IPv6 network of 64 bits; further ones are closed.
    pub max_handshakes_per_address: usize,
    /// The whole TLS handshake.
    pub handshake_timeout: Duration,
    /// Bytes that the kernel may hold unsent per connection: what a cut stream can still send.
    pub max_unsent_bytes: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            http: HttpLimits::default(),
            max_connections: 1024,
            max_connections_per_partner: 64,
            max_handshakes: 256,
            max_handshakes_per_address: 32,
            handshake_timeout: Duration::from_secs(5),
            max_unsent_bytes: 256 * 1024,
        }
    }
}

/// Why a connection was not served, or a request on it not answered.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The handshake took too long.
    #[error("the handshake took longer than {0:.1?}")]
    HandshakeTimeout(Duration),
    /// The handshake failed for a reason other than the certificate.
    #[error("the handshake failed")]
    Handshake(#[source] io::Error),
    /// No certificate can be judged.
    #[error("this node's clock gives no time, so no certificate can be judged")]
    NoTime(#[source] io::Error),
    /// The certificate stands for no partner, or is not good, or no longer.
    #[error(transparent)]
    Identity(#[from] TrustError),
    /// The partner's file does not list this address.
    #[error("partner `{participant}` may not connect from {address}; its file lists the networks")]
    Network {
        /// The partner.
        participant: Arc<str>,
        /// Where it came from.
        address: IpAddr,
    },
    /// The partner has as many connections as it may.
    #[error("partner `{participant}` already has {limit} connections")]
    PartnerConnections {
        /// The partner.
        participant: Arc<str>,
        /// The limit.
        limit: usize,
    },
    /// All places are taken.
    #[error("all {limit} connections are in use")]
    Connections {
        /// The limit.
        limit: usize,
    },
    /// All places for handshakes are taken, its address has most of them, and another one came.
    #[error("the handshake made room for another one: all {limit} were under way")]
    Displaced {
        /// The limit.
        limit: usize,
    },
    /// One address, or one IPv6 network of 64 bits, holds as many handshakes as it may.
    #[error("{address} already has {limit} handshakes under way")]
    Handshakes {
        /// The address.
        address: IpAddr,
        /// The limit.
        limit: usize,
    },
}

/// What the node says about connections: the listener only asks.
pub trait Gate: Send + Sync + 'static {
    /// Whether a partner may connect from an address. Asked once, after the handshake.
    fn admits(&self, participant: &str, address: IpAddr) -> bool;

    /// The answer to a request whose connection's certificate is no longer good. The connection closes
    /// after it.
    fn refuse(&self, connection: &Connection, refusal: &Refusal) -> Response<Body>;

    /// Told of each connection that ends before its first request, for counting and for the journal.
    fn turned_away(&self, remote: SocketAddr, refusal: &Refusal);
}

/// The bound sockets of the partner listener.
#[derive(Debug)]
pub struct PartnerListener {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    identity: NodeIdentity,
    tls: Arc<rustls::ServerConfig>,
}

impl PartnerListener {
    /// Listens on every address; port 0 takes a free one.
    ///
    /// # Errors
    /// When one of the addresses cannot be had; then none is kept.
    pub fn bind(addresses: &[SocketAddr], identity: NodeIdentity) -> Result<Self, ListenError> {
        let NodeIdentity { site, trust, time } = identity.clone();
        let tls = server_config(site, trust, SERVER_ALPN, time)?;
        let listeners = bind_all(addresses)?;
        let addresses = bound(&listeners);
        Ok(Self { listeners, addresses, identity, tls })
    }

    /// The bound addresses, in the order given to [`PartnerListener::bind`].
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `shutdown` drains, and returns when the last connection has ended.
    pub async fn serve<G: Gate, H: Handler<Connection>>(
        self,
        gate: Arc<G>,
        handler: Arc<H>,
        limits: ListenerLimits,
        shutdown: Shutdown,
    ) {
        let door = Arc::new(Door {
            judged: Arc::new(Judged {
                identity: self.identity.clone(),
                gate: Arc::clone(&gate),
                handler,
            }),
            acceptor: TlsAcceptor::from(self.tls),
            identity: self.identity,
            gate,
            limits,
            shutdown,
            connections: Arc::new(Semaphore::new(limits.max_connections)),
            handshakes: Handshakes::new(limits.max_handshakes, limits.max_handshakes_per_address),
            by_partner: Counts::default(),
            tasks: TaskTracker::new(),
        });
        for listener in self.listeners {
            door.tasks.spawn(Arc::clone(&door).accept_all(listener));
        }
        door.shutdown.draining().await;
        door.tasks.close();
        door.tasks.wait().await;
    }
}

/// What all accept loops and connections of one listener share.
struct Door<G, H> {
    identity: NodeIdentity,
    acceptor: TlsAcceptor,
    gate: Arc<G>,
    judged: Arc<Judged<G, H>>,
    limits: ListenerLimits,
    shutdown: Shutdown,
    connections: Arc<Semaphore>,
    handshakes: Handshakes,
    by_partner: Counts<Arc<str>>,
    tasks: TaskTracker,
}

impl<G: Gate, H: Handler<Connection>> Door<G, H> {
    async fn accept_all(self: Arc<Self>, listener: TcpListener) {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.draining() => return,
                (socket, remote) = accept(&listener) => {
                    let address = remote.ip().to_canonical();
                    match self.handshakes.begin(household(address)) {
                        Some(begun) => {
                            self.tasks.spawn(Arc::clone(&self).connection(socket, remote, begun));
                        }
                        None => {
                            let limit = self.limits.max_handshakes_per_address;
                            self.gate.turned_away(remote, &Refusal::Handshakes { address, limit });
                        }
                    }
                }
            }
        }
    }

    /// One connection, from accept to end.
    async fn connection(self: Arc<Self>, socket: TcpStream, remote: SocketAddr, begun: Begun) {
        let kill = Kill::default();
        let activity = Activity::new();
        let opened = tokio::select! {
            biased;
            () = self.shutdown.stopping() => return,
            () = begun.displaced() => Err(Refusal::Displaced { limit: self.limits.max_handshakes }),
            opened = self.open(socket, remote, &activity, &kill) => opened,
        };
        drop(begun);
        let Opened { stream, connection, _places } = match opened {
            Ok(opened) => opened,
            Err(refusal) => return self.gate.turned_away(remote, &refusal),
        };
        let version = connection.version();
        let connection = Arc::new(connection);
        let terms = Terms {
            limits: self.limits.http,
            activity,
            shutdown: &self.shutdown,
            drains: true,
            kill: &kill,
            close: connection.close_token(),
        };
        let peer = Arc::clone(&connection);
        serve(stream, version, peer, Arc::clone(&self.judged), terms).await;
    }

    /// Handshake, identity, and a place among the connections.
    async fn open(
        &self,
        socket: TcpStream,
        remote: SocketAddr,
        activity: &Arc<Activity>,
        kill: &Kill,
    ) -> Result<Opened, Refusal> {
        let address = remote.ip().to_canonical();
        prepare(&socket, self.limits.max_unsent_bytes);
        let local = socket.local_addr().map_err(Refusal::Handshake)?;
        let wire = Wire::new(socket, activity, kill);
        let timeout = self.limits.handshake_timeout;
        let stream = tokio::time::timeout(timeout, self.acceptor.accept(wire))
            .await
            .map_err(|_| Refusal::HandshakeTimeout(timeout))?
            .map_err(|error| match TrustError::in_handshake(&error) {
                Some(reason) => Refusal::Identity(reason.clone()),
                None => Refusal::Handshake(error),
            })?;
        let (chain, checked) = self.identify(&stream)?;
        let participant = Arc::clone(&checked.participant);
        if !self.gate.admits(&participant, address) {
            return Err(Refusal::Network { participant, address });
        }
        let limit = self.limits.max_connections_per_partner;
        let of_partner = self
            .by_partner
            .take(Arc::clone(&participant), limit)
            .ok_or(Refusal::PartnerConnections { participant, limit })?;
        let limit = self.limits.max_connections;
        let of_all = Arc::clone(&self.connections)
            .try_acquire_owned()
            .map_err(|_| Refusal::Connections { limit })?;
        let (_, session) = stream.get_ref();
        let version = match session.alpn_protocol() {
            Some(b"h2") => HttpVersion::Http2,
            _ => HttpVersion::Http1,
        };
        let group = session.negotiated_key_exchange_group().map(|group| group.name());
        let ends = (remote, local);
        let connection = Connection::new(ends, version, group, chain, checked, kill.clone());
        Ok(Opened { stream, connection, _places: (of_partner, of_all) })
    }

    /// The handshake's verifier has accepted this chain; trust says once more for whom and until when.
    fn identify(
        &self,
        stream: &TlsStream<Wire<TcpStream>>,
    ) -> Result<(Vec<CertificateDer<'static>>, Checked), Refusal> {
        let (_, session) = stream.get_ref();
        let chain: Vec<_> = session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let now = self.identity.now().map_err(Refusal::NoTime)?;
        let checked = self.identity.trust.load().check_client(&chain, now)?;
        Ok((chain, checked))
    }
}

struct Opened {
    stream: TlsStream<Wire<TcpStream>>,
    connection: Connection,
    _places: (Place<Arc<str>>, OwnedSemaphorePermit),
}

/// Asks trust before each request, so that what was withdrawn stops working on open connections too.
struct Judged<G, H> {
    identity: NodeIdentity,
    gate: Arc<G>,
    handler: Arc<H>,
}

impl<G: Gate, H: Handler<Connection>> Handler<Connection> for Judged<G, H> {
    async fn handle(
        &self,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Body> {
        let judged = self
            .identity
            .now()
            .map_err(Refusal::NoTime)
            .and_then(|now| Ok(connection.judge(&self.identity.trust, now)?));
        let Err(refusal) = judged else {
            return self.handler.handle(request, connection).await;
        };
        connection.close();
        let mut response = self.gate.refuse(&connection, &refusal);
        if connection.version() == HttpVersion::Http1 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Whoever has one IPv6 address has the 2^64 beside it as well.
pub(super) fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

/// How many of something each key holds.
pub(super) struct Counts<K: Eq + Hash>(Arc<Mutex<HashMap<K, usize>>>);

impl<K: Eq + Hash> Default for Counts<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone> Counts<K> {
    pub(super) fn take(&self, key: K, limit: usize) -> Option<Place<K>> {
        let mut counts = locked(&self.0);
        let held = counts.get(&key).copied().unwrap_or(0);
        if held >= limit {
            return None;
        }
        counts.insert(key.clone(), held.saturating_add(1));
        Some(Place { counts: Arc::clone(&self.0), key })
    }
}

/// One of a key's places; free again when dropped.
pub(super) struct Place<K: Eq + Hash> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = locked(&self.counts);
        match counts.get_mut(&self.key) {
            Some(held) if *held > 1 => *held = held.saturating_sub(1),
            _ => {
                counts.remove(&self.key);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under the lock is a single map operation.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Small replies go at once, and a cut stream finds little left in the kernel.
fn prepare(socket: &TcpStream, max_unsent_bytes: u32) {
    let options = socket2::SockRef::from(socket);
    let prepared =
        socket.set_nodelay(true).and_then(|()| options.set_tcp_notsent_lowat(max_unsent_bytes));
    if let Err(error) = prepared {
        tracing::debug!(%error, "connection.options_failed");
    }
}

#[cfg(test)]
mod tests;

//! The management listener on TCP: TLS 1.3 with the site's server certificate, HTTP/1.1 and HTTP/2 (`design.md`,
//! Listeners). Who asks is not known before a request shows its key.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use certs::tls::{SERVER_ALPN, management_config};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{HttpVersion, Kill};
use super::identity::NodeIdentity;
use super::listener::{Handler, HttpLimits, ListenError, accept, bind_all, bound};
use super::partner_listener::{Counts, Place, household};
use super::serve::{Activity, Terms, Wire, serve};
use super::shutdown::Shutdown;
use super::status_listener::Visitor;

/// Limits of the management listener on TCP.
#[derive(Clone, Copy, Debug)]
pub struct ManagementLimits {
    /// Limits of each connection.
    pub http: HttpLimits,
    /// Connections at once, handshakes under way among them; further ones are closed.
    pub max_connections: usize,
    /// Connections at once from one address, or one IPv6 network of 64 bits; further ones are closed.
    pub max_connections_per_address: usize,
    /// The whole TLS handshake.
    pub handshake_timeout: Duration,
}

/// The bound sockets of the management listener.
#[derive(Debug)]
pub struct ManagementListener {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    tls: Arc<rustls::ServerConfig>,
}

impl ManagementListener {
    /// Listens on every address; port 0 takes a free one. `None` where there is no address.
    ///
    /// # Errors
    /// When one of the addresses cannot be had; then none is kept.
    pub fn bind(
        addresses: &[SocketAddr],
        identity: &NodeIdentity,
    ) -> Result<Option<Self>, ListenError> {
        if addresses.is_empty() {
            return Ok(None);
        }
        let NodeIdentity { site, time, .. } = identity.clone();
        let tls = management_config(site, SERVER_ALPN, time)?;
        let listeners = bind_all(addresses)?;
        let addresses = bound(&listeners);
        Ok(Some(Self { listeners, addresses, tls }))
    }

    /// The bound addresses, in the order given to [`ManagementListener::bind`].
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `shutdown` drains, and returns when the last connection has ended.
    pub async fn serve<H: Handler<Visitor>>(
        self,
        handler: Arc<H>,
        limits: ManagementLimits,
        shutdown: Shutdown,
    ) {
        let door = Arc::new(Door {
            acceptor: TlsAcceptor::from(self.tls),
            handler,
            limits,
            shutdown,
            places: Arc::new(Semaphore::new(limits.max_connections)),
            by_address: Counts::default(),
        });
        let tasks = TaskTracker::new();
        for listener in self.listeners {
            let (door, connections) = (Arc::clone(&door), tasks.clone());
            tasks.spawn(async move {
                loop {
                    let (socket, remote) = tokio::select! {
                        biased;
                        () = door.shutdown.draining() => return,
                        accepted = accept(&listener) => accepted,
                    };
                    let address = household(remote.ip().to_canonical());
                    let of_address =
                        door.by_address.take(address, door.limits.max_connections_per_address);
                    let place = Arc::clone(&door.places).try_acquire_owned();
                    if let (Some(of_address), Ok(place)) = (of_address, place) {
                        let places = (of_address, place);
                        connections.spawn(Arc::clone(&door).connection(socket, remote, places));
                    }
                }
            });
        }
        door.shutdown.draining().await;
        tasks.close();
        tasks.wait().await;
    }
}

/// What all connections share.
struct Door<H> {
    acceptor: TlsAcceptor,
    handler: Arc<H>,
    limits: ManagementLimits,
    shutdown: Shutdown,
    places: Arc<Semaphore>,
    by_address: Counts<IpAddr>,
}

impl<H: Handler<Visitor>> Door<H> {
    async fn connection(
        self: Arc<Self>,
        socket: TcpStream,
        remote: SocketAddr,
        _places: (Place<IpAddr>, OwnedSemaphorePermit),
    ) {
        let (kill, close, activity) = (Kill::default(), CancellationToken::new(), Activity::new());
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "connection.options_failed");
        }
        let wire = Wire::new(socket, &activity, &kill);
        let handshake =
            tokio::time::timeout(self.limits.handshake_timeout, self.acceptor.accept(wire));
        let stream = tokio::select! {
            biased;
            () = self.shutdown.stopping() => return,
            stream = handshake => match stream {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, %remote, "management.handshake_failed"),
                Err(_) => return tracing::debug!(%remote, "management.handshake_too_slow"),
            },
        };
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => HttpVersion::Http2,
            _ => HttpVersion::Http1,
        };
        let terms = Terms {
            limits: self.limits.http,
            activity,
            shutdown: &self.shutdown,
            drains: true,
            kill: &kill,
            close: &close,
        };
        let visitor = Arc::new(Visitor { remote });
        serve(stream, version, visitor, Arc::clone(&self.handler), terms).await;
    }
}

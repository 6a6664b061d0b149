//! The status listener: plain HTTP/1.1 for probes and metrics (`design.md`, Listeners). What is served
//! there is no secret; who asks is not known.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{HttpVersion, Kill};
use super::listener::{Handler, HttpLimits, ListenError, accept, bind_all, bound};
use super::serve::{Activity, Terms, Wire, serve};
use super::shutdown::Shutdown;

/// Limits of the status listener.
#[derive(Clone, Copy, Debug)]
pub struct StatusLimits {
    /// Limits of each connection.
    pub http: HttpLimits,
    /// Connections at once; further ones are closed, so that probes of the others go on.
    pub max_connections: usize,
}

impl Default for StatusLimits {
    fn default() -> Self {
        Self { http: HttpLimits::default(), max_connections: 64 }
    }
}

/// Whoever asks, before anything is known of them but their address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The other end of the TCP connection.
    pub remote: SocketAddr,
}

/// The bound sockets of the status listener.
#[derive(Debug)]
pub struct StatusListener {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl StatusListener {
    /// Listens on every address; port 0 takes a free one.
    ///
    /// # Errors
    /// When one of the addresses cannot be had; then none is kept.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let listeners = bind_all(addresses)?;
        let addresses = bound(&listeners);
        Ok(Self { listeners, addresses })
    }

    /// The bound addresses, in the order given to [`StatusListener::bind`].
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `shutdown` stops: probes want to see the drain. Ends with its connections.
    pub async fn serve<H: Handler<Visitor>>(
        self,
        handler: Arc<H>,
        limits: StatusLimits,
        shutdown: Shutdown,
    ) {
        let places = Arc::new(Semaphore::new(limits.max_connections));
        let tasks = TaskTracker::new();
        for listener in self.listeners {
            let (places, handler) = (Arc::clone(&places), Arc::clone(&handler));
            let (shutdown, connections) = (shutdown.clone(), tasks.clone());
            tasks.spawn(async move {
                loop {
                    let (socket, remote) = tokio::select! {
                        biased;
                        () = shutdown.stopping() => return,
                        accepted = accept(&listener) => accepted,
                    };
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let visit = Visit { socket, remote, _place: place };
                    connections.spawn(visit.serve(
                        Arc::clone(&handler),
                        limits.http,
                        shutdown.clone(),
                    ));
                }
            });
        }
        shutdown.stopping().await;
        tasks.close();
        tasks.wait().await;
    }
}

struct Visit {
    socket: TcpStream,
    remote: SocketAddr,
    _place: OwnedSemaphorePermit,
}

impl Visit {
    async fn serve<H: Handler<Visitor>>(
        self,
        handler: Arc<H>,
        limits: HttpLimits,
        shutdown: Shutdown,
    ) {
        let (kill, close, activity) = (Kill::default(), CancellationToken::new(), Activity::new());
        let wire = Wire::new(self.socket, &activity, &kill);
        let terms = Terms {
            limits,
            activity,
            shutdown: &shutdown,
            drains: false,
            kill: &kill,
            close: &close,
        };
        let visitor = Arc::new(Visitor { remote: self.remote });
        serve(wire, HttpVersion::Http1, visitor, handler, terms).await;
    }
}

#[cfg(test)]
mod tests;

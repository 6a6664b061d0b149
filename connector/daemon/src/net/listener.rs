//! What the listeners share: the handler's shape, the limits of HTTP, and binding.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::body::Body;

/// Answers the requests of one listener; `P` is who is at the other end there.
///
/// Every `Fn(Request<Incoming>, Arc<P>) -> impl Future<Output = Response<Body>>` is one.
pub trait Handler<P>: Send + Sync + 'static {
    /// Answers one request. Whatever goes wrong is an answer too.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Arc<P>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

impl<P, F, A> Handler<P> for F
where
    F: Fn(Request<Incoming>, Arc<P>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send,
{
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Arc<P>,
    ) -> impl Future<Output = Response<Body>> + Send {
        self(request, peer)
    }
}

/// Limits of HTTP on one connection.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// All field names and values of a request together, and its target, in bytes.
    pub max_header_bytes: usize,
    /// Fields of a request.
    pub max_header_count: usize,
    /// From the first byte of an HTTP/1.1 request to the end of its fields.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// How long the peer may leave a piece of our reply untaken.
    pub stall_timeout: Duration,
    /// Requests at once on an HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// How long what runs may still take once a drain or a close has begun.
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_header_bytes: 32 * 1024,
            max_header_count: 64,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            max_concurrent_streams: 64,
            drain: Duration::from_secs(30),
        }
    }
}

/// Why a listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The TLS configuration cannot be made.
    #[error(transparent)]
    Tls(#[from] certs::tls::TlsError),
    /// No address at all.
    #[error("no address to listen on; name at least one")]
    NoAddress,
    /// The address cannot be had.
    #[error(
        "cannot listen on {address}; check that it is this host's and that no other process has the port"
    )]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The path does not fit into a socket address.
    #[error(
        "the socket path `{}` has {length} bytes, and a socket's path has at most {limit}; choose a shorter one",
        path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The longest that the system takes.
        limit: usize,
    },
    /// Another process serves there.
    #[error("another process answers at `{}`; stop it, or choose another socket path", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Something that is not a socket is in the way.
    #[error("`{}` exists and is not a socket; move it away, or choose another socket path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot make the socket `{}`; check that its directory exists and may be written", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Listens on every address, or on none.
pub(super) fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    if addresses.is_empty() {
        return Err(ListenError::NoAddress);
    }
    addresses
        .iter()
        .map(|address| {
            // `[::]` takes IPv4 as well, unless the operator gave IPv4 a line of its own.
            let both =
                addresses.iter().any(|other| other.is_ipv4() && other.port() == address.port());
            bind(*address, both).map_err(|source| ListenError::Bind { address: *address, source })
        })
        .collect()
}

/// The bound addresses, in the order given; a port 0 has become a real one.
pub(super) fn bound(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// The next connection of any of the listeners. When the process is out of descriptors or memory, waits a
/// little: an accept loop that spins or ends would be worse.
pub(super) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "listener.accept_failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const BACKLOG: u32 = 1024;

pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn bind(address: SocketAddr, ipv4_is_apart: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(v6) => {
            let socket = TcpSocket::new_v6()?;
            if *v6.ip() == Ipv6Addr::UNSPECIFIED {
                rustix::net::sockopt::set_ipv6_v6only(&socket, ipv4_is_apart)?;
            }
            socket
        }
    };
    // A restart must not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

//! Who we are and whom we know, as sockets need it.

use std::io;
use std::sync::Arc;

use certs::tls::SharedSite;
use certs::trust::SharedTrust;
use jiff::Timestamp;
use rustls::time_provider::TimeProvider;

/// Our certificates, our partners and the clock they are judged by. Clones share all three, and each
/// handshake reads what is current.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    /// The site's own certificates.
    pub site: SharedSite,
    /// The registered partners.
    pub trust: SharedTrust,
    /// The clock of handshakes and of checks on open connections.
    pub time: Arc<dyn TimeProvider>,
}

impl NodeIdentity {
    pub(super) fn now(&self) -> io::Result<Timestamp> {
        self.time
            .current_time()
            .and_then(|now| i64::try_from(now.as_secs()).ok())
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or_else(|| io::Error::other("the clock gives no time"))
    }
}

//! Sockets: the listeners, the client that dials partners, and the switch that stops them.
//!
//! Everything that waits for somebody else has a limit here: handshakes, headers, bodies, idle and
//! stalled connections, and how many of each. Who the other side is comes from `certs` alone.

pub mod accept;
mod body;
mod client;
mod connection;
mod guard;
pub mod gzip;
mod handshakes;
mod identity;
pub mod link;
mod listener;
mod management_listener;
mod partner_listener;
mod retry_after;
mod serve;
mod shutdown;
mod status_listener;
mod unix_listener;

#[cfg(test)]
mod testing;

pub use body::{
    Body, BodyError, BodyFailure, Pace, PacedReader, discard, empty, full, keeping, read_body,
};
pub use client::{Answer, DialLimits, PartnerClient, SendError, Step};
pub use connection::{Connection, HttpVersion, Kill};
pub use guard::{AddressClass, Guard, GuardError, MAX_URL_BYTES, Origin, Target};
pub use identity::NodeIdentity;
pub use listener::{Handler, HttpLimits, ListenError};
pub use management_listener::{ManagementLimits, ManagementListener};
pub use partner_listener::{Gate, ListenerLimits, PartnerListener, Refusal};
pub use retry_after::retry_after;
pub use serve::head_bytes;
pub use shutdown::{Phase, Shutdown};
pub use status_listener::{StatusLimits, StatusListener, Visitor};
pub use unix_listener::{LocalPeer, UnixLimits, UnixListener};

//! Keys, X.509 identities, TLS configuration, revocation and JOSE.
//!
//! The crate knows participants only as strings. It answers four questions and fails closed on each:
//!
//! - *Who are we?* [`pki`] makes, checks and loads the `pki/` directory of a site; [`files`] guards it.
//! - *Who is the other side?* [`trust`] lets a certificate select exactly one registered partner and
//!   judges it by that partner's own anchors and revocation lists; [`tls`] asks it in each handshake.
//! - *Who signed this?* [`key`], [`chain`] and [`jose`] sign and verify; [`card`] introduces a partner.
//! - *What must nobody read?* [`seal`] keeps received tokens sealed and makes the ones we give.
//!
//! The time is an argument of every function. Only the rustls verifiers take it from rustls, whose
//! `TimeProvider` is an argument of the configuration.

pub mod card;
pub mod chain;
pub mod files;
pub mod jose;
pub mod key;
mod path;
pub mod pki;
pub mod seal;
pub mod tls;
pub mod trust;
pub mod x509;

#[cfg(test)]
mod testing;

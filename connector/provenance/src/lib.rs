//! Provenance tokens and their evidence: issue, bundle, verify offline.
//!
//! A provider signs, for each transfer, what it releases to whom and under which terms ([`token`]).
//! Before a byte flows, a record whose leaf holds the token's SHA-256 is in the log that the provider
//! keeps of its relation with the recipient. The recipient stores both, with the proof that the record
//! is in the log and the log's signed checkpoint, as `FILE.prov` ([`bundle`]). Whoever has the file, the
//! bundle and trust anchors can check it all without a network ([`verify`](mod@verify)).
//!
//! A token says what was *released*. What arrived is said by the recipient's own log.
//!
//! Nothing here reads a clock, a file or a random source: they are the caller's.

pub mod bundle;
pub mod claims;
pub mod digest;
mod leaf;
pub mod parents;
pub mod report;
mod text;
pub mod token;
pub mod verify;

pub use bundle::{Bundle, BundleError};
pub use claims::Claims;
pub use digest::{Digest, Digests, digest_reader};
pub use leaf::Leaf;
pub use report::{Check, Finding, Outcome, Part, Report, Witness};
pub use token::{Token, TokenError, issue};
pub use verify::{Expected, Registered, Trust, verify};

#[cfg(test)]
mod testing;

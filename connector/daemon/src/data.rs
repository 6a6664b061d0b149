//! The data plane: bytes of granted transfers, served to partners and fetched from them.
//!
//! [`respond`] answers one data request under an [`engine::permit::Permit`], [`outgoing`] is the body of a push under one;
//! [`download`] makes one attempt to bring what a
//! partner granted us; [`Meters`] counts what was served until it is recorded.

mod fetch;
mod meter;
mod serve;

pub(crate) use self::fetch::repr_digest;
pub use self::fetch::{FetchError, FetchLimits, download};
pub use self::meter::{Metered, Meters, Served};
pub use self::serve::{
    Content, Delivery, Ended, Finished, Lease, Outcome, Renew, ServeError, outgoing, respond,
};

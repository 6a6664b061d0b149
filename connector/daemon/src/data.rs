//! The data plane: bytes of granted transfers, served to partners and fetched from them.
//!
//! [`respond`] answers one data request under an [`engine::permit::Permit`]; [`download`] makes one attempt to bring what a
//! partner granted us; [`Meters`] counts what was served until it is recorded.

mod fetch;
mod meter;
mod serve;

pub use self::fetch::{FetchError, FetchLimits, download};
pub use self::meter::{Metered, Meters, Served};
pub use self::serve::{
    Content, Delivery, Ended, Finished, Lease, Outcome, Renew, ServeError, respond,
};

//! The data plane: bytes of granted transfers, served to partners and fetched from them.
//!
//! [`serve`] answers one data request under an [`engine::permit::Permit`]; [`fetch`] makes one attempt to download what a
//! partner granted us; [`meter`] counts what was served until it is recorded.

pub mod fetch;
pub mod meter;
pub mod serve;

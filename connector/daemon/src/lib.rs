//! The sekisho binary: daemon, listeners, data plane, management and command line.

pub mod clock;
pub mod config;
pub mod exit;
pub mod net;
pub mod partners;
pub mod policies;
pub mod site;
pub mod telemetry;

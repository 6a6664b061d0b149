//! The sekisho binary: daemon, listeners, data plane, management and command line.

pub mod cli;
pub mod clock;
pub mod config;
pub mod data;
pub mod exit;
pub mod net;
pub mod objects;
pub mod partners;
pub mod policies;
pub mod site;
pub mod telemetry;

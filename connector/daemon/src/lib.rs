//! The sekisho binary: daemon, listeners, data plane, management and command line.

pub mod cli;
pub mod clock;
pub mod config;
pub mod data;
pub mod deadlines;
pub mod evidence;
pub mod exit;
pub mod management;
pub mod net;
pub mod node;
pub mod objects;
pub mod offboard;
pub mod outbox;
pub mod partner;
pub mod partners;
pub mod policies;
pub mod pulls;
pub mod pushes;
pub mod refusals;
pub mod reload;
pub mod site;
pub mod status;
pub mod telemetry;
pub mod transfers;
pub mod wire;
pub mod witness;

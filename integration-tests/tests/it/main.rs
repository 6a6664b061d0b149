//! The suites: real daemons on loopback, spoken to through the real command line and over real mutual TLS.
#![expect(
    clippy::indexing_slicing,
    reason = "an answer without an expected member fails the test, as it should"
)]

mod answers;
mod applications;
mod catalog;
mod commands;
mod copies;
mod corpus;
mod deliveries;
mod derived;
mod duties;
mod enforcement;
mod events;
mod evidence;
mod exchange;
mod explained;
mod foreign;
mod foreign_provider;
mod hostile;
mod hostile_requests;
mod hostile_wire;
mod identity;
mod inheritance;
mod limits;
mod management;
mod negotiations;
mod policies;
mod policy_files;
mod policy_guide;
mod policy_tools;
mod protocol;
mod restores;
mod scope;
mod service;
mod stage;
mod telemetry;
mod time;
mod transfer;
mod transfer_ends;
mod transfer_push;
mod transfer_steps;

//! Dataspace Protocol 2025-1: wire types and process state machines. Pure: no clock, no randomness, no I/O.
//!
//! Bytes from a peer become checked values once, here: [`json`] bounds them, [`message`] gives them a type, [`id`] makes
//! their identifiers distinct. [`negotiation`] and [`transfer`] say which message may follow which, and [`process`] says
//! what happens when messages are lost, repeated or cross.

pub mod error;
pub mod id;
pub mod json;
pub mod message;
pub mod negotiation;
pub mod path;
pub mod process;
pub mod transfer;

//! Dataspace Protocol 2025-1: wire types and process state machines. Pure.

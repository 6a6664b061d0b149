//! Whole exchanges between nodes that exist in memory only.

mod agreements;
mod bargain;
mod data;
mod dead_letters;
mod deadlines;
mod derived;
mod duties;
mod exchange;
mod keys;
mod pulls;
mod pushes;
mod simulation;
mod site;
mod stored;
mod transfers;
mod world;

//! Fetching, against servers on the loopback: what arrives is whole or is not there, whatever
//! happens on the way.

#[path = "../common/mod.rs"]
mod common;
mod server;

mod b2;
mod container;
mod datasets;
mod hub;
mod process;
mod sharded;
mod web;

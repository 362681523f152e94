//! The runtime on engines that are driven by hand: order, backpressure, failures, several engines, mappings.
#![cfg(all(not(loom), not(miri)))]

#[path = "../common/mod.rs"]
mod common;
mod domains;
mod engines;
mod failures;
mod fences;
mod latency;
mod panics;
mod queue;
mod recovery;
mod replay;
mod retire;
mod retry;
mod short;
mod stuck;
mod timeouts;

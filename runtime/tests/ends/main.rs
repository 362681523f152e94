//! How regions end while they have handles: closed, given back to whoever registered them, replaced with zeroes.
#![cfg(all(not(loom), not(miri)))]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

#[path = "../common/mod.rs"]
mod common;

mod bounce;
mod buffers;
mod closing;
#[path = "../bars/device.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod device;
mod pieces;
#[path = "../durable/recorder.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod recorder;
mod special;
mod views;
mod zeroes;

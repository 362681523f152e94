//! Durable operations: what is written back, when the future resolves, and what they do to everything else.
#![cfg(all(not(loom), not(miri)))]

#[path = "../common/mod.rs"]
mod common;
#[path = "../bars/device.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod device;
mod exact;
mod life;
mod options;
mod recorder;
mod refused;
#[path = "../staged/mod.rs"]
mod staged;
mod synced;

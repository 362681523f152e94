//! The atomics of the rings: core's, or loom's when the crate is built to be model checked.
//!
//! Whoever builds on the rings takes its atomics from here too, so that one `cfg(loom)` turns both.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

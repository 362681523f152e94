//! The CPU as a copy engine.
//!
//! [`CpuEngine`] stands behind the same seam as a DMA channel: transfers are queued, a doorbell
//! makes them runnable, and `poll` carries them out on the thread that calls it. It works on the
//! host's own addresses, is never lost, and so serves where there is no device and where one
//! failed.
//!
//! Memory it copies may be read and written by others at the same time. Rust's own copies have no
//! meaning then, so every access is made by documented assembly routines, and by relaxed atomics
//! where there are none for the processor.

mod builder;
mod device;
mod domain;
mod engine;
mod mover;
mod portable;
mod routines;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;

pub use builder::CpuBuilder;
pub use engine::CpuEngine;

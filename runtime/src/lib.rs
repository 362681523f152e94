//! Awaitable copies by DMA engines.
//!
//! Applications push 64-byte entries into a lock-free submission ring in shared memory; a pinned poller
//! thread drains it, checks every entry, drives a copy engine and posts to a completion ring, which wakes
//! futures. It is io_uring's shape for memory that is not a file: device-dax, huge pages, pinned buffers.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = dmaring::Runtime::builder().engine(dmaring_cpu::CpuEngine::new()).build()?;
//! let src = runtime.allocate(1 << 20)?;
//! let dst = runtime.allocate(1 << 20)?;
//! src.write_at(0, b"hello")?;
//!
//! futures::executor::block_on(async {
//!     let copied = src.copy_to(0, &dst, 4096, 5).await?;
//!     assert_eq!(copied, 5);
//!     Ok::<_, dmaring::Error>(())
//! })?;
//!
//! let mut bytes = [0; 5];
//! dst.read_at(4096, &mut bytes)?;
//! assert_eq!(&bytes, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! - A region that an operation uses stays mapped until the hardware is done with it, whatever is dropped or
//!   forgotten meanwhile. Cancelling never stops a copy: its destination is unspecified until it ends.
//! - Every future resolves: to success, to a typed error, or to [`ErrorKind::Shutdown`].
//! - Operations have no order between them unless fenced.
//! - An operation in steady state allocates nothing, takes no lock and makes no system call, except to wake
//!   a thread that sleeps. The lists of a batch are those of an earlier one: up to eight of up to 256 operations are kept.

mod client;
mod collect;
mod foreign;
mod handle;
mod inflight;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg_attr(loom, allow(dead_code, reason = "its users are not built under loom"))]
mod orders;
mod permit;
mod persist;
#[cfg_attr(loom, allow(dead_code, reason = "its users are not built under loom"))]
mod quiesce;
mod reap;
#[cfg_attr(loom, allow(dead_code, reason = "its users are not built under loom"))]
mod reply;
#[cfg_attr(loom, allow(dead_code, reason = "its users are not built under loom"))]
mod restore;
mod submit;
mod sync;
mod try_lock;

// Under loom only the concurrent core is built: the rest maps memory and starts threads.
#[cfg(not(loom))]
pub mod bounce;
#[cfg(not(loom))]
mod builder;
#[cfg(not(loom))]
mod bundle;
#[cfg(not(loom))]
mod calibration;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
pub mod dax;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod hint;
#[cfg(not(loom))]
mod housekeeper;
#[cfg(not(loom))]
mod lifecycle;
#[cfg(not(loom))]
mod limits;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
pub mod observe;
#[cfg(not(loom))]
mod op;
mod own;
#[cfg(not(loom))]
mod park;
#[cfg(not(loom))]
mod placement;
#[cfg(not(loom))]
mod poller;
#[cfg(not(loom))]
mod region;
#[cfg(not(loom))]
mod remote;
#[cfg(not(loom))]
mod runtime;
#[cfg(not(loom))]
mod segments;
#[cfg(not(loom))]
mod shared;
#[cfg(not(loom))]
mod staging;
#[cfg(not(loom))]
mod stats;

#[cfg(not(loom))]
pub use self::{
    builder::{BuildError, Builder},
    calibration::{Calibration, Comparison, Split, Timing},
    clock::{Clock, ManualClock, MonotonicClock},
    error::{DeviceError, Error, ErrorKind},
    limits::{Limits, SpaceLimits},
    op::{
        All, Batch, Copy, CopyVectored, Fill, OnError, Operation, Persist, Rejected, Segment,
        Submitted, Then,
    },
    persist::{CacheLines, WriteBack},
    placement::{Placement, Policy, Striping},
    poller::Idle,
    region::{BarOptions, Durability, DurabilitySource, PinnedBuffer, Region},
    remote::Pollers,
    runtime::Runtime,
    stats::{EngineState, EngineStats, Latency, Stats},
};
#[cfg(not(loom))]
pub use dmaring_engine::{DeviceMemory, MapLimits, Quota, Status, StatusKind};

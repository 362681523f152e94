//! The seam between the dmaring runtime and its copy engines.
//!
//! The runtime knows no PCI, no VFIO and no descriptors; a driver knows no futures and no rings. This
//! crate is all they share: what to copy ([`Transfer`]), where ([`Iova`]), what came of it
//! ([`Completion`]), what an engine promises ([`Engine`]) and how memory becomes reachable for it
//! ([`DmaMap`]). It has no dependencies and does nothing by itself.
#![no_std]

extern crate alloc;

mod address;
mod capabilities;
mod completion;
mod device_memory;
mod engine;
mod limits;
mod map;
mod transfer;

pub use address::Iova;
pub use capabilities::Capabilities;
pub use completion::{Completion, Outcome, Status, StatusKind, Token};
pub use device_memory::DeviceMemory;
pub use engine::{Engine, EnqueueError, HaltError};
pub use limits::{MapLimits, Quota};
pub use map::{DmaMap, MapError, Rights};
pub use transfer::{Ahead, Operation, Transfer};

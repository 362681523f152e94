//! A model of an I/OAT device, to be driven through its registers like the real one.
//!
//! [`Device`] has the registers, the configuration space and the channels of one or more PCI functions;
//! [`Iommu`] is the address space they work in. Nothing happens by itself: [`Device::step`] carries
//! out descriptors, one at a time, in an order that a seed decides, and [`Device::run`] starts a thread
//! that does so. What goes wrong is planned with a [`FaultPlan`].
//!
//! The model is written from the register facts alone and knows no driver. Where no source settles what
//! silicon does, the model chose; `docs/emulated-device.md` says which is which.
//!
//! A model, not a data path: one lock covers the device, another the IOMMU, always in this order.

mod builder;
mod bus;
mod channel;
mod clock;
mod config_space;
mod device;
mod fault;
mod function;
pub mod guest;
mod handle;
mod iommu;
mod knobs;
mod memory;
mod model;
mod msix;
mod persistent;
mod preset;
pub mod proxy;
mod qtest;
mod random;
pub mod server;
mod store;
mod timed;
mod upstream;
mod violation;

pub use builder::{BuildError, DeviceBuilder};
pub use clock::Clock;
pub use device::Device;
pub use fault::{Fault, FaultPlan, FaultPlanError, PlannedFault, When};
pub use handle::{Bar, Config, Function};
pub use iommu::{BusAccess, FaultReason, Iommu, IommuFault, Misuse};
pub use knobs::{CompletionState, ExtendedConfig, FaultStyle, InternalErrors};
pub use persistent::PersistentMemory;
pub use preset::{Preset, UnknownPreset};
pub use qtest::Qtest;
pub use violation::{Violation, ViolationKind};

//! A function of the device in a virtual machine: its registers are the guest's, and so is its memory.
//!
//! [`GuestFunction`] is the model behind two things of the machine that QEMU lends: the guest's memory,
//! by file descriptors ([`MemoryRegion`]), and the chipset's registers ([`Chipset`]), where VT-d says how
//! addresses and interrupts are translated. Tables are walked in the guest's memory, anew for every page
//! of every access.
//!
//! # Who waits for whom
//!
//! The chipset is served by QEMU's main loop, which may itself wait for an answer of ours. So nobody asks
//! the chipset while he holds the device's lock, and whoever answers QEMU never asks it at all:
//!
//! | step | by | holding |
//! | --- | --- | --- |
//! | a doorbell makes a channel active: what is known of VT-d counts as old | who answers QEMU | the device's lock |
//! | an interrupt is queued | who answers QEMU, or the clock | the device's lock |
//! | VT-d's registers are asked for, queued interrupts are sent | the clock | nothing |
//! | a descriptor is carried out, if what is known is not old | the clock | the device's lock |
//!
//! What is known is as old as the number of activations counted before the question was asked: one
//! that comes while the answer is on its way makes that answer old, too.

mod chipset;
mod fault;
mod function;
mod interrupt;
mod memory;
mod slot;
mod upstream;
mod vtd;

pub use chipset::{Chipset, ChipsetError};
pub use fault::{GuestAccess, GuestFault, GuestFaultReason};
pub use function::{FunctionStatus, GuestFunction};
pub use memory::{MAX_REGIONS, MemoryError, MemoryRegion};
pub use slot::{NotASlot, Slot};

//! Channels opened through VFIO, on a real kernel.
//!
//! They need what `cargo xtask vm test` sets up: root, and functions bound to vfio-pci whose addresses
//! are in `DMARING_TEST_FUNCTIONS`. One at a time: functions cannot be opened twice, and descriptors are counted.

mod address_space;
mod close;
mod fork;
#[path = "../forking/mod.rs"]
mod forking;
mod open;
mod peer;
mod recall;
mod rig;
mod transfer;

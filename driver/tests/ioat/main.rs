//! The channel over registers in plain memory, whose values the tests set.

mod fail;
mod fixture;
#[cfg(not(miri))]
mod fork;
#[cfg(not(miri))]
#[path = "../forking/mod.rs"]
mod forking;
mod host;
mod hostile;
mod memory;
mod recover;
mod start;
mod transfer;

//! The channel over registers in plain memory, whose values the tests set.

mod fail;
mod fixture;
mod hostile;
mod memory;
mod recover;
mod start;
mod transfer;

//! PCI functions: their addresses, and what sysfs says of them.

mod address;

pub use address::{Address, AddressError};

//! PCI functions: their addresses, what sysfs says of them, and the driver they are bound to.

mod address;
pub mod bind;
pub mod config;
#[cfg(test)]
pub(crate) mod fake;
mod function;
mod group;
mod holders;
mod path;
mod peer;
mod resource;
mod sysfs;
mod users;

pub use address::{Address, AddressError};
pub use bind::{BindError, Binder};
pub use function::{DmaChannel, Function};
pub use group::{GroupState, group_access, group_node, group_state};
pub use holders::{Holder, holders};
pub use path::PeerPath;
pub use peer::{PeerBar, PeerError};
pub use resource::Resource;
pub use sysfs::{Sysfs, SysfsError};
pub use users::{User, users, users_in};

//! Where work is done: threads on cores, operations on engines.

mod cores;
mod steering;

pub use self::steering::{Placement, Policy, Striping};
pub(crate) use self::{
    cores::{CoreError, allowed_cores, check_core, pin, pin_to_node, ranges, without_signals},
    steering::{Course, Kind, Steering, Stripes},
};

//! The futures of operations.

mod batch;
mod future;
mod outcome;
mod pending;
mod request;
mod then;

pub use self::{
    batch::{Batch, Operation, Submitted},
    future::{Copy, Fill, Rejected},
    then::Then,
};
pub(crate) use self::{
    outcome::Refused,
    request::{Request, Work},
};

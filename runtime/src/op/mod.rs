//! The futures of operations.

mod batch;
mod durable;
mod future;
mod outcome;
mod pending;
mod policy;
mod request;
mod then;

pub use self::{
    batch::{Batch, Operation, Submitted},
    future::{Copy, Fill, Persist, Rejected},
    policy::OnError,
    then::Then,
};
pub(crate) use self::{
    outcome::{Early, Lost, Refused},
    policy::{Policy, is_for_a_cpu},
    request::{Request, Work},
};

//! The futures of operations.

mod attend;
mod batch;
mod durable;
mod future;
mod linger;
mod lists;
mod outcome;
mod pending;
mod policy;
mod request;
mod then;
mod vectored;

pub use self::{
    batch::{All, Batch, Operation, Submitted},
    future::{Copy, CopyVectored, Fill, Persist, Rejected},
    policy::OnError,
    then::Then,
    vectored::Segment,
};
pub(crate) use self::{
    linger::{DEFAULT as LINGER, Linger},
    lists::SpareLists,
    outcome::{Early, Lost, Refused, segment_offset},
    policy::{Policy, is_for_a_cpu},
    request::{Request, Work},
    vectored::copy as copy_vectored,
};

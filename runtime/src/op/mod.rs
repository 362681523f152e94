//! The futures of operations.

mod batch;
mod future;
mod outcome;
mod pending;
mod policy;
mod request;
mod then;
mod vectored;

pub use self::{
    batch::{Batch, Operation, Submitted},
    future::{Copy, CopyVectored, Fill, Rejected},
    policy::OnError,
    then::Then,
    vectored::Segment,
};
pub(crate) use self::{
    outcome::{Early, Lost, Refused, segment_offset},
    policy::Policy,
    request::{Request, Work},
    vectored::copy as copy_vectored,
};

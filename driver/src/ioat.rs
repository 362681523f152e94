//! One I/OAT channel as a copy engine.
//!
//! ```text
//! enqueue → descriptor in the ring → submit: DMACOUNT → the channel → completion word → poll
//! ```
//!
//! [`IoatChannel::open`] opens a function through VFIO. [`IoatChannel::start`], which it ends with, checks the device,
//! claims the channel, resets it and proves with a null descriptor that it runs. What a device says is checked before it
//! is used: no value of a register or of the completion word panics, and none completes a transfer that was not
//! submitted.

mod chanerr;
mod channel;
mod clock;
mod dma_memory;
mod engine;
mod error;
mod failure;
mod hardware;
mod host;
mod mastering;
mod open;
mod options;
mod pattern;
mod registers;
mod reset;
mod ring;

pub use chanerr::{Causes, status_kind};
pub use channel::IoatChannel;
pub use clock::{Clock, MonotonicClock};
pub use error::{ResetError, StartError};
pub use host::Host;
pub use open::OpenError;
pub use options::Options;

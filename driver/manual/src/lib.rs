//! A copy engine driven by hand, for tests.
//!
//! A [`ManualEngine`] goes into the runtime as any other engine does. Its [`Control`] stays with
//! the test and decides when each transfer ends, in which order and how. Nothing is written before
//! the test says so: a transfer that completes moves its bytes at that very moment, on the thread
//! that completes it, so that a use of freed memory shows where it happens.
//!
//! Every transfer is checked against the engine's [`ManualDomain`] when it completes. What breaks
//! the rules of the seam is recorded as a [`Violation`], and the memory is left alone.
//!
//! This is a test tool: it takes locks, and [`Control`] panics where a test asks for the
//! impossible.

mod builder;
mod control;
mod domain;
mod engine;
mod memory;
mod state;
mod violation;

pub use builder::ManualBuilder;
pub use control::Control;
pub use domain::ManualDomain;
pub use engine::ManualEngine;
pub use state::{Call, Order, Recovery, Ticket};
pub use violation::Violation;

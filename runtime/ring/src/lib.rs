//! Submission and completion rings in shared memory.
//!
//! An application pushes [`SubmissionEntry`]s into a bounded ring that any number of its threads
//! produce into and one poller consumes; the poller answers with [`CompletionEntry`]s in a second
//! ring. This crate holds the layout of that memory ([`layout`]), the entries ([`entry`]), the two
//! ring algorithms ([`submission`], [`completion`]), the flags by which the two sides wake each
//! other ([`handshake`]), and how a processor's monitor takes the place of a look ([`watch`]). It has no operating system in it: who maps the memory and who sleeps on
//! the futex word is the caller's affair.
//!
//! The memory may be shared with another process, so every shared word is hostile until checked: it
//! is read once into a local, and no value of it makes a call panic, leave the bounds of the slots
//! or loop. The algorithms take `&Header` and `&[Slot]` and hold no unsafe code; [`memory`] alone
//! makes those references from raw memory.
#![no_std]
#![warn(clippy::cast_possible_truncation)]

#[cfg(test)]
extern crate std;

pub mod beside;
pub mod completion;
pub mod entry;
pub mod handshake;
pub mod layout;
#[cfg(not(loom))]
pub mod memory;
pub mod prefetch;
pub mod submission;
pub mod sync;
pub mod watch;

mod full;

pub use entry::{
    CompletionCode, CompletionEntry, EntryFlags, Key, Opcode, ResultWord, SubmissionEntry,
};
pub use full::Full;
pub use layout::{CompletionSlot, Header, Layout, LayoutError, SubmissionSlot};
#[cfg(not(loom))]
pub use memory::Rings;

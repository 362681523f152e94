//! Making bytes durable: who writes caches back, and how the poller asks for it.
//!
//! A completed transfer into persistent memory is visible, and mostly not durable: its lines may be in a cache that a
//! loss of power empties. The poller hands a durable operation, once its last part has ended, to the housekeeper's
//! thread, which writes its lines back piece by piece, fences, and answers; then the poller posts the operation's end. To
//! fences, permits, deadlines and the application it is in flight until then, and its slot keeps its regions.

pub(crate) mod handover;
#[cfg(not(loom))]
mod lines;
#[cfg(not(loom))]
mod service;
#[cfg(not(loom))]
mod worker;
#[cfg(not(loom))]
mod write_back;

#[cfg(not(loom))]
pub use self::write_back::{CacheLines, WriteBack};
#[cfg(not(loom))]
pub(crate) use self::{lines::Span, service::Persist, worker::Worker, write_back::Processor};

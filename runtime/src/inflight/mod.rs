//! The operations in flight: slots that own what the hardware may touch, in a table that grows and never moves.

mod chain;
mod kept;
mod slot;
mod table;

#[cfg(all(test, not(loom), not(miri)))]
pub(crate) use chain::tests::free;
pub(crate) use chain::{Chain, Reserve};
pub(crate) use kept::{FreeSlot, Kept};
pub(crate) use slot::{Ended, Finished, LastCall, Role, Ticket, give_back};
pub(crate) use table::{Inflight, NONE};

//! The operations in flight: slots that own what the hardware may touch, in a table that grows and never moves.

mod slot;
mod table;

pub(crate) use slot::{Finished, Role, Ticket};
pub(crate) use table::{Inflight, NONE};

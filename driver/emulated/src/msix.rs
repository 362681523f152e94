//! MSI-X: when an interrupt is a message, when it waits, and what touches the table.
//!
//! The function has one vector. An interrupt of a channel becomes its message where MSI-X is enabled; where
//! the vector or the function is masked, the pending bit keeps it, and the write that takes the last mask
//! away sends it. A message is a write to memory: while bus mastering is off it waits in the pending bit,
//! too. Where MSI-X is off the interrupt would be INTx: it is counted and goes nowhere.
//! Source: PCI Local Bus Specification 3.0, section 6.8; that the pending bit keeps what bus mastering holds
//! back is settled by no source.

use dmaring_ioat_spec::registers::{MSIX_PENDING_OFFSET, MSIX_TABLE_OFFSET};

use crate::{config_space::ConfigSpace, store::Store, upstream::Upstream};

/// An interrupt as the write that it is: this data to this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) address: u64,
    pub(crate) data: u32,
}

/// Which part of MSI-X lies at an offset of BAR 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    Table,
    /// Pending bits, which software only reads.
    Pending,
}

/// The part of MSI-X at this offset of BAR 0; `None` where there is none.
pub(crate) fn area(offset: u32) -> Option<Area> {
    const TABLE_END: u32 = MSIX_TABLE_OFFSET + 16;
    const PENDING_END: u32 = MSIX_PENDING_OFFSET + 8;
    match offset {
        MSIX_TABLE_OFFSET..TABLE_END => Some(Area::Table),
        MSIX_PENDING_OFFSET..PENDING_END => Some(Area::Pending),
        _ => None,
    }
}

/// A channel raised an interrupt.
pub(crate) fn raise(store: &mut Store, config: &ConfigSpace, upstream: &dyn Upstream) {
    if config.msix_enabled() {
        store.set_msix_pending(true);
        release(store, config, upstream);
    }
}

/// Sends what is pending, if nothing holds it any more.
pub(crate) fn release(store: &mut Store, config: &ConfigSpace, upstream: &dyn Upstream) {
    let (message, vector_masked) = store.msix_vector();
    let masked = config.msix_masked() || vector_masked;
    let held = !config.msix_enabled() || masked || !config.bus_master();
    if store.msix_pending() && !held {
        store.set_msix_pending(false);
        upstream.interrupt(message);
    }
}

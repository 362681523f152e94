//! The kernel asks for a function back, and gets it.
//!
//! Whoever unbinds the function from vfio-pci, or takes it out of its slot, waits in the kernel until it is closed, and the
//! kernel signals the event that `VFIO_PCI_REQ_IRQ_INDEX` was given. The event is looked at by whoever drives the function,
//! without waiting. The way back, in a thread of its own since the kernel resets the function and may have much to unpin:
//!
//! ```text
//! memory of all ones in the place of BAR 0 ─► bus mastering off ─► function closed ─┬─► others are open: mappings stay
//!                                                                                   └─ last one: container dissolved
//! ```
//!
//! Whoever drops the way back waits for that thread: what is closed after it is closed for good, the container too.
//!
//! See [`container`](super::container) for what a dissolved container is.
#![forbid(unsafe_code)]

use std::{
    fmt, mem,
    sync::Arc,
    thread::{self, JoinHandle},
};

use memmap2::MmapRaw;

use super::lease::Lease;
use crate::fork::Origin;

/// A function's way back to the kernel.
pub(crate) struct Recall {
    /// Let go of before the function, which cannot be closed while it is mapped, as in [`Bar`](super::Bar).
    registers: Arc<MmapRaw>,
    lease: Arc<Lease>,
    /// Gives the function back, and has a hold on the container until it ends.
    thread: Option<JoinHandle<()>>,
    origin: Origin,
}

impl Recall {
    pub(super) fn new(lease: Arc<Lease>, registers: Arc<MmapRaw>) -> Self {
        Self { registers, lease, thread: None, origin: Origin::here() }
    }

    /// Whether the kernel wants the function back. One system call.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lease.is_wanted()
    }

    /// Gives the function back. The registers read as ones from some moment on, and writes of them reach no device.
    pub(crate) fn give_back(&mut self) {
        let give = {
            let (lease, registers) = (Arc::clone(&self.lease), Arc::clone(&self.registers));
            move || lease.give_back(&registers)
        };
        let thread = thread::Builder::new().name("dmaring-recall".to_owned());
        match thread.spawn(give) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => {
                tracing::debug!(%error, "no thread to give a function back: it is done here");
                self.lease.give_back(&self.registers);
            }
        }
    }
}

impl Drop for Recall {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.origin.is_elsewhere() {
            // The parent's thread, of which a child has nothing.
            mem::forget(thread);
        } else if thread.join().is_err() {
            tracing::error!(address = %self.lease.address(), "giving the function back ended early");
        }
    }
}

impl fmt::Debug for Recall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recall").field("function", &self.lease.address()).finish()
    }
}

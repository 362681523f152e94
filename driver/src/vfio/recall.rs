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
//! Whoever drops the way back, and the channel with it, waits for that thread, which holds the container open.
//!
//! See [`container`](super::container) for what a dissolved container is.
#![forbid(unsafe_code)]

use std::{
    fmt, io, mem,
    sync::Arc,
    thread::{self, JoinHandle},
};

use memmap2::MmapRaw;

use super::lease::Lease;
use crate::fork::Origin;

/// A function's way back to the kernel.
pub(crate) struct Recall {
    /// Ends before the rest is let go of.
    giving: Option<Errand>,
    /// Let go of before the function, which cannot be closed while it is mapped, as in [`Bar`](super::Bar).
    registers: Arc<MmapRaw>,
    lease: Arc<Lease>,
}

impl Recall {
    pub(super) fn new(lease: Arc<Lease>, registers: Arc<MmapRaw>) -> Self {
        Self { giving: None, registers, lease }
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
        match Errand::run(give) {
            Ok(errand) => self.giving = Some(errand),
            Err(error) => {
                tracing::debug!(%error, "no thread to give a function back: it is done here");
                self.lease.give_back(&self.registers);
            }
        }
    }
}

/// What a thread does meanwhile. It has ended when this has been dropped.
struct Errand {
    /// There until it is waited for.
    thread: Option<JoinHandle<()>>,
    origin: Origin,
}

impl Errand {
    fn run(work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let thread = thread::Builder::new().name("dmaring-recall".to_owned()).spawn(work)?;
        Ok(Self { thread: Some(thread), origin: Origin::here() })
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.origin.is_elsewhere() {
            // The parent's thread, of which a child has nothing.
            mem::forget(thread);
        } else if let Err(panic) = thread.join() {
            tracing::error!("the thread that gives a function back panicked");
            // Whose drop may panic, too.
            mem::forget(panic);
        }
    }
}

impl fmt::Debug for Recall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recall").field("function", &self.lease.address()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        time::Duration,
    };

    use super::Errand;

    #[test]
    fn an_errand_has_ended_when_it_has_been_dropped() {
        let held = Arc::new(());
        let (_sender, never) = mpsc::channel::<()>();
        let hold = Arc::clone(&held);
        let errand = Errand::run(move || {
            never.recv_timeout(Duration::from_millis(50)).unwrap_err();
            drop(hold);
        });
        drop(errand.unwrap());
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_panic_in_it_ends_there() {
        drop(Errand::run(|| panic!("on the way")).unwrap());
    }
}

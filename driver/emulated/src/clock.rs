//! A thread that steps a device by itself.
//!
//! Two things end its wait for work: an access that leaves work, and the guard's drop. Both are looked at under the
//! device's lock, and both ring the bell after it was held, so neither is missed.

use std::{
    hint, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{
    guest::ChipsetError,
    model::{Shared, Turn},
};

/// How often an idle clock looks for work before it waits to be woken.
const IDLE_TURNS: u32 = 64;

/// How often the clock gives way to one access before it goes on.
const COURTESY: u32 = 128;

/// Steps a device until it is dropped, which waits for the descriptor in hand.
#[derive(Debug)]
pub struct Clock {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let work = (Arc::clone(&shared), Arc::clone(&stop));
        let thread = thread::Builder::new().name("emulated-ioat".to_owned()).spawn(move || {
            // The software IOMMU is upstream, which never fails.
            let _ = tick_until(&work.0, || work.1.load(Ordering::Relaxed));
        })?;
        Ok(Self { shared, stop, thread: Some(thread) })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.shared.ring();
        if let Some(thread) = self.thread.take() {
            // A clock that panicked has stopped, too.
            let _ = thread.join();
        }
    }
}

/// Steps a device until `stopped` holds; whoever makes it hold calls [`Shared::ring`].
///
/// # Errors
///
/// Those of what is upstream of the device, which then stands still.
pub(crate) fn tick_until(shared: &Shared, stopped: impl Fn() -> bool) -> Result<(), ChipsetError> {
    let mut idle = 0;
    while !stopped() {
        shared.attend()?;
        match shared.turn() {
            Turn::Worked => idle = 0,
            Turn::Idle => {
                idle += 1;
                thread::yield_now();
            }
        }
        give_way(shared);
        if idle == IDLE_TURNS {
            shared.wait_for_work(&stopped);
            idle = 0;
        }
    }
    Ok(())
}

fn give_way(shared: &Shared) {
    let mut turns = 0;
    while shared.is_wanted() && turns < COURTESY {
        // Not a yield: on a busy machine that gives a whole slice of time away, and drivers wait milliseconds only.
        hint::spin_loop();
        turns += 1;
    }
}

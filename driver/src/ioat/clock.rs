//! What the driver knows of time.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Time as a channel sees it: a monotonic clock, and what to do while waiting.
///
/// A test passes one that it moves by hand.
pub trait Clock: Send {
    /// The time since some fixed moment. Never less than an earlier call gave.
    fn now(&self) -> Duration;

    /// Called between two looks at a device that is being waited for: in
    /// [`start`](super::IoatChannel::start), [`halt`](dmaring_engine::Engine::halt) and drop.
    fn pause(&self) {
        std::thread::yield_now();
    }
}

impl fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// The operating system's monotonic clock. Waiting gives the processor to other threads.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: Instant,
    /// How many times slower than real time it runs.
    divisor: u32,
}

impl MonotonicClock {
    /// A clock that starts at zero now.
    #[must_use]
    pub fn new() -> Self {
        Self::slowed(1)
    }

    /// A clock that starts at zero now and runs so many times slower than real time; 0 counts as 1.
    ///
    /// For a device that is that much slower than silicon, such as a model on a busy machine: what the driver
    /// allows a device, 200 ms for a null descriptor, say, is then allowed in the device's time.
    #[must_use]
    pub fn slowed(divisor: u32) -> Self {
        Self { start: Instant::now(), divisor: divisor.max(1) }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.start.elapsed() / self.divisor
    }
}

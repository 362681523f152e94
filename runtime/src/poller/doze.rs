//! How the poller passes the time between spinning and sleeping.

use dmaring_ring::watch::Monitor;

use super::{Poller, idle::Ring};

impl Poller {
    /// Dozes, then looks at everything. `busy`: something is in flight.
    ///
    /// A doze may last as long as the turns between two looks do otherwise, or longer, so a look follows each.
    #[cold]
    pub(super) fn doze(&mut self, busy: bool) {
        self.ports.iter_mut().for_each(super::Port::settle);
        let only = match self.ports.as_slice() {
            [port] => Some(|monitor: &mut dyn Monitor| port.wait(monitor)),
            _ => None,
        };
        let ring = only.as_ref().map(|ring| ring as Ring<'_>);
        self.idler.doze(busy, ring);
        self.look_soon();
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use dmaring_manual::ManualEngine;

    use crate::{Idle, ManualClock, Runtime};

    #[test]
    fn a_poller_that_is_woken_for_nothing_sleeps_again_though_no_time_has_passed() {
        let (engine, _control) = ManualEngine::new();
        let clock = ManualClock::new();
        let idle = Idle::Adaptive {
            spin: Duration::from_micros(5),
            park_after: Duration::from_micros(20),
        };
        let builder = Runtime::builder().engine(engine).idle(idle).clock(clock.clone());
        let runtime = builder.build().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        let until = |parks, step: &dyn Fn()| {
            while runtime.stats().parks < parks {
                assert!(Instant::now() < end, "it does not sleep");
                step();
                thread::yield_now();
            }
        };
        until(1, &|| clock.advance(Duration::from_micros(1)));
        // The clock stands from now on.
        let pair = &runtime.shared().client.pair;
        until(4, &|| pair.summon_poller());
    }
}

//! What the poller does when nothing is to be done.
//!
//! With [`Idle::Adaptive`] it goes through three stages; anything that is done brings it back to the first.
//!
//! | stage | from           | a turn without work                                                            | what ends it           |
//! |-------|----------------|--------------------------------------------------------------------------------|------------------------|
//! | spin  | the last work  | one `pause`; with several CPUs and nothing in flight some more, with looks at the rings | the next turn, or an entry |
//! | doze  | `spin`         | a wait of microseconds by the processor, some turns a yield of the core before it | its time, or an entry |
//! | sleep | `park_after`   | [parked](crate::park), in the kernel                                           | a producer's wake-up   |
//!
//! A doze is, in this order:
//!
//! - one CPU: a yield. Nobody could bring work while this thread waits;
//! - with WAITPKG, while nothing is in flight and there is one ring to look at: `umwait` on the line that the next entry is
//!   written to. [`dmaring_ring::watch`] argues that no entry is lost. Everything else (a deadline, an order, the end of the
//!   runtime) is found when its time is up, 20 µs later at most;
//! - with WAITPKG otherwise: `tpause` for about a microsecond, since an engine ends a copy without a word to
//!   the processor;
//! - else some `pause`s, twice as many every turn up to a bound.
//!
//! While something is in flight there is no sleep: the doze goes on. After every doze the poller looks at all that it looks
//! at only now and then otherwise, since the turns of a doze are long.

use std::time::Duration;

use dmaring_ring::watch::Monitor;

use crate::hint::{Pass, Processor};

/// How the poller passes the time between operations.
///
/// `cargo xtask peers idle` measures what an idle poller takes and how long the first copy waits for it;
/// `docs/performance.md` has figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idle {
    /// Never sleeps: the lowest latency, for a core of its own, all of which it takes.
    Spin,
    /// Spins for `spin` after the last work; then dozes, a few microseconds at a time, letting others have its core in
    /// between; and sleeps once nothing has come for `park_after`. The first operation after that pays for a
    /// wake-up by the kernel.
    ///
    /// On a processor with `umwait` (WAITPKG) the doze saves power, and an entry in the ring ends it at once; on others it
    /// is some `pause`s, two microseconds of them at most.
    ///
    /// It sleeps only while nothing is in flight.
    Adaptive {
        /// How long it spins.
        spin: Duration,
        /// After how long it sleeps; not before `spin` is over.
        park_after: Duration,
    },
}

impl Default for Idle {
    /// Spins for 50 µs and sleeps after 1 ms.
    fn default() -> Self {
        Self::Adaptive { spin: Duration::from_micros(50), park_after: Duration::from_millis(1) }
    }
}

/// While it spins, how many turns pass between two looks at the clock.
const TURNS_PER_LOOK: u32 = 64;
/// How often is looked between two such turns.
const GLANCES: u32 = 3;
/// On one CPU, after how many turns without progress the poller lets others run.
const TURNS_ALONE: u32 = 32;
/// How many dozes pass between two yields.
const DOZES_PER_YIELD: u32 = 8;
/// The most `pause`s of a doze: one is 10 to 60 ns on the processors of today.
const MOST_PAUSES: u32 = 32;
/// The most of them while something is in flight.
const MOST_PAUSES_BUSY: u32 = 16;

/// The most pauses of a hold, by this number and the next: some 0.8 µs.
const HOLDS: u32 = 8;
/// Between looks at the clock.
const PAUSES_PER_HOLD: u32 = 8;
/// After how long a hold ends at the next look at the clock, where `pause` takes long.
const LONGEST_HOLD: Duration = Duration::from_nanos(800);

/// How long nothing has happened.
#[derive(Debug)]
pub(crate) struct Idler<P = Processor> {
    policy: Idle,
    /// Whether the threads that submit need this thread's CPU.
    one_cpu: bool,
    turns: u32,
    since: Option<Duration>,
    /// Whether it has spun long enough.
    is_dozing: bool,
    dozes: u32,
    pauses: u32,
    processor: P,
}

/// Waits, with a monitor, for the next entry of a ring.
pub(crate) type Ring<'a> = &'a dyn Fn(&mut dyn Monitor);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Look again.
    Again,
    /// [Doze](Idler::doze), then look again.
    Doze,
    /// Sleep until woken.
    Park,
}

impl Idler {
    pub(crate) fn new(policy: Idle, one_cpu: bool) -> Self {
        Self::with(policy, one_cpu, Processor::detect())
    }
}

impl<P: Pass> Idler<P> {
    fn with(policy: Idle, one_cpu: bool, processor: P) -> Self {
        let (turns, since, is_dozing, dozes, pauses) = (0, None, false, 0, 1);
        Self { policy, one_cpu, turns, since, is_dozing, dozes, pauses, processor }
    }

    /// Something happened.
    pub(crate) fn reset(&mut self) {
        self.turns = 0;
        self.since = None;
        self.is_dozing = false;
    }

    /// After a turn of the first stage in which nothing happened, and while nothing is in flight: lets some more time pass, until
    /// `found`. A turn looks at much else, too, and what comes in it waits for its end. Gives how many there were.
    #[inline]
    pub(crate) fn glance(&mut self, found: impl Fn() -> bool) -> u32 {
        if self.one_cpu {
            // Nobody could bring anything.
            return 0;
        }
        let mut glances = 0;
        while glances < GLANCES && !found() {
            glances += 1;
            self.processor.pause(1);
        }
        glances
    }

    /// Whether the next `pass` may advise to park.
    pub(crate) fn may_advise(&self) -> bool {
        self.is_dozing || self.turns.wrapping_add(1).is_multiple_of(TURNS_PER_LOOK)
    }

    /// Lets some time pass, though there is something to do.
    pub(crate) fn hold(&mut self, now: impl Fn() -> Duration) {
        let begin = now();
        for _ in 0..HOLDS {
            self.processor.pause(PAUSES_PER_HOLD);
            if now().saturating_sub(begin) >= LONGEST_HOLD {
                break;
            }
        }
    }

    /// Nothing happened this turn. `busy`: something is in flight, so there is no parking.
    #[inline]
    pub(crate) fn pass(&mut self, busy: bool, now: impl FnOnce() -> Duration) -> Advice {
        if !self.is_dozing {
            self.turns = self.turns.wrapping_add(1);
            self.processor.pause(1);
            if self.one_cpu && self.turns.is_multiple_of(TURNS_ALONE) {
                self.processor.give_way();
            }
            if !self.turns.is_multiple_of(TURNS_PER_LOOK) {
                return Advice::Again;
            }
        }
        self.look(busy, now)
    }

    #[cold]
    fn look(&mut self, busy: bool, now: impl FnOnce() -> Duration) -> Advice {
        let Idle::Adaptive { spin, park_after } = self.policy else { return Advice::Again };
        let now = now();
        let idle = now.saturating_sub(*self.since.get_or_insert(now));
        if !busy && idle >= park_after.max(spin) {
            return Advice::Park;
        }
        if idle < spin {
            return Advice::Again;
        }
        if !self.is_dozing {
            self.is_dozing = true;
            self.dozes = 0;
            self.pauses = 1;
        }
        Advice::Doze
    }

    /// Passes some microseconds. `ring`: waits with a monitor for the next entry of the only ring there is.
    #[cold]
    pub(crate) fn doze(&mut self, busy: bool, ring: Option<Ring<'_>>) {
        self.dozes = self.dozes.wrapping_add(1);
        if self.one_cpu {
            return self.processor.give_way();
        }
        if self.dozes.is_multiple_of(DOZES_PER_YIELD) {
            self.processor.give_way();
        }
        if !busy
            && let Some(ring) = ring
            && let Some(monitor) = self.processor.monitor()
        {
            return ring(monitor);
        }
        if self.processor.moment() {
            return;
        }
        let most = if busy { MOST_PAUSES_BUSY } else { MOST_PAUSES };
        self.pauses = (self.pauses * 2).min(most);
        self.processor.pause(self.pauses);
    }
}

#[cfg(test)]
mod tests;

//! What the poller does when nothing is to be done.
//!
//! With [`Idle::Adaptive`] it goes through three stages; anything that is done brings it back to the first.
//!
//! | stage | from           | a turn without work                                                            | what ends it           |
//! |-------|----------------|--------------------------------------------------------------------------------|------------------------|
//! | spin  | the last work  | one `pause`                                                                    | the next turn          |
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
/// On one CPU, after how many turns without progress the poller lets others run.
const TURNS_ALONE: u32 = 32;
/// How many dozes pass between two yields.
const DOZES_PER_YIELD: u32 = 8;
/// The most `pause`s of a doze: one is 10 to 60 ns on the processors of today.
const MOST_PAUSES: u32 = 32;
/// The most of them while something is in flight.
const MOST_PAUSES_BUSY: u32 = 16;

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
mod tests {
    use dmaring_ring::sync::AtomicU64;

    use super::*;

    /// What an idler does with its time.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Did {
        Paused(u32),
        Moment,
        GaveWay,
        Watched,
    }

    /// Notes what it is told, and passes no time.
    #[derive(Debug, Default)]
    struct Notes {
        did: Vec<Did>,
        has_waits: bool,
    }

    impl Pass for Notes {
        fn pause(&mut self, times: u32) {
            self.did.push(Did::Paused(times));
        }

        fn moment(&mut self) -> bool {
            if self.has_waits {
                self.did.push(Did::Moment);
            }
            self.has_waits
        }

        fn monitor(&mut self) -> Option<&mut dyn Monitor> {
            self.has_waits.then_some(self as _)
        }

        fn give_way(&mut self) {
            self.did.push(Did::GaveWay);
        }
    }

    impl Monitor for Notes {
        fn arm(&mut self, _word: &AtomicU64) {}

        fn wait(&mut self, _word: &AtomicU64) {
            self.did.push(Did::Watched);
        }
    }

    fn ring(monitor: &mut dyn Monitor) {
        monitor.wait(&AtomicU64::new(0));
    }

    fn at(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn idler(one_cpu: bool, has_waits: bool) -> Idler<Notes> {
        let policy = Idle::Adaptive { spin: at(5), park_after: at(20) };
        Idler::with(policy, one_cpu, Notes { has_waits, ..Notes::default() })
    }

    /// As many turns without work as pass between two looks at the clock.
    fn passes(idler: &mut Idler<Notes>, busy: bool, now: Duration) -> Advice {
        let mut last = Advice::Again;
        for _ in 0..TURNS_PER_LOOK {
            last = idler.pass(busy, || now);
        }
        last
    }

    /// An idler that is in its second stage since 10 µs.
    fn dozing(one_cpu: bool, has_waits: bool) -> Idler<Notes> {
        let mut idler = idler(one_cpu, has_waits);
        assert_eq!(passes(&mut idler, false, at(0)), Advice::Again);
        assert_eq!(passes(&mut idler, false, at(10)), Advice::Doze);
        idler.processor.did.clear();
        idler
    }

    fn doze(idler: &mut Idler<Notes>, busy: bool, times: u32) -> Vec<Did> {
        (0..times).for_each(|_| idler.doze(busy, Some(&ring)));
        std::mem::take(&mut idler.processor.did)
    }

    #[test]
    fn it_spins_then_dozes_then_parks() {
        let mut idler = idler(false, true);
        assert_eq!(passes(&mut idler, false, at(100)), Advice::Again);
        assert_eq!(passes(&mut idler, false, at(104)), Advice::Again);
        assert!(idler.processor.did.iter().all(|&did| did == Did::Paused(1)));
        assert_eq!(passes(&mut idler, false, at(105)), Advice::Doze);
        // From now on it looks at the clock every turn, and pauses in the doze alone.
        idler.processor.did.clear();
        assert_eq!(idler.pass(false, || at(119)), Advice::Doze);
        assert_eq!(idler.pass(false, || at(120)), Advice::Park);
        assert!(idler.processor.did.is_empty());
    }

    #[test]
    fn it_dozes_on_while_busy() {
        let mut idler = dozing(false, false);
        assert_eq!(idler.pass(true, || at(1_000_000)), Advice::Doze);
        assert_eq!(idler.pass(false, || at(1_000_000)), Advice::Park);
    }

    #[test]
    fn work_brings_it_back_to_spinning() {
        let mut idler = dozing(false, true);
        idler.reset();
        assert_eq!(passes(&mut idler, false, at(50)), Advice::Again);
        assert_eq!(idler.processor.did, vec![Did::Paused(1); TURNS_PER_LOOK as usize]);
        assert_eq!(passes(&mut idler, false, at(54)), Advice::Again);
        assert_eq!(passes(&mut idler, false, at(55)), Advice::Doze);
    }

    #[test]
    fn it_never_dozes_or_parks_when_told_to_spin() {
        let mut idler = Idler::with(Idle::Spin, false, Notes::default());
        for hour in 0..3 {
            let now = Duration::from_secs(3600 * hour);
            assert_eq!(passes(&mut idler, false, now), Advice::Again);
        }
    }

    #[test]
    fn it_parks_without_a_doze_where_there_is_no_time_for_one() {
        let policy = Idle::Adaptive { spin: at(20), park_after: at(5) };
        let mut idler = Idler::with(policy, false, Notes::default());
        assert_eq!(passes(&mut idler, false, at(0)), Advice::Again);
        assert_eq!(passes(&mut idler, false, at(19)), Advice::Again);
        assert_eq!(passes(&mut idler, false, at(20)), Advice::Park);
    }

    #[test]
    fn it_watches_the_ring_and_while_busy_waits_moments() {
        let mut idler = dozing(false, true);
        assert_eq!(doze(&mut idler, false, 2), [Did::Watched; 2]);
        assert_eq!(doze(&mut idler, true, 2), [Did::Moment; 2]);
        idler.doze(false, None);
        assert_eq!(doze(&mut idler, false, 0), [Did::Moment], "more rings than one");
    }

    #[test]
    fn without_such_waits_the_pauses_grow_to_a_bound() {
        let mut idler = dozing(false, false);
        let pauses = |did: Vec<Did>| -> Vec<u32> {
            let paused = |did| if let Did::Paused(times) = did { Some(times) } else { None };
            did.into_iter().filter_map(paused).collect()
        };
        assert_eq!(pauses(doze(&mut idler, false, 7)), [2, 4, 8, 16, 32, 32, 32]);
        assert_eq!(pauses(doze(&mut idler, true, 2)), [16, 16]);
        let mut again = dozing(false, false);
        assert_eq!(pauses(doze(&mut again, true, 6)), [2, 4, 8, 16, 16, 16]);
    }

    #[test]
    fn others_get_the_core_now_and_then_and_on_one_cpu_every_time() {
        for has_waits in [false, true] {
            let mut idler = dozing(false, has_waits);
            let yields = |did: Vec<Did>| did.iter().filter(|&&did| did == Did::GaveWay).count();
            assert_eq!(yields(doze(&mut idler, false, 3 * DOZES_PER_YIELD)), 3);
            let mut alone = dozing(true, has_waits);
            assert_eq!(doze(&mut alone, false, 5), [Did::GaveWay; 5]);
        }
        let mut alone = idler(true, true);
        passes(&mut alone, true, at(0));
        let yields = alone.processor.did.iter().filter(|&&did| did == Did::GaveWay).count();
        assert_eq!(yields as u32, TURNS_PER_LOOK / TURNS_ALONE, "while it spins, too");
    }
}

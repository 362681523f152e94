//! The stages, with a processor that passes no time.

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
fn between_turns_it_glances_until_there_is_something() {
    let mut several = idler(false, true);
    assert_eq!(several.glance(|| false), GLANCES);
    assert_eq!(several.processor.did, [Did::Paused(1); GLANCES as usize]);
    assert_eq!(several.glance(|| true), 0);
    let looks = std::cell::Cell::new(0);
    assert_eq!(several.glance(|| looks.replace(looks.get() + 1) == 1), 1);
    assert_eq!((looks.get(), several.processor.did.len()), (2, GLANCES as usize + 1));
    let mut alone = idler(true, true);
    assert_eq!((alone.glance(|| false), alone.processor.did.len()), (0, 0));
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

#[test]
fn a_hold_ends_by_its_time_or_by_its_pauses() {
    let nanos = Duration::from_nanos;
    let hold = |step: u64| {
        let mut idler = idler(false, true);
        let time = std::cell::Cell::new(0);
        idler.hold(|| nanos(time.replace(time.get() + step)));
        idler.processor.did.len()
    };
    assert_eq!(hold(0), HOLDS as usize, "a clock that stands still");
    assert_eq!(hold(100), HOLDS as usize);
    assert_eq!(hold(400), 2);
    assert_eq!(hold(1_000_000), 1);
    let mut idler = dozing(false, false);
    idler.hold(|| at(0));
    assert_eq!(idler.processor.did, [Did::Paused(PAUSES_PER_HOLD); HOLDS as usize]);
}

//! Copies that are awaited one after the other, each looked for in its first poll: what others do to it meanwhile.
//!
//! The poll looks for a minute here, so that whatever happens to the operation happens while its future attends.
#![allow(unsafe_code, reason = "island: tests stand for the one future of a slot's life")]

use std::{
    cell::Cell,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use dmaring_engine::{Status, StatusKind};
use dmaring_manual::{Control, ManualEngine};
use futures::{FutureExt, executor::block_on};
use tracing::{Event, Metadata, Subscriber, span, subscriber};

use super::{super::request::Work, *};
use crate::{
    Clock, Copy, Error, ErrorKind, Idle, ManualClock, Region, Runtime, placement,
    region::eventually, shared::Shared,
};

const LONG: Duration = Duration::from_secs(60);
const READ: Status = Status { kind: StatusKind::Read, bits: 0x100 };
const LIMIT: Duration = Duration::from_millis(3);

/// A runtime on an engine that holds everything from now on, and copies that were made: the next has the slot of the last.
fn runtime_by(clock: impl Clock + 'static) -> (Runtime, Control, [Region; 2]) {
    let (engine, control) = ManualEngine::builder().build();
    let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: LONG };
    let builder = Runtime::builder().idle(idle).engine(engine).ring_entries(16).linger(LONG);
    let runtime = builder.clock(clock).build().unwrap();
    let regions = [1, 2].map(|seed| {
        let region = runtime.allocate(4096).unwrap();
        region.write_at(0, &[seed; 4096]).unwrap();
        region
    });
    control.release();
    let [source, target] = &regions;
    let mut tries = 0;
    // The poller may take an end off the ring before its future finds it.
    while !runtime.shared().client.permits.has_kept() {
        assert_eq!(block_on(source.copy_to(0, target, 0, 64)).unwrap(), 64);
        tries += 1;
        assert!(tries < 100_000, "no slot is ever kept");
    }
    control.hold();
    (runtime, control, regions)
}

fn runtime() -> (Runtime, Control, [Region; 2], ManualClock) {
    let clock = ManualClock::new();
    let (runtime, control, regions) = runtime_by(clock.clone());
    (runtime, control, regions, clock)
}

/// Whether nobody attends here: while a future looked for its end the poller could not run.
fn is_skipped() -> bool {
    let is_skipped = placement::allowed_cores().len() == 1;
    if is_skipped {
        let _ = writeln!(io::stderr(), "skipped: one core is allowed, where no future attends");
    }
    is_skipped
}

fn copy([source, target]: &[Region; 2]) -> Copy {
    source.copy_to(1024, target, 2048, 64)
}

/// Lets a test that fails end: who awaits is not left waiting.
struct Released<'a>(&'a Control);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.release();
        }
    }
}

/// Waits until so many operations are in flight, of which the first is attended to.
fn wait_for(control: &Control, shared: &Shared, operations: usize) {
    control.wait_for_submitted(operations);
    assert!(shared.client.inflight.slots().any(|(_, slot)| slot.is_attended()), "nobody attends");
}

/// How a copy ends that is attended to while this happens.
fn end_while(
    (runtime, control): (&Runtime, &Control),
    copy: Copy,
    happens: impl FnOnce(),
) -> Result<u64, Error> {
    thread::scope(|scope| {
        let _released = Released(control);
        let awaited = scope.spawn(|| block_on(copy));
        wait_for(control, runtime.shared(), 1);
        happens();
        awaited.join().unwrap()
    })
}

fn bytes(region: &Region) -> [u8; 64] {
    let mut bytes = [0; 64];
    region.read_at(2048, &mut bytes).unwrap();
    bytes
}

fn kind(outcome: Result<u64, Error>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

#[test]
fn its_end_is_found_whatever_ends_before_it() {
    if is_skipped() {
        return;
    }
    let (runtime, control, regions, _) = runtime();
    let made = runtime.stats().completed;
    let ended = end_while((&runtime, &control), copy(&regions), || {
        let other = regions[0].copy_to(0, &regions[1], 3072, 64).submit();
        control.wait_for_submitted(2);
        control.complete_last();
        assert_eq!(block_on(other).unwrap(), 64);
        control.complete_all();
    });
    assert_eq!(ended.unwrap(), 64);
    assert_eq!(bytes(&regions[1]), [1; 64]);
    eventually("the permits", || runtime.stats().in_flight == 0);
    assert_eq!(runtime.stats().completed, made + 2);
    assert_eq!(control.violations(), []);
}

#[test]
fn where_it_failed_is_told() {
    if is_skipped() {
        return;
    }
    let (runtime, control, regions, _) = runtime();
    let ended = end_while((&runtime, &control), copy(&regions), || {
        control.fail_next(READ);
    });
    assert!(matches!(kind(ended), ErrorKind::Device(_)));
    control.release();
    assert_eq!(block_on(copy(&regions)).unwrap(), 64);
    eventually("the permits", || runtime.stats().in_flight == 0);
    assert_eq!(runtime.stats().failed, 1);
}

#[test]
fn it_is_told_late_and_keeps_what_it_uses_until_its_end() {
    if is_skipped() {
        return;
    }
    let (runtime, control, regions, clock) = runtime();
    let copy = copy(&regions).timeout(LIMIT);
    drop(regions);
    let ended = end_while((&runtime, &control), copy, || clock.advance(LIMIT));
    assert_eq!(kind(ended), ErrorKind::TimedOut);
    control.wait_for_polls(200);
    assert_eq!(control.domain().live(), 2, "the engine is still at it");
    assert_eq!(runtime.stats().in_flight, 1);
    control.complete_next();
    eventually("the unmapping", || control.domain().live() == 0);
    assert_eq!(runtime.stats().in_flight, 0);
    assert_eq!(control.violations(), []);
}

/// The runtime ends, and all that kept it but the operation's regions: the future has them last.
#[test]
fn it_outlives_the_runtime() {
    if is_skipped() {
        return;
    }
    let (runtime, control, regions, _) = runtime();
    let copy = copy(&regions);
    drop(regions);
    let awaited = thread::spawn(|| block_on(copy));
    wait_for(&control, runtime.shared(), 1);
    let shutdown = block_on(runtime.shutdown(Duration::ZERO));
    assert!(shutdown.is_err(), "it was given up");
    drop(runtime);
    assert_eq!(kind(awaited.join().unwrap()), ErrorKind::Shutdown);
    eventually("the unmapping", || control.domain().live() == 0);
    assert!(control.halted() && control.dropped());
    assert_eq!(control.violations(), []);
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker");
    }
}

/// Panics at whatever it hears, and counts it.
struct Loud(Arc<AtomicUsize>);

impl Subscriber for Loud {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a subscriber");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Another's waker panics in the midst of it, and so does who hears of that.
#[test]
fn wakers_and_loggers_that_panic_are_not_its_concern() {
    if is_skipped() {
        return;
    }
    let heard = Arc::new(AtomicUsize::new(0));
    let mut tries = 0;
    // The poller may call the waker, and then nobody hears of it here.
    while heard.load(Ordering::Relaxed) == 0 {
        let (runtime, control, regions, _) = runtime();
        let copy = copy(&regions);
        thread::scope(|scope| {
            let _released = Released(&control);
            let loud = Loud(heard.clone());
            let awaited = scope.spawn(|| subscriber::with_default(loud, || block_on(copy)));
            wait_for(&control, runtime.shared(), 1);
            let mut other = regions[0].copy_to(0, &regions[1], 3072, 64).submit();
            let waker = Waker::from(Arc::new(Panics));
            assert!(other.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
            control.wait_for_submitted(2);
            control.complete_last();
            control.complete_all();
            assert_eq!(awaited.join().unwrap().unwrap(), 64);
            assert_eq!(block_on(other).unwrap(), 64);
        });
        control.release();
        drop(regions);
        eventually("the unmapping", || control.domain().live() == 0);
        eventually("the permits", || runtime.stats().in_flight == 0);
        tries += 1;
        assert!(tries < 1000, "it is always the poller");
    }
}

/// Whatever panics while a future attends, its operation is given up as that of a dropped one.
#[test]
fn who_attends_and_panics_gives_up() {
    if is_skipped() {
        return;
    }
    for ends in [false, true] {
        let (runtime, control, regions, _) = runtime();
        let client = &runtime.shared().client;
        let request = Request::new(Work::Copy { source_offset: 0 }, 0, 64);
        let [source, destination] = regions;
        let cargo = Cargo { source: Some(source), destination, segments: None };
        let entry = request.entry(&cargo);
        let slot = client.take_kept().unwrap();
        let entry = |key| SubmissionEntry { key, ..entry };
        let key = client.submit_in(slot, (cargo, true), entry).map_err(drop).unwrap();
        let shared = Arc::as_ptr(runtime.shared());
        let mut attending = Attending { shared, key, cargo: None, has_left: false };
        control.wait_for_submitted(1);
        if ends {
            control.complete_next();
            // SAFETY: this is the one future of the life, and does not use the key when that is over.
            let look = || unsafe { client.look_for_end(key, &mut attending.cargo) };
            let found = runtime.shared().linger.wait(64, look);
            assert!(!matches!(found, None | Some(Found::Outcome)) || attending.cargo.is_none());
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _attending = attending;
            panic!("while it attends");
        }));
        assert!(panicked.is_err());
        if !ends {
            assert_eq!((control.domain().live(), runtime.stats().in_flight), (2, 1));
            control.complete_next();
        }
        eventually("the unmapping", || control.domain().live() == 0);
        eventually("the permit", || runtime.stats().in_flight == 0);
        block_on(runtime.shutdown(LONG)).unwrap();
        assert_eq!(control.violations(), []);
    }
}

thread_local!(static BROKEN: Cell<bool> = const { Cell::new(false) });

#[derive(Debug)]
struct Broken(ManualClock);

impl Clock for Broken {
    fn now(&self) -> Duration {
        assert!(!BROKEN.get(), "a clock");
        self.0.now()
    }
}

/// A time limit asks the clock, which is foreign code: nothing is taken before it.
#[test]
fn a_clock_that_panics_leaves_the_copy_and_slot_and_permit_where_they_are() {
    if is_skipped() {
        return;
    }
    let (runtime, control, regions) = runtime_by(Broken(ManualClock::new()));
    let mut late = copy(&regions).timeout(LIMIT);
    BROKEN.set(true);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        late.poll_unpin(&mut Context::from_waker(Waker::noop())).is_ready()
    }));
    BROKEN.set(false);
    assert!(panicked.is_err(), "the clock was not asked");
    assert!(runtime.shared().client.permits.has_kept());
    assert_eq!((runtime.stats().in_flight, bytes(&regions[1])), (0, [2; 64]));
    // Nothing has begun, so it is as it was.
    control.release();
    assert_eq!(block_on(&mut late).unwrap(), 64);
    assert_eq!(bytes(&regions[1]), [1; 64]);
    eventually("the permit", || runtime.stats().in_flight == 0);
    drop((late, regions));
    block_on(runtime.shutdown(LONG)).unwrap();
}

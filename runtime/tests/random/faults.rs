//! Engines that fail, are lost, retired and brought back at random, time limits and drops: what an operation says of itself
//! is true.
//!
//! Every operation writes a range of its own, once. In the end a range that was said to be written holds its source's
//! bytes; any other holds, byte for byte, what it held before or its source's.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use dmaring::{ErrorKind, OnError, Region, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_engine::{Completion, Outcome, Status, StatusKind, Token};
use dmaring_manual::{Control, ManualEngine, Recovery};
use futures::executor::block_on;

use crate::{
    THREADS,
    common::{LONG, bytes, eventually, never_parking, pattern},
    random::Random,
};

/// Operations of each thread, and the longest, in bytes.
const OPERATIONS: usize = 60;
const LONGEST: u64 = 2000;
const ENGINES: usize = 2;

/// What is left to no CPU.
const BAD_DATA: [StatusKind; 3] =
    [StatusKind::Unspecified, StatusKind::Read, StatusKind::Integrity];

/// What an operation said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Written,
    Failed,
    Nothing,
}

/// One operation: from where, how many bytes, and what it said. Its destination follows from its number.
#[derive(Clone, Copy, Debug)]
struct Ended {
    from: u64,
    length: u64,
    said: Said,
}

pub(crate) fn run(random: &mut Random, with_cpu: bool) {
    let entries = 2 << random.below(6);
    let mut builder = never_parking().ring_entries(entries);
    builder = builder.retire_after(2 + random.below(6) as u32, Duration::from_secs(600));
    let mut controls = Vec::new();
    for number in 0..ENGINES {
        let (depth, longest) = (2 + random.below(30) as usize, 64 + random.below(500));
        let engine = ManualEngine::builder().name(format!("m{number}")).depth(depth);
        let (engine, control) = engine.max_transfer(longest).build();
        builder = builder.engine(engine);
        controls.push(control);
    }
    if with_cpu {
        builder = builder.engine(CpuEngine::new());
    }
    let runtime = builder.build().unwrap();
    let length = (OPERATIONS * THREADS) as u64 * LONGEST;
    let (source, destination) = (pattern(1, LONGEST as usize * 2), pattern(2, length as usize));
    let src = runtime.register(source.clone()).unwrap();
    let dst = runtime.register(destination.clone()).unwrap();

    let done = AtomicBool::new(false);
    let mut chaos = random.fork();
    let ended: Vec<Ended> = thread::scope(|scope| {
        let trouble = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let number = chaos.below(ENGINES as u64) as usize;
                make_trouble(&runtime, &mut chaos, &controls[number], number);
                thread::yield_now();
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|worker| {
                let (random, src, dst) = (random.fork(), &src, &dst);
                scope.spawn(move || work(random, src, dst, worker, with_cpu))
            })
            .collect();
        // The trouble ends before a worker's panic is passed on: the scope waits for every thread.
        let outcomes: Vec<_> = workers.into_iter().map(ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        trouble.join().unwrap();
        outcomes.into_iter().flat_map(Result::unwrap).collect()
    });
    // What nobody claimed, or was late, is still to end.
    for control in &controls {
        control.release();
    }
    block_on(runtime.shutdown(LONG)).unwrap();
    assert_eq!(runtime.stats().in_flight, 0);
    for control in &controls {
        assert_eq!(control.violations(), []);
    }
    let after = bytes(&dst, 0, destination.len());
    for (number, ended) in ended.iter().enumerate() {
        let at = number * LONGEST as usize;
        let (from, length) = (ended.from as usize, ended.length as usize);
        for place in 0..LONGEST as usize {
            let (now, before) = (after[at + place], destination[at + place]);
            let new = (place < length).then(|| source[from + place]);
            let expected = match (new, ended.said) {
                (None, _) => now == before,
                (Some(new), Said::Written) => now == new,
                (Some(new), _) => now == new || now == before,
            };
            assert!(expected, "byte {place} of {ended:?}: {before} {new:?} {now}");
        }
    }
    drop((src, dst, runtime));
    eventually("the unmapping", || controls.iter().all(|control| control.domain().live() == 0));
}

fn work(
    mut random: Random,
    src: &Region,
    dst: &Region,
    worker: usize,
    with_cpu: bool,
) -> Vec<Ended> {
    let mut ended = Vec::new();
    let mut running = Vec::new();
    for n in 0..OPERATIONS {
        let to = (worker * OPERATIONS + n) as u64 * LONGEST;
        let (from, length) = (random.below(LONGEST), 1 + random.below(LONGEST));
        let mut copy = src.copy_to(from, dst, to, length);
        if random.below(8) == 0 {
            copy = copy.fence();
        }
        let timed = random.below(6) == 0;
        if timed {
            copy = copy.timeout(Duration::from_micros(random.below(2000)));
        }
        let fails = random.below(6) == 0;
        if fails {
            copy = copy.on_error(OnError::Fail);
        }
        let said = Said::Nothing;
        ended.push(Ended { from, length, said });
        let copy = copy.submit();
        match random.below(8) {
            0 => drop(copy),
            1 => std::mem::forget(copy),
            _ => running.push((n, timed, fails, copy)),
        }
        if random.below(4) == 0 {
            let some = running.len() / 2;
            for (n, timed, fails, copy) in running.drain(some..) {
                ended[n].said = claim(copy, timed, fails || !with_cpu);
            }
        }
    }
    for (n, timed, fails, copy) in running {
        ended[n].said = claim(copy, timed, fails || !with_cpu);
    }
    ended
}

/// Waits for the end, and checks that it is one that may be.
fn claim(copy: dmaring::Copy, timed: bool, fails: bool) -> Said {
    let Err(error) = block_on(copy) else { return Said::Written };
    let allowed = match error.kind() {
        ErrorKind::TimedOut => timed,
        ErrorKind::Device(device) if BAD_DATA.contains(&device.status.kind) => true,
        ErrorKind::Device(_) | ErrorKind::EngineLost => fails,
        _ => false,
    };
    assert!(allowed, "{error:?}");
    Said::Failed
}

/// Ends transfers of an engine, and now and then does something worse.
fn make_trouble(runtime: &Runtime, random: &mut Random, control: &Control, number: usize) {
    let outstanding = control.outstanding();
    let one = |random: &mut Random| {
        let last = outstanding.len() as u64;
        (last > 0).then(|| outstanding[random.below(last) as usize])
    };
    let status = Status { kind: StatusKind::from_number(random.below(10) as u8), bits: 7 };
    match random.below(40) {
        0..=2 => {
            if let Some(ticket) = one(random) {
                control.fail(ticket.serial, status);
            }
        }
        3..=5 => {
            if let Some(ticket) = one(random) {
                control.fail_channel(ticket.serial, status);
            }
        }
        6 => {
            // Something that nobody asked for.
            let token = Token::new(random.word());
            control.forge(Completion { token, outcome: Outcome::Done });
        }
        7 => {
            let steps = random.below(20) as usize;
            let fails = random.below(4) == 0;
            control.set_recovery(match fails {
                true => Recovery::Fails { steps, status },
                false => Recovery::Succeeds { steps },
            });
        }
        8 | 9 => {
            let engine = &runtime.stats().engines[number];
            if engine.lost || engine.retired {
                // It may fail again at once.
                let _ = block_on(runtime.restore_engine(&engine.name));
            }
        }
        10..=30 => {
            if let Some(ticket) = one(random) {
                control.complete(ticket.serial);
            }
        }
        _ => {
            control.complete_all();
        }
    }
}

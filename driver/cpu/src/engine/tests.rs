//! When what runs, what is told of it, and what is read ahead.
#![allow(unsafe_code, reason = "enqueues and runs transfers whose routines touch no memory")]

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use dmaring_engine::Iova;

use super::*;
use crate::routines::{ReadsAhead, Routines};

static STREAMED: AtomicUsize = AtomicUsize::new(0);
static FENCES: AtomicUsize = AtomicUsize::new(0);

/// Routines that touch no memory and note what is called.
static NOTING: Routines = Routines {
    name: "noting",
    streams: true,
    short: 0,
    copy: |_, _, _| {},
    copy_streaming: |_, _, _| {
        STREAMED.fetch_add(1, Relaxed);
    },
    copy_ahead: None,
    fill: |_, _, _| {},
    fill_streaming: |_, _, _| {},
    fence: || {
        STREAMED.store(0, Relaxed);
        FENCES.fetch_add(1, Relaxed);
    },
};

/// Routines that do nothing, for what is not a few moves.
static IDLE: Routines = Routines {
    name: "idle",
    streams: true,
    short: 64,
    copy: |_, _, _| {},
    copy_streaming: |_, _, _| {},
    copy_ahead: None,
    fill: |_, _, _| {},
    fill_streaming: |_, _, _| {},
    fence: || {},
};

static RUN: AtomicUsize = AtomicUsize::new(0);
static SETTLED: AtomicUsize = AtomicUsize::new(0);

/// Routines that touch no memory and are counted.
static COUNTING: Routines = Routines {
    name: "counting",
    streams: true,
    short: 0,
    copy: |_, _, _| {
        RUN.fetch_add(1, Relaxed);
    },
    copy_streaming: |_, _, _| {
        RUN.fetch_add(1, Relaxed);
    },
    copy_ahead: None,
    fill: |_, _, _| {
        RUN.fetch_add(1, Relaxed);
    },
    fill_streaming: |_, _, _| {
        RUN.fetch_add(1, Relaxed);
    },
    fence: || {
        SETTLED.fetch_add(1, Relaxed);
    },
};

#[test]
fn what_is_streamed_is_told_and_ordinary_stores_are_not_taken_for_it() {
    let told = |routines, threshold| {
        let engine = CpuEngine::from_parts(8, Mover::new(routines, threshold));
        engine.capabilities().streams_from
    };
    assert_eq!(told(&NOTING, 4096), Some(4096));
    assert_eq!(told(&NOTING, 0), Some(0));
    assert_eq!(told(&NOTING, usize::MAX), None);
    for routines in [&crate::portable::BYTES, &crate::portable::WORDS] {
        assert_eq!(told(routines, 0), None, "these are ordinary stores");
    }
}

#[test]
fn what_runs_at_once_is_fenced_by_the_next_submit_and_waits_behind_others() {
    let mut engine = CpuEngine::from_parts(8, Mover::new(&COUNTING, 4096));
    let copy = Operation::Copy { source: Iova::new(0x10_0000) };
    let transfer =
        |operation, length| Transfer { operation, destination: Iova::new(0x20_0000), length };
    // SAFETY: these routines touch no memory.
    let run = |engine: &mut CpuEngine, transfer| unsafe { engine.run(&transfer, None) };
    let counts = || (RUN.swap(0, Relaxed), SETTLED.swap(0, Relaxed));
    assert!(run(&mut engine, transfer(copy, 64)));
    assert!(run(&mut engine, transfer(Operation::Fill { pattern: 7 }, 1)));
    engine.submit();
    assert_eq!(counts(), (2, 0), "ordinary stores need no fence");
    assert!(run(&mut engine, transfer(copy, AT_ONCE)));
    assert_eq!(counts(), (1, 0));
    engine.submit();
    engine.submit();
    assert_eq!(counts(), (0, 1));
    assert!(!run(&mut engine, transfer(copy, AT_ONCE + 1)));
    let device = Operation::DeviceCopy { source: Iova::new(0x10_0000) };
    assert!(!run(&mut engine, transfer(device, 64)));
    // SAFETY: as above.
    unsafe { engine.enqueue(Token::new(1), &transfer(copy, 64)) }.unwrap();
    assert!(!run(&mut engine, transfer(copy, 64)), "one is before it");
    engine.halt(Duration::ZERO).unwrap();
    assert!(!run(&mut engine, transfer(copy, 64)));
    assert_eq!(counts(), (0, 0));
}

#[test]
fn several_run_as_far_as_the_first_that_does_not() {
    let mut engine = CpuEngine::from_parts(8, Mover::new(&IDLE, 4096));
    let transfer = |operation, length| Transfer { operation, destination: Iova::new(0), length };
    let copy = Operation::Copy { source: Iova::new(0) };
    let (short, long) = (transfer(copy, 65), transfer(copy, AT_ONCE + 1));
    let fill = transfer(Operation::Fill { pattern: 7 }, AT_ONCE);
    let device = transfer(Operation::DeviceFill { pattern: 7 }, 64);
    // SAFETY: these routines touch no memory, and what is a few moves is not among them.
    let run = |engine: &mut CpuEngine, all: &[Transfer]| unsafe { engine.run_all(all) };
    for (all, ran) in [
        (&[][..], 0),
        (&[short, fill, short], 3),
        (&[short, long, short], 1),
        (&[device, short], 0),
    ] {
        assert_eq!(run(&mut engine, all), ran, "{all:?}");
    }
    // SAFETY: as above.
    unsafe { engine.enqueue(Token::new(1), &short) }.unwrap();
    assert_eq!(run(&mut engine, &[short]), 0, "one is before it");
    engine.halt(Duration::ZERO).unwrap();
    assert_eq!(run(&mut engine, &[short]), 0);
}

/// Every length around that up to which there are a few moves, and the threshold from which on lines are streamed, by each way.
#[test]
fn short_copies_are_what_the_routines_make_of_them() {
    let mut from: Vec<u8> = (1..=80).collect();
    let at = |memory: &mut [u8]| Iova::new(memory.as_mut_ptr().expose_provenance() as u64);
    let source = at(&mut from);
    for routines in crate::routines::available() {
        for threshold in [0, 1, 16, 64, 65, 4096] {
            for length in (0..=70).step_by(if cfg!(miri) { 23 } else { 1 }) {
                let mut to = [vec![0; 80], vec![0; 80], vec![0; 80]];
                let [one, several, queued] = to.each_mut().map(|to| Transfer {
                    operation: Operation::Copy { source },
                    destination: at(to),
                    length,
                });
                let mut engine = CpuEngine::from_parts(8, Mover::new(routines, threshold));
                // SAFETY: the three lists and their source have more bytes than that, and outlive the engine.
                assert!(unsafe { engine.run(&one, None) });
                // SAFETY: as above.
                assert_eq!(unsafe { engine.run_all(&[several]) }, 1);
                engine.submit();
                if length > 0 {
                    // SAFETY: as above.
                    unsafe { engine.enqueue(Token::new(1), &queued) }.unwrap();
                    engine.submit();
                    let none = Completion { token: Token::new(0), outcome: Outcome::NotRun };
                    assert_eq!(engine.poll(&mut [none; 2]), 1);
                }
                let mut expected = vec![0; 80];
                expected.splice(..length as usize, 1..=length as u8);
                let what = format!("{routines:?}, {length} bytes, streamed from {threshold}");
                assert!(to.iter().all(|to| *to == expected), "{what}");
            }
        }
    }
}

/// Where lines are to be streamed from some length on, no copy as long goes by the moves, which stream nothing.
#[test]
fn what_is_to_be_streamed_takes_its_routine() {
    for (threshold, is_moved) in [(0, false), (1, false), (64, false), (65, true)] {
        let mut engine = CpuEngine::from_parts(8, Mover::new(&IDLE, threshold));
        let (mut from, mut to) = ([1_u8; 64], [0_u8; 64]);
        let source = Iova::new(from.as_mut_ptr().expose_provenance() as u64);
        let destination = Iova::new(to.as_mut_ptr().expose_provenance() as u64);
        let operation = Operation::Copy { source };
        // SAFETY: both lists have as many bytes, and outlive the engine.
        let ran = unsafe { engine.run(&Transfer { operation, destination, length: 64 }, None) };
        assert!(ran);
        assert_eq!(to == from, is_moved, "these routines copy nothing: {threshold}");
    }
}

#[test]
fn a_poll_that_streamed_fences_once_before_it_reports() {
    let mut engine = CpuEngine::from_parts(8, Mover::new(&NOTING, 4096));
    let mut run = |lengths: &[u64]| {
        for &length in lengths {
            let operation = Operation::Copy { source: Iova::new(0x10_0000) };
            let transfer = Transfer { operation, destination: Iova::new(0x20_0000), length };
            // SAFETY: these routines touch no memory.
            unsafe { engine.enqueue(Token::new(length), &transfer) }.unwrap();
        }
        engine.submit();
        let none = Completion { token: Token::new(0), outcome: Outcome::NotRun };
        assert_eq!(engine.poll(&mut [none; 8]), lengths.len());
        (STREAMED.load(Relaxed), FENCES.swap(0, Relaxed))
    };
    assert_eq!(run(&[]), (0, 0));
    assert_eq!(run(&[64, 4095]), (0, 0));
    assert_eq!(run(&[4096]), (0, 1));
    assert_eq!(run(&[64, 4096, 65536, 64]), (0, 1));
    assert_eq!(run(&[64]), (0, 0));
}

/// In which MiB a copy read, in which one that what was ahead of it, and how many bytes that was.
type Seen = (usize, Option<(usize, usize)>);
static AHEAD: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

fn note(source: *const u8, ahead: Option<(*const u8, usize)>) {
    let ahead = ahead.map(|(ahead, bytes)| (ahead.addr() >> 20, bytes));
    AHEAD.lock().unwrap().push((source.addr() >> 20, ahead));
}

/// How much of what is ahead the routines that note it read.
const READ_AHEAD: u64 = 20 << 10;

/// Routines that touch no memory and note what is copied from where, and what is ahead.
static LOOKING: Routines = Routines {
    name: "looking",
    copy: |_, source, _| note(source, None),
    copy_streaming: |_, source, _| note(source, None),
    copy_ahead: Some(ReadsAhead {
        bytes: READ_AHEAD,
        copy: |_, source, _, ahead, bytes| note(source, Some((ahead, bytes))),
    }),
    // What others count is none of its own.
    fence: || {},
    ..NOTING
};

#[test]
fn what_is_ahead_is_the_source_of_the_next_that_was_submitted() {
    const KIB: u64 = 1024;
    let mut engine = CpuEngine::from_parts(8, Mover::new(&LOOKING, 4096));
    assert_eq!(engine.capabilities().reads_ahead, READ_AHEAD);
    for (routines, threshold) in [(&NOTING, 4096), (&LOOKING, usize::MAX)] {
        let engine = CpuEngine::from_parts(8, Mover::new(routines, threshold));
        assert_eq!(engine.capabilities().reads_ahead, 0);
    }
    let copy = |page: u64| Operation::Copy { source: Iova::new(page << 20) };
    let destination = Iova::new(1 << 40);
    let plan = [
        (copy(1), 64 * KIB),
        (copy(2), 4 * KIB),
        (copy(3), 2 * KIB - 1),
        (copy(4), 64 * KIB),
        (Operation::Fill { pattern: 0 }, 64 * KIB),
        (copy(5), 64 * KIB),
        (Operation::DeviceCopy { source: Iova::new(6 << 20) }, 64 * KIB),
    ];
    for (token, (operation, length)) in (0..).zip(plan) {
        // SAFETY: these routines touch no memory; memory of a device comes after the last that is polled.
        unsafe { engine.enqueue(Token::new(token), &Transfer { operation, destination, length }) }
            .unwrap();
    }
    engine.submit();
    let late = Transfer { operation: copy(7), destination, length: 64 * KIB };
    // SAFETY: as above.
    unsafe { engine.enqueue(Token::new(7), &late) }.unwrap();
    let none = Completion { token: Token::new(0), outcome: Outcome::NotRun };
    let seen = |engine: &mut CpuEngine, places| {
        engine.poll(&mut [none; 8][..places]);
        AHEAD.lock().unwrap().drain(..).collect::<Vec<_>>()
    };
    assert_eq!(seen(&mut engine, 1), [(1, Some((2, 4096)))]);
    // What is too short to be read ahead, is not read, or is no memory of the host, is not.
    assert_eq!(seen(&mut engine, 5), [(2, None), (3, None), (4, None), (5, None)]);
    engine.halt(Duration::ZERO).unwrap();

    let mut engine = CpuEngine::from_parts(8, Mover::new(&LOOKING, 4096));
    for token in [1, 2] {
        let transfer = Transfer { operation: copy(token), destination, length: 64 * KIB };
        // SAFETY: these routines touch no memory.
        unsafe { engine.enqueue(Token::new(token), &transfer) }.unwrap();
        if token == 1 {
            engine.submit();
        }
    }
    assert_eq!(seen(&mut engine, 8), [(1, None)], "the next was not submitted");
    engine.submit();
    assert_eq!(seen(&mut engine, 8), [(2, None)], "there is none");
    let ahead = Ahead { source: Iova::new(3 << 20), length: 5000 };
    for (length, expected) in [(4 * KIB, Some((3, 5000))), (4 * KIB - 1, None)] {
        let transfer = Transfer { operation: copy(1), destination, length };
        // SAFETY: as above.
        assert!(unsafe { engine.run(&transfer, Some(ahead)) });
        assert_eq!(seen(&mut engine, 0), [(1, expected)], "{length}");
    }
}

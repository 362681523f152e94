//! The CPU engine keeps the contract of the seam.
#![allow(unsafe_code, reason = "maps buffers and enqueues transfers as the runtime would")]

use std::{
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::Poll,
    thread,
    time::Duration,
};

use dmaring_cpu::CpuEngine;
use dmaring_engine::{
    Completion, Engine, EnqueueError, Iova, Operation, Outcome, Rights, Token, Transfer,
};

const KIB: usize = 1024;
const NOTHING: Completion = Completion { token: Token::new(0), outcome: Outcome::NotRun };

/// Memory that two threads may use at once.
fn shared(length: usize, byte: u8) -> Arc<[AtomicU8]> {
    (0..length).map(|_| AtomicU8::new(byte)).collect()
}

fn map(engine: &CpuEngine, memory: &Arc<[AtomicU8]>) -> Iova {
    let start = NonNull::from(&memory[..]).cast();
    // SAFETY: (1) every test keeps its memory until the engine is done with it; (2) it is atomic,
    // so that a shared reference may be written through.
    unsafe { engine.domain().map(start, memory.len(), Rights::ReadWrite) }.unwrap()
}

fn enqueue(engine: &mut CpuEngine, token: u64, transfer: &Transfer) -> Result<(), EnqueueError> {
    // SAFETY: the ranges are of memory mapped with `map`; refused transfers are never carried out.
    unsafe { engine.enqueue(Token::new(token), transfer) }
}

fn poll(engine: &mut CpuEngine, places: usize) -> Vec<u64> {
    let mut ends = vec![NOTHING; places];
    let count = engine.poll(&mut ends);
    assert!(ends[..count].iter().all(|end| end.outcome == Outcome::Done));
    assert!(ends[count..].iter().all(|end| *end == NOTHING));
    ends[..count].iter().map(|end| end.token.get()).collect()
}

fn copy(source: Iova, destination: Iova, length: usize) -> Transfer {
    Transfer { operation: Operation::Copy { source }, destination, length: length as u64 }
}

fn bytes(memory: &[AtomicU8]) -> Vec<u8> {
    memory.iter().map(|byte| byte.load(Relaxed)).collect()
}

#[test]
fn nothing_moves_before_the_doorbell_and_the_poll() {
    let mut engine = CpuEngine::new();
    let (source, destination) = (shared(32, 7), shared(32, 0));
    let transfer = copy(map(&engine, &source), map(&engine, &destination), 32);
    enqueue(&mut engine, 1, &transfer).unwrap();
    assert_eq!(poll(&mut engine, 4), []);
    engine.submit();
    assert_eq!(bytes(&destination), [0; 32]);
    assert_eq!(poll(&mut engine, 0), []);
    assert_eq!(bytes(&destination), [0; 32]);
    assert_eq!(poll(&mut engine, 4), [1]);
    assert_eq!(bytes(&destination), [7; 32]);
    assert_eq!(poll(&mut engine, 4), []);
}

#[test]
fn each_token_is_reported_once_and_in_order() {
    let mut engine = CpuEngine::with_depth(8);
    let (source, destination) = (shared(8, 1), shared(8, 0));
    let transfer = copy(map(&engine, &source), map(&engine, &destination), 8);
    let mut reported = Vec::new();
    let mut next = 0;
    while reported.len() < 100 {
        while next < 100 && engine.room() > 0 {
            enqueue(&mut engine, next, &transfer).unwrap();
            next += 1;
        }
        engine.submit();
        reported.extend(poll(&mut engine, 3));
    }
    assert_eq!(reported, (0..100).collect::<Vec<_>>());
    assert_eq!(poll(&mut engine, 8), []);
}

#[test]
fn room_counts_until_an_end_is_reported() {
    let mut engine = CpuEngine::with_depth(4);
    let memory = shared(16, 0);
    let base = map(&engine, &memory);
    let transfer = copy(base, base.checked_add(8).unwrap(), 8);
    for left in (0..4).rev() {
        enqueue(&mut engine, left, &transfer).unwrap();
        assert_eq!(engine.room(), left as usize);
    }
    assert_eq!(enqueue(&mut engine, 9, &transfer), Err(EnqueueError::Full));
    engine.submit();
    assert_eq!(engine.room(), 0);
    assert_eq!(poll(&mut engine, 3), [3, 2, 1]);
    assert_eq!(engine.room(), 3);
    assert_eq!(poll(&mut engine, 3), [0]);
    assert_eq!(engine.room(), 4);
    assert_eq!(CpuEngine::with_depth(0).capabilities().depth, 2);
}

#[test]
fn a_length_outside_the_limits_is_refused_without_a_trace() {
    let mut engine = CpuEngine::new();
    let max = engine.capabilities().max_transfer;
    let memory = shared(8, 0);
    let base = map(&engine, &memory);
    for length in [0, max + 1, u64::MAX] {
        for operation in [Operation::Copy { source: base }, Operation::Fill { pattern: 0 }] {
            let refused =
                enqueue(&mut engine, 1, &Transfer { operation, destination: base, length });
            assert_eq!(refused, Err(EnqueueError::TooLong { max }));
        }
    }
    engine.submit();
    assert_eq!((engine.room(), poll(&mut engine, 4)), (16, vec![]));
}

#[test]
fn a_poll_stops_when_its_budget_of_bytes_is_used_up() {
    if cfg!(miri) {
        return; // Half a mebibyte, byte by byte.
    }
    let mut engine = CpuEngine::new();
    let (source, destination) = (shared(64 * KIB, 3), shared(64 * KIB, 0));
    let transfer = copy(map(&engine, &source), map(&engine, &destination), 64 * KIB);
    for token in 0..9 {
        enqueue(&mut engine, token, &transfer).unwrap();
    }
    engine.submit();
    assert_eq!(poll(&mut engine, 64), [0, 1, 2, 3]);
    assert_eq!(poll(&mut engine, 64), [4, 5, 6, 7]);
    assert_eq!(poll(&mut engine, 64), [8]);
    assert_eq!(bytes(&destination), [3; 64 * KIB]);
    // One that does not fit any more waits for the next.
    for token in 0..9 {
        enqueue(&mut engine, token, &Transfer { length: 60 << 10, ..transfer }).unwrap();
    }
    engine.submit();
    assert_eq!(poll(&mut engine, 64), [0, 1, 2, 3]);
    assert_eq!(poll(&mut engine, 64), [4, 5, 6, 7]);
    assert_eq!(poll(&mut engine, 64), [8]);
    // The longest has a poll of its own.
    let max = engine.capabilities().max_transfer;
    let (source, destination) = (shared(max as usize, 4), shared(max as usize, 0));
    let longest = copy(map(&engine, &source), map(&engine, &destination), max as usize);
    for (token, transfer) in [(0, transfer), (1, longest), (2, longest)] {
        enqueue(&mut engine, token, &transfer).unwrap();
    }
    engine.submit();
    for token in 0..3 {
        assert_eq!(poll(&mut engine, 64), [token]);
    }
    assert_eq!(bytes(&destination), vec![4; max as usize]);
}

#[test]
fn after_halt_nothing_runs() {
    let mut engine = CpuEngine::new();
    let (source, destination) = (shared(8, 7), shared(8, 0));
    let transfer = copy(map(&engine, &source), map(&engine, &destination), 8);
    assert_eq!(engine.recover(), Poll::Ready(Ok(())));
    enqueue(&mut engine, 1, &transfer).unwrap();
    engine.submit();
    enqueue(&mut engine, 2, &transfer).unwrap();
    engine.halt(Duration::ZERO).unwrap();
    engine.submit();
    assert_eq!(poll(&mut engine, 4), []);
    assert_eq!(engine.room(), 0);
    assert_eq!(enqueue(&mut engine, 3, &transfer), Err(EnqueueError::Full));
    assert!(matches!(engine.recover(), Poll::Ready(Err(_))));
    assert_eq!(bytes(&destination), [0; 8]);
}

#[test]
fn copies_and_fills_of_mixed_lengths_match_a_model() {
    let mut engine = CpuEngine::builder().streaming_threshold(512).build();
    let size = if cfg!(miri) { KIB } else { 256 * KIB };
    let (source, destination) = (shared(size, 0), shared(size, 0));
    for (place, byte) in source.iter().enumerate() {
        byte.store((place * 31 % 251) as u8, Relaxed);
    }
    let (from, to) = (map(&engine, &source), map(&engine, &destination));
    let mut model = vec![0; size];
    let mut random = 1_u64;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % limit
    };
    for token in 0_u64..if cfg!(miri) { 25 } else { 4000 } {
        let divisor = 1 + below(100);
        let length = 1 + below(size / divisor);
        let (start, end) = (below(size - length + 1), below(size - length + 1));
        let destination = to.checked_add(end as u64).unwrap();
        let operation = if token % 3 == 0 {
            let pattern = 0x0102_0304_0506_0708_u64 * (token % 30);
            let cycle = pattern.to_le_bytes().into_iter().cycle();
            model[end..end + length].iter_mut().zip(cycle).for_each(|(byte, new)| *byte = new);
            Operation::Fill { pattern }
        } else {
            model[end..end + length].copy_from_slice(&bytes(&source[start..start + length]));
            Operation::Copy { source: from.checked_add(start as u64).unwrap() }
        };
        let transfer = Transfer { operation, destination, length: length as u64 };
        enqueue(&mut engine, token, &transfer).unwrap();
        engine.submit();
        if engine.room() == 0 || token % 7 == 0 {
            while !poll(&mut engine, 16).is_empty() {}
        }
    }
    while !poll(&mut engine, 16).is_empty() {}
    assert!(bytes(&destination) == model);
}

#[test]
fn others_may_use_the_memory_while_it_is_copied() {
    let mut engine = CpuEngine::new();
    let length = if cfg!(miri) { 64 } else { 16 * KIB };
    let (source, destination) = (shared(length, 1), shared(length, 1));
    let transfer = copy(map(&engine, &source), map(&engine, &destination), length);
    let other = {
        let (source, destination) = (Arc::clone(&source), Arc::clone(&destination));
        thread::spawn(move || {
            source.iter().for_each(|byte| byte.store(2, Relaxed));
            assert!(bytes(&destination).iter().all(|byte| [1, 2].contains(byte)));
        })
    };
    enqueue(&mut engine, 1, &transfer).unwrap();
    engine.submit();
    assert_eq!(poll(&mut engine, 1), [1]);
    other.join().unwrap();
    assert!(bytes(&destination).iter().all(|byte| [1, 2].contains(byte)));
}

//! The rings alone: pushing, popping, and pushing by 1 to 8 threads at once.
//!
//! `cargo bench -p dmaring-benches --bench ring`
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::{
    hint::{black_box, spin_loop},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dmaring_benches::rings::OwnRings;
use dmaring_ring::{
    CompletionCode, CompletionEntry, Key, Opcode, SubmissionEntry, completion, submission,
};

const ENTRIES: u32 = 1024;

/// One thread does both ends: what the instructions cost with every line in its own cache.
fn alone(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    let memory = OwnRings::new(ENTRIES).unwrap_or_else(|error| panic!("{error}"));
    let rings = memory.get();
    let (header, slots) = (rings.header(), rings.submission_slots());
    let mut consumer = submission::Consumer::new();
    for batch in [1, 16, 32] {
        let entries = vec![entry(); batch];
        let push =
            || assert!(submission::push(header, slots, &entries).is_ok(), "the ring is full");
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("push", batch), |bencher| {
            bencher.iter_custom(|count| {
                laps(count, u64::from(ENTRIES) / batch as u64, |lap| {
                    let begin = Instant::now();
                    (0..lap).for_each(|_| push());
                    let took = begin.elapsed();
                    while consumer.pop(slots).is_some() {}
                    took
                })
            });
        });
        group.bench_function(BenchmarkId::new("pop", batch), |bencher| {
            bencher.iter_custom(|count| {
                laps(count, u64::from(ENTRIES) / batch as u64, |lap| {
                    (0..lap).for_each(|_| push());
                    let begin = Instant::now();
                    while let Some(entry) = consumer.pop(slots) {
                        black_box(entry);
                    }
                    begin.elapsed()
                })
            });
        });
        group.bench_function(BenchmarkId::new("push and pop", batch), |bencher| {
            bencher.iter(|| {
                push();
                while let Some(entry) = consumer.pop(slots) {
                    black_box(entry);
                }
            });
        });
    }

    let places = rings.completion_slots();
    let (mut producer, mut reaper) = (completion::Producer::new(), completion::Consumer::new());
    let end = CompletionEntry::new(Key { index: 1, generation: 2 }, CompletionCode::DEVICE, 0, 0);
    for batch in [1, 32] {
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::new("complete and reap", batch), |bencher| {
            bencher.iter(|| {
                producer.room(header, places);
                for _ in 0..batch {
                    black_box(producer.push(places, end).is_ok());
                }
                producer.publish(header);
                while let Some(entry) = reaper.pop(header, places) {
                    black_box(entry);
                }
                reaper.release(header);
            });
        });
    }
    group.finish();
}

/// The time of `count` turns, taken in laps of at most `most`, so that the clock's own time is spread over many.
fn laps(count: u64, most: u64, mut lap: impl FnMut(u64) -> Duration) -> Duration {
    let (mut left, mut took) = (count, Duration::ZERO);
    while left > 0 {
        let turns = left.min(most);
        took += lap(turns);
        left -= turns;
    }
    took
}

/// Threads that push one entry after the other, and one that pops: entries in a second, all threads together.
fn contention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring, contention");
    group.throughput(Throughput::Elements(1));
    for producers in [1u64, 2, 4, 8] {
        group.bench_function(BenchmarkId::new("producers", producers), |bencher| {
            bencher.iter_custom(|count| contended(producers, count.div_ceil(producers)));
        });
    }
    group.finish();
}

/// How long `producers` threads take to push `each` entries while one pops them.
fn contended(producers: u64, each: u64) -> Duration {
    let memory = OwnRings::new(ENTRIES).unwrap_or_else(|error| panic!("{error}"));
    let rings = memory.get();
    let ready = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..producers {
            scope.spawn(|| {
                ready.fetch_add(1, Ordering::AcqRel);
                while ready.load(Ordering::Acquire) <= producers {
                    spin_loop();
                }
                for _ in 0..each {
                    // There are more threads than cores perhaps: who finds the ring full lets the popping one run.
                    while submission::push(rings.header(), rings.submission_slots(), &[entry()])
                        .is_err()
                    {
                        thread::yield_now();
                    }
                }
            });
        }
        while ready.load(Ordering::Acquire) < producers {
            thread::yield_now();
        }
        let begin = Instant::now();
        ready.fetch_add(1, Ordering::AcqRel);
        let (mut consumer, mut popped, mut idle) = (submission::Consumer::new(), 0, 0u32);
        while popped < producers * each {
            match consumer.pop(rings.submission_slots()) {
                Some(entry) => {
                    black_box(entry);
                    (popped, idle) = (popped + 1, 0);
                }
                None if idle < 1000 => idle += 1,
                None => thread::yield_now(),
            }
        }
        begin.elapsed()
    })
}

fn entry() -> SubmissionEntry {
    SubmissionEntry { opcode: Opcode::COPY, length: 64, ..SubmissionEntry::default() }
}

criterion_group!(benches, alone, contention);
criterion_main!(benches);

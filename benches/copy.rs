//! Copies from 64 B to 32 MiB: through the runtime with the CPU engine, and by bare loops, cold and cache-resident.
//!
//! `cargo bench -p dmaring-benches --bench copy`. *Cold*: every block of two areas once, in random orders, and then again;
//! the areas are together longer than four times a last cache of 260 MiB. *Warm*: the same block again and again. Engines,
//! bare loops and the C library copy between the same areas. Nothing is compared across the two groups.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use dmaring::{Idle, Region, Runtime};
use dmaring_benches::{Shuffled, apart, area::Area, loops::Loop, spin};
use dmaring_cpu::CpuEngine;

/// Of one area, in bytes: 18 times 32 MiB.
const AREA: u64 = 576 << 20;
/// How many copies are in flight; where eight blocks would be most of the area, one.
const DEPTHS: [usize; 2] = [1, 8];
const COLD: [u64; 7] = [64, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 8 << 20, 32 << 20];
const WARM: [u64; 6] = [64, 1 << 10, 4 << 10, 64 << 10, 256 << 10, 1 << 20];

/// How the CPU engine stores: its default, and each kind for every length.
const ENGINES: [(&str, Option<u64>); 3] =
    [("cpu", None), ("cpu, plain stores", Some(u64::MAX)), ("cpu, non-temporal stores", Some(0))];

fn copies(criterion: &mut Criterion) {
    let area = || Area::new(AREA as usize).unwrap_or_else(|error| panic!("{error}"));
    let (mut source, mut destination) = (area(), area());
    source.slice_mut().unwrap_or_else(|error| panic!("{error}")).fill(1);
    for (name, sizes, cold) in [("copy, cold", &COLD[..], true), ("copy, warm", &WARM[..], false)] {
        let mut group = criterion.benchmark_group(name);
        for &size in sizes {
            group.throughput(Throughput::Bytes(size));
            let blocks = if cold { AREA / size } else { 1 };
            for bare in Loop::available() {
                alone(&mut group, bare, (&mut source, &mut destination), (size, blocks));
            }
            for engine in ENGINES {
                through_runtime(&mut group, engine, (&source, &destination), (size, blocks));
            }
        }
        group.finish();
    }
}

fn alone(
    group: &mut BenchmarkGroup<'_, WallTime>,
    bare: Loop,
    (source, destination): (&mut Area, &mut Area),
    (size, blocks): (u64, u64),
) {
    let source = source.slice().unwrap_or_else(|error| panic!("{error}"));
    let destination = destination.slice_mut().unwrap_or_else(|error| panic!("{error}"));
    let mut orders = [1, 2].map(|seed| Shuffled::new(blocks, seed));
    let mut ranges = || {
        orders.each_mut().map(|order| {
            let start = (order.next().unwrap_or(0) * size) as usize;
            start..start + size as usize
        })
    };
    group.bench_function(BenchmarkId::new(bare.name(), size), |bencher| {
        bencher.iter(|| {
            let [from, to] = ranges();
            bare.copy(black_box(&mut destination[to]), black_box(&source[from]));
        });
    });
}

fn through_runtime(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (name, threshold): (&str, Option<u64>),
    (source, destination): (&Area, &Area),
    (size, blocks): (u64, u64),
) {
    let runtime = runtime(threshold);
    let register =
        |area: &Area| runtime.register(area.lend()).unwrap_or_else(|error| panic!("{error}"));
    let regions = (register(source), register(destination));
    for depth in DEPTHS {
        // With few blocks, those in flight would be most of them.
        if blocks > 1 && depth as u64 > blocks / 2 {
            continue;
        }
        let mut orders = [1, 2].map(|seed| Shuffled::new(blocks, seed));
        group.bench_function(
            BenchmarkId::new(format!("{name}, {depth} in flight"), size),
            |bencher| {
                bencher.iter_custom(|count| in_flight(&regions, size, (count, depth), &mut orders));
            },
        );
    }
}

fn in_flight(
    (source, destination): &(Region, Region),
    size: u64,
    count_and_depth: (u64, usize),
    orders: &mut [Shuffled; 2],
) -> Duration {
    let mut offsets = || orders.each_mut().map(|order| order.next().unwrap_or(0) * size);
    let begin = Instant::now();
    spin::windowed(
        count_and_depth,
        |copy| spin::block_on(copy),
        |_| {
            let [from, to] = offsets();
            source.copy_to(from, destination, to, size).submit()
        },
        |_, outcome| assert!(outcome.is_ok(), "{outcome:?}"),
    );
    begin.elapsed()
}

fn runtime(threshold: Option<u64>) -> Runtime {
    let engine = CpuEngine::builder();
    let engine =
        threshold.map_or(engine.clone(), |bytes| engine.streaming_threshold(bytes as usize));
    apart::build(Runtime::builder().engine(engine.build()).idle(Idle::Spin))
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = copies
}
criterion_main!(benches);

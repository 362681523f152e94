//! Copies of cold memory: through the runtime with the CPU engine, and by memcpy.
//!
//! `cargo bench -p dmaring-benches`. Blocks are taken in random order out of two areas of 1 GiB each, so that neither
//! source nor destination is in a cache. Both sides copy within the same two areas, in one run.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::{hint::black_box, time::Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dmaring::{Idle, Region, Runtime};
use dmaring_benches::Shuffled;
use dmaring_cpu::CpuEngine;
use futures::{StreamExt, executor::block_on, stream::FuturesUnordered};

const AREA: u64 = 1 << 30;
/// Copies in flight at a time.
const DEPTH: u64 = 8;

fn copies(criterion: &mut Criterion) {
    let runtime = Runtime::builder()
        .engine(CpuEngine::new())
        .idle(Idle::Spin)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let (src, dst) = (area(&runtime), area(&runtime));
    let source = vec![1u8; AREA as usize];
    let mut destination = vec![2u8; AREA as usize];
    let mut group = criterion.benchmark_group("cold copy");
    for size in [4 << 10, 64 << 10, 1 << 20] {
        group.throughput(Throughput::Bytes(size));
        let mut blocks = Shuffled::new(AREA / size);
        group.bench_with_input(BenchmarkId::new("runtime", size), &size, |bencher, &size| {
            bencher.iter_custom(|count| {
                let start = Instant::now();
                block_on(through_runtime(&src, &dst, size, count, &mut blocks));
                start.elapsed()
            });
        });
        group.bench_with_input(BenchmarkId::new("memcpy", size), &size, |bencher, &size| {
            bencher.iter(|| {
                let from = range(&mut blocks, size);
                let to = range(&mut blocks, size);
                destination[to].copy_from_slice(black_box(&source[from]));
                black_box(&mut destination);
            });
        });
    }
    group.finish();
}

/// An allocated region whose every page is there.
fn area(runtime: &Runtime) -> Region {
    let region = runtime.allocate(AREA as usize).unwrap_or_else(|error| panic!("{error}"));
    block_on(region.fill(0, AREA, 1)).unwrap_or_else(|error| panic!("{error}"));
    region
}

async fn through_runtime(src: &Region, dst: &Region, size: u64, count: u64, blocks: &mut Shuffled) {
    let mut begin = || {
        let mut offset = || blocks.next().unwrap_or(0) * size;
        src.copy_to(offset(), dst, offset(), size)
    };
    let mut in_flight: FuturesUnordered<_> = (0..count.min(DEPTH)).map(|_| begin()).collect();
    let mut left = count - count.min(DEPTH);
    while let Some(outcome) = in_flight.next().await {
        outcome.unwrap_or_else(|error| panic!("{error}"));
        if left > 0 {
            left -= 1;
            in_flight.push(begin());
        }
    }
}

fn range(blocks: &mut Shuffled, size: u64) -> std::ops::Range<usize> {
    let start = (blocks.next().unwrap_or(0) * size) as usize;
    start..start + size as usize
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = copies
}
criterion_main!(benches);

//! What programs do today instead: io_uring's rings, tokio's blocking threads, a busy thread behind a channel.
//!
//! `cargo bench -p dmaring-benches --bench peers`. The ratios to dmaring, DPDK's device among the peers, are those of
//! `cargo xtask peers`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::{hint::black_box, thread, time::Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dmaring_benches::{nops::Nops, pinning};
use tokio::{
    runtime::Builder,
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
};

type Block = [u8; 64];

fn kernel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peers");
    for depth in [1u32, 32] {
        // A kernel without io_uring is no peer.
        let Ok(mut nops) = Nops::new(depth) else { continue };
        group.throughput(Throughput::Elements(depth.into()));
        group.bench_function(BenchmarkId::new("io_uring nop", depth), |bencher| {
            bencher.iter(|| nops.round().unwrap_or_else(|error| panic!("{error}")));
        });
    }
    group.finish();
}

fn blocking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peers");
    group.throughput(Throughput::Elements(1));
    let executor = Builder::new_current_thread().max_blocking_threads(1).build();
    let executor = executor.unwrap_or_else(|error| panic!("{error}"));
    group.bench_function("spawn_blocking of a 64-byte copy", |bencher| {
        bencher.iter_custom(|count| {
            executor.block_on(async {
                let begin = Instant::now();
                for number in 0..count {
                    let block: Block = [number as u8; 64];
                    let copied = tokio::task::spawn_blocking(move || black_box(block)).await;
                    black_box(copied.unwrap_or_else(|error| panic!("{error}")));
                }
                begin.elapsed()
            })
        });
    });
    group.finish();
}

fn busy_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peers");
    let cores = pinning::available().unwrap_or_default();
    let (jobs, mut queue) = mpsc::channel::<(Block, oneshot::Sender<Block>)>(64);
    let core = cores.last().copied();
    let worker = thread::spawn(move || {
        if let Some(core) = core {
            let _ = pinning::pin(core);
        }
        loop {
            match queue.try_recv() {
                // Who asked may be gone.
                Ok((block, done)) => drop(done.send(black_box(block))),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    });
    let executor = Builder::new_current_thread().build().unwrap_or_else(|error| panic!("{error}"));
    for depth in [1u64, 32] {
        group.throughput(Throughput::Elements(depth));
        group.bench_function(BenchmarkId::new("mpsc and oneshot", depth), |bencher| {
            bencher.iter(|| {
                executor.block_on(async {
                    let mut answers = Vec::with_capacity(depth as usize);
                    for _ in 0..depth {
                        let (done, answer) = oneshot::channel();
                        let _ = jobs.send(([1; 64], done)).await;
                        answers.push(answer);
                    }
                    for answer in answers {
                        black_box(answer.await.is_ok());
                    }
                });
            });
        });
    }
    group.finish();
    drop(jobs);
    let _ = worker.join();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = kernel, blocking, busy_thread
}
criterion_main!(benches);

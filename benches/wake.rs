//! How long the await of one 64-byte copy takes, by executor.
//!
//! `cargo bench -p dmaring-benches --bench wake`. The poller is hot and on a core of its own where there are two; a
//! criterion figure is a mean, `cargo xtask peers` has the percentiles.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use dmaring::{Idle, Region, Runtime};
use dmaring_benches::{apart, spin};
use dmaring_cpu::CpuEngine;

fn awaits(criterion: &mut Criterion) {
    let runtime = apart::build(Runtime::builder().engine(CpuEngine::new()).idle(Idle::Spin));
    let region = allocate(&runtime);
    let mut group = criterion.benchmark_group("wake");
    group.bench_function("spinning", |bencher| {
        bencher.iter(|| {
            spin::block_on(region.copy(0, 4096, 64)).unwrap_or_else(|error| panic!("{error}"))
        });
    });
    group.bench_function("futures::executor::block_on", |bencher| {
        let copy = || futures::executor::block_on(region.copy(0, 4096, 64));
        bencher.iter(|| copy().unwrap_or_else(|error| panic!("{error}")));
    });
    let current = tokio::runtime::Builder::new_current_thread().build();
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    for (name, executor) in [("tokio current-thread", current), ("tokio multi-thread", multi)] {
        let executor = executor.unwrap_or_else(|error| panic!("{error}"));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let region = region.clone();
                // A task, as a program's would be: on the multi-thread executor it runs on a worker.
                let task = executor.spawn(async move {
                    let begin = std::time::Instant::now();
                    for _ in 0..count {
                        region.copy(0, 4096, 64).await?;
                    }
                    Ok::<_, dmaring::Error>(begin.elapsed())
                });
                let outcome = executor.block_on(task).unwrap_or_else(|error| panic!("{error}"));
                outcome.unwrap_or_else(|error| panic!("{error}"))
            });
        });
    }
    group.finish();
}

fn allocate(runtime: &Runtime) -> Region {
    let region = runtime.allocate(8192).unwrap_or_else(|error| panic!("{error}"));
    spin::block_on(region.fill(0, 8192, 1)).unwrap_or_else(|error| panic!("{error}"));
    region
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = awaits
}
criterion_main!(benches);

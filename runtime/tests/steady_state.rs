//! An operation in steady state allocates nothing and frees nothing, on any thread. What it asks of the kernel
//! is counted in `system_calls`.
#![cfg(all(not(loom), not(miri)))]

mod common;
mod counting;
mod steady;

use std::hint::black_box;

use common::{eventually, housekeepers};
use counting::{Counting, counts};
use dmaring::{Idle, Region, Runtime, Striping};
use dmaring_cpu::CpuEngine;
use futures::executor::block_on;
use steady::Steady;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const OPERATIONS: u64 = 20_000;

/// The only test of this process, so that nothing else allocates.
#[test]
fn operations_allocate_nothing() {
    // Permits for all that is in flight, and for half of it: the other half waits in the queue.
    for entries in [64, 16] {
        let builder = Runtime::builder().engine(CpuEngine::new()).ring_entries(entries);
        let runtime = builder.idle(Idle::Spin).build().unwrap();
        let (src, dst) = (runtime.allocate(1 << 16).unwrap(), runtime.allocate(1 << 16).unwrap());
        let mut steady = Steady::new(src, dst.clone());
        steady.run(1000, || ());
        eventually("the housekeeper's sleep", || housekeepers() == ['S']);

        let before = counts();
        steady.run(OPERATIONS, || ());
        assert_eq!(counts(), before, "{entries} entries");
        assert!(runtime.stats().completed >= OPERATIONS);

        // The control: one allocation per operation is found, and nothing else.
        let before = counts();
        let mut planted = 0;
        steady.run(1000, || {
            planted += 1;
            drop(black_box(Box::new(planted)));
        });
        assert_eq!(counts(), before.map(|count| count + planted));

        unclaimed_results(&dst);
        // Lists of segments, places of pieces and what keeps account of them are used again.
        let mut before = counts();
        steady.others(&runtime, || before = counts());
        assert_eq!(counts(), before, "of vectored copies and fenced fills");
        // A chain is a list.
        let before = counts();
        steady.chains(1000);
        assert_eq!(counts(), before.map(|count| count + 1000), "of chains");
        for size in [1, 16, 32, 100] {
            // The lists of batches are used again.
            let mut before = counts();
            steady.batches(&runtime, size, || before = counts());
            assert_eq!(counts(), before, "of batches of {size}");
        }
        drop((steady, dst, runtime));
        eventually("the housekeeper's end", || housekeepers().is_empty());
    }
    striped();
}

/// Striped over two engines.
fn striped() {
    let striping = Striping { from: 8192, stripe: 4096 };
    let builder = Runtime::builder().engine(CpuEngine::new()).engine(CpuEngine::new());
    let runtime = builder.striping(striping).idle(Idle::Spin).build().unwrap();
    let region = runtime.allocate(1 << 16).unwrap();
    eventually("the housekeeper's sleep", || housekeepers() == ['S']);
    let mut before = counts();
    for round in 0..1000 {
        if round == 10 {
            before = counts();
        }
        assert_eq!(block_on(region.fill(0, 1 << 16, round)).unwrap(), 1 << 16);
    }
    assert_eq!(counts(), before, "of striped fills");
    let shares: Vec<_> = runtime.stats().engines.iter().map(|engine| engine.bytes).collect();
    assert!(shares.iter().all(|&bytes| bytes > 0), "{shares:?}");
}

/// The table grows when more results lie unclaimed than ever before, and not again.
fn unclaimed_results(region: &Region) {
    let mut held = Vec::with_capacity(300);
    for round in 0..3 {
        let before = counts();
        for n in 0..300 {
            held.push(region.fill(n * 64, 64, n).submit());
        }
        block_on(region.fill(0, 64, 1).fence()).unwrap();
        for n in 0..3000 {
            block_on(region.fill(0, 64, n)).unwrap();
        }
        let grown = counts() != before;
        assert_eq!(grown, round == 0, "round {round}: 300 unclaimed results");
        held.clear();
    }
}

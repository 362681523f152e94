//! Random operations on many threads, with random drops and leaks of futures in flight, held against a model.
//!
//! The seed is fixed. `DMARING_SEED` sets another and `DMARING_ITERATIONS` how often each test runs; iteration
//! `n` runs with seed + n, which a failure prints.
#![cfg(all(not(loom), not(miri)))]

mod chain;
#[path = "../common/mod.rs"]
mod common;
mod conflicting;
mod exact;
mod random;
mod work;

use std::panic::{self, AssertUnwindSafe};

use dmaring::Runtime;
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualEngine, Order};
use random::Random;

const SEED: u64 = 0x646d_6172_696e_6700;
const ITERATIONS: u64 = 30;
const THREADS: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Cpu,
    Manual,
    Both,
}

#[test]
fn without_conflicts_the_cpu_engine_does_what_a_vector_does() {
    for_every_seed(|random| exact::run(random, Kind::Cpu));
}

#[test]
fn without_conflicts_the_manual_engine_does_what_a_vector_does() {
    for_every_seed(|random| exact::run(random, Kind::Manual));
}

#[test]
fn without_conflicts_several_engines_do_what_a_vector_does() {
    for_every_seed(|random| exact::run(random, Kind::Both));
}

#[test]
fn with_conflicts_the_cpu_engine_writes_what_somebody_asked_for() {
    for_every_seed(|random| conflicting::run(random, Kind::Cpu));
}

#[test]
fn with_conflicts_the_manual_engine_writes_what_somebody_asked_for() {
    for_every_seed(|random| conflicting::run(random, Kind::Manual));
}

#[test]
fn with_conflicts_several_engines_write_what_somebody_asked_for() {
    for_every_seed(|random| conflicting::run(random, Kind::Both));
}

fn for_every_seed(mut run: impl FnMut(&mut Random)) {
    let number = |name, otherwise| {
        let set = std::env::var(name).ok().map(|text| text.parse().expect(name));
        set.unwrap_or(otherwise)
    };
    let seed: u64 = number("DMARING_SEED", SEED);
    for iteration in 0..number("DMARING_ITERATIONS", ITERATIONS) {
        let seed = seed.wrapping_add(iteration);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(&mut Random::new(seed))));
        assert!(outcome.is_ok(), "again with DMARING_SEED={seed} DMARING_ITERATIONS=1");
    }
}

/// A runtime with a ring and engines of random sizes. What the manual engine holds ends by itself, in random
/// order.
fn runtime(random: &mut Random, kind: Kind) -> (Runtime, Option<Control>) {
    let entries = 2 << random.below(8);
    let mut builder = Runtime::builder().ring_entries(entries);
    if matches!(kind, Kind::Cpu | Kind::Both) {
        let threshold = *random.pick(&[0, 256, 4096]);
        let depth = 2 + random.below(63) as usize;
        let engine = CpuEngine::builder().depth(depth).streaming_threshold(threshold);
        builder = builder.engine(engine.build());
    }
    let mut control = None;
    if matches!(kind, Kind::Manual | Kind::Both) {
        let depth = 2 + random.below(63) as usize;
        let longest = 64 << random.below(8);
        let (engine, its) = ManualEngine::builder().depth(depth).max_transfer(longest).build();
        its.set_auto_order(Order::Random { seed: random.word() });
        its.release();
        builder = builder.engine(engine);
        control = Some(its);
    }
    (builder.build().unwrap(), control)
}

fn assert_clean(runtime: &Runtime, control: Option<&Control>) {
    assert_eq!(control.map_or(vec![], Control::violations), []);
    let stats = runtime.stats();
    assert_eq!((stats.violations, stats.failed, stats.in_flight), (0, 0, 0));
}

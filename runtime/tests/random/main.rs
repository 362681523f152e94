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
mod faults;
mod random;
#[path = "../emulated/rig.rs"]
mod rig;
mod work;

use std::panic::{self, AssertUnwindSafe};

use dmaring::Runtime;
use dmaring_cpu::CpuEngine;
use dmaring_emulated::{Device, Preset};
use dmaring_manual::{Control, ManualEngine, Order};
use futures::executor::block_on;
use random::Random;
use rig::Rig;

const SEED: u64 = 0x646d_6172_696e_6700;
const ITERATIONS: u64 = 30;
const THREADS: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Cpu,
    Manual,
    Both,
    /// Channels of the emulated I/OAT device.
    Emulated,
    /// One such channel, whose count of descriptors stands right before its wrap at 16 bits.
    EmulatedAtWrap,
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
fn without_conflicts_the_emulated_device_does_what_a_vector_does() {
    for_every_seed(|random| exact::run(random, Kind::Emulated));
}

#[test]
fn with_conflicts_the_emulated_device_writes_what_somebody_asked_for() {
    for_every_seed(|random| conflicting::run(random, Kind::Emulated));
}

#[test]
fn at_the_wrap_the_emulated_device_does_what_a_vector_does() {
    for_some_seeds(2, |random| exact::run(random, Kind::EmulatedAtWrap));
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

#[test]
fn whatever_the_engines_do_a_cpu_saves_every_operation_that_has_the_time() {
    for_every_seed(|random| faults::run(random, true));
}

#[test]
fn whatever_the_engines_do_every_operation_ends_and_says_the_truth() {
    for_every_seed(|random| faults::run(random, false));
}

fn for_every_seed(run: impl FnMut(&mut Random)) {
    for_some_seeds(ITERATIONS, run);
}

/// Runs as often as `DMARING_ITERATIONS` says, and `iterations` times if it says nothing.
fn for_some_seeds(iterations: u64, mut run: impl FnMut(&mut Random)) {
    let number = |name, otherwise| {
        let set = std::env::var(name).ok().map(|text| text.parse().expect(name));
        set.unwrap_or(otherwise)
    };
    let seed: u64 = number("DMARING_SEED", SEED);
    for iteration in 0..number("DMARING_ITERATIONS", iterations) {
        let seed = seed.wrapping_add(iteration);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(&mut Random::new(seed))));
        assert!(outcome.is_ok(), "again with DMARING_SEED={seed} DMARING_ITERATIONS=1");
    }
}

/// What stands behind a runtime's engines. Dropped after the runtime.
struct Backstage {
    control: Option<Control>,
    rig: Option<Rig>,
    /// The channel's count of descriptors stood right before its wrap at 16 bits.
    wraps: bool,
}

impl Backstage {
    fn assert_clean(&self, runtime: &Runtime) {
        assert_eq!(self.control.as_ref().map_or(vec![], Control::violations), []);
        if let Some(rig) = &self.rig {
            rig.assert_clean();
            assert!(!self.wraps || rig.device.executed() > 1 << 16, "the wrap was not crossed");
        }
        let stats = runtime.stats();
        assert_eq!((stats.violations, stats.failed, stats.in_flight), (0, 0, 0));
    }
}

/// A runtime with a ring and engines of random sizes. What the manual engine holds ends by itself, in random
/// order; the emulated device takes random numbers of steps.
fn runtime(random: &mut Random, kind: Kind) -> (Backstage, Runtime) {
    let entries = 2 << random.below(8);
    let mut builder = Runtime::builder().ring_entries(entries);
    if matches!(kind, Kind::Cpu | Kind::Both) {
        let threshold = *random.pick(&[0, 256, 4096]);
        let depth = 2 + random.below(63) as usize;
        let engine = CpuEngine::builder().depth(depth).streaming_threshold(threshold);
        builder = builder.engine(engine.build());
    }
    let mut backstage = Backstage { control: None, rig: None, wraps: false };
    if matches!(kind, Kind::Manual | Kind::Both) {
        let depth = 2 + random.below(63) as usize;
        let longest = 64 << random.below(8);
        let (engine, its) = ManualEngine::builder().depth(depth).max_transfer(longest).build();
        its.set_auto_order(Order::Random { seed: random.word() });
        its.release();
        builder = builder.engine(engine);
        backstage.control = Some(its);
    }
    if matches!(kind, Kind::Emulated | Kind::EmulatedAtWrap) {
        backstage.wraps = matches!(kind, Kind::EmulatedAtWrap);
        let channels = if backstage.wraps { 1 } else { 1 + random.below(4) as u8 };
        let device = Device::builder(*random.pick(Preset::ALL))
            .channels(channels)
            .xfercap(6 + random.below(15) as u8)
            .seed(random.word());
        let mut steps = random.fork();
        let rig = Rig::stepped(device, move || 1 + steps.below(20) as usize);
        builder = rig.add_to(builder, 8 << random.below(6));
        backstage.rig = Some(rig);
    }
    let runtime = builder.build().unwrap();
    if backstage.wraps {
        approach_the_wrap(&runtime);
    }
    (backstage, runtime)
}

/// Has the one channel count to a little below 65,536.
fn approach_the_wrap(runtime: &Runtime) {
    let region = runtime.allocate(4096).unwrap();
    for _ in 0..(1 << 16) / 512 - 1 {
        let mut batch = runtime.batch();
        (0..512).for_each(|place| batch.push(region.fill(place * 8, 8, place)));
        assert_eq!(block_on(batch.submit().all()).unwrap(), 4096);
    }
    let rest: u64 = 512 - 20;
    for place in 0..rest {
        assert_eq!(block_on(region.fill(place * 8, 8, place)).unwrap(), 8);
    }
}

//! Calibration: it runs, what it finds is obeyed, and what it was not measured with is refused.

use std::time::Duration;

use dmaring::{BuildError, Calibration, ErrorKind, Policy, Pollers, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_emulated::{Device, Preset};
use futures::{executor::block_on, poll};

use crate::{
    common::{bytes, kind, pattern, region_of},
    moved,
    rig::Rig,
};

const TIME: Duration = Duration::from_millis(30);

/// The CPU and so many emulated channels.
fn mixed(channels: u8) -> (Runtime, Rig) {
    let rig = Rig::new(Device::builder(Preset::Icx).channels(channels));
    let builder = rig.add_to(Runtime::builder(), 64).engine(CpuEngine::new());
    (builder.build().unwrap(), rig)
}

fn measure(runtime: &Runtime) -> Calibration {
    let (src, dst) = (runtime.allocate(2 << 20).unwrap(), runtime.allocate(2 << 20).unwrap());
    block_on(Calibration::measure_within(runtime, &src, &dst, TIME)).unwrap()
}

#[test]
fn a_calibration_is_measured_saved_loaded_and_obeyed() {
    let (runtime, rig) = mixed(2);
    let calibration = measure(&runtime);
    let lengths: Vec<_> = calibration.kinds().iter().map(|one| one.bytes).collect();
    assert_eq!((lengths[0], lengths.last()), (64, Some(&(1 << 20))));
    assert!(calibration.kinds().iter().all(|one| one.first.samples >= 1));
    let ways: Vec<_> = calibration.splits().iter().map(|one| (one.engines, one.cpu)).collect();
    assert!(ways.contains(&(2, true)) && ways.contains(&(1, true)) && ways.contains(&(2, false)));
    let lengths: Vec<_> = calibration.bounces().iter().map(|one| one.bytes).collect();
    assert_eq!((lengths[0], lengths.last()), (1 << 10, Some(&(2 << 20))));
    assert!(calibration.bounces().iter().all(|one| one.first.samples >= 1));
    assert!(calibration.map_from().is_none_or(|bytes| lengths.contains(&bytes)));
    assert!(calibration.to_string().contains("used once is bounced"), "{calibration}");
    // The model works at a fraction of silicon's speed: no short copy is faster there.
    assert!(calibration.crossover().is_none_or(|bytes| bytes > 64), "{calibration}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calibration.json");
    calibration.save(&path).unwrap();
    let loaded = Calibration::load(&path).unwrap();
    assert_eq!(loaded, calibration);

    runtime.set_policy(&Policy::Calibrated(loaded.clone())).unwrap();
    let src = region_of(&runtime, &pattern(1, 4096));
    let before = moved(&runtime.stats());
    for n in 0..20 {
        block_on(src.copy(0, 64 + n * 64, 64)).unwrap();
    }
    let after = moved(&runtime.stats());
    assert_eq!(after[2] - before[2], 20 * 64, "short copies are the CPU's");
    assert_eq!(after[..2], before[..2]);
    runtime.set_policy(&Policy::Balanced).unwrap();
    drop((src, runtime, rig));

    // In the builder, on the same engines.
    let rig = Rig::new(Device::builder(Preset::Icx).channels(2));
    let builder = rig.add_to(Runtime::builder(), 64).engine(CpuEngine::new());
    let runtime = builder.policy(Policy::Calibrated(loaded.clone())).build().unwrap();
    let src = region_of(&runtime, &pattern(2, 1 << 20));
    let dst = runtime.allocate(1 << 20).unwrap();
    assert_eq!(block_on(src.copy_to(0, &dst, 0, 1 << 20)).unwrap(), 1 << 20);
    assert_eq!(bytes(&dst, 0, 1 << 20), pattern(2, 1 << 20));
}

#[test]
fn a_calibration_of_other_engines_is_refused_by_name() {
    let (runtime, _rig) = mixed(2);
    let calibration = measure(&runtime);
    let policy = Policy::Calibrated(calibration);
    let cpu = Runtime::builder().engine(CpuEngine::new());
    let error = cpu.policy(policy.clone()).build().unwrap_err();
    assert!(matches!(error, BuildError::Calibration(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("with engines cpu, emulated0, emulated1, not cpu"), "{text}");
    let (other, _rig) = mixed(1);
    let error = other.set_policy(&policy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("measure again"), "{error}");
    let rig = Rig::new(Device::builder(Preset::Icx).channels(2));
    let builder = rig.add_to(Runtime::builder(), 64).engine(CpuEngine::new());
    let error = builder.pollers(Pollers::PerEngine).policy(policy).build().unwrap_err();
    assert!(error.to_string().contains("pollers one, not per engine"), "{error}");
}

#[test]
fn one_engine_alone_leaves_nothing_to_choose() {
    let runtime = Runtime::builder().engine(CpuEngine::new()).build().unwrap();
    let calibration = measure(&runtime);
    assert_eq!((calibration.crossover(), calibration.split()), (None, None));
    assert!(calibration.to_string().contains("one kind of engine only"), "{calibration}");
    runtime.set_policy(&Policy::Calibrated(calibration)).unwrap();
    let region = runtime.allocate(1 << 20).unwrap();
    assert_eq!(block_on(region.fill(0, 1 << 20, 1)).unwrap(), 1 << 20);
}

#[test]
fn one_measures_at_a_time_and_who_gives_up_leaves_everything_as_it_was() {
    let (runtime, _rig) = mixed(1);
    let (src, dst) = (runtime.allocate(1 << 20).unwrap(), runtime.allocate(1 << 20).unwrap());
    block_on(async {
        let mut first = Box::pin(Calibration::measure(&runtime, &src, &dst));
        assert!(poll!(&mut first).is_pending());
        let second = Calibration::measure(&runtime, &src, &dst).await;
        assert_eq!(kind(second), ErrorKind::Busy);
        assert_eq!(kind(runtime.set_policy(&Policy::Balanced)), ErrorKind::Busy);
        drop(first);
        runtime.set_policy(&Policy::Balanced).unwrap();
        let overlap = Calibration::measure(&runtime, &src, &src).await;
        assert_eq!(kind(overlap), ErrorKind::Overlap);
        runtime.set_policy(&Policy::Balanced).unwrap();
    });
}

//! Engines with threads of their own: nothing that holds for operations depends on them.

use std::time::Duration;

use dmaring::{EngineState, ErrorKind, Idle, Pollers, Region, Runtime, Striping};
use dmaring_cpu::CpuEngine;
use dmaring_emulated::{Device, Fault, FaultPlan, PlannedFault, Preset};
use dmaring_manual::{Call, Control, ManualEngine, Recovery};
use futures::executor::block_on;

use crate::{
    common::{LONG, READ_ERROR, bytes, eventually, kind, never_parking, pattern, region_of},
    eight_channels, manual, moved,
    rig::Rig,
};

fn own_threads() -> dmaring::Builder {
    never_parking().ring_entries(64).pollers(Pollers::PerEngine)
}

/// How many threads of this process drive engines.
fn workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "dmaring-engine").count()
}

#[test]
fn eight_channels_with_a_thread_for_each_node_or_each_channel() {
    for pollers in [Pollers::One, Pollers::PerNode, Pollers::PerEngine] {
        let striping = Striping { from: 1 << 18, stripe: 1 << 16 };
        let builder = never_parking().ring_entries(64).striping(striping).pollers(pollers);
        let (runtime, rigs) = eight_channels(builder);
        let contents = pattern(1, 1 << 20);
        let (src, dst) = (region_of(&runtime, &contents), runtime.allocate(1 << 20).unwrap());
        block_on(async {
            assert_eq!(src.copy_to(1, &dst, 2, (1 << 20) - 2).await.unwrap(), (1 << 20) - 2);
            let small: Vec<_> =
                (0..200).map(|n| src.copy_to(n * 64, &dst, n * 64, 64).fence().submit()).collect();
            for copy in small {
                assert_eq!(copy.await.unwrap(), 64);
            }
        });
        assert_eq!(bytes(&dst, 0, 200 * 64), contents[..200 * 64], "{pollers:?}");
        assert_eq!(bytes(&dst, 200 * 64, 1000), contents[200 * 64 - 1..][..1000], "{pollers:?}");
        assert!(moved(&runtime.stats()).iter().all(|&bytes| bytes > 0));
        block_on(runtime.shutdown(LONG)).unwrap();
        rigs.iter().for_each(|rig| rig.assert_clean());
    }
}

#[test]
fn a_fence_holds_across_threads() {
    let (runtime, [left, right]) = manual(own_threads(), |_, engine| engine);
    let region = region_of(&runtime, &pattern(2, 4096));
    let first = [1, 2].map(|n| region.copy(0, n * 256, 64).submit());
    left.wait_for_submitted(1);
    right.wait_for_submitted(1);
    let fenced = region.copy(256, 1024, 64).fence().submit();
    right.complete_all();
    eventually("one end", || runtime.stats().completed == 1);
    right.wait_for_polls(10);
    assert_eq!((left.submitted(), right.submitted()), (1, 0));
    left.complete_all();
    first.into_iter().for_each(|copy| assert_eq!(block_on(copy).unwrap(), 64));
    eventually("the fenced one", || left.submitted() + right.submitted() == 1);
    left.release();
    right.release();
    assert_eq!(block_on(fenced).unwrap(), 64);
    assert_eq!(bytes(&region, 1024, 64), pattern(2, 4096)[..64]);
}

#[test]
fn a_failure_is_recovered_from_and_what_was_not_run_comes_again_in_order() {
    let (runtime, [control]) = manual(own_threads(), |_, engine| engine.depth(8));
    let region = region_of(&runtime, &pattern(3, 1 << 14));
    let copies: Vec<_> = (0..20).map(|n| region.copy(0, 1024 + n * 64, 64).submit()).collect();
    control.wait_for_submitted(8);
    control.set_recovery(Recovery::Succeeds { steps: 3 });
    control.fail_channel(2, READ_ERROR);
    control.wait_for_submitted(8);
    control.release();
    let failed: Vec<_> = copies.into_iter().map(block_on).map(|outcome| outcome.is_err()).collect();
    let expected: Vec<_> = (0..20).map(|n| n == 2).collect();
    assert_eq!(failed, expected);
    let engine = runtime.stats().engines[0].clone();
    assert_eq!((engine.recoveries, engine.epoch, engine.state), (1, 1, EngineState::Running));
    assert_eq!((runtime.stats().violations, control.violations().len()), (0, 0));
}

#[test]
fn an_engine_that_is_lost_is_so_at_once_and_can_be_brought_back() {
    let (runtime, [control]) = manual(own_threads(), |_, engine| engine);
    let region = region_of(&runtime, &pattern(4, 4096));
    control.set_recovery(Recovery::Fails { steps: 2, status: READ_ERROR });
    let copies = [1, 2].map(|n| region.copy(0, n * 64, 64).submit());
    control.wait_for_submitted(2);
    control.fail_channel(0, READ_ERROR);
    let kinds = copies.map(|copy| kind(block_on(copy)));
    assert!(matches!(kinds[0], ErrorKind::Device(_)));
    assert_eq!(kinds[1], ErrorKind::EngineLost);
    control.set_recovery(Recovery::Succeeds { steps: 2 });
    block_on(runtime.restore_engine("engine0")).unwrap();
    control.release();
    assert_eq!(block_on(region.copy(0, 1024, 64)).unwrap(), 64);
}

#[test]
fn an_engine_that_keeps_what_it_has_is_told_to_be_stuck() {
    let (runtime, [control]) = manual(own_threads(), |_, engine| engine);
    let region = region_of(&runtime, &pattern(4, 4096));
    let copy = region.copy(0, 64, 64).submit();
    control.wait_for_submitted(1);
    control.set_stuck(Some(READ_ERROR));
    assert_eq!(kind(block_on(copy)), ErrorKind::EngineLost);
    assert_eq!(runtime.stats().in_flight, 1);
    control.complete_all();
    eventually("the end", || runtime.stats().in_flight == 0);
}

#[test]
fn a_panic_of_an_engine_resolves_everything_and_halts_the_others() {
    for call in [Call::Poll, Call::Enqueue, Call::Submit, Call::Recover] {
        let (runtime, [left, right]) = manual(own_threads(), |_, engine| engine);
        let region = region_of(&runtime, &pattern(5, 4096));
        let copies = [1, 2].map(|n| region.copy(0, n * 64, 64).submit());
        left.wait_for_submitted(1);
        right.wait_for_submitted(1);
        left.panic_in(call);
        if call == Call::Recover {
            left.fail_next(READ_ERROR);
        }
        let more: Vec<_> = (3..7).map(|n| region.copy(0, n * 64, 64).submit()).collect();
        for copy in copies.into_iter().chain(more) {
            let kind = kind(block_on(copy));
            let failed = call == Call::Recover && matches!(kind, ErrorKind::Device(_));
            assert!(failed || kind == ErrorKind::EngineLost, "{call:?}: {kind:?}");
        }
        assert_eq!(kind(block_on(runtime.shutdown(LONG))), ErrorKind::EngineLost);
        assert!(left.halted() && right.halted() && left.dropped() && right.dropped());
    }
}

#[test]
fn an_engine_that_does_not_halt_keeps_its_memory() {
    for panics in [false, true] {
        let (runtime, [control]) = manual(own_threads(), |_, engine| engine);
        let region = region_of(&runtime, &pattern(6, 4096));
        let copy = region.copy(0, 64, 64).submit();
        control.wait_for_submitted(1);
        if panics {
            control.panic_in(Call::Halt);
        } else {
            control.refuse_halt(READ_ERROR);
        }
        let error = block_on(runtime.shutdown(Duration::ZERO)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineLost);
        assert_eq!(kind(block_on(copy)), ErrorKind::Shutdown);
        drop((region, runtime));
        assert_eq!(control.domain().live(), 1, "left mapped");
    }
}

#[test]
fn threads_end_with_their_engines_and_are_woken_when_they_sleep() {
    // Other tests of this process have workers, too: what is counted is by the engines' own words.
    let (engine, control) = ManualEngine::builder().build();
    let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: Duration::ZERO };
    let builder = Runtime::builder().engine(engine).engine(CpuEngine::new()).idle(idle);
    let runtime = builder.pollers(Pollers::PerEngine).build().unwrap();
    // A thread names itself.
    eventually("the threads", || workers() >= 2);
    control.release();
    let region = region_of(&runtime, &pattern(7, 1 << 16));
    for n in 0..500 {
        let parks = runtime.stats().parks;
        assert_eq!(block_on(region.copy(0, 64 + n % 100 * 64, 64)).unwrap(), 64);
        if n % 10 == 0 {
            eventually("the poller's sleep", || runtime.stats().parks > parks);
        }
    }
    drop((region, runtime));
    assert!(control.halted() && control.dropped());
}

/// Through the driver, with failing descriptors: what the device does not do the CPU does.
#[test]
fn faults_of_channels_with_threads_of_their_own_cost_no_byte() {
    let plan = FaultPlan::new().with(PlannedFault::every(37, Fault::ChanErr(9)));
    let rig = Rig::new(Device::builder(Preset::Skx).channels(2).xfercap(12).fault_plan(plan));
    let builder = rig.add_to(own_threads(), 64).engine(CpuEngine::new());
    let striping = Striping { from: 1 << 16, stripe: 1 << 14 };
    let runtime = builder.striping(striping).retire_after(0, LONG).build().unwrap();
    let contents = pattern(8, 1 << 20);
    let (src, dst) = (region_of(&runtime, &contents), runtime.allocate(1 << 20).unwrap());
    let copies: Vec<_> =
        (0..8u64).map(|n| src.copy_to(n << 17, &dst, n << 17, 1 << 17).submit()).collect();
    copies.into_iter().for_each(|copy| assert_eq!(block_on(copy).unwrap(), 1 << 17));
    assert_eq!(bytes(&dst, 0, 1 << 20), contents);
    assert_eq!(runtime.stats().violations, 0);
    rig.assert_clean_but_for_late_doorbells();
}

#[test]
fn regions_are_given_back_while_threads_drive() {
    let (runtime, controls): (_, [Control; 3]) = manual(own_threads(), |_, engine| engine);
    controls.iter().for_each(Control::release);
    for round in 0..50 {
        let region: Region = region_of(&runtime, &pattern(round, 1 << 14));
        let copies: Vec<_> = (0..30).map(|n| region.copy(0, 64 + n * 64, 64).submit()).collect();
        drop(region);
        if round % 2 == 0 {
            copies.into_iter().for_each(|copy| assert_eq!(block_on(copy).unwrap(), 64));
        }
    }
    for control in &controls {
        eventually("the unmapping", || control.domain().live() == 0);
        assert_eq!(control.violations(), []);
    }
}

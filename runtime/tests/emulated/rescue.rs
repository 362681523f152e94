//! The emulated device failing, with a CPU to help: every operation is made, whatever the device does.

use std::time::Duration;

use dmaring::{EngineState, ErrorKind, OnError, Region, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_emulated::{Device, Fault, FaultPlan, PlannedFault, Preset};
use futures::executor::block_on;

use crate::{
    common::{bytes, eventually, pattern, region_of},
    rig::Rig,
};

const BLOCK: u64 = 1024;
const COPIES: usize = 64;

fn rig(fault: PlannedFault) -> Rig {
    let plan = FaultPlan::new().with(fault);
    let mut rig = Rig::new(Device::builder(Preset::Skx).channels(1).fault_plan(plan));
    rig.hang_after = Some(Duration::from_millis(200));
    rig
}

fn with_cpu(rig: &Rig, failures: u32) -> Runtime {
    let builder = rig.add_to(Runtime::builder(), 64).engine(CpuEngine::new());
    builder.retire_after(failures, Duration::from_secs(600)).build().unwrap()
}

fn regions(runtime: &Runtime) -> (Region, Region, Vec<u8>) {
    let expected = pattern(1, COPIES * BLOCK as usize);
    (region_of(runtime, &expected), runtime.allocate(expected.len()).unwrap(), expected)
}

/// Copies all blocks and says how many were not copied.
fn copy_all(src: &Region, dst: &Region) -> usize {
    let at = |n: usize| n as u64 * BLOCK;
    let copies: Vec<_> =
        (0..COPIES).map(|n| src.copy_to(at(n), dst, at(n), BLOCK).submit()).collect();
    copies.into_iter().map(block_on).filter(Result::is_err).count()
}

#[test]
fn whatever_the_device_fails_to_do_the_cpu_does() {
    // But for bad data: see the next test.
    let causes = (0..=12).filter(|bit| !(6..=8).contains(bit)).map(Fault::ChanErr);
    let others = [Fault::Short(100), Fault::Stall, Fault::LostWriteBack, Fault::DuplicateWriteBack];
    for fault in causes.chain(others) {
        let rig = rig(PlannedFault::nth(7, fault));
        let runtime = with_cpu(&rig, 8);
        let (src, dst, expected) = regions(&runtime);
        assert_eq!(copy_all(&src, &dst), 0, "{fault:?}");
        assert_eq!(bytes(&dst, 0, expected.len()), expected, "{fault:?}");
        assert_eq!(rig.device.faults_fired(), 1, "{fault:?}");
        let stats = runtime.stats();
        assert_eq!((stats.failed, stats.violations), (0, 0), "{fault:?}");
        let fails = !matches!(fault, Fault::LostWriteBack | Fault::DuplicateWriteBack);
        assert_eq!((stats.retried, stats.engines[0].errors), (fails.into(), fails.into()));
        drop((src, dst, runtime));
        rig.assert_clean_but_for_late_doorbells();
    }
}

#[test]
fn bad_data_fails_its_copy_and_no_other() {
    for bit in 6..=8 {
        let rig = rig(PlannedFault::nth(7, Fault::ChanErr(bit)));
        let runtime = with_cpu(&rig, 8);
        let (src, dst, _) = regions(&runtime);
        assert_eq!(copy_all(&src, &dst), 1, "bit {bit}");
        let stats = runtime.stats();
        assert_eq!((stats.retried, stats.failed, stats.engines[0].errors), (0, 1, 1));
        drop((src, dst, runtime));
        rig.assert_clean_but_for_late_doorbells();
    }
}

#[test]
fn a_device_that_keeps_failing_is_retired_and_can_be_brought_back() {
    // The recovery's null descriptors count, so the faults are an odd number apart.
    let rig = rig(PlannedFault::every(5, Fault::ChanErr(9)));
    let runtime = with_cpu(&rig, 4);
    let (src, dst, expected) = regions(&runtime);
    for round in 0.. {
        assert_eq!(copy_all(&src, &dst), 0);
        assert_eq!(bytes(&dst, 0, expected.len()), expected);
        let device = &runtime.stats().engines[0];
        if device.retired || device.lost {
            break;
        }
        assert!(round < 20, "{device:?}");
    }
    let before = runtime.stats().engines[0].transfers;
    assert_eq!(copy_all(&src, &dst), 0);
    assert_eq!(runtime.stats().engines[0].transfers, before, "nothing is sent there");
    rig.device.set_fault_plan(&FaultPlan::new());
    block_on(runtime.restore_engine("emulated0")).unwrap();
    assert_eq!(copy_all(&src, &dst), 0);
    assert!(runtime.stats().engines[0].transfers > before);
    assert_eq!(runtime.stats().engines[0].state, EngineState::Running);
    rig.assert_clean_but_for_late_doorbells();
}

#[test]
fn a_device_that_is_unplugged_costs_nothing_with_a_cpu_and_a_typed_error_without() {
    let rig = rig(PlannedFault::nth(9, Fault::Gone));
    let runtime = with_cpu(&rig, 8);
    let (src, dst, expected) = regions(&runtime);
    assert_eq!(copy_all(&src, &dst), 0);
    assert_eq!(bytes(&dst, 0, expected.len()), expected);
    eventually("the loss", || runtime.stats().engines[0].lost);
    let error = block_on(runtime.restore_engine("emulated0")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("device gone"), "{error}");

    let rig = self::rig(PlannedFault::nth(9, Fault::Gone));
    let runtime = rig.add_to(Runtime::builder(), 64).build().unwrap();
    let (src, dst, _) = regions(&runtime);
    let copies: Vec<_> = (0..16).map(|n| src.copy_to(0, &dst, n * 64, 64).submit()).collect();
    let mut gone = 0;
    for error in copies.into_iter().filter_map(|copy| block_on(copy).err()) {
        match error.kind() {
            ErrorKind::Device(device) => {
                assert_eq!(device.status.kind, dmaring::StatusKind::Gone);
                gone += 1;
            }
            kind => assert_eq!(kind, ErrorKind::EngineLost),
        }
    }
    assert!(gone > 0);
}

#[test]
fn an_operation_that_wants_the_failure_gets_it() {
    let rig = rig(PlannedFault::nth(2, Fault::ChanErr(1)));
    let runtime = with_cpu(&rig, 8);
    let (src, dst, _) = regions(&runtime);
    let error = block_on(src.copy_to(0, &dst, 0, 64).on_error(OnError::Fail)).unwrap_err();
    let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
    assert_eq!(device.status.kind, dmaring::StatusKind::DestinationAddress);
}

#[test]
fn a_stalled_copy_times_out_long_before_the_channel_counts_as_hung() {
    let mut rig = rig(PlannedFault::nth(2, Fault::Stall));
    rig.hang_after = Some(Duration::from_secs(1));
    let runtime = rig.add_to(Runtime::builder(), 64).build().unwrap();
    let (src, dst, expected) = regions(&runtime);
    let late = src.copy_to(0, &dst, 0, 64).timeout(Duration::from_millis(20)).submit();
    let behind = src.copy_to(64, &dst, 64, 64).submit();
    assert_eq!(block_on(late).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(runtime.stats().engines[0].errors, 0);
    // The one behind it is replayed after the reset.
    assert_eq!(block_on(behind).unwrap(), 64);
    assert_eq!(bytes(&dst, 64, 64), expected[64..128]);
    eventually("the release", || runtime.stats().in_flight == 0);
    let stats = runtime.stats();
    assert_eq!((stats.timed_out, stats.failed, stats.completed), (1, 1, 1));
}

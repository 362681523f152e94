//! Failed parts, done again by the CPU.

use dmaring::{BuildError, Builder, EngineState, ErrorKind, OnError, Region, Runtime, StatusKind};
use dmaring_cpu::CpuEngine;
use dmaring_engine::Status;
use dmaring_manual::{Control, ManualEngine, Recovery};
use futures::executor::block_on;

use crate::common::{bytes, eventually, kind, never_parking, pattern, region_of};

/// What tells of the engine's way to memory: a CPU may do better.
const ADDRESS_ERROR: Status = Status { kind: StatusKind::SourceAddress, bits: 1 };

/// A device and a CPU, by hand both; the CPU has so much to do that the device is preferred.
struct Pair {
    runtime: Runtime,
    device: Control,
    cpu: Control,
    region: Region,
    /// What the CPU has to do.
    filler: dmaring::Fill,
}

const LENGTH: usize = 1 << 16;

fn pair(set: impl FnOnce(Builder) -> Builder) -> Pair {
    let (engine, device) = ManualEngine::builder().name("device").max_transfer(128).build();
    let host = ManualEngine::builder().name("cpu").host_memory(true).max_transfer(64).depth(4096);
    let (host, cpu) = host.build();
    let runtime = set(never_parking().engine(engine).engine(host)).build().unwrap();
    let region = region_of(&runtime, &pattern(1, LENGTH));
    let other = runtime.allocate(LENGTH).unwrap();
    // With equal loads the engines have their turns.
    let first = other.fill(0, 8, 0).submit();
    device.wait_for_submitted(1);
    let filler = other.fill(0, LENGTH as u64, 0).submit();
    cpu.wait_for_submitted(1);
    device.complete_all();
    block_on(first).unwrap();
    Pair { runtime, device, cpu, region, filler }
}

impl Pair {
    /// Ends all that the CPU has and will have.
    fn release(self) -> Runtime {
        self.device.release();
        self.cpu.release();
        block_on(self.filler).unwrap();
        self.runtime
    }
}

#[test]
fn the_parts_that_failed_and_no_others_are_done_by_the_cpu() {
    let pair = pair(|builder| builder);
    let before = pair.runtime.stats().engines[1].clone();
    let copy = pair.region.copy(0, 128 * 16, 128 * 8).submit();
    pair.device.wait_for_submitted(8);
    pair.cpu.release();
    eventually("the filler", || pair.cpu.submitted() == 0);
    // Serial 0 was the first filler.
    pair.device.fail(3, ADDRESS_ERROR);
    pair.device.fail(6, Status { kind: StatusKind::DestinationAddress, bits: 2 });
    pair.device.complete_all();
    assert_eq!(block_on(copy).unwrap(), 128 * 8);
    assert_eq!(bytes(&pair.region, 128 * 16, 128 * 8), pattern(1, 128 * 8));
    let stats = pair.runtime.stats();
    let filled = LENGTH as u64 / 64;
    assert_eq!(stats.engines[1].retries, 4, "two parts of 128 bytes, in pieces of 64");
    assert_eq!(stats.engines[1].transfers - before.transfers, filled + 4);
    assert_eq!((stats.engines[0].errors, stats.engines[0].transfers), (2, 1 + 6));
    assert_eq!((stats.retried, stats.failed), (1, 0));
    assert_eq!(pair.device.violations(), []);
    drop(pair.release());
}

/// By number: what the CPU does again, and what it must not touch.
#[test]
fn what_tells_of_the_engine_is_made_up_for_and_what_tells_of_bad_data_is_not() {
    let (engine, device) = ManualEngine::builder().fill(true).build();
    let runtime = never_parking()
        .engine(engine)
        .engine(CpuEngine::new())
        .retire_after(0, std::time::Duration::ZERO)
        .build()
        .unwrap();
    let region = region_of(&runtime, &pattern(1, 4096));
    let bad_data = [StatusKind::Unspecified, StatusKind::Read, StatusKind::Integrity];
    for number in 0..=9 {
        let status = Status { kind: StatusKind::from_number(number), bits: 0 };
        assert_eq!(status.kind as u8, number);
        // Every second goes to the CPU.
        let copies = [0, 1].map(|_| region.copy(0, 1024, 64).submit());
        device.wait_for_submitted(1);
        device.fail_next(status);
        let outcomes = copies.map(block_on);
        let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert_eq!(failed.len(), usize::from(bad_data.contains(&status.kind)), "{status}");
        for error in failed {
            let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
            assert_eq!((device.status, device.retry), (status, None));
        }
    }
    assert_eq!((runtime.stats().retried, runtime.stats().failed), (7, 3));
}

/// An engine that can do no part of one operation fails once by that, and is not retired for it.
#[test]
fn one_bad_operation_is_one_failure_however_many_parts_it_has() {
    let (engine, device) = ManualEngine::builder().name("device").max_transfer(64).depth(4).build();
    // It does not fill, so that fills are the device's.
    let host = ManualEngine::builder().name("cpu").host_memory(true).fill(false).max_transfer(64);
    let (host, cpu) = host.build();
    cpu.release();
    let builder = never_parking().engine(engine).engine(host);
    let runtime = builder.retire_after(3, std::time::Duration::from_secs(60)).build().unwrap();
    let region = region_of(&runtime, &pattern(1, 64 * 64));
    let other = runtime.allocate(64 * 64).unwrap();
    let bad = region.copy_to(0, &other, 0, 64 * 64).submit();
    device.wait_for_submitted(2);
    let behind = region.fill(0, 64, 7).submit();
    device.wait_for_submitted(3);
    device.fail_channel(0, ADDRESS_ERROR);
    assert_eq!(block_on(bad).unwrap(), 64 * 64);
    assert_eq!(bytes(&other, 64, 63 * 64), pattern(1, 64 * 64)[64..]);
    device.release();
    assert_eq!(block_on(behind).unwrap(), 64);
    let stats = runtime.stats();
    let device = &stats.engines[0];
    assert_eq!((device.errors, device.recoveries, device.state), (1, 1, EngineState::Running));
    assert_eq!((stats.retried, stats.engines[1].retries), (1, 1), "the others had not failed");
    assert_eq!(device.replayed, 1);
}

#[test]
fn an_operation_may_ask_for_the_failure_itself() {
    let pair = pair(|builder| builder);
    let copy = pair.region.copy(0, 64 * 16, 64).on_error(OnError::Fail).submit();
    pair.device.wait_for_submitted(1);
    pair.device.fail_next(ADDRESS_ERROR);
    let ErrorKind::Device(device) = kind(block_on(copy)) else { panic!("not a device error") };
    assert_eq!((device.status, device.retry), (ADDRESS_ERROR, None));
    drop(pair.release());
}

#[test]
fn a_runtime_may_want_failures_and_an_operation_not() {
    let pair = pair(|builder| builder.on_error(OnError::Fail));
    let plain = pair.region.copy(0, 64 * 16, 64).submit();
    let retried = pair.region.copy(0, 64 * 20, 64).on_error(OnError::RetryOnCpu).submit();
    pair.device.wait_for_submitted(2);
    pair.device.fail_next(ADDRESS_ERROR);
    pair.device.fail_next(ADDRESS_ERROR);
    assert!(matches!(kind(block_on(plain)), ErrorKind::Device(_)));
    pair.cpu.release();
    assert_eq!(block_on(retried).unwrap(), 64);
    drop(pair.release());
}

#[test]
fn a_retry_that_fails_too_tells_both() {
    let pair = pair(|builder| builder);
    let copy = pair.region.copy(0, 128 * 16, 256).submit();
    pair.device.wait_for_submitted(2);
    pair.device.complete_next();
    let busy = pair.cpu.submitted();
    pair.device.fail_next(ADDRESS_ERROR);
    let retry = pair.cpu.wait_for_submitted(busy + 2);
    let second = retry[busy + 1];
    pair.cpu.fail(second.serial, Status { kind: StatusKind::Write, bits: 0 });
    pair.cpu.complete_all();
    let error = block_on(copy).unwrap_err();
    let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
    assert_eq!((device.status, device.retry), (ADDRESS_ERROR, Some(StatusKind::Write)));
    assert_eq!(device.destination_offset, 128 * 17 + 64);
    assert!(error.to_string().contains("the CPU tried again: writing the destination failed"));
    drop(pair.release());
}

#[test]
fn a_fence_waits_for_the_retry() {
    let pair = pair(|builder| builder);
    let copy = pair.region.copy(0, 64 * 16, 128).submit();
    let fenced = pair.region.copy(64 * 16, 64 * 18, 64).fence().submit();
    pair.device.wait_for_submitted(1);
    eventually("the fenced one", || pair.runtime.stats().submitted == 4);
    let busy = pair.cpu.submitted();
    pair.device.fail_next(ADDRESS_ERROR);
    pair.cpu.wait_for_submitted(busy + 2);
    pair.device.wait_for_polls(10);
    assert_eq!(pair.device.submitted(), 0, "the failed part is still to be written");
    let region = pair.region.clone();
    drop(pair.release());
    assert_eq!(block_on(copy).unwrap(), 128);
    assert_eq!(block_on(fenced).unwrap(), 64);
    assert_eq!(bytes(&region, 64 * 18, 64), pattern(1, 64));
}

#[test]
fn a_device_that_is_gone_costs_no_operation() {
    let pair = pair(|builder| builder);
    let gone = Status { kind: StatusKind::Gone, bits: u32::MAX };
    let copies: Vec<_> = (0..4).map(|n| pair.region.copy(0, 1024 + n * 64, 64).submit()).collect();
    pair.device.wait_for_submitted(4);
    pair.device.set_recovery(Recovery::Fails { steps: 1, status: gone });
    pair.device.fail_channel(2, gone);
    pair.cpu.release();
    for copy in copies {
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    eventually("the loss", || pair.runtime.stats().engines[0].state == EngineState::Lost);
    assert_eq!(bytes(&pair.region, 1024, 256), pattern(1, 64).repeat(4));
    drop(pair.release());
}

#[test]
fn without_a_cpu_a_retry_is_refused_where_it_is_asked_for() {
    let engine = || ManualEngine::new().0;
    let built = Runtime::builder().engine(engine()).on_error(OnError::RetryOnCpu).build();
    let error = built.map(drop).unwrap_err();
    assert!(matches!(error, BuildError::NoCpu));
    assert!(error.to_string().contains("dmaring_cpu::CpuEngine"), "{error}");
    let runtime = Runtime::builder().engine(engine()).build().unwrap();
    let region = runtime.allocate(4096).unwrap();
    let error = block_on(region.copy(0, 64, 64).on_error(OnError::RetryOnCpu)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("dmaring_cpu::CpuEngine"), "{error}");
}

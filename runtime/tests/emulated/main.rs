//! The main job on the emulated I/OAT device: real rings, real poller, real descriptors, a software IOMMU.
#![cfg(all(not(loom), not(miri)))]

#[path = "../common/mod.rs"]
mod common;
mod rescue;
mod rig;

use std::time::Duration;

use common::{LONG, bytes, eventually, pattern, region_of};
use dmaring::{ErrorKind, Runtime};
use dmaring_emulated::{Device, Fault, FaultPlan, PlannedFault, Preset};
use dmaring_ioat_spec::{
    RegisterIo,
    registers::table::{CHAINADDR, CHANERR, DMACOUNT},
};
use futures::{StreamExt, executor::block_on, stream::FuturesOrdered};
use rig::Rig;

fn runtime(rig: &Rig) -> Runtime {
    rig.add_to(Runtime::builder(), 64).build().unwrap()
}

#[test]
fn every_preset_copies_and_fills() {
    for &preset in Preset::ALL {
        let rig = Rig::new(Device::builder(preset).channels(2));
        let runtime = runtime(&rig);
        let src = region_of(&runtime, &pattern(1, 300_000));
        let dst = runtime.allocate(300_010).unwrap();
        block_on(async {
            assert_eq!(src.copy_to(3, &dst, 7, 299_990).await.unwrap(), 299_990);
            assert_eq!(dst.fill(1, 5, 0x0807_0605_0403_0201).fence().await.unwrap(), 5);
            assert_eq!(dst.fill(300_000, 10, 0x1122_3344_5566_7788).await.unwrap(), 10);
        });
        assert_eq!(bytes(&dst, 0, 7), [0, 1, 2, 3, 4, 5, 0]);
        assert_eq!(bytes(&dst, 7, 299_990), pattern(1, 300_000)[3..299_993]);
        assert_eq!(
            bytes(&dst, 300_000, 10),
            [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x88, 0x77],
            "{preset:?}"
        );
        block_on(runtime.shutdown(LONG)).unwrap();
        rig.assert_clean();
    }
}

#[test]
fn a_copy_is_split_by_xfercap() {
    let rig = Rig::new(Device::builder(Preset::Skx).channels(1).xfercap(12));
    let runtime = runtime(&rig);
    let src = region_of(&runtime, &pattern(2, 100_000));
    let dst = runtime.allocate(100_000).unwrap();
    assert_eq!(block_on(src.copy_to(0, &dst, 0, 100_000)).unwrap(), 100_000);
    assert_eq!(bytes(&dst, 0, 100_000), pattern(2, 100_000));
    assert_eq!(runtime.stats().engines[0].transfers, 25);
    rig.assert_clean();
}

#[test]
fn the_count_of_descriptors_wraps_at_sixteen_bits() {
    let rig = Rig::new(Device::builder(Preset::Skx).channels(1));
    let runtime = runtime(&rig);
    let region = runtime.allocate(64 * 64).unwrap();
    let rounds = 1100;
    for round in 0..rounds {
        let mut batch = runtime.batch();
        (0..64).for_each(|place| batch.push(region.fill(place * 64, 64, round * 64 + place)));
        assert_eq!(block_on(batch.submit().all()).unwrap(), 64 * 64);
    }
    assert!(rig.device.executed() > 1 << 16, "the wrap was crossed");
    for place in 0..64 {
        assert_eq!(bytes(&region, place * 64, 8), ((rounds - 1) * 64 + place).to_le_bytes());
    }
    rig.assert_clean();
}

/// Copies of 64 bytes, of which one descriptor fails. Its number counts the null descriptor of the start.
#[test]
fn the_operation_that_owned_the_failing_descriptor_fails_and_no_other() {
    for nth in [2, 9, 17] {
        for bit in [8u8, 9, 0, 10] {
            let plan = FaultPlan::new().with(PlannedFault::nth(nth, Fault::ChanErr(bit)));
            let rig = Rig::new(Device::builder(Preset::Skx).channels(1).fault_plan(plan));
            let runtime = runtime(&rig);
            let src = region_of(&runtime, &pattern(3, 16 * 64));
            let dst = runtime.allocate(16 * 64).unwrap();
            let mut copies: FuturesOrdered<_> =
                (0..16).map(|n| src.copy_to(n * 64, &dst, n * 64, 64).submit()).collect();
            let culprit = nth as usize - 2;
            for n in 0..16usize {
                let outcome = block_on(copies.next()).unwrap();
                if n != culprit {
                    assert_eq!(outcome.unwrap(), 64, "copy {n}, descriptor {nth} failing");
                    assert_eq!(bytes(&dst, n as u64 * 64, 64), pattern(3, 16 * 64)[n * 64..][..64]);
                    continue;
                }
                let Err(error) = outcome else {
                    panic!("copy {n} was made, descriptor {nth} failing")
                };
                let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
                assert_eq!(device.status.bits, 1 << bit);
                assert_eq!(device.source_offset, Some(n as u64 * 64));
                assert_eq!(device.destination_offset, n as u64 * 64);
            }
            assert_eq!(block_on(src.copy_to(0, &dst, 64, 64)).unwrap(), 64, "it goes on");
            let stats = runtime.stats();
            assert_eq!((stats.completed, stats.failed), (16, 1));
            assert_eq!(stats.engines[0].recoveries, 1, "the channel was reset");
        }
    }
}

/// An operation in parts on one of two channels: the part that failed is told, the other channel's are made.
#[test]
fn a_failing_part_is_told_by_its_offsets_and_the_other_channel_goes_on() {
    let item = PlannedFault { channel: Some(0), ..PlannedFault::nth(4, Fault::ChanErr(9)) };
    let device = Device::builder(Preset::Bdx).channels(2).xfercap(10);
    let rig = Rig::new(device.fault_plan(FaultPlan::new().with(item)));
    let runtime = runtime(&rig);
    let src = region_of(&runtime, &pattern(6, 1 << 16));
    let dst = runtime.allocate(1 << 16).unwrap();
    // Of two operations each channel gets one.
    let copies: Vec<_> =
        (0..2).map(|n| src.copy_to(n * 10_000 + 7, &dst, n * 10_000, 10_000).submit()).collect();
    let outcomes: Vec<_> = copies.into_iter().map(block_on).collect();
    let failed = outcomes.iter().position(Result::is_err).unwrap();
    let made = 1 - failed;
    assert_eq!(outcomes[made].as_ref().ok(), Some(&10_000));
    assert_eq!(
        bytes(&dst, made as u64 * 10_000, 10_000),
        pattern(6, 1 << 16)[made * 10_000 + 7..][..10_000]
    );
    let error = outcomes[failed].as_ref().unwrap_err();
    let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
    // The channel's fourth descriptor, after the null one: the third part of 1 KiB.
    let start = failed as u64 * 10_000;
    assert_eq!(device.status.bits, 1 << 9);
    assert_eq!(device.source_offset, Some(start + 7 + 2048));
    assert_eq!(device.destination_offset, start + 2048);
    assert_eq!(block_on(src.copy_to(0, &dst, 0, 60_000)).unwrap(), 60_000, "both go on");
    rig.assert_clean();
}

/// What the fault plan can do besides failing a descriptor: no future stays pending, and the device goes on.
#[test]
fn stalls_and_completion_words_lost_or_repeated_are_survived() {
    for (fault, failures) in [
        (Fault::Stall, 1),
        (Fault::LostWriteBack, 0),
        (Fault::DuplicateWriteBack, 0),
        (Fault::Short(10), 1),
    ] {
        let plan = FaultPlan::new().with(PlannedFault::nth(5, fault));
        let mut rig = Rig::new(Device::builder(Preset::Skx).channels(1).fault_plan(plan));
        rig.hang_after = Some(Duration::from_millis(300));
        let runtime = runtime(&rig);
        let src = region_of(&runtime, &pattern(5, 16 * 64));
        let dst = runtime.allocate(16 * 64).unwrap();
        let copies: Vec<_> =
            (0..16).map(|n| src.copy_to(n * 64, &dst, n * 64, 64).submit()).collect();
        let outcomes: Vec<_> = copies.into_iter().map(block_on).collect();
        for (n, outcome) in outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok()) {
            assert_eq!(outcome.as_ref().ok(), Some(&64));
            assert_eq!(bytes(&dst, n as u64 * 64, 64), pattern(5, 16 * 64)[n * 64..][..64]);
        }
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert_eq!((failed, rig.device.faults_fired()), (failures, 1), "{fault:?}: {outcomes:?}");
        assert_eq!(block_on(src.copy_to(0, &dst, 64, 64)).unwrap(), 64, "it goes on");
    }
}

/// The control of every count of faults that is expected to be 0.
#[test]
fn the_fault_counter_counts() {
    let rig = Rig::new(Device::builder(Preset::Skx).channels(1));
    rig.assert_clean();
    // A chain at an address where nothing is mapped.
    let registers = rig.device.registers();
    registers.write64(CHAINADDR.bar_offset(0), 0xdead_0000);
    registers.write16(DMACOUNT.bar_offset(0), 1);
    eventually("the fault", || rig.device.domain().faults() == 1);
    assert_ne!(registers.read32(CHANERR.bar_offset(0)), 0);
}

//! Failures of single transfers: which operation hears of them, and what it hears.

use dmaring::{ErrorKind, StatusKind};
use dmaring_manual::ManualEngine;
use futures::executor::block_on;

use crate::common::{READ_ERROR, bytes, kind, manual_with, pattern, poll_once, region_of};

#[test]
fn a_failing_part_is_named_by_its_offsets_and_fails_its_operation_alone() {
    let (runtime, control) = manual_with(16, ManualEngine::builder().max_transfer(64));
    let src = region_of(&runtime, &pattern(1, 4096));
    let dst = runtime.allocate(4096).unwrap();
    let mut failing = src.copy_to(100, &dst, 1000, 64 * 8).submit();
    let fine = src.copy_to(0, &dst, 2000, 100).submit();
    control.wait_for_submitted(10);
    let parts: Vec<_> = control.outstanding().iter().map(|part| part.transfer.length).collect();
    assert_eq!(parts.iter().sum::<u64>(), 64 * 8 + 100);
    assert!(parts.iter().all(|&length| length <= 64));
    let base = dst.as_mut_ptr().unwrap().addr().get() as u64;
    let serial_at = |offset: u64| {
        let at =
            |ticket: &&dmaring_manual::Ticket| ticket.transfer.destination.get() == base + offset;
        control.outstanding().iter().find(at).map(|ticket| ticket.serial).unwrap()
    };
    // Two fail, the one at the higher offset first: the lower one is told, once all parts are back.
    control.fail(serial_at(1000 + 5 * 64), READ_ERROR);
    control.fail(serial_at(1000 + 3 * 64), READ_ERROR);
    control.wait_for_polls(5);
    assert!(poll_once(&mut failing).is_pending(), "other parts may still be writing");
    control.complete_all();
    let error = block_on(failing).unwrap_err();
    let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
    assert_eq!(device.status, READ_ERROR);
    assert_eq!((device.source_offset, device.destination_offset), (Some(292), 1192));
    assert_eq!(
        error.to_string(),
        "reading the source failed (error bits 0x100) at source offset 292, destination offset 1192"
    );
    assert_eq!(block_on(fine).unwrap(), 100);
    assert_eq!(bytes(&dst, 2000, 100), pattern(1, 100));
    let stats = runtime.stats();
    assert_eq!((stats.completed, stats.failed, stats.bytes), (1, 1, 100));
    assert_eq!((stats.engines[0].errors, stats.engines[0].transfers), (2, 8));
    assert!(!stats.engines[0].lost);
}

#[test]
fn a_failing_part_of_a_fill_has_no_source() {
    let (runtime, control) = manual_with(16, ManualEngine::builder().max_transfer(64));
    let dst = runtime.allocate(4096).unwrap();
    let fill = dst.fill(10, 200, 7).submit();
    control.wait_for_submitted(4);
    control.fail(3, dmaring::Status { kind: StatusKind::Write, bits: 0 });
    control.complete_all();
    let ErrorKind::Device(device) = kind(block_on(fill)) else { panic!("not a device error") };
    assert_eq!((device.source_offset, device.destination_offset), (None, 10 + 3 * 64));
    assert_eq!(device.status.kind, StatusKind::Write);
}

#[test]
fn parts_not_yet_fed_are_not_begun_after_a_failure() {
    let engine = ManualEngine::builder().max_transfer(64).depth(4);
    let (runtime, control) = manual_with(16, engine);
    let region = region_of(&runtime, &pattern(2, 64 * 64));
    let large = region.copy(0, 64 * 32, 64 * 32).submit();
    assert_eq!(control.wait_for_submitted(2).len(), 2);
    control.fail(0, READ_ERROR);
    control.wait_for_polls(5);
    assert_eq!(control.submitted(), 1, "nothing was fed in its place");
    control.complete_all();
    assert!(matches!(kind(block_on(large)), ErrorKind::Device(_)));
    assert_eq!(bytes(&region, 64 * 34, 64), pattern(2, 64 * 64)[64 * 34..64 * 35]);
    control.release();
    assert_eq!(block_on(region.copy(0, 64 * 32, 64 * 32)).unwrap(), 64 * 32);
}

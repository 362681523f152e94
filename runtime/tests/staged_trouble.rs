//! Files on ordinary file systems, served through staging buffers: truncation, failing engines, dropped futures, the end.
#![cfg(not(any(loom, miri)))]

mod staged;

use std::{fs, time::Duration};

use dmaring::{ErrorKind, ManualClock, Runtime, Status, StatusKind};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{ManualEngine, Recovery};
use futures::{FutureExt, executor::block_on};

use staged::{BLOCK, Place, contents, cpu, directory, manual, truncate};

#[track_caller]
fn check_io(error: &dmaring::Error, words: &str) {
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_file_truncated_before_the_copy_is_an_error_with_its_offset() {
    let Some(directory) = directory() else { return };
    let runtime = cpu(4);
    let short = Place::file(&runtime, &directory, 1, 200_000);
    let mut whole = Place::file(&runtime, &directory, 2, 200_000);
    let memory = Place::memory(&runtime, 3, 200_000);
    let path = short.path.as_ref().unwrap();
    for length in [150_001, 147_456, 100_000, 4096, 1, 0] {
        truncate(path, length);
        let source = format!("source file ends at or before offset {} ", length.max(17));
        let source = source.trim_end();
        for destination in [&memory, &whole] {
            let error =
                block_on(short.region.copy_to(17, &destination.region, 5, 199_000)).unwrap_err();
            check_io(&error, source);
        }
        let destination = format!("destination file ends at or before offset {}:", length.max(5));
        for copy in [
            memory.region.copy_to(0, &short.region, 5, 199_000).boxed(),
            whole.region.copy_to(0, &short.region, 5, 199_000).boxed(),
            short.region.fill(5, 199_000, 1).boxed(),
        ] {
            check_io(&block_on(copy).unwrap_err(), &destination);
        }
        assert_eq!(fs::metadata(path).unwrap().len(), length, "the file was extended");
        check_io(&short.region.write_at(199_000, &[1; 500]).unwrap_err(), "truncated");
        check_io(&short.region.read_at(0, &mut [0; 200_000]).unwrap_err(), &length.to_string());
        assert_eq!(fs::metadata(path).unwrap().len(), length, "the file was extended");
    }
    // Others are as before, and so is the file once it is whole again.
    truncate(path, 200_000);
    block_on(whole.region.copy_to(0, &short.region, 0, 200_000)).unwrap();
    whole.model = contents(&whole.region);
    assert!(contents(&short.region) == whole.model);
}

#[test]
fn a_file_truncated_during_the_copy_is_an_error_and_other_operations_go_on() {
    let Some(directory) = directory() else { return };
    let (runtime, control) = manual(4);
    let source = Place::memory(&runtime, 1, 200_000);
    let destination = Place::file(&runtime, &directory, 2, 200_000);
    let other = Place::memory(&runtime, 3, 200_000);
    let path = destination.path.as_ref().unwrap();
    let copy = source.region.copy_to(0, &destination.region, 0, 200_000).submit();
    control.wait_for_submitted(4);
    // Every block is in the engine, none is written.
    truncate(path, BLOCK + 5000);
    let unharmed = source.region.copy_to(0, &other.region, 0, 100).submit();
    control.release();
    check_io(&block_on(copy).unwrap_err(), &format!("offset {}:", BLOCK + 5000));
    assert_eq!(fs::metadata(path).unwrap().len(), BLOCK + 5000, "the file was extended");
    assert_eq!(block_on(unharmed).unwrap(), 100);
    assert_eq!(control.violations(), []);
    let written = fs::read(path).unwrap();
    assert!(written[..BLOCK as usize] == source.model[..BLOCK as usize], "whole blocks before it");
}

#[test]
fn a_late_copy_of_a_file_is_told_in_time_and_begins_no_further_piece() {
    let Some(directory) = directory() else { return };
    let clock = ManualClock::new();
    let (engine, control) = ManualEngine::new();
    let builder = Runtime::builder().engine(engine).clock(clock.clone());
    // The clock stands still, so the poller never sleeps.
    let runtime = builder.file_blocks(4, BLOCK as u32).build().unwrap();
    let source = Place::file(&runtime, &directory, 1, 200_000);
    let destination = Place::memory(&runtime, 2, 200_000);
    let limit = Duration::from_millis(3);
    let late = source.region.copy_to(0, &destination.region, 0, 200_000).timeout(limit).submit();
    // Four blocks are in the engine, of thirteen.
    control.wait_for_submitted(4);
    clock.advance(limit);
    assert_eq!(block_on(late).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(runtime.stats().in_flight, 1, "the engine is still at it");
    let fenced = source.region.copy_to(0, &destination.region, 100_000, 50).fence().submit();
    control.release();
    assert_eq!(block_on(fenced).unwrap(), 50);
    let written = contents(&destination.region);
    let begun = 4 * BLOCK as usize;
    assert!(written[..begun] == source.model[..begun]);
    assert!(written[begun..100_000] == destination.model[begun..100_000], "not begun");
    assert_eq!((runtime.stats().in_flight, control.violations()), (0, vec![]));
}

#[test]
fn an_engine_that_is_lost_with_a_piece_tells_the_operation_and_keeps_the_block() {
    let Some(directory) = directory() else { return };
    let (runtime, control) = manual(4);
    let source = Place::file(&runtime, &directory, 1, 200_000);
    let destination = Place::memory(&runtime, 2, 200_000);
    let copy = source.region.copy_to(0, &destination.region, 0, 200_000).submit();
    control.wait_for_submitted(4);
    let status = Status { kind: StatusKind::Hang, bits: 0 };
    control.set_recovery(Recovery::Fails { steps: 0, status });
    control.fail_and_hold(0, status);
    let error = block_on(copy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("stay mapped"), "{error}");
    assert_eq!(runtime.stats().in_flight, 1);
    // It lets go after all, piece by piece, and is brought back.
    assert_eq!(control.complete_all(), 3);
    control.set_recovery(Recovery::Succeeds { steps: 0 });
    block_on(runtime.restore_engine("manual")).unwrap();
    control.release();
    let again = source.region.copy_to(0, &destination.region, 0, 200_000).fence();
    assert_eq!(block_on(again).unwrap(), 200_000);
    assert!(contents(&destination.region) == source.model);
    assert_eq!((runtime.stats().in_flight, runtime.stats().violations), (0, 0));
    assert_eq!(control.violations(), []);
}

#[test]
fn an_engine_s_failure_names_the_offsets_in_the_operation() {
    let Some(directory) = directory() else { return };
    let (runtime, control) = manual(4);
    let source = Place::file(&runtime, &directory, 1, 200_000);
    let destination = Place::memory(&runtime, 2, 200_000);
    let (from, to) = (8192, 100);
    let copy = source.region.copy_to(from, &destination.region, to, 150_000).submit();
    let status = Status { kind: StatusKind::Read, bits: 0x42 };
    // Four blocks are under way; which transfer is which is told by its destination.
    let mut tickets = control.wait_for_submitted(4);
    tickets.sort_by_key(|ticket| ticket.transfer.destination);
    control.fail(tickets[3].serial, status);
    control.fail(tickets[1].serial, status);
    control.release();
    let error = block_on(copy).unwrap_err();
    let ErrorKind::Device(device) = error.kind() else { panic!("{error}") };
    assert_eq!(device.status, status);
    assert_eq!(device.source_offset, Some(from + BLOCK), "the lowest of two failures");
    assert_eq!(device.destination_offset, to + BLOCK);
    // The runtime and the file are as good as before.
    assert_eq!(
        block_on(source.region.copy_to(0, &destination.region, 0, 200_000)).unwrap(),
        200_000
    );
    assert!(contents(&destination.region) == source.model);
    assert_eq!(control.violations(), []);
}

#[test]
fn dropped_and_forgotten_futures_leave_the_files_to_their_operations() {
    let Some(directory) = directory() else { return };
    let (runtime, control) = manual(4);
    let source = Place::file(&runtime, &directory, 1, 200_000);
    let destination = Place::file(&runtime, &directory, 2, 200_000);
    let path = destination.path.clone().unwrap();
    let copies = [0, 60_000, 120_000]
        .map(|at| source.region.copy_to(at, &destination.region, at, 60_000).submit());
    control.wait_for_submitted(1);
    let [first, second, third] = copies;
    drop(first);
    std::mem::forget(second);
    let model = source.model.clone();
    // The last handles go too: the operations hold the regions.
    drop((source, destination));
    control.release();
    assert_eq!(block_on(third).unwrap(), 60_000);
    block_on(runtime.shutdown(Duration::from_secs(30))).unwrap();
    assert!(fs::read(path).unwrap()[..180_000] == model[..180_000]);
    assert_eq!(control.violations(), []);
}

#[test]
fn shutdown_drains_what_is_under_way() {
    let Some(directory) = directory() else { return };
    for _ in 0..10 {
        let runtime = cpu(4);
        let source = Place::file(&runtime, &directory, 1, 300_000);
        let destination = Place::file(&runtime, &directory, 2, 300_000);
        let copy = source.region.copy_to(0, &destination.region, 0, 300_000).submit();
        drop(runtime);
        assert_eq!(block_on(copy).unwrap(), 300_000);
        assert!(contents(&destination.region) == source.model, "regions stay readable");
        let error = block_on(source.region.copy_to(0, &destination.region, 0, 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

#[test]
fn operations_that_are_given_up_resolve_and_the_buffers_are_unmapped() {
    let Some(directory) = directory() else { return };
    let (runtime, control) = manual(4);
    let domain = control.domain();
    let source = Place::file(&runtime, &directory, 1, 200_000);
    let destination = Place::file(&runtime, &directory, 2, 200_000);
    let copy = source.region.copy_to(0, &destination.region, 0, 200_000).submit();
    control.wait_for_submitted(2);
    assert_eq!(domain.live(), 1, "the staging buffers");
    let error = block_on(runtime.shutdown(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(block_on(copy).unwrap_err().kind(), ErrorKind::Shutdown);
    assert_eq!(domain.live(), 0);
    assert_eq!(control.violations(), []);
}

#[test]
fn an_engine_that_does_not_stop_keeps_the_buffers() {
    let Some(directory) = directory() else { return };
    let (runtime, control) = manual(4);
    let source = Place::file(&runtime, &directory, 1, 200_000);
    let destination = Place::file(&runtime, &directory, 2, 200_000);
    let copy = source.region.copy_to(0, &destination.region, 0, 200_000).submit();
    control.wait_for_submitted(2);
    control.refuse_halt(Status { kind: StatusKind::Hang, bits: 0 });
    let error = block_on(runtime.shutdown(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert_eq!(block_on(copy).unwrap_err().kind(), ErrorKind::Shutdown);
    assert_eq!(control.domain().live(), 1, "mapped for good");
}

#[test]
fn settings_that_will_not_do_are_refused_by_name() {
    for (count, bytes, what) in [
        (3, 1 << 20, "count of 3"),
        (33, 1 << 20, "count of 33"),
        (16, 8192, "bytes of 8192"),
        (16, 100_000, "bytes of 100000"),
        (16, 32 << 20, "bytes of 33554432"),
    ] {
        let error = Runtime::builder().engine(CpuEngine::new()).file_blocks(count, bytes).build();
        let message = error.unwrap_err().to_string();
        assert!(message.contains(what), "{message}");
    }
}

/// An engine keeps so many of the staging buffers for good that others cannot have theirs.
#[test]
fn who_waits_for_buffers_that_a_lost_engine_keeps_is_told() {
    let Some(directory) = directory() else { return };
    let (runtime, control) = manual(4);
    let source = Place::file(&runtime, &directory, 1, 200_000);
    let destination = Place::file(&runtime, &directory, 2, 200_000);
    let memory = Place::memory(&runtime, 3, 200_000);
    let blocks = |count: u64| source.region.copy_to(0, &memory.region, 0, count * BLOCK).submit();
    let status = Status { kind: StatusKind::Hang, bits: 0 };
    let lost = |outcome: Result<u64, dmaring::Error>, words: &str| {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineLost);
        assert!(error.to_string().contains(words), "{error}");
    };
    // Three of four blocks: a copy from file to file takes two.
    let held = blocks(3);
    control.wait_for_submitted(3);
    let between = source.region.copy_to(0, &destination.region, 0, 100_000).submit();
    control.set_stuck(Some(status));
    lost(block_on(held), "stay mapped");
    lost(block_on(between), "staging buffers");
    // The engine is lost, and none is left that could copy: told by that, and not by a buffer.
    lost(block_on(blocks(1)), "restore_engine");
    control.set_stuck(None);
    assert_eq!(control.complete_all(), 3);
    block_on(runtime.restore_engine("manual")).unwrap();
    control.hold();
    let held = blocks(4);
    control.wait_for_submitted(4);
    control.set_stuck(Some(status));
    lost(block_on(held), "stay mapped");
    lost(block_on(blocks(1)), "staging buffers");
    control.set_stuck(None);
    assert_eq!(control.complete_all(), 4);
    block_on(runtime.restore_engine("manual")).unwrap();
    control.release();
    let again = source.region.copy_to(0, &destination.region, 0, 200_000).fence();
    assert_eq!(block_on(again).unwrap(), 200_000);
    assert!(contents(&destination.region) == source.model);
    assert_eq!((runtime.stats().violations, control.violations()), (0, vec![]));
}

/// The poller and the staging thread both know the deadline. Whoever sees first that it passed, it is a time limit that
/// the future tells.
#[test]
fn one_that_is_late_has_timed_out_whoever_sees_it_first() {
    let Some(directory) = directory() else { return };
    let runtime = cpu(4);
    let source = Place::file(&runtime, &directory, 1, 200_000);
    let destination = Place::memory(&runtime, 2, 200_000);
    let mut late = 0;
    for round in 0..400 {
        let copies: Vec<_> = (0..8)
            .map(|n| {
                let limit = Duration::from_micros(round * 3 + n * 20);
                let copy =
                    source.region.copy_to(n * 20_000, &destination.region, n * 20_000, 20_000);
                copy.timeout(limit).submit()
            })
            .collect();
        for error in copies.into_iter().filter_map(|copy| block_on(copy).err()) {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            late += 1;
        }
    }
    assert!(late > 0);
}

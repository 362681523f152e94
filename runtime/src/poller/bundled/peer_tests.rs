//! Entries of bundles that a peer wrote, and where each copy of a bundle goes.

use std::{fs::File, io::Write, os::fd::AsRawFd};

use dmaring_engine::{Status, StatusKind};
use dmaring_manual::ManualEngine;
use dmaring_ring::{CompletionCode, EntryFlags, Key, Opcode, SubmissionEntry, submission};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::tests::{PART, outcomes, rig};
use crate::{
    OnError, Region, Runtime,
    bundle::{MOST, Part},
    client::RingPair,
    op::Refused,
    placement::{Course, Striping},
    region::eventually,
};

#[test]
fn what_the_cpu_does_again_is_done_for_each() {
    let (engine, control) = ManualEngine::builder()
        .at_once(8192)
        .depth(64)
        .max_transfer(PART)
        .host_memory(false)
        .build();
    let (cpu, other) = ManualEngine::builder().host_memory(true).build();
    let builder = Runtime::builder().engine(engine).engine(cpu).on_error(OnError::RetryOnCpu);
    let runtime = builder.build().unwrap();
    let regions = [(); 2].map(|()| runtime.allocate(1 << 20).unwrap());
    regions[0].write_at(0, &[7; 1 << 20]).unwrap();
    other.release();
    let entry = forged(&runtime, &regions, &[(0, 0, 64), (100, 100, 64), (200, 200, 64)]);
    push(&runtime, entry);
    control.wait_for_submitted(3);
    let status = Status { kind: StatusKind::Write, bits: 1 };
    control.fail(control.outstanding()[1].serial, status);
    control.release();
    eventually("the end", || runtime.stats().completed == 3);
    assert_eq!((runtime.stats().retried, runtime.stats().failed), (1, 0));
    let mut bytes = vec![0; 264];
    regions[1].read_at(0, &mut bytes).unwrap();
    assert!([0, 100, 200].iter().all(|&at| bytes[at..at + 64] == [7; 64]));
}

/// A bundle's copies go by the length of one of them, not of all.
#[test]
fn each_copy_goes_to_the_engine_of_its_own_length() {
    let build = |host| {
        let builder = ManualEngine::builder().host_memory(host).at_once(8192);
        builder.depth(64).max_transfer(PART).build()
    };
    let [(device, other), (cpu, control)] = [build(false), build(true)];
    let runtime = Runtime::builder().engine(device).engine(cpu).build().unwrap();
    let course = Course { cpu_below: PART, engines: 2, cpu_joins: true, striping: Striping::OFF };
    let [one, two, large] = [(); 3].map(|()| runtime.allocate(1 << 20).unwrap());
    // Half of the CPU engine is another's.
    runtime.shared().steering.set(Course { cpu_below: u64::MAX, ..course });
    let occupied = large.copy(1 << 19, 0, 64 * PART).submit();
    control.wait_for_submitted(32);
    runtime.shared().steering.set(course);
    let mut batch = runtime.batch();
    (0..MOST as u64).for_each(|n| batch.copy(&one, n * 1024, &two, n * 1024, 1024));
    let submitted = batch.submit();
    assert_eq!(runtime.shared().client.permits.out(), 2, "it is a bundle");
    control.wait_for_submitted(32 + MOST);
    assert_eq!((other.submitted(), other.run()), (0, 0));
    control.release();
    assert!(outcomes(submitted).into_iter().all(|outcome| outcome.is_ok()));
    futures::executor::block_on(occupied).unwrap();
}

/// The entry of a bundle that a peer wrote, under a key that nobody has, with a block to it.
fn forged(runtime: &Runtime, regions: &[Region; 2], copies: &[(u64, u64, u64)]) -> SubmissionEntry {
    let shared = runtime.shared();
    let key = Key { index: 3, generation: 77 };
    let parts: Vec<_> = copies
        .iter()
        .map(|&(source_offset, destination_offset, length)| {
            Part { source_offset, destination_offset, length }.words()
        })
        .collect();
    shared.bundles.get_or_make(key.index).unwrap().beside(&parts).write();
    SubmissionEntry {
        opcode: Opcode::COPY_BUNDLE,
        key,
        source: regions[0].0.key,
        destination: regions[1].0.key,
        source_offset: copies.len() as u64,
        length: copies.iter().map(|copy| copy.2).sum(),
        ..SubmissionEntry::default()
    }
}

fn push(runtime: &Runtime, entry: SubmissionEntry) {
    let shared = runtime.shared();
    let pair = &shared.client.pair;
    submission::push(pair.header(), pair.submission_slots(), &[entry]).unwrap();
    shared.nudge_poller();
}

#[test]
fn what_a_peer_makes_up_is_refused_and_reaches_nothing() {
    let (runtime, control, regions) = rig();
    let good = forged(&runtime, &regions, &[(0, 0, 64), (64, 64, 64)]);
    push(&runtime, good);
    eventually("the good one", || runtime.stats().completed == 2);
    let nowhere = Key { index: 900, generation: 1 };
    let malformed = [
        SubmissionEntry { source_offset: 0, ..good },
        SubmissionEntry { source_offset: 0, length: 0, ..good },
        SubmissionEntry { source_offset: 1, ..good },
        SubmissionEntry { source_offset: 3, ..good },
        SubmissionEntry { source_offset: MOST as u64 + 1, ..good },
        SubmissionEntry { source_offset: u64::MAX, ..good },
        SubmissionEntry { length: 0, ..good },
        SubmissionEntry { length: 127, ..good },
        SubmissionEntry { length: u64::MAX, ..good },
        SubmissionEntry { flags: EntryFlags::FENCE, ..good },
        SubmissionEntry { flags: EntryFlags::DURABLE, ..good },
        SubmissionEntry { flags: EntryFlags::from_bits_retain(0x80), ..good },
        SubmissionEntry { deadline: 1, ..good },
        // There never was a bundle at this slot.
        SubmissionEntry { key: nowhere, ..good },
    ];
    for entry in malformed {
        let (before, run) = (runtime.stats(), control.run());
        forged(&runtime, &regions, &[(0, 0, 64), (64, 64, 64)]);
        push(&runtime, entry);
        eventually("the refusal", || {
            let now = runtime.stats();
            now.failed > before.failed || now.violations > before.violations
        });
        assert_eq!((runtime.stats().completed, control.run()), (2, run), "{entry:?}");
    }
    // One more than there are, with a sum that is right.
    let full: Vec<_> = (0..MOST as u64).map(|n| (n * 64, n * 64, 64)).collect();
    let full = forged(&runtime, &regions, &full);
    let before = runtime.stats().failed;
    push(&runtime, SubmissionEntry { source_offset: MOST as u64 + 1, ..full });
    eventually("the refusal", || runtime.stats().failed > before);
    assert_eq!((runtime.stats().completed, control.unsettled()), (2, 0));
    // Regions that are not there: each copy is told so.
    let nowhere = Key { generation: 9, ..good.destination };
    for entry in [
        SubmissionEntry { source: Key::default(), ..good },
        SubmissionEntry { destination: nowhere, ..good },
    ] {
        let before = runtime.stats().failed;
        forged(&runtime, &regions, &[(0, 0, 64), (64, 64, 64)]);
        push(&runtime, entry);
        eventually("the end", || runtime.stats().failed == before + 2);
        let block = runtime.shared().bundles.get(entry.key.index).unwrap();
        for place in [0, 1] {
            let told = block.told(place).unwrap().entry();
            assert_eq!(
                (told.code(), told.kind()),
                (CompletionCode::REFUSED, Refused::Unmapped as u8)
            );
        }
    }
    // Ranges beyond a region: those that are within it are copied all the same.
    let beyond =
        forged(&runtime, &regions, &[((1 << 20) - 63, 0, 64), (0, 1 << 40, 64), (0, 0, 64)]);
    let before = runtime.stats().failed;
    control.release();
    push(&runtime, beyond);
    eventually("the end", || runtime.stats().completed == 3);
    assert_eq!(runtime.stats().failed - before, 2);
    let block = runtime.shared().bundles.get(beyond.key.index).unwrap();
    let codes = [0, 1, 2].map(|place| block.told(place).unwrap().entry().code());
    assert_eq!(codes, [CompletionCode::REFUSED, CompletionCode::REFUSED, CompletionCode::DONE]);
    assert_eq!(control.violations(), []);
}

/// What a peer may not write is not written, whichever way its entry takes; what it may only read is read.
#[test]
fn memory_that_is_only_to_be_read_is_read_and_not_written() {
    let (runtime, control, regions) = rig();
    // One on a disk would be staged.
    let mut file = File::from(memfd_create("readable", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(&[5; 4096]).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let readable = runtime.open_file_read_only(path).unwrap();
    let copies = [(0, 0, 64), (64, 64, 64)];
    let before = runtime.stats().failed;
    push(&runtime, forged(&runtime, &[regions[0].clone(), readable.clone()], &copies));
    eventually("the refusal", || runtime.stats().failed == before + 2);
    assert_eq!((control.run(), control.submitted(), runtime.stats().completed), (0, 0, 0));
    push(&runtime, forged(&runtime, &[readable.clone(), regions[1].clone()], &copies));
    eventually("the end", || runtime.stats().completed == 2);
    assert_eq!((control.run(), runtime.stats().failed), (2, before + 2), "by the short way");
    let mut bytes = [[0; 128]; 2];
    readable.read_at(0, &mut bytes[0]).unwrap();
    regions[1].read_at(0, &mut bytes[1]).unwrap();
    assert_eq!(bytes, [[5; 128]; 2]);
    assert_eq!(control.violations(), []);
}

//! Bundles as an application sees them: each copy by itself, whatever becomes of the others.

use std::task::{Context, Waker};

use dmaring_engine::{Operation, Status, StatusKind};
use dmaring_manual::{Control, ManualEngine, Ticket};
use futures::{FutureExt, Stream, StreamExt, executor::block_on};

use crate::{
    Batch, Copy, Error, ErrorKind, Idle, Region, Runtime, Submitted, bundle::MOST,
    region::eventually,
};

const READ: Status = Status { kind: StatusKind::Read, bits: 4 };
/// So many copies make two bundles and a copy.
const COPIES: u64 = 2 * MOST as u64 + 1;
pub(super) const PART: u64 = 4096;

/// A runtime whose engine carries out at once, and regions of which the first has bytes.
pub(super) fn rig() -> (Runtime, Control, [Region; 2]) {
    let builder = ManualEngine::builder().at_once(8192).depth(64).max_transfer(PART);
    let (engine, control) = builder.build();
    let idle = Idle::Adaptive {
        spin: std::time::Duration::ZERO,
        park_after: std::time::Duration::from_secs(60),
    };
    let runtime = Runtime::builder().engine(engine).idle(idle).build().unwrap();
    let regions = [(); 2].map(|()| runtime.allocate(1 << 20).unwrap());
    let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| (n * 7 + n / 256) as u8).collect();
    regions[0].write_at(0, &bytes).unwrap();
    (runtime, control, regions)
}

/// An operation that has half of the engine and waits for more of it: nothing is carried out at once.
fn occupy(control: &Control, region: &Region) -> Copy {
    let copy = region.copy(1 << 19, 0, 64 * PART).submit();
    control.wait_for_submitted(32);
    copy
}

/// Where copy `n` reads and writes, and how many bytes.
fn at(n: u64) -> (u64, u64, u64) {
    (n * 1024 + 3, (COPIES - n) * 1024 + 5, 64 + n)
}

fn batch(runtime: &Runtime, [source, destination]: &[Region; 2]) -> Batch {
    let mut batch = runtime.batch();
    for (from, to, length) in (0..COPIES).map(at) {
        batch.copy(source, from, destination, to, length);
    }
    batch
}

pub(super) fn outcomes(submitted: Submitted) -> Vec<Result<u64, Error>> {
    block_on(submitted.collect())
}

/// Whether copy `n` was made; its destination has either its bytes or none.
fn was_made([source, destination]: &[Region; 2], n: u64) -> bool {
    let (from, to, length) = at(n);
    let [mut read, mut written] = [(); 2].map(|()| vec![0; length as usize]);
    source.read_at(from, &mut read).unwrap();
    destination.read_at(to, &mut written).unwrap();
    assert!(written == read || written.iter().all(|&byte| byte == 0), "copy {n}");
    written == read
}

/// The transfer of copy `n`, which is in the engine.
fn transfer_of(runtime: &Runtime, control: &Control, regions: &[Region; 2], n: u64) -> Ticket {
    let (from, _, length) = at(n);
    let base = runtime.shared().regions.base(regions[0].0.key, 0).unwrap();
    let source = base.checked_add(from).unwrap();
    let is_it = |ticket: &Ticket| {
        ticket.transfer.length == length
            && matches!(ticket.transfer.operation, Operation::Copy { source: from } if from == source)
    };
    let find = || control.outstanding().into_iter().find(is_it);
    eventually("the transfer", || find().is_some());
    find().unwrap()
}

fn lengths() -> Vec<Option<u64>> {
    (0..COPIES).map(|n| Some(at(n).2)).collect()
}

#[test]
fn many_copies_take_few_places_and_each_has_its_outcome() {
    let (runtime, control, regions) = rig();
    let counts = || regions.each_ref().map(|region| region.0.count());
    let batch = batch(&runtime, &regions);
    assert_eq!((batch.len() as u64, counts()[0] < COPIES), (COPIES, true));
    let mut submitted = batch.submit();
    for (n, length) in lengths().into_iter().enumerate() {
        let left = COPIES as usize - n;
        assert_eq!(submitted.size_hint(), (left, Some(left)));
        assert_eq!(block_on(submitted.next()).and_then(Result::ok), length);
    }
    assert_eq!(submitted.size_hint(), (0, Some(0)));
    assert!(block_on(submitted.next()).is_none() && block_on(submitted.next()).is_none());
    assert!((0..COPIES).all(|n| was_made(&regions, n)));
    assert_eq!((control.run(), runtime.shared().client.reaped()), (COPIES, 3));
    let (stats, bytes) = (runtime.stats(), lengths().into_iter().flatten().sum::<u64>());
    assert_eq!((stats.submitted, stats.completed, stats.bytes), (COPIES, COPIES, bytes));
    assert_eq!((stats.engines[0].transfers, stats.engines[0].bytes), (COPIES, bytes));
    eventually("the handles", || counts() == [1; 2]);
    assert_eq!(control.violations(), []);
}

#[test]
fn behind_others_they_are_pieces_and_end_well() {
    let (runtime, control, regions) = rig();
    let large = occupy(&control, &regions[1]);
    let submitted = batch(&runtime, &regions).submit();
    eventually("all", || runtime.stats().submitted == COPIES + 1);
    assert_eq!((control.run(), runtime.stats().in_flight), (0, 4));
    control.release();
    let told: Vec<_> = outcomes(submitted).into_iter().map(Result::ok).collect();
    assert_eq!(told, lengths());
    block_on(large).unwrap();
    assert_eq!((runtime.stats().completed, runtime.stats().failed), (COPIES + 1, 0));
    assert_eq!(control.violations(), []);
}

#[test]
fn one_that_fails_fails_alone_and_names_its_own_offsets() {
    let (runtime, control, regions) = rig();
    let large = occupy(&control, &regions[1]);
    let submitted = batch(&runtime, &regions).submit();
    let bad = [0, 5, MOST as u64 - 1, MOST as u64 + 3];
    for n in bad {
        // As many as there is room for are in the engine; the others follow as it becomes free.
        control.fail(transfer_of(&runtime, &control, &regions, n).serial, READ);
    }
    // The poller has taken note of them before the others end.
    control.wait_for_polls(200);
    control.release();
    let told = outcomes(submitted);
    block_on(large).unwrap();
    assert_eq!(told.len() as u64, COPIES);
    for (n, outcome) in (0..).zip(told) {
        let (from, to, length) = at(n);
        if !bad.contains(&n) {
            assert_eq!(outcome.unwrap(), length);
            continue;
        }
        let error = outcome.unwrap_err();
        let ErrorKind::Device(device) = error.kind() else { panic!("{error}") };
        assert_eq!((device.source_offset, device.destination_offset), (Some(from), to));
        assert_eq!((device.status, device.segment), (READ, None));
    }
    let stats = runtime.stats();
    assert_eq!((stats.completed, stats.failed), (COPIES + 1 - 4, 4));
    let failed: u64 = bad.iter().map(|&n| at(n).2).sum();
    let bytes: u64 = lengths().into_iter().flatten().sum();
    assert_eq!(stats.bytes, 64 * PART + bytes - failed);
}

#[test]
fn an_engine_that_keeps_one_has_all_that_share_its_place_told_so() {
    let (runtime, control, regions) = rig();
    let large = occupy(&control, &regions[1]);
    let submitted = batch(&runtime, &regions).submit();
    transfer_of(&runtime, &control, &regions, 0);
    control.set_stuck(Some(READ));
    let told = outcomes(submitted);
    assert_eq!(told.len() as u64, COPIES);
    for outcome in told {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::EngineLost);
    }
    assert_eq!(block_on(large).unwrap_err().kind(), ErrorKind::EngineLost);
    assert_eq!(runtime.stats().failed, COPIES + 1);
    // It lets go, and nothing is left of them.
    control.set_stuck(None);
    control.complete_all();
    eventually("the release", || runtime.stats().in_flight == 0);
    eventually("the handles", || regions.each_ref().map(|region| region.0.count()) == [1; 2]);
}

/// Some are carried out before the engine would have them fed: those are made again, and nothing is counted twice.
#[test]
fn an_engine_that_refuses_in_the_midst_has_them_all_fed() {
    let (runtime, control, regions) = rig();
    control.set_runs_left(Some(5));
    let submitted = batch(&runtime, &regions).submit();
    control.wait_for_submitted(COPIES as usize);
    assert_eq!((control.run(), control.unsettled(), runtime.stats().completed), (5, 0, 0));
    assert_eq!(runtime.stats().engines[0].transfers, 0);
    control.release();
    let told: Vec<_> = outcomes(submitted).into_iter().map(Result::ok).collect();
    assert_eq!(told, lengths());
    assert!((0..COPIES).all(|n| was_made(&regions, n)));
    let stats = runtime.stats();
    assert_eq!((stats.submitted, stats.completed), (COPIES, COPIES));
    assert_eq!(stats.engines[0].transfers, COPIES);
    assert_eq!(control.violations(), []);
}

#[test]
fn those_that_were_told_one_by_one_are_not_added_up() {
    let (runtime, control, regions) = rig();
    control.release();
    let mut submitted = batch(&runtime, &regions).submit();
    for n in 0..3 {
        assert_eq!(block_on(submitted.next()).unwrap().unwrap(), at(n).2);
    }
    let mut all = submitted.all();
    assert_eq!(block_on(&mut all).unwrap(), (3..COPIES).map(|n| at(n).2).sum::<u64>());
    assert_eq!(block_on(all).unwrap_err().kind(), ErrorKind::Aborted, "it was given out");
    assert_eq!(block_on(runtime.batch().submit().all()).unwrap(), 0);
    // Of the same bundle one fails before, and one behind.
    control.hold();
    for (told, first) in [(0, 1), (2, 5)] {
        let large = occupy(&control, &regions[1]);
        let mut submitted = batch(&runtime, &regions).submit();
        for n in [1, 5] {
            control.fail(transfer_of(&runtime, &control, &regions, n).serial, READ);
        }
        control.wait_for_polls(200);
        control.release();
        for n in 0..told {
            let outcome = block_on(submitted.next()).unwrap();
            assert_eq!((submitted.size_hint().0 as u64, outcome.is_ok()), (COPIES - n - 1, n != 1));
        }
        let error = block_on(submitted.all()).unwrap_err();
        let ErrorKind::Device(device) = error.kind() else { panic!("{error}") };
        assert_eq!(device.source_offset, Some(at(first).0));
        block_on(large).unwrap();
        control.hold();
    }
}

/// Its lists are another's then.
#[test]
fn what_was_not_told_of_a_batch_is_no_other_batchs() {
    let (runtime, control, regions) = rig();
    let again = || {
        assert_eq!(runtime.batch().len(), 0);
        let submitted = batch(&runtime, &regions).submit();
        assert_eq!(submitted.size_hint().0 as u64, COPIES);
        let told: Vec<_> = outcomes(submitted).into_iter().map(Result::ok).collect();
        assert_eq!(told, lengths());
    };
    control.release();
    let mut made = batch(&runtime, &regions).submit();
    block_on(made.next()).unwrap().unwrap();
    drop(made);
    again();
    control.hold();
    let large = occupy(&control, &regions[1]);
    let mut mixed = batch(&runtime, &regions).submit();
    control.fail(transfer_of(&runtime, &control, &regions, 1).serial, READ);
    control.wait_for_polls(200);
    control.release();
    block_on(mixed.next()).unwrap().unwrap();
    drop(mixed);
    again();
    block_on(large).unwrap();
}

#[test]
fn what_is_longer_than_a_region_joins_none() {
    let (runtime, control, regions) = rig();
    control.release();
    let tiny = runtime.register(vec![0_u8; 512]).unwrap();
    for (number, (from, to)) in (1..).zip([(&tiny, &regions[1]), (&regions[0], &tiny)]) {
        let mut batch = runtime.batch();
        for (offset, length) in [(0, 64), (0, 1024), (64, 64), (128, 64)] {
            batch.copy(from, offset, to, offset, length);
        }
        assert_eq!(batch.len(), 4, "two have joined");
        let told: Vec<_> = outcomes(batch.submit()).into_iter().map(Result::ok).collect();
        assert_eq!(told, [Some(64), None, Some(64), Some(64)]);
        assert_eq!(runtime.stats().submitted, 3 * number, "one was refused at once");
    }
}

#[test]
fn dropping_stops_none() {
    let (runtime, control, regions) = rig();
    let large = occupy(&control, &regions[1]);
    drop(batch(&runtime, &regions).submit());
    drop(batch(&runtime, &regions));
    control.release();
    block_on(large).unwrap();
    eventually("all", || runtime.stats().completed == COPIES + 1);
    assert!((0..COPIES).all(|n| was_made(&regions, n)));
    eventually("the handles", || regions.each_ref().map(|region| region.0.count()) == [1; 2]);
}

#[test]
fn what_is_no_short_plain_copy_breaks_the_row_and_keeps_its_place() {
    let (runtime, control, regions) = rig();
    let [one, two] = &regions;
    let other = runtime.allocate(4096).unwrap();
    // One of them is too long to be carried out at once.
    control.release();
    let mut batch = runtime.batch();
    batch.copy(one, 0, two, 0, 64);
    batch.copy(one, 64, two, 64, 1024);
    // Each of these might join the one before.
    batch.copy(one, 0, two, (1 << 20) - 63, 64);
    batch.copy(one, 0, two, 4096, 64);
    batch.copy(one, (1 << 20) - 63, two, 0, 64);
    batch.copy(one, 0, two, 4160, 64);
    batch.copy(one, u64::MAX, two, 0, 64);
    batch.copy(one, 0, two, 4224, 64);
    batch.copy(one, 0, two, 1 << 17, (64 << 10) + 64);
    batch.copy(one, 0, two, 8192, 64);
    batch.copy(one, 5, two, 5, 0);
    batch.copy(one, 128, two, 128, 7);
    batch.copy(one, 192, &other, 0, 8);
    batch.copy(&other, 0, two, 192, 9);
    batch.copy(one, 200, two, 208, 14);
    batch.push(two.fill(256, 10, 3));
    batch.copy(one, 320, two, 320, 11);
    batch.copy(one, 320, one, 321, 12);
    batch.copy(one, 320, one, 512, 13);
    let told: Vec<_> = outcomes(batch.submit())
        .into_iter()
        .map(|outcome| outcome.map_err(|error| error.kind()))
        .collect();
    let beyond = Err(ErrorKind::OutOfBounds);
    let within = [
        Ok(64),
        Ok(1024),
        beyond,
        Ok(64),
        beyond,
        Ok(64),
        beyond,
        Ok(64),
        Ok((64 << 10) + 64),
        Ok(64),
    ];
    let others =
        [Ok(0), Ok(7), Ok(8), Ok(9), Ok(14), Ok(10), Ok(11), Err(ErrorKind::Overlap), Ok(13)];
    let expected: Vec<_> = within.into_iter().chain(others).collect();
    assert_eq!(told, expected);
    let (mut read, mut written) = ([0; 14], [0; 14]);
    one.read_at(200, &mut read).unwrap();
    two.read_at(208, &mut written).unwrap();
    assert_eq!(written, read, "of another region than the one before");
    assert_eq!(control.violations(), []);
}

#[test]
fn a_region_that_is_closed_refuses_each_copy() {
    let (runtime, control, regions) = rig();
    let batch = batch(&runtime, &regions);
    control.release();
    // The batch has handles of it, and nothing was submitted.
    block_on(regions[1].close()).unwrap();
    let told = outcomes(batch.submit());
    assert_eq!(told.len() as u64, COPIES);
    let mut kinds = told.into_iter().map(|outcome| outcome.unwrap_err().kind());
    assert!(kinds.all(|kind| kind == ErrorKind::Closed));
    assert_eq!((runtime.stats().submitted, control.run()), (0, 0));
}

#[test]
fn regions_are_kept_as_long_as_a_copy_is_under_way() {
    let (runtime, control, regions) = rig();
    let third = runtime.allocate(1 << 20).unwrap();
    let large = occupy(&control, &third);
    let submitted = batch(&runtime, &regions).submit();
    transfer_of(&runtime, &control, &regions, 0);
    let mut closes = regions.each_ref().map(|region| Box::pin(region.close()));
    for close in &mut closes {
        assert!(close.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
        control.wait_for_polls(200);
        assert!(close.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    control.release();
    assert!(outcomes(submitted).into_iter().all(|outcome| outcome.is_ok()));
    block_on(large).unwrap();
    for close in closes {
        block_on(close).unwrap();
    }
    assert_eq!(control.violations(), []);
}

#[test]
fn a_shutdown_gives_each_its_outcome() {
    let (runtime, control, regions) = rig();
    let _large = occupy(&control, &regions[1]);
    let submitted = batch(&runtime, &regions).submit();
    eventually("all", || runtime.stats().submitted == COPIES + 1);
    assert!(block_on(runtime.shutdown(std::time::Duration::from_millis(1))).is_err());
    let told = outcomes(submitted);
    assert_eq!(told.len() as u64, COPIES);
    assert!(told.into_iter().all(|outcome| outcome.is_err()));
}

#[test]
fn what_is_fenced_behind_them_waits_for_all_of_them() {
    let (runtime, control, regions) = rig();
    let large = occupy(&control, &regions[1]);
    let submitted = batch(&runtime, &regions).submit();
    let mut fenced = regions[0].fill(0, 8, 1).fence().submit();
    transfer_of(&runtime, &control, &regions, 0);
    control.wait_for_polls(200);
    assert!(fenced.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
    control.release();
    assert!(outcomes(submitted).into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!((block_on(large).unwrap(), block_on(fenced).unwrap()), (64 * PART, 8));
}

/// With fewer places than there are bundles.
#[test]
fn those_that_wait_for_a_place_are_served_dropped_and_refused() {
    let (engine, control) =
        ManualEngine::builder().at_once(8192).depth(64).max_transfer(PART).build();
    let runtime = Runtime::builder().engine(engine).ring_entries(2).build().unwrap();
    let regions = [(); 2].map(|()| runtime.allocate(1 << 20).unwrap());
    regions[0].write_at(0, &[9; 1 << 20]).unwrap();
    let counts = || regions.each_ref().map(|region| region.0.count());
    let large = occupy(&control, &regions[1]);
    let (waiting, dropped) =
        (batch(&runtime, &regions).submit(), batch(&runtime, &regions).submit());
    assert_eq!(runtime.shared().client.permits.out(), 2);
    drop(dropped);
    // Those that had no place were not begun and are gone.
    assert_eq!(
        counts(),
        [1 + 3, 1 + 2 + 3],
        "the three of the other, and both ends of the large one"
    );
    control.release();
    let told: Vec<_> = outcomes(waiting).into_iter().map(Result::ok).collect();
    assert_eq!(told, lengths());
    block_on(large).unwrap();
    eventually("the end", || runtime.stats().in_flight == 0);
    assert_eq!((runtime.stats().submitted, counts()), (COPIES + 1, [1; 2]));
    control.hold();
    let large = occupy(&control, &regions[1]);
    let refused = batch(&runtime, &regions).submit();
    assert!(block_on(runtime.shutdown(std::time::Duration::from_millis(1))).is_err());
    let told = outcomes(refused);
    assert_eq!(told.len() as u64, COPIES);
    assert!(
        told.into_iter()
            .all(|outcome| outcome.is_err_and(|error| error.kind() == ErrorKind::Shutdown))
    );
    assert!(block_on(large).is_err());
}

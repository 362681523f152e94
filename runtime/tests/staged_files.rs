//! Files on ordinary file systems, served through staging buffers: against a model, and when things go wrong.
#![cfg(not(any(loom, miri)))]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    time::Duration,
};

use dmaring::{ErrorKind, Idle, Region, Runtime, Status, StatusKind};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualEngine};
use futures::{
    FutureExt,
    executor::block_on,
    future::{join_all, poll_immediate},
};
use nix::sys::statfs::{HUGETLBFS_MAGIC, TMPFS_MAGIC, statfs};
use tempfile::TempDir;

/// The smallest blocks, so that short copies have many.
const BLOCK: u64 = 16 << 10;

/// A directory on a file system whose files are staged.
fn directory() -> Option<TempDir> {
    let candidates = [std::env::temp_dir(), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))];
    let staged = |path: &PathBuf| {
        let kind = statfs(path.as_path()).map(|facts| facts.filesystem_type());
        kind.is_ok_and(|kind| kind != TMPFS_MAGIC && kind != HUGETLBFS_MAGIC)
    };
    let found = candidates.iter().find(|path| staged(path));
    if found.is_none() {
        eprintln!("SKIPPED: no file system but tmpfs at {candidates:?}: staged files are not tested");
    }
    found.map(|path| TempDir::new_in(path).unwrap())
}

fn cpu(blocks: u32) -> Runtime {
    Runtime::builder().engine(CpuEngine::new()).file_blocks(blocks, BLOCK as u32).build().unwrap()
}

fn manual(blocks: u32) -> (Runtime, Control) {
    let (engine, control) = ManualEngine::new();
    let runtime = Runtime::builder()
        .engine(engine)
        .idle(Idle::default())
        .file_blocks(blocks, BLOCK as u32)
        .build()
        .unwrap();
    (runtime, control)
}

/// Bytes that differ from place to place and from seed to seed.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length).map(|_| random.next() as u8).collect()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

fn file(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn truncate(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn contents(region: &Region) -> Vec<u8> {
    let mut bytes = vec![0; region.len() as usize];
    region.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A region, and what its bytes ought to be.
struct Place {
    region: Region,
    model: Vec<u8>,
    path: Option<PathBuf>,
}

impl Place {
    fn file(runtime: &Runtime, directory: &TempDir, seed: u64, length: usize) -> Self {
        let model = pattern(seed, length);
        let path = file(directory, &seed.to_string(), &model);
        let region = runtime.open_file(&path).unwrap();
        assert!(region.as_mut_ptr().is_none(), "the file was mapped");
        Self { region, model, path: Some(path) }
    }

    fn memory(runtime: &Runtime, seed: u64, length: usize) -> Self {
        let model = pattern(seed, length);
        let region = runtime.allocate(length).unwrap();
        region.write_at(0, &model).unwrap();
        Self { region, model, path: None }
    }

    #[track_caller]
    fn check(&self) {
        let bytes = contents(&self.region);
        let different = bytes.iter().zip(&self.model).position(|(a, b)| a != b);
        assert_eq!((different, bytes.len()), (None, self.model.len()));
        if let Some(path) = &self.path {
            assert!(fs::read(path).unwrap() == self.model, "the file and the region differ");
        }
    }
}

#[track_caller]
fn copy(source: &Place, from: u64, destination: &mut Place, to: u64, length: u64) {
    let copied = block_on(source.region.copy_to(from, &destination.region, to, length)).unwrap();
    assert_eq!(copied, length);
    let bytes = &source.model[from as usize..(from + length) as usize];
    destination.model[to as usize..(to + length) as usize].copy_from_slice(bytes);
}

#[test]
fn every_way_to_and_from_a_file_at_odd_offsets_and_lengths() {
    let Some(directory) = directory() else { return };
    let runtime = cpu(8);
    let size = 5 * BLOCK + 777;
    let mut places = [
        Place::file(&runtime, &directory, 1, size as usize),
        Place::file(&runtime, &directory, 2, size as usize),
        Place::memory(&runtime, 3, size as usize),
    ];
    let offsets = [0, 1, 511, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 513];
    let lengths = [1, 4095, 4096, 8192, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 333, 4 * BLOCK];
    let mut random = Random(7);
    for (from, to) in [(0, 1), (0, 2), (2, 1)] {
        for offset in offsets {
            for length in lengths {
                let other = offsets[random.below(offsets.len() as u64) as usize];
                let length = length.min(size - offset.max(other));
                let [source, destination] = places.get_disjoint_mut([from, to]).unwrap();
                copy(source, offset, destination, other, length);
            }
            places[to].check();
        }
    }
    places[0].check();
}

#[test]
fn random_operations_leave_what_the_model_says() {
    let Some(directory) = directory() else { return };
    let seed = std::env::var("DMARING_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    for (round, blocks) in [4, 5, 16, 32].into_iter().enumerate() {
        let runtime = cpu(blocks);
        let mut random = Random(seed + round as u64);
        let names = 100 * (round as u64 + 1);
        let mut places: Vec<Place> = (0..2)
            .map(|n| Place::file(&runtime, &directory, names + n, 150_001 + 4096 * n as usize))
            .chain((2..4).map(|n| Place::memory(&runtime, n, 150_001)))
            .collect();
        for _ in 0..120 {
            let to = random.below(4) as usize;
            let from = random.below(4) as usize;
            let length = 1 + random.below(80_000);
            let end = places[to].model.len().min(places[from].model.len()) as u64 - length;
            let (start, target) = (random.below(end), random.below(end));
            if random.below(3) == 0 {
                let word = random.next() << 32 | random.next();
                let place = &mut places[to];
                block_on(place.region.fill(target, length, word)).unwrap();
                let bytes = word.to_le_bytes().into_iter().cycle();
                let range = target as usize..(target + length) as usize;
                place.model[range].iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            } else if from != to {
                let [source, destination] = places.get_disjoint_mut([from, to]).unwrap();
                copy(source, start, destination, target, length);
            }
        }
        places.iter().for_each(Place::check);
    }
}

#[test]
fn operations_at_the_same_time_meet_inside_granules_and_keep_apart() {
    let Some(directory) = directory() else { return };
    let runtime = cpu(8);
    let source = Place::file(&runtime, &directory, 1, 200_000);
    let mut destination = Place::file(&runtime, &directory, 2, 200_000);
    let mut random = Random(5);
    for _ in 0..5 {
        // Neighbouring ranges of one file, so that many share a granule with the next.
        let mut copies = Vec::new();
        let mut end = 0;
        while end < 190_000 {
            let length = 1 + random.below(9_000);
            let from = random.below(200_000 - length);
            let copy = source.region.copy_to(from, &destination.region, end, length);
            copies.push(copy);
            let bytes = &source.model[from as usize..(from + length) as usize];
            destination.model[end as usize..(end + length) as usize].copy_from_slice(bytes);
            end += length;
        }
        for copied in block_on(join_all(copies)) {
            copied.unwrap();
        }
        destination.check();
    }
}

#[test]
fn a_fence_holds_between_files_and_memory() {
    let Some(directory) = directory() else { return };
    let runtime = cpu(4);
    let file = Place::file(&runtime, &directory, 1, 100_000);
    let first = Place::memory(&runtime, 2, 100_000);
    let second = Place::memory(&runtime, 3, 100_000);
    for round in 0..20u64 {
        let chain = [
            file.region.fill(0, 100_000, round).submit().boxed(),
            file.region.copy_to(0, &first.region, 1, 99_999).fence().submit().boxed(),
            first.region.copy_to(1, &second.region, 0, 99_999).fence().submit().boxed(),
        ];
        for outcome in block_on(join_all(chain)) {
            outcome.unwrap();
        }
        let expected: Vec<u8> = round.to_le_bytes().into_iter().cycle().take(99_999).collect();
        assert!(contents(&second.region)[..99_999] == expected, "round {round}");
    }
}

#[test]
fn within_one_file_ranges_may_touch_but_not_overlap() {
    let Some(directory) = directory() else { return };
    let runtime = cpu(8);
    let mut place = Place::file(&runtime, &directory, 1, 100_000);
    let again = runtime.open_file(place.path.as_ref().unwrap()).unwrap();
    let length = 49_999;
    block_on(place.region.copy(1, 50_000, length)).unwrap();
    place.model.copy_within(1..50_000, 50_000);
    place.check();
    block_on(again.copy_to(60_000, &place.region, 0, 30_000)).unwrap();
    place.model.copy_within(60_000..90_000, 0);
    place.check();
    for (from, to) in [(0, 29_999), (29_999, 0), (5, 5)] {
        let error = block_on(again.copy_to(from, &place.region, to, 30_000)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap);
    }
    place.check();
}

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
    assert_eq!(block_on(source.region.copy_to(0, &destination.region, 0, 200_000)).unwrap(), 200_000);
    assert!(contents(&destination.region) == source.model);
    assert_eq!(control.violations(), []);
}

#[test]
fn a_small_operation_passes_a_huge_one() {
    let Some(directory) = directory() else { return };
    let (runtime, control) = manual(4);
    let source = Place::file(&runtime, &directory, 1, 100 * BLOCK as usize);
    let destination = Place::memory(&runtime, 2, 100 * BLOCK as usize);
    let mut huge = source.region.copy_to(0, &destination.region, 0, 99 * BLOCK).submit();
    control.wait_for_submitted(4);
    let mut small = source.region.copy_to(99 * BLOCK, &destination.region, 99 * BLOCK, 10).submit();
    // One at a time, so that each block that comes back is given out before the next comes.
    let mut ended = 0;
    while poll_one(&mut small).is_none() {
        control.wait_for_submitted(1);
        control.complete_next().unwrap();
        ended += 1;
        assert!(ended < 90, "the small operation waited for the huge one");
        if ended < 8 {
            control.wait_for_submitted(4.min(100 - ended));
        }
    }
    assert!(poll_one(&mut huge).is_none());
    control.release();
    block_on(huge).unwrap();
}

fn poll_one<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    block_on(poll_immediate(future))
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
fn a_file_opened_for_reading_is_a_source_only() {
    let Some(directory) = directory() else { return };
    let runtime = cpu(4);
    let bytes = pattern(1, 100_000);
    let path = file(&directory, "read-only", &bytes);
    let source = runtime.open_file_read_only(&path).unwrap();
    let memory = Place::memory(&runtime, 2, 100_000);
    block_on(source.copy_to(3, &memory.region, 0, 99_997)).unwrap();
    assert!(contents(&memory.region)[..99_997] == bytes[3..]);
    let error = block_on(memory.region.copy_to(0, &source, 0, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert_eq!(source.write_at(0, &[1]).unwrap_err().kind(), ErrorKind::Permission);
}

#[test]
fn what_is_read_and_written_directly_is_what_the_file_holds() {
    let Some(directory) = directory() else { return };
    let runtime = cpu(4);
    let mut place = Place::file(&runtime, &directory, 1, 100_000);
    let memory = Place::memory(&runtime, 2, 100_000);
    for round in 0..10 {
        // Through the page cache, then past it, and back.
        place.region.write_at(4000, &[round; 9000]).unwrap();
        place.model[4000..13_000].fill(round);
        copy(&place, 0, &mut Place { region: memory.region.clone(), model: vec![0; 100_000], path: None }, 0, 100_000);
        assert!(contents(&memory.region) == place.model);
        block_on(place.region.fill(8192, 8192, u64::from(round) * 0x0101_0101_0101_0101)).unwrap();
        place.model[8192..16_384].fill(round);
        place.check();
    }
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

#[test]
fn runtimes_that_open_files_from_many_threads_start_one_service() {
    let Some(directory) = directory() else { return };
    let path = file(&directory, "shared", &pattern(1, 50_000));
    for _ in 0..5 {
        let (runtime, control) = manual(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| runtime.open_file(&path).unwrap());
            }
        });
        assert_eq!(control.domain().total(), 1, "one set of staging buffers");
    }
    File::open(&path).unwrap();
}

//! Files on ordinary file systems, served through staging buffers: the bytes against a model.
#![cfg(not(any(loom, miri)))]

mod staged;

use dmaring::ErrorKind;
use futures::{
    FutureExt,
    executor::block_on,
    future::{join_all, poll_immediate},
};

use staged::{BLOCK, Place, Random, contents, copy, cpu, directory, file, manual, pattern};

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
        copy(
            &place,
            0,
            &mut Place { region: memory.region.clone(), model: vec![0; 100_000], path: None },
            0,
            100_000,
        );
        assert!(contents(&memory.region) == place.model);
        block_on(place.region.fill(8192, 8192, u64::from(round) * 0x0101_0101_0101_0101)).unwrap();
        place.model[8192..16_384].fill(round);
        place.check();
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
}

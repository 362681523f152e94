//! Replacing memory with zeroes under those who look at it.

use std::{
    fs::{self, OpenOptions},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use dmaring::{ErrorKind, Region, Runtime};
use futures::{FutureExt, executor::block_on};

use crate::{
    common::{bytes, cpu, eventually, kind, manual, pattern, poll_once, region_of},
    views::View,
};

const ONES: u64 = 0x0101_0101_0101_0101;

/// Swaps a region that is full of ones while threads look at it all the time, through a clone and through its address: each
/// sees ones until it sees zeroes.
fn swap_under_readers(region: &Region) {
    let length = region.len() as usize;
    let view = View::of(region);
    assert!(view.mapped_from().is_some(), "it is of a file");
    block_on(region.fill(0, region.len(), ONES)).unwrap();
    let (stop, looks) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    let check = |word: u64, before: &mut u64, reader: usize| {
        assert!(word == *before || (*before == ONES && word == 0), "{word:#x} after {before:#x}");
        looks[reader].fetch_add(1, Ordering::Relaxed);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut before = vec![ONES; length / 4096];
            while !stop.load(Ordering::Relaxed) {
                for (page, before) in before.iter_mut().enumerate() {
                    let word = view.word(page * 4096);
                    check(word, before, 0);
                    *before = word;
                }
            }
        });
        scope.spawn(|| {
            let mut before = ONES;
            while !stop.load(Ordering::Relaxed) {
                let mut word = [0; 8];
                region.read_at(region.len() - 8, &mut word).unwrap();
                let word = u64::from_le_bytes(word);
                check(word, &mut before, 1);
                before = word;
            }
        });
        let look = |least: u64| looks.iter().all(|looks| looks.load(Ordering::Relaxed) >= least);
        eventually("readers", || look(100));
        block_on(region.replace_with_zeroes()).unwrap();
        let far = looks.iter().map(|looks| looks.load(Ordering::Relaxed)).max().unwrap();
        eventually("readers of zeroes", || look(far + 2 * (length / 4096) as u64));
        stop.store(true, Ordering::Relaxed);
    });
    assert!(bytes(region, 0, length).iter().all(|&byte| byte == 0));
    assert!((0..length / 4096).all(|page| view.word(page * 4096) == 0));
    assert_eq!(kind(region.write_at(0, &[1])), ErrorKind::Closed);
    assert_eq!(kind(block_on(region.fill(0, 8, 1))), ErrorKind::Closed);
    assert_eq!(view.mapped_from(), None, "it is let go");
    // Who writes through the address all the same reaches nobody.
    view.set_word(4096, 5);
    assert_eq!(view.word(4096), 5);
}

#[test]
fn readers_see_zeroes_and_never_a_fault() {
    let runtime = cpu(64);
    for _ in 0..10 {
        swap_under_readers(&runtime.allocate(1 << 20).unwrap());
    }
    // Where it was, nothing else is mapped ever after.
    let region = runtime.allocate(1 << 20).unwrap();
    let view = View::of(&region);
    block_on(region.replace_with_zeroes()).unwrap();
    drop(region);
    let others = [(); 20].map(|()| region_of(&runtime, &[9; 1 << 20]));
    drop(runtime);
    assert!((0..256).all(|page| view.word(page * 4096) == 0));
    drop(others);
}

#[test]
fn the_file_itself_is_let_go_and_unchanged() {
    let runtime = cpu(16);
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
    let path = directory.path().join("a.img");
    fs::write(&path, vec![1; 100_001]).unwrap();
    let region = runtime.open_file(&path).unwrap();
    swap_under_readers(&region);
    assert!(fs::read(&path).unwrap() == vec![1; 100_001]);
    // It may be truncated now: nobody looks at it.
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(bytes(&region, 100_000, 1), [0]);
    // One that was opened for reading alone.
    fs::write(&path, pattern(5, 9000)).unwrap();
    let region = runtime.open_file_read_only(&path).unwrap();
    block_on(region.replace_with_zeroes()).unwrap();
    assert_eq!(bytes(&region, 0, 9000), [0; 9000]);
    assert_eq!(fs::read(&path).unwrap(), pattern(5, 9000));
}

/// Huge pages, where the system has some: `allocate` takes them then.
#[test]
fn huge_pages_are_replaced_whole() {
    let free = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let free: u64 = free.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let runtime = cpu(16);
    let region = runtime.allocate((4 << 20) - 5).unwrap();
    swap_under_readers(&region);
    if free < 2 {
        eprintln!("SKIPPED: {free} huge pages are free: ordinary ones were replaced");
    }
}

#[test]
fn nothing_is_replaced_under_an_operation() {
    let (runtime, control) = manual(16);
    let region = region_of(&runtime, &pattern(6, 8192));
    let view = View::of(&region);
    let copy = region.copy(0, 4096, 64).submit();
    control.wait_for_submitted(1);
    let mut replace = region.replace_with_zeroes().boxed();
    assert!(poll_once(&mut replace).is_pending());
    control.wait_for_polls(200);
    assert!(poll_once(&mut replace).is_pending());
    assert_eq!(bytes(&region, 0, 8192), pattern(6, 8192), "it is read meanwhile");
    assert_ne!(view.word(0), 0);
    control.complete_all();
    block_on(replace).unwrap();
    block_on(copy).unwrap();
    assert_eq!((control.domain().live(), view.word(0), view.word(4096)), (0, 0, 0));
}

#[test]
fn what_is_not_ours_is_refused_and_as_good_as_before() {
    let runtime: Runtime = cpu(16);
    let region = runtime.register(vec![1; 8192]).unwrap();
    let error = block_on(region.replace_with_zeroes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    block_on(region.copy(0, 4096, 64)).unwrap();
    block_on(region.close()).unwrap();
}

//! Runtimes of this process and of its children, observed; memory that is none.

use std::{
    fs,
    io::Write,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt},
    },
    process::{self, Command, Stdio},
};

use memmap2::MmapOptions;
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};
use proptest::prelude::*;

use super::*;
use crate::stats::{Counters, NAME};

fn own(inode: u64) -> Option<Observer> {
    attach(process::id()).unwrap().into_iter().find(|observer| observer.inode == inode)
}

/// Counters of this process, and the file that others find them by.
fn counters(names: &[&str]) -> (Counters, File) {
    let known: Vec<_> = files().iter().map(|found| found.inode).collect();
    let counters = Counters::new(names.iter().map(|&name| name.to_owned()).collect()).unwrap();
    let mut fresh = files();
    fresh.retain(|found| !known.contains(&found.inode) && engines(&found.file) == names.len());
    // Other tests of this process make some, too.
    let named = fresh.into_iter().find(|found| {
        Reader::open(&found.file).is_ok_and(|reader| {
            reader.stats().engines.first().is_some_and(|engine| names[0].starts_with(&engine.name))
        })
    });
    (counters, named.unwrap().file)
}

fn files() -> Vec<Found> {
    Process::open(process::id()).unwrap().memory(MOST_RUNTIMES).unwrap()
}

fn engines(file: &File) -> usize {
    Reader::open(file).map_or(0, |reader| reader.stats().engines.len())
}

/// A sealed memfd with these bytes.
fn sealed(bytes: &[u8]) -> File {
    let file = File::from(memfd_create("hostile", MFdFlags::MFD_ALLOW_SEALING).unwrap());
    file.write_all_at(bytes, 0).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
    file
}

fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn what_was_counted_is_read() {
    let long = "ü".repeat(40);
    let (counters, file) = counters(&["read-1", &long]);
    let reader = Reader::open(&file).unwrap();
    counters.runtime.submitted.add(3);
    counters.runtime.in_flight.set(2);
    counters.runtime.latency.record(1000, 3);
    counters.engines[1].transfers.add(7);
    counters.engines[1].set_state(crate::stats::EngineState::Retired);
    let stats = reader.stats();
    let mut expected = counters.snapshot(2);
    assert_eq!(expected.engines[1].name, long);
    expected.engines[1].name = "ü".repeat(32);
    assert_eq!(stats, expected);
    assert!(stats.engines[1].retired && stats.latency.count() == 3);
    assert_eq!(reader.pid(), u64::from(process::id()));
    assert!(reader.started().elapsed().unwrap().as_secs() < 3600);
    assert!(!reader.has_ended());
    counters.end();
    assert!(reader.has_ended());
    assert_eq!(reader.stats().in_flight, 0);
}

#[test]
fn nobody_else_can_write() {
    let (_counters, file) = counters(&["sealed"]);
    let seals = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS).unwrap());
    let fixed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    assert!(seals.contains(fixed | SealFlag::F_SEAL_FUTURE_WRITE), "{seals:?}");
    let inode = file.metadata().unwrap().ino();
    assert!(own(inode).is_some());
    let paths = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let mut paths = paths.filter(|path| fs::metadata(path).is_ok_and(|found| found.ino() == inode));
    let path = paths.next().unwrap();
    let writable = File::options().read(true).write(true).open(path).unwrap();
    assert!(MmapOptions::new().map_raw(&writable).is_err(), "mapped for writing");
    assert!(writable.write_all_at(&[1], 0).is_err(), "written");
    assert!(writable.set_len(0).is_err(), "shrunk");
    assert!(MmapOptions::new().map_raw_read_only(&writable).is_ok());
}

#[test]
fn each_word_of_the_header_is_checked() {
    let (_counters, file) = counters(&["hostile-1", "hostile-2", "hostile-3"]);
    let good = contents(&file);
    assert!(Reader::open(&sealed(&good)).is_ok(), "the control");
    // Those that follow from the version and the number of engines.
    for word in 0..9 {
        for value in [0, 1, 2, 4096, 4097, 1 << 32, u64::MAX / 2, u64::MAX] {
            let mut bytes = good.clone();
            let place = &mut bytes[word * 8..][..8];
            if place == value.to_le_bytes() {
                continue;
            }
            place.copy_from_slice(&value.to_le_bytes());
            let refused = Reader::open(&sealed(&bytes));
            let error = ObserveError::unreadable(1, refused.expect_err("a wrong word"));
            match (word, value, error) {
                (0, 0, ObserveError::NoRuntime { pid: 1 }) => {}
                (1, _, ObserveError::Version { found, expected: 1, .. }) if found == value => {}
                (0, 1.., error) | (2.., _, error) => {
                    assert!(matches!(error, ObserveError::Malformed { .. }), "{error}");
                }
                (_, _, error) => panic!("word {word}, {value}: {error}"),
            }
        }
    }
    for length in [0, 1, 127, 128, good.len() - 1] {
        assert!(Reader::open(&sealed(&good[..length])).is_err(), "{length} bytes");
    }
    assert!(Reader::open(&sealed(&[&good[..], &[0]].concat())).is_err(), "a byte more");
}

#[test]
fn a_runtime_has_a_bounded_number_of_engines() {
    use crate::stats::MAX_ENGINES;

    let (_counters, file) = counters(&["bounded"]);
    let [none, one] = [4992, 2 * 4992];
    let engine = contents(&file)[none..one].to_vec();
    let with = |engines: u64| {
        let mut bytes = contents(&file)[..none].to_vec();
        (0..engines).for_each(|_| bytes.extend_from_slice(&engine));
        let length = bytes.len() as u64;
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        bytes[48..56].copy_from_slice(&engines.to_le_bytes());
        Reader::open(&sealed(&bytes)).is_ok()
    };
    assert!(with(1) && with(MAX_ENGINES));
    assert!(!with(MAX_ENGINES + 1));
}

#[test]
fn what_may_shrink_is_not_read() {
    let (_counters, file) = counters(&["unsealed"]);
    let good = contents(&file);
    let memfd = File::from(memfd_create("hostile", MFdFlags::empty()).unwrap());
    memfd.write_all_at(&good, 0).unwrap();
    let mut regular = tempfile::tempfile().unwrap();
    regular.write_all(&good).unwrap();
    for file in [memfd, regular] {
        let refused = Reader::open(&file).map_err(|why| ObserveError::unreadable(1, why));
        assert!(matches!(refused, Err(ObserveError::Unsealed { pid: 1 })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_stands_behind_the_header_is_read(words: [u64; 8], at in 0..100_usize) {
        let (_counters, file) = counters(&["noise-1", "noise-2"]);
        let mut bytes = contents(&file);
        // Process, times, counters, histograms, states and names.
        let places = (9 * 8..bytes.len() - 64).step_by(((bytes.len() - 136) / 100) & !7);
        let place = places.clone().nth(at % places.count()).unwrap();
        for (word, value) in words.iter().enumerate() {
            bytes[place + word * 8..][..8].copy_from_slice(&value.to_le_bytes());
        }
        // All of them at their greatest, too.
        let greatest = [&bytes[..72], &vec![255; bytes.len() - 72]].concat();
        for bytes in [bytes, greatest] {
            let reader = Reader::open(&sealed(&bytes)).unwrap();
            let stats = reader.stats();
            prop_assert_eq!(stats.engines.len(), 2);
            let _ = (reader.started(), reader.pid(), stats.latency.since(&stats.latency));
            for engine in stats.engines {
                let _ = (engine.latency.percentile(99.9), engine.latency.max(), engine.name);
            }
        }
    }
}

#[test]
fn processes_that_cannot_be_observed_are_told_apart() {
    // Beyond what the kernel gives out.
    assert!(matches!(attach(1 << 30), Err(ObserveError::NoProcess { .. })));
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    assert!(matches!(attach(pid), Err(ObserveError::NoRuntime { .. })));
    let process = Process::open(pid).unwrap();
    assert!(process.is_alive());
    drop(child.stdin.take());
    // It has ended when its stream of output is closed, and is a zombie until it is waited for.
    while process.is_alive() {
        std::thread::yield_now();
    }
    assert!(matches!(attach(pid), Err(ObserveError::NoProcess { .. })));
    child.wait().unwrap();
    assert!(!process.is_alive());
}

/// As a child of fork has its parent's.
#[test]
fn a_process_with_the_memory_of_another_has_no_runtime() {
    let (_counters, file) = counters(&["inherited"]);
    let mut tail = Command::new("tail");
    tail.args(["-f", "/dev/null"]).stdin(file).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = tail.spawn().unwrap();
    let found = Process::open(child.id()).and_then(|process| process.memory(MOST_RUNTIMES));
    let attached = attach(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found.unwrap().len(), 1, "the control: it has the descriptor");
    assert!(matches!(attached, Err(ObserveError::NoRuntime { .. })));
}

#[test]
fn every_runtime_of_a_process_is_found_once() {
    let (_first, one) = counters(&["many-1"]);
    let (_second, two) = counters(&["many-2"]);
    let again = one.as_fd().try_clone_to_owned().unwrap();
    let named = |name: &str| {
        let observers = attach(process::id()).unwrap();
        observers.iter().filter(|o| o.stats().engines[0].name == name).count()
    };
    assert_eq!((named("many-1"), named("many-2")), (1, 1));
    let process = Process::open(process::id()).unwrap();
    let first = |most| process.memory(most).unwrap().len();
    assert_eq!((first(0), first(1), first(2)), (0, 1, 2));
    let files = files();
    let once = |found: &Found| files.iter().filter(|other| other.inode == found.inode).count();
    assert!(files.iter().all(|found| once(found) == 1));
    let all = find().unwrap();
    assert!(all.iter().filter(|observer| observer.pid() == process::id()).count() >= 2);
    drop((again, two));
    assert_eq!(format!("/memfd:{NAME}"), "/memfd:dmaring-stats");
}

//! Block devices: loop devices over files, served through staging buffers, the bytes against a model.
#![cfg(not(any(loom, miri)))]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

mod staged;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use dmaring::{Durability, ErrorKind};
use futures::executor::block_on;

use staged::{BLOCK, Place, Random, contents, copy, cpu, directory, file, pattern};

/// Sectors of 512 bytes, and no whole number of pages.
const SIZE: u64 = 777 * 512;

/// Far beyond any healthy wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// A block device whose bytes are a file's.
struct Disk(PathBuf);

impl Disk {
    /// `None`, and says why, where the machine makes none.
    fn over(path: &Path) -> Option<Self> {
        // Another process may take the one that was free.
        for _ in 0..20 {
            let free = run(Command::new("losetup").arg("-f"))?;
            if run(Command::new("losetup").arg(&free).arg(path)).is_some() {
                return Some(Self(PathBuf::from(free)));
            }
        }
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("losetup").arg("-d").arg(&self.0));
    }
}

/// What a command says, if it succeeds.
fn run(command: &mut Command) -> Option<String> {
    let why = match command.output() {
        Ok(output) if output.status.success() => {
            return String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned());
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    eprintln!("SKIPPED, or tried again: {command:?}: {why}");
    None
}

#[test]
fn every_way_to_and_from_a_disk_at_odd_offsets_and_lengths() {
    let Some(directory) = directory() else { return };
    let model = pattern(1, SIZE as usize);
    let Some(disk) = Disk::over(&file(&directory, "disk", &model)) else { return };
    let runtime = cpu(8);
    let region = runtime.open_file(&disk.0).unwrap();
    assert_eq!((region.len(), region.as_mut_ptr()), (SIZE, None));
    assert_eq!(region.durability(), Durability::NeedsFlush);
    assert_eq!(contents(&region), model);
    let mut places = [
        Place { region, model, path: None },
        Place::memory(&runtime, 2, SIZE as usize),
        Place::file(&runtime, &directory, 3, SIZE as usize),
    ];
    let mut random = Random(5);
    for (from, to) in [(0, 1), (1, 0), (2, 0), (0, 2)] {
        for offset in [0, 1, 511, 4096, BLOCK + 513] {
            for length in [1, 512, 4097, BLOCK, 3 * BLOCK + 333, SIZE] {
                let other = random.below(3) * 4096 + random.below(2);
                let length = length.min(SIZE - offset.max(other));
                let [source, destination] = places.get_disjoint_mut([from, to]).unwrap();
                copy(source, offset, destination, other, length);
            }
            places[to].check();
        }
    }
    // To the very end, and durable.
    let [disk_place, memory, _] = &mut places;
    let copied = memory.region.copy_to(0, &disk_place.region, 0, SIZE).durable();
    assert_eq!(block_on(copied).unwrap(), SIZE);
    assert_eq!(contents(&disk_place.region), memory.model);
    assert_eq!(fs::read(directory.path().join("disk")).unwrap(), memory.model);
    let beyond = block_on(memory.region.copy_to(0, &disk_place.region, 1, SIZE));
    assert_eq!(beyond.unwrap_err().kind(), ErrorKind::OutOfBounds);
}

#[test]
fn a_disk_is_written_by_one_region_and_known_to_those_that_read() {
    let Some(directory) = directory() else { return };
    let path = file(&directory, "disk", &pattern(1, 1 << 20));
    let Some(disk) = Disk::over(&path) else { return };
    let runtime = cpu(8);
    let region = runtime.open_file(&disk.0).unwrap();
    let error = runtime.open_file(&disk.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("lsblk"), "{error}");
    let reader = runtime.open_file_read_only(&disk.0).unwrap();
    let overlap = block_on(reader.copy_to(0, &region, 4096, 8192));
    assert_eq!(overlap.unwrap_err().kind(), ErrorKind::Overlap);
    assert_eq!(block_on(reader.copy_to(0, &region, 8192, 8192)).unwrap(), 8192);
    let refused = block_on(reader.fill(0, 1, 1));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Permission);
    block_on(region.close()).unwrap();
    // Whoever carried out the last transfer lets go of the device after it has told its end.
    let end = Instant::now() + PATIENCE;
    while let Err(error) = runtime.open_file(&disk.0) {
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(Instant::now() < end, "still claimed after {PATIENCE:?}");
        thread::yield_now();
    }
}

#[test]
fn a_disk_without_bytes_is_refused() {
    let Some(directory) = directory() else { return };
    let Some(disk) = Disk::over(&file(&directory, "disk", &[])) else { return };
    let error = cpu(8).open_file_read_only(&disk.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfBounds);
    assert!(error.to_string().contains("no medium"), "{error}");
}

//! Copies between any two kinds of memory, by the CPU and by an emulated device beside it.

use std::{fs, path::Path, sync::Arc};

use dmaring::{Region, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_emulated::{Device, Preset};
use futures::executor::block_on;
use tempfile::TempDir;

use crate::{
    common::{bytes, pattern},
    device::{FakeBar, Outside},
    rig::Rig,
    staged,
};

const LENGTH: usize = 96 << 10;
const KINDS: [Kind; 5] =
    [Kind::Allocated, Kind::Registered, Kind::Mapped, Kind::Staged, Kind::Device];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Allocated,
    Registered,
    /// A file on tmpfs.
    Mapped,
    /// A file on another file system.
    Staged,
    Device,
}

/// A region and how it is seen past the runtime.
struct End {
    region: Region,
    outside: Option<Outside>,
    file: Option<(std::path::PathBuf, Arc<TempDir>)>,
}

impl End {
    /// `None`: there is no such memory here.
    fn open(runtime: &Runtime, kind: Kind, contents: &[u8]) -> Option<Self> {
        let plain = |region: Region| Self { region, outside: None, file: None };
        let end = match kind {
            Kind::Allocated => plain(runtime.allocate(LENGTH).unwrap()),
            Kind::Registered => plain(runtime.register(vec![0_u8; LENGTH]).unwrap()),
            Kind::Mapped => Self::file(runtime, Arc::new(TempDir::new_in("/dev/shm").unwrap())),
            Kind::Staged => Self::file(runtime, Arc::new(staged::directory()?)),
            Kind::Device => {
                let (bar, outside) = FakeBar::new(LENGTH);
                let region = runtime.open_bar(bar).unwrap();
                Self { region, outside: Some(outside), file: None }
            }
        };
        match (&end.outside, &end.file) {
            (Some(outside), _) => outside.write(0, contents),
            (_, Some((path, _))) => fs::write(path, contents).unwrap(),
            _ => end.region.write_at(0, contents).unwrap(),
        }
        Some(end)
    }

    fn file(runtime: &Runtime, directory: Arc<TempDir>) -> Self {
        let path = directory.path().join("file");
        fs::write(&path, vec![0; LENGTH]).unwrap();
        let region = runtime.open_file(&path).unwrap();
        Self { region, outside: None, file: Some((path, directory)) }
    }

    fn contents(&self) -> Vec<u8> {
        match (&self.outside, &self.file) {
            (Some(outside), _) => outside.read(0, LENGTH),
            (_, Some((path, _))) => fs::read(Path::new(path)).unwrap(),
            _ => bytes(&self.region, 0, LENGTH),
        }
    }
}

fn every_pair(runtime: &Runtime) {
    let mut pairs = 0;
    for from in KINDS {
        for to in KINDS {
            let (source, before) = (pattern(pairs, LENGTH), pattern(pairs + 100, LENGTH));
            let (Some(src), Some(dst)) =
                (End::open(runtime, from, &source), End::open(runtime, to, &before))
            else {
                continue;
            };
            let mut expected = before;
            for (at, to_at, length) in [(0, 0, 4096), (4099, 70_001, 1), (5, 8195, 50_000)] {
                let copied = block_on(src.region.copy_to(at, &dst.region, to_at, length)).unwrap();
                assert_eq!(copied, length);
                let (at, to_at, length) = (at as usize, to_at as usize, length as usize);
                expected[to_at..to_at + length].copy_from_slice(&source[at..at + length]);
            }
            assert!(dst.contents() == expected, "{from:?} to {to:?}");
            assert!(src.contents() == source, "{from:?} to {to:?}: the source changed");
            pairs += 1;
        }
    }
    assert!(pairs >= 16, "{pairs} pairs");
}

#[test]
fn the_cpu_copies_between_any_two() {
    every_pair(&Runtime::builder().engine(CpuEngine::new()).build().unwrap());
}

#[test]
fn a_device_and_the_cpu_copy_between_any_two() {
    let rig = Rig::new(Device::builder(Preset::Skx).channels(2));
    let runtime = rig.add_to(Runtime::builder(), 64).engine(CpuEngine::new()).build().unwrap();
    every_pair(&runtime);
    let by_device: u64 = runtime.stats().engines.iter().take(2).map(|engine| engine.bytes).sum();
    assert!(by_device > 0, "the device copied nothing");
    drop(runtime);
    rig.assert_clean();
}

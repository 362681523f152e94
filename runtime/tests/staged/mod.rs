//! What the tests of staged files share: directories whose files are staged, runtimes, and regions with their model.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use dmaring::{Idle, Region, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualEngine};
use futures::executor::block_on;
use nix::sys::statfs::{HUGETLBFS_MAGIC, TMPFS_MAGIC, statfs};
use tempfile::TempDir;

/// The smallest blocks, so that short copies have many.
pub(crate) const BLOCK: u64 = 16 << 10;

/// A directory on a file system whose files are staged.
pub(crate) fn directory() -> Option<TempDir> {
    let candidates = [std::env::temp_dir(), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))];
    let staged = |path: &PathBuf| {
        let kind = statfs(path.as_path()).map(|facts| facts.filesystem_type());
        kind.is_ok_and(|kind| kind != TMPFS_MAGIC && kind != HUGETLBFS_MAGIC)
    };
    let found = candidates.iter().find(|path| staged(path));
    if found.is_none() {
        eprintln!(
            "SKIPPED: no file system but tmpfs at {candidates:?}: staged files are not tested"
        );
    }
    found.map(|path| TempDir::new_in(path).unwrap())
}

pub(crate) fn cpu(blocks: u32) -> Runtime {
    Runtime::builder().engine(CpuEngine::new()).file_blocks(blocks, BLOCK as u32).build().unwrap()
}

pub(crate) fn manual(blocks: u32) -> (Runtime, Control) {
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
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length).map(|_| random.next() as u8).collect()
}

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

pub(crate) fn file(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

pub(crate) fn truncate(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

pub(crate) fn contents(region: &Region) -> Vec<u8> {
    let mut bytes = vec![0; region.len() as usize];
    region.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A region, and what its bytes ought to be.
pub(crate) struct Place {
    pub(crate) region: Region,
    pub(crate) model: Vec<u8>,
    pub(crate) path: Option<PathBuf>,
}

impl Place {
    pub(crate) fn file(runtime: &Runtime, directory: &TempDir, seed: u64, length: usize) -> Self {
        let model = pattern(seed, length);
        let path = file(directory, &seed.to_string(), &model);
        let region = runtime.open_file(&path).unwrap();
        assert!(region.as_mut_ptr().is_none(), "the file was mapped");
        Self { region, model, path: Some(path) }
    }

    pub(crate) fn memory(runtime: &Runtime, seed: u64, length: usize) -> Self {
        let model = pattern(seed, length);
        let region = runtime.allocate(length).unwrap();
        region.write_at(0, &model).unwrap();
        Self { region, model, path: None }
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        let bytes = contents(&self.region);
        let different = bytes.iter().zip(&self.model).position(|(a, b)| a != b);
        assert_eq!((different, bytes.len()), (None, self.model.len()));
        if let Some(path) = &self.path {
            assert!(fs::read(path).unwrap() == self.model, "the file and the region differ");
        }
    }
}

#[track_caller]
pub(crate) fn copy(source: &Place, from: u64, destination: &mut Place, to: u64, length: u64) {
    let copied = block_on(source.region.copy_to(from, &destination.region, to, length)).unwrap();
    assert_eq!(copied, length);
    let bytes = &source.model[from as usize..(from + length) as usize];
    destination.model[to as usize..(to + length) as usize].copy_from_slice(bytes);
}

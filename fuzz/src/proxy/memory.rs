//! The files behind the guest's memory: what was lent of them, and that nothing else changes.
//!
//! The files are read and written as files, so that what the model maps is its own affair. `known` is what a
//! file should hold: a page that is lent may come to differ from it by a step or a write to a BAR; every other
//! difference is a defect.

use std::{
    fs::File,
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    path::PathBuf,
};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::protocol::Message;
use crate::memory::PAGE;

/// Bytes of each file: whole pages, fewer pages, and no whole number of them.
const LENGTHS: [usize; 3] = [12 * PAGE, 3 * PAGE, PAGE + 904];

/// Bytes of the first file, which is the guest's memory at first.
pub(super) const RAM: u64 = LENGTHS[0] as u64;

/// A file descriptor that comes with a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sent {
    /// One of the files.
    File(usize),
    /// One of the files, not to be written.
    ReadOnly(usize),
    /// One that is no file.
    Socket,
}

impl Sent {
    pub(super) fn of(byte: u8) -> Self {
        match byte % 8 {
            7 => Self::Socket,
            6 => Self::ReadOnly(1),
            which => Self::File(usize::from(which / 2)),
        }
    }
}

/// A region as a message has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) offset: u64,
    pub(super) behind: Sent,
}

impl Region {
    /// None, for a file descriptor that is not memory.
    pub(super) const NONE: Self = Self { address: 0, size: 0, offset: 0, behind: Sent::Socket };

    /// The region that this message says of its file descriptor.
    pub(super) fn said(self, message: &Message, row: usize) -> Self {
        let column = |column: usize| message.word(8 * (8 * column + row));
        Self { address: column(0), size: column(1), offset: column(2), ..self }
    }
}

/// The guest's memory, from outside.
pub(super) struct Memory {
    files: Vec<(File, Vec<u8>)>,
    lent: Vec<Region>,
    /// What was read last.
    found: Vec<u8>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { files: LENGTHS.map(file).into(), lent: Vec::new(), found: vec![0; LENGTHS[0]] }
    }

    /// The file descriptor to send, and its other end where it has one.
    pub(super) fn descriptor(&self, sent: Sent) -> (OwnedFd, Option<UnixStream>) {
        match sent {
            Sent::File(which) => {
                let file = self.files[which].0.try_clone().expect("a descriptor is to be had");
                (file.into(), None)
            }
            Sent::ReadOnly(which) => {
                let number = self.files[which].0.as_raw_fd();
                let path = PathBuf::from(format!("/proc/self/fd/{number}"));
                (File::open(path).expect("the file can be opened again").into(), None)
            }
            Sent::Socket => {
                let (sent, kept) = UnixStream::pair().expect("a socket is to be had");
                kept.set_nonblocking(true).expect("a socket that need not wait");
                (sent.into(), Some(kept))
            }
        }
    }

    /// Whether these regions can be a guest's memory.
    pub(super) fn accepts(&self, regions: &[Region]) -> bool {
        let page = PAGE as u64;
        let whole = |bytes: u64| bytes.is_multiple_of(page);
        let good = |region: &Region| {
            let Sent::File(which) = region.behind else { return false };
            let end = u128::from(region.offset) + u128::from(region.size);
            region.size > 0
                && [region.address, region.size, region.offset].into_iter().all(whole)
                && end <= LENGTHS[which] as u128
                && region.address.checked_add(region.size).is_some()
        };
        let apart = |(at, one): (usize, &Region)| {
            regions[..at].iter().all(|other| {
                one.address + one.size <= other.address || other.address + other.size <= one.address
            })
        };
        regions.len() <= 8 && regions.iter().all(good) && regions.iter().enumerate().all(apart)
    }

    /// These regions are the guest's from now on.
    pub(super) fn lend(&mut self, regions: Vec<Region>) {
        self.lent = regions;
    }

    /// Writes where the guest has this address; nothing where it has no memory.
    pub(super) fn write(&mut self, address: u64, bytes: &[u8]) {
        let end = |region: &Region| region.address + region.size;
        let inside = |region: &&Region| {
            region.address <= address && address + bytes.len() as u64 <= end(region)
        };
        let Some(region) = self.lent.iter().find(inside) else { return };
        let Sent::File(which) = region.behind else { return };
        let at = region.offset + (address - region.address);
        let (file, known) = &mut self.files[which];
        file.write_all_at(bytes, at).expect("a file in memory");
        known[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// What changed is lent, if it `may` have changed at all.
    pub(super) fn check(&mut self, may: bool) {
        for (which, (file, known)) in self.files.iter_mut().enumerate() {
            let found = &mut self.found[..known.len()];
            file.read_exact_at(found, 0).expect("the file is as long as it was made");
            if found == known.as_slice() {
                continue;
            }
            assert!(may, "file {which} was written by what moves nothing");
            for (page, (found, known)) in found.chunks(PAGE).zip(known.chunks(PAGE)).enumerate() {
                let is_lent = self.lent.iter().any(|region| {
                    let first = region.offset as usize / PAGE;
                    let pages = first..first + region.size as usize / PAGE;
                    matches!(region.behind, Sent::File(lent) if lent == which)
                        && pages.contains(&page)
                });
                assert!(is_lent || found == known, "page {page} of file {which} is not lent");
            }
            known.copy_from_slice(found);
        }
    }
}

/// Nobody holds the other end any more.
pub(super) fn check_closed(mut kept: UnixStream) {
    let read = kept.read(&mut [0]);
    assert!(matches!(read, Ok(0)), "a file descriptor was kept: {read:?}");
}

fn file(length: usize) -> (File, Vec<u8>) {
    let file = memfd_create("guest", MFdFlags::MFD_CLOEXEC).expect("memory is to be had");
    // Not as long as a page, so that pages differ.
    let mut known = (0..251).collect::<Vec<u8>>().repeat(length.div_ceil(251));
    known.truncate(length);
    let file = File::from(file);
    file.write_all_at(&known, 0).expect("a file in memory");
    (file, known)
}

//! Opening files: mapped where the file system keeps the pages in memory, staged everywhere else, as block devices are.
//!
//! Only tmpfs, hugetlbfs and memfds are mapped, told by the file system's magic number and never by trying.
//! Every other file, on fsdax included, could be truncated or migrated under a long pin; it is read and
//! written through staging buffers, so that a truncation is an error with its offset.

use std::{
    fs::{File, OpenOptions},
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
};

use dmaring_engine::Rights;
use memmap2::MmapOptions;
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::statfs::{HUGETLBFS_MAGIC, TMPFS_MAGIC, fstatfs},
};

use super::{
    Backing, Draft, Identity, Region,
    block::{self, Block},
};
use crate::{
    error::{Error, ErrorKind},
    shared::Shared,
    staging::StagedFile,
};

pub(crate) fn open(shared: &Arc<Shared>, path: &Path, rights: Rights) -> Result<Region, Error> {
    let writable = matches!(rights, Rights::ReadWrite);
    let file = OpenOptions::new()
        .read(true)
        .write(writable)
        // Not to wait for a FIFO's other end, nor to be given a terminal: such are refused below.
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| Error::system(path.display(), error))?;
    let metadata = file.metadata().map_err(|error| Error::system(path.display(), error))?;
    // Its node is on devtmpfs, which has tmpfs's magic number and says nothing of the device.
    if metadata.file_type().is_block_device() {
        let Block { file, length, identity } = block::take(path, file, &metadata, writable)?;
        let backing = stage(shared, path, file, writable)?;
        return Region::establish(
            shared,
            Draft { backing, length, rights, identity, numa_node: None },
        );
    }
    if !metadata.is_file() {
        let message = format!(
            "{}: neither a regular file nor a block device; a device-dax node is opened with open_dax",
            path.display()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if metadata.len() == 0 {
        let message =
            format!("{}: the file has 0 bytes: extend it before it is opened", path.display());
        return Err(Error::new(ErrorKind::OutOfBounds, message));
    }
    let identity = Identity::file(metadata.dev(), metadata.ino());
    let failed = |error: nix::Error| Error::system(path.display(), error);
    let (backing, length) = if can_be_mapped(&file).map_err(failed)? {
        // What it is now: it may have shrunk before it was sealed.
        let metadata = file.metadata().map_err(|error| Error::system(path.display(), error))?;
        let length = metadata.len();
        (Backing::Mapped(map(&file, path, length, writable)?), length)
    } else {
        (stage(shared, path, file, writable)?, metadata.len())
    };
    Region::establish(shared, Draft { backing, length, rights, identity, numa_node: None })
}

fn stage(shared: &Arc<Shared>, path: &Path, file: File, writable: bool) -> Result<Backing, Error> {
    shared.start_staging()?;
    Ok(Backing::Staged(Arc::new(StagedFile::new(path, file, writable))))
}

/// Whether the file's pages are memory and nothing else, and stay for as long as they can be made to: a memfd
/// that takes seals is sealed against shrinking. Files of a mounted tmpfs or hugetlbfs take none: see
/// `Runtime::open_file`.
fn can_be_mapped(file: &File) -> nix::Result<bool> {
    let kind = fstatfs(file)?.filesystem_type();
    if kind != TMPFS_MAGIC && kind != HUGETLBFS_MAGIC {
        return Ok(false);
    }
    let Some(seals) = seals(file) else { return Ok(true) };
    if seals.contains(SealFlag::F_SEAL_SHRINK) || seals.contains(SealFlag::F_SEAL_SEAL) {
        return Ok(true);
    }
    // Sealing asks for a descriptor that can write, which this one need not be.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let sealed = OpenOptions::new().read(true).write(true).open(path).is_ok_and(|writable| {
        fcntl(&writable, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).is_ok()
    });
    Ok(sealed)
}

/// The seals of a file; `None` where the file system has none.
fn seals(file: &File) -> Option<SealFlag> {
    fcntl(file, FcntlArg::F_GET_SEALS).ok().map(SealFlag::from_bits_retain)
}

fn map(file: &File, path: &Path, length: u64, writable: bool) -> Result<memmap2::MmapRaw, Error> {
    let failed = |error| Error::system(format_args!("{}: cannot map", path.display()), error);
    let bytes = usize::try_from(length)
        .map_err(|_| failed(std::io::Error::from(std::io::ErrorKind::OutOfMemory)))?;
    let mut options = MmapOptions::new();
    options.len(bytes);
    if writable { options.map_raw(file) } else { options.map_raw_read_only(file) }.map_err(failed)
}

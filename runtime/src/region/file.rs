//! Opening files: mapped where the file system keeps the pages in memory, staged everywhere else.
//!
//! Only tmpfs, hugetlbfs and memfds are mapped, told by the file system's magic number and never by trying.
//! Every other file, on fsdax included, could be truncated or migrated under a long pin; it is read and
//! written through staging buffers, so that a truncation is an error with its offset.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use dmaring_engine::Rights;
use memmap2::MmapOptions;
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::statfs::{HUGETLBFS_MAGIC, TMPFS_MAGIC, fstatfs},
};

use super::{Backing, Draft, Identity, Region};
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
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| Error::system(path.display(), error))?;
    let metadata = file.metadata().map_err(|error| Error::system(path.display(), error))?;
    if !metadata.is_file() {
        let message = format!(
            "{}: not a regular file; a device-dax node is opened with open_dax",
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
    let length = metadata.len();
    let backing = if stays_in_memory(&file).map_err(|error| Error::system(path.display(), error))? {
        seal_against_shrinking(&file);
        Backing::Mapped(map(&file, path, length, writable)?)
    } else {
        shared.start_staging()?;
        Backing::Staged(Arc::new(StagedFile::new(path, file, writable)))
    };
    Region::establish(shared, Draft { backing, length, rights, identity, numa_node: None })
}

/// Whether the file's pages are memory and nothing else.
fn stays_in_memory(file: &File) -> nix::Result<bool> {
    let kind = fstatfs(file)?.filesystem_type();
    Ok(kind == TMPFS_MAGIC || kind == HUGETLBFS_MAGIC)
}

/// A memfd that takes seals is sealed, so that its pages stay for as long as the region. Files of a mounted
/// tmpfs or hugetlbfs take none: see `Runtime::open_file`.
fn seal_against_shrinking(file: &File) {
    // EPERM: it takes no seals, or has this one already.
    let _ = fcntl(file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK));
}

fn map(file: &File, path: &Path, length: u64, writable: bool) -> Result<memmap2::MmapRaw, Error> {
    let failed = |error| Error::system(format_args!("{}: cannot map", path.display()), error);
    let bytes = usize::try_from(length)
        .map_err(|_| failed(std::io::Error::from(std::io::ErrorKind::OutOfMemory)))?;
    let mut options = MmapOptions::new();
    options.len(bytes);
    if writable { options.map_raw(file) } else { options.map_raw_read_only(file) }.map_err(failed)
}

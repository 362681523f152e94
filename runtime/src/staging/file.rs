//! A file or a block device that is served through staging buffers.
//!
//! It has up to two descriptors of one inode: a buffered one, and a direct one (O_DIRECT) if the file system
//! takes it. A direct transfer covers whole granules; whatever is less goes through the buffered one.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::kernel;
use crate::{
    error::{Error, ErrorKind},
    region::block,
};

/// No granule is smaller: a page, so that direct and buffered transfers never share one.
pub(super) const PAGE: u64 = 4096;

#[derive(Debug)]
pub(crate) struct StagedFile {
    path: PathBuf,
    file: File,
    direct: Option<File>,
    /// Of direct transfers, in bytes: a power of two, at least a page.
    granule: u64,
    /// The file system took the descriptor, but not its transfers.
    direct_refused: AtomicBool,
}

impl StagedFile {
    /// Serves `file`, which was opened at `path`, for writing too if `writable`.
    pub(crate) fn new(path: &Path, file: File, writable: bool) -> Self {
        // Where the kernel does not say: whole pages, which every common device takes.
        let granule = kernel::direct_granule(&file).map_or(PAGE, |granule| match granule {
            0 => 0,
            some => some.max(PAGE),
        });
        let direct =
            granule.is_power_of_two().then(|| open_direct(path, &file, writable)).flatten();
        if direct.is_none() {
            tracing::debug!(path = %path.display(), "no direct transfers: the page cache is used");
        }
        Self {
            path: path.to_owned(),
            file,
            direct,
            granule: if granule.is_power_of_two() { granule } else { PAGE },
            direct_refused: AtomicBool::new(false),
        }
    }

    /// Fills `buffer` with the bytes at `offset`. Blocks.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            match self.file.read_at(rest, at) {
                Ok(0) => return Err(self.truncated(at)),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(at, error)),
            }
        }
        Ok(())
    }

    /// Writes `bytes` at `offset`, never beyond the file's end. Blocks.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let length = self.length().map_err(|error| self.failed(offset, error))?;
        if offset.saturating_add(bytes.len() as u64) > length {
            return Err(self.truncated(length.max(offset)));
        }
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(offset, error))
    }

    /// The file's length now, in bytes.
    pub(super) fn length(&self) -> io::Result<u64> {
        let metadata = self.file.metadata()?;
        if metadata.file_type().is_block_device() {
            return block::length(&self.file);
        }
        Ok(metadata.len())
    }

    /// At which multiples transfers are cut, in bytes: a power of two.
    pub(super) fn granule(&self) -> u64 {
        if self.is_direct() { self.granule } else { PAGE }
    }

    /// Whether whole granules are transferred past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some() && !self.direct_refused.load(Ordering::Relaxed)
    }

    /// Uses the page cache from now on.
    pub(super) fn refuse_direct(&self) {
        if !self.direct_refused.swap(true, Ordering::Relaxed) {
            let path = self.path.display();
            tracing::warn!(%path, "direct transfers do not work: the page cache is used");
        }
    }

    /// The descriptor for a transfer.
    pub(super) fn descriptor(&self, direct: bool) -> BorrowedFd<'_> {
        self.direct.as_ref().filter(|_| direct).unwrap_or(&self.file).as_fd()
    }

    /// Makes the kernel refuse direct transfers.
    #[cfg(test)]
    pub(super) fn set_granule(&mut self, granule: u64) {
        self.granule = granule;
    }

    fn truncated(&self, offset: u64) -> Error {
        let path = self.path.display();
        let message = format!(
            "{path}: the file ends at or before offset {offset}: it was truncated after it was opened"
        );
        Error::new(ErrorKind::Io, message)
    }

    fn failed(&self, offset: u64, error: io::Error) -> Error {
        let message = format!("{}: at offset {offset}: {error}", self.path.display());
        Error::with_source(ErrorKind::Io, message, error)
    }
}

/// A second descriptor of the same inode, for direct transfers, if there can be one.
fn open_direct(path: &Path, file: &File, writable: bool) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(writable).custom_flags(libc::O_DIRECT | libc::O_CLOEXEC);
    let again = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    // The path names another file if that was replaced meanwhile; /proc may not be mounted.
    let same = |other: &File| {
        let (Ok(one), Ok(other)) = (file.metadata(), other.metadata()) else { return false };
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    options.open(again).or_else(|_| options.open(path)).ok().filter(same)
}

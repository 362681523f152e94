//! Block devices: raw disks, partitions, and whatever else the kernel presents as one. They are read and written through
//! staging buffers, as files are.
//!
//! One that is opened for writing is claimed (`O_EXCL`): the kernel refuses that while a file system on it is mounted, or another
//! device is made of it, and refuses to mount it afterwards. So nobody writes below a file system by mistake. Source: open(2).
//!
//! A partition is a range of its disk, and known as such: sysfs names the disk and the range's first sector, in units of 512
//! bytes whatever the device's own are. Source: Linux, `Documentation/ABI/stable/sysfs-block` and `block/partitions/core.c`. What
//! devices are made of in other ways (loop devices, device-mapper) is not looked into.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

use nix::sys::stat::{major, makedev, minor};

use super::Identity;
use crate::error::{Error, ErrorKind};

/// Bytes of a sector in sysfs.
const SECTOR: u64 = 512;

/// A block device to be staged.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) file: File,
    /// In bytes.
    pub(super) length: u64,
    pub(super) identity: Identity,
}

/// Makes `file`, a block device that was opened at `path`, fit for staging.
pub(super) fn take(
    path: &Path,
    file: File,
    metadata: &Metadata,
    writable: bool,
) -> Result<Block, Error> {
    let number = metadata.rdev();
    let file = if writable { claim(path, &file, number)? } else { file };
    let length = length(&file).map_err(|error| Error::system(path.display(), error))?;
    if length == 0 {
        let message = format!("{}: the device has 0 bytes: there is no medium", path.display());
        return Err(Error::new(ErrorKind::OutOfBounds, message));
    }
    Ok(Block { file, length, identity: identity(Path::new("/sys"), number) })
}

/// The length of a block device, in bytes: where its end is. Its metadata say 0.
pub(crate) fn length(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Opens the device once more, for this process to be the only one that writes.
fn claim(path: &Path, file: &File, number: u64) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_EXCL | libc::O_CLOEXEC | libc::O_NONBLOCK);
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let claimed = match options.open(again) {
        // /proc may not be mounted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => options.open(path),
        outcome => outcome,
    };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ResourceBusy => {
            let path = path.display();
            let message = format!(
                "{path}: the device is in use, so it is not opened for writing: `lsblk {path}` shows what is mounted on it or made of it, `sudo umount {path}` unmounts it; a region of it that is open for writing claims it too"
            );
            Error::with_source(ErrorKind::Busy, message, error)
        }
        _ => Error::system(path.display(), error),
    };
    let claimed = claimed.map_err(failed)?;
    let same = claimed.metadata().map_err(failed)?;
    if same.file_type().is_block_device() && same.rdev() == number {
        return Ok(claimed);
    }
    let message = format!("{}: replaced while it was opened: open it again", path.display());
    Err(Error::new(ErrorKind::Io, message))
}

/// Which bytes a device is: itself, or a range of its disk.
fn identity(sysfs: &Path, number: u64) -> Identity {
    let directory = sysfs.join(format!("dev/block/{}:{}", major(number), minor(number)));
    partition(&directory).unwrap_or_else(|| Identity::block(number, 0))
}

fn partition(directory: &Path) -> Option<Identity> {
    let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
    read("partition")?;
    let start: u64 = read("start")?.trim().parse().ok()?;
    let disk = read("../dev")?;
    let (major, minor) = disk.trim().split_once(':')?;
    let disk = makedev(major.parse().ok()?, minor.parse().ok()?);
    Some(Identity::block(disk, start.checked_mul(SECTOR)?))
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use nix::sys::stat::makedev;

    use super::{Identity, identity};

    #[test]
    fn a_partition_is_a_range_of_its_disk() {
        let sysfs = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = sysfs.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("devices/sda/dev", "8:0\n");
        write("devices/sda/sda1/partition", "1\n");
        write("devices/sda/sda1/start", "2048\n");
        fs::create_dir_all(sysfs.path().join("dev/block")).unwrap();
        for (name, device) in [("8:0", "sda"), ("8:1", "sda/sda1")] {
            let link = sysfs.path().join("dev/block").join(name);
            symlink(Path::new("../../devices").join(device), link).unwrap();
        }
        let of = |minor| identity(sysfs.path(), makedev(8, minor));
        assert_eq!(of(0), Identity::block(makedev(8, 0), 0));
        assert_eq!(of(1), Identity::block(makedev(8, 0), 1 << 20));
        assert_eq!(of(0).distance_to(&of(1)), Some(1 << 20));
        assert_eq!(of(2), Identity::block(makedev(8, 2), 0), "sysfs says nothing of it");
        write("devices/sda/sda1/start", "many");
        assert_eq!(of(1), Identity::block(makedev(8, 1), 0));
    }
}

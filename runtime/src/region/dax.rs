//! Opening device-dax nodes: what may be mapped of them.
//!
//! A devdax mapping's offset and length must be multiples of the device's alignment (`align` in sysfs: 4 KiB,
//! 2 MiB or 1 GiB); copies inside it are byte-granular. Source: Linux, `drivers/dax/device.c`,
//! `Documentation/ABI/testing/sysfs-bus-dax`.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use dmaring_engine::Rights;
use memmap2::MmapOptions;
use nix::sys::stat::{major, minor};

use super::{Backing, Draft, Identity, Region, durability::Durable};
use crate::{
    dax::Device,
    error::{Error, ErrorKind},
    shared::Shared,
};

/// Opens `length` bytes at `offset` of a device-dax node, or all from `offset` on.
pub(crate) fn open(
    shared: &Arc<Shared>,
    path: &Path,
    offset: u64,
    length: Option<u64>,
) -> Result<Region, Error> {
    let name = path.display();
    let sysfs = Path::new("/sys");
    let metadata = fs::metadata(path).map_err(|error| match taken(sysfs, path) {
        Some(taken) => taken,
        None => Error::system(name, error),
    })?;
    let node = node(sysfs, path, &metadata)?;
    let device = Device::read(&node).map_err(|reason| {
        Error::new(ErrorKind::Unsupported, format!("{}: {reason}", path.display()))
    })?;
    let length = check(&device, path, offset, length)?;
    let file = open_node(path)?;
    let bytes = usize::try_from(length).map_err(|_| {
        Error::new(ErrorKind::LimitExceeded, format!("{length} bytes exceed the address space"))
    })?;
    let mapping =
        MmapOptions::new().offset(offset).len(bytes).map_raw(&file).map_err(|error| {
            Error::system(format_args!("{}: cannot map", path.display()), error)
        })?;
    let region = Region::establish(
        shared,
        Draft {
            backing: Backing::Mapped(mapping),
            length,
            rights: Rights::ReadWrite,
            identity: Identity::device(metadata.rdev(), offset),
            numa_node: device.numa_node,
        },
    )?;
    region.set_durable(Durable::of_domain(device.persistence_domain.as_deref()));
    Ok(region)
}

fn open_node(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| Error::system(path.display(), error))
}

/// Why a device has no node in `/dev`, where that is because the kernel has it as system memory.
fn taken(sysfs: &Path, path: &Path) -> Option<Error> {
    let device = Device::read(&sysfs.join("bus/dax/devices").join(path.file_name()?)).ok()?;
    (device.driver.as_deref() == Some("kmem")).then(|| {
        let (path, name) = (path.display(), &device.name);
        let message = format!(
            "{path}: the kernel uses this device as system memory: `daxctl reconfigure-device --mode=devdax {name}` gives it back"
        );
        Error::new(ErrorKind::Busy, message)
    })
}

/// The sysfs directory of a device-dax node; what else the path names is refused by name.
fn node(sysfs: &Path, path: &Path, metadata: &fs::Metadata) -> Result<PathBuf, Error> {
    let kind = metadata.file_type();
    let refuse = |what: &str| {
        let message = format!("{}: not a device-dax node but {what}", path.display());
        Err(Error::new(ErrorKind::Unsupported, message))
    };
    if kind.is_file() {
        return refuse("a file: use open_file (a file on an fsdax file system included)");
    }
    if kind.is_block_device() {
        return refuse(
            "a block device: a namespace in fsdax mode becomes /dev/daxX.Y with `ndctl create-namespace -f -e NAMESPACE -m devdax`, which erases it",
        );
    }
    if !kind.is_char_device() {
        return refuse("neither a device nor a file");
    }
    let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
    let device = sysfs.join(format!("dev/char/{major}:{minor}"));
    let subsystem = fs::canonicalize(device.join("subsystem")).ok();
    match subsystem.as_deref().and_then(Path::file_name) {
        Some(name) if name == "dax" => Ok(device),
        _ => refuse("another kind of character device"),
    }
}

/// The length to map; refuses what the device cannot map.
fn check(device: &Device, path: &Path, offset: u64, length: Option<u64>) -> Result<u64, Error> {
    let (size, align) = (device.size, device.align);
    let path = path.display();
    let length = length.unwrap_or(size.saturating_sub(offset));
    for (what, value) in [("offset", offset), ("length", length)] {
        if value % align != 0 {
            let fitting = value.checked_next_multiple_of(align).unwrap_or(value / align * align);
            let message = format!(
                "{path}: {what} of {value} bytes is no multiple of the device's alignment of {align} bytes: use {fitting}"
            );
            return Err(Error::new(ErrorKind::Misaligned, message));
        }
    }
    if length == 0 || offset.checked_add(length).is_none_or(|end| end > size) {
        let message = format!(
            "{path}: {length} bytes at offset {offset} are not within the device's {size} bytes"
        );
        return Err(Error::new(ErrorKind::OutOfBounds, message));
    }
    Ok(length)
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    /// A device of this size, aligned to 2 MiB, in a sysfs of its own.
    fn device(sysfs: &Path, size: u64, driver: &str) -> Device {
        let directory = sysfs.join("bus/dax/devices/dax0.0");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("size"), size.to_string()).unwrap();
        fs::write(directory.join("align"), "2097152").unwrap();
        std::os::unix::fs::symlink(driver, directory.join("driver")).unwrap();
        Device::read(&directory).unwrap()
    }

    #[test]
    fn a_device_that_is_system_memory_is_named_with_the_way_back() {
        let path = Path::new("/dev/dax0.0");
        let sysfs = tempfile::tempdir().unwrap();
        assert!(taken(sysfs.path(), path).is_none());
        device(sysfs.path(), 8 << 20, "kmem");
        let error = taken(sysfs.path(), path).unwrap();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("daxctl reconfigure-device --mode=devdax dax0.0"));
        let sysfs = tempfile::tempdir().unwrap();
        device(sysfs.path(), 8 << 20, "device_dax");
        assert!(taken(sysfs.path(), path).is_none());
    }

    #[test]
    fn lengths_and_offsets_obey_the_alignment_and_the_size() {
        let root = tempfile::tempdir().unwrap();
        let device = device(root.path(), 8 << 20, "device_dax");
        let path = Path::new("/dev/dax0.0");
        let check = |offset, length| check(&device, path, offset, length);
        assert_eq!(check(0, None).unwrap(), 8 << 20);
        assert_eq!(check(2 << 20, None).unwrap(), 6 << 20);
        assert_eq!(check(2 << 20, Some(4 << 20)).unwrap(), 4 << 20);
        let error = check(0, Some(1 << 20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misaligned);
        assert_eq!(
            error.to_string(),
            "/dev/dax0.0: length of 1048576 bytes is no multiple of the device's alignment of 2097152 bytes: use 2097152"
        );
        assert_eq!(check(4096, None).unwrap_err().kind(), ErrorKind::Misaligned);
        assert_eq!(check(0, Some(10 << 20)).unwrap_err().kind(), ErrorKind::OutOfBounds);
        assert_eq!(check(8 << 20, None).unwrap_err().kind(), ErrorKind::OutOfBounds);
        assert_eq!(
            check(u64::MAX - (2 << 20) + 1, Some(4 << 20)).unwrap_err().kind(),
            ErrorKind::OutOfBounds
        );
    }

    #[test]
    fn only_a_device_dax_node_passes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = |path: &Path| {
            let metadata = fs::metadata(path).unwrap();
            node(Path::new("/sys"), path, &metadata).unwrap_err()
        };
        let error = refused(file.path());
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("use open_file"), "{error}");
        let error = refused(Path::new("/dev/null"));
        assert!(error.to_string().contains("another kind of character device"), "{error}");
        let error = refused(Path::new("/"));
        assert!(error.to_string().contains("neither"), "{error}");
    }

    #[test]
    fn a_node_of_the_dax_subsystem_is_found_in_sysfs() {
        let sysfs = tempfile::tempdir().unwrap();
        let metadata = fs::metadata("/dev/null").unwrap();
        let device = sysfs.path().join("dev/char/1:3");
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(sysfs.path().join("bus/dax")).unwrap();
        std::os::unix::fs::symlink(sysfs.path().join("bus/dax"), device.join("subsystem")).unwrap();
        assert_eq!(node(sysfs.path(), Path::new("/dev/null"), &metadata).unwrap(), device);
    }
}

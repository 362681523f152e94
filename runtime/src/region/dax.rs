//! Opening device-dax nodes: what sysfs says of them, and what may be mapped.
//!
//! A devdax mapping's offset and length must be multiples of the device's alignment (`align` in sysfs: 4 KiB,
//! 2 MiB or 1 GiB); copies inside it are byte-granular. Source: Linux, `drivers/dax/device.c`,
//! `Documentation/ABI/testing/sysfs-bus-dax`.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use dmaring_engine::Rights;
use memmap2::MmapOptions;
use nix::sys::stat::{major, minor};

use super::{Backing, Draft, Identity, Region};
use crate::{
    error::{Error, ErrorKind},
    shared::Shared,
};

/// What sysfs says of a device-dax node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    /// In bytes.
    size: u64,
    /// In bytes.
    align: u64,
    numa_node: Option<u32>,
}

/// Opens `length` bytes at `offset` of a device-dax node, or all from `offset` on.
pub(crate) fn open(
    shared: &Arc<Shared>,
    path: &Path,
    offset: u64,
    length: Option<u64>,
) -> Result<Region, Error> {
    let name = path.display();
    let metadata = fs::metadata(path).map_err(|error| Error::system(name, error))?;
    let node = node(Path::new("/sys"), path, &metadata)?;
    let facts = read_facts(&node).map_err(|reason| {
        Error::new(ErrorKind::Unsupported, format!("{}: {reason}", path.display()))
    })?;
    let length = facts.check(path, offset, length)?;
    let file = open_node(path)?;
    let bytes = usize::try_from(length).map_err(|_| {
        Error::new(ErrorKind::LimitExceeded, format!("{length} bytes exceed the address space"))
    })?;
    let mapping =
        MmapOptions::new().offset(offset).len(bytes).map_raw(&file).map_err(|error| {
            Error::system(format_args!("{}: cannot map", path.display()), error)
        })?;
    Region::establish(
        shared,
        Draft {
            backing: Backing::Mapped(mapping),
            length,
            rights: Rights::ReadWrite,
            identity: Identity::device(metadata.rdev(), offset),
            numa_node: facts.numa_node,
        },
    )
}

fn open_node(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| Error::system(path.display(), error))
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

fn read_facts(device: &Path) -> Result<Facts, String> {
    let size = read_number(&device.join("size"))?;
    // Kernels before 5.1 have the alignment in the parent region only.
    let align = read_number(&device.join("align"))
        .or_else(|_| read_number(&device.join("../dax_region/align")))?;
    if align == 0 || !align.is_power_of_two() {
        return Err(format!("sysfs gives an alignment of {align} bytes"));
    }
    let numa_node =
        read_text(&device.join("numa_node")).ok().and_then(|text| u32::from_str(&text).ok());
    Ok(Facts { size, align, numa_node })
}

fn read_number(path: &Path) -> Result<u64, String> {
    let text = read_text(path)?;
    text.parse().map_err(|_| format!("{} holds {text:?}, not a number", path.display()))
}

fn read_text(path: &Path) -> Result<String, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

impl Facts {
    /// The length to map; refuses what the device cannot map.
    fn check(&self, path: &Path, offset: u64, length: Option<u64>) -> Result<u64, Error> {
        let Self { size, align, .. } = *self;
        let path = path.display();
        let length = length.unwrap_or(size.saturating_sub(offset));
        for (what, value) in [("offset", offset), ("length", length)] {
            if value % align != 0 {
                let fitting =
                    value.checked_next_multiple_of(align).unwrap_or(value / align * align);
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
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    fn device(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let device = tempfile::tempdir().unwrap();
        for (name, text) in entries {
            fs::write(device.path().join(name), text).unwrap();
        }
        device
    }

    #[test]
    fn facts_are_read_from_sysfs() {
        let device =
            device(&[("size", "132120576\n"), ("align", "2097152\n"), ("numa_node", "1\n")]);
        let facts = read_facts(device.path()).unwrap();
        assert_eq!(facts, Facts { size: 132_120_576, align: 2 << 20, numa_node: Some(1) });
    }

    #[test]
    fn a_node_of_minus_one_is_no_node() {
        let device = device(&[("size", "4096"), ("align", "4096"), ("numa_node", "-1\n")]);
        assert_eq!(read_facts(device.path()).unwrap().numa_node, None);
    }

    #[test]
    fn nonsense_in_sysfs_is_an_error_and_not_a_panic() {
        for align in ["0", "3", "-1", "", "99999999999999999999999"] {
            let device = device(&[("size", "4096"), ("align", align)]);
            assert!(read_facts(device.path()).is_err(), "align {align:?}");
        }
    }

    #[test]
    fn lengths_and_offsets_obey_the_alignment_and_the_size() {
        let facts = Facts { size: 8 << 20, align: 2 << 20, numa_node: None };
        let path = Path::new("/dev/dax0.0");
        let check = |offset, length| facts.check(path, offset, length);
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

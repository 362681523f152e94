//! What SRC and DST are, found out without changing anything.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use dmaring::{Region, Runtime, dax::Namespace};
use nix::sys::statfs::{HUGETLBFS_MAGIC, statfs};

use super::bar::Bars;
use crate::{
    failure::Failure,
    location::{Bar, Location},
};

/// One end of the copy, as it was found.
#[derive(Debug)]
pub(crate) struct End {
    /// `SRC a.img`: what messages call it.
    pub(crate) name: String,
    pub(crate) location: Location,
    pub(crate) kind: Kind,
    /// Open already, where its length is known no other way.
    pub(crate) region: Option<Region>,
    /// Lengths of the file are multiples of it: a huge page of the file system, else 1.
    pub(crate) granule: u64,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Memory to be allocated, of whatever length is needed.
    Memory,
    /// A device-dax node, a BAR, or a block device.
    Device { length: u64, object: Object },
    /// A regular file.
    File { length: u64, object: Object },
    /// Nothing, where there can be a file.
    Missing,
}

impl End {
    /// Looks at `location`. `role` is SRC or DST.
    pub(crate) fn inspect(
        runtime: &Runtime,
        role: &str,
        location: &Location,
        bars: &Bars,
    ) -> Result<Self, Failure> {
        let mut end = Self {
            name: format!("{role} {location}"),
            location: location.clone(),
            kind: Kind::Memory,
            region: None,
            granule: 1,
        };
        match location {
            Location::Memory => {}
            Location::Device(path) => end.inspect_device(runtime, path)?,
            Location::Path(path) => end.inspect_path(runtime, path)?,
            Location::Huge(path) => {
                end.inspect_path(runtime, path)?;
                end.granule = on_huge_pages(path).map_err(|why| end.refused(why))?;
            }
            Location::Bar(bar) => end.inspect_bar(runtime, *bar, bars)?,
        }
        Ok(end)
    }

    /// The refusal that says why. A message that begins with the path does not name it twice.
    pub(crate) fn refused(&self, why: impl fmt::Display) -> Failure {
        let why = why.to_string();
        let again = format!("{}: ", self.location);
        Failure::refused(&self.name, why.strip_prefix(&again).unwrap_or(&why))
    }

    fn inspect_path(&mut self, runtime: &Runtime, path: &Path) -> Result<(), Failure> {
        self.granule = granule(path);
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_ok() {
                    return Err(self.refused("a symbolic link that leads nowhere: name a file"));
                }
                self.kind = Kind::Missing;
                return Ok(());
            }
            Err(error) => return Err(self.refused(error)),
        };
        if metadata.is_dir() {
            return Err(self.refused("a directory: name a file in it"));
        }
        if metadata.file_type().is_block_device() && !is_persistent_memory(path) {
            // Its metadata say 0.
            let end = File::open(path).and_then(|mut device| device.seek(SeekFrom::End(0)));
            let length = end.map_err(|error| self.refused(error))?;
            self.kind = Kind::Device { length, object: Object::Block { number: metadata.rdev() } };
            return Ok(());
        }
        if !metadata.is_file() {
            return self.inspect_device(runtime, path);
        }
        let object = Object::File { device: metadata.dev(), inode: metadata.ino() };
        self.kind = Kind::File { length: metadata.len(), object };
        Ok(())
    }

    /// Opens a device-dax node, which leaves it as it is. The library says what is wrong with anything else.
    fn inspect_device(&mut self, runtime: &Runtime, path: &Path) -> Result<(), Failure> {
        let region = runtime.open_dax(path).map_err(|error| self.refused(error))?;
        let metadata = fs::metadata(path).map_err(|error| self.refused(error))?;
        let object = Object::Device { number: metadata.rdev() };
        self.kind = Kind::Device { length: region.len(), object };
        self.region = Some(region);
        Ok(())
    }

    /// Opens a BAR, which leaves it as it is.
    fn inspect_bar(&mut self, runtime: &Runtime, bar: Bar, bars: &Bars) -> Result<(), Failure> {
        let region = bars.open(runtime, bar).map_err(|error| self.refused(error))?;
        self.kind = Kind::Device { length: region.len(), object: Object::Bar(bar) };
        self.region = Some(region);
        Ok(())
    }
}

/// Whether a block device is how the kernel shows persistent memory: what is wanted of it is its device-dax node.
fn is_persistent_memory(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    let name = path.file_name().and_then(|name| name.to_str());
    let is_it = |namespace: &Namespace| namespace.block_device.as_deref() == name;
    name.is_some() && dmaring::dax::namespaces().is_ok_and(|all| all.iter().any(is_it))
}

/// The bytes of a huge page, where `path` is, or would be, a file on hugetlbfs.
///
/// # Errors
///
/// A message with the remedy, if it is on another file system.
pub(crate) fn on_huge_pages(path: &Path) -> Result<u64, &'static str> {
    match granule(path) {
        1 => Err(
            "the file is not on hugetlbfs: name a file on hugetlbfs: `sudo mount -t hugetlbfs none /mnt/huge` mounts one",
        ),
        bytes => Ok(bytes),
    }
}

/// What lengths of a file there, or to be created there, are multiples of.
fn granule(path: &Path) -> u64 {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let facts = statfs(path).or_else(|_| statfs(directory));
    facts
        .ok()
        .filter(|facts| facts.filesystem_type() == HUGETLBFS_MAGIC)
        .and_then(|facts| u64::try_from(facts.block_size()).ok())
        .filter(|bytes| bytes.is_power_of_two())
        .unwrap_or(1)
}

/// Which bytes a device or file is, whatever path leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Device { number: u64 },
    Block { number: u64 },
    Bar(Bar),
    File { device: u64, inode: u64 },
}

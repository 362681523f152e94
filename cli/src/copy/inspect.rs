//! What SRC and DST are, found out without changing anything.

use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::Path};

use dmaring::{Region, Runtime};

use crate::{failure::Failure, location::Location};

/// One end of the copy, as it was found.
#[derive(Debug)]
pub(crate) struct End {
    /// `SRC a.img`: what messages call it.
    pub(crate) name: String,
    pub(crate) location: Location,
    pub(crate) kind: Kind,
    /// Open already, where its length is known no other way.
    pub(crate) region: Option<Region>,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Memory to be allocated, of whatever length is needed.
    Memory,
    /// A device-dax node.
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
    ) -> Result<Self, Failure> {
        let mut end = Self {
            name: format!("{role} {location}"),
            location: location.clone(),
            kind: Kind::Memory,
            region: None,
        };
        match location {
            Location::Memory => {}
            Location::Device(path) => end.inspect_device(runtime, path)?,
            Location::Path(path) => end.inspect_path(runtime, path)?,
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
}

/// Which bytes a device or file is, whatever path leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Device { number: u64 },
    File { device: u64, inode: u64 },
}

//! What SRC and DST are, found out without changing anything.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

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

/// Which bytes a device or file is, whatever path leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Device { number: u64 },
    File { device: u64, inode: u64 },
}

impl End {
    /// Looks at `location`. `role` is SRC or DST.
    pub(crate) fn inspect(
        runtime: &Runtime,
        role: &str,
        location: &Location,
    ) -> Result<Self, Failure> {
        let name = format!("{role} {location}");
        let (kind, region) = match location {
            Location::Memory => (Kind::Memory, None),
            Location::Device(path) => device(runtime, role, path)?,
            Location::Path(path) => self::path(runtime, role, path)?,
        };
        Ok(Self { name, location: location.clone(), kind, region })
    }
}

fn path(runtime: &Runtime, role: &str, path: &Path) -> Result<(Kind, Option<Region>), Failure> {
    let refused = |why: &str| Err(Failure::refused(format_args!("{role} {}", path.display()), why));
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return refused("a symbolic link that leads nowhere: name a file");
            }
            return Ok((Kind::Missing, None));
        }
        Err(error) => return refused(&error.to_string()),
    };
    if metadata.is_dir() {
        return refused("a directory: name a file in it");
    }
    if !metadata.is_file() {
        return device(runtime, role, path);
    }
    let object = Object::File { device: metadata.dev(), inode: metadata.ino() };
    Ok((Kind::File { length: metadata.len(), object }, None))
}

/// Opens a device-dax node, which leaves it as it is. The library says what is wrong with anything else.
fn device(runtime: &Runtime, role: &str, path: &Path) -> Result<(Kind, Option<Region>), Failure> {
    let refused = |why: String| Failure::Refused(format!("{role} {why}"));
    let region = runtime.open_dax(path).map_err(|error| refused(error.to_string()))?;
    let metadata =
        fs::metadata(path).map_err(|error| refused(format!("{}: {error}", path.display())))?;
    let object = Object::Device { number: metadata.rdev() };
    Ok((Kind::Device { length: region.len(), object }, Some(region)))
}

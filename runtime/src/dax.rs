//! What the system knows of memory in devdax mode, and of namespaces in another mode: the facts that decide
//! whether and how [`open_dax`](crate::Runtime::open_dax) works.
//!
//! All of it is read from sysfs; nothing is opened. Sources: Linux, `Documentation/ABI/testing/sysfs-bus-dax`,
//! `Documentation/ABI/testing/sysfs-bus-nvdimm`, `drivers/dax/bus.c`, `drivers/nvdimm/region_devs.c` and
//! `namespace_devs.c`.

mod device;
mod namespace;

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

pub use device::Device;
pub use namespace::{Mode, Namespace};

use crate::error::{Error, ErrorKind};

/// Every device-dax device, by name.
///
/// # Errors
///
/// As [`devices_in`].
pub fn devices() -> Result<Vec<Device>, Error> {
    devices_in(Path::new("/sys"))
}

/// Every device-dax device that this sysfs shows, by name.
///
/// # Errors
///
/// [`Io`](ErrorKind::Io) where an entry cannot be read or holds nonsense; the message names it. No dax
/// subsystem is no error: there are no devices then. A device that goes meanwhile is not listed.
pub fn devices_in(sysfs: &Path) -> Result<Vec<Device>, Error> {
    let mut devices = Vec::new();
    for entry in entries(&sysfs.join("bus/dax/devices"))? {
        devices.extend(unless_gone(&entry, Device::read(&entry))?);
    }
    devices.sort_by(|one, other| by_numbers(&one.name).cmp(&by_numbers(&other.name)));
    Ok(devices)
}

/// Every namespace of persistent memory that has a size, by name.
///
/// # Errors
///
/// As [`namespaces_in`].
pub fn namespaces() -> Result<Vec<Namespace>, Error> {
    namespaces_in(Path::new("/sys"))
}

/// Every namespace of persistent memory that this sysfs shows and that has a size, by name.
///
/// # Errors
///
/// As [`devices_in`].
pub fn namespaces_in(sysfs: &Path) -> Result<Vec<Namespace>, Error> {
    let mut namespaces = Vec::new();
    for entry in entries(&sysfs.join("bus/nd/devices"))? {
        if name_of(&entry).starts_with("namespace") {
            let namespace = unless_gone(&entry, Namespace::read(&entry))?;
            namespaces.extend(namespace.filter(|namespace| namespace.size > 0));
        }
    }
    namespaces.sort_by(|one, other| by_numbers(&one.name).cmp(&by_numbers(&other.name)));
    Ok(namespaces)
}

/// What was read, or nothing if what it was read of is going: its attributes go first, and every entry has a size.
fn unless_gone<T>(entry: &Path, read: Result<T, String>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(_) if !entry.join("size").exists() => Ok(None),
        Err(reason) => Err(Error::new(ErrorKind::Io, reason)),
    }
}

/// What a directory of sysfs holds; nothing where it is absent.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error: io::Error| Error::system(directory.display(), error);
    match fs::read_dir(directory) {
        Ok(entries) => {
            entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect::<Result<_, _>>()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

/// What sorts `dax10.0` after `dax2.0`.
fn by_numbers(name: &str) -> (Vec<u64>, &str) {
    let numbers = name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    (numbers.collect(), name)
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

/// The last part of what a link in sysfs leads to.
fn link_name(path: &Path) -> Option<String> {
    fs::read_link(path).ok().map(|target| name_of(&target)).filter(|name| !name.is_empty())
}

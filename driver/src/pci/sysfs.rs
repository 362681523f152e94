//! What sysfs says of PCI functions.
//!
//! Everything is read when it is asked for, and nothing is remembered: functions come, go and change drivers at any
//! time. A function that goes while a list is made is not in the list.
#![forbid(unsafe_code)]

mod error;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dmaring_ioat_spec::device::Platform;

pub use self::error::SysfsError;
use super::{Address, DmaChannel, Function};

/// A sysfs tree: the system's, or one made for a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysfs {
    root: PathBuf,
}

impl Sysfs {
    /// The system's, at `/sys`.
    #[must_use]
    pub fn new() -> Self {
        Self::at("/sys")
    }

    /// A tree at `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the tree is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The function at an address, of whatever kind.
    ///
    /// # Errors
    ///
    /// See [`SysfsError`].
    pub fn function(&self, address: Address) -> Result<Function, SysfsError> {
        let directory = self.directory(address);
        if !directory.is_dir() {
            return Err(SysfsError::NoSuchFunction { address });
        }
        let (vendor, device) = ids(&directory)?;
        self.with_ids(address, vendor, device)
    }

    /// The function of these ids, with the rest of what is known of it.
    fn with_ids(&self, address: Address, vendor: u16, device: u16) -> Result<Function, SysfsError> {
        let directory = self.directory(address);
        let hexadecimal = |name| hexadecimal(&directory.join(name));
        Ok(Function {
            address,
            vendor,
            device,
            class: hexadecimal("class")?,
            revision: narrow(&directory, "revision", hexadecimal("revision")?)?,
            numa_node: numa_node(&directory.join("numa_node"))?,
            iommu_group: self.group_of(&directory)?,
            driver: link_name(&directory.join("driver"))?,
        })
    }

    /// The only driver that may bind to a function, where one is set.
    ///
    /// The kernel says it under the device's lock: while somebody unbinds a function that is in use, this waits, and cannot be
    /// killed, until that one is closed. Nothing else here does.
    ///
    /// # Errors
    ///
    /// See [`SysfsError`].
    pub fn driver_override(&self, address: Address) -> Result<Option<String>, SysfsError> {
        let name = optional(&self.directory(address).join("driver_override"))?;
        Ok(name.filter(|name| !name.is_empty() && name != "(null)"))
    }

    /// Every I/OAT function, by address. Of others nothing is read but their ids.
    ///
    /// # Errors
    ///
    /// See [`SysfsError`].
    pub fn ioat_functions(&self) -> Result<Vec<Function>, SysfsError> {
        present(&self.root.join("bus/pci/devices"), |address| {
            let (vendor, device) = ids(&self.directory(address))?;
            let is_ioat = Platform::of(vendor, device).spec().is_some();
            is_ioat.then(|| self.with_ids(address, vendor, device)).transpose()
        })
    }

    /// The functions of an IOMMU group, by address. They can be given to user space only together.
    ///
    /// # Errors
    ///
    /// See [`SysfsError`].
    pub fn group_members(&self, group: u32) -> Result<Vec<Function>, SysfsError> {
        present(&self.group_directory(group).join("devices"), |address| {
            self.function(address).map(Some)
        })
    }

    /// Whether a group was made up by vfio's no-IOMMU mode: it isolates nothing.
    #[must_use]
    pub fn is_no_iommu_group(&self, group: u32) -> bool {
        fs::read_to_string(self.group_directory(group).join("name"))
            .is_ok_and(|name| name.trim() == "vfio-noiommu")
    }

    /// Whether an IOMMU is in use.
    #[must_use]
    pub fn has_iommu(&self) -> bool {
        fs::read_dir(self.root.join("class/iommu")).is_ok_and(|mut units| units.next().is_some())
    }

    /// Whether a PCI driver of this name is loaded or built in.
    #[must_use]
    pub fn has_driver(&self, name: &str) -> bool {
        self.driver_directory(name).is_dir()
    }

    /// The channels that `ioatdma` or another kernel driver made of a function, by name.
    ///
    /// # Errors
    ///
    /// See [`SysfsError`].
    pub fn dma_channels(&self, address: Address) -> Result<Vec<DmaChannel>, SysfsError> {
        let mut channels = Vec::new();
        for (name, directory) in entries(&self.root.join("class/dma"))? {
            let device = link_name(&directory.join("device"))?;
            if device.is_some_and(|device| device.parse() == Ok(address)) {
                let path = directory.join("in_use");
                // The channel may have gone with its driver meanwhile.
                let text = match text(&path) {
                    Err(error) if error.is_gone() => continue,
                    text => text?,
                };
                let in_use = text.parse().map_err(|_| SysfsError::Malformed { path, text })?;
                channels.push(DmaChannel { name, in_use });
            }
        }
        channels.sort();
        Ok(channels)
    }

    /// The nodes of the userspace I/O framework for a function, as names under `/dev`.
    pub(super) fn uio_nodes(&self, address: Address) -> Result<Vec<String>, SysfsError> {
        let nodes = entries(&self.directory(address).join("uio"))?;
        Ok(nodes.into_iter().map(|(name, _)| name).collect())
    }

    pub(super) fn directory(&self, address: Address) -> PathBuf {
        self.root.join("bus/pci/devices").join(address.to_string())
    }

    pub(super) fn driver_directory(&self, name: &str) -> PathBuf {
        self.root.join("bus/pci/drivers").join(name)
    }

    fn group_directory(&self, group: u32) -> PathBuf {
        self.root.join("kernel/iommu_groups").join(group.to_string())
    }

    fn group_of(&self, directory: &Path) -> Result<Option<u32>, SysfsError> {
        let path = directory.join("iommu_group");
        let Some(text) = link_name(&path)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| SysfsError::Malformed { path, text })
    }
}

impl Default for Sysfs {
    fn default() -> Self {
        Self::new()
    }
}

/// What `read` makes of the functions that a directory has links to, by address, without those that are gone.
fn present(
    directory: &Path,
    read: impl Fn(Address) -> Result<Option<Function>, SysfsError>,
) -> Result<Vec<Function>, SysfsError> {
    let mut functions = Vec::new();
    // A group may have devices that are on no PCI bus.
    for address in entries(directory)?.iter().filter_map(|(name, _)| name.parse().ok()) {
        match read(address) {
            Err(error) if error.is_gone() => {}
            function => functions.extend(function?),
        }
    }
    functions.sort_by_key(|function| function.address);
    Ok(functions)
}

/// The vendor and device ids.
fn ids(directory: &Path) -> Result<(u16, u16), SysfsError> {
    let id = |name| narrow(directory, name, hexadecimal(&directory.join(name))?);
    Ok((id("vendor")?, id("device")?))
}

/// What a directory has, by names that are text; nothing where there is no such directory.
fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, SysfsError> {
    let failed = |source| SysfsError::Io { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let entries = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect())
}

/// What an attribute holds, without the end of the line.
pub(super) fn text(path: &Path) -> Result<String, SysfsError> {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|source| SysfsError::Io { path: path.to_owned(), source })
}

/// The same, of an attribute that not every kernel or function has.
pub(super) fn optional(path: &Path) -> Result<Option<String>, SysfsError> {
    match text(path) {
        Err(SysfsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some),
    }
}

/// The last part of where a link leads, which is how sysfs says what a thing belongs to.
fn link_name(path: &Path) -> Result<Option<String>, SysfsError> {
    match fs::read_link(path) {
        Ok(target) => Ok(target.file_name().map(|name| name.to_string_lossy().into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SysfsError::Io { path: path.to_owned(), source }),
    }
}

fn hexadecimal(path: &Path) -> Result<u32, SysfsError> {
    let text = text(path)?;
    text.strip_prefix("0x")
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or_else(|| SysfsError::Malformed { path: path.to_owned(), text })
}

fn narrow<T: TryFrom<u32>>(directory: &Path, name: &str, number: u32) -> Result<T, SysfsError> {
    number.try_into().map_err(|_| SysfsError::Malformed {
        path: directory.join(name),
        text: format!("{number:#x}"),
    })
}

/// The node, where the kernel knows it: it writes -1 where it does not.
fn numa_node(path: &Path) -> Result<Option<u32>, SysfsError> {
    let Some(text) = optional(path)? else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(node) if u32::try_from(node).is_ok() => Ok(u32::try_from(node).ok()),
        _ => Err(SysfsError::Malformed { path: path.to_owned(), text }),
    }
}

#[cfg(test)]
mod tests;

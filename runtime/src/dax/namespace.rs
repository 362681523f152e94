//! One namespace of persistent memory, in whatever mode.

use std::{fmt, fs, path::Path};

use super::{name_of, read_number, read_text};

/// A namespace of persistent memory as sysfs shows it. Only one in devdax mode has a device-dax device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Namespace {
    /// Its name, such as `namespace0.0`.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// What it is used as.
    pub mode: Mode,
    /// The name of its block device, such as `pmem0`, where it has one.
    pub block_device: Option<String>,
}

/// What a namespace is used as, in ndctl's words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// A device-dax device.
    Devdax,
    /// A block device whose files can be mapped without a page cache.
    Fsdax,
    /// A block device with atomic sectors.
    Sector,
    /// A block device.
    Raw,
    /// What this version has no name for, as sysfs has it.
    Other(String),
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Devdax => "devdax",
            Self::Fsdax => "fsdax",
            Self::Sector => "sector",
            Self::Raw => "raw",
            Self::Other(text) => text,
        })
    }
}

impl Namespace {
    /// Reads the namespace's directory in sysfs.
    pub(super) fn read(namespace: &Path) -> Result<Self, String> {
        let real = fs::canonicalize(namespace)
            .map_err(|error| format!("{}: {error}", namespace.display()))?;
        // Label-less and legacy ones of older kernels have no mode: they are block devices.
        let mode = read_text(&real.join("mode")).unwrap_or_else(|_| "raw".to_owned());
        // A namespace that something claims has its block device below that.
        let holder = read_text(&real.join("holder")).ok().filter(|name| !name.is_empty());
        let claimed = holder.and_then(|name| block_device(&real.join("..").join(name)));
        Ok(Self {
            name: name_of(&real),
            size: read_number(&real.join("size"))?,
            mode: match mode.as_str() {
                "dax" => Mode::Devdax,
                "memory" => Mode::Fsdax,
                "safe" => Mode::Sector,
                "raw" => Mode::Raw,
                _ => Mode::Other(mode),
            },
            block_device: claimed.or_else(|| block_device(&real)),
        })
    }
}

fn block_device(owner: &Path) -> Option<String> {
    let mut entries = fs::read_dir(owner.join("block")).ok()?;
    Some(name_of(&entries.next()?.ok()?.path()))
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use crate::dax::namespaces_in;

    fn add(root: &Path, name: &str, files: &[(&str, &str)]) {
        let directory = root.join("bus/nd/devices").join(name);
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
    }

    #[test]
    fn namespaces_are_listed_by_number_with_their_modes_and_block_devices() {
        let root = tempfile::tempdir().unwrap();
        let add = |name, files| add(root.path(), name, files);
        add("region0", &[]);
        add("namespace10.0", &[("size", "4096"), ("mode", "raw")]);
        add("namespace2.0", &[("size", "8192\n"), ("mode", "memory\n"), ("holder", "pfn2.0\n")]);
        add("namespace1.0", &[("size", "4096"), ("mode", "dax"), ("holder", "dax1.0")]);
        add("namespace3.0", &[("size", "4096"), ("mode", "safe"), ("holder", "")]);
        add("namespace4.0", &[("size", "4096"), ("mode", "new")]);
        add("namespace5.0", &[("size", "4096")]);
        // A seed: nothing is allocated to it.
        add("namespace0.0", &[("size", "0"), ("mode", "raw")]);
        for block in ["pfn2.0/block/pmem2", "namespace10.0/block/pmem10"] {
            fs::create_dir_all(root.path().join("bus/nd/devices").join(block)).unwrap();
        }
        let found = namespaces_in(root.path()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.mode.to_string(), one.block_device.as_deref()))
            .collect();
        let expected = [
            ("namespace1.0", "devdax", None),
            ("namespace2.0", "fsdax", Some("pmem2")),
            ("namespace3.0", "sector", None),
            ("namespace4.0", "new", None),
            ("namespace5.0", "raw", None),
            ("namespace10.0", "raw", Some("pmem10")),
        ];
        assert_eq!(found, expected.map(|(name, mode, block)| (name, mode.to_owned(), block)));
    }

    #[test]
    fn a_system_without_such_memory_has_no_namespaces_and_no_devices() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(namespaces_in(root.path()).unwrap(), []);
        assert_eq!(crate::dax::devices_in(root.path()).unwrap(), []);
    }

    #[test]
    fn what_goes_meanwhile_is_not_listed_and_takes_nothing_with_it() {
        let root = tempfile::tempdir().unwrap();
        let facts = [("size", "4096"), ("align", "4096"), ("mode", "raw")];
        add(root.path(), "namespace0.0", &facts);
        // Its attributes are gone already.
        add(root.path(), "namespace1.0", &[]);
        for bus in ["nd", "dax"] {
            let devices = root.path().join("bus").join(bus).join("devices");
            fs::create_dir_all(&devices).unwrap();
            for name in ["namespace2.0", "dax2.0"] {
                std::os::unix::fs::symlink("../../../gone", devices.join(name)).unwrap();
            }
        }
        let device = root.path().join("bus/dax/devices/dax0.0");
        fs::create_dir_all(&device).unwrap();
        for (name, text) in facts {
            fs::write(device.join(name), text).unwrap();
        }
        assert_eq!(namespaces_in(root.path()).unwrap().len(), 1);
        assert_eq!(crate::dax::devices_in(root.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_size_that_is_none_is_an_error_that_names_it() {
        let root = tempfile::tempdir().unwrap();
        add(root.path(), "namespace0.0", &[("size", "many"), ("mode", "raw")]);
        let error = namespaces_in(root.path()).unwrap_err().to_string();
        assert!(error.contains("namespace0.0/size") && error.contains("many"), "{error}");
    }
}

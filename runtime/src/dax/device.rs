//! One device-dax device.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{link_name, name_of, read_number, read_text};

/// A device-dax device as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Its name, such as `dax0.0`.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// What offsets and lengths of mappings are multiples of, in bytes: a power of two.
    pub align: u64,
    /// The NUMA node whose CPUs are nearest, or, where the kernel names none, the one that the memory would be if it
    /// were system memory.
    pub numa_node: Option<u32>,
    /// The kernel's driver: `device_dax` gives `/dev/daxX.Y`, `kmem` makes it system memory; `None` where no
    /// driver has it.
    pub driver: Option<String>,
    /// How far a store must come to survive a loss of power, as the NVDIMM region says: `cpu_cache` or
    /// `memory_controller`. `None` where the kernel knows nothing of it, as of CXL memory and DRAM.
    pub persistence_domain: Option<String>,
}

impl Device {
    /// Its node in `/dev`.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Reads the device's directory in sysfs.
    pub(crate) fn read(device: &Path) -> Result<Self, String> {
        let real =
            fs::canonicalize(device).map_err(|error| format!("{}: {error}", device.display()))?;
        let size = read_number(&real.join("size"))?;
        // Kernels before 5.1 have the alignment in the parent region only.
        let align = read_number(&real.join("align"))
            .or_else(|_| read_number(&real.join("../dax_region/align")))?;
        if align == 0 || !align.is_power_of_two() {
            return Err(format!("{}: sysfs gives an alignment of {align} bytes", real.display()));
        }
        Ok(Self {
            name: name_of(&real),
            size,
            align,
            // -1 is no node.
            numa_node: node(&real.join("numa_node")).or_else(|| node(&real.join("target_node"))),
            driver: link_name(&real.join("driver")),
            persistence_domain: persistence_domain(&real),
        })
    }
}

/// A node's number; -1 is no node.
fn node(path: &Path) -> Option<u32> {
    read_text(path).ok()?.parse().ok()
}

/// What the NVDIMM region above the device says; a device of another kind has none above it.
fn persistence_domain(device: &Path) -> Option<String> {
    let above = device.ancestors().map(|directory| directory.join("persistence_domain"));
    let found = above.filter_map(|path| read_text(&path).ok()).next()?;
    Some(found).filter(|text| !text.is_empty())
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(region: &[(&str, &str)], device: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("ndbus0/region0/dax0.1/dax0.0");
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in region {
            fs::write(root.path().join("ndbus0/region0").join(name), text).unwrap();
        }
        for (name, text) in device {
            fs::write(directory.join(name), text).unwrap();
        }
        (root, directory)
    }

    #[test]
    fn a_device_is_read_with_the_domain_of_its_region() {
        let (root, directory) = tree(
            &[("persistence_domain", "memory_controller\n")],
            &[("size", "132120576\n"), ("align", "2097152\n"), ("numa_node", "1\n")],
        );
        symlink("../../../../bus/dax/drivers/device_dax", directory.join("driver")).unwrap();
        let link = root.path().join("link");
        symlink(&directory, &link).unwrap();
        let device = Device::read(&link).unwrap();
        let expected = Device {
            name: "dax0.0".into(),
            size: 132_120_576,
            align: 2 << 20,
            numa_node: Some(1),
            driver: Some("device_dax".into()),
            persistence_domain: Some("memory_controller".into()),
        };
        assert_eq!(device, expected);
        assert_eq!(device.node(), Path::new("/dev/dax0.0"));
    }

    #[test]
    fn a_device_without_near_cpus_is_on_the_node_of_its_memory() {
        let (_root, directory) = tree(
            &[],
            &[("size", "4096"), ("align", "4096"), ("numa_node", "-1\n"), ("target_node", "2\n")],
        );
        assert_eq!(Device::read(&directory).unwrap().numa_node, Some(2));
    }

    #[test]
    fn what_is_not_known_is_none() {
        for region in [&[][..], &[("persistence_domain", "\n")]] {
            let facts = [("size", "4096"), ("align", "4096"), ("numa_node", "-1\n")];
            let (_root, directory) = tree(region, &facts);
            let device = Device::read(&directory).unwrap();
            assert_eq!(
                (device.numa_node, device.driver, device.persistence_domain),
                (None, None, None)
            );
        }
    }

    #[test]
    fn nonsense_in_sysfs_is_an_error_and_not_a_panic() {
        for align in ["0", "3", "-1", "", "99999999999999999999999"] {
            let (_root, directory) = tree(&[], &[("size", "4096"), ("align", align)]);
            assert!(Device::read(&directory).is_err(), "align {align:?}");
        }
        let (_root, directory) = tree(&[], &[("align", "4096")]);
        assert!(Device::read(&directory).unwrap_err().contains("size"));
    }
}

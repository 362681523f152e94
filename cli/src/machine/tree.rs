//! A machine laid out in a directory, for tests.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{Groups, Machine, Roots};

/// The function of [`Tree::ready`].
pub(crate) const FUNCTION: &str = "0000:00:04.0";

/// A machine that goes with its directory.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    /// A machine with nothing.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A machine on which every check is ok: one function in group 7, bound, on node 0, and one device there.
    pub(crate) fn ready() -> Self {
        let tree = Self::empty();
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n"),
            ("proc/cmdline", "root=/dev/sda1 intel_iommu=on\n"),
            ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu clflush clflushopt clwb\n"),
            ("proc/self/status", "Cpus_allowed_list:\t0-3\nCapEff:\t0000000000000000\n"),
            ("proc/1/fd/0", ""),
            ("proc/self/limits", "Max locked memory  unlimited  unlimited  bytes\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
            ("sys/firmware/acpi/tables/DMAR", ""),
            ("sys/class/iommu/dmar0/intel-iommu/version", "1:0\n"),
            ("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n"),
            ("sys/module/vfio_iommu_type1/initstate", "live\n"),
            ("sys/module/vfio_pci/initstate", "live\n"),
            ("sys/bus/pci/drivers/vfio-pci/bind", ""),
            ("dev/vfio/vfio", ""),
            ("dev/vfio/7", ""),
            ("dev/dax0.0", ""),
        ] {
            tree.write(path, text);
        }
        tree.function(FUNCTION, "7", Some("vfio-pci"));
        tree.device("dax0.0", "132120576", Some("device_dax"));
        tree
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine::look(&self.roots(), Groups::Opened)
    }

    pub(crate) fn roots(&self) -> Roots {
        let [sys, proc, dev] = ["sys", "proc", "dev"].map(|name| self.path(name));
        Roots { sys, proc, dev }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Takes a file, a link or a directory away.
    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    pub(crate) fn link(&self, path: &str, target: impl AsRef<Path>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    /// A function of Skylake-SP on node 0.
    pub(crate) fn function(&self, address: &str, group: &str, driver: Option<&str>) {
        let directory = format!("sys/bus/pci/devices/{address}");
        for (name, text) in [
            ("vendor", "0x8086\n"),
            ("device", "0x2021\n"),
            ("class", "0x088000\n"),
            ("revision", "0x07\n"),
            ("numa_node", "0\n"),
            ("driver_override", "(null)\n"),
        ] {
            self.write(&format!("{directory}/{name}"), text);
        }
        self.link(&format!("{directory}/iommu_group"), format!("../iommu_groups/{group}"));
        let member = format!("sys/kernel/iommu_groups/{group}/devices/{address}");
        self.link(&member, format!("../../../../bus/pci/devices/{address}"));
        if let Some(driver) = driver {
            self.link(&format!("{directory}/driver"), format!("../../drivers/{driver}"));
        }
    }

    /// A devdax device on node 0, aligned to 2 MiB.
    pub(crate) fn device(&self, name: &str, size: &str, driver: Option<&str>) {
        let directory = format!("sys/bus/dax/devices/{name}");
        for (attribute, text) in [("size", size), ("align", "2097152"), ("numa_node", "0")] {
            self.write(&format!("{directory}/{attribute}"), text);
        }
        self.write(&format!("{directory}/persistence_domain"), "memory_controller\n");
        if let Some(driver) = driver {
            self.link(&format!("{directory}/driver"), format!("../../drivers/{driver}"));
        }
    }

    pub(crate) fn namespace(&self, name: &str, mode: &str) {
        let directory = format!("sys/bus/nd/devices/{name}");
        self.write(&format!("{directory}/mode"), mode);
        self.write(&format!("{directory}/size"), "1073741824\n");
        self.write(&format!("{directory}/block/pmem0/size"), "0\n");
    }

    /// A process that has a node open.
    pub(crate) fn process(&self, pid: u32, command: &str, node: &str) {
        self.write(&format!("proc/{pid}/comm"), command);
        self.link(&format!("proc/{pid}/fd/3"), node);
    }
}

//! A sysfs tree for tests, as the kernel lays it out.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::Sysfs;

/// A tree that goes with its directory.
pub(crate) struct Tree {
    directory: tempfile::TempDir,
}

/// A function in the tree, to be furnished.
pub(crate) struct Fake<'a> {
    tree: &'a Tree,
    address: String,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn sysfs(&self) -> Sysfs {
        Sysfs::at(self.root())
    }

    /// `sys` in a directory that has room for others.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("sys")
    }

    /// A place beside the tree.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.root().join(path)).unwrap();
    }

    /// A driver with what can be written to it.
    pub(crate) fn driver(&self, name: &str) {
        for attribute in ["bind", "unbind"] {
            self.write(&format!("bus/pci/drivers/{name}/{attribute}"), "");
        }
    }

    /// The driver vfio-pci.
    pub(crate) fn vfio_pci(&self) {
        self.driver("vfio-pci");
    }

    /// A function of Intel's, of the class of I/OAT.
    pub(crate) fn function(&self, address: &str, device: u16) -> Fake<'_> {
        let fake = Fake { tree: self, address: address.to_owned() };
        for (name, text) in [
            ("vendor", "0x8086\n"),
            ("device", &format!("{device:#06x}\n")),
            ("class", "0x088000\n"),
            ("revision", "0x07\n"),
            ("numa_node", "-1\n"),
            ("driver_override", "(null)\n"),
        ] {
            fake.attribute(name, text);
        }
        self.write("bus/pci/drivers_probe", "");
        fake
    }

    fn link(&self, target: &Path, path: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }
}

impl Fake<'_> {
    pub(crate) fn attribute(&self, name: &str, text: &str) -> &Self {
        self.tree.write(&self.path(name), text);
        self
    }

    pub(crate) fn numa(&self, node: u32) -> &Self {
        self.attribute("numa_node", &format!("{node}\n"))
    }

    pub(crate) fn driver_override(&self, name: &str) -> &Self {
        self.attribute("driver_override", &format!("{name}\n"))
    }

    pub(crate) fn driver(&self, name: &str) -> &Self {
        self.tree.driver(name);
        let target = Path::new("../../../../bus/pci/drivers").join(name);
        self.tree.link(&target, &self.path("driver"));
        self
    }

    pub(crate) fn group(&self, group: u32) -> &Self {
        let target = Path::new("../../../../kernel/iommu_groups").join(group.to_string());
        self.tree.link(&target, &self.path("iommu_group"));
        let member = format!("kernel/iommu_groups/{group}/devices/{}", self.address);
        self.tree.link(&Path::new("../../../../bus/pci/devices").join(&self.address), &member);
        self
    }

    pub(crate) fn channel(&self, name: &str, in_use: u32) -> &Self {
        self.tree.write(&format!("class/dma/{name}/in_use"), &format!("{in_use}\n"));
        let device = format!("class/dma/{name}/device");
        self.tree.link(&Path::new("../../../bus/pci/devices").join(&self.address), &device);
        self
    }

    fn path(&self, name: &str) -> String {
        format!("bus/pci/devices/{}/{name}", self.address)
    }
}

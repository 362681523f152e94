//! Which of the kernel's modules a machine gets: those named here and what they need, in their place.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::packages::Packages;
use crate::failure::{Failure, Outcome};

/// The modules that the machine's init, the command and the suite load.
const MODULES: &[&str] = &[
    "libnvdimm",
    "nfit",
    "nd_btt",
    "nd_pmem",
    "dax_pmem",
    "device_dax",
    "dax_hmem",
    "kmem", // /dev/dax
    "vfio",
    "vfio_iommu_type1",
    "irqbypass",
    "vfio_virqfd",
    "vfio_pci_core",
    "vfio_pci", // user space drivers
    "dca",
    "ioatdma",
    "uio",
    "uio_pci_generic", // other drivers of a function
    "crc32c_generic",
    "loop", // a block device
];

/// The files of the modules, as paths below the kernel's directory of modules.
pub(crate) fn files(packages: &Packages) -> Outcome<BTreeSet<String>> {
    let index = packages.modules().join("modules.dep");
    let index = fs::read_to_string(&index)
        .map_err(Failure::of(format!("cannot read {}", index.display())))?;
    needed(&index, MODULES)
}

fn needed(index: &str, modules: &[&str]) -> Outcome<BTreeSet<String>> {
    let by_name: BTreeMap<String, &str> =
        index.lines().filter_map(|line| Some((name(line.split_once(':')?.0), line))).collect();
    let mut files = BTreeSet::new();
    for module in modules {
        let line = by_name
            .get(*module)
            .ok_or_else(|| Failure::new(format!("the kernel has no module {module}")))?;
        // modules.dep lists every module that is needed, not only the nearest.
        files.extend(line.split_whitespace().map(|path| path.trim_end_matches(':').to_owned()));
    }
    Ok(files)
}

/// A module's name in lists is its file's with underscores.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::needed;

    const INDEX: &str = "kernel/a/vfio-pci.ko: kernel/a/vfio-pci-core.ko kernel/b/vfio.ko\n\
                         kernel/a/vfio-pci-core.ko: kernel/b/vfio.ko\n\
                         kernel/b/vfio.ko:\nkernel/c/other.ko:\n";

    #[test]
    fn a_module_comes_with_what_it_needs() {
        let files: Vec<_> = needed(INDEX, &["vfio_pci"]).unwrap().into_iter().collect();
        assert_eq!(
            files,
            ["kernel/a/vfio-pci-core.ko", "kernel/a/vfio-pci.ko", "kernel/b/vfio.ko"]
        );
    }

    #[test]
    fn an_unknown_module_is_named() {
        let failure = needed(INDEX, &["ioatdma"]).unwrap_err().to_string();
        assert_eq!(failure, "the kernel has no module ioatdma");
    }
}

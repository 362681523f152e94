//! What the kernel limits, as far as it says so without anything being opened.

use std::{fs, path::Path};

use super::Roots;

/// Limits of the kernel and of this process. `None`: it is not known, or there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LimitFacts {
    /// Mappings that a VFIO container takes.
    pub(crate) mappings: Option<u64>,
    /// Memory that this process has locked, in bytes.
    pub(crate) locked: Option<u64>,
    /// Bits of an address that the narrowest IOMMU unit translates.
    pub(crate) iommu_bits: Option<u32>,
    /// What this process may map, in bytes.
    pub(crate) address_space: Option<u64>,
}

impl LimitFacts {
    pub(super) fn look(roots: &Roots) -> Self {
        let read = |path: &Path| fs::read_to_string(path).ok();
        let status = read(&roots.proc.join("self/status")).unwrap_or_default();
        let limits = read(&roots.proc.join("self/limits")).unwrap_or_default();
        let entries = roots.sys.join("module/vfio_iommu_type1/parameters/dma_entry_limit");
        Self {
            mappings: read(&entries).and_then(|text| text.trim().parse().ok()),
            locked: first_number(&status, "VmLck:").and_then(|kib| kib.checked_mul(1024)),
            iommu_bits: iommu_bits(&roots.sys.join("class/iommu")),
            address_space: first_number(&limits, "Max address space"),
        }
    }
}

/// The number that follows a name, on the line that begins with it.
fn first_number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fewest address bits of all VT-d units: the maximum guest address width, bits 21 to 16 of the capability register,
/// and one. Source: Intel's VT-d specification, 10.4.2; Linux shows the register as `intel-iommu/cap`.
fn iommu_bits(units: &Path) -> Option<u32> {
    let units = fs::read_dir(units).ok()?.flatten();
    let caps = units.filter_map(|unit| {
        let text = fs::read_to_string(unit.path().join("intel-iommu/cap")).ok()?;
        u64::from_str_radix(text.trim(), 16).ok()
    });
    caps.map(|cap| (cap >> 16 & 0x3f) as u32 + 1).min()
}

#[cfg(test)]
mod tests {
    use super::{LimitFacts, first_number};
    use crate::machine::tree::Tree;

    #[test]
    fn what_is_absent_or_odd_is_not_known() {
        let tree = Tree::empty();
        assert_eq!(LimitFacts::look(&tree.roots()), LimitFacts::default());
        tree.write("sys/class/iommu/dmar0/intel-iommu/cap", "odd");
        tree.write("sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "many");
        tree.write("proc/self/limits", "Max address space         unlimited   unlimited  bytes\n");
        assert_eq!(LimitFacts::look(&tree.roots()), LimitFacts::default());
        assert_eq!(first_number("A: 1\nAB: 2 kB\n", "AB:"), Some(2));
    }
}

//! The kernel, the processor and this process.

use std::{collections::BTreeSet, fs, path::Path};

use dmaring_driver::vfio::may_lock_memory;

use super::{Access, Roots};

/// The kernel, the processor and this process.
#[derive(Debug)]
pub(crate) struct Host {
    /// The kernel's release, such as `6.1.0-13-amd64`.
    pub(crate) kernel: Option<String>,
    /// The parameters it was booted with.
    pub(crate) parameters: Vec<String>,
    /// Names of IOMMU units.
    pub(crate) iommus: Vec<String>,
    /// Whether the firmware describes VT-d.
    pub(crate) describes_vtd: bool,
    /// Those of the modules asked for that are loaded or built in.
    pub(crate) modules: BTreeSet<&'static str>,
    /// The node of VFIO's containers.
    pub(crate) vfio: Access,
    /// Whether vfio takes functions without an IOMMU.
    pub(crate) no_iommu_mode: bool,
    pub(crate) locked: Option<Locked>,
    /// How many CPUs this process may use.
    pub(crate) cpus: Option<usize>,
    /// Those that are online, as a list such as `0-3`.
    pub(crate) online: Option<String>,
    /// What the processor can do.
    pub(crate) cpu_flags: BTreeSet<String>,
}

/// How much memory this process may lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// By its privileges.
    Privileged,
    /// By its limit.
    Unlimited,
    /// So many bytes.
    Bytes(u64),
}

/// The modules that VFIO consists of.
pub(crate) const MODULES: [&str; 3] = ["vfio", "vfio_iommu_type1", "vfio_pci"];

impl Host {
    pub(super) fn look(roots: &Roots) -> Self {
        let proc = |name: &str| read(&roots.proc.join(name));
        let status = proc("self/status").unwrap_or_default();
        let mode = roots.sys.join("module/vfio/parameters/enable_unsafe_noiommu_mode");
        Self {
            kernel: proc("sys/kernel/osrelease"),
            parameters: words(&proc("cmdline").unwrap_or_default()),
            iommus: names(&roots.sys.join("class/iommu")),
            describes_vtd: roots.sys.join("firmware/acpi/tables/DMAR").exists(),
            modules: MODULES.into_iter().filter(|name| has_module(roots, name)).collect(),
            vfio: Access::of(&roots.dev.join("vfio/vfio")),
            no_iommu_mode: read(&mode).is_some_and(|text| text == "Y" || text == "1"),
            locked: locked(&status, &proc("self/limits").unwrap_or_default()),
            cpus: field(&status, "Cpus_allowed_list").and_then(count),
            online: read(&roots.sys.join("devices/system/cpu/online")),
            cpu_flags: field(&proc("cpuinfo").unwrap_or_default(), "flags")
                .map(|flags| words(flags).into_iter().collect())
                .unwrap_or_default(),
        }
    }
}

fn has_module(roots: &Roots, name: &str) -> bool {
    // Loaded ones are all here, and of those built in the ones that have parameters or a version.
    let driver = roots.sys.join("bus/pci/drivers").join(name.replace('_', "-"));
    roots.sys.join("module").join(name).exists() || driver.exists()
}

fn locked(status: &str, limits: &str) -> Option<Locked> {
    if may_lock_memory(status) {
        return Some(Locked::Privileged);
    }
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(Locked::Unlimited),
        bytes => bytes.parse().ok().map(Locked::Bytes),
    }
}

/// How many numbers a list such as `0-2,5` has.
pub(crate) fn count(list: &str) -> Option<usize> {
    list.split(',').try_fold(0_usize, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// What follows a name and a colon, on the first line that has them.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.trim_start().strip_prefix(':')?;
        Some(value.trim())
    })
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Locked, count, field, locked};

    #[test]
    fn lists_of_cpus_are_counted() {
        for (list, cpus) in [("0", 1), ("0-1", 2), ("0-2,5,8-9", 6)] {
            assert_eq!(count(list), Some(cpus));
        }
        for list in ["", "x", "3-1", "0-", "0-18446744073709551615"] {
            assert_eq!(count(list), None, "{list}");
        }
    }

    #[test]
    fn locked_memory_is_limited_unless_privileged() {
        let limits = "Max locked memory         8388608              unlimited            bytes\n";
        assert_eq!(locked("CapEff:\t0000000000000000\n", limits), Some(Locked::Bytes(8 << 20)));
        assert_eq!(locked("CapEff:\t0000000000004000\n", limits), Some(Locked::Privileged));
        assert_eq!(locked("", "Max locked memory unlimited"), Some(Locked::Unlimited));
        assert_eq!(locked("CapEff: none", "Max locked memory much"), None);
        assert_eq!(locked("", ""), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        assert_eq!(field("flags2\t: a\nflags\t\t: b c\n", "flags"), Some("b c"));
        assert_eq!(field("other: 1\n", "flags"), None);
    }
}

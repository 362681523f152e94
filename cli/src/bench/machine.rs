//! What of this machine decides how cold a copy is, and what of it belongs to the figures.

use std::{fs, path::Path};

use serde::Serialize;

use crate::machine::Roots;

/// Facts about the machine; `null` what it does not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    /// The processor's name.
    pub(super) cpu: Option<String>,
    /// How many CPUs this process may use.
    pub(super) cpus: Option<usize>,
    /// The largest cache that a CPU has, shared or not.
    pub(super) last_level_cache_bytes: Option<u64>,
    /// Memory that can be had without swapping, within the limit of this process's control group.
    pub(super) available_memory_bytes: Option<u64>,
}

impl Machine {
    pub(super) fn look(roots: &Roots) -> Self {
        let proc = |name: &str| fs::read_to_string(roots.proc.join(name)).unwrap_or_default();
        let free = kibibytes(field(&proc("meminfo"), "MemAvailable"));
        let group = group_memory(&roots.sys.join("fs/cgroup"), &proc("self/cgroup"));
        Self {
            cpu: field(&proc("cpuinfo"), "model name").map(str::to_owned),
            cpus: std::thread::available_parallelism().ok().map(usize::from),
            last_level_cache_bytes: largest_cache(&roots.sys.join("devices/system/cpu")),
            available_memory_bytes: free.into_iter().chain(group).min(),
        }
    }
}

/// The largest cache of any CPU.
fn largest_cache(cpus: &Path) -> Option<u64> {
    let directories = |path: &Path, prefix: &'static str| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(move |path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
    };
    directories(cpus, "cpu")
        .flat_map(|cpu| directories(&cpu.join("cache"), "index"))
        .filter_map(|cache| fs::read_to_string(cache.join("size")).ok())
        .filter_map(|size| size.trim().strip_suffix('K')?.parse::<u64>().ok()?.checked_mul(1024))
        .max()
}

/// What the control group of this process, version 2, may still take.
fn group_memory(mount: &Path, own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(mount.join(path).join(name)).ok()?.trim().parse().ok()
    };
    Some(number("memory.max")?.saturating_sub(number("memory.current").unwrap_or(0)))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

fn kibibytes(text: Option<&str>) -> Option<u64> {
    text?.strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::Machine;
    use crate::machine::tree::Tree;

    #[test]
    fn caches_memory_and_the_processor_are_read() {
        let tree = Tree::empty();
        let caches =
            [("cpu0", "index0", "48K"), ("cpu0", "index3", "266240K"), ("cpu1", "index2", "2048K")];
        for (cpu, index, size) in caches {
            tree.write(&format!("sys/devices/system/cpu/{cpu}/cache/{index}/size"), size);
        }
        tree.write("sys/devices/system/cpu/cpufreq/policy0/size", "999999999K");
        tree.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: A processor: fast\n");
        tree.write("proc/meminfo", "MemTotal:  200 kB\nMemAvailable:   100 kB\n");
        let machine = Machine::look(&tree.roots());
        assert_eq!(machine.cpu.as_deref(), Some("A processor: fast"));
        assert_eq!(machine.last_level_cache_bytes, Some(260 << 20));
        assert_eq!(machine.available_memory_bytes, Some(100 << 10));
        assert!(machine.cpus.is_some());

        tree.write("proc/self/cgroup", "0::/a/b\n");
        tree.write("sys/fs/cgroup/a/b/memory.max", "70000\n");
        tree.write("sys/fs/cgroup/a/b/memory.current", "30000\n");
        assert_eq!(Machine::look(&tree.roots()).available_memory_bytes, Some(40_000));
        tree.write("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(Machine::look(&tree.roots()).available_memory_bytes, Some(100 << 10));
    }

    #[test]
    fn what_is_not_told_is_unknown() {
        let machine = Machine::look(&Tree::empty().roots());
        assert_eq!((machine.cpu, machine.last_level_cache_bytes), (None, None));
        assert_eq!(machine.available_memory_bytes, None);
    }
}

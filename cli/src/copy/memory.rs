//! Whether there is enough memory, asked before any is touched.
//!
//! The kernel promises memory more freely than it has it, and ends a process when it cannot keep the promise. So what
//! the copy will touch is held against what the system says it can give.

use std::fs;

use super::{inspect::Kind, memcpy, plan::Plan};
use crate::failure::Failure;

/// Refuses a copy that needs more memory than there is. Where the system does not say, nothing is refused.
pub(crate) fn check(plan: &Plan, source: Kind, destination: Kind) -> Result<(), Failure> {
    match fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(available) {
        Some(available) => compare(needed(plan, source, destination), available),
        None => Ok(()),
    }
}

fn compare(needed: u64, available: u64) -> Result<(), Failure> {
    if needed <= available {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "{needed} bytes of memory are needed and {available} are available: use a smaller --size or offset"
    )))
}

/// The regions in memory and the buffers of the comparison, in bytes.
fn needed(plan: &Plan, source: Kind, destination: Kind) -> u64 {
    let region = |kind, end| if kind == Kind::Memory { end } else { 0 };
    let buffers = memcpy::buffer_length(plan.size).saturating_mul(2);
    region(source, plan.source_end())
        .saturating_add(region(destination, plan.destination_end()))
        .saturating_add(buffers)
}

/// What can be had without swapping, and the free huge pages, which that does not count; in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let value = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let kib = |name: &str| value(name)?.checked_mul(1024);
    let huge_page = kib("Hugepagesize").unwrap_or(0);
    let huge = value("HugePages_Free").unwrap_or(0).saturating_mul(huge_page);
    Some(kib("MemAvailable")?.saturating_add(huge))
}

#[cfg(test)]
mod tests {
    use super::{
        super::plan::{Change, Plan},
        Kind, available, compare, needed,
    };

    const MEMINFO: &str =
        "MemTotal:  200 kB\nMemAvailable:  100 kB\nHugePages_Free:  3\nHugepagesize:  2048 kB\n";

    #[test]
    fn available_memory_includes_free_huge_pages() {
        assert_eq!(available(MEMINFO), Some(100 * 1024 + (6 << 20)));
        assert_eq!(available("MemAvailable: 1 kB\n"), Some(1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: many\n"), None);
    }

    #[test]
    fn regions_and_buffers_are_counted() {
        let plan = Plan {
            source_offset: 100,
            destination_offset: 1000,
            size: 10,
            block: 10,
            depth: 1,
            change: Change::None,
            durable: false,
        };
        assert_eq!(needed(&plan, Kind::Memory, Kind::Memory), 110 + 1010 + 20);
        assert_eq!(needed(&plan, Kind::Memory, Kind::Missing), 110 + 20);
        assert!(
            compare(11, 10)
                .unwrap_err()
                .to_string()
                .contains("11 bytes of memory are needed and 10")
        );
        assert_eq!(compare(10, 10), Ok(()));
    }
}

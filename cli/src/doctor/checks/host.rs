//! The kernel, the processor and this process.

use crate::{
    doctor::finding::Finding,
    machine::{Host, Locked, count},
    size,
};

/// What files outside tmpfs and hugetlbfs are copied through.
const IO_URING: (u32, u32) = (5, 1);

/// What one channel locks in memory for itself, in bytes: a page, and the ring of 1024 descriptors of 64 bytes.
const RING: u64 = 4096 + 1024 * 64;

/// What it locks besides, in bytes, where the part fills no memory by itself: the patterns that are copied instead.
const PATTERNS: u64 = 64 << 10;

/// What two regions of `dmaring copy` in memory have by default, in bytes.
const USUAL_REGIONS: u64 = 64 << 20;

pub(crate) fn kernel(host: &Host) -> Finding {
    let Some(release) = &host.kernel else {
        return Finding::warn("kernel", "its release cannot be read", "mount /proc");
    };
    match version(release) {
        Some(version) if version < IO_URING => Finding::warn(
            "kernel",
            format_args!("Linux {release} has no io_uring"),
            "files that are not on tmpfs or hugetlbfs need Linux 5.1 or later",
        ),
        _ => Finding::ok("kernel", format_args!("Linux {release}")),
    }
}

pub(crate) fn cpus(host: &Host) -> Finding {
    const CHECK: &str = "cpus";
    match host.cpus {
        Some(1) => {
            let others = host.online.as_deref().filter(|list| count(list) > Some(1));
            Finding::warn(
                CHECK,
                "this process may use 1, which the poller shares with everything else",
                match others {
                    Some(list) => format!("`taskset -cp {list} $$` allows all"),
                    None => String::from("the machine has no other"),
                },
            )
        }
        Some(cpus) => Finding::ok(CHECK, format_args!("this process may use {cpus}")),
        None => Finding::skipped(CHECK, "/proc/self/status does not say which may be used"),
    }
}

pub(crate) fn write_back(host: &Host) -> Finding {
    let found: Vec<_> = ["clwb", "clflushopt", "clflush"]
        .into_iter()
        .filter(|flag| host.cpu_flags.contains(*flag))
        .collect();
    match found.as_slice() {
        [] => Finding::skipped("write-back", "/proc/cpuinfo names no such instruction"),
        ["clflush"] => Finding::warn(
            "write-back",
            "the processor has clflush alone",
            "making copies durable is slow without clwb or clflushopt",
        ),
        _ => Finding::ok("write-back", format_args!("the processor has {}", found.join(", "))),
    }
}

/// Whether so many channels, at least one, can lock what they need, and regions in memory beside them.
///
/// Devdax is not counted: Linux marks its pages as reserved (`__init_zone_device_page`), and vfio counts none that are
/// (`vfio_pin_pages_remote`).
pub(crate) fn locked_memory(host: &Host, channels: usize) -> Finding {
    const CHECK: &str = "locked memory";
    let bytes = match host.locked {
        Some(Locked::Privileged) => return Finding::ok(CHECK, "unlimited, by CAP_IPC_LOCK"),
        Some(Locked::Unlimited) => return Finding::ok(CHECK, "unlimited, by RLIMIT_MEMLOCK"),
        None => return Finding::skipped(CHECK, "/proc/self/limits does not say"),
        Some(Locked::Bytes(bytes)) => bytes,
    };
    let limit = size::format(bytes);
    let channels = channels.max(1) as u64;
    let rings = RING.saturating_mul(channels);
    let usual = (RING + PATTERNS).saturating_mul(channels).saturating_add(USUAL_REGIONS);
    let remedy = format!(
        "`ulimit -l {}`, or `sudo prlimit --memlock=unlimited --pid $$` where that is refused",
        usual.div_ceil(1024)
    );
    if bytes < rings {
        let found =
            format!("RLIMIT_MEMLOCK is {limit}, the rings of the functions need {rings} bytes");
        return Finding::fail(CHECK, found, remedy);
    }
    if bytes < usual {
        let found = format!(
            "RLIMIT_MEMLOCK is {limit}: enough for devdax, which is not counted, and not for `dmaring copy` between \
             memory, {} beside the rings",
            size::format(USUAL_REGIONS)
        );
        return Finding::warn(CHECK, found, remedy);
    }
    Finding::ok(CHECK, format_args!("RLIMIT_MEMLOCK is {limit}"))
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

//! The machine as far as figures depend on it: cores, last cache, memory, kernel.

use std::{fmt, fs};

use serde::Serialize;

use crate::{
    command::Run,
    failure::{Failure, Outcome},
};

/// Areas are whole multiples of this, in bytes.
const STEP: u64 = 64 << 20;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    kernel: String,
    huge_pages: String,
    load: String,
    pub(crate) app_core: usize,
    pub(crate) poller_core: usize,
    last_cache: u64,
    /// How long source and destination of cold copies are each, in bytes.
    pub(crate) area: u64,
    /// Whether both together are four times as long as the last cache.
    cold: bool,
}

impl Machine {
    /// Looks. Cores that are not named are the first that this process may use.
    pub(crate) fn look(app: Option<usize>, poller: Option<usize>) -> Outcome<Self> {
        let set = rustix::thread::sched_getaffinity(None)
            .map_err(Failure::of("the allowed cores are not told"))?;
        let allowed: Vec<_> =
            (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect();
        let (app_core, poller_core) = cores(&allowed, app, poller)?;
        let last_cache = last_cache().unwrap_or(32 << 20);
        let (area, cold) = area(last_cache, available_memory());
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let model = line(&read("/proc/cpuinfo"), "model name");
        Ok(Self {
            processor: model.unwrap_or_else(|| "unknown".to_owned()),
            kernel: Run::new("uname").arg("-r").output()?.trim().to_owned(),
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled"),
            load: read("/proc/loadavg"),
            app_core,
            poller_core,
            last_cache,
            area,
            cold,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        writeln!(f, "{}, Linux {}, load {}", self.processor, self.kernel, self.load)?;
        write!(
            f,
            "submitting on core {}, polling on core {}; last cache {} MiB, working set 2 x {} MiB",
            self.app_core,
            self.poller_core,
            mib(self.last_cache),
            mib(self.area)
        )?;
        if !self.cold {
            let needed = mib(3 * wanted(self.last_cache));
            write!(
                f,
                "\nNOT COLD: the working set is less than 4 x the last cache: free {needed} MiB of memory"
            )?;
        }
        Ok(())
    }
}

fn cores(allowed: &[usize], app: Option<usize>, poller: Option<usize>) -> Outcome<(usize, usize)> {
    let free = |taken: Option<usize>| allowed.iter().copied().find(|&core| Some(core) != taken);
    let pair = (app.or_else(|| free(poller)), poller.or_else(|| free(app.or_else(|| free(None)))));
    match pair {
        (Some(app), Some(poller))
            if app != poller && allowed.contains(&app) && allowed.contains(&poller) =>
        {
            Ok((app, poller))
        }
        _ => Err(Failure::new(format!(
            "two different cores are needed; this process may use {allowed:?}: see --app-core, --poller-core and `taskset`"
        ))),
    }
}

/// The length of one area, so that two of them are cold.
fn wanted(last_cache: u64) -> u64 {
    (2 * last_cache).max(STEP).next_multiple_of(STEP)
}

/// The length of one area, and whether two of them are cold.
fn area(last_cache: u64, available: Option<u64>) -> (u64, bool) {
    let wanted = wanted(last_cache);
    // A third of what is free stays free.
    let most = available.map_or(wanted, |bytes| (bytes / 3 / STEP * STEP).max(STEP));
    (wanted.min(most), wanted <= most)
}

/// The longest cache of the first core, in bytes.
fn last_cache() -> Option<u64> {
    let caches = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let sizes = caches.filter_map(|cache| {
        let text = fs::read_to_string(cache.ok()?.path().join("size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<u64>().ok()
    });
    sizes.max().map(|kib| kib << 10)
}

fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = line(&text, "MemAvailable")?.strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// What stands after the label and a colon.
fn line(text: &str, label: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(label))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{area, cores, line};

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_working_set_is_four_times_the_last_cache_if_there_is_memory() {
        assert_eq!(area(260 * MIB, Some(20_000 * MIB)), (576 * MIB, true));
        assert_eq!(area(32 * MIB, None), (64 * MIB, true));
        assert_eq!(area(260 * MIB, Some(900 * MIB)), (256 * MIB, false));
    }

    #[test]
    fn two_cores_are_taken_and_never_one_twice() {
        assert_eq!(cores(&[2, 5, 6], None, None).unwrap(), (2, 5));
        assert_eq!(cores(&[2, 5, 6], Some(5), None).unwrap(), (5, 2));
        assert_eq!(cores(&[2, 5, 6], None, Some(2)).unwrap(), (5, 2));
        assert_eq!(cores(&[2, 5, 6], Some(6), Some(2)).unwrap(), (6, 2));
        for (app, poller) in [(Some(2), Some(2)), (Some(3), None)] {
            assert!(cores(&[2, 5], app, poller).unwrap_err().to_string().contains("[2, 5]"));
        }
        assert!(cores(&[2], None, None).is_err());
    }

    #[test]
    fn a_line_is_found_by_its_label() {
        assert_eq!(line("a : 1\nmodel name\t: X 2\n", "model name").as_deref(), Some("X 2"));
        assert_eq!(line("a : 1", "b"), None);
    }
}

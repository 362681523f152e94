//! What the process holds: descriptors, mappings, threads, memory.

use std::{collections::BTreeMap, fs, io};

/// Things that can be left behind, each under what it is called, with how often there is one of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// What descriptors lead to.
    pub(crate) descriptors: BTreeMap<String, usize>,
    /// Mappings of files and of shared memory: all that a runtime maps but the threads' stacks.
    pub(crate) mappings: BTreeMap<String, usize>,
    /// Threads by name.
    pub(crate) threads: BTreeMap<String, usize>,
}

impl Holdings {
    /// What there is now.
    pub(crate) fn now() -> io::Result<Self> {
        let mut holdings = Self::default();
        for entry in fs::read_dir("/proc/self/fd")? {
            // The descriptor that reads the directory is gone by now, and so may others be.
            let Ok(target) = fs::read_link(entry?.path()) else { continue };
            let target = target.to_string_lossy().into_owned();
            if !target.ends_with("/fd") {
                count(&mut holdings.descriptors, without_numbers(&target));
            }
        }
        for line in fs::read_to_string("/proc/self/maps")?.lines() {
            let mut fields = line.split_whitespace();
            let (rights, name) = (fields.nth(1).unwrap_or_default(), fields.nth(3));
            if rights.ends_with('s') {
                count(&mut holdings.mappings, name.unwrap_or("without a name").to_owned());
            }
        }
        for entry in fs::read_dir("/proc/self/task")? {
            if let Ok(name) = fs::read_to_string(entry?.path().join("comm")) {
                count(&mut holdings.threads, name.trim().to_owned());
            }
        }
        Ok(holdings)
    }

    /// What this has beyond `before`, in words; empty if nothing.
    pub(crate) fn beyond(&self, before: &Self) -> String {
        let kinds = [
            ("descriptor", &self.descriptors, &before.descriptors),
            ("mapping", &self.mappings, &before.mappings),
            ("thread", &self.threads, &before.threads),
        ];
        let more = kinds.into_iter().flat_map(|(kind, now, before)| {
            now.iter().filter_map(move |(name, count)| {
                let had = before.get(name).copied().unwrap_or(0);
                (*count > had).then(|| format!("{} {kind} {name}", count - had))
            })
        });
        more.collect::<Vec<_>>().join(", ")
    }

    /// How many there are of all kinds.
    pub(crate) fn total(&self) -> usize {
        [&self.descriptors, &self.mappings, &self.threads]
            .into_iter()
            .flat_map(BTreeMap::values)
            .sum()
    }
}

fn count(names: &mut BTreeMap<String, usize>, name: String) {
    *names.entry(name).or_default() += 1;
}

/// A pipe's or a deleted file's name differs each time.
fn without_numbers(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
}

/// Memory that is the process's alone or shared without a file, in KiB: what grows if something is left.
pub(crate) fn memory() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(kib("RssAnon") + kib("RssShmem"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{Holdings, memory};

    #[test]
    fn a_descriptor_that_is_left_is_named() {
        let before = Holdings::now().unwrap();
        let file = File::open("/proc/self/status").unwrap();
        let beyond = Holdings::now().unwrap().beyond(&before);
        assert!(beyond.contains("1 descriptor /proc/#"), "{beyond}");
        drop(file);
        assert!(memory().unwrap() > 100);
    }
}

//! Threads bound to one core, and whether they stayed there.
//!
//! A thread that may run on one core only is *pinned*. The kernel counts in `/proc/self/task/TID/sched` how often a
//! thread was moved to another core, and in `status` how often it was preempted. A measurement in which a pinned
//! thread was moved is void.

use std::{collections::BTreeMap, fs, io, path::Path};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;

/// The pinned threads of this process, and what the kernel has counted of each so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, Counted>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    migrations: u64,
    preemptions: u64,
}

/// What came to pass between two looks at the pinned threads of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Threads {
    /// How many there were at the second look of which the kernel counts migrations.
    pub pinned: u32,
    /// How often one was moved to another core.
    pub migrations: u64,
    /// How often one was made to wait for another thread.
    pub preemptions: u64,
}

/// Binds this thread, and those that it starts from now on, to a core.
///
/// # Errors
///
/// What the kernel says of a core that does not exist or is not allowed.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Looks at all threads of this process.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn look() -> io::Result<Counts> {
    let mut counts = Counts::default();
    for entry in fs::read_dir("/proc/self/task")? {
        let (thread, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(path.join("status")) else { continue };
        if number(&status, "Cpus_allowed_list").is_none() {
            continue;
        }
        let sched = fs::read_to_string(path.join("sched")).unwrap_or_default();
        // Of a thread that is not watched nobody can say that it stayed.
        let Some(migrations) = number(&sched, "se.nr_migrations") else { continue };
        let preemptions = number(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
        let thread = thread.to_string_lossy().into_owned();
        counts.0.insert(thread, Counted { migrations, preemptions });
    }
    Ok(counts)
}

impl Counts {
    /// What came to pass since an earlier look, thread by thread: one that has ended since takes
    /// nothing from what the others count, and is not counted itself.
    #[must_use]
    pub fn since(&self, before: &Self) -> Threads {
        let mut threads = Threads::default();
        for (thread, now) in &self.0 {
            let before = before.0.get(thread).copied().unwrap_or_default();
            threads.pinned += 1;
            threads.migrations += now.migrations.saturating_sub(before.migrations);
            threads.preemptions += now.preemptions.saturating_sub(before.preemptions);
        }
        threads
    }
}

/// Lets this thread run on every core again that it may have.
///
/// # Errors
///
/// What the kernel says.
pub fn unpin() -> io::Result<()> {
    let mut all = CpuSet::new();
    for core in 0..CpuSet::count() {
        all.set(core)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &all)?)
}

/// The cores that a thread of this process can be pinned to.
///
/// # Errors
///
/// What the kernel says.
pub fn available() -> io::Result<Vec<usize>> {
    // This thread may be pinned: another one asks.
    let asked = std::thread::spawn(|| {
        unpin()?;
        Ok::<_, io::Error>(sched_getaffinity(Pid::from_raw(0))?)
    });
    let set = asked.join().map_err(|_| io::Error::other("a thread panicked"))??;
    Ok((0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect())
}

/// How long the thread of this process with that name has run, in nanoseconds.
///
/// # Errors
///
/// `NotFound` if there is none, or the kernel does not tell.
pub fn run_time(name: &str) -> io::Result<u64> {
    for entry in fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        if is_called(&path, name) {
            let times = fs::read_to_string(path.join("schedstat"))?;
            let time = times.split(' ').next().and_then(|time| time.parse().ok());
            return time.ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no thread is called {name}")))
}

fn is_called(path: &Path, name: &str) -> bool {
    fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
}

/// The one number behind a label; a list of several cores is none.
fn number(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(label))?;
    line.split_once(':')?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Counted, Counts, available, look, number, pin};

    #[test]
    fn a_list_of_cores_is_no_core() {
        assert_eq!(number("Cpus_allowed_list:\t3\n", "Cpus_allowed_list"), Some(3));
        assert_eq!(number("Cpus_allowed_list:\t0-1\n", "Cpus_allowed_list"), None);
        assert_eq!(number("se.nr_migrations      :         12\n", "se.nr_migrations"), Some(12));
    }

    #[test]
    fn a_pinned_thread_that_is_moved_is_seen() {
        let cores = available().unwrap();
        let &[first, second, ..] = &cores[..] else { return };
        let moved = std::thread::spawn(move || {
            pin(first).unwrap();
            let before = look().unwrap();
            assert!(before.since(&before).pinned > 0);
            pin(second).unwrap();
            look().unwrap().since(&before).migrations
        });
        assert!(moved.join().unwrap() > 0);
    }

    #[test]
    fn a_thread_that_has_ended_hides_no_move_of_another() {
        let counts = |threads: &[(&str, u64)]| {
            let counted = |&(thread, migrations): &(&str, u64)| {
                (thread.to_owned(), Counted { migrations, preemptions: 0 })
            };
            Counts(threads.iter().map(counted).collect())
        };
        let threads = counts(&[("1", 3)]).since(&counts(&[("1", 2), ("2", 5)]));
        assert_eq!((threads.pinned, threads.migrations), (1, 1));
        assert_eq!(counts(&[("1", 2), ("3", 1)]).since(&counts(&[("1", 2)])).migrations, 1);
    }
}

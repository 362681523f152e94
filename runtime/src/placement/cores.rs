//! Which core a thread runs on, and which signals it takes: none.

use std::{fs, io};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// A core cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreError {
    pub(crate) core: usize,
    /// The cores this process may use.
    pub(crate) allowed: Vec<usize>,
}

/// The cores that this thread may run on; empty if the system does not say.
pub(crate) fn allowed_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect()
}

/// Refuses a core that the process may not use.
pub(crate) fn check_core(core: usize) -> Result<(), CoreError> {
    let allowed = allowed_cores();
    if allowed.contains(&core) { Ok(()) } else { Err(CoreError { core, allowed }) }
}

/// Binds this thread to a core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Binds this thread to the cores of a NUMA node, as far as the process may use them.
pub(crate) fn pin_to_node(node: u32) -> io::Result<()> {
    let path = format!("/sys/devices/system/node/node{node}/cpulist");
    let allowed = allowed_cores();
    let mut set = CpuSet::new();
    let mut any = false;
    for core in parse(&fs::read_to_string(path)?).filter(|core| allowed.contains(core)) {
        set.set(core)?;
        any = true;
    }
    if !any {
        return Err(io::Error::other(format!(
            "no core of node {node} is allowed for this process"
        )));
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// The cores of a list as sysfs has it, `0-3,6`. What is no number is passed over.
fn parse(list: &str) -> impl Iterator<Item = usize> {
    list.trim().split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let range = first.parse::<usize>().ok().zip(last.parse::<usize>().ok());
        let (first, last) = range.unwrap_or((1, 0));
        first..=last.min(CpuSet::count())
    })
}

/// Starts a thread that takes no signals: it inherits the mask, which is put back here.
pub(crate) fn without_signals<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(not(miri))]
    {
        use nix::sys::signal::{SigSet, SigmaskHow};
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let outcome = spawn();
        before.thread_set_mask()?;
        outcome
    }
    #[cfg(miri)]
    spawn()
}

/// `0-3, 6` for cores 0, 1, 2, 3 and 6.
pub(crate) fn ranges(cores: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cores;
    while let Some((&first, _)) = rest.split_first() {
        let run =
            rest.iter().zip(first..).take_while(|&(&core, expected)| core == expected).count();
        let separator = if text.is_empty() { "" } else { ", " };
        let last = first + run - 1;
        text += &match run {
            1 => format!("{separator}{first}"),
            _ => format!("{separator}{first}-{last}"),
        };
        rest = rest.get(run..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_listed_as_ranges() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[3]), "3");
        assert_eq!(ranges(&[0, 1, 2, 3, 6, 8, 9]), "0-3, 6, 8-9");
    }

    #[test]
    fn lists_of_sysfs_are_read_and_nonsense_is_nothing() {
        assert_eq!(parse("0-3,6\n").collect::<Vec<_>>(), [0, 1, 2, 3, 6]);
        assert_eq!(parse("7").collect::<Vec<_>>(), [7]);
        for text in ["", "\n", "-", "3-1", "a-b", "1-99999999999999999999"] {
            assert_eq!(parse(text).count(), 0, "{text:?}");
        }
        assert!(parse("0-18446744073709551615").count() <= CpuSet::count() + 1);
    }

    #[test]
    fn a_core_that_is_not_allowed_is_refused_with_those_that_are() {
        let error = check_core(100_000).unwrap_err();
        assert_eq!(error.core, 100_000);
        assert_eq!(error.allowed, allowed_cores());
    }
}

//! Which cores the measuring threads are bound to.
//!
//! Without `--core` they float as pollers do. With it the poller has that core for itself, and they take the others in
//! turn, so that the kernel moves neither.

use nix::{
    errno::Errno,
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The cores; none where threads float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cores(Vec<usize>);

impl Cores {
    /// Those that this process may use, without the poller's.
    pub(super) fn beside(poller: Option<usize>) -> Self {
        let allowed = sched_getaffinity(Pid::from_raw(0));
        let (Some(poller), Ok(allowed)) = (poller, allowed) else { return Self(Vec::new()) };
        let cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core) == Ok(true));
        Self(cores.filter(|core| *core != poller).collect())
    }

    /// Binds the calling thread, which is the `number`th.
    ///
    /// # Errors
    ///
    /// A message that names the core.
    pub(super) fn bind(&self, number: usize) -> Result<(), String> {
        let Some(core) = number.checked_rem(self.0.len()).and_then(|turn| self.0.get(turn)) else {
            return Ok(());
        };
        bind(*core).map_err(|error| {
            format!("a measuring thread cannot be bound to core {core}: {error}: leave out --core")
        })
    }
}

fn bind(core: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::{sched::sched_getaffinity, unistd::Pid};

    use super::Cores;

    fn allowed() -> Vec<usize> {
        let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
        (0..1024).filter(|core| set.is_set(*core) == Ok(true)).collect()
    }

    #[test]
    fn threads_float_unless_the_poller_is_bound() {
        let before = allowed();
        assert_eq!(Cores::beside(None), Cores(Vec::new()));
        Cores::beside(None).bind(5).unwrap();
        assert_eq!(allowed(), before);
    }

    #[test]
    fn threads_take_the_other_cores_in_turn() {
        let (cores, poller) = (allowed(), allowed()[0]);
        let beside = Cores::beside(Some(poller));
        assert_eq!(beside.0, cores[1..]);
        for number in 0..cores.len() {
            let beside = beside.clone();
            let bound = thread::spawn(move || {
                beside.bind(number).unwrap();
                allowed()
            });
            let expected = match cores.len() {
                1 => cores.clone(),
                count => vec![cores[1 + number % (count - 1)]],
            };
            assert_eq!(bound.join().unwrap(), expected);
        }
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let message = Cores(vec![1023]).bind(0).unwrap_err();
        assert!(message.contains("core 1023") && message.contains("leave out --core"), "{message}");
    }
}

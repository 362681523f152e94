//! Which cores pollers and measuring threads are bound to.
//!
//! A poller has a core, and the threads that submit to it take the others in turn, so that the kernel neither moves them
//! nor lets them wait for each other on one core. memcpy has no poller: its threads take that core, too, after the
//! others. Where this process may use one core only, all float.

use nix::{
    errno::Errno,
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Who is bound where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// The core of every poller.
    pub(super) poller: Option<usize>,
    /// For threads that submit.
    pub(super) beside: Cores,
    /// For threads that copy themselves.
    pub(super) every: Cores,
}

/// Cores that threads take in turn; none where they float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cores(Vec<usize>);

impl Placement {
    /// The poller on the core that was asked for, or else on the last of those that this process may use.
    pub(super) fn choose(asked: Option<usize>) -> Self {
        Self::among(allowed(), asked)
    }

    fn among(mut cores: Vec<usize>, asked: Option<usize>) -> Self {
        let last = cores.last().copied().filter(|_| cores.len() > 1);
        let Some(poller) = asked.or(last) else {
            return Self { poller: None, beside: Cores(Vec::new()), every: Cores(Vec::new()) };
        };
        let count = cores.len();
        cores.retain(|core| *core != poller);
        let beside = Cores(cores.clone());
        if cores.len() < count {
            cores.push(poller);
        }
        Self { poller: Some(poller), beside, every: Cores(cores) }
    }
}

impl Cores {
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
            format!(
                "a measuring thread cannot be bound to core {core}: {error}: use another --core"
            )
        })
    }
}

/// The cores that this process may use; empty where the system does not say.
fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    (0..CpuSet::count()).filter(|core| set.is_set(*core) == Ok(true)).collect()
}

fn bind(core: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{Cores, Placement, allowed};

    fn placed(cores: &[usize], asked: Option<usize>) -> (Option<usize>, Vec<usize>, Vec<usize>) {
        let Placement { poller, beside, every } = Placement::among(cores.to_vec(), asked);
        (poller, beside.0, every.0)
    }

    #[test]
    fn the_poller_has_a_core_for_itself_where_there_are_two() {
        assert_eq!(placed(&[0, 2, 5], None), (Some(5), vec![0, 2], vec![0, 2, 5]));
        assert_eq!(placed(&[0, 2, 5], Some(2)), (Some(2), vec![0, 5], vec![0, 5, 2]));
        assert_eq!(placed(&[3], Some(3)), (Some(3), vec![], vec![3]));
        for none in [&[3][..], &[]] {
            assert_eq!(placed(none, None), (None, vec![], vec![]));
        }
        // The runtime refuses it.
        assert_eq!(placed(&[0, 1], Some(9)), (Some(9), vec![0, 1], vec![0, 1]));
    }

    #[test]
    fn threads_take_cores_in_turn() {
        let cores = allowed();
        for number in 0..cores.len() + 1 {
            let every = Cores(cores.clone());
            let bound = thread::spawn(move || {
                every.bind(number).unwrap();
                allowed()
            });
            assert_eq!(bound.join().unwrap(), [cores[number % cores.len()]]);
        }
        Cores(Vec::new()).bind(5).unwrap();
        assert_eq!(allowed(), cores);
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let message = Cores(vec![1023]).bind(0).unwrap_err();
        assert!(message.contains("core 1023") && message.contains("another --core"), "{message}");
    }
}

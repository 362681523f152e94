//! How many cycles the CPUs spent in this process, where the kernel lets it be counted.
//!
//! The counter is opened on the main thread before any other is started, and inherited by all of them. It counts user
//! space only, which any process may ask for where `kernel.perf_event_paranoid` is 2 or less.

use std::{fs, io};

use nix::errno::Errno;
use perf_event::{
    Builder, Counter,
    events::{Event, Hardware},
};

/// A counter of all threads started after it was opened.
#[derive(Debug)]
pub(super) struct Cycles(Result<Counter, String>);

impl Cycles {
    /// Starts to count.
    pub(super) fn open() -> Self {
        Self::of(Hardware::CPU_CYCLES)
    }

    fn of(event: impl Event) -> Self {
        let counter = Builder::new(event).inherit(true).enabled(true).build();
        let mut counter = match counter {
            Ok(counter) => counter,
            Err(error) => return Self(Err(why_refused(&error))),
        };
        match total(&mut counter) {
            Some(_) => Self(Ok(counter)),
            None => Self(Err(String::from("the counter that the kernel gave does not count"))),
        }
    }

    /// The cycles so far.
    pub(super) fn read(&mut self) -> Option<u64> {
        total(self.0.as_mut().ok()?)
    }

    /// Why there are none.
    pub(super) fn why_not(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }
}

/// The count, scaled where the counter was lent to others in part of the time.
fn total(counter: &mut Counter) -> Option<u64> {
    let data = counter.read_full().ok()?;
    let (enabled, running) = (data.time_enabled()?.as_nanos(), data.time_running()?.as_nanos());
    let scaled = u128::from(data.count()).checked_mul(enabled)?.checked_div(running)?;
    u64::try_from(scaled).ok()
}

fn why_refused(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP | Errno::ENXIO) => {
            format!(
                "this machine shows the kernel no cycle counter, as many virtual machines do ({error})"
            )
        }
        Some(Errno::EACCES | Errno::EPERM) => {
            let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
            let level =
                level.map_or_else(|_| String::from("unknown"), |text| text.trim().to_owned());
            format!(
                "the kernel refuses the counter ({error}), kernel.perf_event_paranoid is {level}: \
                 `sudo sysctl kernel.perf_event_paranoid=2`"
            )
        }
        Some(Errno::ENOSYS) => {
            format!("the kernel was built without performance counters ({error})")
        }
        _ => format!("the kernel refuses the counter: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, io, thread};

    use nix::errno::Errno;
    use perf_event::events::Software;

    use super::{Cycles, why_refused};

    /// A software event stands for the cycles: machines without a counter of these have it.
    #[test]
    fn threads_started_later_are_counted_where_the_kernel_counts_at_all() {
        let mut clock = Cycles::of(Software::TASK_CLOCK);
        let Some(before) = clock.read() else {
            assert!(clock.why_not().is_some());
            return;
        };
        let work = || (0..10_000_000_u64).fold(0, |sum, number| black_box(sum ^ number));
        thread::spawn(work).join().unwrap();
        let spent = clock.read().unwrap() - before;
        // Nanoseconds; no machine does all this in one millisecond.
        assert!(spent > 1_000_000, "{spent}");
    }

    #[test]
    fn refusals_say_why_and_what_helps() {
        let why = |errno: Errno| why_refused(&io::Error::from(errno));
        assert!(why(Errno::ENOENT).contains("no cycle counter"));
        let refused = why(Errno::EACCES);
        assert!(refused.contains("`sudo sysctl kernel.perf_event_paranoid=2`"), "{refused}");
        assert!(why(Errno::ENOSYS).contains("without performance counters"));
        assert!(why(Errno::EMFILE).contains("refuses"));
    }

    #[test]
    fn there_are_cycles_or_a_reason() {
        let mut cycles = Cycles::open();
        assert_eq!(cycles.read().is_some(), cycles.why_not().is_none());
    }
}

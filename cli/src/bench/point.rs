//! One point: so many threads that copy for a time, and what they measured together.

use std::{num::NonZero, thread, time::Duration};

use hdrhistogram::Histogram;

use super::{
    cycles::Cycles,
    pinning::{Cores, Placement},
    stopwatch::{Measured, histogram},
};

/// What every point is measured with.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) cycles: Cycles,
    pub(super) placement: Placement,
}

/// What one thread did.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) measured: Measured,
    /// Every copy that it began, those in the warm-up and those left at the end, too. All have ended.
    pub(super) copies: u64,
}

/// What all threads of a point did.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) operations: u64,
    /// The sum of the threads' rates: they run at the same time, but none waits for another.
    pub(super) operations_per_second: f64,
    /// The longest time that a thread measured.
    pub(super) time: Duration,
    pub(super) latencies: Histogram<u64>,
    /// What each thread began.
    pub(super) copies: Vec<u64>,
    /// Cycles for each copy.
    pub(super) cycles_per_operation: Option<f64>,
}

/// Runs every worker on a thread of its own, bound to one of the cores.
///
/// # Errors
///
/// What the first of them that failed says.
pub(super) fn run<W>(workers: Vec<W>, cores: &Cores, cycles: &mut Cycles) -> Result<Totals, String>
where
    W: FnOnce() -> Result<Done, String> + Send,
{
    let before = cycles.read();
    let done = thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .enumerate()
            .map(|(number, worker)| {
                let builder = thread::Builder::new().name(String::from("dmaring-bench"));
                builder.spawn_scoped(scope, move || {
                    cores.bind(number)?;
                    worker()
                })
            })
            .collect();
        let join = |thread: std::io::Result<thread::ScopedJoinHandle<'_, _>>| match thread {
            Ok(thread) => {
                thread.join().unwrap_or_else(|_| Err(String::from("a measuring thread panicked")))
            }
            Err(error) => Err(format!("a thread cannot be started: {error}: use fewer --threads")),
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>, String>>()
    })?;
    let spent = before.zip(cycles.read()).map(|(before, after)| after.saturating_sub(before));
    Ok(sum(done, spent))
}

fn sum(done: Vec<Done>, cycles: Option<u64>) -> Totals {
    let mut totals = Totals {
        operations: 0,
        operations_per_second: 0.0,
        time: Duration::ZERO,
        latencies: histogram(),
        copies: Vec::with_capacity(done.len()),
        cycles_per_operation: None,
    };
    for Done { measured, copies } in done {
        let time = measured.time.max(Duration::from_nanos(1));
        totals.operations += measured.operations;
        totals.operations_per_second += measured.operations as f64 / time.as_secs_f64();
        totals.time = totals.time.max(measured.time);
        // Both have the same bounds.
        let _ = totals.latencies.add(&measured.latencies);
        totals.copies.push(copies);
    }
    let copies = totals.copies.iter().sum::<u64>().max(1);
    // A counter that stood still counts nothing.
    let cycles = cycles.and_then(NonZero::new);
    totals.cycles_per_operation = cycles.map(|cycles| cycles.get() as f64 / copies as f64);
    totals
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cycles, Done, Measured, Placement, histogram, run, sum};

    fn done(operations: u64, millis: u64, latency: u64) -> Done {
        let mut latencies = histogram();
        latencies.record(latency).unwrap();
        let time = Duration::from_millis(millis);
        Done { measured: Measured { operations, time, latencies }, copies: operations + 10 }
    }

    #[test]
    fn rates_are_summed_and_latencies_merged() {
        let totals = sum(vec![done(1000, 500, 100), done(1000, 250, 900)], Some(404_000));
        assert_eq!(totals.operations, 2000);
        assert!((totals.operations_per_second - 6000.0).abs() < 1e-6);
        assert_eq!(totals.time, Duration::from_millis(500));
        assert_eq!((totals.latencies.min(), totals.latencies.len()), (100, 2));
        assert_eq!(totals.copies, [1010, 1010]);
        assert_eq!(totals.cycles_per_operation, Some(200.0));
    }

    #[test]
    fn cycles_that_were_not_counted_are_none() {
        for cycles in [None, Some(0)] {
            assert_eq!(sum(vec![done(1, 1, 1)], cycles).cycles_per_operation, None);
        }
    }

    #[test]
    fn the_first_failure_is_told_and_a_panic_is_one() {
        let (cores, mut cycles) = (Placement::choose(None).every, Cycles::open());
        let mut error = |worker: fn() -> Result<Done, String>| {
            run(vec![|| Ok(done(1, 1, 1)), worker], &cores, &mut cycles).unwrap_err()
        };
        assert_eq!(error(|| Err(String::from("no"))), "no");
        assert_eq!(
            error(|| std::panic::resume_unwind(Box::new(()))),
            "a measuring thread panicked"
        );
    }
}

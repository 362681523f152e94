//! What the programs print, one line of JSON for each work, and what is kept of it.

use serde::{Deserialize, Serialize};

use super::targets::{AHEAD, LOOPS};
use crate::failure::{Failure, Outcome};

/// One work of one side, measured once.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Record {
    pub(crate) side: String,
    pub(crate) work: String,
    pub(crate) unit: Unit,
    /// Values, and how often each was seen.
    pub(crate) samples: Vec<(u64, u64)>,
    /// Whether every byte was found where it belongs.
    pub(crate) verified: bool,
    pub(crate) threads: Threads,
    /// How long a loop took on the app's core and on the other one, before it: longer where they are shared with other hyperthreads.
    pub(crate) loop_ns: [u64; 2],
}

/// What the kernel counted of pinned threads.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Threads {
    pub(crate) pinned: u32,
    pub(crate) migrations: u64,
    pub(crate) preemptions: u64,
}

/// What samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Ns,
    PerS,
    BytesPerS,
    NsPerS,
}

/// A record and when it was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kept {
    pub(crate) round: u32,
    /// Not counted: a pinned thread was moved, or not pinned.
    pub(crate) void: bool,
    #[serde(flatten)]
    pub(crate) record: Record,
}

/// Sides whose work is done by one thread, as is that of the bare [`LOOPS`] and those that read [`AHEAD`]; the others have one that submits and one that works.
const ALONE: &[&str] = &["io_uring", "memcpy", "reads", "stores"];

/// Reads a program's output.
pub(crate) fn read(output: &str) -> Outcome<Vec<Record>> {
    let lines = output.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let record: Record = serde_json::from_str(line)
                .map_err(Failure::of(format!("a program printed no record but `{line}`")))?;
            if record.samples.iter().all(|&(_, count)| count == 0) {
                let message = format!("{} printed no samples of {}", record.side, record.work);
                return Err(Failure::new(message));
            }
            if !record.verified {
                let message = format!("{} copied wrong bytes: {}", record.side, record.work);
                return Err(Failure::new(message));
            }
            Ok(record)
        })
        .collect()
}

/// Of these records, those whose cores nobody shared: just before, a loop took no longer on either than a fifth more than it ever did.
/// The two programs have each their own loop.
pub(crate) fn on_free_cores(kept: &[Kept]) -> impl Iterator<Item = &Kept> {
    let is_dpdk = |kept: &Kept| kept.record.side == "dpdk";
    let least = |dpdk| {
        let records = kept.iter().filter(move |kept| is_dpdk(kept) == dpdk);
        records.flat_map(|kept| kept.record.loop_ns).min().unwrap_or(0)
    };
    let (ours, others) = (least(false), least(true));
    kept.iter().filter(move |kept| {
        let least = if is_dpdk(kept) { others } else { ours };
        kept.record.loop_ns.iter().all(|&took| took <= least.saturating_add(least / 5))
    })
}

/// What else went on: how often pinned threads had to wait for others, and how many records are void. Threads that may share a core
/// wait for each other: theirs are told apart.
pub(crate) fn disturbances(kept: &[Kept]) -> String {
    let shares = |kept: &&Kept| kept.record.work.starts_with("threads-");
    let preemptions = |kept: &Kept| kept.record.threads.preemptions;
    let among: u64 = kept.iter().filter(shares).map(preemptions).sum();
    let others: u64 = kept.iter().map(preemptions).sum::<u64>() - among;
    let void = kept.iter().filter(|kept| kept.void).count();
    let (records, free) = (kept.len(), on_free_cores(kept).count());
    format!(
        "{records} records, {void} of them void, {free} of them of cores that nobody shared just before; pinned threads were preempted {others} times (on a quiet machine a few for each record), and {among} times where submitting threads share a core"
    )
}

impl Record {
    /// Why it does not count, if it does not.
    pub(crate) fn void(&self) -> Option<String> {
        let Threads { pinned, migrations, .. } = self.threads;
        let is_alone =
            [ALONE, LOOPS, AHEAD].iter().any(|sides| sides.contains(&self.side.as_str()));
        let needed = if is_alone { 1 } else { 2 };
        let who = format!("{}, {}", self.side, self.work);
        if pinned < needed {
            return Some(format!(
                "{who}: {pinned} pinned threads of {needed} whose migrations /proc/self/task/TID/sched tells"
            ));
        }
        (migrations > 0).then(|| format!("{who}: a pinned thread was moved to another core"))
    }

    /// Its median.
    pub(crate) fn median(&self) -> f64 {
        let mut samples = self.samples.clone();
        samples.sort_unstable();
        let count: u64 = samples.iter().map(|(_, count)| count).sum();
        let at = |position: u64| {
            let mut before = 0;
            let found = samples.iter().find(|(_, count)| {
                before += count;
                before > position
            });
            found.map_or(0, |&(value, _)| value) as f64
        };
        f64::midpoint(at(count.saturating_sub(1) / 2), at(count / 2))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Kept, Record, Threads, Unit, disturbances, on_free_cores, read};

    /// A record of one sample, seen once.
    pub(crate) fn kept(side: &str, work: &str, unit: Unit, value: u64) -> Kept {
        let threads = Threads { pinned: 2, migrations: 0, preemptions: 0 };
        let (side, work) = (side.to_owned(), work.to_owned());
        let record = Record {
            side,
            work,
            unit,
            samples: vec![(value, 1)],
            verified: true,
            threads,
            loop_ns: [10; 2],
        };
        Kept { round: 0, void: false, record }
    }

    fn median(samples: &[(u64, u64)]) -> f64 {
        let record = kept("a", "b", Unit::Ns, 0).record;
        Record { samples: samples.to_vec(), ..record }.median()
    }

    #[test]
    fn a_median_counts_how_often_each_value_was_seen() {
        assert_eq!(median(&[(7, 1)]), 7.0);
        assert_eq!(median(&[(9, 1), (1, 1)]), 5.0);
        assert_eq!(median(&[(1, 10), (100, 9)]), 1.0);
        assert_eq!(median(&[(100, 10), (1, 10)]), 50.5);
    }

    #[test]
    fn a_round_with_a_thread_that_was_moved_or_not_pinned_is_void() {
        let mut record = kept("dpdk", "copy64-1", Unit::Ns, 1).record;
        assert_eq!(record.void(), None);
        record.threads.migrations = 1;
        assert!(record.void().unwrap().contains("moved"));
        record.threads = Threads { pinned: 1, migrations: 0, preemptions: 5 };
        assert!(record.void().unwrap().contains("1 pinned threads of 2"));
        record.side = "memcpy".to_owned();
        assert_eq!(record.void(), None);
    }

    #[test]
    fn wrong_bytes_no_samples_and_other_text_are_failures() {
        let good = serde_json::to_string(&kept("dpdk", "copy64-1", Unit::Ns, 1).record).unwrap();
        assert_eq!(read(&format!("{good}\n\n{good}\n")).unwrap().len(), 2);
        for (from, to, expected) in [
            ("\"verified\":true", "\"verified\":false", "wrong bytes"),
            ("[[1,1]]", "[]", "no samples"),
            ("\"ns\"", "\"miles\"", "no record"),
        ] {
            let failure = read(&good.replace(from, to)).unwrap_err().to_string();
            assert!(failure.contains(expected), "{failure}");
        }
    }

    #[test]
    fn a_core_is_free_where_the_loop_took_no_longer_than_it_can() {
        let took = |side, loop_ns| {
            let mut kept = kept(side, "copy64-1", Unit::Ns, 1);
            kept.record.loop_ns = loop_ns;
            kept
        };
        let records = [
            took("dmaring", [100, 120]),
            took("io_uring", [121, 100]),
            took("memcpy", [100, 200]),
            took("dpdk", [50, 60]),
            took("dpdk", [61, 50]),
        ];
        let free: Vec<_> = on_free_cores(&records).map(|kept| kept.record.loop_ns).collect();
        assert_eq!(free, [[100, 120], [50, 60]]);
        assert!(
            disturbances(&records).starts_with("5 records, 0 of them void, 2 of them of cores")
        );
    }

    #[test]
    fn threads_that_wait_for_each_other_are_no_disturbance() {
        let preempted = |work, preemptions| {
            let mut kept = kept("dmaring", work, Unit::PerS, 1);
            kept.record.threads.preemptions = preemptions;
            kept
        };
        let told = disturbances(&[preempted("copy64-1", 3), preempted("threads-8", 70)]);
        assert!(told.contains("preempted 3 times") && told.contains("and 70 times"), "{told}");
    }
}

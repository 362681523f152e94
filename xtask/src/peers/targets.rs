//! What is compared with what, and what the ratio is to be.

/// What a ratio, or a figure, is to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// No target beyond being told, and no collapse: at most this.
    Stated(f64),
    /// No target.
    Told,
}

/// What our figure is divided by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Against {
    /// The same unit: ours / the peer's.
    Peer(&'static str, &'static str),
    /// As above, the best of these sides.
    BestOf(&'static [&'static str], &'static str),
    /// Two rates, as costs: the peer's / ours.
    Cost(&'static str, &'static str),
    /// A number of our unit, which it is not to pass.
    Number(f64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub(super) what: &'static str,
    /// Whose figure it is: ours, or of a bound of ours.
    pub(super) side: &'static str,
    pub(super) work: &'static str,
    pub(super) against: Against,
    pub(super) bound: Bound,
}

/// Of these the best counts as the best bare loop.
pub(super) const LOOPS: &[&str] =
    &["rep_movsb", "avx2_nt", "avx2_nt_straight", "avx512_nt", "avx512_nt_straight"];

/// The fastest of these shows what a loop that knows which block comes next can do.
pub(super) const AHEAD: &[&str] = &[
    "ahead_t0_8k",
    "ahead_t0_20k",
    "ahead_t0_32k",
    "ahead_t0_20k_narrow",
    "ahead_t1_8k",
    "ahead_t1_20k",
    "ahead_t1_32k",
    "ahead_nta_8k",
    "ahead_nta_20k",
    "ahead_nta_32k",
    "ahead_nta_20k_narrow",
    "ahead_t0_512_narrow",
    "ahead_nta_512_narrow",
    "next_2k_narrow",
    "next_4k_narrow",
];

const fn compare(
    what: &'static str,
    work: &'static str,
    against: Against,
    bound: Bound,
) -> Comparison {
    Comparison { what, side: "dmaring", work, against, bound }
}

impl Comparison {
    const fn of(self, side: &'static str) -> Self {
        Self { side, ..self }
    }
}

use Against::{BestOf, Cost, Number, Peer};
use Bound::{AtLeast, AtMost, Stated, Told};

const SPIN: &str = "await of one 64-byte copy, spinning executor, p50";
const SPIN_FENCED: &str = "the same, where DPDK's program looks with `lfence`, as this one does";
const TOKIO: &str = "the same under tokio's current-thread runtime, p50";
const FUTURES: &str = "64-byte copies as futures, 32 in flight";
const BATCHED: &str = "the same in batches, 2 of 16 in flight";
const BATCHED_32: &str = "the same in batches, 1 of 32 in flight";
const COLD_4K: &str = "cold copies, 4 KiB, 32 in flight";
const COLD_64K: &str = "cold copies, 64 KiB, 8 in flight";
const COLD_256K: &str = "cold copies, 256 KiB, 8 in flight";
const COLD_1M: &str = "cold copies, 1 MiB, 8 in flight";

const BARE: &str = "the rings that make the same copies, for nobody";
const KNOWING: &str = "the same, held against loops that know the next block";
const READS: &str = "reads alone";
const STORES: &str = "streaming stores alone";

/// Every comparison, in the order of the table.
pub(super) const COMPARISONS: &[Comparison] = &[
    compare(SPIN, "copy64-1", Peer("dpdk", "copy64-1"), AtMost(0.9)),
    compare(SPIN_FENCED, "copy64-1", Peer("dpdk", "copy64-1-lfence"), Told),
    compare(SPIN, "copy64-1", Peer("rings", "copy64-1"), Told),
    compare(SPIN, "copy64-1", Peer("rings_and_locks", "copy64-1"), Told),
    compare(TOKIO, "copy64-1-tokio", Peer("spawn_blocking", "copy64-1-tokio"), AtMost(0.5)),
    compare(TOKIO, "copy64-1-tokio", Peer("mpsc_oneshot", "copy64-1-tokio"), AtMost(0.5)),
    compare(FUTURES, "copy64-32", Peer("dpdk", "copy64-32"), AtLeast(2.5)),
    compare(FUTURES, "copy64-32", Peer("io_uring", "nop-32"), AtLeast(0.8)),
    compare(FUTURES, "copy64-32", Peer("mpsc_oneshot", "copy64-32"), Told),
    compare(FUTURES, "copy64-32", Peer("rings", "copy64-32"), Told),
    compare(FUTURES, "copy64-32", Peer("rings_and_three_locks", "copy64-32"), Told),
    compare(FUTURES, "copy64-32", Peer("rings_and_locks", "copy64-32"), Told),
    compare(BATCHED, "copy64-32-batch", Peer("dpdk", "copy64-32"), AtLeast(4.0)),
    compare(BATCHED, "copy64-32-batch", Peer("io_uring", "nop-32"), AtLeast(1.5)),
    compare(BATCHED, "copy64-32-batch", Peer("rings", "copy64-32-batch"), Told),
    compare(BATCHED, "copy64-32-batch", Peer("rings_and_locks", "copy64-32-batch"), Told),
    compare(BATCHED, "copy64-32-batch", Peer("rings_and_copies", "copy64-32-batch"), Told),
    compare(BARE, "copy64-32-batch", Peer("dpdk", "copy64-32"), Told).of("rings_and_copies"),
    compare(BATCHED_32, "copy64-32-batch-of-32", Peer("dpdk", "copy64-32"), Told),
    compare(BATCHED_32, "copy64-32-batch-of-32", Peer("io_uring", "nop-32"), Told),
    compare(COLD_64K, "cold-65536-8", BestOf(LOOPS, "cold-65536-8"), AtLeast(0.95)),
    compare(COLD_64K, "cold-65536-8", Peer("memcpy", "cold-65536-8"), AtLeast(1.4)),
    compare(COLD_64K, "cold-65536-8", Peer("dpdk", "cold-65536-8"), AtLeast(1.4)),
    compare(KNOWING, "cold-65536-8", BestOf(AHEAD, "cold-65536-8"), Told),
    compare(READS, "cold-65536-8", Peer("memcpy", "cold-65536-8"), Told).of("reads"),
    compare(STORES, "cold-65536-8", Peer("memcpy", "cold-65536-8"), Told).of("stores"),
    compare(COLD_256K, "cold-262144-8", BestOf(LOOPS, "cold-262144-8"), AtLeast(0.95)),
    compare(COLD_256K, "cold-262144-8", Peer("memcpy", "cold-262144-8"), AtLeast(1.4)),
    compare(COLD_256K, "cold-262144-8", Peer("dpdk", "cold-262144-8"), AtLeast(1.4)),
    compare(KNOWING, "cold-262144-8", BestOf(AHEAD, "cold-262144-8"), Told),
    compare(READS, "cold-262144-8", Peer("memcpy", "cold-262144-8"), Told).of("reads"),
    compare(STORES, "cold-262144-8", Peer("memcpy", "cold-262144-8"), Told).of("stores"),
    compare(COLD_1M, "cold-1048576-8", BestOf(LOOPS, "cold-1048576-8"), AtLeast(0.95)),
    compare(COLD_1M, "cold-1048576-8", Peer("memcpy", "cold-1048576-8"), AtLeast(1.4)),
    compare(COLD_1M, "cold-1048576-8", Peer("dpdk", "cold-1048576-8"), AtLeast(1.4)),
    compare(KNOWING, "cold-1048576-8", BestOf(AHEAD, "cold-1048576-8"), Told),
    compare(READS, "cold-1048576-8", Peer("memcpy", "cold-1048576-8"), Told).of("reads"),
    compare(STORES, "cold-1048576-8", Peer("memcpy", "cold-1048576-8"), Told).of("stores"),
    compare(COLD_4K, "cold-4096-32", Peer("dpdk", "cold-4096-32"), AtLeast(1.3)),
    compare(
        "cost of a copy with 10,000 regions, one pair used",
        "regions-10000",
        Cost("dmaring", "regions-1"),
        AtMost(1.2),
    ),
    compare(
        "cost of a copy, 10,000 regions used in random order",
        "regions-10000-scattered",
        Cost("dmaring", "regions-1-scattered"),
        AtMost(1.2),
    ),
    compare(
        "the same of the rings and the handles alone",
        "regions-10000-scattered",
        Cost("rings_and_handles", "regions-1-scattered"),
        Told,
    )
    .of("rings_and_handles"),
    compare(
        "cost of a copy with 8 submitting threads",
        "threads-8",
        Cost("dmaring", "threads-1"),
        Stated(4.0),
    ),
    compare("idle poller, of a core", "idle-poller", Number(1e7), AtMost(1.0)),
    compare(
        "first copy after 100 ms without work, p50",
        "idle-first-copy",
        Number(60e3),
        AtMost(1.0),
    ),
    compare(
        "the same against a bare wake-up of a thread on the poller's core",
        "idle-first-copy",
        Peer("futex", "idle-wake"),
        Told,
    ),
    compare(
        "idle poller, of a core, where it may not halt",
        "idle-poller-awake",
        Number(1e7),
        AtMost(1.0),
    ),
    compare(
        "first copy after 100 ms without work there, p50",
        "idle-first-copy-awake",
        Number(60e3),
        AtMost(1.0),
    ),
    compare(
        "the same against a bare wake-up of a thread on the poller's core",
        "idle-first-copy-awake",
        Peer("futex", "idle-wake-awake"),
        Told,
    ),
];

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{AHEAD, LOOPS};

    /// The sources of the program that measures, which prints these names.
    fn source(path: &str) -> String {
        let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches");
        fs::read_to_string(benches.join(path)).unwrap()
    }

    #[test]
    fn loops_have_the_names_that_they_are_measured_by() {
        let limits = source("peers/limits.rs");
        let named = |name: &&str| limits.contains(&format!("(\"{name}\", Hint::"));
        assert_eq!(AHEAD.iter().filter(|name| !named(name)).count(), 0);
        assert_eq!(limits.matches("\", Hint::").count(), AHEAD.len());
        let loops = source("src/loops.rs");
        for name in LOOPS {
            assert!(loops.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}

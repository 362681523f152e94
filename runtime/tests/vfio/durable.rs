//! Persistent memory behind a node: what the system says of it, durable copies by a function, and a log.
//!
//! The log is that of `examples/durable_log.rs`, in a node. `DMARING_TEST_LOG` says what is done with it: `append` appends
//! until the machine stops, `check` looks at what is there then; without it neither is done. A machine that is stopped
//! keeps what its memory had, caches or not, so this shows that a log is found again and no more.

use std::{env, fs, path::Path};

use dmaring::{Durability, DurabilitySource, Region};
use futures::executor::block_on;

use super::{LONG, bytes, functions, list, nodes, pattern, runtime};

/// Where the first record begins, and where the last ends at most.
const RECORDS: u64 = 4096;
const END: u64 = 32 << 20;
const BUFFER: u64 = 8192;

/// What sysfs says of a node's region, and what that means.
fn expected(node: &str) -> (Durability, DurabilitySource) {
    let device = Path::new("/sys/bus/dax/devices").join(Path::new(node).file_name().unwrap());
    let device = fs::canonicalize(device).unwrap();
    let domain = device
        .ancestors()
        .find_map(|above| fs::read_to_string(above.join("persistence_domain")).ok());
    match domain.as_deref().map(str::trim) {
        Some("cpu_cache") => (Durability::PowerFailSafe, DurabilitySource::PersistenceDomain),
        Some("memory_controller") => (Durability::NeedsFlush, DurabilitySource::PersistenceDomain),
        _ => (Durability::Volatile, DurabilitySource::NoPersistenceDomain),
    }
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_node_is_as_durable_as_sysfs_says_and_durable_copies_arrive() {
    let runtime = runtime(&functions());
    let [src, dst] = nodes(&runtime);
    for (region, node) in [&src, &dst].into_iter().zip(list("DMARING_TEST_DAX")) {
        let known = (region.durability(), region.durability_source());
        assert_eq!(known, expected(&node));
        assert_ne!(known.0, Durability::Volatile, "the machine's memory has a persistence domain");
    }
    let given = pattern(3, 3 << 20);
    src.write_at(0, &given).unwrap();
    assert_eq!(block_on(src.persist(0..3 << 20)).unwrap(), 3 << 20);
    for (from, to, length) in [(0, 4096, 4096), (1, 63, 70_001), (77, 12_345, 2_500_000), (5, 3, 1)]
    {
        let copied = block_on(src.copy_to(from, &dst, to, length).durable());
        assert_eq!(copied.unwrap(), length);
        assert!(bytes(&dst, to, length as usize) == given[from as usize..][..length as usize]);
    }
    assert_eq!(block_on(dst.fill(99, 100_000, 7).durable()).unwrap(), 100_000);
    block_on(runtime.shutdown(LONG)).unwrap();
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_log_in_a_node() {
    match env::var("DMARING_TEST_LOG").as_deref() {
        Ok("append") => append(),
        Ok("check") => check(),
        _ => {}
    }
}

/// Appends, and notes in a file how many appends have returned.
fn append() {
    let runtime = runtime(&functions()[..1]);
    let [log, _] = nodes(&runtime);
    let buffer = runtime.allocate(BUFFER as usize).unwrap();
    block_on(log.fill(0, RECORDS, 0).durable()).unwrap();
    let mut end = RECORDS;
    for number in 0.. {
        let record = record(number);
        let length = record.len() as u64;
        if end + length > END {
            // It goes round where the machine is not stopped: what is committed is the last round.
            block_on(log.fill(0, 8, 0).durable()).unwrap();
            break;
        }
        buffer.write_at(0, &record).unwrap();
        block_on(buffer.copy_to(0, &log, end, length).durable()).unwrap();
        end += length;
        log.write_at(0, &end.to_le_bytes()).unwrap();
        block_on(log.persist(0..8)).unwrap();
        fs::write("/run/appended", (number + 1).to_string()).unwrap();
    }
}

/// Every record up to the committed end is whole.
fn check() {
    let runtime = runtime(&functions()[..1]);
    let [log, _] = nodes(&runtime);
    let records = records(&log);
    let least: u64 = env::var("DMARING_TEST_RECORDS").unwrap().parse().unwrap();
    assert!(records >= least, "{records} records are there, {least} appends had returned");
    fs::write("/run/found", records.to_string()).unwrap();
}

fn records(log: &Region) -> u64 {
    let word = bytes(log, 0, 8).try_into().unwrap();
    let (end, mut at, mut number) = (u64::from_le_bytes(word), RECORDS, 0);
    assert!((RECORDS..=END).contains(&end), "the committed end is {end}");
    while at < end {
        let expected = record(number);
        assert!(
            bytes(log, at, expected.len()) == expected,
            "record {number} is committed and torn"
        );
        (at, number) = (at + expected.len() as u64, number + 1);
    }
    assert_eq!(at, end, "the log ends inside a record");
    number
}

fn record(number: u64) -> Vec<u8> {
    pattern(number as usize, 40 + (number * 89 % 3000) as usize)
}

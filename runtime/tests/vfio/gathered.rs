//! Many places under one completion, and buffers of the application's, through real functions.

use dmaring::{Segment, bounce::BouncePool};
use futures::executor::block_on;

use super::{
    common::{bytes, pattern},
    functions, nodes, runtime,
};

/// As many segments as there may be, at odd places and of odd lengths, by all functions: each byte is in its place and those
/// between them are as they were.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_vectored_copy_gathers_and_scatters_every_byte() {
    let runtime = runtime(&functions());
    let [src, dst] = nodes(&runtime);
    let count = Segment::MAX as u64;
    let given = pattern(11, 4 << 20);
    src.write_at(0, &given).unwrap();
    let before = vec![0xa5; 8 << 20];
    dst.write_at(0, &before).unwrap();
    let place = |n: u64| ((count - 1 - n) * 16_001 + 3, n * 32_003 + 7, n * 331 % 15_000 + 1);
    let segments: Vec<_> = (0..count)
        .map(|n| {
            let (source_offset, destination_offset, length) = place(n);
            Segment { source: &src, source_offset, destination: &dst, destination_offset, length }
        })
        .collect();
    let total: u64 = segments.iter().map(|segment| segment.length).sum();
    assert_eq!(block_on(runtime.copy_vectored(&segments)).unwrap(), total);
    let mut expected = before;
    for n in 0..count {
        let (from, to, length) = place(n);
        let [from, to, length] = [from, to, length].map(|number| number as usize);
        expected[to..to + length].copy_from_slice(&given[from..from + length]);
    }
    assert!(bytes(&dst, 0, expected.len()) == expected);
    let stats = runtime.stats();
    assert_eq!((stats.submitted, stats.completed, stats.failed), (1, 1, 0));
}

/// Buffers that were mapped once carry memory that was never mapped, to a node and back.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn memory_that_is_not_mapped_bounces_to_a_node_and_back() {
    let runtime = runtime(&functions()[..1]);
    let [node, _] = nodes(&runtime);
    let pool = BouncePool::new(&runtime, 2, 8192).unwrap();
    for (round, length) in [1, 4097, 8192, 50_001].into_iter().enumerate() {
        let given = pattern(round, length);
        let at = round as u64 * 61 + 5;
        assert_eq!(block_on(pool.copy_from_slice(&given, &node, at)).unwrap(), length as u64);
        assert!(block_on(pool.copy_to_vec(&node, at, length)).unwrap() == given);
    }
    assert_eq!(pool.available(), pool.buffers());
}

//! The end of regions of real devdax that functions have mapped.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use dmaring::ErrorKind;
use futures::executor::block_on;

use super::{
    common::{LONG, bytes, pattern},
    functions, list, nodes, runtime,
};

/// Whether the process has anything of this path mapped, by the kernel's list.
fn is_mapped(path: &str) -> bool {
    fs::read_to_string("/proc/self/maps").unwrap().lines().any(|line| line.ends_with(path))
}

/// Closed with copies in flight: they end, the functions' IOMMU and the process let go of the node, and it can be opened again.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn closed_nodes_are_unmapped_and_opened_again() {
    let node = &list("DMARING_TEST_DAX")[1];
    let runtime = runtime(&functions());
    let contents = pattern(3, 1 << 20);
    for round in 0..5 {
        let [src, dst] = nodes(&runtime);
        src.write_at(0, &contents).unwrap();
        let clone = dst.clone();
        let copies: Vec<_> =
            (0..10u64).map(|n| src.copy_to(0, &dst, n << 20, 1 << 20).submit()).collect();
        assert!(is_mapped(node));
        block_on(dst.close()).unwrap();
        assert!(!is_mapped(node), "{round}");
        for copy in copies {
            assert_eq!(block_on(copy).unwrap(), 1 << 20, "it was submitted before");
        }
        let late = block_on(src.copy_to(0, &clone, 0, 64)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Closed);
        assert_eq!(clone.read_at(0, &mut [0]).unwrap_err().kind(), ErrorKind::Closed);
        let again = runtime.open_dax(node).unwrap();
        assert!(bytes(&again, 9 << 20, 1 << 20) == contents);
        block_on(again.fill(9 << 20, 1 << 20, 0)).unwrap();
        block_on(again.close()).unwrap();
        block_on(src.close()).unwrap();
    }
    block_on(runtime.shutdown(LONG)).unwrap();
}

/// Zeroes take the place of a node that the functions had mapped while a thread reads it: ones, then zeroes. The node itself
/// keeps its ones.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_node_is_replaced_with_zeroes_under_its_readers() {
    let node = &list("DMARING_TEST_DAX")[1];
    let runtime = runtime(&functions());
    let [src, dst] = nodes(&runtime);
    let length = 2u64 << 20;
    block_on(dst.fill(0, length, 0x0101_0101_0101_0101)).unwrap();
    let (stop, clone) = (AtomicBool::new(false), dst.clone());
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut looks, mut last) = (0u64, 1);
            let mut bytes = vec![0; length as usize];
            loop {
                // The last look begins after the zeroes stand there.
                let is_last = stop.load(Ordering::Acquire) && looks >= 2;
                clone.read_at(0, &mut bytes).unwrap();
                assert!(bytes.iter().all(|&byte| byte == 0 || byte == last), "neither");
                last = bytes[0];
                assert!(bytes.iter().all(|&byte| byte == last), "half of it");
                looks += 1;
                if is_last {
                    break;
                }
            }
            last
        });
        block_on(dst.replace_with_zeroes()).unwrap();
        assert!(!is_mapped(node));
        stop.store(true, Ordering::Release);
        assert_eq!(reader.join().unwrap(), 0);
    });
    assert_eq!(block_on(src.copy_to(0, &dst, 0, 64)).unwrap_err().kind(), ErrorKind::Closed);
    // What is mapped where the node was is not what the functions write to.
    let again = runtime.open_dax(node).unwrap();
    assert!(bytes(&again, 0, length as usize).iter().all(|&byte| byte == 1));
    block_on(again.fill(0, length, u64::MAX)).unwrap();
    assert!(bytes(&dst, 0, length as usize).iter().all(|&byte| byte == 0));
    block_on(runtime.shutdown(LONG)).unwrap();
}
